package actions

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// ApprovalConfig is a step that a person does or permits. It changes nothing
// itself.
type ApprovalConfig struct {
	// Message says what the person has to do or to look at.
	Message string `toml:"message" json:"message"`
}

// Validate implements Config.
func (c *ApprovalConfig) Validate(role Role) error {
	switch {
	case role == RoleStop:
		return badParam("message", "is no way to stop something; leave the stop to agents, or attest when asked")
	case c.Message == "":
		return badParam("message", "is missing; say what the person has to do")
	}
	return nil
}

// Version implements Config.
func (c *ApprovalConfig) Version() int { return 1 }

// Timeout implements Config. People are asked for as long as it takes.
func (c *ApprovalConfig) Timeout() time.Duration { return 0 }

// New implements Config. The executor handles the kind.
func (c *ApprovalConfig) New(Deps) (Action, error) { return nil, nil } //nolint:nilnil // documented in Config

// askFirst asks a person before a step, and tells what the step would find.
func (x *Executor) askFirst(ctx context.Context, e *failover.Execution, st failover.Step) {
	if !e.MayAsk("approval") {
		return
	}
	rec := e.Step(st.ID)
	text, ways := fmt.Sprintf("Start step %s (%s in %s)?", st.ID, st.Action, st.Region), []string{"failoverd approve", "failoverd abort"}
	if len(rec.Allowed) > 0 {
		var given []string
		for _, a := range rec.Allowed {
			given = append(given, fmt.Sprintf("%s by %s (%s)", a.Text(), orders(a), a.Why))
		}
		text = fmt.Sprintf("Start step %s (%s in %s), with what people have ALLOWED it: %s?", st.ID, st.Action, st.Region, strings.Join(given, ", "))
		ways = []string{"failoverd approve", "failoverd skip " + string(st.ID) + " --why …", "failoverd abort"}
	}
	if action, err := x.world.Action(st); err == nil && action != nil {
		cctx, cancel := context.WithTimeout(ctx, x.opts.CallTimeout)
		eff, err := seen(cctx, action, rec)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			text += " What it would find is not known: " + err.Error()
		default:
			text += " " + eff.Detail
		}
		if w, ok := action.(interface{ Warning() string }); ok {
			text += ". " + w.Warning()
		}
	}
	if lost, ok := e.Loss[string(st.Component)]; ok && !takenAlong(e, st) {
		text += fmt.Sprintf(". Lost of %s with %s: what was written in the last %s before it failed at most (%s, sampled %s), and if it was only cut off, what was written there since",
			st.Component, e.From, lost.Behind.D().Round(time.Second), lost.Detail, lost.At.UTC().Format(time.TimeOnly))
	}
	x.put(ctx, failover.Ask{Execution: e.ID, Kind: "approval", Step: st.ID, Text: text, Ways: ways, Allowed: len(rec.Allowed)})
}

// takenAlong reports whether nothing is lost of a step's component: a switchover has dumped all of it behind the fence, or would with this step.
// Without that dump, which a person may skip, an older backup costs what it costs.
func takenAlong(e *failover.Execution, st failover.Step) bool {
	return slices.ContainsFunc(plan.Dumps(e.Plan), func(dump failover.Step) bool {
		return dump.Component == st.Component && (dump.ID == st.ID || e.Step(dump.ID).State == failover.StepDone)
	})
}

// orders is who has given an allowance.
func orders(a failover.Allowance) string {
	if a.With != "" && a.With != a.By {
		return a.By + " and " + a.With
	}
	return a.By
}
