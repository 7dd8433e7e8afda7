package report

import (
	"context"
	"errors"
	"slices"

	"pelotech.ot/vmdisk/hack/cluster/csi/loop"
	"pelotech.ot/vmdisk/hack/cluster/csi/mounts"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

// Teardown unmounts every volume everywhere, detaches its loop devices, and leaves a pool that can be unmounted; the
// disks stay. It is for a cluster whose processes are gone, in whatever way, and goes on after a failure.
func Teardown(ctx context.Context, volumes *pool.Pool) error {
	world, err := observe(volumes)
	if err != nil {
		return err
	}
	var failures []error
	for _, device := range world.devices {
		for _, mount := range slices.Backward(device.mounts) {
			failures = append(failures, mounts.Abandon(mount.Point))
		}
	}
	// Those upon others come after them in the list, and go before them.
	for _, device := range slices.Backward(world.devices) {
		failures = append(failures, loop.Detach(ctx, device.Device))
	}
	for _, limit := range slices.Backward(world.limits) {
		failures = append(failures, mounts.Abandon(limit.Point))
	}
	return errors.Join(failures...)
}
