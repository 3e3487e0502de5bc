package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mtls"
)

// This file is a node's question to the others, before its raft starts: what
// does the log say of me (rule T3)?

// Standing is a node's answer. Everything comes from what it has applied and
// kept: it needs no quorum and no leader.
type Standing struct {
	Hello consensus.Hello `json:"hello"` // of the node that answers
	// Refused is why the asker must not take part, Guard the rule; "" for nothing
	// against it.
	Refused string `json:"refused,omitempty"`
	Guard   string `json:"guard,omitempty"`
	// Member says that the asker belongs to the cluster.
	Member bool `json:"member"`
	// Leader is who leads, as the node that answers knows; "" for nobody.
	Leader   failover.NodeID `json:"leader,omitempty"`
	Applied  uint64          `json:"applied"`
	Epoch    uint64          `json:"epoch"`
	Active   failover.Region `json:"active,omitempty"`
	Features int             `json:"features"` // the level in force
}

func (p *peerServer) standing(w http.ResponseWriter, r *http.Request) {
	id, err := peerIdentity(r)
	if err != nil || id.Role != mtls.RoleNode {
		http.Error(w, "this request needs a node's certificate", http.StatusForbidden)
		return
	}
	var h consensus.Hello
	if !readJSON(w, r, &h) {
		return
	}
	from := failover.NodeID(id.Name)
	if h.Node != from {
		http.Error(w, fmt.Sprintf("%s calls itself %s", from, h.Node), http.StatusForbidden)
		return
	}
	_, member := p.members()[from]
	writeJSON(w, StandingOf(h, member, p.gate, p.core.Load()))
}

// StandingOf is what a node says of one that asks before its raft starts, and says h of
// itself; member: it belongs to the cluster, as the node that answers knows. gate and core
// are those of the node that answers; core is nil while it has none yet. Safe for concurrent
// use.
func StandingOf(h consensus.Hello, member bool, gate *consensus.Gatekeeper, core *Core) Standing {
	out := Standing{Hello: gate.Self(), Member: member}
	if core != nil {
		s := core.node.State()
		out.Leader, out.Applied, out.Epoch, out.Active, out.Features = core.node.Leader(), s.Index, s.Epoch, s.Active, s.Level()
	}
	if err := gate.Judge(h); err != nil {
		out.Refused = err.Error()
		if ref, ok := errors.AsType[*failover.Refusal](err); ok {
			out.Guard = ref.Guard
		}
	}
	return out
}

// Inquirer asks a node what it knows of this one.
type Inquirer interface {
	Standing(ctx context.Context, to failover.NodeID, h consensus.Hello) (Standing, error)
}

// Standing implements Inquirer.
func (c *caller) Standing(ctx context.Context, to failover.NodeID, h consensus.Hello) (Standing, error) {
	var s Standing
	err := c.call(ctx, to, pathStanding, h, &s)
	return s, err
}

// Applied implements Peers.
func (c *caller) Applied(ctx context.Context, to failover.NodeID) (uint64, error) {
	s, err := c.Standing(ctx, to, c.hello())
	return s.Applied, err
}

// standingTimeout bounds the question: a node that starts alone must not wait
// for those that are away.
const standingTimeout = 2 * time.Second

// Inquire asks all other nodes at once. Those that do not answer in time are not
// in the result.
func Inquire(ctx context.Context, c Inquirer, h consensus.Hello, nodes map[failover.NodeID]failover.NodeSpec) map[failover.NodeID]Standing {
	ctx, cancel := context.WithTimeout(ctx, standingTimeout)
	defer cancel()
	var (
		mu  sync.Mutex
		wg  sync.WaitGroup
		out = map[failover.NodeID]Standing{}
	)
	for id := range nodes {
		if id == h.Node {
			continue
		}
		wg.Go(func() {
			s, err := c.Standing(ctx, id, h)
			if err != nil {
				return // away, or starting as we are
			}
			mu.Lock()
			defer mu.Unlock()
			out[id] = s
		})
	}
	wg.Wait()
	return out
}

// MayStart says whether a node may take part in raft, given what the others
// answered. With no answer it may: all nodes start together, and each connection
// is judged again.
func MayStart(h consensus.Hello, answers map[failover.NodeID]Standing) error {
	led := false // by a node of this one's own generation
	for _, a := range answers {
		led = led || a.Leader != "" && a.Hello.Generation == h.Generation && !a.Hello.Empty
	}
	for _, id := range slices.Sorted(maps.Keys(answers)) {
		a := answers[id]
		switch {
		case a.Guard == "generation" && (led || a.Hello.Generation < h.Generation):
			// Somebody was left behind, or recovered what was not lost. Those two refuse
			// each other; it is no reason to keep a quorum from its node.
			continue
		case a.Refused != "":
			return fmt.Errorf("this node must not take part: node %s says: %s", id, a.Refused)
		case a.Features > h.Features:
			return fmt.Errorf("this node's version understands feature level %d, but the cluster stands at level %d (node %s says): run the version that the other nodes run", h.Features, a.Features, id)
		}
	}
	return nil
}

// begins says what a node with an empty disk does, given what the others
// answered: begin a cluster, when every node of the file is there and empty, or
// wait. waits says for what.
//
// All must answer, not a majority: a node that is away may hold the log of a
// cluster that has run for years.
func begins(h consensus.Hello, nodes map[failover.NodeID]failover.NodeSpec, answers map[failover.NodeID]Standing) (begin bool, waits string) {
	var missing []string
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		a, ok := answers[id]
		switch {
		case id == h.Node:
		case !ok:
			missing = append(missing, string(id))
		case !a.Hello.Empty && a.Member:
			return false, fmt.Sprintf("the cluster runs (node %s says): its leader will send the log", id)
		case !a.Hello.Empty:
			return false, fmt.Sprintf("the cluster runs without this node (node %s says): `failoverd members add %s …` on one of its nodes lets it in", id, h.Node)
		}
	}
	if len(missing) > 0 {
		return false, "the first start of a cluster needs every node of [nodes], and there is no answer from " + strings.Join(missing, ", ") + ": one of them could hold an older log"
	}
	return true, ""
}

// Newcomer is a node with an empty disk that has no cluster yet. Every field has to be set.
type Newcomer struct {
	Node   *consensus.Node
	Gate   *consensus.Gatekeeper
	Others Inquirer
	// Nodes are those of this node's own file: all of them must be there, and empty, to
	// begin a cluster.
	Nodes map[failover.NodeID]failover.NodeSpec
	// Die is told why this node must not take part, or cannot.
	Die func(error)
	Log *slog.Logger
}

// Join waits until there is a cluster: one that runs sends its log, and nodes that are all
// empty begin one. It returns then, when it has told Die, and when ctx ends.
func (n Newcomer) Join(ctx context.Context) {
	said := ""
	for {
		h := n.Gate.Self()
		if !h.Empty {
			return
		}
		answers := Inquire(ctx, n.Others, h, n.Nodes)
		if err := MayStart(h, answers); err != nil {
			n.Die(err)
			return
		}
		begin, waits := begins(h, n.Nodes, answers)
		if begin {
			if err := n.Node.Bootstrap(votersOf(n.Nodes)); err != nil {
				n.Die(err)
				return
			}
			n.Log.Info("began a cluster", "nodes", len(n.Nodes))
			n.Gate.NotEmpty()
			return
		}
		if waits != said {
			n.Log.Info("this node has an empty disk and waits", "why", waits)
			said = waits
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(500 * time.Millisecond):
		}
	}
}

// votersOf are the nodes as raft's first configuration, in one order everywhere.
func votersOf(nodes map[failover.NodeID]failover.NodeSpec) []raft.Server {
	var out []raft.Server
	for _, id := range slices.Sorted(maps.Keys(nodes)) {
		out = append(out, raft.Server{ID: raft.ServerID(id), Address: raft.ServerAddress(nodes[id].Address)})
	}
	return out
}

// Learn keeps what the log says of the other nodes, for the next start and for
// every connection.
func Learn(ctx context.Context, node *consensus.Node, gate *consensus.Gatekeeper, die func(error)) {
	for {
		changed := node.Changed()
		if err := gate.Learn(node.State()); err != nil {
			die(err)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-changed:
		}
	}
}
