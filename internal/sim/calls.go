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
	step   failover.StepID
	kind   string // stop, start, switch
	region string
	pool   string // key of what is counted
	count  int    // how many are wanted of it
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
	r := *t.w.lever(t.kind)
	t.w.mu.Unlock()
	return t.send(ctx, at, oracle.Burn, effect{traffic: r.traffic, replaces: r.token})
}

// gate is the switch whose effect is the committed flip. Clients follow it for as
// long as a node that lives has applied it.
type gate struct{ action }

// FlipsByLog implements actions.LogFlip.
func (gate) FlipsByLog() {}

// Idempotent implements actions.Idempotent.
func (gate) Idempotent() {}

// Inspect implements actions.Action: it asks the name servers.
func (g gate) Inspect(ctx context.Context) (actions.Effect, error) {
	if err := g.reach(ctx); err != nil {
		return actions.Effect{}, err
	}
	eff := actions.Effect{State: actions.Absent, Previous: json.RawMessage("{}"), Detail: "traffic " + g.w.trafficNow()}
	if g.w.trafficNow() == g.region {
		eff.State = actions.Present
	}
	return eff, nil
}

// Do implements actions.Action.
func (gate) Do(context.Context, actions.Attempt) error { return nil }

// lever is something that clients follow: a resource that checks tokens.
type lever struct {
	token   uint64
	traffic string
}

// lever returns the record of a kind of switch; the caller holds the lock.
func (w *world) lever(kind string) *lever {
	if w.levers[kind] == nil {
		w.levers[kind] = &lever{traffic: east1}
	}
	return w.levers[kind]
}

// Action makes the action of a step: of the simulation's own kinds, or of the
// real ones that they stand for.
func (w *world) Action(node string, st failover.Step, epoch uint64) (actions.Action, error) {
	a := action{w: w, node: node, step: st.ID, kind: st.Action, region: string(st.Region), pool: string(st.Region)}
	switch st.Action {
	case "stop":
		return counted{a}, nil
	case "start":
		a.count = fleetSize
		return counted{a}, nil
	case "switch", "route53_weights", "s3_object":
		if a.kind = "switch"; st.Action == "s3_object" {
			a.kind = "object"
		}
		return tokened{a}, nil
	case "gate":
		return gate{a}, nil
	case restoreKind:
		a.kind, a.pool = restoreActs, pool(string(st.Component), a.region)
		return restore{a, epoch}, nil
	}
	// The real kinds that stop and start something set a number: of tasks,
	// machines, pods, or 1 for what is on.
	a.kind, a.pool = string(st.Kind), pool(string(st.Component), a.region)
	switch st.Kind {
	case failover.KindStop:
		return counted{a}, nil
	case failover.KindStart:
		p := struct {
			Count int `json:"count"`
		}{Count: 1}
		if err := json.Unmarshal(st.Params, &p); err != nil {
			return nil, err
		}
		a.count = p.Count
		return counted{a}, nil
	}
	return nil, fmt.Errorf("unknown kind %q", st.Action)
}

// pool is the key under which what runs of a component in a region is counted.
// The workers' is the region itself.
func pool(component, region string) string {
	if component == "workers" {
		return region
	}
	return component + "/" + region
}

// warmUp is how long tasks without an agent take to run.
const warmUp = 3 * time.Second

// tasks counts what runs of a pool, as a control plane does.
func (a action) tasks() int {
	if a.pool == a.region {
		_, total := a.w.workersUp(a.region)
		return total
	}
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	return a.w.runningLocked(a.pool)
}

// runningLocked is what runs of a pool without agents.
func (w *world) runningLocked(pool string) int {
	if time.Since(w.since[pool]) < warmUp {
		return 0
	}
	return w.desired[pool]
}

type previous struct {
	Desired int    `json:"desired"`
	Token   uint64 `json:"token"`
	Traffic string `json:"traffic"`
	Epoch   uint64 `json:"epoch,omitempty"` // whose restore is in
}

// plane is where the control plane stands: of a region, or on the internet.
func (a action) plane() string {
	switch a.kind {
	case "switch", "gate":
		return internet
	case "object":
		return east2 // the bucket's region
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
	total, now := a.tasks(), a.w.trafficNow()
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	if a.w.sights.mute[a.plane()] {
		return actions.Effect{}, errors.New("500: the control plane answers no question")
	}
	was := previous{Desired: a.w.desired[a.pool]}
	if a.levels() {
		was.Token, was.Traffic = a.w.lever(a.kind).token, a.w.lever(a.kind).traffic
	}
	prev, err := json.Marshal(was)
	if err != nil {
		return actions.Effect{}, err
	}
	eff := actions.Effect{State: actions.Absent, Previous: prev, Token: was.Token}
	switch a.kind {
	case "stop":
		eff.Inventory = total * (100 - a.w.sights.shrunk) / 100
		eff.Detail = fmt.Sprintf("desired %d, tasks %d", a.w.desired[a.pool], total)
		switch {
		case a.w.desired[a.pool] == 0 && total == 0:
			eff.State = actions.Present
		case a.w.desired[a.pool] == 0:
			eff.State, eff.Ending = actions.Partial, true
		}
	case "start":
		// Tasks, as a control plane counts them; whether they work is their lease's
		// business, and the checks'.
		eff.Detail = fmt.Sprintf("desired %d, tasks %d", a.w.desired[a.pool], total)
		if a.w.desired[a.pool] >= a.count && total >= a.count {
			eff.State = actions.Present
		}
	case "switch", "object":
		eff.Detail = fmt.Sprintf("%s %s, traffic %s", a.kind, was.Traffic, now)
		if was.Traffic == a.region && now == a.region {
			eff.State = actions.Present
		}
	}
	return eff, nil
}

// Untouched implements actions.Untouchable.
func (a action) Untouched(before json.RawMessage) bool {
	var was previous
	return a.kind == "stop" && json.Unmarshal(before, &was) == nil && was.Desired > 0
}

// Overtaken implements actions.Witness.
func (a action) Overtaken(now actions.Effect, before json.RawMessage) string {
	var was, is previous
	if a.levels() || json.Unmarshal(before, &was) != nil || json.Unmarshal(now.Previous, &is) != nil || is.Desired == was.Desired || is.Desired == a.count {
		return ""
	}
	return fmt.Sprintf("desired %d", is.Desired)
}

// levels reports whether the action moves a lever.
func (a action) levels() bool { return a.kind == "switch" || a.kind == "object" }

const fleetSize = 2

// send makes a call whose effect may land late, whose reply may be lost and
// which may report an error although it took effect. Once sent, it lands
// whatever becomes of the caller.
func (a action) send(ctx context.Context, at actions.Attempt, what string, e effect) (err error) {
	if time.Now().After(at.Deadline) {
		return errors.New("its deadline has passed") // the last look before it is sent, as in the real clients
	}
	sent := func() {
		if e.call == 0 {
			e.call = a.sent(at, what)
		}
	}
	gone := false
	if a.w.seam != nil {
		gone = a.w.seam.leaves(ctx, a, at, what, sent)
	}
	if !gone {
		if err := a.reach(ctx); err != nil {
			return err
		}
	}
	sent()
	defer func() { a.answered(e.call, err) }()
	a.w.mu.Lock()
	if a.w.sights.lost[a.plane()] {
		a.w.mu.Unlock()
		return errors.New("no answer")
	}
	wait := e.takes + time.Duration(a.w.rng.Int64N(int64(a.w.late)+1))
	if a.kind == restoreActs {
		a.w.database(a.pool).running++
	}
	again := a.w.strikes(doneTwice, a.w.twice)
	if what == "undo" {
		wait = max(wait, a.w.undoes)
	}
	early := a.w.strikes(doneButLater, a.w.early)
	lie := !early && a.w.strikes(doneButFailed, a.w.lying)
	second := wait + time.Duration(a.w.rng.Int64N(int64(sendTail/2)))
	if early {
		wait = second
	}
	parked := a.w.takePark(a.kind)
	a.w.mu.Unlock()
	result := make(chan error, 2)
	later := func(d time.Duration, e effect) {
		a.w.wg.Go(func() {
			if !a.w.underWay(d, parked) {
				return
			}
			changed, err := a.set(at, e)
			a.w.rests(a, e)
			if a.w.seam != nil {
				a.w.seam.landed(a, at, what, changed)
			}
			result <- err
		})
	}
	later(wait, e)
	if a.w.seam != nil {
		a.w.seam.flies(a, at, what)
	}
	if again {
		e.again = true
		later(second, e)
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
	if err := json.Unmarshal(at.Previous, &prev); err != nil && (a.kind != "stop" || len(at.Previous) > 0) {
		return err // a stop is sent blind, as the real ones are
	}
	return a.send(ctx, at, oracle.Do, effect{count: a.count, traffic: a.region, replaces: prev.Token})
}

func (a action) Undo(ctx context.Context, at actions.Attempt) error {
	var prev previous
	if err := json.Unmarshal(at.Previous, &prev); err != nil {
		return err
	}
	token := uint64(0)
	if a.levels() {
		a.w.mu.Lock()
		token = a.w.lever(a.kind).token
		a.w.mu.Unlock()
	}
	return a.send(ctx, at, oracle.Undo, effect{count: prev.Desired, traffic: prev.Traffic, replaces: token, undo: true})
}

// strikes draws whether a fault strikes a call; the caller holds the lock.
func (w *world) strikes(fault string, share float64) bool {
	hit := w.rng.Float64() < share || w.aimed[fault]
	if hit {
		w.struck[fault]++
		delete(w.aimed, fault)
	}
	return hit
}

// aim lets a fault of control planes strike the next call for certain, and says
// how often it has struck before.
func (w *world) aim(f fault) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.calls {
		w.aimed[f.name] = true
	}
	return w.struck[f.name]
}

func (w *world) hits(fault string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.struck[fault]
}

// effect is what a call asks for.
type effect struct {
	call     int // its number in the record
	count    int
	traffic  string
	replaces uint64
	undo     bool
	epoch    uint64        // whose restore is to be in
	burn     bool          // of a restore: the token alone is replaced
	takes    time.Duration // before it is done
	again    bool          // the second time that the world carries it out
}

// entry is a line of the record about one call.
func (a action) entry(kind oracle.Kind, call int, token uint64) oracle.Entry {
	acts := a.kind
	if a.levels() {
		acts = "switch"
	}
	return oracle.Entry{Kind: kind, Region: a.region, Who: a.node, Call: call, Step: string(a.step), Acts: acts, Token: token}
}

// sent notes that a call has left its node, and gives it its number.
func (a action) sent(at actions.Attempt, what string) int {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	a.w.calls++
	e := a.entry(oracle.Sent, a.w.calls, at.Token)
	e.What = what
	a.w.add(e)
	return a.w.calls
}

// answered notes that the caller of a call has gone on.
func (a action) answered(call int, err error) {
	e := a.entry(oracle.Answered, call, 0)
	if err != nil {
		e.Detail = err.Error()
	}
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	a.w.add(e)
}

// set is the effect, and reports whether it changed anything but a token.
func (a action) set(at actions.Attempt, e effect) (changed bool, err error) {
	w := a.w
	w.mu.Lock()
	defer w.mu.Unlock()
	n := a.entry(oracle.Landed, e.call, at.Token)
	n.What, n.Again, n.Replaces = a.pool, e.again, e.replaces
	if a.levels() {
		n.What, n.Region = a.kind, e.traffic
		l := w.lever(a.kind)
		switch {
		case l.token != e.replaces:
			n.Kind, n.Detail = oracle.Stale, fmt.Sprintf("%s, token %d does not replace %d", a.kind, at.Token, l.token)
			w.add(n)
			return false, errors.New("the record holds another token")
		case l.traffic != e.traffic:
			n.Kind = oracle.Flip
		default:
			n.Kind = oracle.Write
		}
		w.add(n)
		changed = l.traffic != e.traffic
		l.token, l.traffic = at.Token, e.traffic
		return changed, nil
	}
	if a.kind == restoreActs {
		return a.replace(at, e, n)
	}
	n.Was, n.Is = w.desired[a.pool], e.count
	switch {
	case n.Was == n.Is:
	case a.kind == "stop" && e.undo:
		n.Kind = oracle.Unstop
	case a.kind == "stop":
		n.Kind = oracle.Stop
	case e.undo:
		n.Kind = oracle.Unstart
	default:
		n.Kind = oracle.Start
	}
	w.add(n)
	if n.Is > n.Was {
		w.since[a.pool] = time.Now()
	}
	w.desired[a.pool] = n.Is
	return n.Was != n.Is, nil
}
