package daemon

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// survey is what the leader has seen of everything that its plan would change.
type survey struct {
	epoch    uint64 // for which it was made
	kind     failover.ExecKind
	settings string // hash of the settings for which it was made
	at       time.Time
	sights   []actions.Sight
	problems []string
	brings   []actions.Sight // what a switchover would take along, when that was seen last; in no failover's way
	brought  time.Time       // when that was
}

// bringsFor is how long what a switchover would take along is told without having been seen again: a suspicion may last, and nobody looks meanwhile.
const bringsFor = 5 * time.Minute

// standby is the survey as the decision needs it: one of another epoch or
// configuration is none.
func (s survey) standby(st *failover.State) failover.Standby {
	if s.at.IsZero() || s.epoch != st.Epoch || s.kind != nextKind(st) || s.settings != st.SettingsHash {
		return failover.Standby{}
	}
	return failover.Standby{Checked: true, Problems: s.problems}
}

// nextKind is the kind of the execution that would begin now: what a person waits for, or a failover.
func nextKind(st *failover.State) failover.ExecKind {
	if st.Request != nil {
		return st.Request.Kind
	}
	return failover.Failover
}

// watched is the state that surveys follow.
type watched interface {
	Changed() <-chan struct{}
	State() *failover.State
}

// pressing reports whether what is known of the standby may be needed at any moment.
func pressing(s *failover.State) bool {
	return s.Suspicion != nil || s.Request != nil || s.Incident != nil
}

// surveys looks at the plan's resources once a minute while all is well, and
// every few seconds while something is suspected: the standby must be known to
// be ready when the hold is over. It changes nothing.
func (l *leadership) surveys(ctx context.Context, t watched) {
	for ctx.Err() == nil {
		changed := t.Changed()
		s := t.State()
		every := time.Minute
		if pressing(s) {
			every = 5 * time.Second
		}
		if s.Settings != nil && s.Execution == nil {
			l.look(ctx, s)
			if !pressing(s) {
				l.lookAlong(ctx, t, changed, s)
			}
		}
		awaitSurvey(ctx, t, changed, s, every)
	}
}

// lookAlong adds what a switchover would take along. That asks the region that is left, which may be dark and let everybody wait: a state that
// wants a survey at once ends it.
func (l *leadership) lookAlong(ctx context.Context, t watched, changed <-chan struct{}, s *failover.State) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	wg.Go(func() {
		defer cancel()
		awaitSurvey(ctx, t, changed, s, time.Minute)
	})
	sights := l.brings(ctx, s)
	if ctx.Err() != nil {
		return
	}
	l.mu.Lock()
	l.survey.brings, l.survey.brought = sights, time.Now()
	l.mu.Unlock()
}

// awaitSurvey waits for the next survey: its time, or a state that wants one at
// once.
func awaitSurvey(ctx context.Context, t watched, changed <-chan struct{}, had *failover.State, every time.Duration) {
	timer := time.NewTimer(every)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-changed:
		}
		changed = t.Changed()
		s := t.State()
		if s.Epoch != had.Epoch || s.SettingsHash != had.SettingsHash ||
			(had.Suspicion == nil) != (s.Suspicion == nil) || (had.Request == nil) != (s.Request == nil) || (had.Execution == nil) != (s.Execution == nil) {
			return
		}
	}
}

func (l *leadership) look(ctx context.Context, s *failover.State) {
	p, err := plan.DeriveKind(s.Settings, s.Active, nextKind(s))
	if err != nil {
		return // said where the plan is asked for
	}
	sights := actions.Survey(ctx, l.core.cfg.World, &p, l.core.cfg.Exec.CallTimeout)
	if ctx.Err() != nil {
		return
	}
	problems := actions.Problems(&p, sights)
	for _, h := range s.Holds {
		if h.Step.Region == p.To && h.Status == failover.HoldViolated {
			problems = append(problems, fmt.Sprintf("%s is held stopped there", h.Component))
		}
	}
	l.mu.Lock()
	seen := survey{epoch: s.Epoch, kind: p.Kind, settings: s.SettingsHash, at: time.Now(), sights: sights, problems: problems}
	if was := l.survey; was.epoch == seen.epoch && was.settings == seen.settings && was.kind == seen.kind && time.Since(was.brought) < bringsFor {
		seen.brings, seen.brought = was.brings, was.brought // until it is seen anew
	}
	l.survey = seen
	l.mu.Unlock()
	select {
	case l.wake <- struct{}{}:
	default:
	}
	if s.Suspicion == nil && s.Incident == nil && s.Execution == nil {
		l.noteInventory(ctx, s, sights)
		l.noteReadings(ctx, s, &p, sights)
	}
}

// brings looks at what a switchover would take along, while a failover is what may come: it is in nobody's way then.
func (l *leadership) brings(ctx context.Context, s *failover.State) []actions.Sight {
	other, err := plan.DeriveKind(s.Settings, s.Active, failover.Switchover)
	if err != nil {
		return nil // said where the plan is asked for
	}
	other.Steps = plan.Dumps(&other)
	sights := actions.Survey(ctx, l.core.cfg.World, &other, l.core.cfg.Exec.CallTimeout)
	for i := range sights {
		sights[i].Optional = true
		if !sights[i].OK {
			sights[i].Detail = "a switchover would stop there: " + sights[i].Detail
		}
	}
	return sights
}

// noteInventory keeps in the log how much each selector matches while all is
// well.
func (l *leadership) noteInventory(ctx context.Context, s *failover.State, sights []actions.Sight) {
	counts := maps.Clone(s.Inventory)
	if counts == nil {
		counts = map[failover.StepID]int{}
	}
	for _, sight := range sights {
		// A smaller one is no news: it is a shrink, until a person accepts it.
		if sight.OK && sight.Inventory > counts[sight.Step] {
			counts[sight.Step] = sight.Inventory
		}
	}
	if !maps.Equal(counts, s.Inventory) && len(counts) > 0 {
		if _, err := l.tenure.Propose(ctx, failover.RecordInventory{Counts: counts}, ""); err != nil && ctx.Err() == nil {
			l.core.cfg.Log.Debug("the inventory was not taken", "why", err.Error())
		}
	}
}

// noteReadings keeps in the log what stands at resources that might not be readable
// when they have to be written. What cannot be read now stays as it was kept.
func (l *leadership) noteReadings(ctx context.Context, s *failover.State, p *failover.Plan, sights []actions.Sight) {
	next := map[failover.StepID]failover.Reading{}
	changed := false
	for _, sight := range sights {
		was, kept := s.Readings[sight.Step]
		st := p.Step(sight.Step)
		switch {
		case len(sight.Previous) > failover.MaxReading:
			l.core.cfg.Log.Warn("what stands there is too large to be kept in the log: the step will have to read it", "step", sight.Step, "bytes", len(sight.Previous), "limit", failover.MaxReading)
		case len(sight.Previous) > 0:
			next[sight.Step] = failover.Reading{Of: st.Fingerprint(), Previous: sight.Previous}
			changed = changed || was.Of != st.Fingerprint() || !bytes.Equal(was.Previous, sight.Previous)
		case kept && was.Of == st.Fingerprint():
			next[sight.Step] = was
		}
	}
	if !changed && len(next) == len(s.Readings) || s.Level() < failover.LevelOf(failover.RecordReadings{}) {
		return
	}
	if _, err := l.tenure.Propose(ctx, failover.RecordReadings{Readings: next}, ""); err != nil && ctx.Err() == nil {
		l.core.cfg.Log.Debug("what stands at the resources was not taken", "why", err.Error())
	}
}

// lossEvery is how often samples of what would be lost are committed: what was written between the newest one and the failure counts as
// lost, and must not be what a small limit is exceeded by. It costs an entry of the log each time.
func lossEvery(limits map[string]failover.Duration) time.Duration {
	every := 15 * time.Second
	for _, limit := range limits {
		every = min(every, limit.D()/6)
	}
	return max(every, time.Second)
}

// noteLosses commits how far the other region's copy of each store is behind, as
// long as both can be seen.
func (l *leadership) noteLosses(ctx context.Context, s *failover.State, votes []failover.Vote, now time.Time) {
	if now.Before(l.nextLoss) || s.Execution != nil || len(s.Settings.Policy.MaxLoss) == 0 {
		return
	}
	samples := losses(s, votes, now, l.core.cfg.LookAge)
	if len(samples) == 0 {
		return
	}
	l.nextLoss = now.Add(lossEvery(s.Settings.Policy.MaxLoss))
	if _, err := l.tenure.Propose(ctx, failover.RecordLoss{Samples: samples}, ""); err != nil {
		l.nextLoss = now.Add(time.Second)
		l.core.cfg.Log.Debug("the samples were not taken", "why", err.Error())
	}
}

// riskEvery is how often what stands in the active region alone is committed.
const riskEvery = 15 * time.Second

// noteAtRisk commits what the newest votes have counted in the active region, as long as somebody counts.
func (l *leadership) noteAtRisk(ctx context.Context, s *failover.State, votes []failover.Vote, now time.Time) {
	if now.Before(l.nextRisk) || s.Execution != nil || s.Level() < failover.LevelOf(failover.RecordAtRisk{}) {
		return
	}
	counted := atRisk(s, votes, now)
	if len(counted) == 0 {
		return
	}
	l.nextRisk = now.Add(riskEvery)
	if _, err := l.tenure.Propose(ctx, failover.RecordAtRisk{Epoch: s.Epoch, Counted: counted}, ""); err != nil {
		l.core.cfg.Log.Debug("what stands in the active region was not taken", "why", err.Error())
	}
}

// atRisk is what the newest vote says that each component has counted in the active region.
func atRisk(s *failover.State, votes []failover.Vote, now time.Time) map[failover.Component]failover.AtRisk {
	out, newest := map[failover.Component]failover.AtRisk{}, map[failover.Component]time.Time{}
	for _, v := range votes {
		if v.Verdict.Abstain || v.Verdict.Region != s.Active || now.Sub(v.Received) > s.Settings.Policy.VoteTTL.D() {
			continue
		}
		for _, sig := range v.Verdict.Signals {
			if sig.AtRisk != nil && sig.AtRisk.Lacks == "" && s.Settings.Component(sig.Component) != nil && v.Received.After(newest[sig.Component]) {
				out[sig.Component], newest[sig.Component] = *sig.AtRisk, v.Received
			}
		}
	}
	return out
}

// losses compares the newest write that each region knows of. Both times are the
// store's own, so no clock of ours is compared with another; only the age of a backup, of
// hours, is by this node's clock. What the active region has written since it was looked at
// for the newest vote is in no copy that is known of, and counts as well: the sample is a bound.
func losses(s *failover.State, votes []failover.Vote, now time.Time, lookAge func(failover.Component) time.Duration) map[string]failover.LossSample {
	type pair struct {
		here, there time.Time
		unseen      time.Duration // since the look behind here
	}
	seen, aged := map[string]pair{}, map[string]time.Time{}
	for _, v := range votes {
		if v.Verdict.Abstain || now.Sub(v.Received) > s.Settings.Policy.VoteTTL.D() {
			continue
		}
		for _, sig := range v.Verdict.Signals {
			if sig.LastWrite.IsZero() || sig.Health == failover.Down {
				continue
			}
			if sig.Plane == failover.PlaneUpkeep {
				// A copy that is made now and then is behind by its age: whatever was written
				// since is not in it.
				if old := aged[string(sig.Component)]; v.Verdict.Region != s.Active && sig.LastWrite.After(old) {
					aged[string(sig.Component)] = sig.LastWrite
				}
				continue
			}
			p := seen[string(sig.Component)]
			switch {
			case v.Verdict.Region == s.Active && sig.LastWrite.After(p.here):
				p.here, p.unseen = sig.LastWrite, max(0, now.Sub(v.Received))
				if lookAge != nil {
					p.unseen += lookAge(sig.Component)
				}
			case v.Verdict.Region != s.Active && sig.LastWrite.After(p.there):
				p.there = sig.LastWrite
			}
			seen[string(sig.Component)] = p
		}
	}
	out := map[string]failover.LossSample{}
	for store, p := range seen {
		if !p.here.IsZero() && !p.there.IsZero() {
			behind := max(0, p.here.Sub(p.there))
			out[store] = failover.LossSample{Behind: failover.Duration(behind + p.unseen), Detail: fmt.Sprintf("the copy in %s was %s behind what %s had written %s before", s.Settings.Other(s.Active), behind.Round(time.Millisecond), s.Active, p.unseen.Round(time.Millisecond))}
		}
	}
	for store, at := range aged {
		age := max(0, now.Sub(at)).Round(time.Second)
		out[store] = failover.LossSample{Behind: failover.Duration(age), Detail: fmt.Sprintf("the newest backup in %s was %s old", s.Settings.Other(s.Active), age)}
	}
	return out
}

// preparable reports whether the plan has steps that may begin before the fence.
func preparable(s *failover.State) bool {
	for _, c := range s.Settings.Components {
		if c.Start != nil && c.Start.Prepare {
			return true
		}
	}
	return false
}

// misfit says why the plan as it is now cannot adopt what was prepared; "" while it
// can, or nothing was.
func misfit(s *failover.State) string {
	if s.Preparation == nil {
		return ""
	}
	p, err := plan.Derive(s.Settings, s.Active)
	if err != nil {
		return "" // said where the plan is asked for
	}
	return s.Misfit(&p)
}
