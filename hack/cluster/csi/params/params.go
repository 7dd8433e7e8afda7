// Package params reads what a StorageClass and a VolumeAttributesClass say to the driver. The tests ask for faults
// by StorageClass parameters, not by a switch of the process, so that they can run beside each other.
package params

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

// The keys of a StorageClass's parameters. README.md holds the table for users.
const (
	keyAccessibility = "accessibility"
	keyCapacityGroup = "capacityGroup"
	keyExhaust       = "exhaust"
	keyFailCode      = "failCode"
	keyFailCreate    = "failCreate"
	keyFailDelete    = "failDelete"
	keyFailStage     = "failStage"
	keyHold          = "hold"
	keyHoldDelete    = "holdDelete"
	keyHoldStage     = "holdStage"
	keyOutOfSpace    = "outOfSpace"
	keySlowStage     = "slowStage"
)

// What csi-provisioner adds with --extra-create-metadata; other keys of its prefix are its own and pass unread.
const (
	metadataPrefix  = "csi.storage.k8s.io/"
	keyPVCName      = metadataPrefix + "pvc/name"
	keyPVCNamespace = metadataPrefix + "pvc/namespace"
	keyPVName       = metadataPrefix + "pv/name"
)

// DefaultCapacityGroup is the budget of classes that name none.
const DefaultCapacityGroup = "default"

// Class is a StorageClass's parameters, parsed and checked.
type Class struct {
	// Shared volumes are accessible from every node, others from the one they were created on.
	Shared bool
	// CapacityGroup names the budget that the volume is taken from.
	CapacityGroup string
	// Claim is whom the volume is made for, empty without --extra-create-metadata.
	Claim Claim

	// FailCreate, FailStage and FailDelete are how many calls for one volume fail with FailCode before one may succeed.
	FailCreate, FailStage, FailDelete int
	// FailCode is the gRPC code of those failures.
	FailCode codes.Code
	// Exhaust says on which nodes CreateVolume finds no room.
	Exhaust Exhaust
	// SlowStage is how long NodeStageVolume waits before it starts.
	SlowStage time.Duration
	// OutOfSpace is how many bytes can be written until the storage below reports ENOSPC; 0 is no limit.
	OutOfSpace int64
	// Hold, HoldStage and HoldDelete name the hold that CreateVolume, NodeStageVolume and DeleteVolume wait for.
	Hold, HoldStage, HoldDelete string
}

// Claim names the PersistentVolumeClaim and PersistentVolume of a volume.
type Claim struct {
	Namespace, Name, Volume string
}

// Exhaust is the set of nodes that have no room left.
type Exhaust struct {
	All   bool
	Nodes []string
}

// On says whether that node is in the set.
func (e Exhaust) On(node string) bool { return e.All || slices.Contains(e.Nodes, node) }

// name is what can be a file name and a part of a path without a surprise.
var name = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$`)

type setter func(*Class, string) error

var setters = map[string]setter{
	keyAccessibility: func(c *Class, v string) error {
		if v != "pinned" && v != "shared" {
			return fmt.Errorf("found %q, expected pinned or shared", v)
		}
		c.Shared = v == "shared"
		return nil
	},
	keyCapacityGroup: nameSetter(func(c *Class) *string { return &c.CapacityGroup }),
	keyExhaust:       setExhaust,
	keyFailCode:      setFailCode,
	keyFailCreate:    countSetter(func(c *Class) *int { return &c.FailCreate }),
	keyFailDelete:    countSetter(func(c *Class) *int { return &c.FailDelete }),
	keyFailStage:     countSetter(func(c *Class) *int { return &c.FailStage }),
	keyHold:          nameSetter(func(c *Class) *string { return &c.Hold }),
	keyHoldDelete:    nameSetter(func(c *Class) *string { return &c.HoldDelete }),
	keyHoldStage:     nameSetter(func(c *Class) *string { return &c.HoldStage }),
	keyOutOfSpace: func(c *Class, v string) error {
		bytes, err := ParseBytes(v)
		if err == nil && bytes == 0 {
			err = errors.New("found 0, expected at least one byte")
		}
		c.OutOfSpace = bytes
		return err
	},
	keySlowStage: func(c *Class, v string) error {
		wait, err := time.ParseDuration(v)
		if err != nil || wait < 0 {
			return fmt.Errorf("found %q, expected a duration such as 5s or 1m30s", v)
		}
		c.SlowStage = wait
		return nil
	},
	keyPVCName:      func(c *Class, v string) error { c.Claim.Name = v; return nil },
	keyPVCNamespace: func(c *Class, v string) error { c.Claim.Namespace = v; return nil },
	keyPVName:       func(c *Class, v string) error { c.Claim.Volume = v; return nil },
}

// ParseClass reads the parameters of a CreateVolume or GetCapacity request. The error names every wrong key, so that
// a class is corrected in one go.
func ParseClass(parameters map[string]string) (Class, error) {
	class := Class{CapacityGroup: DefaultCapacityGroup, FailCode: codes.Unavailable}
	var wrong []error
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		set, known := setters[key]
		switch {
		case known:
			if err := set(&class, parameters[key]); err != nil {
				wrong = append(wrong, fmt.Errorf("parameter %s: %w", key, err))
			}
		case !strings.HasPrefix(key, metadataPrefix):
			wrong = append(wrong, fmt.Errorf("parameter %s is unknown, expected one of %s", key, strings.Join(classKeys(), ", ")))
		}
	}
	return class, errors.Join(wrong...)
}

func classKeys() []string {
	keys := slices.Sorted(maps.Keys(setters))
	return slices.DeleteFunc(keys, func(key string) bool { return strings.HasPrefix(key, metadataPrefix) })
}

func nameSetter(field func(*Class) *string) setter {
	return func(c *Class, v string) error {
		if !name.MatchString(v) {
			return fmt.Errorf("found %q, expected at most 63 lower-case letters, digits, dots and dashes", v)
		}
		*field(c) = v
		return nil
	}
}

func countSetter(field func(*Class) *int) setter {
	return func(c *Class, v string) error {
		count, err := strconv.Atoi(v)
		if err != nil || count < 0 {
			return fmt.Errorf("found %q, expected how many calls fail as a whole number", v)
		}
		*field(c) = count
		return nil
	}
}

func setExhaust(c *Class, v string) error {
	switch v {
	case "":
		return errors.New(`found nothing, expected "true" or names of nodes with commas between`)
	case "true":
		c.Exhaust.All = true
	case "false":
	default:
		c.Exhaust.Nodes = strings.Split(v, ",")
	}
	return nil
}

// failCodes are those that a provisioner treats differently: the first five leave it unsure whether a volume exists,
// so that it asks again for the same one; the others are final answers to that call.
var failCodes = []codes.Code{
	codes.Unavailable, codes.Aborted, codes.DeadlineExceeded, codes.Canceled, codes.ResourceExhausted,
	codes.Internal, codes.InvalidArgument, codes.PermissionDenied, codes.FailedPrecondition,
}

func setFailCode(c *Class, v string) error {
	names := make([]string, 0, len(failCodes))
	for _, code := range failCodes {
		if code.String() == v {
			c.FailCode = code
			return nil
		}
		names = append(names, code.String())
	}
	return fmt.Errorf("found %q, expected one of %s", v, strings.Join(names, ", "))
}
