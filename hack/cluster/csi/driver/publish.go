package driver

import (
	"context"
	"errors"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pelotech.ot/vmdisk/hack/cluster/csi/mounts"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

// NodePublishVolume implements CSI (spec "NodePublishVolume"): it bind mounts what is staged. Idempotent;
// ALREADY_EXISTS where the volume is published otherwise at that path; FAILED_PRECONDITION when it is not staged, or
// when SINGLE_NODE_SINGLE_WRITER (a ReadWriteOncePod claim) has a workload already.
//
// A Block volume is never read-only: the flag of a bind mount does not reach the device behind the node.
func (n *Node) NodePublishVolume(ctx context.Context, request *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	wanted, err := publishRequest(request)
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
	if err := fits(volume, wanted); err != nil {
		return nil, status.Error(codes.FailedPrecondition, err.Error())
	}
	used, err := usedBy(n.Pool, volume.ID)
	if err != nil {
		return nil, err
	}
	staged, err := stagePoint(volume.Mode, request.GetStagingTargetPath())
	if err != nil {
		return nil, err
	}
	if _, found := used.at(staged); !found {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is not staged at %s", volume.ID, staged)
	}
	target, err := mounts.Resolve(request.GetTargetPath())
	if err != nil {
		return nil, err
	}
	readOnly := volume.Mode == pool.Filesystem && (request.GetReadonly() || readers[wanted.accessMode])
	if there, found := used.at(target); found {
		return &csi.NodePublishVolumeResponse{}, samePublication(there, readOnly)
	}
	if wanted.accessMode == csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER {
		if err := onlyStaged(volume, used, staged); err != nil {
			return nil, err
		}
	}
	return &csi.NodePublishVolumeResponse{}, publish(volume, staged, target, readOnly)
}

// readers are the modes in which nobody may write.
var readers = map[csi.VolumeCapability_AccessMode_Mode]bool{
	csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY: true,
	csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY:  true,
}

func publishRequest(request *csi.NodePublishVolumeRequest) (access, error) {
	if err := required("volume_id", request.GetVolumeId()); err != nil {
		return access{}, err
	}
	if err := required("target_path", request.GetTargetPath()); err != nil {
		return access{}, err
	}
	wanted, err := parseAccess(request.GetVolumeCapability())
	if err != nil {
		return access{}, invalid("%v", err)
	}
	if request.GetStagingTargetPath() == "" {
		return access{}, status.Error(codes.FailedPrecondition, "found no staging_target_path: NodeStageVolume comes first")
	}
	return wanted, nil
}

func samePublication(there mounts.Mount, readOnly bool) error {
	if there.ReadOnly() != readOnly {
		return status.Errorf(codes.AlreadyExists, "found %s published with read-only %v, expected %v", there.Point, there.ReadOnly(), readOnly)
	}
	return nil
}

// onlyStaged refuses a second workload. Every mount but the staging one belongs to a workload, the kubelet's own
// bind mounts of Block volumes included.
func onlyStaged(volume *pool.Volume, used usage, staged string) error {
	for _, point := range used.points() {
		if point != staged {
			return status.Errorf(codes.FailedPrecondition, "volume %s has its one writer at %s already", volume.ID, point)
		}
	}
	return nil
}

func publish(volume *pool.Volume, staged, target string, readOnly bool) error {
	makePoint := func(path string) error { return os.MkdirAll(path, 0o750) }
	if volume.Mode == pool.Block {
		makePoint = mounts.MakeFile
	}
	if err := makePoint(target); err != nil {
		return err
	}
	if err := mounts.Bind(staged, target, readOnly); err != nil {
		return errors.Join(err, mounts.RemovePoint(target))
	}
	return nil
}

// NodeUnpublishVolume implements CSI (spec "NodeUnpublishVolume"): idempotent; the path is removed, as the spec says.
func (n *Node) NodeUnpublishVolume(ctx context.Context, request *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if err := required("volume_id", request.GetVolumeId()); err != nil {
		return nil, err
	}
	if err := required("target_path", request.GetTargetPath()); err != nil {
		return nil, err
	}
	unlock, err := n.Pool.Lock(ctx, request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer unlock()
	target, err := mounts.Resolve(request.GetTargetPath())
	if err != nil {
		return nil, err
	}
	if err := mounts.Unmount(target); err != nil {
		return nil, err
	}
	return &csi.NodeUnpublishVolumeResponse{}, mounts.RemovePoint(target)
}
