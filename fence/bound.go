package fence

import "github.com/failoverd/failoverd/failover"

// Bound says whether the lease binds the workers at all: on the lower rungs of
// the arming ladder, and with on_isolation = "keep", nothing is ever stopped
// because a lease ended.
func (h *Holder) Bound() bool {
	return h.arming == failover.ArmEnforced && h.isolation != "keep"
}
