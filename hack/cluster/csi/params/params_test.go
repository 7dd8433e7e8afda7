package params

import (
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
)

func TestParseClassDefaults(t *testing.T) {
	got, err := ParseClass(nil)
	if err != nil {
		t.Fatal(err)
	}
	if got.Shared || got.CapacityGroup != DefaultCapacityGroup || got.FailCode != codes.Unavailable || got.Exhaust.On("node-1") {
		t.Errorf("no parameters gave %+v", got)
	}
}

func TestParseClass(t *testing.T) {
	got, err := ParseClass(map[string]string{
		"accessibility":                    "shared",
		"capacityGroup":                    "small",
		"exhaust":                          "node-1,node-3",
		"failCode":                         "Internal",
		"failCreate":                       "2",
		"failDelete":                       "1",
		"failRestore":                      "always",
		"failClone":                        "4",
		"holdRestore":                      "test-d",
		"holdClone":                        "test-e",
		"nodeLocal":                        "true",
		"failStage":                        "3",
		"hold":                             "test.a",
		"holdDelete":                       "test-c",
		"holdStage":                        "test-b",
		"outOfSpace":                       "64Mi",
		"slowStage":                        "1m30s",
		"csi.storage.k8s.io/pvc/name":      "disk",
		"csi.storage.k8s.io/pvc/namespace": "lab",
		"csi.storage.k8s.io/pv/name":       "pvc-1",
		"csi.storage.k8s.io/fstype":        "xfs",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Class{
		Shared: true, CapacityGroup: "small", Claim: Claim{"lab", "disk", "pvc-1"},
		FailCreate: 2, FailStage: 3, FailDelete: 1, FailRestore: math.MaxInt, FailClone: 4, FailCode: codes.Internal, Exhaust: Exhaust{Nodes: []string{"node-1", "node-3"}},
		SlowStage: 90 * time.Second, OutOfSpace: 64 << 20, Hold: "test.a", HoldStage: "test-b", HoldDelete: "test-c",
		HoldRestore: "test-d", HoldClone: "test-e", NodeLocal: true,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestExhaust(t *testing.T) {
	for value, want := range map[string][2]bool{
		"true": {true, true}, "false": {false, false}, "node-1": {true, false}, "node-1,node-2": {true, true},
	} {
		class, err := ParseClass(map[string]string{"exhaust": value})
		got := [2]bool{class.Exhaust.On("node-1"), class.Exhaust.On("node-2")}
		if err != nil || got != want {
			t.Errorf("%s: got %v, %v, want %v", value, got, err, want)
		}
	}
}

func TestParseClassRefuses(t *testing.T) {
	checkRefused(t, ParseClass, map[string]refusal{
		"accessibility": {"both", "expected pinned or shared"},
		"capacityGroup": {"../x", "lower-case letters"},
		"exhaust":       {"", "names of nodes"},
		"failCode":      {"OK", "expected one of Unavailable"},
		"failCreate":    {"-1", "whole number"},
		"failStage":     {"many", "whole number, or always"},
		"hold":          {"a/b", "lower-case letters"},
		"holdStage":     {"..", "lower-case letters"},
		"nodeLocal":     {"yes", "expected true or false"},
		"outOfSpace":    {"0", "at least one byte"},
		"slowStage":     {"5", "a duration such as 5s"},
		"holdcreate":    {"x", "is unknown, expected one of accessibility, capacityGroup"},
	})
}

// refusal is a value that is refused, and what the error says.
type refusal struct{ value, message string }

// checkRefused parses one key after the other.
func checkRefused[C any](t *testing.T, parse func(map[string]string) (C, error), refusals map[string]refusal) {
	t.Helper()
	for key, c := range refusals {
		_, err := parse(map[string]string{key: c.value})
		if err == nil || !strings.Contains(err.Error(), c.message) || !strings.Contains(err.Error(), key) {
			t.Errorf("%s=%q: got %v, want an error that names the key and says %q", key, c.value, err, c.message)
		}
	}
}

func TestParseClassNamesEveryMistake(t *testing.T) {
	_, err := ParseClass(map[string]string{"failCreate": "x", "slowStage": "y", "z": ""})
	for _, key := range []string{"failCreate", "slowStage", "parameter z"} {
		if err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%v does not name %s", err, key)
		}
	}
}

func TestCheckMutable(t *testing.T) {
	for _, c := range []struct {
		key, value, message string
	}{
		{"tier", "gold", ""},
		{"refuse", "false", ""},
		{"refuse", "true", "asks to be refused"},
		{"iops", "5", "is unknown"},
	} {
		err := CheckMutable(map[string]string{c.key: c.value})
		if (err == nil) != (c.message == "") || err != nil && !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s=%s: got %v, want %q", c.key, c.value, err, c.message)
		}
	}
	if err := CheckMutable(nil); err != nil {
		t.Error(err)
	}
}

func TestParseBytes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "1": 1, "64Mi": 64 << 20, "10Gi": 10 << 30, "2Ti": 2 << 40, "3k": 3000, "5G": 5e9, " 7Ki\n": 7 << 10,
	} {
		if got, err := ParseBytes(text); err != nil || got != want {
			t.Errorf("%q: got %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "Mi", "-1", "1.5Gi", "1 Gi", "9999999Ti", "1m", "1Ei"} {
		if got, err := ParseBytes(text); err == nil {
			t.Errorf("%q: got %d, want an error", text, got)
		}
	}
}
