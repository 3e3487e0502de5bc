package actions

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

func preparing(s *failover.Settings) {
	s.Policy.PrepareAfter = failover.Duration(30 * time.Second)
	s.Components[0].Start.Prepare, s.Components[1].Start.Prepare = true, true
}

// suspect begins a preparation, as the leader does.
func (st *stage) suspect() uint64 {
	st.t.Helper()
	st.must(failover.NoteSuspicion{Region: "east1", Condition: failover.RegionDown, Sentence: "dark"})
	res := st.do(failover.StartPreparation{Epoch: 1, Plan: plan.Preparation(&st.plan)})
	if res.Err != nil {
		st.t.Fatal(res.Err)
	}
	return res.Index
}

func (st *stage) prepared(s *failover.State) bool {
	return s.Preparation != nil && s.Preparation.Step("start-api").State == failover.StepDone && s.Preparation.Step("start-workers").State == failover.StepDone
}

// E7: what was prepared is undone when the suspicion passes, whoever leads then.
func TestPreparationIsUndone(t *testing.T) {
	inStage(t, preparing, func(st *stage) {
		prep := st.suspect()
		st.elect(nil)
		st.waitFor("the preparation", time.Minute, st.prepared)
		st.must(failover.EndPreparation{Preparation: prep, Reason: "healthy again"})
		st.elect(nil)
		s := st.waitFor("the end of it", 5*time.Minute, func(s *failover.State) bool { return s.Preparation == nil })
		for _, id := range []failover.StepID{"start-api", "start-workers"} {
			if e := st.effect(id); len(e.asked) != 1 || len(e.undone) != 1 || e.value != "old" {
				t.Errorf("%s: asked %d times, undone %d times, value %s", id, len(e.asked), len(e.undone), e.value)
			}
		}
		if len(s.History) != 0 || s.Epoch != 1 {
			t.Error("a preparation is no execution")
		}
	})
}

// E7: the execution adopts what was prepared and does not do it again.
func TestPreparationIsAdopted(t *testing.T) {
	inStage(t, preparing, func(st *stage) {
		st.suspect()
		st.elect(nil)
		st.waitFor("the preparation", time.Minute, st.prepared)
		st.begin()
		st.waitFor("the end", 10*time.Minute, ended)
		for _, id := range []failover.StepID{"start-api", "start-workers"} {
			if n := st.effect(id).times(); n != 1 {
				t.Errorf("%s was asked for %d times", id, n)
			}
		}
	})
}

// E7: the suspicion turns into an incident at the very moment at which it is
// being taken back: an undo that has begun is finished, then the step is done
// again; one that has not begun never happens.
func TestPreparationTakenBackAtThatMoment(t *testing.T) {
	for _, wait := range []time.Duration{0, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second} {
		for _, change := range []bool{false, true} { // of the leader
			inStage(t, preparing, func(st *stage) {
				prep := st.suspect()
				st.elect(nil)
				st.waitFor("the preparation", time.Minute, st.prepared)
				st.must(failover.EndPreparation{Preparation: prep, Reason: "healthy again"})
				time.Sleep(wait)
				if st.state().Preparation == nil {
					return // it was over already
				}
				// What OpenIncident does.
				st.mu.Lock()
				st.s.Preparation.State, st.s.Preparation.Undo = failover.ExecRunning, false
				st.mu.Unlock()
				st.begin()
				if change {
					st.elect(nil)
				}
				st.waitFor("the end", 10*time.Minute, ended)
				for _, id := range []failover.StepID{"start-api", "start-workers"} {
					if e := st.effect(id); !e.present || len(e.asked) != 1+len(e.undone) {
						t.Errorf("after %s: %s present %t, asked %d times, undone %d times", wait, id, e.present, len(e.asked), len(e.undone))
					}
				}
			})
		}
	}
}

// An undo is done when the world is as before, not when the effect is absent: a
// start that was half made is absent, too. And a leader that died before it sent
// the call has undone nothing.
func TestUndoOfWhatIsHalfMade(t *testing.T) {
	inStage(t, preparing, func(st *stage) {
		prep := st.suspect()
		st.effect("start-api").never = true // asked for, and never there
		st.elect(nil)
		st.waitFor("the start", time.Minute, func(*failover.State) bool { return st.effect("start-api").times() > 0 })
		st.must(failover.EndPreparation{Preparation: prep, Reason: "healthy again"})
		// The first leader of the undo dies after its intent.
		st.elect(func(l *leader) { l.cannotProve = true })
		st.waitFor("the intent", 5*time.Minute, func(s *failover.State) bool {
			return s.Preparation.Step("start-api").State == failover.StepUndoing
		})
		st.elect(nil)
		st.waitFor("the end of it", 30*time.Minute, func(s *failover.State) bool { return s.Preparation == nil })
		if e := st.effect("start-api"); e.value != "old" || len(e.undone) == 0 {
			t.Errorf("the preparation is over, and what it asked for stands: value %s, undone %d times", e.value, len(e.undone))
		}
	})
}

// E4: a batch whose fate is unknown is refused by the resource before the
// execution closes.
func TestTokenIsBurntBeforeTheEnd(t *testing.T) {
	tokens := func(s *failover.Settings) { s.Traffic.Switch[0].Tokens = true }
	inStage(t, tokens, func(st *stage) {
		sw := st.effect("switch-tokened")
		sw.flight = 10 * time.Minute // sent, reply lost, lands much later
		st.elect(nil)
		s := st.waitFor("the switch", 10*time.Minute, func(*failover.State) bool { return sw.times() > 0 })
		st.must(failover.Abort{Execution: s.Execution.ID})
		s = st.waitFor("the end", 5*time.Minute, ended)
		if len(sw.burnt) == 0 || s.History[0].State != failover.ExecAborted {
			t.Fatalf("burnt %d times, %s", len(sw.burnt), s.History[0].State)
		}
		time.Sleep(time.Hour)
		if sw.value != "old" {
			t.Error("the late batch took effect after the execution was closed")
		}
	})
	// One whose effect cannot be seen, and whose token can: a name server that says nothing is no reason to ask.
	inStage(t, tokens, func(st *stage) {
		sw := st.effect("switch-tokened")
		sw.flight, sw.vague = 10*time.Minute, true
		st.elect(nil)
		s := st.waitFor("the switch", 10*time.Minute, func(*failover.State) bool { return sw.times() > 0 })
		st.must(failover.Abort{Execution: s.Execution.ID})
		if s = st.waitFor("the end", 5*time.Minute, func(s *failover.State) bool { return ended(s) || questioned(s) }); s.Execution != nil || len(sw.burnt) != 1 {
			t.Errorf("burnt %d times, %+v", len(sw.burnt), s.Execution)
		}
	})
	// A resource that cannot be reached: a person is asked, and may decide.
	inStage(t, tokens, func(st *stage) {
		sw := st.effect("switch-tokened")
		sw.flight, sw.unburnable = 10*time.Minute, true
		st.elect(nil)
		s := st.waitFor("the switch", 10*time.Minute, func(*failover.State) bool { return sw.times() > 0 })
		st.must(failover.Abort{Execution: s.Execution.ID})
		s = st.waitFor("a question", 5*time.Minute, questioned)
		if q := s.Execution.Question; q.Kind != "token" || q.Ways[0] != "failoverd skip switch-tokened --why …" {
			t.Fatalf("%+v", q)
		}
		st.must(failover.Skip{Execution: s.Execution.ID, Step: "switch-tokened"})
		st.waitFor("the end", 5*time.Minute, ended)
	})
}

// The keeper stops what runs again in the region that was left, and says when it
// cannot see.
func TestKeeper(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.elect(nil)
		st.waitFor("the end", 10*time.Minute, ended)
		ctx, cancel := context.WithCancel(context.Background())
		k := NewKeeper(st.lead, keepers{st}, Options{}, 30*time.Second, slog.New(slog.DiscardHandler))
		done := make(chan struct{})
		go func() { defer close(done); k.Run(ctx) }()
		defer func() { cancel(); <-done }()
		status := func(want failover.HoldStatus) func(*failover.State) bool {
			return func(s *failover.State) bool { return len(s.Holds) == 1 && s.Holds[0].Status == want }
		}
		stop := st.effect("stop-workers")
		st.waitFor("the first look", time.Minute, status(failover.HoldKept))
		before := stop.times()
		st.mu.Lock()
		stop.present = false // the region is back, with everything that was never stopped
		st.mu.Unlock()
		s := st.waitFor("the stop", 2*time.Minute, func(s *failover.State) bool { return stop.times() > before && status(failover.HoldKept)(s) })
		if last := s.Holds[0].Last; last == nil || last.Outcome != failover.StepDone {
			t.Errorf("%+v", last)
		}
		st.mu.Lock()
		stop.blind = true
		st.mu.Unlock()
		st.waitFor("blindness", 2*time.Minute, status(failover.HoldUnseen))
		// What keeps coming back is not stopped for ever.
		st.mu.Lock()
		stop.blind, stop.present, stop.never = false, false, true
		st.mu.Unlock()
		before = stop.times()
		time.Sleep(50 * time.Minute)
		if n := stop.times() - before; n == 0 || n > failover.ReapplyPerHour {
			t.Errorf("stopped %d times within 50 minutes", n)
		}
	})
}

// On the way home holds end with the entry that makes others, so that there are no more than before: what has appeared is looked at at once all the same.
func TestKeeperSeesWhatTakesAnothersPlace(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.elect(nil)
		st.waitFor("the end", 10*time.Minute, ended)
		ctx, cancel := context.WithCancel(context.Background())
		k := NewKeeper(st.lead, keepers{st}, Options{}, time.Hour, slog.New(slog.DiscardHandler))
		done := make(chan struct{})
		go func() { defer close(done); k.Run(ctx) }()
		defer func() { cancel(); <-done }()
		kept := func(s *failover.State) bool { return len(s.Holds) == 1 && s.Holds[0].Status == failover.HoldKept }
		st.waitFor("the first look", time.Minute, kept)
		time.Sleep(time.Minute)
		st.mu.Lock()
		h := st.s.Holds[0]
		h.ID, h.Status = h.ID+1, failover.HoldUnseen
		st.s.Holds = []failover.StandingHold{h}
		st.mu.Unlock()
		st.do(failover.Lead{Node: "n1"}) // any entry
		st.waitFor("the first look at what has appeared", time.Minute, kept)
	})
}

// keepers is the stage as the keeper's world: its effects belong to no step.
type keepers struct{ st *stage }

func (k keepers) Action(step failover.Step) (Action, error) {
	a, err := k.st.Action(step)
	if err != nil {
		return nil, err
	}
	if c, ok := a.(countedAction); ok {
		return held{c}, nil
	}
	return heldSwitch{a.(tokenedAction)}, nil
}

func (k keepers) Check(step failover.Step, moved time.Time) (Check, error) {
	return k.st.Check(step, moved)
}

// held is an effect that is asked for outside any execution.
type held struct{ countedAction }

func (h held) Do(_ context.Context, a Attempt) error {
	st := h.st
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(st.s.Holds) != 1 || st.s.Holds[0].Running == nil || st.s.Holds[0].Running.Token != a.Token {
		st.wrong = append(st.wrong, "a standing hold was applied without an intent in the log (E2)")
	}
	h.asked = append(h.asked, a)
	h.present = !h.never
	return nil
}

// heldSwitch is held with a token that the resource checks.
type heldSwitch struct{ tokenedAction }

func (h heldSwitch) Do(_ context.Context, a Attempt) error {
	st := h.st
	st.mu.Lock()
	defer st.mu.Unlock()
	if !slices.ContainsFunc(st.s.Holds, func(sh failover.StandingHold) bool { return sh.Running != nil && sh.Running.Token == a.Token }) {
		st.wrong = append(st.wrong, "a standing hold was applied without an intent in the log (E2)")
	}
	var prev previously
	if err := json.Unmarshal(a.Previous, &prev); err != nil || prev.Token != h.token {
		return ErrStaleToken
	}
	h.asked = append(h.asked, a)
	h.token, h.value, h.present = a.Token, "new", true
	return nil
}

// What the plan goes on without keeps nobody from entering a region.
func TestSurveyOfWhatIsOptional(t *testing.T) {
	inStage(t, func(s *failover.Settings) { s.Components[0].Start.OnError = "continue" }, func(st *stage) {
		st.effect("start-api").blind = true
		sights := Survey(context.Background(), st, &st.plan, time.Second)
		if p := Problems(&st.plan, sights); len(p) > 0 {
			t.Errorf("problems %v", p)
		}
		for _, s := range sights {
			if s.Optional != (s.Step == "start-api") || s.OK == s.Optional {
				t.Errorf("%+v", s)
			}
		}
		st.elect(nil) // for the teardown
	})
}

func TestSurvey(t *testing.T) {
	inStage(t, nil, func(st *stage) {
		st.effect("start-api").blind = true
		st.effect("stop-workers").blind = true
		st.effect("start-workers").inventory = 7
		st.effect("start-workers").lacks = "one of them is missing"
		sights := Survey(context.Background(), st, &st.plan, time.Second)
		if len(sights) != 4 {
			t.Fatalf("%+v", sights)
		}
		p := Problems(&st.plan, sights)
		if len(p) != 2 || !strings.Contains(p[0], "start-api") || !strings.Contains(p[1], "start-workers") {
			t.Errorf("problems %v: what cannot be seen of the region being left is none", p)
		}
		for _, s := range sights {
			if s.Step == "start-workers" && (s.Inventory != 7 || s.OK) {
				t.Errorf("%+v, although it would not be whole", s)
			}
		}
		st.elect(nil) // for the teardown
	})
}

// S8: people have lost the quorum and recover, with the region stated active that
// was being prepared: nothing scales it back.
func TestRecoveryKeepsWhatWasPrepared(t *testing.T) {
	for _, older := range []bool{false, true} { // a version that left the preparation open has recovered
		inStage(t, func(s *failover.Settings) {
			preparing(s)
			s.Nodes = map[failover.NodeID]failover.NodeSpec{"n1": {Vantage: "east2"}, "n2": {Vantage: "gru"}, "n3": {Vantage: "east1"}}
		}, func(st *stage) {
			st.suspect()
			st.elect(nil)
			st.waitFor("the preparation", time.Minute, st.prepared)
			st.mu.Lock()
			left := st.s.Preparation
			err := st.s.Recover(failover.RecoverOrder{Survivor: "n1", Active: "east2", At: time.Now(), By: "uid 0", Why: "lost"})
			if older {
				st.s.Preparation = left
			}
			st.mu.Unlock()
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []failover.NodeID{"n2", "n3"} {
				st.must(failover.AttestNode{Node: n})
			}
			st.elect(nil)
			began := time.Now()
			for range 120 {
				time.Sleep(time.Second)
				st.mu.Lock()
				d, _ := failover.Decide(failover.Input{State: st.s, Now: time.Now(), TermStart: began}, failover.Memory{})
				st.mu.Unlock()
				if d.Unprepare != nil {
					st.must(*d.Unprepare)
				}
			}
			if st.state().Preparation != nil {
				t.Error("the preparation is still open")
			}
			for _, id := range []failover.StepID{"start-api", "start-workers"} {
				if e := st.effect(id); len(e.undone) != 0 || e.value == "old" {
					t.Errorf("%s, in the region that is active: undone %d times, value %q", id, len(e.undone), e.value)
				}
			}
		})
	}
}

// L1: a version that did not know better has ended the preparation as one to be undone,
// and what it was for is active now: the log refuses the undo, which nobody proposes then,
// and the preparation ends.
func TestAnUndoThatTheLogRefuses(t *testing.T) {
	inStage(t, preparing, func(st *stage) {
		st.suspect()
		st.elect(nil)
		st.waitFor("the preparation", time.Minute, st.prepared)
		st.end()
		st.mu.Lock()
		p := st.s.Preparation
		p.State, p.Undo, st.s.Active = failover.ExecAborting, true, p.To
		before := st.s.Index
		st.mu.Unlock()
		st.elect(func(l *leader) { l.slow = func(failover.Command) time.Duration { return 100 * time.Millisecond } })
		time.Sleep(time.Minute)
		s := st.state()
		if s.Preparation != nil {
			t.Errorf("the preparation is still open, after %d entries", s.Index-before)
		}
		for _, id := range []failover.StepID{"start-api", "start-workers"} {
			if e := st.effect(id); len(e.undone) != 0 || e.value != "new" {
				t.Errorf("%s: undone %d times, value %q", id, len(e.undone), e.value)
			}
		}
	})
}
