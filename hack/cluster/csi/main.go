// vmdisk-csi is the CSI driver of the embedded test cluster: volumes on loop devices, with faults that tests ask for.
// README.md tells how it is run and what a StorageClass can say to it.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"pelotech.ot/vmdisk/hack/cluster/csi/pool"
	"pelotech.ot/vmdisk/hack/cluster/csi/report"
)

const usage = `usage: vmdisk-csi COMMAND [FLAGS]

  serve      answer CSI calls on a unix socket
  status     print volumes, loop devices, mounts and held operations as JSON
  teardown   unmount all volumes and detach all loop devices of a pool

vmdisk-csi COMMAND -h lists the flags.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	err := run(ctx, os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vmdisk-csi:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("found no command\n\n" + usage)
	}
	switch args[0] {
	case "serve":
		return serve(ctx, args[1:])
	case "status":
		return withPool(args, func(volumes *pool.Pool, state string) error {
			status, err := report.Read(volumes, state)
			if err != nil {
				return err
			}
			encoder := json.NewEncoder(os.Stdout)
			encoder.SetIndent("", "  ")
			return encoder.Encode(status)
		})
	case "teardown":
		return withPool(args, func(volumes *pool.Pool, _ string) error { return report.Teardown(ctx, volumes) })
	default:
		return fmt.Errorf("found command %q\n\n%s", args[0], usage)
	}
}

// withPool runs a command that needs no more than the two directories.
func withPool(args []string, command func(volumes *pool.Pool, state string) error) error {
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	poolDir, state := directoryFlags(flags)
	if err := parse(flags, args[1:]); err != nil {
		return err
	}
	if err := requireFlags(flags, "pool", "state"); err != nil {
		return err
	}
	if _, err := os.Stat(*poolDir); err != nil {
		return fmt.Errorf("--pool: %w", err)
	}
	volumes, err := pool.Open(*poolDir)
	if err != nil {
		return err
	}
	return command(volumes, *state)
}

func directoryFlags(flags *flag.FlagSet) (poolDir, state *string) {
	return flags.String("pool", "", "`directory` of the volumes, meant to be the root of an xfs with reflink; the same for all processes"),
		flags.String("state", "", "`directory` by which tests steer holds and capacity; the same for all processes")
}

func parse(flags *flag.FlagSet, args []string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("found argument %q, expected flags only", flags.Arg(0))
	}
	return nil
}

func requireFlags(flags *flag.FlagSet, names ...string) error {
	for _, name := range names {
		if flags.Lookup(name).Value.String() == "" {
			return fmt.Errorf("%s: found no --%s, expected one", flags.Name(), name)
		}
	}
	return nil
}

func setUpLog(verbose bool) {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})))
}
