package sim

import (
	"context"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// playOut runs one whole cluster through a script and holds it against the oracle.
// What TestSim leaves to chance is arranged here so that one rule alone stands
// between the script and two regions.
func playOut(t *testing.T, change func(s *failover.Settings), script func(ctx context.Context, c *cluster)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rng := rand.New(rand.NewPCG(1, 11)) //nolint:gosec // a simulation
		ctx, cancel := context.WithCancel(context.Background())
		var mu sync.Mutex
		c := newCluster(ctx, rng, failover.ModeAutomatic, false, slog.New(slog.NewTextHandler(io.Discard, nil)), func(err error) {
			mu.Lock()
			defer mu.Unlock()
			t.Error(err)
		})
		if change != nil {
			change(&c.settings)
			c.world.terms = c.settings.Policy.Lease
		}
		wan(c)
		// Workers that hold on as long as they may, on clocks as slow as they may be.
		c.world.slowest, c.world.stubborn = true, true
		c.begin(ctx)
		sleep(30 * time.Second)
		if up, _ := c.world.workersUp(east1); up != fleetSize {
			t.Errorf("%d workers run in %s before anything happens", up, east1)
		}
		script(ctx, c)
		s := c.newest()
		final := c.finish(cancel)
		for _, v := range oracle.Judge(c.world.record, c.rules, &final) {
			t.Error(v)
		}
		if t.Failed() {
			t.Log("\n" + Outcome{Record: c.world.record, Events: s.Events}.History())
		}
	})
}

// leaseAlone leaves nothing but the lease to prove that the workers have stopped.
func leaseAlone(s *failover.Settings) {
	s.Components[0].Stop = &failover.StopSpec{Proof: []failover.EvidenceClass{failover.Lease}}
}

// order is a person who orders a failover, in spite of whatever objects.
func order(ctx context.Context, t *testing.T, c *cluster) {
	t.Helper()
	if _, err := c.press(ctx, "uid 2", failover.RequestExecution{Kind: failover.Failover, Overrides: failover.Overridable()}); err != nil {
		t.Error(err)
	}
}

// moved waits for workers in the other region.
func moved(t *testing.T, c *cluster, within time.Duration) {
	t.Helper()
	until(t, within, func() bool { up, _ := c.world.workersUp(east2); return up == fleetSize })
}

// mended lets the region that was left come back, with all that was never told
// to stop.
func mended(ctx context.Context, c *cluster) {
	c.heal(ctx)
	sleep(2 * time.Minute)
}

func cutOff(c *cluster) {
	c.world.note(oracle.Note, "", "fault", "%s is cut off", east1)
	c.net.set(func() { c.net.cutSite[east1] = true })
}

// A region that is alive is left because a person says so, and its workers are
// proven to have stopped by nothing but the freeze and the wait.
func TestLeaveByLeaseAlone(t *testing.T) {
	playOut(t, leaseAlone, func(ctx context.Context, c *cluster) {
		order(ctx, t, c)
		moved(t, c, 5*time.Minute)
		mended(ctx, c)
	})
}

// A region is cut off and left at once: its workers run until their leases end,
// on clocks as slow as the protocol allows.
func TestLeaveWhatIsCutOff(t *testing.T) {
	playOut(t, nil, func(ctx context.Context, c *cluster) {
		cutOff(c)
		order(ctx, t, c)
		moved(t, c, 10*time.Minute)
		mended(ctx, c)
	})
}

// The other region's workers find their data restored before they begin, although the leader dies while that is under way; what
// they have written since stays.
func TestWorkWaitsForItsData(t *testing.T) {
	playOut(t, func(s *failover.Settings) { *s = withDatabase(*s) }, func(ctx context.Context, c *cluster) {
		cutOff(c)
		order(ctx, t, c)
		db := func() database {
			c.world.mu.Lock()
			defer c.world.mu.Unlock()
			return *c.world.database(pool("mariadb", east2))
		}
		until(t, 10*time.Minute, func() bool { return db().running > 0 })
		if h := c.leader(); h != nil {
			c.crash(h)
			c.start(ctx, h)
		}
		moved(t, c, 10*time.Minute)
		if got := db(); got.epoch != 2 {
			t.Errorf("%+v", got)
		}
		mended(ctx, c)
	})
}

// The same after a pause, whose leases are as long as the pause was when they
// were granted: then the clocks' rates make more of a difference than all
// margins together.
func TestLeaveInAPause(t *testing.T) {
	playOut(t, nil, func(ctx context.Context, c *cluster) {
		if _, err := c.press(ctx, "uid 2", failover.PauseAutomation{For: dur(20 * time.Minute)}); err != nil {
			t.Error(err)
		}
		sleep(20 * time.Second) // every agent has asked again
		cutOff(c)
		order(ctx, t, c)
		moved(t, c, 40*time.Minute)
		mended(ctx, c)
	})
}

// Every signal of a region goes dark at once, for less than the hold: that is one
// cut path, and however many signals it takes along, they shorten nothing.
func TestShortCutMovesNothing(t *testing.T) {
	playOut(t, nil, func(ctx context.Context, c *cluster) {
		cutOff(c)
		sleep(75 * time.Second)
		mended(ctx, c)
		for _, ev := range c.newest().Events {
			if ev.Kind == "open-incident" || ev.Kind == "start-execution" {
				t.Errorf("%s: %s", ev.Kind, ev.Text)
			}
		}
	})
}

// A suspicion that lasts long enough to prepare, and passes: what was prepared is
// taken back, and nothing else has happened.
func TestBlipIsTakenBack(t *testing.T) {
	playOut(t, prepares, func(ctx context.Context, c *cluster) {
		cutOff(c)
		sleep(70 * time.Second)
		if len(c.world.records(oracle.Start)) == 0 {
			t.Error("nothing was prepared: the test shows nothing")
		}
		mended(ctx, c)
		if up, _ := c.world.workersUp(east1); up != fleetSize || len(c.world.records(oracle.Flip)) > 0 {
			t.Errorf("%d workers run in %s, traffic %v", up, east1, c.world.records(oracle.Flip))
		}
	})
}

// prepares marks the start of the workers as one that may be prepared.
func prepares(s *failover.Settings) {
	start := *s.Components[0].Start
	start.Prepare = true
	s.Components[0].Start = &start
}

// A person is asked, and before anybody answers the region is well again for a
// whole hold: the execution is withdrawn, and what it had adopted of the
// preparation is taken back like the preparation itself would have been.
func TestWithdrawnTakesBackWhatWasPrepared(t *testing.T) {
	playOut(t, func(s *failover.Settings) {
		s.Policy.Mode = failover.ModeSupervised
		prepares(s)
	}, func(ctx context.Context, c *cluster) {
		cutOff(c)
		until(t, 5*time.Minute, func() bool { s := c.newest(); return s != nil && s.Execution != nil })
		if len(c.world.records(oracle.Start)) == 0 {
			t.Error("nothing was prepared: the test shows nothing")
		}
		mended(ctx, c)
		sleep(3 * time.Minute)
		if s := c.newest(); s.Execution != nil || len(s.History) != 1 || s.Incident != nil {
			t.Errorf("it is not over: execution %v, incident %v", s.Execution, s.Incident)
		}
	})
}
