package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/mtls"
)

// An agent takes an answer only with the words of a majority of the nodes that it knows
// (S10): the leader signs the answer, and others sign, for this one request, that they
// follow that leader. The leader gathers them while its quorum round is under way.

// Signer signs for this node, and says whose word a signature is. Safe for concurrent
// use.
type Signer interface {
	Sign(statement []byte) (*fence.Vouch, error)
	// Vouched says whether an agent's request is that agent's own word.
	Vouched(fence.Ask) error
	// Node is which node has signed a statement.
	Node(statement []byte, by *fence.Vouch) (failover.NodeID, error)
}

// answer is the leader's answer to an agent's request, with the words that it needs.
func (c *Core) answer(ctx context.Context, l *leadership, a fence.Ask, passedOn bool) (fence.Answer, error) {
	if a.Vouch == nil {
		// An agent of a version that does not sign looks at no signature either. While the
		// first node is upgraded there is nobody yet to give a word.
		return l.ask(ctx, a, passedOn)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type gathered struct {
		words []fence.Vouch
		err   error
	}
	seconds := make(chan gathered, 1)
	go func() {
		words, err := c.gather(ctx, a)
		seconds <- gathered{words, err}
	}()
	ans, err := l.ask(ctx, a, passedOn)
	if err != nil {
		return ans, err
	}
	if ans.Leader, err = c.cfg.Signer.Sign(ans.Statement(a)); err != nil {
		return fence.Answer{}, fmt.Errorf("signing an answer: %w", err)
	}
	got := <-seconds
	if got.err != nil {
		return fence.Answer{}, got.err
	}
	ans.Seconds = got.words
	return ans, nil
}

// gather asks the nodes that an agent knows for their words that this one leads, all at
// once, until there are enough. A word that is none is not counted: a node that lies costs
// nobody a lease.
func (c *Core) gather(ctx context.Context, a fence.Ask) ([]fence.Vouch, error) {
	members := c.cfg.Settings.Nodes
	if s := c.node.State().Settings; s != nil {
		members = s.Nodes
	}
	need := a.Majority()
	if slices.Contains(a.Nodes, c.cfg.ID) {
		need--
	}
	type word struct {
		by  *fence.Vouch
		err error
	}
	words, under := make(chan word, len(members)), 0
	for id := range members {
		if id == c.cfg.ID || !slices.Contains(a.Nodes, id) {
			continue
		}
		under++
		go func() {
			by, err := c.cfg.Peers.Second(ctx, id, a.Request)
			if err == nil {
				var who failover.NodeID
				if who, err = c.cfg.Signer.Node(fence.Seconding(a.Request, c.cfg.ID), by); err == nil && who != id {
					err = fmt.Errorf("node %s signs as %s", id, who)
				}
			}
			words <- word{by, err}
		}()
	}
	var out []fence.Vouch
	var errs []error
	for ; under > 0 && len(out) < need; under-- {
		if w := <-words; w.err == nil {
			out = append(out, *w.by)
		} else {
			errs = append(errs, w.err)
		}
	}
	if len(out) < need {
		return nil, fmt.Errorf("of the %d nodes that agent %s knows, %d others say that this one leads, and it takes %d: %w", len(a.Nodes), a.Agent, len(out), need, errors.Join(append(errs, errTooFew)...))
	}
	return out, nil
}

// errTooFew is why an answer is not given: the agent would not take it.
var errTooFew = errors.New("bring the nodes back that do not answer, or give the agents a file with the nodes that there are")

// TakeSecond gives this node's word that it follows the node that asks, as of now. from
// is known by its certificate.
func (c *Core) TakeSecond(from failover.NodeID, request string) (*fence.Vouch, error) {
	if leader := c.node.Leader(); leader != from || from == c.cfg.ID {
		return nil, fmt.Errorf("%s does not follow %s: %w", c.cfg.ID, from, errOtherLeader)
	}
	return c.cfg.Signer.Sign(fence.Seconding(request, from))
}

// errOtherLeader is why a node gives no word for another.
var errOtherLeader = errors.New("it follows another leader, or none")

// signer is Signer by certificates.
type signer struct{ *mtls.Material }

func (s signer) Sign(statement []byte) (*fence.Vouch, error) {
	chain, signature, err := s.Material.Sign(statement)
	return &fence.Vouch{Chain: chain, Signature: signature}, err
}

func (s signer) Vouched(a fence.Ask) error {
	if a.Vouch == nil {
		return errors.New("it is not signed, as those of agents before this version are not: they have to reach the leader themselves")
	}
	id, err := s.Verify(a.Statement(), a.Vouch.Chain, a.Vouch.Signature)
	if err == nil && (id.Role != mtls.RoleAgent || id.Name != string(a.Region)) {
		err = fmt.Errorf("the certificate is of %s, not of an agent of %s", id, a.Region)
	}
	return err
}

func (s signer) Node(statement []byte, by *fence.Vouch) (failover.NodeID, error) {
	id, err := s.Verify(statement, by.Chain, by.Signature)
	if err == nil && id.Role != mtls.RoleNode {
		err = fmt.Errorf("the certificate is of %s, not of a node", id)
	}
	return failover.NodeID(id.Name), err
}
