package actions

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// fence waits until every fenced component is proven to have stopped, then
// advances the epoch. Lease expiry, the agents' reports, the stops through the
// API and a person's word are all awaited at once (S1).
func (x *Executor) fence(ctx context.Context, e *failover.Execution, st failover.Step) {
	token, ok := x.begin(ctx, e, st)
	if !ok {
		return
	}
	for {
		changed := x.journal.Changed()
		s := x.journal.State()
		x.noteFreeze(s)
		cur := s.Execution
		switch {
		case cur == nil || cur.ID != e.ID:
			return
		case s.Epoch > e.Epoch:
			x.finish(ctx, e, st, token, failover.StepDone, fmt.Sprintf("epoch %d: %s is active", s.Epoch, s.Active))
			return
		case cur.State == failover.ExecAborting:
			x.finish(ctx, e, st, token, failover.StepFailed, "aborted before the epoch advanced: "+string(e.From)+" is still active")
			return
		case s.Freeze == nil || s.Freeze.Provisional:
			// Unreachable while the freeze step is done; never guess.
			x.say(st.ID, "the freeze is gone: waiting for a person")
		default:
			x.gather(ctx, s)
			if x.advance(ctx, st, token) {
				return
			}
		}
		wait := x.opts.Poll / 4
		if left := s.FreezeWait(e.From) - x.FreezeAge(s); s.Freeze != nil && left > 0 {
			wait = min(wait, left) // the moment at which the last lease is over is not slept through
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-changed:
		case <-x.ended:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// gather records the evidence that has become true.
func (x *Executor) gather(ctx context.Context, s *failover.State) {
	e := s.Execution
	waited, need := x.FreezeAge(s), s.FreezeWait(e.From)
	var lines []string
	for _, f := range e.Plan.Fenced {
		if e.AcceptedEvidence(f, s.Freeze.ID) != nil {
			continue
		}
		said := f.Agent && s.AgentsProve(e.From, f.Component) == nil
		if !said && x.reportedFor == s.Freeze.ID {
			delete(x.reported, f.Component) // what is said again later has a tail of its own
		}
		if said && x.tailOver(s, f.Component) && (failover.StopSpec{Proof: f.Proof}).Accepts(failover.Confirmed) && x.again("agents "+string(f.Component)) {
			x.confirm(ctx, e, f.Component, failover.Confirmed, failover.AgentsSource,
				fmt.Sprintf("its %d agents report their workers dead", len(s.AgentIDs(e.From, f.Component))))
			if x.proven(e.ID, f) {
				continue
			}
		}
		switch {
		case !f.LeaseProves():
			lines = append(lines, string(f.Component)+": "+missing(e, f))
		case waited >= need && !x.again("lease "+string(f.Component)):
			lines = append(lines, string(f.Component)+": "+missing(e, f))
		case waited >= need:
			x.propose(ctx, failover.RecordEvidence{
				Execution: e.ID, Component: f.Component, Class: failover.Lease, Epoch: e.Epoch, Freeze: s.Freeze.ID,
				Waited: failover.Duration(waited),
				Detail: fmt.Sprintf("no lease can be valid any more: %s since the freeze was applied, %s needed", waited.Round(time.Millisecond), need.Round(time.Millisecond)),
			}, "")
		default:
			lines = append(lines, fmt.Sprintf("%s: lease ends in %s", f.Component, (need-waited).Round(100*time.Millisecond)))
		}
	}
	x.say("fence", strings.Join(lines, "; "))
	// Leases from a pause may end in hours: nobody is left without a question for so long.
	x.askForProof(ctx, waited >= min(need, s.Settings.Policy.Lease.Wait(0)))
}

// again reports whether something may be proposed that was not in the last while. What the log refuses is an entry as well: as
// fast as the log changes it would be proposed as fast as the log can write.
func (x *Executor) again(what string) bool {
	if time.Since(x.tried[what]) < x.opts.Poll {
		return false
	}
	if x.tried == nil {
		x.tried = map[string]time.Time{}
	}
	x.tried[what] = time.Now()
	return true
}

// tailOver reports whether the last effects of a component's killed workers have
// had their time to land since this leader saw its agents' reports: the newest of
// them, when one was taken back and given again.
func (x *Executor) tailOver(s *failover.State, c failover.Component) bool {
	if x.reported == nil || x.reportedFor != s.Freeze.ID {
		x.reported, x.reportedFor = map[failover.Component]reported{}, s.Freeze.ID
	}
	newest := uint64(0)
	for _, id := range s.AgentIDs(s.Freeze.Region, c) {
		newest = max(newest, s.Agents[id].Reported)
	}
	r, seen := x.reported[c]
	if !seen || r.index != newest {
		r = reported{index: newest, at: time.Now()}
		x.reported[c] = r
	}
	return time.Since(r.at) >= s.Settings.Policy.Lease.EffectTail.D()
}

// proven reports whether a component has accepted evidence by now.
func (x *Executor) proven(exec uint64, f failover.FencedComponent) bool {
	s := x.journal.State()
	e := s.Open(exec)
	return e != nil && s.Freeze != nil && e.AcceptedEvidence(f, s.Freeze.ID) != nil
}

// stops are the stop steps of a component: all levels at which it is stopped.
func stops(e *failover.Execution, c failover.Component) []failover.Step {
	var out []failover.Step
	for _, st := range e.Plan.Steps {
		if st.Kind == failover.KindStop && st.Component == c {
			out = append(out, st)
		}
	}
	return out
}

// trying reports whether any level of a component's stop is still being tried.
func trying(e *failover.Execution, c failover.Component) bool {
	return slices.ContainsFunc(stops(e, c), func(st failover.Step) bool {
		rec := e.Step(st.ID)
		return !rec.Passed() && rec.State != failover.StepFailed
	})
}

func missing(e *failover.Execution, f failover.FencedComponent) string {
	if !trying(e, f.Component) {
		return "could not be proven to have stopped"
	}
	return "waiting to see it stopped"
}

// lastWork says until when a component may still work, for the person who is
// asked: known where leases bound it, and a guess nowhere.
func (x *Executor) lastWork(s *failover.State, f failover.FencedComponent) string {
	switch {
	case f.LeaseProves():
		left := s.FreezeWait(s.Execution.From) - x.FreezeAge(s)
		return fmt.Sprintf("its leases end at %s at the latest", time.Now().Add(left).UTC().Format(time.TimeOnly)+"Z")
	case f.LongestWork > 0:
		return fmt.Sprintf("a piece of work that it has begun may go on for %s", f.LongestWork)
	}
	return "nothing bounds how long it may still work"
}

// askForProof asks a person once nothing else can prove a component stopped.
func (x *Executor) askForProof(ctx context.Context, leasesOver bool) {
	s := x.journal.State() // with the evidence that was just recorded
	e := s.Execution
	if e == nil || s.Freeze == nil || e.Question != nil || !leasesOver {
		return
	}
	var stuck, last []string
	ways := []string{}
	for _, f := range e.Unproven(s.Freeze.ID) {
		if trying(e, f.Component) {
			continue
		}
		stuck = append(stuck, string(f.Component))
		last = append(last, fmt.Sprintf("%s: %s", f.Component, x.lastWork(s, f)))
		ways = append(ways, fmt.Sprintf("failoverd attest %s --why …", f.Component))
	}
	if len(stuck) == 0 {
		return
	}
	x.ask(ctx, e.ID, "evidence", "fence",
		fmt.Sprintf("It could not be proven that %s has stopped in %s. Nothing starts in %s before it is. The last possible moment of work – %s. If you know that it has stopped, attest it.",
			strings.Join(stuck, ", "), e.From, e.To, strings.Join(last, "; ")),
		append(ways, "failoverd abort")...)
}

// confirm records that a component was seen stopped.
func (x *Executor) confirm(ctx context.Context, e *failover.Execution, c failover.Component, class failover.EvidenceClass, source, detail string) {
	s := x.journal.State()
	if s.Freeze == nil || s.Freeze.Provisional {
		return
	}
	x.propose(ctx, failover.RecordEvidence{
		Execution: e.ID, Component: c, Class: class, Epoch: e.Epoch, Freeze: s.Freeze.ID, Source: source, Detail: detail,
	}, "")
}

// advance takes the step from proof to the new epoch. It returns true when it
// has, and false when something is still missing.
func (x *Executor) advance(ctx context.Context, st failover.Step, token uint64) bool {
	s := x.journal.State()
	e := s.Execution
	if e == nil || e.State != failover.ExecRunning || s.Freeze == nil || len(e.Unproven(s.Freeze.ID)) > 0 {
		return false
	}
	// Stops that are still trying are no longer needed; they are resolved before
	// the epoch advances (rule E4).
	if x.cancelStops(e) {
		return false
	}
	if !x.stillStopped(ctx, s) {
		return false
	}
	if why := s.StopsUnderWay(e.To, "", time.Now()); why != "" {
		x.say("fence", why) // it ages out by itself
		return false
	}
	if x.askForLate(ctx) || !x.again("epoch") {
		return false
	}
	_, ok := x.propose(ctx, failover.AdvanceEpoch{Execution: e.ID, Epoch: s.Epoch + 1, Region: e.To, Freeze: s.Freeze.ID}, "")
	if !ok {
		return false
	}
	x.finish(ctx, e, st, token, failover.StepDone, fmt.Sprintf("epoch %d: %s is active, %s is fenced", e.Epoch+1, e.To, e.From))
	return true
}

// askForLate asks what to do about a write that may still land, and reports whether the epoch waits for it. It is looked for and replaced
// beside this (Keeper.settle), and the question ends with it.
func (x *Executor) askForLate(ctx context.Context) bool {
	s := x.journal.State() // now: what was looked at before this took its time
	if s.Execution == nil {
		return true
	}
	why := s.LateWrites()
	if why == "" || slices.Contains(s.Execution.Overrides, failover.GuardLate) {
		return false
	}
	x.say("fence", why)
	if s.Execution.MayAsk(failover.LateWrite) {
		x.ask(ctx, s.Execution.ID, failover.LateWrite, "fence", fmt.Sprintf("All that is critical has stopped in %s, and the epoch waits: %s. The failover goes on by itself when that has been seen.", s.Execution.From, why),
			"failoverd release "+failover.LateWrite+" --why …", "failoverd abort --undo")
	}
	return true
}

// cancelStops ends the stops that still try, and reports whether any is still
// unresolved.
func (x *Executor) cancelStops(e *failover.Execution) bool {
	open := false
	for _, st := range e.Plan.Steps {
		if st.Kind != failover.KindStop {
			continue
		}
		x.mu.Lock()
		cancel := x.inflight[st.ID]
		x.mu.Unlock()
		if cancel != nil {
			cancel()
			open = true
			continue
		}
		if e.Step(st.ID).State == failover.StepRunning {
			open = true // the next look finds it resolved
		}
	}
	return open
}

// unreadPatience is for how many time-outs of a call what was confirmed may be unreadable
// before that counts no more: nobody but a person proves it anew, for its stop is done.
const unreadPatience = 3

// look inspects a step's effect once. A node that cannot build the action, as without a file that it names, cannot look either.
func (x *Executor) look(ctx context.Context, st failover.Step) (Effect, error) {
	action, err := x.world.Action(st)
	if err != nil {
		return Effect{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, x.opts.CallTimeout)
	defer cancel()
	return action.Inspect(ctx)
}

// stillStopped looks again at what was confirmed through an API (rule G7).
func (x *Executor) stillStopped(ctx context.Context, s *failover.State) bool {
	e := s.Execution
	for _, f := range e.Plan.Fenced {
		ev := e.AcceptedEvidence(f, s.Freeze.ID)
		if ev == nil || ev.Class != failover.Confirmed && ev.Class != failover.Resource {
			continue
		}
		st := e.Plan.Step(failover.StepID(ev.Source))
		if st == nil {
			continue // the agents' reports: Apply takes them back when one is heard
		}
		eff, err := x.look(ctx, *st)
		key := fmt.Sprintf("%d %s", s.Freeze.ID, st.ID)
		if err == nil && eff.State == Present {
			delete(x.unread, key)
			continue
		}
		if ctx.Err() != nil {
			return false
		}
		if err != nil || eff.State == Unknown {
			since, again := x.unread[key]
			if !again {
				since = time.Now()
				x.unread[key] = since
			}
			if time.Since(since) < unreadPatience*x.opts.CallTimeout {
				x.say("fence", string(f.Component)+": cannot be seen again right now")
				x.sleep(ctx, x.opts.Poll)
				return false
			}
		}
		delete(x.unread, key)
		reason := "it could not be seen again right before the epoch advanced"
		switch {
		case err != nil:
			reason += ": " + err.Error()
		case eff.State == Unknown:
			reason += ": " + eff.Detail
		default:
			reason = "seen running again: " + eff.Detail
		}
		x.propose(ctx, failover.VoidEvidence{Execution: e.ID, Component: f.Component, Class: ev.Class, Source: ev.Source, Reason: reason}, "")
		return false
	}
	return true
}
