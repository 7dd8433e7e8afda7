package params

import (
	"math"
	"reflect"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

func TestParseSnapshotClassDefaults(t *testing.T) {
	got, err := ParseSnapshotClass(nil)
	if want := (SnapshotClass{SourceDeletion: Independent, FailCode: codes.Unavailable}); err != nil || got != want {
		t.Errorf("no parameters gave %+v, %v", got, err)
	}
}

func TestParseSnapshotClass(t *testing.T) {
	got, err := ParseSnapshotClass(map[string]string{
		"failCode":                               "Internal",
		"failCreate":                             "2",
		"failDelete":                             "always",
		"hold":                                   "test-a",
		"holdDelete":                             "test-b",
		"holdReady":                              "test-c",
		"nodeLocal":                              "true",
		"readyAfter":                             "3m",
		"restoreSize":                            "1Mi",
		"restoreSizeUnit":                        "1Gi",
		"slowCreate":                             "5s",
		"sourceDeletion":                         "lost",
		"csi.storage.k8s.io/volumesnapshot/name": "disk",
		"csi.storage.k8s.io/volumesnapshot/namespace":   "lab",
		"csi.storage.k8s.io/volumesnapshotcontent/name": "snapcontent-1",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := SnapshotClass{
		Owner: SnapshotOwner{Namespace: "lab", Name: "disk", Content: "snapcontent-1"}, NodeLocal: true, SourceDeletion: Lost,
		FailCreate: 2, FailDelete: math.MaxInt, FailCode: codes.Internal, Hold: "test-a", HoldDelete: "test-b", HoldReady: "test-c",
		SlowCreate: 5 * time.Second, ReadyAfter: 3 * time.Minute, RestoreSize: RestoreSize{Fixed: 1 << 20, Unit: 1 << 30},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestRestoreSize(t *testing.T) {
	const gi = int64(1) << 30
	for _, c := range []struct {
		size RestoreSize
		want int64
	}{
		{RestoreSize{}, 10 * gi},
		{RestoreSize{Unknown: true}, 0},
		{RestoreSize{Unknown: true, Unit: gi}, 0},
		{RestoreSize{Fixed: 1}, 1},
		{RestoreSize{Unit: 4 * gi}, 12 * gi},
		{RestoreSize{Unit: 5 * gi}, 10 * gi},
		{RestoreSize{Fixed: 1, Unit: gi}, gi},
	} {
		if got := c.size.Of(10 * gi); got != c.want {
			t.Errorf("%+v: got %d, want %d", c.size, got, c.want)
		}
	}
}

func TestParseSnapshotClassRefuses(t *testing.T) {
	checkRefused(t, ParseSnapshotClass, map[string]refusal{
		"failCode":        {"Fine", "expected one of Unavailable"},
		"failCreate":      {"-1", "whole number, or always"},
		"hold":            {"a/b", "lower-case letters"},
		"nodeLocal":       {"", "true or false"},
		"readyAfter":      {"soon", "a duration such as 5s"},
		"restoreSize":     {"0", "at least one byte"},
		"restoreSizeUnit": {"none", "bytes as a whole number"},
		"sourceDeletion":  {"kept", "independent, refused or lost"},
		"holdStage":       {"x", "is unknown, expected one of failCode, failCreate"},
	})
}
