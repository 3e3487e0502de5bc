package failover

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// This file holds what policy.two_nodes asks for (S10). Who gives an order is a uid or a
// Slack user, and the node that it comes through can make that up. With two_nodes an
// order that makes something happen counts when it has come through two nodes: one that
// is stolen moves nothing, approves nothing and changes no configuration. What only stops
// or delays needs no second node: a person in a hurry must be able to.

// HalfOrder is an order that has come through one node so far.
type HalfOrder struct {
	ID      uint64    `json:"id"` // raft index of its first half
	Command string    `json:"command"`
	Text    string    `json:"text"`   // what it says, for people; shortened
	Digest  string    `json:"digest"` // of all that it says
	Node    NodeID    `json:"node"`
	By      string    `json:"by"`
	Why     string    `json:"why,omitempty"`
	At      time.Time `json:"at"`
}

const (
	// SecondNodeWithin is how long an order waits for its second node.
	SecondNodeWithin = 15 * time.Minute
	// halvesPerNode bounds what one node can fill the state with.
	halvesPerNode = 8
	// GuardTwoNodes names an order that has come through one node only.
	GuardTwoNodes = "two-nodes"
)

// Until is when the order is forgotten.
func (h HalfOrder) Until() time.Time { return h.At.Add(SecondNodeWithin) }

// says reports whether it is the first half of a command.
func (h HalfOrder) says(c Command) bool {
	_, digest := written(c)
	return h.Command == c.Name() && h.Digest == digest
}

// stops reports whether one node suffices for a command: nodes give it for themselves,
// or it stops, delays or looks.
func stops(c Command) bool {
	switch c := c.(type) {
	case RegisterNode, AckSettings, SaveMessage, RecordDrill, BeginDrill,
		Hold, PauseAutomation, WithdrawSettings, RehearseFence:
		return true
	case Abort:
		return !c.Undo
	}
	return c.LeaderOnly()
}

// wantsTwo reports whether orders count only through two nodes. A cluster of one node,
// as after a recovery, has no second.
func (s *State) wantsTwo() bool {
	return s.Settings != nil && s.Settings.Policy.TwoNodes && s.Level() >= 3 && len(s.Settings.Nodes) >= 2
}

// bothNodes refuses a person's order until it has come through two nodes. What the leader
// does of its own accord – skipping a step that may fail, taking back what is needed no
// more – is no order.
func (s *State) bothNodes(m Meta, c Command) error {
	if !s.wantsTwo() || stops(c) || m.leads() {
		return nil
	}
	s.HalfOrders = slices.DeleteFunc(s.HalfOrders, func(h HalfOrder) bool { return !m.At.Before(h.Until()) })
	if s.firstHalf(m, c) != "" {
		return nil // if another guard refuses it, the first half stands
	}
	text, digest := written(c)
	i := slices.IndexFunc(s.HalfOrders, func(h HalfOrder) bool { return h.says(c) })
	if i < 0 {
		// An order that is refused anyway is refused now, not after the second node.
		if _, err := c.apply(s.Clone(), m); err != nil {
			return err
		}
		s.forgetHalves(m.Node)
		s.HalfOrders = append(s.HalfOrders, HalfOrder{ID: m.Index, Command: c.Name(), Text: text, Digest: digest, Node: m.Node, By: m.By, Why: m.Why, At: m.At})
		i = len(s.HalfOrders) - 1
		s.event(m, c, "order %d came through node %s: it counts when it comes through another one by %s", m.Index, m.Node, s.HalfOrders[i].Until().Format(time.RFC3339))
	}
	return refuse(GuardTwoNodes, "order %d has come through node %s; policy.two_nodes wants two: give the same command on another node by %s", s.HalfOrders[i].ID, m.Node, s.HalfOrders[i].Until().Format(time.RFC3339))
}

// firstHalf is who gave, through another node, the first half of the order that a command
// completes; empty where there is none.
func (s *State) firstHalf(m Meta, c Command) string {
	for _, h := range s.HalfOrders {
		if h.says(c) && h.Node != m.Node {
			return h.By
		}
	}
	return ""
}

// whole ends the half order that an accepted command has completed.
func (s *State) whole(m Meta, c Command) {
	if len(s.HalfOrders) == 0 || stops(c) || m.leads() {
		return
	}
	s.HalfOrders = slices.DeleteFunc(s.HalfOrders, func(h HalfOrder) bool {
		if !h.says(c) {
			return false
		}
		if h.Node != m.Node {
			s.event(m, c, "order %d of %s through node %s (%q) has come through node %s as well", h.ID, h.By, h.Node, h.Why, m.Node)
		}
		return true
	})
}

// forgetHalves makes room for one more of a node.
func (s *State) forgetHalves(node NodeID) {
	n := 0
	for i := len(s.HalfOrders) - 1; i >= 0; i-- {
		if s.HalfOrders[i].Node != node {
			continue
		}
		if n++; n >= halvesPerNode {
			s.HalfOrders = slices.Delete(s.HalfOrders, i, i+1)
		}
	}
}

// written is what a command says, for people, and the digest of all of it.
func written(c Command) (text, digest string) {
	data, _ := json.Marshal(c) // it was read from JSON
	sum := sha256.Sum256(data)
	const line = 160
	if text = string(data); len(text) > line {
		text = strings.ToValidUTF8(text[:line], "") + "…"
	}
	return text, hex.EncodeToString(sum[:])
}
