package consensus

import (
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/failover"
)

// CommitIndex is the last entry that this node knows to be committed.
func (n *Node) CommitIndex() uint64 { return n.raft.CommitIndex() }

// AddNonvoter lets a node receive the log without a vote. Only a leader can; it
// does nothing for one that is a member already.
func (n *Node) AddNonvoter(id failover.NodeID, address string) error {
	return n.reconfigure("adding "+string(id), n.raft.AddNonvoter(raft.ServerID(id), raft.ServerAddress(address), 0, transferLimit))
}

// AddVoter gives a node a vote. Only a leader can.
func (n *Node) AddVoter(id failover.NodeID, address string) error {
	return n.reconfigure("giving a vote to "+string(id), n.raft.AddVoter(raft.ServerID(id), raft.ServerAddress(address), 0, transferLimit))
}

// RemoveServer takes a node out of raft's configuration. Only a leader can.
func (n *Node) RemoveServer(id failover.NodeID) error {
	return n.reconfigure("removing "+string(id), n.raft.RemoveServer(raft.ServerID(id), 0, transferLimit))
}

// reconfigure waits for a change of raft's configuration. An error means that it
// may still come: look at Members before repeating it.
func (n *Node) reconfigure(what string, f raft.IndexFuture) error {
	if err := n.within(2*transferLimit, f.Error); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}
