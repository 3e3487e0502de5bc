package failover_test

import (
	"testing"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// S5: a person ordered a failover at the moment at which automation began one.
// The order still stands, and a leader that has not heard of the other execution
// proposes its own.
func TestOneExecutionAtATime(t *testing.T) {
	c := newCluster(t)
	request := c.must(failover.RequestExecution{Kind: failover.Failover}).Index
	inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
	p, err := plan.Derive(c.s.Settings, east1)
	if err != nil {
		t.Fatal(err)
	}
	first := c.must(failover.StartExecution{Kind: failover.Failover, Incident: inc, Epoch: 1, Plan: p}).Index
	c.refused("execution-open", failover.StartExecution{Kind: failover.Failover, Request: request, Epoch: 1, Plan: p})
	if c.s.Execution.ID != first {
		t.Fatalf("execution %d took the place of %d", c.s.Execution.ID, first)
	}
	c.refused("execution-open", failover.RequestExecution{Kind: failover.Failover})
}

// G3: a provisional freeze ends when an agent is heard. Whatever its time might
// prove is no evidence before an execution has made it firm: the agent that is
// heard has a lease again.
func TestProvisionalFreezeProvesNothing(t *testing.T) {
	c := newCluster(t)
	c.ask("w1", east1)
	freeze := c.must(failover.FreezeLease{Region: east1, Epoch: 1, Provisional: true}).Value.(uint64)
	c, exec := c.opened()
	c.now = c.now.Add(dur("10m").D())
	for _, class := range []failover.EvidenceClass{failover.Lease, failover.Confirmed} {
		c.refused("freeze", failover.RecordEvidence{Execution: exec, Component: "workers", Class: class, Epoch: 1, Freeze: freeze, Waited: dur("10m")})
	}
	c.refused("freeze", failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze})
	if g := c.ask("w1", east1); !g.Granted || c.s.Freeze != nil {
		t.Fatalf("%+v, freeze %+v", g, c.s.Freeze)
	}
	c.refused("freeze", failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze})
}
