package failover

import (
	"encoding/json"
	"time"
)

// Meta is what the log knows about a command besides its content.
type Meta struct {
	Index uint64 // raft index of the entry
	Term  uint64 // raft term of the entry
	// ProposedTerm is the term in which the proposer believed itself leader; it
	// is set on leader-only commands, which Apply refuses when the two differ
	// (rule E1).
	ProposedTerm uint64
	At           time.Time // the leader's clock, stamped in the entry
	Node         NodeID    // the node that proposed it
	ID           string    // random; the same command sent again has the same
	// By is who wants it: "uid 0 (root)", "slack U123", "node use2a". Empty: the leader,
	// of its own accord.
	By  string
	Why string
}

// leads reports whether the leader gives the command of its own accord, for nobody: a
// command that comes through a node says who wants it, or that the node does.
func (m Meta) leads() bool { return m.By == "" }

// Command is an entry of the log. The set of commands is closed.
type Command interface {
	// Name is the command's stable name in the log and in the audit trail.
	Name() string
	// LeaderOnly commands are never forwarded and count only in the term of
	// their proposer (rule E1).
	LeaderOnly() bool
	// apply changes the state. A *Refusal leaves it unchanged.
	apply(s *State, m Meta) (any, error)
}

// The commands of the leader.
type (
	// Lead is the first entry of a leader's term: its barrier.
	Lead struct {
		Node NodeID `json:"node"`
	}
	// Configure replaces the settings. Refused while an execution is open.
	Configure struct {
		Settings Settings `json:"settings"`
		Hash     string   `json:"hash"`
	}
	// Round is one quorum round (rule G1): an empty one proves leadership, one
	// with requests answers them. Its result is []Grant in the same order.
	Round struct {
		Requests []LeaseRequest `json:"requests,omitempty"`
		Silent   []Silence      `json:"silent,omitempty"` // known from level 3 on
	}
	// AgentStopped is an agent's report for a freeze: its workers are dead, and
	// it ignores every grant that was asked for before (rule G7).
	AgentStopped struct {
		Agent  AgentID `json:"agent"`
		Freeze uint64  `json:"freeze"`
		Epoch  uint64  `json:"epoch"`
	}
	// AgentLeft removes an agent that has stopped its workers and ended.
	AgentLeft struct {
		Agent AgentID `json:"agent"`
	}
	// FreezeLease stops all grants for the active region (rule G3).
	FreezeLease struct {
		Region      Region `json:"region"`
		Epoch       uint64 `json:"epoch"`
		Provisional bool   `json:"provisional,omitempty"`
		Execution   uint64 `json:"execution,omitempty"`
	}
	// LiftFreeze lets grants flow again; evidence of the freeze is void (G7, G8).
	LiftFreeze struct {
		Freeze uint64 `json:"freeze"`
		Reason string `json:"reason"`
	}
	// NoteSuspicion records that the condition of the active region changed.
	NoteSuspicion struct {
		Region    Region    `json:"region"`
		Condition Condition `json:"condition"` // "" clears the suspicion
		Sentence  string    `json:"sentence"`
		// Alive says that a node outside sees life in the region.
		Alive bool `json:"alive,omitempty"`
	}
	// OpenIncident confirms a failure. Apply evaluates the rule again from the
	// frozen votes (rule D3).
	OpenIncident struct {
		Region Region   `json:"region"`
		Votes  []Vote   `json:"votes"`
		Held   Duration `json:"held"`
	}
	// RefuseIncident records why nothing is started for the open incident.
	RefuseIncident struct {
		Incident uint64 `json:"incident"`
		Guard    string `json:"guard"`
		Reason   string `json:"reason"`
	}
	// CloseIncident ends an incident for which nothing was started.
	CloseIncident struct {
		Incident uint64 `json:"incident"`
		Reason   string `json:"reason"`
	}
	// StartExecution freezes a plan and begins it.
	StartExecution struct {
		Kind     ExecKind `json:"kind"`
		Incident uint64   `json:"incident,omitempty"`
		Request  uint64   `json:"request,omitempty"`
		Epoch    uint64   `json:"epoch"`
		Plan     Plan     `json:"plan"`
		Approval bool     `json:"approval"` // a person is asked first
	}
	// Ask puts a question to a person.
	Ask struct {
		Execution uint64    `json:"execution"`
		Kind      string    `json:"kind"`
		Step      StepID    `json:"step,omitempty"`
		Text      string    `json:"text"`
		Ways      []string  `json:"ways"`
		Deadline  time.Time `json:"deadline,omitzero"`
		Default   string    `json:"default,omitempty"`
		// Allowed is how many allowances of the step the text of an approval was written with: it is refused if there are more by now, and
		// the answer to it would count for what nobody was asked.
		Allowed int `json:"allowed,omitempty"`
	}
	// AskExpired applies the policy's default to an unanswered question.
	AskExpired struct {
		Execution uint64 `json:"execution"`
		Nonce     uint64 `json:"nonce"`
	}
	// StepStarted is the intent that precedes every effect (rule E2).
	StepStarted struct {
		Execution uint64          `json:"execution"`
		Step      StepID          `json:"step"`
		Epoch     uint64          `json:"epoch"`
		PlanHash  string          `json:"plan_hash"`
		Undo      bool            `json:"undo,omitempty"`
		Burn      bool            `json:"burn,omitempty"` // see AttemptRecord.Burn
		Previous  json.RawMessage `json:"previous,omitempty"`
		Until     time.Time       `json:"until,omitzero"`
		Already   bool            `json:"already,omitempty"` // see AttemptRecord.Already; known from level 3 on
	}
	// StepFinished resolves the running attempt of a step.
	StepFinished struct {
		Execution uint64    `json:"execution"`
		Step      StepID    `json:"step"`
		Token     uint64    `json:"token"`
		Outcome   StepState `json:"outcome"`
		Detail    string    `json:"detail"`
		Already   bool      `json:"already,omitempty"`
		// Stands is the token that was read at the resource; zero: none was.
		Stands uint64 `json:"stands,omitempty"`
	}
	// RecordEvidence says why a component is believed to have stopped.
	RecordEvidence struct {
		Execution uint64        `json:"execution"`
		Component Component     `json:"component"`
		Class     EvidenceClass `json:"class"`
		Epoch     uint64        `json:"epoch"`
		Freeze    uint64        `json:"freeze"`
		Waited    Duration      `json:"waited,omitempty"` // for class lease: since the leader applied the freeze in its own term
		// Source is AgentsSource, or the stop step that was seen to have taken
		// effect. Empty for class lease.
		Source string `json:"source,omitempty"`
		Detail string `json:"detail"`
	}
	// VoidEvidence takes evidence back after a contrary observation.
	VoidEvidence struct {
		Execution uint64        `json:"execution"`
		Component Component     `json:"component"`
		Class     EvidenceClass `json:"class"`
		// Source limits it to evidence of that source; empty: all of the class.
		Source string `json:"source,omitempty"`
		Reason string `json:"reason"`
	}
	// AdvanceEpoch makes another region the active one (invariant S1).
	AdvanceEpoch struct {
		Execution uint64 `json:"execution"`
		Epoch     uint64 `json:"epoch"` // the new one
		Region    Region `json:"region"`
		Freeze    uint64 `json:"freeze"`
	}
	// SetTraffic is the flip (rule T1).
	SetTraffic struct {
		Execution uint64 `json:"execution"`
		Region    Region `json:"region"`
	}
	// FinishExecution closes an execution.
	FinishExecution struct {
		Execution uint64    `json:"execution"`
		State     ExecState `json:"state"`
		Outcome   string    `json:"outcome"`
	}
)

// The commands of nodes and of people. Any node may propose them through the
// leader.
type (
	// RegisterNode says that a node has started.
	RegisterNode struct {
		Node   NodeID     `json:"node"`
		Record NodeRecord `json:"record"`
	}
	// RequestExecution is a person's wish.
	RequestExecution struct {
		Kind      ExecKind `json:"kind"`
		Overrides []string `json:"overrides,omitempty"`
	}
	// Approve answers a question of kind approval.
	Approve struct {
		Execution uint64 `json:"execution"`
		Nonce     uint64 `json:"nonce"`
	}
	// Hold lets nothing new start.
	Hold struct {
		Execution uint64 `json:"execution"`
	}
	// Continue ends a hold, or carries on what was ended.
	Continue struct {
		Execution uint64 `json:"execution"`
		// Ended says that the execution was ended, behind the fence: the end of a hold that comes late carries nothing on.
		Ended bool `json:"ended,omitempty"`
	}
	// Abort ends an execution, undoing it if asked and still possible.
	Abort struct {
		Execution uint64 `json:"execution"`
		Undo      bool   `json:"undo,omitempty"`
	}
	// Attest is a person's word that a component has stopped (rule G7).
	Attest struct {
		Execution uint64    `json:"execution"`
		Component Component `json:"component"`
		Epoch     uint64    `json:"epoch"`
	}
	// Retry starts a failed or unclear step again. With what it allows, also one that is under way goes on (Allowance).
	Retry struct {
		Execution uint64   `json:"execution"`
		Step      StepID   `json:"step"`
		Allow     []string `json:"allow,omitempty"` // known from level 3 on
		Key       string   `json:"key,omitempty"`   // known from level 3 on
	}
	// Skip passes over a step. A fence cannot be skipped.
	Skip struct {
		Execution uint64 `json:"execution"`
		Step      StepID `json:"step"`
	}
	// DeclareStable ends an execution whose checks a person has judged.
	DeclareStable struct {
		Execution uint64 `json:"execution"`
	}
	// PauseAutomation keeps automation quiet until a time.
	PauseAutomation struct {
		For Duration `json:"for"`
	}
	// ResumeAutomation ends a pause.
	ResumeAutomation struct{}
	// SaveMessage remembers where progress is posted.
	SaveMessage struct {
		Key string     `json:"key"`
		Ref MessageRef `json:"ref"`
	}
)

// LeaseRequest is an agent's request as the leader puts it into a round.
type LeaseRequest struct {
	Agent     AgentID   `json:"agent"`
	Region    Region    `json:"region"`
	Component Component `json:"component"`
	Lease     Duration  `json:"lease"`    // the length that the agent runs with
	Enforced  bool      `json:"enforced"` // whether it would stop its workers
	SeenEpoch uint64    `json:"seen_epoch"`
	Running   bool      `json:"running"` // whether workers run now
	// Holding is the index of the grant that the agent holds; zero: none. It will
	// never go back to an earlier one.
	Holding uint64 `json:"holding,omitempty"`
	// WouldHave counts how often the agent would have stopped its workers on a
	// higher rung, since it started.
	WouldHave uint64 `json:"would_have_stopped,omitempty"`
	// Rehearsed is the result of the newest rehearsal that it was asked for.
	Rehearsed *RehearsalResult `json:"rehearsed,omitempty"`
}

// Silence says that the leader has not heard an agent for a time: by its own monotonic
// clock, within its tenure, and since it said so last.
type Silence struct {
	Agent AgentID  `json:"agent"`
	For   Duration `json:"for"`
}

// Grant is the answer to one LeaseRequest.
type Grant struct {
	Granted bool   `json:"granted"`
	Epoch   uint64 `json:"epoch"`
	// Freeze is the freeze that refused it, if one did: the agent stops its
	// workers and reports for that ID.
	Freeze uint64 `json:"freeze,omitempty"`
	// Gone says that the agent's region is not the active one.
	Gone bool `json:"gone,omitempty"`
	// Index is the raft index of the entry that granted or refused it; zero in a
	// refusal by an earlier version.
	Index uint64 `json:"index,omitempty"`
	// Rehearse asks the agent to rehearse its fence and to report under this ID.
	Rehearse uint64     `json:"rehearse,omitempty"`
	Terms    LeaseTerms `json:"terms"`
	Arming   Arming     `json:"arming"`
	OnIsol   string     `json:"on_isolation"`
	Sentence string     `json:"sentence"`
}
