package daemon

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
)

// told is a state that a test changes.
type told struct {
	mu      sync.Mutex
	state   *failover.State
	changed chan struct{}
}

// Changed implements watched.
func (w *told) Changed() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.changed
}

// State implements watched.
func (w *told) State() *failover.State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

func (w *told) tell(change func(s *failover.State)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next := *w.state
	change(&next)
	w.state = &next
	close(w.changed)
	w.changed = make(chan struct{})
}

// dark is a world in which nobody answers for the region that is left.
type dark struct {
	stores
	asked chan struct{}
}

// Action implements actions.World.
func (w dark) Action(st failover.Step) (actions.Action, error) {
	if st.Action == "mariadb_dump" {
		return mute{asked: w.asked}, nil
	}
	return w.stores.Action(st)
}

// mute answers nobody.
type mute struct {
	store
	asked chan struct{}
}

// Inspect implements actions.Action.
func (s mute) Inspect(ctx context.Context) (actions.Effect, error) {
	s.asked <- struct{}{}
	<-ctx.Done()
	return actions.Effect{}, ctx.Err()
}

// The survey of the standby waits for nothing that a switchover would ask the region that is left: it is there at once when that region is dark, it is
// made anew at once when something is suspected, and as long as it is nobody asks there.
func TestSurveyDoesNotWaitForTheRegionThatIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := json.RawMessage(`{}`)
		spec := func(kind string) failover.ActionSpec {
			return failover.ActionSpec{Kind: kind, Version: 1, Params: map[failover.Region]json.RawMessage{"east1": p, "east2": p}}
		}
		start := spec("mariadb_restore")
		s := failover.NewState()
		s.Active, s.Epoch, s.SettingsHash = "east1", 1, "h"
		s.Settings = &failover.Settings{Primary: "east1", Secondary: "east2", Components: []failover.ComponentSpec{
			{Name: "mariadb", Start: &start, Brings: &failover.BringSpec{Dump: spec("mariadb_dump"), Start: start}},
		}}
		w := &told{state: s, changed: make(chan struct{})}
		asked := make(chan struct{}, 100)
		l := &leadership{core: &Core{cfg: CoreConfig{World: dark{asked: asked}, Exec: actions.Options{CallTimeout: 20 * time.Second}}}}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		seen := func() survey {
			synctest.Wait()
			l.mu.Lock()
			defer l.mu.Unlock()
			return l.survey
		}
		begun := time.Now()
		go l.surveys(ctx, w)
		if got := seen(); !got.at.Equal(begun) || !got.standby(w.State()).Checked || len(asked) != 1 {
			t.Fatalf("while the region that is left does not answer: %+v, asked %d times", got, len(asked))
		}
		time.Sleep(time.Second)
		w.tell(func(s *failover.State) { s.Suspicion = &failover.Suspicion{Region: "east1"} })
		if got := seen(); time.Since(got.at) != 0 {
			t.Errorf("when it is suspected, the survey is %s old", time.Since(got.at))
		}
		time.Sleep(5 * time.Second)
		if got := seen(); time.Since(got.at) != 0 || len(asked) != 1 {
			t.Errorf("five seconds later it is %s old, and the region that is left was asked %d times", time.Since(got.at), len(asked))
		}
		// On a quiet day what it does not answer is told, and stays told while it is asked again.
		w.tell(func(s *failover.State) { s.Suspicion = nil })
		synctest.Wait()
		time.Sleep(21 * time.Second)
		if got := seen(); len(got.brings) != 1 || got.brings[0].OK || len(asked) != 2 {
			t.Errorf("%+v, asked %d times", got.brings, len(asked))
		}
		time.Sleep(time.Minute)
		if got := seen(); time.Since(got.at) > 10*time.Second+time.Minute/2 || len(got.brings) != 1 || len(asked) != 3 {
			t.Errorf("a minute later: %+v, asked %d times", got, len(asked))
		}
		// In a suspicion that lasts nobody asks there, and after a while nothing is told of it any more.
		time.Sleep(21 * time.Second)
		w.tell(func(s *failover.State) { s.Suspicion = &failover.Suspicion{Region: "east1"} })
		time.Sleep(bringsFor - 30*time.Second)
		if got := seen(); len(got.brings) != 1 {
			t.Errorf("in the suspicion: %+v", got.brings)
		}
		time.Sleep(30 * time.Second)
		if got := seen(); len(got.brings) != 0 || time.Since(got.at) > 5*time.Second {
			t.Errorf("at its end: %+v, %s old", got.brings, time.Since(got.at))
		}
	})
}
