package driver

import (
	"context"
	"errors"
	"time"

	"pelotech.ot/vmdisk/hack/cluster/csi/loop"
	"pelotech.ot/vmdisk/hack/cluster/csi/mounts"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

// usage is what the kernel has of a volume: its loop devices (one, or none), and all their mounts on this machine,
// which are those of every node.
type usage struct {
	devices []loop.Device
	mounts  []mounts.Mount
}

func usedBy(volumes *pool.Pool, id string) (usage, error) {
	devices, err := loop.Table()
	if err != nil {
		return usage{}, err
	}
	table, err := mounts.Table()
	if err != nil {
		return usage{}, err
	}
	used := usage{devices: loop.Below(devices, volumes.Dir(id))}
	for _, device := range used.devices {
		used.mounts = append(used.mounts, mounts.Of(table, device.Number, device.Name)...)
	}
	return used, nil
}

func (u usage) points() []string {
	points := make([]string, 0, len(u.mounts))
	for _, mount := range u.mounts {
		points = append(points, mount.Point)
	}
	return points
}

// at is the mount of this volume at that path.
func (u usage) at(point string) (mounts.Mount, bool) { return mounts.At(u.mounts, point) }

// detach takes the loop devices away. The caller holds the volume's lock and has seen that nothing is mounted.
func (u usage) detach(ctx context.Context) error {
	var failures []error
	for _, device := range u.devices {
		failures = append(failures, loop.Detach(ctx, device))
	}
	return errors.Join(failures...)
}

// flush writes what the kernel keeps in memory of a volume to its disk: the pages of the file system, or of the device
// itself. Its users may go on, and what they write from now on reaches the disk or does not.
func flush(volumes *pool.Pool, volume *pool.Volume) error {
	used, err := usedBy(volumes, volume.ID)
	if err != nil {
		return err
	}
	if volume.Mode == pool.Filesystem && len(used.mounts) > 0 {
		if err := mounts.Sync(used.mounts[0].Point); err != nil {
			return err
		}
	}
	for _, device := range used.devices {
		if err := loop.Sync(device); err != nil {
			return err
		}
	}
	return nil
}

const (
	// unusedPatience is a little more than kubelets take from a pod's end to unstaging.
	unusedPatience = 5 * time.Second
	unusedInterval = 200 * time.Millisecond
)

// awaitUnused returns when nothing of the volume is mounted, or when the patience is over. It does not hold the
// volume's lock, which unstaging needs.
func awaitUnused(ctx context.Context, volumes *pool.Pool, id string) error {
	ticker := time.NewTicker(unusedInterval)
	defer ticker.Stop()
	for deadline := time.Now().Add(unusedPatience); time.Now().Before(deadline); {
		used, err := usedBy(volumes, id)
		if err != nil || len(used.mounts) == 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
	return nil
}
