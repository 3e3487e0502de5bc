package sim

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

const (
	plans  = "In the middle of a plan"
	people = "People, votes and nodes that lie"
)

// executionStories are what happens to a plan in mid-run (rules E1 to E8).
var executionStories = []story{
	{id: "E2", part: plans, fault: "The leader dies between an effect and its record, then a person aborts", play: func(s *stage) {
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.when(time.Minute, func() bool { return s.wanted(east1) == 0 })
		old := s.leader()
		s.crash(old)
		s.when(20*time.Second, func() bool { l := s.leader(); return l != nil && l != old })
		if e := s.state().Execution; e != nil {
			s.order("uid 2", failover.Abort{Execution: e.ID, Undo: true})
		}
		s.daemon(s.when(5*time.Minute, func() bool { return s.ended() == failover.ExecUndone }), "undoes what was done, by what was recorded before the first change")
		s.region(s.wanted(east1) == fleetSize && s.when(time.Minute, func() bool { return s.up(east1) == fleetSize }), "works again, with as many workers as before")
		s.daemon(len(s.world.records(oracle.Flip)) == 0 && s.state().Epoch == 1, "has moved nothing")
	}},
	{id: "E3", part: plans, fault: "A stop is reported as failed, is aborted, and takes effect after all", play: func(s *stage) {
		s.world.set(func() { s.world.late, s.world.lying, s.world.early = 8*time.Second, 1, 1 })
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.when(time.Minute, func() bool {
			e := s.state().Execution
			return e != nil && e.Step("stop-workers").State == failover.StepRunning
		})
		s.order("uid 2", failover.Abort{Execution: s.state().Execution.ID, Undo: true})
		over := s.when(10*time.Minute, func() bool { return s.state().Execution == nil })
		e, until := s.state().History[0], time.Time{}
		for _, a := range e.Step("stop-workers").Attempts {
			if !a.Undo && a.Until.After(until) {
				until = a.Until
			}
		}
		s.daemon(over && !until.IsZero() && !e.FinishedAt.Before(until.Add(sendTail)), "stays aborting until no stop that it has sent can still land")
		sleep(time.Minute)
		s.region(s.wanted(east1) == fleetSize && s.up(east1) == fleetSize, "works as before: a stop that came late is taken back")
	}},
	{id: "E4", part: plans, fault: "Every call to a control plane reports a failure, although it took effect", play: func(s *stage) {
		s.world.set(func() { s.world.lying = 1 })
		s.cut(east1)
		s.daemon(s.when(8*time.Minute, func() bool { return s.ended() == failover.ExecStable }), "goes by what it sees in the world, and ends stable")
		s.daemon(len(s.world.records(oracle.Flip)) == 1, "moves the traffic once")
	}},
	{id: "E5", part: plans, fault: "Every change takes effect twice, the second time later", play: func(s *stage) {
		s.world.set(func() { s.world.twice = 1 })
		s.cut(east1)
		s.daemon(s.when(8*time.Minute, func() bool { return s.ended() == failover.ExecStable }), "ends stable: its changes are absolute, or carry a token that counts once")
		sleep(time.Minute)
		s.daemon(len(s.world.records(oracle.Flip)) == 1 && s.up(east2) == fleetSize, "leaves the world as after one change")
	}},
	{id: "E4b", part: plans, fault: "A write that moves clients is held on its way; another switch moves them, the way back is asked for, and then it arrives", tune: func(p *failover.Settings) {
		*p = severalSwitches(*p)
	}, play: func(s *stage) {
		release := s.world.park("switch")
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		sent := func() oracle.Entry {
			for _, e := range s.world.records(oracle.Sent) {
				if strings.HasPrefix(e.Step, "switch-switch") {
					return e
				}
			}
			return oracle.Entry{}
		}
		s.when(3*time.Minute, func() bool { return sent().Token > 0 })
		s.world.set(func() { s.world.dead[internet] = true }) // nobody sees what has become of it
		token := sent().Token
		s.daemon(s.when(5*time.Minute, func() bool { return s.ended() == failover.ExecStable }) && s.world.trafficNow() == east2 && len(s.state().Late) == 1 && s.state().Late[0].Token >= token,
			"ends stable with the switch that works, and keeps in mind that the other write may still land")
		back := s.settings
		back.Primary, back.Secondary = east2, east1
		s.apply(back)
		s.when(20*time.Second, func() bool { return s.state().Settings.Primary == east2 })
		sleep(2 * time.Minute)
		_, err := s.press(s.ctx, "uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.daemon(s.refused("uid 2", failover.RequestExecution{Kind: failover.Failover}, failover.GuardLate) && s.state().Epoch == 2, "leaves no region while it may: it would lead clients back")
		s.person(err != nil && strings.Contains(err.Error(), fmt.Sprintf("a write of switch in us-east-2 with token %d may still land", s.state().Late[0].Token)) && strings.Contains(err.Error(), "failoverd release late-write --why …"),
			"which write it is, and what to say if it is known that it cannot land")
		s.world.set(func() { delete(s.world.dead, internet) })
		settled := s.when(2*time.Minute, func() bool { return len(s.state().Late) == 0 })
		guard, _ := s.state().HandGuard(time.Now(), failover.Failover, nil)
		s.daemon(settled && guard != failover.GuardLate, "replaces it as soon as its resource can be written to; from then on the way back is open")
		release()
		sleep(time.Minute)
		stale := s.world.records(oracle.Stale)
		s.daemon(len(stale) == 1 && stale[0].Token == token && s.world.trafficNow() == east2, "is not harmed when it arrives: the resource refuses it, for the token that it names is gone")
	}},
	{id: "E7", part: plans, fault: "What was prepared is being taken back at the moment when the failure is confirmed", play: func(s *stage) {
		at := time.Now()
		s.cut(east1)
		s.when(time.Minute, func() bool { return s.state().Preparation != nil })
		sleep(3 * time.Second)
		if p := s.state().Preparation; p != nil {
			s.order("uid 2", failover.Abort{Execution: p.ID})
		}
		stable, back := s.when(5*time.Minute, func() bool { return s.ended() == failover.ExecStable }), s.first(oracle.Unstart, east2, at)
		s.daemon(stable && s.first(oracle.Start, east2, at).Before(back) && s.first(oracle.Start, east2, back).After(back), "finishes what has begun, does the step again, and ends stable")
		s.daemon(s.up(east2) == fleetSize, "runs the whole fleet in the new region")
	}},
	{id: "prepared-config", part: plans, fault: "A configuration is applied that changes a step which is being prepared", play: func(s *stage) {
		s.dark(east1, true)
		s.when(2*time.Minute, s.workersPrepared)
		s.apply(otherStart(s.settings, 14).Settings)
		waits := s.state().Waits()
		s.daemon(strings.HasPrefix(waits, "waits for preparation "), "keeps the configuration waiting until the preparation has ended")
		s.person(strings.Contains(waits, "`failoverd abort` ends it"), "what the configuration waits for, and how to end that (`failoverd config show`)")
		s.daemon(s.when(2*time.Minute, func() bool { return s.state().Execution != nil }) && s.event("start-execution", "adopts 1 prepared steps"), "begins the failover as if nobody had, with what was prepared")
		s.daemon(s.when(6*time.Minute, func() bool { return s.ended() == failover.ExecStable }) && s.when(10*time.Second, func() bool { return s.state().SettingsHash == "next" }), "puts it in force when the failover has ended")
	}},
	{id: "prepared-config-older", part: plans, level: 2, fault: "The same while automation is paused, and an older version among the nodes puts the configuration in force at once", play: func(s *stage) {
		s.dark(east1, true)
		s.when(2*time.Minute, s.workersPrepared)
		s.order("uid 1", failover.PauseAutomation{For: dur(time.Hour)})
		s.when(2*time.Minute, func() bool { i := s.state().Incident; return i != nil && i.Refusal != "" })
		s.world.set(func() { s.world.undoes = 5 * time.Second })
		s.apply(otherStart(s.settings, 14).Settings)
		s.order("uid 1", failover.ResumeAutomation{})
		s.daemon(s.when(10*time.Second, func() bool { return s.state().SettingsHash == "next" && s.event("abort", "is taken back") }) && s.state().Incident != nil, "undoes what was prepared for a plan that is no more, although the failure is confirmed")
		s.person(s.when(5*time.Second, func() bool { return s.event("refuse-incident", "guard preparation objects: step start-workers") }), "that nothing starts before that is done, and which step it is")
		s.daemon(s.when(time.Minute, func() bool { e := s.state().Execution; return e != nil && e.Auto }) && s.state().Preparation == nil && s.event("finish-execution", "every step was undone"), "then begins the failover without it")
		s.daemon(s.when(6*time.Minute, func() bool { return s.ended() == failover.ExecStable }), "ends stable")
	}},
	{id: "E8", part: plans, fault: "Every node restarts in the middle of a plan", play: func(s *stage) {
		s.powerOff(east1)
		s.when(5*time.Minute, func() bool { return s.state().Epoch == 2 })
		id, hash := s.state().Execution.ID, s.state().Execution.PlanHash
		for _, n := range s.names {
			s.stop(n)
		}
		sleep(5 * time.Second)
		for _, n := range []string{"use2a", "use2b", "third"} {
			s.start(s.ctx, s.hosts[n])
		}
		s.daemon(s.when(5*time.Minute, func() bool { return s.ended() == failover.ExecStable }) && s.state().History[0].ID == id && s.state().History[0].PlanHash == hash, "goes on where it stood, with the plan that it began with")
		s.daemon(len(s.world.records(oracle.Flip)) == 1, "moves the traffic once")
	}},
	{id: "followed", part: plans, fault: "The region that is being entered fails as well, in mid-plan", play: func(s *stage) {
		s.powerOff(east1)
		s.when(5*time.Minute, func() bool { return s.state().Execution != nil })
		s.world.set(func() { s.world.dead[internet] = true }) // the switch has to wait
		s.dark(east2, true)
		stopped := s.when(3*time.Minute, func() bool { return s.event("suspend", "failure-followed-us") && s.question("") != nil })
		s.person(s.asked([]string{"failoverd approve", "failoverd abort"}, failover.FollowedUs.Meaning(), "us-east-2: down", "gru: down"), "a question with what is seen of the region that is being entered, and the commands that go on or end it")
		sleep(20 * time.Second) // what was under way has ended
		at := time.Now()
		s.world.set(func() { delete(s.world.dead, internet) })
		s.powerOn(s.ctx, east1) // it is well again
		still := s.throughout(10*time.Minute, func() bool {
			st := s.state()
			return st.Execution != nil && st.Execution.State == failover.ExecHeld && s.question("") != nil && (st.Freeze == nil || st.Freeze.Region == east1)
		})
		s.daemon(stopped && still && len(s.world.records(oracle.Flip)) == 0, "stops in mid-plan and asks; moves no client before it has an answer")
		s.region(s.first(oracle.WorkerUp, east1, at).IsZero() && s.up(east1) == 0, "is not started again by itself")
		q := s.state().Execution.Question
		stale := failover.Approve{Execution: s.state().Execution.ID, Nonce: q.Nonce - 1}
		s.person(s.refused("slack U1", stale, "nonce"), "that a button of an earlier question answers this one not")
		s.dark(east2, false)
		s.order("uid 1", failover.Approve{Execution: s.state().Execution.ID, Nonce: q.Nonce})
		s.daemon(s.when(5*time.Minute, func() bool { return s.ended() == failover.ExecStable }) && s.state().Active == east2, "goes on when a person says so, and ends stable")
	}},
	{id: "D1", part: plans, fault: "The service has moved, and the region that it moved to fails", play: func(s *stage) {
		s.dark(east1, true)
		s.when(6*time.Minute, func() bool { return s.ended() == failover.ExecStable })
		s.dark(east1, false)
		s.dark(east2, true)
		s.daemon(s.when(5*time.Minute, func() bool { return s.event("refuse-incident", "guard direction objects") }), "opens an incident for the region that is active now, and starts nothing by itself")
		s.daemon(s.throughout(10*time.Minute, func() bool {
			return s.state().Active == east2 && s.state().Execution == nil && s.world.trafficNow() == east2
		}), "moves nothing back")
		s.region(s.up(east1) == 0, "stays stopped")
		s.person(s.event("refuse-incident", "the way back is a person's decision"), "the incident, and that the way back is a person's decision")
	}},
	{id: "D1c", part: plans, fault: "The service has moved, the region that it moved to fails, and a person insists on the way back", play: func(s *stage) {
		s.dark(east1, true)
		s.when(6*time.Minute, func() bool { return s.ended() == failover.ExecStable })
		s.dark(east1, false)
		s.when(5*time.Minute, func() bool { return s.state().Suspicion == nil })
		s.dark(east2, true)
		s.when(5*time.Minute, func() bool { return s.event("refuse-incident", "guard direction objects") })
		s.person(s.refused("uid 1", failover.RequestExecution{Kind: failover.Failover}, failover.GuardDirection), "that a failover leads back, and what it takes to insist on it")
		s.order("uid 1", failover.RequestExecution{Kind: failover.Failover, Overrides: []string{failover.GuardDirection}})
		s.daemon(s.when(10*time.Minute, func() bool { return s.state().Active == east1 && s.state().Execution == nil }) && s.ended() == failover.ExecStable, "leaves the region as any other, and ends stable")
		s.region(s.up(east1) > 0 && s.up(east2) == 0 && s.world.trafficNow() == east1, "works again, with the clients; the other one is fenced")
	}},
	{id: "D1d", part: plans, fault: "The service has moved, both regions live, and a person brings it home", play: func(s *stage) {
		s.dark(east1, true)
		s.when(6*time.Minute, func() bool { return s.ended() == failover.ExecStable })
		s.dark(east1, false)
		s.when(5*time.Minute, func() bool { return s.state().Suspicion == nil })
		s.order("uid 1", failover.RequestExecution{Kind: failover.Switchover})
		s.daemon(s.when(10*time.Minute, func() bool { return s.state().Active == east1 && s.state().Execution == nil }) && s.ended() == failover.ExecStable && s.state().Epoch == 3, "does it by the configuration as it is: fence, epoch, starts, traffic")
		s.region(s.up(east1) > 0 && s.up(east2) == 0 && s.world.trafficNow() == east1, "works again, with the clients; the other one is fenced")
		s.person(s.state().Active == s.state().Settings.Primary, "a service that automation protects again, once it has rested")
	}},
	{id: "D1b", part: plans, fault: "The service has moved, the region that was left stays dead, and the one that it moved to fails", play: func(s *stage) {
		s.powerOff(east1)
		s.when(6*time.Minute, func() bool { return s.ended() == failover.ExecStable })
		at := time.Now()
		s.dark(east2, true)
		s.daemon(s.throughout(15*time.Minute, func() bool {
			st := s.state()
			return st.Active == east2 && st.Execution == nil && st.Incident == nil && st.Freeze == nil
		}), "moves nothing and stops nothing: there is nowhere to go")
		down := s.eventAt("note-suspicion", "us-east-2 no-autonomy: gru: down")
		s.daemon(down.After(at) && down.Before(at.Add(20*time.Second)), "says that the last vantage outside sees it down, and that one is not enough: no-autonomy")
		s.region(s.up(east1) == 0 && s.world.trafficNow() == east2, "stays stopped, and no client is sent to it")
		s.person(s.paged("Seen: gru: down") > 0 && s.paged(failover.NoAutonomy.Meaning()) > 0, "what is seen of both regions, and that nothing is decided automatically")
	}},
	{id: "D2", part: plans, fault: "A vantage that sees the region well falls silent right before the hold is over", play: func(s *stage) {
		s.leadsFrom("use2a")
		s.stop("use1a", "use1b") // nobody inside can object
		at := time.Now()
		s.net.set(func() {
			s.net.cutPair[[2]string{east1, east2}], s.net.cutPair[[2]string{east2, east1}] = true, true
		})
		sleep(88 * time.Second)
		s.net.set(func() { s.net.voteless["third"] = true })
		s.daemon(s.throughout(5*time.Minute, func() bool { return s.leader() != nil && s.waits() && s.untouched(at) }), "does not take silence for agreement: fewer than two vantages outside have an opinion")
		s.person(s.event("note-suspicion", "us-east-1 no-autonomy: ") && s.told("no-autonomy in us-east-1", failover.NoAutonomy.Meaning(), "Seen: "), "that nothing is decided automatically, and why")
	}},
	{id: "D2b", part: plans, fault: "The third vantage and one node of the other region cannot reach the region, the node beside it can; the nodes inside are down", play: func(s *stage) {
		s.stop("use1a", "use1b")
		s.net.set(func() {
			s.net.cutPair[[2]string{east1, thirdLoc}], s.net.cutPair[[2]string{thirdLoc, east1}] = true, true
		})
		s.world.set(func() { s.world.sights.blind[[2]string{"use2b", east1}] = true })
		s.daemon(s.throughout(5*time.Minute, func() bool { st := s.state(); return st.Incident == nil && st.Freeze == nil && st.Preparation == nil }), "moves nothing: two nodes of a vantage have one opinion, and when they differ it is not that the region is down")
		s.region(s.up(east1) == fleetSize, "goes on working")
		s.person(s.event("note-suspicion", "disagreement") && s.event("note-suspicion", "its nodes disagree"), "that the vantages disagree, and that the nodes of one of them do")
	}},
	{id: "D2c", part: plans, fault: "With three vantages outside, one that agreed loses sight of everything right before the hold is over", tune: func(p *failover.Settings) {
		delete(p.Nodes, "use1b")
		p.Nodes["fourth"] = failover.NodeSpec{Vantage: "fra"}
	}, play: func(s *stage) {
		at := time.Now()
		s.cut(east1)
		sleep(80 * time.Second)
		s.net.set(func() { s.net.cutPair[[2]string{"fra", internet}] = true })
		changed := time.Now()
		opened := s.when(5*time.Minute, func() bool { return s.event("open-incident", "") })
		hold := s.settings.Policy.Hold.D()
		s.daemon(opened && s.eventAt("open-incident", "").Sub(changed) >= hold, "begins the hold anew: whoever is left has to agree for a whole hold")
		s.daemon(s.eventAt("open-incident", "").Sub(at) < 2*hold+30*time.Second && s.when(3*time.Minute, func() bool { return s.ended() == failover.ExecStable }), "fails over after it: two vantages are enough")
	}},
	{id: "D5", part: plans, fault: "Outside it seems dead; a node inside is connected and sees it alive", play: func(s *stage) {
		s.world.set(func() {
			s.world.sights.hidden[east1] = true // from everybody outside
		})
		s.daemon(s.when(time.Minute, func() bool { return s.event("note-suspicion", "partitioned") }), "names it partitioned")
		s.daemon(s.throughout(10*time.Minute, func() bool { return s.state().Incident == nil && s.state().Freeze == nil }), "fails nothing over")
		s.region(s.up(east1) == fleetSize, "goes on working")
		s.person(s.told("partitioned in us-east-1", failover.Partitioned.Meaning(), "Seen: gru: down", "us-east-2: down", "us-east-1: healthy"), "that a person must decide, and what each vantage sees")
	}},
}

// peopleStories are what people, forgers and broken nodes may try.
var peopleStories = []story{
	{id: "forged-vote", part: people, fault: "A stolen node votes for others, for other places, and alone", play: func(s *stage) {
		l := s.leader().live()
		down := func(r failover.Region) []failover.Verdict {
			v := failover.Verdict{Region: r, Health: failover.Down, Why: "forged"}
			for _, k := range []string{"http", "mongo", "sqs"} {
				v.Signals = append(v.Signals, failover.SignalState{Component: "workers", Kind: k, Region: r, Health: failover.Down})
			}
			return []failover.Verdict{v}
		}
		other := l.TakeBallot("use2b", failover.Ballot{Node: "third", Vantage: thirdLoc, Boot: "x", Seq: 1 << 40, Verdicts: down(east1)})
		place := l.TakeBallot("use2b", failover.Ballot{Node: "use2b", Vantage: thirdLoc, Boot: "x", Seq: 1 << 40, Verdicts: down(east1)})
		s.daemon(other != nil && place != nil, "takes a node's vote for itself only, from the place where the configuration has it")
		quiet := s.throughout(3*time.Minute, func() bool {
			if c := s.leader(); c != nil {
				_ = c.live().TakeBallot("use2b", failover.Ballot{Node: "use2b", Vantage: east2, Boot: "forged", Seq: uint64(time.Now().UnixNano()), Verdicts: down(east1)}) //nolint:gosec // a time after 1970
			}
			return s.state().Incident == nil && s.state().Freeze == nil
		})
		s.daemon(quiet, "counts two nodes of one vantage as one opinion, which is none when they differ: one stolen node confirms nothing")
	}},
	{id: "forged-command", part: people, fault: "A stolen node proposes what only a leader may, or speaks as another node", play: func(s *stage) {
		l := s.leader().live()
		index := s.state().Epoch
		try := func(cmd failover.Command) bool {
			data, err := consensus.NewCodec().Encode(failover.Meta{By: "node use2b", ProposedTerm: s.state().Term, Term: s.state().Term}, cmd)
			if err != nil {
				return true
			}
			r := l.TakeProposal(s.ctx, "use2b", consensus.Proposal{Entry: data})
			return r.Failed != "" || r.Refused != ""
		}
		ok := try(failover.AdvanceEpoch{Epoch: 2, Region: east2}) && try(failover.FreezeLease{Region: east1, Epoch: 1, Provisional: true}) &&
			try(failover.RegisterNode{Node: "third", Record: failover.NodeRecord{Disk: "x", Starts: 99}}) && try(failover.SetTraffic{Region: east2}) &&
			try(failover.RecordLoss{Samples: map[string]failover.LossSample{"forged": {}}}) // which nothing else would refuse
		_, lied := s.state().Loss["forged"]
		s.daemon(ok && !lied && s.state().Epoch == index && s.state().Freeze == nil, "refuses all of them: what only a leader may is never forwarded, and a node's name is its certificate's")
		s.region(s.up(east1) == fleetSize, "goes on working")
	}},
	{id: "poison", part: people, fault: "A command from a newer version, or rubbish, is sent to the leader", play: func(s *stage) {
		l := s.leader().live()
		rubbish := []string{`{"v":1,"type":"explode","body":{}}`, `{"v":99,"type":"abort","body":{}}`, `{`, ``, "\x00\xff"}
		for _, entry := range rubbish {
			if r := l.TakeProposal(s.ctx, "use2b", consensus.Proposal{Entry: json.RawMessage(entry)}); r.Failed == "" {
				s.t.Errorf("%q was taken: %+v", entry, r)
			}
		}
		sleep(10 * time.Second)
		s.daemon(!s.logged(rubbish), "refuses what it cannot read before it is in the log of any node")
		before := s.state().Index
		res := s.order("uid 1", failover.PauseAutomation{For: dur(time.Minute)})
		s.daemon(s.leader() != nil && s.leader().live() == l && res.Index > before, "goes on under the same leader, and takes the next command")
	}},
	{id: "contradictions", part: people, fault: "Two operators press everything against each other in mid-plan", play: func(s *stage) {
		s.powerOff(east1)
		s.world.set(func() { s.world.dead[internet] = true }) // the switch has to wait
		s.when(5*time.Minute, func() bool { return s.state().Epoch == 2 })
		e := s.state().Execution
		var taken []failover.Event
		for i := range 12 {
			by := []string{"uid 1", "uid 2"}[i%2]
			cmd := []failover.Command{
				failover.Hold{Execution: e.ID}, failover.Continue{Execution: e.ID}, failover.Retry{Execution: e.ID, Step: "start-workers"},
				failover.Skip{Execution: e.ID, Step: "fence"}, failover.Approve{Execution: e.ID, Nonce: 1}, failover.RequestExecution{Kind: failover.Failover},
			}[i%6]
			if res, err := s.press(s.ctx, by, cmd); err == nil {
				taken = append(taken, failover.Event{Index: res.Index, Kind: cmd.Name(), By: by, Why: "a person who knows"})
			}
			sleep(300 * time.Millisecond)
		}
		s.daemon(s.refused("uid 1", failover.RequestExecution{Kind: failover.Failover}, "execution-open"), "runs one execution at a time")
		s.daemon(s.state().Execution != nil && s.refused("uid 1", failover.Skip{Execution: e.ID, Step: "fence"}, "fence"), "never skips the fence")
		if ex := s.state().Execution; ex != nil && ex.State == failover.ExecHeld {
			s.order("uid 1", failover.Continue{Execution: ex.ID})
		}
		s.world.set(func() { delete(s.world.dead, internet) })
		s.daemon(s.when(6*time.Minute, func() bool { return s.ended() == failover.ExecStable }), "ends stable when it is let")
		s.person(len(taken) >= 3 && s.recorded(taken), "each accepted order in the timeline, with who and why, and none that was refused")
	}},
	{id: "carried-on", part: people, fault: "A person ends a failover behind the fence, and another one carries it on two hours later", play: func(s *stage) {
		s.powerOff(east1)
		s.world.set(func() { s.world.dead[internet] = true }) // the switch has to wait
		s.when(5*time.Minute, func() bool { return s.state().Epoch == 2 && s.up(east2) == fleetSize })
		e := s.state().Execution
		s.order("uid 1", failover.Abort{Execution: e.ID})
		s.world.set(func() { delete(s.world.dead, internet) })
		s.daemon(s.when(6*time.Minute, func() bool { return s.ended() == failover.ExecAborted }), "ends it and leaves what was done: the region stays fenced, the other one stays active")
		outcome := s.state().History[0].Outcome
		s.person(strings.Contains(outcome, "start-workers is done") && strings.Contains(outcome, "`failoverd continue --why …` carries the plan on in us-east-2"), "what stands, that the plan can be carried on, and by which command")
		old := s.leader()
		s.crash(old)
		sleep(10 * time.Second)
		s.start(s.ctx, old)
		s.when(time.Minute, func() bool { return s.leader() != nil && s.ended() == failover.ExecAborted })
		still := s.throughout(2*time.Hour, func() bool { return s.state().Execution == nil && s.state().Traffic != east2 })
		s.daemon(still, "moves no client meanwhile: that was ended")
		s.daemon(s.refused("uid 2", failover.Continue{Execution: e.ID + 1, Ended: true}, "no-execution"), "carries on the newest one and no other")
		s.order("uid 2", failover.Continue{Execution: e.ID, Ended: true})
		s.daemon(s.when(6*time.Minute, func() bool { return s.ended() == failover.ExecStable }) && s.state().Traffic == east2 && s.up(east2) == fleetSize, "carries it on when a person says so, and does nothing twice that was done")
		s.region(s.up(east1) == 0, "stays stopped")
	}},
	{id: "empty-disk", part: people, fault: "A node comes back with an empty disk under its old name, and one with a disk that was set back", play: func(s *stage) {
		empty, old := s.hosts["use2b"], s.hosts["use1a"]
		s.emptied(empty)
		s.start(s.ctx, empty)
		out := s.throughout(2*time.Minute, func() bool { return empty.live() == nil })
		s.daemon(out && s.noted("use2b does not start"), "refuses the empty one before its raft starts, each time: it may have voted, and does not know")
		s.person(s.noted("use2b started with another disk than the one that this cluster knows: an empty disk has forgotten its votes; give the node a new name, or put the old data directory back"), "why it ends: an empty disk has forgotten its votes, and that it needs a new name or its old data directory")

		s.crash(old)
		old.lost.Store(true) // whoever starts it is refused
		old.starts--         // a copy from before its last start
		s.start(s.ctx, old)
		s.daemon(s.throughout(3*time.Minute, func() bool { return old.live() == nil }) && s.noted("use1a does not start"), "refuses the other for the same reason, however often it is started: its start counter is not above the recorded one")
		s.person(s.noted("remove the node from the cluster and let it rejoin with an empty data directory under a new name"), "the reason, and that the node rejoins empty and under a new name")
		old.starts++ // its own data directory is put back
		s.when(15*time.Second, func() bool { return old.live() != nil })
		s.daemon(s.when(10*time.Second, func() bool { return s.state().Nodes["use1a"].Starts == old.starts }), "takes it in again with its own data directory")
		old.lost.Store(false)

		s.order("uid 1", failover.RemoveMember{Node: "use2b"})
		s.when(20*time.Second, func() bool { return s.state().Change == nil })
		s.order("uid 1", failover.AddMember{Node: spareNode, Spec: failover.NodeSpec{Vantage: east2, Address: spareNode + ":7700"}})
		s.hosts[spareNode].off.Store(false)
		s.start(s.ctx, s.hosts[spareNode])
		joined := s.when(time.Minute, func() bool {
			_, member := s.state().Settings.Nodes[spareNode]
			return member && s.state().Change == nil && s.state().Nodes[spareNode].Starts == 1
		})
		s.stop("use1a", "use1b") // now it is needed for a quorum
		s.daemon(joined && s.when(20*time.Second, func() bool { return s.leader() != nil }) && s.order("uid 1", failover.PauseAutomation{For: dur(time.Minute)}).Index > 0, "lets a node with an empty disk and a new name in, whose vote counts")
	}},
}

// workersPrepared reports whether a preparation has started the workers elsewhere.
func (s *stage) workersPrepared() bool {
	p := s.state().Preparation
	return p != nil && p.Step("start-workers").State == failover.StepDone
}

// logged reports whether any node's log holds one of the entries.
func (s *stage) logged(entries []string) bool {
	for _, n := range s.names {
		d := s.hosts[n].disk
		first, _ := d.FirstIndex()
		last, _ := d.LastIndex()
		for i := first; i > 0 && i <= last; i++ {
			var l raft.Log
			if d.GetLog(i, &l) == nil && l.Type == raft.LogCommand && slices.Contains(entries, string(l.Data)) {
				return true
			}
		}
	}
	return false
}

// recorded reports whether the orders of "uid 1" and "uid 2" in the timeline are
// exactly those that were taken.
func (s *stage) recorded(taken []failover.Event) bool {
	var got []failover.Event
	for _, ev := range s.state().Events {
		if ev.By == "uid 1" || ev.By == "uid 2" {
			got = append(got, failover.Event{Index: ev.Index, Kind: ev.Kind, By: ev.By, Why: ev.Why})
		}
	}
	if !slices.Equal(got, taken) {
		s.t.Logf("taken %+v, the timeline has %+v", taken, got)
		return false
	}
	return true
}
