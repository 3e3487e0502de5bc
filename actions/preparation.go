package actions

import (
	"context"

	"github.com/failoverd/failoverd/failover"
)

// prepare drives a preparation. It asks nobody anything: what fails is left to
// the execution.
func (x *Executor) prepare(ctx context.Context, p *failover.Execution) {
	if p.State == failover.ExecAborting {
		if !x.resolve(ctx, p) {
			x.unwind(ctx, p)
		}
		return
	}
	x.finishUndos(ctx, p)
	for _, st := range p.Plan.Steps {
		if x.ready(p, st) {
			x.launch(ctx, st, func(ctx context.Context) { x.runStep(ctx, p.ID, st) })
		}
	}
}

// finishUndos ends undos that had begun before the execution wanted the step
// after all (rule E7).
func (x *Executor) finishUndos(ctx context.Context, e *failover.Execution) {
	for _, st := range e.Plan.Steps {
		if e.Step(st.ID).State == failover.StepUndoing {
			x.launch(ctx, st, func(ctx context.Context) { x.settle(ctx, e.ID, st) })
		}
	}
}
