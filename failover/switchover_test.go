package failover_test

import (
	"testing"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// brings makes the start of api one that takes along, in a switchover, what the region that is left holds.
func brings(s *failover.Settings) {
	api := s.Component("api")
	api.Brings = &failover.BringSpec{Dump: *api.Start, Start: *api.Start}
}

// A switchover is begun by a person, at the level of its release, with a plan of its own; nothing else passes for one.
func TestSwitchoverIsAPersons(t *testing.T) {
	c := newCluster(t)
	c.s.Features = 2
	c.refused("features", failover.RequestExecution{Kind: failover.Switchover})
	c = current(t)
	brings(c.s.Settings)
	own, err := plan.DeriveKind(c.s.Settings, east1, failover.Switchover)
	if err != nil {
		t.Fatal(err)
	}
	c.refused("kind", failover.RequestExecution{Kind: failover.Preparation})
	req := c.must(failover.RequestExecution{Kind: failover.Failover}).Index
	start := failover.StartExecution{Kind: failover.Switchover, Request: req, Epoch: 1, Plan: own}
	c.refused("kind", start) // a failover was asked for
	c.must(failover.RefuseRequest{Request: req, Guard: "plan", Reason: "changed"})
	req = c.must(failover.RequestExecution{Kind: failover.Switchover}).Index
	start.Request, start.Plan = req, c.plan()
	c.refused("kind", start) // by the plan of a failover
	c.refused("kind", failover.StartExecution{Kind: failover.Failover, Request: req, Epoch: 1, Plan: c.plan()})
	start.Plan = own
	c.must(start)
	if e := c.s.Execution; e.Kind != failover.Switchover || e.Plan.Step("dump-api") == nil {
		t.Errorf("%+v", e)
	}
	c = current(t)
	inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
	c.refused("kind", failover.StartExecution{Kind: failover.Switchover, Incident: inc, Epoch: 1, Plan: own})
}

// Of a store that is taken along nothing would be lost, whatever its copy in the other region is worth: the guard asks about the others, and in a
// failover about all.
func TestSwitchoverLosesNothingThatItBrings(t *testing.T) {
	for _, loss := range []string{"api", "mongo"} {
		c := current(t)
		brings(c.s.Settings)
		c.s.Settings.Policy.MaxLoss = map[string]failover.Duration{loss: dur("1m")}
		guard, _ := c.s.HandGuard(c.now, failover.Switchover, nil)
		other, _ := c.s.HandGuard(c.now, failover.Failover, nil)
		want := map[string]string{"api": "", "mongo": failover.GuardLoss}[loss]
		if guard != want || other != failover.GuardLoss {
			t.Errorf("%s: a switchover is refused by %q, a failover by %q", loss, guard, other)
		}
	}
}

// Settings that say what a switchover brings are not put before members that could not read them.
func TestBringingNeedsItsLevel(t *testing.T) {
	s := settings()
	if got := failover.LevelOf(failover.ProposeSettings{Settings: s}); got != 2 {
		t.Fatalf("level %d", got)
	}
	brings(&s)
	if got := failover.LevelOf(failover.ProposeSettings{Settings: s}); got != 3 {
		t.Errorf("level %d", got)
	}
	for kind, want := range map[failover.ExecKind]int{failover.Failover: 1, failover.Switchover: 3} {
		if a, b := failover.LevelOf(failover.RequestExecution{Kind: kind}), failover.LevelOf(failover.StartExecution{Kind: kind}); a != want || b != want {
			t.Errorf("%s: levels %d and %d", kind, a, b)
		}
	}
}

// A switchover that was ended behind the fence is carried on like a failover.
func TestASwitchoverIsCarriedOn(t *testing.T) {
	c, exec := endedBehindTheFence(t)
	c.s.History[len(c.s.History)-1].Kind = failover.Switchover
	if can := c.s.Continuable(); can == nil || can.ID != exec {
		t.Errorf("%+v", can)
	}
}
