package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/fence"
)

// The sequencer runs the same rules as the clusters of this package without
// raft, goroutines or a clock: one log, leaders that come and go, agents with
// clocks of their own, and messages that wait until they are delivered, twice or
// never. Whatever happens next is drawn by rapid, so that a schedule which breaks
// a rule is repeated exactly and shrunk to the few events that matter.
type sequencer struct {
	state   *failover.State
	index   uint64
	term    uint64
	now     time.Duration // true time
	lead    *seqLeader
	agents  []*seqAgent
	mail    []seqMail
	dark    bool // us-east-1 cannot be reached
	held    bool // answers to agents stay where they are
	serial  int
	history []string
}

// seqLeader is a leader in one term. It is deposed when it is no longer the
// sequencer's.
type seqLeader struct {
	node     failover.NodeID
	term     uint64
	rate     float64
	since    time.Duration // true time
	memory   failover.Memory
	heard    time.Time
	freeze   uint64
	freezeAt time.Time
	reported map[failover.Component]time.Time
}

// seqAgent is an agent with its worker and the guard beside it.
type seqAgent struct {
	id      failover.AgentID
	region  failover.Region
	holder  *fence.Holder
	rate    float64
	running bool
	killAt  time.Duration // on its clock, when it has been told to die; zero: it has not
	stopped uint64        // freeze that it reports
	asked   time.Duration // on its clock, when it asked last
}

// seqMail is a request on its way to the leader, or an answer on its way back.
type seqMail struct {
	agent  *seqAgent
	ask    *fence.Ask
	answer *fence.Answer
	due    time.Duration // true time
}

// Agents ask as often as real ones do, and a message is this long on its way
// unless something else becomes of it.
const (
	seqRenew = 5 * time.Second
	seqTrip  = 100 * time.Millisecond
)

func newSequencer(rates []float64) *sequencer {
	q := &sequencer{state: failover.NewState()}
	s := settings(failover.ModeAutomatic, false)
	s.Components[0].Stop.Action = nil // the agents alone: the lease is what is tried here
	s.Components[0].Checks, s.Traffic.Switch = nil, nil
	q.elect("third", 1)
	if _, err := q.commit(q.lead, failover.Configure{Settings: s, Hash: "cfg"}); err != nil {
		panic(err)
	}
	for _, r := range []failover.Region{east1, east2} {
		for i := range 2 {
			q.agents = append(q.agents, &seqAgent{
				id: failover.AgentID(fmt.Sprintf("%s-%d", r, i)), region: r, holder: fence.NewHolder(0, 0), rate: rates[len(q.agents)%len(rates)],
			})
		}
	}
	return q
}

func (q *sequencer) note(format string, args ...any) {
	q.history = append(q.history, fmt.Sprintf("%9s  ", q.now.Round(time.Millisecond))+fmt.Sprintf(format, args...))
}

// clock is what a clock of the given rate shows.
func (q *sequencer) clock(rate float64) time.Duration {
	return time.Hour + time.Duration(float64(q.now)*rate)
}

func (q *sequencer) leaderTime() time.Time { return bubbleStart.Add(q.clock(q.lead.rate)) }

// commit is the log: one entry after another, in the term of whoever leads now.
func (q *sequencer) commit(by *seqLeader, cmd failover.Command) (failover.Result, error) {
	q.index++
	m := failover.Meta{Index: q.index, Term: q.term, At: bubbleStart.Add(q.clock(1)), Node: by.node}
	if cmd.LeaderOnly() {
		m.ProposedTerm = by.term
	} else {
		m.By, m.Why = "uid 1", "a person"
	}
	r := q.state.Apply(m, cmd)
	if r.Err != nil {
		q.note("refused: %s: %v", cmd.Name(), r.Err)
	} else if _, ok := cmd.(failover.Round); !ok {
		q.note("%s", cmd.Name())
	}
	return r, r.Err
}

func (q *sequencer) elect(n failover.NodeID, rate float64) {
	q.term++
	q.lead = &seqLeader{node: n, term: q.term, rate: rate, since: q.now, reported: map[failover.Component]time.Time{}}
	_, _ = q.commit(q.lead, failover.Lead{Node: n}) // its own term: taken
}

// send puts an agent's request into the mail.
func (q *sequencer) send(a *seqAgent) {
	q.serial++
	ask := fence.Ask{
		Request: strconv.Itoa(q.serial), Agent: a.id, Region: a.region, Component: "workers", Lease: dur(75 * time.Second),
		Enforced: a.holder.Bound(), Running: a.running, Stopped: a.stopped, Holding: a.holder.Holding(),
	}
	a.holder.Sent(ask.Request, q.clock(a.rate))
	a.asked = q.clock(a.rate)
	q.mail = append(q.mail, seqMail{agent: a, ask: &ask, due: q.now + seqTrip})
}

// deliver hands over a message; keep leaves a copy on its way.
func (q *sequencer) deliver(i int, keep bool) {
	m := q.mail[i]
	if !keep {
		q.mail = slices.Delete(q.mail, i, i+1)
	}
	if m.answer != nil {
		used := m.agent.holder.Received(*m.answer, q.clock(m.agent.rate))
		if used && m.answer.Granted {
			m.agent.stopped = 0
		}
		q.note("%s: answer %s, granted %v, used %v", m.agent.id, m.answer.Request, m.answer.Granted, used)
		q.keep(m.agent)
		return
	}
	q.lead.heard = q.leaderTime()
	if f := q.state.Freeze; m.ask.Stopped != 0 && f != nil && f.ID == m.ask.Stopped && q.state.Agents[m.ask.Agent] != nil {
		_, _ = q.commit(q.lead, failover.AgentStopped{Agent: m.ask.Agent, Freeze: m.ask.Stopped, Epoch: q.state.Epoch}) // or refused
	}
	r, err := q.commit(q.lead, failover.Round{Requests: []failover.LeaseRequest{{
		Agent: m.ask.Agent, Region: m.ask.Region, Component: m.ask.Component, Lease: m.ask.Lease, Enforced: m.ask.Enforced, Running: m.ask.Running, Holding: m.ask.Holding,
	}}})
	if err != nil {
		return
	}
	grants, _ := r.Value.([]failover.Grant) // one for each request
	q.mail = append(q.mail, seqMail{agent: m.agent, answer: &fence.Answer{Request: m.ask.Request, Grant: grants[0]}, due: q.now + seqTrip})
}

// keep makes an agent's worker agree with its lease, as fence.Agent does, with
// the worst worker: it dies at the last moment that it is left.
func (q *sequencer) keep(a *seqAgent) {
	now := q.clock(a.rate)
	may := a.holder.MayRun(now)
	switch {
	case may && !a.running:
		a.running, a.killAt = true, 0
		q.note("%s works", a.id)
	case !may && a.running && a.killAt == 0:
		a.killAt = now + 8*time.Second
		if _, held := a.holder.StopAt(); held {
			a.killAt = min(a.killAt, a.holder.KillAt())
		}
	}
	if a.running && (a.killAt > 0 && now >= a.killAt || a.holder.Bound() && now >= a.holder.KillAt()) {
		a.running, a.killAt = false, 0
		q.note("%s is dead", a.id)
	}
	if f := a.holder.Frozen(); !a.running && f != 0 && a.stopped != f {
		a.holder.Forget()
		a.stopped = f
	}
}

// pass lets time go by, in steps small enough for every deadline.
func (q *sequencer) pass(d time.Duration) error {
	for end := q.now + d; q.now < end; {
		q.now += min(200*time.Millisecond, end-q.now)
		for _, a := range q.agents {
			if q.clock(a.rate)-a.asked >= seqRenew {
				q.send(a)
			}
			q.keep(a)
		}
		for i := 0; i < len(q.mail); i++ {
			if m := q.mail[i]; m.due <= q.now && !(q.held && m.answer != nil) && !(q.dark && m.agent.region == east1) {
				q.deliver(i, false)
				i--
			}
		}
		if err := q.judge(); err != nil {
			return err
		}
	}
	return nil
}

// judge is the oracle: workers of two regions never run at one moment (S1).
func (q *sequencer) judge() error {
	var up []string
	for _, a := range q.agents {
		if a.running && (len(up) == 0 || !strings.HasPrefix(up[0], string(a.region))) {
			up = append(up, string(a.id))
		}
	}
	if len(up) > 1 {
		return fmt.Errorf("S1: %v work at once at %s:\n%s", up, q.now, strings.Join(q.history, "\n"))
	}
	return nil
}

// act is one look of the leader: the real decision, and the plan's steps one by
// one as the executor takes them.
func (q *sequencer) act() {
	l, now := q.lead, q.leaderTime()
	var votes []failover.Vote
	for n, v := range map[failover.NodeID]failover.Region{"use2a": east2, "third": thirdLoc} {
		for _, r := range []failover.Region{east1, east2} {
			h := failover.Healthy
			if r == east1 && q.dark {
				h = failover.Down
			}
			verdict := failover.Verdict{Region: r, Health: h}
			for _, k := range []string{"http", "mongo", "sqs"} {
				verdict.Signals = append(verdict.Signals, failover.SignalState{Component: "workers", Kind: k, Region: r, Health: h})
			}
			votes = append(votes, failover.Vote{Node: n, Vantage: v, Verdict: verdict, Received: now})
		}
	}
	d, mem := failover.Decide(failover.Input{
		State: q.state, Votes: votes, Now: now, AgentHeard: l.heard, TermStart: bubbleStart.Add(time.Hour + time.Duration(float64(l.since)*l.rate)),
		Standby: failover.Standby{Checked: true},
	}, l.memory)
	l.memory = mem
	propose := func(c failover.Command) { _, _ = q.commit(l, c) } // what is refused is decided again
	switch {
	case d.Lift != nil:
		propose(*d.Lift)
	case d.Freeze != nil:
		propose(*d.Freeze)
	case d.Open != nil:
		propose(*d.Open)
	case d.Close != nil:
		propose(*d.Close)
	case d.Start:
		if p, err := plan.Derive(q.state.Settings, q.state.Active); err == nil {
			propose(failover.StartExecution{Kind: failover.Failover, Incident: q.state.Incident.ID, Epoch: q.state.Epoch, Plan: p})
		}
	}
	if f := q.state.Freeze; f == nil {
		l.freeze = 0
	} else if f.ID != l.freeze {
		l.freeze, l.freezeAt = f.ID, now
		clear(l.reported)
	}
	if e := q.state.Execution; e != nil && e.State == failover.ExecRunning {
		q.step(l, e, now)
	}
}

// step carries the first step out that is not done.
func (q *sequencer) step(l *seqLeader, e *failover.Execution, now time.Time) {
	propose := func(c failover.Command) failover.Result { r, _ := q.commit(l, c); return r }
	for _, st := range e.Plan.Steps {
		rec := e.Step(st.ID)
		if rec.Passed() {
			continue
		}
		token := uint64(0)
		if last := rec.Last(); last != nil {
			token = last.Token
		} else {
			token = propose(failover.StepStarted{Execution: e.ID, Step: st.ID, Epoch: q.state.Epoch, PlanHash: e.PlanHash, Previous: json.RawMessage(`{}`)}).Index
		}
		done := true
		switch st.Kind {
		case failover.KindFreeze:
			propose(failover.FreezeLease{Region: e.From, Epoch: e.Epoch, Execution: e.ID})
		case failover.KindFence:
			done = q.fence(l, e, now)
		}
		if done {
			propose(failover.StepFinished{Execution: e.ID, Step: st.ID, Token: token, Outcome: failover.StepDone})
		}
		return
	}
	propose(failover.FinishExecution{Execution: e.ID, State: failover.ExecStable})
}

// fence gathers what is true, and advances the epoch when it is enough.
func (q *sequencer) fence(l *seqLeader, e *failover.Execution, now time.Time) bool {
	f := q.state.Freeze
	if f == nil {
		return q.state.Epoch > e.Epoch
	}
	if q.state.AgentsProve(e.From, "workers") == nil {
		if at, ok := l.reported["workers"]; !ok {
			l.reported["workers"] = now
		} else if now.Sub(at) >= q.state.Settings.Policy.Lease.EffectTail.D() {
			_, _ = q.commit(l, failover.RecordEvidence{Execution: e.ID, Component: "workers", Class: failover.Confirmed, Epoch: e.Epoch, Freeze: f.ID, Source: failover.AgentsSource}) // or refused
		}
	}
	if waited := now.Sub(l.freezeAt); waited >= q.state.FreezeWait(e.From) {
		_, _ = q.commit(l, failover.RecordEvidence{Execution: e.ID, Component: "workers", Class: failover.Lease, Epoch: e.Epoch, Freeze: f.ID, Waited: failover.Duration(waited)}) // or refused
	}
	_, err := q.commit(l, failover.AdvanceEpoch{Execution: e.ID, Epoch: e.Epoch + 1, Region: e.To, Freeze: f.ID})
	return err == nil
}

// TestSequencer draws schedules and holds each against the oracle. A schedule that
// breaks a rule is shrunk, and printed with how to run it again.
func TestSequencer(t *testing.T) {
	moved, runs := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		rate := rapid.SampledFrom([]float64{0.99, 1, 1.01})
		q := newSequencer([]float64{rate.Draw(t, "clock"), rate.Draw(t, "clock")})
		leaders := rapid.SampledFrom([]failover.NodeID{"third", "use2a", "use2b", "use1a"})
		what := rapid.SampledFrom([]string{
			"pass", "pass", "leap", "leap", "leap", "dark", "dark", "order", "order", "late", "late", "late", "hold", "release", "again", "lose", "elect", "light", "abort",
		})
		for range rapid.IntRange(8, 80).Draw(t, "events") {
			var err error
			switch op := what.Draw(t, "event"); op {
			case "pass":
				err = q.pass(time.Duration(rapid.IntRange(1, 60).Draw(t, "tenths")) * 100 * time.Millisecond)
			case "leap": // holds and waits come to their ends
				for range rapid.IntRange(1, 100).Draw(t, "seconds") {
					q.act()
					if err = q.pass(time.Second); err != nil {
						break
					}
				}
			case "hold": // what is granted arrives later
				q.held = true
			case "release":
				q.held = false
			case "lose": // whatever is on its way
				q.mail = nil
			case "late", "again": // a message arrives whatever is held or cut, or twice
				if len(q.mail) > 0 {
					q.deliver(rapid.IntRange(0, len(q.mail)-1).Draw(t, "message"), op == "again")
				}
			case "elect":
				q.elect(leaders.Draw(t, "leader"), rate.Draw(t, "clock"))
			case "dark":
				q.note("us-east-1 is dark")
				q.dark = true
			case "light":
				q.dark = false
			case "order":
				_, _ = q.commit(q.lead, failover.RequestExecution{Kind: failover.Failover}) // or refused
				if r := q.state.Request; r != nil {
					if p, err := plan.Derive(q.state.Settings, q.state.Active); err == nil {
						_, _ = q.commit(q.lead, failover.StartExecution{Kind: failover.Failover, Request: r.ID, Epoch: q.state.Epoch, Plan: p}) // or refused
					}
				}
			case "abort":
				if e := q.state.Execution; e != nil {
					_, _ = q.commit(q.lead, failover.Abort{Execution: e.ID})                                        // or refused
					_, _ = q.commit(q.lead, failover.FinishExecution{Execution: e.ID, State: failover.ExecAborted}) // or refused: a step is in flight
				}
			}
			q.act()
			if err == nil {
				err = q.judge()
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		runs++
		if q.state.Epoch > 1 {
			moved++
		}
	})
	t.Logf("%d of %d schedules left the region", moved, runs)
	if runs >= 100 && moved*10 < runs {
		t.Errorf("only %d of %d schedules left the region: they show too little", moved, runs)
	}
}
