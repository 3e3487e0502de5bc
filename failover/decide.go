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
	// Lonely says that what the log has of a region with too few voices says that
	// they see it down.
	Lonely bool
	// LastAgreed is when all voices agreed last; zero: not in this term.
	LastAgreed time.Time
	// TargetDown is since when the region that a running execution enters is seen
	// down; zero: it is not.
	TargetDown time.Time
	// Request is the pending request and RequestAt when it was first seen.
	Request   uint64
	RequestAt time.Time
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
	// Standby is what the leader has seen of the region that would be entered.
	Standby Standby
	// Preparable says that the plan has steps that may be prepared.
	Preparable bool
	// Misfit says why the plan as it is now cannot adopt what was prepared
	// (State.Misfit); "" while it can.
	Misfit string
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
	// Withdraw says that an execution which no person wants is no longer needed.
	Withdraw bool
	// Prepare says that the steps marked prepare may begin; Unprepare that they
	// are to be undone. TakeBack says why they are undone whatever is open: no
	// execution can adopt them.
	Prepare   bool
	Unprepare *EndPreparation
	TakeBack  string
	// StartRequested says that the execution a person asked for may start;
	// RefuseRequest says why it may not.
	StartRequested bool
	RefuseRequest  *RefuseRequest
	// Suspend stops the running execution and asks.
	Suspend *Suspend
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
	decidePreparation(&d, s, in, mem)
	switch {
	case s.Execution != nil:
		// A running execution is never blocked by the policy. One that still waits for a
		// person is withdrawn when its reason is gone, and so is one that nobody asked
		// for while nothing irreversible has begun (rule G8).
		e := s.Execution
		d.Withdraw = healthyFor >= p.Hold.D() && (e.State == ExecAwaiting && e.Auto || s.Level() >= 3 && s.Epoch == e.Epoch && e.Withdrawable())
		mem = decideTarget(&d, s, fresh, mem, in.Now)
	case s.Request != nil:
		mem = decideRequest(&d, s, in, mem)
	case s.Incident != nil:
		decideIncident(&d, s, in, healthyFor, p.Hold.D())
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
func decideIncident(d *Decision, s *State, in Input, healthyFor, hold time.Duration) {
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
	guard, reason := s.AutoGuard(later(in.Now, s.Time))
	if guard == "" {
		if !in.Standby.Checked {
			return // the leader looks at the other region right now
		}
		guard, reason = LeaderGuard(Failover, d.Judgement, in.Standby, nil)
	}
	if guard == "" && in.Misfit != "" {
		guard, reason = GuardPreparation, in.Misfit
	}
	if guard != "" {
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
	// Never at the first sign: an agent asks every few seconds, and one that is
	// heard shows that the region is not dark.
	lead := max(p.Hold.D()-s.FreezeWait(s.Active), p.Lease.Renew.D())
	silent := in.Now.Sub(later(in.AgentHeard, in.TermStart))
	f := s.Freeze
	switch {
	case f == nil && p.Mode != ModeObserve && !s.Paused(later(in.Now, s.Time)) && d.Judgement.Condition == RegionDown && d.HoldElapsed > 0 &&
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
	if sentence := failing(s, other, fresh); sentence != "" {
		j.Condition = FollowedUs
		j.Sentence = fmt.Sprintf("%s is down (%s), and so is %s (%s)", j.Region, j.Sentence, other, sentence)
	}
	return j
}

// failing says how the region to be entered is seen down; "" if it is not. One
// voice is enough for this: the question is not whether to leave, but whether to
// go there.
func failing(s *State, region Region, fresh []Vote) string {
	o := Judge(s.Settings, region, fresh)
	seenDown, seenUp := len(o.Voices) > len(o.Dissent), false
	for _, v := range o.Views {
		seenDown = seenDown || v.Inside && v.Health == Down
	}
	for _, v := range fresh {
		seenUp = seenUp || v.Verdict.Region == region && v.Vantage != region && v.Verdict.serves()
	}
	if seenDown && !seenUp {
		return o.Sentence
	}
	return ""
}

// decidePreparation begins what is cheap and undoable, and takes it back when
// the vantages have not agreed for as long as it took to begin.
func decidePreparation(d *Decision, s *State, in Input, mem Memory) {
	after := s.Settings.Policy.PrepareAfter.D()
	p := s.Preparation
	switch {
	case p != nil && p.State == ExecRunning && s.Execution == nil && in.Misfit != "":
		d.TakeBack = in.Misfit
	case p != nil && p.State == ExecRunning && s.Incident == nil && s.Execution == nil && s.Request == nil:
		if in.Now.Sub(later(mem.LastAgreed, in.TermStart)) >= after {
			d.Unprepare = &EndPreparation{Preparation: p.ID, Reason: "the vantages have not agreed that " + string(s.Active) + " is down for " + after.String()}
		}
	case p != nil || s.Execution != nil || s.Incident != nil || after == 0 || !in.Preparable:
	case d.Judgement.Condition == RegionDown && d.HoldElapsed >= after:
		since := suspectedSince(s)
		guard, _ := s.AutoGuard(later(in.Now, s.Time))
		d.Prepare = guard == "" && !since.IsZero() && !since.Equal(s.PreparedFor)
	}
}

// decideRequest judges the wish of a person. What the leader has not yet looked
// at is waited for, within limits: a person waits for the answer.
func decideRequest(d *Decision, s *State, in Input, mem Memory) Memory {
	r := s.Request
	if mem.Request != r.ID {
		mem.Request, mem.RequestAt = r.ID, in.Now
	}
	guard, reason := s.HandGuard(later(in.Now, s.Time), r.Kind, r.Overrides)
	if guard == "" {
		guard, reason = LeaderGuard(r.Kind, d.Judgement, in.Standby, r.Overrides)
		if guard == GuardStandby && !in.Standby.Checked && in.Now.Sub(mem.RequestAt) < requestPatience {
			return mem
		}
	}
	switch {
	case guard != "":
		d.RefuseRequest = &RefuseRequest{Request: r.ID, Guard: guard, Reason: reason}
	case in.Misfit == "": // otherwise it waits until what was prepared is undone
		d.StartRequested = true
	}
	return mem
}

// requestPatience is how long a request waits for the leader to look at the
// region to be entered.
const requestPatience = 30 * time.Second

// decideTarget stops an execution whose target has been failing for as long as a
// suspicion of it would take to prepare anything.
func decideTarget(d *Decision, s *State, fresh []Vote, mem Memory, now time.Time) Memory {
	e, p := s.Execution, s.Settings.Policy
	sentence := failing(s, e.To, fresh)
	if sentence == "" {
		mem.TargetDown = time.Time{}
		return mem
	}
	if mem.TargetDown.IsZero() {
		mem.TargetDown = now
	}
	patience := p.PrepareAfter.D()
	if patience == 0 {
		patience = p.Hold.D() / 3
	}
	if e.State == ExecRunning && e.Question == nil && now.Sub(mem.TargetDown) >= patience && !e.Approved(suspended) {
		d.Suspend = &Suspend{Execution: e.ID, Condition: FollowedUs, Sentence: sentence}
	}
	return mem
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
	if agreed {
		mem.LastAgreed = now
	}
	if j.Condition.serves() {
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
// that vantages are missing or differ, nor that all are blind: the only one that it has
// heard may have just started.
func note(s *State, j Judgement, mem *Memory, warming bool) *NoteSuspicion {
	var logged Condition
	if s.Suspicion != nil && s.Suspicion.Region == j.Region {
		logged = s.Suspicion.Condition
	}
	// That the region shows life is noted once, also under the same name.
	revived := j.Alive && !j.Condition.dark() && s.Suspicion != nil && !s.Suspicion.DownSince.IsZero()
	// With too few voices nothing follows by itself, all the more must a person hear
	// that the one who is left sees the region go down.
	lonely := j.Condition == NoAutonomy && len(j.Voices) > len(j.Dissent)
	sentence := j.Sentence
	if m := j.Condition.Meaning(); m != "" {
		sentence += " – " + m
	}
	// An earlier leader may have said so: the log has its sentence.
	said := mem.Lonely || s.Suspicion != nil && s.Suspicion.Sentence == sentence
	if j.Condition == logged && !revived && (!lonely || said) {
		mem.Condition, mem.Lonely = j.Condition, lonely
		return nil
	}
	if warming && (j.Condition == NoAutonomy || j.Condition == Disagreement || j.Condition == SelfIsolated && j.unheard) {
		return nil
	}
	mem.Condition, mem.Lonely = j.Condition, lonely
	return &NoteSuspicion{Region: j.Region, Condition: j.Condition, Sentence: sentence, Alive: j.Alive && j.Condition != ""}
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
