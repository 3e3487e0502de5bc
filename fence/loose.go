package fence

import (
	"sync"
	"time"
)

// looseEvery is how often a unit without a guard is looked at.
const looseEvery = time.Second

// loose is a unit that runs although no guard of this agent has started it: it was enabled,
// a person has started it, or it outlived an agent that it was not bound to. It is a worker
// all the same, and an agent that says its workers are dead is believed.
type loose struct {
	mu     sync.Mutex
	looked time.Duration // on CLOCK_BOOTTIME; zero: never
	seen   bool          // alive, then
}

// alive reports whether the unit may run.
func (l *loose) alive(u *Unit, now time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.looked == 0 || now-l.looked >= looseEvery {
		l.looked, l.seen = now, u.Alive()
	}
	return l.seen
}

// stop asks the unit to end, or kills it.
func (l *loose) stop(u *Unit, kill bool) error {
	l.mu.Lock()
	l.looked = 0
	l.mu.Unlock()
	if kill {
		return u.Kill()
	}
	return u.Term()
}
