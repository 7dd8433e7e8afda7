package mounts

import (
	"testing"

	"golang.org/x/sys/unix"
)

func TestSplit(t *testing.T) {
	for _, c := range []struct {
		options []string
		bits    uintptr
		data    string
	}{
		{nil, 0, ""},
		{[]string{"rw", "defaults"}, 0, ""},
		{[]string{"noatime", "discard", "nosuid", "data=journal"}, unix.MS_NOATIME | unix.MS_NOSUID, "discard,data=journal"},
	} {
		if bits, data := split(c.options); bits != c.bits || data != c.data {
			t.Errorf("%v: got %#x %q, want %#x %q", c.options, bits, data, c.bits, c.data)
		}
	}
}
