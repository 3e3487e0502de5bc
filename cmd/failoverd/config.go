package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/internal/admin"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/internal/mtls"
)

func configCommand(s *shared) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Check a configuration file, and roll it out"}
	cmd.AddCommand(configApplyCommand(s), configShowCommand(s), configWithdrawCommand(s))
	cmd.AddCommand(&cobra.Command{
		Use: "check [FILE]", Short: "Check a configuration file without touching anything", Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := s.config
			if len(args) == 1 {
				file = args[0]
			}
			cfg, err := config.Load(file)
			if err != nil {
				fmt.Fprintln(os.Stderr, err)
				return &exitError{exitFailed, fmt.Errorf("%s: not ready because of the mistakes above", file)}
			}
			out := cmd.OutOrStdout()
			fmt.Fprint(out, config.Summary(cfg))
			for _, w := range cfg.Warnings {
				fmt.Fprintln(out, "advice:", w)
			}
			settings := cfg.Settings()
			p, err := plan.Derive(&settings, cfg.Primary)
			if err != nil {
				return failed(err)
			}
			fmt.Fprintln(out, plan.Autonomy(&p))
			fmt.Fprintf(out, "%s: ready (settings %s)\n", file, cfg.Hash())
			return nil
		},
	})
	return cmd
}

func certsCommand(s *shared) *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use: "certs", Short: "Make or renew the certificates of all nodes and agents", Args: cobra.NoArgs,
		Long: "Makes an authority in the directory if there is none, and a certificate for each node of the\n" +
			"configuration and for the agents of each region. Keep ca.key away from the nodes.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(s.config)
			if err != nil {
				return failed(err)
			}
			if err := os.MkdirAll(dir, 0o700); err != nil {
				return failed(fmt.Errorf("directory %s: %w", dir, err))
			}
			ca, made, err := mtls.OpenAuthority(dir, cfg.Service)
			if err != nil {
				return failed(err)
			}
			out := cmd.OutOrStdout()
			if made {
				fmt.Fprintf(out, "made the authority %s/ca.pem; its key, ca.key, belongs on no node\n", dir)
			}
			ids := map[string]mtls.Identity{}
			for id := range cfg.Nodes {
				ids[string(id)] = mtls.Identity{Role: mtls.RoleNode, Name: string(id)}
			}
			for _, r := range cfg.Regions() {
				ids["agent-"+string(r)] = mtls.Identity{Role: mtls.RoleAgent, Name: string(r)}
			}
			names := make([]string, 0, len(ids))
			for name := range ids {
				names = append(names, name)
			}
			slices.Sort(names)
			for _, name := range names {
				if err := ca.Issue(dir, name, ids[name]); err != nil {
					return failed(err)
				}
				fmt.Fprintf(out, "made %s/%s.pem for %s\n", dir, name, ids[name])
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "/etc/failoverd/tls", "where they are written")
	return cmd
}

func planCommand(s *shared) *cobra.Command {
	cmd := &cobra.Command{Use: "plan", Short: "Look at the failover plan"}
	var offline bool
	kind := failover.Failover
	show := &cobra.Command{
		Use: "show", Short: "Show the plan that would run now, and how far it runs without a person", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !offline {
				text, err := admin.NewClient(s.socketPath()).Plan(cmd.Context(), kind)
				if err != nil {
					return failed(fmt.Errorf("%w (--offline shows the plan of the configuration file)", err))
				}
				fmt.Fprint(cmd.OutOrStdout(), text)
				return nil
			}
			cfg, err := config.Load(s.config)
			if err != nil {
				return failed(err)
			}
			text, err := cfg.PlanText(kind)
			if err != nil {
				return failed(err)
			}
			fmt.Fprint(cmd.OutOrStdout(), text)
			return nil
		},
	}
	show.Flags().BoolVar(&offline, "offline", false, "derive it from the configuration file, without a node")
	switchover(show, &kind)
	cmd.AddCommand(show)
	return cmd
}

func runbookCommand(s *shared) *cobra.Command {
	var leave string
	cmd := &cobra.Command{
		Use: "runbook", Short: "Print the failover plan as commands for a person, for the day when failoverd itself is gone", Args: cobra.NoArgs,
		Long: "Reads the configuration file and asks nobody: no node, no quorum and no network is needed. Print it while all is well, and keep it\nwhere it can be read when the primary region cannot.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(s.config)
			if err != nil {
				return failed(err)
			}
			text, err := cfg.Runbook(cmp.Or(failover.Region(leave), cfg.Primary))
			if err != nil {
				return failed(err)
			}
			fmt.Fprint(cmd.OutOrStdout(), text)
			return nil
		},
	}
	cmd.Flags().StringVar(&leave, "leave", "", "the region that is left: the secondary, where the service is away from the primary (default: the primary)")
	return cmd
}
