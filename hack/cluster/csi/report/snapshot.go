package report

import (
	"errors"
	"io/fs"
	"time"

	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

// Snapshot is a snapshot. The kernel has nothing of it: it is a file.
type Snapshot struct {
	ID string `json:"id"`
	// Namespace, VolumeSnapshot and Content name the objects that it was made for.
	Namespace      string `json:"namespace,omitempty"`
	VolumeSnapshot string `json:"volumeSnapshot,omitempty"`
	Content        string `json:"content,omitempty"`
	// Volume is the id of the source, which may be gone.
	Volume    string   `json:"volume"`
	Nodes     []string `json:"nodes"`
	SizeBytes int64    `json:"sizeBytes"`
	// AllocatedBytes counts those that are shared with the source and with copies, too.
	AllocatedBytes int64     `json:"allocatedBytes"`
	CreatedAt      time.Time `json:"createdAt"`
	Disk           string    `json:"disk"`
}

func describeSnapshots(volumes *pool.Pool) ([]Snapshot, error) {
	records, err := volumes.ListSnapshots()
	if err != nil {
		return nil, err
	}
	snapshots := make([]Snapshot, 0, len(records))
	for _, record := range records {
		class, err := record.Class()
		if err != nil {
			return nil, err
		}
		allocated, err := volumes.AllocatedBySnapshot(record.ID)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may be deleted at this moment
			return nil, err
		}
		snapshots = append(snapshots, Snapshot{
			ID: record.ID, Namespace: class.Owner.Namespace, VolumeSnapshot: class.Owner.Name, Content: class.Owner.Content,
			Volume: record.Volume, Nodes: record.Nodes, SizeBytes: record.SizeBytes, AllocatedBytes: allocated,
			CreatedAt: record.CreatedAt, Disk: volumes.SnapshotDisk(record.ID),
		})
	}
	return snapshots, nil
}
