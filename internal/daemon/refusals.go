package daemon

import (
	"log/slog"
	"sync"
	"time"
)

// refusal is what peers' requests that are refused again and again have in common.
type refusal struct{ who, request, why string }

// refusalLog logs refused requests of peers: each of a kind at once, and then once in
// refusalEvery with how many there were since. A node whose clock or certificate is wrong
// asks many times in a second, and what somebody else tries meanwhile must be found. The
// zero value is ready; it is safe for concurrent use.
type refusalLog struct {
	mu sync.Mutex
	// since is how many were left out since the last line, of each kind that had one
	// within refusalEvery.
	since map[refusal]int
}

const (
	refusalEvery = time.Minute
	// maxRefusals bounds the kinds that are told apart within refusalEvery: who varies what
	// is refused fills neither the log nor the memory.
	maxRefusals = 200
)

// note logs or counts one refusal; from is the peer with its address.
func (l *refusalLog) note(log *slog.Logger, from string, r refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.since == nil {
		l.since = map[refusal]int{}
	}
	if _, said := l.since[r]; !said && len(l.since) >= maxRefusals {
		r = refusal{who: "several peers", request: r.request, why: "several reasons"}
		from = r.who
	}
	if n, said := l.since[r]; said {
		l.since[r] = n + 1
		return
	}
	l.since[r] = 0
	log.Warn("refused a peer's request", "from", from, "request", r.request, "why", r.why)
	time.AfterFunc(refusalEvery, func() { l.again(log, r) })
}

// again says how many were left out, until there was none for refusalEvery.
func (l *refusalLog) again(log *slog.Logger, r refusal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := l.since[r]
	if n == 0 {
		delete(l.since, r)
		return
	}
	l.since[r] = 0
	log.Warn("refused a peer's request again", "from", r.who, "request", r.request, "why", r.why, "left_out", n, "within", refusalEvery.String())
	time.AfterFunc(refusalEvery, func() { l.again(log, r) })
}
