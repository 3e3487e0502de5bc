package monitor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/failoverd/failoverd/failover"
)

// sight is what one reference says about our own eyes.
type sight uint8

const (
	notLooked sight = iota // no result yet
	seen
	unseen
)

// sightOf judges a look at a reference: whatever it answers, it was seen.
func sightOf(o failover.Observation) sight {
	switch o.Outcome {
	case failover.OK, failover.Slow:
		return seen
	case failover.Failed:
		if o.Reason == failover.ReasonStatus || o.Reason == failover.ReasonContent {
			return seen
		}
	}
	return unseen
}

type selfCheck struct{ results []sight }

// blind reports that no reference was seen at its last look. A node that has
// not looked yet is blind as well.
func (s selfCheck) blind() bool { return !slices.Contains(s.results, seen) }

// verdict is the opinion of one region that follows from its signals.
//
// A region is down only when at least two kinds of probes, and the majority of
// those that it has, are down: one kind that fails is a service (rule D4). A
// kind is down when a signal of it is down and none of it is alive. Signals of
// control planes and of upkeep are shown and count for nothing.
func verdict(r failover.Region, states []failover.SignalState, blind bool) failover.Verdict {
	states = slices.Clone(states)
	slices.SortFunc(states, func(a, b failover.SignalState) int {
		return cmp.Or(cmp.Compare(a.Component, b.Component), cmp.Compare(a.Kind, b.Kind))
	})
	v := failover.Verdict{Region: r, Signals: states}
	if blind {
		v.Abstain, v.Why = true, "this node sees none of its references: it may be blind itself"
		return v
	}
	kinds := map[string]failover.Health{}
	var bad []string
	down, degraded, known, all, planeDown := 0, 0, 0, 0, 0
	for _, s := range states {
		if !s.Data() {
			if s.Plane == failover.PlaneControl && s.Health == failover.Down {
				planeDown++
				bad = append(bad, fmt.Sprintf("%s/%s down (%s)", s.Component, s.Kind, cmp.Or(s.Reason, failover.ReasonOther)))
			}
			continue
		}
		all++
		kinds[s.Kind] = alive(kinds[s.Kind], s.Health)
		switch s.Health {
		case failover.Down:
			down++
		case failover.Degraded:
			degraded++
		}
		if s.Health != failover.Unknown {
			known++
		}
		if s.Health == failover.Down || s.Health == failover.Degraded {
			bad = append(bad, fmt.Sprintf("%s/%s %s (%s)", s.Component, s.Kind, s.Health, cmp.Or(s.Reason, failover.ReasonOther)))
		}
	}
	kindsDown := 0
	for _, h := range kinds {
		if h == failover.Down {
			kindsDown++
		}
	}
	need := max(2, len(kinds)/2+1)
	why := strings.Join(bad, ", ")
	switch {
	case known == 0:
		v.Health, v.Why = failover.Unknown, "nothing has been seen yet"
		if len(states) > 0 && states[0].Detail != "" {
			v.Why = "no signal has an opinion: " + states[0].Detail
		}
	case kindsDown >= need:
		v.Health, v.Why = failover.Down, fmt.Sprintf("%d of %d kinds of probes are down: %s", kindsDown, len(kinds), why)
	case down > 0:
		v.Health = failover.Degraded
		v.Why = fmt.Sprintf("a service, not the region: %d of %d kinds of probes are down, %d would be needed: %s", kindsDown, len(kinds), need, why)
	case degraded > 0:
		v.Health, v.Why = failover.Degraded, why
	case planeDown > 0:
		v.Health, v.Why = failover.Degraded, "its control plane, or what that says of what it has launched, while clients see nothing of it: "+why
	default:
		v.Health, v.Why = failover.Healthy, fmt.Sprintf("%d of %d signals are healthy", known, all)
	}
	return v
}

// alive folds the signals of one kind: any sign of life wins over down, and
// down over no opinion.
func alive(a, b failover.Health) failover.Health {
	order := []failover.Health{failover.Unknown, failover.Down, failover.Degraded, failover.Healthy}
	if slices.Index(order, b) > slices.Index(order, a) {
		return b
	}
	return a
}
