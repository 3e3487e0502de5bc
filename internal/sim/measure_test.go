package sim

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

var trials = flag.Int("trials", 6, "how often each figure is measured")

// The timers that are compared: the two profiles, and beside them those that
// hashicorp/raft comes with.
var profiles = []struct {
	name   string
	timers consensus.Timers
	// goal bounds the 99th percentile of resuming after the leader's loss; zero:
	// a peer, only shown.
	goal time.Duration
}{
	{"default", consensus.Timers{Heartbeat: 500 * time.Millisecond, Election: 500 * time.Millisecond, LeaderLease: 400 * time.Millisecond, Commit: 20 * time.Millisecond}, 2500 * time.Millisecond},
	{"fast", consensus.Timers{Heartbeat: 300 * time.Millisecond, Election: 300 * time.Millisecond, LeaderLease: 250 * time.Millisecond, Commit: 20 * time.Millisecond}, 1500 * time.Millisecond},
	{"raft-defaults", consensus.Timers{Heartbeat: time.Second, Election: time.Second, LeaderLease: 500 * time.Millisecond, Commit: 50 * time.Millisecond}, 0},
}

// wan are the one-way times between the sites: 12, 60 and 60 ms of round trip.
func wan(c *cluster) {
	c.net.oneWay = map[[2]string]time.Duration{}
	for pair, rtt := range map[[2]string]time.Duration{{east1, east2}: 12, {east1, thirdLoc}: 60, {east2, thirdLoc}: 60} {
		c.net.oneWay[pair] = rtt * time.Millisecond / 2
		c.net.oneWay[[2]string{pair[1], pair[0]}] = rtt * time.Millisecond / 2
	}
}

// measured runs fn in clusters of their own, each in a bubble of fake time, and
// returns what it measured, sorted. Fake time holds what the network and the
// timers cost, and nothing of this machine's.
func measured(t *testing.T, timers consensus.Timers, fn func(ctx context.Context, c *cluster, rng *rand.Rand) time.Duration, opts ...func(*cluster)) []time.Duration {
	t.Helper()
	var mu sync.Mutex
	var out []time.Duration
	for i := range *trials {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(i), 9)) //nolint:gosec // a simulation
			ctx, cancel := context.WithCancel(context.Background())
			c := newCluster(ctx, rng, failover.ModeAutomatic, false, slog.New(slog.NewTextHandler(io.Discard, nil)), func(err error) { t.Error(err) })
			c.timers = timers
			wan(c)
			for _, opt := range opts {
				opt(c)
			}
			c.begin(ctx)
			sleep(30*time.Second + time.Duration(rng.IntN(5000))*time.Millisecond)
			d := fn(ctx, c, rng)
			c.heal(ctx)
			c.end()
			cancel()
			c.world.wg.Wait()
			sleep(time.Minute) // what a node whose disk hung has left behind ends by itself
			mu.Lock()
			out = append(out, d)
			mu.Unlock()
		})
	}
	slices.Sort(out)
	return out
}

func quantile(d []time.Duration, q float64) time.Duration {
	return d[min(len(d)-1, int(q*float64(len(d))))].Round(time.Millisecond)
}

// until lets time pass in small steps until ok.
func until(t *testing.T, limit time.Duration, ok func() bool) time.Duration {
	t.Helper()
	began := time.Now()
	for !ok() {
		if time.Since(began) > limit {
			t.Error("it did not come within " + limit.String())
			break
		}
		sleep(5 * time.Millisecond)
	}
	return time.Since(began)
}

// leading is the host that leads; leadership may just be on its way from one to
// another.
func leading(t *testing.T, c *cluster) (l *host) {
	t.Helper()
	until(t, time.Minute, func() bool { l = c.leader(); return l != nil })
	return l
}

// resumed waits until another node than old leads and has committed an entry
// beyond its barrier.
func resumed(t *testing.T, c *cluster, old *host) time.Duration {
	return until(t, time.Minute, func() bool {
		l := c.leader()
		return l != nil && l != old
	})
}

// TestMeasures measures in fake time what the network and the timers cost, and
// holds it against its goals. make bench prints the same with more trials.
func TestMeasures(t *testing.T) {
	for _, p := range profiles {
		crash := measured(t, p.timers, func(_ context.Context, c *cluster, _ *rand.Rand) time.Duration {
			old := leading(t, c)
			c.crash(old)
			return resumed(t, c, old)
		})
		fmt.Printf("bench: what=resume-after-crash timers=%s p50=%s p99=%s goal=%s trials=%d\n", p.name, quantile(crash, .5), quantile(crash, .99), p.goal, len(crash))
		if p.goal > 0 && quantile(crash, .99) > p.goal {
			t.Errorf("%s: resumed after %s", p.name, quantile(crash, .99))
		}
		hang := measured(t, p.timers, func(_ context.Context, c *cluster, _ *rand.Rand) time.Duration {
			old := leading(t, c)
			release := old.disk.hang()
			d := resumed(t, c, old)
			release()
			return d
		})
		goal := 4*p.timers.Heartbeat + p.timers.Election + p.goal // the next write, the watchdog, an election
		fmt.Printf("bench: what=resume-after-disk-hang timers=%s p50=%s p99=%s goal=%s trials=%d\n", p.name, quantile(hang, .5), quantile(hang, .99), goal, len(hang))
		if p.goal > 0 && quantile(hang, .99) > goal {
			t.Errorf("%s: taken over from a hung disk after %s", p.name, quantile(hang, .99))
		}
	}
	suspicion(t)
	effect := measured(t, profiles[0].timers, func(_ context.Context, c *cluster, _ *rand.Rand) time.Duration {
		c.net.set(func() { c.net.cutSite[east1] = true })
		until(t, 5*time.Minute, func() bool { s := c.newest(); return s != nil && s.Execution != nil })
		opened := c.newest().Incident.At
		until(t, 5*time.Minute, func() bool { return len(c.world.records(oracle.Start)) > 0 })
		for _, ev := range c.newest().Events {
			// The first effect is the first stop or start that is asked for.
			if ev.Kind == "step-started" && ev.At.After(opened) {
				return ev.At.Sub(opened)
			}
		}
		t.Error("nothing was started")
		return 0
	})
	fmt.Printf("bench: what=confirmed-to-first-effect p50=%s p99=%s goal=%s trials=%d\n", quantile(effect, .5), quantile(effect, .99), 300*time.Millisecond, len(effect))
}

// suspicion measures how soon it stands in the log that a vantage sees a region
// down which went dark, and that all outside do: probes every second, each given
// up after a second, three misses in a row. No look can be sooner than that
// allows: (k−½)T + τ on average.
func suspicion(t *testing.T) {
	for _, m := range []struct {
		name     string
		together bool
		goal     time.Duration
	}{{"staggered", false, 3800 * time.Millisecond}, {"together", true, 4100 * time.Millisecond}} {
		var agreed, named []time.Duration
		first := measured(t, profiles[0].timers, func(_ context.Context, c *cluster, _ *rand.Rand) time.Duration {
			at := time.Now()
			c.net.set(func() { c.net.cutSite[east1] = true })
			noted := func(what ...string) time.Duration {
				for _, ev := range c.newest().Events {
					for _, w := range what {
						if ev.Kind == "note-suspicion" && !ev.At.Before(at) && strings.HasPrefix(ev.Text, east1+" "+w) {
							return ev.At.Sub(at)
						}
					}
				}
				return 0
			}
			until(t, time.Minute, func() bool { return noted("region-down") > 0 })
			named = append(named, noted("region-down"))
			// Also while a vote from inside still counts, and speaks against it.
			agreed = append(agreed, noted("region-down", "partitioned"))
			return noted("disagreement", "region-down", "partitioned")
		}, func(c *cluster) { c.together = m.together })
		slices.Sort(agreed)
		slices.Sort(named)
		fmt.Printf("bench: what=first-vantage probes=%s p50=%s p99=%s trials=%d\n", m.name, quantile(first, .5), quantile(first, .99), len(first))
		fmt.Printf("bench: what=quorum probes=%s p50=%s p99=%s trials=%d\n", m.name, quantile(agreed, .5), quantile(agreed, .99), len(first))
		fmt.Printf("bench: what=region-down probes=%s p50=%s p99=%s trials=%d\n", m.name, quantile(named, .5), quantile(named, .99), len(first))
	}
}

// records are the world's entries of one kind.
func (w *world) records(kind oracle.Kind) (out []oracle.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.record {
		if e.Kind == kind {
			out = append(out, e)
		}
	}
	return out
}
