package fence

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// clockAt is a clock that a test sets.
type clockAt struct{ now time.Duration }

func (c *clockAt) Boot() time.Duration { return c.now }
func (c *clockAt) Real() time.Time     { return time.Unix(0, int64(c.now)) }

// A function gets leave only if it is dead before the lease's workers must be, and
// counts as running until then, also after the stop.
func TestServed(t *testing.T) {
	c := &clockAt{now: time.Hour}
	s := NewServed(c)
	ask := func(need time.Duration, valid bool, why string) {
		t.Helper()
		l := s.Ask(need)
		if l.Valid != valid || !strings.Contains(l.Why, why) {
			t.Errorf("need %s: %+v, want valid %t, %q", need, l, valid, why)
		}
	}
	ask(time.Second, false, "there is no lease")
	if s.Running() {
		t.Error("runs before it was started")
	}
	if err := s.Start(Deadlines{Term: time.Hour + 50*time.Second, Kill: time.Hour + 60*time.Second}); err != nil {
		t.Fatal(err)
	}
	ask(0, false, "name how long you may still run")
	ask(2*time.Hour, false, "at most")
	ask(61*time.Second, false, "the lease is good for 1m0s")
	ask(60*time.Second, true, "")
	ask(30*time.Second, true, "")
	if l := s.Ask(time.Second); l.RemainingMS != 60_000 {
		t.Errorf("remaining %d ms", l.RemainingMS)
	}
	c.now += 20 * time.Second
	ask(41*time.Second, false, "good for 40s")
	_ = s.Extend(Deadlines{Term: c.now + 50*time.Second, Kill: c.now + 60*time.Second})
	ask(41*time.Second, true, "")
	// Stopped: nobody gets leave, and the longest that was given counts.
	_ = s.Stop(c.now)
	ask(time.Millisecond, false, "there is no lease")
	if c.now += 40 * time.Second; !s.Running() {
		t.Error("a function that may still run counts as dead")
	}
	if c.now += 2 * time.Second; s.Running() {
		t.Error("it counts as running although every function is dead")
	}
	// Below the enforced rung nothing is bound.
	_ = s.Start(Deadlines{})
	ask(10*time.Minute, true, "")
	if _, err := s.Rehearse(time.Second); err != nil {
		t.Error(err)
	}
}

// Leave that was given while the lease bound nothing counts as well: the agent may be
// bound a moment later, by the answer that freezes it.
func TestUnboundLeaveIsNotForgotten(t *testing.T) {
	clock := &fakeClock{start: time.Now()}
	s := NewServed(clock)
	if err := s.Start(Deadlines{}); err != nil || !s.Ask(30*time.Second).Valid {
		t.Fatal("no leave", err)
	}
	_ = s.Stop(0)
	if !s.Running() {
		t.Error("somebody works for another 30 s, and counts as stopped")
	}
}

// When a component is armed, its lease proves nothing as long as somebody lives who was
// given leave for longer while it bound nothing (G5, S1).
func TestLeaveFromBeforeTheArming(t *testing.T) {
	// Where nobody has ever had leave it is one from the beginning.
	agentIn(t, func(c *Config) { c.Worker = NewServed(c.Clock) }, func(r *rig) {
		r.leader.set(func(l *fakeLeader) {
			l.grant = failover.Grant{Epoch: 1, Gone: true, Arming: failover.ArmEnforced, OnIsol: "stop"}
		})
		time.Sleep(time.Minute)
		if !r.leader.last().Enforced {
			t.Error("the lease of an agent that gives nobody leave proves nothing")
		}
	})
	agentIn(t, func(c *Config) {
		c.Worker, c.Asker.(*fakeLeader).grant.Arming = NewServed(c.Clock), failover.ArmAdvisory
	}, func(r *rig) {
		time.Sleep(10 * time.Second)
		if l := r.agent.Leave(10 * time.Minute); !l.Valid {
			t.Fatalf("no leave on a lower rung: %+v", l)
		}
		r.leader.set(func(l *fakeLeader) { l.grant.Arming = failover.ArmEnforced })
		until := time.Now().Add(10*time.Minute - 2*terms().Length.D())
		for time.Now().Before(until) {
			time.Sleep(time.Second)
			if r.leader.last().Enforced {
				t.Fatalf("its lease counts as a proof %s before the last one ends who was given leave", time.Until(until.Add(2*terms().Length.D())))
			}
		}
		if l := r.agent.Leave(10 * time.Minute); l.Valid {
			t.Errorf("leave beyond the lease: %+v", l)
		}
		time.Sleep(2 * terms().Length.D())
		if !r.leader.last().Enforced {
			t.Error("it is never a proof again")
		}
	})
}

// While a worker is on and not bound yet, leave of any length may be given a moment later.
func TestUnboundIsNotWithin(t *testing.T) {
	clock := &clockAt{now: time.Hour}
	s := NewServed(clock)
	kill := clock.now + time.Minute
	for _, step := range []struct {
		what string
		do   func() error
		want bool
	}{
		{"nobody gets leave", func() error { return nil }, true},
		{"started unbound", func() error { return s.Start(Deadlines{}) }, false},
		{"bound", func() error { return s.Extend(Deadlines{Term: kill, Kill: kill}) }, true},
		{"stopped", func() error { return s.Stop(kill) }, true},
	} {
		if err := step.do(); err != nil || s.Within(kill) != step.want {
			t.Errorf("%s: within the lease %t, %v", step.what, s.Within(kill), err)
		}
	}
}

// Leave that was given under a longer lease outlives the next one, also when the shorter
// one comes while all are still awaited that were stopped for a freeze (G4, G5, S1).
func TestLeaveFromALongerLease(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		agentIn(t, func(c *Config) { c.Worker = NewServed(c.Clock) }, func(r *rig) {
			short := terms().Length
			r.leader.set(func(l *fakeLeader) { l.grant.Index, l.grant.Terms.Length = 5, 4*short }) // as in a pause
			time.Sleep(10 * time.Second)
			need := 3 * short.D()
			until := time.Now().Add(need)
			if l := r.agent.Leave(need); !l.Valid {
				t.Fatalf("no leave under a long lease: %+v", l)
			}
			if frozen {
				r.leader.set(func(l *fakeLeader) { l.grant.Granted, l.grant.Freeze = false, 7 })
				time.Sleep(10 * time.Second)
			}
			r.leader.set(func(l *fakeLeader) {
				l.grant.Granted, l.grant.Freeze, l.grant.Index, l.grant.Terms.Length = true, 0, 9, short
			})
			for time.Until(until) > 2*short.D() {
				time.Sleep(time.Second)
				if a := r.leader.last(); a.Holding == 9 && a.Enforced {
					t.Fatalf("frozen %t: the end of a lease of %s counts as a proof; somebody may work for another %s", frozen, short, time.Until(until))
				}
			}
			time.Sleep(3 * short.D())
			if !r.leader.last().Enforced {
				t.Errorf("frozen %t: it is never a proof again", frozen)
			}
		})
	}
}

// Below the enforced rung, too, nobody gets leave, with the epoch of another region's lease,
// once the agent knows that its region is not the active one, also before its next look.
func TestNoLeaveInARegionThatWasLeft(t *testing.T) {
	agentIn(t, func(c *Config) {
		c.Worker, c.Arming = NewServed(c.Clock), failover.ArmObserve
		c.Asker.(*fakeLeader).grant.Arming = failover.ArmObserve
	}, func(r *rig) {
		time.Sleep(time.Second + tick/2)
		if l := r.agent.Leave(10 * time.Minute); !l.Valid {
			t.Fatalf("no leave: %+v", l)
		}
		r.agent.holder.Sent("late", r.clock.Boot())
		r.agent.take(refused("late", func(g *failover.Grant) { g.Gone, g.Epoch, g.Arming = true, 2, failover.ArmObserve }))
		if l := r.agent.Leave(10 * time.Minute); l.Valid {
			t.Errorf("leave in a region that was left: %+v", l)
		}
	})
}

// G6: a function that asks first after its agent's host was paused gets no leave, also
// before the agent itself has looked at its clocks and told its worker.
func TestLeaveRightAfterAPause(t *testing.T) {
	serve := func(c *Config) { c.Worker = NewServed(c.Clock) }
	agentIn(t, serve, func(r *rig) {
		if l := r.agent.Leave(time.Second); l.Valid {
			t.Errorf("leave before any lease: %+v", l)
		}
		time.Sleep(time.Second + tick/2) // between two ticks
		if l := r.agent.Leave(time.Second); !l.Valid || l.Epoch != granted("").Epoch || l.Epoch == 0 {
			t.Fatalf("no leave before the pause: %+v", l)
		}
		r.leader.set(func(l *fakeLeader) { l.silent = true })
		r.clock.jump(0, time.Minute)
		if l := r.agent.Leave(time.Second); l.Valid || l.Epoch != 0 || !strings.Contains(l.Why, "there is no lease") {
			t.Errorf("leave right after the pause: %+v", l)
		}
		time.Sleep(2*tick + time.Millisecond)
		if l := r.agent.Leave(time.Second); l.Valid {
			t.Errorf("leave after the pause: %+v", l)
		}
	})
	// What ends by CLOCK_BOOTTIME ends between two looks of the agent, too.
	agentIn(t, serve, func(r *rig) {
		time.Sleep(time.Second + tick/2)
		r.leader.set(func(l *fakeLeader) { l.silent = true })
		r.agent.mu.Lock()
		stop, _ := r.agent.holder.StopAt()
		r.agent.mu.Unlock()
		r.clock.jump(stop-r.clock.Boot(), stop-r.clock.Boot())
		if l := r.agent.Leave(time.Millisecond); l.Valid {
			t.Errorf("leave at the moment at which stopping begins: %+v", l)
		}
	})
	// Below the enforced rung nothing is bound, and a pause ends nothing.
	agentIn(t, func(c *Config) {
		serve(c)
		c.Arming = failover.ArmObserve
		c.Asker.(*fakeLeader).grant.Arming = failover.ArmObserve // before the first answer
	}, func(r *rig) {
		time.Sleep(time.Second + tick/2)
		r.clock.jump(0, time.Minute)
		if l := r.agent.Leave(time.Minute); !l.Valid {
			t.Errorf("no leave on a lower rung: %+v", l)
		}
	})
	agentIn(t, nil, func(r *rig) {
		if l := r.agent.Leave(time.Second); l.Valid || !strings.Contains(l.Why, "a worker of its own") {
			t.Errorf("an agent with a worker of its own gives leave: %+v", l)
		}
	})
}
