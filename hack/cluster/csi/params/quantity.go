package params

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// suffixes are those of a Kubernetes resource.Quantity that make sense for bytes.
var suffixes = []struct {
	text   string
	factor int64
}{
	{"Ki", 1 << 10}, {"Mi", 1 << 20}, {"Gi", 1 << 30}, {"Ti", 1 << 40},
	{"k", 1e3}, {"M", 1e6}, {"G", 1e9}, {"T", 1e12},
}

// ParseBytes reads a non-negative whole quantity of bytes such as "64Mi", "10G" or "1048576".
func ParseBytes(text string) (int64, error) {
	number, factor := strings.TrimSpace(text), int64(1)
	for _, suffix := range suffixes {
		if cut, found := strings.CutSuffix(number, suffix.text); found {
			number, factor = cut, suffix.factor
			break
		}
	}
	value, err := strconv.ParseInt(number, 10, 64)
	if err != nil || value < 0 {
		return 0, fmt.Errorf("found %q, expected bytes as a whole number with an optional suffix Ki, Mi, Gi, Ti, k, M, G or T", text)
	}
	if value > math.MaxInt64/factor {
		return 0, fmt.Errorf("found %q, which is more than %d bytes", text, int64(math.MaxInt64))
	}
	return value * factor, nil
}
