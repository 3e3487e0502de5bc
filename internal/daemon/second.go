package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/mtls"
)

// An agent takes an answer only with the words of two nodes (S10): the leader signs it,
// and another node signs that it follows that leader. Who passes a request on is that
// other node. A leader that an agent has asked itself gets the word of a follower while
// its quorum round is under way.

// Signer signs for this node, and says whose word a signature is. Safe for concurrent
// use.
type Signer interface {
	Sign(statement []byte) (*fence.Vouch, error)
	// Vouched says whether an agent's request is that agent's own word.
	Vouched(fence.Ask) error
}

// sign is the leader's word for an answer.
func (c *Core) sign(a fence.Ask, ans fence.Answer) (fence.Answer, error) {
	by, err := c.cfg.Signer.Sign(ans.Statement(a))
	if err != nil {
		return fence.Answer{}, fmt.Errorf("signing an answer: %w", err)
	}
	ans.Leader = by
	return ans, nil
}

// lease answers, as leader, an agent that has asked this node itself.
func (c *Core) lease(ctx context.Context, l *leadership, a fence.Ask) (fence.Answer, error) {
	if a.Vouch == nil {
		// An agent of a version that does not sign looks at no signature either. While the
		// first node is upgraded there is nobody yet to give a word.
		return l.ask(ctx, a, false)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	type word struct {
		by  *fence.Vouch
		err error
	}
	second := make(chan word, 1)
	go func() {
		by, err := c.seconded(ctx, a.Request)
		second <- word{by, err}
	}()
	ans, err := l.ask(ctx, a, false)
	if err != nil {
		return ans, err
	}
	if ans, err = c.sign(a, ans); err != nil {
		return ans, err
	}
	w := <-second
	if w.err != nil {
		return fence.Answer{}, fmt.Errorf("no other node gives its word that this one leads, which agents demand: %w", w.err)
	}
	ans.Second = w.by
	return ans, nil
}

// seconded is another node's word that this one leads. Those in the leader's own
// vantage are asked first, which are near.
func (c *Core) seconded(ctx context.Context, request string) (*fence.Vouch, error) {
	nodes := c.cfg.Settings.Nodes
	policy := c.cfg.Settings.Policy
	if s := c.node.State().Settings; s != nil {
		nodes, policy = s.Nodes, s.Policy
	}
	var others []failover.NodeID
	for id := range nodes {
		if id != c.cfg.ID {
			others = append(others, id)
		}
	}
	far := func(id failover.NodeID) int {
		if nodes[id].Vantage == c.cfg.Vantage {
			return 0
		}
		return 1
	}
	slices.SortFunc(others, func(x, y failover.NodeID) int { return cmp.Or(far(x)-far(y), cmp.Compare(x, y)) })
	return fence.Hedged(ctx, others, policy.Lease.Retry()/2, func(ctx context.Context, id failover.NodeID) (*fence.Vouch, error) {
		return c.cfg.Peers.Second(ctx, id, request)
	})
}

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

// passOn brings an agent's request to the leader, and adds this node's word to the
// answer: if it still follows that leader.
func (c *Core) passOn(ctx context.Context, leader failover.NodeID, a fence.Ask) (fence.Answer, error) {
	ans, err := c.cfg.Peers.Ask(ctx, leader, a)
	if err != nil {
		return ans, err
	}
	if ans.Second, err = c.TakeSecond(leader, a.Request); err != nil {
		return fence.Answer{}, err
	}
	return ans, nil
}

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

// node is which node a statement is the word of.
func (s signer) node(statement []byte, by *fence.Vouch) (failover.NodeID, error) {
	id, err := s.Verify(statement, by.Chain, by.Signature)
	if err == nil && id.Role != mtls.RoleNode {
		err = fmt.Errorf("the certificate is of %s, not of a node", id)
	}
	return failover.NodeID(id.Name), err
}
