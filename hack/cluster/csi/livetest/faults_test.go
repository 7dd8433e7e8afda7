package livetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"

	"pelotech.ot/vmdisk/hack/cluster/csi/topology"
)

func TestFailures(t *testing.T) {
	b := newBed(t)
	request := createRequest("pvc-1", gi, mounted("", rwo), map[string]string{
		"failCreate": "2", "failStage": "1", "failDelete": "1", "failCode": "Internal"})
	for range 2 {
		_, err := b.controller.CreateVolume(t.Context(), request)
		expectCode(t, err, codes.Internal, "asks CreateVolume to fail 2 times")
		b.stop("controller", syscall.SIGKILL) // the count outlives the process
		b.start("controller", "--mode", "controller", "--nodes", "node-1,node-2")
	}
	v := b.create("pvc-1", gi, mounted("", rwo), request.GetParameters())
	expectCode(t, v.stage("node-1"), codes.Internal, "asks NodeStageVolume to fail 1 times")
	if got := v.reported(); len(got.LoopDevices)+len(got.Mounts) != 0 {
		t.Errorf("a failed staging left %+v", got)
	}
	b.must(v.stage("node-1"))
	v.unstage("node-1")
	expectCode(t, v.delete(), codes.Internal, "asks DeleteVolume to fail 1 times")
	b.must(v.delete())
	b.expectNothingLeft()
}

func (b *bed) hold(name string) (release func()) {
	b.t.Helper()
	path := b.path("state", "holds", name)
	b.must(os.WriteFile(path, nil, 0o600))
	return func() { b.must(os.Remove(path)) }
}

func (b *bed) held(name string, count int) func() bool {
	return func() bool {
		paths, err := filepath.Glob(b.path("state", "holding", name, "*"))
		return err == nil && len(paths) == count
	}
}

func TestHoldCreation(t *testing.T) {
	b := newBed(t)
	release := b.hold("creation")
	request := createRequest("pvc-1", gi, mounted("", rwo), map[string]string{"hold": "creation"})

	// A caller that loses patience gets a clean answer, and there is no volume.
	short, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	_, err := b.controller.CreateVolume(short, request)
	expectCode(t, err, codes.DeadlineExceeded, "")
	eventually(t, "its mark goes", b.held("creation", 0))
	b.expectNothingLeft()

	done := make(chan error, 1)
	go func() {
		_, err := b.controller.CreateVolume(t.Context(), request)
		done <- err
	}()
	eventually(t, "creation is held", b.held("creation", 1))
	if held := b.status().Holding; len(held) != 1 || held[0].Volume != "pvc-1" || held[0].Owner != "controller" {
		t.Errorf("status: got %+v", held)
	}
	b.create("pvc-2", gi, mounted("", rwo), nil) // others go on
	release()
	b.must(<-done)

	// A process that is killed leaves a mark, which its successor removes.
	b.hold("creation")
	go func() {
		_, _ = b.controller.CreateVolume(t.Context(), createRequest("pvc-3", gi, mounted("", rwo), map[string]string{"hold": "creation"}))
	}()
	eventually(t, "creation is held", b.held("creation", 1))
	b.stop("controller", syscall.SIGKILL)
	b.start("controller", "--mode", "controller", "--nodes", "node-1,node-2")
	if !b.held("creation", 0)() {
		t.Error("the mark of a killed process is still there")
	}
}

func TestHoldStagingAndDeletion(t *testing.T) {
	b := newBed(t)
	v := b.create("pvc-1", gi, mounted("", rwo), map[string]string{"holdStage": "staging", "holdDelete": "deletion"})
	for name, call := range map[string]func() error{
		"staging":  func() error { return v.stage("node-1") },
		"deletion": func() error { return v.delete() },
	} {
		release := b.hold(name)
		done := make(chan error, 1)
		go func() { done <- call() }()
		eventually(t, name+" is held", b.held(name, 1))
		if got := v.reported(); len(got.LoopDevices) != 0 {
			t.Errorf("%s: something was done before the release: %+v", name, got)
		}
		release()
		b.must(<-done)
		if name == "staging" {
			v.unstage("node-1")
		} else {
			v = b.create("pvc-1", gi, mounted("", rwo), map[string]string{"holdStage": "staging", "holdDelete": "deletion"})
		}
	}
	b.must(v.delete())
	b.expectNothingLeft()
}

// A node that is stopped while it waits has done nothing yet.
func TestSlowStage(t *testing.T) {
	b := newBed(t)
	v := b.create("pvc-1", gi, mounted("", rwo), map[string]string{"slowStage": "1s"})
	start := time.Now()
	b.must(v.stage("node-1"))
	if took := time.Since(start); took < time.Second {
		t.Errorf("staging took %s", took)
	}
	v.unstage("node-1")
	b.must(v.delete())
	b.expectNothingLeft()
}

func TestExhaustion(t *testing.T) {
	b := newBed(t)
	create := func(parameters map[string]string, nodes ...string) ([]*csi.Topology, error) {
		request := createRequest("pvc-1", gi, mounted("", rwo), parameters)
		request.AccessibilityRequirements = &csi.TopologyRequirement{Preferred: topology.Of(nodes...), Requisite: topology.Of(nodes...)}
		response, err := b.controller.CreateVolume(t.Context(), request)
		if err == nil {
			_, err = b.controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: "pvc-1"})
		}
		return response.GetVolume().GetAccessibleTopology(), err
	}
	onOne := map[string]string{"exhaust": "node-1"}
	_, err := create(onOne, "node-1") // as with WaitForFirstConsumer
	expectCode(t, err, codes.ResourceExhausted, "node-1 has no room")
	got, err := create(onOne, "node-1", "node-2") // as with Immediate
	if node, _ := topology.Node(got[0]); err != nil || node != "node-2" {
		t.Errorf("the other node: got %v, %v", got, err)
	}
	_, err = create(map[string]string{"exhaust": "true"}, "node-1", "node-2")
	expectCode(t, err, codes.ResourceExhausted, "node-2 has no room")

	b.must(os.MkdirAll(b.path("state", "capacity", "small"), 0o700))
	b.must(os.WriteFile(b.path("state", "capacity", "small", "node-1"), []byte("1536Mi\n"), 0o600))
	small := map[string]string{"capacityGroup": "small"}
	capacity := func() int64 {
		response, err := b.controller.GetCapacity(t.Context(), &csi.GetCapacityRequest{Parameters: small, AccessibleTopology: topology.Of("node-1")[0]})
		b.must(err)
		return response.GetAvailableCapacity()
	}
	if got := capacity(); got != 1536*mi {
		t.Errorf("capacity: got %d", got)
	}
	v := b.create("pvc-2", gi, mounted("", rwo), small)
	if got := capacity(); got != 512*mi {
		t.Errorf("capacity with a volume: got %d", got)
	}
	_, err = create(small, "node-1")
	expectCode(t, err, codes.ResourceExhausted, "has 536870912 bytes left of capacity group small")
	_, err = b.controller.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{
		VolumeId: v.id, CapacityRange: &csi.CapacityRange{RequiredBytes: 2 * gi}})
	expectCode(t, err, codes.OutOfRange, "needs 1073741824 bytes more on node-1")
	b.must(v.delete())
	b.expectNothingLeft()
}

// fill writes until the volume takes no more, as a worker does: in order, synced at the end.
func fill(path string, flags int, most int64) (int64, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|flags, 0o600)
	if err != nil {
		return 0, err
	}
	chunk, err := syscall.Mmap(-1, 0, int(mi), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil { // O_DIRECT wants the alignment
		return 0, err
	}
	for i := range chunk {
		chunk[i] = byte(i | 1)
	}
	var written int64
	for written < most && err == nil {
		if _, err = file.Write(chunk); err == nil {
			written += mi
		}
	}
	return written, errors.Join(err, file.Sync(), file.Close(), syscall.Munmap(chunk))
}

// The claim is 1 GiB, statfs and the device say so, and the 33rd MiB has no place.
func TestOutOfSpace(t *testing.T) {
	parameters := map[string]string{"outOfSpace": "32Mi"}
	for name, c := range map[string]struct {
		capability *csi.VolumeCapability
		file       string
		flags      int
		want       error
	}{
		"filesystem":         {mounted("", rwo), "disk.img", 0, syscall.ENOSPC},
		"filesystem, direct": {mounted("", rwo), "disk.img", syscall.O_DIRECT, syscall.ENOSPC},
		"block, direct":      {block(rwo), "", syscall.O_DIRECT, syscall.ENOSPC},
		"block":              {block(rwo), "", 0, syscall.EIO}, // the kernel's page cache of a device knows no other error
	} {
		t.Run(name, func(t *testing.T) {
			b := newBed(t)
			v := b.create("pvc-1", gi, c.capability, parameters)
			target := v.use("node-1", "a")
			if got := available(t, v, target); got < gi*9/10 {
				t.Errorf("before: %d bytes can be had, want about %d", got, gi)
			}
			written, err := fill(filepath.Join(target, c.file), c.flags, 128*mi)
			if !errors.Is(err, c.want) {
				t.Errorf("after %d bytes: got %v, want %v", written, err, c.want)
			}
			if c.flags != 0 && (written < 30*mi || written > 33*mi) {
				t.Errorf("it came after %d MiB, want about 32", written/mi)
			}
			v.unpublish("node-1", "a")
			v.unstage("node-1")
			b.must(v.delete())
			b.expectNothingLeft()
		})
	}

	b := newBed(t)
	_, err := b.controller.CreateVolume(t.Context(), createRequest("pvc-1", gi, mounted("xfs", rwo), parameters))
	expectCode(t, err, codes.InvalidArgument, "not possible with xfs")
}

func TestModifyVolume(t *testing.T) {
	b := newBed(t)
	v := b.create("pvc-1", gi, mounted("", rwo), nil)
	modify := func(parameters map[string]string) error {
		_, err := b.controller.ControllerModifyVolume(t.Context(), &csi.ControllerModifyVolumeRequest{VolumeId: v.id, MutableParameters: parameters})
		return err
	}
	b.must(modify(map[string]string{"tier": "gold"}))
	expectCode(t, modify(map[string]string{"tier": "lead", "refuse": "true"}), codes.InvalidArgument, "asks to be refused")
	if got := v.reported().MutableParameters["tier"]; got != "gold" {
		t.Errorf("after a refusal: got tier %q", got)
	}
	refused := createRequest("pvc-2", gi, mounted("", rwo), nil)
	refused.MutableParameters = map[string]string{"refuse": "true"}
	_, err := b.controller.CreateVolume(t.Context(), refused)
	expectCode(t, err, codes.InvalidArgument, "asks to be refused")
	b.must(v.delete())
	b.expectNothingLeft()
}
