package actions

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// This file holds what is particular to switches: there may be several, side by
// side. The first that proves itself moves the clients; a latched one must follow
// before the service is stable; one that still tries then goes on as a standing
// hold.

// LogFlip is an Action whose effect is the committed flip itself (rule T1): the
// executor commits SetTraffic in place of a call, and Do does the rest, if any.
type LogFlip interface {
	Action
	FlipsByLog()
}

// handedOver says what becomes of a switch that the service is stable without.
func handedOver(st failover.Step) string {
	if !st.Tokens { // nothing at its resource would refuse a write that comes too late
		return "not seen to take effect; clients were moved by another switch; it is not tried any more"
	}
	return "not seen to take effect yet; clients were moved by another switch; goes on as a standing hold"
}

// flip commits that the clients have moved, unless the log says so already.
// Switches come to it side by side: one commits, the others wait for its outcome
// and find the flip done.
func (x *Executor) flip(ctx context.Context, e *failover.Execution) error {
	select {
	case x.flipping <- struct{}{}:
		defer func() { <-x.flipping }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if x.journal.State().Traffic == e.To {
		return nil
	}
	_, err := x.journal.Propose(ctx, failover.SetTraffic{Execution: e.ID, Region: e.To}, "")
	return err
}

// followPace is how often a switch is tried that is late to follow another one.
const followPace = 5 * time.Minute

// follows reports whether the step is a switch that another one was faster than:
// it has all the time there is, for nothing waits for it but the end.
func (r *run) follows() bool {
	e := r.x.open(r.e.ID)
	return e != nil && e.State == failover.ExecRunning && r.st.Kind == failover.KindSwitch && e.Moved(r.st.ID)
}

// goOn gives a switch that follows its time once more. While none that is latched
// has followed, clients stay where they are only as long as nodes live to say so:
// a person is told, once, and may end it.
func (r *run) goOn(ctx context.Context) {
	r.deadline = time.Now().Add(max(r.st.Timeout.D(), followPace))
	e := r.x.open(r.e.ID)
	if e == nil || !r.st.Latched || e.Latched() || r.x.journal.State().Level() < 3 {
		return
	}
	seen := r.last.Detail
	if r.lastErr != nil {
		seen = r.lastErr.Error()
	}
	r.x.ask(ctx, e.ID, failover.Following, r.st.ID, fmt.Sprintf(
		"Clients were moved, but %s has not followed within %s: %s. Until it has, they stay in %s only while enough nodes live. It is tried every %s, and this question ends when it succeeds; skipped, nothing but the nodes keeps them there.",
		r.st.ID, r.st.Timeout, seen, e.To, followPace), "failoverd skip "+string(r.st.ID)+" --why …")
}

// endSwitches cancels the switches that still try although the service is stable.
func (x *Executor) endSwitches(e *failover.Execution) {
	if !e.Stable() {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, st := range e.Plan.Steps {
		if cancel := x.inflight[st.ID]; cancel != nil && st.Kind == failover.KindSwitch && !e.Step(st.ID).Passed() {
			cancel()
		}
	}
}

// handOver ends a switch that the service is stable without, whoever tried it.
func (x *Executor) handOver(ctx context.Context, e *failover.Execution, st failover.Step) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.opts.CallTimeout) // endSwitches means others
	defer cancel()
	if token, ok := x.begin(ctx, e, st); ok {
		x.finish(ctx, e, st, token, failover.StepUnproven, handedOver(st))
	}
}

// Shared is what [traffic] says for all switches.
type Shared struct {
	Zone   string   // the hosted zone's ID
	Names  []string // what clients use
	SameAs string   // a name that always leads to {region}
}

// Inheritor is a Config that takes from Shared what it does not say itself.
type Inheritor interface{ Inherit(t Shared) }

func inherited(own, shared []string) []string {
	if len(own) > 0 {
		return own
	}
	return slices.Clone(shared)
}
