package actions

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// heldJournal takes every command and changes nothing.
type heldJournal struct {
	state *failover.State
	mu    sync.Mutex
	took  []failover.Command
	keeps bool                   // it carries out what it takes
	base  uint64                 // index of what came before
	seen  func(failover.Command) // nil: nobody looks

	deposed error // why leadership is not proven
}

func (j *heldJournal) Changed() <-chan struct{}    { return nil }
func (j *heldJournal) Prove(context.Context) error { return j.deposed }
func (j *heldJournal) State() *failover.State {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state
}
func (j *heldJournal) Propose(_ context.Context, c failover.Command, _ string) (failover.Result, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.keeps {
		next := j.state.Clone()
		res := next.Apply(failover.Meta{Index: j.base + uint64(len(j.took)+1), At: time.Now()}, c)
		if res.Err != nil {
			return res, res.Err
		}
		j.state = next
	}
	j.took = append(j.took, c)
	if j.seen != nil {
		j.seen(c)
	}
	return failover.Result{Index: j.base + uint64(len(j.took))}, nil
}

// lasting is a stop that is asked for at once and seen to be over only after a while.
type lasting struct {
	mu    sync.Mutex
	lasts time.Duration
	asked time.Time
}

func (l *lasting) Inspect(context.Context) (Effect, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := Effect{State: Absent, Previous: json.RawMessage("{}")}
	switch {
	case l.asked.IsZero():
	case time.Since(l.asked) < l.lasts:
		e.State = Unknown
	default:
		e.State = Present
	}
	return e, nil
}

func (l *lasting) Do(context.Context, Attempt) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.asked.IsZero() {
		l.asked = time.Now()
	}
	return nil
}

func (l *lasting) Undo(context.Context, Attempt) error { return nil }

type heldWorld map[failover.StepID]*lasting

func (w heldWorld) Action(st failover.Step) (Action, error) { return w[st.ID], nil }
func (heldWorld) Check(failover.Step, time.Time) (Check, error) {
	return nil, nil
}

// A region that is back is stopped as a whole at once: functions that run on to their
// time-out do not keep the workers running meanwhile.
func TestNoHoldWaitsForAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := failover.NewState()
		w := heldWorld{}
		for i, id := range []failover.StepID{"stop-functions", "stop-nightly", "stop-workers"} {
			w[id] = &lasting{lasts: 15 * time.Minute}
			s.Holds = append(s.Holds, failover.StandingHold{ID: uint64(i + 1), Step: failover.Step{ID: id, Kind: failover.KindStop, Timeout: failover.Duration(17 * time.Minute)}})
		}
		w["stop-workers"].lasts = time.Second
		begin := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		k := NewKeeper(&heldJournal{state: s}, w, Options{}, 30*time.Second, slog.New(slog.DiscardHandler))
		done := make(chan struct{})
		go func() { defer close(done); k.Run(ctx) }()
		time.Sleep(20 * time.Minute)
		cancel()
		<-done
		for id, a := range w {
			if after := a.asked.Sub(begin); a.asked.IsZero() || after > time.Second {
				t.Errorf("%s was asked for after %s", id, after)
			}
		}
	})
}

// draining is a stop whose plan has asked for everything; what runs goes on for so
// long all the same.
type draining struct {
	lasting
	until time.Time
}

func (d *draining) Inspect(context.Context) (Effect, error) {
	if time.Now().Before(d.until) {
		return Effect{State: Partial, Ending: true, Previous: json.RawMessage("{}")}, nil
	}
	return Effect{State: Present, Previous: json.RawMessage("{}")}, nil
}

type oneWorld struct{ action Action }

func (w oneWorld) Action(failover.Step) (Action, error)        { return w.action, nil }
func (oneWorld) Check(failover.Step, time.Time) (Check, error) { return nil, nil }

// What a plan's stop has left draining is no violation: nobody is woken, nothing is
// asked for again. What drains beyond the stop's time, or after it was seen stopped,
// is one.
func TestWhatStillDrainsIsNotViolated(t *testing.T) {
	for _, tc := range []struct {
		name   string
		lasts  time.Duration
		status failover.HoldStatus
		calls  bool
	}{
		{"within the stop's time", 4 * time.Minute, failover.HoldUnseen, false},
		{"beyond it", 8 * time.Minute, failover.HoldUnseen, true},
		{"what was seen stopped", 4 * time.Minute, failover.HoldKept, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := failover.NewState()
				s.Holds = []failover.StandingHold{{ID: 1, Status: tc.status, Step: failover.Step{ID: "stop-workers", Kind: failover.KindStop, Timeout: failover.Duration(5 * time.Minute)}}}
				j, d := &heldJournal{state: s}, &draining{until: time.Now().Add(tc.lasts)}
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
				defer cancel()
				NewKeeper(j, oneWorld{d}, Options{}, 30*time.Second, slog.New(slog.DiscardHandler)).Run(ctx)
				violated, kept := false, tc.status == failover.HoldKept
				for _, c := range j.took {
					if n, ok := c.(failover.NoteHold); ok {
						violated, kept = violated || n.Status == failover.HoldViolated, kept || n.Status == failover.HoldKept
					}
				}
				if asked := !d.asked.IsZero(); asked != tc.calls || violated != tc.calls || !kept {
					t.Errorf("asked again %t, violated %t, kept in the end %t: %v", asked, violated, kept, j.took)
				}
			})
		})
	}
}

// guarded is a start of which the hold keeps something else true.
type guarded struct {
	lasting
	rival bool
	did   []string
	fails error

	hopeless, renew bool
	unkept          error // of what is renewed
}

func (g *guarded) Renew(_ context.Context, a Attempt) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if a.Deadline.IsZero() {
		return errors.New("without an end")
	}
	g.did = append(g.did, "renew")
	return g.unkept
}

func (g *guarded) Watch(context.Context) (Effect, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.rival {
		return Effect{State: Absent, Unmendable: g.hopeless, Renew: g.renew, Detail: "two of them"}, nil
	}
	return Effect{State: Present, Renew: g.renew, Detail: "alone"}, nil
}

func (g *guarded) Mend(context.Context, Attempt) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.did, g.rival = append(g.did, "mend"), g.fails != nil
	return g.fails
}

func (g *guarded) Do(context.Context, Attempt) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.did = append(g.did, "do")
	return nil
}

// A hold on a start asks and does what its guard says, and never what the step does.
func TestAHoldOnAStartNeverDoesItsStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := failover.NewState(), &guarded{}
		s.Holds = []failover.StandingHold{{ID: 1, Component: "mongo", Step: failover.Step{ID: "start-mongo", Kind: failover.KindStart, Timeout: failover.Duration(time.Minute)}}}
		ctx, cancel := context.WithCancel(t.Context())
		j := &heldJournal{state: s}
		k := NewKeeper(j, oneWorld{g}, Options{}, 30*time.Second, slog.New(slog.DiscardHandler))
		done := make(chan struct{})
		go func() { defer close(done); k.Run(ctx) }()
		time.Sleep(5 * time.Minute) // its step's effect is not there, and that is nobody's business here
		if len(g.did) != 0 {
			t.Errorf("without a rival it did %v", g.did)
		}
		g.mu.Lock()
		g.rival = true
		g.mu.Unlock()
		time.Sleep(5 * time.Minute)
		cancel()
		<-done
		if len(g.did) != 1 || g.did[0] != "mend" {
			t.Errorf("with a rival it did %v, want to mend it once", g.did)
		}
		violated := false
		for _, c := range j.took {
			n, ok := c.(failover.NoteHold)
			violated = violated || ok && n.Status == failover.HoldViolated && n.Detail == "two of them"
		}
		if !violated {
			t.Errorf("nobody was told: %v", j.took)
		}
	})
}

// What only a person can mend is told of, and nothing is tried: the tries are for what comes later.
func TestAGuardDoesNotTryInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := failover.NewState(), &guarded{rival: true, hopeless: true}
		s.Features = failover.Features
		s.Holds = []failover.StandingHold{{ID: 1, Component: "mongo", Step: failover.Step{ID: "start-mongo", Kind: failover.KindStart, Timeout: failover.Duration(5 * time.Minute)}}}
		j, told := &heldJournal{state: s, keeps: true}, false
		j.seen = func(c failover.Command) {
			switch c := c.(type) {
			case failover.NoteHold:
				told = told || c.Status == failover.HoldViolated && c.Detail == "two of them"
			case failover.ReapplyStarted:
				t.Error("something was tried")
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		NewKeeper(j, oneWorld{g}, Options{}, 30*time.Second, slog.New(slog.DiscardHandler)).Run(ctx)
		if !told || len(g.did) != 0 {
			t.Errorf("told %t, did %v", told, g.did)
		}
	})
}

// A guard that fails is tried again soon, and then all through the hour: its step's time-out is not waited for, and what an hour
// allows is not used up in its first minutes.
func TestAGuardThatFailsIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, g := failover.NewState(), &guarded{rival: true, fails: errors.New("it does not answer")}
		s.Features = failover.Features
		s.Holds = []failover.StandingHold{{ID: 1, Component: "mongo", Step: failover.Step{ID: "start-mongo", Kind: failover.KindStart, Timeout: failover.Duration(5 * time.Minute)}}}
		j := &heldJournal{state: s, keeps: true}
		var at []time.Duration
		began := time.Now()
		j.seen = func(c failover.Command) {
			if _, ok := c.(failover.ReapplyStarted); ok {
				at = append(at, time.Since(began).Round(30*time.Second))
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), 59*time.Minute)
		defer cancel()
		NewKeeper(j, oneWorld{g}, Options{}, 30*time.Second, slog.New(slog.DiscardHandler)).Run(ctx)
		if len(at) != failover.ReapplyPerHour || at[1] > time.Minute || at[5] < 40*time.Minute {
			t.Errorf("tried after %v: want soon again, and %d times over the hour", at, failover.ReapplyPerHour)
		}
		for _, c := range j.took {
			if f, ok := c.(failover.ReapplyFinished); ok && (f.Outcome != failover.StepFailed || !strings.Contains(f.Detail, "it does not answer")) {
				t.Errorf("%s: %s", f.Outcome, f.Detail)
			}
		}
	})
}

// What keeps rivals down and ends by itself is done anew at each look, without alarm and without using up the tries of the hour, and only by who leads.
// What could not be renewed is told; where a rival leads there is nothing to be renewed.
func TestAGuardRenewsWhatEnds(t *testing.T) {
	for name, tt := range map[string]*struct {
		guarded
		deposed error
		status  failover.HoldStatus
		did     string
	}{
		"kept":            {guarded: guarded{renew: true}, status: failover.HoldKept, did: "renew"},
		"nobody to keep":  {status: failover.HoldKept},
		"not kept":        {guarded: guarded{renew: true, unkept: errors.New("it leads")}, status: failover.HoldUnseen, did: "renew"},
		"somebody leads":  {guarded: guarded{renew: true, rival: true, fails: errors.New("no")}, status: failover.HoldViolated, did: "mend"},
		"nobody knows us": {guarded: guarded{renew: true}, deposed: errors.New("deposed"), status: failover.HoldUnseen},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, g := failover.NewState(), &tt.guarded
				s.Features = failover.Features
				s.Holds = []failover.StandingHold{{ID: 1, Component: "mongo", Status: failover.HoldKept, Step: failover.Step{ID: "start-mongo", Kind: failover.KindStart, Timeout: failover.Duration(time.Minute)}}}
				j := &heldJournal{state: s, keeps: true, deposed: tt.deposed}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour-time.Second)
				defer cancel()
				NewKeeper(j, oneWorld{g}, Options{}, 30*time.Second, slog.New(slog.DiscardHandler)).Run(ctx)
				if h := j.State().Holds[0]; h.Status != tt.status || tt.did != "mend" && len(h.Applied) != 0 {
					t.Errorf("it is %s %q, applied %d times", h.Status, h.Detail, len(h.Applied))
				}
				if want := map[string]int{"renew": 120, "mend": failover.ReapplyPerHour}[tt.did]; len(g.did) != want || want > 0 && slices.ContainsFunc(g.did, func(s string) bool { return s != tt.did }) {
					t.Errorf("it did %d times %v; want %d times %s", len(g.did), slices.Compact(g.did), want, tt.did)
				}
			})
		})
	}
}
