package driver

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"pelotech.ot/vmdisk/hack/cluster/csi/params"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

// Budget says how much a node has. Each capacity group has a budget of its own on each node, so that a test can
// exhaust one without touching another's:
//
//	STATE/capacity/GROUP/NODE    a quantity such as 10Gi; read at each call; absent means Default
type Budget struct {
	State   string
	Default int64
}

// Of is the budget of a group on a node.
func (b Budget) Of(group, node string) (int64, error) {
	path := filepath.Join(b.State, "capacity", group, filepath.Base(node))
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return b.Default, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read a budget: %w", err)
	}
	bytes, err := params.ParseBytes(string(content))
	if err != nil {
		return 0, fmt.Errorf("read a budget: %s: %w", path, err)
	}
	return bytes, nil
}

// Free is what is left of it, never less than nothing.
func (b Budget) Free(volumes []*pool.Volume, group, node string) (int64, error) {
	total, err := b.Of(group, node)
	if err != nil {
		return 0, err
	}
	used, err := pool.Used(volumes, group, node)
	if err != nil {
		return 0, err
	}
	return max(0, total-used), nil
}
