package driver

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"pelotech.ot/vmdisk/hack/cluster/csi/faults"
	"pelotech.ot/vmdisk/hack/cluster/csi/params"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

// CreateSnapshot implements CSI (spec "CreateSnapshot"): idempotent by name, ALREADY_EXISTS for a name that has a
// snapshot of another volume. What was written to the volume before the call is in the snapshot; of a volume in use it
// is what a crash at that moment would have left. csi-snapshotter calls again until a snapshot is ready to use.
func (c *Controller) CreateSnapshot(ctx context.Context, request *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	if err := required("name", request.GetName()); err != nil {
		return nil, err
	}
	if err := required("source_volume_id", request.GetSourceVolumeId()); err != nil {
		return nil, err
	}
	class, err := params.ParseSnapshotClass(request.GetParameters())
	if err != nil {
		return nil, invalid("%v", err)
	}
	id := pool.SnapshotID(request.GetName())
	unlock, err := c.Pool.LockSnapshot(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	snapshot, err := c.Pool.GetSnapshot(id)
	switch {
	case errors.Is(err, pool.ErrSnapshotNotFound):
		if err := c.snapshotFaults(ctx, id, request.GetSourceVolumeId(), class); err != nil {
			return nil, err
		}
		snapshot, err = c.cut(ctx, id, request)
	case err == nil && snapshot.Volume != request.GetSourceVolumeId():
		err = status.Errorf(codes.AlreadyExists, "snapshot %q exists and is of volume %s", snapshot.Name, snapshot.Volume)
	}
	if err != nil {
		return nil, err
	}
	told, err := c.tell(snapshot)
	return &csi.CreateSnapshotResponse{Snapshot: told}, err
}

// snapshotFaults come before the snapshot is cut. A snapshot of a volume that does not exist knows none.
func (c *Controller) snapshotFaults(ctx context.Context, id, source string, class params.SnapshotClass) error {
	if _, err := c.Pool.Get(source); err != nil {
		return err
	}
	if err := c.Faults.Hold(ctx, class.Hold, faults.CreateSnapshot, id, snapshotClaim(class)); err != nil {
		return err
	}
	if err := faults.Sleep(ctx, class.SlowCreate); err != nil {
		return err
	}
	return failSnapshotAsAsked(c.Faults, faults.CreateSnapshot, id, class.FailCreate, class)
}

// cut makes the snapshot. The caller holds its lock.
func (c *Controller) cut(ctx context.Context, id string, request *csi.CreateSnapshotRequest) (*pool.Snapshot, error) {
	unlock, err := c.Pool.Lock(ctx, request.GetSourceVolumeId())
	if err != nil {
		return nil, err
	}
	defer unlock()
	source, err := c.Pool.Get(request.GetSourceVolumeId())
	if err != nil {
		return nil, err
	}
	if err := flush(c.Pool, source); err != nil {
		return nil, err
	}
	snapshot := &pool.Snapshot{
		ID: id, Name: request.GetName(), Volume: source.ID, SizeBytes: source.SizeBytes,
		Mode: source.Mode, FSType: source.FSType, Formatted: source.Formatted, Nodes: source.Nodes,
		Parameters: request.GetParameters(), CreatedAt: time.Now().UTC(),
	}
	return snapshot, c.Pool.CreateSnapshot(snapshot, source)
}

// tell says in CSI's words what there is to say of a snapshot at this moment.
func (c *Controller) tell(snapshot *pool.Snapshot) (*csi.Snapshot, error) {
	class, err := snapshot.Class()
	if err != nil {
		return nil, err
	}
	ready, err := c.ready(snapshot, class)
	if err != nil {
		return nil, err
	}
	return &csi.Snapshot{
		SnapshotId: snapshot.ID, SourceVolumeId: snapshot.Volume, CreationTime: timestamppb.New(snapshot.CreatedAt),
		SizeBytes: class.RestoreSize.Of(snapshot.SizeBytes), ReadyToUse: ready,
	}, nil
}

// ready says whether the class lets the snapshot be used already.
func (c *Controller) ready(snapshot *pool.Snapshot, class params.SnapshotClass) (bool, error) {
	if time.Since(snapshot.CreatedAt) < class.ReadyAfter {
		return false, nil
	}
	held, err := c.Faults.Held(class.HoldReady)
	return !held, err
}

// DeleteSnapshot implements CSI (spec "DeleteSnapshot"): idempotent, OK for a snapshot that does not exist. Volumes
// that were made from it are not concerned.
func (c *Controller) DeleteSnapshot(ctx context.Context, request *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	id := request.GetSnapshotId()
	if err := required("snapshot_id", id); err != nil {
		return nil, err
	}
	if !pool.ValidID(id) { // no snapshot of this driver ever had it
		return &csi.DeleteSnapshotResponse{}, nil
	}
	unlock, err := c.Pool.LockSnapshot(ctx, id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if err := c.deleteSnapshotFaults(ctx, id); err != nil {
		return nil, err
	}
	return &csi.DeleteSnapshotResponse{}, errors.Join(c.Pool.DeleteSnapshot(id), c.Faults.ForgetSnapshot(id))
}

func (c *Controller) deleteSnapshotFaults(ctx context.Context, id string) error {
	snapshot, err := c.Pool.GetSnapshot(id)
	if errors.Is(err, pool.ErrSnapshotNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	class, err := snapshot.Class()
	if err != nil {
		return err
	}
	if err := c.Faults.Hold(ctx, class.HoldDelete, faults.DeleteSnapshot, id, snapshotClaim(class)); err != nil {
		return err
	}
	return failSnapshotAsAsked(c.Faults, faults.DeleteSnapshot, id, class.FailDelete, class)
}

// snapshotClaim stands in a hold's mark where a volume has its claim.
func snapshotClaim(class params.SnapshotClass) params.Claim {
	return params.Claim{Namespace: class.Owner.Namespace, Name: class.Owner.Name, Volume: class.Owner.Content}
}

// ListSnapshots implements CSI: no entry, and no error, where a filter finds nothing.
func (c *Controller) ListSnapshots(_ context.Context, request *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	after, err := pageStart(request)
	if err != nil {
		return nil, err
	}
	snapshots, err := c.Pool.ListSnapshots()
	if err != nil {
		return nil, err
	}
	snapshots = slices.DeleteFunc(snapshots, func(snapshot *pool.Snapshot) bool {
		return isNot(request.GetSnapshotId(), snapshot.ID) || isNot(request.GetSourceVolumeId(), snapshot.Volume)
	})
	page, more := paginate(snapshots, func(snapshot *pool.Snapshot) string { return snapshot.ID }, after, int(request.GetMaxEntries()))
	response := &csi.ListSnapshotsResponse{}
	for _, snapshot := range page {
		told, err := c.tell(snapshot)
		if err != nil {
			return nil, err
		}
		response.Entries = append(response.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: told})
	}
	if more {
		response.NextToken = tokenPrefix + page[len(page)-1].ID
	}
	return response, nil
}

// isNot says whether a filter, where there is one, wants another value.
func isNot(wanted, found string) bool { return wanted != "" && wanted != found }
