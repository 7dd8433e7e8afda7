package driver

import (
	"context"
	"log/slog"
	"maps"
	"sync"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"pelotech.ot/vmdisk/hack/cluster/csi/faults"
	"pelotech.ot/vmdisk/hack/cluster/csi/params"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
	"pelotech.ot/vmdisk/hack/cluster/csi/topology"
)

// Controller is the service of that name. One process answers it for the whole cluster.
type Controller struct {
	csi.UnimplementedControllerServer

	Pool   *pool.Pool
	Faults *faults.Injector
	Budget Budget
	// Nodes are those of the cluster, for requests that do not say which ones will do.
	Nodes []string

	// place lets one volume at a time take from a budget.
	place sync.Mutex
}

// ControllerGetCapabilities implements CSI.
func (*Controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	response := &csi.ControllerGetCapabilitiesResponse{}
	for _, kind := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
		csi.ControllerServiceCapability_RPC_GET_CAPACITY,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_MODIFY_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	} {
		response.Capabilities = append(response.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: kind}},
		})
	}
	return response, nil
}

// ValidateVolumeCapabilities implements CSI. What is not supported is answered by a message, not by an error.
func (c *Controller) ValidateVolumeCapabilities(_ context.Context, request *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if err := required("volume_id", request.GetVolumeId()); err != nil {
		return nil, err
	}
	if len(request.GetVolumeCapabilities()) == 0 {
		return nil, invalid("found no volume_capabilities, expected at least one")
	}
	volume, err := c.Pool.Get(request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if err := validate(volume, request); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: err.Error()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext:      request.GetVolumeContext(),
		VolumeCapabilities: request.GetVolumeCapabilities(),
		Parameters:         request.GetParameters(),
		MutableParameters:  request.GetMutableParameters(),
	}}, nil
}

func validate(volume *pool.Volume, request *csi.ValidateVolumeCapabilitiesRequest) error {
	class, err := volume.Class()
	if err != nil {
		return err
	}
	accesses, err := parseAccesses(request.GetVolumeCapabilities())
	if err != nil {
		return err
	}
	if err := fits(volume, accesses[0]); err != nil {
		return err
	}
	if err := params.CheckMutable(request.GetMutableParameters()); err != nil {
		return err
	}
	return supported(accesses, class)
}

// ListVolumes implements CSI.
func (c *Controller) ListVolumes(_ context.Context, request *csi.ListVolumesRequest) (*csi.ListVolumesResponse, error) {
	after, err := pageStart(request)
	if err != nil {
		return nil, err
	}
	volumes, err := c.Pool.List()
	if err != nil {
		return nil, err
	}
	page, more := paginate(volumes, func(volume *pool.Volume) string { return volume.ID }, after, int(request.GetMaxEntries()))
	response := &csi.ListVolumesResponse{}
	for _, volume := range page {
		response.Entries = append(response.Entries, &csi.ListVolumesResponse_Entry{Volume: asCSI(volume)})
	}
	if more {
		response.NextToken = tokenPrefix + page[len(page)-1].ID
	}
	return response, nil
}

// GetCapacity implements CSI: what is left of the class's budget on that node, or on all of them.
// exhaust does not show here: it is for a provisioner whose knowledge of the capacity is out of date.
func (c *Controller) GetCapacity(_ context.Context, request *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	class, err := params.ParseClass(request.GetParameters())
	if err != nil {
		return nil, invalid("%v", err)
	}
	if capabilities := request.GetVolumeCapabilities(); len(capabilities) > 0 {
		accesses, err := parseAccesses(capabilities)
		if err == nil {
			err = supported(accesses, class)
		}
		if err != nil { // no room for volumes that can not be
			slog.Debug("GetCapacity for volumes that are not supported", "reason", err)
			return &csi.GetCapacityResponse{}, nil
		}
	}
	nodes := c.Nodes
	if term := request.GetAccessibleTopology(); term != nil {
		node, err := topology.Node(term)
		if err != nil {
			return nil, err
		}
		nodes = []string{node}
	}
	volumes, err := c.Pool.List()
	if err != nil {
		return nil, err
	}
	var total int64
	for _, node := range nodes {
		free, err := c.Budget.Free(volumes, class.CapacityGroup, node)
		if err != nil {
			return nil, err
		}
		total += free
	}
	return &csi.GetCapacityResponse{AvailableCapacity: total}, nil
}

// ControllerModifyVolume implements CSI: INVALID_ARGUMENT, with nothing changed, for parameters that are refused.
func (c *Controller) ControllerModifyVolume(ctx context.Context, request *csi.ControllerModifyVolumeRequest) (*csi.ControllerModifyVolumeResponse, error) {
	if err := required("volume_id", request.GetVolumeId()); err != nil {
		return nil, err
	}
	unlock, err := c.Pool.Lock(ctx, request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer unlock()
	volume, err := c.Pool.Get(request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	if err := params.CheckMutable(request.GetMutableParameters()); err != nil {
		return nil, invalid("%v", err)
	}
	if volume.MutableParameters == nil {
		volume.MutableParameters = map[string]string{}
	}
	maps.Copy(volume.MutableParameters, request.GetMutableParameters())
	return &csi.ControllerModifyVolumeResponse{}, c.Pool.Put(volume)
}

// ControllerExpandVolume implements CSI: it lengthens the disk; device and file system follow on the node. A volume
// that is large enough is left alone, and the node is asked all the same, lest an earlier expansion stopped half-way.
func (c *Controller) ControllerExpandVolume(ctx context.Context, request *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	if err := required("volume_id", request.GetVolumeId()); err != nil {
		return nil, err
	}
	if request.GetCapacityRange() == nil {
		return nil, invalid("found no capacity_range, expected one")
	}
	unlock, err := c.Pool.Lock(ctx, request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	defer unlock()
	volume, err := c.Pool.Get(request.GetVolumeId())
	if err != nil {
		return nil, err
	}
	size, err := chooseSize(request.GetCapacityRange(), access{mode: volume.Mode, fsType: volume.FSType})
	if err != nil {
		return nil, status.Error(codes.OutOfRange, err.Error())
	}
	if size > volume.SizeBytes {
		if err := c.grow(volume, size); err != nil {
			return nil, err
		}
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: volume.SizeBytes, NodeExpansionRequired: true}, nil
}

func (c *Controller) grow(volume *pool.Volume, size int64) error {
	c.place.Lock()
	defer c.place.Unlock()
	class, err := volume.Class()
	if err != nil {
		return err
	}
	volumes, err := c.Pool.List()
	if err != nil {
		return err
	}
	for _, node := range volume.Nodes {
		free, err := c.Budget.Free(volumes, class.CapacityGroup, node)
		if err != nil {
			return err
		}
		if more := size - volume.SizeBytes; more > free {
			return status.Errorf(codes.OutOfRange, "expansion of volume %s needs %d bytes more on %s, which has %d", volume.ID, more, node, free)
		}
	}
	return c.Pool.Resize(volume, size)
}

// asCSI tells of a volume in CSI's words.
func asCSI(volume *pool.Volume) *csi.Volume {
	return &csi.Volume{
		VolumeId: volume.ID, CapacityBytes: volume.SizeBytes, AccessibleTopology: topology.Of(volume.Nodes...),
		ContentSource: sourceAsCSI(volume.Source),
	}
}
