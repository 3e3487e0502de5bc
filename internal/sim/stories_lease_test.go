package sim

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/daemon"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

const leases = "Leases, agents and workers"

// leaseStories are what the rules of the lease protocol (G1 to G8) are for.
var leaseStories = []story{
	{id: "G1", part: leases, fault: "The leader stands still with an agent's request in its buffer, and goes on after a takeover", play: func(s *stage) {
		old := s.leader()
		resume := s.net.pause(old.id)
		s.daemon(s.when(10*time.Second, func() bool { l := s.leader(); return l != nil && l != old && l.live().Leads() }), "has a new leader within 10 s")
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.when(3*time.Minute, func() bool { return s.state().Epoch == 2 })
		moved := time.Now()
		sleep(30 * time.Second)
		none := s.asksLate(old, resume)
		sleep(time.Minute)
		s.daemon(none && s.grantedTo(east1, moved) == 0, "grants nothing from what the old leader still had: a grant is a committed entry, and a deposed leader commits none")
		s.region(s.up(east1) == 0, "stays stopped")
	}},
	{id: "G2", part: leases, fault: "A granted lease arrives two minutes after it was asked for", play: func(s *stage) {
		release := s.parkAnswers(east1)
		at := time.Now()
		s.region(s.when(2*time.Minute, func() bool { return s.up(east1) == 0 }), "its workers stop when the lease that they hold ends: it counts from when its request was sent")
		sleep(time.Until(at.Add(2 * time.Minute)))
		s.cut(east1) // nothing newer arrives
		late := time.Now()
		release()
		still := s.throughout(time.Minute, func() bool { return s.up(east1) == 0 })
		s.region(still && s.first(oracle.WorkerUp, east1, late).IsZero(), "stays stopped, and starts no worker even for a moment: the late answer grants a time that is over")
	}},
	{id: "G2b", part: leases, fault: "A granted lease arrives fifty seconds after it was asked for, and then nothing more", play: func(s *stage) {
		s.world.set(func() { s.world.stubborn = true })
		at := time.Now()
		release := s.park(&park{region: east1, grants: true})
		sleep(50 * time.Second)
		s.cut(east1)
		sleep(time.Second)
		release()
		s.region(s.throughout(3*time.Second, func() bool { return s.up(east1) == fleetSize }), "works on: what is left of that lease is worth something")
		end := s.newestGrant(east1).Add(time.Duration(float64(s.settings.Policy.Lease.Length) / slowestRate))
		s.region(s.newestGrant(east1).After(at) && s.when(3*time.Minute, func() bool { return s.up(east1) == 0 }) && time.Now().Before(end), "has stopped when it ends, counted from when it was asked for, although the workers ignore SIGTERM")
	}},
	{id: "G3", part: leases, fault: "A region goes dark while its workers' leases run", play: func(s *stage) {
		s.cut(east1)
		s.when(5*time.Minute, func() bool { return s.state().Epoch == 2 })
		opened, frozen := s.eventAt("open-incident", ""), s.eventAt("freeze-lease", "lease frozen provisionally")
		s.daemon(!frozen.IsZero() && frozen.Before(opened), "freezes the lease provisionally while the hold still runs, as long as no agent is heard")
		s.daemon(s.eventAt("advance-epoch", "").Sub(opened) < 10*time.Second, "has waited out every lease when the hold is over, and goes on within 10 s")
		s.daemon(s.eventAt("advance-epoch", "").Sub(frozen) >= s.state().FreezeWait(east1), "waits `lease × (1+ρ)/(1−ρ) + margin + effect tail` from the freeze")
		down := s.last(oracle.WorkerDown, east1)
		s.region(!down.IsZero() && s.up(east1) == 0 && down.Before(s.eventAt("advance-epoch", "")), "has stopped by itself before that")
	}},
	{id: "G3b", part: leases, fault: "The leader changes while the lease is waited out", play: func(s *stage) {
		s.cut(east1)
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover}) // who asks waits for no hold
		s.when(time.Minute, func() bool { return s.state().Freeze != nil && !s.state().Freeze.Provisional })
		sleep(60 * time.Second)
		s.crash(s.leader())
		changed := time.Now()
		sleep(time.Second)
		for _, n := range []string{"use2a", "use2b", "third"} {
			s.start(s.ctx, s.hosts[n])
		}
		s.when(10*time.Minute, func() bool { return s.state().Epoch == 2 })
		s.daemon(s.eventAt("advance-epoch", "").Sub(changed) >= s.state().FreezeWait(east1), "waits anew: a leader counts only what it has seen in its own term")
		s.region(s.up(east1) == 0, "has stopped long since")
	}},
	{id: "G4", part: leases, fault: "The lease is made shorter by `config apply`, one agent is started anew with it, and another still holds the longer one", play: func(s *stage) {
		shorter := s.settings
		shorter.Policy.Lease.Length = dur(50 * time.Second)
		s.apply(shorter)
		s.daemon(s.when(20*time.Second, func() bool { return s.state().Settings.Policy.Lease.Length.D() == 50*time.Second }), "puts the configuration in force once every node has acknowledged it")
		s.world.set(func() { s.world.terms = shorter.Policy.Lease })
		s.world.mu.Lock()
		one := s.world.fleet[east1][0]
		s.world.mu.Unlock()
		s.world.restart(east1, one)
		s.when(time.Minute, func() bool { return s.up(east1) == fleetSize })
		sleep(20 * time.Second)
		at := time.Now()
		s.cut(east1)
		s.when(5*time.Minute, func() bool { return s.event("advance-epoch", "") })
		wait := s.eventAt("advance-epoch", "").Sub(s.eventAt("freeze-lease", "provisionally"))
		s.daemon(wait >= 75*time.Second && s.state().Settings.Policy.Lease.Length.D() == 50*time.Second, "waits for the longest lease that any agent may hold, whatever the configuration says now")
		s.region(s.up(east1) == 0 && s.died(east1, at) == fleetSize, "has stopped")
	}},
	{id: "G4b", part: leases, fault: "An agent is configured to keep its workers, and the cluster counts on agents that stop", play: func(s *stage) {
		s.world.set(func() { s.world.keeps = true })
		s.world.restartAgents(east1)
		s.when(time.Minute, func() bool { return s.up(east1) == fleetSize })
		sleep(20 * time.Second)
		s.cut(east1)
		s.daemon(s.when(8*time.Minute, func() bool { e := s.state().Execution; return e != nil && e.Question != nil }) && s.state().Epoch == 1, "takes the weakest mode that any agent has: the end of its lease proves nothing, and it asks")
		s.daemon(s.throughout(10*time.Minute, func() bool { return s.up(east2) == 0 && s.world.trafficNow() == east1 }), "starts nothing critical meanwhile")
		s.person(s.event("ask", "It could not be proven that workers has stopped") && s.event("ask", "The last possible moment of work – workers: its leases end at 00:0") && s.event("ask", "failoverd attest workers"), "what could not be proven, the last possible moment of work, and the commands that answer")
	}},
	{id: "G5", part: leases, fault: "Agents stand still, and their workers ignore SIGTERM", play: func(s *stage) {
		release := s.world.stick(east1)
		s.world.set(func() { s.world.stubborn = true })
		at := time.Now()
		s.region(s.when(75*time.Second, func() bool { return s.up(east1) == 0 }), "the guard beside each worker kills it before its lease ends, whatever has become of the agent")
		s.daemon(time.Since(at) > 45*time.Second && s.state().Incident == nil, "does nothing about a region that answers")
		s.world.set(func() { s.world.stubborn = false })
		release()
		s.region(s.when(time.Minute, func() bool { return s.up(east1) == fleetSize }), "works again when its agents do")
	}},
	{id: "G5d", part: leases, fault: "Workers are systemd units; while they are being stopped, agents and guards stand still, and the workers ignore SIGTERM", tune: func(p *failover.Settings) {
		p.Policy.Lease.Stop.Watchdog = dur(4 * time.Second)
	}, play: func(s *stage) {
		s.world.set(func() { s.world.units, s.world.stubborn, s.world.slowest = true, true, true })
		s.world.restartAgents(east1)
		s.when(time.Minute, func() bool { return s.up(east1) == fleetSize })
		sleep(20 * time.Second)
		s.cut(east1)
		sleep(5 * time.Second) // what was granted last has arrived
		granted, terms := s.newestGrant(east1), s.settings.Policy.Lease
		after := func(agents time.Duration) time.Time { return granted.Add(time.Duration(float64(agents) / slowestRate)) }
		kill := terms.Length.D() - terms.Stop.Total() + terms.Stop.Grace.D() // when an agent that does not stand still kills
		sleep(time.Until(after(kill)) - 500*time.Millisecond)
		working := s.up(east1)
		release := s.world.stick(east1)
		s.region(working > 0 && s.when(time.Minute, func() bool { return s.up(east1) == 0 }) && time.Now().Before(after(terms.Length.D())),
			"has stopped before the lease ends: an agent that has to stop its worker feeds its watchdog no more, and systemd ends the unit with it")
		release()
	}},
	{id: "G5b", part: leases, fault: "An agent is killed in mid-lease and started again", play: func(s *stage) {
		at := time.Now()
		before := s.holders(east1, time.Time{})
		s.world.restartAgents(east1)
		again := s.when(30*time.Second, func() bool { return s.died(east1, at) == fleetSize && s.up(east1) == fleetSize })
		sleep(10 * time.Second)
		fresh := s.holders(east1, s.last(oracle.WorkerDown, east1).Add(time.Second))
		s.region(again && len(fresh) == fleetSize && !slices.ContainsFunc(fresh, func(id failover.AgentID) bool { return slices.Contains(before, id) }), "its workers die with it, and work again under leases of the new agents' own names")
		s.daemon(s.throughout(2*time.Minute, func() bool { return s.state().Incident == nil && s.wanted(east1) == fleetSize }), "moves nothing")
		s.cut(east1)
		s.daemon(s.when(6*time.Minute, func() bool { return s.ended() == failover.ExecStable }), "fails over all the same if the region goes dark then")
	}},
	{id: "G5c", part: leases, fault: "Clocks run as slowly as the protocol allows", play: func(s *stage) {
		s.world.set(func() { s.world.slowest = true })
		s.world.restartAgents(east1)
		s.when(time.Minute, func() bool { return s.up(east1) == fleetSize })
		sleep(20 * time.Second)
		s.cut(east1)
		s.daemon(s.when(6*time.Minute, func() bool { return s.ended() == failover.ExecStable }), "fails over: the wait contains the error of both clocks")
		down, up := s.last(oracle.WorkerDown, east1), s.first(oracle.WorkerUp, east2, time.Time{})
		s.region(!down.IsZero() && down.Before(up), "has stopped before anything starts elsewhere")
	}},
	{id: "G7", part: leases, fault: "A lease that was granted before a confirmed stop arrives after it", tune: reportsAlone, play: func(s *stage) {
		// Nothing but what it says proves that it has stopped.
		late := &park{region: east1, grants: true}
		release := s.park(late)
		s.when(20*time.Second, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return late.held > 0 }) // granted, and on its way
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		said := s.when(time.Minute, s.reported)
		at := time.Now()
		release()
		s.daemon(said && s.when(time.Minute, func() bool { return s.state().Epoch == 2 }), "goes on within a minute: every agent has said that its workers are dead")
		s.region(s.throughout(2*time.Minute, func() bool { return s.up(east1) == 0 }) && s.first(oracle.WorkerUp, east1, at).IsZero(), "stays stopped: an agent that has said so has forgotten all that it asked before")
	}},
	{id: "G7b", part: leases, fault: "An execution is aborted, and begun again under another freeze", play: func(s *stage) {
		s.cut(east1)
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.when(time.Minute, func() bool { return s.state().Freeze != nil })
		sleep(60 * time.Second)
		s.order("uid 2", failover.Abort{Execution: s.state().Execution.ID, Undo: true})
		asks := func() *failover.Question {
			if e := s.state().Execution; e != nil {
				return e.Question
			}
			return nil
		}
		s.when(time.Minute, func() bool { return asks() != nil })
		q := asks()
		s.person(q != nil && strings.Contains(q.Text, "Put it back by hand: it is looked at every 30s") && strings.Contains(q.Text, "Until then no lease is granted there"),
			"that a stop was asked for before the region could be read: what to put back is not known, and the execution waits for a word about it")
		if q != nil {
			s.order("uid 2", failover.Skip{Execution: s.state().Execution.ID, Step: q.Step})
		}
		s.when(3*time.Minute, func() bool { return s.state().Execution == nil })
		s.daemon(s.event("finish-execution", "lifted: execution"), "lifts the freeze with the execution, and its evidence is void")
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.when(5*time.Minute, func() bool { return s.event("advance-epoch", "epoch 2") })
		// The newest freeze, which may have been a provisional one before.
		s.daemon(s.eventAt("advance-epoch", "epoch 2").Sub(s.eventAt("freeze-lease", "lease frozen")) >= s.state().FreezeWait(east1)-time.Second, "waits the whole time for the second freeze")
		s.region(s.up(east1) == 0, "has stopped")
	}},
	{id: "G7d", part: leases, fault: "Every agent has reported when an execution is aborted; it is begun again when none can be heard", tune: reportsAlone, play: func(s *stage) {
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.when(time.Minute, s.reported)
		if e := s.state().Execution; e != nil {
			s.order("uid 2", failover.Abort{Execution: e.ID, Undo: true})
		}
		s.daemon(s.when(time.Minute, func() bool { return s.state().Execution == nil && s.state().Freeze == nil }) && s.state().Epoch == 1, "lifts the freeze with the execution, and grants leases again")
		s.region(s.when(time.Minute, func() bool { return s.up(east1) == fleetSize }), "works again")
		sleep(20 * time.Second)
		s.cut(east1)
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.when(5*time.Minute, func() bool { return s.event("advance-epoch", "epoch 2") })
		s.daemon(s.eventAt("advance-epoch", "epoch 2").Sub(s.eventAt("freeze-lease", "lease frozen")) >= s.state().FreezeWait(east1)-time.Second, "waits the whole time for the second freeze: what an agent said for the first one counts for no other")
		s.region(s.up(east1) == 0, "has stopped when the other one begins")
	}},
	{id: "G7e", part: leases, fault: "One agent of a region gets no answer any more, and the others report that their workers are dead", tune: reportsAlone, play: func(s *stage) {
		s.world.mu.Lock()
		one := s.world.fleet[east1][0]
		s.world.mu.Unlock()
		release := s.park(&park{region: east1, agent: failover.AgentID(one.id)})
		at := time.Now()
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.region(s.when(30*time.Second, func() bool { return s.up(east1) == 1 }), "all but that one have stopped within 30 s")
		s.daemon(s.throughout(25*time.Second, func() bool { return s.state().Epoch == 1 }), "does not take the word of some for all")
		s.daemon(s.when(3*time.Minute, func() bool { return s.state().Epoch == 2 }) && time.Since(at) >= s.state().FreezeWait(east1), "goes on when the lease of that one is waited out")
		s.region(!one.worker.Running(), "the last one has stopped by itself")
		release()
	}},
	{id: "G7c", part: leases, fault: "A person attests that a region has stopped while one of its agents still asks", tune: func(p *failover.Settings) {
		p.Components[0].Stop.Proof = []failover.EvidenceClass{failover.Attested}
	}, play: func(s *stage) {
		release := s.world.stick(east1) // the stop is not reported
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.when(time.Minute, func() bool {
			e := s.state().Execution
			return e != nil && s.state().Freeze != nil && !s.state().Freeze.Provisional
		})
		e := s.state().Execution
		s.daemon(s.refused("uid 3", failover.Attest{Execution: e.ID, Component: "workers", Epoch: e.Epoch}, "agent-alive"), "refuses the word of a person against that of an agent")
		s.daemon(s.refused("uid 3", failover.Attest{Execution: e.ID, Component: "workers", Epoch: e.Epoch + 1}, "epoch"), "refuses an attestation for another epoch")
		_, err := s.press(s.ctx, "uid 3", failover.Attest{Execution: e.ID, Component: "workers", Epoch: e.Epoch})
		s.person(err != nil && strings.Contains(err.Error(), "worker-us-east-1-") && strings.Contains(err.Error(), " ago") && strings.Contains(err.Error(), "its workers may be running; stop it, or wait for its report"), "which agent asked, how long ago, and what to do about it")
		release()
	}},
	{id: "G8", part: leases, fault: "A failover that began by itself cannot prove that the region stands still, and the region is well again", tune: func(p *failover.Settings) {
		unprovable(p)
		p.Policy.TwoNodes = true // the leader needs no second node
	}, play: func(s *stage) {
		s.dark(east1, true)
		s.when(8*time.Minute, s.asksForEvidence)
		s.dark(east1, false)
		back := time.Now()
		s.daemon(s.throughout(s.settings.Policy.Hold.D(), func() bool { return s.state().Execution != nil }), "goes on asking until the region has been seen healthy for a whole hold")
		s.daemon(s.when(3*time.Minute, func() bool { return s.ended() == failover.ExecUndone }) && s.state().Epoch == 1 && s.state().Incident == nil && !s.event("close-incident", ""), "then withdraws it by itself, undoes what was done, and closes the incident: the question is over with it")
		s.region(s.when(time.Minute, func() bool { return s.up(east1) == fleetSize }) && time.Since(back) < 5*time.Minute, "works again, with as many workers as before, within five minutes")
		s.person(s.event("abort", "undo: true") && s.why("abort", "healthy again for a whole hold"), "that it was withdrawn, and why")
		s.daemon(s.throughout(10*time.Minute, func() bool { return s.state().Execution == nil && s.state().Freeze == nil && s.up(east1) == fleetSize }), "leaves it at that")
	}},
	{id: "G8b", part: leases, fault: "The same, and the missing proof comes when the region has long been well", tune: func(p *failover.Settings) {
		p.Components[0].Stop.Proof = []failover.EvidenceClass{failover.Confirmed}
	}, play: func(s *stage) {
		release := s.world.stick(east1) // the stop is not reported
		s.cut(east1)
		s.when(8*time.Minute, func() bool { return s.state().Execution != nil })
		sleep(2 * time.Minute)
		s.mend()
		s.when(3*time.Minute, func() bool { e := s.state().Execution; return e == nil || e.State == failover.ExecAborting })
		release()
		s.daemon(s.throughout(20*time.Minute, func() bool { return s.state().Epoch == 1 && s.state().Active == east1 }), "moves nothing that is well: the failover was withdrawn after a whole hold")
		s.daemon(s.ended() == failover.ExecUndone && s.event("step-finished", "there is nothing to put back: no trace of the stop is seen"), "looks at the region again, into which a stop was sent before it could be read, and finds that none has landed")
		s.region(s.state().Freeze == nil && s.up(east1) == fleetSize, "gets leases again, and works with as many workers as before; nobody had to say anything")
	}},
	{id: "G8d", part: leases, fault: "A stop is lost on its way into a region that cannot be read; it is sent again, and lands, when the region can be read, which is well soon after", tune: func(p *failover.Settings) {
		p.Components[0].Stop.Proof = []failover.EvidenceClass{failover.Confirmed}
	}, play: func(s *stage) {
		release := s.world.stick(east1) // the stop is not reported
		s.dark(east1, true)
		s.world.set(func() { s.world.sights.mute[east1], s.world.sights.lost[east1] = true, true })
		step := func() failover.StepRecord {
			if e := s.state().Execution; e != nil {
				return e.Step("stop-workers")
			}
			return failover.StepRecord{}
		}
		s.when(8*time.Minute, func() bool { return step().Blind() })
		s.world.set(func() { s.world.sights.mute[east1] = false })
		s.daemon(s.when(time.Minute, func() bool { return step().First() != nil }), "sends the stop again when it can read the region, with what runs there in the log before")
		s.world.set(func() { s.world.sights.lost[east1] = false })
		s.when(time.Minute, func() bool { return s.wanted(east1) == 0 })
		s.dark(east1, false)
		s.when(5*time.Minute, func() bool { e := s.state().Execution; return e == nil || e.State == failover.ExecAborting })
		release()
		s.daemon(s.when(10*time.Minute, func() bool { return s.ended() == failover.ExecUndone }) && s.event("step-finished", "step stop-workers undone: put back"), "puts that back when the failover is withdrawn")
		s.region(s.when(2*time.Minute, func() bool { return s.up(east1) == fleetSize }), "works again with as many workers as before; nobody had to say anything")
	}},
	{id: "G8e", part: leases, fault: "A stop is sent into a region that answers no question, and lands; the failover is taken back when the region can be read", play: func(s *stage) {
		s.world.set(func() { s.world.sights.mute[east1] = true })
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.when(time.Minute, func() bool { return s.wanted(east1) == 0 })
		s.order("uid 2", failover.Abort{Execution: s.state().Execution.ID, Undo: true})
		s.world.set(func() { s.world.sights.mute[east1] = false })
		s.daemon(s.when(15*time.Minute, func() bool { return s.question("Put it back by hand") != nil }) && s.wanted(east1) == 0, "guesses nothing: what ran there before the stop, nobody has read")
		s.daemon(s.throughout(10*time.Minute, func() bool { return s.question("Put it back by hand") != nil && s.wanted(east1) == 0 }), "waits, and looks again every 30 s")
		s.person(s.question("it is looked at every 30s, and the execution goes on by itself when no trace of the stop is seen any more") != nil, "what to put back, and that nothing needs to be said when that is done")
		s.world.set(func() { s.world.desired[east1] = fleetSize })
		s.daemon(s.when(time.Minute, func() bool { return s.ended() == failover.ExecUndone }) && s.state().Epoch == 1, "goes on when it sees that somebody has put it back")
		s.region(s.when(time.Minute, func() bool { return s.up(east1) == fleetSize }), "works again")
	}},
	{id: "G8c", part: leases, fault: "A failover that a person has asked for cannot prove that the region stands still, and the region is well", tune: unprovable, play: func(s *stage) {
		s.dark(east1, true)
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.when(8*time.Minute, s.asksForEvidence)
		s.dark(east1, false)
		s.daemon(s.throughout(20*time.Minute, s.asksForEvidence) && s.state().Epoch == 1, "goes on asking: what a person has begun, a person ends")
		s.person(strings.HasPrefix(s.state().Back(), "us-east-1 is not seen failing any more") && strings.Contains(s.state().Back(), "failoverd abort"), "with the question, that the region is not seen failing any more, and how to take back what was done")
		s.order("uid 2", failover.Abort{Execution: s.state().Execution.ID, Undo: true})
		s.region(s.when(3*time.Minute, func() bool { return s.ended() == failover.ExecUndone && s.up(east1) == fleetSize }), "works again when that was done")
	}},
	{id: "T4", part: leases, fault: "Every node is set back to a backup from before a failover, and the agents of the region that was left start anew", tune: reportsAlone, play: func(s *stage) {
		s.world.set(func() { s.world.epochs = s.t.TempDir() })
		s.world.restartAgents(east1)
		s.when(time.Minute, func() bool { return s.up(east1) == fleetSize })
		sleep(20 * time.Second)
		copies, err := s.backups()
		if err != nil {
			s.t.Fatal(err)
		}
		s.order("uid 2", failover.RequestExecution{Kind: failover.Failover})
		s.when(5*time.Minute, func() bool { return s.ended() == failover.ExecStable })
		sleep(20 * time.Second) // every agent has heard of it
		s.restore(copies)
		s.world.restartAgents(east1)
		at := time.Now()
		for name := range copies {
			s.start(s.ctx, s.hosts[name])
		}
		quiet := s.throughout(5*time.Minute, func() bool { return s.up(east1) == 0 })
		s.daemon(s.state().Epoch == 1 && s.state().Active == east1 && s.grantedTo(east1, at) == 0, "grants no lease to an agent that has seen a later epoch than its log knows of")
		s.region(quiet && s.first(oracle.WorkerUp, east1, at).IsZero(), "starts nothing: its agents keep the highest epoch that they have seen on their disks")
		s.daemon(s.up(east2) == 0, "renews no lease in the other region either: rather than that two regions work, none does, until people say which one is active")
		s.person(s.event("round", "has seen epoch 2, the log stands at 1: no lease is granted to it"), "which agents have seen a later epoch, and that the log stands at an earlier one")
	}},
	{id: "all-certificates", part: leases, fault: "Every certificate expires at once: nobody can speak with anybody, `on_isolation = \"stop\"`", play: func(s *stage) {
		at := time.Now()
		s.silence(true)
		s.region(s.when(75*time.Second, func() bool { return s.died(east1, at) == fleetSize }), "stops within one lease, although it is well")
		sleep(3*time.Minute - time.Since(at))
		s.daemon(s.wanted(east2) == 0 && s.world.trafficNow() == east1, "moves nothing: there is no quorum")
		s.silence(false)
		s.region(s.when(time.Minute, func() bool { return s.up(east1) == fleetSize }), "works again as soon as they can speak")
	}},
	{id: "all-certificates-keep", part: leases, fault: "The same with `on_isolation = \"keep\"`", tune: func(p *failover.Settings) { p.Components[0].OnIsolation = "keep" }, play: func(s *stage) {
		at := time.Now()
		s.silence(true)
		s.region(s.throughout(10*time.Minute, func() bool { return s.died(east1, at) == 0 && s.up(east1) == fleetSize }), "goes on working, however long it takes")
		s.daemon(s.wanted(east2) == 0 && s.world.trafficNow() == east1, "moves nothing: there is no quorum")
		s.silence(false)
		s.daemon(s.throughout(3*time.Minute, func() bool { return s.state().Incident == nil && s.died(east1, at) == 0 }), "does not make up for it afterwards")
	}},
}

// unprovable are settings with which nothing but a person's word proves that the
// workers have stopped.
func unprovable(p *failover.Settings) {
	p.Components[0].Stop.Proof = []failover.EvidenceClass{failover.Attested}
}

func (s *stage) asksForEvidence() bool {
	e := s.state().Execution
	return e != nil && e.State == failover.ExecRunning && e.Question != nil && e.Question.Kind == "evidence"
}

// why reports whether the timeline has a line of the kind whose reason contains the
// text.
func (s *stage) why(kind, text string) bool {
	return slices.ContainsFunc(s.state().Events, func(ev failover.Event) bool { return ev.Kind == kind && strings.Contains(ev.Why, text) })
}

// reportsAlone leaves what agents say, and their leases, to prove that they have
// stopped: nobody is told to stop through a control plane.
func reportsAlone(p *failover.Settings) {
	p.Components[0].Stop = &failover.StopSpec{Proof: []failover.EvidenceClass{failover.Confirmed, failover.Lease}}
}

// reported says whether every agent of the region that is being left has
// reported for the freeze in force.
func (s *stage) reported() bool {
	st := s.state()
	if st.Freeze == nil || st.Freeze.Provisional {
		return false
	}
	for _, id := range st.AgentIDs(east1, "workers") {
		if st.Agents[id].StoppedFor != st.Freeze.ID {
			return false
		}
	}
	return true
}

// newestGrant is when the last lease was granted to an agent of a region.
func (s *stage) newestGrant(region string) (at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, g := range s.grants {
		if g.region == region {
			at = g.at
		}
	}
	return at
}

// asksLate lets a paused leader go on that has requests of agents of the region
// that was left in its socket buffer, from right before. What it finds first is chance:
// of the many requests some come before it hears of its successor. It reports
// whether none was granted.
func (s *stage) asksLate(old *host, resume func()) bool {
	granted := make(chan bool, 200)
	for range cap(granted) {
		s.world.wg.Go(func() {
			ctx, cancel := context.WithTimeout(s.ctx, 3*time.Second)
			defer cancel()
			id := consensus.NewID()
			ans, err := to(ctx, &peers{cluster: s.cluster, self: east1}, failover.NodeID(old.id), func(ctx context.Context, core *daemon.Core) (fence.Answer, error) {
				return core.TakeAsk(ctx, signed(fence.Ask{Request: id, Agent: failover.AgentID(id), Region: east1, Component: "workers", Lease: s.settings.Policy.Lease.Length, Enforced: true}), true)
			})
			granted <- err == nil && ans.Granted
		})
	}
	sleep(500 * time.Millisecond)
	resume()
	none := true
	for range cap(granted) {
		none = !<-granted && none
	}
	return none
}

// silence keeps every node, and every agent with it, from speaking with anybody.
func (s *stage) silence(on bool) {
	s.net.set(func() {
		for _, n := range s.names {
			s.net.isolated[n] = on
		}
	})
}

// apply proposes a configuration, and every node acknowledges it, as the daemon
// does that has read its text.
func (s *stage) apply(settings failover.Settings) {
	s.t.Helper()
	s.order("uid 1", failover.ProposeSettings{Settings: settings, Hash: "next", Source: "next"})
	for _, n := range s.names {
		core := s.hosts[n].live()
		if core == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(s.ctx, 5*time.Second)
		_, err := core.Propose(ctx, "node "+n, "", failover.AckSettings{Proposal: s.state().Proposal.ID, Hash: "next"})
		cancel()
		if err != nil {
			s.t.Errorf("%s does not acknowledge: %v", n, err)
		}
	}
}
