package actions

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// Keeper keeps the standing holds of one tenure true: what was stopped in a
// region that was left is stopped again whenever it is seen running there, and
// clients that a switch no longer leads to the active region are led there again, and
// rivals of what was made to lead there are fenced.
// It is the same order as for a step: intent committed, leadership proven, effect.
type Keeper struct {
	journal Journal
	world   World
	opts    Options
	every   time.Duration
	log     *slog.Logger
	looked  map[uint64]time.Time // at a hold of a switch
	first   map[uint64]time.Time // when a hold was first looked at in this tenure
	told    sync.Map             // why a late token is not settled, by its ID
}

// trafficPace is how much rarer switches are looked at than stops, when they are
// as they should be: each look reads Route 53, whose limit of five requests a
// second is the account's.
const trafficPace = 6

// NewKeeper returns a keeper that looks at each hold every so often: the bound,
// together with the time of a call and of the stop itself, on how long a stale
// or automatic start in the region that was left can last.
func NewKeeper(j Journal, w World, opts Options, every time.Duration, log *slog.Logger) *Keeper {
	return &Keeper{journal: j, world: w, opts: opts.withDefaults(), every: every, log: log, looked: map[uint64]time.Time{}, first: map[uint64]time.Time{}}
}

// Run looks after the holds until ctx ends. None waits for another: what was stopped
// may take minutes to be seen ended, and a region that is back is stopped as a whole
// before anything else.
func (k *Keeper) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var mu sync.Mutex
	busy := map[uint64]bool{} // by hold: the last look at it goes on
	for ctx.Err() == nil {
		changed := k.journal.Changed()
		s := k.journal.State()
		holds := s.Holds
		beside := func(id uint64, due bool, do func()) {
			mu.Lock()
			skip := busy[id] || !due
			if !skip {
				busy[id] = true
			}
			mu.Unlock()
			if skip {
				return
			}
			wg.Go(func() {
				defer func() {
					mu.Lock()
					delete(busy, id)
					mu.Unlock()
				}()
				do()
			})
		}
		for _, h := range holds {
			if k.first[h.ID].IsZero() {
				k.first[h.ID] = time.Now()
			}
			first := k.first[h.ID]
			beside(h.ID, k.due(h), func() { k.keep(ctx, h, first) })
		}
		for _, l := range s.Late {
			beside(l.ID, true, func() { k.settle(ctx, l) })
		}
		t := time.NewTimer(k.every)
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-k.appeared(ctx, changed, holds):
		}
		t.Stop()
	}
}

// due reports whether it is time to look at a hold.
func (k *Keeper) due(h failover.StandingHold) bool {
	if h.Step.Kind != failover.KindSwitch {
		return true
	}
	if h.Status == failover.HoldKept && time.Since(k.looked[h.ID]) < trafficPace*k.every {
		return false
	}
	k.looked[h.ID] = time.Now()
	return true
}

// appeared is closed when a hold has appeared: the first look is at once.
func (k *Keeper) appeared(ctx context.Context, changed <-chan struct{}, had []failover.StandingHold) <-chan struct{} {
	known := func(h failover.StandingHold) bool {
		return slices.ContainsFunc(had, func(o failover.StandingHold) bool { return o.ID == h.ID })
	}
	out := make(chan struct{})
	wait, cancel := context.WithTimeout(ctx, k.every)
	go func() {
		defer cancel()
		for {
			select {
			case <-wait.Done():
				return
			case <-changed:
			}
			changed = k.journal.Changed()
			for _, h := range k.journal.State().Holds { // others may have ended with the same entry
				if !known(h) {
					close(out)
					return
				}
			}
		}
	}()
	return out
}

// keep looks at one hold once, and stops what it finds running. first is when it
// was looked at first.
func (k *Keeper) keep(ctx context.Context, h failover.StandingHold, first time.Time) {
	action, err := k.world.Action(h.Step)
	if err != nil || action == nil {
		k.note(ctx, h, failover.HoldUnseen, fmt.Sprintf("this node cannot see to it: %v", err))
		return
	}
	if g, ok := action.(Guard); ok {
		action = guarding{g}
	}
	eff, err := k.look(ctx, action)
	if ctx.Err() != nil {
		return
	}
	switch {
	case err != nil || eff.State == Unknown:
		detail := eff.Detail
		if err != nil {
			detail = err.Error()
		}
		if err := k.renew(ctx, h, action, eff); err != nil {
			detail = strings.TrimPrefix(detail+"; "+err.Error(), "; ")
		}
		k.note(ctx, h, failover.HoldUnseen, detail)
	case eff.State == Present:
		if h.Running != nil {
			k.finish(ctx, h, h.Running.Token, failover.StepDone, eff.Detail)
		}
		if err := k.renew(ctx, h, action, eff); err != nil {
			k.note(ctx, h, failover.HoldUnseen, err.Error())
			return
		}
		k.note(ctx, h, failover.HoldKept, eff.Detail)
	case eff.Ending && h.Status == failover.HoldUnseen && time.Since(first) < h.Step.Timeout.D():
		// The plan's own stop is not over yet: nothing that was stopped runs again.
	default:
		k.note(ctx, h, failover.HoldViolated, eff.Detail)
		if rests(h, time.Now()) {
			return
		}
		if _, ok := action.(guarding); ok && (eff.Unmendable || failsAgain(h, time.Now())) {
			return
		}
		k.apply(ctx, h, action, eff)
	}
}

// rests reports whether it is too early for a stop that has failed in half of the tries that an hour has: the others are spread over the hour.
func rests(h failover.StandingHold, now time.Time) bool {
	n := len(h.Applied)
	return h.Step.Kind == failover.KindStop && n > failover.ReapplyPerHour/2 && h.Last != nil && h.Last.Outcome == failover.StepFailed &&
		now.Sub(h.Applied[n-1]) < 2*time.Hour/failover.ReapplyPerHour
}

// failsAgain reports whether it is too early for a guard that has failed more than once: the tries that an hour has are spread over it.
func failsAgain(h failover.StandingHold, now time.Time) bool {
	return h.Last != nil && h.Last.Outcome == failover.StepFailed && len(h.Applied) > 1 && now.Sub(h.Last.FinishedAt) < time.Hour/failover.ReapplyPerHour
}

// Guard is an Action whose standing hold keeps something else true than its step has brought about.
type Guard interface {
	Action
	// Watch is the hold's Inspect: Present while nothing has to be done. Mend is its Do.
	Watch(ctx context.Context) (Effect, error)
	Mend(ctx context.Context, a Attempt) error
}

// Renewer is a Guard whose rivals are kept down by something that ends by itself, or that they may forget.
type Renewer interface {
	Guard
	// Renew does that anew. It does no harm as often as it is done, and what lands late ends by itself.
	Renew(ctx context.Context, a Attempt) error
}

// renew keeps up what keeps rivals down, at each look that asks for it: none tells whether it stands still, or for how long. It is no application of the
// hold: nothing was violated, nobody is told, and the tries of the hour are left for who rises all the same. No intent is committed either, since nothing
// has to be known of it later; leadership is proven as for every effect. The error says what is not kept up.
func (k *Keeper) renew(ctx context.Context, h failover.StandingHold, action Action, eff Effect) error {
	g, ok := action.(guarding)
	if !ok || !eff.Renew {
		return nil
	}
	r, ok := g.Guard.(Renewer)
	if !ok {
		return nil
	}
	s := k.journal.State()
	if err := k.journal.Prove(ctx); err != nil {
		return fmt.Errorf("nothing was renewed: %w", err) // the next leader does it
	}
	if now := k.journal.State(); now.Epoch != s.Epoch || !slices.ContainsFunc(now.Holds, func(o failover.StandingHold) bool { return o.ID == h.ID }) {
		return nil
	}
	until := time.Now().Add(k.opts.CallTimeout)
	a := Attempt{Step: h.Step.ID, Near: s.Active, Number: 1, Epoch: s.Epoch, Deadline: until}
	cctx, cancel := acting(ctx, a, until)
	defer cancel()
	return r.Renew(cctx, a)
}

// guarding is a Guard as a hold sees it.
type guarding struct{ Guard }

// Inspect implements Action.
func (g guarding) Inspect(ctx context.Context) (Effect, error) { return g.Watch(ctx) }

// Do implements Action.
func (g guarding) Do(ctx context.Context, a Attempt) error { return g.Mend(ctx, a) }

func (k *Keeper) look(ctx context.Context, action Action) (Effect, error) {
	cctx, cancel := context.WithTimeout(ctx, k.opts.CallTimeout)
	defer cancel()
	return action.Inspect(cctx)
}

// apply stops what runs.
func (k *Keeper) apply(ctx context.Context, h failover.StandingHold, action Action, eff Effect) {
	s := k.journal.State()
	if h.Step.Kind == failover.KindStop && s.Entering(h.Step.Region) {
		return // what runs there is about to be wanted
	}
	until := time.Now().Add(k.opts.CallTimeout)
	res, err := k.journal.Propose(ctx, failover.ReapplyStarted{Hold: h.ID, Epoch: s.Epoch, Previous: eff.Previous, Until: until.UTC()}, "")
	if err != nil {
		if ctx.Err() == nil {
			k.log.Warn("a standing hold was not applied", "component", h.Component, "why", err.Error())
		}
		return
	}
	if err := k.journal.Prove(ctx); err != nil {
		return // the next leader finds it violated
	}
	if now := k.journal.State(); now.Epoch != s.Epoch {
		return
	}
	a := Attempt{Step: h.Step.ID, Near: s.Active, Number: 1, Epoch: s.Epoch, Token: res.Index, Previous: eff.Previous, Deadline: until}
	cctx, cancel := acting(ctx, a, until)
	err = action.Do(cctx, a)
	cancel()
	deadline := time.Now().Add(h.Step.Timeout.D())
	if _, ok := action.(guarding); ok { // nothing comes of it later: it is done when it returns, and is tried again when it is not
		deadline = time.Now()
		if err == nil {
			deadline = deadline.Add(k.opts.CallTimeout)
		}
	}
	shown := time.Now().Add(k.opts.CallTimeout) // by then the world shows what was asked for
	soon, ending := k.mayTrySoon(h, action), false
	for {
		eff, lerr := k.look(ctx, action)
		ending = ending || lerr == nil && (eff.Ending || eff.State == Unknown)
		switch {
		case ctx.Err() != nil:
			return
		case lerr == nil && eff.State == Present:
			k.finish(ctx, h, res.Index, failover.StepDone, eff.Detail)
			k.note(ctx, h, failover.HoldKept, eff.Detail)
			return
		case !time.Now().Before(deadline), lerr == nil && soon && !time.Now().Before(shown) && runsOn(eff, ending || err != nil):
			detail := eff.Detail
			for _, e := range []error{lerr, err} {
				if e != nil {
					detail += "; " + e.Error()
				}
			}
			k.finish(ctx, h, res.Index, failover.StepFailed, "not seen to take effect: "+detail)
			return
		}
		t := time.NewTimer(k.opts.Poll)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// mayTrySoon reports whether a stop that comes to nothing, or that somebody undoes before it is seen to be over, is given up at once, so that the
// next look sends another: what runs in the region that was left runs until then, and the time that a stop may take can be a quarter of an hour.
// Only what is absolute may be repeated while its call may still land (rule E3). Half of the tries that an hour has are for this; the others have
// their whole time, and are spread over the hour (rests).
func (k *Keeper) mayTrySoon(h failover.StandingHold, action Action) bool {
	if _, absolute := action.(Idempotent); !absolute || h.Step.Kind != failover.KindStop {
		return false
	}
	for _, now := range k.journal.State().Holds {
		if now.ID == h.ID {
			return len(now.Applied) <= failover.ReapplyPerHour/2
		}
	}
	return false
}

// runsOn reports whether a stop that was asked for is not on its way. A part of it that is there tells so only when its call was refused, or when it was
// seen ending before.
func runsOn(eff Effect, partly bool) bool {
	return eff.State == Absent || eff.State == Partial && !eff.Ending && partly
}

func (k *Keeper) finish(ctx context.Context, h failover.StandingHold, token uint64, outcome failover.StepState, detail string) {
	k.propose(ctx, failover.ReapplyFinished{Hold: h.ID, Token: token, Outcome: outcome, Detail: detail})
}

// note records what is seen, when that has changed.
func (k *Keeper) note(ctx context.Context, h failover.StandingHold, status failover.HoldStatus, detail string) {
	for _, now := range k.journal.State().Holds {
		if now.ID == h.ID && now.Status != status {
			k.propose(ctx, failover.NoteHold{Hold: h.ID, Status: status, Detail: detail})
		}
	}
}

func (k *Keeper) propose(ctx context.Context, c failover.Command) {
	if _, err := k.journal.Propose(ctx, c, ""); err != nil && ctx.Err() == nil {
		k.log.Info("not accepted", "command", c.Name(), "why", err.Error())
	}
}
