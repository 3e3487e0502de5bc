// Package failover is the domain of failoverd: the words, the replicated
// state and the rules by which it changes.
//
// Everything here is pure. There is no clock, no I/O, no goroutine and no
// randomness: time arrives stamped in a command or as an argument, and the same
// inputs give the same outputs, byte for byte, on every node (invariant S7).
// The package imports the standard library only.
package failover

import (
	"fmt"
	"slices"
	"time"
)

// Region names a place that runs the service ("us-east-1"), or a place that
// only looks at it (the third vantage).
type Region string

// NodeID names one watchdog node (a raft member).
type NodeID string

// AgentID names one agent. It is chosen by the agent and never reused by
// another process that could hold a lease at the same time.
type AgentID string

// Component names a part of the service.
type Component string

// StepID names a step inside one plan.
type StepID string

// Health is an opinion about a region or a signal.
type Health uint8

// The health values. The zero value is Unknown: no opinion.
const (
	Unknown Health = iota
	Healthy
	Degraded
	Down
)

var healthNames = []string{"unknown", "healthy", "degraded", "down"}

func (h Health) String() string { return enumName(healthNames, h) }

// MarshalText implements encoding.TextMarshaler.
func (h Health) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Health) UnmarshalText(b []byte) error { return enumParse(healthNames, "health", b, h) }

// Outcome is the result class of one observation.
type Outcome uint8

// The outcomes of a probe. The zero value is NoResult, which counts as nothing
// at all: neither success nor failure.
const (
	NoResult Outcome = iota
	// OK means that the target answered as it should.
	OK
	// Slow means that the target answered correctly but later than its
	// threshold. Slow is not dead: it degrades, it never fails a signal.
	Slow
	// Failed means that the target did not answer, or answered with a failure.
	Failed
	// Misconfigured means that the probe itself cannot work (bad credentials,
	// an untrusted certificate, a missing queue). It is never a vote.
	Misconfigured
)

var outcomeNames = []string{"none", "ok", "slow", "failed", "misconfigured"}

func (o Outcome) String() string { return enumName(outcomeNames, o) }

// MarshalText implements encoding.TextMarshaler.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (o *Outcome) UnmarshalText(b []byte) error { return enumParse(outcomeNames, "outcome", b, o) }

// ReasonCode classifies why an observation failed. Codes are stable words, used
// as metric label values.
type ReasonCode string

// The reason codes that probes use.
const (
	ReasonNone        ReasonCode = ""
	ReasonTimeout     ReasonCode = "timeout"      // nothing came back in time (a black hole)
	ReasonRefused     ReasonCode = "refused"      // the connection was refused
	ReasonReset       ReasonCode = "reset"        // the connection was cut in mid-exchange
	ReasonUnreachable ReasonCode = "unreachable"  // no route to the host or network
	ReasonDNS         ReasonCode = "dns"          // the name did not resolve (NXDOMAIN, SERVFAIL, time-out)
	ReasonNoData      ReasonCode = "dns-nodata"   // the name exists without an address
	ReasonTLS         ReasonCode = "tls"          // the TLS handshake failed
	ReasonStatus      ReasonCode = "status"       // an unexpected status came back
	ReasonContent     ReasonCode = "content"      // the answer is not what was expected
	ReasonThrottled   ReasonCode = "throttled"    // the API refused for rate
	ReasonServerError ReasonCode = "server-error" // the API answered with a 5xx
	ReasonAuth        ReasonCode = "auth"         // credentials were not accepted
	ReasonStale       ReasonCode = "stale"        // the answer is too old to mean anything
	ReasonRole        ReasonCode = "role"         // the server answers but is not in the expected role
	ReasonSlow        ReasonCode = "slow"         // correct, but later than the threshold
	ReasonConfig      ReasonCode = "config"       // the probe is configured wrongly
	ReasonOther       ReasonCode = "other"
)

// Observation is one check of one target from one node. Observations stay on
// the node that made them; they never enter the raft log.
type Observation struct {
	Component Component     `json:"component"`
	Kind      string        `json:"kind"`   // the probe kind, e.g. "http"
	Region    Region        `json:"region"` // the region that the target is in
	Target    string        `json:"target"` // what was asked, e.g. a URL with its address
	Outcome   Outcome       `json:"outcome"`
	Reason    ReasonCode    `json:"reason,omitempty"`
	Detail    string        `json:"detail,omitempty"` // one line for a person; never a secret
	At        time.Time     `json:"at"`               // when the check began
	Latency   time.Duration `json:"latency_ns"`
	// Part says that some of the addresses or members behind the target are dark
	// while others answer.
	Part bool `json:"part,omitempty"`
	// LastWrite is when the newest write was made that the target knows of, by the
	// store's own clock; zero where the probe does not look at data.
	LastWrite time.Time                `json:"last_write,omitzero"`
	AtRisk    *AtRisk                  `json:"at_risk,omitempty"`
	Phases    map[string]time.Duration `json:"phases_ns,omitempty"` // e.g. dns, connect, tls, first_byte
}

// SignalState is what a node thinks of one signal: a component seen through one
// kind of probe in one region.
type SignalState struct {
	Component Component  `json:"component"`
	Kind      string     `json:"kind"`
	Region    Region     `json:"region"`
	Health    Health     `json:"health"`
	Reason    ReasonCode `json:"reason,omitempty"`
	Detail    string     `json:"detail,omitempty"`
	Since     time.Time  `json:"since"` // when this health began, by the node's clock: for people only
	// Plane is empty for a signal of the data plane. No other makes a region down:
	// see PlaneControl and PlaneUpkeep.
	Plane string `json:"plane,omitempty"`
	// Part says that only a part of what is behind the signal is dark.
	Part bool `json:"part,omitempty"`
	// LastWrite is Observation.LastWrite of the newest look.
	LastWrite time.Time `json:"last_write,omitzero"`
	// AtRisk is Observation.AtRisk of the newest look that has counted.
	AtRisk *AtRisk `json:"at_risk,omitempty"`
}

// AtRisk is how much stands in a region and nowhere else, so that it is out of reach, or lost, when the region is left. Nil: nobody counts.
type AtRisk struct {
	Items int64  `json:"items"`
	Unit  string `json:"unit"`           // of Items, in the plural: "messages"
	Where string `json:"where"`          // what holds them, for people: "queue messages"
	Lost  bool   `json:"lost,omitempty"` // they are lost with the region; else they wait there
	// Lacks says why nobody could count; Items mean nothing then. "": they were counted.
	Lacks string `json:"lacks,omitempty"`
}

// What a signal looks at, if not at the data plane.
const (
	// PlaneControl marks a signal of a region's control plane.
	PlaneControl = "control"
	// PlaneUpkeep marks a signal of what people must see to in time, such as the
	// life of a certificate. It says nothing of the region's health.
	PlaneUpkeep = "upkeep"
)

// Data reports whether the signal looks at the data plane: only such a one makes a
// region down, or shows that it lives.
func (s SignalState) Data() bool { return s.Plane == "" }

// Verdict is one node's opinion of one region.
type Verdict struct {
	Region  Region `json:"region"`
	Health  Health `json:"health"`
	Abstain bool   `json:"abstain,omitempty"` // the node failed its self-check: its opinion counts as none
	Why     string `json:"why"`               // one sentence for a person
	// Signals are the region's signals as the node sees them, sorted by
	// component, then kind.
	Signals []SignalState `json:"signals,omitempty"`
}

// DownKinds returns the distinct probe kinds that are down, sorted.
func (v Verdict) DownKinds() []string { return kindsWith(v.Signals, Down) }

// serves reports whether every signal of the data plane that has an opinion is
// well, and one has. What a control plane or upkeep complains of says nothing of it.
func (v Verdict) serves() bool {
	well := 0
	for _, s := range v.Signals {
		switch {
		case !s.Data() || s.Health == Unknown:
		case s.Health != Healthy:
			return false
		default:
			well++
		}
	}
	return !v.Abstain && well > 0
}

// Kinds returns the distinct probe kinds of the data plane that have an opinion,
// sorted.
func (v Verdict) Kinds() []string {
	var out []string
	for _, s := range v.Signals {
		if s.Health != Unknown && s.Data() {
			out = append(out, s.Kind)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func kindsWith(signals []SignalState, h Health) []string {
	var out []string
	for _, s := range signals {
		if s.Health == h && s.Data() {
			out = append(out, s.Kind)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Ballot is what a node sends to the leader every second and on every change:
// its verdicts about all regions. Boot and Seq let the leader drop ballots that
// arrive late or twice.
type Ballot struct {
	Node     NodeID    `json:"node"`
	Vantage  Region    `json:"vantage"`
	Boot     string    `json:"boot"` // random per process start
	Seq      uint64    `json:"seq"`  // grows with each ballot of one boot
	Verdicts []Verdict `json:"verdicts"`
}

// Vote is one node's verdict as the leader holds it.
type Vote struct {
	Node    NodeID  `json:"node"`
	Vantage Region  `json:"vantage"`
	Verdict Verdict `json:"verdict"`
	// Received is the leader's own clock when the ballot arrived. It is never
	// compared with another machine's clock.
	Received time.Time `json:"received"`
	// Age is Received's age when votes are frozen in OpenIncident; zero elsewhere.
	Age Duration `json:"age,omitempty"`
}

// Duration is a time.Duration that is written as text ("1m30s") in JSON, so
// that logs, plans and golden files can be read by a person.
type Duration time.Duration

// D returns the value as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("duration %q is not of the form 500ms, 90s, 15m or 26h", b)
	}
	*d = Duration(v)
	return nil
}

// Mode says how much failoverd may do by itself.
type Mode string

// The modes.
const (
	ModeObserve    Mode = "observe"    // says what it would do; can stop nothing
	ModeSupervised Mode = "supervised" // asks a person, with a time-out and a stated default
	ModeAutomatic  Mode = "automatic"  // acts when the rule is met and no guard objects
)

// Arming is a component's rung on the ladder from watching to stopping.
type Arming string

// The rungs. Only an enforced component's lease expiry is evidence.
const (
	ArmObserve  Arming = "observe"  // nothing can ever stop a process
	ArmAdvisory Arming = "advisory" // agents say "would have stopped", and stop nothing
	ArmEnforced Arming = "enforced" // agents stop their workers when the lease ends
)

// EvidenceClass says why we believe that something has stopped.
type EvidenceClass string

// The evidence classes, strongest first. A time-out or an HTTP 200 is none.
const (
	Confirmed EvidenceClass = "confirmed" // seen stopped: by its agents, or by an authoritative description
	Lease     EvidenceClass = "lease"     // no lease can be valid any more (rule G3)
	Resource  EvidenceClass = "resource"  // fenced at the resource that it would change
	Attested  EvidenceClass = "attested"  // a person says so
)

// enumName renders a small enumeration; values outside the table are shown as
// numbers rather than hidden.
func enumName[T ~uint8](names []string, v T) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("invalid(%d)", v)
}

func enumParse[T ~uint8](names []string, what string, b []byte, into *T) error {
	i := slices.Index(names, string(b))
	if i < 0 {
		return fmt.Errorf("%s %q is not one of %v", what, b, names)
	}
	*into = T(i) //nolint:gosec // i indexes a table of at most a dozen names
	return nil
}
