package monitor

import (
	"slices"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// window is what is known of one signal. It is guarded by the monitor's lock.
type window struct {
	size, down int
	results    []failover.Outcome // the newest last, at most size; only results that count
	state      failover.SignalState
	evidence   evidence
}

func newWindow(s Signal) *window {
	return &window{size: s.Window, down: s.Down, state: failover.SignalState{Component: s.Component, Kind: s.Kind, Region: s.Region, Plane: s.Plane}}
}

// add takes in a result and judges the signal again.
func (w *window) add(o failover.Observation) {
	w.evidence.add(o)
	switch o.Outcome {
	case failover.OK, failover.Slow, failover.Failed:
		w.results = append(w.results, o.Outcome)
		if len(w.results) > w.size {
			w.results = w.results[1:]
		}
	default:
		// A probe that cannot work counts neither way, and failures before and
		// after it are not in a row.
		w.results = nil
	}
	h := w.health()
	if h != w.state.Health || w.state.Since.IsZero() {
		w.state.Since = o.At.Add(o.Latency)
	}
	switch {
	case h == failover.Healthy:
		w.state.Reason, w.state.Detail = "", o.Detail
	case o.Outcome == failover.Slow && h == failover.Down, o.Outcome == failover.OK:
		// A success while the signal is still down or degraded keeps the reason
		// that made it so.
	default:
		w.state.Reason, w.state.Detail = o.Reason, o.Detail
	}
	w.state.Health = h
	w.state.Part, w.state.LastWrite, w.state.AtRisk = o.Part, o.LastWrite, o.AtRisk
}

// health is down after `down` failures in a row, and leaves down only when the
// window is full and holds no failure: recovering takes longer than failing, or
// a flapping signal would restart every hold.
func (w *window) health() failover.Health {
	if len(w.results) == 0 {
		return failover.Unknown
	}
	run := 0
	for _, r := range slices.Backward(w.results) {
		if r != failover.Failed {
			break
		}
		run++
	}
	failed := slices.Contains(w.results, failover.Failed)
	switch {
	case run == len(w.results) && run < w.down && w.state.Health == failover.Unknown:
		return failover.Unknown // a few failures are no life, and not yet death
	case run >= w.down:
		return failover.Down
	case w.state.Health == failover.Down && (failed || len(w.results) < w.size):
		return failover.Down
	case failed, slices.Contains(w.results, failover.Slow):
		return failover.Degraded
	}
	return failover.Healthy
}

// forget starts over. The evidence stays.
func (w *window) forget(now time.Time) {
	w.results = nil
	w.state.Health, w.state.Reason, w.state.Detail, w.state.Since = failover.Unknown, "", "", now
}

// How many observations of a signal are kept.
const (
	keepRecent   = 60
	keepFailures = 30
)

// evidence keeps the newest observations, and the newest failures beside them:
// after an hour of successes the failure that somebody asks about is still
// there.
type evidence struct {
	recent, failures []failover.Observation
}

func (e *evidence) add(o failover.Observation) {
	e.recent = push(e.recent, o, keepRecent)
	if o.Outcome != failover.OK {
		e.failures = push(e.failures, o, keepFailures)
	}
}

func push(ring []failover.Observation, o failover.Observation, most int) []failover.Observation {
	if len(ring) == most {
		copy(ring, ring[1:])
		ring = ring[:most-1]
	}
	return append(ring, o)
}

// all returns each kept observation once, oldest first.
func (e *evidence) all() []failover.Observation {
	var out []failover.Observation
	for _, o := range e.failures {
		if len(e.recent) == 0 || o.At.Before(e.recent[0].At) {
			out = append(out, o)
		}
	}
	return append(out, e.recent...)
}
