package failover

import (
	"encoding/json"
	"maps"
	"slices"
	"time"
)

// State is everything that the cluster has agreed on. It changes only through
// Apply. It is not safe for concurrent use: readers get a Clone.
type State struct {
	// Index and Term are those of the last applied entry.
	Index uint64 `json:"index"`
	Term  uint64 `json:"term"`
	// Time is the latest stamp that any entry carried; it never runs backward.
	Time time.Time `json:"time"`

	Settings     *Settings `json:"settings,omitempty"` // nil until the first Configure
	SettingsHash string    `json:"settings_hash,omitempty"`
	// Source is the configuration's text, from which every node makes its probes,
	// checks and actions; "" while the log does not hold it (a cluster that was
	// begun at feature level 1). SettingsSince is when it came into force.
	Source        string    `json:"source,omitempty"`
	SettingsSince time.Time `json:"settings_since,omitzero"`
	// Proposal is a configuration that is not in force yet; nil for none.
	Proposal *Proposal `json:"proposal,omitempty"`

	Leader     NodeID                `json:"leader,omitempty"`
	LeaderTerm uint64                `json:"leader_term,omitempty"`
	Nodes      map[NodeID]NodeRecord `json:"nodes"`
	// Removed are the nodes that left the cluster; nil for none.
	Removed map[NodeID]RemovedNode `json:"removed,omitempty"`
	// Change is the change of the membership that is under way; nil for none.
	Change *MemberChange `json:"change,omitempty"`
	// Recovery is how the present generation began; nil for the first one.
	Recovery *Recovery `json:"recovery,omitempty"`

	// Features is the feature level in force; zero means 1. Use Level.
	Features int `json:"features,omitempty"`

	// Generation counts how often the cluster was begun anew after a loss of its
	// quorum (`failoverd recover`); zero for one that never was. Nodes of
	// different generations refuse each other (rule T4).
	Generation uint64 `json:"generation,omitempty"`

	// Epoch grows by one each time the active region changes. It is 1 from the
	// first configuration on.
	Epoch  uint64 `json:"epoch"`
	Active Region `json:"active,omitempty"`
	// Traffic is where clients are sent. It is not Active: the switch step sets
	// it, after the epoch has advanced (rule T1).
	Traffic Region `json:"traffic,omitempty"`

	Freeze *Freeze                  `json:"freeze,omitempty"`
	Agents map[AgentID]*AgentRecord `json:"agents"`

	Suspicion *Suspicion `json:"suspicion,omitempty"`
	Incident  *Incident  `json:"incident,omitempty"`
	Request   *Request   `json:"request,omitempty"`
	Execution *Execution `json:"execution,omitempty"`
	// Preparation carries out what is cheap and undoable while a failure is only
	// suspected. An execution that starts adopts its steps (rule E7).
	Preparation *Execution `json:"preparation,omitempty"`
	// PreparedFor is since when the suspicion lasted for which the last preparation
	// began: there is one per suspicion.
	PreparedFor time.Time `json:"prepared_for,omitzero"`
	// Refused is the last request of a person that could not be started.
	Refused *RefusedRequest `json:"refused,omitempty"`
	// Holds are wanted states that outlive their execution: what was stopped in a
	// region that was left stays stopped there.
	Holds []StandingHold `json:"holds,omitempty"`
	// Late are writes that may still land and that no execution looks after.
	Late []LateToken `json:"late,omitempty"`
	// History holds the finished executions, oldest first.
	History []*Execution `json:"history,omitempty"`

	Pause         *Pause      `json:"pause,omitempty"`
	CooldownUntil time.Time   `json:"cooldown_until,omitzero"`
	AutoRuns      []time.Time `json:"auto_runs,omitempty"` // starts of automatic executions within 24 h

	// Rehearsal is the newest rehearsal of the fence that a person asked for.
	Rehearsal *Rehearsal `json:"rehearsal,omitempty"`
	// Vanished counts, per component of the active region, the agents that were
	// forgotten without a goodbye: an inventory that shrank.
	Vanished map[Component]int `json:"vanished,omitempty"`
	// Inventory is how many objects a step's selector matched while all was well.
	Inventory map[StepID]int `json:"inventory,omitempty"`
	// Readings are what was read of some steps' resources while all was well, for
	// the day on which they can be written and not read.
	Readings map[StepID]Reading `json:"readings,omitempty"`
	// Drills are the newest that came to an end, by step.
	Drills map[StepID]Drill `json:"drills,omitempty"`
	// Durations are how long the newest successful runs of each step took, oldest
	// first.
	Durations map[StepID][]Duration `json:"durations,omitempty"`
	// Loss is what the newest samples say would be lost, by store.
	Loss map[string]LossSample `json:"loss,omitempty"`
	// AtRisk is what stands in the active region and nowhere else, by component, as last counted.
	AtRisk map[Component]AtRiskSample `json:"at_risk,omitempty"`

	Messages map[string]MessageRef `json:"messages"` // where progress is posted, by incident key

	// Events is the audit trail: every accepted command that a person would
	// want to know of, with who and why. It only grows (invariant S9).
	Events []Event `json:"events,omitempty"`
	// Refusals are the newest commands of people and nodes that a guard refused,
	// oldest first: who tried what, and why not. They change nothing else.
	Refusals []Event `json:"refusals,omitempty"`
	// HalfOrders have come through one node of two that the policy wants, oldest first.
	HalfOrders []HalfOrder `json:"half_orders,omitempty"`
	// Seen holds the IDs of recently accepted commands, oldest first, so that a
	// command whose outcome was unknown and which was sent again counts once.
	Seen []string `json:"seen,omitempty"`
}

// NewState returns the state of an empty log.
func NewState() *State {
	return &State{
		Nodes:    map[NodeID]NodeRecord{},
		Agents:   map[AgentID]*AgentRecord{},
		Messages: map[string]MessageRef{},
	}
}

// NodeRecord is what a node said of itself when it started.
type NodeRecord struct {
	Vantage    Region    `json:"vantage"`
	Version    string    `json:"version"`
	Features   int       `json:"features"`       // highest feature level that it understands
	ConfigHash string    `json:"config_hash"`    // of its own file
	Disk       string    `json:"disk"`           // random, made with the data directory (rule T3)
	Starts     uint64    `json:"starts"`         // counts the starts with that disk
	Boot       string    `json:"boot,omitempty"` // random per start
	At         time.Time `json:"at"`
}

// Freeze is a committed stop of all grants for a region (rule G3).
type Freeze struct {
	ID     uint64 `json:"id"` // raft index of the command that made it
	Region Region `json:"region"`
	Epoch  uint64 `json:"epoch"`
	// Provisional is a freeze made while the hold still runs. Hearing any agent
	// of the region lifts it.
	Provisional bool      `json:"provisional,omitempty"`
	Execution   uint64    `json:"execution,omitempty"` // that adopted it
	At          time.Time `json:"at"`
}

// AgentRecord is an agent as the log knows it.
type AgentRecord struct {
	Region    Region    `json:"region"`
	Component Component `json:"component"`
	// MaxLease is the largest lease that it may still hold (rule G4).
	MaxLease Duration `json:"max_lease"`
	// Lengths are the lengths of its grants that it may still hold, longest first,
	// each with the index of the newest grant of that length. One is dropped when
	// the agent has said that it holds a later grant.
	Lengths []GrantedLength `json:"lengths,omitempty"`
	// Whether it stops its workers when its lease ends, as it said when it asked
	// last: expiry proves nothing of one that would not.
	Enforced bool `json:"enforced"`
	// LastAsked is the state time of its last request, granted or refused.
	LastAsked time.Time `json:"last_asked"`
	// Silent is for how long it was not heard since, as leaders measured it (Silence).
	Silent Duration `json:"silent,omitempty"`
	// Granted is the index of its last grant; zero if it never had one.
	Granted uint64 `json:"granted,omitempty"`
	// StoppedFor is the ID of the freeze for which it has reported that its
	// workers are dead and promised to ignore every earlier grant; zero: none.
	StoppedFor uint64 `json:"stopped_for,omitempty"`
	// Reported is the index of that report, from feature level 3 on.
	Reported uint64 `json:"reported,omitempty"`
	// Asks is how long a lease it asked for last, from feature level 3 on.
	Asks Duration `json:"asks,omitempty"`
	// Running says whether its workers ran when it asked last.
	Running bool `json:"running,omitempty"`
	// WouldHave counts how often it would have stopped its workers on a higher
	// rung of the ladder.
	WouldHave uint64 `json:"would_have_stopped,omitempty"`
	// Rehearsed is the newest rehearsal of its fence.
	Rehearsed *RehearsalResult `json:"rehearsed,omitempty"`
}

// GrantedLength is the length of a grant and the index of the newest grant of
// that length.
type GrantedLength struct {
	Length Duration `json:"length"`
	Index  uint64   `json:"index"`
}

// StandingHold keeps a component of a region that was left stopped: whenever the
// region can be reached and the component is not seen stopped, the stop is
// applied again.
type StandingHold struct {
	ID        uint64    `json:"id"` // index of the epoch's entry, plus the hold's place
	Component Component `json:"component"`
	Step      Step      `json:"step"`  // the stop, with its parameters
	Epoch     uint64    `json:"epoch"` // that made it
	Since     time.Time `json:"since"`
	// Ended says that what ran there had been shown to have ended when the region was left, and not only to be cut off.
	Ended bool `json:"ended,omitempty"`
	// Status is HoldUnseen until the stop was seen in effect.
	Status HoldStatus `json:"status"`
	Detail string     `json:"detail,omitempty"`
	At     time.Time  `json:"at,omitzero"` // of the status
	// Running is the attempt under way, if any; Applied are the newest times at
	// which the stop was applied again.
	Running *AttemptRecord `json:"running,omitempty"`
	Applied []time.Time    `json:"applied,omitempty"`
	Last    *AttemptRecord `json:"last,omitempty"`
	// Quiet is until when a call of an attempt may still land that was not seen to take effect by whoever made it (rule E5).
	Quiet time.Time `json:"quiet,omitzero"`
}

// HoldStatus says what was seen of a standing hold.
type HoldStatus string

// The statuses of a standing hold.
const (
	HoldUnseen   HoldStatus = "unseen"   // the region has not been readable since
	HoldKept     HoldStatus = "kept"     // seen stopped
	HoldViolated HoldStatus = "violated" // seen running: it is being stopped again
)

// Rehearsal asks the agents of a component to prove, on a process that is none
// of their workers, that they kill in time.
type Rehearsal struct {
	ID        uint64    `json:"id"`
	Component Component `json:"component"`
	By        string    `json:"by"`
	Why       string    `json:"why,omitempty"`
	At        time.Time `json:"at"`
}

// RehearsalResult is what an agent found.
type RehearsalResult struct {
	ID     uint64    `json:"id"`
	Passed bool      `json:"passed"`
	Detail string    `json:"detail"`
	At     time.Time `json:"at"`
}

// Reading is what was read of a step's resource.
type Reading struct {
	Of string `json:"of"` // Step.Fingerprint of the step for which it was read
	// Previous is the action's own record: what stood there, whole.
	Previous json.RawMessage `json:"previous"`
	At       time.Time       `json:"at"` // when this was first seen
}

// LossSample bounds what would be lost of one store if its region were gone.
type LossSample struct {
	Behind Duration  `json:"behind"` // how far the copy elsewhere is behind
	Detail string    `json:"detail,omitempty"`
	At     time.Time `json:"at"`
}

// AtRiskSample is what was counted in the active region, when it was last heard of.
type AtRiskSample struct {
	AtRisk
	At time.Time `json:"at"`
}

// RefusedRequest is a person's request that could not be started, and why.
type RefusedRequest struct {
	Request
	Guard  string    `json:"guard"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
}

// Suspicion is the fact that signals of the active region are down. It is kept
// for the timeline; decisions rest on votes.
type Suspicion struct {
	Region    Region    `json:"region"`
	Condition Condition `json:"condition"`
	Sentence  string    `json:"sentence"`
	Since     time.Time `json:"since"`
	// DownSince is since when nobody outside is known to have seen the region
	// alive, also while too few looked; zero: somebody does.
	DownSince time.Time `json:"down_since,omitzero"`
}

// Incident is a confirmed failure of the active region.
type Incident struct {
	ID        uint64    `json:"id"` // raft index of OpenIncident
	Region    Region    `json:"region"`
	Condition Condition `json:"condition"`
	Votes     []Vote    `json:"votes"`
	Held      Duration  `json:"held"` // how long the agreement had lasted
	At        time.Time `json:"at"`
	// Execution is the one that it started; zero while a guard objects.
	Execution uint64 `json:"execution,omitempty"`
	// Refusal is the last reason why nothing was started.
	Refusal string `json:"refusal,omitempty"`
}

// Request is a person's wish for an execution, until the leader has derived the
// plan and started it.
type Request struct {
	ID        uint64   `json:"id"`
	Kind      ExecKind `json:"kind"`
	By        string   `json:"by"`
	Why       string   `json:"why"`
	Overrides []string `json:"overrides,omitempty"` // names of guards
	// Node is the node through which the person asked.
	Node NodeID `json:"node,omitempty"`
	// With is who gave the first half of an order through two nodes (policy.two_nodes).
	With string `json:"with,omitempty"`
}

// Pause keeps automation quiet. It is in the log: it survives restarts,
// reloads and changes of the leader.
type Pause struct {
	By    string    `json:"by"`
	Why   string    `json:"why"`
	Since time.Time `json:"since"`
	Until time.Time `json:"until"`
}

// MessageRef is where progress of one incident is posted.
type MessageRef struct {
	Channel string `json:"channel"`
	TS      string `json:"ts"`
	Details int    `json:"details,omitempty"` // how many details are in its thread
	// At is when it was saved, by the log; zero before feature level 3.
	At time.Time `json:"at,omitzero"`
}

// Event is one line of the audit trail.
type Event struct {
	Index uint64    `json:"index"`
	At    time.Time `json:"at"`
	Kind  string    `json:"kind"` // the command's name
	By    string    `json:"by"`
	Why   string    `json:"why,omitempty"`
	Text  string    `json:"text"`
}

// Clone returns an independent copy: no later Apply on either is visible to the
// other. Settings, plans and event lines are immutable once applied and are
// shared.
func (s *State) Clone() *State {
	c := *s
	c.Nodes = maps.Clone(s.Nodes)
	c.Removed = maps.Clone(s.Removed)
	c.Change = clonePtr(s.Change)
	c.Recovery = s.Recovery.clone()
	c.Proposal = s.Proposal.clone()
	c.Agents = make(map[AgentID]*AgentRecord, len(s.Agents))
	for id, a := range s.Agents {
		cp := *a
		cp.Lengths, cp.Rehearsed = slices.Clone(a.Lengths), clonePtr(a.Rehearsed)
		c.Agents[id] = &cp
	}
	c.Freeze = clonePtr(s.Freeze)
	c.Suspicion = clonePtr(s.Suspicion)
	c.Incident = clonePtr(s.Incident)
	c.Request = clonePtr(s.Request)
	c.Pause = clonePtr(s.Pause)
	c.Execution = s.Execution.clone()
	c.Preparation = s.Preparation.clone()
	c.Refused, c.Rehearsal = clonePtr(s.Refused), clonePtr(s.Rehearsal)
	c.Late = slices.Clone(s.Late)
	c.Holds = slices.Clone(s.Holds)
	for i := range c.Holds {
		h := &c.Holds[i]
		h.Running, h.Last, h.Applied = clonePtr(h.Running), clonePtr(h.Last), slices.Clone(h.Applied)
	}
	c.Vanished, c.Inventory, c.Loss, c.AtRisk = maps.Clone(s.Vanished), maps.Clone(s.Inventory), maps.Clone(s.Loss), maps.Clone(s.AtRisk)
	c.Readings = maps.Clone(s.Readings)
	c.Drills = maps.Clone(s.Drills)
	c.Durations = maps.Clone(s.Durations) // the slices are replaced, never written to
	c.History = slices.Clone(s.History)   // finished executions never change
	c.AutoRuns = slices.Clone(s.AutoRuns)
	c.Messages = maps.Clone(s.Messages)
	c.Events = slices.Clip(s.Events) // append-only: an append to either copies
	c.Refusals = slices.Clone(s.Refusals)
	c.HalfOrders = slices.Clone(s.HalfOrders)
	c.Seen = slices.Clone(s.Seen)
	return &c
}

func clonePtr[T any](p *T) *T {
	if p == nil {
		return nil
	}
	c := *p
	return &c
}

// Marshal renders the state for a snapshot. The same state always gives the
// same bytes.
func (s *State) Marshal() ([]byte, error) { return json.Marshal(s) }

// MaxLease is the largest lease that any agent of region r may still hold.
func (s *State) MaxLease(r Region) time.Duration {
	var longest time.Duration
	if s.Settings != nil {
		longest = s.Settings.Policy.Lease.Length.D()
	}
	for _, a := range s.Agents {
		if a.Region == r {
			longest = max(longest, a.MaxLease.D())
		}
	}
	return longest
}

// FreezeWait is how long the granter must wait after applying the freeze in its
// own term before lease expiry is evidence for region r (rule G3).
func (s *State) FreezeWait(r Region) time.Duration {
	if s.Settings == nil {
		return 0
	}
	return s.Settings.Policy.Lease.Wait(s.MaxLease(r))
}

// AgentIDs returns the IDs of the agents of region r, sorted; component ""
// means all.
func (s *State) AgentIDs(r Region, c Component) []AgentID {
	var out []AgentID
	for id, a := range s.Agents {
		if a.Region == r && (c == "" || a.Component == c) {
			out = append(out, id)
		}
	}
	slices.Sort(out)
	return out
}

// Open returns the execution or preparation with the given ID if it is not
// finished, or nil.
func (s *State) Open(id uint64) *Execution {
	switch {
	case s.Execution != nil && s.Execution.ID == id:
		return s.Execution
	case s.Preparation != nil && s.Preparation.ID == id:
		return s.Preparation
	}
	return nil
}

// TrafficEpoch is the epoch in which the traffic was sent to where it is: it is
// sent to the active region, once in each epoch.
func (s *State) TrafficEpoch() uint64 {
	if s.Traffic == s.Active {
		return s.Epoch
	}
	return s.Epoch - 1
}

// Paused reports whether automation is paused at the given time.
func (s *State) Paused(now time.Time) bool { return s.Pause != nil && now.Before(s.Pause.Until) }
