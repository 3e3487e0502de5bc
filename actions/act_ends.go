package actions

import (
	"context"
	"fmt"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// This file holds how a step that is being carried out ends.

// unread begins a start whose resource cannot be read, in the log and nowhere else: what runs under a lease may be there already, and waits for no more
// than the start's turn (State.early). A control plane that is down keeps nobody from working.
func (r *run) unread(ctx context.Context, s *failover.State) {
	if c := s.Settings.Component(r.st.Component); r.token != 0 || r.st.Kind != failover.KindStart || r.e.Kind == failover.Preparation || c == nil || !c.Agent {
		return
	}
	if token, ok := r.x.begin(ctx, r.e, r.st); ok {
		r.token = token
	}
}

// done finishes the step. A stop that was seen to have taken effect is evidence;
// a switch is the flip (rule T1).
func (r *run) done(ctx context.Context, detail string, already bool) {
	if r.st.Kind == failover.KindSwitch {
		if err := r.x.flip(ctx, r.e); err != nil {
			r.x.log.Info("the flip was not committed", "step", r.st.ID, "why", err.Error())
			return
		}
	}
	if r.st.Kind == failover.KindStop {
		// The fence, woken by this evidence, cancels stops that still try: this
		// one does not, and the epoch waits for it to be resolved.
		if !r.tail(ctx) {
			return
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), r.x.opts.CallTimeout)
		defer cancel()
		r.x.confirm(ctx, r.e, r.st.Component, r.st.Evidence(), string(r.st.ID), r.st.Action+": "+detail)
	}
	r.x.finishAs(ctx, failover.StepFinished{
		Execution: r.e.ID, Step: r.st.ID, Token: r.token, Outcome: failover.StepDone, Detail: detail, Already: already, Stands: r.last.stands(),
	})
}

// tail waits until the last effects of what was stopped have had their time to
// land, and looks again. False: the step is no longer ours to finish.
func (r *run) tail(ctx context.Context) bool {
	s := r.x.journal.State()
	if s.Settings == nil || s.Epoch > r.e.Epoch {
		return true
	}
	if d := s.Settings.Policy.Lease.EffectTail.D(); d > 0 {
		r.x.say(r.st.ID, r.last.Detail+"; effects that were under way may still land for "+d.String())
		if !r.x.sleep(ctx, d) {
			r.cancelled()
			return false
		}
	}
	return true
}

// timedOut ends a step whose effect did not show in its time.
func (r *run) timedOut(ctx context.Context) {
	detail := fmt.Sprintf("not seen to take effect within %s; last seen: %s", r.st.Timeout, r.last.Detail)
	if r.spent(r.record()) && time.Now().Before(r.deadline) {
		detail = fmt.Sprintf("not seen to take effect after %d retries; last seen: %s", r.st.Retries, r.last.Detail)
	}
	if r.lastErr != nil {
		detail += "; last error: " + r.lastErr.Error()
	}
	if r.token == 0 {
		// Nothing was begun. The step is begun and failed, so that a person is
		// asked.
		token, ok := r.x.begin(ctx, r.e, r.st)
		if !ok {
			return
		}
		r.token = token
	}
	if r.st.Kind == failover.KindStop {
		// A stop that cannot be seen is no failure of the plan: other evidence
		// decides, and the fence asks if there is none.
		r.x.finish(ctx, r.e, r.st, r.token, failover.StepUnproven, detail)
		return
	}
	r.x.fail(ctx, r.e, r.st, r.token, detail)
}

// cancelled is called when the step's context has ended: either the tenure is
// over, and the next leader goes on, or the fence no longer needs this stop, or
// the service is stable without this switch.
func (r *run) cancelled() {
	// The log knows the attempt, also one whose commit was reported to nobody.
	rec := r.record()
	if rec.State != failover.StepRunning {
		return
	}
	why := "not seen to take effect; other evidence proves the stop; last seen: "
	switch e := r.x.open(r.e.ID); {
	case r.st.Kind == failover.KindStop:
	case r.st.Kind == failover.KindSwitch && e != nil && e.Stable():
		why = handedOver(r.st) + "; last seen: "
	default:
		return
	}
	r.token = rec.Last().Token
	ctx, cancel := context.WithTimeout(context.Background(), r.x.opts.CallTimeout)
	defer cancel()
	r.x.finish(ctx, r.e, r.st, r.token, failover.StepUnproven, why+r.last.Detail)
}

// resolve ends a started step that nobody goes on with, by what the world shows: the
// execution is being aborted, or is held and its time is over. A switch that is there
// has moved the clients, and the log says so, whoever wants what (rule T1).
func (r *run) resolve(ctx context.Context) {
	if ender, ok := r.action.(Ender); ok && r.x.stopped(r.e.ID) {
		// Whoever looks keeps it running: it would be half done for as long as it is looked at.
		cctx, cancel := context.WithTimeout(ctx, r.x.opts.CallTimeout)
		if err := ender.End(cctx); err != nil {
			r.x.say(r.st.ID, err.Error())
		}
		cancel()
	}
	eff := r.look(ctx)
	if last := r.record().Last(); eff.State != Present && last != nil {
		// A call whose reply was lost may still land: it must have aged out, or its
		// token must be burnt, before the world's word counts, and that is looked at
		// twice (rule E3). A token is burnt before the execution closes.
		if until := ages(r.action, r.x.until(*last)); !r.tokens() && time.Until(until) > 0 {
			r.x.say(r.st.ID, "waiting until "+until.UTC().Format(time.TimeOnly)+"Z: until then a call that is under way may still land")
			if !r.x.sleep(ctx, time.Until(until)) {
				return
			}
		}
		if first := r.look(ctx); first.State != Present {
			if !r.x.sleep(ctx, r.x.opts.Settle) {
				return
			}
		}
		eff = r.look(ctx)
	}
	aborted, ended := r.x.stopped(r.e.ID), "held"
	if aborted {
		ended = "aborted"
	}
	outcome, detail := failover.StepUnclear, "the execution was "+ended+"; the world shows: "+eff.Detail
	switch eff.State {
	case Present:
		if !aborted {
			if !r.finishIfPresent(ctx) {
				r.timedOut(ctx)
			}
			return
		}
		if r.st.Kind == failover.KindSwitch {
			if err := r.x.flip(ctx, r.e); err != nil {
				r.x.log.Info("the flip was not committed", "step", r.st.ID, "why", err.Error())
				return
			}
		}
		outcome = failover.StepDone
	case Absent:
		outcome = failover.StepFailed
	}
	if r.st.Kind == failover.KindStop && outcome == failover.StepUnclear {
		outcome = failover.StepUnproven
	}
	r.x.finish(ctx, r.e, r.st, r.token, outcome, detail)
}
