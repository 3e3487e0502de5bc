package failover_test

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

var update = flag.Bool("update", false, "write what came out into the testdata files")

// TestDecide runs the transcripts of testdata/decide. A transcript is a list of
// blocks: commands, a line "----", and what they must print, up to an empty
// line. Lines that begin with # are comments.
//
//	vote NODE|* REGION down|healthy|degraded|unknown|abstain [KIND…]
//	                  from now on the node says this once a second; * is all; a
//	                  kind may have a plane and a health of its own: alb@control=down
//	silent NODE       the node says nothing any more
//	tick 30s          time passes; whatever is decided on the way is carried
//	                  out, as the leader does, and printed
//	decide            prints how things stand
//	agent-heard       an agent of the active region asks for its lease
//	restart-leader    a new leader begins, with the log and without memory
//	node NAME VANTAGE  adds a node to the cluster
//	mode|ask|cooldown|max-per-day|prepare-after|max-loss VALUE   configures
//	standby ready|unknown|PROBLEM   what the leader sees of the other region
//	sample STORE 5s     a sample of what would be lost
//	request [GUARD…]    a person orders a failover, in spite of the guards
//	pause 1h · resume · approve · abort
//	stable            carries the open execution through to its end
func TestDecide(t *testing.T) {
	files, err := filepath.Glob("testdata/decide/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no transcripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got := newWatch(t).transcript(string(data))
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
				return
			}
			if got != string(data) {
				t.Errorf("%s differs; -update writes what came out\n%s", file, firstDifference(string(data), got))
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		a, b := "", ""
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\n  want %s\n  got  %s", i+1, a, b)
		}
	}
	return ""
}

// watch is a leader that looks once a second.
type watch struct {
	*cluster
	start   time.Time
	mem     failover.Memory
	said    map[failover.NodeID]map[failover.Region]failover.Verdict
	silent  map[failover.NodeID]bool
	votes   []failover.Vote
	heard   time.Time
	began   time.Time
	last    failover.Decision
	standby failover.Standby
	printed strings.Builder
}

func newWatch(t *testing.T) *watch {
	c := current(t)
	w := &watch{
		cluster: c, start: c.now, began: c.now, standby: failover.Standby{Checked: true}, said: map[failover.NodeID]map[failover.Region]failover.Verdict{}, silent: map[failover.NodeID]bool{},
	}
	for id := range settings().Nodes {
		w.said[id] = map[failover.Region]failover.Verdict{}
	}
	return w
}

func (w *watch) transcript(in string) string {
	var out strings.Builder
	expected := false // the lines of the old expectation are passed over
	for _, line := range strings.Split(strings.TrimRight(in, "\n"), "\n") {
		switch {
		case line == "----":
			expected = true
			fmt.Fprintf(&out, "----\n%s", w.printed.String())
			w.printed.Reset()
		case line == "":
			expected = false
			out.WriteString("\n")
		case expected:
		case strings.HasPrefix(line, "#"):
			out.WriteString(line + "\n")
		default:
			out.WriteString(line + "\n")
			w.command(strings.Fields(line))
		}
	}
	if w.printed.Len() > 0 {
		fmt.Fprintf(&out, "----\n%s", w.printed.String())
	}
	return out.String()
}

func (w *watch) print(format string, args ...any) {
	fmt.Fprintf(&w.printed, "%5s  %s\n", w.now.Sub(w.start), fmt.Sprintf(format, args...))
}

func (w *watch) command(f []string) {
	w.t.Helper()
	arg := strings.Join(f[1:], " ")
	switch f[0] {
	case "vote":
		w.vote(f[1], failover.Region(f[2]), f[3], f[4:])
	case "silent":
		w.silent[failover.NodeID(f[1])] = true
	case "tick":
		for left := dur(arg).D(); left > 0; left -= time.Second {
			w.now = w.now.Add(min(left, time.Second))
			w.look()
		}
	case "decide":
		w.show()
	case "agent-heard":
		w.heard = w.now
		g := w.ask("w1", w.s.Active)
		w.print("agent: %s", g.Sentence)
	case "restart-leader":
		w.term++
		w.mem, w.votes, w.heard, w.began = failover.Memory{}, nil, time.Time{}, w.now
		w.must(failover.Lead{Node: "third"})
	case "mode", "ask", "cooldown", "max-per-day", "prepare-after", "max-loss":
		w.configure(f[0], arg)
	case "standby":
		w.standby = failover.Standby{Checked: arg != "unknown"}
		if arg != "ready" && arg != "unknown" {
			w.standby.Problems = []string{arg}
		}
	case "sample":
		w.must(failover.RecordLoss{Samples: map[string]failover.LossSample{f[1]: {Behind: dur(f[2]), Detail: "as sampled"}}})
	case "request":
		w.person(failover.RequestExecution{Kind: failover.Failover, Overrides: f[1:]})
	case "node":
		s := *w.s.Settings
		s.Nodes = maps.Clone(s.Nodes)
		s.Nodes[failover.NodeID(f[1])] = failover.NodeSpec{Vantage: failover.Region(f[2])}
		w.must(failover.Configure{Settings: s, Hash: f[1]})
		w.said[failover.NodeID(f[1])] = map[failover.Region]failover.Verdict{}
	case "pause":
		w.person(failover.PauseAutomation{For: dur(arg)})
	case "resume":
		w.person(failover.ResumeAutomation{})
	case "approve":
		w.open()
		w.person(failover.Approve{Execution: w.s.Execution.ID})
	case "abort":
		w.open()
		w.person(failover.Abort{Execution: w.s.Execution.ID, Undo: true})
		w.must(failover.FinishExecution{Execution: w.s.Execution.ID, State: failover.ExecUndone, Outcome: "undone"})
		w.print("execution undone")
	case "stable":
		w.carryThrough()
	default:
		w.t.Fatalf("unknown command %q", f)
	}
}

// open ends the test when no execution is open.
func (w *watch) open() {
	w.t.Helper()
	if w.s.Execution == nil {
		w.t.Fatalf("no execution is open; so far:\n%s", w.printed.String())
	}
}

func (w *watch) person(c failover.Command) {
	if res := w.apply(c, "uid 1 (ann)"); res.Err != nil {
		w.print("%s refused: %v", c.Name(), res.Err)
	}
}

func (w *watch) configure(what, value string) {
	s := *w.s.Settings
	switch what {
	case "mode":
		s.Policy.Mode = failover.Mode(value)
	case "ask":
		s.Policy.Ask.Then = value
	case "cooldown":
		s.Policy.Cooldown = dur(value)
	case "prepare-after":
		s.Policy.PrepareAfter = dur(value)
		s.Components = slices.Clone(s.Components)
		start := *s.Components[0].Start
		start.Prepare = true
		s.Components[0].Start = &start
	case "max-loss":
		s.Policy.MaxLoss = map[string]failover.Duration{"mongo": dur(value)}
	case "max-per-day":
		_, err := fmt.Sscan(value, &s.Policy.MaxPerDay)
		if err != nil {
			w.t.Fatal(err)
		}
	}
	w.must(failover.Configure{Settings: s, Hash: what + value})
}

func (w *watch) vote(node string, r failover.Region, health string, kinds []string) {
	ids := []failover.NodeID{failover.NodeID(node)}
	if node == "*" {
		ids = slices.Sorted(maps.Keys(w.said))
	}
	if len(kinds) == 0 {
		kinds = []string{"http", "sqs"}
	}
	v := failover.Verdict{Region: r, Why: "says " + health, Abstain: health == "abstain"}
	if !v.Abstain {
		if err := v.Health.UnmarshalText([]byte(health)); err != nil {
			w.t.Fatal(err)
		}
	}
	for _, k := range kinds {
		sig := failover.SignalState{Component: "api", Region: r, Health: v.Health}
		kind, own, differs := strings.Cut(k, "=")
		sig.Kind, sig.Plane, _ = strings.Cut(kind, "@")
		if differs {
			if err := sig.Health.UnmarshalText([]byte(own)); err != nil {
				w.t.Fatal(err)
			}
		}
		v.Signals = append(v.Signals, sig)
	}
	for _, id := range ids {
		if w.said[id] == nil {
			w.t.Fatalf("no node %s", id)
		}
		w.said[id][r] = v
		delete(w.silent, id)
	}
}

// look is one turn of the leader's loop.
func (w *watch) look() {
	var votes []failover.Vote
	for _, v := range w.votes {
		if w.silent[v.Node] {
			votes = append(votes, v)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(w.said)) {
		for _, r := range slices.Sorted(maps.Keys(w.said[id])) {
			if !w.silent[id] {
				votes = append(votes, failover.Vote{Node: id, Vantage: w.s.Settings.Nodes[id].Vantage, Verdict: w.said[id][r], Received: w.now})
			}
		}
	}
	w.votes = votes
	w.last, w.mem = failover.Decide(failover.Input{State: w.s, Votes: votes, Now: w.now, AgentHeard: w.heard, TermStart: w.began, Standby: w.standby, Preparable: w.preparable()}, w.mem)
	w.carryOut(w.last)
}

func (w *watch) carryOut(d failover.Decision) {
	if d.Note != nil {
		w.must(*d.Note)
		w.print("note %q: %s", d.Note.Condition, d.Note.Sentence)
	}
	switch {
	case d.Prepare:
		p := plan.Preparation(w.plan())
		w.must(failover.StartPreparation{Epoch: w.s.Epoch, Plan: p})
		w.print("preparation started: %d steps", len(p.Steps))
	case d.Unprepare != nil:
		w.must(*d.Unprepare)
		w.print("preparation taken back: %s", d.Unprepare.Reason)
		w.must(failover.FinishExecution{Execution: w.s.Preparation.ID, State: failover.ExecUndone, Outcome: "undone"})
	case d.Suspend != nil:
		w.must(*d.Suspend)
		w.print("execution suspended: %s", d.Suspend.Condition)
	case d.RefuseRequest != nil:
		w.must(*d.RefuseRequest)
		w.print("request refused by %s: %s", d.RefuseRequest.Guard, d.RefuseRequest.Reason)
	case d.StartRequested:
		w.must(failover.StartExecution{Kind: failover.Failover, Request: w.s.Request.ID, Epoch: w.s.Epoch, Plan: *w.plan()})
		w.print("requested execution started: %s", w.s.Execution.State)
	case d.Withdraw:
		if w.s.Execution.State != failover.ExecAwaiting {
			w.must(failover.Abort{Execution: w.s.Execution.ID, Undo: true})
		}
		w.must(failover.FinishExecution{Execution: w.s.Execution.ID, State: failover.ExecUndone, Outcome: "withdrawn"})
		w.print("execution withdrawn")
	case d.Lift != nil:
		w.must(*d.Lift)
		w.print("lift: %s", d.Lift.Reason)
	case d.Freeze != nil:
		w.must(*d.Freeze)
		w.print("provisional freeze, %s before the hold ends", d.Hold-d.HoldElapsed)
	case d.Open != nil:
		w.must(*d.Open)
		ages := make([]string, len(d.Open.Votes))
		for i, v := range d.Open.Votes {
			ages[i] = fmt.Sprintf("%s %s %s", v.Node, v.Verdict.Health, v.Age)
		}
		w.print("incident opened, held for %s, votes: %s", d.Open.Held, strings.Join(ages, ", "))
	case d.Close != nil:
		w.must(*d.Close)
		w.print("incident closed: %s", d.Close.Reason)
	case d.Refuse != nil:
		w.must(*d.Refuse)
		w.print("refused by %s: %s", d.Refuse.Guard, d.Refuse.Reason)
	case d.Start:
		w.must(failover.StartExecution{
			Kind: failover.Failover, Incident: w.s.Incident.ID, Epoch: w.s.Epoch, Plan: *w.plan(),
			Approval: w.s.Settings.Policy.Mode == failover.ModeSupervised,
		})
		w.print("execution started: %s", w.s.Execution.State)
	}
}

func (w *watch) plan() *failover.Plan {
	p, err := plan.Derive(w.s.Settings, w.s.Active)
	if err != nil {
		w.t.Fatal(err)
	}
	return &p
}

func (w *watch) preparable() bool {
	p := plan.Preparation(w.plan())
	return len(p.Steps) > 0
}

func (w *watch) show() {
	j := w.last.Judgement
	condition := string(j.Condition)
	if condition == "" {
		condition = "all well"
	}
	w.print("%s: %s", condition, j.Sentence)
	w.print("hold %s of %s, voices %v, dissent %v", w.last.HoldElapsed, w.last.Hold, j.Voices, j.Dissent)
	if f := w.s.Freeze; f != nil {
		w.print("frozen: %s, provisional %t", f.Region, f.Provisional)
	}
	if i := w.s.Incident; i != nil {
		w.print("incident open since %s, refusal %q", i.At.Sub(w.start), i.Refusal)
	}
	if p := w.s.Preparation; p != nil {
		w.print("preparation %s", p.State)
	}
	if e := w.s.Execution; e != nil {
		w.print("execution %s, question open: %t", e.State, e.Question != nil)
	}
}

// carryThrough ends the open execution as the executor would on a good day.
func (w *watch) carryThrough() {
	w.open()
	e := w.s.Execution
	freeze := w.frozen(e.ID)
	for _, st := range e.Plan.Steps[1:] {
		tok := w.cluster.start(st.ID)
		if st.Kind == failover.KindFence {
			w.must(failover.RecordEvidence{Execution: e.ID, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
			w.must(failover.AdvanceEpoch{Execution: e.ID, Epoch: 2, Region: e.To, Freeze: freeze})
		}
		if st.Kind == failover.KindSwitch {
			w.must(failover.SetTraffic{Execution: e.ID, Region: e.To})
		}
		w.finish(st.ID, tok, failover.StepDone)
	}
	w.must(failover.FinishExecution{Execution: e.ID, State: failover.ExecStable, Outcome: "done"})
	w.print("execution stable, %s active", w.s.Active)
}
