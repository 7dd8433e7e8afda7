package driver

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pelotech.ot/vmdisk/hack/cluster/csi/faults"
	"pelotech.ot/vmdisk/hack/cluster/csi/filesystem"
	"pelotech.ot/vmdisk/hack/cluster/csi/loop"
	"pelotech.ot/vmdisk/hack/cluster/csi/mounts"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
	"pelotech.ot/vmdisk/hack/cluster/csi/topology"
)

// Node is the service of that name, one process for each node. The nodes of the test cluster are one machine, with
// one loop table and one mount table; what keeps them apart is that a node stages the volumes of its own only.
type Node struct {
	csi.UnimplementedNodeServer

	// ID is the node's name in Kubernetes.
	ID     string
	Pool   *pool.Pool
	Faults *faults.Injector
}

// NodeGetInfo implements CSI.
func (n *Node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.ID, AccessibleTopology: topology.Of(n.ID)[0]}, nil
}

// NodeGetCapabilities implements CSI.
func (*Node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	response := &csi.NodeGetCapabilitiesResponse{}
	for _, kind := range []csi.NodeServiceCapability_RPC_Type{
		csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
		csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
		csi.NodeServiceCapability_RPC_EXPAND_VOLUME,
		csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		response.Capabilities = append(response.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: kind}},
		})
	}
	return response, nil
}

// NodeGetVolumeStats implements CSI: NOT_FOUND where the volume is not at that path.
func (n *Node) NodeGetVolumeStats(_ context.Context, request *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	if err := required("volume_id", request.GetVolumeId()); err != nil {
		return nil, err
	}
	if err := required("volume_path", request.GetVolumePath()); err != nil {
		return nil, err
	}
	volume, err := n.Pool.Get(request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	used, err := usedBy(n.Pool, volume.ID)
	if err != nil {
		return nil, err
	}
	path, err := mounts.Resolve(request.GetVolumePath())
	if err != nil {
		return nil, err
	}
	if _, found := used.at(path); !found {
		return nil, status.Errorf(codes.NotFound, "volume %s is not at %s, it is mounted at %q", volume.ID, path, used.points())
	}
	usage, err := stats(volume, path)
	if err != nil {
		return nil, err
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: usage}, nil
}

func stats(volume *pool.Volume, path string) ([]*csi.VolumeUsage, error) {
	if volume.Mode == pool.Block {
		size, err := loop.Size(path)
		return []*csi.VolumeUsage{{Unit: csi.VolumeUsage_BYTES, Total: size}}, err
	}
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return nil, fmt.Errorf("statfs %s: %w", path, err)
	}
	block := int64(stat.Bsize)
	return []*csi.VolumeUsage{
		{Unit: csi.VolumeUsage_BYTES, Total: int64(stat.Blocks) * block, Available: int64(stat.Bavail) * block, Used: int64(stat.Blocks-stat.Bfree) * block},
		{Unit: csi.VolumeUsage_INODES, Total: int64(stat.Files), Available: int64(stat.Ffree), Used: int64(stat.Files - stat.Ffree)},
	}, nil
}

// NodeExpandVolume implements CSI: it makes the loop device as long as the disk and the file system as large as the
// device, both while they are in use. Where the file system can not be grown so, the answer is FAILED_PRECONDITION,
// as the spec wants it, and NodeStageVolume does it the next time.
func (n *Node) NodeExpandVolume(ctx context.Context, request *csi.NodeExpandVolumeRequest) (*csi.NodeExpandVolumeResponse, error) {
	if err := required("volume_id", request.GetVolumeId()); err != nil {
		return nil, err
	}
	if err := required("volume_path", request.GetVolumePath()); err != nil {
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
	if wanted := request.GetCapacityRange().GetRequiredBytes(); wanted > volume.SizeBytes {
		return nil, status.Errorf(codes.OutOfRange, "found required_bytes %d, expected at most %d, the volume's size: the controller expands it first", wanted, volume.SizeBytes)
	}
	used, err := usedBy(n.Pool, volume.ID)
	if err != nil {
		return nil, err
	}
	if len(used.mounts) == 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is not staged", volume.ID)
	}
	for _, device := range used.devices {
		if err := loop.Refresh(device); err != nil {
			return nil, err
		}
		if volume.Mode == pool.Block {
			continue
		}
		err := filesystem.Grow(ctx, volume.FSType, device.Path(), used.points()[0])
		if errors.Is(err, filesystem.ErrOffline) {
			return nil, status.Errorf(codes.FailedPrecondition, "volume %s is in use, and grows when it is staged next: %v", volume.ID, err)
		}
		if err != nil {
			return nil, err
		}
	}
	return &csi.NodeExpandVolumeResponse{CapacityBytes: volume.SizeBytes}, nil
}

// requireDirectory sees that the orchestrator has kept its part.
func requireDirectory(field, path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return invalid("%s: %v", field, err)
	}
	if !info.IsDir() {
		return invalid("%s: found %s, expected a directory", field, path)
	}
	return nil
}
