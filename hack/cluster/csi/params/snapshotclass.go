package params

import (
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
)

// The keys of a VolumeSnapshotClass's parameters that a StorageClass has not.
const (
	keyHoldReady       = "holdReady"
	keyReadyAfter      = "readyAfter"
	keyRestoreSize     = "restoreSize"
	keyRestoreSizeUnit = "restoreSizeUnit"
	keySlowCreate      = "slowCreate"
	keySourceDeletion  = "sourceDeletion"
)

// What csi-snapshotter adds with --extra-create-metadata.
const (
	keySnapshotName      = metadataPrefix + "volumesnapshot/name"
	keySnapshotNamespace = metadataPrefix + "volumesnapshot/namespace"
	keyContentName       = metadataPrefix + "volumesnapshotcontent/name"
)

// SnapshotClass is a VolumeSnapshotClass's parameters, parsed and checked.
type SnapshotClass struct {
	// Owner is whom the snapshot is made for, empty without --extra-create-metadata.
	Owner SnapshotOwner

	// NodeLocal snapshots can be restored only on a node of their source.
	NodeLocal bool
	// SourceDeletion is what becomes of a snapshot and its source when the source is deleted.
	SourceDeletion SourceDeletion

	// FailCreate and FailDelete are how many CreateSnapshot and DeleteSnapshot calls for one snapshot fail with FailCode.
	FailCreate, FailDelete int
	FailCode               codes.Code
	// Hold and HoldDelete name the hold that CreateSnapshot and DeleteSnapshot wait for.
	Hold, HoldDelete string
	// SlowCreate is how long CreateSnapshot waits before the snapshot is cut.
	SlowCreate time.Duration
	// HoldReady names the hold that keeps a snapshot, once cut, from being ready to use.
	HoldReady string
	// ReadyAfter is how long it takes to be ready.
	ReadyAfter time.Duration
	// RestoreSize is what is told of the size.
	RestoreSize RestoreSize
}

// SnapshotOwner names the VolumeSnapshot and VolumeSnapshotContent of a snapshot.
type SnapshotOwner struct {
	Namespace, Name, Content string
}

// SourceDeletion is what DeleteVolume does about a snapshot of the volume.
type SourceDeletion string

// The ways that storage has.
const (
	// Independent snapshots outlive their source.
	Independent SourceDeletion = "independent"
	// Refused means that the source can not be deleted before its snapshots.
	Refused SourceDeletion = "refused"
	// Lost means that the snapshots go with their source.
	Lost SourceDeletion = "lost"
)

// RestoreSize says what a snapshot's size_bytes is, for a source of some size.
type RestoreSize struct {
	// Unknown is a size that is not told.
	Unknown bool
	// Fixed is told instead of the source's size, unless it is 0.
	Fixed int64
	// Unit is what the size is rounded up to a multiple of, unless it is 0.
	Unit int64
}

// Of is what is told for a source of that size; 0 is nothing.
func (r RestoreSize) Of(source int64) int64 {
	size := source
	if r.Fixed > 0 {
		size = r.Fixed
	}
	switch {
	case r.Unknown:
		return 0
	case r.Unit > 0:
		return (size + r.Unit - 1) / r.Unit * r.Unit
	default:
		return size
	}
}

var snapshotSetters = table[SnapshotClass]{
	keyFailCode:          codeSetter(func(c *SnapshotClass) *codes.Code { return &c.FailCode }),
	keyFailCreate:        countSetter(func(c *SnapshotClass) *int { return &c.FailCreate }),
	keyFailDelete:        countSetter(func(c *SnapshotClass) *int { return &c.FailDelete }),
	keyHold:              nameSetter(func(c *SnapshotClass) *string { return &c.Hold }),
	keyHoldDelete:        nameSetter(func(c *SnapshotClass) *string { return &c.HoldDelete }),
	keyHoldReady:         nameSetter(func(c *SnapshotClass) *string { return &c.HoldReady }),
	keyNodeLocal:         boolSetter(func(c *SnapshotClass) *bool { return &c.NodeLocal }),
	keyReadyAfter:        durationSetter(func(c *SnapshotClass) *time.Duration { return &c.ReadyAfter }),
	keyRestoreSize:       setRestoreSize,
	keyRestoreSizeUnit:   sizeSetter(func(c *SnapshotClass) *int64 { return &c.RestoreSize.Unit }),
	keySlowCreate:        durationSetter(func(c *SnapshotClass) *time.Duration { return &c.SlowCreate }),
	keySourceDeletion:    setSourceDeletion,
	keySnapshotName:      func(c *SnapshotClass, v string) error { c.Owner.Name = v; return nil },
	keySnapshotNamespace: func(c *SnapshotClass, v string) error { c.Owner.Namespace = v; return nil },
	keyContentName:       func(c *SnapshotClass, v string) error { c.Owner.Content = v; return nil },
}

// ParseSnapshotClass reads the parameters of a CreateSnapshot request. The error names every wrong key.
func ParseSnapshotClass(parameters map[string]string) (SnapshotClass, error) {
	class := SnapshotClass{SourceDeletion: Independent, FailCode: codes.Unavailable}
	err := snapshotSetters.apply(&class, parameters)
	return class, err
}

func setRestoreSize(c *SnapshotClass, v string) error {
	if v == "none" {
		c.RestoreSize.Unknown = true
		return nil
	}
	return sizeSetter(func(c *SnapshotClass) *int64 { return &c.RestoreSize.Fixed })(c, v)
}

func setSourceDeletion(c *SnapshotClass, v string) error {
	switch way := SourceDeletion(v); way {
	case Independent, Refused, Lost:
		c.SourceDeletion = way
		return nil
	default:
		return fmt.Errorf("found %q, expected %s, %s or %s", v, Independent, Refused, Lost)
	}
}
