package pool

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T) *Pool {
	t.Helper()
	p, err := Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func volume(id string) *Volume {
	return &Volume{ID: id, Name: id, SizeBytes: 64 << 20, Mode: Filesystem, FSType: "ext4", Nodes: []string{"node-1"},
		Parameters: map[string]string{"hold": "x"}, CreatedAt: time.Unix(1, 0).UTC()}
}

func TestID(t *testing.T) {
	long := strings.Repeat("a", 128)
	for name, want := range map[string]string{
		"pvc-3fa2c1": "pvc-3fa2c1",
		"a.b-C":      "a.b-C",
		"..":         "vol-",
		"a/b":        "vol-",
		"vol-x":      "vol-",
		"":           "vol-",
		long:         "vol-",
	} {
		id := ID(name)
		if !ValidID(id) || ID(name) != id {
			t.Errorf("%q: id %q is not valid or not the same twice", name, id)
		}
		if want == "vol-" && (!strings.HasPrefix(id, want) || len(id) != len("vol-")+32) || want != "vol-" && id != want {
			t.Errorf("%q: got id %q, want %q", name, id, want)
		}
	}
	if ID("a/b") == ID("a/c") {
		t.Error("two names, one id")
	}
	for _, id := range []string{"", ".", "..", "a/b", "-a", "a\x00"} {
		if ValidID(id) {
			t.Errorf("%q passes as an id", id)
		}
	}
}

func TestCreateGetListDelete(t *testing.T) {
	p := open(t)
	if _, err := p.Get("b"); !errors.Is(err, ErrNotFound) {
		t.Fatalf("before: got %v", err)
	}
	for _, id := range []string{"b", "a"} {
		if err := p.Create(volume(id)); err != nil {
			t.Fatal(err)
		}
	}
	got, err := p.Get("b")
	if err != nil || !reflect.DeepEqual(got, volume("b")) {
		t.Errorf("got %+v, %v", got, err)
	}
	all, err := p.List()
	if err != nil || len(all) != 2 || all[0].ID != "a" || all[1].ID != "b" {
		t.Errorf("list: got %v, %v", all, err)
	}
	disk, _ := p.Disk(got)
	if info, err := os.Stat(disk); err != nil || info.Size() != 64<<20 {
		t.Errorf("disk: got %v, %v", info, err)
	}
	if allocated, err := p.Allocated(got); err != nil || allocated != 0 {
		t.Errorf("a fresh disk takes %d bytes, %v", allocated, err)
	}
	for range 2 { // deleting what is gone is no error
		if err := p.Delete("b"); err != nil {
			t.Fatal(err)
		}
	}
	if entries, _ := os.ReadDir(p.VolumesDir()); len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
	if err := p.Delete("../a"); err != nil {
		t.Errorf("an id that no volume can have: %v", err)
	}
	if _, err := p.Get("a"); err != nil {
		t.Errorf("the other one: %v", err)
	}
}

func TestCreateStartsAfreshAfterACrash(t *testing.T) {
	p := open(t)
	if err := os.MkdirAll(p.Dir("a"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.Dir("a"), diskFile), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if all, err := p.List(); err != nil || len(all) != 0 {
		t.Errorf("a volume without a record is listed: %v, %v", all, err)
	}
	if err := p.Create(volume("a")); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(p.Dir("a"), diskFile))
	if err != nil || strings.Contains(string(content[:8]), "half") {
		t.Errorf("the old bytes are still there, %v", err)
	}
}

func TestBlankAndResize(t *testing.T) {
	p := open(t)
	v := volume("a")
	if err := p.Create(v); err != nil {
		t.Fatal(err)
	}
	disk, _ := p.Disk(v)
	if err := os.WriteFile(disk, []byte("half a file system"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Blank(v); err != nil {
		t.Fatal(err)
	}
	if err := p.Resize(v, 128<<20); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(disk)
	allocated, _ := p.Allocated(v)
	again, _ := p.Get("a")
	if err != nil || info.Size() != 128<<20 || allocated != 0 || again.SizeBytes != 128<<20 {
		t.Errorf("got %v bytes, %d allocated, record %+v, %v", info.Size(), allocated, again, err)
	}
}

func TestLock(t *testing.T) {
	p := open(t)
	unlock, err := p.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := p.Lock(short, "a"); !errors.Is(err, ErrBusy) {
		t.Errorf("while it is held: got %v", err)
	}
	other, err := p.Lock(t.Context(), "b")
	if err != nil {
		t.Fatalf("another volume: %v", err)
	}
	other()
	waiting := make(chan error)
	go func() {
		again, err := p.Lock(t.Context(), "a")
		if err == nil {
			again()
		}
		waiting <- err
	}()
	unlock()
	if err := <-waiting; err != nil {
		t.Errorf("after it is released: %v", err)
	}
	if left, _ := os.ReadDir(filepath.Join(p.root, locksDir)); len(left) != 0 {
		t.Errorf("locks of volumes that do not exist are left: %v", left)
	}
}

func TestLockIsKeptForAVolumeThatExists(t *testing.T) {
	p := open(t)
	if err := p.Create(volume("a")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		unlock, err := p.Lock(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		unlock()
	}
}

func TestUsed(t *testing.T) {
	mine, shared, theirs := volume("a"), volume("b"), volume("c")
	shared.Nodes = []string{"node-1", "node-2"}
	theirs.Parameters = map[string]string{"capacityGroup": "theirs"}
	volumes := []*Volume{mine, shared, theirs}
	for _, c := range []struct {
		group, node string
		want        int64
	}{
		{"default", "node-1", 128 << 20},
		{"default", "node-2", 64 << 20},
		{"default", "node-3", 0},
		{"theirs", "node-1", 64 << 20},
	} {
		if got, err := Used(volumes, c.group, c.node); err != nil || got != c.want {
			t.Errorf("%s on %s: got %d, %v, want %d", c.group, c.node, got, err, c.want)
		}
	}
}
