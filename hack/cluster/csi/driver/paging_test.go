package driver

import (
	"testing"

	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

// Pages stay right when volumes come and go between them, the last one of the page before included.
func TestPaginate(t *testing.T) {
	list := func(ids ...string) []*pool.Volume {
		var volumes []*pool.Volume
		for _, id := range ids {
			volumes = append(volumes, &pool.Volume{ID: id})
		}
		return volumes
	}
	for name, c := range map[string]struct {
		volumes []*pool.Volume
		after   string
		limit   int
		want    string
		more    bool
	}{
		"all":                     {list("a", "b", "c"), "", 0, "abc", false},
		"first page":              {list("a", "b", "c"), "", 2, "ab", true},
		"last page":               {list("a", "b", "c"), "b", 2, "c", false},
		"exactly full":            {list("a", "b"), "", 2, "ab", false},
		"its last one is deleted": {list("c", "d"), "b", 1, "c", true},
		"one was added":           {list("a", "b", "bb", "c"), "b", 5, "bbc", false},
		"all are deleted":         {nil, "b", 5, "", false},
		"nothing after":           {list("a"), "b", 5, "", false},
	} {
		page, more := paginate(c.volumes, func(volume *pool.Volume) string { return volume.ID }, c.after, c.limit)
		got := ""
		for _, volume := range page {
			got += volume.ID
		}
		if got != c.want || more != c.more {
			t.Errorf("%s: got %q, more %v, want %q, %v", name, got, more, c.want, c.more)
		}
	}
}
