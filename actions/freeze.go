package actions

import (
	"context"
	"fmt"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// This file holds the freeze of the lease, and since when this leader knows of it (rule G3).

// FreezeAge is how long ago this node, in this tenure, saw the freeze in force
// for the first time; zero without one.
func (x *Executor) FreezeAge(s *failover.State) time.Duration {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.Freeze == nil || x.freezeID != s.Freeze.ID {
		return 0
	}
	return time.Since(x.freezeAt)
}

func (x *Executor) noteFreeze(s *failover.State) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch {
	case s.Freeze == nil:
		x.freezeID = 0
	case s.Freeze.ID != x.freezeID:
		x.freezeID, x.freezeAt = s.Freeze.ID, time.Now()
	}
}

func (x *Executor) freeze(ctx context.Context, e *failover.Execution, st failover.Step) {
	token, ok := x.begin(ctx, e, st)
	if !ok {
		return
	}
	res, ok := x.propose(ctx, failover.FreezeLease{Region: e.From, Epoch: e.Epoch, Execution: e.ID}, "")
	if !ok {
		return // the next look tries again, or finds the execution changed
	}
	x.finish(ctx, e, st, token, failover.StepDone, fmt.Sprintf("no lease is granted for %s any more (freeze %v)", e.From, res.Value))
}
