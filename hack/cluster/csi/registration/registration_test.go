package registration

import (
	"net"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"
)

func TestTheKubeletIsTold(t *testing.T) {
	path := Socket(t.TempDir(), "driver")
	if filepath.Base(path) != "driver-reg.sock" {
		t.Errorf("socket: got %s", path)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := NewServer(&Service{Driver: "driver", Endpoint: "/run/csi.sock"})
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	connection, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	kubelet := registerapi.NewRegistrationClient(connection)
	info, err := kubelet.GetInfo(t.Context(), &registerapi.InfoRequest{})
	if err != nil || info.GetType() != "CSIPlugin" || info.GetName() != "driver" || info.GetEndpoint() != "/run/csi.sock" || len(info.GetSupportedVersions()) != 1 {
		t.Errorf("got %v, %v", info, err)
	}
	for _, registered := range []bool{true, false} {
		if _, err := kubelet.NotifyRegistrationStatus(t.Context(), &registerapi.RegistrationStatus{PluginRegistered: registered}); err != nil {
			t.Error(err)
		}
	}
}
