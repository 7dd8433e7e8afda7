package driver

import (
	"errors"
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"pelotech.ot/vmdisk/hack/cluster/csi/filesystem"
	"pelotech.ot/vmdisk/hack/cluster/csi/params"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

// access is a CSI VolumeCapability in the driver's words.
type access struct {
	mode         pool.Mode
	fsType       string
	mountOptions []string
	accessMode   csi.VolumeCapability_AccessMode_Mode
}

func parseAccess(capability *csi.VolumeCapability) (access, error) {
	parsed := access{accessMode: capability.GetAccessMode().GetMode()}
	switch {
	case capability.GetBlock() != nil:
		parsed.mode = pool.Block
	case capability.GetMount() != nil:
		parsed.mode = pool.Filesystem
		parsed.mountOptions = capability.GetMount().GetMountFlags()
		parsed.fsType = capability.GetMount().GetFsType()
		if parsed.fsType == "" {
			parsed.fsType = filesystem.Default
		}
		if _, err := filesystem.MinimumBytes(parsed.fsType); err != nil {
			return access{}, err
		}
	default:
		return access{}, errors.New("found a volume capability without an access type, expected block or mount")
	}
	if parsed.accessMode == csi.VolumeCapability_AccessMode_UNKNOWN {
		return access{}, errors.New("found a volume capability without an access mode")
	}
	return parsed, nil
}

// parseAccesses also sees that they all speak of one kind of volume.
func parseAccesses(capabilities []*csi.VolumeCapability) ([]access, error) {
	if len(capabilities) == 0 {
		return nil, errors.New("found no volume capabilities, expected at least one")
	}
	parsed := make([]access, 0, len(capabilities))
	for _, capability := range capabilities {
		one, err := parseAccess(capability)
		if err != nil {
			return nil, err
		}
		if len(parsed) > 0 && (parsed[0].mode != one.mode || parsed[0].fsType != one.fsType) {
			return nil, fmt.Errorf("found volume capabilities for both %s %s and %s %s, expected one kind",
				parsed[0].mode, parsed[0].fsType, one.mode, one.fsType)
		}
		parsed = append(parsed, one)
	}
	return parsed, nil
}

// multiNode are the modes by which pods of several nodes may use a volume at once.
var multiNode = map[csi.VolumeCapability_AccessMode_Mode]bool{
	csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER:        false,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY:   false,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER: false,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER:  false,
	csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY:    true,
	csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER:  true,
	csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER:   true,
}

// supported says whether volumes of that class can be had with these accesses. A pinned file system can not be used
// from a second node; a pinned Block volume takes the modes all the same, since it is its users who must agree on what
// is in it, and a claim that asks for ReadWriteMany (as virtual machines that migrate do) is then used on one node.
func supported(accesses []access, class params.Class) error {
	for _, one := range accesses {
		several, known := multiNode[one.accessMode]
		if !known {
			return fmt.Errorf("access mode %s is not supported", one.accessMode)
		}
		if several && one.mode == pool.Filesystem && !class.Shared {
			return fmt.Errorf("access mode %s of a file system needs the StorageClass parameter accessibility: shared", one.accessMode)
		}
		if class.OutOfSpace > 0 && one.fsType == filesystem.XFS {
			return errors.New("outOfSpace is not possible with xfs, which shuts down where ext4 reports ENOSPC")
		}
	}
	return nil
}

// fits says whether the volume is of the kind that the access speaks of.
func fits(volume *pool.Volume, one access) error {
	if volume.Mode != one.mode || volume.FSType != one.fsType {
		return fmt.Errorf("volume %s is %s %s, and the capability asks for %s %s", volume.ID, volume.Mode, volume.FSType, one.mode, one.fsType)
	}
	return nil
}
