package failover_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// A stop that was sent and not seen may still come, although its attempt is over, or another one came after it: nothing works in its region
// before it has aged out, and nobody lets the component go meanwhile.
func TestAStopThatWasNotSeenAgesOut(t *testing.T) {
	for name, tt := range map[string]struct {
		attempts func(c *cluster, began func() uint64, ended func(uint64, failover.StepState))
		ages     bool
	}{
		"seen by whoever sent it": {func(_ *cluster, began func() uint64, ended func(uint64, failover.StepState)) {
			ended(began(), failover.StepDone)
		}, false},
		"not seen": {func(_ *cluster, began func() uint64, ended func(uint64, failover.StepState)) {
			ended(began(), failover.StepFailed)
		}, true},
		"nobody knows": {func(_ *cluster, began func() uint64, ended func(uint64, failover.StepState)) {
			ended(began(), failover.StepUnclear)
		}, true},
		"not seen, and then seen": {func(_ *cluster, began func() uint64, ended func(uint64, failover.StepState)) {
			ended(began(), failover.StepFailed)
			ended(began(), failover.StepDone)
		}, true},
		"its leader died, and the next one's was seen": {func(c *cluster, began func() uint64, ended func(uint64, failover.StepState)) {
			began()
			c.now = c.now.Add(11 * time.Second)
			ended(began(), failover.StepDone)
		}, true},
		"its leader died, and the next one finds it stopped": {func(c *cluster, began func() uint64, ended func(uint64, failover.StepState)) {
			token := began()
			c.term++
			c.must(failover.Lead{})
			ended(token, failover.StepDone)
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			c, exec := current(t).opened()
			freeze := c.frozen(exec)
			c.start(plan.FenceID)
			c.s.Holds = []failover.StandingHold{
				{ID: 7, Component: "workers", Step: failover.Step{Kind: failover.KindStop, Region: east2}},
				{ID: 8, Component: "files", Step: failover.Step{Kind: failover.KindStop, Region: east1}, Quiet: c.now.Add(time.Hour)}, // of the region that is left: as it should be
			}
			tt.attempts(c, func() uint64 {
				return c.must(failover.ReapplyStarted{Hold: 7, Epoch: 1, Previous: json.RawMessage(`{}`), Until: c.now.Add(10 * time.Second)}).Index
			}, func(token uint64, outcome failover.StepState) {
				c.must(failover.ReapplyFinished{Hold: 7, Token: token, Outcome: outcome, Detail: "x"})
			})
			c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze})
			// All is proven: no further stop is sent, or each would keep the epoch anew.
			c.refused("entering", failover.ReapplyStarted{Hold: 7, Epoch: 1, Previous: json.RawMessage(`{}`), Until: c.now.Add(10 * time.Second)})
			c.s.Late = []failover.LateToken{{ID: 1, Token: 5}} // something else keeps the epoch, for who knows how long: stops go on
			if c.s.Entering(east2) {
				t.Error("stops rest while a late write keeps the epoch")
			}
			c.s.Late = nil
			next := failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: freeze}
			if tt.ages {
				c.now = c.now.Add(10 * time.Second)
				c.refused("in-flight", next)
				c.refused("in-flight", failover.ReleaseHold{Component: "workers"})
				c.now = c.now.Add(5 * time.Minute)
			}
			c.must(failover.ReleaseHold{Component: "workers"})
			c.must(next)
		})
	}
}
