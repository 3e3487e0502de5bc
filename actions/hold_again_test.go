package actions

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// restless is a stop that is seen to be over long after it was asked for, and that may be refused. Somebody may start what it stops.
type restless struct {
	lasting
	refuses int  // so many calls come to nothing
	half    bool // what was started again is only a part
	tries   []time.Time
}

func (r *restless) Do(ctx context.Context, a Attempt) error {
	r.mu.Lock()
	r.tries = append(r.tries, time.Now())
	refused := r.refuses > 0
	if refused {
		r.refuses--
	} else {
		r.asked, r.half = time.Now(), false
	}
	r.mu.Unlock()
	if refused {
		return errors.New("it is being changed")
	}
	return nil
}

// unsure is one of which a repetition may do harm.
type unsure struct{ Action }

// Idempotent says that Do is absolute.
func (*restless) Idempotent() {}

func (r *restless) Inspect(ctx context.Context) (Effect, error) {
	r.mu.Lock()
	half := r.half
	r.mu.Unlock()
	if half {
		return Effect{State: Partial, Previous: json.RawMessage("{}")}, nil
	}
	return r.lasting.Inspect(ctx)
}

// started is what somebody does.
func (r *restless) started(half bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.half = half; !half {
		r.asked = time.Time{}
	}
}

// A stop of a standing hold that was refused, or was undone before it was seen to be over, is sent again soon: what works in the region that was
// left works until then, and the time that a stop may take is no time for which it may be left at work. One that only takes its time is not
// sent again.
func TestAHoldStopsAgainSoon(t *testing.T) {
	const pace, call = 30 * time.Second, 10 * time.Second
	for name, tt := range map[string]struct {
		refuses int
		start   func(r *restless) // five minutes later, when what was stopped is still ending
		tries   int
	}{
		"it takes its time":              {0, nil, 1},
		"refused once":                   {1, nil, 2},
		"refused twice":                  {2, nil, 3},
		"started again meanwhile":        {0, func(r *restless) { r.started(false) }, 2},
		"a part is started again":        {0, func(r *restless) { r.started(true) }, 2},
		"refused, then started again":    {1, func(r *restless) { r.started(false) }, 3},
		"refused, and a part is started": {1, func(r *restless) { r.started(true) }, 3},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, r := failover.NewState(), &restless{refuses: tt.refuses, lasting: lasting{lasts: 12 * time.Minute}}
				s.Features = failover.Features
				s.Holds = []failover.StandingHold{{ID: 1, Component: "functions", Status: failover.HoldKept, Step: failover.Step{ID: "stop-functions", Kind: failover.KindStop, Region: "a", Timeout: failover.Duration(17 * time.Minute)}}}
				s.Active = "b"
				j := &heldJournal{state: s, keeps: true}
				ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
				defer cancel()
				again := time.Time{}
				if tt.start != nil {
					time.AfterFunc(5*time.Minute, func() { again = time.Now(); tt.start(r) })
				}
				began := time.Now()
				NewKeeper(j, oneWorld{r}, Options{}, pace, slog.New(slog.DiscardHandler)).Run(ctx)
				if len(r.tries) != tt.tries || j.State().Holds[0].Status != failover.HoldKept {
					t.Fatalf("%d tries, want %d; in the end it is %s", len(r.tries), tt.tries, j.State().Holds[0].Status)
				}
				if took := r.tries[tt.refuses].Sub(began); took > time.Duration(tt.refuses)*(call+pace) {
					t.Errorf("what was refused %d times was stopped after %s", tt.refuses, took)
				}
				if tt.start != nil && r.tries[tt.tries-1].Sub(again) > call+pace {
					t.Errorf("what was started again was stopped %s later", r.tries[tt.tries-1].Sub(again))
				}
			})
		})
	}
}

// What is not absolute is not repeated while its call may still land.
func TestAHoldRepeatsOnlyWhatIsAbsolute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, r := failover.NewState(), &restless{refuses: 1}
		s.Features, s.Active = failover.Features, "b"
		s.Holds = []failover.StandingHold{{ID: 1, Component: "functions", Step: failover.Step{ID: "stop-functions", Kind: failover.KindStop, Region: "a", Timeout: failover.Duration(17 * time.Minute)}}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		NewKeeper(&heldJournal{state: s, keeps: true}, oneWorld{unsure{r}}, Options{}, 30*time.Second, slog.New(slog.DiscardHandler)).Run(ctx)
		if len(r.tries) != 2 || r.tries[1].Sub(r.tries[0]) < 17*time.Minute {
			t.Errorf("tried at %v", r.tries)
		}
	})
}

// What is refused over and over is not tried in vain for minutes, and then not at all: the tries that an hour has are spread over it.
func TestAHoldThatIsRefusedTriesAllTheHour(t *testing.T) {
	for _, timeout := range []time.Duration{time.Minute, 3 * time.Minute, 12 * time.Minute} {
		synctest.Test(t, func(t *testing.T) {
			s, r := failover.NewState(), &restless{refuses: 100}
			s.Features, s.Active = failover.Features, "b"
			s.Holds = []failover.StandingHold{{ID: 1, Component: "functions", Step: failover.Step{ID: "stop-functions", Kind: failover.KindStop, Region: "a", Timeout: failover.Duration(timeout)}}}
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Hour)
			defer cancel()
			began := time.Now()
			NewKeeper(&heldJournal{state: s, keeps: true}, oneWorld{r}, Options{}, 30*time.Second, slog.New(slog.DiscardHandler)).Run(ctx)
			if len(r.tries) < failover.ReapplyPerHour || r.tries[2].Sub(began) > 90*time.Second {
				t.Fatalf("%s: tried at %v of %v", timeout, r.tries, began)
			}
			for i, at := range append(r.tries, began.Add(2*time.Hour)) {
				if i > 0 && at.Sub(r.tries[i-1]) > 22*time.Minute {
					t.Errorf("%s: nothing was tried for %s after try %d", timeout, at.Sub(r.tries[i-1]), i)
				}
				within := 0
				for _, other := range r.tries[:min(i, len(r.tries))] {
					if at.Sub(other) < time.Hour {
						within++
					}
				}
				if within > failover.ReapplyPerHour {
					t.Errorf("%s: %d tries in the hour before %s", timeout, within, at)
				}
			}
		})
	}
}
