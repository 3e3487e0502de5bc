package failover_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// twoNodes is a cluster whose policy wants orders through two nodes.
func twoNodes(t *testing.T) *cluster {
	t.Helper()
	s := settings()
	s.Policy.TwoNodes = true
	c := current(t)
	c.must(failover.Configure{Settings: s, Hash: "h2"})
	return c
}

// through gives an order through a node and says which guard refuses it; "": none.
func (c *cluster) through(node failover.NodeID, cmd failover.Command) string {
	c.t.Helper()
	defer func(was failover.NodeID) { c.node = was }(c.node)
	c.node = node
	err := c.apply(cmd, "uid 0").Err
	if err == nil {
		return ""
	}
	ref, ok := err.(*failover.Refusal)
	if !ok {
		c.t.Fatal(err)
	}
	return ref.Guard
}

// S10: what makes something happen counts when it came through two nodes, the same
// order, in time.
func TestOrdersThroughTwoNodes(t *testing.T) {
	c := twoNodes(t)
	move := failover.RequestExecution{Kind: failover.Failover}
	other := failover.RequestExecution{Kind: failover.Failover, Overrides: []string{failover.GuardLoss}}
	expect := func(node failover.NodeID, cmd failover.Command, guard string) {
		t.Helper()
		if got := c.through(node, cmd); got != guard {
			t.Errorf("%s through %s: refused by %q, want %q", cmd.Name(), node, got, guard)
		}
	}
	expect("use2b", move, "two-nodes")
	expect("use2b", move, "two-nodes") // however often it says so
	expect("third", other, "two-nodes")
	if c.s.Request != nil || len(c.s.HalfOrders) != 2 {
		t.Fatalf("%+v, %+v", c.s.Request, c.s.HalfOrders)
	}
	c.now = c.now.Add(failover.SecondNodeWithin)
	expect("third", move, "two-nodes") // too late for the first half
	c.now = c.now.Add(failover.SecondNodeWithin - time.Second)
	expect("use2a", move, "")
	if c.s.Request == nil || c.s.Request.Node != "use2a" || len(c.s.HalfOrders) != 0 {
		t.Fatalf("%+v, %+v", c.s.Request, c.s.HalfOrders)
	}
	said := slices.ContainsFunc(c.s.Events, func(e failover.Event) bool {
		return e.Kind == move.Name() && strings.Contains(e.Text, "of uid 0 through node third") && strings.Contains(e.Text, "through node use2a as well")
	})
	if !said {
		t.Error("the audit trail does not name both nodes")
	}
	// What was completed is used up.
	c.must(failover.RefuseRequest{Request: c.s.Request.ID, Guard: "x", Reason: "y"})
	expect("third", move, "two-nodes")
}

// A person in a hurry stops with one node, and an order that is refused anyway is
// refused at once.
func TestOneNodeStops(t *testing.T) {
	c := twoNodes(t)
	if g := c.through("use2b", failover.Approve{Execution: 99, Nonce: 1}); g == "" || g == "two-nodes" {
		t.Errorf("an approval of nothing: %q", g)
	}
	c, exec := c.opened()
	for _, tc := range []struct {
		cmd  failover.Command
		want string
	}{
		{failover.PauseAutomation{For: dur("1h")}, ""},
		{failover.ResumeAutomation{}, "two-nodes"},
		{failover.Hold{Execution: exec}, ""},
		{failover.Continue{Execution: exec}, "two-nodes"},
		{failover.Abort{Execution: exec, Undo: true}, "two-nodes"},
		{failover.Abort{Execution: exec}, ""},
		{failover.SaveMessage{Key: "k"}, ""},
		{failover.BeginDrill{Step: "start-api"}, "execution-open"},
		{failover.RecordDrill{Step: "start-api", Took: dur("1m")}, ""},
		{failover.RehearseFence{Component: "workers"}, ""},
		{failover.RemoveMember{Node: "use2b"}, "execution-open"},
	} {
		if got := c.through("third", tc.cmd); got != tc.want {
			t.Errorf("%T %+v: refused by %q, want %q", tc.cmd, tc.cmd, got, tc.want)
		}
	}
}

// A stolen node cannot push the halves of others out, nor fill the state.
func TestHalfOrdersAreBounded(t *testing.T) {
	c := twoNodes(t)
	c.through("third", failover.RequestExecution{Kind: failover.Failover})
	for i := range 100 {
		c.now = c.now.Add(time.Second)
		c.through("use2b", failover.RequestExecution{Kind: failover.Failover, Overrides: slices.Repeat([]string{failover.GuardLoss}, i+1)})
	}
	if n := len(c.s.HalfOrders); n != 9 || c.s.HalfOrders[0].Node != "third" {
		t.Errorf("%d half orders: %+v", n, c.s.HalfOrders)
	}
	if g := c.through("use2a", failover.RequestExecution{Kind: failover.Failover}); g != "" {
		t.Errorf("the honest order: %q", g)
	}
}

// A cluster that was recovered has one node, which suffices until there are two.
func TestARecoveredClusterHasNoSecondNode(t *testing.T) {
	c := twoNodes(t)
	if err := c.s.Recover(failover.RecoverOrder{Survivor: "use2a", Active: east2, By: "uid 0", Why: "lost", At: c.now}); err != nil {
		t.Fatal(err)
	}
	for _, n := range c.s.Unattested() {
		if g := c.through("use2a", failover.AttestNode{Node: n}); g != "" {
			t.Errorf("attesting %s: %q", n, g)
		}
	}
}

// With orders through two nodes nobody attests alone, whichever node asked.
func TestAttestThroughTwoNodes(t *testing.T) {
	s := settings()
	s.Policy.TwoNodes = true
	s.Components = append(s.Components, failover.ComponentSpec{Name: "functions", Stop: &failover.StopSpec{Proof: []failover.EvidenceClass{failover.Confirmed}}})
	c := current(t)
	c.must(failover.Configure{Settings: s, Hash: "h2"})
	move := failover.RequestExecution{Kind: failover.Failover}
	c.through("use2a", move)
	c.through("use2b", move)
	exec := c.must(failover.StartExecution{Kind: failover.Failover, Request: c.s.Request.ID, Epoch: 1, Plan: c.plan()}).Index
	c.frozen(exec)
	word := failover.Attest{Execution: exec, Component: "functions", Epoch: 1}
	if a, b := c.through("use2a", word), c.through("use2b", word); a != "two-nodes" || b != "" {
		t.Errorf("refused by %q, then %q", a, b)
	}
}

// Whoever gave one half of the request approves no half of it: else a person with one
// stolen node, through which somebody else seems to ask, needs nobody.
func TestNeitherAskerApproves(t *testing.T) {
	c := twoNodes(t)
	move := failover.RequestExecution{Kind: failover.Failover}
	give := func(node failover.NodeID, by string, cmd failover.Command) error {
		defer func(was failover.NodeID) { c.node = was }(c.node)
		c.node = node
		return c.apply(cmd, by).Err
	}
	if err := give("use2a", "uid 7", move); err == nil {
		t.Fatal("one half suffices")
	}
	if err := give("use2b", "uid 8", move); err != nil {
		t.Fatal(err)
	}
	exec := c.must(failover.StartExecution{Kind: failover.Failover, Request: c.s.Request.ID, Epoch: 1, Plan: c.plan(), Approval: true}).Index
	yes := failover.Approve{Execution: exec}
	// In this order: once a third person has given one half, another half through the same node is none to judge.
	for _, tt := range []struct{ by, guard string }{{"uid 7", "same-person"}, {"uid 8", "same-person"}, {"uid 9", "two-nodes"}} {
		var ref *failover.Refusal
		if err := give("use2a", tt.by, yes); !errors.As(err, &ref) || ref.Guard != tt.guard {
			t.Errorf("%s approves: %v, want guard %s", tt.by, err, tt.guard)
		}
	}
	if err := give("use2b", "uid 7", yes); err == nil || c.s.Execution.Question == nil {
		t.Errorf("the second half: %v", err)
	}
	if err := give("use2b", "uid 10", yes); err != nil || c.s.Execution.Question != nil {
		t.Errorf("two others: %v", err)
	}
}

// What the leader does of its own accord is no order: a step that may fail is skipped,
// and what is needed no more is taken back, at once and by one node.
func TestTheLeaderNeedsNoSecondNode(t *testing.T) {
	c := twoNodes(t)
	c, exec := c.opened()
	c.must(failover.Skip{Execution: exec, Step: "start-api"})
	c.must(failover.Abort{Execution: exec, Undo: true})
	if !c.s.Execution.Withdrawn || len(c.s.HalfOrders) != 0 {
		t.Errorf("%+v, %+v", c.s.Execution, c.s.HalfOrders)
	}
}
