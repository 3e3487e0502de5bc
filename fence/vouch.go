package fence

import (
	"errors"
	"fmt"
	"slices"

	"github.com/failoverd/failoverd/failover"
)

// One node may be stolen, with its key (S10). So an agent's word counts by the agent's
// own signature, and an answer by those of a majority of the nodes that the agent knows:
// the leader's, and those of nodes that follow it. That is the quorum round once more
// (rule G1), seen by the agent itself. A node that only passes on can hold back and repeat.

// Vouch is the word of one agent or node for a statement.
type Vouch struct {
	Chain     [][]byte `json:"chain"`     // the signer's certificate and what is between it and the authority, DER
	Signature []byte   `json:"signature"` // of the statement, by the certificate's key
}

// Statement is what an agent signs: everything on which evidence or a lease rests.
// The form is fixed, whatever fields an Ask has in another version.
func (a Ask) Statement() []byte {
	rehearsed := "none"
	if r := a.Rehearsed; r != nil {
		rehearsed = fmt.Sprintf("%d %t %q", r.ID, r.Passed, r.Detail)
	}
	return fmt.Appendf(nil, "failoverd ask 1\n%q %q %q %q %d enforced=%t seen=%d running=%t holding=%d stopped=%d bye=%t seq=%d would_have=%d rehearsed=%s",
		a.Request, a.Agent, a.Region, a.Component, a.Lease, a.Enforced, a.SeenEpoch, a.Running, a.Holding, a.Stopped, a.Bye, a.Seq, a.WouldHave, rehearsed)
}

// Statement is what the leader signs: the answer, and whom it is for. Its form is
// fixed like that of an Ask.
func (a Answer) Statement(to Ask) []byte {
	t := a.Terms
	return fmt.Appendf(nil, "failoverd answer 1\n%q %q %q %q granted=%t epoch=%d freeze=%d gone=%t index=%d rehearse=%d "+
		"length=%d renew=%d rho=%d margin=%d tail=%d watchdog=%d grace=%d kill=%d safety=%d arming=%q isolation=%q %q",
		a.Request, to.Agent, to.Region, to.Component, a.Granted, a.Epoch, a.Freeze, a.Gone, a.Index, a.Rehearse,
		t.Length, t.Renew, t.RhoPPM, t.Margin, t.EffectTail, t.Stop.Watchdog, t.Stop.Grace, t.Stop.Kill, t.Stop.Safety, a.Arming, a.OnIsol, a.Sentence)
}

// Seconding is what another node signs: asked about this request, it follows this
// leader. It says so of one request, so that it cannot be used after a change of leader.
func Seconding(request string, leader failover.NodeID) []byte {
	return fmt.Appendf(nil, "failoverd second 1\n%q %q", request, leader)
}

// Majority is how many words an answer to this request needs.
func (a Ask) Majority() int { return len(a.Nodes)/2 + 1 }

// Believe says why an answer does not count; nil: a majority of the nodes that the agent
// knows stand behind it. verify says which node has signed a statement. Any node may lead:
// one that the agent does not know yet needs one word more. Safe for concurrent use if
// verify is.
func (a Answer) Believe(to Ask, verify func(statement []byte, by *Vouch) (failover.NodeID, error)) error {
	if a.Request != to.Request {
		return fmt.Errorf("it answers request %q, not %q", a.Request, to.Request)
	}
	if a.Leader == nil {
		return ErrUnsigned
	}
	leader, err := verify(a.Statement(to), a.Leader)
	if err != nil {
		return fmt.Errorf("not the word of a leader: %w", err)
	}
	words, without := map[failover.NodeID]bool{}, error(nil)
	count := func(id failover.NodeID) {
		if slices.Contains(to.Nodes, id) {
			words[id] = true
		}
	}
	count(leader)
	for i := range a.Seconds {
		id, err := verify(Seconding(a.Request, leader), &a.Seconds[i])
		if err != nil {
			without = err
			continue
		}
		count(id)
	}
	if len(words) >= to.Majority() {
		return nil
	}
	why := fmt.Errorf("%d of %d nodes say that %s leads, and it takes %d", len(words), len(to.Nodes), leader, to.Majority())
	if without != nil {
		why = fmt.Errorf("%w (one more says nothing: %w)", why, without)
	}
	return why
}

// ErrUnsigned is why an answer without a signature does not count: it comes from a node
// of a version before them, or from a stolen one.
var ErrUnsigned = errors.New("it is not signed by a leader; nodes before this version sign nothing: upgrade them before the agents")

// ErrOnlyDirect is why a goodbye that another node has passed on does not count: it
// may be an old one, of an earlier process of that name. The agent, who is told so,
// says it to the leader itself.
var ErrOnlyDirect = errors.New("a goodbye counts only from the agent itself: ask the leader directly")
