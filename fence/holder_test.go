package fence

import (
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

func d(v time.Duration) failover.Duration { return failover.Duration(v) }

// terms: 75 s, of which the last 12 s are for stopping: stop at 63 s, kill at
// 71 s after the request was sent.
func terms() failover.LeaseTerms {
	return failover.LeaseTerms{
		Length: d(75 * time.Second), Renew: d(5 * time.Second),
		Stop: failover.StopBudget{Grace: d(8 * time.Second), Kill: d(time.Second), Safety: d(3 * time.Second)},
	}
}

func granted(request string) Answer {
	return Answer{Request: request, Grant: failover.Grant{
		Granted: true, Epoch: 1, Terms: terms(), Arming: failover.ArmEnforced, OnIsol: "stop", Sentence: "granted",
	}}
}

func refused(request string, change func(*failover.Grant)) Answer {
	a := granted(request)
	a.Granted = false
	change(&a.Grant)
	return a
}

const s = time.Second

// TestHolder runs a holder through what may happen, and looks at it at one
// moment (rules G2, G4 to G6).
func TestHolder(t *testing.T) {
	for _, c := range []struct {
		name            string
		seen            uint64
		run             func(t *testing.T, h *Holder)
		at              time.Duration
		runs, active    bool
		stopAt, killAt  time.Duration // 0: no lease
		epoch, freezeID uint64
	}{
		{name: "no answer yet", run: func(*testing.T, *Holder) {}, at: 0},
		{name: "granted", run: func(t *testing.T, h *Holder) {
			h.Sent("a", 100*s)
			take(t, h, granted("a"), 101*s, true)
		}, at: 102 * s, runs: true, active: true, stopAt: 163 * s, killAt: 171 * s, epoch: 1},
		{name: "counts from when it was sent", run: func(t *testing.T, h *Holder) {
			h.Sent("a", 100*s)
			take(t, h, granted("a"), 160*s, true)
		}, at: 163 * s, stopAt: 163 * s, killAt: 171 * s, epoch: 1},
		{name: "the moment before", run: func(t *testing.T, h *Holder) {
			h.Sent("a", 100*s)
			take(t, h, granted("a"), 101*s, true)
		}, at: 163*s - 1, runs: true, active: true, stopAt: 163 * s, killAt: 171 * s, epoch: 1},
		{name: "too late to be of use", run: func(t *testing.T, h *Holder) {
			h.Sent("a", 100*s)
			take(t, h, granted("a"), 163*s, false)
		}, at: 163 * s, epoch: 1},
		{name: "answered twice", run: func(t *testing.T, h *Holder) {
			h.Sent("a", 100*s)
			take(t, h, granted("a"), 101*s, true)
			take(t, h, granted("a"), 102*s, false)
		}, at: 103 * s, runs: true, active: true, stopAt: 163 * s, killAt: 171 * s, epoch: 1},
		{name: "never asked", run: func(t *testing.T, h *Holder) {
			take(t, h, granted("x"), 101*s, false)
		}, at: 101 * s},
		{name: "an older request answered late", run: func(t *testing.T, h *Holder) {
			h.Sent("a", 100*s)
			h.Sent("b", 110*s)
			take(t, h, granted("b"), 111*s, true)
			take(t, h, granted("a"), 112*s, true)
		}, at: 172 * s, runs: true, active: true, stopAt: 173 * s, killAt: 181 * s, epoch: 1},
		{name: "an older epoch", seen: 2, run: func(t *testing.T, h *Holder) {
			h.Sent("a", 100*s)
			take(t, h, granted("a"), 101*s, false)
		}, at: 102 * s, epoch: 2},
		{name: "frozen", run: func(t *testing.T, h *Holder) {
			h.Sent("a", 100*s)
			take(t, h, granted("a"), 101*s, true)
			h.Sent("b", 105*s)
			take(t, h, refused("b", func(g *failover.Grant) { g.Freeze = 7 }), 106*s, true)
		}, at: 107 * s, stopAt: 163 * s, killAt: 171 * s, epoch: 1, freezeID: 7},
		{name: "a late grant after the promise", run: func(t *testing.T, h *Holder) {
			h.Sent("a", 100*s)
			take(t, h, granted("a"), 101*s, true)
			h.Sent("late", 104*s)
			h.Sent("b", 105*s)
			take(t, h, refused("b", func(g *failover.Grant) { g.Freeze = 7 }), 106*s, true)
			h.Forget() // the workers are dead, and it is about to be said
			take(t, h, granted("late"), 107*s, false)
		}, at: 108 * s, epoch: 1, freezeID: 7},
		{name: "granted again after a freeze", run: func(t *testing.T, h *Holder) {
			h.Sent("b", 105*s)
			take(t, h, refused("b", func(g *failover.Grant) { g.Freeze = 7 }), 106*s, true)
			h.Forget()
			h.Sent("c", 120*s)
			take(t, h, granted("c"), 121*s, true)
		}, at: 122 * s, runs: true, active: true, stopAt: 183 * s, killAt: 191 * s, epoch: 1},
		{name: "another region", run: func(t *testing.T, h *Holder) {
			h.Sent("a", 100*s)
			take(t, h, granted("a"), 101*s, true)
			h.Sent("b", 105*s)
			take(t, h, refused("b", func(g *failover.Grant) { g.Gone, g.Epoch = true, 2 }), 106*s, true)
		}, at: 107 * s, stopAt: 163 * s, killAt: 171 * s, epoch: 2},
		{name: "shorter terms", run: func(t *testing.T, h *Holder) {
			h.Sent("a", 100*s)
			g := granted("a")
			g.Terms.Length = d(20 * s)
			take(t, h, g, 101*s, true)
		}, at: 107 * s, runs: true, active: true, stopAt: 108 * s, killAt: 116 * s, epoch: 1},
		{name: "advisory", run: func(t *testing.T, h *Holder) {
			h.Sent("a", 100*s)
			g := granted("a")
			g.Arming = failover.ArmAdvisory
			take(t, h, g, 101*s, true)
		}, at: 300 * s, runs: true, stopAt: 163 * s, killAt: 171 * s, epoch: 1},
		{name: "keep", run: func(t *testing.T, h *Holder) {
			h.Sent("a", 100*s)
			g := granted("a")
			g.OnIsol = "keep"
			take(t, h, g, 101*s, true)
		}, at: 300 * s, runs: true, stopAt: 163 * s, killAt: 171 * s, epoch: 1},
		{name: "observe in a standby region", run: func(t *testing.T, h *Holder) {
			h.Sent("a", 100*s)
			take(t, h, refused("a", func(g *failover.Grant) { g.Arming, g.Gone = failover.ArmObserve, true }), 101*s, true)
		}, at: 102 * s, epoch: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := NewHolder(c.seen, 0)
			c.run(t, h)
			if got := h.MayRun(c.at); got != c.runs {
				t.Errorf("may run: %t, want %t (%s)", got, c.runs, h.sentence)
			}
			if got := h.Active(c.at); got != c.active {
				t.Errorf("active: %t, want %t (%s)", got, c.active, h.sentence)
			}
			stop, held := h.StopAt()
			if !held {
				stop = 0
			}
			if stop != c.stopAt || (held && h.KillAt() != c.killAt) {
				t.Errorf("stop at %s, kill at %s, want %s, %s", stop, h.KillAt(), c.stopAt, c.killAt)
			}
			if h.epoch != c.epoch || h.freeze != c.freezeID {
				t.Errorf("epoch %d, freeze %d, want %d, %d", h.epoch, h.freeze, c.epoch, c.freezeID)
			}
		})
	}
}

func take(t *testing.T, h *Holder, a Answer, now time.Duration, want bool) {
	t.Helper()
	if got := h.Received(a, now); got != want {
		t.Errorf("answer %s at %s was of use: %t, want %t (%s)", a.Request, now, got, want, h.sentence)
	}
}

// G6: work may begin only if its longest piece ends before the kill.
func TestActiveEndsBeforeTheLongestPieceOfWork(t *testing.T) {
	for work, want := range map[time.Duration]time.Duration{
		0: 163 * s, 8 * s: 163 * s, 20 * s: 151 * s, 100 * s: 71 * s,
	} {
		h := NewHolder(0, work)
		h.Sent("a", 100*s)
		take(t, h, granted("a"), 101*s, true)
		if got := h.ActiveUntil(); got != want {
			t.Errorf("pieces of %s: until %s, want %s", work, got, want)
		}
	}
	if got := NewHolder(0, 0).ActiveUntil(); got != 0 {
		t.Errorf("without a lease: until %s", got)
	}
}

// Old requests are forgotten, the newest are not.
func TestHolderForgetsOldRequests(t *testing.T) {
	h := NewHolder(0, 0)
	for i := range 200 {
		h.Sent(string(rune('a'+i)), time.Duration(i)*s)
	}
	if len(h.pending) != 128 {
		t.Errorf("%d requests are remembered", len(h.pending))
	}
	take(t, h, granted(string(rune('a'+10))), 200*s, false)
	take(t, h, granted(string(rune('a'+199))), 200*s, true)
	if h.Renew(7*s) != 5*s || NewHolder(0, 0).Renew(7*s) != 7*s {
		t.Error("the leader's interval is not used, or none without one")
	}
}

// G4: an agent that has been bound stays bound, whatever arrives later: the log
// may count on its word.
func TestBoundStaysBound(t *testing.T) {
	h := NewHolder(0, 0)
	if h.Bound() {
		t.Fatal("bound before any answer")
	}
	h.Sent("a", 100*s)
	h.Sent("b", 101*s)
	take(t, h, granted("a"), 102*s, true)
	if !h.Bound() {
		t.Fatal("not bound by an enforced grant")
	}
	low := granted("b")
	low.Arming = failover.ArmAdvisory
	take(t, h, low, 103*s, true)
	if stop, held := h.StopAt(); !h.Bound() || !held || stop != 164*s {
		t.Errorf("after a grant on a lower rung: bound %t, held %t, stop at %s", h.Bound(), held, stop)
	}
	// Nor by an answer that comes too late to grant anything.
	h = NewHolder(0, 0)
	h.Sent("a", 100*s)
	h.Sent("b", 101*s)
	take(t, h, granted("a"), 102*s, true)
	low.Request = "b"
	take(t, h, low, 400*s, false)
	if !h.Bound() {
		t.Error("a late answer has unbound the agent")
	}
}

// G4: the holder never goes back to an earlier grant, in sending or in the log.
func TestHolderNeverGoesBack(t *testing.T) {
	at := func(request string, index uint64, length time.Duration) Answer {
		a := granted(request)
		a.Index, a.Terms.Length = index, d(length)
		return a
	}
	h := NewHolder(0, 0)
	h.Sent("a", 100*s)
	h.Sent("b", 101*s)
	take(t, h, at("a", 14, 75*s), 102*s, true)
	take(t, h, at("b", 12, 7200*s), 103*s, true) // sent later, granted earlier, in a pause
	if stop, _ := h.StopAt(); h.Holding() != 14 || stop != 163*s {
		t.Errorf("holding %d, stop at %s", h.Holding(), stop)
	}
	// A leader of a version that names no index renews all the same.
	h.Sent("c", 110*s)
	take(t, h, at("c", 0, 75*s), 111*s, true)
	if stop, _ := h.StopAt(); h.Holding() != 0 || stop != 173*s {
		t.Errorf("holding %d, stop at %s", h.Holding(), stop)
	}
}

// A refusal that stands before the held grant in the log stops nothing when it comes
// late; one that stands after it always counts.
func TestLateRefusal(t *testing.T) {
	freeze := func(g *failover.Grant) { g.Freeze, g.Sentence = 10, "frozen" }
	gone := func(g *failover.Grant) { g.Gone, g.Sentence = true, "gone" }
	for _, c := range []struct {
		name    string
		refusal string // the request that is refused: r1 was sent before the held grant's, r3 after it
		index   uint64
		change  func(*failover.Grant)
		runs    bool
	}{
		{"an older freeze", "r1", 15, freeze, true},
		{"an older word that the region is gone", "r1", 15, gone, true},
		{"a newer freeze in answer to an older request", "r1", 25, freeze, false},
		{"a newer word that the region is gone", "r1", 25, gone, false},
		{"in the same round", "r1", 20, freeze, false},
		{"of a leader that does not name the entry", "r1", 0, freeze, false},
		{"in answer to a newer request", "r3", 15, freeze, false},
		{"of a log that begins anew", "r3", 1, gone, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := NewHolder(1, 0)
			h.Sent("r1", 100*s)
			h.Sent("r2", 101*s)
			h.Sent("r3", 102*s)
			grant := granted("r2")
			grant.Index = 20
			take(t, h, grant, 103*s, true)
			late := refused(c.refusal, c.change)
			late.Index = c.index
			take(t, h, late, 104*s, true)
			if h.MayRun(104*s) != c.runs || h.Active(104*s) != c.runs || (h.Frozen() == 0 && !h.gone) != c.runs {
				t.Errorf("runs %v, active %v, freeze %d, gone %v", h.MayRun(104*s), h.Active(104*s), h.Frozen(), h.gone)
			}
			if (h.sentence == "granted") != c.runs {
				t.Errorf("it says %q", h.sentence)
			}
		})
	}
}

// Without a lease every refusal counts, and what binds the workers binds them also
// when it comes late.
func TestLateRefusalStillBinds(t *testing.T) {
	h := NewHolder(1, 0)
	h.Sent("r1", 100*s)
	h.Sent("r2", 101*s)
	grant := granted("r2")
	grant.Index, grant.Arming = 20, failover.ArmAdvisory
	take(t, h, grant, 102*s, true)
	late := refused("r1", func(g *failover.Grant) { g.Freeze = 10 })
	late.Index = 15
	take(t, h, late, 103*s, true)
	if !h.Bound() {
		t.Error("not bound")
	}
	h.Forget()
	h.Sent("r3", 100*s)
	late.Request = "r3"
	take(t, h, late, 104*s, true)
	if h.Frozen() != 10 {
		t.Error("a refusal was ignored without a lease")
	}
}

// A cluster that was recovered may have a log that is shorter than the one that granted the
// lease which is held: its grants are no earlier ones for that (L1).
func TestGrantOfARecoveredCluster(t *testing.T) {
	h := NewHolder(1, 0)
	h.Sent("r1", 100*s)
	old := granted("r1")
	old.Index = 600
	take(t, h, old, 101*s, true)
	h.Sent("r2", 300*s)
	contained := refused("r2", func(g *failover.Grant) { g.Epoch += failover.EpochJump })
	contained.Index = 500
	take(t, h, contained, 301*s, true)
	if h.Holding() != 0 {
		t.Errorf("it says to the new log that it holds %d of the old one", h.Holding())
	}
	for i, request := range []string{"r3", "r4"} {
		sent := 400*s + time.Duration(i)*10*s
		h.Sent(request, sent)
		grant := granted(request)
		grant.Index, grant.Epoch = uint64(510+i), contained.Epoch
		take(t, h, grant, sent+s, true)
		if !h.MayRun(sent+s) || h.Holding() != grant.Index {
			t.Errorf("request %s: runs %t, holding %d", request, h.MayRun(sent+s), h.Holding())
		}
	}
}

// Below the enforced rung a region stays one that is not active until a leader says
// otherwise: what is refused for another reason, such as a component that runs under a
// lease no more, or a cluster that was recovered, starts nothing there (S1).
func TestGoneUntilToldOtherwise(t *testing.T) {
	h := NewHolder(0, 0)
	say := func(request string, granted bool, change func(*failover.Grant)) {
		h.Sent(request, 100*s)
		take(t, h, refused(request, func(g *failover.Grant) {
			g.Granted, g.Arming = granted, failover.ArmAdvisory
			change(g)
		}), 101*s, true)
	}
	gone := func(g *failover.Grant) { g.Gone = true }
	say("a", true, func(*failover.Grant) {})
	say("b", false, gone)
	say("c", false, func(*failover.Grant) {})
	say("d", false, func(g *failover.Grant) { g.Arming, g.OnIsol = "", "" })
	if h.MayRun(102 * s) {
		t.Error("workers start in a region that was said not to be active")
	}
	say("e", false, func(g *failover.Grant) { g.Freeze = 7 })
	if !h.MayRun(102 * s) {
		t.Error("a region whose lease is frozen is the active one")
	}
	say("f", false, gone)
	say("g", true, func(*failover.Grant) {})
	if !h.MayRun(102 * s) {
		t.Error("a region that has a lease is the active one")
	}
}

// With keep a worker goes on whatever becomes of the lease. But none is started by a refusal:
// the region may be frozen, and its components be seen stopped right now (S1).
func TestRefusalStartsNothing(t *testing.T) {
	for _, arming := range []failover.Arming{failover.ArmObserve, failover.ArmAdvisory, failover.ArmEnforced} {
		h := NewHolder(0, 0)
		h.Sent("a", 100*s)
		take(t, h, refused("a", func(g *failover.Grant) { g.Arming, g.OnIsol, g.Freeze = arming, "keep", 7 }), 101*s, true)
		if h.MayRun(101 * s) {
			t.Errorf("%s: a worker starts in a region whose lease is frozen", arming)
		}
		grant := granted("b")
		grant.Arming, grant.OnIsol = arming, "keep"
		h.Sent("b", 102*s)
		take(t, h, grant, 103*s, true)
		h.Sent("c", 104*s)
		take(t, h, refused("c", func(g *failover.Grant) { g.Arming, g.OnIsol, g.Freeze = arming, "keep", 8 }), 105*s, true)
		if !h.MayRun(1000 * s) {
			t.Errorf("%s: a worker that goes on with keep is stopped", arming)
		}
	}
}
