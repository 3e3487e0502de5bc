package failover

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// ExecKind is the kind of an execution.
type ExecKind string

// The kinds. A drill of the whole plan would be a further kind of the same
// machinery; it is not accepted yet.
const (
	// Failover moves the service out of a region that failed.
	Failover ExecKind = "failover"
	// Switchover moves it out of a region that can still be asked, at a person's request: its plan takes along what would be lost
	// in a failover (ComponentSpec.Brings).
	Switchover ExecKind = "switchover"
	// Preparation carries out the steps marked prepare while a failure is only
	// suspected. It is adopted by the failover, or undoes itself (rule E7).
	Preparation ExecKind = "preparation"
)

// Leaves reports whether an execution of the kind takes the service out of a region.
func (k ExecKind) Leaves() bool { return k == Failover || k == Switchover }

// ExecState says where an execution stands.
type ExecState string

// The execution states. The last three are final.
const (
	ExecAwaiting ExecState = "awaiting-approval"
	ExecRunning  ExecState = "running"
	ExecHeld     ExecState = "held"     // nothing new starts until a person says so
	ExecAborting ExecState = "aborting" // waits for what has started, then undoes if asked
	ExecStable   ExecState = "stable"
	ExecUndone   ExecState = "undone"
	ExecAborted  ExecState = "aborted"
)

// Final reports whether nothing can change any more.
func (s ExecState) Final() bool { return s == ExecStable || s == ExecUndone || s == ExecAborted }

// StepKind says who carries a step out.
type StepKind string

// The step kinds.
const (
	KindFreeze StepKind = "freeze" // stops all grants for the region being left
	KindStop   StepKind = "stop"   // an action in the region being left; its failure is not final, evidence decides
	KindFence  StepKind = "fence"  // waits for evidence for every fenced component, then advances the epoch
	KindStart  StepKind = "start"  // an action in the region being entered
	KindSwitch StepKind = "switch" // an action that moves clients
	KindCheck  StepKind = "check"  // looks at the world
	KindStable StepKind = "stable" // declares the execution done
)

// Plan is a frozen graph of steps with resolved parameters (rule E8).
type Plan struct {
	Version int      `json:"version"`
	Kind    ExecKind `json:"kind"`
	From    Region   `json:"from"`
	To      Region   `json:"to"`
	// Steps are in an order in which they could run one after another.
	Steps []Step `json:"steps"`
	// Fenced lists the components that need evidence, with what is accepted.
	Fenced []FencedComponent `json:"fenced"`
}

// FencedComponent is a critical component of the region being left.
type FencedComponent struct {
	Component   Component       `json:"component"`
	Proof       []EvidenceClass `json:"proof"`
	Agent       bool            `json:"agent,omitempty"`
	Arming      Arming          `json:"arming,omitempty"`
	OnIsolation string          `json:"on_isolation,omitempty"`
	LongestWork Duration        `json:"longest_work,omitempty"`
}

// LeaseProves reports whether lease expiry can be evidence for the component
// at all.
func (f FencedComponent) LeaseProves() bool {
	return f.Agent && f.Arming == ArmEnforced && f.OnIsolation == "stop" && slices.Contains(f.Proof, Lease)
}

// Step is one node of the plan.
type Step struct {
	ID        StepID    `json:"id"`
	Kind      StepKind  `json:"kind"`
	Component Component `json:"component,omitempty"`
	Region    Region    `json:"region,omitempty"` // where it acts; empty for the global and the internal
	After     []StepID  `json:"after,omitempty"`
	// AfterOne are steps of which at least one must be done: several ways to the
	// same end.
	AfterOne []StepID `json:"after_one,omitempty"`
	// Action and Params name the action or check kind. Empty for internal steps.
	Action  string          `json:"action,omitempty"`
	Version int             `json:"version,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Timeout Duration        `json:"timeout,omitempty"`
	OnError string          `json:"on_error,omitempty"` // "halt" or "continue"
	// Approval asks a person before the step starts.
	Approval bool `json:"approval,omitempty"`
	// NoReturn marks the step after which going back means failback.
	NoReturn bool `json:"no_return,omitempty"`
	// Retries bounds how often the action is tried again; zero: the time-out does.
	Retries int `json:"retries,omitempty"`
	// Tokens says that the resource refuses a write that does not name the token
	// that it replaces.
	Tokens bool `json:"tokens,omitempty"`
	// Latched says that what a switch has moved stays moved without any node.
	Latched bool `json:"latched,omitempty"`
	// Prepare says that the step may begin before the fence (rule E7).
	Prepare bool `json:"prepare,omitempty"`
	// Proves is the class of evidence that a stop gives; empty: Confirmed.
	Proves EvidenceClass `json:"proves,omitempty"`
	// Stands says that what a start has brought about is looked after as long as its region is active.
	Stands bool `json:"stands,omitempty"`
	// Overrides are the refusals that a person may lift while the plan is under way, and Keys says that he may name what the step works from
	// (Retry).
	Overrides []string `json:"overrides,omitempty"`
	Keys      bool     `json:"keys,omitempty"`
	// Require and Verify are looked at before and after the action.
	Require []CheckSpec `json:"require,omitempty"`
	Verify  []CheckSpec `json:"verify,omitempty"`
}

// Fingerprint tells what a step acts on from what another one does, and from what the
// same one did under another configuration or in the other direction.
func (st *Step) Fingerprint() string {
	sum := sha256.New()
	fmt.Fprintf(sum, "%q %q %d %s", st.Region, st.Action, st.Version, st.Params)
	return hex.EncodeToString(sum.Sum(nil)[:8])
}

// CheckSpec is a check beside an action, with resolved parameters.
type CheckSpec struct {
	Kind    string          `json:"kind"`
	Version int             `json:"version"`
	Params  json.RawMessage `json:"params"`
}

// Evidence is the class that a stop step gives when it is seen to have taken
// effect.
func (s Step) Evidence() EvidenceClass {
	if s.Proves == "" {
		return Confirmed
	}
	return s.Proves
}

// Hash identifies the plan by its content.
func (p *Plan) Hash() string {
	b, err := json.Marshal(p)
	if err != nil {
		// Every field is a plain value; RawMessage was produced by json.Marshal.
		panic("failover: plan cannot be marshalled: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// Step returns the named step, or nil.
func (p *Plan) Step(id StepID) *Step {
	for i := range p.Steps {
		if p.Steps[i].ID == id {
			return &p.Steps[i]
		}
	}
	return nil
}

// Execution is one run of a plan.
type Execution struct {
	ID       uint64   `json:"id"` // raft index of StartExecution
	Kind     ExecKind `json:"kind"`
	Incident uint64   `json:"incident,omitempty"` // zero: a person asked
	From     Region   `json:"from"`
	To       Region   `json:"to"`
	Plan     *Plan    `json:"plan"`
	PlanHash string   `json:"plan_hash"`
	Epoch    uint64   `json:"epoch"` // in force when it began
	Auto     bool     `json:"auto,omitempty"`
	By       string   `json:"by"`
	With     string   `json:"with,omitempty"` // as in Request
	Why      string   `json:"why,omitempty"`
	// AskedThrough is the node through which a person asked for it; empty when the
	// quorum's verdict began it.
	AskedThrough NodeID    `json:"asked_through,omitempty"`
	State        ExecState `json:"state"`
	// Undo says that an abort asked for the finished steps to be undone.
	Undo bool `json:"undo,omitempty"`
	// CarriedBy are the people who have carried it on after its end, with those who gave the first half of such an order: they have asked
	// for what is left of it, and approve none of it. Empty: nobody has.
	CarriedBy []string `json:"carried_by,omitempty"`
	// Overrides are the guards in spite of which a person asked for it.
	Overrides []string `json:"overrides,omitempty"`
	// Withdrawn says that the abort was the leader's, because the region is well
	// again, and no person's.
	Withdrawn  bool                   `json:"withdrawn,omitempty"`
	Question   *Question              `json:"question,omitempty"`
	Steps      map[StepID]*StepRecord `json:"steps"`
	Evidence   []Evidence             `json:"evidence,omitempty"`
	Approvals  []Approval             `json:"approvals,omitempty"`
	StartedAt  time.Time              `json:"started_at"`
	FinishedAt time.Time              `json:"finished_at,omitzero"`
	Outcome    string                 `json:"outcome,omitempty"` // one sentence
	// Loss is what it was known to cost when it began, by store: Behind is State.LossOf's bound. The samples themselves end with the
	// epoch, and a person may be asked later. Set once, never changed.
	Loss map[string]LossSample `json:"loss,omitempty"`
}

// Question is what a person has to answer before the execution goes on.
type Question struct {
	// Nonce is the raft index that asked. An answer to another nonce is stale
	// and refused.
	Nonce uint64   `json:"nonce"`
	Kind  string   `json:"kind"` // approval, evidence, unknown, failed, following
	Step  StepID   `json:"step,omitempty"`
	Text  string   `json:"text"`
	Ways  []string `json:"ways"` // the commands that answer it
	// Deadline is when the policy's default applies; zero: never.
	Deadline time.Time `json:"deadline,omitzero"`
	Default  string    `json:"default,omitempty"`
	// Postponed says why the default was not applied when the deadline was over; it is looked at again at the next.
	Postponed string `json:"postponed,omitempty"`
}

// Following is the kind of a question that nothing waits for: a switch is late to
// follow another one, and goes on being tried.
const Following = "following"

// MayAsk reports whether a question of a kind may be put now. There is one at a
// time; one that nothing waits for gives way, and is put again later.
func (e *Execution) MayAsk(kind string) bool {
	return e.Question == nil || e.Question.Kind == Following && kind != Following
}

// Approval is an answer of a person to a question.
type Approval struct {
	Nonce uint64    `json:"nonce"`
	Step  StepID    `json:"step,omitempty"`
	By    string    `json:"by"`
	Why   string    `json:"why,omitempty"`
	At    time.Time `json:"at"`
}

// Evidence is the reason to believe that a component has stopped (rule G7).
type Evidence struct {
	Component Component     `json:"component"`
	Class     EvidenceClass `json:"class"`
	Epoch     uint64        `json:"epoch"`
	Freeze    uint64        `json:"freeze"`
	Detail    string        `json:"detail"`
	// Source is AgentsSource, the ID of the stop step that was seen to have taken
	// effect, or who attested.
	Source string    `json:"source,omitempty"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Void   string    `json:"void,omitempty"` // why it does not count any more
}

// StepState says where a step stands.
type StepState string

// The step states. An absent record means pending.
const (
	StepPending  StepState = "pending"
	StepRunning  StepState = "running"
	StepDone     StepState = "done"
	StepSkipped  StepState = "skipped"  // by a person
	StepUnproven StepState = "unproven" // a stop whose effect could not be seen; other evidence decides
	StepFailed   StepState = "failed"
	StepUnclear  StepState = "unclear" // may or may not have taken effect: a person decides
	StepUndoing  StepState = "undoing"
	StepUndone   StepState = "undone"
)

// StepRecord is the journal of one step.
type StepRecord struct {
	State    StepState       `json:"state"`
	Attempts []AttemptRecord `json:"attempts,omitempty"`
	Detail   string          `json:"detail,omitempty"`
	// Slow says that the running attempt takes longer than earlier runs did, with
	// a new estimate.
	Slow string `json:"slow,omitempty"`
	// Allowed is what people have let it do since the plan was frozen.
	Allowed []Allowance `json:"allowed,omitempty"`
}

// AttemptRecord is one try. Its token is the raft index of its StepStarted.
type AttemptRecord struct {
	Number     int             `json:"number"`
	Token      uint64          `json:"token"`
	Epoch      uint64          `json:"epoch"`
	Node       NodeID          `json:"node"`
	Term       uint64          `json:"term"`
	Undo       bool            `json:"undo,omitempty"`
	Previous   json.RawMessage `json:"previous,omitempty"`
	Until      time.Time       `json:"until,omitzero"` // its calls cannot be sent later than this
	StartedAt  time.Time       `json:"started_at"`
	FinishedAt time.Time       `json:"finished_at,omitzero"`
	Outcome    StepState       `json:"outcome,omitempty"`
	Detail     string          `json:"detail,omitempty"`
	// Already says that the effect was there before us, whatever became of its checks:
	// Undo does nothing.
	Already bool `json:"already,omitempty"`
	// Burn marks an attempt that writes nothing but its token, so that every
	// earlier one is refused from then on (rule E4).
	Burn bool `json:"burn,omitempty"`
	// Stands is the token that was read at the resource at its end; zero: none was read.
	Stands uint64 `json:"stands,omitempty"`
	// Vowed says that a person has taken it upon himself that it cannot land.
	Vowed bool `json:"vowed,omitempty"`
}

func (e *Execution) clone() *Execution {
	if e == nil {
		return nil
	}
	c := *e
	c.Question = clonePtr(e.Question)
	c.Evidence = slices.Clone(e.Evidence)
	c.Approvals = slices.Clone(e.Approvals)
	c.CarriedBy = slices.Clone(e.CarriedBy)
	c.Steps = maps.Clone(e.Steps)
	for id, r := range c.Steps {
		cp := *r
		cp.Attempts = slices.Clone(r.Attempts)
		cp.Allowed = slices.Clone(r.Allowed)
		c.Steps[id] = &cp
	}
	return &c
}

// Step returns the record of a step; a pending one for a step that has none.
func (e *Execution) Step(id StepID) StepRecord {
	if r := e.Steps[id]; r != nil {
		return *r
	}
	return StepRecord{State: StepPending}
}

// MovedAt is when the switch that was done first began to send the clients over;
// zero while none is done. It is what the log says, the same under every leader.
func (e *Execution) MovedAt() time.Time {
	var at time.Time
	for _, st := range e.Plan.Steps {
		rec := e.Step(st.ID)
		if st.Kind != KindSwitch || rec.State != StepDone || len(rec.Attempts) == 0 {
			continue
		}
		if began := rec.Last().StartedAt; at.IsZero() || began.Before(at) {
			at = began
		}
	}
	return at
}

// After reports whether all that a step waits for has come.
func (e *Execution) After(st Step) bool { return e.WaitsFor(st) == "" }

// WaitsFor names a step that stands in the way of another, or "".
func (e *Execution) WaitsFor(st Step) StepID {
	for _, dep := range st.After {
		if !e.Step(dep).Passed() {
			return dep
		}
	}
	for _, dep := range st.AfterOne {
		if e.Step(dep).Reached() {
			return ""
		}
	}
	if len(st.AfterOne) > 0 {
		return st.AfterOne[0]
	}
	return ""
}

// Moved reports whether a switch other than the given one has moved the clients.
func (e *Execution) Moved(but StepID) bool {
	return slices.ContainsFunc(e.Plan.Steps, func(st Step) bool {
		return st.Kind == KindSwitch && st.Action != "" && st.ID != but && e.Step(st.ID).State == StepDone
	})
}

// Latched reports whether a latched switch has moved the clients, or a person has
// passed one over: they stay moved without any node, as far as anybody asked.
func (e *Execution) Latched() bool {
	return slices.ContainsFunc(e.Plan.Steps, func(st Step) bool {
		return st.Kind == KindSwitch && st.Latched && e.Step(st.ID).Reached()
	})
}

// Stable reports whether the service was declared stable: a switch that still
// tries then becomes a standing hold.
func (e *Execution) Stable() bool {
	return slices.ContainsFunc(e.Plan.Steps, func(st Step) bool { return st.Kind == KindStable && e.Step(st.ID).State == StepDone })
}

// HandedOver reports whether a switch whose effect was not seen goes on as a
// standing hold once the execution is stable: its token may still take effect
// then, and does what is wanted for as long as the epoch stands.
func (e *Execution) HandedOver(st Step) bool {
	return st.Kind == KindSwitch && st.Tokens && e.Step(st.ID).State == StepUnproven && e.Stable()
}

// BeyondReturn reports whether a step marked NoReturn has begun to take effect.
func (e *Execution) BeyondReturn() bool {
	for _, st := range e.Plan.Steps {
		if st.NoReturn {
			switch e.Step(st.ID).State {
			case StepDone, StepSkipped:
				return true
			}
		}
	}
	return false
}

// Approved reports whether a person has approved the execution (step "") or a
// step.
func (e *Execution) Approved(step StepID) bool {
	return slices.ContainsFunc(e.Approvals, func(a Approval) bool { return a.Step == step })
}

// shownEnded says that under the given freeze a component's processes were proven to have ended, and not only to be cut
// off from what they would change.
func (e *Execution) shownEnded(c Component, freeze uint64) bool {
	f := fenced(e, c)
	return f != nil && slices.ContainsFunc(e.Evidence, func(ev Evidence) bool {
		return ev.Component == c && ev.Freeze == freeze && ev.Epoch == e.Epoch && ev.Void == "" && ev.Class != Resource && (StopSpec{Proof: f.Proof}).Accepts(ev.Class)
	})
}

// AcceptedEvidence returns the newest evidence that proves component c under
// the given freeze, or nil.
func (e *Execution) AcceptedEvidence(f FencedComponent, freeze uint64) *Evidence {
	for i := len(e.Evidence) - 1; i >= 0; i-- {
		ev := &e.Evidence[i]
		if ev.Component == f.Component && ev.Freeze == freeze && ev.Epoch == e.Epoch && ev.Void == "" &&
			(StopSpec{Proof: f.Proof}).Accepts(ev.Class) {
			return ev
		}
	}
	return nil
}
