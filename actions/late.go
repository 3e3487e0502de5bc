package actions

import (
	"context"
	"fmt"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// settle looks after a write that may still land although its execution has ended: until a token as new is read at its resource, and that
// may be one that replaces it and does nothing else (rule E4). What a standing hold is about to write anew is left to it.
func (k *Keeper) settle(ctx context.Context, l failover.LateToken) {
	action, err := k.world.Action(l.Step)
	if err != nil || action == nil {
		k.tell(l, fmt.Sprintf("this node cannot look for it: %v", err))
		return
	}
	eff, err := k.look(ctx, action)
	if ctx.Err() != nil {
		return
	}
	if err != nil {
		k.tell(l, err.Error())
		return
	}
	if eff.stands() >= l.Token {
		k.propose(ctx, failover.SettleToken{ID: l.ID, Stands: eff.stands()})
		return
	}
	b, ok := action.(Burner)
	if !ok || eff.Recalled || !l.Until.IsZero() && time.Since(l.Until) < trafficPace*k.every || k.writes(l) {
		return
	}
	s := k.journal.State()
	until := time.Now().Add(k.opts.CallTimeout)
	res, err := k.journal.Propose(ctx, failover.BurnToken{ID: l.ID, Epoch: s.Epoch, Until: until.UTC()}, "")
	if err != nil || k.journal.Prove(ctx) != nil || k.journal.State().Epoch != s.Epoch {
		return // the next look, or the next leader, goes on
	}
	a := Attempt{Step: l.Step.ID, Near: s.Active, Number: 1, Epoch: s.Epoch, Token: res.Index, Previous: eff.Previous, Deadline: until}
	cctx, cancel := acting(ctx, a, until)
	if err := b.Burn(cctx, a); err != nil {
		k.log.Info("a write that may still land could not be replaced", "step", l.Step.ID, "token", l.Token, "why", err.Error())
	}
	cancel()
	if eff, err = k.look(ctx, action); err == nil && eff.stands() >= res.Index {
		k.propose(ctx, failover.SettleToken{ID: l.ID, Stands: eff.stands()})
	}
}

// tell logs once why a write that may still land is not settled; readiness says since when it is not.
func (k *Keeper) tell(l failover.LateToken, why string) {
	if last, told := k.told.Swap(l.ID, why); !told || last != why {
		k.log.Warn("a write that may still land cannot be looked for", "step", l.Step.ID, "token", l.Token, "why", why)
	}
}

// writes reports whether a standing hold of the same step is at its resource, or will be as soon as it can: also one that was not seen so far, and
// whose first look is due at the same moment, when the resource can be read again. Its write moves the clients and takes the late one's place; a
// token that is written before it would be a second change.
func (k *Keeper) writes(l failover.LateToken) bool {
	s := k.journal.State()
	for _, h := range s.Holds {
		if h.Step.Fingerprint() == l.Step.Fingerprint() && (h.Running != nil && time.Now().Before(h.Running.Until) || h.Status != failover.HoldKept && !h.TooOften(time.Now())) {
			return true
		}
	}
	e := s.Execution // its own switch comes first
	return e != nil && e.Step(l.Step.ID).State == failover.StepRunning
}
