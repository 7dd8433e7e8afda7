package params

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// The keys of a VolumeAttributesClass's parameters: one that the driver keeps and one that it refuses.
const (
	keyTier   = "tier"
	keyRefuse = "refuse"
)

// CheckMutable says whether the driver takes these mutable parameters. It changes nothing about how a volume works:
// what is tested with it is what Kubernetes and its users do with an accepted and with a refused class.
func CheckMutable(parameters map[string]string) error {
	var wrong []error
	for _, key := range slices.Sorted(maps.Keys(parameters)) {
		value := parameters[key]
		switch {
		case key == keyTier:
		case key == keyRefuse && value == "false":
		case key == keyRefuse:
			wrong = append(wrong, fmt.Errorf("mutable parameter %s=%q: this class asks to be refused", key, value))
		default:
			wrong = append(wrong, fmt.Errorf("mutable parameter %s is unknown, expected %s or %s", key, keyRefuse, keyTier))
		}
	}
	return errors.Join(wrong...)
}
