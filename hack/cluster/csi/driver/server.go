package driver

import (
	"context"
	"log/slog"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// NewServer answers for the services that are not nil.
func NewServer(controller *Controller, node *Node) *grpc.Server {
	server := grpc.NewServer(grpc.UnaryInterceptor(intercept))
	csi.RegisterIdentityServer(server, Identity{})
	if controller != nil {
		csi.RegisterControllerServer(server, controller)
	}
	if node != nil {
		csi.RegisterNodeServer(server, node)
	}
	return server
}

// intercept gives every error its code and every call a line in the log: who it was about, how it ended and how long
// it took. Secrets are in none of the fields that it prints.
func intercept(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	start := time.Now()
	response, err := handle(ctx, request)
	err = asStatus(err)
	if err != nil {
		response = nil
	}
	attributes := []any{"call", info.FullMethod, "code", status.Code(err), "took", time.Since(start).Round(100 * time.Microsecond)}
	if named, ok := request.(interface{ GetVolumeId() string }); ok {
		attributes = append(attributes, "volume", named.GetVolumeId())
	} else if named, ok := request.(interface{ GetSnapshotId() string }); ok {
		attributes = append(attributes, "snapshot", named.GetSnapshotId())
	} else if named, ok := request.(interface{ GetName() string }); ok {
		attributes = append(attributes, "name", named.GetName())
	}
	switch status.Code(err) {
	case codes.OK:
		slog.Log(ctx, levels[info.FullMethod], "answered", attributes...)
	default:
		slog.Warn("failed", append(attributes, "error", status.Convert(err).Message())...)
	}
	return response, err
}

// levels keeps calls that only ask, again and again, out of the log.
var levels = map[string]slog.Level{
	csi.Identity_Probe_FullMethodName:                        slog.LevelDebug,
	csi.Identity_GetPluginInfo_FullMethodName:                slog.LevelDebug,
	csi.Identity_GetPluginCapabilities_FullMethodName:        slog.LevelDebug,
	csi.Controller_ControllerGetCapabilities_FullMethodName:  slog.LevelDebug,
	csi.Controller_GetCapacity_FullMethodName:                slog.LevelDebug,
	csi.Controller_ListVolumes_FullMethodName:                slog.LevelDebug,
	csi.Controller_ListSnapshots_FullMethodName:              slog.LevelDebug,
	csi.Node_NodeGetCapabilities_FullMethodName:              slog.LevelDebug,
	csi.Node_NodeGetInfo_FullMethodName:                      slog.LevelDebug,
	csi.Node_NodeGetVolumeStats_FullMethodName:               slog.LevelDebug,
	csi.Controller_ValidateVolumeCapabilities_FullMethodName: slog.LevelDebug,
}
