package failover_test

import (
	"math"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// renew asks for a lease as an agent that holds the given grant.
func (c *cluster) renew(agent failover.AgentID, holding uint64) failover.Grant {
	c.t.Helper()
	res := c.must(c.round(failover.LeaseRequest{
		Agent: agent, Region: east1, Component: "workers", Lease: dur("75s"), Enforced: true, Running: true, Holding: holding,
	}))
	return res.Value.([]failover.Grant)[0]
}

// G4: a pause hands out a lease as long as the pause, and evidence waits for it
// until the agent has said that it holds a later, shorter one.
func TestPauseLease(t *testing.T) {
	c := current(t)
	short := c.s.FreezeWait(east1)
	first := c.renew("w1", 0)
	c.must(failover.PauseAutomation{For: dur("2h")})
	long := c.renew("w1", first.Index)
	if got := long.Terms.Length.D(); got != 2*time.Hour+75*time.Second {
		t.Fatalf("in a pause of 2 h the lease is %s", got)
	}
	c.now = c.now.Add(time.Minute)
	c.apply(failover.ResumeAutomation{}, "uid 1")
	if c.s.Pause != nil {
		t.Fatal("still paused")
	}
	// The next request was sent before the long grant arrived.
	late := c.renew("w1", first.Index)
	if got := late.Terms.Length.D(); got != 75*time.Second {
		t.Fatalf("after the pause the lease is %s", got)
	}
	if wait := c.s.FreezeWait(east1); wait < 2*time.Hour {
		t.Fatalf("the long lease may still be held, and the wait is %s", wait)
	}
	// A number that was never granted proves nothing.
	c.renew("w1", late.Index+1000)
	if wait := c.s.FreezeWait(east1); wait < 2*time.Hour {
		t.Fatalf("an unknown grant shortened the wait to %s", wait)
	}
	// One that holds the long grant says so.
	c.renew("w1", long.Index)
	if wait := c.s.FreezeWait(east1); wait < 2*time.Hour {
		t.Fatalf("the long lease is held, and the wait is %s", wait)
	}
	c.renew("w1", late.Index)
	if wait := c.s.FreezeWait(east1); wait != short {
		t.Fatalf("the short lease is held, and the wait is %s, not %s", wait, short)
	}
	// Another agent that was not heard since still counts.
	c.must(failover.PauseAutomation{For: dur("2h")})
	c.renew("w2", 0)
	c.apply(failover.ResumeAutomation{}, "uid 1")
	c.renew("w1", c.renew("w1", late.Index).Index)
	if wait := c.s.FreezeWait(east1); wait < 2*time.Hour {
		t.Fatalf("w2 may hold a long lease, and the wait is %s", wait)
	}
}

// G4: the wait for a lease of months is months. No pause is longer than a year: its end,
// and that of its lease, have to be numbers.
func TestLongPauseLease(t *testing.T) {
	c := current(t)
	for _, pause := range []string{"2600h", "8784h"} {
		c.must(failover.PauseAutomation{For: dur(pause)})
		c.renew("w1", 0)
		if wait := c.s.FreezeWait(east1); wait < dur(pause).D() {
			t.Errorf("a lease from a pause of %s may be valid, and the wait is %s", pause, wait)
		}
	}
	c.must(failover.RequestExecution{Kind: failover.Failover, Overrides: []string{failover.GuardPause}})
	p := c.plan()
	exec := c.must(failover.StartExecution{Kind: failover.Failover, Request: c.s.Request.ID, Epoch: 1, Plan: p}).Index
	freeze := c.frozen(exec)
	c.refused("wait", failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Lease, Epoch: 1, Freeze: freeze, Waited: dur("90s")})
	c.refused("pause", failover.PauseAutomation{For: dur("8785h")})
	c.refused("pause", failover.PauseAutomation{For: math.MaxInt64})
}

// A pause that renews all the time keeps what it remembers small, and never
// forgets the longest.
func TestPauseLeaseIsBounded(t *testing.T) {
	c := current(t)
	c.must(failover.PauseAutomation{For: dur("2h")})
	longest := c.renew("w1", 0).Terms.Length
	for range 200 {
		c.now = c.now.Add(5 * time.Second)
		c.renew("w1", 0)
	}
	a := c.s.Agents["w1"]
	if len(a.Lengths) > 8 || a.MaxLease != longest {
		t.Errorf("%d lengths, the longest %s of %s", len(a.Lengths), a.MaxLease, longest)
	}
}

// G7, P4: agents that vanished without a goodbye make the word of the others
// worth nothing, until others take their places or a person accepts it.
func TestVanishedAgents(t *testing.T) {
	c := current(t)
	for _, id := range []failover.AgentID{"w1", "w2", "w3"} {
		c.renew(id, 0)
	}
	for range 200 { // w2 and w3 are silent for longer than ten leases
		c.now = c.now.Add(5 * time.Second)
		c.renew("w1", 0)
	}
	if len(c.s.Agents) != 1 || c.s.Vanished["workers"] != 2 {
		t.Fatalf("%d agents, vanished %v", len(c.s.Agents), c.s.Vanished)
	}
	inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
	p := c.plan()
	exec := c.must(failover.StartExecution{Kind: failover.Failover, Incident: inc, Epoch: 1, Plan: p}).Index
	freeze := c.frozen(exec)
	c.renew("w1", 0)
	c.must(failover.AgentStopped{Agent: "w1", Freeze: freeze, Epoch: 1})
	byAgents := failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze, Source: failover.AgentsSource, Detail: "they say so"}
	c.refused("inventory", byAgents)
	c.must(failover.AcceptInventory{Component: "workers"})
	c.must(byAgents)
}

// G7: evidence that somebody saw is checked against its source.
func TestEvidenceNamesItsSource(t *testing.T) {
	c, exec := current(t).opened()
	freeze := c.frozen(exec)
	ev := failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: freeze, Detail: "d"}
	ev.Source = failover.AgentsSource
	c.refused("agents", ev)
	ev.Source = "start-workers"
	c.refused("source", ev)
	ev.Source, ev.Class = "stop-workers", failover.Resource
	c.refused("class", ev)
	ev.Class = failover.Confirmed
	c.must(ev)
}

// G7: a person's word is refused while any agent of the region still asks.
func TestAttestWhileAnyAgentAsks(t *testing.T) {
	s := settings()
	s.Components = append(s.Components, failover.ComponentSpec{
		Name: "functions", Stop: &failover.StopSpec{Proof: []failover.EvidenceClass{failover.Confirmed}},
	})
	c := current(t)
	c.must(failover.Configure{Settings: s, Hash: "h2"})
	c.renew("w1", 0)
	inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
	exec := c.must(failover.StartExecution{Kind: failover.Failover, Incident: inc, Epoch: 1, Plan: c.plan()}).Index
	freeze := c.frozen(exec)
	attest := failover.Attest{Execution: exec, Component: "functions", Epoch: 1}
	c.refused("agent-alive", attest)
	c.must(failover.AgentStopped{Agent: "w1", Freeze: freeze, Epoch: 1})
	if res := c.apply(attest, "uid 1"); res.Err != nil {
		t.Error(res.Err)
	}
}

// What an agent says beside its request is recorded.
func TestAgentsReport(t *testing.T) {
	c := current(t)
	id := c.must(failover.RehearseFence{Component: "workers"}).Index
	g := c.renew("w1", 0)
	if g.Rehearse != id {
		t.Fatalf("asked to rehearse %d, not %d", g.Rehearse, id)
	}
	res := c.must(failover.Round{Requests: []failover.LeaseRequest{{
		Agent: "w1", Region: east1, Component: "workers", Enforced: true, WouldHave: 2,
		Rehearsed: &failover.RehearsalResult{ID: id, Passed: true, Detail: "dead in time"},
	}}})
	if g := res.Value.([]failover.Grant)[0]; g.Rehearse != 0 {
		t.Error("asked again for what it has done")
	}
	a := c.s.Agents["w1"]
	if a.WouldHave != 2 || a.Rehearsed == nil || !a.Rehearsed.Passed || a.Rehearsed.At.IsZero() {
		t.Errorf("%+v, %+v", a, a.Rehearsed)
	}
	c.refused("component", failover.RehearseFence{Component: "api"})
}

// holdingOn lets the agents ask for a while, each with the grant that it got last, while
// all others are silent.
func (c *cluster) holdingOn(d time.Duration, every time.Duration, agents ...failover.AgentID) {
	c.t.Helper()
	held := map[failover.AgentID]uint64{}
	for end := c.now.Add(d); c.now.Before(end); {
		c.now = c.now.Add(every)
		for _, id := range agents {
			held[id] = c.renew(id, held[id]).Index
		}
	}
}

// G4: a lease as long as a pause is known for as long as it is valid, however long
// its agent is silent.
func TestPauseLeaseIsNotForgotten(t *testing.T) {
	c := current(t)
	if r := c.apply(failover.PauseAutomation{For: dur("48h")}, "uid 1"); r.Err != nil {
		t.Fatal(r.Err)
	}
	granted := c.now
	c.renew("lost", 0)
	others := []failover.AgentID{"b", "c", "d", "e"}
	c.holdingOn(26*time.Hour, time.Minute, others...)
	c.apply(failover.ResumeAutomation{}, "uid 1")
	c.holdingOn(time.Minute, 5*time.Second, others...)
	need := c.s.Settings.Policy.Lease.Wait(48*time.Hour + 75*time.Second)
	if c.s.Agents["lost"] == nil || c.s.FreezeWait(east1) != need {
		t.Fatalf("a lease is valid for another 22 h; known are %v, and the wait is %s", c.s.AgentIDs(east1, ""), c.s.FreezeWait(east1))
	}
	c.holdingOn(granted.Add(need).Sub(c.now)-time.Minute, time.Minute, others...)
	for c.now.Before(granted.Add(need)) {
		if c.s.Agents["lost"] == nil {
			t.Fatalf("forgotten %s after its grant, which may be valid for %s", c.now.Sub(granted), need)
		}
		c.holdingOn(5*time.Second, 5*time.Second, others...)
	}
	c.holdingOn(20*time.Minute, 20*time.Second, others...)
	if c.s.Agents["lost"] != nil || c.s.Vanished["workers"] != 1 {
		t.Errorf("its lease is over: %v, vanished %v", c.s.AgentIDs(east1, ""), c.s.Vanished)
	}
	_, exec := c.opened()
	freeze := c.frozen(exec)
	c.refused("wait", failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Lease, Epoch: 1, Freeze: freeze, Waited: dur("70s")})
}

// G7: an agent that was granted a lease and is not bound is not forgotten by itself,
// also when its worker had not started yet when it was heard last.
func TestGrantedAndUnboundIsNotForgotten(t *testing.T) {
	c := current(t)
	unbound := func(id failover.AgentID) {
		c.must(failover.Round{Requests: []failover.LeaseRequest{{Agent: id, Region: east1, Component: "workers", Lease: dur("75s")}}})
	}
	unbound("x")
	c.holdingOn(50*time.Hour, time.Minute, "b", "c")
	if c.s.Agents["x"] == nil {
		t.Fatalf("known are %v, vanished %v", c.s.AgentIDs(east1, ""), c.s.Vanished)
	}
	_, exec := c.opened()
	freeze := c.frozen(exec)
	c.refused("mode", failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Lease, Epoch: 1, Freeze: freeze, Waited: dur("90s")})

	// A person's word ends it, and what its stops and its start have matched counts no more, those at further levels
	// included.
	c = current(t)
	unbound("x")
	c.holdingOn(time.Hour, 5*time.Minute, "b", "c")
	c.s.Settings.Component("workers").Stop.Also = []failover.ActionSpec{{Kind: "nacl"}}
	c.s.Inventory = map[failover.StepID]int{"stop-workers": 3, "stop-workers-nacl": 3, "start-workers": 3, "stop-workers-b": 2, "start-api": 1}
	c.must(failover.AcceptInventory{Component: "workers"})
	if c.s.Agents["x"] != nil {
		t.Error("not given up")
	}
	if len(c.s.Inventory) != 2 || c.s.Inventory["stop-workers-b"] == 0 || c.s.Inventory["start-api"] == 0 {
		t.Errorf("left of the inventory: %v", c.s.Inventory)
	}
}

// G7: a bound agent that was granted a lease and was not heard again is missed, although
// its worker had not started when it was heard last.
func TestGrantedAndNotRunningVanishes(t *testing.T) {
	c := current(t)
	c.must(failover.Round{Requests: []failover.LeaseRequest{{Agent: "x", Region: east1, Component: "workers", Lease: dur("75s"), Enforced: true}}})
	c.holdingOn(time.Hour, 20*time.Second, "b")
	if c.s.Agents["x"] != nil || c.s.Vanished["workers"] != 1 {
		t.Errorf("known are %v, vanished %v", c.s.AgentIDs(east1, ""), c.s.Vanished)
	}
}

// S1: whether an agent is forgotten does not depend on what the wall clocks of two
// leaders differ by, nor on how long a leader says that it was silent at once.
func TestAClockAheadForgetsNobody(t *testing.T) {
	for _, ahead := range []time.Duration{13 * time.Minute, 30 * time.Hour} {
		c := current(t)
		for _, a := range []failover.AgentID{"lost", "b", "c", "d"} {
			c.ask(a, east1)
		}
		c.term++
		c.now = c.now.Add(ahead) // one second later, by the clock of another leader
		c.must(failover.Lead{Node: "third"})
		for _, a := range []failover.AgentID{"b", "c", "d"} {
			c.ask(a, east1)
		}
		if c.s.Agents["lost"] == nil {
			t.Fatalf("%s ahead: known are %v", ahead, c.s.AgentIDs(east1, ""))
		}
		_, exec := c.opened()
		f := c.frozen(exec)
		for _, a := range []failover.AgentID{"b", "c", "d"} {
			c.must(failover.AgentStopped{Agent: a, Freeze: f, Epoch: 1})
		}
		c.refused("agents", failover.RecordEvidence{Execution: exec, Component: "workers", Class: failover.Confirmed, Epoch: 1, Freeze: f, Source: failover.AgentsSource})
		c.refused("evidence", failover.AdvanceEpoch{Execution: exec, Epoch: 2, Region: east2, Freeze: f})
	}
}

// What several leaders have measured adds up, so that agents that are gone are forgotten
// also where no leader stays for long.
func TestSilenceAddsUp(t *testing.T) {
	c := current(t)
	for _, id := range []failover.AgentID{"lost", "b"} {
		c.renew(id, 0)
	}
	lastHeard := c.now
	for range 8 {
		c.term++
		c.must(failover.Lead{Node: "third"})
		c.holdingOn(2*time.Minute, 5*time.Second, "b")
	}
	if c.s.Agents["lost"] == nil {
		t.Fatalf("forgotten after at most %s of measured silence", 8*75*time.Second)
	}
	for range 8 {
		c.term++
		c.must(failover.Lead{Node: "third"})
		c.holdingOn(2*time.Minute, 5*time.Second, "b")
	}
	if c.s.Agents["lost"] != nil || c.s.Vanished["workers"] != 1 {
		t.Errorf("not forgotten after %s: vanished %v", c.now.Sub(lastHeard), c.s.Vanished)
	}
}

// Silence is counted while others of the region speak, at most two leases of one report,
// and from anew once the agent is heard.
func TestSilenceIsMeasured(t *testing.T) {
	c := current(t)
	asks := func(id failover.AgentID, r failover.Region) failover.LeaseRequest {
		return failover.LeaseRequest{Agent: id, Region: r, Component: "workers", Lease: dur("75s"), Enforced: true, Running: true}
	}
	quiet := func(d string) []failover.Silence {
		return []failover.Silence{{Agent: "lost", For: dur(d)}, {Agent: "unknown", For: dur(d)}}
	}
	silent := func() failover.Duration { return c.s.Agents["lost"].Silent }
	c.must(failover.Round{Requests: []failover.LeaseRequest{asks("lost", east1), asks("b", east1)}})
	c.must(failover.Round{Silent: quiet("80s")})
	c.must(failover.Round{Requests: []failover.LeaseRequest{asks("s", east2)}, Silent: quiet("80s")})
	if silent() != 0 {
		t.Errorf("silent for %s while its region was", silent())
	}
	c.must(failover.Round{Requests: []failover.LeaseRequest{asks("b", east1)}, Silent: quiet("80s")})
	c.must(failover.Round{Requests: []failover.LeaseRequest{asks("b", east1)}, Silent: quiet("-80s")})
	if silent() != dur("80s") {
		t.Errorf("silent for %s, not 80s", silent())
	}
	c.must(failover.Round{Requests: []failover.LeaseRequest{asks("b", east1)}, Silent: quiet("1000h")})
	if silent() != dur("230s") {
		t.Errorf("silent for %s, not 230s", silent())
	}
	c.must(failover.Round{Requests: []failover.LeaseRequest{asks("lost", east1)}, Silent: quiet("150s")})
	if silent() != 0 {
		t.Errorf("silent for %s when it was just heard", silent())
	}
	if r := failover.Reduced(failover.Round{Silent: quiet("80s")}, 2).(failover.Round); r.Silent != nil {
		t.Error("an older node would be told what it cannot read")
	}
}
