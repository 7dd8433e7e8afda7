package pool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"pelotech.ot/vmdisk/hack/cluster/csi/params"
)

// ErrSnapshotNotFound is a snapshot that does not exist.
var ErrSnapshotNotFound = errors.New("no such snapshot")

const (
	snapshotsDir       = "snapshots"
	snapshotRecordFile = "snapshot.json"
)

// Snapshot is the record of a snapshot: the content of snapshot.json beside its disk.
type Snapshot struct {
	// ID is the CSI snapshot id, and the name of the snapshot's directory.
	ID string `json:"id"`
	// Name is the name in the CreateSnapshot request.
	Name string `json:"name"`
	// Volume is the source's id; the source may be gone.
	Volume string `json:"volume"`
	// SizeBytes is what the source had when the snapshot was cut, and the length of the disk.
	SizeBytes int64 `json:"sizeBytes"`
	// Mode, FSType, Formatted and Nodes are those of the source.
	Mode      Mode     `json:"volumeMode"`
	FSType    string   `json:"fsType,omitempty"`
	Formatted bool     `json:"formatted,omitempty"`
	Nodes     []string `json:"nodes"`
	// Parameters are the VolumeSnapshotClass's, as they came.
	Parameters map[string]string `json:"parameters,omitempty"`
	CreatedAt  time.Time         `json:"createdAt"`
}

// Class parses the parameters, which were checked when the snapshot was created.
func (s *Snapshot) Class() (params.SnapshotClass, error) {
	return params.ParseSnapshotClass(s.Parameters)
}

// SnapshotsDir is the directory of all snapshots.
func (p *Pool) SnapshotsDir() string { return filepath.Join(p.root, snapshotsDir) }

// SnapshotDir is the directory of one snapshot.
func (p *Pool) SnapshotDir(id string) string { return filepath.Join(p.root, snapshotsDir, id) }

// SnapshotDisk is the path of a snapshot's disk.
func (p *Pool) SnapshotDisk(id string) string { return filepath.Join(p.SnapshotDir(id), diskFile) }

// GetSnapshot reads a record.
func (p *Pool) GetSnapshot(id string) (*Snapshot, error) {
	missing := fmt.Errorf("%w: %q", ErrSnapshotNotFound, id)
	if !ValidID(id) {
		return nil, missing
	}
	snapshot, err := readRecord[Snapshot](filepath.Join(p.SnapshotDir(id), snapshotRecordFile), missing)
	if err != nil {
		return nil, fmt.Errorf("read snapshot %s: %w", id, err)
	}
	return snapshot, nil
}

// ListSnapshots reads all records, ordered by id.
func (p *Pool) ListSnapshots() ([]*Snapshot, error) {
	snapshots, err := listRecords(p.SnapshotsDir(), ErrSnapshotNotFound, p.GetSnapshot)
	if err != nil {
		return nil, fmt.Errorf("list snapshots: %w", err)
	}
	return snapshots, nil
}

// SnapshotsOf are those of one volume, ordered by id.
func (p *Pool) SnapshotsOf(volume string) ([]*Snapshot, error) {
	all, err := p.ListSnapshots()
	if err != nil {
		return nil, err
	}
	var found []*Snapshot
	for _, snapshot := range all {
		if snapshot.Volume == volume {
			found = append(found, snapshot)
		}
	}
	return found, nil
}

// CreateSnapshot copies the disk of the source, then makes the record. The caller holds the locks of both, and has seen
// to it that what was written to the source has reached its disk.
func (p *Pool) CreateSnapshot(snapshot *Snapshot, source *Volume) error {
	disk, err := p.Disk(source)
	if err != nil {
		return err
	}
	if err := p.DeleteSnapshot(snapshot.ID); err != nil { // what an earlier try has left
		return err
	}
	err = os.Mkdir(p.SnapshotDir(snapshot.ID), 0o700)
	if err == nil {
		err = copyDisk(disk, p.SnapshotDisk(snapshot.ID), snapshot.SizeBytes)
	}
	if err == nil {
		err = writeRecord(filepath.Join(p.SnapshotDir(snapshot.ID), snapshotRecordFile), snapshot)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("create snapshot %s: %w", snapshot.ID, err), p.DeleteSnapshot(snapshot.ID))
	}
	return nil
}

// DeleteSnapshot removes record and disk, the record first. It is no error when they are gone. The caller holds the
// snapshot's lock.
func (p *Pool) DeleteSnapshot(id string) error {
	if !ValidID(id) {
		return nil
	}
	dir := p.SnapshotDir(id)
	if err := errors.Join(removeRecord(filepath.Join(dir, snapshotRecordFile)), os.RemoveAll(dir)); err != nil {
		return fmt.Errorf("delete snapshot %s: %w", id, err)
	}
	return nil
}

// AllocatedBySnapshot is how many bytes its disk takes, together with those that it shares.
func (p *Pool) AllocatedBySnapshot(id string) (int64, error) { return allocated(p.SnapshotDisk(id)) }
