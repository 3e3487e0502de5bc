package consensus

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// A cluster that is upgraded node by node never commits a command that one of its
// nodes could not read, whoever leads and whoever proposes it; after the last
// upgrade it does.
func TestRollingUpgrade(t *testing.T) {
	bubble(t, func(c *trio) {
		register := func(id failover.NodeID, features int, starts uint64) {
			t.Helper()
			rec := failover.NodeRecord{Vantage: "east1", Version: "v", Features: features, Disk: "d-" + string(id), Starts: starts}
			if _, err := c.hosts[id].live().Propose(c.ctx, by(""), failover.RegisterNode{Node: id, Record: rec}); err != nil {
				t.Fatal(err)
			}
		}
		const old = failover.NodeID("n3")
		c.stop(old)
		c.hosts[old].codec = newCodecAt(1)
		c.boot(old)
		lead, tn := c.leaderOtherThan(old)
		s := failover.Settings{Service: "s", Primary: "east1", Secondary: "east2", Nodes: map[failover.NodeID]failover.NodeSpec{"n1": {}, "n2": {}, "n3": {}}}
		if _, err := tn.Propose(c.ctx, failover.Configure{Settings: s, Hash: "h"}, ""); err != nil {
			t.Fatal(err)
		}
		register("n1", 2, 1)
		register("n2", 2, 1)
		register(old, 1, 1)
		refused := func(err error) {
			t.Helper()
			var ref *failover.Refusal
			if !errors.As(err, &ref) || ref.Guard != "features" {
				t.Errorf("not refused for its level: %v", err)
			}
		}
		index := lead.live().State().Index
		_, err := tn.Propose(c.ctx, failover.RaiseFeatures{Level: 2}, "")
		refused(err)
		for _, id := range []failover.NodeID{"n1", "n2"} {
			_, err := c.hosts[id].live().Propose(c.ctx, by(""), failover.AttestNode{Node: "x"})
			refused(err)
		}
		// A newer node's proposal that finds an older leader is not committed either.
		_, err = tn.Propose(c.ctx, failover.ActivateSettings{}, "")
		refused(err)
		// Not even as a refusal: the old node could not read it.
		if got := lead.live().State().Index; got != index {
			t.Errorf("something was committed: index %d → %d", index, got)
		}
		time.Sleep(5 * time.Second)
		c.converged(c.ids...)
		select {
		case err := <-c.fatals:
			t.Fatalf("a node stopped: %v", err)
		default:
		}

		c.stop(old)
		time.Sleep(time.Second)
		c.hosts[old].codec = nil
		c.boot(old)
		time.Sleep(5 * time.Second)
		lead, tn = c.tenure()
		register(old, 2, 2)
		if _, err := tn.Propose(c.ctx, failover.RaiseFeatures{Level: lead.live().State().Raisable()}, ""); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(c.ctx, 2*time.Second)
		defer cancel()
		for _, id := range c.ids {
			var ref *failover.Refusal
			_, err := c.hosts[id].live().Propose(ctx, by(""), failover.AttestNode{Node: "x"})
			if !errors.As(err, &ref) || ref.Guard != "no-recovery" {
				t.Errorf("%s after the upgrade: %v", id, err)
			}
		}
		c.converged(c.ids...)
	})
}

// An entry that a node does not know stops it, with the way out; it answers no
// further entry as if it had applied it.
func TestUnknownCommandStopsTheNode(t *testing.T) {
	bubble(t, func(c *trio) {
		const old = failover.NodeID("n3")
		c.stop(old)
		c.hosts[old].codec = newCodecAt(1)
		c.boot(old)
		lead, _ := c.leaderOtherThan(old)
		// Straight into the log: no proposal of ours would do this.
		data, err := lead.live().codec.Encode(by("x"), failover.AttestNode{Node: "x"})
		if err != nil {
			t.Fatal(err)
		}
		if err := lead.live().raft.Apply(data, time.Second).Error(); err != nil {
			t.Fatal(err)
		}
		if err := <-c.fatals; !errors.Is(err, ErrUnknownCommand) {
			t.Errorf("%v", err)
		}
		if _, err := lead.live().Propose(c.ctx, by(""), minute()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if s := c.hosts[old].live().State(); s.Pause != nil {
			t.Error("it went on behind the entry that it does not know")
		}
	})
}

// leaderOtherThan waits for a leader and, if it is the given node, has it give
// the leadership away.
func (c *trio) leaderOtherThan(id failover.NodeID) (*host, *tenureOf) {
	c.t.Helper()
	lead, tn := c.tenure()
	if lead.id != id {
		return lead, tn
	}
	time.Sleep(2 * time.Second)
	if err := lead.live().TransferTo(c.follower(lead).id); err != nil {
		c.t.Fatal(err)
	}
	return c.tenure(id)
}
