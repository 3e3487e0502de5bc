package daemon

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/mtls"
)

// leaseCaller asks the nodes for a lease: those of the agent's own region first,
// then the others. Any node passes the request on to the leader.
type leaseCaller struct {
	*caller
	order   []failover.NodeID
	known   []failover.NodeID // whose words count, sorted
	timeout time.Duration     // of one node
	hedge   time.Duration     // after which the next node is asked as well
	log     *slog.Logger

	mu sync.Mutex
	// doubted are the nodes whose last answer did not count: each is said once.
	doubted map[failover.NodeID]bool
}

func newLeaseCaller(m *mtls.Material, nodes map[failover.NodeID]failover.NodeSpec, region failover.Region, timeout, hedge time.Duration, log *slog.Logger) *leaseCaller {
	c := &leaseCaller{
		caller:  newCaller(m, func() map[failover.NodeID]failover.NodeSpec { return nodes }, timeout),
		timeout: timeout, hedge: hedge, log: log, doubted: map[failover.NodeID]bool{},
	}
	for id := range nodes {
		c.order = append(c.order, id)
	}
	c.known = slices.Sorted(slices.Values(c.order))
	near := func(id failover.NodeID) int {
		if nodes[id].Vantage == region {
			return 0
		}
		return 1
	}
	slices.SortFunc(c.order, func(a, b failover.NodeID) int {
		if near(a) != near(b) {
			return near(a) - near(b)
		}
		return strings.Compare(string(a), string(b))
	})
	return c
}

// Ask implements fence.Asker. A node that answers with an error is as useless as
// one that does not answer, and so is one whose answer too few nodes stand behind: the
// next one is asked, with the same request, whose time of sending stands.
func (c *leaseCaller) Ask(ctx context.Context, a fence.Ask) (fence.Answer, error) {
	word := signer{c.material}
	a.Nodes = c.known
	by, err := word.Sign(a.Statement())
	if err != nil {
		return fence.Answer{}, fmt.Errorf("signing the request: %w", err)
	}
	a.Vouch = by
	return fence.Hedged(ctx, c.order, c.hedge, func(ctx context.Context, id failover.NodeID) (ans fence.Answer, err error) {
		ctx, cancel := context.WithTimeout(ctx, c.timeout)
		defer cancel()
		if err := c.call(ctx, id, pathLease, a, &ans); err != nil {
			return ans, err
		}
		err = ans.Believe(a, word.Node)
		c.doubt(id, err)
		if err != nil {
			return fence.Answer{}, fmt.Errorf("node %s: its answer does not count: %w", id, err)
		}
		return ans, nil
	})
}

// doubt says when a node's answers begin to count, or do so no more.
func (c *leaseCaller) doubt(id failover.NodeID, why error) {
	c.mu.Lock()
	was := c.doubted[id]
	c.doubted[id] = why != nil
	c.mu.Unlock()
	switch {
	case why != nil && !was:
		c.log.Error("a node's answer does not count: other nodes are asked; find out whether that node is in the right hands", "node", id, "why", why)
	case why == nil && was:
		c.log.Info("a node's answers count again", "node", id)
	}
}
