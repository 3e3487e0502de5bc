package sim

import (
	"context"
	"fmt"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
)

// Check passes when the region's workers run and traffic is there; of the real
// kinds, each looks at its part of that.
func (w *world) Check(st failover.Step, _ time.Time) (actions.Check, error) {
	return checkFunc(func(context.Context) actions.Finding {
		region := string(st.Region)
		up, _ := w.workersUp(region)
		traffic := w.trafficNow()
		w.mu.Lock()
		defer w.mu.Unlock()
		running := w.runningLocked(pool(string(st.Component), region))
		f := actions.Finding{Detail: fmt.Sprintf("%d workers up, traffic %s", up, traffic)}
		switch {
		case st.Action == "check":
			f.Pass = up > 0 && traffic == region
		case st.Action == "mariadb_backup": // its bucket is the region's
			f.Pass = !w.dead[region]
		case st.Component == "":
			f.Pass = traffic == region
		case st.Component == "workers":
			f.Pass = up > 0
		default:
			f.Pass = running > 0
		}
		return f
	}), nil
}

type checkFunc func(ctx context.Context) actions.Finding

func (f checkFunc) Check(ctx context.Context) actions.Finding { return f(ctx) }
