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
	"github.com/failoverd/failoverd/internal/config"
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
		s.daemon(s.throughout(28*time.Second-time.Since(at), func() bool { return s.wanted(east2) == 0 && s.paged("") == 0 }), "prepares nothing and tells nobody before `prepare_after` (30 s)")
		sleep(43*time.Second - time.Since(at))
		s.daemon(s.wanted(east2) > 0, "scales the standby up after it")
		s.mend()
		s.daemon(s.when(3*time.Minute, func() bool { return s.wanted(east2) == 0 && s.state().Preparation == nil }), "takes that back by itself when the region answers again")
		sleep(5 * time.Minute)
		s.daemon(s.state().Epoch == 1 && len(s.state().History) == 0 && s.state().Incident == nil, "opens no incident and moves nothing")
		s.region(s.died(east1, at) == 0, "no worker is stopped: 43 s is less than the lease without its stop budget and a renewal")
		s.person(s.event("note-suspicion", "every vantage sees us-east-1 healthy (was") && s.event("start-preparation", "") && s.event("end-preparation", "have not agreed"), "the timeline with each of these steps, and why nothing else was done")
		s.person(s.paged("– passed") == 1, "one message after 30 s, updated in place to say that it has passed")
	}},
	{id: "P2", part: published, fault: "The active region cannot be reached for ten minutes, and lives", play: func(s *stage) {
		at := time.Now()
		s.cut(east1)
		s.daemon(s.when(5*time.Minute, func() bool { return s.ended() == failover.ExecStable }), "fails over: hold, lease waited out, epoch 2, start, switch, check")
		down, up := s.last(oracle.WorkerDown, east1), s.first(oracle.WorkerUp, east2, at)
		s.region(s.died(east1, at) == fleetSize && down.Before(at.Add(75*time.Second)), "its agents stop their workers before their leases end, with nobody to tell them")
		s.daemon(!down.IsZero() && down.Before(up), "starts nothing critical elsewhere before that is proven")
		sleep(time.Until(at.Add(10 * time.Minute)))
		s.mend()
		s.region(s.when(5*time.Minute, func() bool { return s.wanted(east1) == 0 }), "when it returns, what was left running there is stopped first, before anything else")
		s.daemon(s.throughout(10*time.Minute, func() bool { return s.state().Active == east2 && s.up(east1) == 0 }), "does not go back by itself")
		s.person(s.event("advance-epoch", "standing hold: workers stays stopped in us-east-1") && s.event("note-hold", "violated") && s.paged("was running in us-east-1, which was left") > 0, "which standing holds keep the region down, and when each was found violated")
		s.person(s.paged("us-east-1 is heard again, which was left without being seen to stop") == 1 &&
			s.paged(fmt.Sprintf("between some seconds before %sZ and", s.noticed(at, failover.NoteSuspicion{}).UTC().Format(time.DateTime))) == 1 && s.evidence("workers").After(down),
			"once it is heard again, one message: from when to when it may have worked unseen, for whoever compares what the two regions hold")
	}},
	{id: "P3", part: published, fault: "The active region is slow and answers 70 % of the time (GitHub, September 2012)", play: func(s *stage) {
		at := time.Now()
		s.world.set(func() { s.world.sights.slow[east1], s.world.sights.deaf[east1] = 850*time.Millisecond, 0.3 })
		named := s.when(time.Minute, func() bool { return s.event("note-suspicion", "brownout") })
		quiet := s.throughout(15*time.Minute, func() bool {
			return s.state().Incident == nil && s.state().Execution == nil && s.state().Freeze == nil && s.state().Preparation == nil
		})
		s.daemon(named && quiet, "calls it a brownout, prepares nothing and does nothing: slow is not dead")
		// Which of them comes, and first, is chance.
		s.daemon(len(s.conditions(at)) > 1, "names what else it sees when signals fail three times in a row (service-down, disagreement, partitioned, now and then region-down), each for a moment far shorter than the hold")
		s.region(s.died(east1, at) == 0, "goes on working")
		s.person(s.paged(failover.Brownout.Meaning()) > 0, "a message with the name of the condition and what it means")
	}},
	{id: "P4", part: published, fault: "Automation is paused, everything restarts, and an inventory comes back with a third of its targets (Reddit, August 2016)", tune: func(p *failover.Settings) { p.Policy.Mode = failover.ModeAutomatic }, play: func(s *stage) {
		s.world.set(func() { s.world.desired[east1] = 6 })
		s.when(time.Minute, func() bool { return s.up(east1) == 6 })
		sleep(2 * time.Minute) // the inventory is noted
		s.order("uid 1", failover.PauseAutomation{For: dur(time.Hour)})
		for _, n := range s.names {
			s.stop(n)
		}
		s.mend()
		s.when(time.Minute, func() bool { return s.leader() != nil })
		sleep(15 * time.Second) // agents renew
		s.daemon(s.state().Pause != nil, "keeps the pause: it is in the log, not in a process")
		at := time.Now()
		s.cut(east1)
		s.daemon(s.when(4*time.Minute, func() bool { return s.event("refuse-incident", "guard pause objects") }) && s.state().Execution == nil, "opens the incident and starts nothing")
		s.person(s.event("refuse-incident", "paused by uid 1 until 2000-01-01T01:02:3") && s.event("refuse-incident", "(a person who knows); `failoverd resume` ends the pause"), "who paused it, why, until when, and the command that acts in spite of it")
		s.mend()
		s.region(s.died(east1, at) == 0, "goes on working: a pause hands out leases as long as the pause")
		s.when(10*time.Minute, func() bool { return s.state().Incident == nil })
		s.order("uid 1", failover.ResumeAutomation{})
		sleep(2 * time.Minute)
		s.world.set(func() { s.world.sights.shrunk = 70 })
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.person(s.when(10*time.Second, func() bool { return s.sees("the inventory shrank from 6 to 1") }), "how many there were, how many there are, and `failoverd inventory accept`")
		s.daemon(s.when(3*time.Minute, func() bool { return s.ended() == failover.ExecStable }) && s.eventAt("step-started", "stop-workers").After(s.eventAt("advance-epoch", "epoch 2")),
			"does not stop through the control plane what a selector no longer finds (`max_shrink`); the agents' word decides instead")
	}},
	{id: "P5", part: published, fault: "A leader stops between its check and its write to DNS, and goes on after its successor has finished (AWS DynamoDB, October 2025)", play: func(s *stage) {
		old := &standsStill{s: s, kind: "switch"}
		s.world.seam = old
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.daemon(s.when(5*time.Minute, func() bool { return s.ended() == failover.ExecStable }) && old.once, "has a new leader, which finishes the switch with a token of its own")
		sleep(time.Minute)
		stale := s.world.records(oracle.Stale)
		flips := s.world.records(oracle.Flip)
		s.daemon(len(flips) == 1, "moves the traffic exactly once")
		s.daemon(s.world.trafficNow() == east2, "leaves the clients with the new region")
		s.person(len(stale) == 1, "in the log of the record, that the old batch was refused because it names a token that is gone")
	}},
	{id: "P10", part: published, fault: "Every probe fails from everywhere, neutral references too (Facebook, October 2021)", play: func(s *stage) {
		at := time.Now()
		s.cut(internet)
		s.dark(east1, true)
		s.dark(east2, true)
		s.daemon(s.when(10*time.Second, func() bool { return s.event("note-suspicion", "self-isolated") }), "says that it is blind: self-isolated")
		s.daemon(s.throughout(10*time.Minute, func() bool { return s.state().Freeze == nil && s.state().Incident == nil }), "freezes nothing and does nothing")
		s.region(s.died(east1, at) == 0 && s.wanted(east1) == fleetSize && s.wanted(east2) == 0, "goes on as it was, and so does the other one")
		s.person(s.paged("self-isolated") > 0, "that our own nodes are blind, which says nothing about the region")
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
		s.daemon(s.when(10*time.Second, func() bool { return s.event("note-suspicion", "failure-followed-us") }), "names failure-followed-us and moves nothing")
		s.region(s.throughout(10*time.Minute, func() bool { return s.state().Incident == nil }) && s.died(east1, at) == 0, "neither region is fenced")
		s.person(s.paged("failure-followed-us") > 0, "that moving would not help, and may be the cause")
	}},
	{id: "P11", part: published, fault: "A database answers, but has not moved for days (Stripe, July 2019)", play: func(s *stage) {
		at := time.Now()
		s.world.set(func() { s.world.sights.stale[east1] = true })
		s.daemon(s.when(time.Minute, func() bool { return s.event("note-suspicion", "service-down") }), "takes a sample that does not move for a failure: service-down")
		s.daemon(s.throughout(5*time.Minute, func() bool { return s.state().Incident == nil }), "does not take one kind of signal for the region")
		s.region(s.died(east1, at) == 0, "goes on working")
		s.person(s.paged("service-down") > 0, "the service, the signal and the reason")
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
		s.person(q != nil && slices.Contains(q.Ways, "failoverd retry stop-workers"), "what stands there now, and the commands that put back what was before, or leave it")
		s.order("uid 2", failover.Retry{Execution: exec, Step: "stop-workers"})
		s.daemon(s.when(10*time.Minute, func() bool { return s.ended() == failover.ExecUndone }) && s.wanted(east1) == fleetSize, "puts it back once a person says so")
		s.region(s.when(time.Minute, func() bool { return s.up(east1) == fleetSize }) && s.state().Epoch == 1, "works again, with as many workers as before the failover")
	}},
	{id: "P12", part: published, fault: "The disk of the leading node takes two seconds for each write (Roblox, October 2021)", play: func(s *stage) {
		at, old := time.Now(), s.leader()
		old.disk.slowBy(2 * time.Second)
		s.daemon(s.when(8*time.Second, func() bool { l := s.leader(); return l != nil && l != old }), "has a new leader within 8 s: the old one evicts itself")
		looked := time.Now()
		for _, n := range s.names {
			if core := s.hosts[n].live(); core != nil {
				core.Node().State()
				core.Node().Stats()
				_, _ = core.LocalView() // that it answers at once is all
			}
		}
		s.person(time.Since(looked) < 100*time.Millisecond, "state and metrics of every node at once: reading them never waits for raft")
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
		s.region(s.died(east1, at) == 0, "no worker is stopped, however long it takes; in exchange, the end of a lease proves nothing, and a dark region needs a person")
		s.daemon(s.state().Epoch == 1, "moves nothing")
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
		s.person(s.refusesFile(strings.Replace(string(text), "\nhold = ", "\nhodl = ", 1), `did you mean "hold"`), "file, line, path and the key that was probably meant; all mistakes at once")
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
}

// leaderDies kills the leader several times in mid-plan, while a person presses
// each button twice.
func (s *stage) leaderDies(times int, limit time.Duration, within string) {
	s.dark(east1, true) // its nodes live: there is one more than a quorum
	if !s.when(5*time.Minute, func() bool { e := s.state().Execution; return e != nil && e.State == failover.ExecAwaiting }) {
		s.t.Fatal("nobody is asked")
	}
	s.world.set(func() { s.world.late = 8 * time.Second })
	e := s.state().Execution
	click := failover.Approve{Execution: e.ID, Nonce: e.Question.Nonce}
	s.order("slack U1", click)
	s.person(s.refused("slack U1", click, "no-question"), "that the second click of the same button counts for nothing")
	for range times {
		sleep(300 * time.Millisecond)
		s.when(5*time.Second, func() bool { return s.leader() != nil })
		old := s.leader()
		if s.state().Execution == nil {
			s.t.Error("the plan is over before the leader has died often enough")
			return
		}
		died := time.Now()
		s.crash(old)
		took := time.Duration(0)
		for took == 0 && time.Since(died) < 2*limit {
			sleep(5 * time.Millisecond)
			if l := s.leader(); l != nil && l != old {
				took = time.Since(died)
			}
		}
		s.daemon(took > 0 && took <= limit, within)
		s.t.Logf("past the barrier after %s", took)
		sleep(time.Second) // its service manager
		s.start(s.ctx, old)
	}
	s.daemon(s.when(5*time.Minute, func() bool { return s.ended() == failover.ExecStable }), "ends stable")
	s.daemon(len(s.world.records(oracle.Flip)) == 1, "moves the traffic once")
	sleep(6 * time.Minute)
	s.person(s.refused("slack U1", click, "no-execution"), "that a click which is six minutes old is stale")
}

// kinds counts the lines of the timeline since then, by kind.
func (s *stage) kinds(since time.Time) map[string]int {
	out := map[string]int{}
	for _, ev := range s.state().Events {
		if !ev.At.Before(since) {
			out[ev.Kind]++
		}
	}
	return out
}

// conditions are those that were named of the first active region since then, each
// once.
func (s *stage) conditions(since time.Time) []string { return s.conditionsOf(east1, since) }

func (s *stage) conditionsOf(region string, since time.Time) (out []string) {
	for _, ev := range s.state().Events {
		if ev.Kind != "note-suspicion" || ev.At.Before(since) {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(ev.Text, region+" "), ":")
		if strings.HasPrefix(ev.Text, region+": ") {
			name = "healthy"
		}
		if !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// last and first are when an entry of the record was the newest, or the oldest
// since then, of its kind and region; zero: none.
func (s *stage) last(kind oracle.Kind, region string) (at time.Time) {
	for _, e := range s.world.records(kind) {
		if e.Region == region {
			at = e.At
		}
	}
	return at
}

func (s *stage) first(kind oracle.Kind, region string, since time.Time) time.Time {
	for _, e := range s.world.records(kind) {
		if e.Region == region && !e.At.Before(since) {
			return e.At
		}
	}
	return time.Time{}
}

// dark lets every signal of a region fail, or work again.
func (s *stage) dark(region string, dark bool) {
	s.world.set(func() { s.world.sights.ill[region] = dark })
}

// noted reports whether the world's record has a note that contains the text.
func (s *stage) noted(text string) bool { return !s.notedAt(text).IsZero() }

// notedAt is when the first such note was made; zero: never.
func (s *stage) notedAt(text string) time.Time {
	for _, e := range s.world.records(oracle.Note) {
		if strings.Contains(e.Detail, text) {
			return e.At
		}
	}
	return time.Time{}
}

// noticed is when the first entry of a kind after a moment was made; zero: never.
func (s *stage) noticed(after time.Time, kind failover.Command) time.Time {
	for _, ev := range s.state().Events {
		if ev.Kind == kind.Name() && ev.At.After(after) {
			return ev.At
		}
	}
	return time.Time{}
}

// evidence is when a component was proven to have stopped, in the newest execution.
func (s *stage) evidence(c failover.Component) time.Time {
	for _, ev := range s.state().History[len(s.state().History)-1].Evidence {
		if ev.Component == c {
			return ev.At
		}
	}
	return time.Time{}
}

// question is the open question, if it says the text; nil: there is none.
func (s *stage) question(text string) *failover.Question {
	if e := s.state().Execution; e != nil && e.Question != nil && strings.Contains(e.Question.Text, text) {
		return e.Question
	}
	return nil
}

// sees reports whether the running steps, or the question that is open, say the
// text.
func (s *stage) sees(text string) bool {
	if s.question(text) != nil {
		return true
	}
	if l := s.leader(); l != nil {
		if v, err := l.live().LocalView(); err == nil {
			for _, line := range v.Progress {
				if strings.Contains(line, text) {
					return true
				}
			}
		}
	}
	return false
}

// refusesFile reports whether a configuration is refused with a line number and
// the text.
func (s *stage) refusesFile(file, text string) bool {
	_, err := config.Parse("my.toml", []byte(file))
	ok := err != nil && strings.Contains(err.Error(), "my.toml:") && strings.Contains(err.Error(), text)
	if !ok {
		s.t.Logf("%q is not refused for %q: %v", "my.toml", text, err)
	}
	return ok
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
