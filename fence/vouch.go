package fence

import (
	"errors"
	"fmt"
)

// Vouch is the agent's own word for an Ask: a node that passes the request on can
// hold it back and repeat it, but neither make it up nor change it.
type Vouch struct {
	Chain     [][]byte `json:"chain"`     // the agent's certificate and what is between it and the authority, DER
	Signature []byte   `json:"signature"` // of Statement, by the certificate's key
}

// Statement is what an agent signs: everything on which evidence or a lease rests.
// The form is fixed, whatever fields an Ask has in another version.
func (a Ask) Statement() []byte {
	return fmt.Appendf(nil, "failoverd ask 1\n%q %q %q %q %d enforced=%t seen=%d running=%t holding=%d stopped=%d bye=%t",
		a.Request, a.Agent, a.Region, a.Component, a.Lease, a.Enforced, a.SeenEpoch, a.Running, a.Holding, a.Stopped, a.Bye)
}

// ErrOnlyDirect is why a goodbye that another node has passed on does not count: it
// may be an old one, of an earlier process of that name. The agent, who is told so,
// says it to the leader itself.
var ErrOnlyDirect = errors.New("a goodbye counts only from the agent itself: ask the leader directly")
