package driver

import (
	"context"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pelotech.ot/vmdisk/hack/cluster/csi/faults"
	"pelotech.ot/vmdisk/hack/cluster/csi/params"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

// origin is what a new volume is a copy of. Its lock is held until it is released.
type origin struct {
	// disk has the bytes.
	disk      string
	sizeBytes int64
	// whole says that the disk is not to be formatted: it has a file system, or whatever a Block volume's user put
	// there.
	whole bool
	// nodes are those where a copy can be made; nil is anywhere, since all nodes have one pool.
	nodes   []string
	release func()
}

// none is the origin of a volume that is no copy.
var none = origin{release: func() {}}

// copied says whether there is a source.
func (o origin) copied() bool { return o.disk != "" }

// reaches says whether a copy can be made for that node.
func (o origin) reaches(node string) bool { return o.nodes == nil || slices.Contains(o.nodes, node) }

// parseSource reads a CreateVolume request's volume_content_source.
func parseSource(content *csi.VolumeContentSource) (pool.Source, error) {
	var source pool.Source
	switch {
	case content == nil:
		return source, nil
	case content.GetSnapshot() != nil:
		source.Snapshot = content.GetSnapshot().GetSnapshotId()
		return source, required("snapshot_id", source.Snapshot)
	case content.GetVolume() != nil:
		source.Volume = content.GetVolume().GetVolumeId()
		return source, required("volume_id", source.Volume)
	default:
		return source, invalid("found a volume_content_source without a type, expected a snapshot or a volume")
	}
}

// sourceAsCSI is the way back.
func sourceAsCSI(source pool.Source) *csi.VolumeContentSource {
	switch {
	case source.Snapshot != "":
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
			Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: source.Snapshot}}}
	case source.Volume != "":
		return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
			Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: source.Volume}}}
	default:
		return nil
	}
}

// sourceFaults are those of CreateVolume with a source, which does not need to be looked for first.
func (c *Controller) sourceFaults(ctx context.Context, volume *pool.Volume, class params.Class) error {
	operation, hold, times := faults.Restore, class.HoldRestore, class.FailRestore
	switch {
	case volume.Source.Volume != "":
		operation, hold, times = faults.Clone, class.HoldClone, class.FailClone
	case volume.Source.Snapshot == "":
		return nil
	}
	if err := c.Faults.Hold(ctx, hold, operation, volume.ID, class.Claim); err != nil {
		return err
	}
	return failAsAsked(c.Faults, operation, volume.ID, times, class)
}

// open locks the source and says what there is to copy: NOT_FOUND where there is no source.
func (c *Controller) open(ctx context.Context, source pool.Source, class params.Class) (origin, error) {
	switch {
	case source.Snapshot != "":
		return c.openSnapshot(ctx, source.Snapshot, class)
	case source.Volume != "":
		return c.openVolume(ctx, source.Volume, class)
	default:
		return none, nil
	}
}

func (c *Controller) openSnapshot(ctx context.Context, id string, class params.Class) (origin, error) {
	release, err := c.Pool.LockSnapshot(ctx, id)
	if err != nil {
		return none, err
	}
	snapshot, own, err := c.usableSnapshot(id)
	if err != nil {
		release()
		return none, err
	}
	opened := origin{
		disk: c.Pool.SnapshotDisk(id), sizeBytes: snapshot.SizeBytes,
		whole: snapshot.Formatted || snapshot.Mode == pool.Block, release: release,
	}
	if own.NodeLocal || class.NodeLocal {
		opened.nodes = snapshot.Nodes
	}
	return opened, nil
}

func (c *Controller) usableSnapshot(id string) (*pool.Snapshot, params.SnapshotClass, error) {
	snapshot, err := c.Pool.GetSnapshot(id)
	if err != nil {
		return nil, params.SnapshotClass{}, err
	}
	class, err := snapshot.Class()
	if err != nil {
		return nil, params.SnapshotClass{}, err
	}
	ready, err := c.ready(snapshot, class)
	if err == nil && !ready {
		err = status.Errorf(codes.Unavailable, "snapshot %s is not ready to use", id)
	}
	return snapshot, class, err
}

func (c *Controller) openVolume(ctx context.Context, id string, class params.Class) (origin, error) {
	release, err := c.Pool.Lock(ctx, id)
	if err != nil {
		return none, err
	}
	volume, disk, err := c.flushed(id)
	if err != nil {
		release()
		return none, err
	}
	opened := origin{
		disk: disk, sizeBytes: volume.SizeBytes,
		whole: volume.Formatted || volume.Mode == pool.Block, release: release,
	}
	if class.NodeLocal {
		opened.nodes = volume.Nodes
	}
	return opened, nil
}

// flushed is a volume whose disk has what was written to it. The caller holds the volume's lock.
func (c *Controller) flushed(id string) (*pool.Volume, string, error) {
	volume, err := c.Pool.Get(id)
	if err != nil {
		return nil, "", err
	}
	if err := flush(c.Pool, volume); err != nil {
		return nil, "", err
	}
	disk, err := c.Pool.Disk(volume)
	return volume, disk, err
}
