package driver

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

func TestAsStatus(t *testing.T) {
	for want, err := range map[codes.Code]error{
		codes.OK:                nil,
		codes.NotFound:          fmt.Errorf("x: %w", pool.ErrNotFound),
		codes.Aborted:           pool.ErrBusy,
		codes.Internal:          errors.New("x"),
		codes.DeadlineExceeded:  errors.Join(context.DeadlineExceeded, errors.New("and more")),
		codes.ResourceExhausted: status.Error(codes.ResourceExhausted, "full"),
	} {
		if got := status.Code(asStatus(err)); got != want {
			t.Errorf("%v: got %s, want %s", err, got, want)
		}
	}
}
