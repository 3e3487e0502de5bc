package consensus

import (
	"context"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// G1: nodes that receive the log without a vote answer, the voters do not. That
// is no quorum: nothing is proven, no lease granted, and the leader gives up.
func TestNonVotersProveNothing(t *testing.T) {
	bubble(t, func(c *trio) {
		lead, tn := c.tenure()
		c.configure(tn)
		for _, id := range []failover.NodeID{"n4", "n5", "n6"} {
			c.hosts[id] = &host{id: id, store: newTap(), snaps: newSnaps()}
			c.boot(id, joining)
			c.ids = append(c.ids, id)
			if err := lead.live().AddNonvoter(id, string(id)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(5 * time.Second)
		c.converged(c.ids...)
		for _, id := range []failover.NodeID{"n1", "n2", "n3"} {
			if id != lead.id {
				c.isolate(id)
			}
		}
		ctx, cancel := context.WithTimeout(c.ctx, 300*time.Millisecond)
		defer cancel()
		if err := tn.Prove(ctx); err == nil {
			t.Error("non-voters proved a leadership")
		}
		time.Sleep(3 * time.Second)
		if tn.ctx.Err() == nil {
			t.Error("a leader that only non-voters answer leads on")
		}
		for _, id := range []failover.NodeID{"n4", "n5", "n6"} {
			if n := len(c.hosts[id].tenures); n > 0 {
				t.Errorf("%s, which has no vote, led %d times", id, n)
			}
		}
	})
}
