package daemon

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// A plan is frozen with the version of each kind (rule E8). A node that cannot make one of its actions, because it is older than the node that began, or
// lacks a file that the action reads, must not lead it: it gives the leadership to one that may do better, before it does anything. Where that is
// nobody, it goes on, the step fails with the reason, and a person is asked.

// handOverAgain is how long a node that has given the leadership away for something keeps it when it comes back: nobody else could do better.
const handOverAgain = 5 * time.Minute

// lacks says which step of a plan this node cannot carry out, and why; nil: it can make them all.
func (c *Core) lacks(p *failover.Plan) error {
	for _, st := range p.Steps {
		switch st.Kind {
		case failover.KindStop, failover.KindStart, failover.KindSwitch:
			if _, err := c.cfg.World.Action(st); err != nil {
				return fmt.Errorf("step %s: %w", st.ID, err)
			}
		}
	}
	return nil
}

// able reports whether this leader may carry out what the log has open. If not, the leadership is about to go.
func (l *leadership) able(ctx context.Context) bool {
	s := l.tenure.State()
	for _, e := range []*failover.Execution{s.Execution, s.Preparation} {
		if e == nil {
			continue
		}
		if err := l.core.lacks(e.Plan); err != nil && l.handOver(ctx, s, fmt.Sprintf("execution %d", e.ID), err) {
			return false
		}
	}
	return true
}

// handOver gives the leadership to another voter, since this node cannot do what is to be done, and reports whether it is gone.
func (l *leadership) handOver(ctx context.Context, s *failover.State, what string, why error) bool {
	c := l.core
	if !c.mayHandOver(what) {
		c.cfg.Log.Error("this node leads what it cannot do, and no other one has taken it", "what", what, "error", why)
		return false
	}
	c.cfg.Log.Error("this node cannot do what it is about to lead: it gives the leadership away", "what", what, "error", why)
	others := slices.DeleteFunc(slices.Sorted(maps.Keys(s.Members())), func(id failover.NodeID) bool { return id == c.cfg.ID })
	left := s.Active // from the region that is left a failover is led badly
	if s.Execution != nil {
		left = s.Execution.From
	}
	slices.SortStableFunc(others, func(a, b failover.NodeID) int {
		return boolean(s.Nodes[a].Vantage == left) - boolean(s.Nodes[b].Vantage == left)
	})
	for _, id := range others {
		if err := c.node.TransferTo(id); err != nil {
			c.cfg.Log.Info("the leadership was not taken", "to", id, "why", err.Error())
			continue
		}
		select {
		case <-ctx.Done():
			return true
		case <-time.After(handOverTakes):
		}
	}
	return ctx.Err() != nil
}

// mayHandOver notes that the leadership is given away for something, unless it came back since the last time.
func (c *Core) mayHandOver(what string) bool {
	c.handing.Lock()
	defer c.handing.Unlock()
	if at, ok := c.handed[what]; ok && time.Since(at) < handOverAgain {
		return false
	}
	maps.DeleteFunc(c.handed, func(_ string, at time.Time) bool { return time.Since(at) >= handOverAgain })
	if c.handed == nil {
		c.handed = map[string]time.Time{}
	}
	c.handed[what] = time.Now()
	return true
}

// handOverTakes is how long a transfer that has begun may take until it shows.
const handOverTakes = 2 * time.Second

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}
