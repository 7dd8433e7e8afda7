// Package filesystem makes file systems on volumes and grows them.
package filesystem

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// The types that a claim can ask for by csi.storage.k8s.io/fstype.
const (
	Ext4    = "ext4"
	XFS     = "xfs"
	Default = Ext4
)

// MinimumBytes is the least size of a volume with that file system.
func MinimumBytes(fsType string) (int64, error) {
	switch fsType {
	case Ext4:
		return 16 << 20, nil
	case XFS:
		return 300 << 20, nil // mkfs.xfs makes no smaller one
	default:
		return 0, fmt.Errorf("found file system type %q, expected %s or %s", fsType, Ext4, XFS)
	}
}

// Format makes a file system on a disk of zeros.
func Format(ctx context.Context, fsType, disk string) error {
	switch fsType {
	case Ext4:
		// No reserved blocks, as Kubernetes' own mounter does it. The disk is sparse and zero already, so neither the
		// inode tables nor the journal need to be written, now or by a kernel thread later.
		return run(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-E", "nodiscard,assume_storage_prezeroed=1", disk)
	case XFS:
		return run(ctx, "mkfs.xfs", "-q", "-f", "-K", disk)
	default:
		return fmt.Errorf("format %s: found file system type %q, expected %s or %s", disk, fsType, Ext4, XFS)
	}
}

// FormatThin makes an ext4 on a disk whose storage will run out of space. All that the file system writes for itself
// lies at the beginning of the disk and is allocated now, so that a missing block hits the data of a writer, who gets
// ENOSPC, and does not abort the journal. (xfs can not be had this way: it shuts down.)
func FormatThin(ctx context.Context, disk string) error {
	// No resize inode: its blocks would lie all over the disk. A small journal and few inodes, because all count.
	if err := run(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^resize_inode", "-i", "1048576", "-J", "size=4",
		"-E", "nodiscard,packed_meta_blocks=1,assume_storage_prezeroed=1", disk); err != nil {
		return err
	}
	superblock, err := readSuperblock(ctx, disk)
	if err != nil {
		return err
	}
	used := (superblock.blocks - superblock.free) * superblock.blockSize
	file, err := os.OpenFile(disk, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("allocate metadata: %w", err)
	}
	defer file.Close()
	if err := unix.Fallocate(int(file.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, used); err != nil {
		return fmt.Errorf("allocate %d bytes of metadata in %s: %w", used, disk, err)
	}
	return nil
}

// Grow makes a mounted file system as large as its device. It is no error when it is already. ErrOffline says that it
// has to be unmounted first: ext4's online resize needs CAP_SYS_RESOURCE, which not every machine's root has.
func Grow(ctx context.Context, fsType, device, point string) error {
	switch fsType {
	case Ext4:
		err := run(ctx, "resize2fs", device)
		if err != nil && !hasSysResource() {
			return fmt.Errorf("%w: %w", ErrOffline, err)
		}
		return err
	case XFS:
		return run(ctx, "xfs_growfs", "-d", point)
	default:
		return fmt.Errorf("grow %s: found file system type %q, expected %s or %s", device, fsType, Ext4, XFS)
	}
}

// ErrOffline is a file system that can not grow while it is mounted.
var ErrOffline = errors.New("without CAP_SYS_RESOURCE ext4 grows only before it is mounted")

// CanGrowOnline says whether Grow can work on a mounted file system.
func CanGrowOnline(fsType string) bool { return fsType != Ext4 || hasSysResource() }

func hasSysResource() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	return unix.Capget(&header, &sets[0]) == nil && sets[0].Effective&(1<<unix.CAP_SYS_RESOURCE) != 0
}

// GrowUnmounted makes the file system on a disk that nobody has as large as the disk. xfs has no such way, and needs
// none, since Grow always works with it.
func GrowUnmounted(ctx context.Context, fsType, disk string) error {
	if fsType != Ext4 {
		return nil
	}
	info, err := os.Stat(disk)
	if err != nil {
		return fmt.Errorf("grow: %w", err)
	}
	superblock, err := readSuperblock(ctx, disk)
	if err != nil {
		return err
	}
	if info.Size()-superblock.blocks*superblock.blockSize < superblock.blockSize {
		return nil
	}
	// resize2fs wants to see a check. Exit code 1 is that of errors which it corrected.
	err = run(ctx, "e2fsck", "-f", "-p", disk)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		return err
	}
	return run(ctx, "resize2fs", disk)
}

// superblock is what is read of an ext4's.
type superblock struct {
	blocks, free, blockSize int64
}

func readSuperblock(ctx context.Context, disk string) (superblock, error) {
	output, err := exec.CommandContext(ctx, "dumpe2fs", "-h", disk).Output()
	if err != nil {
		return superblock{}, fmt.Errorf("dumpe2fs -h %s: %w", disk, err)
	}
	return parseSuperblock(string(output))
}

func parseSuperblock(dump string) (superblock, error) {
	values := map[string]int64{"Block count": -1, "Free blocks": -1, "Block size": -1}
	for line := range strings.Lines(dump) {
		key, text, _ := strings.Cut(line, ":")
		if _, wanted := values[key]; !wanted {
			continue
		}
		value, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err != nil {
			return superblock{}, fmt.Errorf("dumpe2fs: found %q, expected a number", strings.TrimSpace(line))
		}
		values[key] = value
	}
	for key, value := range values {
		if value < 0 {
			return superblock{}, fmt.Errorf("dumpe2fs: found no line %q", key)
		}
	}
	return superblock{values["Block count"], values["Free blocks"], values["Block size"]}, nil
}

func run(ctx context.Context, name string, args ...string) error {
	output, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(output)))
	}
	return nil
}
