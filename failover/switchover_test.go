package failover_test

import (
	"strings"
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

// Whoever asks for a switchover and is refused is handed the command of a switchover: that of a failover would take nothing along. So it is for the
// reason that is missing and for what the first approval asks.
func TestARefusedSwitchoverStaysOne(t *testing.T) {
	for _, kind := range []failover.ExecKind{failover.Failover, failover.Switchover} {
		c := current(t)
		brings(c.s.Settings)
		res := c.s.Apply(failover.Meta{Index: c.s.Index + 1, Term: c.term, ProposedTerm: c.term, At: c.now, Node: c.node, By: "uid 1"}, failover.RequestExecution{Kind: kind})
		if text := res.Err.Error(); !strings.Contains(text, "a "+string(kind)+" needs a reason") {
			t.Errorf("%s without a reason: %s", kind, text)
		}
		p, err := plan.DeriveKind(c.s.Settings, east1, kind)
		if err != nil {
			t.Fatal(err)
		}
		req := c.must(failover.RequestExecution{Kind: kind}).Index
		c.must(failover.StartExecution{Kind: kind, Request: req, Epoch: 1, Plan: p, Approval: true})
		if got, want := c.s.Execution.Question.Text, map[failover.ExecKind]string{failover.Failover: "Fail over from", failover.Switchover: "Switch over from"}[kind]; !strings.HasPrefix(got, want) {
			t.Errorf("%s asks %q", kind, got)
		}

		c = current(t)
		c.must(failover.PauseAutomation{For: dur("1h")})
		reasons := map[string]string{}
		guard, reason := c.s.HandGuard(c.now, kind, nil)
		reasons[guard] = reason
		for _, sb := range []failover.Standby{{Checked: true}, {Checked: true, Problems: []string{"no image"}}} {
			j := failover.Judgement{Condition: failover.FollowedUs}
			if len(sb.Problems) > 0 {
				j = failover.Judgement{}
			}
			guard, reason := failover.LeaderGuard(kind, j, sb, nil)
			reasons[guard] = reason
		}
		for _, guard := range []string{failover.GuardPause, failover.GuardFollowed, failover.GuardStandby} {
			if got, want := reasons[guard], "`failoverd "+string(kind)+" --override "+guard+" --why"; !strings.Contains(got, want) || strings.Count(got, " --override ") != 1 {
				t.Errorf("a %s that %s refuses: %q", kind, guard, got)
			}
		}
	}
}
