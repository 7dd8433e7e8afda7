package mounts

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Device mounts the file system on a device. A second mount of the same device is the same file system: the kernel
// keeps one superblock for it, which is how both nodes of this machine can use a shared volume.
func Device(device, fsType, point string, options []string) error {
	bits, data := split(options)
	if err := unix.Mount(device, point, fsType, bits, data); err != nil {
		return fmt.Errorf("mount %s of %s at %s with options %q: %w", fsType, device, point, options, err)
	}
	return nil
}

// Bind makes what is at source visible at point too, and can not leave a writable mount where a read-only one was asked
// for.
func Bind(source, point string, readOnly bool) error {
	if err := unix.Mount(source, point, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind mount %s at %s: %w", source, point, err)
	}
	if !readOnly {
		return nil
	}
	// The kernel ignores the flag on the first call.
	if err := unix.Mount("", point, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return errors.Join(fmt.Errorf("make %s read-only: %w", point, err), Unmount(point))
	}
	return nil
}

// Sync writes the file system that is mounted at that path to its device.
func Sync(point string) error {
	directory, err := os.Open(point)
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	defer directory.Close()
	if err := unix.Syncfs(int(directory.Fd())); err != nil {
		return fmt.Errorf("sync %s: %w", point, err)
	}
	return nil
}

// Unmount takes away everything that is mounted at that path. It is no error when nothing is, or the path is absent.
func Unmount(point string) error {
	for {
		err := unix.Unmount(point, unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil:
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOENT):
			return nil
		default:
			return fmt.Errorf("unmount %s: %w", point, err)
		}
	}
}

// Abandon unmounts as Unmount does, and where a path is in use, takes it out of the tree at once and lets the kernel
// do the rest when the last user is gone.
func Abandon(point string) error {
	if Unmount(point) == nil {
		return nil
	}
	if err := unix.Unmount(point, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("unmount %s lazily: %w", point, err)
	}
	return nil
}

// MakeFile makes an empty file, for a device node to be bind mounted on it.
func MakeFile(path string) error {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return fmt.Errorf("make a mount point: %w", err)
	}
	return file.Close()
}

// RemovePoint removes an empty file or directory that was a mount point. It never removes content: what is not empty
// was not unmounted.
func RemovePoint(path string) error {
	if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("remove a mount point: %w", err)
	}
	return nil
}
