// Package loop attaches files to loop devices and finds them again. The kernel's table is the only memory: it tells
// after any restart which file is attached where.
package loop

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Device is a loop device that has a file.
type Device struct {
	// Name is that of the device, "loop3".
	Name string
	// Number is "major:minor", as the mount table shows it.
	Number string
	// BackingFile is the resolved path of the file, as it was when it was attached.
	BackingFile string
	// Deleted says that the file has no name any more.
	Deleted bool
}

// Path is the device node.
func (d Device) Path() string { return "/dev/" + d.Name }

const (
	sysBlock      = "/sys/block"
	deletedSuffix = " (deleted)"
)

// Table lists the loop devices of the machine that have a file.
func Table() ([]Device, error) { return readTable(sysBlock) }

func readTable(root string) ([]Device, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("read the loop table: %w", err)
	}
	var devices []Device
	for _, entry := range entries {
		name := entry.Name()
		number, isLoop := strings.CutPrefix(name, "loop")
		if _, err := strconv.Atoi(number); err != nil || !isLoop {
			continue
		}
		device, err := readDevice(filepath.Join(root, name), name)
		// The attribute is absent while no file is attached, and reads fail while one is being detached.
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, errDetaching) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read the loop table: %w", err)
		}
		devices = append(devices, device)
	}
	return devices, nil
}

func readDevice(dir, name string) (Device, error) {
	backing, err := os.ReadFile(filepath.Join(dir, "loop", "backing_file"))
	if err != nil {
		return Device{}, detaching(err)
	}
	number, err := os.ReadFile(filepath.Join(dir, "dev"))
	if err != nil {
		return Device{}, detaching(err)
	}
	path, deleted := strings.CutSuffix(strings.TrimSuffix(string(backing), "\n"), deletedSuffix)
	if path == "" {
		return Device{}, errDetaching
	}
	return Device{Name: name, Number: strings.TrimSpace(string(number)), BackingFile: path, Deleted: deleted}, nil
}

// Below picks the devices whose file lies in that directory or deeper.
func Below(devices []Device, dir string) []Device {
	var found []Device
	for _, device := range devices {
		if strings.HasPrefix(device.BackingFile, strings.TrimSuffix(dir, "/")+"/") {
			found = append(found, device)
		}
	}
	return found
}

// Of picks the device that has this file.
func Of(devices []Device, file string) (Device, bool) {
	for _, device := range devices {
		if device.BackingFile == file && !device.Deleted {
			return device, true
		}
	}
	return Device{}, false
}
