// Package pool keeps the volumes: a directory for each with its sparse disk and its record.
//
//	POOL/volumes/ID/disk.img      the disk
//	POOL/volumes/ID/limit/        a small file system that holds disk.img instead, for outOfSpace (see limit.go)
//	POOL/volumes/ID/volume.json   the record; a volume exists from its rename into place until its removal
//	POOL/locks/ID                 one operation at a time for each volume, over all processes (see lock.go)
//
// Snapshots and clones will be reflinks from disk.img to disk.img, which is why the pool is meant to lie on xfs.
package pool

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// ErrNotFound is a volume that does not exist.
var ErrNotFound = errors.New("no such volume")

// Pool is a directory of volumes. It has no state of its own: processes that open the same one see the same volumes.
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
	for _, dir := range []string{volumesDir, locksDir} {
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
	if !ValidID(id) {
		return nil, fmt.Errorf("%w: %q", ErrNotFound, id)
	}
	content, err := os.ReadFile(filepath.Join(p.Dir(id), recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %q", ErrNotFound, id)
	}
	if err != nil {
		return nil, fmt.Errorf("read volume %s: %w", id, err)
	}
	var volume Volume
	if err := json.Unmarshal(content, &volume); err != nil {
		return nil, fmt.Errorf("read volume %s: %s: %w", id, recordFile, err)
	}
	return &volume, nil
}

// List reads all records, ordered by id.
func (p *Pool) List() ([]*Volume, error) {
	entries, err := os.ReadDir(p.VolumesDir())
	if err != nil {
		return nil, fmt.Errorf("list volumes: %w", err)
	}
	volumes := make([]*Volume, 0, len(entries))
	for _, entry := range entries {
		volume, err := p.Get(entry.Name())
		if errors.Is(err, ErrNotFound) {
			continue // being created, or deleted between two steps of ours
		}
		if err != nil {
			return nil, err
		}
		volumes = append(volumes, volume)
	}
	slices.SortFunc(volumes, func(a, b *Volume) int { return strings.Compare(a.ID, b.ID) })
	return volumes, nil
}

// Create makes the disk, then the record. What an earlier try that came to no end has left is thrown away first.
// The caller holds the volume's lock.
func (p *Pool) Create(volume *Volume) error {
	if err := p.removeDir(volume.ID); err != nil {
		return fmt.Errorf("create volume %s: %w", volume.ID, err)
	}
	disk, err := p.makeRoom(volume)
	if err == nil {
		err = makeSparse(disk, volume.SizeBytes)
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

// Put replaces the record in one step. It is not synced: the process may die at any point, but a machine that does
// takes the whole cluster with it. The caller holds the volume's lock.
func (p *Pool) Put(volume *Volume) error {
	content, err := json.MarshalIndent(volume, "", "  ")
	if err != nil {
		return fmt.Errorf("write volume %s: %w", volume.ID, err)
	}
	path := filepath.Join(p.Dir(volume.ID), recordFile)
	if err := os.WriteFile(path+".new", append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("write volume %s: %w", volume.ID, err)
	}
	if err := os.Rename(path+".new", path); err != nil {
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
	if err := os.Remove(filepath.Join(p.Dir(id), recordFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
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
	var stat syscall.Stat_t
	if err := syscall.Stat(disk, &stat); err != nil {
		return 0, fmt.Errorf("stat %s: %w", disk, err)
	}
	return stat.Blocks * 512, nil // st_blocks counts these, whatever the file system's block size
}
