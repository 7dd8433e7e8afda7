package pool

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrBusy is a volume or a snapshot that another operation works on.
var ErrBusy = errors.New("another operation on it is under way")

const (
	// lockPatience lets two nodes that stage one volume follow each other; whoever waits longer tries again.
	lockPatience = 2 * time.Second
	lockInterval = 10 * time.Millisecond
	// snapshotLock begins the name of a snapshot's lock; no volume's can.
	snapshotLock = "snapshot@"
)

// Lock makes the caller the only one, among all processes of this pool, that works on the volume, until it calls
// unlock. The kernel drops the lock of a process that is killed.
func (p *Pool) Lock(ctx context.Context, id string) (unlock func(), err error) {
	if !ValidID(id) {
		return nil, fmt.Errorf("%w: %q", ErrNotFound, id)
	}
	return p.lock(ctx, id, p.Dir(id))
}

// LockSnapshot does the same for a snapshot. Whoever needs both takes that of the snapshot first; where somebody
// does not, both lose their patience at worst.
func (p *Pool) LockSnapshot(ctx context.Context, id string) (unlock func(), err error) {
	if !ValidID(id) {
		return nil, fmt.Errorf("%w: %q", ErrSnapshotNotFound, id)
	}
	return p.lock(ctx, snapshotLock+id, p.SnapshotDir(id))
}

// lock takes the lock of what lies in a directory.
func (p *Pool) lock(ctx context.Context, name, dir string) (unlock func(), err error) {
	path := filepath.Join(p.root, locksDir, name)
	patience, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		file, err := tryLock(path)
		if err != nil {
			return nil, fmt.Errorf("lock %s: %w", name, err)
		}
		if file != nil {
			return func() { release(file, dir) }, nil
		}
		select {
		case <-patience.Done():
			return nil, fmt.Errorf("%w: %q", ErrBusy, name)
		case <-time.After(lockInterval):
		}
	}
}

// tryLock answers nil when somebody else has the lock, or has just removed its file.
func tryLock(path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		var current fs.FileInfo
		mine, statErr := file.Stat()
		if current, err = os.Stat(path); statErr == nil && err == nil && os.SameFile(mine, current) {
			return file, nil
		}
		err = syscall.EWOULDBLOCK
	}
	file.Close()
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return nil, nil
	}
	return nil, err
}

// release removes the file of what is gone, so that a lock leaves nothing behind.
func release(file *os.File, dir string) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		os.Remove(file.Name())
	}
	file.Close()
}
