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

// play runs one whole cluster through a script and holds it against the oracle.
// What TestSim leaves to chance is arranged here so that one rule alone stands
// between the script and two regions.
func play(t *testing.T, change func(s *failover.Settings), script func(ctx context.Context, c *cluster)) {
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
		for _, r := range []string{east1, east2} {
			c.world.wg.Go(func() { c.world.reconcile(r) })
		}
		for _, name := range c.names {
			c.start(ctx, c.hosts[name])
		}
		sleep(30 * time.Second)
		if up, _ := c.world.workersUp(east1); up != fleetSize {
			t.Errorf("%d workers run in %s before anything happens", up, east1)
		}
		script(ctx, c)
		final := oracle.Final{At: time.Now(), Diverged: c.diverged(), Left: c.left(c.newest())}
		c.end()
		cancel()
		c.world.wg.Wait()
		p := c.settings.Policy
		for _, v := range oracle.Judge(c.world.record, oracle.Rules{Primary: east1, Hold: p.Hold.D(), Prepare: p.PrepareAfter.D(), Slack: 4 * time.Second}, final) {
			t.Error(v)
		}
		if t.Failed() {
			t.Log("\n" + Outcome{Record: c.world.record, Events: c.newestEvents}.History())
		}
	})
}

// leaseAlone leaves nothing but the lease to prove that the workers have stopped.
func leaseAlone(s *failover.Settings) {
	s.Components[0].Stop = &failover.StopSpec{Proof: []failover.EvidenceClass{failover.Lease}}
}
