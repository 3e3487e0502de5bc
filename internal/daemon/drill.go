package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/internal/admin"
)

// Drill implements admin.Node: this node tries a component's start out, beside what is live, and has the time that it took kept in
// the log. It ends when ctx does, and when an execution begins.
func (d *Daemon) Drill(ctx context.Context, by, why string, c failover.Component, say func(line string)) (admin.Drilled, error) {
	s := d.core.Node().State()
	if err := quietEnough(s); err != nil {
		return admin.Drilled{}, err
	}
	p, err := plan.Derive(s.Settings, s.Active)
	if err != nil {
		return admin.Drilled{}, err
	}
	drillable := d.drillable(&p)
	step, ok := drillable[failover.StepID("start-"+string(c))]
	if !ok {
		return admin.Drilled{}, fmt.Errorf("the start of %q cannot be tried out without an effect; those that can: %s", c, orNone(drillable))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go d.endDrill(ctx, cancel)
	d.log.Info("a drill begins", "component", c, "by", by, "why", why)
	found, err := step.Drill(ctx, say)
	d.log.Info("the drill has ended", "component", c, "took", found.Took, "error", err)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		return admin.Drilled{}, err
	}
	out := admin.Drilled{Took: failover.Duration(found.Took), Detail: found.Detail}
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer end()
	_, err = d.core.Node().Propose(ctx, failover.Meta{By: by, Why: why}, failover.RecordDrill{Step: failover.StepID("start-" + string(c)), Took: out.Took, Detail: found.Detail})
	if err != nil {
		out.Unkept = "it is not in the log, so that nothing is estimated by it: " + err.Error()
	}
	return out, nil
}

// quietEnough refuses a drill while a server may be needed for what it is there for.
func quietEnough(s *failover.State) error {
	switch {
	case s.Settings == nil:
		return errors.New("the cluster has no configuration yet")
	case s.Execution != nil:
		return fmt.Errorf("execution %d is under way: drill when it is over", s.Execution.ID)
	case s.Preparation != nil:
		return errors.New("something is being prepared on a suspicion: drill when that is over")
	}
	return nil
}

// endDrill ends a drill when the log says that its server is needed.
func (d *Daemon) endDrill(ctx context.Context, cancel context.CancelCauseFunc) {
	for {
		changed := d.core.Node().Changed()
		if err := quietEnough(d.core.Node().State()); err != nil {
			cancel(fmt.Errorf("the drill was ended: %w", err))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}

// drillable are the starts of a plan that can be tried out.
func (d *Daemon) drillable(p *failover.Plan) map[failover.StepID]actions.Driller {
	out := map[failover.StepID]actions.Driller{}
	for _, st := range p.Steps {
		if st.Kind != failover.KindStart {
			continue
		}
		a, err := currentWorld{d}.Action(st)
		if err != nil {
			continue // the survey tells
		}
		if x, ok := a.(actions.Driller); ok {
			out[st.ID] = x
		}
	}
	return out
}

func orNone(of map[failover.StepID]actions.Driller) string {
	var names []string
	for id := range of {
		names = append(names, strings.TrimPrefix(string(id), "start-"))
	}
	if len(names) == 0 {
		return "none of this plan"
	}
	return strings.Join(slices.Sorted(slices.Values(names)), ", ")
}

// drillAge is after how long a drill is no news any more.
const drillAge = 35 * 24 * time.Hour

// drillRows say when what can be tried out was.
func (d *Daemon) drillRows(s *failover.State, now time.Time) []admin.Row {
	p, err := plan.Derive(s.Settings, s.Active)
	if err != nil {
		return nil // said elsewhere
	}
	can := d.drillable(&p)
	var out []admin.Row
	for _, st := range p.Steps { // in the plan's order
		if can[st.ID] == nil {
			continue
		}
		row := admin.Row{Name: "drill " + string(st.Component), Advice: true, Detail: fmt.Sprintf("never tried out: `failoverd drill --only %s --why …` does it beside what is live", st.Component)}
		if last, ok := s.Drills[st.ID]; ok {
			age := later(now, s.Time).Sub(last.At)
			row.OK = age < drillAge
			row.Detail = fmt.Sprintf("tried out by %s on %s in %s: %s", last.Node, last.At.UTC().Format(time.DateOnly), last.Took.D().Round(time.Second), last.Detail)
			if !row.OK {
				row.Detail += "; that was long ago"
			}
		}
		out = append(out, row)
	}
	return out
}
