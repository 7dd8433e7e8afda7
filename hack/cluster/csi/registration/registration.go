// Package registration tells a kubelet that this node has the driver, as node-driver-registrar does: a gRPC service on
// a socket in the kubelet's plugins_registry directory, which the kubelet watches.
package registration

import (
	"context"
	"log/slog"
	"path/filepath"

	"google.golang.org/grpc"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

// csiVersion is the CSI version that the kubelet is told; it takes any 1.x.
const csiVersion = "1.12.0"

// Service is the pluginregistration.v1 service.
type Service struct {
	registerapi.UnimplementedRegistrationServer

	// Driver is the driver's name, and Endpoint the path of its socket.
	Driver, Endpoint string
}

// Socket is where the kubelet looks for the service.
func Socket(dir, driver string) string { return filepath.Join(dir, driver+"-reg.sock") }

// NewServer makes a server of it.
func NewServer(service *Service) *grpc.Server {
	server := grpc.NewServer()
	registerapi.RegisterRegistrationServer(server, service)
	return server
}

// GetInfo implements the service.
func (s *Service) GetInfo(context.Context, *registerapi.InfoRequest) (*registerapi.PluginInfo, error) {
	return &registerapi.PluginInfo{
		Type: registerapi.CSIPlugin, Name: s.Driver, Endpoint: s.Endpoint, SupportedVersions: []string{csiVersion},
	}, nil
}

// NotifyRegistrationStatus implements the service. The kubelet tries a refused plugin again by itself, so all there
// is to do is to say why.
func (s *Service) NotifyRegistrationStatus(_ context.Context, status *registerapi.RegistrationStatus) (*registerapi.RegistrationStatusResponse, error) {
	if status.GetPluginRegistered() {
		slog.Info("registered with the kubelet", "driver", s.Driver)
	} else {
		slog.Error("the kubelet refused the registration", "driver", s.Driver, "error", status.GetError())
	}
	return &registerapi.RegistrationStatusResponse{}, nil
}
