// Package livetest runs the driver for real: its processes, loop devices, mounts and file systems, on an xfs pool of
// its own. It needs root, so it runs only when VMDISK_CSI_LIVE is set.
package livetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"pelotech.ot/vmdisk/hack/cluster/csi/loop"
	"pelotech.ot/vmdisk/hack/cluster/csi/mounts"
	"pelotech.ot/vmdisk/hack/cluster/csi/report"
	"pelotech.ot/vmdisk/hack/cluster/csi/topology"
)

const liveVariable = "VMDISK_CSI_LIVE"

var binary string

func TestMain(m *testing.M) {
	if os.Getenv(liveVariable) == "" {
		os.Exit(m.Run()) // every test skips
	}
	dir, err := os.MkdirTemp("", "vmdisk-csi-build")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "vmdisk-csi")
	if output, err := exec.Command("go", "build", "-o", binary, "..").CombinedOutput(); err != nil {
		panic(fmt.Sprintf("go build: %v: %s", err, output))
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// bed is a pool with a controller and two nodes, as the launcher of the test cluster runs them.
type bed struct {
	t          *testing.T
	dir        string
	controller csi.ControllerClient
	processes  map[string]*exec.Cmd
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := newPool(t)
	b.start("controller", "--mode", "controller", "--nodes", "node-1,node-2")
	b.controller = csi.NewControllerClient(b.connect("controller"))
	for _, node := range []string{"node-1", "node-2"} {
		b.start(node, "--mode", "node", "--node-id", node)
	}
	return b
}

// newPool is a bed without processes.
func newPool(t *testing.T) *bed {
	t.Helper()
	if os.Getenv(liveVariable) == "" {
		t.Skipf("needs root, loop devices and mounts; set %s=1 to run it", liveVariable)
	}
	t.Parallel()
	dir, err := os.MkdirTemp("", "csi") // short, for the sockets
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, dir: dir, processes: map[string]*exec.Cmd{}}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	b.makePool()
	return b
}

func (b *bed) path(parts ...string) string {
	return filepath.Join(append([]string{b.dir}, parts...)...)
}

func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// makePool mounts an xfs on a loop device, and takes all away again, whatever a failed test has left in it.
func (b *bed) makePool() {
	b.t.Helper()
	image, point := b.path("pool.img"), b.path("pool")
	b.must(os.WriteFile(image, nil, 0o600))
	b.must(os.Truncate(image, 8<<30))
	if output, err := exec.Command("mkfs.xfs", "-q", "-m", "reflink=1", image).CombinedOutput(); err != nil {
		b.t.Fatalf("mkfs.xfs: %v: %s", err, output)
	}
	device, err := loop.Attach(image)
	b.must(err)
	b.t.Cleanup(func() {
		if err := loop.Detach(context.Background(), device); err != nil {
			b.t.Error(err)
		}
	})
	b.must(os.Mkdir(point, 0o700))
	b.must(mounts.Device(device.Path(), "xfs", point, nil))
	b.t.Cleanup(func() {
		for name := range b.processes {
			b.stop(name, syscall.SIGTERM)
		}
		b.teardown()
		if err := mounts.Unmount(point); err != nil {
			b.t.Error(err)
		}
	})
}

func (b *bed) command(args ...string) *exec.Cmd {
	return exec.Command(binary, append(args, "--pool", b.path("pool"), "--state", b.path("state"))...)
}

func (b *bed) teardown() {
	b.t.Helper()
	if output, err := b.command("teardown").CombinedOutput(); err != nil {
		b.t.Errorf("teardown: %v: %s", err, output)
	}
}

// start runs a process and waits until it answers.
func (b *bed) start(name string, flags ...string) {
	b.t.Helper()
	process := b.command(append([]string{"serve", "--endpoint", "unix://" + b.socket(name)}, flags...)...)
	log, err := os.OpenFile(b.path(name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	b.must(err)
	defer log.Close()
	process.Stderr = log
	b.must(process.Start())
	b.processes[name] = process
	// A dial before there is a socket costs gRPC's back-off of a second.
	eventually(b.t, name+" listens", func() bool { _, err := os.Stat(b.socket(name)); return err == nil })
	ctx, cancel := context.WithTimeout(b.t.Context(), 20*time.Second)
	defer cancel()
	if _, err := csi.NewIdentityClient(b.connect(name)).Probe(ctx, &csi.ProbeRequest{}, grpc.WaitForReady(true)); err != nil {
		content, _ := os.ReadFile(log.Name())
		b.t.Fatalf("%s does not answer: %v: %s", name, err, content)
	}
}

// stop ends a process and waits for its end.
func (b *bed) stop(name string, signal syscall.Signal) {
	b.t.Helper()
	process := b.processes[name]
	delete(b.processes, name)
	if err := process.Process.Signal(signal); err != nil {
		b.t.Error(err)
	}
	var exit *exec.ExitError
	if err := process.Wait(); err != nil && (signal == syscall.SIGTERM || !errors.As(err, &exit)) {
		b.t.Errorf("%s: %v", name, err)
	}
}

func (b *bed) socket(name string) string { return b.path(name + ".sock") }

func (b *bed) connect(name string) *grpc.ClientConn {
	b.t.Helper()
	connection, err := grpc.NewClient("unix://"+b.socket(name), grpc.WithTransportCredentials(insecure.NewCredentials()))
	b.must(err)
	b.t.Cleanup(func() { connection.Close() })
	return connection
}

// status is what `vmdisk-csi status` prints.
func (b *bed) status() *report.Status {
	b.t.Helper()
	output, err := b.command("status").Output()
	b.must(err)
	status := &report.Status{}
	b.must(json.Unmarshal(output, status))
	return status
}

func (b *bed) expectNothingLeft() {
	b.t.Helper()
	left := b.status()
	if len(left.Volumes)+len(left.Snapshots)+len(left.StrayLoopDevices)+len(left.StrayMounts)+len(left.Holding) != 0 {
		b.t.Errorf("left behind: %+v", left)
	}
	for _, pattern := range []string{"pool/volumes/*", "pool/snapshots/*", "pool/locks/*", "state/attempts/*", "state/holding/*/*"} {
		if paths, err := filepath.Glob(b.path(pattern)); err != nil || len(paths) > 0 {
			b.t.Errorf("left behind: %v, %v", paths, err)
		}
	}
}

func expectCode(t *testing.T, err error, want codes.Code, message string) {
	t.Helper()
	if status.Code(err) != want || !strings.Contains(status.Convert(err).Message(), message) {
		t.Errorf("got %v, want %s with %q", err, want, message)
	}
}

// eventually polls for what another process does.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

const (
	rwo  = csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
	rwop = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	rwx  = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
)

func mounted(fsType string, mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fsType}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

func block(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

// createRequest asks for a volume on node-1.
func createRequest(name string, size int64, capability *csi.VolumeCapability, parameters map[string]string) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name: name, CapacityRange: &csi.CapacityRange{RequiredBytes: size}, Parameters: parameters,
		VolumeCapabilities:        []*csi.VolumeCapability{capability},
		AccessibilityRequirements: &csi.TopologyRequirement{Preferred: topology.Of("node-1"), Requisite: topology.Of("node-1")},
	}
}

// volume is one that a test uses.
type volume struct {
	*bed
	id         string
	capability *csi.VolumeCapability
}

func (b *bed) create(name string, size int64, capability *csi.VolumeCapability, parameters map[string]string) *volume {
	b.t.Helper()
	response, err := b.controller.CreateVolume(b.t.Context(), createRequest(name, size, capability, parameters))
	b.must(err)
	return &volume{bed: b, id: response.GetVolume().GetVolumeId(), capability: capability}
}

func (v *volume) node(name string) csi.NodeClient { return csi.NewNodeClient(v.connect(name)) }

func (v *volume) staging(node string) string { return v.path(node, "staging", v.id) }

func (v *volume) target(node, pod string) string { return v.path(node, "pods", pod) }

func (v *volume) stage(node string) error {
	v.t.Helper()
	v.must(os.MkdirAll(v.staging(node), 0o700)) // the kubelet's part
	_, err := v.node(node).NodeStageVolume(v.t.Context(), &csi.NodeStageVolumeRequest{
		VolumeId: v.id, StagingTargetPath: v.staging(node), VolumeCapability: v.capability,
	})
	return err
}

func (v *volume) publish(node, pod string) error { return v.publishAs(node, pod, false) }

func (v *volume) publishAs(node, pod string, readOnly bool) error {
	v.t.Helper()
	v.must(os.MkdirAll(filepath.Dir(v.target(node, pod)), 0o700))
	_, err := v.node(node).NodePublishVolume(v.t.Context(), &csi.NodePublishVolumeRequest{
		VolumeId: v.id, StagingTargetPath: v.staging(node), TargetPath: v.target(node, pod),
		VolumeCapability: v.capability, Readonly: readOnly,
	})
	return err
}

// use stages and publishes.
func (v *volume) use(node, pod string) string {
	v.t.Helper()
	v.must(v.stage(node))
	v.must(v.publish(node, pod))
	return v.target(node, pod)
}

func (v *volume) unpublish(node, pod string) {
	v.t.Helper()
	_, err := v.node(node).NodeUnpublishVolume(v.t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: v.id, TargetPath: v.target(node, pod)})
	v.must(err)
	if _, err := os.Lstat(v.target(node, pod)); !os.IsNotExist(err) {
		v.t.Errorf("the target path is still there: %v", err)
	}
}

func (v *volume) unstage(node string) {
	v.t.Helper()
	_, err := v.node(node).NodeUnstageVolume(v.t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: v.id, StagingTargetPath: v.staging(node)})
	v.must(err)
	v.must(os.Remove(v.staging(node))) // as the kubelet does; it fails if anything is left
}

func (v *volume) delete() error {
	_, err := v.controller.DeleteVolume(v.t.Context(), &csi.DeleteVolumeRequest{VolumeId: v.id})
	return err
}

// reported is this volume in the status.
func (v *volume) reported() report.Volume {
	v.t.Helper()
	for _, volume := range v.status().Volumes {
		if volume.ID == v.id {
			return volume
		}
	}
	v.t.Fatalf("the status has no volume %s", v.id)
	return report.Volume{}
}
