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
	checks  map[failover.StepID]func() Finding
	order   []failover.StepID // of effects, as they were asked for
	wrong   []string          // what an action saw that must never be
	lead    *leader
	plan    failover.Plan
	skew    time.Duration // of the wall clocks that stamp entries
}

// leader is one tenure. It dies at a write or at an effect, as it is told.
type leader struct {
	st     *stage
	term   uint64
	ctx    context.Context
	cancel context.CancelFunc
	ended  chan struct{}

	// The number of the journal write, or effect, at which it dies, before or
	// after it; zero: never.
	dieBeforeWrite, dieAfterWrite, dieBeforeDo, dieAfterDo int
	writes, dos                                            int
	cannotProve                                            bool
	onProve                                                func() // what happens meanwhile
}

var errDead = errors.New("this leader is dead")

func newStage(t *testing.T, change func(*failover.Settings)) *stage {
	t.Helper()
	st := &stage{
		t: t, s: failover.NewState(), changed: make(chan struct{}), term: 1,
		effects: map[failover.StepID]*effect{}, checks: map[failover.StepID]func() Finding{},
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
	l.st.mu.Lock()
	defer l.st.mu.Unlock()
	if l.ctx.Err() != nil || ctx.Err() != nil {
		return failover.Result{}, errDead
	}
	l.writes++
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

// effect is what one step changes in the world.
type effect struct {
	st *stage
	id failover.StepID

	// The script.
	doErr   error         // what Do returns, although it takes effect
	late    time.Duration // until it shows, once it was asked for
	flight  time.Duration // until the call lands: its reply is lost
	refuses int           // so many times Do fails and nothing happens
	never   bool          // it never shows
	stays   bool          // Undo is asked for and comes to nothing
	loses   int           // so many undos come to nothing
	lingers time.Duration // until an undo shows
	blind   bool          // Inspect cannot read the world
	present bool
	value   string // what Undo puts back
	token   uint64

	asked  []Attempt
	undone []Attempt
	burnt  []Attempt
	// unburnable: the token cannot be replaced.
	unburnable bool
	inventory  int // what Inspect says that the selector matched
	inspects   int
}

type previously struct {
	Value string `json:"value"`
	Token uint64 `json:"token"`
}

// The three classes of actions.
type (
	plainAction   struct{ *effect }
	countedAction struct{ *effect }
	tokenedAction struct{ *effect }
)

func (countedAction) Idempotent() {}

// gateAction is present as soon as the flip is committed.
type gateAction struct{ countedAction }

func (gateAction) FlipsByLog() {}

func (g gateAction) Inspect(ctx context.Context) (Effect, error) {
	g.st.mu.Lock()
	g.present = g.st.s.Traffic == "east2" && !g.never
	g.st.mu.Unlock()
	return g.countedAction.Inspect(ctx)
}

func (g gateAction) Do(ctx context.Context, a Attempt) error {
	g.st.mu.Lock()
	if g.st.s.Traffic != "east2" {
		g.st.wrong = append(g.st.wrong, "the gate was asked before the flip was committed (T1)")
	}
	g.st.mu.Unlock()
	return g.countedAction.Do(ctx, a)
}

// Restored implements Restorer.
func (e *effect) Restored(now Effect, previous json.RawMessage) bool {
	var was, is previously
	return json.Unmarshal(previous, &was) == nil && json.Unmarshal(now.Previous, &is) == nil && was.Value == is.Value
}

func (tokenedAction) ChecksToken() {}

// Burn replaces the token alone; whoever names an older one is refused.
func (e tokenedAction) Burn(_ context.Context, a Attempt) error {
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	e.burnt = append(e.burnt, a)
	if e.unburnable {
		return errors.New("the control plane does not answer")
	}
	e.token = a.Token
	return nil
}

// Action implements World.
func (st *stage) Action(step failover.Step) (Action, error) {
	st.mu.Lock()
	defer st.mu.Unlock()
	e := st.effects[step.ID]
	switch step.Action {
	case "plain":
		return plainAction{e}, nil
	case "counted":
		return countedAction{e}, nil
	case "tokened", "object":
		return tokenedAction{e}, nil
	case "gate":
		return gateAction{countedAction{e}}, nil
	case "approval":
		return nil, nil //nolint:nilnil // as Config.New documents
	}
	return nil, fmt.Errorf("unknown kind %q", step.Action)
}

// Check implements World.
func (st *stage) Check(step failover.Step) (Check, error) {
	return checkFunc(func() Finding {
		st.mu.Lock()
		fn := st.checks[step.ID]
		st.mu.Unlock()
		if fn == nil {
			return Finding{Pass: true, Detail: "well"}
		}
		return fn()
	}), nil
}

type checkFunc func() Finding

func (f checkFunc) Check(context.Context) Finding { return f() }

func (e *effect) Inspect(ctx context.Context) (Effect, error) {
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	e.inspects++
	if err := ctx.Err(); err != nil {
		return Effect{}, err
	}
	if e.blind {
		return Effect{}, errors.New("the control plane does not answer")
	}
	prev, err := json.Marshal(previously{Value: e.value, Token: e.token})
	eff := Effect{State: Absent, Detail: "value " + e.value, Previous: prev, Token: e.token, Inventory: e.inventory}
	if e.present {
		eff.State = Present
	}
	return eff, err
}

// Do holds the executor to its promises, then takes effect as the script says.
func (e *effect) Do(ctx context.Context, a Attempt) error {
	st := e.st
	st.mu.Lock()
	lead := st.lead
	e.judge(a)
	lead.dos++
	if lead.dos == lead.dieBeforeDo {
		lead.cancel()
		st.mu.Unlock()
		return errDead
	}
	e.asked = append(e.asked, a)
	st.order = append(st.order, e.id)
	dies := lead.dos == lead.dieAfterDo
	if e.refuses > 0 {
		e.refuses--
		st.mu.Unlock()
		return errors.New("503")
	}
	var prev previously
	if len(a.Previous) > 0 { // nothing is known of a world that could not be read
		if err := json.Unmarshal(a.Previous, &prev); err != nil || prev.Token != e.token {
			st.wrong = append(st.wrong, fmt.Sprintf("%s: token %d replaces %d, but the resource holds %d (%v)", e.id, a.Token, prev.Token, e.token, err))
		}
	}
	late, flight, err := e.late, e.flight, e.doErr
	land := func() {
		if strings.HasPrefix(string(e.id), "switch-") && e.token != prev.Token {
			return // the resource refuses a stale writer
		}
		e.token, e.value, e.present = a.Token, "new", late == 0 && !e.never
	}
	if flight == 0 {
		land()
	} else {
		err = errors.New("the reply was lost")
		time.AfterFunc(flight, func() { st.mu.Lock(); land(); st.mu.Unlock() }) // whatever becomes of the caller
	}
	st.mu.Unlock()
	if late > 0 {
		time.AfterFunc(flight+late, func() {
			st.mu.Lock()
			e.present = e.present || e.token == a.Token // unless it was undone meanwhile
			st.mu.Unlock()
		})
	}
	if dies {
		lead.cancel()
	}
	return err
}

// judge notes what must never be seen by an effect: E2, E4, S1, S4.
func (e *effect) judge(a Attempt) {
	st := e.st
	ex := st.s.Open(a.Execution)
	say := func(format string, args ...any) {
		st.wrong = append(st.wrong, string(e.id)+": "+fmt.Sprintf(format, args...))
	}
	if ex == nil {
		say("an effect without an execution")
		return
	}
	rec := ex.Step(e.id)
	if rec.State == failover.StepDone {
		say("done again after it was finished (S4)")
	}
	last := rec.Last()
	if last == nil || last.Token != a.Token || string(last.Previous) != string(a.Previous) || !last.Until.Equal(a.Deadline) {
		say("an effect whose intent is not the last in the log (E2): %+v", a)
	}
	for _, old := range e.asked {
		if old.Token == a.Token {
			say("token %d was used before (E4)", a.Token)
		}
	}
	if !strings.HasPrefix(string(e.id), "stop-") && st.s.Active != "east2" && ex.Kind != failover.Preparation {
		say("an effect in the new region while the old one is active (S1)")
	}
	if a.Epoch != st.s.Epoch || time.Now().After(a.Deadline) || ex.State != failover.ExecRunning {
		say("epoch %d of %d, deadline %s, execution %s", a.Epoch, st.s.Epoch, a.Deadline, ex.State)
	}
}

func (e *effect) Undo(_ context.Context, a Attempt) error {
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	for _, old := range append(e.asked, e.undone...) {
		if old.Token == a.Token {
			e.st.wrong = append(e.st.wrong, fmt.Sprintf("%s: token %d was used before (E4)", e.id, a.Token))
		}
	}
	e.undone = append(e.undone, a)
	if e.loses > 0 {
		e.loses--
		return nil // "accepted"
	}
	if e.stays {
		return nil
	}
	var prev previously
	if err := json.Unmarshal(a.Previous, &prev); err != nil {
		return err
	}
	land := func() { e.value, e.token, e.present = prev.Value, a.Token, false }
	if e.lingers > 0 {
		time.AfterFunc(e.lingers, func() { e.st.mu.Lock(); land(); e.st.mu.Unlock() })
		return nil
	}
	land()
	return nil
}

// times is how often the effect was asked for.
func (e *effect) times() int {
	e.st.mu.Lock()
	defer e.st.mu.Unlock()
	return len(e.asked)
}

func (st *stage) effect(id failover.StepID) *effect { return st.effects[id] }

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
