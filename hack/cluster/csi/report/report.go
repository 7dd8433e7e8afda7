// Package report tells what there is of all volumes and snapshots on this machine, so that a test can see that nothing is left, and
// takes it all away when the cluster goes down. It reads the pool and the kernel's tables each time and needs no
// driver to be running.
package report

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"pelotech.ot/vmdisk/hack/cluster/csi/faults"
	"pelotech.ot/vmdisk/hack/cluster/csi/loop"
	"pelotech.ot/vmdisk/hack/cluster/csi/mounts"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

// Status is all there is.
type Status struct {
	Volumes   []Volume   `json:"volumes"`
	Snapshots []Snapshot `json:"snapshots"`
	// StrayLoopDevices and StrayMounts belong to no volume: always a mistake.
	StrayLoopDevices []LoopDevice `json:"strayLoopDevices"`
	StrayMounts      []string     `json:"strayMounts"`
	// Holding are the operations that wait for a hold now.
	Holding []faults.Held `json:"holding"`
}

// Volume is a volume with what the kernel has of it.
type Volume struct {
	ID                string            `json:"id"`
	Namespace         string            `json:"namespace,omitempty"`
	Claim             string            `json:"claim,omitempty"`
	PersistentVolume  string            `json:"persistentVolume,omitempty"`
	VolumeMode        pool.Mode         `json:"volumeMode"`
	FSType            string            `json:"fsType,omitempty"`
	Nodes             []string          `json:"nodes"`
	Source            pool.Source       `json:"source,omitzero"`
	SizeBytes         int64             `json:"sizeBytes"`
	AllocatedBytes    int64             `json:"allocatedBytes"`
	MutableParameters map[string]string `json:"mutableParameters,omitempty"`
	CreatedAt         time.Time         `json:"createdAt"`
	// Disk is the path of the sparse file.
	Disk string `json:"disk"`
	// LoopDevices has the volume's own, and those that the kubelets keep on top of a Block volume.
	LoopDevices []LoopDevice `json:"loopDevices"`
	// Mounts are the paths where the volume is staged, published or bind mounted.
	Mounts []string `json:"mounts"`
}

// LoopDevice is a device and its file.
type LoopDevice struct {
	Path        string `json:"path"`
	BackingFile string `json:"backingFile"`
}

// Read makes a report.
func Read(volumes *pool.Pool, state string) (*Status, error) {
	records, err := volumes.List()
	if err != nil {
		return nil, err
	}
	world, err := observe(volumes)
	if err != nil {
		return nil, err
	}
	held, err := faults.Holding(state)
	if err != nil {
		return nil, err
	}
	snapshots, err := describeSnapshots(volumes)
	if err != nil {
		return nil, err
	}
	status := &Status{Volumes: []Volume{}, Snapshots: snapshots, StrayLoopDevices: []LoopDevice{}, StrayMounts: []string{}, Holding: held}
	known := map[string]bool{}
	for _, record := range records {
		volume, err := describe(volumes, record, world)
		if err != nil {
			return nil, err
		}
		known[volume.ID] = true
		status.Volumes = append(status.Volumes, volume)
	}
	for _, device := range world.devices {
		if !known[device.volume] {
			status.StrayLoopDevices = append(status.StrayLoopDevices, shown(device))
			status.StrayMounts = append(status.StrayMounts, points(device.mounts)...)
		}
	}
	for _, limit := range world.limits {
		if !known[owner(volumes, limit.Point)] {
			status.StrayMounts = append(status.StrayMounts, limit.Point)
		}
	}
	return status, nil
}

func describe(volumes *pool.Pool, record *pool.Volume, world *world) (Volume, error) {
	class, err := record.Class()
	if err != nil {
		return Volume{}, err
	}
	disk, err := volumes.Disk(record)
	if err != nil {
		return Volume{}, err
	}
	allocated, err := volumes.Allocated(record)
	if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may be deleted at this moment
		return Volume{}, err
	}
	volume := Volume{
		ID: record.ID, Namespace: class.Claim.Namespace, Claim: class.Claim.Name, PersistentVolume: class.Claim.Volume,
		VolumeMode: record.Mode, FSType: record.FSType, Nodes: record.Nodes, Source: record.Source, SizeBytes: record.SizeBytes,
		AllocatedBytes: allocated, MutableParameters: record.MutableParameters, CreatedAt: record.CreatedAt, Disk: disk,
		LoopDevices: []LoopDevice{}, Mounts: []string{},
	}
	for _, device := range world.devices {
		if device.volume == record.ID {
			volume.LoopDevices = append(volume.LoopDevices, shown(device))
			volume.Mounts = append(volume.Mounts, points(device.mounts)...)
		}
	}
	return volume, nil
}

// world is what the kernel's tables have of this pool.
type world struct {
	devices []attached
	// limits are the small file systems of outOfSpace volumes.
	limits []mounts.Mount
}

// attached is a loop device of a volume: its own, or one upon that.
type attached struct {
	loop.Device
	volume string
	mounts []mounts.Mount
}

func observe(volumes *pool.Pool) (*world, error) {
	devices, err := loop.Table()
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	table, err := mounts.Table()
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	world := &world{limits: mounts.Below(table, volumes.VolumesDir())}
	own := loop.Below(devices, volumes.VolumesDir())
	for _, lower := range own {
		id := owner(volumes, lower.BackingFile)
		world.devices = append(world.devices, attached{lower, id, mounts.Of(table, lower.Number, lower.Name)})
		for _, upper := range devices {
			if slices.Contains(own, upper) {
				continue
			}
			upon, err := loop.Upon(upper, lower)
			if err != nil {
				return nil, fmt.Errorf("report: %w", err)
			}
			if upon {
				world.devices = append(world.devices, attached{upper, id, mounts.Of(table, upper.Number, upper.Name)})
			}
		}
	}
	return world, nil
}

// owner is the id in a path below the volumes' directory.
func owner(volumes *pool.Pool, path string) string {
	id, _, _ := strings.Cut(strings.TrimPrefix(path, volumes.VolumesDir()+"/"), "/")
	return id
}

func shown(device attached) LoopDevice {
	return LoopDevice{Path: device.Path(), BackingFile: device.BackingFile}
}

func points(found []mounts.Mount) []string {
	all := make([]string, 0, len(found))
	for _, mount := range found {
		all = append(all, mount.Point)
	}
	return all
}
