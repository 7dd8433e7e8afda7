// Package driver answers the calls of CSI (spec v1.12, "RPC Interface"): the sidecars' on the controller side, the
// kubelets' on the node side. A call reads what is from the pool, the loop table and the mount table, does what is
// left to do, and keeps nothing in memory, so that it can be killed and called again at any point.
package driver

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"
)

// Name is the driver's name: the provisioner of a StorageClass, the name of the CSIDriver object.
const Name = "loop.csi.vmdisk.dev"

// Version is what GetPluginInfo tells. The driver is built with the tests that use it and has no releases.
const Version = "0.1.0"

// Identity is the service of that name.
type Identity struct {
	csi.UnimplementedIdentityServer
}

// GetPluginInfo implements CSI.
func (Identity) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	return &csi.GetPluginInfoResponse{Name: Name, VendorVersion: Version}, nil
}

// GetPluginCapabilities implements CSI. All sockets tell the same: a controller, volumes that not every node can
// reach, and expansion while they are in use.
func (Identity) GetPluginCapabilities(context.Context, *csi.GetPluginCapabilitiesRequest) (*csi.GetPluginCapabilitiesResponse, error) {
	service := func(kind csi.PluginCapability_Service_Type) *csi.PluginCapability {
		return &csi.PluginCapability{Type: &csi.PluginCapability_Service_{Service: &csi.PluginCapability_Service{Type: kind}}}
	}
	return &csi.GetPluginCapabilitiesResponse{Capabilities: []*csi.PluginCapability{
		service(csi.PluginCapability_Service_CONTROLLER_SERVICE),
		service(csi.PluginCapability_Service_VOLUME_ACCESSIBILITY_CONSTRAINTS),
		{Type: &csi.PluginCapability_VolumeExpansion_{VolumeExpansion: &csi.PluginCapability_VolumeExpansion{
			Type: csi.PluginCapability_VolumeExpansion_ONLINE,
		}}},
	}}, nil
}

// Probe implements CSI. There is nothing to warm up: whoever answers is ready.
func (Identity) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}
