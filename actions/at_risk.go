package actions

import (
	"context"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// Counter is an action that can tell what stands in the region that is left and would not be in the one that is entered.
type Counter interface {
	// AtRisk asks in the region that is left, which may be dark: it has to end with ctx. It changes nothing, and what could not be
	// counted says so (Lacks). Nil: nothing is to be counted.
	AtRisk(ctx context.Context) *failover.AtRisk
}

// AtRisk counts, by component, what a plan would leave behind for good. It asks the region that is left, for no longer than the given time, so that
// nobody who needs an answer soon should wait for it.
func AtRisk(ctx context.Context, w World, p *failover.Plan, patience time.Duration) map[failover.Component]failover.AtRisk {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var mu sync.Mutex
	var wg sync.WaitGroup
	out := map[failover.Component]failover.AtRisk{}
	for _, st := range p.Steps {
		if st.Action == "" || st.Kind != failover.KindStart {
			continue
		}
		action, err := w.Action(st)
		counter, ok := action.(Counter)
		if err != nil || !ok {
			continue // the survey tells what cannot be made
		}
		wg.Go(func() {
			if counted := counter.AtRisk(ctx); counted != nil {
				mu.Lock()
				defer mu.Unlock()
				out[st.Component] = *counted
			}
		})
	}
	wg.Wait()
	return out
}
