// Package admin is the local way to drive a node: HTTP over a unix socket, and
// its typed client. It needs no network, no DNS, no quorum to answer, and it
// records the user ID of whoever speaks, as the kernel reports it.
package admin

import (
	"context"
	"encoding/json"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// Status is everything that a person or a status page wants at a glance.
type Status struct {
	Service string          `json:"service"`
	Node    failover.NodeID `json:"node"`
	Vantage failover.Region `json:"vantage"`
	Version string          `json:"version"`
	Time    time.Time       `json:"time"`

	Raft RaftStatus `json:"raft"`

	Mode    failover.Mode   `json:"mode"`
	Config  string          `json:"config"`     // hash of the settings in force
	OwnFile string          `json:"own_config"` // hash of this node's file
	Epoch   uint64          `json:"epoch"`
	Active  failover.Region `json:"active"`
	Standby failover.Region `json:"standby"`
	Traffic failover.Region `json:"traffic"`

	// Condition and what follows come from the leader; LeaderError says why they
	// are missing.
	Condition   failover.Condition         `json:"condition"`
	Sentence    string                     `json:"sentence"`
	Views       []failover.VantageView     `json:"views,omitempty"`
	HoldElapsed failover.Duration          `json:"hold_elapsed"`
	Hold        failover.Duration          `json:"hold"`
	FreezeAge   failover.Duration          `json:"freeze_age,omitempty"`
	FreezeWait  failover.Duration          `json:"freeze_wait,omitempty"`
	Progress    map[failover.StepID]string `json:"progress,omitempty"`
	LeaderError string                     `json:"leader_error,omitempty"`

	// Preparation is what was begun on a suspicion; Refused is the last request of
	// a person that could not be started; Holds are what stays stopped in a region
	// that was left.
	Preparation *failover.Execution      `json:"preparation,omitempty"`
	Refused     *failover.RefusedRequest `json:"refused_request,omitempty"`
	Request     *failover.Request        `json:"request,omitempty"`
	Holds       []failover.StandingHold  `json:"holds,omitempty"`
	// Late are writes that may still land after their execution.
	Late   []failover.LateToken `json:"late,omitempty"`
	Fences []FenceStatus        `json:"fences,omitempty"`

	Freeze    *failover.Freeze    `json:"freeze,omitempty"`
	Incident  *failover.Incident  `json:"incident,omitempty"`
	Execution *failover.Execution `json:"execution,omitempty"`
	// Back says, beside the open question, that the region which is to be left is not seen
	// failing any more, and what to do then; "" without a question, and while it is.
	Back          string              `json:"back,omitempty"`
	Last          *failover.Execution `json:"last_execution,omitempty"`
	Pause         *failover.Pause     `json:"pause,omitempty"`
	CooldownUntil time.Time           `json:"cooldown_until,omitzero"`
	// HalfOrders have come through one node of two that the policy wants.
	HalfOrders []failover.HalfOrder `json:"half_orders,omitempty"`
	// Generation counts recoveries from a lost quorum; Unattested are the voters
	// left behind of which nobody has attested that they run no more.
	Generation uint64            `json:"generation,omitempty"`
	Unattested []failover.NodeID `json:"unattested,omitempty"`
	Features   int               `json:"features"` // the level in force
	// Change is what changes in the membership now.
	Change *failover.MemberChange `json:"change,omitempty"`
	// Proposed is the configuration that is being rolled out, and Waits what for.
	Proposed string         `json:"proposed,omitempty"`
	Waits    string         `json:"proposed_waits,omitempty"`
	Agents   []AgentStatus  `json:"agents,omitempty"`
	Members  []MemberStatus `json:"members,omitempty"`
}

// FenceStatus says whether the fence of a critical component holds by itself.
type FenceStatus struct {
	Component failover.Component `json:"component"`
	Arming    failover.Arming    `json:"arming,omitempty"`
	// Why it is not armed; "" when it is.
	Why string `json:"why,omitempty"`
	// WouldHave counts how often agents would have stopped their workers on a
	// higher rung.
	WouldHave uint64 `json:"would_have_stopped"`
	// Rehearsed is when the oldest of the agents' newest rehearsals passed; zero:
	// not all have.
	Rehearsed time.Time `json:"rehearsed,omitzero"`
}

// Row is one line of the readiness report. A row that is not OK makes the
// service not ready, unless it is advice.
type Row struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Advice bool   `json:"advice,omitempty"`
	Detail string `json:"detail"`
}

// Readiness says whether a failover would work if the active region died now.
type Readiness struct {
	Ready    bool   `json:"ready"`
	Sentence string `json:"sentence"` // "ready", or "not ready because …"
	Rows     []Row  `json:"rows"`
}

// RaftStatus is the node's place in the cluster.
type RaftStatus struct {
	State   string          `json:"state"` // Leader, Follower, Candidate
	Leader  failover.NodeID `json:"leader"`
	Term    uint64          `json:"term"`
	Applied uint64          `json:"applied"`
}

// AgentStatus is one agent as the log knows it.
type AgentStatus struct {
	ID failover.AgentID `json:"id"`
	failover.AgentRecord
}

// MemberStatus is one node of the cluster.
type MemberStatus struct {
	ID      failover.NodeID `json:"id"`
	Vantage failover.Region `json:"vantage"`
	Address string          `json:"address"`
	Version string          `json:"version,omitempty"`
	Config  string          `json:"config,omitempty"`
	// State is "voter", "non-voter" or "absent", by raft's configuration; Change is
	// "add" or "remove" while the member comes or goes, and "" otherwise.
	State    string            `json:"state"`
	Change   string            `json:"change,omitempty"`
	Features int               `json:"features,omitempty"` // highest feature level that it understands
	Disk     string            `json:"disk,omitempty"`
	Starts   uint64            `json:"starts,omitempty"`   // of that disk
	Voted    bool              `json:"voted"`              // the leader holds a fresh ballot
	VoteAge  failover.Duration `json:"vote_age,omitempty"` // of its newest ballot
}

// SignalReport is one signal of this node with its recent results.
type SignalReport struct {
	failover.SignalState
	Recent   []failover.Observation `json:"recent,omitempty"`
	Failures []failover.Observation `json:"failures,omitempty"`
}

// Votes are the verdicts that the leader holds.
type Votes struct {
	Leader    failover.NodeID    `json:"leader"`
	Judgement failover.Judgement `json:"judgement"`
	Votes     []failover.Vote    `json:"votes"`
}

// Command is a person's command as it is sent: the name of a failover.Command
// and its content.
type Command struct {
	Name string          `json:"name"`
	Why  string          `json:"why,omitempty"`
	ID   string          `json:"id"` // the same when it is sent again
	Body json.RawMessage `json:"body"`
}

// Reply is the answer to a Command.
type Reply struct {
	Index uint64 `json:"index"`
	// Outcome is "accepted", "refused", "no-leader", "unknown" or "failed".
	Outcome string `json:"outcome"`
	Guard   string `json:"guard,omitempty"`
	Text    string `json:"text,omitempty"`
}

// Node is what the server needs of a node.
type Node interface {
	Configurer
	Driller
	Status(ctx context.Context) Status
	Votes(ctx context.Context) (Votes, error)
	Readiness(ctx context.Context) Readiness
	Signals() []SignalReport
	State() *failover.State
	Changed() <-chan struct{}
	// Propose commits a person's command. by is who, id is unique per wish.
	Propose(ctx context.Context, by, why, id string, c failover.Command) (failover.Result, error)
	// Plan renders the plan of the open execution, or the one of that kind that would run now.
	Plan(kind failover.ExecKind) (failover.Plan, string, error)
	// Price tells what that plan would cost.
	Price(kind failover.ExecKind) (plan.Price, error)
}
