// Package faults makes operations fail, wait or be held, as the parameters of classes ask. What a test steers and sees
// lies in a directory, so that it needs no connection to the driver:
//
//	STATE/holds/NAME             while this file exists, operations that name the hold wait
//	STATE/holding/NAME/ID        an operation on a volume or a snapshot that waits for it now, as JSON (see Held)
//	STATE/attempts/ID.OPERATION  how many calls failCreate and its like have failed so far
package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Operation is a call that a fault concerns.
type Operation string

// The operations that have faults. The names are those of the RPCs, but that a CreateVolume from a snapshot is a
// Restore, and one from a volume a Clone, beside being a CreateVolume.
const (
	CreateVolume    Operation = "CreateVolume"
	Restore         Operation = "Restore"
	Clone           Operation = "Clone"
	DeleteVolume    Operation = "DeleteVolume"
	NodeStageVolume Operation = "NodeStageVolume"
	CreateSnapshot  Operation = "CreateSnapshot"
	DeleteSnapshot  Operation = "DeleteSnapshot"
)

// Injector makes the faults of one process.
type Injector struct {
	state string
	// owner tells the marks of this process from those of others that share the directory.
	owner string
}

const (
	holdsDir    = "holds"
	holdingDir  = "holding"
	attemptsDir = "attempts"
)

// New makes the directories, and removes the marks that a killed process of the same owner left.
func New(state, owner string) (*Injector, error) {
	for _, dir := range []string{holdsDir, holdingDir, attemptsDir} {
		if err := os.MkdirAll(filepath.Join(state, dir), 0o700); err != nil {
			return nil, fmt.Errorf("faults: %w", err)
		}
	}
	injector := &Injector{state: state, owner: owner}
	held, err := Holding(state)
	if err != nil {
		return nil, err
	}
	for _, mark := range held {
		if mark.Owner == owner {
			if err := injector.unmark(mark); err != nil {
				return nil, err
			}
		}
	}
	return injector, nil
}

// Fail counts a call and says whether it is among the first times calls of this operation on this volume or
// snapshot, and which one. The caller holds its lock.
func (i *Injector) Fail(operation Operation, id string, times int) (failed bool, attempt int, err error) {
	if times == 0 {
		return false, 0, nil
	}
	path := i.attempts(operation, id)
	content, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, 0, fmt.Errorf("count attempts: %w", err)
	}
	before := 0
	if err == nil {
		if before, err = strconv.Atoi(strings.TrimSpace(string(content))); err != nil {
			return false, 0, fmt.Errorf("count attempts: %s: found %q, expected a number", path, content)
		}
	}
	if before >= times {
		return false, before, nil
	}
	if err := os.WriteFile(path+".new", []byte(strconv.Itoa(before+1)), 0o600); err != nil {
		return false, 0, fmt.Errorf("count attempts: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return false, 0, fmt.Errorf("count attempts: %w", err)
	}
	return true, before + 1, nil
}

// Forget drops the counts of a volume that is gone.
func (i *Injector) Forget(volume string) error {
	return i.forget(volume, CreateVolume, Restore, Clone, DeleteVolume, NodeStageVolume)
}

// ForgetSnapshot drops the counts of a snapshot that is gone.
func (i *Injector) ForgetSnapshot(snapshot string) error {
	return i.forget(snapshot, CreateSnapshot, DeleteSnapshot)
}

func (i *Injector) forget(id string, operations ...Operation) error {
	for _, operation := range operations {
		if err := os.Remove(i.attempts(operation, id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("forget attempts: %w", err)
		}
	}
	return nil
}

func (i *Injector) attempts(operation Operation, id string) string {
	return filepath.Join(i.state, attemptsDir, id+"."+string(operation))
}
