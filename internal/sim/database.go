package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// database is what a region's workers keep their data in, as far as a restore changes it: its server holds the newest token,
// and says from which epoch's restore the data come.
type database struct {
	token, epoch uint64 // epoch 0: the data are those of other days
	running      int    // restores at work
}

// database returns a region's; the caller holds the lock.
func (w *world) database(pool string) *database {
	if w.data[pool] == nil {
		w.data[pool] = &database{}
	}
	return w.data[pool]
}

// restore is the action on it: what stands in the region's backup replaces the data, once in each epoch.
type restore struct {
	action
	epoch uint64
}

const (
	restoreKind = "mariadb_restore"
	restoreActs = "restore"
	// restoreTakes bounds how long one takes: longer than a call may.
	restoreTakes = 20 * time.Second
)

// ChecksToken implements actions.TokenChecker.
func (restore) ChecksToken() {}

// Inspect implements actions.Action.
func (r restore) Inspect(ctx context.Context) (actions.Effect, error) {
	if err := r.reach(ctx); err != nil {
		return actions.Effect{}, err
	}
	w := r.w
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.sights.mute[r.plane()] {
		return actions.Effect{}, errors.New("500: the server answers no question")
	}
	db := w.database(r.pool)
	prev, err := json.Marshal(previous{Token: db.token, Epoch: db.epoch})
	if err != nil {
		return actions.Effect{}, err
	}
	eff := actions.Effect{State: actions.Absent, Previous: prev, Token: db.token, Detail: fmt.Sprintf("restored in epoch %d, %d at work", db.epoch, db.running)}
	switch {
	case db.epoch == r.epoch && r.epoch > 0:
		eff.State = actions.Present
	case db.running > 0:
		eff.State = actions.Partial
	}
	return eff, nil
}

// Restored implements actions.Restorer.
func (restore) Restored(now actions.Effect, before json.RawMessage) bool {
	var was, is previous
	return json.Unmarshal(before, &was) == nil && json.Unmarshal(now.Previous, &is) == nil && was.Epoch == is.Epoch
}

// Do implements actions.Action: it begins a restore, and does not wait for its end.
func (r restore) Do(ctx context.Context, at actions.Attempt) error {
	return r.begin(ctx, at, oracle.Do, effect{epoch: at.Epoch})
}

// Undo implements actions.Action.
func (r restore) Undo(ctx context.Context, at actions.Attempt) error {
	var was previous
	if err := json.Unmarshal(at.Previous, &was); err != nil {
		return err
	}
	return r.send(ctx, at, oracle.Undo, effect{epoch: was.Epoch, undo: true})
}

// Burn implements actions.Burner.
func (r restore) Burn(ctx context.Context, at actions.Attempt) error {
	return r.send(ctx, at, oracle.Burn, effect{burn: true})
}

func (r restore) begin(ctx context.Context, at actions.Attempt, what string, e effect) error {
	r.w.mu.Lock()
	e.takes = time.Duration(r.w.rng.Int64N(int64(restoreTakes)))
	r.w.mu.Unlock()
	half, cancel := context.WithTimeout(ctx, time.Until(at.Deadline)/2)
	defer cancel()
	err := r.send(half, at, what, e)
	r.w.mu.Lock()
	defer r.w.mu.Unlock()
	if half.Err() != nil && ctx.Err() == nil && r.w.database(r.pool).running > 0 {
		return nil // it goes on, and a look tells
	}
	return err
}

// replace is the effect; the caller holds the lock.
func (a action) replace(at actions.Attempt, e effect, n oracle.Entry) (changed bool, err error) {
	db := a.w.database(a.pool)
	n.Replaces, n.Was, n.Is = db.token, int(db.epoch), int(e.epoch) //nolint:gosec // epochs are small
	if at.Token <= db.token {
		n.Kind, n.Detail = oracle.Stale, fmt.Sprintf("%s, token %d stands there", a.pool, db.token)
		a.w.add(n)
		return false, fmt.Errorf("token %d stands there: %w", db.token, actions.ErrStaleToken)
	}
	switch {
	case e.burn || n.Was == n.Is:
		n.Kind, n.Is = oracle.Write, n.Was
	case e.undo:
		n.Kind = oracle.Unrestore
	default:
		n.Kind = oracle.Restore
	}
	a.w.add(n)
	db.token, db.epoch = at.Token, uint64(n.Is) //nolint:gosec // as above
	return n.Was != n.Is, nil
}

// rests notes that a restore is at work no more.
func (w *world) rests(a action, e effect) {
	if a.kind != restoreActs || e.again {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.database(a.pool).running--
}
