// Package cli is the lab's command line. It is a package of its own so that a test binary can stand in for the lab binary.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/failoverd/failoverd/lab/app"
	"github.com/failoverd/failoverd/lab/internet"
	"github.com/failoverd/failoverd/lab/ledger"
	"github.com/failoverd/failoverd/lab/netns"
	"github.com/failoverd/failoverd/lab/region"
)

const usage = `lab: a simulated world of two AWS regions

  lab region   --config FILE          one region: AWS endpoint, load balancer, store, MongoDB members
  lab internet --config FILE          Route 53, DNS, resolver, references, Slack, providers
  lab ledger   --world DIR            the witness
  lab api      --world DIR --region R --task T --listen ADDR --queue URL
  lab worker   --world DIR --region R --task T --queue URL [--store ADDR] [--time-factor F]
  lab clean    [--prefix P]           remove what crashed worlds left behind
  lab demo                            a region goes dark, and the daemon takes the service to the other one

The first five are started by package world. A worker asks the agent behind $FAILOVERD_ACTIVE_SOCKET before each piece of
work; without that variable it just works.
`

// Main runs one sub-command and returns the exit status: 0, 1 for a failure, 2 for wrong usage.
func Main(args []string, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprint(stderr, usage)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	log := slog.New(slog.NewTextHandler(stderr, nil)).With("lab", args[0], "pid", os.Getpid())
	err := run(ctx, args[0], args[1:], stderr, log)
	switch {
	case errors.Is(err, errUsage):
		return 2
	case errors.Is(err, ErrSaid):
		return 1
	case err != nil:
		log.Error("lab "+args[0]+" ended", "err", err)
		return 1
	}
	return 0
}

var errUsage = errors.New("usage")

// ErrSaid is a failure that has told the person all there is to tell.
var ErrSaid = errors.New("failed, and said so")

// Demo runs the demo. It is set by cmd/lab: the demo is built on package world, whose tests are built on this package.
var Demo func(ctx context.Context, stderr io.Writer) error

func run(ctx context.Context, cmd string, args []string, stderr io.Writer, log *slog.Logger) error {
	fs := flag.NewFlagSet("lab "+cmd, flag.ContinueOnError)
	fs.SetOutput(stderr)
	var (
		config = fs.String("config", "", "JSON configuration, written by package world")
		world  = fs.String("world", "", "the world's directory")
		name   = fs.String("region", "", "region, e.g. us-east-1")
		task   = fs.String("task", "", "ECS task ID")
		listen = fs.String("listen", "", "host:port")
		queue  = fs.String("queue", "", "URL of the region's queue")
		store  = fs.String("store", "", "host:port of the region's store; empty: its unix socket")
		maria  = fs.String("mariadb", "", "data source name of the region's MariaDB; empty: the application has none")
		mongo  = fs.String("mongodb", "", "members of MongoDB, separated by commas; empty: the application has none")
		factor = fs.Float64("time-factor", 1, "divides all durations")
		prefix = fs.String("prefix", "lab", "prefix of the namespaces")
	)
	if err := fs.Parse(args); err != nil {
		return errUsage
	}
	switch cmd {
	case "region":
		var c region.Config
		if err := load(*config, &c); err != nil {
			return err
		}
		return region.Run(ctx, c, log)
	case "internet":
		var c internet.Config
		if err := load(*config, &c); err != nil {
			return err
		}
		return internet.Run(ctx, c, log)
	case "ledger":
		return ledger.Run(ctx, filepath.Join(*world, app.LedgerSocket), filepath.Join(*world, "ctl", "ledger.sock"), filepath.Join(*world, "ledger.jsonl"), log)
	case "api":
		return app.RunAPI(ctx, *world, *name, *task, *listen, *queue, log)
	case "worker":
		var members []string
		if *mongo != "" {
			members = strings.Split(*mongo, ",")
		}
		return app.RunWorker(ctx, app.WorkerOptions{World: *world, Region: *name, Task: *task, QueueURL: *queue,
			ActiveSocket: os.Getenv("FAILOVERD_ACTIVE_SOCKET"), StoreAddress: *store, MariaDB: *maria, MongoDB: members, TimeFactor: *factor, Log: log})
	case "clean":
		return netns.Clean(ctx, *prefix)
	case "demo":
		if Demo == nil {
			return errors.New("this binary is not the lab's own: the demo is in cmd/lab")
		}
		return Demo(ctx, stderr)
	}
	fmt.Fprint(stderr, usage)
	return errUsage
}

func load(path string, into any) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read --config: %w", err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("--config %s: %w", path, err)
	}
	return nil
}
