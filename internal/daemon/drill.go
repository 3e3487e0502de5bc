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

// Drill implements admin.Node: this node tries a component's start out, beside what is live, and what came of it is kept in
// the log. It ends when ctx does, when an execution or a preparation begins, and when this node does not hear of such any more.
func (d *Daemon) Drill(ctx context.Context, by, why string, c failover.Component, say func(line string)) (admin.Drilled, error) {
	d.drills.Add(1)
	defer d.drills.Done()
	id := failover.StepID("start-" + string(c))
	try, of, err := d.beginDrill(ctx, failover.Meta{By: by, Why: why}, id)
	if err != nil {
		return admin.Drilled{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go d.endDrill(ctx, cancel)
	d.log.Info("a drill begins", "component", c, "by", by, "why", why)
	begun := time.Now()
	found, err := try.Drill(ctx, say)
	d.log.Info("the drill has ended", "component", c, "took", time.Since(begun), "error", err)
	if cause := context.Cause(ctx); err != nil && cause != nil { // it was ended, which says nothing of what was tried out
		if !errors.Is(cause, context.Canceled) {
			err = fmt.Errorf("%w (%w)", cause, err)
		}
		return admin.Drilled{}, err
	}
	if errors.Is(err, actions.ErrNotTried) {
		return admin.Drilled{}, err
	}
	out := admin.Drilled{Took: failover.Duration(found.Took), Detail: found.Detail}
	result := failover.RecordDrill{Step: id, Of: of, Took: out.Took, Detail: found.Detail}
	if err != nil {
		result.Took, result.Detail, result.Failed = failover.Duration(time.Since(begun)), shortened(err.Error()), true
	}
	ctx, end := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer end()
	if _, perr := d.core.Node().Propose(ctx, failover.Meta{By: by, Why: why}, result); perr != nil {
		out.Unkept = "whether the log knows of it is not known, and nothing may be estimated by it: " + perr.Error()
		d.log.Warn("what a drill found may not be kept", "component", c, "error", perr)
	}
	return out, err
}

// beginDrill has the log say that nothing is under way, and finds what is to be tried out in the state as it was then. of is its
// fingerprint.
func (d *Daemon) beginDrill(ctx context.Context, m failover.Meta, id failover.StepID) (try actions.Driller, of string, err error) {
	pick := func() error {
		s := d.core.Node().State()
		if err := s.Quiet(); err != nil {
			return err
		}
		p, err := plan.Derive(s.Settings, s.Active)
		if err != nil {
			return err
		}
		can := d.drillable(&p)
		if try = can[id]; try == nil {
			return fmt.Errorf("the start of %q cannot be tried out without an effect; those that can: %s", strings.TrimPrefix(string(id), "start-"), orNone(can))
		}
		of = p.Step(id).Fingerprint()
		return nil
	}
	if err := pick(); err != nil { // before anything is written
		return nil, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, drillAlone)
	defer cancel()
	res, err := d.core.Node().Propose(ctx, m, failover.BeginDrill{Step: id})
	if err != nil {
		return nil, "", fmt.Errorf("a drill begins in the log, so that it never meets what this node has not heard of: %w", err)
	}
	for {
		changed := d.core.Node().Changed()
		if d.core.Node().State().Index >= res.Index {
			err := pick() // as it is when the log says so
			return try, of, err
		}
		select {
		case <-ctx.Done():
			return nil, "", fmt.Errorf("this node lags behind the log by which a drill may begin: %w; give the command on another one", ctx.Err())
		case <-changed:
		}
	}
}

// drillAlone is for how long a drill goes on without a leader that could tell that its server is needed.
const drillAlone = 10 * time.Second

// endDrill ends a drill when the log says that its server may be needed, or nobody can say that it is not.
func (d *Daemon) endDrill(ctx context.Context, cancel context.CancelCauseFunc) {
	look := time.NewTicker(drillAlone / 10)
	defer look.Stop()
	led := time.Now()
	for {
		changed := d.core.Node().Changed()
		if err := d.core.Node().State().Quiet(); err != nil {
			cancel(fmt.Errorf("the drill was ended: %w", err))
			return
		}
		if d.core.Node().Leader() != "" {
			led = time.Now()
		} else if time.Since(led) >= drillAlone {
			cancel(fmt.Errorf("the drill was ended: this node has known of no leader for %s, and so not whether the server is needed", drillAlone))
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-look.C:
		}
	}
}

// drained waits until no drill is under way: each takes away what it has loaded. Nobody can begin one any more.
func (d *Daemon) drained() error {
	done := make(chan struct{})
	go func() { d.drills.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-time.After(drainPatience):
		return fmt.Errorf("a drill has not taken away what it has loaded within %s: the next drill or restore does", drainPatience)
	}
}

// drainPatience is less than what systemd waits for by default, 90 s.
const drainPatience = time.Minute

// shortened bounds what is kept in the log of an error.
func shortened(text string) string {
	const most = 500
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
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
		// Of the other direction, or of another configuration, it says nothing.
		last, ok := s.Drills[st.ID]
		ok = ok && last.Of == st.Fingerprint()
		row := admin.Row{Name: "drill " + string(st.Component), Advice: true, Detail: fmt.Sprintf("never tried out: `failoverd drill --only %s --why …` does it beside what is live", st.Component)}
		switch {
		case ok && last.Failed:
			row.Detail = fmt.Sprintf("FAILED when %s tried it out on %s: %s", last.Node, last.At.UTC().Format(time.DateOnly), last.Detail)
		case ok:
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
