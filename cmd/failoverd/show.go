package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/internal/admin"
)

// reading makes a command that asks a node for something and shows it, as text
// or as JSON.
func reading[T any](s *shared, use, short string, get func(ctx context.Context, c *admin.Client) (T, error), show func(w io.Writer, v T)) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			v, err := get(cmd.Context(), admin.NewClient(s.socketPath()))
			if err != nil {
				return failed(err)
			}
			if asJSON {
				return failed(writeJSON(cmd.OutOrStdout(), v))
			}
			show(cmd.OutOrStdout(), v)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

func priceCommand(s *shared) *cobra.Command {
	kind := failover.Failover
	cmd := reading(s, "price", "Show what a failover would cost now: data, time, and what cannot be taken back",
		func(ctx context.Context, c *admin.Client) (plan.Price, error) { return c.Price(ctx, kind) },
		func(w io.Writer, p plan.Price) {
			fmt.Fprintf(w, "a %s from %s to %s would cost\n", p.Kind, p.From, p.To)
			for _, line := range p.Lines() {
				fmt.Fprintf(w, "  %s\n", line)
			}
		})
	switchover(cmd, &kind)
	return cmd
}

// switchover adds the flag with which a command is about a switchover.
func switchover(cmd *cobra.Command, kind *failover.ExecKind) {
	cmd.Flags().BoolFunc("switchover", "of a switchover, and not of a failover", func(string) error {
		*kind = failover.Switchover
		return nil
	})
}

func statusCommand(s *shared) *cobra.Command {
	var watch, asJSON bool
	cmd := &cobra.Command{
		Use: "status", Short: "Show regions, vantages, the running execution and what it waits for", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c := admin.NewClient(s.socketPath())
			for {
				st, err := c.Status(cmd.Context())
				if err != nil {
					return failed(err)
				}
				if watch && !asJSON {
					fmt.Fprint(cmd.OutOrStdout(), "\x1b[H\x1b[2J")
				}
				if asJSON {
					err = writeJSON(cmd.OutOrStdout(), st)
				} else {
					showStatus(cmd.OutOrStdout(), st)
				}
				if err != nil || !watch {
					return failed(err)
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(time.Second):
				}
			}
		},
	}
	cmd.Flags().BoolVar(&watch, "watch", false, "refresh every second until interrupted")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showStatus(w io.Writer, s admin.Status) {
	fmt.Fprintf(w, "%s  node %s (%s)  %s, leader %s, term %d  mode %s\n", s.Service, s.Node, s.Vantage, strings.ToLower(s.Raft.State), orDash(string(s.Raft.Leader)), s.Raft.Term, orDash(string(s.Mode)))
	fmt.Fprintf(w, "active %s  epoch %d  traffic %s\n", orDash(string(s.Active)), s.Epoch, orDash(string(s.Traffic)))
	if s.LeaderError != "" {
		fmt.Fprintf(w, "the leader's view is missing: %s\n", s.LeaderError)
	}
	cond := "healthy"
	if s.LeaderError != "" {
		cond = "unknown: only the leader judges"
	}
	if s.Condition != "" {
		cond = string(s.Condition) + " – " + s.Condition.Meaning()
	}
	fmt.Fprintf(w, "%s: %s\n", orDash(string(s.Active)), cond)
	for _, v := range s.Views {
		in := ""
		if v.Inside {
			in = " (inside)"
		}
		fmt.Fprintf(w, "  %-12s%-9s %-9s %s\n", v.Vantage, in, v.Health, v.Why)
	}
	if s.HoldElapsed > 0 {
		fmt.Fprintf(w, "hold %s %s of %s\n", bar(s.HoldElapsed.D(), s.Hold.D()), s.HoldElapsed.D().Round(time.Second), s.Hold)
	}
	if s.Freeze != nil {
		kind := "lease frozen"
		if s.Freeze.Provisional {
			kind = "lease frozen provisionally"
		}
		fmt.Fprintf(w, "%s, freeze %d: %s of %s waited\n", kind, s.Freeze.ID, s.FreezeAge.D().Round(100*time.Millisecond), s.FreezeWait.D().Round(100*time.Millisecond))
	}
	if s.Pause != nil && s.Time.Before(s.Pause.Until) {
		fmt.Fprintf(w, "automation paused by %s until %s: %s\n", s.Pause.By, s.Pause.Until.Format(time.RFC3339), s.Pause.Why)
	}
	if s.Incident != nil {
		fmt.Fprintf(w, "incident %d: %s %s\n", s.Incident.ID, s.Incident.Region, s.Incident.Condition)
		if s.Incident.Refusal != "" {
			fmt.Fprintf(w, "  nothing started: %s\n", s.Incident.Refusal)
		}
	}
	if s.Request != nil {
		fmt.Fprintf(w, "request %d by %s: %s (%s); the leader looks whether it can start\n", s.Request.ID, s.Request.By, s.Request.Kind, s.Request.Why)
	}
	if s.Refused != nil {
		fmt.Fprintf(w, "request %d by %s was not started, guard %s: %s\n", s.Refused.ID, s.Refused.By, s.Refused.Guard, s.Refused.Reason)
	}
	if s.Preparation != nil {
		showExecution(w, s.Preparation, s.Progress)
	}
	if s.Execution != nil {
		showExecution(w, s.Execution, s.Progress)
		if s.Back != "" {
			fmt.Fprintf(w, "  %s\n", s.Back)
		}
	} else if s.Last != nil {
		fmt.Fprintf(w, "last execution %d: %s from %s to %s, %s: %s\n", s.Last.ID, s.Last.Kind, s.Last.From, s.Last.To, s.Last.State, s.Last.Outcome)
	}
	for _, h := range s.Holds {
		fmt.Fprintf(w, "standing hold: %s: %s %s\n", h.Wants(), h.Status, h.Detail)
	}
	for _, l := range s.Late {
		fmt.Fprintf(w, "late write: %s in %s, token %d, %s, may still land (since %s)\n", l.Step.Action, l.Step.Region, l.Token, l.Why, l.Since.Format(time.RFC3339))
	}
	for _, f := range s.Fences {
		armed := "armed"
		if f.Why != "" {
			armed = "not armed: " + f.Why
		}
		if f.WouldHave > 0 {
			armed += fmt.Sprintf(" (would have stopped workers %d times)", f.WouldHave)
		}
		fmt.Fprintf(w, "fence %s: %s\n", f.Component, armed)
	}
	fmt.Fprintf(w, "%d nodes, %d agents\n", len(s.Members), len(s.Agents))
	if s.Config != "" && s.OwnFile != s.Config {
		fmt.Fprintf(w, "configuration %s is in force; this node's file is another one (%s) and does not count: `failoverd config apply` proposes it\n", s.Config, s.OwnFile)
	}
	for _, h := range s.HalfOrders {
		fmt.Fprintf(w, "order %d waits for a second node until %s: %s %s, by %s through node %s (%q)\n", h.ID, h.Until().Format(time.RFC3339), h.Command, h.Text, h.By, h.Node, h.Why)
	}
	if s.Proposed != "" {
		fmt.Fprintf(w, "configuration %s is proposed: it %s\n", s.Proposed, s.Waits)
	}
	if ch := s.Change; ch != nil {
		fmt.Fprintf(w, "the change to %s node %s is under way (`failoverd members`)\n", ch.Kind, ch.Node)
	}
	for _, id := range s.Unattested {
		fmt.Fprintf(w, "NO LEASES: this cluster was recovered (generation %d) and node %s may still lead the old quorum: `failoverd attest-node %s --why …`\n", s.Generation, id, id)
	}
}

func showExecution(w io.Writer, e *failover.Execution, progress map[failover.StepID]string) {
	fmt.Fprintf(w, "execution %d: %s from %s to %s, %s, plan %s\n", e.ID, e.Kind, e.From, e.To, e.State, e.PlanHash)
	for _, st := range e.Plan.Steps {
		rec := e.Step(st.ID)
		detail, took := rec.Detail, ""
		if p := progress[st.ID]; p != "" && rec.State == failover.StepRunning {
			detail = p
		}
		if last := rec.Last(); last != nil && !last.FinishedAt.IsZero() {
			took = last.FinishedAt.Sub(rec.Attempts[0].StartedAt).Round(100 * time.Millisecond).String()
		}
		fmt.Fprintf(w, "  %-9s %-26s %7s  %s\n", rec.State, st.ID, took, detail)
		if rec.Slow != "" {
			fmt.Fprintf(w, "            %s\n", rec.Slow)
		}
		for _, a := range rec.Allowed {
			with := ""
			if a.With != "" && a.With != a.By {
				with = " and " + a.With
			}
			fmt.Fprintf(w, "            allowed: %s, by %s%s (%s)\n", a.Text(), a.By, with, a.Why)
		}
		if st.NoReturn {
			fmt.Fprintln(w, "  --------- point of no return")
		}
	}
	for _, ev := range e.Evidence {
		void := ""
		if ev.Void != "" {
			void = "  VOID: " + ev.Void
		}
		fmt.Fprintf(w, "  evidence: %s %s: %s%s\n", ev.Component, ev.Class, ev.Detail, void)
	}
	if q := e.Question; q != nil {
		fmt.Fprintf(w, "WAITS FOR YOU: %s\n", q.Text)
		for _, way := range q.Ways {
			fmt.Fprintf(w, "  %s\n", way)
		}
		if !q.Deadline.IsZero() {
			fmt.Fprintf(w, "  without an answer by %s: %s\n", q.Deadline.Format(time.RFC3339), q.Default)
		}
	}
}

func bar(part, whole time.Duration) string {
	const width = 30
	n := 0
	if whole > 0 {
		n = min(width, int(int64(width)*int64(part)/int64(whole)))
	}
	return "[" + strings.Repeat("#", n) + strings.Repeat(".", width-n) + "]"
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func votesCommand(s *shared) *cobra.Command {
	return reading(s, "votes", "Show the verdicts that the leader holds", func(ctx context.Context, c *admin.Client) (admin.Votes, error) { return c.Votes(ctx) },
		func(w io.Writer, v admin.Votes) {
			fmt.Fprintf(w, "leader %s: %s\n", v.Leader, v.Judgement.Sentence)
			tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
			fmt.Fprintln(tw, "NODE\tVANTAGE\tREGION\tVERDICT\tAGE\tWHY")
			for _, vote := range v.Votes {
				health := vote.Verdict.Health.String()
				if vote.Verdict.Abstain {
					health = "abstains"
				}
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", vote.Node, vote.Vantage, vote.Verdict.Region, health, vote.Age.D().Round(10*time.Millisecond), vote.Verdict.Why)
			}
			_ = tw.Flush() // an error means that the terminal is gone
		})
}

func probesCommand(s *shared) *cobra.Command {
	return reading(s, "probes", "Show this node's own signals and their last results", func(ctx context.Context, c *admin.Client) ([]admin.SignalReport, error) { return c.Probes(ctx) },
		func(w io.Writer, v []admin.SignalReport) {
			tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
			fmt.Fprintln(tw, "REGION\tCOMPONENT\tKIND\tHEALTH\tSINCE\tLATENCY\tLAST RESULT")
			for _, sig := range v {
				latency, last := "", sig.Detail
				if n := len(sig.Recent); n > 0 {
					o := sig.Recent[n-1]
					latency, last = o.Latency.Round(100*time.Microsecond).String(), strings.TrimSpace(o.Outcome.String()+" "+string(o.Reason)+" "+o.Detail)
				}
				fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", sig.Region, sig.Component, sig.Kind, sig.Health, sig.Since.Format("15:04:05"), latency, last)
			}
			_ = tw.Flush() // an error means that the terminal is gone
		})
}

func eventsCommand(s *shared) *cobra.Command {
	var follow, refused, asJSON bool
	var since uint64
	cmd := &cobra.Command{
		Use: "events", Short: "Show the audit trail: what happened, who wanted it and why", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w := cmd.OutOrStdout()
			enc := json.NewEncoder(w)
			show := func(ev failover.Event) {
				if asJSON {
					_ = enc.Encode(ev) // an error means that the reader is gone
					return
				}
				why := ""
				if ev.Why != "" {
					why = " (" + ev.Why + ")"
				}
				fmt.Fprintf(w, "%6d  %s  %-16s %s  [%s%s]\n", ev.Index, ev.At.Format("2006-01-02 15:04:05.000"), ev.Kind, ev.Text, ev.By, why)
			}
			c := admin.NewClient(s.socketPath())
			if refused {
				return failed(c.Refusals(cmd.Context(), since, show))
			}
			return failed(c.Events(cmd.Context(), since, follow, show))
		},
	}
	cmd.Flags().BoolVar(&follow, "follow", false, "go on until interrupted")
	cmd.Flags().BoolVar(&refused, "refused", false, "instead, the newest commands that a guard refused: who tried what, and why not")
	cmd.MarkFlagsMutuallyExclusive("refused", "follow") // what is told are the newest, not a stream
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON lines")
	cmd.Flags().Uint64Var(&since, "since", 0, "only what came after this index")
	return cmd
}

func healthCommand(s *shared) *cobra.Command {
	var url string
	cmd := &cobra.Command{
		Use: "health", Short: "Exit with 0 if the node's process is alive (for container health checks)", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
			defer cancel()
			if url == "" {
				_, err := admin.NewClient(s.socketPath()).Status(ctx)
				return failed(err)
			}
			req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
			if err != nil {
				return failed(err)
			}
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return failed(err)
			}
			_ = resp.Body.Close() // only the status matters
			if resp.StatusCode != http.StatusOK {
				return failed(fmt.Errorf("%s answered %s", url, resp.Status))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&url, "url", "", "ask this URL instead of the admin socket, such as http://127.0.0.1:7780/healthz")
	return cmd
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(cmd *cobra.Command, _ []string) { fmt.Fprintln(cmd.OutOrStdout(), "failoverd", version) },
	}
}
