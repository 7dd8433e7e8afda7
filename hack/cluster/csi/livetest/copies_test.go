package livetest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"pelotech.ot/vmdisk/hack/cluster/csi/loop"
)

// A snapshot of a volume in use has what was written before and nothing of what is written after; it outlives its source
// and fills a larger volume, whose file system is as large as the volume.
func TestSnapshotAndRestore(t *testing.T) {
	for _, fsType := range []string{"ext4", "xfs"} {
		t.Run(fsType, func(t *testing.T) {
			b := newBed(t)
			before, after := written(1), written(2)
			source := b.create("pvc-1", gi, mounted(fsType, rwo), claim)
			target := source.use("node-1", "a")
			b.write(filepath.Join(target, "disk.img"), before)
			snapshot := source.cut("snapshot-1", nil)
			b.write(filepath.Join(target, "disk.img"), after)
			b.write(filepath.Join(target, "later"), after)
			b.expectContent("the source goes on", filepath.Join(target, "disk.img"), after)

			for name, c := range map[string]struct{ asked, size int64 }{
				"same": {gi, gi}, "larger": {3 * gi, 3 * gi}, "unsaid": {0, gi},
			} {
				restored := b.copied(copyRequest(name, ofSnapshot(snapshot), c.asked, mounted(fsType, rwo), nil))
				path := restored.use("node-1", name)
				b.expectContent(name, filepath.Join(path, "disk.img"), before)
				if _, err := os.Lstat(filepath.Join(path, "later")); !os.IsNotExist(err) {
					t.Errorf("%s: a file of after the snapshot: got %v", name, err)
				}
				if got := available(t, restored, path); got < c.size*8/10 || got > c.size {
					t.Errorf("%s: %d bytes can be had of %d", name, got, c.size)
				}
				b.write(filepath.Join(path, "disk.img"), after) // of no concern to the snapshot
				restored.discard(name)
			}

			source.discard("a")
			restored := b.copied(copyRequest("pvc-2", ofSnapshot(snapshot), gi, mounted(fsType, rwo), nil))
			b.expectContent("without its source", filepath.Join(restored.use("node-1", "b"), "disk.img"), before)
			b.must(b.deleteSnapshot(snapshot))
			b.must(b.deleteSnapshot(snapshot)) // idempotent
			b.expectContent("without its snapshot", filepath.Join(restored.target("node-1", "b"), "disk.img"), before)
			restored.discard("b")
			b.expectNothingLeft()
		})
	}
}

// Clones of a volume in use: bytes, size and independence, and copies of one xfs beside each other on one node.
func TestClones(t *testing.T) {
	for _, fsType := range []string{"ext4", "xfs"} {
		t.Run(fsType, func(t *testing.T) {
			b := newBed(t)
			content := written(1)
			source := b.create("pvc-0", gi, mounted(fsType, rwo), nil)
			target := source.use("node-1", "source")
			b.write(filepath.Join(target, "disk.img"), content)
			all := map[string]*volume{"source": source}
			for i, name := range []string{"pvc-1", "pvc-2", "pvc-3"} {
				all[name] = b.copied(copyRequest(name, ofVolume(source.id), int64(i+1)*gi, mounted(fsType, rwo), nil))
				b.expectContent(name, filepath.Join(all[name].use("node-1", name), "disk.img"), content)
				if got, want := all[name].reported(), source.id; got.Source.Volume != want {
					t.Errorf("%s: its source is reported as %q, want %q", name, got.Source.Volume, want)
				}
			}
			for name, v := range all {
				b.write(filepath.Join(v.target("node-1", name), "own"), []byte(name))
			}
			for name, v := range all {
				b.expectContent(name, filepath.Join(v.target("node-1", name), "own"), []byte(name))
				v.discard(name)
			}
			b.expectNothingLeft()
		})
	}
}

func TestBlockCopies(t *testing.T) {
	b := newBed(t)
	before, after := written(1), written(2)
	source := b.create("pvc-1", 64*mi, block(rwo), nil)
	device := source.use("node-1", "a")
	b.write(device, before)
	snapshot := source.cut("snapshot-1", nil)
	clone := b.copied(copyRequest("pvc-2", ofVolume(source.id), 64*mi, block(rwo), nil))
	b.write(device, after)
	restored := b.copied(copyRequest("pvc-3", ofSnapshot(snapshot), 128*mi, block(rwo), nil))
	for name, copied := range map[string]struct {
		*volume
		size int64
	}{"clone": {clone, 64 * mi}, "restored": {restored, 128 * mi}} {
		path := copied.use("node-1", name)
		b.expectContent(name, path, before)
		if size, err := loop.Size(path); err != nil || size != copied.size {
			t.Errorf("%s: got %d bytes, %v, want %d", name, size, err, copied.size)
		}
		copied.discard(name)
	}
	if got := b.status().Snapshots; len(got) != 1 || got[0].Volume != source.id || got[0].SizeBytes != 64*mi {
		t.Errorf("status: got %+v", got)
	}
	source.discard("a")
	b.must(b.deleteSnapshot(snapshot))
	b.expectNothingLeft()
}

// A volume that nobody has staged yet is copied as what it is: empty.
func TestCopyOfAFreshVolume(t *testing.T) {
	b := newBed(t)
	source := b.create("pvc-1", gi, mounted("", rwo), nil)
	clone := b.copied(copyRequest("pvc-2", ofVolume(source.id), 2*gi, mounted("", rwo), nil))
	if got := available(t, clone, clone.use("node-1", "a")); got < 2*gi*9/10 {
		t.Errorf("%d bytes can be had of %d", got, 2*gi)
	}
	clone.discard("a")
	source.discard()
	b.expectNothingLeft()
}

// All nodes have one pool, so a copy can be on another node than its source, unless the class wants it otherwise.
func TestCopyOnAnotherNode(t *testing.T) {
	b := newBed(t)
	local := map[string]string{"nodeLocal": "true"}
	source := b.create("pvc-1", gi, mounted("", rwo), nil)
	anywhere, here := source.cut("anywhere", nil), source.cut("here", local)
	there := func(source *csi.VolumeContentSource, parameters map[string]string, nodes ...string) error {
		request := onNodes(copyRequest("pvc-2", source, gi, mounted("", rwo), parameters), nodes...)
		response, err := b.controller.CreateVolume(t.Context(), request)
		if err != nil {
			return err
		}
		got := response.GetVolume().GetAccessibleTopology()[0].GetSegments()
		for _, node := range got {
			if nodes[len(nodes)-1] != node {
				t.Errorf("got a copy on %s, want one on %v", node, nodes)
			}
		}
		_, err = b.controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: "pvc-2"})
		return err
	}
	b.must(there(ofSnapshot(anywhere), nil, "node-2"))
	b.must(there(ofVolume(source.id), nil, "node-2"))
	b.must(there(ofSnapshot(here), nil, "node-2", "node-1"))
	b.must(there(ofVolume(source.id), local, "node-2", "node-1"))
	expectCode(t, there(ofSnapshot(here), nil, "node-2"), codes.ResourceExhausted, "local to [node-1]")
	expectCode(t, there(ofSnapshot(anywhere), local, "node-2"), codes.ResourceExhausted, "local to [node-1]")
	expectCode(t, there(ofVolume(source.id), local, "node-2"), codes.ResourceExhausted, "local to [node-1]")
	source.discard()
	b.must(b.deleteSnapshot(anywhere))
	b.must(b.deleteSnapshot(here))
	b.expectNothingLeft()
}

// A copy of another volumeMode has the bytes of its source, and is not formatted over them.
func TestCopyOfAnotherMode(t *testing.T) {
	b := newBed(t)
	content := written(1)
	source := b.create("pvc-1", 64*mi, mounted("ext4", rwo), nil)
	b.write(filepath.Join(source.use("node-1", "a"), "disk.img"), content)
	raw := b.copied(copyRequest("pvc-2", ofVolume(source.id), 64*mi, block(rwo), nil))
	again := b.copied(copyRequest("pvc-3", ofVolume(raw.id), 128*mi, mounted("ext4", rwo), nil))
	path := again.use("node-1", "c")
	b.expectContent("a file system, a device, a file system", filepath.Join(path, "disk.img"), content)
	if got := available(t, again, path); got < 100*mi {
		t.Errorf("%d bytes can be had of %d", got, 128*mi)
	}

	other := b.copied(copyRequest("pvc-4", ofVolume(source.id), gi, mounted("xfs", rwo), nil))
	if err := other.stage("node-1"); err == nil {
		t.Error("an ext4 was staged as xfs")
	}
	if got := other.reported(); len(got.LoopDevices)+len(got.Mounts) != 0 {
		t.Errorf("a staging that failed left %+v", got)
	}
	other.discard()
	again.discard("c")
	raw.discard()
	source.discard("a")
	b.expectNothingLeft()
}

func TestCopiesThatCanNotBe(t *testing.T) {
	b := newBed(t)
	source := b.create("pvc-1", 2*gi, mounted("", rwo), nil)
	snapshot := source.cut("snapshot-1", nil)
	for name, c := range map[string]struct {
		source     *csi.VolumeContentSource
		size       int64
		parameters map[string]string
		code       codes.Code
		message    string
	}{
		"smaller than the snapshot": {ofSnapshot(snapshot), gi, nil, codes.OutOfRange, "the size of what is copied"},
		"smaller than the volume":   {ofVolume(source.id), gi, nil, codes.OutOfRange, "the size of what is copied"},
		"no such snapshot":          {ofSnapshot("other"), 2 * gi, nil, codes.NotFound, "no such snapshot"},
		"no such volume":            {ofVolume("other"), 2 * gi, nil, codes.NotFound, "no such volume"},
		"an id from outside":        {ofSnapshot("../pvc-1"), 2 * gi, nil, codes.NotFound, "no such snapshot"},
		"no room":                   {ofSnapshot(snapshot), 300 * gi, nil, codes.ResourceExhausted, "bytes left of capacity group"},
		"out of space":              {ofSnapshot(snapshot), 2 * gi, map[string]string{"outOfSpace": "1Mi"}, codes.InvalidArgument, "expected one of them"},
	} {
		_, err := b.controller.CreateVolume(t.Context(), copyRequest("pvc-2", c.source, c.size, mounted("", rwo), c.parameters))
		if err == nil {
			t.Errorf("%s: it was made", name)
		}
		expectCode(t, err, c.code, c.message)
	}
	copied := b.copied(copyRequest("pvc-2", ofSnapshot(snapshot), 2*gi, mounted("", rwo), nil))
	_, err := b.controller.CreateVolume(t.Context(), copyRequest("pvc-2", ofVolume(source.id), 2*gi, mounted("", rwo), nil))
	expectCode(t, err, codes.AlreadyExists, "it is a copy of")
	copied.discard()
	source.discard()
	_, err = source.snapshot("snapshot-2", nil)
	expectCode(t, err, codes.NotFound, "no such volume")
	b.must(b.deleteSnapshot(snapshot))
	b.expectNothingLeft()
}

// The disk of such a volume is not in the pool's file system, and is copied byte by byte.
func TestSnapshotOfAVolumeThatRunsOutOfSpace(t *testing.T) {
	b := newBed(t)
	content := written(1)
	source := b.create("pvc-1", gi, mounted("", rwo), map[string]string{"outOfSpace": "32Mi"})
	b.write(filepath.Join(source.use("node-1", "a"), "disk.img"), content)
	snapshot := source.cut("snapshot-1", nil)
	restored := b.copied(copyRequest("pvc-2", ofSnapshot(snapshot), gi, mounted("", rwo), nil))
	b.expectContent("restored", filepath.Join(restored.use("node-1", "b"), "disk.img"), content)
	restored.discard("b")
	source.discard("a")
	b.must(b.deleteSnapshot(snapshot))
	b.expectNothingLeft()
}

// What a pod has synced before the snapshot is in it, and the file system is sound, while the pod goes on writing.
func TestSnapshotWhileAPodWrites(t *testing.T) {
	for fsType, check := range map[string][]string{"ext4": {"e2fsck", "-f", "-n"}, "xfs": {"xfs_repair", "-n"}} {
		t.Run(fsType, func(t *testing.T) {
			b := newBed(t)
			source := b.create("pvc-1", gi, mounted(fsType, rwo), nil)
			target := source.use("node-1", "a")
			var synced atomic.Int64
			stop, stopped := make(chan struct{}), make(chan error, 1)
			go func() { stopped <- keepWriting(target, &synced, stop) }()
			eventually(t, "the pod writes", func() bool { return synced.Load() > 10 })
			sure := synced.Load()
			snapshot := source.cut("snapshot-1", nil)
			eventually(t, "the pod goes on", func() bool { return synced.Load() > sure+10 })
			close(stop)
			b.must(<-stopped)

			restored := b.copied(copyRequest("pvc-2", ofSnapshot(snapshot), gi, mounted(fsType, rwo), nil))
			path := restored.use("node-1", "b")
			for number := range sure {
				b.expectContent("a synced file", filepath.Join(path, fmt.Sprint(number)), written(uint64(number))[:mi])
			}
			restored.unpublish("node-1", "b")
			restored.unstage("node-1")
			if output, err := exec.Command(check[0], append(check[1:], restored.reported().Disk)...).CombinedOutput(); err != nil {
				t.Errorf("%v: %v: %s", check, err, output)
			}
			restored.discard()
			source.discard("a")
			b.must(b.deleteSnapshot(snapshot))
			b.expectNothingLeft()
		})
	}
}

// keepWriting makes files, synced one after the other, and counts them.
func keepWriting(dir string, synced *atomic.Int64, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		number := synced.Load()
		file, err := os.Create(filepath.Join(dir, fmt.Sprint(number)))
		if err != nil {
			return err
		}
		_, err = file.Write(written(uint64(number))[:mi])
		if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
			return err
		}
		synced.Add(1)
	}
}
