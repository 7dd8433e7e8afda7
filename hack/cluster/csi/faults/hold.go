package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"pelotech.ot/vmdisk/hack/cluster/csi/params"
)

// holdInterval is how soon a release is seen.
const holdInterval = 20 * time.Millisecond

// Held is an operation that waits for a hold: the content of its mark.
type Held struct {
	Hold      string    `json:"hold"`
	Operation Operation `json:"operation"`
	// Volume is the volume's id; of a snapshot's operations, the snapshot's.
	Volume string `json:"volume"`
	// Namespace and Claim are those of the PersistentVolumeClaim; of a snapshot's operations, of the VolumeSnapshot.
	Namespace string `json:"namespace,omitempty"`
	Claim     string `json:"claim,omitempty"`
	// Owner is the process that waits: controller, or the node's name.
	Owner string    `json:"owner"`
	Since time.Time `json:"since"`
}

// Hold waits while the hold exists and the context lives. Its mark can be seen as long as it waits, and no longer;
// an operation that finds no hold leaves no mark. The error is the context's.
func (i *Injector) Hold(ctx context.Context, hold string, operation Operation, volume string, claim params.Claim) error {
	if exists, err := i.Held(hold); err != nil || !exists {
		return err
	}
	mark := Held{Hold: hold, Operation: operation, Volume: volume, Namespace: claim.Namespace, Claim: claim.Name,
		Owner: i.owner, Since: time.Now().UTC()}
	if err := i.mark(mark); err != nil {
		return err
	}
	return errors.Join(wait(ctx, filepath.Join(i.state, holdsDir, hold)), i.unmark(mark))
}

// Held says whether the hold exists, for what is told of and does not wait.
func (i *Injector) Held(hold string) (bool, error) {
	if hold == "" {
		return false, nil
	}
	return present(filepath.Join(i.state, holdsDir, hold))
}

func wait(ctx context.Context, path string) error {
	ticker := time.NewTicker(holdInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
		if exists, err := present(path); err != nil || !exists {
			return err
		}
	}
}

func present(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look for a hold: %w", err)
	}
	return true, nil
}

func (i *Injector) path(mark Held) string {
	return filepath.Join(i.state, holdingDir, mark.Hold, mark.Volume)
}

// mark appears whole or not at all, since a test reads it the moment it sees it.
func (i *Injector) mark(mark Held) error {
	content, err := json.Marshal(mark)
	if err != nil {
		return fmt.Errorf("mark a hold: %w", err)
	}
	path := i.path(mark)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("mark a hold: %w", err)
	}
	hidden := filepath.Join(i.state, holdingDir, "."+mark.Volume+"."+i.owner)
	if err := os.WriteFile(hidden, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("mark a hold: %w", err)
	}
	if err := os.Rename(hidden, path); err != nil {
		return fmt.Errorf("mark a hold: %w", err)
	}
	return nil
}

func (i *Injector) unmark(mark Held) error {
	if err := os.Remove(i.path(mark)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("end a hold: %w", err)
	}
	return nil
}

// Holding lists what waits now, over all processes that share the directory.
func Holding(state string) ([]Held, error) {
	paths, err := filepath.Glob(filepath.Join(state, holdingDir, "[a-z0-9]*", "*"))
	if err != nil {
		return nil, fmt.Errorf("list held operations: %w", err)
	}
	held := make([]Held, 0, len(paths))
	for _, path := range paths {
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) { // released a moment ago
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("list held operations: %w", err)
		}
		var mark Held
		if err := json.Unmarshal(content, &mark); err != nil {
			return nil, fmt.Errorf("list held operations: %s: %w", path, err)
		}
		held = append(held, mark)
	}
	return held, nil
}

// Sleep waits that long or as long as the context lives; the error is the context's.
func Sleep(ctx context.Context, duration time.Duration) error {
	if duration == 0 {
		return nil
	}
	timer := time.NewTimer(duration)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
