package driver

import (
	"fmt"
	"math"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pelotech.ot/vmdisk/hack/cluster/csi/faults"
	"pelotech.ot/vmdisk/hack/cluster/csi/params"
)

// failAsAsked turns a counted fault of a StorageClass into an error.
func failAsAsked(injector *faults.Injector, operation faults.Operation, id string, times int, class params.Class) error {
	return fail(injector, operation, id, times, class.FailCode, "StorageClass", "volume")
}

// failSnapshotAsAsked does the same for a VolumeSnapshotClass.
func failSnapshotAsAsked(injector *faults.Injector, operation faults.Operation, id string, times int, class params.SnapshotClass) error {
	return fail(injector, operation, id, times, class.FailCode, "VolumeSnapshotClass", "snapshot")
}

func fail(injector *faults.Injector, operation faults.Operation, id string, times int, code codes.Code, kind, each string) error {
	failed, attempt, err := injector.Fail(operation, id, times)
	if err != nil || !failed {
		return err
	}
	return status.Errorf(code, "the %s asks %s to fail %s for each %s; this was %d", kind, operation, howOften(times), each, attempt)
}

func howOften(times int) string {
	if times == math.MaxInt {
		return "always"
	}
	return fmt.Sprintf("%d times", times)
}
