package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/internal/admin"
)

// uncounted says what the leader could not count when it tried last.
type uncounted struct {
	epoch    uint64
	settings string // hash of the settings for which it tried
	why      map[failover.Component]string
}

// of reports whether it is said of this state.
func (u uncounted) of(s *failover.State) bool {
	return u.epoch == s.Epoch && u.settings == s.SettingsHash
}

// countPatience is how long the region that is left may take to say what is at risk there.
const countPatience = 5 * time.Second

// counts asks the region that is left what a failover would lose, once a minute, and again as soon as something is suspected or asked for: that is
// what the price is made of. It may be dark and let everybody wait, so this is in the way of nothing else.
func (l *leadership) counts(ctx context.Context, t watched, note func(context.Context, failover.RecordAtRisk)) {
	for ctx.Err() == nil {
		changed := t.Changed()
		s := t.State()
		every := time.Minute
		if pressing(s) {
			every = riskEvery
		}
		if s.Level() < failover.LevelOf(failover.RecordAtRisk{}) {
			every = time.Second // nobody is asked before the answer can be kept; in a new cluster that is soon
		} else if s.Settings != nil && s.Execution == nil {
			if c := l.count(ctx, s, t); c != nil {
				note(ctx, *c)
			}
		}
		awaitSurvey(ctx, t, changed, s, every)
	}
}

// noteCounts commits what was counted.
func (l *leadership) noteCounts(ctx context.Context, c failover.RecordAtRisk) {
	if _, err := l.tenure.Propose(ctx, c, ""); err != nil && ctx.Err() == nil {
		l.core.cfg.Log.Debug("what is at risk in the active region was not taken", "why", err.Error())
	}
}

// count asks once, and gives what is to be committed of it; nil: nothing.
func (l *leadership) count(ctx context.Context, s *failover.State, t watched) *failover.RecordAtRisk {
	p, err := plan.Derive(s.Settings, s.Active)
	if err != nil {
		return nil // said where the plan is asked for
	}
	counted := actions.AtRisk(ctx, l.core.cfg.World, &p, countPatience)
	now := t.State()
	if ctx.Err() != nil || now.Epoch != s.Epoch || now.SettingsHash != s.SettingsHash {
		return nil
	}
	lacks := uncounted{s.Epoch, s.SettingsHash, map[failover.Component]string{}}
	for component, c := range counted {
		if c.Lacks != "" {
			lacks.why[component] = c.Lacks
		}
	}
	l.mu.Lock()
	l.lacks = lacks
	l.mu.Unlock()
	if counted = worthNoting(now, counted); len(counted) == 0 {
		return nil
	}
	return &failover.RecordAtRisk{Epoch: s.Epoch, Counted: counted}
}

// worthNoting leaves out what could not be counted where an earlier count is known, or the same was said before: what a dark region held when it
// answered last, and how long ago that was, is more than that it is dark.
func worthNoting(s *failover.State, counted map[failover.Component]failover.AtRisk) map[failover.Component]failover.AtRisk {
	out := maps.Clone(counted)
	maps.DeleteFunc(out, func(component failover.Component, c failover.AtRisk) bool {
		was, known := s.AtRisk[component]
		return s.Settings.Component(component) == nil || c.Lacks != "" && known && (was.Lacks == "" || was.Lacks == c.Lacks)
	})
	return out
}

// riskRows tells what would be lost with the active region, as last counted there, and what could not be counted since.
func riskRows(s *failover.State, v LeaderView) []admin.Row {
	known := map[failover.Component]string{}
	for component, one := range s.AtRisk {
		if one.Lost && one.Lacks == "" {
			known[component] = fmt.Sprintf("about %d %s in %s; counted %s", one.Items, one.Unit, one.Where, one.At.Format(time.RFC3339))
		}
	}
	var out []admin.Row
	for _, component := range slices.Sorted(maps.Keys(known)) {
		if v.Uncounted[component] == "" {
			out = append(out, admin.Row{Name: "at risk " + string(component), OK: true, Detail: known[component]})
		}
	}
	for _, component := range slices.Sorted(maps.Keys(v.Uncounted)) {
		row := admin.Row{Name: "at risk " + string(component), Advice: true, Detail: "not counted for the price: " + v.Uncounted[component]}
		if was := known[component]; was != "" {
			row.Detail += "; before: " + was
		}
		out = append(out, row)
	}
	return out
}
