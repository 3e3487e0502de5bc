package failover_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

const restoring = failover.StepID("stop-workers") // any step that may start at once will do

// refusing is a running execution with a step that can be allowed "old" and "small", and a key.
func refusing(t *testing.T, approval bool) (*cluster, uint64) {
	t.Helper()
	c, exec := current(t).opened()
	c.frozen(exec)
	st := c.s.Execution.Plan.Step(restoring)
	st.Overrides, st.Keys, st.Approval, st.Timeout = []string{"old", "small"}, true, approval, dur("5m")
	return c, exec
}

// order gives a person's order.
func (c *cluster) order(by string, cmd failover.Command) {
	c.t.Helper()
	if res := c.apply(cmd, by); res.Err != nil {
		c.t.Fatalf("%s refused: %v", cmd.Name(), res.Err)
	}
}

func (c *cluster) fails(step failover.StepID) {
	c.t.Helper()
	c.finish(step, c.start(step), failover.StepFailed)
	c.must(failover.Ask{Execution: c.s.Execution.ID, Kind: "failed", Step: step, Text: "?"})
}

func lifted(c *cluster, step failover.StepID) string {
	rec := c.s.Execution.Step(step)
	return strings.TrimSpace(fmt.Sprintf("%v %s", rec.Lifted(), rec.Key()))
}

// What a person allows a step counts for this step of this execution, for all its later attempts, under whatever leader.
func TestAnOverrideInMidPlan(t *testing.T) {
	c, exec := refusing(t, false)
	retry := failover.Retry{Execution: exec, Step: restoring, Allow: []string{"small"}}
	freeze := c.s.Execution.Plan.Step(plan.FreezeID)
	freeze.Overrides = []string{"small"}
	c.refused("state", failover.Retry{Execution: exec, Step: plan.FreezeID, Allow: []string{"small"}}) // it is done
	freeze.Overrides = nil
	c.fails(restoring)
	for want, cmd := range map[string]failover.Command{
		"override":  failover.Retry{Execution: exec, Step: restoring, Allow: []string{"small", "alive"}},
		"step":      failover.Retry{Execution: exec, Step: "start-mail", Allow: []string{"small"}},
		"execution": failover.Retry{Execution: exec + 1, Step: restoring, Allow: []string{"small"}},
	} {
		c.refused(want, cmd)
	}
	res := c.apply(failover.Retry{Execution: exec, Step: restoring, Allow: []string{"alive"}}, "uid 1")
	if res.Err == nil || !strings.Contains(res.Err.Error(), "these are: old, small") {
		t.Errorf("%v", res.Err)
	}
	for _, cmd := range []failover.Retry{{Execution: exec, Step: plan.FreezeID, Allow: []string{"small"}}, {Execution: exec, Step: plan.FreezeID, Key: "1.sql"}} {
		c.refused("override", cmd) // it knows none
	}
	for _, cmd := range []failover.Retry{retry, {Execution: exec, Step: restoring, Key: "1.sql"}} {
		res := c.s.Apply(failover.Meta{Index: c.s.Index + 1, Term: c.term, At: c.now, Node: c.node, By: "uid 1"}, cmd)
		if ref, ok := res.Err.(*failover.Refusal); !ok || ref.Guard != "why" {
			t.Errorf("without a reason: %v", res.Err)
		}
	}
	c.s.Features = 2
	c.refused("features", retry)
	c.s.Features = failover.Features

	c.order("uid 1", failover.Retry{Execution: exec, Step: restoring, Allow: []string{"small", "small"}})
	e := c.s.Execution
	if e.Question != nil || e.Step(restoring).State != failover.StepPending || lifted(c, restoring) != "[small]" || lifted(c, plan.FreezeID) != "[]" {
		t.Fatalf("%+v, question %v", e.Step(restoring), e.Question)
	}
	said := c.s.Events[len(c.s.Events)-2]
	if said.By != "uid 1" || said.Why != "because" || said.Text != "step stop-workers is allowed, for this execution: small" {
		t.Errorf("%+v", said)
	}
	// A second one adds to it, a new leader knows of both, and to try again without a word takes nothing back.
	c.fails(restoring)
	c.order("uid 2", failover.Retry{Execution: exec, Step: restoring, Allow: []string{"old"}, Key: "1.sql"})
	c.term++
	c.must(failover.Lead{Node: "use2b"})
	c.fails(restoring)
	c.order("uid 2", failover.Retry{Execution: exec, Step: restoring})
	// One that is under way, and refused again and again, goes by it from its next attempt on.
	c.start(restoring)
	c.order("uid 3", failover.Retry{Execution: exec, Step: restoring, Key: "2.sql"})
	if rec := e.Step(restoring); rec.State != failover.StepRunning || lifted(c, restoring) != "[old small] 2.sql" {
		t.Errorf("%+v", rec)
	}
	c.refused("state", failover.Retry{Execution: exec, Step: restoring}) // nothing new in it
	// Whoever ends the execution allows nothing any more.
	c.must(failover.Abort{Execution: exec, Undo: true})
	c.refused("aborting", retry)
}

// The question whether to begin a step tells what it would refuse: it can be allowed before it is begun, and the question is asked anew, with that.
func TestAnOverrideBeforeTheApproval(t *testing.T) {
	c, exec := refusing(t, true)
	ask := failover.Ask{Execution: exec, Kind: "approval", Step: restoring, Text: "?", Ways: []string{"failoverd approve"}}
	allow := failover.Retry{Execution: exec, Step: restoring, Allow: []string{"small"}}
	c.must(ask)
	c.order("uid 1", allow)
	if e := c.s.Execution; e.Question != nil || e.Step(restoring).State != failover.StepPending || lifted(c, restoring) != "[small]" {
		t.Fatalf("%+v, question %v", e.Step(restoring), e.Question)
	}
	c.refused("allowed", ask) // written before that
	ask.Allowed = 1
	c.must(ask)
	c.refusedBy("same-person", "uid 1", failover.Approve{Execution: exec})
	c.order("uid 2", failover.Approve{Execution: exec})
	c.order("uid 3", failover.Retry{Execution: exec, Step: restoring, Allow: []string{"old"}}) // approved, and not begun
	c.refusedBy("approval", "", failover.StepStarted{Execution: exec, Step: restoring, Epoch: c.s.Epoch, PlanHash: c.s.Execution.PlanHash})
	// Another step's question is not touched.
	c.must(failover.Ask{Execution: exec, Kind: "approval", Step: "start-api", Text: "?"})
	c.order("uid 1", allow)
	if c.s.Execution.Question == nil {
		t.Error("the question about another step is gone")
	}
}

// Who holds an execution has not allowed anything: an allowance of somebody else does not end the hold.
func TestAnOverrideEndsNoHold(t *testing.T) {
	c, exec := refusing(t, false)
	c.fails(restoring)
	c.order("uid 1", failover.Hold{Execution: exec})
	c.order("uid 2", failover.Retry{Execution: exec, Step: restoring, Allow: []string{"small"}})
	if e := c.s.Execution; e.State != failover.ExecHeld || e.Step(restoring).State != failover.StepPending || e.Question != nil {
		t.Errorf("%s, %s, question %v", e.State, e.Step(restoring).State, e.Question)
	}
	c.order("uid 1", failover.Continue{Execution: exec})
	c.start(restoring)
}

// What was approved was approved as it was asked: with an override it is asked again, and answered by somebody else.
func TestAnOverrideIsApprovedAgain(t *testing.T) {
	c, exec := refusing(t, true)
	ask := failover.Ask{Execution: exec, Kind: "approval", Step: restoring, Text: "?", Ways: []string{"failoverd approve"}}
	allow := failover.Retry{Execution: exec, Step: restoring, Allow: []string{"small"}}
	other := failover.Approval{Step: "start-api", By: "uid 9"}
	c.s.Execution.Approvals = []failover.Approval{other}
	c.must(ask)
	c.order("uid 1", failover.Approve{Execution: exec})
	token := c.start(restoring)
	c.refused("in-flight", allow) // it acts by the approval that was given
	c.finish(restoring, token, failover.StepFailed)
	c.order("uid 1", failover.Retry{Execution: exec, Step: restoring}) // nothing new was asked for
	if !c.s.Execution.Approved(restoring) {
		t.Error("to try again alone needs no new approval")
	}
	c.fails(restoring)
	c.order("uid 1", allow)
	if c.s.Execution.Approved(restoring) || !slices.Contains(c.s.Execution.Approvals, other) {
		t.Errorf("%+v", c.s.Execution.Approvals)
	}
	c.refusedBy("approval", "", failover.StepStarted{Execution: exec, Step: restoring, Epoch: c.s.Epoch, PlanHash: c.s.Execution.PlanHash})
	ask.Allowed = 1
	c.must(ask)
	c.refusedBy("same-person", "uid 1", failover.Approve{Execution: exec})
	c.order("uid 2", failover.Approve{Execution: exec})
	c.start(restoring)
	if got := c.s.Events[len(c.s.Events)-1].Text; !strings.Contains(got, "stop-workers started") {
		t.Error(got)
	}
}

// Whatever people press, and however a step ends: it is allowed what somebody has said and nothing else, no other step is, and one that needs an approval
// begins with none that was given before the newest of it.
func TestOverridesOfRandomLogs(t *testing.T) {
	allowed, begun := 0, 0
	rapid.Check(t, func(r *rapid.T) {
		approval := rapid.Bool().Draw(r, "approval")
		c, exec := refusing(t, approval)
		said, approved, known := []string{}, false, 0
		for range 60 {
			was := c.s.Execution.Step(restoring).State
			names := rapid.SampledFrom([][]string{nil, {"small"}, {"old"}, {"old", "small"}, {"alive"}, {"small", "alive"}}).Draw(r, "names")
			step := rapid.SampledFrom([]failover.StepID{restoring, restoring, restoring, restoring, plan.FreezeID}).Draw(r, "step")
			// The leader wrote its question now, or some orders ago.
			if n := len(c.s.Execution.Step(restoring).Allowed); rapid.Bool().Draw(r, "reads") {
				known = n
			}
			token := uint64(0)
			if last := c.s.Execution.Step(restoring).Last(); last != nil {
				token = last.Token
			}
			cmd := rapid.SampledFrom([]failover.Command{
				failover.Retry{Execution: exec, Step: step, Allow: names}, failover.Retry{Execution: exec, Step: step, Allow: names},
				failover.StepStarted{Execution: exec, Step: restoring, Epoch: 1, PlanHash: c.s.Execution.PlanHash},
				failover.StepFinished{Execution: exec, Step: restoring, Token: token, Outcome: failover.StepFailed},
				failover.StepFinished{Execution: exec, Step: restoring, Token: token, Outcome: failover.StepUnclear},
				failover.Ask{Execution: exec, Kind: "approval", Step: restoring, Allowed: known}, failover.Approve{Execution: exec}, failover.Lead{Node: "use2b"},
			}).Draw(r, "command")
			snapshot := c.s.Clone()
			lifted := fmt.Sprint(snapshot.Execution.Step(restoring).Lifted())
			ok := c.apply(cmd, rapid.SampledFrom([]string{"uid 1", "uid 2", "uid 3"}).Draw(r, "by")).Err == nil
			if got := fmt.Sprint(snapshot.Execution.Step(restoring).Lifted()); got != lifted {
				r.Fatalf("a copy of the state was allowed %s, and %s now", lifted, got)
			}
			switch cmd := cmd.(type) {
			case failover.Ask:
				if ok && cmd.Allowed != len(c.s.Execution.Step(restoring).Allowed) {
					r.Fatalf("a person is asked with %d of %d allowances", cmd.Allowed, len(c.s.Execution.Step(restoring).Allowed))
				}
			case failover.Approve:
				approved = approved || ok
			case failover.StepStarted:
				if ok && approval && !approved {
					r.Fatal("it began without an approval of what it is allowed")
				}
				if ok {
					begun++
				}
			case failover.Retry:
				if !ok || len(cmd.Allow) == 0 {
					break
				}
				if allowed++; cmd.Step != restoring || slices.Contains(cmd.Allow, "alive") || was == failover.StepRunning && approval {
					r.Fatalf("%s, %s, was allowed %v", cmd.Step, was, cmd.Allow)
				}
				said, approved = append(said, cmd.Allow...), false
			}
			slices.Sort(said)
			if said = slices.Compact(said); !slices.Equal(said, c.s.Execution.Step(restoring).Lifted()) && len(said) > 0 {
				r.Fatalf("allowed %v, and %v were said", c.s.Execution.Step(restoring).Lifted(), said)
			}
			if len(c.s.Execution.Step(plan.FreezeID).Allowed) > 0 {
				r.Fatal("another step was allowed something")
			}
		}
	})
	if allowed < 50 || begun < 50 {
		t.Errorf("allowed %d times, begun %d times: that shows too little", allowed, begun)
	}
}

// S10: an override is an order like others, and neither of the two who gave it approves it.
func TestAnOverrideThroughTwoNodes(t *testing.T) {
	c, exec := refusing(t, true)
	c.s.Settings.Policy.TwoNodes = true
	c.s.Execution.Approvals = []failover.Approval{{Step: restoring, By: "uid 9"}}
	c.fails(restoring)
	allow := failover.Retry{Execution: exec, Step: restoring, Allow: []string{"small"}}
	through := func(node failover.NodeID, by string, cmd failover.Command) string {
		defer func(was failover.NodeID) { c.node = was }(c.node)
		c.node = node
		if ref, ok := c.apply(cmd, by).Err.(*failover.Refusal); ok {
			return ref.Guard
		}
		return ""
	}
	if got := through("use2b", "uid 1", allow); got != "two-nodes" || len(c.s.Execution.Step(restoring).Allowed) != 0 {
		t.Fatalf("one node is enough: %q", got)
	}
	if got := through("third", "uid 2", failover.Retry{Execution: exec, Step: restoring, Allow: []string{"old", "small"}}); got != "two-nodes" {
		t.Fatalf("another override completes it: %q", got)
	}
	if got := through("third", "uid 2", allow); got != "" || lifted(c, restoring) != "[small]" {
		t.Fatalf("%q, %s", got, lifted(c, restoring))
	}
	c.must(failover.Ask{Execution: exec, Kind: "approval", Step: restoring, Allowed: 1, Text: "?"})
	for _, who := range []string{"uid 1", "uid 2"} {
		if got := through("use2a", who, failover.Approve{Execution: exec}); got != "same-person" {
			t.Errorf("%s: %q", who, got)
		}
	}
}

// An execution that is carried on goes by nothing that was allowed before it ended, but for what came of it.
func TestAnOverrideEndsWithItsExecution(t *testing.T) {
	c, exec := endedBehindTheFence(t)
	old := c.s.History[len(c.s.History)-1]
	allowed := []failover.Allowance{{Overrides: []string{"small"}, By: "uid 1", Why: "w", At: c.now}}
	for id, rec := range old.Steps {
		rec.Allowed = allowed
		if id == "start-api" {
			rec.State = failover.StepFailed
		}
	}
	c.now = c.now.Add(48 * time.Hour)
	c.must(failover.Continue{Execution: exec, Ended: true})
	for id, rec := range c.s.Execution.Steps {
		if got := len(rec.Allowed) > 0; got != rec.Passed() {
			t.Errorf("%s is %s, allowed %v", id, rec.State, rec.Allowed)
		}
	}
	if lifted(c, "start-api") != "[]" {
		t.Error(lifted(c, "start-api"))
	}
}

// The plan says what its steps can be allowed, and is no plan for a member that does not know the word.
func TestThePlanCarriesOverrides(t *testing.T) {
	s := settings()
	s.Components[0].Start.Overrides, s.Components[0].Start.Keys = []string{"old"}, true
	p, err := plan.Derive(&s, east1)
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range p.Steps {
		if got := len(st.Overrides) > 0 && st.Keys; got != (st.ID == "start-api") {
			t.Errorf("%s: %v, %t", st.ID, st.Overrides, st.Keys)
		}
	}
	for want, set := range map[int]func(a *failover.ActionSpec){
		2: func(*failover.ActionSpec) {}, 3: func(a *failover.ActionSpec) { a.Overrides = []string{"old"} }, -3: func(a *failover.ActionSpec) { a.Keys = true },
	} {
		s := settings()
		set(s.Components[0].Start)
		if got := failover.LevelOf(failover.ProposeSettings{Settings: s}); got != max(want, -want) {
			t.Errorf("level %d, want %d", got, want)
		}
	}
}
