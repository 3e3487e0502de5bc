package actions

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// Journal is the replicated log as the executor needs it, for one tenure.
type Journal interface {
	State() *failover.State
	// Changed returns a channel that is closed at the next change of the state.
	Changed() <-chan struct{}
	// Propose commits a leader-only command in the tenure's term.
	Propose(ctx context.Context, c failover.Command, why string) (failover.Result, error)
	// Prove returns nil if this node led the term after the call began (rule G1).
	Prove(ctx context.Context) error
}

// World makes the actions and checks that steps name.
type World interface {
	Action(step failover.Step) (Action, error)
	// Check makes a check of a step. moved is when clients were first sent to its
	// region; zero: not yet, or it does not matter.
	Check(step failover.Step, moved time.Time) (Check, error)
}

// Check looks at the world and gives a finding.
type Check interface {
	Check(ctx context.Context) Finding
}

// Finding is the result of a check.
type Finding struct {
	Pass   bool
	Detail string // one line for a person
}

// Options are the executor's numbers. Zero values are replaced by the defaults
// that are named.
type Options struct {
	// CallTimeout bounds one call of Inspect, Do or Undo: 10 s.
	CallTimeout time.Duration
	// Poll is the time between two looks at the world: 1 s.
	Poll time.Duration
	// Settle is the time between the two looks that make Absent believable: 2 s.
	Settle time.Duration
}

func (o Options) withDefaults() Options {
	if o.CallTimeout <= 0 {
		o.CallTimeout = 10 * time.Second
	}
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	if o.Settle <= 0 {
		o.Settle = 2 * time.Second
	}
	return o
}

// HoldEvery is how often standing holds are looked at: thirty looks at the
// executor's own pace.
func (o Options) HoldEvery() time.Duration { return 30 * max(o.Poll, 10*time.Millisecond) }

// Executor carries out the open execution of one tenure. It is level-triggered:
// it looks at the state, starts what may start, and forgets nothing that is not
// in the log.
type Executor struct {
	journal Journal
	world   World
	opts    Options
	log     *slog.Logger
	started time.Time // when the tenure passed its barrier

	mu       sync.Mutex
	inflight map[failover.StepID]context.CancelFunc
	progress map[failover.StepID]string
	named    map[uint64]time.Time // by token: until when calls of this tenure's attempts may be sent, on this node's monotonic clock
	wake     chan struct{}
	ended    chan struct{} // a step's goroutine is over: the fence, which waits for stops that it cancelled, looks again
	wg       sync.WaitGroup
	flipping chan struct{} // held by the switch that commits the flip

	// When this node first saw the freeze that is in force, in this tenure: the
	// wait counts from there (rule G3). Seeing it later than it was applied
	// only makes the wait longer.
	freezeID uint64
	freezeAt time.Time

	// The execution that was to be closed last: since when, and when it was proposed.
	// Used by Run's goroutine alone.
	closing               uint64
	closingSince, triedAt time.Time

	// The question with a deadline that this node saw last, and when it saw it first.
	// Used by Run's goroutine alone.
	asked   uint64
	askedAt time.Time

	// When a stop that was tried blind is looked at again while a question is open. Used
	// by Run's goroutine alone.
	nextLook map[failover.StepID]time.Time

	// When this node first saw, under the freeze reportedFor, that all agents of a
	// component had reported. Used by the fence's goroutine alone.
	reported    map[failover.Component]reported
	reportedFor uint64

	// When the fence proposed last what the log may refuse, by what. Used by the fence's
	// goroutine alone.
	tried map[string]time.Time

	// Since when what was confirmed through an API could not be seen again, by freeze and
	// stop. Used by the fence's goroutine alone.
	unread map[string]time.Time
}

// reported is when the newest of a component's reports was first seen.
type reported struct {
	index uint64 // of the report; zero below feature level 3
	at    time.Time
}

// NewExecutor returns an executor for a tenure that has just passed its barrier.
func NewExecutor(j Journal, w World, opts Options, log *slog.Logger) *Executor {
	x := &Executor{
		journal: j, world: w, opts: opts.withDefaults(), log: log, started: time.Now(),
		inflight: map[failover.StepID]context.CancelFunc{}, progress: map[failover.StepID]string{}, named: map[uint64]time.Time{},
		wake: make(chan struct{}, 1), ended: make(chan struct{}, 1), flipping: make(chan struct{}, 1),
		nextLook: map[failover.StepID]time.Time{}, unread: map[string]time.Time{},
	}
	return x
}

// Progress is what the running steps say of themselves. Safe for concurrent
// use.
func (x *Executor) Progress() map[failover.StepID]string {
	x.mu.Lock()
	defer x.mu.Unlock()
	out := make(map[failover.StepID]string, len(x.progress))
	for k, v := range x.progress {
		out[k] = v
	}
	return out
}

func (x *Executor) say(id failover.StepID, line string) {
	x.mu.Lock()
	x.progress[id] = line
	x.mu.Unlock()
}

// Run drives executions until ctx ends; then it waits for calls under way.
func (x *Executor) Run(ctx context.Context) {
	defer x.wg.Wait()
	for ctx.Err() == nil {
		changed := x.journal.Changed()
		s := x.journal.State()
		x.noteFreeze(s)
		x.drive(ctx, s)
		timer := time.NewTimer(x.opts.Poll)
		select {
		case <-ctx.Done():
		case <-changed:
		case <-x.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// drive looks once and starts what may start. Steps of a preparation and of the
// execution that adopts them have the same IDs, so that one change is in flight
// per resource (rule E7).
func (x *Executor) drive(ctx context.Context, s *failover.State) {
	if p := s.Preparation; p != nil {
		x.prepare(ctx, p)
	}
	e := s.Execution
	if e == nil {
		return
	}
	x.expire(ctx, s)
	x.noteStuck(ctx, s, e)
	switch e.State {
	case failover.ExecRunning:
		if x.complete(ctx, e) || x.unanswered(ctx, e) {
			return
		}
		x.finishUndos(ctx, e)
		x.endSwitches(e)
		// Once everything is proven, the fence ends the stops that still try;
		// none begins anew in its face. One that an earlier leader left started is
		// resolved, or the epoch would wait for it for ever.
		proven := s.Freeze != nil && len(e.Unproven(s.Freeze.ID)) == 0
		for _, st := range e.Plan.Steps {
			if st.Kind == failover.KindStop && proven && e.Step(st.ID).State == failover.StepPending {
				continue
			}
			if x.ready(e, st) {
				x.launch(ctx, st, func(ctx context.Context) { x.runStep(ctx, e.ID, st) })
			}
		}
	case failover.ExecHeld:
		// Nothing new starts, but what an earlier leader started is resolved.
		x.resolve(ctx, e)
	case failover.ExecAborting:
		if !x.resolve(ctx, e) {
			x.unwind(ctx, e)
		}
	}
}

// open returns the execution or preparation with the given ID as the log knows
// it now, or nil when it has ended.
func (x *Executor) open(id uint64) *failover.Execution { return x.journal.State().Open(id) }

// ready reports whether a step may run now and is not being run.
func (x *Executor) ready(e *failover.Execution, st failover.Step) bool {
	x.mu.Lock()
	_, busy := x.inflight[st.ID]
	x.mu.Unlock()
	if busy {
		return false
	}
	switch e.Step(st.ID).State {
	case failover.StepPending, failover.StepRunning:
	default:
		return false
	}
	return e.After(st)
}

// launch runs fn for a step in its own goroutine, once at a time.
func (x *Executor) launch(ctx context.Context, st failover.Step, fn func(context.Context)) {
	sctx, cancel := context.WithCancel(ctx)
	x.mu.Lock()
	if _, busy := x.inflight[st.ID]; busy {
		x.mu.Unlock()
		cancel()
		return
	}
	x.inflight[st.ID] = cancel
	x.mu.Unlock()
	x.wg.Go(func() {
		defer cancel()
		before := x.journal.State().Index
		fn(sctx)
		x.mu.Lock()
		delete(x.inflight, st.ID)
		delete(x.progress, st.ID)
		x.mu.Unlock()
		signal(x.ended)
		if x.journal.State().Index != before {
			signal(x.wake)
		} // else nothing came of it: the next poll looks again, not at once
	})
}

// signal wakes who waits on a channel of one place, now or when it next waits.
func signal(ch chan<- struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

func (x *Executor) busy() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return len(x.inflight) > 0
}

// resolve finishes steps that were started and are run by nobody: their leader
// died. It returns true while any step is unresolved (rule E6).
func (x *Executor) resolve(ctx context.Context, e *failover.Execution) bool {
	open := x.busy()
	for _, st := range e.Plan.Steps {
		rec := e.Step(st.ID)
		if rec.State != failover.StepRunning && rec.State != failover.StepUndoing {
			continue
		}
		open = true
		x.launch(ctx, st, func(ctx context.Context) { x.settle(ctx, e.ID, st) })
	}
	return open
}

// expire applies the policy's default to a question that nobody answered: neither before
// its deadline, nor before this leader, in this tenure and on its own monotonic clock, has
// waited for as long as the policy says. The deadline alone is what the wall clock of
// whoever led then says.
func (x *Executor) expire(ctx context.Context, s *failover.State) {
	q := s.Execution.Question
	if q == nil || q.Deadline.IsZero() {
		return
	}
	if x.asked != q.Nonce {
		x.asked, x.askedAt = q.Nonce, time.Now()
	}
	if time.Now().Before(q.Deadline) || time.Since(x.askedAt) < s.Settings.Policy.Ask.Wait.D() {
		return
	}
	x.propose(ctx, failover.AskExpired{Execution: s.Execution.ID, Nonce: q.Nonce}, "")
}

// runStep carries one step out, from wherever the log says that it stands.
func (x *Executor) runStep(ctx context.Context, exec uint64, st failover.Step) {
	s := x.journal.State()
	e := s.Open(exec)
	if e == nil || e.State != failover.ExecRunning {
		return
	}
	if st.Approval && !e.Approved(st.ID) {
		x.askFirst(ctx, e, st)
		return
	}
	switch st.Kind {
	case failover.KindFreeze:
		x.freeze(ctx, e, st)
	case failover.KindFence:
		x.fence(ctx, e, st)
	case failover.KindStop:
		if s.Epoch > e.Epoch {
			x.unneeded(ctx, e, st)
			return
		}
		x.act(ctx, e, st)
	case failover.KindSwitch:
		if e.Stable() {
			x.handOver(ctx, e, st)
			return
		}
		x.act(ctx, e, st)
	case failover.KindStart:
		x.act(ctx, e, st)
	case failover.KindCheck:
		x.check(ctx, e, st)
	case failover.KindStable:
		x.stable(ctx, e, st)
	}
}

// unneeded ends a stop that was not seen to take effect before other evidence
// let the epoch advance. What it may have asked for is harmless: it stops what
// must not run.
func (x *Executor) unneeded(ctx context.Context, e *failover.Execution, st failover.Step) {
	if token, ok := x.begin(ctx, e, st); ok {
		x.finish(ctx, e, st, token, failover.StepUnproven, "the region is fenced by other evidence; this stop was not seen to take effect")
	}
}

func (x *Executor) check(ctx context.Context, e *failover.Execution, st failover.Step) {
	token, ok := x.begin(ctx, e, st)
	if !ok {
		return
	}
	c, err := x.world.Check(st, e.MovedAt())
	if err != nil {
		x.fail(ctx, e, st, token, err.Error())
		return
	}
	deadline := time.Now().Add(st.Timeout.D())
	var last Finding
	for {
		cctx, cancel := context.WithTimeout(ctx, x.opts.CallTimeout)
		last = c.Check(cctx)
		cancel()
		x.say(st.ID, last.Detail)
		switch {
		case last.Pass:
			x.finish(ctx, e, st, token, failover.StepDone, last.Detail)
			return
		case x.stopped(e.ID):
			x.finish(ctx, e, st, token, failover.StepFailed, "not passed when the execution was stopped: "+last.Detail)
			return
		case !time.Now().Before(deadline):
			x.fail(ctx, e, st, token, last.Detail)
			return
		}
		if !x.sleep(ctx, x.opts.Poll) {
			return
		}
	}
}

func (x *Executor) stable(ctx context.Context, e *failover.Execution, st failover.Step) {
	token, ok := x.begin(ctx, e, st)
	if !ok {
		return
	}
	x.finish(ctx, e, st, token, failover.StepDone, "every step and check has passed")
}

// unanswered makes sure that a step which failed or is unclear has its question,
// whoever found out and whatever became of him: an execution never stands in
// silence (L1). It returns true when it changed something.
func (x *Executor) unanswered(ctx context.Context, e *failover.Execution) bool {
	if !e.MayAsk("") {
		return false // one at a time; the next look finds the next
	}
	for _, st := range e.Plan.Steps {
		rec := e.Step(st.ID)
		x.mu.Lock()
		_, busy := x.inflight[st.ID]
		x.mu.Unlock()
		if busy || rec.State != failover.StepFailed && rec.State != failover.StepUnclear {
			continue
		}
		if rec.State == failover.StepFailed && st.OnError == "continue" {
			x.propose(ctx, failover.Skip{Execution: e.ID, Step: st.ID}, "on_error = \"continue\"")
			return true
		}
		kind := "failed"
		if rec.State == failover.StepUnclear {
			kind = "unknown"
		}
		x.ask(ctx, e.ID, kind, st.ID, fmt.Sprintf("Step %s %s: %s", st.ID, rec.State, rec.Detail),
			"failoverd retry "+string(st.ID), "failoverd skip "+string(st.ID)+" --why …", "failoverd abort")
		return true
	}
	return false
}

// complete closes an execution whose steps have all passed, whoever carried out
// the last one. It returns false while any is left.
func (x *Executor) complete(ctx context.Context, e *failover.Execution) bool {
	for _, st := range e.Plan.Steps {
		if !e.Step(st.ID).Passed() {
			return false
		}
	}
	if x.burnLeft(ctx, e) {
		return true // closed only when no token can still take effect (rule E4)
	}
	x.close(ctx, failover.FinishExecution{Execution: e.ID, State: failover.ExecStable,
		Outcome: fmt.Sprintf("%s serves from %s", e.Kind, e.To)})
	return true
}

// fail ends a step that did not succeed in its time, and asks a person unless
// the plan says to go on without it.
func (x *Executor) fail(ctx context.Context, e *failover.Execution, st failover.Step, token uint64, detail string) {
	x.finish(ctx, e, st, token, failover.StepFailed, detail)
	if e.Kind == failover.Preparation {
		return // the execution tries again, and asks
	}
	if st.OnError == "continue" {
		x.propose(ctx, failover.Skip{Execution: e.ID, Step: st.ID}, "on_error = \"continue\"")
		return
	}
	x.ask(ctx, e.ID, "failed", st.ID, fmt.Sprintf("Step %s failed: %s", st.ID, detail),
		"failoverd retry "+string(st.ID), "failoverd skip "+string(st.ID)+" --why …", "failoverd abort")
}

// stopped reports whether the execution no longer wants new effects.
func (x *Executor) stopped(exec uint64) bool {
	e := x.open(exec)
	return e == nil || e.State == failover.ExecAborting
}

// sleep waits, or returns false when ctx has ended.
func (x *Executor) sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// errNotLeading means that the right to act could not be proven.
var errNotLeading = errors.New("leadership could not be proven right before the effect: nothing was done")
