package actions

import (
	"cmp"
	"context"
	"fmt"

	"github.com/failoverd/failoverd/failover"
)

// This file holds what a person lets a step do while its plan is under way: the plan, and with it the configuration, is frozen by then.

// Allower is an Action that refuses what a person may lift (Overriding), or works from what a person may name (Keyed).
type Allower interface {
	Action
	// Allow says all that the log holds of that for the step, before each look and so before each attempt. It adds to what the
	// configuration allows; a key replaces the configuration's.
	Allow(overrides []string, key string)
}

// Overriding is a Config whose action is an Allower, with the names of what it may be allowed.
type Overriding interface {
	Config
	Overrides() []string
}

// Keyed is a Config whose action is an Allower that takes a key.
type Keyed interface {
	Config
	TakesKey()
}

// allow tells an action what people have allowed its step.
func allow(a Action, rec failover.StepRecord) {
	if x, ok := a.(Allower); ok {
		x.Allow(rec.Lifted(), rec.Key())
	}
}

// seen looks at the world by what people have allowed the step.
func seen(ctx context.Context, a Action, rec failover.StepRecord) (Effect, error) {
	allow(a, rec)
	return a.Inspect(ctx)
}

// underWay is how a refusal is lifted for a step whose plan is under way. All refusals that can be lifted say it in these words.
func underWay(step failover.StepID, override string) string {
	return fmt.Sprintf("for a plan that is under way: `failoverd retry %s --allow %s --why …`", cmp.Or(step, "STEP"), override)
}
