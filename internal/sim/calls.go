package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// action is a call to a control plane from one node.
type action struct {
	w      *world
	node   string
	kind   string // stop, start, switch
	region string
}

// Idempotent implements actions.Idempotent for absolute counts.
type counted struct{ action }

func (counted) Idempotent() {}

// Restored implements actions.Restorer.
func (c counted) Restored(now actions.Effect, before json.RawMessage) bool {
	var was, is previous
	return json.Unmarshal(before, &was) == nil && json.Unmarshal(now.Previous, &is) == nil && was.Desired == is.Desired
}

// Ages implements actions.Aging: a call that was sent lands within that time.
func (counted) Ages() time.Duration { return sendTail }

// sendTail bounds how long after it was sent a call may land: its delay, and the
// second time of a call that is carried out twice.
const sendTail = 40 * time.Second

// tokened is the action on the record that checks tokens.
type tokened struct{ action }

func (tokened) ChecksToken() {}

// Restored implements actions.Restorer.
func (tokened) Restored(now actions.Effect, before json.RawMessage) bool {
	var was, is previous
	return json.Unmarshal(before, &was) == nil && json.Unmarshal(now.Previous, &is) == nil && was.Traffic == is.Traffic
}

// Burn implements actions.Burner.
func (t tokened) Burn(ctx context.Context, at actions.Attempt) error {
	t.w.mu.Lock()
	token, traffic := t.w.token, t.w.traffic
	t.w.mu.Unlock()
	return t.send(ctx, at, func() error { return t.set(at, 0, traffic, token) })
}

func (w *world) Action(node string, st failover.Step) (actions.Action, error) {
	a := action{w: w, node: node, kind: st.Action, region: string(st.Region)}
	switch st.Action {
	case "stop", "start":
		return counted{a}, nil
	case "switch":
		return tokened{a}, nil
	}
	return nil, fmt.Errorf("unknown kind %q", st.Action)
}

type previous struct {
	Desired int    `json:"desired"`
	Token   uint64 `json:"token"`
	Traffic string `json:"traffic"`
}

// plane is where the control plane stands: of a region, or on the internet.
func (a action) plane() string {
	if a.kind == "switch" {
		return internet
	}
	return a.region
}

func (a action) reach(ctx context.Context) error {
	a.w.mu.Lock()
	dead := a.w.dead[a.plane()]
	a.w.mu.Unlock()
	if dead {
		<-ctx.Done()
		return ctx.Err()
	}
	return a.w.net.carry(ctx, a.node, a.plane())
}

func (a action) Inspect(ctx context.Context) (actions.Effect, error) {
	if err := a.reach(ctx); err != nil {
		return actions.Effect{}, err
	}
	_, total := a.w.workersUp(a.region)
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	prev, err := json.Marshal(previous{Desired: a.w.desired[a.region], Token: a.w.token, Traffic: a.w.traffic})
	if err != nil {
		return actions.Effect{}, err
	}
	eff := actions.Effect{State: actions.Absent, Previous: prev, Token: a.w.token}
	switch a.kind {
	case "stop":
		eff.Inventory = total * (100 - a.w.sights.shrunk) / 100
		eff.Detail = fmt.Sprintf("desired %d, tasks %d", a.w.desired[a.region], total)
		if a.w.desired[a.region] == 0 && total == 0 {
			eff.State = actions.Present
		}
	case "start":
		// Tasks, as a control plane counts them; whether they work is their lease's
		// business, and the checks'.
		eff.Detail = fmt.Sprintf("desired %d, tasks %d", a.w.desired[a.region], total)
		if a.w.desired[a.region] >= fleetSize && total >= fleetSize {
			eff.State = actions.Present
		}
	case "switch":
		eff.Detail = "traffic " + a.w.traffic
		if a.w.traffic == a.region {
			eff.State = actions.Present
		}
	}
	return eff, nil
}

const fleetSize = 2

// send makes a call whose effect may land late, whose reply may be lost and
// which may report an error although it took effect. Once sent, it lands
// whatever becomes of the caller.
func (a action) send(ctx context.Context, at actions.Attempt, effect func() error) error {
	if time.Now().After(at.Deadline) {
		return errors.New("its deadline has passed") // the last look before it is sent, as in the real clients
	}
	if err := a.reach(ctx); err != nil {
		return err
	}
	if a.w.onSend != nil {
		// It has made its last check: should its process stand still now, it sends
		// when it goes on.
		a.w.onSend(a.node, a.kind)
		a.w.net.awake(a.node)
	}
	a.w.mu.Lock()
	wait := time.Duration(a.w.rng.Int64N(int64(a.w.late) + 1))
	lie := a.w.rng.Float64() < a.w.lying
	again := a.w.rng.Float64() < a.w.twice
	early := a.w.rng.Float64() < a.w.early
	second := wait + time.Duration(a.w.rng.Int64N(int64(sendTail/2)))
	if early {
		wait = second
	}
	a.w.mu.Unlock()
	result := make(chan error, 2)
	later := func(d time.Duration) {
		a.w.wg.Go(func() {
			t := time.NewTimer(d)
			defer t.Stop()
			select {
			case <-t.C:
			case <-a.w.ctx.Done():
				return
			}
			result <- effect()
		})
	}
	later(wait)
	if again {
		later(second)
	}
	if early {
		return nil // "accepted"
	}
	select {
	case err := <-result:
		if lie {
			return errors.New("503: it was done all the same")
		}
		if !a.w.net.answers() {
			<-ctx.Done()
			return ctx.Err()
		}
		if cerr := a.w.net.carry(ctx, a.plane(), a.node); cerr != nil {
			return cerr
		}
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a action) Do(ctx context.Context, at actions.Attempt) error {
	var prev previous
	if err := json.Unmarshal(at.Previous, &prev); err != nil {
		return err
	}
	want := map[string]int{"stop": 0, "start": fleetSize}[a.kind]
	return a.send(ctx, at, func() error { return a.set(at, want, a.region, prev.Token) })
}

func (a action) Undo(ctx context.Context, at actions.Attempt) error {
	var prev previous
	if err := json.Unmarshal(at.Previous, &prev); err != nil {
		return err
	}
	a.w.mu.Lock()
	token := a.w.token
	a.w.mu.Unlock()
	return a.send(ctx, at, func() error { return a.set(at, prev.Desired, prev.Traffic, token) })
}

func (a action) set(at actions.Attempt, count int, traffic string, replaces uint64) error {
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	switch a.kind {
	case "switch":
		if w.token != replaces {
			w.noteLocked(oracle.Stale, a.region, a.node, "token %d does not replace %d", at.Token, w.token)
			return errors.New("the record holds another token")
		}
		if w.traffic != traffic {
			w.noteLocked(oracle.Flip, traffic, a.node, "token %d", at.Token)
		}
		w.token, w.traffic = at.Token, traffic
	default:
		if w.desired[a.region] != count {
			kind := oracle.Kind(a.kind)
			if a.kind == "start" && count < w.desired[a.region] {
				kind = oracle.Unstart
			}
			w.noteLocked(kind, a.region, a.node, "desired %d → %d, token %d", w.desired[a.region], count, at.Token)
		}
		w.desired[a.region] = count
	}
	return nil
}

// Check passes when the region's workers run and traffic is there.
func (w *world) Check(st failover.Step) (actions.Check, error) {
	return checkFunc(func(context.Context) actions.Finding {
		up, _ := w.workersUp(string(st.Region))
		w.mu.Lock()
		defer w.mu.Unlock()
		return actions.Finding{Pass: up > 0 && w.traffic == string(st.Region), Detail: fmt.Sprintf("%d workers up, traffic %s", up, w.traffic)}
	}), nil
}

type checkFunc func(ctx context.Context) actions.Finding

func (f checkFunc) Check(ctx context.Context) actions.Finding { return f(ctx) }
