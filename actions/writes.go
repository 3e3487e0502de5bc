package actions

import (
	"context"
	"fmt"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// This file holds how the executor writes into the log.

// propose commits a command and logs a refusal: the next look at the state
// decides what follows.
func (x *Executor) propose(ctx context.Context, c failover.Command, why string) (failover.Result, bool) {
	started, starts := c.(failover.StepStarted)
	until := started.Until // with its monotonic reading, which UTC takes away and the log has not
	if starts {
		started.Until = until.UTC()
		c = started
	}
	res, err := x.journal.Propose(ctx, c, why)
	if err != nil && ctx.Err() == nil {
		x.log.Info("not accepted", "command", c.Name(), "why", err.Error())
	}
	if starts && err == nil && !until.IsZero() {
		x.mu.Lock()
		x.named[res.Index] = until
		x.mu.Unlock()
	}
	return res, err == nil
}

// closeFor is how long the log may refuse to close an execution before a person is
// told.
const closeFor = time.Minute

// close ends an execution. Nothing should be left that the log refuses it for; if
// something is, it is proposed once in a while and not as fast as the log can
// write, and a person is told: an execution never stands in silence (L1).
func (x *Executor) close(ctx context.Context, c failover.FinishExecution) {
	now := time.Now()
	if x.closing != c.Execution {
		x.closing, x.closingSince, x.triedAt = c.Execution, now, time.Time{}
	}
	if now.Sub(x.triedAt) < x.opts.Poll {
		return
	}
	x.triedAt = now
	_, err := x.journal.Propose(ctx, c, "")
	switch {
	case err == nil:
		x.closing = 0 // it may be carried on, and end again
	case ctx.Err() != nil:
	case now.Sub(x.closingSince) < closeFor:
		x.log.Info("not accepted", "command", c.Name(), "why", err.Error())
	default:
		x.log.Warn("an execution cannot be closed", "execution", c.Execution, "why", err.Error())
		x.ask(ctx, c.Execution, "closing", "", fmt.Sprintf("Execution %d cannot be closed: %v. It is tried again.", c.Execution, err), "failoverd status", "failoverd skip STEP --why …")
	}
}

// ask puts a question unless one is open.
func (x *Executor) ask(ctx context.Context, exec uint64, kind string, step failover.StepID, text string, ways ...string) {
	x.put(ctx, failover.Ask{Execution: exec, Kind: kind, Step: step, Text: text, Ways: ways})
}

// put asks a question, unless another one is open.
func (x *Executor) put(ctx context.Context, q failover.Ask) {
	if e := x.journal.State().Execution; e == nil || e.ID != q.Execution || !e.MayAsk(q.Kind) {
		return
	}
	x.propose(ctx, q, "")
}

// begin commits the intent of a step without previous values and returns its
// token. A step that an earlier leader started keeps its attempt.
func (x *Executor) begin(ctx context.Context, e *failover.Execution, st failover.Step) (token uint64, ok bool) {
	if rec := e.Step(st.ID); rec.State == failover.StepRunning {
		return rec.Last().Token, true
	}
	res, ok := x.propose(ctx, failover.StepStarted{
		Execution: e.ID, Step: st.ID, Epoch: x.journal.State().Epoch, PlanHash: e.PlanHash,
	}, "")
	return res.Index, ok
}

func (x *Executor) finish(ctx context.Context, e *failover.Execution, st failover.Step, token uint64, outcome failover.StepState, detail string) {
	x.finishAs(ctx, failover.StepFinished{Execution: e.ID, Step: st.ID, Token: token, Outcome: outcome, Detail: detail})
}

// finishAs commits what a step came to. Once that is on its way it is waited for,
// also when the step is cancelled meanwhile: what is given up may be committed all
// the same, and whoever cancelled would write another end beside it.
func (x *Executor) finishAs(ctx context.Context, c failover.StepFinished) {
	if ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.opts.CallTimeout)
	defer cancel()
	x.propose(ctx, c, "")
}
