package driver

import (
	"fmt"
	"math"

	"google.golang.org/grpc/status"

	"pelotech.ot/vmdisk/hack/cluster/csi/faults"
	"pelotech.ot/vmdisk/hack/cluster/csi/params"
)

// failAsAsked turns a counted fault into an error.
func failAsAsked(injector *faults.Injector, operation faults.Operation, id string, times int, class params.Class) error {
	failed, attempt, err := injector.Fail(operation, id, times)
	if err != nil || !failed {
		return err
	}
	return status.Errorf(class.FailCode, "the StorageClass asks %s to fail %s for each volume; this was %d", operation, howOften(times), attempt)
}

// failSnapshotAsAsked does the same for a VolumeSnapshotClass.
func failSnapshotAsAsked(injector *faults.Injector, operation faults.Operation, id string, times int, class params.SnapshotClass) error {
	failed, attempt, err := injector.Fail(operation, id, times)
	if err != nil || !failed {
		return err
	}
	return status.Errorf(class.FailCode, "the VolumeSnapshotClass asks %s to fail %s for each snapshot; this was %d", operation, howOften(times), attempt)
}

func howOften(times int) string {
	if times == math.MaxInt {
		return "always"
	}
	return fmt.Sprintf("%d times", times)
}
