package failover

import (
	"encoding/json"
	"slices"
	"time"
)

// Settings are the parts of the configuration that decide what failoverd may
// do. They are replicated: every node acts on the committed copy and never on
// its own file (rule G4).
type Settings struct {
	Service   string `json:"service"`
	Primary   Region `json:"primary"`
	Secondary Region `json:"secondary"`
	Policy    Policy `json:"policy"`
	// Nodes are the voters of the cluster by ID.
	Nodes map[NodeID]NodeSpec `json:"nodes"`
	// Components are sorted by name.
	Components []ComponentSpec `json:"components"`
	Traffic    TrafficSpec     `json:"traffic"`
}

// Policy holds the numbers and permissions of the decision. All durations are
// real time on the clock of whoever counts them.
type Policy struct {
	Mode Mode `json:"mode"`
	// Hold is how long all outside vantages must agree without a break.
	Hold Duration `json:"hold"`
	// PrepareAfter is how long the vantages must agree before steps marked
	// prepare are started, and people are told. They undo themselves when the
	// suspicion passes. Zero prepares nothing.
	PrepareAfter Duration `json:"prepare_after,omitempty"`
	// VoteTTL is how long a ballot stays fresh after the leader received it.
	VoteTTL Duration `json:"vote_ttl"`
	// Ask says how long a supervised execution waits for a person, and what
	// happens then: "hold" or "proceed".
	Ask AskPolicy `json:"ask"`
	// Cooldown keeps automation quiet after a completed failover.
	Cooldown Duration `json:"cooldown"`
	// MaxPerDay is the number of automatic executions in any 24 hours.
	MaxPerDay int `json:"max_per_day"`
	// MaxLoss is the largest loss of data per store that automation may accept.
	// A store that is not named is not asked about.
	MaxLoss map[string]Duration `json:"max_loss,omitempty"`
	// MaxShrink is the share of an inventory, in percent, that may be missing
	// before it is distrusted. Zero means the default.
	MaxShrink int `json:"max_shrink,omitempty"`
	// TwoNodes says that a person's order which makes something happen counts when it
	// has come through two nodes.
	TwoNodes bool       `json:"two_nodes,omitempty"`
	Lease    LeaseTerms `json:"lease"`
}

// DefaultMaxShrink is the share of an inventory, in percent, that may be
// missing before it is distrusted.
const DefaultMaxShrink = 30

// Shrunk reports whether an inventory that should have been want objects, and
// is have, must be distrusted.
func (p Policy) Shrunk(want, have int) bool {
	limit := p.MaxShrink
	if limit == 0 {
		limit = DefaultMaxShrink
	}
	return want > 0 && have < want && (want-have)*100 > want*limit
}

// AskPolicy is what happens to a question that nobody answers.
type AskPolicy struct {
	Wait Duration `json:"wait"`
	Then string   `json:"then"` // "hold" or "proceed"
}

// LeaseTerms are the numbers of the lease protocol (rules G3 to G5).
type LeaseTerms struct {
	// Length is how long a grant is valid, counted from the moment when the
	// agent sent its request, on the agent's CLOCK_BOOTTIME.
	Length Duration `json:"length"`
	// Renew is how often an agent asks.
	Renew Duration `json:"renew"`
	// RhoPPM bounds the rate error of any clock, in parts per million.
	RhoPPM int `json:"rho_ppm"`
	// Margin is added to every wait, for scheduling and rounding.
	Margin Duration `json:"margin"`
	// EffectTail is how long an effect that a worker began may still take to
	// land after the worker was killed.
	EffectTail Duration `json:"effect_tail"`
	// Stop is the stop budget: watchdog, grace, kill and safety together. An
	// agent begins to stop its workers this long before the lease ends.
	Stop StopBudget `json:"stop"`
}

// StopBudget is the time that stopping takes, in its parts (rule G5).
type StopBudget struct {
	// Watchdog is how long an agent may be stuck before its service manager
	// kills it, and the worker with it. Zero: the worker has a guard of its own.
	Watchdog Duration `json:"watchdog,omitempty"`
	Grace    Duration `json:"grace"`  // from SIGTERM to SIGKILL
	Kill     Duration `json:"kill"`   // for SIGKILL to be effective
	Safety   Duration `json:"safety"` // for everything that nobody thought of
}

// Total is the whole budget.
func (b StopBudget) Total() time.Duration {
	return b.Watchdog.D() + b.Grace.D() + b.Kill.D() + b.Safety.D()
}

// Wait is how long the granter waits after a freeze before lease expiry is
// evidence: length × (1+ρ)/(1−ρ) + margin + effect tail (rule G3). The largest
// length that any agent may still hold is passed in; zero means Length.
func (t LeaseTerms) Wait(length time.Duration) time.Duration {
	length = max(length, t.Length.D())
	// (1+ρ)/(1−ρ) is rounded up by adding one microsecond.
	num, den := int64(1_000_000+t.RhoPPM), int64(1_000_000-t.RhoPPM)
	us := length.Microseconds()
	scaled := time.Duration(us/den*num+us%den*num/den)*time.Microsecond + time.Microsecond // us × num: 107 days are too many
	return scaled + t.Margin.D() + t.EffectTail.D()
}

// Retry is how often an agent asks again that has no answer to its last request: a
// fifth of Renew, and not more often than five times a second.
func (t LeaseTerms) Retry() time.Duration {
	return max(t.Renew.D()/5, 200*time.Millisecond)
}

// Tolerates is the longest cut between an agent and the quorum that stops
// nothing: lease − stop budget − renewal, less what it takes to get an answer once
// the way is open again. The last lease before the cut may be as old as a renewal,
// and the first request after it is one that is repeated.
func (t LeaseTerms) Tolerates(answer time.Duration) time.Duration {
	return t.Length.D() - t.Stop.Total() - t.Renew.D() - t.Retry() - answer
}

// NodeSpec is one watchdog node.
type NodeSpec struct {
	Vantage Region `json:"vantage"`
	Address string `json:"address"` // host:port of its mTLS port
}

// ComponentSpec is a part of the service, as the plan needs it.
type ComponentSpec struct {
	Name Component `json:"name"`
	// After names the components that must have started before this one.
	After []Component `json:"after,omitempty"`
	// Stop is how the component is stopped in the region being left. Nil means
	// that it is not critical: it may go on running there.
	Stop *StopSpec `json:"stop,omitempty"`
	// Start is how it is started in the region being entered.
	Start *ActionSpec `json:"start,omitempty"`
	// Brings is what is done in place of Start in a switchover, where the region that is left can still be asked. Nil: Start.
	Brings *BringSpec `json:"brings,omitempty"`
	// Checks are looked at after the switch.
	Checks []ActionSpec `json:"checks,omitempty"`
	// Agent says whether its processes run under the lease of an agent.
	Agent bool `json:"agent,omitempty"`
	// Arming is the component's rung on the ladder. Meaningless without Agent.
	Arming Arming `json:"arming,omitempty"`
	// OnIsolation is "stop" or "keep": what its agents do when the lease ends.
	// With "keep", lease expiry is never evidence.
	OnIsolation string `json:"on_isolation,omitempty"`
	// LongestWork is how long a piece of work may go on after its process was
	// told to stop, where no lease bounds it (a function's time-out). Zero: not
	// known.
	LongestWork Duration `json:"longest_work,omitempty"`
}

// StopSpec is how a component is stopped and what proves it. All its actions are
// tried at once; each is verified by itself, and one that is proven is enough.
type StopSpec struct {
	Action *ActionSpec     `json:"action,omitempty"` // nil: the agents alone
	Also   []ActionSpec    `json:"also,omitempty"`   // further levels beside Action
	Proof  []EvidenceClass `json:"proof"`
}

// Actions are all levels of the stop.
func (s StopSpec) Actions() []ActionSpec {
	if s.Action == nil {
		return nil
	}
	return append([]ActionSpec{*s.Action}, s.Also...)
}

// opens says that a stop leaves something that a plan has to lift.
func (s *Settings) opens() bool {
	return slices.ContainsFunc(s.Components, func(c ComponentSpec) bool {
		return c.Stop != nil && slices.ContainsFunc(c.Stop.Actions(), func(a ActionSpec) bool { return a.Opens != nil })
	})
}

// stands says that a start is looked after once it is done.
func (s *Settings) stands() bool {
	return slices.ContainsFunc(s.Components, func(c ComponentSpec) bool { return c.Start != nil && c.Start.Stands })
}

// allows says that a person may let a start do in mid-plan what it refuses.
func (s *Settings) allows() bool {
	return slices.ContainsFunc(s.Components, func(c ComponentSpec) bool {
		return c.Start != nil && (len(c.Start.Overrides) > 0 || c.Start.Keys)
	})
}

// Brings reports whether a switchover takes along what a store holds, so that nothing of it is lost. A store bears its component's name.
func (s *Settings) Brings(store string) bool {
	c := s.Component(Component(store))
	return c != nil && c.Brings != nil
}

// brings says that a switchover does more than a failover.
func (s *Settings) brings() bool {
	return slices.ContainsFunc(s.Components, func(c ComponentSpec) bool { return s.Brings(string(c.Name)) })
}

// Accepts says whether the component's proof admits evidence of class c. A
// person's attestation is always admitted: it is the way out of every
// "could not be proven".
func (s StopSpec) Accepts(c EvidenceClass) bool {
	return c == Attested || slices.Contains(s.Proof, c)
}

// ActionSpec names an action or check kind with its parameters for both
// regions. Params holds the JSON of the kind's configuration, with {region}
// filled in.
type ActionSpec struct {
	Kind    string                     `json:"kind"`
	Version int                        `json:"version"` // of the kind (rule E8)
	Params  map[Region]json.RawMessage `json:"params"`
	Timeout Duration                   `json:"timeout,omitempty"`
	// Approval asks a person before the step starts.
	Approval bool `json:"approval,omitempty"`
	// Irreversible marks a step that cannot be undone.
	Irreversible bool `json:"irreversible,omitempty"`
	// OnError is "halt" (default) or "continue".
	OnError string `json:"on_error,omitempty"`
	// Retries bounds how often the action is tried again. Zero: as often as the
	// time-out allows.
	Retries int `json:"retries,omitempty"`
	// Tokens says that the resource checks tokens (see Step.Tokens).
	Tokens bool `json:"tokens,omitempty"`
	// Latched says that what a switch has moved stays moved (see Step.Latched).
	Latched bool `json:"latched,omitempty"`
	// Prepare lets the step start before the fence, after Policy.PrepareAfter.
	Prepare bool `json:"prepare,omitempty"`
	// Proves is the class of evidence that a stop gives when it is seen to have
	// taken effect. Empty means Confirmed.
	Proves EvidenceClass `json:"proves,omitempty"`
	// Opens are the parameters, by region, with which the same kind lifts what a stop of it may have left in a region that is
	// entered. Nil: it leaves nothing.
	Opens map[Region]json.RawMessage `json:"opens,omitempty"`
	// Stands says that a start is looked after once it is done (see Step.Stands).
	Stands bool `json:"stands,omitempty"`
	// Overrides and Keys are what a person may allow in mid-plan (see Step.Overrides).
	Overrides []string `json:"overrides,omitempty"`
	Keys      bool     `json:"keys,omitempty"`
	// Require are checks that must pass before the action is tried; Verify are
	// checks that must pass after it has taken effect.
	Require []CheckParams `json:"require,omitempty"`
	Verify  []CheckParams `json:"verify,omitempty"`
}

// BringSpec is a start that takes along what the region that is left holds.
type BringSpec struct {
	// Dump takes it, once the fence has shown that nobody writes any more, and brings it to the region that is entered.
	Dump ActionSpec `json:"dump"`
	// Start is the start behind it, which takes what Dump has brought and nothing else.
	Start ActionSpec `json:"start"`
}

// CheckParams is a check beside an action, with its parameters for both regions.
type CheckParams struct {
	Kind    string                     `json:"kind"`
	Version int                        `json:"version"`
	Params  map[Region]json.RawMessage `json:"params"`
}

// TrafficSpec is how clients are moved.
type TrafficSpec struct {
	// Switch is the actuators in order. Each has Params per region, meaning
	// "send the traffic to this region".
	Switch []ActionSpec `json:"switch"`
	// After names the components that must have started first.
	After []Component `json:"after"`
	// Checks are looked at after the switch.
	Checks []ActionSpec `json:"checks,omitempty"`
}

// Component returns the named component, or nil.
func (s *Settings) Component(name Component) *ComponentSpec {
	for i := range s.Components {
		if s.Components[i].Name == name {
			return &s.Components[i]
		}
	}
	return nil
}

// Other returns the region of the pair that r is not. It returns "" for a
// region that is not one of the two.
func (s *Settings) Other(r Region) Region {
	switch r {
	case s.Primary:
		return s.Secondary
	case s.Secondary:
		return s.Primary
	}
	return ""
}

// OutsideVantages returns the distinct vantages that are not in region r,
// sorted.
func (s *Settings) OutsideVantages(r Region) []Region {
	var out []Region
	for _, n := range s.Nodes {
		if n.Vantage != r {
			out = append(out, n.Vantage)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
