// Package monitor turns probes into this node's opinion of each region.
//
// It runs every probe on its own schedule, keeps a window and the evidence of
// each signal, watches whether the node itself can see anything at all, and
// says for each region: healthy, degraded, down or unknown. It decides nothing:
// its verdicts are this node's voice and no more. See DESIGN.md.
//
// All methods are safe for concurrent use.
package monitor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// Probe makes one observation. It returns when ctx ends; one that does not is
// left behind and delays nobody. It is never called twice at a time. One that
// keeps something between its looks, such as a connection, is an io.Closer, and is
// closed when it is looked through no more.
type Probe interface {
	Probe(ctx context.Context) failover.Observation
}

// Signal is a component seen through one kind of probe in one region.
type Signal struct {
	Component failover.Component
	Kind      string
	Region    failover.Region
	Probe     Probe
	Interval  time.Duration // between the starts of two probes
	Timeout   time.Duration // of one probe
	Window    int           // how many results are looked at
	Down      int           // this many failures in a row make the signal down
	Plane     string        // empty for the data plane; a signal of any other never makes a region down
}

// Reference is something that shares no fate with any region of the service.
type Reference struct {
	Name  string
	Probe Probe
}

// Options configure a Monitor.
type Options struct {
	Regions []failover.Region
	Signals []Signal
	// References are looked at to know whether this node sees anything. At least
	// one is needed: a node that cannot tell its own blindness from an outage
	// must not vote.
	References []Reference
	// SelfInterval and SelfTimeout are the schedule of the references.
	SelfInterval, SelfTimeout time.Duration
	// Index and Nodes stagger this node's probes against those of the others, so
	// that together they look more often than each does.
	Index, Nodes int
	// Rand draws the jitter. It is used in New only.
	Rand *rand.Rand
	// OnObservation is told of every result, with the signal's health after it.
	// It must not block. May be nil.
	OnObservation func(o failover.Observation, h failover.Health)
	Log           *slog.Logger
}

// Monitor watches the signals of one node. Make it with New.
type Monitor struct {
	o       Options
	changed chan struct{}
	rands   []*rand.Rand // one for each signal, then one for the references

	began atomic.Bool // Run has the probes, and closes them

	mu      sync.Mutex
	signals []*window
	self    selfCheck
}

// New checks the options. Nothing runs before Run.
func New(o Options) (*Monitor, error) {
	switch {
	case len(o.References) == 0:
		return nil, errors.New("monitor: no references to check our own sight with")
	case o.SelfInterval <= 0 || o.SelfTimeout <= 0:
		return nil, errors.New("monitor: the self-check needs an interval and a time-out")
	case o.Rand == nil:
		return nil, errors.New("monitor: no source of randomness")
	}
	m := &Monitor{o: o, changed: make(chan struct{}, 1), self: selfCheck{results: make([]sight, len(o.References))}}
	for _, s := range o.Signals {
		if s.Interval <= 0 || s.Timeout <= 0 || s.Down < 1 || s.Window < s.Down {
			return nil, fmt.Errorf("monitor: %s/%s in %s: interval %s, time-out %s, window %d and down %d cannot work",
				s.Component, s.Kind, s.Region, s.Interval, s.Timeout, s.Window, s.Down)
		}
		m.signals = append(m.signals, newWindow(s))
	}
	for range len(o.Signals) + 1 {
		m.rands = append(m.rands, rand.New(rand.NewPCG(o.Rand.Uint64(), o.Rand.Uint64())))
	}
	if m.o.Log == nil {
		m.o.Log = slog.New(slog.DiscardHandler)
	}
	return m, nil
}

// Close gives back what the probes of a monitor hold that is not run. Of one that
// is or was, Run does so.
func (m *Monitor) Close() {
	if m.began.Swap(true) {
		return
	}
	for _, s := range m.o.Signals {
		CloseProbe(s.Probe)
	}
	for _, r := range m.o.References {
		CloseProbe(r.Probe)
	}
}

// CloseProbe gives back what a probe holds, if it holds anything.
func CloseProbe(p Probe) {
	if c, ok := p.(io.Closer); ok {
		_ = c.Close() // nobody could do anything about it
	}
}

// Run probes until ctx ends, and closes the probes. It may be called once, and not
// after Close.
func (m *Monitor) Run(ctx context.Context) {
	m.began.Store(true)
	var wg sync.WaitGroup
	for i, s := range m.o.Signals {
		wg.Go(func() {
			schedule{
				interval: s.Interval, timeout: s.Timeout, offset: m.offset(s.Interval, i), rand: m.rands[i], probe: s.Probe,
				done: func(o failover.Observation) { m.observed(i, o) },
			}.run(ctx)
		})
	}
	for i, r := range m.o.References {
		wg.Go(func() {
			schedule{
				interval: m.o.SelfInterval, timeout: m.o.SelfTimeout, probe: r.Probe,
				done: func(o failover.Observation) { m.looked(i, o) },
			}.run(ctx)
		})
	}
	wg.Wait()
}

// offset spreads the first probes of a region's signals over an interval, and those
// of the nodes between them: a node calls a region down only when most kinds of
// its probes are, so that they must not all wait for the same beat.
func (m *Monitor) offset(interval time.Duration, i int) time.Duration {
	before, all := 0, 0
	for j, s := range m.o.Signals {
		if s.Region == m.o.Signals[i].Region {
			all++
			if j < i {
				before++
			}
		}
	}
	part := interval / time.Duration(all)
	return part*time.Duration(before) + part*time.Duration(m.o.Index)/time.Duration(max(m.o.Nodes, 1))
}

// Changed yields after a verdict has changed. Several changes may be told once.
func (m *Monitor) Changed() <-chan struct{} { return m.changed }

func (m *Monitor) wake() {
	select {
	case m.changed <- struct{}{}:
	default:
	}
}

// observed takes in one result of signal i.
func (m *Monitor) observed(i int, o failover.Observation) {
	s := m.o.Signals[i]
	o.Component, o.Kind, o.Region = s.Component, s.Kind, s.Region
	m.mu.Lock()
	w := m.signals[i]
	before := w.state
	w.add(o)
	after := w.state
	m.mu.Unlock()
	if m.o.OnObservation != nil {
		m.o.OnObservation(o, after.Health)
	}
	if before.Health != after.Health {
		m.o.Log.Info("signal changed", "component", string(s.Component), "kind", s.Kind, "region", string(s.Region),
			"from", before.Health.String(), "to", after.Health.String(), "reason", string(after.Reason), "detail", after.Detail)
	}
	if before.Health != after.Health || before.Reason != after.Reason {
		m.wake()
	}
}

// looked takes in one result of reference i.
func (m *Monitor) looked(i int, o failover.Observation) {
	m.mu.Lock()
	before := m.self.blind()
	m.self.results[i] = sightOf(o)
	after := m.self.blind()
	if before && !after {
		// Whatever failed while the node saw nothing says nothing about the
		// regions; the windows fill again from here.
		for _, w := range m.signals {
			w.forget(time.Now())
		}
	}
	m.mu.Unlock()
	if before != after {
		m.o.Log.Warn("self-check changed", "blind", after, "reference", m.o.References[i].Name, "detail", o.Detail)
		m.wake()
	}
}

// Verdicts are this node's opinions of all regions, in the order of
// Options.Regions.
func (m *Monitor) Verdicts() []failover.Verdict {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []failover.Verdict
	for _, r := range m.o.Regions {
		var states []failover.SignalState
		for _, w := range m.signals {
			if w.state.Region == r {
				states = append(states, w.state)
			}
		}
		out = append(out, verdict(r, states, m.self.blind()))
	}
	return out
}

// Filter selects observations. Zero fields select everything.
type Filter struct {
	Component failover.Component
	Kind      string
	Region    failover.Region
	// Failed selects only what neither succeeded nor was slow.
	Failed bool
	// Limit is the largest number of the newest observations. Zero: all.
	Limit int
}

// Recent returns the kept observations that match, oldest first. Failures are
// kept longer than successes.
func (m *Monitor) Recent(f Filter) []failover.Observation {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []failover.Observation
	for _, w := range m.signals {
		s := w.state
		if (f.Component != "" && f.Component != s.Component) || (f.Kind != "" && f.Kind != s.Kind) || (f.Region != "" && f.Region != s.Region) {
			continue
		}
		for _, o := range w.evidence.all() {
			if !f.Failed || (o.Outcome != failover.OK && o.Outcome != failover.Slow) {
				out = append(out, o)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b failover.Observation) int { return a.At.Compare(b.At) })
	if f.Limit > 0 && len(out) > f.Limit {
		out = out[len(out)-f.Limit:]
	}
	return out
}
