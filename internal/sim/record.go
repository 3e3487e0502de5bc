package sim

import (
	"context"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// What the world's record takes from the log, and how a run is judged.

// begin starts everything: schedulers, nodes, and who watches them.
func (c *cluster) begin(ctx context.Context) {
	c.world.mu.Lock()
	c.rules = oracle.Rules{
		Primary: east1, Secondary: east2, Fleet: map[string]int{}, Pools: map[string]string{}, Stops: map[string]bool{}, Switches: len(c.settings.Traffic.Switch),
		Hold: c.settings.Policy.Hold.D(), Prepare: c.settings.Policy.PrepareAfter.D(), Slack: 4 * time.Second, Recover: 6 * time.Second, Linger: 10 * time.Second,
		Patience: 3 * time.Minute, Repair: 90 * time.Second,
	}
	for name, n := range c.world.desired {
		c.rules.Fleet[name] = n
		c.rules.Pools[name] = name[strings.LastIndex(name, "/")+1:]
	}
	for _, comp := range c.settings.Components {
		if comp.Stop != nil && comp.Stop.Action != nil {
			c.rules.Stops[pool(string(comp.Name), east1)], c.rules.Stops[pool(string(comp.Name), east2)] = true, true
		}
		if comp.Start != nil && comp.Start.Kind == restoreKind {
			c.rules.Restore = "start-" + string(comp.Name)
		}
	}
	c.world.mu.Unlock()
	for _, r := range []string{east1, east2} {
		c.world.wg.Go(func() { c.world.reconcile(r) })
	}
	for _, name := range c.names {
		c.start(ctx, c.hosts[name])
	}
	c.world.wg.Go(func() { c.watchDarkness(ctx) })
}

// applied notes what an entry of the log means for the world's record, when the
// first node applies it: before any node can act on it. Lines of the log only
// take on duties there: see package oracle.
func (c *cluster) applied(h *host, res failover.Result, cmd failover.Command) {
	if flip, ok := cmd.(failover.SetTraffic); ok && res.Err == nil {
		c.turn(h, res.Index, string(flip.Region))
	}
	c.applying.Lock()
	defer c.applying.Unlock()
	news := res.Index > c.seen && res.Err == nil
	c.seen = max(c.seen, res.Index)
	if !news {
		return
	}
	e := oracle.Entry{Who: "log", Token: res.Index}
	switch cmd := cmd.(type) {
	case failover.OpenIncident:
		e.Kind, e.Region = oracle.Incident, string(cmd.Region)
	case failover.RefuseRequest:
		e.Kind, e.Detail = oracle.Refused, cmd.Reason
	case failover.StartPreparation:
		c.preparation = res.Index
		e.Kind, e.What = oracle.Began, oracle.Preparation
	case failover.StartExecution:
		e.Kind, e.What, e.Detail = oracle.Began, oracle.Execution, oracle.ByPerson
		if cmd.Incident != 0 {
			e.Detail = oracle.ByIncident
		}
	case failover.Continue:
		if !cmd.Ended {
			return // it was held
		}
		e.Kind, e.What, e.Detail = oracle.Began, oracle.Execution, oracle.CarriedOn
	case failover.AdvanceEpoch:
		e.Kind, e.Region = oracle.Fenced, east1
		if string(cmd.Region) == east1 {
			e.Region = east2
		}
	case failover.FinishExecution:
		e.Kind, e.What, e.Detail = oracle.Ended, oracle.Execution, string(cmd.State)
		if cmd.Execution == c.preparation {
			e.What = oracle.Preparation
		}
	case failover.DeclareStable:
		e.Kind, e.What, e.Detail = oracle.Ended, oracle.Execution, oracle.Stable
	case failover.Lead:
		e.Kind, e.Who = oracle.Leads, string(cmd.Node)
	case failover.StepStarted:
		c.burning[res.Index] = cmd.Burn
		return
	case failover.StepFinished:
		e.Kind, e.Step, e.What = oracle.Finished, string(cmd.Step), oracle.Do
		switch {
		case cmd.Outcome == failover.StepUndone:
			e.What = oracle.Undo
		case cmd.Outcome != failover.StepDone || c.burning[cmd.Token]: // a burnt token is no effect
			return
		}
	case failover.Abort:
		e.Kind, e.What = oracle.Ordered, oracle.OrderAbort
		if cmd.Undo {
			e.What = oracle.OrderUndo
		}
	case failover.Skip:
		e.Kind, e.What = oracle.Ordered, oracle.OrderSkip
		e.Step = string(cmd.Step)
		e.Acts, _, _ = strings.Cut(e.Step, "-") // stop-workers, switch-gate
	case failover.Retry:
		e.Kind, e.What, e.Step = oracle.Ordered, oracle.OrderRetry, string(cmd.Step)
	default:
		return
	}
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	c.world.add(e)
}

// turn notes what a host's gate says by the log as it is at an index. A node keeps that across restarts, and turns by nothing
// older (rule T1).
func (c *cluster) turn(h *host, index uint64, traffic string) {
	h.turning.Lock()
	defer h.turning.Unlock()
	if index <= h.turned || traffic == "" {
		return
	}
	h.turned = index
	if says := traffic == east2; h.said.Swap(says) != says {
		kind := oracle.Forgets
		if says {
			kind = oracle.Says
		}
		c.world.note(kind, "", h.id, "")
	}
}

// finish says where a healed run stands, and ends it.
func (c *cluster) finish(cancel context.CancelFunc) oracle.Final {
	final := oracle.Final{At: time.Now(), Diverged: c.diverged(), Traffic: c.world.trafficNow(), Asks: c.asks()}
	c.end()
	final.Deserted = c.world.trafficNow()
	cancel()
	c.world.wg.Wait()
	return final
}

// asks reports whether a person who asks a node for its status is shown a
// question, or that the execution is held until somebody goes on.
func (c *cluster) asks() bool {
	s := c.newest()
	return s != nil && s.Execution != nil && (s.Execution.Question != nil || s.Execution.State == failover.ExecHeld)
}
