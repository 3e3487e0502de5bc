package failover_test

import (
	"encoding/json"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

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
	latest := newest(t, s, exec, step, token)
	rest = append(rest, latest...)
	if len(s.Late) > 0 {
		forward = append(forward, latest...)
	}
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
	weights := s.Traffic.Switch[0]
	weights.Tokens, weights.Latched = true, true
	object := weights
	object.Kind = "s3_object"
	s.Traffic.Switch = []failover.ActionSpec{object, weights}
	return s
}

// upgraded are the commands by which every member comes to understand a feature
// level, and by which it is put in force.
func upgraded(s *failover.State, level int) (out []failover.Command) {
	for _, id := range slices.Sorted(maps.Keys(s.Settings.Nodes)) {
		rec := s.Nodes[id]
		rec.Features, rec.Starts, rec.Disk = level, rec.Starts+1, "d"
		out = append(out, failover.RegisterNode{Node: id, Record: rec})
	}
	return append(out, failover.RaiseFeatures{Level: level})
}

// newest are the commands and fields of the newest feature level.
func newest(t *rapid.T, s *failover.State, exec uint64, step failover.StepID, token uint64) []failover.Command {
	if s.Level() < failover.Features {
		return nil
	}
	stands := token + uint64(rapid.IntRange(-1, 1).Draw(t, "stands"))
	out := []failover.Command{
		failover.StepFinished{Execution: exec, Step: step, Token: token, Outcome: failover.StepUnclear, Stands: stands, Detail: "read"},
		failover.Round{Silent: []failover.Silence{{Agent: "w1", For: dur("20s")}}},
		failover.ReleaseHold{Component: failover.LateWrite}, failover.ReleaseHold{Component: "workers", Ended: true},
	}
	if n := len(s.History); n > 0 {
		out = append(out, failover.Continue{Execution: s.History[n-1].ID, Ended: true})
	}
	if e := s.Execution; e != nil {
		out = append(out, failover.StepStarted{Execution: exec, Step: step, Epoch: s.Epoch, PlanHash: e.PlanHash, Undo: e.State == failover.ExecAborting, Already: true, Until: s.Time.Add(dur("9s").D())})
	}
	for _, late := range s.Late {
		out = append(out,
			failover.BurnToken{ID: late.ID, Epoch: s.Epoch, Until: s.Time.Add(dur("9s").D())},
			failover.SettleToken{ID: late.ID, Stands: late.Token + uint64(rapid.IntRange(-1, 1).Draw(t, "late"))})
	}
	return out
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
	if level := s.Level() + 1; level <= failover.Features && (level == 2 || rapid.IntRange(0, 3).Draw(t, "upgrade") == 0) {
		id := rapid.SampledFrom(slices.Sorted(maps.Keys(s.Settings.Nodes))).Draw(t, "upgraded")
		rec := s.Nodes[id]
		rec.Features, rec.Starts, rec.Disk = level, rec.Starts+1, "d"
		return []failover.Command{failover.RegisterNode{Node: id, Record: rec}, failover.RaiseFeatures{Level: level}}
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
		failover.RaiseFeatures{Level: failover.Features},
		failover.AddMember{Node: node, Spec: failover.NodeSpec{Vantage: third, Address: "z:1"}}, failover.RemoveMember{Node: node},
		failover.FinishMember{Change: change, Done: rapid.Bool().Draw(t, "done"), Reason: "given up"},
		failover.RegisterNode{Node: node, Record: failover.NodeRecord{Disk: "d", Starts: 9, Features: failover.Features}},
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
	until := s.Time.Add(dur("9s").D())
	return []failover.Command{
		failover.StepStarted{Execution: exec, Step: step, Epoch: s.Epoch, PlanHash: e.PlanHash, Undo: e.State == failover.ExecAborting, Until: until},
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
