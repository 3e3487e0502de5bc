package daemon

import (
	"context"

	"github.com/failoverd/failoverd/failover"
)

// raise puts the next feature level in force once every member understands it:
// the end of a rolling upgrade. It is tried at each look of the leader; what is
// refused is tried again.
func (l *leadership) raise(ctx context.Context, s *failover.State) {
	level := s.Raisable()
	if level == 0 {
		return
	}
	if _, err := l.tenure.Propose(ctx, failover.RaiseFeatures{Level: level}, ""); err != nil && ctx.Err() == nil {
		l.core.cfg.Log.Info("the feature level was not raised", "level", level, "why", err.Error())
	}
}
