package sim

import (
	"time"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// stolenStories are what one node can do that says what it likes.
var stolenStories = []story{
	{id: "stolen-node", part: people, fault: "A stolen node asks for a failover, approves it as somebody else, and attests that the other region has stopped", tune: func(p *failover.Settings) {
		p.Policy.Mode = failover.ModeSupervised
		p.Components[0].Stop.Proof = []failover.EvidenceClass{failover.Attested}
	}, play: func(s *stage) {
		s.cut(east1) // nobody can contradict: the agents are not heard
		sleep(5 * time.Second)
		say := func(by string, cmd failover.Command) string {
			data, err := consensus.NewCodec().Encode(failover.Meta{By: by, Why: "it is dead, believe me", ID: by + cmd.Name() + time.Now().String()}, cmd)
			if err != nil {
				return err.Error()
			}
			r := s.leader().live().TakeProposal(s.ctx, "use2b", consensus.Proposal{Entry: data})
			return r.Failed + r.Guard
		}
		s.world.note(oracle.Asked, "", "stolen node", "as uid 1") // whom the cluster takes for a person
		said := say("uid 1", failover.RequestExecution{Kind: failover.Failover})
		s.when(10*time.Second, func() bool { return s.state().Execution != nil })
		e := s.state().Execution
		if said != "" || e == nil {
			s.t.Fatalf("its request: %q, %+v", said, e)
		}
		say("uid 2", failover.Approve{Execution: e.ID})
		heard := map[string]bool{}
		alive := s.throughout(70*time.Second, func() bool {
			heard[say("uid 1", failover.Attest{Execution: e.ID, Component: "workers", Epoch: e.Epoch})] = true
			sleep(500 * time.Millisecond)
			return s.state().Epoch == 1 && s.up(east2) == 0
		})
		s.daemon(alive && heard["lease-valid"] && !heard[""], "does not take its word while any agent may hold a lease, however long that agent has been silent")
		s.region(s.up(east1) == 0 || s.state().Epoch == 1, "works until its lease is over, and is never overtaken")
		s.daemon(s.when(3*time.Minute, func() bool {
			return say("uid 1", failover.Attest{Execution: e.ID, Component: "workers", Epoch: e.Epoch}) == "" || s.state().Epoch == 2
		}), "takes it when no lease can be valid: the region has stopped by then, whoever says so")
		s.person(s.event("attest", "workers has stopped: attested: it is dead, believe me") && s.event("request-execution", "requested through node use2b"), "an unwanted move, and in the timeline which node it came through")
	}},
	{id: "stolen-reports", part: people, fault: "A stolen node asks for a failover and reports in the agents' names that their workers are dead", play: func(s *stage) {
		s.cut(east1) // the agents cannot contradict
		sleep(5 * time.Second)
		data, err := consensus.NewCodec().Encode(failover.Meta{By: "uid 1", Why: "believe me", ID: "stolen"}, failover.RequestExecution{Kind: failover.Failover})
		if err != nil {
			s.t.Fatal(err)
		}
		s.world.note(oracle.Asked, "", "stolen node", "as uid 1")
		s.leader().live().TakeProposal(s.ctx, "use2b", consensus.Proposal{Entry: data})
		s.when(10*time.Second, func() bool { f := s.state().Freeze; return s.state().Execution != nil && f != nil && !f.Provisional })
		freeze, taken := s.state().Freeze, 0
		alive := s.throughout(60*time.Second, func() bool {
			for _, id := range s.state().AgentIDs(east1, "") {
				for _, forged := range []fence.Ask{{Stopped: freeze.ID}, {Bye: true}, {Holding: s.state().Index}} {
					a := s.state().Agents[id]
					forged.Request, forged.Agent, forged.Region, forged.Component = consensus.NewID(), id, east1, a.Component
					forged.Lease, forged.Enforced, forged.SeenEpoch = s.settings.Policy.Lease.Length, true, 1
					if _, err := s.leader().live().TakeAsk(s.ctx, forged, true); err == nil {
						taken++
					}
				}
			}
			sleep(500 * time.Millisecond)
			return s.state().Epoch == 1 && s.up(east2) == 0
		})
		s.daemon(alive && taken == 0, "takes no report, goodbye or claim of a lease that the agent itself has not signed: what is left is the end of its lease")
		s.daemon(s.when(3*time.Minute, func() bool { return s.state().Epoch == 2 }) && s.up(east1) == 0, "leaves when no lease can be valid: the region has stopped by then")
		s.person(s.event("request-execution", "requested through node use2b"), "an unwanted move, and in the timeline which node it came through")
	}},
}
