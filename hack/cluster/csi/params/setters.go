package params

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

// setter puts a parameter's value into the class that it belongs to.
type setter[T any] func(*T, string) error

// table has the parameters that a kind of class can have.
type table[T any] map[string]setter[T]

// apply sets what the parameters say. Those of csi-provisioner's and csi-snapshotter's own prefix may be unknown.
func (t table[T]) apply(class *T, parameters map[string]string) error {
	var wrong []error
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		set, known := t[key]
		switch {
		case known:
			if err := set(class, parameters[key]); err != nil {
				wrong = append(wrong, fmt.Errorf("parameter %s: %w", key, err))
			}
		case !strings.HasPrefix(key, metadataPrefix):
			wrong = append(wrong, fmt.Errorf("parameter %s is unknown, expected one of %s", key, strings.Join(t.keys(), ", ")))
		}
	}
	return errors.Join(wrong...)
}

func (t table[T]) keys() []string {
	keys := slices.Sorted(maps.Keys(t))
	return slices.DeleteFunc(keys, func(key string) bool { return strings.HasPrefix(key, metadataPrefix) })
}

// name is what can be a file name and a part of a path without a surprise.
var name = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

func nameSetter[T any](field func(*T) *string) setter[T] {
	return func(c *T, v string) error {
		if !name.MatchString(v) {
			return fmt.Errorf("found %q, expected at most 63 lower-case letters, digits, dots and dashes", v)
		}
		*field(c) = v
		return nil
	}
}

// always is the count of a fault that never ends.
const always = "always"

func countSetter[T any](field func(*T) *int) setter[T] {
	return func(c *T, v string) error {
		if v == always {
			*field(c) = math.MaxInt
			return nil
		}
		count, err := strconv.Atoi(v)
		if err != nil || count < 0 {
			return fmt.Errorf("found %q, expected how many calls fail as a whole number, or %s", v, always)
		}
		*field(c) = count
		return nil
	}
}

func boolSetter[T any](field func(*T) *bool) setter[T] {
	return func(c *T, v string) error {
		if v != "true" && v != "false" {
			return fmt.Errorf("found %q, expected true or false", v)
		}
		*field(c) = v == "true"
		return nil
	}
}

func durationSetter[T any](field func(*T) *time.Duration) setter[T] {
	return func(c *T, v string) error {
		wait, err := time.ParseDuration(v)
		if err != nil || wait < 0 {
			return fmt.Errorf("found %q, expected a duration such as 5s or 1m30s", v)
		}
		*field(c) = wait
		return nil
	}
}

func sizeSetter[T any](field func(*T) *int64) setter[T] {
	return func(c *T, v string) error {
		bytes, err := ParseBytes(v)
		if err == nil && bytes == 0 {
			err = errors.New("found 0, expected at least one byte")
		}
		*field(c) = bytes
		return err
	}
}

// failCodes are those that a sidecar treats differently: the first five leave it unsure whether a volume exists, so
// that it asks again for the same one; the others are final answers to that call.
var failCodes = []codes.Code{
	codes.Unavailable, codes.Aborted, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted,
	codes.Internal, codes.InvalidArgument, codes.PermissionDenied, codes.FailedPrecondition,
}

func codeSetter[T any](field func(*T) *codes.Code) setter[T] {
	return func(c *T, v string) error {
		names := make([]string, 0, len(failCodes))
		for _, code := range failCodes {
			if code.String() == v {
				*field(c) = code
				return nil
			}
			names = append(names, code.String())
		}
		return fmt.Errorf("found %q, expected one of %s", v, strings.Join(names, ", "))
	}
}
