package fence

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/failoverd/failoverd/internal/boottime"
)

// A unit that runs although this agent has not started it – it was enabled, a person has
// started it, or it outlived an agent that it was not bound to – counts as running: an agent
// that says its workers are dead is believed (S1). It is stopped like any other, and taken
// under a guard when it may run.
func TestUnitThatSomebodyElseStarted(t *testing.T) {
	dir, clock := fakeSystemd(t), boottime.System{}
	begin := func() (*Child, int) {
		t.Helper()
		if err := NewUnit("mail.service").Start(); err != nil {
			t.Fatal(err)
		}
		c := unitWorker(t)
		if !c.Running() {
			t.Error("the unit is said to be dead and is not")
		}
		return c, number(t, filepath.Join(dir, "pid"))
	}

	c, pid := begin()
	for end := time.Now().Add(10 * time.Second); c.Running() && time.Now().Before(end); time.Sleep(tick) {
		_ = c.Stop(clock.Boot()) // it may have died just now
	}
	if c.Running() || alive(pid) {
		t.Errorf("not stopped: running %t, alive %t", c.Running(), alive(pid))
	}

	c, _ = begin()
	now := clock.Boot()
	if err := c.Extend(Deadlines{Term: now + 500*time.Millisecond, Kill: now + time.Second}); err != nil {
		t.Fatal(err)
	}
	ended(t, c, 10*time.Second)
	if pid := number(t, filepath.Join(dir, "pid")); alive(pid) {
		t.Error("no guard kills it at its deadline")
	}
}

// What an agent finds running it stops when it is told that it is bound, or that another region
// is active; before, it may be on a rung on which nothing is ever stopped. It says that its
// workers are dead only afterwards.
func TestAgentFindsItsWorkerRunning(t *testing.T) {
	for _, isolation := range []string{"stop", "keep"} {
		agentIn(t, func(c *Config) {
			c.Worker.(*fakeWorker).running = true
			c.Asker.(*fakeLeader).silent = true
		}, func(r *rig) {
			still := func() {
				t.Helper()
				time.Sleep(20 * time.Second)
				r.runs(true)
				if a := r.leader.last(); !a.Running || a.Stopped != 0 {
					t.Errorf("%s: %+v", isolation, a)
				}
			}
			still()
			r.leader.set(func(l *fakeLeader) {
				l.silent, l.grant.Granted, l.grant.OnIsol, l.grant.Freeze = false, false, isolation, 7
			})
			want := uint64(7)
			if isolation == "keep" {
				still()
				r.leader.set(func(l *fakeLeader) { l.grant.Freeze, l.grant.Gone, l.grant.Epoch = 0, true, 2 })
				want = 0
			}
			time.Sleep(20 * time.Second)
			r.runs(false)
			if a := r.leader.last(); a.Running || a.Stopped != want {
				t.Errorf("%s: no report: %+v", isolation, a)
			}
		})
	}
}
