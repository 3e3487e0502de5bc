package failover_test

import (
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// well reports whether the execution is withdrawn when both regions have been seen
// healthy for longer than a hold.
func (c *cluster) well() bool {
	var votes []failover.Vote
	for n, spec := range c.s.Settings.Nodes {
		for _, r := range []failover.Region{east1, east2} {
			votes = append(votes, failover.Vote{Node: n, Vantage: spec.Vantage, Verdict: failover.Verdict{Region: r, Health: failover.Healthy}})
		}
	}
	var d failover.Decision
	var mem failover.Memory
	for i := range 100 {
		now := c.now.Add(time.Duration(i) * time.Second)
		for i := range votes {
			votes[i].Received = now
		}
		d, mem = failover.Decide(failover.Input{State: c.s, Now: now, Votes: votes, TermStart: c.now.Add(-time.Hour)}, mem)
		if i < 90 && d.Withdraw {
			c.t.Errorf("withdrawn after %d s", i)
		}
	}
	return d.Withdraw
}

// G8: by itself, while no person has had a part in it and nothing irreversible has
// begun; the epoch that advances at that moment wins.
func TestWithdrawn(t *testing.T) {
	begun := func(change func(*failover.Settings)) (*cluster, uint64) {
		c := current(t)
		if change != nil {
			s := settings()
			change(&s)
			c.must(failover.Configure{Settings: s, Hash: "h2"})
		}
		return c.opened()
	}
	person := func(c *cluster, cmd failover.Command) {
		if res := c.apply(cmd, "uid 1"); res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	c, exec := begun(nil)
	if !c.well() {
		t.Error("it goes on although the region is well")
	}
	c.must(failover.Ask{Execution: exec, Kind: "evidence", Step: plan.FenceID, Text: "?"})
	if !c.well() || c.s.Back() == "" {
		t.Error("its open question keeps it")
	}
	c.frozen(exec)
	c.start(plan.FenceID)
	if !c.well() {
		t.Error("its fence has begun to wait for evidence, which is nothing irreversible, and it goes on")
	}
	c.s.Features = 2
	if c.well() {
		t.Error("withdrawn where an older version would let it be aborted beyond the epoch")
	}

	c, exec = begun(nil)
	person(c, failover.Hold{Execution: exec})
	if c.well() {
		t.Error("withdrawn although a person holds it")
	}
	c, exec = begun(nil)
	c.must(failover.Suspend{Execution: exec, Condition: failover.FollowedUs})
	if !c.well() {
		t.Error("it waits for an answer about a region that is well")
	}
	person(c, failover.Approve{Execution: exec})
	if c.well() {
		t.Error("withdrawn although a person lets it go on")
	}

	// That nobody answered is no person's word.
	c, exec = begun(nil)
	nonce := c.must(failover.Ask{Execution: exec, Kind: "approval", Step: "start-api", Text: "?", Default: "proceed", Deadline: c.now.Add(time.Minute)}).Index
	c.now = c.now.Add(time.Minute)
	c.must(failover.AskExpired{Execution: exec, Nonce: nonce})
	if !c.well() {
		t.Error("what the policy has approved keeps it")
	}
	c, exec = begun(func(s *failover.Settings) { s.Components[1].Stop.Action.Irreversible = true })
	c.frozen(exec)
	if !c.well() {
		t.Error("it goes on although nothing irreversible has begun")
	}
	c.start("stop-workers")
	if c.well() {
		t.Error("withdrawn although something irreversible has begun")
	}

	// The incident is over with what was withdrawn, and stays open after a person's abort.
	for _, by := range []string{"", "uid 1"} {
		c, exec = begun(nil)
		if res := c.apply(failover.Abort{Execution: exec, Undo: true}, by); res.Err != nil {
			t.Fatal(res.Err)
		}
		c.must(failover.FinishExecution{Execution: exec, State: failover.ExecUndone, Outcome: "undone"})
		if (c.s.Incident == nil) != (by == "") {
			t.Errorf("aborted by %q: incident %+v", by, c.s.Incident)
		}
	}

	c, exec = begun(nil)
	freeze := c.frozen(exec)
	c.start(plan.FenceID)
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
	c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze})
	c.refused("no-return", failover.Abort{Execution: exec, Undo: true}) // the fence's step is not finished yet
	if c.well() {
		t.Error("withdrawn although the epoch has advanced")
	}
}
