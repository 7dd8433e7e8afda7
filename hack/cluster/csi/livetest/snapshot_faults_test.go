package livetest

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"pelotech.ot/vmdisk/hack/cluster/csi/faults"
)

func TestSnapshotFailures(t *testing.T) {
	b := newBed(t)
	v := b.create("pvc-1", gi, mounted("", rwo), nil)
	class := map[string]string{"failCreate": "2", "failDelete": "1", "failCode": "Internal"}
	for range 2 {
		_, err := v.snapshot("snapshot-1", class)
		expectCode(t, err, codes.Internal, "the VolumeSnapshotClass asks CreateSnapshot to fail 2 times")
		b.stop("controller", syscall.SIGKILL) // the count outlives the process
		b.start("controller", "--mode", "controller", "--nodes", "node-1,node-2")
	}
	snapshot := v.cut("snapshot-1", class)
	expectCode(t, b.deleteSnapshot(snapshot), codes.Internal, "asks DeleteSnapshot to fail 1 times")
	b.must(b.deleteSnapshot(snapshot))
	for range 3 {
		_, err := v.snapshot("snapshot-2", map[string]string{"failCreate": "always"})
		expectCode(t, err, codes.Unavailable, "to fail always")
	}
	b.must(b.deleteSnapshot("snapshot-2")) // forgets the count
	b.must(v.delete())
	b.expectNothingLeft()
}

// The snapshot is cut when the hold is released, not before; another call for it is refused meanwhile.
func TestHoldSnapshots(t *testing.T) {
	b := newBed(t)
	class := map[string]string{"hold": "creation", "holdDelete": "deletion",
		"csi.storage.k8s.io/volumesnapshot/name": "disk", "csi.storage.k8s.io/volumesnapshot/namespace": "lab"}
	v := b.create("pvc-1", 64*mi, block(rwo), nil)
	device := v.use("node-1", "a")
	b.write(device, written(1))

	release, done := b.hold("creation"), make(chan error, 1)
	go func() {
		_, err := v.snapshot("snapshot-1", class)
		done <- err
	}()
	eventually(t, "creation is held", b.held("creation", 1))
	if held := b.status().Holding; len(held) != 1 || held[0].Operation != faults.CreateSnapshot || held[0].Volume != "snapshot-1" ||
		held[0].Claim != "disk" || held[0].Namespace != "lab" {
		t.Errorf("status: got %+v", held)
	}
	expectCode(t, b.deleteSnapshot("snapshot-1"), codes.Aborted, "under way")
	b.write(device, written(2))
	release()
	b.must(<-done)
	restored := b.copied(copyRequest("pvc-2", ofSnapshot("snapshot-1"), 64*mi, block(rwo), nil))
	b.expectContent("what was there at the release", restored.use("node-1", "b"), written(2))
	restored.discard("b")

	release = b.hold("deletion")
	go func() { done <- b.deleteSnapshot("snapshot-1") }()
	eventually(t, "deletion is held", b.held("deletion", 1))
	if len(b.status().Snapshots) != 1 {
		t.Error("it was deleted before the release")
	}
	release()
	b.must(<-done)
	v.discard("a")
	b.expectNothingLeft()
}

func TestSlowSnapshot(t *testing.T) {
	b := newBed(t)
	v := b.create("pvc-1", gi, mounted("", rwo), nil)
	start := time.Now()
	snapshot := v.cut("snapshot-1", map[string]string{"slowCreate": "1s"})
	if took := time.Since(start); took < time.Second {
		t.Errorf("it took %s", took)
	}
	b.must(b.deleteSnapshot(snapshot))
	b.must(v.delete())
	b.expectNothingLeft()
}

// A snapshot that was cut and is not ready is told of by CreateSnapshot and ListSnapshots, and can not be restored.
func TestLateReadiness(t *testing.T) {
	b := newBed(t)
	v := b.create("pvc-1", gi, mounted("", rwo), nil)
	for name, class := range map[string]map[string]string{"held": {"holdReady": "readiness"}, "slow": {"readyAfter": "2s"}} {
		release := b.hold("readiness")
		first, err := v.snapshot(name, class)
		b.must(err)
		listed, err := b.controller.ListSnapshots(t.Context(), &csi.ListSnapshotsRequest{SnapshotId: name})
		b.must(err)
		if first.GetReadyToUse() || len(listed.GetEntries()) != 1 || listed.GetEntries()[0].GetSnapshot().GetReadyToUse() {
			t.Errorf("%s: it is ready at once: %v, listed %v", name, first, listed)
		}
		_, err = b.controller.CreateVolume(t.Context(), copyRequest("pvc-2", ofSnapshot(name), gi, mounted("", rwo), nil))
		expectCode(t, err, codes.Unavailable, "is not ready to use")
		release()
		eventually(t, name+" becomes ready", func() bool {
			again, err := v.snapshot(name, class)
			b.must(err)
			if again.GetCreationTime().AsTime() != first.GetCreationTime().AsTime() {
				t.Errorf("%s: it was cut again", name)
			}
			return again.GetReadyToUse()
		})
		b.copied(copyRequest("pvc-2", ofSnapshot(name), gi, mounted("", rwo), nil)).discard()
		b.must(b.deleteSnapshot(name))
	}
	b.must(v.delete())
	b.expectNothingLeft()
}

// Whatever is told of the size, the volume has to be as large as the source.
func TestRestoreSize(t *testing.T) {
	b := newBed(t)
	v := b.create("pvc-1", 96*mi, mounted("", rwo), nil)
	for name, c := range map[string]struct {
		class map[string]string
		want  int64
	}{
		"exact":   {nil, 96 * mi},
		"none":    {map[string]string{"restoreSize": "none"}, 0},
		"tiny":    {map[string]string{"restoreSize": "1Mi"}, mi},
		"rounded": {map[string]string{"restoreSizeUnit": "1Gi"}, gi},
	} {
		snapshot, err := v.snapshot(name, c.class)
		b.must(err)
		if got := snapshot.GetSizeBytes(); got != c.want {
			t.Errorf("%s: got %d, want %d", name, got, c.want)
		}
		_, err = b.controller.CreateVolume(t.Context(), copyRequest("pvc-2", ofSnapshot(name), 32*mi, mounted("", rwo), nil))
		expectCode(t, err, codes.OutOfRange, "expected at least 100663296")
		b.copied(copyRequest("pvc-2", ofSnapshot(name), 96*mi, mounted("", rwo), nil)).discard()
		b.must(b.deleteSnapshot(name))
	}
	b.must(v.delete())
	b.expectNothingLeft()
}

func TestDeletionOfTheSource(t *testing.T) {
	b := newBed(t)
	class := func(way string) map[string]string { return map[string]string{"sourceDeletion": way} }
	v := b.create("pvc-1", gi, mounted("", rwo), nil)
	lost, refusing := v.cut("lost", class("lost")), v.cut("refusing", class("refused"))
	independent := v.cut("independent", class("independent"))
	expectCode(t, v.delete(), codes.FailedPrecondition, "volume pvc-1 has snapshot refusing")
	if got := b.status(); len(got.Volumes) != 1 || len(got.Snapshots) != 3 {
		t.Errorf("after the refusal: got %+v", got)
	}
	b.must(b.deleteSnapshot(refusing))
	b.must(v.delete())
	_, err := b.controller.CreateVolume(t.Context(), copyRequest("pvc-2", ofSnapshot(lost), gi, mounted("", rwo), nil))
	expectCode(t, err, codes.NotFound, "no such snapshot")
	listed, err := b.controller.ListSnapshots(t.Context(), &csi.ListSnapshotsRequest{SourceVolumeId: v.id})
	b.must(err)
	if entries := listed.GetEntries(); len(entries) != 1 || entries[0].GetSnapshot().GetSnapshotId() != independent {
		t.Errorf("listed: got %v", entries)
	}
	b.must(b.deleteSnapshot(lost)) // nobody knows that it is gone
	b.must(b.deleteSnapshot(independent))
	b.expectNothingLeft()
}

// Faults of restores and clones are of those alone: an empty volume of the same class is made at once.
func TestFaultsOfCopies(t *testing.T) {
	b := newBed(t)
	class := map[string]string{"failRestore": "1", "failClone": "1", "failCode": "Internal", "holdRestore": "restores", "holdClone": "clones"}
	source := b.create("pvc-1", 64*mi, block(rwo), class)
	snapshot := source.cut("snapshot-1", nil)
	for name, c := range map[string]struct {
		source    *csi.VolumeContentSource
		operation faults.Operation
	}{
		"restores": {ofSnapshot(snapshot), faults.Restore},
		"clones":   {ofVolume(source.id), faults.Clone},
	} {
		request := copyRequest("pvc-2", c.source, 64*mi, block(rwo), class)
		release, done := b.hold(name), make(chan error, 1)
		go func() {
			_, err := b.controller.CreateVolume(t.Context(), request)
			done <- err
		}()
		eventually(t, name+" are held", b.held(name, 1))
		if held := b.status().Holding; len(held) != 1 || held[0].Operation != c.operation || held[0].Volume != "pvc-2" {
			t.Errorf("%s: got %+v", name, held)
		}
		b.must(b.create("pvc-3", 64*mi, block(rwo), class).delete())
		release()
		expectCode(t, <-done, codes.Internal, "the StorageClass asks "+string(c.operation)+" to fail 1 times")
		b.copied(request).discard()
	}
	b.must(b.deleteSnapshot(snapshot))
	source.discard()
	b.expectNothingLeft()
}

// A controller that was killed while it copied has left no volume, and begins again.
func TestKilledWhileCopying(t *testing.T) {
	b := newBed(t)
	v := b.create("pvc-1", 64*mi, block(rwo), nil)
	b.write(v.use("node-1", "a"), written(1))
	for _, dir := range []string{"snapshots/snapshot-1", "volumes/pvc-2"} {
		b.must(os.MkdirAll(b.path("pool", dir), 0o700))
		b.must(os.WriteFile(filepath.Join(b.path("pool", dir), "disk.img"), []byte("half"), 0o600))
	}
	if got := b.status(); len(got.Snapshots) != 0 || len(got.Volumes) != 1 {
		t.Errorf("half a copy is reported: %+v", got)
	}
	snapshot := v.cut("snapshot-1", nil)
	restored := b.copied(copyRequest("pvc-2", ofSnapshot(snapshot), 64*mi, block(rwo), nil))
	b.expectContent("restored", restored.use("node-1", "b"), written(1))
	restored.discard("b")
	v.discard("a")
	b.must(b.deleteSnapshot(snapshot))
	b.expectNothingLeft()
}
