package failover

import (
	"maps"
	"slices"
	"time"
)

// Drill is a start that somebody has tried out without any effect on what is live.
type Drill struct {
	At   time.Time `json:"at"`
	Node NodeID    `json:"node"`
	// Of is the Step.Fingerprint of what was tried out: it says nothing of the other direction, nor of another configuration.
	Of     string   `json:"of"`
	Took   Duration `json:"took"`
	Detail string   `json:"detail,omitempty"`
	// Failed says that what was tried out would not have started, and Detail why.
	Failed bool `json:"failed,omitempty"`
}

// longestDrill is more than any drill takes.
const longestDrill = Duration(24 * time.Hour)

type (
	// BeginDrill says that a node is about to try a start out. It is refused while what it would be tried out beside may be needed: the log
	// knows that, and a node that is cut off from it does not.
	BeginDrill struct {
		Step StepID `json:"step"`
	}
	// RecordDrill remembers what came of it. How long it took is one more time from which the step's is estimated.
	RecordDrill struct {
		Step   StepID   `json:"step"`
		Of     string   `json:"of"`
		Took   Duration `json:"took"`
		Detail string   `json:"detail,omitempty"`
		Failed bool     `json:"failed,omitempty"`
	}
)

func (c BeginDrill) apply(s *State, m Meta) (any, error) {
	if err := s.startKnown(c.Step); err != nil {
		return nil, err
	}
	if err := s.Quiet(); err != nil {
		return nil, err
	}
	if m.Why == "" {
		return nil, refuse("why", "a drill needs a reason (--why)")
	}
	s.event(m, c, "step %s is about to be tried out beside what is live", c.Step)
	return nil, nil
}

func (c RecordDrill) apply(s *State, m Meta) (any, error) {
	if err := s.startKnown(c.Step); err != nil {
		return nil, err
	}
	if c.Took <= 0 || c.Took > longestDrill {
		return nil, refuse("took", "a drill takes more than no time and at most %s, not %s", longestDrill, c.Took)
	}
	next := maps.Clone(s.Drills)
	if next == nil {
		next = map[StepID]Drill{}
	}
	next[c.Step] = Drill{At: m.At, Node: m.Node, Of: c.Of, Took: c.Took, Detail: c.Detail, Failed: c.Failed}
	s.Drills = next
	if c.Failed {
		s.event(m, c, "step %s was tried out beside what is live, and FAILED after %s: %s", c.Step, c.Took.D().Round(time.Second), c.Detail)
		return nil, nil
	}
	s.learn(c.Step, c.Took)
	s.event(m, c, "step %s was tried out beside what is live, in %s: %s", c.Step, c.Took.D().Round(time.Second), c.Detail)
	return nil, nil
}

// Quiet says why nothing is to be tried out now; nil: nothing is under way for which it may be needed.
func (s *State) Quiet() error {
	switch {
	case s.Settings == nil:
		return refuse("not-configured", "the cluster has no configuration yet")
	case s.Execution != nil:
		return refuse("execution-open", "execution %d is under way: drill when it is over", s.Execution.ID)
	case s.Preparation != nil:
		return refuse("preparation-open", "something is being prepared on a suspicion: drill when that is over")
	}
	return nil
}

// startKnown refuses what is the start of no component.
func (s *State) startKnown(step StepID) error {
	if s.Settings == nil {
		return refuse("not-configured", "the cluster has no configuration yet")
	}
	if !slices.ContainsFunc(s.Settings.Components, func(p ComponentSpec) bool { return p.Start != nil && StepID("start-"+string(p.Name)) == step }) {
		return refuse("step", "the plan has no start %q", step)
	}
	return nil
}
