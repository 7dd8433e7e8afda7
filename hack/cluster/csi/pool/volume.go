package pool

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"time"

	"pelotech.ot/vmdisk/hack/cluster/csi/params"
)

// Mode is how a volume is given to a workload; the words are those of a claim's volumeMode.
type Mode string

// The two modes.
const (
	Filesystem Mode = "Filesystem"
	Block      Mode = "Block"
)

// Volume is the record of a volume: the content of volume.json beside its disk. What a process must know of a volume
// after a restart is here, in the kernel's loop table, or in its mount table, and nowhere else.
type Volume struct {
	// ID is the CSI volume id, and the name of the volume's directory.
	ID string `json:"id"`
	// Name is the name in the CreateVolume request.
	Name string `json:"name"`
	// SizeBytes is the nominal size, and the length of the sparse disk.
	SizeBytes int64 `json:"sizeBytes"`
	Mode      Mode  `json:"volumeMode"`
	// FSType is ext4 or xfs for Filesystem volumes.
	FSType string `json:"fsType,omitempty"`
	// Formatted says that mkfs has come to its end. A disk that is not is formatted from its beginning again.
	Formatted bool `json:"formatted,omitempty"`
	// Source is what the volume is a copy of.
	Source Source `json:"source,omitzero"`
	// Nodes are those that may stage the volume.
	Nodes []string `json:"nodes"`
	// Parameters are the StorageClass's, as they came.
	Parameters map[string]string `json:"parameters,omitempty"`
	// MutableParameters are the VolumeAttributesClass's, as last accepted.
	MutableParameters map[string]string `json:"mutableParameters,omitempty"`
	CreatedAt         time.Time         `json:"createdAt"`
}

// Source names a snapshot or a volume, or neither.
type Source struct {
	Snapshot string `json:"snapshot,omitempty"`
	Volume   string `json:"volume,omitempty"`
}

// Class parses the parameters, which were checked when the volume was created.
func (v *Volume) Class() (params.Class, error) { return params.ParseClass(v.Parameters) }

var plainID = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9.-]{0,99}$`)

const (
	volumeHash   = "vol-"
	snapshotHash = "snap-"
)

// ID derives a volume's id from its name: the name itself where that can be a directory and fits CSI's 128 bytes, which
// keeps what a developer sees readable, otherwise a hash.
func ID(name string) string { return derive(name, volumeHash) }

// SnapshotID does the same for a snapshot.
func SnapshotID(name string) string { return derive(name, snapshotHash) }

func derive(name, hashMark string) string {
	if plainID.MatchString(name) && !strings.HasPrefix(name, hashMark) {
		return name
	}
	sum := sha256.Sum256([]byte(name))
	return hashMark + hex.EncodeToString(sum[:16])
}

// ValidID says whether a volume or snapshot can have this id; what comes in from outside never becomes a path without
// it.
func ValidID(id string) bool { return plainID.MatchString(id) }
