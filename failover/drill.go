package failover

import (
	"slices"
	"time"
)

// Drill is a start that somebody has tried out without any effect on what is live.
type Drill struct {
	At     time.Time `json:"at"`
	Node   NodeID    `json:"node"`
	Took   Duration  `json:"took"`
	Detail string    `json:"detail,omitempty"`
}

// RecordDrill remembers one. How long it took is one more time from which the step's is estimated.
type RecordDrill struct {
	Step   StepID   `json:"step"`
	Took   Duration `json:"took"`
	Detail string   `json:"detail,omitempty"`
}

func (c RecordDrill) apply(s *State, m Meta) (any, error) {
	if s.Settings == nil {
		return nil, refuse("not-configured", "the cluster has no configuration yet")
	}
	known := slices.ContainsFunc(s.Settings.Components, func(p ComponentSpec) bool {
		return p.Start != nil && StepID("start-"+string(p.Name)) == c.Step
	})
	switch {
	case !known:
		return nil, refuse("step", "the plan has no start %q", c.Step)
	case c.Took <= 0:
		return nil, refuse("took", "a drill takes some time, not %s", c.Took)
	}
	next := map[StepID]Drill{}
	for id, d := range s.Drills {
		next[id] = d
	}
	next[c.Step] = Drill{At: m.At, Node: m.Node, Took: c.Took, Detail: c.Detail}
	s.Drills = next
	s.learn(c.Step, c.Took)
	s.event(m, c, "step %s was tried out beside what is live, in %s: %s", c.Step, c.Took.D().Round(time.Second), c.Detail)
	return nil, nil
}
