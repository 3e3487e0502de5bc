package actions

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// heldJournal takes every command and changes nothing.
type heldJournal struct{ state *failover.State }

func (j *heldJournal) State() *failover.State      { return j.state }
func (j *heldJournal) Changed() <-chan struct{}    { return nil }
func (j *heldJournal) Prove(context.Context) error { return nil }
func (j *heldJournal) Propose(context.Context, failover.Command, string) (failover.Result, error) {
	return failover.Result{Index: 1}, nil
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
		k := NewKeeper(&heldJournal{s}, w, Options{}, 30*time.Second, slog.New(slog.DiscardHandler))
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
