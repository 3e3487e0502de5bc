package failover

import (
	"maps"
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

// Members are the nodes that belong to the cluster; nil before the first
// configuration. The map is the caller's.
func (s *State) Members() map[NodeID]NodeSpec {
	if s.Settings == nil {
		return nil
	}
	return maps.Clone(s.Settings.Nodes)
}
