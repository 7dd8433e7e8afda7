package filesystem

import (
	"strings"
	"testing"
)

func TestParseSuperblock(t *testing.T) {
	got, err := parseSuperblock("Filesystem volume name:   <none>\nBlock count:              100\nReserved block count:     0\nFree blocks:              60\nBlock size:               4096\n")
	if err != nil || got != (superblock{100, 60, 4096}) {
		t.Errorf("got %+v, %v", got, err)
	}
	for dump, message := range map[string]string{
		"Block count: 100\nBlock size: 4096\n": `no line "Free blocks"`,
		"Block count: many\n":                  `"Block count: many"`,
	} {
		if _, err := parseSuperblock(dump); err == nil || !strings.Contains(err.Error(), message) {
			t.Errorf("%q: got %v, want %s", dump, err, message)
		}
	}
}

func TestMinimumBytes(t *testing.T) {
	for fsType, want := range map[string]int64{"ext4": 16 << 20, "xfs": 300 << 20, "btrfs": 0} {
		got, err := MinimumBytes(fsType)
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("%s: got %d, %v", fsType, got, err)
		}
	}
}
