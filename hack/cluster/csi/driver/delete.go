package driver

import (
	"context"
	"errors"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pelotech.ot/vmdisk/hack/cluster/csi/faults"
	"pelotech.ot/vmdisk/hack/cluster/csi/params"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

// DeleteVolume implements CSI (spec "DeleteVolume"): idempotent, OK for a volume that does not exist, and
// FAILED_PRECONDITION while it is in use, that is, mounted or open anywhere on this machine. A kubelet unstages a volume
// only some time after its last pod is gone from the API, so a deletion waits a little before it says so.
func (c *Controller) DeleteVolume(ctx context.Context, request *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	id := request.GetVolumeId()
	if err := required("volume_id", id); err != nil {
		return nil, err
	}
	if !pool.ValidID(id) { // no volume of this driver ever had it
		return &csi.DeleteVolumeResponse{}, nil
	}
	if err := awaitUnused(ctx, c.Pool, id); err != nil {
		return nil, err
	}
	unlock, err := c.Pool.Lock(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := c.deleteFaults(ctx, id); err != nil {
		return nil, err
	}
	used, err := usedBy(c.Pool, id)
	if err != nil {
		return nil, err
	}
	if len(used.mounts) > 0 {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is in use, it is mounted at %s", id, strings.Join(used.points(), ", "))
	}
	if err := c.settleSnapshots(ctx, id); err != nil {
		return nil, err
	}
	// A node that was killed between attaching and mounting leaves a device that nobody will unstage.
	if err := used.detach(ctx); err != nil {
		return nil, status.Errorf(codes.FailedPrecondition, "volume %s is in use: %v", id, err)
	}
	if err := c.Pool.Delete(id); err != nil {
		return nil, err
	}
	return &csi.DeleteVolumeResponse{}, c.Faults.Forget(id)
}

// settleSnapshots does what the snapshots of a volume that is being deleted ask for by their class: they refuse it, or
// go with it. The caller holds the volume's lock.
func (c *Controller) settleSnapshots(ctx context.Context, id string) error {
	snapshots, err := c.Pool.SnapshotsOf(id)
	if err != nil {
		return err
	}
	var lost []string
	for _, snapshot := range snapshots {
		class, err := snapshot.Class()
		if err != nil {
			return err
		}
		switch class.SourceDeletion {
		case params.Refused:
			return status.Errorf(codes.FailedPrecondition, "volume %s has snapshot %s, whose class refuses the deletion", id, snapshot.ID)
		case params.Lost:
			lost = append(lost, snapshot.ID)
		}
	}
	for _, snapshot := range lost {
		if err := c.lose(ctx, snapshot); err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) lose(ctx context.Context, id string) error {
	unlock, err := c.Pool.LockSnapshot(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	return errors.Join(c.Pool.DeleteSnapshot(id), c.Faults.ForgetSnapshot(id))
}

func (c *Controller) deleteFaults(ctx context.Context, id string) error {
	volume, err := c.Pool.Get(id)
	if status.Code(asStatus(err)) == codes.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	class, err := volume.Class()
	if err != nil {
		return err
	}
	if err := c.Faults.Hold(ctx, class.HoldDelete, faults.DeleteVolume, id, class.Claim); err != nil {
		return err
	}
	return failAsAsked(c.Faults, faults.DeleteVolume, id, class.FailDelete, class)
}
