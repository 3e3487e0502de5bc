package fence

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/failoverd/failoverd/internal/boottime"
)

// Served is a Worker that is no process of this host: functions that ask over the
// network before each piece of work (GET /lease), and that somebody else ends
// after a time that they name. While any of them may run, it counts as running.
//
// A function names how long it may still live: its platform ends it then, whatever
// becomes of it. It is given leave only if that is over before the workers of this
// lease must be dead (rule G5). Safe for concurrent use.
type Served struct {
	clock boottime.Clock

	mu      sync.Mutex
	on      bool
	leaving bool // it has been handed over: what it gave leave for now, the next program would not know of
	bound   bool
	kill    time.Duration // all must be dead by then, if bound
	busy    time.Duration // some may live until then
	exited  chan int
}

// NewServed returns a worker that gives leave to nobody until it is started.
func NewServed(clock boottime.Clock) *Served {
	return &Served{clock: clock, exited: make(chan int)}
}

// Start implements Worker.
func (s *Served) Start(d Deadlines) error {
	s.mu.Lock()
	s.on = true
	s.mu.Unlock()
	return s.Extend(d)
}

// Extend implements Worker.
func (s *Served) Extend(d Deadlines) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kill, s.bound, s.leaving = d.Kill, d.Kill != 0, false
	return nil
}

// Stop implements Worker: nobody gets leave any more. Those that have it end by
// the deadline that they were given it for.
func (s *Served) Stop(time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.on = false
	return nil
}

// Running implements Worker.
func (s *Served) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.on || s.clock.Boot() < s.busy
}

// Exited implements Worker: it never ends by itself.
func (s *Served) Exited() <-chan int { return s.exited }

// Close implements Worker.
func (s *Served) Close() error { return nil }

// Within reports whether everybody who has leave is dead by kill, the deadline of the lease
// that is held: not, as long as somebody was given it for longer before the lease was bound,
// or under a longer one. That one's deadline stands here for as long as it is being stopped.
func (s *Served) Within(kill time.Duration) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return (s.bound || !s.on) && (s.busy <= min(s.kill, kill) || s.busy <= s.clock.Boot())
}

// Leave is what an asker may do.
type Leave struct {
	Valid bool `json:"valid"`
	// RemainingMS is for how long the lease is good: what is begun now has to end
	// within it. Zero when it bounds nothing (arming below "enforced").
	RemainingMS int64 `json:"remaining_ms"`
	// Epoch is the lease's: the token to write beside what is changed, for a store that
	// refuses an older one. The agent fills it in.
	Epoch uint64 `json:"epoch,omitempty"`
	Why   string `json:"why,omitempty"` // not valid: in a sentence
}

// longestNeed bounds what an asker may name: no function lives longer.
const longestNeed = time.Hour

// Ask gives leave to somebody who will be dead after need, or says why not. It knows only
// what the agent has told it: who asks over the network is answered by Agent.Leave.
func (s *Served) Ask(need time.Duration) Leave {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Boot()
	switch {
	case need <= 0 || need > longestNeed:
		return Leave{Why: fmt.Sprintf("need is %s: name how long you may still run, at most %s", need, longestNeed)}
	case !s.on:
		return Leave{Why: noLease}
	case s.leaving:
		return Leave{Why: "this agent is being replaced by a newer program: ask again in a moment"}
	case !s.bound:
		s.busy = max(s.busy, now+need)
		return Leave{Valid: true}
	}
	left := s.kill - now
	if need > left {
		return Leave{RemainingMS: max(0, left.Milliseconds()), Why: fmt.Sprintf("the lease is good for %s, and you may run for %s: ask again in a few seconds, or make the time-out shorter than the lease", max(0, left).Round(time.Millisecond), need)}
	}
	s.busy = max(s.busy, now+need)
	return Leave{Valid: true, RemainingMS: left.Milliseconds()}
}

// Leave is the answer to GET /lease of an agent whose worker is a Served: its Ask, with the
// epoch of the lease. What the agent would tell its worker to stop for at its next look
// counts at once: the lease has ended, or the clocks say that the host was paused (G6).
// Safe for concurrent use.
func (a *Agent) Leave(need time.Duration) Leave {
	s, ok := a.cfg.Worker.(*Served)
	if !ok {
		return Leave{Why: "this agent gives nobody leave: it has a worker of its own"}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Clock.Boot()
	if !a.realAt.IsZero() { // else Run has not begun
		a.checkClocks(now)
	}
	if !a.holder.MayRun(now) {
		return Leave{Why: noLease}
	}
	leave := s.Ask(need)
	if leave.Valid {
		leave.Epoch = a.holder.epoch
	}
	return leave
}

// noLease is said to who asks without a lease.
const noLease = "there is no lease: another region may be active"

// Rehearse shows that leave is refused as soon as there is no lease, and to who
// would outlive one. Nothing of the real lease is touched.
func (s *Served) Rehearse(kill time.Duration) (string, error) {
	t := NewServed(s.clock)
	if t.Ask(time.Millisecond).Valid {
		return "", errors.New("leave was given without a lease")
	}
	now := s.clock.Boot()
	if err := t.Start(Deadlines{Term: now, Kill: now + kill}); err != nil {
		return "", err
	}
	if !t.Ask(kill/2).Valid || t.Ask(kill+time.Second).Valid {
		return "", errors.New("leave does not follow the lease")
	}
	_ = t.Stop(now) // never fails
	if t.Ask(time.Millisecond).Valid || !t.Running() {
		return "", errors.New("leave was given after the stop, or the leave that was given is forgotten")
	}
	return "functions get leave only for as long as the lease is good; their platform ends them", nil
}
