package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/boottime"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/internal/daemon"
	"github.com/failoverd/failoverd/internal/mtls"
	"github.com/failoverd/failoverd/internal/sdnotify"
)

func runCommand(s *shared) *cobra.Command {
	var node string
	cmd := &cobra.Command{
		Use: "run", Short: "Run a watchdog node", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := s.logger()
			if err != nil {
				return err
			}
			cfg, err := config.Load(s.config)
			if err != nil {
				return failed(err)
			}
			for _, w := range cfg.Warnings {
				log.Warn(w.Error())
			}
			if node == "" {
				node = os.Getenv("FAILOVERD_NODE")
			}
			if node == "" {
				return errors.New("which node is this? Set --node or FAILOVERD_NODE to a name in [nodes]")
			}
			d, err := daemon.New(cmd.Context(), daemon.Options{
				Config: cfg, Node: failover.NodeID(node), Version: version, Log: log,
			})
			if err != nil {
				return failed(err)
			}
			// Ready means that it listens and takes part, never that it has a
			// leader: a cold cluster would wait for itself for ever.
			sdnotify.Send("READY=1")
			err = d.Run(cmd.Context())
			sdnotify.Send("STOPPING=1")
			return failed(errors.Join(err, d.Stop()))
		},
	}
	cmd.Flags().StringVar(&node, "node", "", "this node's name (default: FAILOVERD_NODE)")
	return cmd
}

func agentCommand(s *shared) *cobra.Command {
	var (
		o      daemon.AgentOptions
		region string
		comp   string
		tls    mtls.Files
		work   time.Duration
	)
	cmd := &cobra.Command{
		Use:   "agent --region REGION --component NAME [flags] [-- COMMAND [ARG...]]",
		Short: "Run a worker under the region's lease, and stop it when the lease ends",
		Long: "The agent asks the nodes for the lease of its region and keeps its worker running only\n" +
			"while the lease is valid. The worker is the command after --, or a systemd unit (--unit).\n" +
			"The worker asks GET /active on the agent's socket before each piece of work, or reads the\n" +
			"lease file; their paths are in FAILOVERD_ACTIVE_SOCKET and FAILOVERD_LEASE_FILE.\n" +
			"With --serve there is no worker here: functions ask GET /lease before each piece of work.",
		RunE: func(cmd *cobra.Command, args []string) error {
			log, err := s.logger()
			if err != nil {
				return err
			}
			cfg, err := config.Load(s.config)
			if err != nil {
				return failed(err)
			}
			self, err := os.Executable()
			if err != nil {
				return failed(fmt.Errorf("the path of this program cannot be found: %w", err))
			}
			if tls.CA == "" {
				tls.CA = cfg.TLS.CA
			}
			o.Config, o.Region, o.Component, o.TLS, o.Log, o.Work = cfg, failover.Region(region), failover.Component(comp), tls, log, work
			o.Command, o.Guard, o.UnitGuard, o.Canary = args, []string{self, "guard", "--"}, []string{self, "guard", "--unit", "--"}, []string{self, "canary"}
			o.Self, o.Check = self, os.Getenv(daemon.AgentCheckVariable) != ""
			if !o.Check {
				sdnotify.Send("READY=1")
				if o.EpochFile == "" {
					log.Warn("no --epoch-file: the highest epoch is forgotten when this agent ends, and one that is started again would take a lease from a cluster that was set back to a backup")
				}
			}
			return failed(daemon.RunAgent(cmd.Context(), o))
		},
	}
	f := cmd.Flags()
	f.StringVar(&region, "region", "", "the region that this host is in")
	f.StringVar(&comp, "component", "", "the component that the worker belongs to")
	f.StringVar(&o.ID, "id", "", "the readable part of the agent's name (default: component and host)")
	f.StringVar(&tls.CA, "ca", "", "authority's certificate (default: [tls] ca)")
	f.StringVar(&tls.Cert, "cert", "", "the agent's certificate, made by `failoverd certs`")
	f.StringVar(&tls.Key, "key", "", "its key")
	f.StringVar(&o.Unit, "unit", "", "systemd unit to start and stop")
	f.StringVar(&o.Serve, "serve", "", "host:port that answers GET /lease?need=28s, for functions elsewhere; no worker is run")
	f.StringVar(&o.Socket, "listen", "", "unix socket that answers GET /active")
	f.StringVar(&o.LeaseFile, "lease-file", "", "file with the lease, on a tmpfs")
	f.StringVar(&o.EpochFile, "epoch-file", "", "file that keeps the highest epoch seen")
	f.DurationVar(&work, "work", 0, "the longest piece of work that the worker does")
	for _, name := range []string{"region", "component", "cert", "key"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic("failoverd: " + err.Error()) // a flag defined above
		}
	}
	return cmd
}

// guardCommand is what an agent starts; it is of no use to people.
func guardCommand() *cobra.Command {
	unit := false
	cmd := &cobra.Command{
		Use: "guard -- COMMAND [ARG...]", Hidden: true, Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if unit {
				status, err := fence.RunUnitGuard(args[0], os.Stdin, os.Stdout, boottime.System{})
				return &exitError{status, err}
			}
			status, err := fence.RunGuard(args, os.Stdin, os.Stdout, boottime.System{})
			return &exitError{status, err}
		},
	}
	cmd.Flags().BoolVar(&unit, "unit", false, "the argument is a systemd unit")
	return cmd
}

// canaryCommand is what an agent rehearses its fence with; it is of no use to
// people.
func canaryCommand() *cobra.Command {
	return &cobra.Command{
		Use: "canary", Hidden: true, Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return failed(fence.RunCanary(len(args) == 0)) },
	}
}
