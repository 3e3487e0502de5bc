package fence

import (
	"slices"
	"time"
)

// This file notices a virtual machine that was paused by its host: real time advanced
// more than CLOCK_BOOTTIME did (rule G6).

// mark is by how much real time had run ahead when a request was sent.
type mark struct{ sent, ahead time.Duration }

// markClocks notes how far real time is ahead when a request is sent: a lease counts from
// there, and what was paused before its answer came is paused under it.
func (a *Agent) markClocks(sent time.Duration) {
	if !a.realAt.IsZero() { // else Run has not begun
		a.checkClocks(sent)
	}
	const keep = 128 // as the holder keeps requests; the first is that of the lease that is held
	if len(a.aheadAt) > keep {
		a.aheadAt = slices.Delete(a.aheadAt, 1, 2)
	}
	a.aheadAt = append(a.aheadAt, mark{sent, a.ahead})
}

// checkClocks looks whether the machine was paused, at once or bit by bit, for longer than
// what the lease allows for everything that nobody thought of. It counts as expiry.
func (a *Agent) checkClocks(now time.Duration) {
	real := a.cfg.Clock.Real()
	boot, wall := now-a.bootAt, real.Sub(a.realAt)
	a.bootAt, a.realAt = now, real
	jump, allowed := wall-boot, a.cfg.Terms.Stop.Safety.D()
	if s := a.holder.terms.Stop.Safety.D(); s > 0 {
		allowed = min(allowed, s) // the leader's terms may leave less of it than the agent's own file
	}
	if jump >= -allowed { // a clock that is set back says nothing of a pause
		a.ahead += jump
	}
	if jump = max(jump, a.underLease()); jump <= allowed {
		return
	}
	if a.holder.held {
		a.cfg.Log.Warn("real time jumped ahead of CLOCK_BOOTTIME: the lease counts as ended", "jump", jump.String())
		a.overdue = true
	}
	a.holder.Forget() // also what was asked for before: its lease would count from then
}

// underLease is by how much real time has run ahead since the lease that is held was asked
// for.
func (a *Agent) underLease() time.Duration {
	if !a.holder.held {
		return 0
	}
	for len(a.aheadAt) > 0 && a.aheadAt[0].sent < a.holder.sent {
		a.aheadAt = a.aheadAt[1:] // of no use any more: the holder never goes back
	}
	if len(a.aheadAt) == 0 || a.aheadAt[0].sent != a.holder.sent { // an earlier program has asked for it, and did not say
		a.aheadAt = append([]mark{{a.holder.sent, a.ahead}}, a.aheadAt...)
	}
	return a.ahead - a.aheadAt[0].ahead
}
