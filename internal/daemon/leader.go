package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/config"
)

// leadership is a node's work as leader in one term. It starts with nothing but
// the log: votes, the hold and the freeze's clock begin anew.
type leadership struct {
	core    *Core
	tenure  *consensus.Tenure
	granter *consensus.Granter
	exec    *actions.Executor
	keeper  *actions.Keeper
	started time.Time
	wake    chan struct{}

	mu       sync.Mutex
	ballots  map[failover.NodeID]ballot
	newest   map[failover.AgentID]heardAsk
	memory   failover.Memory
	decision failover.Decision
	survey   survey
	lacks    uncounted

	nextTransfer time.Time
	nextStart    time.Time // before it, an execution that the log has refused is not proposed again
	nextLoss     time.Time
	nextRisk     time.Time
}

type ballot struct {
	failover.Ballot
	received time.Time
}

// serve is the leader's life in one term. It returns when ctx ends.
func (c *Core) serve(ctx context.Context, t *consensus.Tenure) {
	l := &leadership{
		core: c, tenure: t, granter: consensus.NewGranter(),
		exec:    actions.NewExecutor(t, c.cfg.World, c.cfg.Exec, c.cfg.Log.With("term", t.Term)),
		keeper:  actions.NewKeeper(t, c.cfg.World, c.cfg.Exec, c.cfg.Exec.HoldEvery(), c.cfg.Log.With("term", t.Term)),
		started: time.Now(), wake: make(chan struct{}, 1), ballots: map[failover.NodeID]ballot{}, newest: map[failover.AgentID]heardAsk{},
	}
	c.lead.Store(l)
	defer c.lead.Store(nil)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { l.granter.Run(ctx, t) })
	wg.Go(func() {
		if l.able(ctx) {
			l.exec.Run(ctx)
		}
	})
	wg.Go(func() { l.keeper.Run(ctx) })
	wg.Go(func() { l.surveys(ctx, t) })
	wg.Go(func() { l.counts(ctx, t, l.noteCounts) })
	wg.Go(func() { l.members(ctx) })
	l.run(ctx)
}

// run looks, decides and acts until ctx ends. It is level-triggered: whatever
// woke it, it recomputes everything.
func (l *leadership) run(ctx context.Context) {
	for {
		changed := l.tenure.Changed()
		l.step(ctx)
		t := time.NewTimer(l.core.ballotEvery() / 2)
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-changed:
		case <-l.wake:
		case <-t.C:
		}
		t.Stop()
	}
}

// take stores a ballot unless it is older than one that is known.
func (l *leadership) take(b failover.Ballot) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if old, ok := l.ballots[b.Node]; ok && old.Boot == b.Boot && b.Seq <= old.Seq {
		return
	}
	l.ballots[b.Node] = ballot{Ballot: b, received: time.Now()}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// votes are all ballots as votes, sorted by node.
func (l *leadership) votes() []failover.Vote {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []failover.Vote
	for _, b := range l.ballots {
		for _, v := range b.Verdicts {
			out = append(out, failover.Vote{Node: b.Node, Vantage: b.Vantage, Verdict: v, Received: b.received})
		}
	}
	slices.SortFunc(out, func(a, b failover.Vote) int {
		return strings.Compare(string(a.Node)+"/"+string(a.Verdict.Region), string(b.Node)+"/"+string(b.Verdict.Region))
	})
	return out
}

// ask answers an agent's request (rules G1, G2, G7).
func (l *leadership) ask(ctx context.Context, a fence.Ask, passedOn bool) (fence.Answer, error) {
	ans := fence.Answer{Request: a.Request}
	// The region was held against the certificate: no agent speaks for one of another
	// region.
	if known := l.tenure.State().Agents[a.Agent]; known != nil && (known.Region != a.Region || known.Component != a.Component) {
		return ans, fmt.Errorf("agent %s is known for %s in %s, not for %s in %s: an agent's name is never reused", a.Agent, known.Component, known.Region, a.Component, a.Region)
	}
	if l.older(a) {
		return ans, fmt.Errorf("agent %s has asked for something since: this request is an old one that is said again, or came late", a.Agent)
	}
	if passedOn {
		// The signature may be an old one that is said again all the same: to a leader that
		// has not heard the agent itself. A freeze's ID is never used twice, so that a report
		// of it stays true; a goodbye, and that an agent stops its workers, may be so no
		// more. Who names its newest grant speaks after it.
		if a.Bye {
			return ans, fence.ErrOnlyDirect
		}
		if known := l.tenure.State().Agents[a.Agent]; known != nil && !known.Enforced && a.Holding < known.Granted {
			a.Enforced = false
		}
	}
	if a.Bye {
		return ans, l.granter.Leave(ctx, a.Agent)
	}
	if a.Stopped != 0 {
		s := l.tenure.State()
		if f := s.Freeze; f != nil && f.ID == a.Stopped && s.Agents[a.Agent] != nil && s.Agents[a.Agent].StoppedFor != f.ID {
			if _, err := l.tenure.Propose(ctx, failover.AgentStopped{Agent: a.Agent, Freeze: a.Stopped, Epoch: s.Epoch}, ""); err != nil {
				return ans, err
			}
		}
	}
	var err error
	ans.Grant, err = l.granter.Ask(ctx, failover.LeaseRequest{
		Agent: a.Agent, Region: a.Region, Component: a.Component, Lease: a.Lease, Enforced: a.Enforced,
		SeenEpoch: a.SeenEpoch, Running: a.Running, Holding: a.Holding, WouldHave: a.WouldHave, Rehearsed: a.Rehearsed,
	})
	return ans, err
}

// heardAsk is the latest request of an agent, when it came first, and which nodes the
// agent knows.
type heardAsk struct {
	seq   uint64
	at    time.Time
	nodes []failover.NodeID
}

// older reports whether a request is one that is said again: this leader has heard a later
// one of the agent, or this one so long ago that its other ways have ended. It remembers
// the latest.
func (l *leadership) older(a fence.Ask) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	was, known := l.newest[a.Agent]
	if known && a.Seq <= was.seq {
		return a.Seq < was.seq || a.Seq != 0 && now.Sub(was.at) > 2*config.LeaseRPCTimeout
	}
	const many = 10_000 // agents that came and went
	if len(l.newest) >= many {
		agents := l.tenure.State().Agents
		maps.DeleteFunc(l.newest, func(id failover.AgentID, _ heardAsk) bool { return agents[id] == nil })
	}
	l.newest[a.Agent] = heardAsk{a.Seq, now, slices.Clone(a.Nodes[:min(len(a.Nodes), nodesLimit)])}
	return false
}

// step looks once and does at most one thing.
func (l *leadership) step(ctx context.Context) {
	s := l.tenure.State()
	if l.configure(ctx, s) || s.Settings == nil {
		return
	}
	l.raise(ctx, s)
	now := time.Now()
	l.mu.Lock()
	mem, seen := l.memory, l.survey
	l.mu.Unlock()
	votes := l.votes()
	d, mem := failover.Decide(failover.Input{
		State: s, Votes: votes, Now: now, AgentHeard: l.granter.Heard(s.Active), TermStart: l.started,
		Standby: seen.standby(s), Preparable: preparable(s), Misfit: misfit(s),
	}, mem)
	l.mu.Lock()
	l.memory, l.decision = mem, d
	l.mu.Unlock()
	if l.core.cfg.OnDecision != nil {
		l.core.cfg.OnDecision(d)
	}
	l.carryOut(ctx, s, d)
	l.noteLosses(ctx, s, votes, now)
	l.noteAtRisk(ctx, s, votes, now)
	l.leaveActiveRegion(s, now)
}

// carryOut proposes what the decision asks for. Whatever is refused is decided
// again at the next look.
func (l *leadership) carryOut(ctx context.Context, s *failover.State, d failover.Decision) {
	propose := func(c failover.Command, why string) {
		if _, err := l.tenure.Propose(ctx, c, why); err != nil && ctx.Err() == nil {
			l.core.cfg.Log.Info("not accepted", "command", c.Name(), "why", err.Error())
		}
	}
	if d.Note != nil {
		propose(*d.Note, "")
	}
	switch {
	case d.Prepare:
		p, err := plan.Derive(s.Settings, s.Active)
		if err == nil {
			if err := l.core.lacks(&p); err != nil && l.handOver(ctx, s, fmt.Sprintf("a preparation in epoch %d", s.Epoch), err) {
				return
			}
			propose(failover.StartPreparation{Epoch: s.Epoch, Plan: plan.Preparation(&p)}, "")
		}
	case d.Unprepare != nil:
		propose(*d.Unprepare, "")
	case d.TakeBack != "":
		propose(failover.Abort{Execution: s.Preparation.ID, Undo: true}, d.TakeBack)
	}
	switch {
	case d.Suspend != nil:
		propose(*d.Suspend, "")
	case d.Withdraw:
		why := "withdrawn: " + string(s.Active) + " has been healthy again for a whole hold"
		if len(s.Execution.Steps) > 0 || s.Execution.State != failover.ExecAwaiting { // or it had adopted what was prepared
			propose(failover.Abort{Execution: s.Execution.ID, Undo: true}, why)
			return
		}
		propose(failover.FinishExecution{Execution: s.Execution.ID, State: failover.ExecUndone, Outcome: why + ", nothing had been done"}, "")
	case d.RefuseRequest != nil:
		propose(*d.RefuseRequest, "")
	case d.StartRequested:
		l.startRequested(ctx, s, propose)
	case d.Lift != nil:
		propose(*d.Lift, "")
	case d.Freeze != nil:
		propose(*d.Freeze, "")
	case d.Open != nil:
		propose(*d.Open, "")
	case d.Close != nil:
		propose(*d.Close, "")
	case d.Refuse != nil:
		propose(*d.Refuse, "")
	case d.Start && !time.Now().Before(l.nextStart):
		p, err := plan.Derive(s.Settings, s.Active)
		if err != nil {
			propose(failover.RefuseIncident{Incident: s.Incident.ID, Guard: "plan", Reason: err.Error()}, "")
			return
		}
		ref := l.start(ctx, failover.StartExecution{
			Kind: failover.Failover, Incident: s.Incident.ID, Epoch: s.Epoch, Plan: p,
			Approval: s.Settings.Policy.Mode == failover.ModeSupervised,
		}, "")
		if ref != nil && s.Incident.Refusal != ref.Text {
			propose(failover.RefuseIncident{Incident: s.Incident.ID, Guard: ref.Guard, Reason: ref.Text}, "")
		}
	}
}

// start proposes an execution. A refusal of the log is returned, so that people see
// which guard objects (L1); none is when one has begun in the meantime.
func (l *leadership) start(ctx context.Context, c failover.StartExecution, why string) *failover.Refusal {
	if err := l.core.lacks(&c.Plan); err != nil && l.handOver(ctx, l.tenure.State(), fmt.Sprintf("the beginning of a plan (incident %d, request %d)", c.Incident, c.Request), err) {
		return nil // whoever leads now decides anew
	}
	_, err := l.tenure.Propose(ctx, c, why)
	if err == nil || ctx.Err() != nil {
		return nil
	}
	l.core.cfg.Log.Warn("not accepted", "command", c.Name(), "why", err.Error())
	l.nextStart = time.Now().Add(startAgain)
	var ref *failover.Refusal
	if !errors.As(err, &ref) || l.tenure.State().Execution != nil {
		return nil
	}
	return ref
}

// startAgain is how long an execution of an incident that was not taken is not proposed again: each
// refusal is an entry of the log, which wakes the leader.
const startAgain = 5 * time.Second

func (l *leadership) startRequested(ctx context.Context, s *failover.State, propose func(failover.Command, string)) {
	p, err := plan.DeriveKind(s.Settings, s.Active, s.Request.Kind)
	if err != nil {
		propose(failover.RefuseRequest{Request: s.Request.ID, Guard: "plan", Reason: "the plan cannot be made: " + err.Error()}, "")
		return
	}
	ref := l.start(ctx, failover.StartExecution{
		Kind: s.Request.Kind, Request: s.Request.ID, Epoch: s.Epoch, Plan: p,
		Approval: s.Settings.Policy.Mode == failover.ModeSupervised,
	}, s.Request.Why)
	if ref != nil {
		propose(failover.RefuseRequest{Request: s.Request.ID, Guard: ref.Guard, Reason: ref.Text}, "")
	}
}

// mayLeave reports whether a leader where vantage is gives the leadership away: one in the active region does, from outside a failover can be
// led. Not during an execution or a preparation, nor while a hold runs: it would begin anew with the next leader.
func mayLeave(vantage failover.Region, s *failover.State, held time.Duration) bool {
	return vantage == s.Active && s.Execution == nil && s.Incident == nil && s.Preparation == nil && held == 0
}

// leaveActiveRegion gives the leadership to a node outside the active region.
func (l *leadership) leaveActiveRegion(s *failover.State, now time.Time) {
	p := s.Settings.Policy
	l.mu.Lock()
	held := l.decision.HoldElapsed
	l.mu.Unlock()
	if !mayLeave(l.core.cfg.Vantage, s, held) {
		return
	}
	if l.nextTransfer.IsZero() {
		// Votes must arrive first: they show which nodes are alive.
		l.nextTransfer = now.Add(p.VoteTTL.D())
	}
	if now.Before(l.nextTransfer) {
		return
	}
	l.nextTransfer = now.Add(6 * p.VoteTTL.D()) // back-off, whether it works or not
	for _, v := range l.votes() {
		if v.Vantage != s.Active && now.Sub(v.Received) < p.VoteTTL.D() && !v.Verdict.Abstain {
			l.core.cfg.Log.Info("giving the leadership to a node outside the active region", "to", v.Node)
			if err := l.core.node.TransferTo(v.Node); err != nil {
				l.core.cfg.Log.Info("the leadership was not taken", "to", v.Node, "why", err.Error())
				continue
			}
			return
		}
	}
}

func (l *leadership) view() LeaderView {
	s := l.tenure.State()
	votes := l.votes()
	now := time.Now()
	for i := range votes {
		votes[i].Age = failover.Duration(now.Sub(votes[i].Received))
	}
	l.mu.Lock()
	d, seen, lacks := l.decision, l.survey, l.lacks
	l.mu.Unlock()
	v := LeaderView{
		Node: l.core.cfg.ID, Term: l.tenure.Term, Judgement: d.Judgement, HoldElapsed: failover.Duration(d.HoldElapsed),
		Hold: failover.Duration(d.Hold), Votes: votes, Progress: l.exec.Progress(),
	}
	if seen.standby(s).Checked {
		v.Sights, v.SurveyAge = slices.Concat(seen.sights, seen.brings), max(1, failover.Duration(now.Sub(seen.at)))
	}
	if lacks.of(s) {
		v.Uncounted = lacks.why
	}
	if s.Freeze != nil {
		v.FreezeAge, v.FreezeWait = failover.Duration(l.exec.FreezeAge(s)), failover.Duration(s.FreezeWait(s.Freeze.Region))
	}
	v.Files = l.files(s)
	return v
}

// nodesLimit bounds what is remembered of an agent's file.
const nodesLimit = 64

// files are the nodes that each agent of the log knows, as it said when it asked last.
func (l *leadership) files(s *failover.State) map[failover.AgentID][]failover.NodeID {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[failover.AgentID][]failover.NodeID{}
	for id, heard := range l.newest {
		if s.Agents[id] != nil && len(heard.nodes) > 0 {
			out[id] = heard.nodes
		}
	}
	return out
}
