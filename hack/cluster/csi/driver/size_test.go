package driver

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

func TestChooseCopySize(t *testing.T) {
	const mi, gi = int64(1) << 20, int64(1) << 30
	ext4, block := access{mode: pool.Filesystem, fsType: "ext4"}, access{mode: pool.Block}
	for name, c := range map[string]struct {
		required, limit int64
		kind            access
		source, want    int64
		message         string
	}{
		"as its source":               {0, 0, block, gi, gi, ""},
		"as large":                    {gi, 0, block, gi, gi, ""},
		"larger, in whole MiB":        {gi + 1, 0, block, gi, gi + mi, ""},
		"smaller":                     {gi - mi, 0, block, gi, 0, "expected at least 1073741824, the size of what is copied"},
		"up to a limit":               {0, 2 * gi, block, gi, gi, ""},
		"over its limit":              {0, gi, block, 2 * gi, 0, "limit_bytes 1073741824"},
		"of a kind that needs more":   {0, 0, ext4, mi, 16 * mi, ""},
		"of a kind, and large enough": {64 * mi, 0, ext4, mi, 64 * mi, ""},
	} {
		capacity := &csi.CapacityRange{RequiredBytes: c.required, LimitBytes: c.limit}
		got, err := chooseCopySize(capacity, c.kind, c.source)
		if c.message != "" {
			if err == nil || !strings.Contains(err.Error(), c.message) {
				t.Errorf("%s: got %d, %v, want an error with %q", name, got, err, c.message)
			}
		} else if err != nil || got != c.want {
			t.Errorf("%s: got %d, %v, want %d", name, got, err, c.want)
		}
	}
	if got, err := chooseCopySize(nil, block, gi); got != gi || err != nil {
		t.Errorf("without a range: got %d, %v", got, err)
	}
}

func TestParseSource(t *testing.T) {
	for _, want := range []pool.Source{{}, {Snapshot: "s"}, {Volume: "v"}} {
		if got, err := parseSource(sourceAsCSI(want)); got != want || err != nil {
			t.Errorf("there and back: got %+v, %v, want %+v", got, err, want)
		}
	}
	for name, content := range map[string]*csi.VolumeContentSource{
		"without a type": {},
		"snapshot_id":    {Type: &csi.VolumeContentSource_Snapshot{Snapshot: &csi.VolumeContentSource_SnapshotSource{}}},
		"volume_id":      {Type: &csi.VolumeContentSource_Volume{Volume: &csi.VolumeContentSource_VolumeSource{}}},
	} {
		if _, err := parseSource(content); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}
