package driver

import (
	"fmt"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"pelotech.ot/vmdisk/hack/cluster/csi/filesystem"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

const (
	mebibyte = int64(1) << 20
	// defaultBytes is the size when the request leaves it to the driver.
	defaultBytes = 1 << 10 * mebibyte
	// maximumBytes is what a file, and so a disk, may have at most on xfs and ext4 alike.
	maximumBytes = 16 << 20 * mebibyte
)

// chooseSize is the least size that the range allows and the kind of volume needs, a multiple of 1 MiB.
func chooseSize(capacity *csi.CapacityRange, kind access) (int64, error) {
	required, limit := capacity.GetRequiredBytes(), capacity.GetLimitBytes()
	if required < 0 || limit < 0 || limit > 0 && required > limit {
		return 0, fmt.Errorf("found required_bytes %d and limit_bytes %d, expected a range", required, limit)
	}
	minimum := mebibyte
	if kind.mode == pool.Filesystem {
		var err error
		if minimum, err = filesystem.MinimumBytes(kind.fsType); err != nil {
			return 0, err
		}
	}
	size := required
	if required == 0 {
		size = defaultBytes
		if limit > 0 {
			size = min(size, limit/mebibyte*mebibyte)
		}
	}
	if size > maximumBytes {
		return 0, fmt.Errorf("found required_bytes %d, expected at most %d", required, maximumBytes)
	}
	size = max((size+mebibyte-1)/mebibyte*mebibyte, minimum)
	if limit > 0 && size > limit {
		return 0, fmt.Errorf("found limit_bytes %d, expected at least %d, the least size of a %s %s volume of %d bytes in whole MiB",
			limit, size, kind.mode, kind.fsType, required)
	}
	return size, nil
}

// chooseCopySize is the same for a copy: the size of its source, unless the request is for more.
func chooseCopySize(capacity *csi.CapacityRange, kind access, source int64) (int64, error) {
	required := capacity.GetRequiredBytes()
	if required == 0 {
		required = source
	}
	size, err := chooseSize(&csi.CapacityRange{RequiredBytes: required, LimitBytes: capacity.GetLimitBytes()}, kind)
	if err == nil && size < source {
		err = fmt.Errorf("found required_bytes %d, expected at least %d, the size of what is copied", required, source)
	}
	return size, err
}

// within says whether an existing size is in the range.
func within(size int64, capacity *csi.CapacityRange) bool {
	return size >= capacity.GetRequiredBytes() && (capacity.GetLimitBytes() == 0 || size <= capacity.GetLimitBytes())
}
