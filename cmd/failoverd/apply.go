package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

func configApplyCommand(s *shared) *cobra.Command {
	var (
		why  string
		wait time.Duration
	)
	cmd := &cobra.Command{
		Use: "apply FILE", Short: "Propose a configuration; it is in force once every node has acknowledged it", Args: cobra.ExactArgs(1),
		Long: "The file is a proposal: the node checks it, every other node says whether it can run it, and the\n" +
			"leader puts it in force. Until then all run the one before and stay armed. While an execution is open\n" +
			"it waits. Nodes and agents go on; nothing is restarted, no worker is stopped.",
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := os.ReadFile(args[0])
			if err != nil {
				return failed(fmt.Errorf("reading the configuration: %w", err))
			}
			c, out := admin.NewClient(s.socketPath()), cmd.OutOrStdout()
			ctx, cancel := context.WithTimeout(cmd.Context(), 15*time.Second)
			defer cancel()
			r, err := c.ProposeConfig(ctx, filepath.Base(args[0]), string(text), why)
			if err != nil {
				return failed(err)
			}
			if len(r.Changes) > 0 {
				fmt.Fprintln(out, "this changes what failoverd may do:")
				for _, change := range r.Changes {
					fmt.Fprintln(out, "  "+change)
				}
			}
			if err := accepted(r.Reply); err != nil {
				return err
			}
			fmt.Fprintf(out, "configuration %s proposed (log index %d)\n", r.Hash, r.Index)
			return awaitConfig(cmd.Context(), c, out, r.Hash, wait)
		},
	}
	cmd.Flags().StringVar(&why, "why", "", "the reason, kept in the audit trail")
	cmd.Flags().DurationVar(&wait, "wait", 30*time.Second, "how long to wait until it is in force; 0 does not wait")
	return cmd
}

// awaitConfig says how the roll-out goes, until it is in force or the time is
// over. A proposal that waits is no failure, one that a node refuses is.
func awaitConfig(ctx context.Context, c *admin.Client, out io.Writer, hash string, wait time.Duration) error {
	limit := time.Now().Add(wait)
	said := ""
	for {
		v, err := c.Config(ctx)
		if err != nil {
			return failed(err)
		}
		switch {
		case v.Hash == hash:
			fmt.Fprintf(out, "configuration %s in force\n", hash)
			return nil
		case v.Proposal == nil && said != "":
			return failed(errors.New("the configuration was withdrawn"))
		case v.Proposal != nil && v.Waits != "" && v.Waits != said:
			fmt.Fprintln(out, "it "+v.Waits)
			said = v.Waits
		}
		if p := v.Proposal; p != nil {
			for _, a := range p.Acks {
				if a.Reason != "" {
					return &exitError{exitRefused, errors.New("the configuration is not in force: it " + v.Waits)}
				}
			}
		}
		if time.Now().After(limit) {
			fmt.Fprintln(out, "`failoverd config show` says how it goes on")
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func configShowCommand(s *shared) *cobra.Command {
	var source bool
	cmd := reading(s, "show", "Show the configuration in force, and the one that is being rolled out", func(ctx context.Context, c *admin.Client) (admin.ConfigView, error) {
		return c.Config(ctx)
	}, func(w io.Writer, v admin.ConfigView) {
		if source {
			fmt.Fprint(w, v.Source)
			return
		}
		showConfig(w, v)
	})
	cmd.Flags().BoolVar(&source, "source", false, "print the text of the one in force")
	return cmd
}

func showConfig(w io.Writer, v admin.ConfigView) {
	since := ""
	if !v.Since.IsZero() {
		since = " since " + v.Since.Format(time.RFC3339)
	}
	fmt.Fprintf(w, "in force: %s%s\n", orDash(v.Hash), since)
	if v.Source == "" {
		fmt.Fprintln(w, "its text is not in the log: each node runs its own file until the next `failoverd config apply`")
	}
	if v.OwnFile != v.Hash {
		fmt.Fprintf(w, "this node's file is another one: %s\n", v.OwnFile)
	}
	fmt.Fprintln(w, "nodes:")
	for _, id := range slices.Sorted(maps.Keys(v.Nodes)) {
		fmt.Fprintf(w, "  %s = { region = %q, address = %q }\n", id, v.Nodes[id].Vantage, v.Nodes[id].Address)
	}
	p := v.Proposal
	if p == nil {
		return
	}
	why := ""
	if p.Why != "" {
		why = " (" + p.Why + ")"
	}
	fmt.Fprintf(w, "proposed: %s by %s at %s%s\n", p.Hash, p.By, p.At.Format(time.RFC3339), why)
	for _, change := range p.Changes {
		fmt.Fprintln(w, "  changes what failoverd may do: "+change)
	}
	for _, id := range slices.Sorted(maps.Keys(v.Nodes)) {
		switch a, ok := p.Acks[id]; {
		case !ok:
			fmt.Fprintf(w, "  %s has not answered\n", id)
		case a.Reason != "":
			fmt.Fprintf(w, "  %s cannot run it: %s\n", id, a.Reason)
		default:
			fmt.Fprintf(w, "  %s can run it\n", id)
		}
	}
	if v.Waits != "" {
		fmt.Fprintln(w, "  it "+v.Waits)
	}
}

func configWithdrawCommand(s *shared) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use: "withdraw", Short: "Take the proposed configuration back; the one in force stays", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 15*time.Second)
			defer cancel()
			c := admin.NewClient(s.socketPath())
			v, err := c.Config(ctx)
			if err != nil {
				return failed(err)
			}
			if v.Proposal == nil {
				return &exitError{exitRefused, errors.New("no configuration is being rolled out")}
			}
			r, err := c.Command(ctx, why, failover.WithdrawSettings{Proposal: v.Proposal.ID})
			if err != nil {
				return failed(err)
			}
			if err := accepted(r); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "configuration %s withdrawn; %s stays in force\n", v.Proposal.Hash, v.Hash)
			return nil
		},
	}
	cmd.Flags().StringVar(&why, "why", "", "the reason, kept in the audit trail")
	return cmd
}
