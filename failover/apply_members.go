package failover

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// RemovedNode is a node that left the cluster. Its name is never used again: the
// votes that its disk gave cannot be told from those of another one.
type RemovedNode struct {
	At  time.Time `json:"at"`
	By  string    `json:"by"`
	Why string    `json:"why,omitempty"`
	// Dropped says that it was lost with the quorum and left behind by `failoverd
	// recover`.
	Dropped bool `json:"dropped,omitempty"`
}

// RemovedError is what a removed node, and whoever uses its name, is told.
func RemovedError(id NodeID, r RemovedNode) error {
	how := "removed from the cluster"
	if r.Dropped {
		how = "left behind when the cluster was recovered"
	}
	return refuse("removed", "node %s was %s on %s by %s (%s): it must not vote any more, and its name is never used again; a new node joins with an empty data directory under a new name (`failoverd members add`)", id, how, r.At.Format(time.RFC3339), r.By, r.Why)
}

// CheckDisk compares what a node says of its disk with what is recorded of it,
// and returns a *Refusal when the disk may have forgotten votes (rule T3). Only
// Disk, Starts and Boot count. known is false for a node of which nothing is
// recorded: then nothing objects. It is asked wherever a node shows itself: when
// it registers, when it starts, and at the beginning of each raft connection.
func CheckDisk(node NodeID, recorded NodeRecord, known bool, now NodeRecord) error {
	switch {
	case !known:
	case recorded.Disk != now.Disk:
		return refuse("disk-replaced", "node %s started with another disk than the one that this cluster knows: an empty disk has forgotten its votes; give the node a new name, or put the old data directory back", node)
	case now.Starts < recorded.Starts, now.Starts == recorded.Starts && now.Boot != recorded.Boot:
		return refuse("disk-set-back", "node %s started with start counter %d, but %d was recorded: its disk was set back to an older copy and may have forgotten votes; remove the node from the cluster and let it rejoin with an empty data directory under a new name", node, now.Starts, recorded.Starts)
	}
	return nil
}

// MemberChange is one node being added or removed. One change is under way at a
// time.
type MemberChange struct {
	ID   uint64    `json:"id"`   // raft index of the command that began it
	Kind string    `json:"kind"` // "add" or "remove"
	Node NodeID    `json:"node"`
	Spec NodeSpec  `json:"spec"`
	By   string    `json:"by"`
	Why  string    `json:"why,omitempty"`
	At   time.Time `json:"at"`
}

// The commands of the membership.
type (
	// AddMember begins to add a node: it receives the log as a non-voter first and
	// votes once it has caught up and registered.
	AddMember struct {
		Node NodeID   `json:"node"`
		Spec NodeSpec `json:"spec"`
	}
	// RemoveMember begins to remove a node, for good.
	RemoveMember struct {
		Node NodeID `json:"node"`
	}
	// FinishMember ends a change: done, and the settings' nodes follow raft's
	// configuration, or given up, for the reason.
	FinishMember struct {
		Change uint64 `json:"change"`
		Done   bool   `json:"done"`
		Reason string `json:"reason,omitempty"`
	}
)

// Name implements Command.
func (AddMember) Name() string { return "add-member" }

// Name implements Command.
func (RemoveMember) Name() string { return "remove-member" }

// Name implements Command.
func (FinishMember) Name() string { return "finish-member" }

// LeaderOnly implements Command.
func (AddMember) LeaderOnly() bool { return false }

// LeaderOnly implements Command.
func (RemoveMember) LeaderOnly() bool { return false }

// LeaderOnly implements Command.
func (FinishMember) LeaderOnly() bool { return true }

// Members are the nodes that belong to the cluster, with the one that is being
// added; nil before the first configuration. The map is the caller's.
func (s *State) Members() map[NodeID]NodeSpec {
	if s.Settings == nil {
		return nil
	}
	out := maps.Clone(s.Settings.Nodes)
	if c := s.Change; c != nil && c.Kind == "add" {
		out[c.Node] = c.Spec
	}
	return out
}

// mayChangeMembers holds what both changes have in common: one at a time, and
// never while something rests on the membership as it is.
func (s *State) mayChangeMembers() error {
	switch {
	case s.Settings == nil:
		return refuse("not-configured", "the cluster has no configuration yet: its members are those of [nodes]")
	case s.Change != nil:
		return refuse("change-open", "one change at a time: the change to %s %s is under way (`failoverd members`)", s.Change.Kind, s.Change.Node)
	case s.Execution != nil:
		return refuse("execution-open", "execution %d is open: the membership changes when it has ended", s.Execution.ID)
	case s.Incident != nil:
		return refuse("incident-open", "incident %d is open: its votes come from the members as they are", s.Incident.ID)
	case s.Proposal != nil:
		return refuse("config-open", "configuration %s is being rolled out to the members as they are; wait for it, or withdraw it (`failoverd config withdraw`)", s.Proposal.Hash)
	}
	return nil
}

func (c AddMember) apply(s *State, m Meta) (any, error) {
	if err := s.mayChangeMembers(); err != nil {
		return nil, err
	}
	if r, gone := s.Removed[c.Node]; gone {
		return nil, RemovedError(c.Node, r)
	}
	if _, ok := s.Settings.Nodes[c.Node]; ok {
		return nil, refuse("member", "node %s is a member already; a replaced disk needs a new name", c.Node)
	}
	for _, part := range []struct{ what, text string }{{"name", string(c.Node)}, {"region", string(c.Spec.Vantage)}} {
		if !plainName(part.text) {
			return nil, refuse("name", "%q cannot be a node's %s: use lower-case letters, digits, - and _", part.text, part.what)
		}
	}
	if i := strings.LastIndexByte(c.Spec.Address, ':'); i < 1 || i == len(c.Spec.Address)-1 {
		return nil, refuse("address", "%q is not host:port", c.Spec.Address)
	}
	for _, id := range slices.Sorted(maps.Keys(s.Settings.Nodes)) {
		if s.Settings.Nodes[id].Address == c.Spec.Address {
			return nil, refuse("address", "%s is the address of node %s", c.Spec.Address, id)
		}
	}
	s.Change = &MemberChange{ID: m.Index, Kind: "add", Node: c.Node, Spec: c.Spec, By: m.By, Why: m.Why, At: m.At}
	s.event(m, c, "adding node %s in %s at %s: it receives the log, and votes once it has caught up and registered", c.Node, c.Spec.Vantage, c.Spec.Address)
	return m.Index, nil
}

func plainName(s string) bool {
	for i, r := range s {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || i > 0 && (r == '-' || r == '_')) {
			return false
		}
	}
	return s != ""
}

func (c RemoveMember) apply(s *State, m Meta) (any, error) {
	if s.Change != nil && s.Change.Kind == "add" && s.Change.Node == c.Node {
		// The way out of an addition that never comes to its end.
		s.event(m, c, "adding node %s is given up", c.Node)
		s.Change.Kind = "remove"
		s.Change.By, s.Change.Why = m.By, m.Why
		return s.Change.ID, nil
	}
	if err := s.mayChangeMembers(); err != nil {
		return nil, err
	}
	spec, ok := s.Settings.Nodes[c.Node]
	if !ok {
		return nil, refuse("member", "node %s is not a member; these are: %v", c.Node, slices.Sorted(maps.Keys(s.Settings.Nodes)))
	}
	rest := *s.Settings
	rest.Nodes = maps.Clone(s.Settings.Nodes)
	delete(rest.Nodes, c.Node)
	for _, r := range []Region{s.Settings.Primary, s.Settings.Secondary} {
		if out := rest.OutsideVantages(r); len(out) < 2 {
			return nil, refuse("vantages", "without %s only %v would look at %s from outside: two vantages must agree that it is down; add another node first", c.Node, out, r)
		}
	}
	s.Change = &MemberChange{ID: m.Index, Kind: "remove", Node: c.Node, Spec: spec, By: m.By, Why: m.Why, At: m.At}
	s.event(m, c, "removing node %s in %s", c.Node, spec.Vantage)
	return m.Index, nil
}

func (c FinishMember) apply(s *State, m Meta) (any, error) {
	ch := s.Change
	if ch == nil || ch.ID != c.Change {
		return nil, refuse("change", "change %d is not under way", c.Change)
	}
	if !c.Done {
		s.Change = nil
		s.event(m, c, "the change to %s node %s was given up: %s", ch.Kind, ch.Node, c.Reason)
		return nil, nil
	}
	if _, registered := s.Nodes[ch.Node]; ch.Kind == "add" && !registered {
		return nil, refuse("registered", "node %s has not registered", ch.Node)
	}
	settings := *s.Settings
	settings.Nodes = maps.Clone(s.Settings.Nodes)
	if ch.Kind == "add" {
		settings.Nodes[ch.Node] = ch.Spec
		s.event(m, c, "node %s in %s is a voter: %d nodes", ch.Node, ch.Spec.Vantage, len(settings.Nodes))
	} else {
		delete(settings.Nodes, ch.Node)
		delete(s.Nodes, ch.Node)
		if s.Removed == nil {
			s.Removed = map[NodeID]RemovedNode{}
		}
		s.Removed[ch.Node] = RemovedNode{At: m.At, By: ch.By, Why: ch.Why}
		s.event(m, c, "node %s is removed: %d nodes", ch.Node, len(settings.Nodes))
	}
	s.Settings, s.Change = &settings, nil
	return nil, nil
}
