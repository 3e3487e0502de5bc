package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

// This file holds commands whose order is accepted long before its outcome is
// known: they wait for it, for a while.

type runE = func(cmd *cobra.Command, args []string) error

// requestWait is how long a request is followed: longer than the leader takes to
// look at the region to be entered.
const requestWait = 40 * time.Second

// awaitRequest says whether a request was started, or by which guard it was not.
func awaitRequest(s *shared, give runE) runE {
	return func(cmd *cobra.Command, args []string) error {
		if err := give(cmd, args); err != nil {
			return err
		}
		var started *failover.Execution
		var refused *failover.RefusedRequest
		err := poll(cmd.Context(), s, requestWait, func(st admin.Status) bool {
			started, refused = st.Execution, st.Refused
			return st.Request == nil && (started != nil || refused != nil)
		})
		switch {
		case err != nil:
			return failed(err)
		case started != nil:
			fmt.Fprintf(cmd.OutOrStdout(), "execution %d has begun (%s): `failoverd status --watch` follows it\n", started.ID, started.State)
		case refused != nil:
			return &exitError{exitRefused, fmt.Errorf("refused by guard %s: %s", refused.Guard, refused.Reason)}
		default:
			return &exitError{exitNoQuo, fmt.Errorf("nothing was heard of the request within %s: `failoverd status` shows what becomes of it", requestWait)}
		}
		return nil
	}
}

// rehearsalWait is how long the agents' results are awaited: a few renewals.
const rehearsalWait = time.Minute

// awaitRehearsal shows what each agent found.
func awaitRehearsal(s *shared, give runE) runE {
	return func(cmd *cobra.Command, args []string) error {
		began := time.Now()
		if err := give(cmd, args); err != nil {
			return err
		}
		var agents []admin.AgentStatus
		missing := 0
		err := poll(cmd.Context(), s, rehearsalWait, func(st admin.Status) bool {
			agents, missing = nil, 0
			for _, a := range st.Agents {
				if string(a.Component) != args[0] {
					continue
				}
				agents = append(agents, a)
				if a.Rehearsed == nil || a.Rehearsed.At.Before(began.Add(-time.Minute)) {
					missing++
				}
			}
			return len(agents) > 0 && missing == 0
		})
		if err != nil {
			return failed(err)
		}
		bad := showRehearsals(cmd.OutOrStdout(), agents, began)
		switch {
		case len(agents) == 0:
			return failed(fmt.Errorf("no agent of %s is known: nothing was rehearsed", args[0]))
		case bad > 0:
			return failed(fmt.Errorf("%d of %d agents have not shown that they kill in time", bad, len(agents)))
		}
		return nil
	}
}

func showRehearsals(w io.Writer, agents []admin.AgentStatus, began time.Time) (bad int) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "AGENT\tREGION\tRESULT\tDETAIL")
	for _, a := range agents {
		result, detail := "no answer", fmt.Sprintf("within %s", time.Since(began).Round(time.Second))
		if r := a.Rehearsed; r != nil && !r.At.Before(began.Add(-time.Minute)) {
			result, detail = "FAILED", r.Detail
			if r.Passed {
				result = "passed"
			}
		}
		if result != "passed" {
			bad++
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", a.ID, a.Region, result, detail)
	}
	_ = tw.Flush() // an error means that the terminal is gone
	return bad
}

// poll asks for the status until done, or for as long as wait; running out of
// time is no error.
func poll(ctx context.Context, s *shared, wait time.Duration, done func(admin.Status) bool) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	c := admin.NewClient(s.socketPath())
	for {
		st, err := c.Status(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		if err == nil && done(st) {
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func readinessCommand(s *shared) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "readiness", Short: "Show whether a failover would work if the active region died now", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			r, err := admin.NewClient(s.socketPath()).Readiness(cmd.Context())
			if err != nil {
				return failed(err)
			}
			if asJSON {
				err = writeJSON(cmd.OutOrStdout(), r)
			} else {
				showReadiness(cmd.OutOrStdout(), r)
			}
			if err == nil && !r.Ready {
				return &exitError{exitFailed, nil}
			}
			return failed(err)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showReadiness(w io.Writer, r admin.Readiness) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, row := range r.Rows {
		mark := "NOT OK"
		switch {
		case row.OK:
			mark = "ok"
		case row.Advice:
			mark = "advice"
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\n", mark, row.Name, row.Detail)
	}
	_ = tw.Flush() // an error means that the terminal is gone
	fmt.Fprintln(w, r.Sentence)
}

// conditionsCommand shows the table of conditions; it needs no node.
func conditionsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "conditions", Short: "Show every condition that can be named, what it needs and what it allows", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) {
			for _, c := range failover.Conditions {
				fmt.Fprintf(cmd.OutOrStdout(), "%s\n  %s\n  needs:  %s\n  allows: %s\n\n", c.Code, c.Meaning, c.Needs, c.Allows)
			}
		},
	}
}
