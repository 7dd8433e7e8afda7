// Package mounts reads the mount table of this process and makes the few kinds of mounts that the driver needs.
package mounts

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Mount is a line of /proc/self/mountinfo, proc(5).
type Mount struct {
	// Device is the "major:minor" of the file system.
	Device string
	// Root is the path inside that file system which is mounted; for a bind mount of a device node, the node's name.
	Root string
	// Point is where it is mounted.
	Point string
	// Options are those of this mount, such as ro.
	Options []string
	// FSType is the type of the file system.
	FSType string
}

// ReadOnly says whether this mount can not be written to.
func (m Mount) ReadOnly() bool { return slices.Contains(m.Options, "ro") }

// IsOf says whether the mount is the file system on that device, or a bind mount of the device's node.
func (m Mount) IsOf(number, name string) bool {
	return m.Device == number || m.FSType == "devtmpfs" && m.Root == "/"+name
}

// Table lists the mounts, in the order in which they cover each other.
func Table() ([]Mount, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	defer file.Close()
	return parse(file)
}

func parse(reader io.Reader) ([]Mount, error) {
	var mounts []Mount
	lines := bufio.NewScanner(reader)
	lines.Buffer(nil, 1<<20) // overlay mounts of containers have long lines
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		// The optional fields end with a dash, and there may be none.
		dash := slices.Index(fields, "-")
		if dash < 6 || len(fields) < dash+2 {
			return nil, fmt.Errorf("read the mount table: found %q, expected the fields of proc(5)", lines.Text())
		}
		mounts = append(mounts, Mount{
			Device: fields[2], Root: unescape(fields[3]), Point: unescape(fields[4]),
			Options: strings.Split(fields[5], ","), FSType: fields[dash+1],
		})
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the mount table: %w", err)
	}
	return mounts, nil
}

var unescape = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// At is what is mounted at that path, the topmost one.
func At(mounts []Mount, point string) (Mount, bool) {
	for _, mount := range slices.Backward(mounts) {
		if mount.Point == point {
			return mount, true
		}
	}
	return Mount{}, false
}

// Of picks the mounts of a device.
func Of(mounts []Mount, number, name string) []Mount {
	var found []Mount
	for _, mount := range mounts {
		if mount.IsOf(number, name) {
			found = append(found, mount)
		}
	}
	return found
}

// Below picks the mounts in that directory or deeper.
func Below(mounts []Mount, dir string) []Mount {
	var found []Mount
	for _, mount := range mounts {
		if strings.HasPrefix(mount.Point, strings.TrimSuffix(dir, "/")+"/") {
			found = append(found, mount)
		}
	}
	return found
}

// Resolve turns a path whose last part need not exist into the form that the mount table has.
func Resolve(path string) (string, error) {
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if os.IsNotExist(err) {
		return filepath.Clean(path), nil // nothing can be mounted there
	}
	if err != nil {
		return "", fmt.Errorf("resolve %s: %w", path, err)
	}
	return filepath.Join(parent, filepath.Base(path)), nil
}
