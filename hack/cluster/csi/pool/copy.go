package pool

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// copyDisk makes a new disk of that size with the bytes of another, which is not longer. Within the pool it is a reflink: it takes
// no time and no space, and the kernel lets no write to the source in between, so that the copy is of one moment. A
// disk that lies elsewhere (that of an outOfSpace volume) is read and written, its holes left out.
func copyDisk(source, disk string, size int64) error {
	from, err := os.Open(source)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(disk, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	err = unix.IoctlFileClone(int(to.Fd()), int(from.Fd()))
	if noReflink(err) {
		err = copyData(to, from)
	}
	if err != nil {
		err = fmt.Errorf("copy %s to %s: %w", source, disk, err)
	}
	return errors.Join(err, to.Truncate(size), to.Close())
}

// noReflink tells that the two files can not share blocks, from other errors.
func noReflink(err error) bool {
	return errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL)
}

// copyData copies what is no hole.
func copyData(to, from *os.File) error {
	var end int64
	for {
		start, err := unix.Seek(int(from.Fd()), end, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // nothing but a hole up to the end
			return nil
		}
		if err != nil {
			return err
		}
		if end, err = unix.Seek(int(from.Fd()), start, unix.SEEK_HOLE); err != nil {
			return err
		}
		section := io.NewSectionReader(from, start, end-start)
		if _, err := io.Copy(io.NewOffsetWriter(to, start), section); err != nil {
			return err
		}
	}
}
