package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/failoverd/failoverd/internal/config"
)

func trafficCommand(s *shared) *cobra.Command {
	cmd := &cobra.Command{Use: "traffic", Short: "What the switches of the traffic need"}
	var asJSON bool
	checks := &cobra.Command{
		Use: "health-checks", Short: "Print the Route 53 health checks that the gate and the S3 object need", Args: cobra.NoArgs,
		Long: "Reads the configuration file and asks nobody. The output is a shell script for the AWS command line: it makes the health checks, and says\n" +
			"which one every weighted record of the primary region has to hang on (HealthCheckId). `failoverd readiness` compares what Route 53 has.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := config.Load(s.config)
			if err != nil {
				return failed(err)
			}
			list := cfg.HealthChecks()
			if len(list) == 0 {
				return failed(errors.New("no switch of [traffic] needs a health check: gate and s3_object do"))
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return failed(enc.Encode(list))
			}
			text, err := cfg.HealthCheckScript()
			if err != nil {
				return failed(err)
			}
			fmt.Fprint(cmd.OutOrStdout(), text)
			return nil
		},
	}
	checks.Flags().BoolVar(&asJSON, "json", false, "as JSON, with the names of each calculated check's children")
	cmd.AddCommand(checks)
	return cmd
}
