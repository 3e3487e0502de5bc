package failover_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// What nobody has answered the policy approves only as long as it would begin it: not for a region that is seen alive again, and not in
// a pause. The limit per day counts the execution itself, and does not end it.
func TestThePolicyApprovesNothingThatTheGuardsRefuse(t *testing.T) {
	down := failover.NoteSuspicion{Region: east1, Condition: failover.RegionDown, Sentence: "dark"}
	for name, tt := range map[string]struct {
		then []failover.Command
		why  string // "" proceeds
	}{
		"still down":        {nil, ""},
		"well again":        {[]failover.Command{failover.NoteSuspicion{Region: east1}}, "is not seen down any more"},
		"seen from within":  {[]failover.Command{failover.NoteSuspicion{Region: east1, Condition: failover.Partitioned}}, "the condition of us-east-1 is partitioned"},
		"down once more":    {[]failover.Command{failover.NoteSuspicion{Region: east1}, down}, ""},
		"paused meanwhile":  {[]failover.Command{failover.PauseAutomation{For: dur("4h")}}, "automation is paused"},
		"data lost by then": {[]failover.Command{failover.RecordLoss{Samples: map[string]failover.LossSample{"mongo": {Behind: dur("2h")}}}}, "2h0m0s of mongo would be lost"},
	} {
		c := current(t)
		s := settings()
		s.Policy.Mode, s.Policy.Ask.Then, s.Policy.MaxPerDay = failover.ModeSupervised, "proceed", 1
		s.Policy.MaxLoss = map[string]failover.Duration{"mongo": dur("1h")}
		c.must(failover.Configure{Settings: s, Hash: "h2"})
		c.must(failover.RecordLoss{Samples: map[string]failover.LossSample{"mongo": {Behind: dur("1s")}}})
		c.must(down)
		inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
		p, err := plan.Derive(c.s.Settings, east1)
		if err != nil {
			t.Fatal(err)
		}
		c.must(failover.StartExecution{Kind: failover.Failover, Incident: inc, Epoch: 1, Plan: p, Approval: true})
		for _, cmd := range tt.then {
			if res := c.apply(cmd, "uid 1"); res.Err != nil {
				t.Fatal(name, res.Err)
			}
		}
		c.now = c.now.Add(16 * time.Minute)
		e := c.s.Execution
		c.must(failover.AskExpired{Execution: e.ID, Nonce: e.Question.Nonce})
		e = c.s.Execution
		said := ""
		for _, ev := range c.s.Events {
			said += ev.Text + "\n"
		}
		if tt.why == "" {
			if e.State != failover.ExecRunning || e.Question != nil {
				t.Errorf("%s: %s, %+v", name, e.State, e.Question)
			}
			continue
		}
		if e.State != failover.ExecAwaiting || e.Question == nil || !e.Question.Deadline.After(c.now) || strings.Count(said, "the policy does not proceed as long as") != 1 || !strings.Contains(said, tt.why) {
			t.Errorf("%s: %s, %+v; said\n%s", name, e.State, e.Question, said)
			continue
		}
		// It is looked at again, and told of once.
		c.now = e.Question.Deadline
		c.must(failover.AskExpired{Execution: e.ID, Nonce: e.Question.Nonce})
		if n := len(c.s.Events); c.s.Execution.State != failover.ExecAwaiting || strings.Contains(c.s.Events[n-1].Text, "does not proceed") && c.s.Events[n-1].Index == c.s.Index {
			t.Errorf("%s: %s, and said again: %s", name, c.s.Execution.State, c.s.Events[n-1].Text)
		}
		if name == "seen from within" {
			c.must(down)
			c.now = c.s.Execution.Question.Deadline
			c.must(failover.AskExpired{Execution: e.ID, Nonce: e.Question.Nonce})
			if c.s.Execution.State != failover.ExecRunning {
				t.Errorf("%s for a moment, and never begun: %s", name, c.s.Execution.State)
			}
			continue
		}
		if res := c.apply(failover.Approve{Execution: e.ID, Nonce: e.Question.Nonce}, "uid 2"); res.Err != nil || c.s.Execution.State != failover.ExecRunning {
			t.Errorf("%s: a person cannot approve it: %v", name, res.Err)
		}
	}
}

// Each guard that may stop a failover says how to go on, whoever is stopped by it.
func TestEveryGuardNamesAWay(t *testing.T) {
	set := func(change func(c *cluster)) func(t *testing.T) *cluster {
		return func(t *testing.T) *cluster {
			c := current(t)
			s := settings()
			s.Policy.MaxPerDay = 1
			c.must(failover.Configure{Settings: s, Hash: "h2"})
			change(c)
			return c
		}
	}
	for guard, tt := range map[string]struct {
		state func(t *testing.T) *cluster
		way   string
	}{
		failover.GuardMode:      {set(func(c *cluster) { c.s.Settings.Policy.Mode = failover.ModeObserve }), "`failoverd failover --why …`"},
		failover.GuardDirection: {set(func(c *cluster) { c.s.Active = east2 }), "`failoverd failover --override direction --why …`"},
		failover.GuardPause:     {set(func(c *cluster) { c.must(failover.PauseAutomation{For: dur("1h")}) }), "`failoverd resume`"},
		failover.GuardCooldown:  {set(func(c *cluster) { c.s.CooldownUntil = c.now.Add(time.Hour) }), "`failoverd failover --why …`"},
		failover.GuardMaxPerDay: {set(func(c *cluster) { c.s.AutoRuns = []time.Time{c.now.Add(-time.Hour)} }), "`failoverd failover --why …`"},
		failover.GuardLate:      {set(func(c *cluster) { c.s.Late = []failover.LateToken{{ID: 1, Token: 7}} }), "`failoverd failover --override late-write --why …`"},
		failover.GuardLoss: {set(func(c *cluster) {
			c.s.Settings.Policy.MaxLoss = map[string]failover.Duration{"mongo": dur("1s")}
		}), "`failoverd failover --override loss --why …`"},
	} {
		c := tt.state(t)
		got, why := c.s.AutoGuard(c.now)
		if got != guard || !strings.Contains(why, tt.way) {
			t.Errorf("%s: guard %q says %q, want the way %q", guard, got, why, tt.way)
		}
		// Its way is one: a person is not stopped by it, or is told of it as well.
		var overrides []string
		if slices.Contains(failover.Overridable(), guard) {
			overrides = []string{guard}
		}
		res := c.apply(failover.RequestExecution{Kind: failover.Failover, Overrides: overrides}, "uid 1")
		if res.Err != nil {
			t.Errorf("%s: a person gets %v", guard, res.Err)
		}
	}
	for _, guard := range failover.Overridable() {
		if guard == failover.GuardStandby || guard == failover.GuardFollowed {
			j := failover.Judgement{Condition: failover.FollowedUs}
			sb := failover.Standby{Checked: true, Problems: []string{"no image"}}
			if guard == failover.GuardStandby {
				j = failover.Judgement{}
			}
			if got, why := failover.LeaderGuard(failover.Failover, j, sb, nil); got != guard || !strings.Contains(why, "--override "+guard) {
				t.Errorf("%s: guard %q says %q", guard, got, why)
			}
		}
	}
}
