// Package pool keeps the volumes and their snapshots: a directory for each with its sparse disk and its record.
//
//	POOL/volumes/ID/disk.img          the disk
//	POOL/volumes/ID/limit/            a small file system that holds disk.img instead, for outOfSpace (see limit.go)
//	POOL/volumes/ID/volume.json       the record; a volume exists from its rename into place until its removal
//	POOL/snapshots/ID/disk.img        what the disk was when the snapshot was cut (see snapshot.go)
//	POOL/snapshots/ID/snapshot.json   its record
//	POOL/locks/ID                     one operation at a time for each volume, over all processes (see lock.go)
//	POOL/locks/snapshot@ID            the same for each snapshot
//
// Snapshots, and volumes from a snapshot or another volume, are reflinks from disk.img to disk.img, which is why the
// pool is meant to lie on xfs (see copy.go).
package pool

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

// ErrNotFound is a volume that does not exist.
var ErrNotFound = errors.New("no such volume")

// Pool is a directory of volumes and snapshots. It has no state of its own: processes that open the same one see the same volumes.
type Pool struct {
	root string
}

const (
	volumesDir = "volumes"
	locksDir   = "locks"
	recordFile = "volume.json"
	diskFile   = "disk.img"
	limitDir   = "limit"
)

// Open makes the directories where they are missing. The path is resolved, because the kernel's loop and mount tables
// show resolved paths.
func Open(root string) (*Pool, error) {
	for _, dir := range []string{volumesDir, snapshotsDir, locksDir} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			return nil, fmt.Errorf("open pool: %w", err)
		}
	}
	absolute, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	resolved, err := filepath.EvalSymlinks(absolute)
	if err != nil {
		return nil, fmt.Errorf("open pool: %w", err)
	}
	return &Pool{root: resolved}, nil
}

// VolumesDir is the directory that every disk lies below.
func (p *Pool) VolumesDir() string { return filepath.Join(p.root, volumesDir) }

// Dir is the directory of one volume.
func (p *Pool) Dir(id string) string { return filepath.Join(p.root, volumesDir, id) }

// Disk is the path of a volume's disk.
func (p *Pool) Disk(volume *Volume) (string, error) {
	class, err := volume.Class()
	if err != nil {
		return "", fmt.Errorf("record of volume %s: %w", volume.ID, err)
	}
	if class.OutOfSpace > 0 {
		return filepath.Join(p.Limit(volume.ID), diskFile), nil
	}
	return filepath.Join(p.Dir(volume.ID), diskFile), nil
}

// Get reads a record.
func (p *Pool) Get(id string) (*Volume, error) {
	missing := fmt.Errorf("%w: %q", ErrNotFound, id)
	if !ValidID(id) {
		return nil, missing
	}
	volume, err := readRecord[Volume](filepath.Join(p.Dir(id), recordFile), missing)
	if err != nil {
		return nil, fmt.Errorf("read volume %s: %w", id, err)
	}
	return volume, nil
}

// List reads all records, ordered by id.
func (p *Pool) List() ([]*Volume, error) {
	volumes, err := listRecords(p.VolumesDir(), ErrNotFound, p.Get)
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	return volumes, nil
}

// Create makes the disk, then the record. What an earlier try that came to no end has left is thrown away first.
// The caller holds the volume's lock.
func (p *Pool) Create(volume *Volume) error {
	return p.create(volume, func(disk string) error { return makeSparse(disk, volume.SizeBytes) })
}

// CreateCopy makes a volume as Create does, with the bytes of a disk of this pool at its beginning and zeros behind
// them. The caller holds the lock of the source as well.
func (p *Pool) CreateCopy(volume *Volume, source string) error {
	return p.create(volume, func(disk string) error { return copyDisk(source, disk, volume.SizeBytes) })
}

func (p *Pool) create(volume *Volume, makeDisk func(disk string) error) error {
	if err := p.removeDir(volume.ID); err != nil {
		return fmt.Errorf("create volume %s: %w", volume.ID, err)
	}
	disk, err := p.makeRoom(volume)
	if err == nil {
		err = makeDisk(disk)
	}
	if err == nil {
		err = p.Put(volume)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("create volume %s: %w", volume.ID, err), p.removeDir(volume.ID))
	}
	return nil
}

func (p *Pool) makeRoom(volume *Volume) (string, error) {
	class, err := volume.Class()
	if err != nil {
		return "", err
	}
	if err := os.Mkdir(p.Dir(volume.ID), 0o700); err != nil {
		return "", err
	}
	if class.OutOfSpace > 0 {
		if err := p.mountLimit(volume, class.OutOfSpace); err != nil {
			return "", err
		}
	}
	return p.Disk(volume)
}

func makeSparse(path string, size int64) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(file.Truncate(size), file.Close())
}

// Put replaces the record in one step. The caller holds the volume's lock.
func (p *Pool) Put(volume *Volume) error {
	if err := writeRecord(filepath.Join(p.Dir(volume.ID), recordFile), volume); err != nil {
		return fmt.Errorf("write volume %s: %w", volume.ID, err)
	}
	return nil
}

// Resize sets the length of the disk, then writes it down. The caller holds the volume's lock.
func (p *Pool) Resize(volume *Volume, size int64) error {
	disk, err := p.Disk(volume)
	if err != nil {
		return err
	}
	if err := os.Truncate(disk, size); err != nil {
		return fmt.Errorf("resize volume %s: %w", volume.ID, err)
	}
	volume.SizeBytes = size
	return p.Put(volume)
}

// Blank throws away what is in the disk. The caller holds the volume's lock, and no loop device has the disk.
func (p *Pool) Blank(volume *Volume) (string, error) {
	disk, err := p.Disk(volume)
	if err != nil {
		return "", err
	}
	if err := errors.Join(os.Truncate(disk, 0), os.Truncate(disk, volume.SizeBytes)); err != nil {
		return "", fmt.Errorf("blank volume %s: %w", volume.ID, err)
	}
	return disk, nil
}

// Delete removes record, disk and limit. It is no error when they are gone. The caller holds the volume's lock, and
// nothing has the disk open.
func (p *Pool) Delete(id string) error {
	if !ValidID(id) {
		return nil
	}
	if err := p.removeDir(id); err != nil {
		return fmt.Errorf("delete volume %s: %w", id, err)
	}
	return nil
}

// removeDir takes the record away first: from then on the volume does not exist, whatever becomes of the rest.
func (p *Pool) removeDir(id string) error {
	if err := removeRecord(filepath.Join(p.Dir(id), recordFile)); err != nil {
		return err
	}
	if err := p.unmountLimit(id); err != nil {
		return err
	}
	return os.RemoveAll(p.Dir(id))
}

// Allocated is how many bytes the disk takes in the pool.
func (p *Pool) Allocated(volume *Volume) (int64, error) {
	disk, err := p.Disk(volume)
	if err != nil {
		return 0, err
	}
	return allocated(disk)
}

func allocated(disk string) (int64, error) {
	var stat syscall.Stat_t
	if err := syscall.Stat(disk, &stat); err != nil {
		return 0, fmt.Errorf("stat %s: %w", disk, err)
	}
	return stat.Blocks * 512, nil // st_blocks counts these, whatever the file system's block size
}
