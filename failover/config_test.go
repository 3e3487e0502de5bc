package failover_test

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/failoverd/failoverd/failover"
)

// proposal is the settings in force with a shorter hold.
func (c *cluster) proposal() failover.ProposeSettings {
	s := settings()
	s.Nodes = maps.Clone(c.s.Settings.Nodes)
	s.Policy.Hold = dur("120s")
	return failover.ProposeSettings{Settings: s, Hash: "h2", Source: "hold = 120s"}
}

func (c *cluster) ack(node failover.NodeID, a failover.AckSettings) failover.Result {
	c.t.Helper()
	return c.s.Apply(failover.Meta{Index: c.s.Index + 1, Term: c.term, At: c.now, Node: node}, a)
}

// A configuration is in force once every member has said that it can run it, and
// no execution runs with the old one.
func TestProposal(t *testing.T) {
	c := level2(t)
	p := c.proposal()
	id := c.must(p).Index
	c.refused("config-open", p)
	c.refused("config-open", failover.RemoveMember{Node: "use1b"})
	if c.s.SettingsHash != "h1" || c.s.Settings.Policy.Hold != dur("90s") {
		t.Fatal("a proposal is in force")
	}
	nodes := slices.Sorted(maps.Keys(c.s.Settings.Nodes))
	for i, n := range nodes {
		c.refused("waits", failover.ActivateSettings{Proposal: id})
		if want := "waits for " + strings.Join(idStrings(nodes[i:]), ", "); c.s.Waits() != want {
			t.Fatalf("%q, want %q", c.s.Waits(), want)
		}
		if res := c.ack(n, failover.AckSettings{Proposal: id, Hash: "h2"}); res.Err != nil {
			t.Fatal(res.Err)
		}
	}
	for _, bad := range []failover.AckSettings{{Proposal: id + 1, Hash: "h2"}, {Proposal: id, Hash: "h3"}} {
		c.refused("proposal", bad)
	}
	if res := c.ack("stranger", failover.AckSettings{Proposal: id, Hash: "h2"}); res.Err == nil {
		t.Error("a stranger has acknowledged")
	}
	// One that changes its mind is heard.
	c.ack(nodes[0], failover.AckSettings{Proposal: id, Hash: "h2", Reason: "no such program"})
	c.refused("waits", failover.ActivateSettings{Proposal: id})
	if !strings.Contains(c.s.Waits(), "refused by "+string(nodes[0])+" (no such program)") {
		t.Errorf("%q", c.s.Waits())
	}
	c.ack(nodes[0], failover.AckSettings{Proposal: id, Hash: "h2"})

	c.apply(failover.RequestExecution{Kind: failover.Failover}, "uid 7")
	c.refused("waits", failover.ActivateSettings{Proposal: id})
	c.must(failover.StartExecution{Kind: failover.Failover, Request: c.s.Request.ID, Epoch: 1, Plan: start2(c)})
	c.refused("waits", failover.ActivateSettings{Proposal: id})
	if !strings.Contains(c.s.Waits(), "to end: it runs with the configuration that it began with") {
		t.Errorf("%q", c.s.Waits())
	}
	c.must(failover.Abort{Execution: c.s.Execution.ID})
	c.must(failover.FinishExecution{Execution: c.s.Execution.ID, State: failover.ExecAborted, Outcome: "x"})
	c.must(failover.FreezeLease{Region: east1, Epoch: 1, Provisional: true})
	c.refused("waits", failover.ActivateSettings{Proposal: id})
	c.must(failover.LiftFreeze{Freeze: c.s.Freeze.ID, Reason: "x"})

	c.must(failover.ActivateSettings{Proposal: id})
	if c.s.SettingsHash != "h2" || c.s.Source != "hold = 120s" || c.s.Settings.Policy.Hold != dur("120s") || c.s.Proposal != nil {
		t.Fatalf("in force: %s %q", c.s.SettingsHash, c.s.Source)
	}
	if last := c.s.Events[len(c.s.Events)-1]; !strings.Contains(last.Text, "it changes what failoverd may do: hold: 1m30s → 2m0s") {
		t.Errorf("%s", last.Text)
	}
	c.refused("same", p)
	next := c.proposal()
	next.Hash = "h3"
	c.refused("proposal", failover.WithdrawSettings{Proposal: c.must(next).Index + 1})
	c.must(failover.WithdrawSettings{Proposal: c.s.Proposal.ID})
	if c.s.Proposal != nil || c.s.SettingsHash != "h2" {
		t.Fatal("withdrawn, and yet")
	}
}

func idStrings(ids []failover.NodeID) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = string(id)
	}
	return out
}

// What a configuration can never change.
func TestProposalGuards(t *testing.T) {
	for guard, change := range map[string]func(p *failover.ProposeSettings){
		"service":       func(p *failover.ProposeSettings) { p.Settings.Service = "other" },
		"active-region": func(p *failover.ProposeSettings) { p.Settings.Primary = "eu-1" },
		"members":       func(p *failover.ProposeSettings) { delete(p.Settings.Nodes, "third") },
		"limits":        func(p *failover.ProposeSettings) { p.Settings.Policy.Lease.Length = 0 },
		"same":          func(p *failover.ProposeSettings) { p.Hash = "h1" },
	} {
		c := level2(t)
		p := c.proposal()
		change(&p)
		c.refused(guard, p)
	}
	c := level2(t)
	c.must(failover.AddMember{Node: "new", Spec: failover.NodeSpec{Vantage: third, Address: "n:1"}})
	c.refused("change-open", c.proposal())
	c.refused("source", failover.KeepSource{Hash: "h9", Source: "x"})
	c.must(failover.KeepSource{Hash: "h1", Source: "text"})
	c.refused("source", failover.KeepSource{Hash: "h1", Source: "other"})
}

func TestSafetyChanges(t *testing.T) {
	old, now := settings(), settings()
	if got := failover.SafetyChanges(&old, &now); got != nil {
		t.Fatalf("%v", got)
	}
	now.Policy.Mode, now.Policy.Lease.Length = failover.ModeObserve, dur("30s")
	now.Components[1].Stop = &failover.StopSpec{Action: old.Components[1].Stop.Action, Proof: []failover.EvidenceClass{failover.Attested}}
	now.Components[1].Arming = failover.ArmObserve
	now.Components = append(now.Components, failover.ComponentSpec{Name: "zoo"})
	want := []string{
		"mode: automatic → observe", "lease.length: 1m15s → 30s", "component workers, proof: [confirmed lease] → [attested]",
		"component workers, arming: enforced → observe", "component zoo is new",
	}
	if got := failover.SafetyChanges(&old, &now); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	if got := failover.SafetyChanges(&now, &old); !strings.Contains(strings.Join(got, "\n"), "component zoo is gone: nothing of it is fenced any more") {
		t.Errorf("%q", got)
	}
}

// acknowledged is a proposal that every node can run.
func (c *cluster) acknowledged(s failover.Settings) (proposal uint64) {
	c.t.Helper()
	proposal = c.must(failover.ProposeSettings{Settings: s, Hash: "next", Source: "x"}).Value.(uint64)
	was := c.node
	for node := range s.Nodes {
		c.node = node
		c.must(failover.AckSettings{Proposal: proposal, Hash: "next"})
	}
	c.node = was
	return proposal
}

// A configuration that was proposed before a failover, and does not know the region that is active since, would leave no plan in any
// direction: it is not put in force. Nor is one under which agents that have come since would get no lease.
func TestAProposalIsLookedAtAgain(t *testing.T) {
	propose := func(c *cluster, change func(*failover.Settings)) uint64 {
		s := settings()
		change(&s)
		return c.acknowledged(s)
	}
	c, exec := current(t).opened()
	id := propose(c, func(s *failover.Settings) { s.Secondary = "us-west-2" })
	fr := c.frozen(exec)
	c.must(failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Lease, Epoch: 1, Freeze: fr, Waited: dur("10m"), Detail: "x"})
	c.must(failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: fr})
	c.must(failover.Abort{Execution: exec})
	c.must(failover.FinishExecution{Execution: exec, State: failover.ExecAborted, Outcome: "x"})
	if why := c.s.Waits(); !strings.Contains(why, "does not contain us-east-2, which has become the active region since") || !strings.Contains(why, "failoverd config withdraw") {
		t.Errorf("it waits: %q", why)
	}
	c.refused("waits", failover.ActivateSettings{Proposal: id})
	c.must(failover.WithdrawSettings{Proposal: id})

	c = current(t)
	id = propose(c, func(s *failover.Settings) { s.Policy.Lease.Length, s.Policy.Lease.Renew = dur("7s"), dur("1s") })
	c.must(c.round(failover.LeaseRequest{Agent: "w1", Region: east1, Component: "workers", Lease: dur("75s"), Enforced: true, Running: true}))
	if why := c.s.Waits(); !strings.Contains(why, "agent w1 of workers in us-east-1 asks for leases of 1m15s") || !strings.Contains(why, "failoverd config withdraw") {
		t.Errorf("it waits: %q", why) // the leader proposes what waits for nothing, as fast as it can
	}
	c.refused("waits", failover.ActivateSettings{Proposal: id})
	c.must(c.round(failover.LeaseRequest{Agent: "w1", Region: east1, Component: "workers", Lease: dur("60s"), Enforced: true, Running: true}))
	c.must(failover.ActivateSettings{Proposal: id})
}
