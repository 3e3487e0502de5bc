package monitor

import "github.com/failoverd/failoverd/failover"

// Tracker is a node's judgement without its probes: windows and verdicts as a
// Monitor has them, fed by hand. Simulations use it. It is not safe for
// concurrent use.
type Tracker struct{ signals []*window }

// NewTracker returns a tracker of the given signals; their probes and timing
// are not used.
func NewTracker(signals []Signal) *Tracker {
	t := &Tracker{}
	for _, s := range signals {
		t.signals = append(t.signals, newWindow(s))
	}
	return t
}

// Observe takes in a result of signal i and reports whether its health changed.
func (t *Tracker) Observe(i int, o failover.Observation) bool {
	before := t.signals[i].state.Health
	t.signals[i].add(o)
	return t.signals[i].state.Health != before
}

// Verdict is the opinion of region r that follows, of a node that is not blind.
func (t *Tracker) Verdict(r failover.Region) failover.Verdict {
	var states []failover.SignalState
	for _, w := range t.signals {
		if w.state.Region == r {
			states = append(states, w.state)
		}
	}
	return verdict(r, states, false)
}

// Health is the health of signal i.
func (t *Tracker) Health(i int) failover.Health { return t.signals[i].state.Health }
