package pool

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func snapshot(id string, source *Volume) *Snapshot {
	return &Snapshot{ID: id, Name: id, Volume: source.ID, SizeBytes: source.SizeBytes, Mode: source.Mode, FSType: source.FSType,
		Nodes: source.Nodes, Parameters: map[string]string{"nodeLocal": "true"}, CreatedAt: time.Unix(1, 0).UTC()}
}

// writeAt puts bytes into a volume's disk.
func writeAt(t *testing.T, p *Pool, v *Volume, offset int64, content string) {
	t.Helper()
	disk, err := p.Disk(v)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = file.WriteAt([]byte(content), offset)
	if err := errors.Join(err, file.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestSnapshots(t *testing.T) {
	p := open(t)
	source := volume("a")
	if err := p.Create(source); err != nil {
		t.Fatal(err)
	}
	if _, err := p.GetSnapshot("s"); !errors.Is(err, ErrSnapshotNotFound) {
		t.Fatalf("before: got %v", err)
	}
	// What a killed process has left of an earlier try is in nobody's way.
	if err := os.MkdirAll(p.SnapshotDir("s"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.SnapshotDisk("s"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	writeAt(t, p, source, 32<<20, "before")
	for _, id := range []string{"s", "r"} {
		if err := p.CreateSnapshot(snapshot(id, source), source); err != nil {
			t.Fatal(err)
		}
	}
	writeAt(t, p, source, 32<<20, "AFTER!")
	got, err := p.GetSnapshot("s")
	if err != nil || !reflect.DeepEqual(got, snapshot("s", source)) {
		t.Errorf("got %+v, %v", got, err)
	}
	content, err := os.ReadFile(p.SnapshotDisk("s"))
	if err != nil || len(content) != 64<<20 || !bytes.HasPrefix(content[32<<20:], []byte("before")) {
		t.Errorf("disk: got %d bytes, %v", len(content), err)
	}
	of, err := p.SnapshotsOf("a")
	if err != nil || len(of) != 2 || of[0].ID != "r" || of[1].ID != "s" {
		t.Errorf("of the volume: got %v, %v", of, err)
	}
	if of, err := p.SnapshotsOf("b"); err != nil || len(of) != 0 {
		t.Errorf("of another one: got %v, %v", of, err)
	}
	for range 2 { // deleting what is gone is no error
		if err := errors.Join(p.DeleteSnapshot("s"), p.DeleteSnapshot("r"), p.DeleteSnapshot("../a")); err != nil {
			t.Fatal(err)
		}
	}
	if entries, _ := os.ReadDir(p.SnapshotsDir()); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
	if _, err := p.Get("a"); err != nil {
		t.Errorf("the source: %v", err)
	}
}

func TestCreateCopy(t *testing.T) {
	p := open(t)
	source, larger := volume("a"), volume("b")
	if err := p.Create(source); err != nil {
		t.Fatal(err)
	}
	writeAt(t, p, source, 0, "first")
	writeAt(t, p, source, 64<<20-4, "last")
	disk, _ := p.Disk(source)
	larger.SizeBytes = 96 << 20
	if err := p.CreateCopy(larger, disk); err != nil {
		t.Fatal(err)
	}
	copied, _ := p.Disk(larger)
	want := make([]byte, 96<<20)
	copy(want, "first")
	copy(want[64<<20-4:], "last")
	if got, err := os.ReadFile(copied); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the copy differs, %v", err)
	}
	if allocated, err := p.Allocated(larger); err != nil || allocated > 1<<20 {
		t.Errorf("the copy of a sparse disk takes %d bytes, %v", allocated, err)
	}
	if err := p.CreateCopy(volume("c"), filepath.Join(p.Dir("x"), diskFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("without a source: got %v", err)
	}
	if all, err := p.List(); err != nil || len(all) != 2 {
		t.Errorf("a copy that failed is there: %v, %v", all, err)
	}
}

func TestLocksOfOneID(t *testing.T) {
	p := open(t)
	unlock, err := p.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	other, err := p.LockSnapshot(t.Context(), "a")
	if err != nil {
		t.Fatalf("the snapshot of the same id: %v", err)
	}
	other()
	if left, _ := filepath.Glob(filepath.Join(p.root, locksDir, snapshotLock+"*")); len(left) != 0 {
		t.Errorf("locks of snapshots that do not exist are left: %v", left)
	}
}

func TestSnapshotID(t *testing.T) {
	for name, want := range map[string]string{"snapshot-1": "snapshot-1", "a/b": "snap-", "snap-x": "snap-"} {
		if id := SnapshotID(name); !ValidID(id) || id[:len(want)] != want || want == "snap-" && id == name {
			t.Errorf("%q: got %q, want %s…", name, id, want)
		}
	}
}
