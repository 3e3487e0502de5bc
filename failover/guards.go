package failover

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Standby is what the leader has seen of the region that would be entered. It is
// soft state: a new leader looks anew.
type Standby struct {
	// Checked says that every step of the plan has been looked at in this term.
	Checked bool
	// Problems are what would stand in the way of the plan there, each as a
	// sentence.
	Problems []string
}

// The guards. Each objection names its guard; a person may act in spite of one
// with --override, which is recorded with who and why. The fence is no guard:
// nothing overrides it.
const (
	GuardMode      = "mode"
	GuardDirection = "direction"
	GuardPause     = "pause"
	GuardCooldown  = "cooldown"
	GuardMaxPerDay = "max-per-day"
	GuardLoss      = "loss"
	GuardStandby   = "standby"
	GuardFollowed  = "failure-followed-us"
	GuardFenced    = "fenced"
	GuardLate      = LateWrite
	// What was prepared for another plan is undone before an execution begins.
	GuardPreparation = "preparation"
)

// Overridable lists the guards that --override accepts for an execution that a
// person asks for. The others bind automation only.
func Overridable() []string {
	return []string{GuardDirection, GuardPause, GuardLoss, GuardStandby, GuardFollowed, GuardFenced, GuardLate}
}

// overridable is Overridable as members of the level in force know it.
func (s *State) overridable() []string {
	if s.Level() < 3 {
		return slices.DeleteFunc(Overridable(), func(g string) bool { return g == GuardLate || g == GuardDirection })
	}
	return Overridable()
}

// byHand is how a person acts where automation may not.
const byHand = "`failoverd failover --why …` acts"

// override is how a person asks for an execution of a kind in spite of a guard: the kind stays what was asked for, for a failover
// does not take along what a switchover does.
func override(kind ExecKind, guard string) string {
	return "`failoverd " + string(kind) + " --override " + guard + " --why …` acts in spite of it"
}

// AutoGuard names the first guard that objects to an automatic execution at
// the given time and says how to go on. Guard "" means that none does. It looks
// only at what is in the log, so that Apply and the leader agree.
func (s *State) AutoGuard(now time.Time) (guard, reason string) { return s.autoGuard(now, 0) }

// autoGuard is AutoGuard of an execution that is so many times among AutoRuns already.
func (s *State) autoGuard(now time.Time, counted int) (guard, reason string) {
	p := s.Settings.Policy
	recent := -counted
	for _, t := range s.AutoRuns {
		if now.Sub(t) < 24*time.Hour {
			recent++
		}
	}
	switch {
	case p.Mode == ModeObserve:
		return GuardMode, "the mode is observe: failoverd only says what it would do; " + byHand
	case s.Active != s.Settings.Primary:
		return GuardDirection, s.wayBack() + "; automation does nothing before, " + override(Failover, GuardDirection)
	case s.Paused(now):
		return GuardPause, s.pausedSentence() + "; `failoverd resume` ends the pause, " + override(Failover, GuardPause)
	case now.Before(s.CooldownUntil):
		return GuardCooldown, "a failover was completed recently; automation rests until " + s.CooldownUntil.Format(time.RFC3339) + "; " + byHand
	case recent >= p.MaxPerDay:
		return GuardMaxPerDay, "the limit of automatic executions in 24 hours is reached (max_per_day); " + byHand
	}
	if reason := s.fenceObjection(); reason != "" {
		return GuardFenced, reason + "; " + override(Failover, GuardFenced)
	}
	if reason := s.LateWrites(); reason != "" {
		return GuardLate, reason + "; " + override(Failover, GuardLate)
	}
	if reason := s.lossObjection(now, Failover); reason != "" {
		return GuardLoss, reason + "; " + override(Failover, GuardLoss)
	}
	return "", ""
}

// HandGuard is AutoGuard for an execution that a person asked for, in spite of
// the guards named in overrides.
func (s *State) HandGuard(now time.Time, kind ExecKind, overrides []string) (guard, reason string) {
	objects := func(g, why string) bool {
		if why == "" || slices.Contains(overrides, g) {
			return false
		}
		guard, reason = g, why+"; "+override(kind, g)
		return true
	}
	paused := ""
	if s.Paused(now) {
		paused = s.pausedSentence() + "; `failoverd resume` ends the pause"
	}
	// A switchover is how a person brings the service home, from a region that lives.
	away := ""
	if s.Level() >= 3 && kind != Switchover && s.Active != s.Settings.Primary {
		away = s.wayBack()
	}
	if objects(GuardDirection, away) || objects(GuardPause, paused) || objects(GuardFenced, s.fenceObjection()) || objects(GuardLate, s.LateWrites()) || objects(GuardLoss, s.lossObjection(now, kind)) {
		return guard, reason
	}
	return "", ""
}

// LeaderGuard adds to the guards of the log what only the leader sees: whether
// the other region is ready and not failing itself.
func LeaderGuard(kind ExecKind, j Judgement, sb Standby, overrides []string) (guard, reason string) {
	switch {
	case j.Condition == FollowedUs && !slices.Contains(overrides, GuardFollowed):
		return GuardFollowed, j.Sentence + "; " + FollowedUs.Meaning() + "; " + override(kind, GuardFollowed)
	case slices.Contains(overrides, GuardStandby):
	case !sb.Checked:
		return GuardStandby, "the leader has not yet looked at the region to be entered; it does so at once"
	case len(sb.Problems) > 0:
		more := ""
		if n := len(sb.Problems) - 1; n > 0 {
			more = fmt.Sprintf(" (and %d more)", n)
		}
		return GuardStandby, "the region to be entered is not ready: " + sb.Problems[0] + more + "; " + override(kind, GuardStandby)
	}
	return "", ""
}

// wayBack says how the region that was entered is left again: the configuration protects the other one.
func (s *State) wayBack() string {
	return fmt.Sprintf("%s is active, and the way back is a person's decision: the configuration protects %s. When %s is fit for it, `failoverd switchover --why …` brings the service home while %s lives; where it is to stay, exchange primary and secondary (`failoverd config apply`): from then on %s is protected",
		s.Active, s.Settings.Primary, s.Settings.Other(s.Active), s.Active, s.Active)
}

func (s *State) pausedSentence() string {
	return "automation is paused by " + s.Pause.By + " until " + s.Pause.Until.Format(time.RFC3339) + " (" + s.Pause.Why + ")"
}

// fenceObjection says why the region that would be entered must not be opened: what was only cut off there when it was
// left may run on behind the fence, and would work again when it is lifted, beside what is started anew.
func (s *State) fenceObjection() string {
	if s.Level() < 3 {
		return ""
	}
	to := s.Settings.Other(s.Active)
	for _, h := range s.Holds {
		if h.Step.Kind != KindStop || h.Step.Region != to || h.Step.Proves != Resource {
			continue
		}
		if !s.Settings.lifts(h.Step.Action) {
			continue
		}
		if !slices.ContainsFunc(s.Holds, func(o StandingHold) bool {
			return o.Component == h.Component && o.Step.Kind == KindStop && o.Step.Region == to && (o.Ended || o.Status == HoldKept && s.Settings.showsEnd(o.Component, o.Step))
		}) {
			return fmt.Sprintf("%s is cut off in %s by %s, and nothing has shown that its old processes have ended: they would work again if the plan opens the network there; end them, see that they have ended, and say so (`failoverd ended %s --why …`)", h.Component, to, h.Step.Action, h.Component)
		}
	}
	return ""
}

// lifts reports whether the plan opens what a kind of stop has cut off, of whichever component: what it cut off may bear another
// name by now.
func (s *Settings) lifts(kind string) bool {
	return slices.ContainsFunc(s.Components, func(c ComponentSpec) bool {
		return c.Stop != nil && slices.ContainsFunc(c.Stop.Actions(), func(a ActionSpec) bool { return a.Kind == kind && a.Opens != nil })
	})
}

// showsEnd reports whether a stop that holds shows that its component's processes have ended: one whose word counts for it, and
// says more than that they are cut off. Of a component that is not configured any more nobody says whose word counts.
func (s *Settings) showsEnd(c Component, st Step) bool {
	class := st.Evidence()
	part := s.Component(c)
	return class != Resource && part != nil && part.Stop != nil && part.Stop.Accepts(class)
}

// unwanted says why an execution that waits for its first approval would not be begun by automation now: the policy approves nothing that
// the guards would refuse. "" if they would not, or a person has asked for it.
func (s *State) unwanted(e *Execution, now time.Time) string {
	if s.Level() < 3 || !e.Auto || e.State != ExecAwaiting {
		return ""
	}
	switch {
	case s.Suspicion == nil || s.Suspicion.Region != e.From:
		return string(e.From) + " is not seen down any more"
	case s.Suspicion.Condition != RegionDown:
		return fmt.Sprintf("the condition of %s is %s", e.From, s.Suspicion.Condition)
	}
	_, why := s.autoGuard(now, 1)
	return why
}

// sampleGap is how long before the failure the newest sample of a loss may have
// been taken and still count.
const sampleGap = 2 * time.Minute

// holdBegan is since when the active region has been held to have failed, and now while it is not. When the voices change,
// the hold begins anew, and the failure does not.
func (s *State) holdBegan(now time.Time) time.Time {
	switch {
	case s.Incident != nil:
		return s.Incident.At.Add(-s.Incident.Held.D())
	case s.Suspicion != nil:
		return s.Suspicion.Since
	}
	return now
}

// failureBegan is since when the active region has not been seen alive, and now while it is.
func (s *State) failureBegan(now time.Time) time.Time {
	began := s.holdBegan(now)
	if s.Suspicion != nil && !s.Suspicion.DownSince.IsZero() && s.Suspicion.DownSince.Before(began) {
		return s.Suspicion.DownSince
	}
	return began
}

// SinceFailure is how old something was when the active region failed, or is now while it has not; never negative.
func (s *State) SinceFailure(at, now time.Time) time.Duration {
	return max(0, s.failureBegan(now).Sub(at))
}

// LossOf is what would be lost of a store if the active region is gone: at most what was written in the time atMost before it
// failed, by the newest sample, which had the given age then. What was written between the sample and the failure may be in
// no copy either, and counts. What a region that is only cut off goes on writing does not. False: there is no sample.
func (s *State) LossOf(store string, now time.Time) (sample LossSample, age, atMost Duration, ok bool) {
	sample, ok = s.Loss[store]
	age = Duration(s.SinceFailure(sample.At, now))
	return sample, age, sample.Behind + age, ok
}

// lossObjection says why too much data may be lost. The samples were taken
// before the failure; how old they may be counts from its beginning.
func (s *State) lossObjection(now time.Time, kind ExecKind) string {
	// The hold may have begun anew since the failure did. One more hold is allowed for
	// and no more: a region that is only cut off may be written to all the while.
	began := s.holdBegan(now)
	if failed := s.failureBegan(now); failed.Before(began) {
		began = later(failed, began.Add(-s.Settings.Policy.Hold.D()))
	}
	limits := s.Settings.Policy.MaxLoss
	for _, store := range slices.Sorted(maps.Keys(limits)) {
		// The time between the sample and the failure is in the price, and not here: a leader that falls in mid-hold can make the failure
		// seem to begin later than it did, and a needed failover would be refused by that.
		sample, ok := s.Loss[store]
		switch {
		case kind == Switchover && s.Settings.Brings(store):
		case !ok:
			return fmt.Sprintf("it is not known what would be lost of %s: there is no sample, and max_loss allows %s", store, limits[store])
		case began.Sub(sample.At) > sampleGap:
			return fmt.Sprintf("it is not known what would be lost of %s: the newest sample is from %s, long before the failure", store, sample.At.Format(time.RFC3339))
		case sample.Behind > limits[store]:
			return fmt.Sprintf("up to %s of %s would be lost (%s), and max_loss allows %s", sample.Behind, store, sample.Detail, limits[store])
		}
	}
	return ""
}
