package failover_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// A service that has left home is brought home by a person's switchover, with the configuration as it is. Who asks for a failover instead is told which way it
// leads, and can insist on it: the region that it went to may be dead.
func TestTheWayHome(t *testing.T) {
	for name, tt := range map[string]struct {
		ask     failover.RequestExecution
		refused []string
	}{
		"a switchover": {failover.RequestExecution{Kind: failover.Switchover}, nil},
		"a failover": {failover.RequestExecution{Kind: failover.Failover}, []string{
			"us-east-2 is active, and the way back is a person's decision", "`failoverd switchover --why …` brings the service home while us-east-2 lives", "exchange primary and secondary (`failoverd config apply`)",
			"`failoverd failover --override direction --why …` acts in spite of it",
		}},
		"a failover that is meant": {failover.RequestExecution{Kind: failover.Failover, Overrides: []string{failover.GuardDirection}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := moved2(t).cluster
			c.s.Features = failover.Features
			c.now = c.now.Add(24 * time.Hour)
			res := c.apply(tt.ask, "uid 1")
			if tt.refused == nil && res.Err != nil {
				t.Fatal(res.Err)
			}
			if tt.refused != nil {
				ref, ok := res.Err.(*failover.Refusal)
				if !ok || ref.Guard != failover.GuardDirection {
					t.Fatalf("%v", res.Err)
				}
				for _, want := range tt.refused {
					if !strings.Contains(ref.Text, want) {
						t.Errorf("it says %q, and not %q", ref.Text, want)
					}
				}
				return
			}
			// What was asked for in this way begins, too.
			p, err := plan.DeriveKind(c.s.Settings, east2, tt.ask.Kind)
			if err != nil {
				t.Fatal(err)
			}
			c.must(failover.StartExecution{Kind: tt.ask.Kind, Request: c.s.Request.ID, Epoch: c.s.Epoch, Plan: p})
			if e := c.s.Execution; e == nil || e.From != east2 || e.To != east1 {
				t.Errorf("%+v", e)
			}
		})
	}
}

// A member of an older version knows no way back.
func TestNoWayHomeForOlderMembers(t *testing.T) {
	c := moved2(t).cluster
	c.s.Features = 2
	for _, overrides := range [][]string{nil, {failover.GuardDirection}} {
		if ref, ok := c.apply(failover.RequestExecution{Kind: failover.Failover, Overrides: overrides}, "uid 1").Err.(*failover.Refusal); !ok || ref.Guard != failover.GuardDirection {
			t.Errorf("%v: %v", overrides, ref)
		}
	}
}

// What comes to life by itself in the region that is entered gets no lease before the plan starts it: it would work on data that nobody has brought yet.
func TestNoLeaseBeforeItsStart(t *testing.T) {
	c := frozen(t)
	c.s.Features = failover.Features
	const start failover.StepID = "start-workers"
	ask := func(running bool) failover.Grant {
		t.Helper()
		return c.must(c.round(failover.LeaseRequest{Agent: "w9", Region: east2, Component: "workers", Lease: dur("75s"), Enforced: true, Running: running})).Value.([]failover.Grant)[0]
	}
	c.start(plan.FenceID)
	c.must(failover.RecordEvidence{Execution: c.exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: c.freeze})
	c.must(failover.AdvanceEpoch{Execution: c.exec, Epoch: 2, Region: east2, Freeze: c.freeze})
	if g := ask(false); g.Granted || g.Gone || g.Freeze != 0 || g.Sentence != "the lease of workers in us-east-2 waits for step start-workers" {
		t.Errorf("before: %+v", g)
	}
	if g := ask(true); !g.Granted { // nothing that runs is stopped for it
		t.Errorf("a worker that runs: %+v", g)
	}
	c.finish(plan.FenceID, c.s.Execution.Step(plan.FenceID).Last().Token, failover.StepDone)
	for _, st := range c.s.Execution.Plan.Steps {
		if st.ID == start {
			break
		}
		if st.Kind == failover.KindStart {
			c.finish(st.ID, c.start(st.ID), failover.StepDone)
		}
	}
	if g := ask(false); g.Granted {
		t.Errorf("right before: %+v", g)
	}
	before := c.s.Clone()
	c.start(start)
	if g := ask(false); !g.Granted {
		t.Errorf("once it has begun: %+v", g)
	}
	c.s = before.Clone()
	c.must(failover.Skip{Execution: c.exec, Step: start})
	if g := ask(false); !g.Granted {
		t.Errorf("skipped: %+v", g)
	}
	c.s = before.Clone()
	c.must(failover.Abort{Execution: c.exec})
	c.must(failover.FinishExecution{Execution: c.exec, State: failover.ExecAborted})
	// To end it starts nothing by itself, and who carries it on, or lets go of its fence, goes on from there.
	ended := c.s.Clone()
	if g := ask(false); g.Granted || !strings.Contains(g.Sentence, "waits for step start-workers of execution ") || !strings.Contains(g.Sentence, "`failoverd continue --why …`") {
		t.Errorf("when the execution was ended behind the fence: %+v", g)
	}
	if g := ask(true); !g.Granted {
		t.Errorf("a worker that runs: %+v", g)
	}
	c.must(failover.Continue{Execution: c.exec, Ended: true})
	c.start(start)
	if g := ask(false); !g.Granted {
		t.Errorf("once it is carried on: %+v", g)
	}
	c.s = ended
	c.must(failover.NoteHold{Hold: c.s.Holds[0].ID, Status: failover.HoldViolated})
	if g := ask(false); g.Granted {
		t.Errorf("while what was left runs again: %+v", g)
	}
	c.must(failover.ReleaseHold{Component: "workers"})
	if g := ask(false); !g.Granted {
		t.Errorf("when its fence was released: %+v", g)
	}
	// As a member of an older version knows it.
	c.s = before
	c.s.Features = 2
	if g := ask(false); !g.Granted {
		t.Errorf("at level 2: %+v", g)
	}
}

// What the plan has sent to stop a region, and has not seen to take effect, may land late: who comes home soon waits for that, or it would stop what was
// started there.
func TestTheWayHomeWaitsForEarlierStops(t *testing.T) {
	for name, tt := range map[string]struct {
		outcome  failover.StepState
		previous json.RawMessage // empty: the region answered nothing
		waits    bool
	}{
		"not seen to take effect": {failover.StepUnproven, nil, true}, "seen": {failover.StepDone, nil, false},
		"it could be read": {failover.StepUnproven, json.RawMessage(`{}`), false},
	} {
		t.Run(name, func(t *testing.T) {
			c, exec := current(t).opened()
			freeze := c.frozen(exec)
			until := c.now.Add(20 * time.Second)
			token := c.must(failover.StepStarted{Execution: exec, Step: "stop-workers", Epoch: 1, PlanHash: c.s.Execution.PlanHash, Previous: tt.previous, Until: until}).Index
			c.finish("stop-workers", token, tt.outcome)
			advance := func(freeze uint64) failover.AdvanceEpoch {
				c.start(plan.FenceID)
				c.must(failover.RecordEvidence{Execution: c.s.Execution.ID, Component: "workers", Class: failover.Confirmed, Epoch: c.s.Epoch, Freeze: freeze})
				return failover.AdvanceEpoch{Execution: c.s.Execution.ID, Epoch: c.s.Epoch + 1, Region: c.s.Execution.To, Freeze: freeze}
			}
			c.must(advance(freeze))
			c.finish(plan.FenceID, c.s.Execution.Step(plan.FenceID).Last().Token, failover.StepDone)
			c.must(failover.Abort{Execution: exec})
			c.must(failover.FinishExecution{Execution: exec, State: failover.ExecAborted})
			p, err := plan.DeriveKind(c.s.Settings, east2, failover.Switchover)
			if err != nil {
				t.Fatal(err)
			}
			c.must(failover.RequestExecution{Kind: failover.Switchover})
			c.must(failover.StartExecution{Kind: failover.Switchover, Request: c.s.Request.ID, Epoch: 2, Plan: p})
			token = c.start(plan.FreezeID)
			freeze = c.must(failover.FreezeLease{Region: east2, Epoch: 2, Execution: c.s.Execution.ID}).Value.(uint64)
			c.finish(plan.FreezeID, token, failover.StepDone)
			back := advance(freeze)
			if tt.waits {
				if why := c.s.StopsUnderWay(east1, "workers", c.now); !strings.HasPrefix(why, "workers was being stopped in us-east-1, was not seen to stop, and a call of that may still land until ") {
					t.Error(why)
				}
				c.refused("in-flight", back)
				c.now = until.Add(5 * time.Minute)
			}
			c.must(back)
		})
	}
}

// The steps have the same names in the other direction: what was counted for one says nothing of the other, also when the execution was ended behind its fence.
func TestAnInventoryIsOfOneDirection(t *testing.T) {
	c, exec := current(t).opened()
	freeze := c.frozen(exec)
	c.start(plan.FenceID)
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
	c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze})
	c.finish(plan.FenceID, c.s.Execution.Step(plan.FenceID).Last().Token, failover.StepDone)
	c.s.Incident = nil
	c.s.Inventory = map[failover.StepID]int{"stop-workers": 6}
	c.s.Readings = map[failover.StepID]failover.Reading{"switch-route53_weights": {Of: "x"}}
	c.must(failover.Abort{Execution: exec})
	c.must(failover.FinishExecution{Execution: exec, State: failover.ExecAborted})
	if c.s.Inventory != nil || len(c.s.Readings) != 1 {
		t.Errorf("ended behind the fence: %v, %v", c.s.Inventory, c.s.Readings)
	}
	c.must(failover.RecordInventory{Counts: map[failover.StepID]int{"start-workers": 6}})
	c.must(failover.Continue{Execution: exec, Ended: true})
	if c.s.Inventory != nil {
		t.Errorf("carried on: %v", c.s.Inventory)
	}
}

// What has no start of its own begins with its lease. It waits for what it comes after, also by way of others that have none.
func TestNoLeaseBeforeWhatItComesAfter(t *testing.T) {
	c := current(t)
	set := settings()
	set.Components[1].Start, set.Components[1].After = nil, []failover.Component{"between"}
	set.Components = append(set.Components, failover.ComponentSpec{Name: "between", After: []failover.Component{"api"}})
	c.must(failover.Configure{Settings: set, Hash: "h2"})
	c, exec := c.opened()
	freeze := c.frozen(exec)
	token := c.start(plan.FenceID)
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
	c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze})
	c.finish(plan.FenceID, token, failover.StepDone)
	ask := func() failover.Grant {
		return c.must(c.round(failover.LeaseRequest{Agent: "w9", Region: east2, Component: "workers", Lease: dur("75s"), Enforced: true})).Value.([]failover.Grant)[0]
	}
	if g := ask(); g.Granted || g.Sentence != "the lease of workers in us-east-2 waits for step start-api" {
		t.Errorf("before: %+v", g)
	}
	token = c.start("start-api")
	if g := ask(); g.Granted {
		t.Errorf("while it is started: %+v", g)
	}
	before := c.s.Clone()
	c.finish("start-api", token, failover.StepDone)
	if g := ask(); !g.Granted {
		t.Errorf("once it is: %+v", g)
	}
	c.s = before.Clone()
	c.finish("start-api", token, failover.StepFailed)
	c.must(failover.Skip{Execution: exec, Step: "start-api"})
	if g := ask(); !g.Granted {
		t.Errorf("skipped: %+v", g)
	}
	c.s = before
	c.s.Features = 2
	if g := ask(); !g.Granted {
		t.Errorf("at level 2: %+v", g)
	}
}
