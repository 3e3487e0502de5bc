package failover

import (
	"fmt"
	"slices"
	"time"
)

// Memory is what the leader remembers between two calls of Decide. It is soft
// state of one term: a new leader starts with the zero value, so its hold
// starts anew (rule D2).
type Memory struct {
	Region Region
	// AgreedSince is when all voices began to see the region down, by the
	// leader's clock; zero: they do not.
	AgreedSince time.Time
	// Voices is the set that agrees. A change restarts the hold.
	Voices []Region
	// LastDissent is when each vantage was last fresh and did not agree. A
	// dissent counts until a hold has passed since then, even if the vantage has
	// gone silent.
	LastDissent map[Region]time.Time
	// HealthySince is when the region began to be free of any down signal.
	HealthySince time.Time
	// Condition is the last condition that was noted in the log.
	Condition Condition
}

// Input is everything that Decide looks at.
type Input struct {
	State *State // of the leader, at least up to its barrier
	// Votes are all votes that the leader holds, fresh or not.
	Votes []Vote
	// Now is the leader's clock. Only differences to Votes' Received and to
	// Memory count.
	Now time.Time
	// AgentHeard is when any agent of the active region was last heard, by the
	// leader's clock; zero: never in this term.
	AgentHeard time.Time
	// TermStart is when the leader passed its barrier.
	TermStart time.Time
}

// Decision is what the leader should do now. At most one of the pointers is set
// besides the judgement; nil everywhere means: nothing.
type Decision struct {
	Judgement Judgement
	// HoldElapsed counts from the agreement; zero without one.
	HoldElapsed time.Duration
	Hold        time.Duration

	// Note is a change of condition for the timeline.
	Note *NoteSuspicion
	// Freeze asks for a provisional freeze, Lift for its end.
	Freeze *FreezeLease
	Lift   *LiftFreeze
	// Open asks for an incident.
	Open *OpenIncident
	// Start says that an execution may start for the open incident.
	Start bool
	// Refuse says why none may.
	Refuse *RefuseIncident
	// Close ends an incident that has passed without an execution.
	Close *CloseIncident
	// Withdraw says that an unapproved execution is no longer needed.
	Withdraw bool
}

// Decide is the whole policy: it looks at the votes and the state and says what
// the leader should do. It never acts and has no clock of its own. The returned
// Memory replaces the one given.
func Decide(in Input, mem Memory) (Decision, Memory) {
	s := in.State
	if s.Settings == nil {
		return Decision{}, mem
	}
	p := s.Settings.Policy
	active := s.Active
	if mem.Region != active {
		mem = Memory{Region: active, LastDissent: map[Region]time.Time{}}
	}
	fresh := freshAt(in.Votes, in.Now, p.VoteTTL.D())
	d := Decision{Judgement: Judge(s.Settings, active, fresh), Hold: p.Hold.D()}
	d.Judgement = followedUs(s, fresh, d.Judgement)
	mem = remember(mem, d.Judgement, in.Now, p.Hold.D())
	if !mem.AgreedSince.IsZero() {
		d.HoldElapsed = in.Now.Sub(mem.AgreedSince)
	}
	d.Note = note(s, d.Judgement, &mem, in.Now.Sub(in.TermStart) < p.VoteTTL.D())

	healthyFor := time.Duration(0)
	if !mem.HealthySince.IsZero() {
		healthyFor = in.Now.Sub(mem.HealthySince)
	}
	switch {
	case s.Execution != nil:
		// A running execution is never blocked by the policy; one that still
		// waits for a person is withdrawn when its reason is gone.
		e := s.Execution
		d.Withdraw = e.State == ExecAwaiting && e.Auto && healthyFor >= p.Hold.D()
	case s.Incident != nil:
		decideIncident(&d, s, healthyFor, p.Hold.D(), in.Now)
		if s.Incident.Execution == 0 && d.Close == nil && !d.Start {
			decideFreeze(&d, s, in)
		}
	case d.Judgement.Condition == RegionDown && d.HoldElapsed >= p.Hold.D():
		votes := withAges(fresh, active, in.Now)
		d.Open = &OpenIncident{Region: active, Votes: votes, Held: Duration(d.HoldElapsed)}
	default:
		decideFreeze(&d, s, in)
	}
	return d, mem
}

// decideIncident looks at an open incident without an execution.
func decideIncident(d *Decision, s *State, healthyFor, hold time.Duration, now time.Time) {
	inc := s.Incident
	if healthyFor >= hold {
		d.Close = &CloseIncident{Incident: inc.ID, Reason: fmt.Sprintf("%s has been healthy for %s", inc.Region, hold)}
		return
	}
	if inc.Execution != 0 {
		return // it had its execution; that one was aborted, and a person goes on
	}
	if d.Judgement.Condition != RegionDown || d.HoldElapsed < hold {
		return // wait: it may come back, or be confirmed again for a whole hold (D2)
	}
	stamp := now
	if s.Time.After(stamp) {
		stamp = s.Time
	}
	if guard, reason := s.AutoGuard(stamp); guard != "" {
		if inc.Refusal != reason {
			d.Refuse = &RefuseIncident{Incident: inc.ID, Guard: guard, Reason: reason}
		}
		return
	}
	d.Start = true
}

// decideFreeze lets the lease run out while the hold still runs (rule G3), as
// long as no agent of the region is heard.
func decideFreeze(d *Decision, s *State, in Input) {
	p := s.Settings.Policy
	lead := p.Hold.D() - s.FreezeWait(s.Active)
	silent := in.Now.Sub(later(in.AgentHeard, in.TermStart))
	f := s.Freeze
	switch {
	case f == nil && p.Mode != ModeObserve && d.Judgement.Condition == RegionDown && d.HoldElapsed > 0 &&
		d.HoldElapsed >= lead && silent >= lead:
		d.Freeze = &FreezeLease{Region: s.Active, Epoch: s.Epoch, Provisional: true}
	case f != nil && f.Provisional && d.HoldElapsed == 0:
		d.Lift = &LiftFreeze{Freeze: f.ID, Reason: "the vantages no longer agree that " + string(s.Active) + " is down"}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// followedUs replaces region-down by failure-followed-us when the region that
// we would move to is seen down as well.
func followedUs(s *State, fresh []Vote, j Judgement) Judgement {
	if j.Condition != RegionDown {
		return j
	}
	other := s.Settings.Other(j.Region)
	// One voice is enough for this: the question is not whether to leave, but
	// whether to go there.
	o := Judge(s.Settings, other, fresh)
	seenDown, seenUp := len(o.Voices) > len(o.Dissent), false
	for _, v := range o.Views {
		seenDown = seenDown || v.Inside && v.Health == Down
		seenUp = seenUp || !v.Inside && v.Health == Healthy
	}
	if seenDown && !seenUp {
		j.Condition = FollowedUs
		j.Sentence = fmt.Sprintf("%s is down (%s), and so is %s (%s)", j.Region, j.Sentence, other, o.Sentence)
	}
	return j
}

// remember updates the hold (rule D2).
func remember(mem Memory, j Judgement, now time.Time, hold time.Duration) Memory {
	dissent := make(map[Region]time.Time, len(mem.LastDissent))
	for r, t := range mem.LastDissent {
		if now.Sub(t) < hold {
			dissent[r] = t
		}
	}
	for _, r := range j.Dissent {
		dissent[r] = now
	}
	// A vantage that has come to agree no longer dissents.
	for _, r := range j.Voices {
		if !slices.Contains(j.Dissent, r) {
			delete(dissent, r)
		}
	}
	mem.LastDissent = dissent

	agreed := j.Condition == RegionDown && len(dissent) == 0
	switch {
	case !agreed:
		mem.AgreedSince, mem.Voices = time.Time{}, nil
	case mem.AgreedSince.IsZero() || !slices.Equal(mem.Voices, j.Voices):
		mem.AgreedSince, mem.Voices = now, slices.Clone(j.Voices)
	}
	if j.Condition == "" {
		if mem.HealthySince.IsZero() {
			mem.HealthySince = now
		}
	} else {
		mem.HealthySince = time.Time{}
	}
	return mem
}

// note proposes a timeline entry when the condition has changed.
// While a new leader still gathers its first votes (warming), it does not say
// that vantages are missing or differ.
func note(s *State, j Judgement, mem *Memory, warming bool) *NoteSuspicion {
	var logged Condition
	if s.Suspicion != nil && s.Suspicion.Region == j.Region {
		logged = s.Suspicion.Condition
	}
	if j.Condition == logged {
		mem.Condition = j.Condition
		return nil
	}
	if warming && (j.Condition == NoAutonomy || j.Condition == Disagreement) {
		return nil
	}
	mem.Condition = j.Condition
	sentence := j.Sentence
	if m := j.Condition.Meaning(); m != "" {
		sentence += " – " + m
	}
	return &NoteSuspicion{Region: j.Region, Condition: j.Condition, Sentence: sentence}
}

// freshAt keeps the votes that arrived within ttl.
func freshAt(votes []Vote, now time.Time, ttl time.Duration) []Vote {
	var out []Vote
	for _, v := range votes {
		if age := now.Sub(v.Received); age >= 0 && age <= ttl {
			out = append(out, v)
		}
	}
	return out
}

// withAges freezes the votes about one region for the log: ages instead of a
// clock that means nothing on another machine.
func withAges(votes []Vote, region Region, now time.Time) []Vote {
	var out []Vote
	for _, v := range votes {
		if v.Verdict.Region == region {
			v.Age = Duration(now.Sub(v.Received))
			v.Received = time.Time{}
			out = append(out, v)
		}
	}
	slices.SortFunc(out, func(a, b Vote) int {
		if a.Node < b.Node {
			return -1
		}
		return 1
	})
	return out
}
