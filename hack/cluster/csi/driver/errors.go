package driver

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
	"pelotech.ot/vmdisk/hack/cluster/csi/topology"
)

// causes are the errors of the packages below that have a code of their own; all others are Internal. (CSI spec,
// Error Scheme: an operation that is pending for the volume is ABORTED.)
var causes = []struct {
	err  error
	code codes.Code
}{
	{pool.ErrNotFound, codes.NotFound},
	{pool.ErrSnapshotNotFound, codes.NotFound},
	{pool.ErrBusy, codes.Aborted},
	{topology.ErrMalformed, codes.InvalidArgument},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{context.Canceled, codes.Canceled},
}

// asStatus gives an error its gRPC code. What a handler has given one already keeps it.
func asStatus(err error) error {
	if coded, ok := status.FromError(err); ok {
		return coded.Err()
	}
	for _, cause := range causes {
		if errors.Is(err, cause.err) {
			return status.Error(cause.code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// required refuses a request without a field that the spec demands.
func required(field, value string) error {
	if value == "" {
		return invalid("found no %s, expected one", field)
	}
	return nil
}
