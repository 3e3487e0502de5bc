package fence

import (
	"sync"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// G2: the answer was long on its way. The lease counts from the request all the
// same, and the worker is dead before the granter may believe that it is.
func TestLeaseCountsFromTheRequest(t *testing.T) {
	agentIn(t, func(c *Config) { c.RPCTimeout = 100 * time.Second }, func(r *rig) {
		r.worker.mu.Lock()
		r.worker.stubborn = true
		r.worker.mu.Unlock()
		r.leader.set(func(l *fakeLeader) { l.delay = 20 * time.Second })
		time.Sleep(time.Second) // the first request has left
		r.leader.set(func(l *fakeLeader) { l.silent = true })
		time.Sleep(20 * time.Second)
		r.runs(true)
		sent := time.Hour
		for range 1000 {
			time.Sleep(100 * time.Millisecond)
			if now := r.clock.Boot(); r.worker.Running() && now >= sent+75*time.Second {
				t.Fatalf("the worker runs %s after a request for a lease of 75 s", now-sent)
			}
		}
		r.runs(false)
	})
}

// G5: a stuck agent dies by its watchdog before its lease ends. So it is not fed
// any more once the stop must begin, as long as the worker lives.
func TestWatchdogIsNotFedPastTheStop(t *testing.T) {
	// What the leader allows for the watchdog may be less than the agent's own file (G4).
	for _, allowed := range []time.Duration{10 * time.Second, 4 * time.Second, 0} {
		watchdogIsNotFed(t, allowed)
	}
}

func watchdogIsNotFed(t *testing.T, allowed time.Duration) {
	t.Helper()
	const watchdog = 10 * time.Second
	var mu sync.Mutex
	var clock *fakeClock
	var fed []time.Duration
	agentIn(t, func(c *Config) {
		c.Watchdog = watchdog
		c.Terms.Stop.Watchdog = failover.Duration(watchdog)
		clock = c.Clock.(*fakeClock)
		c.Feed = func() {
			mu.Lock()
			defer mu.Unlock()
			fed = append(fed, clock.Boot())
		}
	}, func(r *rig) {
		r.leader.set(func(l *fakeLeader) { l.grant.Terms.Stop.Watchdog = failover.Duration(allowed) })
		r.worker.mu.Lock()
		r.worker.stubborn = true
		r.worker.mu.Unlock()
		time.Sleep(14500 * time.Millisecond)
		r.runs(true)
		sent := time.Hour + 10*time.Second
		r.leader.set(func(l *fakeLeader) { l.silent = true })
		time.Sleep(80 * time.Second)
		r.runs(false)
		mu.Lock()
		defer mu.Unlock()
		if len(fed) < 10 {
			t.Fatalf("fed %d times: a watchdog that is not fed kills what works", len(fed))
		}
		for _, at := range fed {
			if at < r.worker.died && at+watchdog > sent+75*time.Second-12*time.Second {
				t.Errorf("%s allowed, fed at sent+%s, the worker lived until sent+%s: a death by the watchdog would come too late", allowed, at-sent, r.worker.died-sent)
			}
		}
	})
}

// G5: whoever ends an agent whose lease is running out does not lengthen the lease: its
// worker is dead when it is over, however little is left of the grace.
func TestShutdownKeepsTheDeadline(t *testing.T) {
	for name, after := range map[string]time.Duration{
		"the stop has not begun": 62 * time.Second, "the stop is under way": 70 * time.Second,
	} {
		agentIn(t, nil, func(r *rig) {
			r.worker.mu.Lock()
			r.worker.stubborn = true
			r.worker.mu.Unlock()
			time.Sleep(time.Second) // the first request has left, and is answered
			r.leader.set(func(l *fakeLeader) { l.silent = true })
			sent := time.Hour
			time.Sleep(sent + after - r.clock.Boot())
			r.runs(true)
			r.cancel()
			time.Sleep(30 * time.Second)
			r.runs(false)
			if r.worker.died >= sent+75*time.Second {
				t.Errorf("%s: the worker lived until %s after a request for a lease of 75 s", name, r.worker.died-sent)
			}
		})
	}
	// The leader's grace is shorter than that of the agent's own file.
	agentIn(t, func(c *Config) { c.Terms.Stop.Grace = d(30 * time.Second) }, func(r *rig) {
		r.worker.mu.Lock()
		r.worker.stubborn = true
		r.worker.mu.Unlock()
		time.Sleep(time.Second)
		r.leader.set(func(l *fakeLeader) { l.silent = true })
		sent := time.Hour
		time.Sleep(sent + 62*time.Second - r.clock.Boot())
		r.runs(true)
		r.cancel()
		time.Sleep(60 * time.Second)
		r.runs(false)
		if r.worker.died >= sent+75*time.Second {
			t.Errorf("a longer grace: the worker lived until %s after a request for a lease of 75 s", r.worker.died-sent)
		}
	})
}

// G6: what was asked for before the host paused the machine is answered with a lease of
// which nobody knows how much is over, also when none was held then.
func TestAskedBeforeAPause(t *testing.T) {
	agentIn(t, nil, func(r *rig) {
		r.leader.set(func(l *fakeLeader) { l.delay = 2 * time.Second })
		time.Sleep(time.Second) // the first request has left
		r.runs(false)
		r.leader.set(func(l *fakeLeader) { l.silent = true })
		r.clock.jump(0, 10*time.Minute)
		time.Sleep(5 * time.Second)
		r.runs(false)
		if st := r.agent.Status(); st.Active {
			t.Errorf("active by a request from before the pause: %+v", st)
		}
		r.leader.set(func(l *fakeLeader) { l.silent, l.delay = false, 0 })
		time.Sleep(10 * time.Second)
		r.runs(true)
	})
}

// G6: many short pauses of a machine are one long one, as far as its lease goes.
func TestManyShortPauses(t *testing.T) {
	agentIn(t, nil, func(r *rig) {
		time.Sleep(time.Second)
		r.runs(true)
		r.leader.set(func(l *fakeLeader) { l.silent = true })
		paused := time.Duration(0)
		for range 20 { // each is no more than what is allowed for everything that nobody thought of
			r.clock.jump(0, 3*time.Second)
			paused += 3 * time.Second
			time.Sleep(time.Second)
		}
		if real := r.clock.Boot() - time.Hour + paused; real < 75*time.Second {
			t.Fatalf("only %s are over", real)
		}
		r.runs(false)
	})
	// One for each renewal is none to speak of, and so is a clock that is set to and fro.
	agentIn(t, nil, func(r *rig) {
		time.Sleep(time.Second)
		for range 20 {
			r.clock.jump(0, 2*time.Second)
			time.Sleep(6 * time.Second)
			r.runs(true)
		}
		r.leader.set(func(l *fakeLeader) { l.silent = true })
		for range 20 {
			r.clock.jump(0, 2*time.Second)
			time.Sleep(time.Second)
			r.clock.jump(0, -2*time.Second)
			time.Sleep(time.Second)
			r.runs(true)
		}
		if r.worker.starts != 1 {
			t.Errorf("%d starts", r.worker.starts)
		}
	})
}
