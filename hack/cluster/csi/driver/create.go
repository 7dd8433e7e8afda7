package driver

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pelotech.ot/vmdisk/hack/cluster/csi/faults"
	"pelotech.ot/vmdisk/hack/cluster/csi/params"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
	"pelotech.ot/vmdisk/hack/cluster/csi/topology"
)

// CreateVolume implements CSI (spec "CreateVolume"): idempotent by name. The disk is made here, from zeros or as a copy
// of a snapshot or a volume; the file system on it is made, or grown to the size of a larger copy, when a node stages
// the volume first.
func (c *Controller) CreateVolume(ctx context.Context, request *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	volume, class, err := plan(request)
	if err != nil {
		return nil, err
	}
	unlock, err := c.Pool.Lock(ctx, volume.ID)
	if err != nil {
		return nil, err
	}
	defer unlock()
	existing, err := c.Pool.Get(volume.ID)
	if err == nil {
		return answerExisting(existing, volume, request)
	}
	if !errors.Is(err, pool.ErrNotFound) {
		return nil, err
	}
	if err := c.Faults.Hold(ctx, class.Hold, faults.CreateVolume, volume.ID, class.Claim); err != nil {
		return nil, err
	}
	if err := failAsAsked(c.Faults, faults.CreateVolume, volume.ID, class.FailCreate, class); err != nil {
		return nil, err
	}
	if err := c.sourceFaults(ctx, volume, class); err != nil {
		return nil, err
	}
	source, err := c.open(ctx, volume.Source, class)
	if err != nil {
		return nil, err
	}
	defer source.release()
	if source.copied() {
		if err := adopt(volume, source, request.GetCapacityRange()); err != nil {
			return nil, err
		}
	}
	if err := c.create(volume, class, request.GetAccessibilityRequirements(), source); err != nil {
		return nil, err
	}
	return &csi.CreateVolumeResponse{Volume: asCSI(volume)}, nil
}

// plan checks a request and says what volume it asks for, all but its nodes and what its source decides.
func plan(request *csi.CreateVolumeRequest) (*pool.Volume, params.Class, error) {
	fail := func(err error) (*pool.Volume, params.Class, error) { return nil, params.Class{}, err }
	if err := required("name", request.GetName()); err != nil {
		return fail(err)
	}
	source, err := parseSource(request.GetVolumeContentSource())
	if err != nil {
		return fail(err)
	}
	class, err := params.ParseClass(request.GetParameters())
	if err != nil {
		return fail(invalid("%v", err))
	}
	if err := params.CheckMutable(request.GetMutableParameters()); err != nil {
		return fail(invalid("%v", err))
	}
	accesses, err := parseAccesses(request.GetVolumeCapabilities())
	if err == nil {
		err = supported(accesses, class)
	}
	if err != nil {
		return fail(invalid("%v", err))
	}
	size, err := chooseSize(request.GetCapacityRange(), accesses[0])
	if err != nil {
		return fail(status.Error(codes.OutOfRange, err.Error()))
	}
	if class.OutOfSpace >= size {
		return fail(invalid("found outOfSpace %d, expected less than the volume's %d bytes", class.OutOfSpace, size))
	}
	if class.OutOfSpace > 0 && source != (pool.Source{}) {
		return fail(invalid("found outOfSpace and a volume_content_source, expected one of them: a copy has room for what is in it"))
	}
	return &pool.Volume{
		ID: pool.ID(request.GetName()), Name: request.GetName(), SizeBytes: size,
		Mode: accesses[0].mode, FSType: accesses[0].fsType, Source: source,
		Parameters: request.GetParameters(), MutableParameters: request.GetMutableParameters(),
		CreatedAt: time.Now().UTC(),
	}, class, nil
}

// answerExisting is for a name that has a volume: it is the answer, unless the request asks for something else.
func answerExisting(existing, wanted *pool.Volume, request *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	reachable, err := topology.Satisfies(existing.Nodes, request.GetAccessibilityRequirements())
	if err != nil {
		return nil, err
	}
	var difference string
	switch {
	case !within(existing.SizeBytes, request.GetCapacityRange()):
		difference = fmt.Sprintf("its size is %d and the request is for %v", existing.SizeBytes, request.GetCapacityRange())
	case existing.Mode != wanted.Mode || existing.FSType != wanted.FSType:
		difference = fmt.Sprintf("it is %s %s and the request is for %s %s", existing.Mode, existing.FSType, wanted.Mode, wanted.FSType)
	case !maps.Equal(existing.Parameters, wanted.Parameters):
		difference = fmt.Sprintf("its parameters are %v and the request has %v", existing.Parameters, wanted.Parameters)
	case existing.Source != wanted.Source:
		difference = fmt.Sprintf("it is a copy of %+v and the request has %+v", existing.Source, wanted.Source)
	case !reachable:
		difference = fmt.Sprintf("it is on %v and the request is for another node", existing.Nodes)
	default:
		return &csi.CreateVolumeResponse{Volume: asCSI(existing)}, nil
	}
	return nil, status.Errorf(codes.AlreadyExists, "volume %q exists and is not what the request asks for: %s", existing.Name, difference)
}

// adopt takes over what a copy has from its source: at least its size, and what is in it.
func adopt(volume *pool.Volume, source origin, capacity *csi.CapacityRange) error {
	size, err := chooseCopySize(capacity, access{mode: volume.Mode, fsType: volume.FSType}, source.sizeBytes)
	if err != nil {
		return status.Error(codes.OutOfRange, err.Error())
	}
	volume.SizeBytes, volume.Formatted = size, source.whole
	return nil
}

// create places the volume and makes it, as one step for the budgets. Where no node has room the answer is
// RESOURCE_EXHAUSTED, upon which the provisioner lets the scheduler choose another node.
func (c *Controller) create(volume *pool.Volume, class params.Class, requirement *csi.TopologyRequirement, source origin) error {
	candidates, err := topology.Candidates(requirement, c.Nodes)
	if err != nil {
		return err
	}
	c.place.Lock()
	defer c.place.Unlock()
	volumes, err := c.Pool.List()
	if err != nil {
		return err
	}
	room := func(node string) error {
		if !source.reaches(node) {
			return fmt.Errorf("%s has not the source of the copy, which is local to %v", node, source.nodes)
		}
		return c.room(volumes, class, volume.SizeBytes, node)
	}
	if volume.Nodes, err = c.choose(candidates, class.Shared, room); err != nil {
		return status.Error(codes.ResourceExhausted, err.Error())
	}
	if source.copied() {
		return c.Pool.CreateCopy(volume, source.disk)
	}
	return c.Pool.Create(volume)
}

// choose takes one node for a pinned volume. A shared one is on every node that is known, whichever was asked for.
func (c *Controller) choose(candidates []string, shared bool, room func(string) error) ([]string, error) {
	if !shared {
		node, err := topology.Choose(candidates, room)
		return []string{node}, err
	}
	nodes := slices.Clone(c.Nodes)
	for _, node := range candidates {
		if !slices.Contains(nodes, node) {
			nodes = append(nodes, node)
		}
	}
	for _, node := range nodes {
		if err := room(node); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

func (c *Controller) room(volumes []*pool.Volume, class params.Class, size int64, node string) error {
	if class.Exhaust.On(node) {
		return fmt.Errorf("%s has no room, as the StorageClass asks by exhaust", node)
	}
	free, err := c.Budget.Free(volumes, class.CapacityGroup, node)
	if err != nil {
		return err
	}
	if size > free {
		return fmt.Errorf("%s has %d bytes left of capacity group %s, and the volume needs %d", node, free, class.CapacityGroup, size)
	}
	return nil
}
