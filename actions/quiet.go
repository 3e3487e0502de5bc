package actions

import (
	"sync"
	"time"
)

// Quiet remembers since when something has been seen switched off. What was started
// before it was switched off may run on for a known time, which nobody can see: only
// the time since then tells. An Action is made anew for each look – right before the
// epoch advances, for a standing hold – and would wait anew each time without it.
//
// It counts on this process's monotonic clock, never on another one's: a leader that
// has just begun waits the whole time. The zero value is ready; it is safe for
// concurrent use.
type Quiet struct {
	mu   sync.Mutex
	seen map[string]quietSince
}

type quietSince struct {
	since, looked time.Time
	mark          string
}

// lookGap is for how long nobody may look at a resource that does not tell when it
// was changed, before what was seen earlier counts no more: in between it may have
// been on.
const lookGap = time.Minute

// off notes that key is seen off now, and returns for how long it has been. mark is
// what changes whenever somebody switches it: another mark begins anew. It is "" for
// a resource that has no such thing.
func (q *Quiet) off(key, mark string) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	was, ok := q.seen[key]
	if !ok || was.mark != mark || mark == "" && now.Sub(was.looked) > lookGap {
		was.since, was.mark = now, mark
	}
	was.looked = now
	if q.seen == nil {
		q.seen = map[string]quietSince{}
	}
	q.seen[key] = was
	return now.Sub(was.since)
}

// on notes that key is seen on, or on its way to either.
func (q *Quiet) on(key string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.seen, key)
}
