package fence

import (
	"log/slog"
	"testing"
	"time"
)

// G6: a lease counts from when it was asked for, and so do the pauses under it, also those before its answer came.
func TestPausedBeforeTheAnswer(t *testing.T) {
	agentIn(t, nil, func(r *rig) {
		time.Sleep(time.Second)
		r.runs(true)
		r.leader.set(func(l *fakeLeader) { l.delay = 2 * time.Second })
		time.Sleep(5 * time.Second) // a request is on its way
		r.clock.jump(0, 2*time.Second)
		r.leader.set(func(l *fakeLeader) { l.silent = true })
		time.Sleep(2 * time.Second) // and has been answered
		r.runs(true)
		r.clock.jump(0, 2*time.Second)
		time.Sleep(time.Second)
		r.runs(false)
	})
}

// G4, G6: a pause may take what the lease that is held leaves for everything that nobody thought of. The agent's own
// file may leave more of it.
func TestPausedForLessThanItsOwnFileAllows(t *testing.T) {
	agentIn(t, func(c *Config) { c.Terms.Stop.Safety = d(time.Minute) }, func(r *rig) {
		time.Sleep(time.Second)
		r.runs(true)
		r.leader.set(func(l *fakeLeader) { l.silent = true })
		r.clock.jump(0, 20*time.Second)
		time.Sleep(time.Second)
		r.runs(false)
	})
}

// The pauses so far go with the lease to the program that takes the agent's place, and an agent whose clocks say that
// its lease is over stops its workers itself: the next program would give them time.
func TestPausesAreHandedOver(t *testing.T) {
	clock := &fakeClock{start: time.Now()}
	cfg := Config{Worker: NewServed(clock), Clock: clock, Terms: terms(), NewID: func() string { return "1" }, Log: slog.New(slog.DiscardHandler)}
	agent := func() *Agent {
		a, err := NewAgent(cfg)
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := agent()
	a.bootAt, a.realAt = clock.Boot(), clock.Real()
	a.nextAsk()
	a.take(granted("1"))
	clock.jump(0, 2*time.Second)
	if st := a.Status(); !st.Active {
		t.Fatalf("after a pause of 2 s: %+v", st)
	}
	h, err := a.handOver()
	if err != nil {
		t.Fatal(err)
	}
	clock.jump(0, 2*time.Second)
	cfg.Handover = &h
	next := agent()
	if st := next.Status(); st.Active {
		t.Errorf("active after pauses of 4 s: %+v", st)
	}
	if _, err := next.handOver(); err == nil {
		t.Error("handed over although its lease is over")
	}
}
