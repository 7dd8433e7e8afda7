package livetest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"os"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"pelotech.ot/vmdisk/hack/cluster/csi/topology"
)

// snapshot cuts one of a volume.
func (v *volume) snapshot(name string, parameters map[string]string) (*csi.Snapshot, error) {
	response, err := v.controller.CreateSnapshot(v.t.Context(), &csi.CreateSnapshotRequest{
		Name: name, SourceVolumeId: v.id, Parameters: parameters})
	return response.GetSnapshot(), err
}

// cut does so where nothing may fail.
func (v *volume) cut(name string, parameters map[string]string) string {
	v.t.Helper()
	snapshot, err := v.snapshot(name, parameters)
	v.must(err)
	return snapshot.GetSnapshotId()
}

func (b *bed) deleteSnapshot(id string) error {
	_, err := b.controller.DeleteSnapshot(b.t.Context(), &csi.DeleteSnapshotRequest{SnapshotId: id})
	return err
}

func ofSnapshot(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Snapshot{
		Snapshot: &csi.VolumeContentSource_SnapshotSource{SnapshotId: id}}}
}

func ofVolume(id string) *csi.VolumeContentSource {
	return &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
		Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: id}}}
}

// copyRequest asks for a copy on node-1; size 0 leaves it to the driver.
func copyRequest(name string, source *csi.VolumeContentSource, size int64, capability *csi.VolumeCapability, parameters map[string]string) *csi.CreateVolumeRequest {
	request := createRequest(name, size, capability, parameters)
	request.VolumeContentSource = source
	return request
}

func onNodes(request *csi.CreateVolumeRequest, nodes ...string) *csi.CreateVolumeRequest {
	request.AccessibilityRequirements = &csi.TopologyRequirement{Preferred: topology.Of(nodes...), Requisite: topology.Of(nodes...)}
	return request
}

// copied is the volume that such a request makes.
func (b *bed) copied(request *csi.CreateVolumeRequest) *volume {
	b.t.Helper()
	response, err := b.controller.CreateVolume(b.t.Context(), request)
	b.must(err)
	if got := response.GetVolume().GetContentSource(); got.String() != request.GetVolumeContentSource().String() {
		b.t.Errorf("content source: got %v, want %v", got, request.GetVolumeContentSource())
	}
	return &volume{bed: b, id: response.GetVolume().GetVolumeId(), capability: request.GetVolumeCapabilities()[0]}
}

// written is what a test puts into a volume: some MiB that do not compress, the same for a seed.
func written(seed uint64) []byte {
	var key [32]byte
	key[0] = byte(seed)
	content, err := io.ReadAll(io.LimitReader(rand.NewChaCha8(key), 5*mi))
	if err != nil {
		panic(err)
	}
	return content
}

// write leaves the bytes where a pod's write without a sync would: in memory.
func (b *bed) write(path string, content []byte) {
	b.t.Helper()
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	b.must(err)
	_, err = file.Write(content)
	b.must(err)
	b.must(file.Close())
}

// expectContent compares the beginning of a file or device.
func (b *bed) expectContent(what, path string, want []byte) {
	b.t.Helper()
	file, err := os.Open(path)
	b.must(err)
	defer file.Close()
	got := make([]byte, len(want))
	if _, err := io.ReadFull(file, got); err != nil || !bytes.Equal(got, want) {
		b.t.Errorf("%s: got bytes of sha256 %s, %v, want %s", what, digest(got), err, digest(want))
	}
}

func digest(content []byte) string { return fmt.Sprintf("%x", sha256.Sum256(content))[:12] }

// discard takes a volume away that is used by these pods of node-1.
func (v *volume) discard(pods ...string) {
	v.t.Helper()
	for _, pod := range pods {
		v.unpublish("node-1", pod)
	}
	if len(pods) > 0 {
		v.unstage("node-1")
	}
	v.must(v.delete())
}
