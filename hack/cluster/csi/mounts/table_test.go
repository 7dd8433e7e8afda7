package mounts

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const table = `27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard
24 27 0:6 / /dev rw,relatime shared:2 master:1 - devtmpfs devtmpfs rw,mode=755
90 27 7:3 / /run/kubelet/pv\0401/globalmount rw,relatime shared:9 - ext4 /dev/loop3 rw
91 27 7:3 / /run/kubelet/pods/u/mount ro,relatime shared:9 - ext4 /dev/loop3 rw
92 27 0:6 /loop4 /run/kubelet/staging/device rw,relatime - devtmpfs devtmpfs rw,mode=755
93 27 7:5 / /run/kubelet/pods/u/mount rw,relatime - xfs /dev/loop5 rw,attr2
`

func parsed(t *testing.T) []Mount {
	t.Helper()
	mounts, err := parse(strings.NewReader(table))
	if err != nil {
		t.Fatal(err)
	}
	return mounts
}

func TestParse(t *testing.T) {
	mounts := parsed(t)
	want := Mount{"7:3", "/", "/run/kubelet/pv 1/globalmount", []string{"rw", "relatime"}, "ext4"}
	if len(mounts) != 6 || !reflect.DeepEqual(mounts[2], want) {
		t.Errorf("got %d mounts, the third %+v, want %+v", len(mounts), mounts[2], want)
	}
	if mounts[2].ReadOnly() || !mounts[3].ReadOnly() {
		t.Error("read-only is not told from writable")
	}
	for _, bad := range []string{"1 2 3", "27 1 254:0 / / rw,relatime ext4 /dev/vda rw"} {
		if _, err := parse(strings.NewReader(bad)); err == nil || !strings.Contains(err.Error(), bad) {
			t.Errorf("%q: got %v, want an error that quotes it", bad, err)
		}
	}
}

func TestAt(t *testing.T) {
	mounts := parsed(t)
	if got, found := At(mounts, "/run/kubelet/pods/u/mount"); !found || got.Device != "7:5" {
		t.Errorf("the topmost mount: got %+v, %v", got, found)
	}
	if got, found := At(mounts, "/run/kubelet"); found {
		t.Errorf("nothing is mounted there: got %+v", got)
	}
}

func TestOfAndBelow(t *testing.T) {
	mounts := parsed(t)
	for _, c := range []struct {
		number, name string
		want         int
	}{{"7:3", "loop3", 2}, {"7:4", "loop4", 1}, {"7:6", "loop6", 0}} {
		if got := Of(mounts, c.number, c.name); len(got) != c.want {
			t.Errorf("%s: got %+v, want %d", c.name, got, c.want)
		}
	}
	if got := Below(mounts, "/run/kubelet/pods"); len(got) != 2 {
		t.Errorf("below pods: got %+v", got)
	}
}

func TestResolve(t *testing.T) {
	real := t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		link + "/target":     real + "/target",
		"/no/such/dir/../x/": "/no/such/x",
	} {
		if got, err := Resolve(path); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", path, got, err, want)
		}
	}
}
