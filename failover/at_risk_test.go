package failover_test

import (
	"testing"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// What was counted in the active region is replaced component by component, is refused of what is none, and ends with the epoch: it says
// nothing of the region that is active then.
func TestAtRiskIsOfTheActiveRegion(t *testing.T) {
	c, exec := current(t).opened()
	c.must(failover.RecordAtRisk{Epoch: 1, Counted: map[failover.Component]failover.AtRisk{"workers": {Items: 3, Unit: "messages"}}})
	c.must(failover.RecordAtRisk{Epoch: 1, Counted: map[failover.Component]failover.AtRisk{"api": {Items: 1, Unit: "messages"}}})
	c.refused("component", failover.RecordAtRisk{Epoch: 1, Counted: map[failover.Component]failover.AtRisk{"nobody": {Items: 1}}})
	c.refused("epoch", failover.RecordAtRisk{Epoch: 2, Counted: map[failover.Component]failover.AtRisk{"api": {Items: 2}}})
	if len(c.s.AtRisk) != 2 || c.s.AtRisk["workers"].Items != 3 || !c.s.AtRisk["workers"].At.Equal(c.s.Time) {
		t.Errorf("%+v", c.s.AtRisk)
	}
	freeze := c.frozen(exec)
	c.start(plan.FenceID)
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Lease, Epoch: 1, Freeze: freeze, Waited: dur("10m")})
	c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze})
	if c.s.Active != east2 || len(c.s.AtRisk) != 0 {
		t.Errorf("%s is active, and of it: %+v", c.s.Active, c.s.AtRisk)
	}
}

// A configuration that comes into force may count something else: what was counted by the one before ends with it.
func TestAtRiskEndsWithItsConfiguration(t *testing.T) {
	c := current(t)
	c.must(failover.RecordAtRisk{Epoch: 1, Counted: map[failover.Component]failover.AtRisk{"workers": {Items: 3, Unit: "messages"}}})
	c.must(failover.ActivateSettings{Proposal: c.acknowledged(*c.s.Settings)})
	if len(c.s.AtRisk) != 0 {
		t.Errorf("%+v", c.s.AtRisk)
	}
}

// The votes of an incident stand in the log: an older member could not read what they count. The leader's own votes are not touched.
func TestOlderMembersReadTheVotes(t *testing.T) {
	votes := []failover.Vote{{Verdict: failover.Verdict{Signals: []failover.SignalState{{AtRisk: &failover.AtRisk{Items: 1}}}}}}
	for level, kept := range map[int]bool{1: false, 2: false, 3: true} {
		c := failover.Reduced(failover.OpenIncident{Votes: votes}, level).(failover.OpenIncident)
		if got := c.Votes[0].Verdict.Signals[0].AtRisk; (got != nil) != kept {
			t.Errorf("level %d: %+v", level, got)
		}
	}
	if votes[0].Verdict.Signals[0].AtRisk == nil {
		t.Error("the votes themselves were changed")
	}
}
