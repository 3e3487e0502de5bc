package daemon

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/probes"
)

// world makes the actions and checks of a plan's steps from the kinds that this
// version knows.
type world struct {
	node      failover.NodeID
	service   string
	regions   []failover.Region
	resolvers []string
	cloud     *cloud.Clients
	quiet     actions.Quiet
	log       *slog.Logger
}

func newWorld(cfg *config.Config, node failover.NodeID, clients *cloud.Clients, log *slog.Logger) *world {
	return &world{node: node, service: cfg.Service, regions: cfg.Regions(), resolvers: cfg.Probes.Resolvers, cloud: clients, log: log}
}

// action makes a step's action, by what the log says now.
func (w *world) action(st failover.Step, now *failover.State) (actions.Action, error) {
	kept, since := now.Readings[st.ID], time.Time{}
	if now.Execution != nil {
		since = now.Execution.StartedAt
	}
	if kept.Of != st.Fingerprint() {
		kept = failover.Reading{} // of another configuration
	}
	return actions.Build(st.Action, st.Version, config.FillNode(st.Params, w.node), actions.Deps{
		Region: st.Region, Step: st.ID, Regions: w.regions, Node: w.node, Service: w.service, Resolvers: w.resolvers, Cloud: w.cloud, Quiet: &w.quiet, Recall: kept, Past: past(now, st),
		Epoch: now.Epoch, Since: since, Begun: begun(now.Execution), Log: w.log.With("step", st.ID),
	})
}

// past are what became of a step in the executions that the log knows, oldest first.
func past(s *failover.State, st failover.Step) (out []failover.StepRecord) {
	for _, e := range append(slices.Clone(s.History), s.Execution) {
		if e == nil || e.Plan == nil {
			continue
		}
		if was, rec := e.Plan.Step(st.ID), e.Steps[st.ID]; was != nil && rec != nil && was.Action == st.Action {
			out = append(out, *rec)
		}
	}
	return out
}

// begun gives the tokens of the attempts that were begun in an execution.
func begun(e *failover.Execution) func(failover.StepID) ([]uint64, bool) {
	return func(id failover.StepID) (out []uint64, failed bool) {
		if e == nil || e.Steps[id] == nil {
			return nil, false
		}
		for _, a := range e.Steps[id].Attempts {
			if !a.Undo && !a.Already && !a.Burn {
				out, failed = append(out, a.Token), a.Outcome != "" && a.Outcome != failover.StepDone
			}
		}
		return out, failed
	}
}

// check makes a step's check.
func (w *world) check(st failover.Step, moved time.Time) (actions.Check, error) {
	c, _, err := probes.BuildCheck(st.Action, st.Version, config.FillNode(st.Params, w.node), probes.Deps{
		Component: st.Component, Region: st.Region, Regions: w.regions, Node: w.node, Resolvers: w.resolvers, Cloud: w.cloud, Moved: moved,
		Log: w.log.With("step", st.ID),
	})
	if err != nil {
		return nil, err
	}
	return checkAdapter{c}, nil
}

// checkAdapter turns a probe's finding into the executor's.
type checkAdapter struct{ check probes.Check }

// Check implements actions.Check.
func (a checkAdapter) Check(ctx context.Context) actions.Finding {
	f := a.check.Check(ctx)
	return actions.Finding{Pass: f.Status == probes.Pass, Detail: f.Detail}
}
