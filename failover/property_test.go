package failover_test

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// entry is one entry of a random log.
type entry struct {
	meta failover.Meta
	cmd  failover.Command
}

// TestProperties applies random logs, most of whose entries fit the state that
// they meet, and holds what must be true of every log.
func TestProperties(t *testing.T) {
	advanced, refused, accepted := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		s := failover.NewState()
		var log []entry
		var twins []*failover.State     // must go on exactly as s does
		var kept []*failover.State      // clones that nothing may change
		var keptAs []string             // what they looked like
		var snapshots []*failover.State // restored from bytes
		meta := failover.Meta{Term: 1, At: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
		for range rapid.IntRange(10, 200).Draw(t, "entries") {
			e := entry{meta: nextMeta(t, &meta), cmd: draw(t, s)}
			log = append(log, e)
			before := s.Clone()
			was := bytesOf(t, before)
			res := s.Apply(e.meta, e.cmd)
			if bytesOf(t, before) != was {
				t.Fatalf("%s on a state changed its clone", e.cmd.Name())
			}
			if res.Err != nil {
				refused++
				unchanged(t, before, s, e.cmd)
			} else {
				accepted++
			}
			if s.Epoch != before.Epoch && before.Settings != nil {
				advanced++
				evidenced(t, before, e.cmd)
			}
			onlyGrows(t, before, s)
			deposed(t, before, s, e)
			ordered(t, before, s)
			grants(t, s, e.cmd, res)
			for _, twin := range append(twins, snapshots...) {
				twin.Apply(e.meta, e.cmd)
			}
			switch rapid.IntRange(0, 9).Draw(t, "copy") {
			case 0:
				// It goes another way, and no later entry of s may be seen in it.
				fork := s.Clone()
				fork.Apply(failover.Meta{Index: e.meta.Index + 1, Term: 99, ProposedTerm: 99}, failover.Lead{Node: "elsewhere"})
				kept, keptAs = append(kept, fork), append(keptAs, bytesOf(t, fork))
			case 1:
				twins = append(twins, s.Clone())
			case 2:
				snapshots = append(snapshots, restored(t, s))
			}
		}
		// S7: the same log gives the same bytes, from the beginning, from a clone
		// and from a snapshot.
		again := failover.NewState()
		for _, e := range log {
			again.Apply(e.meta, e.cmd)
		}
		want := bytesOf(t, s)
		for _, other := range append(append(twins, snapshots...), again) {
			if got := bytesOf(t, other); got != want {
				t.Fatalf("the same log gave another state\n%s\n%s", want, got)
			}
		}
		for i, k := range kept {
			if bytesOf(t, k) != keptAs[i] {
				t.Fatal("a clone changed with its original")
			}
		}
	})
	t.Logf("%d commands accepted, %d refused, %d epochs advanced", accepted, refused, advanced)
	if advanced == 0 || refused == 0 {
		t.Error("the random logs show too little")
	}
}

func bytesOf(t *rapid.T, s *failover.State) string {
	b, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func restored(t *rapid.T, s *failover.State) *failover.State {
	out := failover.NewState()
	if err := json.Unmarshal([]byte(bytesOf(t, s)), out); err != nil {
		t.Fatal(err)
	}
	return out
}

// unchanged: a refusal changes nothing but index, term and time, and is noted.
func unchanged(t *rapid.T, before, after *failover.State, c failover.Command) {
	was := before.Clone()
	was.Index, was.Term, was.Time = after.Index, after.Term, after.Time
	if n := len(after.Refusals); n > 0 && after.Refusals[n-1].Index == after.Index {
		was.Refusals = after.Refusals
	}
	if bytesOf(t, was) != bytesOf(t, after) {
		t.Fatalf("%s was refused but changed the state", c.Name())
	}
}

// evidenced: the epoch advances only over accepted evidence for every fenced
// component, of this freeze and this epoch, that nobody took back (S1).
func evidenced(t *rapid.T, before *failover.State, c failover.Command) {
	if _, ok := c.(failover.AdvanceEpoch); !ok {
		t.Fatalf("%s changed the epoch", c.Name())
	}
	e := before.Execution
	for _, f := range e.Plan.Fenced {
		if !slices.ContainsFunc(e.Evidence, func(ev failover.Evidence) bool {
			return ev.Component == f.Component && ev.Void == "" && ev.Freeze == before.Freeze.ID && ev.Epoch == before.Epoch &&
				(ev.Class == failover.Attested || slices.Contains(f.Proof, ev.Class))
		}) {
			t.Fatalf("the epoch advanced without evidence for %s", f.Component)
		}
	}
	if before.Freeze.Provisional || e.State != failover.ExecRunning {
		t.Fatalf("the epoch advanced with a provisional freeze (%t) in state %s", before.Freeze.Provisional, e.State)
	}
}

// onlyGrows: no event is ever lost or changed (S9); time and epoch never fall;
// history is only added to.
func onlyGrows(t *rapid.T, before, after *failover.State) {
	if len(after.Events) < len(before.Events) || !slices.Equal(before.Events, after.Events[:len(before.Events)]) {
		t.Fatal("an event was lost or changed")
	}
	if after.Time.Before(before.Time) || after.Epoch < before.Epoch || len(after.History) < len(before.History) {
		t.Fatal("time, epoch or history fell back")
	}
	if before.Execution != nil && after.Execution != nil && before.Execution.ID != after.Execution.ID {
		t.Fatal("an execution began before the one that was open had ended (S5)")
	}
}

// deposed: what was proposed in another term than it lands in comes from somebody
// who leads no more. Nothing begins with it: no incident, no execution, no effect,
// no freeze; and it proves nothing and moves nothing (E1). People's commands may
// come from anywhere.
func deposed(t *rapid.T, before, after *failover.State, e entry) {
	if e.meta.ProposedTerm == e.meta.Term {
		return
	}
	begun := func(s *failover.State) (incidents, executions, attempts, proofs int) {
		if s.Incident != nil {
			incidents = 1
		}
		for _, e := range []*failover.Execution{s.Execution, s.Preparation} {
			if e == nil {
				continue
			}
			executions++
			for _, r := range e.Steps {
				attempts += len(r.Attempts)
			}
			for _, ev := range e.Evidence {
				if ev.Class != failover.Attested {
					proofs++
				}
			}
		}
		return incidents, executions, attempts, proofs
	}
	i, x, a, p := begun(before)
	i2, x2, a2, p2 := begun(after)
	froze := after.Freeze != nil && (before.Freeze == nil || *after.Freeze != *before.Freeze)
	if i2 > i || x2 > x || a2 > a || p2 > p || froze || after.Epoch != before.Epoch || after.Active != before.Active || after.Traffic != before.Traffic {
		t.Fatalf("%s of term %d, landed in term %d, counted", e.cmd.Name(), e.meta.ProposedTerm, e.meta.Term)
	}
}

// ordered: a step begins after those that it comes after, once, and in the new
// region only when that one is active (S1, S3, S4); clients are sent where the
// service is active; and nobody passes the fence over.
func ordered(t *rapid.T, before, after *failover.State) {
	if after.Traffic != before.Traffic && after.Traffic != after.Active {
		t.Fatalf("clients are sent to %s, and %s is active", after.Traffic, after.Active)
	}
	was, is := before.Execution, after.Execution
	if was == nil || is == nil || was.ID != is.ID {
		return
	}
	for _, st := range is.Plan.Steps {
		rec, old := is.Step(st.ID), was.Step(st.ID)
		if (st.Kind == failover.KindFence || st.Kind == failover.KindFreeze) && rec.State == failover.StepSkipped {
			t.Fatalf("%s was skipped", st.ID)
		}
		last := rec.Last()
		if len(rec.Attempts) == len(old.Attempts) || last.Undo || last.Burn {
			continue
		}
		if old.State == failover.StepDone {
			t.Fatalf("%s was done, and began again", st.ID)
		}
		for _, dep := range st.After {
			if !was.Step(dep).Passed() {
				t.Fatalf("%s began before %s had passed", st.ID, dep)
			}
		}
		if (st.Kind == failover.KindStart || st.Kind == failover.KindSwitch) && before.Active != is.To {
			t.Fatalf("%s began in %s while %s was active", st.ID, is.To, before.Active)
		}
	}
}

// grants: only the active region gets leases, never during a firm freeze.
func grants(t *rapid.T, s *failover.State, c failover.Command, res failover.Result) {
	round, ok := c.(failover.Round)
	if !ok || res.Value == nil {
		return
	}
	for i, g := range res.Value.([]failover.Grant) {
		if g.Granted && (round.Requests[i].Region != s.Active || s.Freeze != nil) {
			t.Fatalf("a lease was granted to %s: %s is active, freeze %v", round.Requests[i].Agent, s.Active, s.Freeze)
		}
		if g.Granted && s.Agents[round.Requests[i].Agent].MaxLease < max(round.Requests[i].Lease, s.Settings.Policy.Lease.Length) {
			t.Fatal("a grant is longer than what the log remembers of it (G4)")
		}
	}
}

func nextMeta(t *rapid.T, m *failover.Meta) failover.Meta {
	m.Index += uint64(rapid.IntRange(1, 2).Draw(t, "index"))
	if rapid.IntRange(0, 19).Draw(t, "term") == 0 {
		m.Term++
	}
	m.At = m.At.Add(time.Duration(rapid.IntRange(-2000, 60_000).Draw(t, "ms")) * time.Millisecond)
	out := *m
	out.ProposedTerm = m.Term
	if rapid.IntRange(0, 29).Draw(t, "deposed") == 0 {
		out.ProposedTerm--
	}
	out.Node, out.By, out.Why = "use2a", rapid.SampledFrom([]string{"uid 1", "uid 2", ""}).Draw(t, "by"), "because"
	out.ID = rapid.SampledFrom([]string{"", "", "a", "b"}).Draw(t, "id")
	return out
}

// draw makes a command that has a fair chance to be accepted.
func draw(t *rapid.T, s *failover.State) failover.Command {
	if s.Settings == nil {
		return failover.Configure{Settings: preparing(settings()), Hash: "h"}
	}
	exec, freeze, nonce := uint64(1), uint64(1), uint64(0)
	if e := s.Execution; e != nil {
		exec = e.ID
		if e.Question != nil {
			nonce = e.Question.Nonce
		}
	}
	if s.Freeze != nil {
		freeze = s.Freeze.ID
	}
	off := uint64(max(0, rapid.IntRange(-20, 1).Draw(t, "off"))) // mostly right
	exec += off
	step, token := drawStep(t, s)
	agent := rapid.SampledFrom([]failover.AgentID{"w1", "w2", "w3"}).Draw(t, "agent")
	region := rapid.SampledFrom([]failover.Region{s.Active, s.Active, east1, east2}).Draw(t, "region")
	var forward []failover.Command
	if s.Execution == nil {
		forward = beginnings(t, s)
	} else {
		forward = progress(t, s, exec, freeze, step, token)
	}
	rest := []failover.Command{
		failover.Lead{Node: "third"},
		failover.Round{Requests: []failover.LeaseRequest{{
			Agent: agent, Region: region, Component: rapid.SampledFrom([]failover.Component{"workers", "workers", "api"}).Draw(t, "component"),
			Lease: dur(rapid.SampledFrom([]string{"75s", "10s", "100s"}).Draw(t, "lease")), Enforced: rapid.Bool().Draw(t, "enforced"), Running: rapid.Bool().Draw(t, "running"),
		}}},
		failover.Round{},
		failover.AgentStopped{Agent: agent, Freeze: freeze, Epoch: s.Epoch},
		failover.AgentLeft{Agent: agent},
		failover.FreezeLease{Region: s.Active, Epoch: s.Epoch + off, Provisional: true},
		failover.LiftFreeze{Freeze: freeze, Reason: "lifted"},
		failover.NoteSuspicion{Region: s.Active, Condition: rapid.SampledFrom([]failover.Condition{"", failover.RegionDown, failover.Brownout}).Draw(t, "condition")},
		failover.RegisterNode{Node: "third", Record: failover.NodeRecord{Disk: "d", Starts: uint64(rapid.IntRange(0, 3).Draw(t, "starts"))}},
		failover.Hold{Execution: exec}, failover.Continue{Execution: exec},
		failover.Approve{Execution: exec, Nonce: nonce}, failover.AskExpired{Execution: exec, Nonce: nonce},
		failover.Ask{Execution: exec, Kind: "evidence", Step: step, Text: "?"},
		failover.VoidEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Reason: "seen running"},
		failover.Retry{Execution: exec, Step: step}, failover.Retry{Execution: exec, Step: step, Allow: []string{"small"}}, failover.Skip{Execution: exec, Step: step},
		failover.PauseAutomation{For: dur("1m")}, failover.ResumeAutomation{},
		failover.SaveMessage{Key: "k", Ref: failover.MessageRef{TS: string(agent)}},
		failover.Configure{Settings: preparing(settings()), Hash: "h2"}, failover.DeclareStable{Execution: exec},
		failover.Abort{Execution: exec, Undo: rapid.Bool().Draw(t, "undo")},
		failover.RehearseFence{Component: "workers"}, failover.AcceptInventory{Component: "workers"},
		failover.RecordInventory{Counts: map[failover.StepID]int{step: 3}},
		failover.RecordReadings{Readings: map[failover.StepID]failover.Reading{step: {Of: "a", Previous: []byte(`{"x":1}`)}}},
		failover.BeginDrill{Step: step}, failover.RecordDrill{Step: step, Of: "a", Took: dur("3s")},
		failover.RecordAtRisk{Epoch: s.Epoch + off, Counted: map[failover.Component]failover.AtRisk{"workers": {Items: 3, Unit: "messages"}}},
		failover.RecordLoss{Samples: map[string]failover.LossSample{"mongo": {Behind: dur("3s")}}},
		failover.ReleaseHold{Component: "workers"}, failover.RefuseRequest{Request: exec, Guard: "g", Reason: "r"},
		failover.Suspend{Execution: exec, Condition: failover.FollowedUs, Sentence: "down"},
		failover.NoteStuck{Execution: exec, Step: step, Token: token, Text: "stuck?"},
	}
	if e := s.Execution; e != nil { // one more
		again := failover.StartExecution{Kind: failover.Failover, Epoch: s.Epoch, Plan: *e.Plan}
		if s.Request != nil {
			again.Request = s.Request.ID
		}
		rest = append(rest, again)
	}
	rest = append(rest, prepared(t, s)...)
	rest = append(rest, holding(t, s)...)
	rest = append(rest, roster(t, s)...)
	if rapid.IntRange(0, 3).Draw(t, "forward") > 0 {
		return rapid.SampledFrom(forward).Draw(t, "command")
	}
	return rapid.SampledFrom(rest).Draw(t, "command")
}

// preparing are settings with a step that may begin before the fence.
func preparing(s failover.Settings) failover.Settings {
	s.Policy.PrepareAfter = dur("30s")
	for i := range s.Components {
		start := *s.Components[i].Start
		start.Prepare = true
		s.Components[i].Start = &start
	}
	return s
}

// prepared are commands of a preparation, open or to be begun.
func prepared(t *rapid.T, s *failover.State) []failover.Command {
	p := s.Preparation
	if p == nil {
		full, err := plan.Derive(s.Settings, s.Active)
		if err != nil {
			t.Fatal(err)
		}
		return []failover.Command{
			failover.NoteSuspicion{Region: s.Active, Condition: failover.RegionDown},
			failover.StartPreparation{Epoch: s.Epoch, Plan: plan.Preparation(&full)},
		}
	}
	st := p.Plan.Steps[rapid.IntRange(0, len(p.Plan.Steps)-1).Draw(t, "prepared")]
	outcome, token := failover.StepDone, uint64(0)
	if r := p.Step(st.ID); r.Last() != nil {
		token = r.Last().Token
		if r.State == failover.StepUndoing {
			outcome = failover.StepUndone
		}
	}
	return []failover.Command{
		failover.EndPreparation{Preparation: p.ID, Reason: "passed"}, failover.Abort{Execution: p.ID},
		failover.StepStarted{Execution: p.ID, Step: st.ID, Epoch: s.Epoch, PlanHash: p.PlanHash, Undo: p.Undo, Previous: json.RawMessage(`{"n":3}`)},
		failover.StepFinished{Execution: p.ID, Step: st.ID, Token: token, Outcome: outcome, Detail: "seen"},
		failover.FinishExecution{Execution: p.ID, State: failover.ExecUndone, Outcome: "ended"},
	}
}

// holding are commands of standing holds.
func holding(t *rapid.T, s *failover.State) []failover.Command {
	if len(s.Holds) == 0 {
		return nil
	}
	h := s.Holds[0]
	token := uint64(0)
	if h.Running != nil {
		token = h.Running.Token
	}
	return []failover.Command{
		failover.NoteHold{Hold: h.ID, Status: rapid.SampledFrom([]failover.HoldStatus{failover.HoldKept, failover.HoldViolated}).Draw(t, "status"), Detail: "seen"},
		failover.ReapplyStarted{Hold: h.ID, Epoch: s.Epoch, Previous: json.RawMessage(`{}`)},
		failover.ReapplyFinished{Hold: h.ID, Token: token, Outcome: failover.StepDone, Detail: "seen"},
	}
}

// roster are the commands about members and configurations.
func roster(t *rapid.T, s *failover.State) []failover.Command {
	if s.Level() < 2 {
		id := rapid.SampledFrom(slices.Sorted(maps.Keys(s.Settings.Nodes))).Draw(t, "upgraded")
		rec := s.Nodes[id]
		rec.Features, rec.Starts, rec.Disk = 2, rec.Starts+1, "d"
		return []failover.Command{failover.RegisterNode{Node: id, Record: rec}, failover.RaiseFeatures{Level: 2}}
	}
	change, proposal := uint64(1), uint64(1)
	if s.Change != nil {
		change = s.Change.ID
	}
	if s.Proposal != nil {
		proposal = s.Proposal.ID
	}
	next := settings()
	next.Nodes = s.Settings.Nodes
	next.Policy.Cooldown = dur(rapid.SampledFrom([]string{"1h", "2h"}).Draw(t, "cooldown"))
	node := rapid.SampledFrom([]failover.NodeID{"use2a", "third", "new"}).Draw(t, "member")
	return []failover.Command{
		failover.RaiseFeatures{Level: 2},
		failover.AddMember{Node: node, Spec: failover.NodeSpec{Vantage: third, Address: "z:1"}}, failover.RemoveMember{Node: node},
		failover.FinishMember{Change: change, Done: rapid.Bool().Draw(t, "done"), Reason: "given up"},
		failover.RegisterNode{Node: node, Record: failover.NodeRecord{Disk: "d", Starts: 9, Features: 2}},
		failover.ProposeSettings{Settings: next, Hash: "h-" + next.Policy.Cooldown.String(), Source: "text"},
		failover.AckSettings{Proposal: proposal, Hash: "h-" + next.Policy.Cooldown.String()},
		failover.WithdrawSettings{Proposal: proposal}, failover.ActivateSettings{Proposal: proposal},
		failover.KeepSource{Hash: s.SettingsHash, Source: "text"}, failover.AttestNode{Node: node},
	}
}

func beginnings(t *rapid.T, s *failover.State) []failover.Command {
	p, err := plan.Derive(s.Settings, s.Active)
	if err != nil {
		t.Fatal(err)
	}
	start := failover.StartExecution{Kind: failover.Failover, Epoch: s.Epoch, Plan: p, Approval: rapid.IntRange(0, 4).Draw(t, "approval") == 0}
	switch {
	case s.Incident != nil:
		start.Incident = s.Incident.ID
	case s.Request != nil:
		start.Request = s.Request.ID
	default:
		return []failover.Command{
			failover.OpenIncident{Region: s.Active, Votes: downVotes(), Held: dur("90s")}, failover.RequestExecution{Kind: failover.Failover},
		}
	}
	out := []failover.Command{start, start, failover.RequestExecution{Kind: failover.Failover}}
	if s.Incident == nil {
		out = append(out, failover.OpenIncident{Region: s.Active, Votes: downVotes(), Held: dur("90s")})
	}
	if i := s.Incident; i != nil {
		out = append(out, failover.RefuseIncident{Incident: i.ID, Guard: "g", Reason: "r"}, failover.CloseIncident{Incident: i.ID, Reason: "well"})
	}
	return out
}

func progress(t *rapid.T, s *failover.State, exec, freeze uint64, step failover.StepID, token uint64) []failover.Command {
	e := s.Execution
	outcome := failover.StepDone
	if rapid.IntRange(0, 5).Draw(t, "outcome") == 0 {
		outcome = rapid.SampledFrom([]failover.StepState{failover.StepFailed, failover.StepUnclear, failover.StepUndone, failover.StepUnproven}).Draw(t, "outcome")
	}
	if r := e.Step(step); r.State == failover.StepUndoing {
		outcome = failover.StepUndone
	}
	return []failover.Command{
		failover.StepStarted{Execution: exec, Step: step, Epoch: s.Epoch, PlanHash: e.PlanHash, Undo: e.State == failover.ExecAborting},
		failover.StepFinished{Execution: exec, Step: step, Token: token, Outcome: outcome, Detail: "seen"},
		failover.FreezeLease{Region: e.From, Epoch: s.Epoch, Execution: exec},
		failover.RecordEvidence{
			Execution: exec, Component: "workers", Epoch: s.Epoch, Freeze: freeze, Detail: "seen", Waited: dur("3m"),
			Class: rapid.SampledFrom([]failover.EvidenceClass{failover.Confirmed, failover.Lease, failover.Resource}).Draw(t, "class"),
		},
		failover.Attest{Execution: exec, Component: "workers", Epoch: s.Epoch},
		failover.AdvanceEpoch{Execution: exec, Epoch: s.Epoch + 1, Region: e.To, Freeze: freeze},
		failover.SetTraffic{Execution: exec, Region: e.To},
		failover.FinishExecution{Execution: exec, State: rapid.SampledFrom([]failover.ExecState{failover.ExecStable, failover.ExecAborted, failover.ExecUndone}).Draw(t, "end"), Outcome: "ended"},
	}
}

// drawStep prefers a step that runs, then the first one that has not passed.
func drawStep(t *rapid.T, s *failover.State) (failover.StepID, uint64) {
	e := s.Execution
	if e == nil {
		return plan.FreezeID, 0
	}
	var open []failover.StepID
	for _, st := range e.Plan.Steps {
		if r := e.Step(st.ID); !r.Passed() {
			open = append(open, st.ID)
		}
	}
	open = append(open[:min(3, len(open))], slices.Sorted(maps.Keys(e.Steps))...)
	if len(open) == 0 {
		return plan.FreezeID, 0
	}
	id := rapid.SampledFrom(open).Draw(t, "step")
	if last := e.Step(id).Last(); last != nil {
		return id, last.Token
	}
	return id, 0
}
