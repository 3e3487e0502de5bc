package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// stage is a log in memory, a world of scripted actions, and the leaders that
// work on them one after another.
type stage struct {
	t *testing.T

	mu      sync.Mutex
	s       *failover.State
	term    uint64
	changed chan struct{}
	effects map[failover.StepID]*effect
	own     map[failover.StepID]Action // a real kind in place of an effect
	checks  map[failover.StepID]func() Finding
	moved   time.Time         // what the last check was told
	order   []failover.StepID // of effects, as they were asked for
	wrong   []string          // what an action saw that must never be
	lead    *leader
	plan    failover.Plan
	skew    time.Duration // of the wall clocks that stamp entries
}

// leader is one tenure. It dies at a write or at an effect, as it is told.
type leader struct {
	st     *stage
	exec   *Executor
	term   uint64
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}

	// The number of the journal write, or effect, at which it dies, before or
	// after it; zero: never.
	dieBeforeWrite, dieAfterWrite, dieBeforeDo, dieAfterDo int
	writes, dos                                            int
	cannotProve                                            bool
	onProve                                                func()                               // what happens meanwhile
	slow                                                   func(failover.Command) time.Duration // how long its commit takes
	refuse                                                 func(failover.Command) error         // what the log says instead
}

var errDead = errors.New("this leader is dead")

func newStage(t *testing.T, change func(*failover.Settings)) *stage {
	t.Helper()
	st := &stage{
		t: t, s: failover.NewState(), changed: make(chan struct{}), term: 1,
		effects: map[failover.StepID]*effect{}, own: map[failover.StepID]Action{}, checks: map[failover.StepID]func() Finding{},
	}
	settings := stageSettings()
	if change != nil {
		change(&settings)
	}
	st.do(failover.Lead{Node: "n1"})
	st.do(failover.Configure{Settings: settings, Hash: "h"})
	st.s.Features = failover.Features
	p, err := plan.Derive(&settings, "east1")
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range p.Steps {
		if step.Kind == failover.KindStop || step.Kind == failover.KindStart || step.Kind == failover.KindSwitch {
			st.effects[step.ID] = &effect{st: st, id: step.ID, value: "old"}
		}
	}
	st.plan = p
	st.must(failover.RecordLoss{Samples: map[string]failover.LossSample{"api": {Behind: failover.Duration(3 * time.Second), Detail: "the copy was 3s behind"}}})
	if !settings.Components[0].Start.Prepare {
		st.begin()
	}
	return st
}

// begin starts the execution.
func (st *stage) begin() {
	st.must(failover.RequestExecution{Kind: failover.Failover})
	st.must(failover.StartExecution{Kind: failover.Failover, Request: st.s.Request.ID, Epoch: 1, Plan: st.plan})
}

func stageSettings() failover.Settings {
	act := func(kind string) *failover.ActionSpec {
		p := json.RawMessage(`{}`)
		return &failover.ActionSpec{Kind: kind, Version: 1, Params: map[failover.Region]json.RawMessage{"east1": p, "east2": p}}
	}
	dur := func(d time.Duration) failover.Duration { return failover.Duration(d) }
	return failover.Settings{
		Service: "s", Primary: "east1", Secondary: "east2",
		Policy: failover.Policy{
			Mode: failover.ModeAutomatic, Hold: dur(90 * time.Second), MaxPerDay: 9, Ask: failover.AskPolicy{Wait: dur(time.Minute), Then: "hold"},
			Lease: failover.LeaseTerms{Length: dur(75 * time.Second), Renew: dur(5 * time.Second), RhoPPM: 10_000, Margin: dur(2 * time.Second), EffectTail: dur(3 * time.Second)},
		},
		Components: []failover.ComponentSpec{
			{Name: "api", Start: act("plain")},
			{
				Name: "workers", After: []failover.Component{"api"}, Agent: true, Arming: failover.ArmEnforced, OnIsolation: "stop",
				Stop:  &failover.StopSpec{Action: act("counted"), Proof: []failover.EvidenceClass{failover.Confirmed, failover.Lease}},
				Start: act("counted"), Checks: []failover.ActionSpec{*act("look")},
			},
		},
		Traffic: failover.TrafficSpec{Switch: []failover.ActionSpec{*act("tokened")}, After: []failover.Component{"api", "workers"}},
	}
}

// do applies a command as a person, or as the log's own, would.
func (st *stage) do(c failover.Command) failover.Result {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.apply(c, "uid 1", "because", st.term)
}

func (st *stage) must(c failover.Command) {
	st.t.Helper()
	if res := st.do(c); res.Err != nil {
		st.t.Fatalf("%s: %v", c.Name(), res.Err)
	}
}

func (st *stage) apply(c failover.Command, by, why string, proposed uint64) failover.Result {
	res := st.s.Apply(failover.Meta{
		Index: st.s.Index + 1, Term: st.term, ProposedTerm: proposed, At: time.Now().Add(st.skew), Node: failover.NodeID(fmt.Sprintf("n%d", proposed)), By: by, Why: why,
	}, c)
	close(st.changed)
	st.changed = make(chan struct{})
	return res
}

func (st *stage) state() *failover.State {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.s.Clone()
}

// elect begins a new term, with the executor of its leader at work.
func (st *stage) elect(change func(*leader)) *leader {
	st.t.Helper()
	l := &leader{st: st, ended: make(chan struct{})}
	if change != nil {
		change(l)
	}
	st.mu.Lock()
	if st.lead != nil {
		st.lead.cancel()
	}
	st.term++
	l.term, st.lead = st.term, l
	l.ctx, l.cancel = context.WithCancel(context.Background())
	st.apply(failover.Lead{Node: "n"}, "", "", st.term)
	st.mu.Unlock()
	x := NewExecutor(l, st, Options{}, slog.New(slog.DiscardHandler))
	l.exec = x
	go func() {
		defer close(l.ended)
		x.Run(l.ctx)
	}()
	return l
}

// end stops the last leader.
func (st *stage) end() {
	st.lead.cancel()
	<-st.lead.ended
}

func (l *leader) State() *failover.State { return l.st.state() }

func (l *leader) Changed() <-chan struct{} {
	l.st.mu.Lock()
	defer l.st.mu.Unlock()
	return l.st.changed
}

func (l *leader) Propose(ctx context.Context, c failover.Command, why string) (failover.Result, error) {
	if l.slow != nil {
		if d := l.slow(c); d > 0 {
			done := make(chan failover.Result, 1)
			go func() {
				time.Sleep(d)
				l.st.mu.Lock()
				defer l.st.mu.Unlock()
				done <- l.st.apply(c, "", why, l.term)
			}()
			select {
			case res := <-done:
				return res, res.Err
			case <-ctx.Done(): // who proposed it does not wait; it is committed all the same
				return failover.Result{}, ctx.Err()
			}
		}
	}
	l.st.mu.Lock()
	defer l.st.mu.Unlock()
	if l.ctx.Err() != nil || ctx.Err() != nil {
		return failover.Result{}, errDead
	}
	l.writes++
	if l.refuse != nil {
		if err := l.refuse(c); err != nil {
			return l.st.apply(failover.Lead{Node: "n"}, "", "", l.term), err // an entry, and no change
		}
	}
	if l.writes == l.dieBeforeWrite {
		l.cancel()
		return failover.Result{}, errDead
	}
	res := l.st.apply(c, "", why, l.term)
	if l.writes == l.dieAfterWrite {
		l.cancel()
		return failover.Result{}, errDead
	}
	return res, res.Err
}

func (l *leader) Prove(context.Context) error {
	if l.onProve != nil {
		l.onProve()
	}
	if l.cannotProve || l.ctx.Err() != nil {
		return errDead
	}
	return nil
}

// waitFor lets time pass until the state is as wanted.
func (st *stage) waitFor(what string, within time.Duration, ok func(*failover.State) bool) *failover.State {
	st.t.Helper()
	for end := time.Now().Add(within); ; time.Sleep(100 * time.Millisecond) {
		s := st.state()
		if ok(s) {
			return s
		}
		if time.Now().After(end) {
			var b strings.Builder
			for _, ev := range s.Events {
				fmt.Fprintf(&b, "\n%4d %s %s: %s", ev.Index, ev.At.Format("15:04:05.0"), ev.By, ev.Text)
			}
			st.t.Fatalf("%s did not come within %s%s", what, within, b.String())
		}
	}
}

func ended(s *failover.State) bool { return s.Execution == nil }

func questioned(s *failover.State) bool { return s.Execution != nil && s.Execution.Question != nil }

// inStage runs fn in a bubble and then holds it against what the effects saw.
func inStage(t *testing.T, change func(*failover.Settings), fn func(st *stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		st := newStage(t, change)
		defer func() {
			if st.lead != nil {
				st.end()
			}
			time.Sleep(time.Hour) // whatever was late lands
			for _, w := range st.wrong {
				t.Error(w)
			}
		}()
		fn(st)
	})
}
