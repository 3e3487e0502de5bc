package sim

import (
	"context"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/daemon"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// stolenStories are what one node can do that says what it likes.
var stolenStories = []story{
	{id: "stolen-node", part: people, fault: "A stolen node asks for a failover, approves it as somebody else, and attests that the other region has stopped", tune: func(p *failover.Settings) {
		p.Policy.Mode = failover.ModeSupervised
		p.Components[0].Stop.Proof = []failover.EvidenceClass{failover.Attested}
	}, play: func(s *stage) {
		at := time.Now()
		s.cut(east1) // nobody can contradict: the agents are not heard
		sleep(5 * time.Second)
		say := func(by string, cmd failover.Command) string { return s.through("use2b", by, cmd) }
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
		s.daemon(s.when(3*time.Minute, func() bool {
			return say("uid 1", failover.Attest{Execution: e.ID, Component: "workers", Epoch: e.Epoch}) == "" || s.state().Epoch == 2
		}), "takes it when no lease can be valid: the region has stopped by then, whoever says so")
		s.when(3*time.Minute, func() bool { return s.up(east2) == fleetSize })
		// What a lease is good for, less its renewal and its stop budget, on the fastest clock.
		least := time.Duration(float64(s.settings.Policy.Lease.Length-s.settings.Policy.Lease.Renew-dur(s.settings.Policy.Lease.Stop.Total())) / 1.0201)
		down, up := s.last(oracle.WorkerDown, east1), s.first(oracle.WorkerUp, east2, at)
		s.region(s.first(oracle.WorkerDown, east1, at).Sub(at) >= least && down.Before(up), "works until its lease is over, and is never overtaken")
		s.person(s.event("attest", "workers has stopped: attested: believe me") && s.event("request-execution", "requested through node use2b"), "an unwanted move, and in the timeline which node it came through")
	}},
	{id: "stolen-reports", part: people, fault: "A stolen node asks for a failover and reports in the agents' names that their workers are dead", play: func(s *stage) {
		s.cut(east1) // the agents cannot contradict
		sleep(5 * time.Second)
		s.world.note(oracle.Asked, "", "stolen node", "as uid 1")
		s.through("use2b", "uid 1", failover.RequestExecution{Kind: failover.Failover})
		s.when(10*time.Second, func() bool { f := s.state().Freeze; return s.state().Execution != nil && f != nil && !f.Provisional })
		freeze, taken := s.state().Freeze, 0
		alive := s.throughout(60*time.Second, func() bool {
			for _, id := range s.state().AgentIDs(east1, "") {
				for _, forged := range []fence.Ask{{Stopped: freeze.ID}, {Bye: true}, {Holding: s.state().Index}} {
					a := s.state().Agents[id]
					if a == nil { // a goodbye was taken
						taken++
						continue
					}
					forged.Request, forged.Agent, forged.Region, forged.Component = consensus.NewID(), id, east1, a.Component
					forged.Lease, forged.Enforced, forged.SeenEpoch, forged.Seq = s.settings.Policy.Lease.Length, true, 1, math.MaxUint64
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
	{id: "stolen-orders", part: people, fault: "A stolen node gives orders in people's names, `two_nodes = true`", tune: func(p *failover.Settings) { p.Policy.TwoNodes = true }, play: func(s *stage) {
		heard, at := map[string]bool{}, time.Now()
		quiet := s.throughout(5*time.Minute, func() bool {
			for _, cmd := range []failover.Command{
				failover.RequestExecution{Kind: failover.Failover}, failover.RequestExecution{Kind: failover.Failover, Overrides: []string{failover.GuardLoss}},
				failover.AcceptInventory{Component: "workers"},
			} {
				for _, by := range []string{"uid 0", "slack U1"} {
					heard[s.through("use2b", by, cmd)] = true
				}
			}
			sleep(10 * time.Second)
			return s.state().Request == nil && s.state().Execution == nil && s.up(east1) == fleetSize
		})
		s.daemon(quiet && len(heard) == 1 && heard[failover.GuardTwoNodes], "carries out nothing that has come through one node only, in whosever names it came")
		s.person(s.paged("If nobody of you gave it, node use2b is in the wrong hands") > 0 && s.event("request-execution", "came through node use2b"), "which orders wait for a second node, and which node they came through")
		s.region(s.died(east1, at) == 0, "goes on working")
		sleep(failover.SecondNodeWithin) // the halves of the thief are forgotten
		s.world.note(oracle.Asked, "", "uid 7", "")
		one, two := s.through("use2a", "uid 7", failover.RequestExecution{Kind: failover.Failover}), s.through("third", "uid 7", failover.RequestExecution{Kind: failover.Failover})
		s.daemon(one == failover.GuardTwoNodes && two == "" && s.when(5*time.Minute, func() bool { return s.ended() == failover.ExecStable }), "carries out what a person has given on two nodes")
	}},
	{id: "stolen-grants", part: people, fault: "A stolen node in a region that is cut off goes on granting leases to the agents there, and makes the other node there follow it", play: func(s *stage) {
		thief := s.thief("use1a")
		at := time.Now()
		thief.granted.Store(true)
		s.thieve(thief)
		s.cut(east1)
		s.makeFollow("use1a", "use1b")
		s.daemon(s.when(3*time.Minute, func() bool { return s.state().Epoch == 2 }) && s.up(east1) == 0, "leaves when no lease can be valid, as without the stolen node")
		s.region(s.throughout(5*time.Minute, func() bool { return s.up(east1) == 0 }), "stops within its lease and stays so: its agents take no answer that less than a majority of the nodes stands behind, be it unsigned, signed by that node many times, with others' words for an earlier request, or with the word of the one node that it has deceived")
		s.daemon(thief.told.Load() > 100 && s.grantedTo(east1, at.Add(time.Second)) == 0, "gives no majority's word for it: in the cut region there is none")
		if thief.seconded.Load() == 0 {
			s.t.Error("the other node was not deceived: nothing is shown")
		}
	}},
	{id: "stolen-refusals", part: people, fault: "A stolen node tells the agents of a healthy region that their region is active no more", play: func(s *stage) {
		thief := s.thief("use1a")
		at := time.Now()
		s.thieve(thief)
		s.region(s.throughout(5*time.Minute, func() bool { return s.died(east1, at) == 0 && s.up(east1) == fleetSize }), "goes on working: its agents ask the next node")
		s.daemon(thief.told.Load() > 100 && s.grantedTo(east1, at) > 100 && s.state().Incident == nil, "renews their leases through the other nodes")
	}},
}

// makeFollow lets a stolen node say to another, in raft's own words, that it leads in a
// later term. A follower believes that: raft knows no lies.
func (s *stage) makeFollow(thief, victim string) {
	from, to := s.hosts[thief], s.hosts[victim]
	s.world.wg.Go(func() {
		for s.ctx.Err() == nil && !s.over.Load() {
			var r raft.AppendEntriesResponse
			_ = from.trans.InmemTransport.AppendEntries(raft.ServerID(victim), to.addr, &raft.AppendEntriesRequest{
				RPCHeader: raft.RPCHeader{ProtocolVersion: 3, ID: []byte(thief), Addr: []byte(from.addr)}, Term: 1000,
			}, &r) // it is heard or not
			sleep(100 * time.Millisecond)
		}
	})
}

// through gives an order through a node, in somebody's name; the answer is the guard
// that refuses it, or why it failed.
func (s *stage) through(node failover.NodeID, by string, cmd failover.Command) string {
	s.t.Helper()
	data, err := consensus.NewCodec().Encode(failover.Meta{By: by, Why: "believe me", ID: consensus.NewID()}, cmd)
	if err != nil {
		s.t.Fatal(err)
	}
	r := s.leader().live().TakeProposal(s.ctx, node, consensus.Proposal{Entry: data})
	return r.Failed + r.Guard
}

// thief is a stolen node that answers agents what it likes, in every way that one key
// can, and with every word of others that it has got.
type thief struct {
	id      string
	granted atomic.Bool // what it says
	told    atomic.Int64
	// seconded counts the words that it got from the other node in its region.
	seconded atomic.Int64
	kept     atomic.Pointer[fence.Answer] // an honest answer, of before
	second   func(ctx context.Context, request string) (*fence.Vouch, error)
	terms    failover.LeaseTerms
}

// thief takes a node over; it keeps what the node has heard.
func (s *stage) thief(id string) *thief {
	th := &thief{id: id, terms: s.settings.Policy.Lease}
	th.second = func(ctx context.Context, request string) (*fence.Vouch, error) {
		return (&peers{cluster: s.cluster, self: id}).Second(ctx, "use1b", request)
	}
	listen := func(ctx context.Context, core *daemon.Core, a fence.Ask) (fence.Answer, error) {
		ans, err := core.TakeAsk(ctx, a, false)
		if err == nil {
			th.kept.Store(&ans)
		}
		return ans, err
	}
	s.hosts[id].lies.Store(&listen)
	if !s.when(time.Minute, func() bool { return th.kept.Load() != nil }) {
		s.t.Fatal("nobody asks the node that is to be stolen")
	}
	return th
}

func (s *stage) thieve(th *thief) {
	lie := th.answer
	s.hosts[th.id].lies.Store(&lie)
}

func (th *thief) answer(ctx context.Context, _ *daemon.Core, a fence.Ask) (fence.Answer, error) {
	n, kept := th.told.Add(1), th.kept.Load()
	ans := fence.Answer{Request: a.Request, Grant: failover.Grant{
		Granted: th.granted.Load(), Gone: !th.granted.Load(), Epoch: kept.Epoch, Index: kept.Index + 1000 + uint64(n), //nolint:gosec // counts up
		Terms: th.terms, Arming: failover.ArmEnforced, OnIsol: "stop", Sentence: "believe me",
	}}
	own := badge("node " + th.id)
	second := func(b badge, request string) fence.Vouch {
		by, _ := b.Sign(fence.Seconding(request, failover.NodeID(th.id)))
		return *by
	}
	switch n % 7 {
	case 0: // nothing is signed
		return ans, nil
	case 1: // an earlier answer, for this request
		ans = *kept
		ans.Request = a.Request
		return ans, nil
	case 2: // the signatures of an earlier answer
		ans.Leader, ans.Seconds = kept.Leader, kept.Seconds
		return ans, nil
	case 3: // an agent's word for that of nodes
		ans.Seconds = slices.Repeat([]fence.Vouch{second(badge("agent "+a.Region), a.Request)}, 5)
	case 4: // its own for all
		ans.Seconds = slices.Repeat([]fence.Vouch{second(own, a.Request)}, 5)
	case 5: // what the other node here says, if it says anything
		by, err := th.second(ctx, a.Request)
		if err != nil {
			return fence.Answer{}, err
		}
		th.seconded.Add(1)
		ans.Seconds = slices.Repeat([]fence.Vouch{*by}, 5)
	case 6: // others' words for an earlier request
		ans.Seconds = kept.Seconds
	}
	var err error
	ans.Leader, err = own.Sign(ans.Statement(a))
	return ans, err
}
