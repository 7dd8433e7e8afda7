package pool

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// unrestricted bounds a limit's file system until Restrict sets its real size. tmpfs can be made smaller only when
// it had a bound from the beginning.
const unrestricted = int64(1) << 34

// Limit is where the small file system of an outOfSpace volume is mounted.
//
// The sparse disk on it has the volume's nominal size, as with any thin provisioned storage, so neither the device's
// size nor statfs tells a writer that only so many bytes have a place. When they are used up, the loop device's
// writes fail with ENOSPC, and so do the writer's: at once with O_DIRECT, on fsync otherwise. tmpfs is exact to the
// page, needs no mkfs, and stays mounted when this process is killed.
func (p *Pool) Limit(id string) string { return filepath.Join(p.Dir(id), limitDir) }

// mountLimit bounds a Block volume right away. What mkfs will write is not the writer's, so the bound of a Filesystem
// volume has to wait for it (see Restrict).
func (p *Pool) mountLimit(volume *Volume, bytes int64) error {
	if volume.Mode == Filesystem {
		bytes = unrestricted
	}
	path := p.Limit(volume.ID)
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	if err := syscall.Mount("vmdisk-limit", path, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", bytes)); err != nil {
		return fmt.Errorf("mount %s: %w", path, err)
	}
	return nil
}

// Restrict bounds a freshly formatted volume: from now on so many bytes more can be written. Without outOfSpace it
// does nothing.
func (p *Pool) Restrict(volume *Volume) error {
	class, err := volume.Class()
	if err != nil || class.OutOfSpace == 0 {
		return err
	}
	allocated, err := p.Allocated(volume)
	if err != nil {
		return err
	}
	path := p.Limit(volume.ID)
	options := fmt.Sprintf("size=%d", allocated+class.OutOfSpace)
	if err := syscall.Mount("vmdisk-limit", path, "tmpfs", syscall.MS_REMOUNT, options); err != nil {
		return fmt.Errorf("remount %s with %s: %w", path, options, err)
	}
	return nil
}

// unmountLimit also ends a limit that was mounted twice.
func (p *Pool) unmountLimit(id string) error {
	path := p.Limit(id)
	if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for {
		err := syscall.Unmount(path, 0)
		if errors.Is(err, syscall.EINVAL) { // it is no mount point
			return nil
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}
