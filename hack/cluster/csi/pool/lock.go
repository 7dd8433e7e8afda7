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

// ErrBusy is a volume that another operation works on.
var ErrBusy = errors.New("another operation on this volume is under way")

const (
	// lockPatience lets two nodes that stage one volume follow each other; whoever waits longer tries again.
	lockPatience = 2 * time.Second
	lockInterval = 10 * time.Millisecond
)

// Lock makes the caller the only one, among all processes of this pool, that works on the volume, until it calls
// unlock. The kernel drops the lock of a process that is killed.
func (p *Pool) Lock(ctx context.Context, id string) (unlock func(), err error) {
	if !ValidID(id) {
		return nil, fmt.Errorf("%w: %q", ErrNotFound, id)
	}
	path := filepath.Join(p.root, locksDir, id)
	patience, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		file, err := tryLock(path)
		if err != nil {
			return nil, fmt.Errorf("lock volume %s: %w", id, err)
		}
		if file != nil {
			return func() { p.unlock(file, id) }, nil
		}
		select {
		case <-patience.Done():
			return nil, fmt.Errorf("%w: %q", ErrBusy, id)
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

// unlock removes the file of a volume that is gone, so that a lock leaves nothing behind.
func (p *Pool) unlock(file *os.File, id string) {
	if _, err := os.Stat(p.Dir(id)); errors.Is(err, fs.ErrNotExist) {
		os.Remove(file.Name())
	}
	file.Close()
}
