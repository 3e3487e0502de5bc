package daemon

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
)

// membersEvery is how often the leader looks at a change of the membership that
// is under way, and a node without a leader asks what became of it.
const membersEvery = 500 * time.Millisecond

// members carries out the change of the membership that the log asks for, one
// idempotent step at a time, until ctx ends. A later leader goes on where this
// one stopped.
func (l *leadership) members(ctx context.Context) {
	for {
		changed := l.tenure.Changed()
		if ch := l.tenure.State().Change; ch != nil {
			if err := l.changeMembers(ctx, ch); err != nil && ctx.Err() == nil {
				l.core.cfg.Log.Info("the membership has not changed yet", "change", ch.Kind, "of", ch.Node, "why", err.Error())
			}
			changed = nil // applied entries are no reason to hurry
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-time.After(membersEvery):
		}
	}
}

func (l *leadership) changeMembers(ctx context.Context, ch *failover.MemberChange) error {
	node := l.core.node
	servers, err := node.Members()
	if err != nil {
		return err
	}
	at := slices.IndexFunc(servers, func(s raft.Server) bool { return s.ID == raft.ServerID(ch.Node) })
	finish := func(done bool, reason string) error {
		_, err := l.tenure.Propose(ctx, failover.FinishMember{Change: ch.ID, Done: done, Reason: reason}, "")
		return err
	}
	switch {
	case ch.Kind == "add" && at < 0:
		return node.AddNonvoter(ch.Node, ch.Spec.Address)
	case ch.Kind == "add" && servers[at].Suffrage == raft.Voter:
		return finish(true, "")
	case ch.Kind == "add":
		if err := l.ready(ctx, ch.Node); err != nil {
			return err
		}
		return node.AddVoter(ch.Node, ch.Spec.Address)
	case at < 0:
		return finish(true, "")
	case ch.Node == l.core.cfg.ID:
		return l.stepAside()
	}
	if servers[at].Suffrage == raft.Voter {
		if time.Since(l.started) < l.voteTTL() {
			return errors.New("this leader is new: it must hear first who is alive")
		}
		heard := func(id failover.NodeID) bool { return id == l.core.cfg.ID || l.fresh(id) }
		if why := restHasMajority(servers, ch.Node, heard); why != "" {
			return finish(false, why)
		}
	}
	return node.RemoveServer(ch.Node)
}

// ready says whether a non-voter can be given a vote: it has registered with a
// version that reads the log, and has applied what was committed when it was
// asked.
func (l *leadership) ready(ctx context.Context, id failover.NodeID) error {
	s := l.tenure.State()
	rec, ok := s.Nodes[id]
	switch {
	case !ok:
		return fmt.Errorf("node %s has not registered yet: is it running, with its certificate and this cluster's [nodes]?", id)
	case max(1, rec.Features) < s.Level():
		return fmt.Errorf("node %s understands feature level %d, the cluster stands at %d", id, rec.Features, s.Level())
	}
	committed := l.core.node.CommitIndex()
	ctx, cancel := context.WithTimeout(ctx, standingTimeout)
	defer cancel()
	applied, err := l.core.cfg.Peers.Applied(ctx, id)
	if err != nil {
		return fmt.Errorf("asking node %s how far it is: %w", id, err)
	}
	// Entries go on being committed while it is asked: what is left must be less
	// than what a voter may lag behind at any moment.
	const lag = 64
	if applied+lag < committed {
		return fmt.Errorf("node %s has applied %d of %d entries", id, applied, committed)
	}
	return nil
}

// restHasMajority says why the remaining voters could not go on without a node;
// "": they can.
func restHasMajority(servers []raft.Server, without failover.NodeID, heard func(failover.NodeID) bool) string {
	rest, alive := 0, 0
	for _, s := range servers {
		if s.Suffrage != raft.Voter || s.ID == raft.ServerID(without) {
			continue
		}
		rest++
		if heard(failover.NodeID(s.ID)) {
			alive++
		}
	}
	if alive > rest/2 {
		return ""
	}
	return fmt.Sprintf("of the %d voters that would remain only %d are heard: they would have no majority; bring another one back first", rest, alive)
}

func (l *leadership) voteTTL() time.Duration { return l.tenure.State().Settings.Policy.VoteTTL.D() }

func (l *leadership) fresh(id failover.NodeID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	b, ok := l.ballots[id]
	return ok && time.Since(b.received) < l.voteTTL()
}

// stepAside gives the leadership to a node that is heard: a leader does not
// remove itself.
func (l *leadership) stepAside() error {
	s := l.tenure.State()
	ids := slices.Sorted(maps.Keys(s.Settings.Nodes))
	// Nodes outside the active region first.
	slices.SortStableFunc(ids, func(a, b failover.NodeID) int {
		near := func(id failover.NodeID) int {
			if s.Settings.Nodes[id].Vantage == s.Active {
				return 1
			}
			return 0
		}
		return near(a) - near(b)
	})
	err := errors.New("no other node is heard")
	for _, id := range ids {
		if id == l.core.cfg.ID || !l.fresh(id) {
			continue
		}
		if err = l.core.node.TransferTo(id); err == nil {
			return nil
		}
	}
	return err
}

// stopWhenRemoved ends a node that the others have removed. Its own log may never
// say so: nobody sends it entries any more. So a node that has no leader asks. It
// believes a majority of the others, not one.
func stopWhenRemoved(ctx context.Context, node *consensus.Node, gate *consensus.Gatekeeper, c *caller, die func(error)) {
	without := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(membersEvery):
		}
		h := gate.Self()
		if r, gone := node.State().Removed[h.Node]; gone {
			die(failover.RemovedError(h.Node, r))
			return
		}
		if node.Leader() != "" || h.Empty {
			without = time.Now()
			continue
		}
		if time.Since(without) < 6*membersEvery {
			continue
		}
		without = time.Now()
		others := maps.Clone(c.nodes())
		delete(others, h.Node)
		said, why := 0, ""
		for _, a := range Inquire(ctx, c, h, others) {
			if a.Guard == "removed" && a.Hello.Generation == h.Generation {
				said, why = said+1, a.Refused
			}
		}
		if said > len(others)/2 {
			die(errors.New(why))
			return
		}
	}
}
