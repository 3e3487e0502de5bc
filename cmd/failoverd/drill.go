package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/failoverd/failoverd/internal/admin"
)

// drillCommand tries one component's start out, beside what is live.
func drillCommand(s *shared) *cobra.Command {
	var only, why string
	cmd := &cobra.Command{
		Use: "drill --only COMPONENT --why REASON", Short: "Try out, beside what is live, how a component would be started in the standby region", Args: cobra.NoArgs,
		Long: "Tries one component's start out without any effect on what is live, takes the time, and takes everything away again.\n" +
			"It can be tried for what is restored from a backup: the newest one is read to its end, loaded into schemas of its own in\n" +
			"the standby region's server, and all that comes after a swap is rehearsed there. This node does it. It ends when the\n" +
			"command is interrupted, and when an execution begins. The time counts for the estimates of `failoverd price`.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if only == "" || why == "" {
				return errors.New("--only and --why are both needed: which component, and what for")
			}
			out := cmd.OutOrStdout()
			d, err := admin.NewClient(s.socketPath()).Drill(cmd.Context(), only, why, func(line string) { fmt.Fprintln(out, line) })
			if err != nil {
				return failed(fmt.Errorf("the drill of %s: %w", only, err))
			}
			fmt.Fprintf(out, "%s can be started: tried out in %s, and taken away again: %s\n", only, d.Took.D().Round(time.Second), d.Detail)
			if d.Unkept != "" {
				fmt.Fprintln(out, d.Unkept)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&only, "only", "", "the `component` to try out")
	cmd.Flags().StringVar(&why, "why", "", "`reason`, for the log")
	return cmd
}
