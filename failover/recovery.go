package failover

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// This file is the beginning of a new generation of the cluster after a loss of
// its quorum (rule T4).

// EpochJump is added to the epoch when a generation begins: the voters that were
// lost may have advanced it without the survivor.
const EpochJump = 1000

// Recovery is how a generation began, and what still stands in its way.
type Recovery struct {
	At  time.Time `json:"at"`
	By  string    `json:"by"`
	Why string    `json:"why"`
	// Index is the last entry of the survivor's log.
	Index uint64 `json:"index"`
	// Dropped are the voters that were left behind.
	Dropped map[NodeID]DroppedNode `json:"dropped"`
}

// DroppedNode is a voter that was left behind. Until a person attests that it
// runs no more, it may lead a quorum of its own.
type DroppedNode struct {
	Spec     NodeSpec  `json:"spec"`
	Attested bool      `json:"attested,omitempty"`
	By       string    `json:"by,omitempty"`
	Why      string    `json:"why,omitempty"`
	At       time.Time `json:"at,omitzero"`
}

func (r *Recovery) clone() *Recovery {
	if r == nil {
		return nil
	}
	c := *r
	c.Dropped = maps.Clone(r.Dropped)
	return &c
}

// Unattested are the dropped voters of which nobody has attested yet that they
// run no more, sorted. While there is one, no lease is granted, the end of a
// lease proves nothing, and the epoch does not advance.
func (s *State) Unattested() []NodeID {
	if s.Recovery == nil {
		return nil
	}
	var out []NodeID
	for _, id := range slices.Sorted(maps.Keys(s.Recovery.Dropped)) {
		if !s.Recovery.Dropped[id].Attested {
			out = append(out, id)
		}
	}
	return out
}

// contained returns a *Refusal while a dropped voter may still lead a quorum.
func (s *State) contained() error {
	left := s.Unattested()
	if len(left) == 0 {
		return nil
	}
	names := make([]string, len(left))
	for i, id := range left {
		names[i] = string(id)
	}
	return refuse("recovered", "this cluster was recovered without %s: a lost voter may still lead the old quorum; stop it for good, then `failoverd attest-node %s --why …`", strings.Join(names, ", "), names[0])
}

// RecoverOrder is what a person states when a generation is begun.
type RecoverOrder struct {
	Survivor NodeID
	Active   Region // which region is the active one
	At       time.Time
	By, Why  string
}

// Recover begins a new generation with the survivor as its only member. It is
// the one change of a state that is no command: without a quorum there is no log
// to carry one. An execution or a preparation that was open is closed; what it had
// started may have happened.
func (s *State) Recover(o RecoverOrder) error {
	switch {
	case s.Settings == nil:
		return refuse("not-configured", "the log holds no configuration: there is nothing to recover; begin a new cluster with an empty data directory")
	case s.Settings.Other(o.Active) == "":
		return refuse("active-region", "%q is not one of the service's regions, %s and %s: state which one is active with --active", o.Active, s.Settings.Primary, s.Settings.Secondary)
	case o.Why == "":
		return refuse("why", "recovering a cluster needs a reason (--why)")
	}
	spec, member := s.Settings.Nodes[o.Survivor]
	if !member {
		return refuse("member", "node %s is no voter of this cluster: recover on one of %v", o.Survivor, slices.Sorted(maps.Keys(s.Settings.Nodes)))
	}
	if at := o.At.UTC(); at.After(s.Time) {
		s.Time = at
	}
	settings := *s.Settings
	settings.Nodes = map[NodeID]NodeSpec{o.Survivor: spec}
	rec := &Recovery{At: s.Time, By: o.By, Why: o.Why, Index: s.Index, Dropped: map[NodeID]DroppedNode{}}
	if old := s.Recovery; old != nil {
		// Whoever was not attested in the last generation is not in this one.
		for _, id := range s.Unattested() {
			rec.Dropped[id] = old.Dropped[id]
		}
	}
	if s.Removed == nil {
		s.Removed = map[NodeID]RemovedNode{}
	}
	var names []string
	for _, id := range slices.Sorted(maps.Keys(s.Members())) {
		if id == o.Survivor {
			continue
		}
		rec.Dropped[id] = DroppedNode{Spec: s.Members()[id]}
		s.Removed[id] = RemovedNode{At: s.Time, By: o.By, Why: o.Why, Dropped: true}
		delete(s.Nodes, id)
		names = append(names, string(id))
	}
	was := s.Epoch
	if o.Active != s.Active { // what was learned of the other direction says nothing of this one
		s.Inventory, s.Readings, s.Vanished, s.Loss, s.AtRisk = nil, nil, nil, nil, nil
	}
	s.Settings, s.Recovery, s.Change, s.Proposal, s.Request, s.Incident, s.Suspicion, s.Freeze = &settings, rec, nil, nil, nil, nil, nil, nil
	s.Generation++
	s.Epoch += EpochJump
	s.Active = o.Active
	if s.Traffic != "" {
		// The log may have lost the flip, and no execution moves clients to a region
		// that is active already: what the person states holds for them, too.
		s.Traffic = o.Active
	}
	s.Holds = slices.DeleteFunc(s.Holds, func(h StandingHold) bool { return !h.wanted(s.Active) })
	s.Leader, s.LeaderTerm = "", 0
	for _, e := range []*Execution{s.Execution, s.Preparation} {
		if e != nil {
			s.leaveLate(s.Index, s.Time, e, fmt.Sprintf("of execution %d, which `failoverd recover` ended", e.ID))
		}
	}
	if e := s.Execution; e != nil {
		e.State, e.Question, e.FinishedAt = ExecAborted, nil, s.Time
		e.Outcome = "ended by `failoverd recover`: what it had started may have happened; look at both regions"
		if s.Level() >= 3 && e.To == s.Active { // clients stay where it has sent them
			const apart = 64 // from the holds of the newest entry
			s.holdTraffic(s.Index, s.Time, e, apart, false, func(format string, args ...any) {
				s.Events = append(s.Events, Event{Index: s.Index, At: s.Time, Kind: "recover", By: o.By, Why: o.Why, Text: fmt.Sprintf(format, args...)})
			})
		}
		s.History = append(s.History, e)
		s.Execution = nil
	}
	if p := s.Preparation; p != nil {
		// Nobody takes it back: what it started may be what works now.
		var begun []string
		for _, st := range p.Plan.Steps {
			if rec := p.Step(st.ID); len(rec.Attempts) > 0 {
				begun = append(begun, fmt.Sprintf("%s in %s (%s)", st.ID, st.Region, rec.State))
			}
		}
		s.Preparation = nil
		s.Events = append(s.Events, Event{
			Index: s.Index, At: s.Time, Kind: "recover", By: o.By, Why: o.Why,
			Text: fmt.Sprintf("preparation %d ended by `failoverd recover`: what it had started may have happened and is not undone by itself; look at both regions; begun: %s", p.ID, strings.Join(begun, ", ")),
		})
	}
	s.Events = append(s.Events, Event{
		Index: s.Index, At: s.Time, Kind: "recover", By: o.By, Why: o.Why,
		Text: fmt.Sprintf("QUORUM LOST AND RECOVERED BY HAND on node %s: generation %d, epoch %d (was %d), %s stated to be active, clients included; left behind: %s; no lease is granted before each of them is attested", o.Survivor, s.Generation, s.Epoch, was, s.Active, strings.Join(names, ", ")),
	})
	return nil
}

// AttestNode is a person's word that a dropped voter runs no more and never will.
type AttestNode struct {
	Node NodeID `json:"node"`
}

// Name implements Command.
func (AttestNode) Name() string { return "attest-node" }

// LeaderOnly implements Command.
func (AttestNode) LeaderOnly() bool { return false }

func (c AttestNode) apply(s *State, m Meta) (any, error) {
	if s.Recovery == nil {
		return nil, refuse("no-recovery", "this cluster was never recovered: no voter was left behind")
	}
	d, ok := s.Recovery.Dropped[c.Node]
	switch {
	case !ok:
		return nil, refuse("node", "node %s was not left behind; to be attested: %v", c.Node, s.Unattested())
	case m.Why == "":
		return nil, refuse("why", "an attestation needs what you saw, such as --why \"instance terminated, seen in the console\"")
	case d.Attested:
		return nil, nil
	}
	d.Attested, d.By, d.Why, d.At = true, m.By, m.Why, m.At
	s.Recovery.Dropped[c.Node] = d
	left := ""
	if rest := s.Unattested(); len(rest) == 0 {
		left = "; all are: leases are granted again"
	} else {
		left = fmt.Sprintf("; still to be attested: %v", rest)
	}
	s.event(m, c, "node %s, left behind, is attested to run no more%s", c.Node, left)
	return nil, nil
}
