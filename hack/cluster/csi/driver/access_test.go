package driver

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"pelotech.ot/vmdisk/hack/cluster/csi/params"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
)

func mountCapability(fsType string, mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{FsType: fsType}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

func blockCapability(mode csi.VolumeCapability_AccessMode_Mode) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

const (
	rwo  = csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
	rwop = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
	rwx  = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	rox  = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
)

func TestParseAccesses(t *testing.T) {
	for name, c := range map[string]struct {
		capabilities []*csi.VolumeCapability
		message      string
	}{
		"none":             {nil, "no volume capabilities"},
		"no type":          {[]*csi.VolumeCapability{{AccessMode: &csi.VolumeCapability_AccessMode{Mode: rwo}}}, "without an access type"},
		"no mode":          {[]*csi.VolumeCapability{mountCapability("", 0)}, "without an access mode"},
		"file system":      {[]*csi.VolumeCapability{mountCapability("btrfs", rwo)}, `found file system type "btrfs"`},
		"two types":        {[]*csi.VolumeCapability{mountCapability("", rwo), blockCapability(rwo)}, "expected one kind"},
		"two file systems": {[]*csi.VolumeCapability{mountCapability("", rwo), mountCapability("xfs", rwo)}, "expected one kind"},
		"default":          {[]*csi.VolumeCapability{mountCapability("", rwo), mountCapability("ext4", rox)}, ""},
		"block":            {[]*csi.VolumeCapability{blockCapability(rwx)}, ""},
	} {
		_, err := parseAccesses(c.capabilities)
		if (err == nil) != (c.message == "") || err != nil && !strings.Contains(err.Error(), c.message) {
			t.Errorf("%s: got %v, want %q", name, err, c.message)
		}
	}
}

func TestSupported(t *testing.T) {
	for name, c := range map[string]struct {
		capability *csi.VolumeCapability
		class      params.Class
		want       bool
	}{
		"file system, one node":            {mountCapability("", rwo), params.Class{}, true},
		"file system, one pod":             {mountCapability("", rwop), params.Class{}, true},
		"file system, many":                {mountCapability("", rwx), params.Class{}, false},
		"file system, many readers":        {mountCapability("", rox), params.Class{}, false},
		"file system, many, shared":        {mountCapability("xfs", rwx), params.Class{Shared: true}, true},
		"block, many":                      {blockCapability(rwx), params.Class{}, true},
		"block, many readers":              {blockCapability(rox), params.Class{}, true},
		"a mode that is not known":         {blockCapability(99), params.Class{Shared: true}, false},
		"a thin xfs":                       {mountCapability("xfs", rwo), params.Class{OutOfSpace: 1}, false},
		"a thin ext4":                      {mountCapability("", rwo), params.Class{OutOfSpace: 1}, true},
		"file system, single node read":    {mountCapability("", csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY), params.Class{}, true},
		"file system, many, single writer": {mountCapability("", csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER), params.Class{}, false},
	} {
		accesses, err := parseAccesses([]*csi.VolumeCapability{c.capability})
		if err != nil {
			t.Fatal(err)
		}
		if err := supported(accesses, c.class); (err == nil) != c.want {
			t.Errorf("%s: got %v, want %v", name, err, c.want)
		}
	}
}

func TestChooseSize(t *testing.T) {
	const mi, gi = int64(1) << 20, int64(1) << 30
	block, ext4, xfs := access{mode: pool.Block}, access{mode: pool.Filesystem, fsType: "ext4"}, access{mode: pool.Filesystem, fsType: "xfs"}
	for name, c := range map[string]struct {
		required, limit int64
		kind            access
		want            int64
	}{
		"as asked":                {10 * gi, 0, ext4, 10 * gi},
		"whole MiB":               {gi + 1, 0, block, gi + mi},
		"left to the driver":      {0, 0, ext4, gi},
		"left, with a low limit":  {0, 100*mi + 5, ext4, 100 * mi},
		"least block":             {1, 0, block, mi},
		"least ext4":              {mi, 0, ext4, 16 * mi},
		"least xfs":               {mi, 0, xfs, 300 * mi},
		"exact":                   {64 * mi, 64 * mi, block, 64 * mi},
		"no whole MiB in between": {64*mi + 1, 64*mi + 2, block, 0},
		"xfs over the limit":      {mi, 20 * mi, xfs, 0},
		"upside down":             {2 * gi, gi, block, 0},
		"negative":                {-1, 0, block, 0},
		"too large":               {1 << 62, 0, block, 0},
	} {
		got, err := chooseSize(&csi.CapacityRange{RequiredBytes: c.required, LimitBytes: c.limit}, c.kind)
		if got != c.want || (err == nil) != (c.want != 0) {
			t.Errorf("%s: got %d, %v, want %d", name, got, err, c.want)
		}
	}
	if got, err := chooseSize(nil, block); got != gi || err != nil {
		t.Errorf("no range: got %d, %v", got, err)
	}
}
