package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"

	"pelotech.ot/vmdisk/hack/cluster/csi/driver"
	"pelotech.ot/vmdisk/hack/cluster/csi/faults"
	"pelotech.ot/vmdisk/hack/cluster/csi/params"
	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
	"pelotech.ot/vmdisk/hack/cluster/csi/registration"
)

const (
	// stopPatience lets short calls end before the rest are cancelled. Any call can be cut anywhere and called again.
	stopPatience = 2 * time.Second
	// socketPathLimit is what sun_path takes, less the final zero.
	socketPathLimit = 107
	// controllerOwner is the controller's name where a node has its own.
	controllerOwner = "controller"
)

// settings are the flags of serve.
type settings struct {
	endpoint, mode, nodeID, poolDir, state, registrationDir, capacity string
	nodes                                                             []string
	verbose                                                           bool
}

func parseSettings(args []string) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	flags.StringVar(&s.endpoint, "endpoint", "", "`socket` to listen on, as unix:///path")
	flags.StringVar(&s.mode, "mode", "", "`services` to answer for: controller, node or all")
	flags.StringVar(&s.nodeID, "node-id", "", "`name` of the node in Kubernetes (modes node and all)")
	nodes := flags.String("nodes", "", "`names` of all nodes with commas between (modes controller and all; default: --node-id)")
	poolDir, state := directoryFlags(flags)
	flags.StringVar(&s.registrationDir, "kubelet-registration-dir", "", "plugins_registry `directory` of the kubelet to register with (mode node; default: none)")
	flags.StringVar(&s.capacity, "capacity", "256Gi", "`quantity` that a node has in each capacity group, unless STATE/capacity/GROUP/NODE says otherwise")
	flags.BoolVar(&s.verbose, "v", false, "log calls that only ask, too")
	if err := parse(flags, args); err != nil {
		return nil, err
	}
	s.poolDir, s.state = *poolDir, *state
	if err := requireFlags(flags, "endpoint", "mode", "pool", "state"); err != nil {
		return nil, err
	}
	if *nodes == "" {
		*nodes = s.nodeID
	}
	if *nodes != "" {
		s.nodes = strings.Split(*nodes, ",")
	}
	return s, s.check()
}

func (s *settings) check() error {
	switch {
	case s.mode != "controller" && s.mode != "node" && s.mode != "all":
		return fmt.Errorf("serve: found --mode %q, expected controller, node or all", s.mode)
	case s.mode != "controller" && s.nodeID == "":
		return fmt.Errorf("serve: found no --node-id, expected one with --mode %s", s.mode)
	case s.mode == "controller" && len(s.nodes) == 0:
		return errors.New("serve: found no --nodes, expected them with --mode controller")
	case s.mode == "controller" && s.registrationDir != "":
		return errors.New("serve: found --kubelet-registration-dir, expected none with --mode controller")
	}
	return nil
}

// owner names this process among those that share the state.
func (s *settings) owner() string {
	if s.mode == "controller" {
		return controllerOwner
	}
	return s.nodeID
}

func serve(ctx context.Context, args []string) error {
	settings, err := parseSettings(args)
	if err != nil {
		return err
	}
	setUpLog(settings.verbose)
	server, err := newServer(settings)
	if err != nil {
		return err
	}
	path, err := socketPath(settings.endpoint)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	if err := listen(server, path, failed); err != nil {
		return err
	}
	defer stop(server)
	slog.Info("serving", "driver", driver.Name, "mode", settings.mode, "endpoint", path)
	if settings.registrationDir != "" {
		kubelet := registration.NewServer(&registration.Service{Driver: driver.Name, Endpoint: path})
		if err := listen(kubelet, registration.Socket(settings.registrationDir, driver.Name), failed); err != nil {
			return err
		}
		defer stop(kubelet)
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return nil
	}
}

func newServer(s *settings) (*grpc.Server, error) {
	volumes, err := pool.Open(s.poolDir)
	if err != nil {
		return nil, err
	}
	injector, err := faults.New(s.state, s.owner())
	if err != nil {
		return nil, err
	}
	capacity, err := params.ParseBytes(s.capacity)
	if err != nil {
		return nil, fmt.Errorf("serve: --capacity: %w", err)
	}
	var controller *driver.Controller
	if s.mode != "node" {
		controller = &driver.Controller{Pool: volumes, Faults: injector, Nodes: s.nodes, Budget: driver.Budget{State: s.state, Default: capacity}}
	}
	var node *driver.Node
	if s.mode != "controller" {
		node = &driver.Node{ID: s.nodeID, Pool: volumes, Faults: injector}
	}
	return driver.NewServer(controller, node), nil
}

func socketPath(endpoint string) (string, error) {
	path, isUnix := strings.CutPrefix(endpoint, "unix://")
	if !isUnix || !filepath.IsAbs(path) {
		return "", fmt.Errorf("serve: found --endpoint %q, expected unix:// and an absolute path", endpoint)
	}
	return path, nil
}

// listen answers on a socket until the server is stopped. A socket that a killed process left is in the way and goes.
func listen(server *grpc.Server, path string, failed chan<- error) error {
	if len(path) > socketPathLimit {
		return fmt.Errorf("listen: %s has %d bytes, expected at most %d for a socket", path, len(path), socketPathLimit)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("listen: %w", err)
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	go func() {
		if err := server.Serve(listener); err != nil {
			failed <- fmt.Errorf("serve %s: %w", path, err)
		}
	}()
	return nil
}

// stop lets calls that end soon end, and cancels those that are held.
func stop(server *grpc.Server) {
	patience := time.AfterFunc(stopPatience, server.Stop)
	defer patience.Stop()
	server.GracefulStop()
}
