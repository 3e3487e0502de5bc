package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
)

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
	rejects int           // so many are refused
	lingers time.Duration // until an undo shows
	blind   bool          // Inspect cannot read the world
	unbuilt bool          // the leader's node cannot make the action
	vague   bool          // Inspect reads it, and it does not say whether the effect is there
	present bool
	value   string // what Undo puts back
	token   uint64

	asked  []Attempt
	undone []Attempt
	burnt  []Attempt
	// unburnable: the token cannot be replaced.
	unburnable bool
	inventory  int    // what Inspect says that the selector matched
	lacks      string // and what would keep Do from being whole
	over       string // and why what Do has begun came to nothing
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

// Untouched implements Untouchable.
func (e *effect) Untouched(previous json.RawMessage) bool {
	var was previously
	return json.Unmarshal(previous, &was) == nil && was.Value == "old"
}

// Overtaken implements Witness.
func (e *effect) Overtaken(now Effect, previous json.RawMessage) string {
	var was, is previously
	if json.Unmarshal(previous, &was) != nil || json.Unmarshal(now.Previous, &is) != nil || is.Value == was.Value || is.Value == "new" {
		return ""
	}
	return "value " + is.Value
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
	if a := st.own[step.ID]; a != nil {
		return a, nil
	}
	e := st.effects[step.ID]
	if e != nil && e.unbuilt {
		return nil, errors.New("its file is not on this node")
	}
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
func (st *stage) Check(step failover.Step, moved time.Time) (Check, error) {
	st.mu.Lock()
	st.moved = moved
	st.mu.Unlock()
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
	eff := Effect{State: Absent, Detail: "value " + e.value, Previous: prev, Token: e.token, Inventory: e.inventory, Lacks: e.lacks}
	if len(e.asked) > 0 {
		eff.Over = e.over
	}
	switch {
	case e.vague:
		eff.State = Unknown
	case e.present:
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
	if e.rejects > 0 {
		e.rejects--
		return errors.New("it is still stopping")
	}
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
