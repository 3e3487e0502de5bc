package failover_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// registers lets a node say that it has started with a version.
func (c *cluster) registers(id failover.NodeID, features int) {
	c.t.Helper()
	c.must(failover.RegisterNode{Node: id, Record: failover.NodeRecord{Vantage: c.s.Settings.Nodes[id].Vantage, Version: "v", Features: features, Disk: "disk-" + string(id), Starts: c.s.Nodes[id].Starts + 1}})
}

// level2 is a cluster in which every node has been upgraded.
func level2(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	for _, id := range slices.Sorted(maps.Keys(c.s.Settings.Nodes)) {
		c.registers(id, 2)
	}
	c.must(failover.RaiseFeatures{Level: 2})
	return c
}

// A feature level comes into force with the last node's upgrade; no command of
// it is accepted before, and no older version afterwards.
func TestFeatureLevel(t *testing.T) {
	c := newCluster(t)
	nodes := slices.Sorted(maps.Keys(c.s.Settings.Nodes))
	for i, id := range nodes {
		c.registers(id, min(i+1, 2)) // the first one runs the old version
	}
	if got := c.s.Raisable(); got != 0 {
		t.Fatalf("level %d may be raised", got)
	}
	c.refused("features", failover.RaiseFeatures{Level: 2})
	c.refused("features", failover.RemoveMember{Node: "third"})
	if err := c.s.Allowed(failover.RemoveMember{}); err == nil || !strings.Contains(err.Error(), "node third does not understand it (version v): upgrade it first") {
		t.Errorf("%v", err)
	}
	c.registers(nodes[0], 2)
	if got := c.s.Raisable(); got != 2 {
		t.Fatalf("level %d may be raised", got)
	}
	c.must(failover.RaiseFeatures{Level: 2})
	c.refused("features", failover.RaiseFeatures{Level: 2})
	c.refused("features", failover.RegisterNode{Node: nodes[1], Record: failover.NodeRecord{Disk: "disk-" + string(nodes[1]), Starts: 9, Features: 1}})
	c.must(failover.RemoveMember{Node: "use1b"})
}

// Members come and go one at a time, never while something rests on them, and a
// name is never used twice.
func TestMembers(t *testing.T) {
	c := level2(t)
	spec := failover.NodeSpec{Vantage: third, Address: "10.9.9.9:7700"}
	c.refused("member", failover.AddMember{Node: "third", Spec: spec})
	c.refused("address", failover.AddMember{Node: "new", Spec: failover.NodeSpec{Vantage: third, Address: "a:1"}})
	c.refused("address", failover.AddMember{Node: "new", Spec: failover.NodeSpec{Vantage: third, Address: "nowhere"}})
	c.refused("name", failover.AddMember{Node: "New!", Spec: spec})
	c.refused("member", failover.RemoveMember{Node: "new"})
	// Without third only us-east-2 looks at us-east-1 from outside.
	c.refused("vantages", failover.RemoveMember{Node: "third"})

	add := c.must(failover.AddMember{Node: "new", Spec: spec}).Index
	if _, ok := c.s.Settings.Nodes["new"]; ok || c.s.Members()["new"] != spec {
		t.Fatal("a node that is being added belongs to the cluster, and has no voice")
	}
	c.refused("change-open", failover.RemoveMember{Node: "use1b"})
	c.refused("change", failover.FinishMember{Change: add + 1, Done: true})
	c.refused("registered", failover.FinishMember{Change: add, Done: true})
	c.registers("new", 2)
	before := c.s.Settings
	c.must(failover.FinishMember{Change: add, Done: true})
	if c.s.Settings.Nodes["new"] != spec || c.s.Change != nil || len(before.Nodes) != 5 {
		t.Fatal("the node votes; earlier readers' settings do not change")
	}
	c.must(failover.FinishMember{Change: c.must(failover.RemoveMember{Node: "third"}).Index, Done: true})
	if len(c.s.Settings.Nodes) != 5 || c.s.SettingsHash != "h1" {
		t.Fatalf("%d nodes, configuration %s", len(c.s.Settings.Nodes), c.s.SettingsHash)
	}
	c.refused("removed", failover.AddMember{Node: "third", Spec: spec})
	c.refused("removed", failover.RegisterNode{Node: "third", Record: failover.NodeRecord{Disk: "another", Features: 2}})
	// An addition that never comes to its end can be given up.
	add = c.must(failover.AddMember{Node: "lost", Spec: failover.NodeSpec{Vantage: third, Address: "l:1"}}).Index
	c.must(failover.RemoveMember{Node: "lost"})
	c.must(failover.FinishMember{Change: add, Done: true})
	if _, gone := c.s.Removed["lost"]; !gone || len(c.s.Settings.Nodes) != 5 {
		t.Fatal("a node that was nearly added is not removed")
	}
	change := c.must(failover.RemoveMember{Node: "use1b"}).Index
	c.must(failover.FinishMember{Change: change, Reason: "the rest would have no majority"})
	if c.s.Change != nil || c.s.Settings.Nodes["use1b"].Address == "" {
		t.Fatal("a change that is given up changes nothing")
	}

	votes := downVotes()
	votes[2].Node = "new"
	c.must(failover.OpenIncident{Region: east1, Votes: votes, Held: dur("90s")})
	c.refused("incident-open", failover.RemoveMember{Node: "use1b"})
	p, err := plan.Derive(c.s.Settings, east1)
	if err != nil {
		t.Fatal(err)
	}
	c.must(failover.StartExecution{Kind: failover.Failover, Incident: c.s.Incident.ID, Epoch: 1, Plan: p})
	c.refused("execution-open", failover.AddMember{Node: "more", Spec: failover.NodeSpec{Vantage: third, Address: "m:1"}})
}

// T4: after a recovery nothing that rests on the old quorum's silence happens
// before each voter that was left behind is attested by name.
func TestRecover(t *testing.T) {
	c, exec := opened(t)
	for _, id := range slices.Sorted(maps.Keys(c.s.Settings.Nodes)) {
		c.registers(id, 2)
	}
	c.must(failover.RaiseFeatures{Level: 2})
	c.ask("w1", east1)
	c.frozen(exec)
	o := failover.RecoverOrder{Survivor: "use2a", Active: east1, At: c.now, By: "uid 0", Why: "three of five are gone"}
	for guard, change := range map[string]func(o *failover.RecoverOrder){
		"active-region": func(o *failover.RecoverOrder) { o.Active = third }, "why": func(o *failover.RecoverOrder) { o.Why = "" }, "member": func(o *failover.RecoverOrder) { o.Survivor = "n9" },
	} {
		bad := o
		change(&bad)
		if ref, ok := c.s.Clone().Recover(bad).(*failover.Refusal); !ok || ref.Guard != guard { //nolint:errorlint // as Recover returns it
			t.Errorf("want guard %s, got %v", guard, ref)
		}
	}
	before := c.s.Clone()
	if err := c.s.Recover(o); err != nil {
		t.Fatal(err)
	}
	s := c.s
	if s.Generation != 1 || s.Epoch != 1+failover.EpochJump || s.Active != east1 || s.Execution != nil || s.Freeze != nil || len(s.Settings.Nodes) != 1 || len(s.History) != 1 || before.Execution == nil {
		t.Fatalf("generation %d, epoch %d, active %s, execution %v, %d nodes", s.Generation, s.Epoch, s.Active, s.Execution, len(s.Settings.Nodes))
	}
	if last := s.Events[len(s.Events)-1]; last.Kind != "recover" || last.By != "uid 0" || !strings.Contains(last.Text, "left behind: third, use1a, use1b, use2b") {
		t.Errorf("%+v", last)
	}
	c.term++
	if g := c.ask("w1", east1); g.Granted || !strings.Contains(g.Sentence, "recovered without third, use1a, use1b, use2b") {
		t.Fatalf("a lease was granted: %+v", g)
	}
	c.refused("removed", failover.RegisterNode{Node: "use1a", Record: failover.NodeRecord{Disk: "disk-use1a", Starts: 9, Features: 2}})
	c.refused("node", failover.AttestNode{Node: "use2a"})
	for _, id := range []failover.NodeID{"use1a", "use1b", "use2b"} {
		c.must(failover.AttestNode{Node: id})
	}
	if g := c.ask("w1", east1); g.Granted {
		t.Fatal("a lease was granted with one voter left")
	}
	// A failover by hand: what the leases prove, and the epoch, wait as well.
	c.apply(failover.RequestExecution{Kind: failover.Failover}, "uid 7")
	p, err := plan.Derive(s.Settings, east1)
	if err != nil {
		t.Fatal(err)
	}
	exec = c.must(failover.StartExecution{Kind: failover.Failover, Request: s.Request.ID, Epoch: s.Epoch, Plan: p}).Index
	c.start(plan.FreezeID)
	freeze := c.must(failover.FreezeLease{Region: east1, Epoch: s.Epoch, Execution: exec}).Value.(uint64)
	c.finish(plan.FreezeID, s.Execution.Step(plan.FreezeID).Last().Token, failover.StepDone)
	lease := failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Lease, Epoch: s.Epoch, Freeze: freeze, Waited: dur("10m")}
	c.refused("recovered", lease)
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: s.Epoch, Freeze: freeze})
	c.refused("recovered", failover.AdvanceEpoch{Execution: exec, Epoch: s.Epoch + 1, Region: east2, Freeze: freeze})
	c.must(failover.AttestNode{Node: "third"})
	c.must(lease)
	c.must(failover.AdvanceEpoch{Execution: exec, Epoch: s.Epoch + 1, Region: east2, Freeze: freeze})
	if g := c.ask("w9", east2); !g.Granted || g.Epoch != 2+failover.EpochJump {
		t.Fatalf("%+v", g)
	}
}

// The log of the survivor may end before the flip. What a person states to be
// active is where the clients belong: no execution would bring them there.
func TestRecoverStatesWhereClientsBelong(t *testing.T) {
	for _, active := range []failover.Region{east1, east2} {
		c, exec := opened(t)
		c.frozen(exec)
		c.s.Holds = []failover.StandingHold{
			{ID: 1, Component: "workers", Step: failover.Step{ID: "stop-workers", Kind: failover.KindStop, Region: east1}},
			{ID: 2, Component: failover.TrafficComponent, Step: failover.Step{ID: "switch", Kind: failover.KindSwitch, Region: east2}},
		}
		if err := c.s.Recover(failover.RecoverOrder{Survivor: "use2a", Active: active, At: c.now, By: "uid 0", Why: "three of five are gone"}); err != nil {
			t.Fatal(err)
		}
		if c.s.Traffic != active || c.s.TrafficEpoch() != c.s.Epoch || c.s.Epoch != 1+failover.EpochJump {
			t.Errorf("%s is stated: traffic %s since epoch %d of %d", active, c.s.Traffic, c.s.TrafficEpoch(), c.s.Epoch)
		}
		if want := map[failover.Region]int{east1: 0, east2: 2}[active]; len(c.s.Holds) != want {
			t.Errorf("%s is stated, and held: %+v", active, c.s.Holds)
		}
	}
}

// A voter that was not attested stays in the way across a second recovery.
func TestRecoverTwice(t *testing.T) {
	c := level2(t)
	o := failover.RecoverOrder{Survivor: "use2a", Active: east1, At: c.now, By: "uid 0", Why: "w"}
	for range 2 {
		if err := c.s.Recover(o); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.s.Unattested(); len(got) != 4 || c.s.Generation != 2 {
		t.Errorf("generation %d, to be attested: %v", c.s.Generation, got)
	}
}
