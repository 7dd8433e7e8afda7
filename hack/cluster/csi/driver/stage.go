package driver

import (
	"context"
	"errors"
	"path/filepath"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pelotech.ot/vmdisk/hack/cluster/csi/faults"
	"pelotech.ot/vmdisk/hack/cluster/csi/filesystem"
	"pelotech.ot/vmdisk/hack/cluster/csi/loop"
	"pelotech.ot/vmdisk/hack/cluster/csi/mounts"
	"pelotech.ot/vmdisk/hack/cluster/csi/params"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

// deviceFile is the name below the staging path where a Block volume's device is bind mounted, so that the mount table
// tells of a staged Block volume as it does of a file system.
const deviceFile = "device"

func stagePoint(mode pool.Mode, staging string) (string, error) {
	if mode == pool.Block {
		staging = filepath.Join(staging, deviceFile)
	}
	return mounts.Resolve(staging)
}

// NodeStageVolume implements CSI (spec "NodeStageVolume"): idempotent; NOT_FOUND for a volume that does not exist,
// ALREADY_EXISTS where something else is staged at that path, FAILED_PRECONDITION for a volume of another kind or
// another node.
func (n *Node) NodeStageVolume(ctx context.Context, request *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	wanted, err := stageRequest(request)
	if err != nil {
		return nil, err
	}
	unlock, err := n.Pool.Lock(ctx, request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer unlock()
	volume, err := n.Pool.Get(request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if !slices.Contains(volume.Nodes, n.ID) {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is on %v and can not be staged on %s", volume.ID, volume.Nodes, n.ID)
	}
	class, err := volume.Class()
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fits(volume, wanted), supported([]access{wanted}, class)); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	point, err := stagePoint(volume.Mode, request.GetStagingTargetPath())
	if err != nil {
		return nil, err
	}
	staged, err := n.isStaged(volume, point)
	if err != nil || staged {
		return &csi.NodeStageVolumeResponse{}, err
	}
	if err := n.stageFaults(ctx, volume, class); err != nil {
		return nil, err
	}
	if err := requireDirectory("staging_target_path", request.GetStagingTargetPath()); err != nil {
		return nil, err
	}
	return &csi.NodeStageVolumeResponse{}, n.stage(ctx, volume, class, point, wanted.mountOptions)
}

func stageRequest(request *csi.NodeStageVolumeRequest) (access, error) {
	if err := required("volume_id", request.GetVolumeId()); err != nil {
		return access{}, err
	}
	if err := required("staging_target_path", request.GetStagingTargetPath()); err != nil {
		return access{}, err
	}
	wanted, err := parseAccess(request.GetVolumeCapability())
	if err != nil {
		return access{}, invalid("%v", err)
	}
	return wanted, nil
}

// isStaged looks for the volume at its staging point, where nothing else may be.
func (n *Node) isStaged(volume *pool.Volume, point string) (bool, error) {
	table, err := mounts.Table()
	if err != nil {
		return false, err
	}
	there, occupied := mounts.At(table, point)
	if !occupied {
		return false, nil
	}
	used, err := usedBy(n.Pool, volume.ID)
	if err != nil {
		return false, err
	}
	if _, ours := used.at(point); !ours {
		return false, status.Errorf(codes.AlreadyExists, "found %s of device %s mounted at %s, expected volume %s or nothing", there.FSType, there.Device, point, volume.ID)
	}
	return true, nil
}

func (n *Node) stageFaults(ctx context.Context, volume *pool.Volume, class params.Class) error {
	if err := n.Faults.Hold(ctx, class.HoldStage, faults.NodeStageVolume, volume.ID, class.Claim); err != nil {
		return err
	}
	if err := faults.Sleep(ctx, class.SlowStage); err != nil {
		return err
	}
	return failAsAsked(n.Faults, faults.NodeStageVolume, volume.ID, class.FailStage, class)
}

func (n *Node) stage(ctx context.Context, volume *pool.Volume, class params.Class, point string, options []string) error {
	if err := n.format(ctx, volume, class); err != nil {
		return err
	}
	disk, err := n.Pool.Disk(volume)
	if err != nil {
		return err
	}
	device, err := loop.Attach(disk)
	if err != nil {
		return err
	}
	if volume.Mode == pool.Block {
		err = bindDevice(device.Path(), point)
	} else {
		err = mountDevice(ctx, device, volume.FSType, point, options)
	}
	if err != nil {
		return errors.Join(err, n.release(ctx, volume.ID))
	}
	return nil
}

// mountDevice also makes an xfs as large as its device, which it can become only while it is mounted: that of a copy is
// as large as its source was. And it lets copies of one xfs, which have one UUID, be mounted beside each other.
func mountDevice(ctx context.Context, device loop.Device, fsType, point string, options []string) error {
	if fsType != filesystem.XFS {
		return mounts.Device(device.Path(), fsType, point, options)
	}
	if err := mounts.Device(device.Path(), fsType, point, slices.Concat(options, []string{"nouuid"})); err != nil {
		return err
	}
	if slices.Contains(options, "ro") {
		return nil
	}
	if err := filesystem.Grow(ctx, fsType, device.Path(), point); err != nil {
		return errors.Join(err, mounts.Unmount(point))
	}
	return nil
}

func bindDevice(device, point string) error {
	if err := mounts.MakeFile(point); err != nil {
		return err
	}
	if err := mounts.Bind(device, point, false); err != nil {
		return errors.Join(err, mounts.RemovePoint(point))
	}
	return nil
}

// format makes the file system once. The record tells that it is whole: a process that was killed half-way begins
// again from zeros.
func (n *Node) format(ctx context.Context, volume *pool.Volume, class params.Class) error {
	if volume.Mode == pool.Block {
		return nil
	}
	if volume.Formatted {
		return n.growUnmounted(ctx, volume)
	}
	if err := n.release(ctx, volume.ID); err != nil {
		return err
	}
	disk, err := n.Pool.Blank(volume)
	if err != nil {
		return err
	}
	if class.OutOfSpace > 0 {
		err = filesystem.FormatThin(ctx, disk)
	} else {
		err = filesystem.Format(ctx, volume.FSType, disk)
	}
	if err == nil {
		err = n.Pool.Restrict(volume)
	}
	if err != nil {
		return err
	}
	volume.Formatted = true
	return n.Pool.Put(volume)
}

// growUnmounted catches up with an expansion, unless the other node has the volume mounted.
func (n *Node) growUnmounted(ctx context.Context, volume *pool.Volume) error {
	if err := n.release(ctx, volume.ID); err != nil {
		return err
	}
	used, err := usedBy(n.Pool, volume.ID)
	if err != nil || len(used.devices) > 0 {
		return err
	}
	disk, err := n.Pool.Disk(volume)
	if err != nil {
		return err
	}
	return filesystem.GrowUnmounted(ctx, volume.FSType, disk)
}

// release detaches the volume's loop device, unless something of it is mounted: here, or, when it is shared, on the
// other node.
func (n *Node) release(ctx context.Context, id string) error {
	used, err := usedBy(n.Pool, id)
	if err != nil || len(used.mounts) > 0 {
		return err
	}
	return used.detach(ctx)
}

// NodeUnstageVolume implements CSI (spec "NodeUnstageVolume"): idempotent. A volume whose record is gone is unstaged
// as well, since what matters is that nothing of it is left.
func (n *Node) NodeUnstageVolume(ctx context.Context, request *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	if err := required("volume_id", request.GetVolumeId()); err != nil {
		return nil, err
	}
	if err := required("staging_target_path", request.GetStagingTargetPath()); err != nil {
		return nil, err
	}
	unlock, err := n.Pool.Lock(ctx, request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer unlock()
	point, err := stagePoint(pool.Filesystem, request.GetStagingTargetPath())
	if err != nil {
		return nil, err
	}
	device, err := stagePoint(pool.Block, request.GetStagingTargetPath())
	if err != nil {
		return nil, err
	}
	// The device's name is looked at under the mount of a file system only when there is none.
	if err := mounts.Unmount(point); err != nil {
		return nil, err
	}
	if err := errors.Join(mounts.Unmount(device), mounts.RemovePoint(device)); err != nil {
		return nil, err
	}
	return &csi.NodeUnstageVolumeResponse{}, n.release(ctx, request.GetVolumeId())
}
