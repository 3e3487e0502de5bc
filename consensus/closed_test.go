package consensus

import (
	"errors"
	"testing"

	"github.com/failoverd/failoverd/failover"
)

// What raft says when it is shut down it says of entries too that are committed: nobody may take it for "nothing was done".
func TestAnOrderToAClosedRaftIsOfUnknownOutcome(t *testing.T) {
	bubble(t, func(c *trio) {
		_, tn := c.tenure()
		if err := tn.node.raft.Shutdown().Error(); err != nil {
			t.Fatal(err)
		}
		if _, err := tn.node.apply(c.ctx, []byte("{}")); !errors.Is(err, ErrUnknownOutcome) {
			t.Errorf("got %v", err)
		}
	})
}

// A node that is shut down asks raft nothing: raft keeps such a question, or refuses it,
// as it happens, and whoever asked would wait for ever.
func TestAClosedNodeGivesNothingAway(t *testing.T) {
	bubble(t, func(c *trio) {
		h, tn := c.tenure()
		old := tn.node
		var to failover.NodeID
		for _, id := range c.ids {
			if id != h.id {
				to = id
			}
		}
		c.stop(h.id)
		for range 20 {
			if err := old.within(transferLimit, func() error { return old.raft.LeadershipTransferToServer("n9", "n9").Error() }); !errors.Is(err, errClosed) {
				t.Fatalf("a question to a raft that was shut down: %v", err)
			}
		}
		if err := old.TransferTo(to); err == nil {
			t.Error("it has given its leadership away")
		}
	})
}
