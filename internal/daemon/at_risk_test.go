package daemon

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
)

// counting is a world in which a restore counts what would be lost.
type counting struct {
	stores
	mu    sync.Mutex
	rows  int64 // negative: nobody answers
	asked int
}

// Action implements actions.World.
func (w *counting) Action(failover.Step) (actions.Action, error) { return counter{w: w}, nil }

type counter struct {
	store
	w *counting
}

// AtRisk implements actions.Counter.
func (c counter) AtRisk(ctx context.Context) *failover.AtRisk {
	c.w.mu.Lock()
	c.w.asked++
	rows := c.w.rows
	c.w.mu.Unlock()
	out := failover.AtRisk{Items: rows, Unit: "rows", Where: "MariaDB in east1", Lost: true}
	if rows < 0 {
		<-ctx.Done()
		out.Items, out.Lacks = 0, "it cannot be asked"
	}
	return &out
}

// What would be lost is counted once a minute, anew when something is suspected, and stays known when the region does not answer any more. Nothing
// waits for that.
func TestCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := json.RawMessage(`{}`)
		s := failover.NewState()
		s.Active, s.Epoch, s.SettingsHash, s.Features = "east1", 1, "h", 2
		s.Settings = &failover.Settings{Primary: "east1", Secondary: "east2", Components: []failover.ComponentSpec{
			{Name: "mariadb", Start: &failover.ActionSpec{Kind: "mariadb_restore", Version: 1, Params: map[failover.Region]json.RawMessage{"east1": p, "east2": p}}},
		}}
		w := &told{state: s, changed: make(chan struct{})}
		world := &counting{rows: -1}
		l := &leadership{core: &Core{cfg: CoreConfig{World: world, Exec: actions.Options{CallTimeout: 20 * time.Second}}}}
		var mu sync.Mutex
		var noted []failover.AtRisk
		note := func(_ context.Context, c failover.RecordAtRisk) {
			mu.Lock()
			noted = append(noted, c.Counted["mariadb"])
			mu.Unlock()
			w.tell(func(s *failover.State) {
				s.AtRisk = map[failover.Component]failover.AtRiskSample{"mariadb": {AtRisk: c.Counted["mariadb"], At: time.Now()}}
			})
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go l.surveys(ctx, w)
		go l.counts(ctx, w, note)
		// expect waits, and tells how often it was asked and noted since.
		expect := func(what string, wait time.Duration, asked, notes int) {
			t.Helper()
			time.Sleep(wait)
			synctest.Wait()
			world.mu.Lock()
			mu.Lock()
			if world.asked != asked || len(noted) != notes {
				t.Errorf("%s: asked %d times and noted %+v, want %d and %d", what, world.asked, noted, asked, notes)
			}
			mu.Unlock()
			world.mu.Unlock()
		}
		row := func() string {
			l.mu.Lock()
			defer l.mu.Unlock()
			var v LeaderView
			if l.lacks.of(w.State()) {
				v.Uncounted = l.lacks.why
			}
			rows := riskRows(w.State(), v)
			if len(rows) != 1 || rows[0].Name != "at risk mariadb" || rows[0].OK == rows[0].Advice {
				t.Fatalf("%+v", rows)
			}
			return rows[0].Detail
		}
		answers := func(rows int64) {
			world.mu.Lock()
			defer world.mu.Unlock()
			world.rows = rows
		}
		expect("a node does not understand it", 10*time.Second, 0, 0)
		w.tell(func(s *failover.State) { s.Features = 3 })
		expect("nobody answers", time.Second, 1, 0)
		expect("it is given up", 5*time.Second, 1, 1)
		if noted[0].Lacks == "" || row() != "not counted for the price: it cannot be asked" {
			t.Errorf("%+v, %s", noted, row())
		}
		expect("the same again is no news", time.Minute+5*time.Second, 2, 1)
		answers(419)
		expect("it answers", time.Minute, 3, 2)
		expect("each minute anew", time.Minute, 4, 3)
		if was := row(); !strings.HasPrefix(was, "about 419 rows in MariaDB in east1; counted 2000-01-01T00:0") {
			t.Error(was)
		}
		w.tell(func(s *failover.State) { s.Suspicion = &failover.Suspicion{Region: "east1"} })
		expect("at once when it is suspected", 0, 5, 4)
		expect("and every 15 s", 30*time.Second, 7, 6)
		answers(-1)
		w.tell(func(s *failover.State) { s.Request = &failover.Request{Kind: failover.Failover} })
		expect("at once when somebody wants a failover", 0, 8, 6)
		l.mu.Lock()
		if age := time.Since(l.survey.at); age != 0 {
			t.Errorf("the survey waits for it, and is %s old", age)
		}
		l.mu.Unlock()
		expect("what is known outlasts the region", 30*time.Second, 9, 6)
		if at := row(); !strings.HasPrefix(at, "not counted for the price: it cannot be asked; before: about 419 rows") || w.State().AtRisk["mariadb"].Items != 419 {
			t.Error(at)
		}
		answers(420)
		w.tell(func(s *failover.State) { s.Execution = &failover.Execution{} })
		expect("nobody is asked while it is left", 10*time.Minute, 9, 6)
		// What was counted for what is no more says nothing.
		answers(-1)
		w.tell(func(s *failover.State) { s.Execution = nil })
		expect("asked again", 0, 10, 6)
		w.tell(func(s *failover.State) { s.SettingsHash, s.AtRisk = "i", nil })
		expect("another configuration meanwhile", 5*time.Second, 11, 6)
		expect("counted for it", 5*time.Second, 11, 7)
	})
}
