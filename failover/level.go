package failover

import (
	"maps"
	"slices"
)

// Features is the highest feature level that this version understands. A level
// is raised by one with each release that adds commands to the log.
const Features = 3

// Level is the feature level in force: the highest whose commands may stand in
// the log. It is 1 in a new cluster and is raised when every member understands
// more (RaiseFeatures).
func (s *State) Level() int { return max(1, s.Features) }

// LevelOf is the feature level that a command belongs to. A command of a level
// that is not in force is never proposed: a node of an older version would stop
// at it. New commands are added here, each with the level of its release.
func LevelOf(c Command) int {
	switch c := c.(type) {
	case ProposeSettings:
		if c.Settings.Policy.TwoNodes || c.Settings.opens() || c.Settings.stands() || c.Settings.allows() || c.Settings.brings() {
			return 3
		}
		return 2
	case AddMember, RemoveMember, FinishMember, AttestNode, AckSettings, WithdrawSettings, ActivateSettings, KeepSource,
		StartPreparation, EndPreparation, ReapplyStarted, ReapplyFinished, NoteHold, RefuseRequest, Suspend, NoteStuck,
		RecordInventory, AcceptInventory, RecordLoss, RehearseFence:
		return 2
	case RecordReadings, RecordAtRisk, RecordDrill, BeginDrill, BurnToken, SettleToken:
		return 3
	case RequestExecution:
		if c.Kind == Switchover {
			return 3
		}
	case StartExecution:
		if c.Kind == Switchover {
			return 3
		}
	case ReleaseHold:
		if c.Ended {
			return 3
		}
		return 2
	case Continue:
		if c.Ended {
			return 3
		}
	case Retry:
		if c.allows() {
			return 3
		}
	case StepStarted:
		if c.Burn {
			return 2
		}
	}
	return 1
}

// Reduced returns the command without the fields that a member at the given
// level could not read. They only add to what the command says.
func Reduced(c Command, level int) Command {
	switch c := c.(type) {
	case StepStarted:
		if level < 3 {
			c.Already = false
			return c
		}
	case StepFinished:
		if level < 3 {
			c.Stands = 0
			return c
		}
	case Round:
		if level == 2 {
			c.Silent = nil
			return c
		}
	case OpenIncident:
		if level < 3 {
			c.Votes = slices.Clone(c.Votes)
			for i := range c.Votes {
				v := &c.Votes[i].Verdict
				v.Signals = slices.Clone(v.Signals)
				for j := range v.Signals {
					v.Signals[j].AtRisk = nil
				}
			}
			return c
		}
	}
	if level >= 2 {
		return c
	}
	switch c := c.(type) {
	case Round:
		requests := slices.Clone(c.Requests)
		for i := range requests {
			r := &requests[i]
			r.Holding, r.WouldHave, r.Rehearsed = 0, 0, nil
		}
		return Round{Requests: requests}
	case NoteSuspicion:
		c.Alive = false
		return c
	case RecordEvidence:
		c.Source = ""
		return c
	case VoidEvidence:
		c.Source = ""
		return c
	}
	return c
}

// RaiseFeatures puts a feature level in force, once every member has registered
// with a version that understands it. That is also why it may be proposed at the
// level below: nobody is left who could not read it.
type RaiseFeatures struct {
	Level int `json:"level"`
}

// Name implements Command.
func (RaiseFeatures) Name() string { return "raise-features" }

// LeaderOnly implements Command.
func (RaiseFeatures) LeaderOnly() bool { return true }

func (c RaiseFeatures) apply(s *State, m Meta) (any, error) {
	switch {
	case s.Settings == nil:
		return nil, refuse("not-configured", "a feature level needs a configuration: it says who the members are")
	case c.Level <= s.Level():
		return nil, refuse("features", "feature level %d is not above %d, which is in force", c.Level, s.Level())
	}
	s.Features = c.Level
	s.event(m, c, "feature level %d in force: every member understands it", c.Level)
	return nil, nil
}

// Raisable is the highest level above the one in force that every member
// understands and this version knows; zero for none.
func (s *State) Raisable() int {
	for level := Features; level > s.Level() && s.Settings != nil; level-- {
		if s.behind(level) == "" {
			return level
		}
	}
	return 0
}

// behind names the first member that does not understand a level, or "".
func (s *State) behind(level int) NodeID {
	for _, id := range slices.Sorted(maps.Keys(s.Members())) {
		if s.Nodes[id].Features < level {
			return id
		}
	}
	return ""
}

func (s *State) versionOf(id NodeID) string {
	rec, ok := s.Nodes[id]
	if !ok {
		return "it has not registered yet"
	}
	return "version " + rec.Version
}

// Allowed returns a *Refusal for a command that a member could not read. Whoever
// proposes asks it first, on the leader's state: Apply asks as well, but an older
// node would have stopped at the entry by then.
func (s *State) Allowed(c Command) error {
	need := LevelOf(c)
	if r, ok := c.(RaiseFeatures); ok {
		// It must not stand in the log too early either: not even as one that Apply
		// refuses.
		if id := s.behind(r.Level); id != "" {
			return refuse("features", "feature level %d is not understood by node %s (%s)", r.Level, id, s.versionOf(id))
		}
	}
	if need <= s.Level() {
		return nil
	}
	why := "the leader raises it within seconds"
	switch id := s.behind(need); {
	case s.Settings == nil:
		why = "the cluster has no configuration yet"
	case id != "":
		why = "node " + string(id) + " does not understand it (" + s.versionOf(id) + "): upgrade it first"
	}
	return refuse("features", "%s needs feature level %d, and level %d is in force: %s", c.Name(), need, s.Level(), why)
}
