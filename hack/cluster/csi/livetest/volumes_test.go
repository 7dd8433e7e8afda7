package livetest

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"pelotech.ot/vmdisk/hack/cluster/csi/filesystem"
	"pelotech.ot/vmdisk/hack/cluster/csi/loop"
)

const mi, gi = int64(1) << 20, int64(1) << 30

var claim = map[string]string{
	"csi.storage.k8s.io/pvc/name": "disk", "csi.storage.k8s.io/pvc/namespace": "lab", "csi.storage.k8s.io/pv/name": "pvc-1",
}

// A file system volume from its creation to its deletion, over a node process that is killed in between.
func TestFilesystem(t *testing.T) {
	for _, fsType := range []string{"ext4", "xfs"} {
		t.Run(fsType, func(t *testing.T) {
			b := newBed(t)
			v := b.create("pvc-1", 10*gi, mounted(fsType, rwo), claim)
			target := v.use("node-1", "a")
			b.must(os.WriteFile(filepath.Join(target, "disk.img"), []byte("bytes"), 0o600))
			b.must(v.stage("node-1"))        // idempotent
			b.must(v.publish("node-1", "a")) // idempotent

			b.stop("node-1", syscall.SIGKILL)
			b.start("node-1", "--mode", "node", "--node-id", "node-1")
			b.must(v.stage("node-1"))
			second := v.target("node-1", "b")
			b.must(v.publish("node-1", "b"))
			if content, err := os.ReadFile(filepath.Join(second, "disk.img")); err != nil || string(content) != "bytes" {
				t.Errorf("after a restart: got %q, %v", content, err)
			}
			got := v.reported()
			if len(got.LoopDevices) != 1 || len(got.Mounts) != 3 || got.Claim != "disk" || got.Namespace != "lab" ||
				got.PersistentVolume != "pvc-1" || got.FSType != fsType || !slices.Equal(got.Nodes, []string{"node-1"}) {
				t.Errorf("status: got %+v", got)
			}
			expectCode(t, v.delete(), codes.FailedPrecondition, v.staging("node-1"))

			v.unpublish("node-1", "a")
			v.unpublish("node-1", "a") // idempotent
			v.unpublish("node-1", "b")
			v.unstage("node-1")
			if got := v.reported(); len(got.LoopDevices)+len(got.Mounts) != 0 {
				t.Errorf("after unstaging: got %+v", got)
			}
			target = v.use("node-1", "c")
			if content, err := os.ReadFile(filepath.Join(target, "disk.img")); err != nil || string(content) != "bytes" {
				t.Errorf("staged again: got %q, %v", content, err)
			}
			v.unpublish("node-1", "c")
			v.unstage("node-1")
			b.must(v.delete())
			b.must(v.delete()) // idempotent
			b.expectNothingLeft()
		})
	}
}

// A Block volume, with a loop device upon it as the kubelet keeps one.
func TestBlock(t *testing.T) {
	b := newBed(t)
	v := b.create("pvc-1", 64*mi, block(rwx), claim)
	target := v.use("node-1", "a")
	size, err := loop.Size(target)
	if err != nil || size != 64*mi {
		t.Errorf("size: got %d, %v", size, err)
	}
	device, err := os.OpenFile(target, os.O_RDWR, 0)
	b.must(err)
	_, err = device.WriteAt([]byte("bytes"), 64*mi-512)
	b.must(errors.Join(err, device.Sync(), device.Close()))

	upper, err := loop.Attach(target)
	b.must(err)
	if got := v.reported(); len(got.LoopDevices) != 2 || got.LoopDevices[1].Path != upper.Path() || len(got.Mounts) != 2 {
		t.Errorf("with a device upon it: got %+v", got)
	}
	b.must(loop.Detach(t.Context(), upper))

	v.unpublish("node-1", "a")
	v.unstage("node-1")
	device, err = os.Open(v.use("node-1", "b"))
	b.must(err)
	read := make([]byte, 5)
	_, err = device.ReadAt(read, 64*mi-512)
	if err := errors.Join(err, device.Close()); err != nil || string(read) != "bytes" {
		t.Errorf("staged again: got %q, %v", read, err)
	}
	v.unpublish("node-1", "b")
	v.unstage("node-1")
	b.must(v.delete())
	b.expectNothingLeft()
}

func available(t *testing.T, v *volume, path string) int64 {
	t.Helper()
	response, err := v.node("node-1").NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: v.id, VolumePath: path})
	v.must(err)
	usage := response.GetUsage()[0]
	if v.capability.GetBlock() != nil {
		return usage.GetTotal()
	}
	return usage.GetAvailable()
}

// Expansion while the volume is in use, and while nobody has it.
func TestExpansion(t *testing.T) {
	for name, capability := range map[string]*csi.VolumeCapability{
		"ext4": mounted("ext4", rwo), "xfs": mounted("xfs", rwo), "block": block(rwo),
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			v := b.create("pvc-1", gi, capability, nil)
			grow := func(size int64) {
				t.Helper()
				response, err := b.controller.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{
					VolumeId: v.id, CapacityRange: &csi.CapacityRange{RequiredBytes: size}})
				b.must(err)
				if response.GetCapacityBytes() != size || !response.GetNodeExpansionRequired() {
					t.Errorf("controller: got %v, want %d", response, size)
				}
			}
			growOnNode := func(target string, size int64) {
				t.Helper()
				_, err := v.node("node-1").NodeExpandVolume(t.Context(), &csi.NodeExpandVolumeRequest{
					VolumeId: v.id, VolumePath: target, CapacityRange: &csi.CapacityRange{RequiredBytes: size}, VolumeCapability: capability})
				b.must(err)
				if got := available(t, v, target); got < size*9/10 || got > size {
					t.Errorf("%d bytes can be had after an expansion to %d", got, size)
				}
			}
			target := v.use("node-1", "a")
			grow(2 * gi)
			if capability.GetBlock() != nil || filesystem.CanGrowOnline(name) {
				growOnNode(target, 2*gi)
				growOnNode(target, 2*gi) // idempotent
			} else {
				_, err := v.node("node-1").NodeExpandVolume(t.Context(), &csi.NodeExpandVolumeRequest{VolumeId: v.id, VolumePath: target})
				expectCode(t, err, codes.FailedPrecondition, "grows when it is staged next")
			}
			v.unpublish("node-1", "a")
			v.unstage("node-1")

			grow(3 * gi)
			grow(3 * gi) // idempotent
			growOnNode(v.use("node-1", "b"), 3*gi)
			v.unpublish("node-1", "b")
			v.unstage("node-1")
			b.must(v.delete())
			b.expectNothingLeft()
		})
	}
}

// Both nodes have the same file system: what one writes the other reads, and it stays as long as one of them has it.
func TestSharedFilesystem(t *testing.T) {
	b := newBed(t)
	_, err := b.controller.CreateVolume(t.Context(), createRequest("pinned", gi, mounted("", rwx), nil))
	expectCode(t, err, codes.InvalidArgument, "accessibility: shared")

	v := b.create("pvc-1", gi, mounted("", rwx), map[string]string{"accessibility": "shared"})
	one, two := v.use("node-1", "a"), v.use("node-2", "b")
	b.must(os.WriteFile(filepath.Join(one, "file"), []byte("bytes"), 0o600))
	if content, err := os.ReadFile(filepath.Join(two, "file")); err != nil || string(content) != "bytes" {
		t.Errorf("on the other node: got %q, %v", content, err)
	}
	if got := v.reported(); len(got.LoopDevices) != 1 || !slices.Equal(got.Nodes, []string{"node-1", "node-2"}) {
		t.Errorf("status: got %+v", got)
	}
	v.unpublish("node-1", "a")
	v.unstage("node-1")
	b.must(os.WriteFile(filepath.Join(two, "file"), []byte("more"), 0o600))
	v.unpublish("node-2", "b")
	v.unstage("node-2")
	b.must(v.delete())
	b.expectNothingLeft()
}

// A kubelet unstages some time after its pod is gone; the deletion that came before goes through by itself.
func TestDeletionWaitsForUnstaging(t *testing.T) {
	b := newBed(t)
	v := b.create("pvc-1", gi, mounted("", rwo), nil)
	b.must(v.stage("node-1"))
	deleted := make(chan error, 1)
	go func() { deleted <- v.delete() }()
	select {
	case err := <-deleted:
		t.Errorf("deleted while it was staged: %v", err)
	case <-time.After(500 * time.Millisecond):
	}
	v.unstage("node-1")
	b.must(<-deleted)
	b.expectNothingLeft()
}

func TestPinnedToItsNode(t *testing.T) {
	b := newBed(t)
	v := b.create("pvc-1", gi, mounted("", rwo), nil)
	expectCode(t, v.stage("node-2"), codes.FailedPrecondition, "can not be staged on node-2")
	b.must(v.delete())
	b.expectNothingLeft()
}

func TestOneWriter(t *testing.T) {
	for name, capability := range map[string]*csi.VolumeCapability{"filesystem": mounted("", rwop), "block": block(rwop)} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			v := b.create("pvc-1", gi, capability, nil)
			v.use("node-1", "a")
			expectCode(t, v.publish("node-1", "b"), codes.FailedPrecondition, "has its one writer at")
			b.must(v.publish("node-1", "a"))
			v.unpublish("node-1", "a")
			b.must(v.publish("node-1", "b"))
			v.unpublish("node-1", "b")
			v.unstage("node-1")
			b.must(v.delete())
			b.expectNothingLeft()
		})
	}
}

func TestReadOnly(t *testing.T) {
	b := newBed(t)
	v := b.create("pvc-1", gi, mounted("", rwo), nil)
	b.must(v.stage("node-1"))
	b.must(v.publishAs("node-1", "a", true))
	err := os.WriteFile(filepath.Join(v.target("node-1", "a"), "file"), nil, 0o600)
	if !errors.Is(err, syscall.EROFS) {
		t.Errorf("writing: got %v", err)
	}
	expectCode(t, v.publish("node-1", "a"), codes.AlreadyExists, "read-only true, expected false")
	b.must(v.publish("node-1", "b"))
	b.must(os.WriteFile(filepath.Join(v.target("node-1", "b"), "file"), nil, 0o600))
	v.unpublish("node-1", "a")
	v.unpublish("node-1", "b")
	v.unstage("node-1")
	b.must(v.delete())
	b.expectNothingLeft()
}

// What a node leaves that is killed at the worst moments.
func TestKilledHalfWay(t *testing.T) {
	b := newBed(t)
	v := b.create("pvc-1", gi, mounted("", rwo), nil)
	disk := v.reported().Disk

	// Formatting began and did not end.
	file, err := os.OpenFile(disk, os.O_WRONLY, 0)
	b.must(err)
	_, err = file.WriteAt(make([]byte, 1<<20), 1<<10)
	b.must(errors.Join(err, file.Close()))
	v.use("node-1", "a")
	v.unpublish("node-1", "a")
	v.unstage("node-1")

	// The disk was attached and not mounted: staging leaves one device, unstaging none.
	_, err = loop.Attach(disk)
	b.must(err)
	b.must(v.stage("node-1"))
	if got := v.reported(); len(got.LoopDevices) != 1 {
		t.Errorf("a second device: got %+v", got)
	}
	v.unstage("node-1")
	_, err = loop.Attach(disk)
	b.must(err)
	b.must(os.MkdirAll(v.staging("node-1"), 0o700))
	v.unstage("node-1")
	if got := v.reported(); len(got.LoopDevices) != 0 {
		t.Errorf("unstaging left %+v", got)
	}

	// The same, and the node never came back: deletion detaches it.
	_, err = loop.Attach(disk)
	b.must(err)
	b.must(v.delete())
	b.expectNothingLeft()
}

// What the launcher calls when the cluster is gone without a word.
func TestTeardown(t *testing.T) {
	b := newBed(t)
	fs := b.create("pvc-1", gi, mounted("xfs", rwo), nil)
	device := b.create("pvc-2", gi, block(rwo), nil)
	thin := b.create("pvc-3", gi, mounted("", rwo), map[string]string{"outOfSpace": "8Mi"})
	busy, err := os.Create(filepath.Join(fs.use("node-1", "a"), "file"))
	b.must(err)
	_, err = loop.Attach(device.use("node-1", "b"))
	b.must(err)
	thin.use("node-1", "c")
	for name := range b.processes {
		b.stop(name, syscall.SIGKILL)
	}
	b.must(busy.Close())
	b.teardown()
	b.teardown() // idempotent
	devices, err := loop.Table()
	b.must(err)
	if left := loop.Below(devices, b.path("pool")); len(left) > 0 {
		t.Errorf("left behind: %+v", left)
	}
}
