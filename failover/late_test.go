package failover_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

const object = failover.StepID("switch-s3_object")

// following is a failover whose clients were moved by a record, while the write of an object was sent and not seen.
func following(t *testing.T) (c *cluster, token uint64) {
	t.Helper()
	c = current(t)
	s := settings()
	s.Traffic.Switch[0].Tokens, s.Traffic.Switch[0].Latched = true, true
	second := s.Traffic.Switch[0]
	second.Kind = "s3_object"
	s.Traffic.Switch = append(s.Traffic.Switch, second)
	c.must(failover.Configure{Settings: s, Hash: "h2"})
	c, exec := c.opened()
	fr := c.frozen(exec)
	fence := c.start(plan.FenceID)
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Lease, Epoch: 1, Freeze: fr, Waited: dur("10m"), Detail: "x"})
	c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: fr})
	c.finish(plan.FenceID, fence, failover.StepDone)
	for _, st := range c.s.Execution.Plan.Steps {
		switch st.Kind {
		case failover.KindStop:
			c.finish(st.ID, c.start(st.ID), failover.StepUnproven)
		case failover.KindStart:
			c.finish(st.ID, c.start(st.ID), failover.StepDone)
		}
	}
	tok := c.send("switch-route53_weights")
	c.must(failover.SetTraffic{Execution: exec, Region: east2})
	c.must(failover.StepFinished{Execution: exec, Step: "switch-route53_weights", Token: tok, Outcome: failover.StepDone, Stands: tok})
	token = c.send(object)
	for _, st := range c.s.Execution.Plan.Steps {
		if st.Kind == failover.KindCheck || st.Kind == failover.KindStable {
			c.finish(st.ID, c.start(st.ID), failover.StepDone)
		}
	}
	return c, token
}

// send begins an attempt whose call is sent.
func (c *cluster) send(step failover.StepID) uint64 {
	e := c.s.Execution
	return c.must(failover.StepStarted{Execution: e.ID, Step: step, Epoch: c.s.Epoch, PlanHash: e.PlanHash, Previous: json.RawMessage(`{"n":3}`), Until: c.now.Add(10 * time.Second)}).Index
}

func (c *cluster) close() {
	c.must(failover.FinishExecution{Execution: c.s.Execution.ID, State: failover.ExecStable, Outcome: "ok"})
}

// exchange makes the active region the primary: what a person does who wants it left in turn.
func (c *cluster) exchange() {
	s := *c.s.Settings
	s.Primary, s.Secondary = c.s.Active, c.s.Settings.Other(c.s.Active)
	c.must(failover.ActivateSettings{Proposal: c.acknowledged(s)})
	c.now = c.now.Add(2 * time.Hour)
}

// back begins the execution that leaves the active region again, and brings it to the fence.
func (c *cluster) back(t *testing.T, overrides ...string) (exec, freeze uint64) {
	t.Helper()
	c.must(failover.RequestExecution{Kind: failover.Failover, Overrides: overrides})
	p, err := plan.Derive(c.s.Settings, c.s.Active)
	if err != nil {
		t.Fatal(err)
	}
	exec = c.must(failover.StartExecution{Kind: failover.Failover, Request: c.s.Request.ID, Epoch: c.s.Epoch, Plan: p}).Index
	tok := c.start(plan.FreezeID)
	freeze = c.must(failover.FreezeLease{Region: c.s.Active, Epoch: c.s.Epoch, Execution: exec}).Value.(uint64)
	c.finish(plan.FreezeID, tok, failover.StepDone)
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Lease, Epoch: c.s.Epoch, Freeze: freeze, Waited: dur("10m"), Detail: "x"})
	return exec, freeze
}

// A region is not left while a write may still land that would lead clients to it: whatever way it was left open in.
func TestALateWriteKeepsTheEpoch(t *testing.T) {
	retried := func(c *cluster, token uint64) {
		c.finish(object, token, failover.StepFailed)
		c.must(failover.Retry{Execution: c.s.Execution.ID, Step: object})
	}
	for name, tt := range map[string]struct {
		end  func(c *cluster, token uint64)
		open func(token uint64) uint64 // zero: nothing is
	}{
		"handed over": {func(c *cluster, token uint64) {
			c.finish(object, token, failover.StepUnproven)
			c.close()
		}, nil},
		"a person goes on without it": {func(c *cluster, _ uint64) {
			c.must(failover.Skip{Execution: c.s.Execution.ID, Step: object})
			c.close()
		}, nil},
		"so already at the next attempt": {func(c *cluster, token uint64) {
			retried(c, token)
			e := c.s.Execution
			tok := c.must(failover.StepStarted{Execution: e.ID, Step: object, Epoch: 2, PlanHash: e.PlanHash, Previous: json.RawMessage(`{"n":3}`), Already: true}).Index
			c.must(failover.StepFinished{Execution: e.ID, Step: object, Token: tok, Outcome: failover.StepDone, Already: true, Stands: 3})
			c.close()
		}, nil},
		"seen done, and by whom is not known": {func(c *cluster, token uint64) {
			c.finish(object, token, failover.StepDone)
			c.close()
		}, nil},
		"recovered in mid-run": {func(c *cluster, _ uint64) {
			if err := c.s.Recover(failover.RecoverOrder{Survivor: c.node, Active: east2, At: c.now, By: "uid 1", Why: "fire"}); err != nil {
				t.Fatal(err)
			}
		}, nil},
		"seen to land": {func(c *cluster, token uint64) {
			c.must(failover.StepFinished{Execution: c.s.Execution.ID, Step: object, Token: token, Outcome: failover.StepDone, Stands: token})
			c.close()
		}, func(uint64) uint64 { return 0 }},
		"the next attempt lands": {func(c *cluster, token uint64) {
			retried(c, token)
			tok := c.send(object)
			c.must(failover.StepFinished{Execution: c.s.Execution.ID, Step: object, Token: tok, Outcome: failover.StepDone, Stands: tok})
			c.close()
		}, func(uint64) uint64 { return 0 }},
		"written again by its hold": {func(c *cluster, token uint64) {
			c.must(failover.StepFinished{Execution: c.s.Execution.ID, Step: object, Token: token, Outcome: failover.StepDone, Stands: token})
			c.close()
			for _, h := range c.s.Holds {
				if h.Step.ID == object {
					c.must(failover.ReapplyStarted{Hold: h.ID, Epoch: 2, Previous: json.RawMessage(`{}`), Until: c.now.Add(time.Second)})
				}
			}
		}, func(uint64) uint64 { return 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			c, token := following(t)
			tt.end(c, token)
			open := token
			if tt.open != nil {
				open = tt.open(token)
			}
			if open == 0 {
				if len(c.s.Late) != 0 {
					t.Fatalf("%+v", c.s.Late)
				}
				return
			}
			if len(c.s.Late) != 1 || c.s.Late[0].Step.ID != object || open == token && c.s.Late[0].Token != token {
				t.Fatalf("%+v, want token %d", c.s.Late, token)
			}
			if c.s.Recovery != nil {
				return // nothing advances before the dropped voters are attested
			}
			late := c.s.Late[0]
			c.now = c.now.Add(2 * time.Second)
			c.must(failover.ReleaseHold{Component: failover.TrafficComponent}) // forgets the hold, and nothing else
			c.exchange()
			c.refused(failover.GuardLate, failover.RequestExecution{Kind: failover.Failover})
			if guard, why := c.s.AutoGuard(c.now); guard != failover.GuardLate || !strings.Contains(why, "a write of s3_object in us-east-2 with token") {
				t.Errorf("automation: %s, %s", guard, why)
			}
			// What is read of it decides; a burn is a write as well.
			c.refused("token", failover.SettleToken{ID: late.ID, Stands: late.Token - 1})
			c.refused("token", failover.SettleToken{ID: late.ID + 1, Stands: late.Token})
			c.refused("epoch", failover.BurnToken{ID: late.ID, Epoch: 1})
			burn := c.must(failover.BurnToken{ID: late.ID, Epoch: 2, Until: c.now.Add(10 * time.Second)}).Value.(uint64)
			c.refused("in-flight", failover.BurnToken{ID: late.ID, Epoch: 2})
			c.refused("token", failover.SettleToken{ID: late.ID, Stands: late.Token})
			c.must(failover.SettleToken{ID: late.ID, Stands: burn})
			exec, fr := c.back(t)
			c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 3, Region: east1, Freeze: fr})
		})
	}
}

// One change is under way at a resource: a late token is not replaced while its hold writes there, nor the other way round. The second one
// would name a token that the first takes away.
func TestALateTokenAndItsHoldWriteInTurn(t *testing.T) {
	c, token := following(t)
	c.finish(object, token, failover.StepUnproven)
	c.close()
	hold := uint64(0)
	for _, h := range c.s.Holds {
		if h.Step.ID == object {
			hold = h.ID
		}
	}
	reapply := func() failover.ReapplyStarted {
		return failover.ReapplyStarted{Hold: hold, Epoch: 2, Previous: json.RawMessage(`{}`), Until: c.now.Add(10 * time.Second)}
	}
	late := func() failover.BurnToken {
		return failover.BurnToken{ID: c.s.Late[0].ID, Epoch: 2, Until: c.now.Add(10 * time.Second)}
	}
	c.must(late())
	c.refused("in-flight", reapply())
	c.now = c.now.Add(11 * time.Second)
	c.must(reapply())
	c.refused("in-flight", late())
	c.now = c.now.Add(11 * time.Second)
	c.must(late())
}

// What comes to be open after the execution has begun keeps the epoch as well; a person may order it in spite of that.
func TestALateWriteInMidRun(t *testing.T) {
	for _, override := range []bool{false, true} {
		c, token := following(t)
		c.must(failover.StepFinished{Execution: c.s.Execution.ID, Step: object, Token: token, Outcome: failover.StepDone, Stands: token})
		c.close()
		c.exchange()
		var overrides []string
		if override {
			overrides = []string{failover.GuardLate}
		}
		exec, fr := c.back(t, overrides...)
		for _, h := range c.s.Holds {
			if h.Step.ID == object {
				c.must(failover.ReapplyStarted{Hold: h.ID, Epoch: 2, Previous: json.RawMessage(`{}`), Until: c.now.Add(time.Second)})
			}
		}
		if override {
			c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 3, Region: east1, Freeze: fr})
			continue
		}
		c.refused(failover.GuardLate, failover.AdvanceEpoch{Execution: exec, Epoch: 3, Region: east1, Freeze: fr})
		c.must(failover.Ask{Execution: exec, Kind: failover.LateWrite, Step: plan.FenceID, Text: "?"})
		c.must(failover.SettleToken{ID: c.s.Late[0].ID, Stands: c.s.Late[0].Token})
		if c.s.Execution.Question != nil {
			t.Error("it is still asked about what has been seen")
		}
		c.refused(failover.GuardLate, failover.Ask{Execution: exec, Kind: failover.LateWrite, Step: plan.FenceID, Text: "?"}) // by who has not seen it yet
		c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 3, Region: east1, Freeze: fr})
	}
}

// Where nobody can look any more, because the bucket or the zone is gone, a person vouches for it: automation is not disarmed for good.
func TestAPersonVouchesForALateWrite(t *testing.T) {
	c, token := following(t)
	c.finish(object, token, failover.StepUnproven)
	c.close()
	c.exchange()
	if _, why := c.s.AutoGuard(c.now); !strings.Contains(why, "failoverd release late-write --why …") {
		t.Errorf("it names no way: %s", why)
	}
	exec, fr := c.back(t, failover.GuardLate)
	c.s.Execution.Overrides = nil // as one that it has come up in
	c.must(failover.Ask{Execution: exec, Kind: failover.LateWrite, Step: plan.FenceID, Text: "?"})
	c.refused(failover.GuardLate, failover.AdvanceEpoch{Execution: exec, Epoch: 3, Region: east1, Freeze: fr})
	c.must(failover.ReleaseHold{Component: failover.LateWrite})
	if c.s.Execution.Question != nil || len(c.s.Late) != 0 {
		t.Errorf("%+v, %+v", c.s.Execution.Question, c.s.Late)
	}
	c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 3, Region: east1, Freeze: fr})
	c.refused("hold", failover.ReleaseHold{Component: failover.LateWrite})
}

// A question that nobody could clear would keep every later one from being put.
func TestTheEpochEndsTheQuestionAboutALateWrite(t *testing.T) {
	c, token := following(t)
	c.finish(object, token, failover.StepUnproven)
	c.close()
	c.exchange()
	exec, fr := c.back(t, failover.GuardLate)
	c.must(failover.Ask{Execution: exec, Kind: failover.LateWrite, Step: plan.FenceID, Text: "?"})
	c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 3, Region: east1, Freeze: fr})
	if c.s.Execution.Question != nil {
		t.Errorf("%+v", c.s.Execution.Question)
	}
}

// Each has a number of its own, also when one takes the place of an older one: settling one leaves the others.
func TestLateWritesAreToldApart(t *testing.T) {
	c, token := following(t)
	e := c.s.Execution
	record := *e.Plan.Step("switch-route53_weights")
	c.s.Late = []failover.LateToken{{ID: 1, Step: *e.Plan.Step(object), Token: token - 1}}
	e.Steps["switch-route53_weights"].Attempts[0].Stands = 0
	c.finish(object, token, failover.StepUnproven)
	c.close()
	if len(c.s.Late) != 2 || c.s.Late[0].ID == c.s.Late[1].ID {
		t.Fatalf("%+v", c.s.Late)
	}
	for _, l := range c.s.Late {
		if l.Step.ID == object {
			c.must(failover.SettleToken{ID: l.ID, Stands: l.Token})
		}
	}
	if len(c.s.Late) != 1 || c.s.Late[0].Step.ID != record.ID {
		t.Errorf("%+v", c.s.Late)
	}
}

// An attempt that was begun in the log and nowhere else leaves nothing open, and closes nothing.
func TestWhatWasNeverSentIsNotLate(t *testing.T) {
	sent, never := time.Unix(100, 0), time.Time{}
	for name, tt := range map[string]struct {
		attempts []failover.AttemptRecord
		late     uint64
	}{
		"never sent":                  {[]failover.AttemptRecord{{Token: 7, Until: never, Outcome: failover.StepUnproven}}, 0},
		"an earlier one was":          {[]failover.AttemptRecord{{Token: 7, Until: sent}, {Token: 9, Until: never, Outcome: failover.StepUnproven}}, 7},
		"a burn that was not seen":    {[]failover.AttemptRecord{{Token: 7, Until: sent}, {Token: 9, Until: sent, Burn: true, Outcome: failover.StepFailed}}, 9},
		"a burn that was":             {[]failover.AttemptRecord{{Token: 7, Until: sent}, {Token: 9, Until: sent, Burn: true, Outcome: failover.StepDone, Stands: 9}}, 0},
		"an older one stands":         {[]failover.AttemptRecord{{Token: 7, Until: sent, Outcome: failover.StepDone, Stands: 5}}, 7},
		"a newer one stands":          {[]failover.AttemptRecord{{Token: 7, Until: sent, Outcome: failover.StepDone, Stands: 8}}, 0},
		"a person vouches":            {[]failover.AttemptRecord{{Token: 7, Until: sent, Vowed: true}}, 0},
		"a person vouched before one": {[]failover.AttemptRecord{{Token: 7, Until: sent, Vowed: true}, {Token: 9, Until: sent}}, 9},
	} {
		if got := (failover.StepRecord{Attempts: tt.attempts}).LateToken(); got != tt.late {
			t.Errorf("%s: %d, want %d", name, got, tt.late)
		}
	}
}

// Clients stay where a switch has sent them also when a person ends the execution behind the fence: somebody else's change of the record is
// seen and taken back as after any other failover. A switch that was not seen is not tried on: that was ended.
func TestClientsStayWhereAnEndedExecutionHasSentThem(t *testing.T) {
	c, token := following(t)
	e := c.s.Execution
	c.must(failover.Abort{Execution: e.ID})
	c.must(failover.StepFinished{Execution: e.ID, Step: object, Token: token, Outcome: failover.StepUnproven})
	burn := c.must(failover.StepStarted{Execution: e.ID, Step: object, Epoch: 2, PlanHash: e.PlanHash, Burn: true, Until: c.now.Add(time.Second)}).Index
	c.must(failover.StepFinished{Execution: e.ID, Step: object, Token: burn, Outcome: failover.StepDone, Stands: burn})
	c.must(failover.FinishExecution{Execution: e.ID, State: failover.ExecAborted, Outcome: "ended"})
	var held []failover.StepID
	for _, h := range c.s.Holds {
		if h.Component == failover.TrafficComponent {
			held = append(held, h.Step.ID)
		}
	}
	if len(held) != 1 || held[0] != "switch-route53_weights" || len(c.s.Late) != 0 {
		t.Errorf("held by %v, late %+v", held, c.s.Late)
	}
}

// The same when it is `failoverd recover` that ends it: where the region is stated to be active to which the clients were sent, they are held there.
func TestClientsStayAfterARecovery(t *testing.T) {
	for active, want := range map[failover.Region]int{east2: 1, east1: 0} {
		c, _ := following(t)
		if err := c.s.Recover(failover.RecoverOrder{Survivor: c.node, Active: active, At: c.now, By: "uid 1", Why: "fire"}); err != nil {
			t.Fatal(err)
		}
		ids, held := map[uint64]bool{}, 0
		for _, h := range c.s.Holds {
			if ids[h.ID] {
				t.Errorf("two holds are number %d", h.ID)
			}
			ids[h.ID] = true
			if h.Component == failover.TrafficComponent {
				held++
				if h.Step.ID != "switch-route53_weights" || h.Epoch != c.s.Epoch || h.Status != failover.HoldKept {
					t.Errorf("%+v", h)
				}
			}
		}
		if held != want {
			t.Errorf("%s is active: %d switches are held, want %d", active, held, want)
		}
	}
}
