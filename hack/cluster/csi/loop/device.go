package loop

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

var errDetaching = errors.New("the device is being detached")

// detaching recognises what sysfs answers while the kernel takes a file away.
func detaching(err error) error {
	if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EIO) {
		return errDetaching
	}
	return err
}

const (
	control = "/dev/loop-control"
	// attachTries bounds the race with others who take the device that the kernel called free.
	attachTries = 64
	// detachPatience is for openers that look at a device for a moment, such as blkid.
	detachPatience = 2 * time.Second
	detachInterval = 10 * time.Millisecond
)

// Attach gives the file a loop device, the one that it has where it has one. Two attachments of one file would be two
// devices with caches that know nothing of each other, so callers hold the volume's lock.
func Attach(file string) (Device, error) {
	devices, err := Table()
	if err != nil {
		return Device{}, err
	}
	if device, found := Of(devices, file); found {
		return device, nil
	}
	backing, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return Device{}, fmt.Errorf("attach a loop device: %w", err)
	}
	defer backing.Close()
	for range attachTries {
		number, err := configureFree(backing, file)
		if errors.Is(err, unix.EBUSY) {
			continue
		}
		if err != nil {
			return Device{}, fmt.Errorf("attach a loop device to %s: %w", file, err)
		}
		name := "loop" + strconv.Itoa(number)
		device, err := readDevice(filepath.Join(sysBlock, name), name)
		if err != nil {
			return Device{}, fmt.Errorf("attach a loop device to %s: %w", file, err)
		}
		return device, nil
	}
	return Device{}, fmt.Errorf("attach a loop device to %s: somebody else was faster %d times", file, attachTries)
}

func configureFree(backing *os.File, name string) (int, error) {
	ctl, err := os.OpenFile(control, os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer ctl.Close()
	number, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return 0, fmt.Errorf("ask %s for a free device: %w", control, err)
	}
	device, err := os.OpenFile("/dev/loop"+strconv.Itoa(number), os.O_RDWR, 0)
	if err != nil {
		return 0, err
	}
	defer device.Close()
	config := unix.LoopConfig{Fd: uint32(backing.Fd())}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], name)
	return number, unix.IoctlLoopConfigure(int(device.Fd()), &config)
}

// Detach takes the file away and sees it gone. While somebody has the device open the kernel only marks it, to do it
// on the last close; the error says so.
func Detach(ctx context.Context, device Device) error {
	if err := release(device); err != nil {
		return fmt.Errorf("detach %s from %s: %w", device.Path(), device.BackingFile, err)
	}
	patience, cancel := context.WithTimeout(ctx, detachPatience)
	defer cancel()
	for {
		gone, err := detached(device)
		if err != nil || gone {
			return err
		}
		select {
		case <-patience.Done():
			return fmt.Errorf("detach %s from %s: it is still open somewhere; the kernel detaches it on the last close", device.Path(), device.BackingFile)
		case <-time.After(detachInterval):
		}
	}
}

func release(device Device) error {
	file, err := os.OpenFile(device.Path(), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = unix.IoctlRetInt(int(file.Fd()), unix.LOOP_CLR_FD)
	if errors.Is(err, unix.ENXIO) { // nothing is attached any more
		return nil
	}
	return err
}

func detached(device Device) (bool, error) {
	devices, err := Table()
	if err != nil {
		return false, err
	}
	for _, other := range devices {
		if other.Name == device.Name && other.BackingFile == device.BackingFile {
			return false, nil
		}
	}
	return true, nil
}

// Refresh makes the device as long as its file.
func Refresh(device Device) error {
	file, err := os.OpenFile(device.Path(), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("refresh the size of %s: %w", device.Path(), err)
	}
	defer file.Close()
	if err := unix.IoctlSetInt(int(file.Fd()), unix.LOOP_SET_CAPACITY, 0); err != nil {
		return fmt.Errorf("refresh the size of %s: %w", device.Path(), err)
	}
	return nil
}

// Sync writes to the file what the kernel keeps of the device in memory.
func Sync(device Device) error {
	file, err := os.Open(device.Path())
	if err != nil {
		return fmt.Errorf("sync %s: %w", device.Path(), err)
	}
	defer file.Close()
	if err := file.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", device.Path(), err)
	}
	return nil
}

// Size is the length of a block device in bytes.
func Size(path string) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", path, err)
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("size of %s: %w", path, err)
	}
	return size, nil
}

// Upon says whether the upper device has the lower one as its file. The kubelet attaches one to each Block volume
// that a pod uses, to keep it open.
func Upon(upper, lower Device) (bool, error) {
	file, err := os.Open(upper.Path())
	if err != nil {
		return false, fmt.Errorf("inspect %s: %w", upper.Path(), err)
	}
	defer file.Close()
	info, err := unix.IoctlLoopGetStatus64(int(file.Fd()))
	if errors.Is(err, unix.ENXIO) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("inspect %s: %w", upper.Path(), err)
	}
	backing := info.Rdevice
	return fmt.Sprintf("%d:%d", unix.Major(backing), unix.Minor(backing)) == lower.Number, nil
}
