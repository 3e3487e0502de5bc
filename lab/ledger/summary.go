package ledger

import (
	"sort"
	"time"
)

// Summary is the verdict on the world up to now.
type Summary struct {
	At            time.Time         `json:"at"`
	Messages      int               `json:"messages"`      // different keys sent by providers
	Acked         int               `json:"acked"`         // accepted by an API
	Processed     int               `json:"processed"`     // different keys processed
	Duplicates    int               `json:"duplicates"`    // keys processed more than once, anywhere
	DuplicateKeys []string          `json:"duplicateKeys"` // the first twenty
	DualActiveMs  int64             `json:"dualActiveMs"`  // time with living workers or functions in more than one region
	Handled       map[string]int    `json:"handled"`       // events that functions have handled, by region
	Alive         map[string]int    `json:"alive"`         // living workers by region
	Regions       map[string]Region `json:"regions"`
}

// Region is what one region has done.
type Region struct {
	Processed      int       `json:"processed"`
	Acked          int       `json:"acked"`
	FirstProcessed time.Time `json:"firstProcessed"`
	LastProcessed  time.Time `json:"lastProcessed"`
	FirstAcked     time.Time `json:"firstAcked"`
	LastAcked      time.Time `json:"lastAcked"`
	FirstWorker    time.Time `json:"firstWorker"` // first connection of a worker
	LastWorkerDied time.Time `json:"lastWorkerDied"`
}

// tally keeps the sums as events arrive.
type tally struct {
	sent, acked map[string]bool
	done        map[string]map[string]int // key → region → times
	regions     map[string]*Region
	alive       map[string]map[int]bool // region → connections of workers
	functions   map[string]map[int]bool // the same of functions that run
	handled     map[string]int          // events that functions have handled, by region
	dual        time.Duration
	dualSince   time.Time // zero: not now
}

func newTally() *tally {
	return &tally{sent: map[string]bool{}, acked: map[string]bool{}, done: map[string]map[string]int{}, regions: map[string]*Region{}, alive: map[string]map[int]bool{}, functions: map[string]map[int]bool{}, handled: map[string]int{}}
}

func (t *tally) region(name string) *Region {
	if t.regions[name] == nil {
		t.regions[name] = &Region{}
	}
	return t.regions[name]
}

func first(t *time.Time, at time.Time) {
	if t.IsZero() {
		*t = at
	}
}

func (t *tally) add(e Event) {
	switch e.Type {
	case Sent:
		t.sent[e.Key] = true
	case Acked:
		t.acked[e.Key] = true
		r := t.region(e.Region)
		r.Acked++
		first(&r.FirstAcked, e.At)
		r.LastAcked = e.At
	case Processed:
		if t.done[e.Key] == nil {
			t.done[e.Key] = map[string]int{}
		}
		t.done[e.Key][e.Region]++
		r := t.region(e.Region)
		r.Processed++
		first(&r.FirstProcessed, e.End)
		r.LastProcessed = e.End
	case Handled:
		t.handled[e.Region]++
	case Hello, Bye:
		if e.Role == "function" {
			if t.functions[e.Region] == nil {
				t.functions[e.Region] = map[int]bool{}
			}
			if t.functions[e.Region][e.Conn] = true; e.Type == Bye {
				delete(t.functions[e.Region], e.Conn)
			}
			t.dualNow(e.At)
			return
		}
		if e.Role != "worker" {
			return
		}
		if t.alive[e.Region] == nil {
			t.alive[e.Region] = map[int]bool{}
		}
		if e.Type == Hello {
			t.alive[e.Region][e.Conn] = true
			first(&t.region(e.Region).FirstWorker, e.At)
		} else {
			delete(t.alive[e.Region], e.Conn)
			t.region(e.Region).LastWorkerDied = e.At
		}
		t.dualNow(e.At)
	}
}

// dualNow starts or ends an interval in which workers or functions of more than one region live.
func (t *tally) dualNow(at time.Time) {
	live := map[string]bool{}
	for _, kind := range []map[string]map[int]bool{t.alive, t.functions} {
		for region, c := range kind {
			if len(c) > 0 {
				live[region] = true
			}
		}
	}
	regions := len(live)
	switch {
	case regions > 1 && t.dualSince.IsZero():
		t.dualSince = at
	case regions <= 1 && !t.dualSince.IsZero():
		t.dual += at.Sub(t.dualSince)
		t.dualSince = time.Time{}
	}
}

// Summary sums up the ledger as of now.
func (l *Ledger) Summary(now time.Time) Summary {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.stat
	s := Summary{At: now, Messages: len(t.sent), Acked: len(t.acked), Processed: len(t.done), DuplicateKeys: []string{}, Alive: map[string]int{}, Handled: map[string]int{}, Regions: map[string]Region{}}
	for k, by := range t.done {
		n := 0
		for _, c := range by {
			n += c
		}
		if n > 1 {
			s.Duplicates++
			s.DuplicateKeys = append(s.DuplicateKeys, k)
		}
	}
	sort.Strings(s.DuplicateKeys)
	if len(s.DuplicateKeys) > 20 {
		s.DuplicateKeys = s.DuplicateKeys[:20]
	}
	dual := t.dual
	if !t.dualSince.IsZero() {
		dual += now.Sub(t.dualSince)
	}
	s.DualActiveMs = dual.Milliseconds()
	for r, c := range t.alive {
		s.Alive[r] = len(c)
	}
	for r, n := range t.handled {
		s.Handled[r] = n
	}
	for n, r := range t.regions {
		s.Regions[n] = *r
	}
	return s
}

// unprocessed lists keys that were accepted and not processed.
func (l *Ledger) unprocessed() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []string{}
	for k := range l.stat.acked {
		if len(l.stat.done[k]) == 0 {
			out = append(out, k)
		}
	}
	sort.Strings(out)
	return out
}

func (l *Ledger) processedIn(key, region string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stat.done[key][region] > 0
}
