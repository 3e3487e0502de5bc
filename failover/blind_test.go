package failover_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// E6: a step is undone without an undo only if it was tried blind, has ended, and the
// execution is taken back: then the leader has seen that it changed nothing.
func TestBlindStopsEndWithoutAnUndo(t *testing.T) {
	const stop = failover.StepID("stop-workers")
	begun := func(previous string) (*cluster, *failover.Execution, failover.StepFinished) {
		c, exec := current(t).opened()
		c.frozen(exec)
		e := c.s.Execution
		token := c.must(failover.StepStarted{Execution: exec, Step: stop, Epoch: 1, PlanHash: e.PlanHash, Previous: json.RawMessage(previous), Until: c.now.Add(time.Minute)}).Index
		return c, e, failover.StepFinished{Execution: exec, Step: stop, Token: token, Outcome: failover.StepUndone, Detail: "no trace"}
	}
	c, e, end := begun("")
	c.refused("outcome", end) // it is in flight
	c.finish(stop, end.Token, failover.StepUnproven)
	c.refused("state", end) // nobody takes it back
	c.must(failover.Abort{Execution: e.ID, Undo: true})
	c.must(failover.Ask{Execution: e.ID, Kind: "failed", Step: stop, Text: "?"})
	other := end
	other.Token--
	c.refused("token", other)
	c.s.Features = 2
	c.refused("state", end)
	c.s.Features = failover.Features
	c.must(end)
	if rec := e.Step(stop); rec.State != failover.StepUndone || rec.Detail != "no trace" || e.Question != nil {
		t.Errorf("%+v, question %+v", rec, e.Question)
	}
	c.refused("state", end)
	c.must(failover.FinishExecution{Execution: e.ID, State: failover.ExecUndone, Outcome: "undone"})

	c, e, end = begun("")
	c.finish(stop, end.Token, failover.StepUnproven)
	c.must(failover.Abort{Execution: e.ID})
	c.refused("state", end) // what was done is to stand

	c, e, end = begun(`{"n":3}`)
	c.finish(stop, end.Token, failover.StepDone)
	c.must(failover.Abort{Execution: e.ID, Undo: true})
	c.refused("state", end) // it is known what it was, and has to be put back
}
