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
// hashicorp/raft comes with. A goal is what was reached elsewhere, in the 99th
// percentile, and is only shown; a bound is a promise.
var profiles = []struct {
	name   string
	timers consensus.Timers
	// Until the next leader has written its next intent; and until it has passed its
	// barrier since a write of the old one hangs.
	resume, resumeBound, hang time.Duration
}{
	{"default", consensus.Timers{Heartbeat: 500 * time.Millisecond, Election: 500 * time.Millisecond, LeaderLease: 400 * time.Millisecond, Commit: 20 * time.Millisecond}, 1700 * time.Millisecond, 2500 * time.Millisecond, 0},
	{"fast", consensus.Timers{Heartbeat: 300 * time.Millisecond, Election: 300 * time.Millisecond, LeaderLease: 250 * time.Millisecond, Commit: 20 * time.Millisecond}, 1350 * time.Millisecond, 1500 * time.Millisecond, 1400 * time.Millisecond},
	{"raft-defaults", consensus.Timers{Heartbeat: time.Second, Election: time.Second, LeaderLease: 500 * time.Millisecond, Commit: 50 * time.Millisecond}, 2500 * time.Millisecond, 0, 3700 * time.Millisecond},
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

// resumed waits until another node than old leads, which has passed its barrier.
func resumed(t *testing.T, c *cluster, old *host) {
	until(t, time.Minute, func() bool {
		l := c.leader()
		return l != nil && l != old
	})
}

// hundred trials have a 99th percentile; with fewer it would be the largest of
// them, which is another figure: one lost election among six says nothing of it.
const hundred = 100

// show prints a figure, whether its goal is met, and fails where a promise is
// broken: by the 99th percentile, or by the median of too few trials for one.
// Zero: there is none.
func show(t *testing.T, what, how string, d []time.Duration, goal, bound time.Duration) {
	t.Helper()
	median := quantile(d, .5)
	judged, line := median, fmt.Sprintf("p50=%s", median)
	if len(d) >= hundred {
		judged = quantile(d, .99)
		line += fmt.Sprintf(" p99=%s", judged)
	}
	line += fmt.Sprintf(" max=%s", quantile(d, 1))
	if goal > 0 {
		met := "no"
		if judged <= goal {
			met = "yes"
		}
		line += fmt.Sprintf(" goal=%s met=%s", goal, met)
	}
	if bound > 0 {
		line += fmt.Sprintf(" bound=%s", bound)
	}
	fmt.Printf("bench: what=%s %s %s trials=%d\n", what, how, line, len(d))
	if bound > 0 && judged > bound {
		t.Errorf("%s %s: %s", what, how, judged)
	}
}

// TestMeasures measures in fake time what the network and the timers cost, and
// holds it against its goals. make bench prints the same with more trials.
func TestMeasures(t *testing.T) {
	for _, p := range profiles {
		show(t, "resume-after-crash", "timers="+p.name, measured(t, p.timers, resume(t)), p.resume, p.resumeBound)
		bound := time.Duration(0)
		if p.resumeBound > 0 {
			bound = 2*p.timers.Heartbeat + p.timers.Election + p.resumeBound // the watchdog's time, then as after a crash
		}
		show(t, "resume-after-disk-hang", "timers="+p.name, measured(t, p.timers, func(_ context.Context, c *cluster, _ *rand.Rand) time.Duration {
			old := leading(t, c)
			release := old.disk.hang()
			defer release()
			resumed(t, c, old)
			return time.Since(old.disk.stuckSince())
		}), p.hang, bound)
	}
	suspicion(t)
	ownTime(t)
	// An entry that a majority is asked to keep costs a round trip, 12 ms while the
	// nodes of the primary answer and 60 ms without them, and there are several on the
	// way to an effect. What is left without the network is our own time.
	ill := func(c *cluster) { c.world.set(func() { c.world.sights.ill[east1] = true }) }
	show(t, "confirmed-to-first-effect", "network=12/60/60ms region=ill", measured(t, profiles[0].timers, firstEffect(t, ill)), 100*time.Millisecond, 0)
	show(t, "confirmed-to-first-effect", "network=12/60/60ms region=cut", measured(t, profiles[0].timers, firstEffect(t, func(c *cluster) {
		c.net.set(func() { c.net.cutSite[east1] = true })
	})), 100*time.Millisecond, 0)
	show(t, "confirmed-to-first-effect", "network=0ms region=ill", measured(t, profiles[0].timers, firstEffect(t, ill), func(c *cluster) { c.net.oneWay, c.net.delay = nil, 0 }), 100*time.Millisecond, 100*time.Millisecond)
}

// resume measures in mid-plan: the leader dies right after the execution began, and
// another one, past its barrier, writes the next intent.
func resume(t *testing.T) func(context.Context, *cluster, *rand.Rand) time.Duration {
	return func(_ context.Context, c *cluster, _ *rand.Rand) time.Duration {
		c.world.set(func() { c.world.sights.ill[east1] = true })
		until(t, 5*time.Minute, func() bool { s := c.newest(); return s != nil && s.Execution != nil })
		old, at := leading(t, c), time.Now()
		c.crash(old)
		var wrote time.Time
		until(t, time.Minute, func() bool {
			led := false
			for _, ev := range c.newest().Events {
				led = led || ev.Kind == "lead" && !ev.At.Before(at)
				if led && ev.Kind == "step-started" {
					wrote = time.Now()
				}
			}
			return !wrote.IsZero()
		})
		return wrote.Sub(at)
	}
}

// firstEffect measures from the incident to the moment at which the first call
// that changes the world leaves its node.
func firstEffect(t *testing.T, fail func(*cluster)) func(context.Context, *cluster, *rand.Rand) time.Duration {
	return func(_ context.Context, c *cluster, _ *rand.Rand) time.Duration {
		fail(c)
		until(t, 5*time.Minute, func() bool { return len(c.world.records(oracle.Sent)) > 0 })
		if len(c.world.records(oracle.Sent)) == 0 {
			c.world.mu.Lock()
			t.Log("nothing was done:\n" + Outcome{Record: c.world.record, Events: c.newest().Events}.History())
			c.world.mu.Unlock()
			return 5 * time.Minute
		}
		return c.world.records(oracle.Sent)[0].At.Sub(c.world.records(oracle.Incident)[0].At)
	}
}

// suspicion measures how soon it stands in the log that a region which went dark
// is seen down: probes every second, each given up after a second, three misses in a
// row. No look can be sooner than that allows: (k−½)T + τ on average, kT + τ at worst,
// and the way and a commit. That all outside agree counts also while a vote from
// inside is still fresh and speaks against it: the region is named once that has
// aged.
func suspicion(t *testing.T) {
	for _, m := range []struct {
		name        string
		together    bool
		goal, bound time.Duration
	}{{"staggered", false, 3800 * time.Millisecond, 4100 * time.Millisecond}, {"together", true, 4100 * time.Millisecond, 4100 * time.Millisecond}} {
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
		show(t, "first-vantage-sees-it-down", "probes="+m.name, first, 0, 0)
		show(t, "all-outside-agree", "probes="+m.name, agreed, m.goal, m.bound)
		show(t, "region-down-is-named", "probes="+m.name, named, 0, 0)
	}
}

// ownTime measures what a failover with the plan of the example takes beside what
// the world takes: the network, the log, the looks and what they are apart. The
// workers of the old region die, the standby boots, its workers start: those three
// times are taken off. What the policy waits for on purpose is not measured.
func ownTime(t *testing.T) {
	settings, sees, plan := reference(t)
	settings.Policy.Lease.EffectTail = 0
	var out []time.Duration
	for i := range max(1, *trials/10) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(uint64(i), 13)) //nolint:gosec // a simulation
			ctx, cancel := context.WithCancel(context.Background())
			c := newClusterOf(ctx, rng, settings, slog.New(slog.NewTextHandler(io.Discard, nil)), func(err error) { t.Error(err) })
			c.sees = sees
			c.refer(settings)
			c.net.oneWay = map[[2]string]time.Duration{}
			for _, a := range []string{east1, east2, thirdLoc} {
				for _, b := range []string{east1, east2, thirdLoc} {
					if a != b {
						c.net.oneWay[[2]string{a, b}] = 30 * time.Millisecond
					}
				}
			}
			c.world.late = 0
			c.begin(ctx)
			sleep(30*time.Second + time.Duration(rng.IntN(5000))*time.Millisecond)
			c.world.set(func() { c.world.sights.ill[east1] = true })
			if end := c.awaitClose(); end != string(failover.ExecStable) {
				t.Error(end)
			}
			began := func(step failover.StepID) time.Time { return c.newest().History[0].Step(step).Last().StartedAt }
			last := func(kind oracle.Kind, region string) (at time.Time) {
				for _, e := range c.world.records(kind) {
					if e.Region == region {
						at = e.At
					}
				}
				return at
			}
			e := c.newest().History[0]
			world := last(oracle.WorkerDown, east1).Sub(began("stop-workers")) + warmUp + last(oracle.WorkerUp, east2).Sub(began("start-workers"))
			out = append(out, e.FinishedAt.Sub(e.StartedAt)-world)
			c.finish(cancel)
		})
	}
	slices.Sort(out)
	show(t, "own-time", fmt.Sprintf("steps=%d network=60ms", len(plan.Steps)), out, 3*time.Second, 0)
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
