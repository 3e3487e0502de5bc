package failover_test

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// The end of all leases says nothing of workers that run without one, as after a reboot of a machine whose unit is enabled: an agent that
// is heard for the first time after the proof takes it back, and it comes again when that agent has stopped them (G7, S1).
func TestAnAgentThatNeverHadALeaseContradictsTheirEnd(t *testing.T) {
	for _, enforced := range []bool{true, false} {
		s := frozen(t)
		s.s.Features = failover.Features
		need := s.s.FreezeWait(east1)
		s.now = s.now.Add(need)
		proof := failover.RecordEvidence{Execution: s.exec, Component: "workers", Class: failover.Lease, Epoch: 1, Freeze: s.freeze, Waited: failover.Duration(need)}
		advance := failover.AdvanceEpoch{Execution: s.exec, Epoch: 2, Region: east2, Freeze: s.freeze}
		say := func(running bool) {
			t.Helper()
			r := failover.LeaseRequest{Agent: "rebooted", Region: east1, Component: "workers", Lease: dur("75s"), Enforced: enforced, Running: running}
			if g := s.must(s.round(r)).Value.([]failover.Grant)[0]; g.Granted {
				t.Fatal("a lease under the freeze")
			}
		}
		s.must(proof)
		say(true)
		s.refused("evidence", advance)
		s.refused("mode", proof)
		say(false) // and its guard has ended them
		if enforced {
			s.must(proof)
		} else {
			s.refused("mode", proof) // what it would do is not known
			s.must(failover.AgentLeft{Agent: "rebooted"})
			s.must(proof)
		}
		s.must(advance)
	}
	// Who had one is bound by it: its request may be one from before, that came late.
	s := frozenWithAgent(t)
	s.s.Features = failover.Features
	s.s.Agents["w1"].Granted, s.s.Agents["w1"].Enforced = 7, true
	need := s.s.FreezeWait(east1)
	s.must(failover.RecordEvidence{Execution: s.exec, Component: "workers", Class: failover.Lease, Epoch: 1, Freeze: s.freeze, Waited: failover.Duration(need)})
	s.ask("w1", east1)
	s.must(failover.AdvanceEpoch{Execution: s.exec, Epoch: 2, Region: east2, Freeze: s.freeze})
}

// An agent that gets no lease for what it asks is heard all the same: a person's word that its workers are dead does not stand against it.
func TestWhoIsRefusedIsHeard(t *testing.T) {
	for name, r := range map[string]failover.LeaseRequest{
		"a lease that is a mistake": {Lease: dur("20m")},
		"a later epoch":             {Lease: dur("75s"), SeenEpoch: 2},
	} {
		s := frozen(t)
		s.s.Features = failover.Features
		attest := failover.Attest{Execution: s.exec, Component: "workers", Epoch: 1}
		s.node = "third"
		if res := s.apply(attest, "uid 1"); res.Err != nil {
			t.Fatalf("%s: %v", name, res.Err)
		}
		r.Agent, r.Region, r.Component, r.Running = "w1", east1, "workers", true
		if g := s.must(s.round(r)).Value.([]failover.Grant)[0]; g.Granted {
			t.Fatalf("%s: granted", name)
		}
		if len(s.s.Execution.Unproven(s.freeze)) != 1 {
			t.Errorf("%s: a person's word stands against an agent's", name)
		}
		s.refused("agent-alive", attest)
	}
}

// A configuration under which agents that are at work would get no lease is refused: all their workers would stop in a healthy region.
func TestALeaseIsNotShortenedUnderItsAgents(t *testing.T) {
	c := current(t)
	c.must(c.round(failover.LeaseRequest{Agent: "w1", Region: east1, Component: "workers", Lease: dur("75s"), Enforced: true, Running: true}))
	next := settings()
	next.Policy.Lease.Length, next.Policy.Lease.Renew = dur("7s"), dur("1s")
	proposal := failover.ProposeSettings{Settings: next, Hash: "h2"}
	c.refused("lease", proposal)
	if err := c.apply(proposal, "uid 1").Err; !strings.Contains(err.Error(), "agent w1 of workers in us-east-1 asks for leases of 1m15s") || !strings.Contains(err.Error(), "at most 10 times") {
		t.Errorf("it says %q", err)
	}
	c.must(c.round(failover.LeaseRequest{Agent: "w1", Region: east1, Component: "workers", Lease: failover.Duration(time.Minute), Enforced: true, Running: true}))
	// Who gets none already stops nothing.
	c.must(c.round(failover.LeaseRequest{Agent: "w2", Region: east1, Component: "workers", Lease: failover.Duration(time.Hour), Enforced: true}))
	c.must(proposal)
}
