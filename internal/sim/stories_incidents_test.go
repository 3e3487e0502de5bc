package sim

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

const published = "Outages that others have had"

// incidents replay outages that were published, at the level that shows them
// honestly: timing and partitions here, real processes in lab/e2e.
var incidents = []story{
	{id: "P1", part: published, fault: "The active region cannot be reached for 43 seconds (GitHub, October 2018)", play: func(s *stage) {
		at := time.Now()
		s.cut(east1)
		// The last votes from inside, which see it well, count for 5 s (vote_ttl); then comes
		// the leader's next look.
		suspected := s.when(5500*time.Millisecond, func() bool { return s.event("note-suspicion", "region-down") })
		s.daemon(suspected, "names region-down within 5.5 s and does nothing")
		s.daemon(s.throughout(28*time.Second-time.Since(at), func() bool { return s.waits() && s.untouched(at) && s.wanted(east2) == 0 && s.paged("") == 0 }), "prepares nothing and tells nobody before `prepare_after` (30 s)")
		sleep(43*time.Second - time.Since(at))
		s.daemon(s.wanted(east2) > 0, "scales the standby up after it")
		s.mend()
		s.daemon(s.when(3*time.Minute, func() bool { return s.wanted(east2) == 0 && s.state().Preparation == nil }), "takes that back by itself when the region answers again")
		sleep(5 * time.Minute)
		s.daemon(s.idle() && len(s.state().History) == 0 && !s.event("open-incident", "") && s.world.trafficNow() == east1, "opens no incident and moves nothing")
		s.region(s.died(east1, at) == 0, "no worker is stopped: 43 s is less than the lease without its stop budget and a renewal")
		s.person(s.event("note-suspicion", "every vantage sees us-east-1 healthy (was") && s.event("start-preparation", "") && s.event("end-preparation", "have not agreed"), "the timeline with each of these steps, and why nothing else was done")
		first := time.Time{}
		for _, first = range s.messages(at) {
		}
		s.person(len(s.messages(at)) == 1 && first.Sub(s.noticed(at, failover.NoteSuspicion{})) >= 30*time.Second && s.paged("– passed") == 1, "one message after 30 s, updated in place to say that it has passed")
	}},
	{id: "P2", part: published, fault: "The active region cannot be reached for ten minutes, and lives", play: func(s *stage) {
		at := time.Now()
		s.cut(east1)
		stable := s.when(5*time.Minute, func() bool { return s.ended() == failover.ExecStable })
		down, up := s.last(oracle.WorkerDown, east1), s.first(oracle.WorkerUp, east2, at)
		s.daemon(stable && s.inOrder(at), "fails over: hold, lease waited out, epoch 2, start, switch, check")
		s.region(s.died(east1, at) == fleetSize && down.Before(at.Add(75*time.Second)) && s.wanted(east1) == fleetSize && s.first(oracle.Stop, east1, at).IsZero(), "its agents stop their workers before their leases end, with nobody to tell them")
		proven := s.evidence("workers")
		s.daemon(!down.IsZero() && down.Before(up) && down.Before(proven) && proven.Before(up) && s.grantedTo(east2, at) > 0 && s.firstGrant(east2).After(proven), "starts nothing critical elsewhere before that is proven")
		sleep(time.Until(at.Add(10 * time.Minute)))
		s.mend()
		back := time.Now()
		stopped := s.when(5*time.Minute, func() bool { return s.wanted(east1) == 0 })
		first := s.firstSent(back)
		s.region(stopped && first.Acts == string(oracle.Stop) && first.Region == east1, "when it returns, what was left running there is stopped first, before anything else")
		s.daemon(s.throughout(10*time.Minute, func() bool {
			st := s.state()
			return st.Active == east2 && st.Epoch == 2 && st.Execution == nil && s.up(east1) == 0 && s.up(east2) == fleetSize && s.world.trafficNow() == east2
		}) && s.first(oracle.WorkerUp, east1, at).IsZero() && len(s.world.records(oracle.Flip)) == 1, "does not go back by itself")
		s.person(s.event("advance-epoch", "standing hold: workers stays stopped in us-east-1") && s.eventAt("note-hold", "violated").After(back) && s.paged("was running in us-east-1, which was left") > 0, "which standing holds keep the region down, and when each was found violated")
		s.person(s.paged("us-east-1 is heard again, which was left without being seen to stop") == 1 &&
			s.paged(fmt.Sprintf("between some seconds before %sZ and %sZ may be missing in us-east-2, or stand in both", s.noticed(at, failover.NoteSuspicion{}).UTC().Format(time.DateTime), proven.UTC().Format(time.DateTime))) == 1,
			"once it is heard again, one message: from when to when it may have worked unseen, for whoever compares what the two regions hold")
	}},
	{id: "P3", part: published, fault: "The active region is slow and answers 70 % of the time (GitHub, September 2012)", play: func(s *stage) {
		at := time.Now()
		s.world.set(func() { s.world.sights.slow[east1], s.world.sights.deaf[east1] = 850*time.Millisecond, 0.3 })
		named := s.when(time.Minute, func() bool { return s.event("note-suspicion", "brownout") })
		quiet := s.throughout(15*time.Minute, func() bool {
			return s.idle() && s.untouched(at)
		})
		s.daemon(named && quiet, "calls it a brownout, prepares nothing and does nothing: slow is not dead")
		// Which of them comes, and first, is chance.
		other := slices.DeleteFunc(s.conditions(at), func(c string) bool { return c == "healthy" || c == string(failover.Brownout) })
		known := !slices.ContainsFunc(other, func(c string) bool {
			return !slices.Contains([]string{"service-down", "disagreement", "partitioned", "region-down"}, c)
		})
		s.daemon(len(other) > 0 && known && s.longest(failover.RegionDown, at) < s.settings.Policy.Hold.D()/3, "names what else it sees when signals fail three times in a row: service-down, disagreement, partitioned, and now and then region-down, that for a moment far shorter than the hold")
		s.region(s.died(east1, at) == 0 && s.up(east1) == fleetSize, "goes on working")
		s.person(s.told("brownout in us-east-1", failover.Brownout.Meaning()), "a message with the name of the condition and what it means")
	}},
	{id: "P4", part: published, fault: "Automation is paused, everything restarts, and an inventory comes back with a third of its targets (Reddit, August 2016)", tune: func(p *failover.Settings) { p.Policy.Mode = failover.ModeAutomatic }, play: func(s *stage) {
		s.world.set(func() { s.world.desired[east1] = 6 })
		s.when(time.Minute, func() bool { return s.up(east1) == 6 })
		sleep(2 * time.Minute) // the inventory is noted
		s.order("uid 1", failover.PauseAutomation{For: dur(time.Hour)})
		until := s.state().Pause.Until
		for _, n := range s.names {
			s.stop(n)
		}
		s.mend()
		s.when(time.Minute, func() bool { return s.leader() != nil })
		sleep(15 * time.Second) // agents renew
		paused := func() bool { p := s.state().Pause; return p != nil && p.By == "uid 1" && p.Until.Equal(until) }
		survived, other := paused(), s.settings
		other.Policy.Cooldown = dur(2 * time.Hour)
		s.apply(other)
		s.daemon(survived && s.when(20*time.Second, func() bool { return s.state().SettingsHash == "next" }) && paused(), "keeps the pause, also when a configuration is applied: it is in the log, not in a process")
		at := time.Now()
		s.cut(east1)
		s.daemon(s.when(4*time.Minute, func() bool { return s.event("refuse-incident", "guard pause objects") }) && s.throughout(3*time.Minute, func() bool {
			return s.state().Execution == nil && s.state().Preparation == nil && s.untouched(at) && paused()
		}), "opens the incident and starts nothing")
		s.person(s.event("refuse-incident", "paused by uid 1 until 2000-01-01T01:02:3") && s.event("refuse-incident", "(a person who knows); `failoverd resume` ends the pause"), "who paused it, why, until when, and the command that acts in spite of it")
		s.region(s.died(east1, at) == 0 && s.up(east1) == 6, "goes on working: a pause hands out leases as long as the pause")
		s.mend()
		s.when(10*time.Minute, func() bool { return s.state().Incident == nil })
		s.order("uid 1", failover.ResumeAutomation{})
		sleep(2 * time.Minute)
		s.world.set(func() { s.world.sights.shrunk = 70 })
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.person(s.when(10*time.Second, func() bool {
			return s.sees("the inventory shrank from 6 to 1: if that is right, `failoverd inventory accept workers")
		}), "how many there were, how many there are, and `failoverd inventory accept`")
		stable, left := s.when(3*time.Minute, func() bool { return s.ended() == failover.ExecStable }), s.eventAt("advance-epoch", "epoch 2")
		s.daemon(stable && s.eventAt("step-started", "stop-workers").After(left) && s.first(oracle.Stop, east1, at).After(left) && s.event("record-evidence", "workers has stopped: confirmed"),
			"does not stop through the control plane what a selector no longer finds (`max_shrink`); the agents' word decides instead")
		s.when(5*time.Minute, func() bool { return s.wanted(east1) == 0 })
		at = time.Now()
		for range 30 { // something that knows of no failover
			s.world.set(func() { s.world.desired[east1] = 6 })
			sleep(30 * time.Second)
		}
		s.daemon(s.effects(oracle.Stop, east1, left) == failover.ReapplyPerHour && s.wanted(east1) == 6 && s.state().Active == east2, "stops what something else starts there again and again six times within an hour, and no more")
		s.region(s.first(oracle.WorkerUp, east1, at).IsZero(), "works no more, whoever starts it: no agent has a lease")
		s.person(s.told("workers was running in us-east-1, which was left", "This is the 6. time within an hour; after 6 it needs you"), "each of these times, and from which on it needs a person")
	}},
	{id: "P5", part: published, fault: "A leader stops between its check and its write to DNS, and goes on after its successor has finished (AWS DynamoDB, October 2025)", play: func(s *stage) {
		old := &standsStill{s: s, kind: "switch"}
		s.world.seam = old
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		stable := s.when(5*time.Minute, func() bool { return s.ended() == failover.ExecStable }) && old.once
		sleep(time.Minute)
		stale := s.world.records(oracle.Stale)
		flips := s.world.records(oracle.Flip)
		s.daemon(stable && len(flips) > 0 && len(stale) > 0 && flips[0].Who != stale[0].Who && flips[0].Token > stale[0].Token, "has a new leader, which finishes the switch with a token of its own")
		s.daemon(len(flips) == 1, "moves the traffic exactly once")
		s.daemon(s.world.trafficNow() == east2, "leaves the clients with the new region")
		s.person(len(stale) == 1 && strings.Contains(stale[0].Detail, fmt.Sprintf("token %d does not replace %d", stale[0].Token, flips[0].Token)), "in the log of the record, that the old batch was refused because it names a token that is gone")
	}},
	{id: "P10", part: published, fault: "Every probe fails from everywhere, neutral references too (Facebook, October 2021)", play: func(s *stage) {
		at := time.Now()
		s.cut(internet)
		s.dark(east1, true)
		s.dark(east2, true)
		s.daemon(s.when(10*time.Second, func() bool { return s.event("note-suspicion", "self-isolated") }), "says that it is blind: self-isolated")
		s.daemon(s.throughout(10*time.Minute, func() bool { return s.idle() && s.untouched(at) }), "freezes nothing and does nothing")
		s.region(s.died(east1, at) == 0 && s.up(east1) == fleetSize && s.wanted(east1) == fleetSize && s.wanted(east2) == 0 && !s.fencedAny(at), "goes on as it was, and so does the other one")
		s.person(s.told("self-isolated", failover.SelfIsolated.Meaning()), "that our own nodes are blind, which says nothing about the region")
		s.silence(true)
		sleep(time.Minute)
		answered := 0
		for _, n := range s.names {
			core := s.hosts[n].live()
			if core == nil {
				continue
			}
			st := core.Node().State()
			octx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
			_, err := core.Propose(octx, "uid 1", "is anybody there", failover.PauseAutomation{For: dur(time.Minute)})
			cancel()
			if st.Settings != nil && st.Active == east1 && len(st.Events) > 0 && err != nil && strings.Contains(err.Error(), "there is no quorum") {
				answered++
			}
		}
		s.person(answered == 5, "every node, with no network at all: it tells what it knows, and refuses a command with the reason, that there is no quorum")
	}},
	{id: "P10b", part: published, fault: "The region to be entered fails in the same way", play: func(s *stage) {
		at := time.Now()
		s.dark(east1, true)
		s.dark(east2, true)
		s.daemon(s.when(10*time.Second, func() bool { return s.event("note-suspicion", "failure-followed-us") }) && s.throughout(10*time.Minute, func() bool { return s.idle() && s.untouched(at) }), "names failure-followed-us and moves nothing")
		s.region(!s.fencedAny(at) && s.died(east1, at) == 0 && s.grantedTo(east1, time.Now().Add(-15*time.Second)) > 0, "neither region is fenced")
		s.person(s.told("failure-followed-us", failover.FollowedUs.Meaning()), "that moving would not help, and may be the cause")
	}},
	{id: "P11", part: published, fault: "A database answers, but has not moved for days (Stripe, July 2019)", play: func(s *stage) {
		at := time.Now()
		s.world.set(func() { s.world.sights.stale[east1] = true })
		s.daemon(s.when(time.Minute, func() bool { return s.event("note-suspicion", "service-down") }), "takes a sample that does not move for a failure: service-down")
		s.daemon(s.throughout(5*time.Minute, func() bool { return s.idle() && s.untouched(at) && !slices.Contains(s.conditions(at), "region-down") }), "does not take one kind of signal for the region")
		s.region(s.died(east1, at) == 0 && s.up(east1) == fleetSize, "goes on working")
		s.person(s.told("messaging: service-down in us-east-1", failover.ServiceDown.Meaning(), "workers/mongo down (stale)"), "the service, the signal and the reason")
	}},
	{id: "P11b", part: published, fault: "The disk of the leading node hangs", play: func(s *stage) {
		at, old := time.Now(), s.leader()
		release := old.disk.hang()
		s.daemon(s.when(5*time.Second, func() bool { l := s.leader(); return l != nil && l != old }), "has a new leader within 5 s")
		gone, stuck := s.notedAt("the disk of the data directory hangs"), old.disk.stuckSince()
		limit := 2*s.timers.Heartbeat + s.timers.Election
		s.daemon(!gone.IsZero() && !stuck.IsZero() && gone.Sub(stuck) <= limit+10*time.Millisecond, "the old one gives up when a write has not returned for two heartbeats and an election, 1.5 s")
		s.region(s.throughout(3*time.Minute, func() bool { return s.died(east1, at) == 0 }), "no worker is stopped")
		release()
		s.person(s.noted("the disk of the data directory hangs"), "a node that ends with the sentence \"the disk of the data directory hangs …\"")
	}},
	{id: "P11c", part: published, fault: "A person scales the workers by hand while they are stopped, and the failover is taken back (Stripe: a hurried rollback)", play: func(s *stage) {
		const byHand = 5
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.when(time.Minute, func() bool { return s.wanted(east1) == 0 })
		s.world.set(func() { s.world.desired[east1] = byHand })
		exec := s.state().Execution.ID
		s.order("uid 2", failover.Abort{Execution: exec, Undo: true})
		s.daemon(s.when(15*time.Minute, func() bool { return s.question("somebody has changed it since") != nil }) && s.wanted(east1) == byHand, "looks at the world before it puts anything back, leaves what somebody has changed since, and asks")
		q := s.question("desired 5")
		s.person(q != nil && slices.Contains(q.Ways, "failoverd retry stop-workers") && slices.ContainsFunc(q.Ways, func(w string) bool { return strings.HasPrefix(w, "failoverd skip stop-workers") }), "what stands there now, and the commands that put back what was before, or leave it")
		s.order("uid 2", failover.Retry{Execution: exec, Step: "stop-workers"})
		s.daemon(s.when(10*time.Minute, func() bool { return s.ended() == failover.ExecUndone }) && s.wanted(east1) == fleetSize, "puts it back once a person says so")
		s.region(s.when(time.Minute, func() bool { return s.up(east1) == fleetSize }) && s.state().Epoch == 1, "works again, with as many workers as before the failover")
	}},
	{id: "P12", part: published, fault: "The disk of the leading node takes two seconds for each write (Roblox, October 2021)", play: func(s *stage) {
		at, old := time.Now(), s.leader()
		old.disk.slowBy(2 * time.Second)
		s.daemon(s.when(8*time.Second, func() bool { l := s.leader(); return l != nil && l != old }), "has a new leader within 8 s: the old one evicts itself")
		looked, nodes := time.Now(), 0
		for _, n := range s.names {
			if core := s.hosts[n].live(); core != nil {
				nodes++
				core.Node().State()
				core.Node().Stats()
				_, _ = core.LocalView() // that it answers at once is all
			}
		}
		s.person(nodes >= len(s.settings.Nodes)-1 && time.Since(looked) < 100*time.Millisecond, "state and metrics of every node that runs, at once: reading them never waits for raft")
		s.region(s.throughout(3*time.Minute, func() bool { return s.died(east1, at) == 0 }), "no worker is stopped")
		old.disk.slowBy(0)
	}},
	{id: "P15", part: published, fault: "Our own quorum is lost for 20 seconds, the service is well (GitLab on Patroni, 2019)", play: func(s *stage) {
		at := time.Now()
		s.stop("use2a", "use2b", "third")
		sleep(20 * time.Second)
		s.mend()
		s.region(s.throughout(5*time.Minute, func() bool { return s.died(east1, at) == 0 }), "no worker is stopped: the leases outlast it")
		s.daemon(s.state().Incident == nil && s.state().Epoch == 1 && s.leader() != nil, "goes on where it was")
		kinds := s.kinds(at)
		s.person(kinds["lead"] > 0 && kinds["register-node"] == 3 && len(kinds) == 2, "a change of the leader and three nodes that have started in the timeline, and nothing else")
	}},
	{id: "P15b", part: published, fault: "Our own quorum is lost for ten minutes, the service is well, `on_isolation = \"stop\"`", play: func(s *stage) {
		at := time.Now()
		s.stop("use2a", "use2b", "third")
		sleep(5 * time.Minute)
		leaderless := s.leader() == nil
		sleep(5 * time.Minute)
		s.region(s.died(east1, at) == fleetSize, "its workers stop when their leases end: that is what the policy says")
		s.daemon(s.wanted(east2) == 0 && s.world.trafficNow() == east1, "moves nothing: without a quorum nobody decides")
		s.mend()
		s.region(s.when(time.Minute, func() bool { return s.up(east1) == fleetSize }), "works again as soon as there is a quorum")
		s.person(leaderless, "nodes that know of no leader meanwhile")
		s.daemon(s.throughout(5*time.Minute, func() bool { return s.state().Epoch == 1 && s.state().Execution == nil }), "does not make up for it afterwards")
	}},
	{id: "P15c", part: published, fault: "Our own quorum is lost for ten minutes, the service is well, `on_isolation = \"keep\"`", tune: func(p *failover.Settings) { p.Components[0].OnIsolation = "keep" }, play: func(s *stage) {
		at := time.Now()
		s.stop("use2a", "use2b", "third")
		sleep(10 * time.Minute)
		s.mend()
		sleep(time.Minute)
		s.daemon(s.idle() && s.untouched(at), "moves nothing")
		kept := s.died(east1, at) == 0
		s.cut(east1)
		asks := s.when(8*time.Minute, func() bool { return s.question("It could not be proven that workers has stopped") != nil })
		s.region(kept && asks && s.throughout(10*time.Minute, func() bool { return s.state().Epoch == 1 && s.up(east2) == 0 && s.world.trafficNow() == east1 }), "no worker is stopped, however long it takes; in exchange, the end of a lease proves nothing, and a dark region needs a person")
	}},
	{id: "P16", part: published, fault: "A safety limit is missing or misspelt (AWS Seoul, November 2018)", play: func(s *stage) {
		text, err := os.ReadFile("../../config.toml.example")
		s.daemon(err == nil && s.refusesFile(strings.Replace(string(text), "\nmax_per_day = 2", "", 1), "max_per_day"), "refuses a file that lacks a limit: a limit has no silent default")
		s.daemon(s.refusesFile(strings.Replace(string(text), "\nhold = ", "\nhodl = ", 1), "hodl"), "refuses an unknown key")
		nothing := true
		for _, c := range []struct{ was, is, field string }{
			{`stop.ecs_service = { cluster = "prod", service = "workers"`, `stop.ecs_service = { cluster = "prod", service = ""`, "service"},
			{`stop.lambda_event_source = { functions = ["events-handler"]`, `stop.lambda_event_source = { functions = []`, "functions"},
			{"\nnames = [\"api.example.net\", \"ws.example.net\"]", "\nnames = []", "names"},
		} {
			file := strings.Replace(string(text), c.was, c.is, 1)
			nothing = nothing && file != string(text) && s.refusesFile(file, c.field)
		}
		s.daemon(nothing, "refuses an action that names nothing: an empty list never means all")
		two := strings.Replace(strings.Replace(string(text), "\nhold = ", "\nhodl = ", 1), "\nmax_per_day = 2", "", 1)
		s.person(s.refusesFile(two, `did you mean "hold"`) && s.refusesFile(two, "policy.hodl") && s.refusesFile(two, "policy.max_per_day"), "file, line, path and the key that was probably meant; all mistakes at once")
	}},
	{id: "P16b", part: published, fault: "The file of one node says something else than those of the others", tune: func(p *failover.Settings) { p.Policy.Mode = failover.ModeSupervised }, play: func(s *stage) {
		// The node that leads starts anew with a file of its own: no question, no hold.
		rash := s.settings
		rash.Policy.Mode, rash.Policy.Hold, rash.Policy.PrepareAfter = failover.ModeAutomatic, dur(5*time.Second), 0
		h := s.leader()
		h.own = &rash
		s.crash(h)
		s.start(s.ctx, h)
		s.when(30*time.Second, func() bool { return s.state().Nodes[failover.NodeID(h.id)].ConfigHash == "own" })
		for _, n := range s.names { // only it can lead
			if n != h.id && s.hosts[n].live() != nil {
				s.stop(n)
			}
		}
		for _, n := range s.names {
			if n != h.id && n != "use1a" && n != "use1b" {
				s.start(s.ctx, s.hosts[n])
			}
		}
		s.when(time.Minute, func() bool { l := s.leader(); return l != nil && l.live().Leads() })
		sleep(15 * time.Second)
		s.dark(east1, true)
		s.daemon(s.throughout(80*time.Second, func() bool { return s.state().Incident == nil && s.state().Execution == nil }), "decides by the policy in the log, whoever leads: nothing opens before the cluster's hold")
		s.daemon(s.when(time.Minute, func() bool { e := s.state().Execution; return e != nil && e.State == failover.ExecAwaiting }), "asks, as the cluster's mode wants: a node with another file is not armed with it")
		s.person(s.state().Nodes[failover.NodeID(h.id)].ConfigHash != s.state().SettingsHash, "the hash of that file in `failoverd members`, beside the one in force")
	}},
	{id: "P18", part: published, fault: "The leader dies again and again in mid-plan, and a person presses every button twice", tune: func(p *failover.Settings) { p.Policy.Mode = failover.ModeSupervised }, play: func(s *stage) {
		s.leaderDies(3, 2500*time.Millisecond, "goes on with the next leader, past its barrier, within 2.5 s of each death")
	}},
	{id: "P18b", part: published, fault: "The same with the timers of the profile `fast`", timers: profiles[1].timers, tune: func(p *failover.Settings) { p.Policy.Mode = failover.ModeSupervised }, play: func(s *stage) {
		s.leaderDies(3, 1500*time.Millisecond, "goes on with the next leader, past its barrier, within 1.5 s of each death")
	}},
	{id: "P18c", part: published, fault: "The region that dies is the leader's, and the next leader dies in the middle of the restore", tune: func(p *failover.Settings) {
		*p = withDatabase(*p)
		p.Policy.Mode = failover.ModeSupervised
	}, play: func(s *stage) {
		s.leadsFrom("use1a")
		died := time.Now()
		s.powerOff(east1)
		took := s.succeeded(died, s.hosts["use1a"], 5*time.Second)
		s.daemon(took > 0 && took <= 2500*time.Millisecond, "goes on with the next leader, past its barrier, within 2.5 s of each death")
		s.when(5*time.Minute, func() bool { e := s.state().Execution; return e != nil && e.State == failover.ExecAwaiting })
		e, asked := s.state().Execution, time.Now()
		click := failover.Approve{Execution: e.ID, Nonce: e.Question.Nonce}
		s.order("slack U1", click)
		again := s.refused("slack U1", click, "no-question")
		s.person(again && s.kinds(asked)["approve"] == 1, "that the second click of the same button counts for nothing")
		restoring := func() bool {
			s.world.mu.Lock()
			defer s.world.mu.Unlock()
			return s.world.database(pool("mariadb", east2)).running > 0
		}
		if !s.when(3*time.Minute, restoring) {
			s.t.Error("no restore begins")
		}
		old := s.leader()
		died = time.Now()
		s.crash(old)
		s.world.wg.Go(func() { sleep(time.Second); s.start(s.ctx, old) }) // its service manager
		took = s.succeeded(died, old, 5*time.Second)
		s.daemon(took > 0 && took <= 2500*time.Millisecond, "goes on with the next leader, past its barrier, within 2.5 s of each death")
		s.daemon(s.when(5*time.Minute, func() bool { return s.ended() == failover.ExecStable }), "ends stable")
		s.daemon(len(s.world.records(oracle.Restore)) == 1 && len(s.world.records(oracle.Flip)) == 1, "restores once, and moves the traffic once")
		sleep(time.Until(asked.Add(6 * time.Minute)))
		s.person(s.refused("slack U1", click, "no-execution") && s.kinds(asked)["approve"] == 1, "that a click which is six minutes old is stale")
	}},
}

// standsStill pauses the first process that is about to send a call of the
// kind, until its successor has finished: the call has passed its last check.
type standsStill struct {
	s    *stage
	kind string
	mu   sync.Mutex
	once bool
}

func (p *standsStill) leaves(_ context.Context, a action, _ actions.Attempt, _ string, _ func()) bool {
	p.mu.Lock()
	first := a.kind == p.kind && !p.once
	p.once = p.once || first
	p.mu.Unlock()
	if !first {
		return false
	}
	resume := p.s.net.pause(a.node)
	p.s.when(10*time.Minute, func() bool { return p.s.ended() == failover.ExecStable })
	sleep(5 * time.Second)
	resume()
	return true
}

func (p *standsStill) store(_ *host, _ *handle, _ []*raft.Log, write func() error) error {
	return write()
}
func (p *standsStill) applied(*host, *handle, failover.Result, failover.Command) {}
func (p *standsStill) flies(action, actions.Attempt, string)                     {}
func (p *standsStill) landed(action, actions.Attempt, string, bool)              {}
