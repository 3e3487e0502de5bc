package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/failoverd/failoverd/internal/config"
)

func iamCommand(s *shared) *cobra.Command {
	cmd := &cobra.Command{
		Use: "iam", Short: "Print the least-privilege IAM policies that a configuration needs",
		Long: "Reads the configuration file and asks nobody. A node needs `observe` always, and `act` for a failover in either direction.",
	}
	for _, p := range []struct {
		name, short string
		acts        bool
	}{
		{"observe", "The policy of probes, checks and inspections: it changes nothing but the canary queues", false},
		{"act", "The policy of what a failover changes", true},
	} {
		cmd.AddCommand(&cobra.Command{Use: p.name, Short: p.short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(s.config)
			if err != nil {
				return failed(err)
			}
			text, err := cfg.IAMPolicy(p.acts)
			if err != nil {
				return failed(err)
			}
			fmt.Fprint(cmd.OutOrStdout(), text)
			return nil
		}})
	}
	return cmd
}
