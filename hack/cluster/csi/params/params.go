// Package params reads what a StorageClass, a VolumeSnapshotClass and a VolumeAttributesClass say to the driver. The
// tests ask for faults by parameters of classes, not by a switch of the process, so that they can run beside each other.
package params

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
)

// The keys of a StorageClass's parameters. README.md holds the table for users.
const (
	keyAccessibility = "accessibility"
	keyCapacityGroup = "capacityGroup"
	keyExhaust       = "exhaust"
	keyFailClone     = "failClone"
	keyFailCode      = "failCode"
	keyFailCreate    = "failCreate"
	keyFailDelete    = "failDelete"
	keyFailRestore   = "failRestore"
	keyFailStage     = "failStage"
	keyHold          = "hold"
	keyHoldClone     = "holdClone"
	keyHoldDelete    = "holdDelete"
	keyHoldRestore   = "holdRestore"
	keyHoldStage     = "holdStage"
	keyNodeLocal     = "nodeLocal"
	keyOutOfSpace    = "outOfSpace"
	keySlowStage     = "slowStage"
)

// What csi-provisioner adds with --extra-create-metadata; other keys of its prefix are its own and pass unread.
const (
	metadataPrefix  = "csi.storage.k8s.io/"
	keyPVCName      = metadataPrefix + "pvc/name"
	keyPVCNamespace = metadataPrefix + "pvc/namespace"
	keyPVName       = metadataPrefix + "pv/name"
)

// DefaultCapacityGroup is the budget of classes that name none.
const DefaultCapacityGroup = "default"

// Class is a StorageClass's parameters, parsed and checked.
type Class struct {
	// Shared volumes are accessible from every node, others from the one they were created on.
	Shared bool
	// CapacityGroup names the budget that the volume is taken from.
	CapacityGroup string
	// Claim is whom the volume is made for, empty without --extra-create-metadata.
	Claim Claim

	// NodeLocal copies, of a snapshot or of a volume, are made only on a node of their source.
	NodeLocal bool

	// FailCreate, FailStage and FailDelete are how many calls for one volume fail with FailCode before one may succeed.
	FailCreate, FailStage, FailDelete int
	// FailRestore and FailClone are the same for CreateVolume calls with a snapshot or a volume as their source.
	FailRestore, FailClone int
	// FailCode is the gRPC code of those failures.
	FailCode codes.Code
	// Exhaust says on which nodes CreateVolume finds no room.
	Exhaust Exhaust
	// SlowStage is how long NodeStageVolume waits before it starts.
	SlowStage time.Duration
	// OutOfSpace is how many bytes can be written until the storage below reports ENOSPC; 0 is no limit.
	OutOfSpace int64
	// Hold, HoldStage and HoldDelete name the hold that CreateVolume, NodeStageVolume and DeleteVolume wait for.
	Hold, HoldStage, HoldDelete string
	// HoldRestore and HoldClone name those that CreateVolume with a source waits for, beside Hold.
	HoldRestore, HoldClone string
}

// Claim names the PersistentVolumeClaim and PersistentVolume of a volume.
type Claim struct {
	Namespace, Name, Volume string
}

// Exhaust is the set of nodes that have no room left.
type Exhaust struct {
	All   bool
	Nodes []string
}

// On says whether that node is in the set.
func (e Exhaust) On(node string) bool { return e.All || slices.Contains(e.Nodes, node) }

var setters = table[Class]{
	keyAccessibility: func(c *Class, v string) error {
		if v != "pinned" && v != "shared" {
			return fmt.Errorf("found %q, expected pinned or shared", v)
		}
		c.Shared = v == "shared"
		return nil
	},
	keyCapacityGroup: nameSetter(func(c *Class) *string { return &c.CapacityGroup }),
	keyExhaust:       setExhaust,
	keyFailClone:     countSetter(func(c *Class) *int { return &c.FailClone }),
	keyFailCode:      codeSetter(func(c *Class) *codes.Code { return &c.FailCode }),
	keyFailCreate:    countSetter(func(c *Class) *int { return &c.FailCreate }),
	keyFailDelete:    countSetter(func(c *Class) *int { return &c.FailDelete }),
	keyFailRestore:   countSetter(func(c *Class) *int { return &c.FailRestore }),
	keyFailStage:     countSetter(func(c *Class) *int { return &c.FailStage }),
	keyHold:          nameSetter(func(c *Class) *string { return &c.Hold }),
	keyHoldClone:     nameSetter(func(c *Class) *string { return &c.HoldClone }),
	keyHoldDelete:    nameSetter(func(c *Class) *string { return &c.HoldDelete }),
	keyHoldRestore:   nameSetter(func(c *Class) *string { return &c.HoldRestore }),
	keyHoldStage:     nameSetter(func(c *Class) *string { return &c.HoldStage }),
	keyNodeLocal:     boolSetter(func(c *Class) *bool { return &c.NodeLocal }),
	keyOutOfSpace:    sizeSetter(func(c *Class) *int64 { return &c.OutOfSpace }),
	keySlowStage:     durationSetter(func(c *Class) *time.Duration { return &c.SlowStage }),
	keyPVCName:       func(c *Class, v string) error { c.Claim.Name = v; return nil },
	keyPVCNamespace:  func(c *Class, v string) error { c.Claim.Namespace = v; return nil },
	keyPVName:        func(c *Class, v string) error { c.Claim.Volume = v; return nil },
}

// ParseClass reads the parameters of a CreateVolume or GetCapacity request. The error names every wrong key, so that
// a class is corrected in one go.
func ParseClass(parameters map[string]string) (Class, error) {
	class := Class{CapacityGroup: DefaultCapacityGroup, FailCode: codes.Unavailable}
	err := setters.apply(&class, parameters)
	return class, err
}

func setExhaust(c *Class, v string) error {
	switch v {
	case "":
		return errors.New(`found nothing, expected "true" or names of nodes with commas between`)
	case "true":
		c.Exhaust.All = true
	case "false":
	default:
		c.Exhaust.Nodes = strings.Split(v, ",")
	}
	return nil
}
