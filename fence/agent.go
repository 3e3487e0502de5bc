// Package fence is the agent: it holds the lease for the workers on its host,
// stops them when the lease ends, and tells them whether they may work.
//
// The agent never decides that a region has failed. It only knows that it could
// not renew, and that from a certain moment on it must assume that another
// region runs. DESIGN.md in this directory gives the reasons.
package fence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/boottime"
)

// Asker carries an Ask to the leader and brings its answer.
type Asker interface {
	Ask(ctx context.Context, a Ask) (Answer, error)
}

// Config is what an agent is made of.
type Config struct {
	Agent     failover.AgentID
	Region    failover.Region
	Component failover.Component
	// Terms are those of the agent's own configuration, used until the leader's
	// are known.
	Terms failover.LeaseTerms
	// Arming of the agent's own configuration: it asks as enforced only if it
	// would stop its workers.
	Arming      failover.Arming
	OnIsolation string
	Work        time.Duration // the longest piece of work of its workers
	RPCTimeout  time.Duration
	// LeaseFile is written for workers that read it; "" for none. It belongs on
	// a tmpfs.
	LeaseFile string
	// EpochFile keeps the highest epoch that was seen, with fsync; "" for none.
	EpochFile string
	// Unguarded: nothing would stop the worker if the agent itself were stuck, so
	// the end of its lease proves nothing and it does not ask as enforced.
	Unguarded bool
	// Watchdog is how long the service manager waits for Feed before it kills the
	// agent and its worker; zero: there is none (rule G5).
	Watchdog time.Duration
	// Feed tells the service manager that the agent is alive. May be nil.
	Feed func()
	// Rehearse proves that the host kills in time; see Rehearse. Nil: it cannot.
	Rehearse func(kill time.Duration) (detail string, err error)
	// KeepRunning: an exit of the worker does not end the agent.
	KeepRunning bool
	// Replace ends Run with *ErrReplaced, as soon as that can be. Nil: never.
	Replace <-chan struct{}
	// Handover is what an earlier program of this process has left; nil: nothing.
	Handover *Handover
	Asker    Asker
	Worker   Worker
	Clock    boottime.Clock
	BootID   string
	NewID    func() string
	Log      *slog.Logger
}

// Agent holds one lease for one worker.
type Agent struct {
	cfg Config

	mu     sync.Mutex // guards holder and status fields
	holder *Holder
	seen   uint64 // highest epoch on disk
	last   time.Time
	would  uint64

	answered     bool // something came back since the newest request was sent
	stopping     bool
	stopKillAt   time.Duration
	stoppedFor   uint64 // freeze that the next Ask reports
	bootAt       time.Duration
	realAt       time.Time
	warnedBefore bool
	bound        bool          // it has just been bound, and the leader does not know yet
	fed          time.Duration // when the watchdog was fed last
	rehearsing   uint64        // the newest rehearsal that was begun
	rehearsed    *failover.RehearsalResult
	ahead        time.Duration // by which real time has run ahead of CLOCK_BOOTTIME, all in all
	aheadAt      []mark        // by which it had when requests were sent, the oldest first
	overdue      bool          // the clocks say that the lease ended in the past
	leaseFile    []byte        // as it was written last
}

// NewAgent returns an agent; Run makes it work.
func NewAgent(cfg Config) (*Agent, error) {
	seen, err := readEpoch(cfg.EpochFile)
	if err != nil {
		return nil, err
	}
	a := &Agent{cfg: cfg, holder: NewHolder(seen, cfg.Work), seen: seen}
	if cfg.Handover != nil {
		return a, a.takeOver(cfg.Handover)
	}
	return a, nil
}

// tick is how often the agent looks at its clock. It is far below every part of
// the stop budget.
const tick = 100 * time.Millisecond

// ErrWorkerEnded means that the worker ended by itself; Status holds its exit
// status.
type ErrWorkerEnded struct{ Status int }

func (e *ErrWorkerEnded) Error() string {
	return fmt.Sprintf("the worker ended by itself with status %d", e.Status)
}

// Run asks for the lease and keeps the worker as the lease allows, until ctx
// ends or the worker ends by itself. Before it returns, the worker is dead and
// the leader has been told, as far as it could be reached.
func (a *Agent) Run(ctx context.Context) error {
	answers := make(chan Answer, 4)
	askNow := make(chan struct{}, 1)
	askNow <- struct{}{}
	renew := time.NewTimer(a.cfg.Terms.Renew.D())
	defer renew.Stop()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	a.mu.Lock()
	if a.realAt.IsZero() { // else they were handed over
		a.bootAt, a.realAt = a.cfg.Clock.Boot(), a.cfg.Clock.Real()
	}
	a.mu.Unlock()
	// Requests that hang do not keep the next ones from being sent: the way may have
	// opened meanwhile.
	retry := a.cfg.Terms.Retry()
	asking := make(chan struct{}, 2+int(a.cfg.RPCTimeout/retry))
	asked := a.cfg.Clock.Boot() // when the newest request was sent
	ask := func() {
		select {
		case asking <- struct{}{}:
		default:
			return
		}
		msg := a.nextAsk()
		asked = a.cfg.Clock.Boot()
		go func() {
			defer func() { <-asking }()
			rctx, cancel := context.WithTimeout(ctx, a.cfg.RPCTimeout)
			defer cancel()
			ans, err := a.cfg.Asker.Ask(rctx, msg)
			if err != nil {
				a.cfg.Log.Debug("no answer to a lease request", "error", err)
				return
			}
			select {
			case answers <- ans:
			case <-ctx.Done():
			}
		}()
	}
	for {
		select {
		case <-ctx.Done():
			return a.shutdown()
		case <-a.cfg.Replace:
			h, err := a.handOver()
			if err == nil {
				return &ErrReplaced{h}
			}
			a.cfg.Log.Error("the agent cannot be replaced now: try again in a moment", "why", err.Error())
		case <-askNow:
			ask()
		case <-renew.C:
			if a.cfg.Clock.Boot()-asked >= retry || !a.unanswered() { // else the ticker asks, in its time
				ask()
			}
			renew.Reset(a.renewEvery())
		case ans := <-answers:
			a.take(ans)
		case status := <-a.cfg.Worker.Exited():
			if !a.stopping && !a.cfg.KeepRunning {
				a.cfg.Log.Info("the worker ended by itself", "status", status)
				_ = a.shutdown() // the exit status is what the caller needs
				return &ErrWorkerEnded{Status: status}
			}
		case <-ticker.C:
			if now := a.cfg.Clock.Boot(); now-asked >= retry && a.unanswered() {
				ask()
			}
		}
		if a.keep() {
			select {
			case askNow <- struct{}{}:
			default:
			}
		}
	}
}

func (a *Agent) renewEvery() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.holder.Renew(a.cfg.Terms.Renew.D())
}

// unanswered reports whether nothing has come back since the newest request was sent.
func (a *Agent) unanswered() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return !a.answered
}

// nextAsk makes a request and remembers when it left.
func (a *Agent) nextAsk() Ask {
	running := a.cfg.Worker.Running()
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Clock.Boot()
	a.markClocks(now)
	msg := Ask{
		Seq:     uint64(now), // it only rises, and an agent's name is new with each start
		Request: a.cfg.NewID(), Agent: a.cfg.Agent, Region: a.cfg.Region, Component: a.cfg.Component,
		Lease: a.cfg.Terms.Length,
		// How the agent is bound already, for good: what it would do once an answer
		// arrives that may be lost proves nothing.
		Enforced:  a.cfg.Arming == failover.ArmEnforced && a.cfg.OnIsolation != "keep" && !a.cfg.Unguarded && a.holder.Bound() && a.within(),
		SeenEpoch: a.holder.epoch, Running: running, Stopped: a.stoppedFor,
		Holding: a.holder.Holding(), WouldHave: a.would, Rehearsed: a.rehearsed,
	}
	a.holder.Sent(msg.Request, now)
	a.answered = false
	return msg
}

// within reports whether all that works for this agent ends with its lease. Functions that
// were given leave while the lease bound nothing, or was longer, may outlive it.
func (a *Agent) within() bool {
	s, served := a.cfg.Worker.(*Served)
	return !served || s.Within(a.holder.KillAt())
}

// take handles an answer.
func (a *Agent) take(ans Answer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Clock.Boot()
	was := a.holder.Bound()
	a.answered = true
	used := a.holder.Received(ans, now)
	if a.holder.Bound() && !was {
		a.bound = true // the leader is told at once: until then its lease proves nothing
	}
	if !used {
		a.cfg.Log.Debug("an answer was of no use", "why", a.holder.sentence)
		return
	}
	a.last = a.cfg.Clock.Real()
	a.rehearse(ans.Rehearse)
	if ans.Granted {
		a.stoppedFor, a.warnedBefore = 0, false
	}
	if a.holder.epoch > a.seen {
		if err := writeEpoch(a.cfg.EpochFile, a.holder.epoch); err != nil {
			// Without a durable memory of the epoch a restored cluster could
			// grant an old one: hold no lease.
			a.cfg.Log.Error("the epoch cannot be kept: no lease is held", "error", err)
			a.holder.Forget()
			return
		}
		a.seen = a.holder.epoch
	}
}

// keep makes the worker agree with the lease. It returns true when the leader
// should hear from us at once.
func (a *Agent) keep() (report bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.cfg.Clock.Boot()
	a.checkClocks(now)
	defer a.writeLeaseFile(now)
	defer a.feed()
	report, a.bound = a.bound, false

	may := a.holder.MayRun(now)
	running := a.cfg.Worker.Running()
	switch {
	case may && !running && !a.stopping:
		a.start()
	case may && running && !a.stopping:
		a.extend()
	case running && a.holder.MustNotRun(now):
		a.stop(now)
	case !running:
		a.stopping = false
		// The workers are dead. Only now may it be said, and only after every
		// earlier request has been forgotten (rule G7).
		if f := a.holder.Frozen(); f != 0 && a.stoppedFor != f {
			a.holder.Forget()
			a.stoppedFor = f
			a.cfg.Log.Info("workers stopped for a freeze", "freeze", f)
			return true
		}
	}
	return report
}

// feed tells the service manager that the agent is alive, as long as a death by
// the watchdog would still stop the worker in time: once the stop must begin, a
// stuck agent is not to live on (rule G5).
func (a *Agent) feed() {
	if a.cfg.Feed == nil || a.cfg.Watchdog <= 0 {
		return
	}
	now := a.cfg.Clock.Boot()
	if now-a.fed < a.cfg.Watchdog/4 {
		return
	}
	stop, held := a.holder.StopAt()
	// The leader's terms may allow the watchdog less than the agent's own file does.
	stop -= max(0, a.cfg.Terms.Stop.Watchdog-a.holder.terms.Stop.Watchdog).D()
	if a.holder.Bound() && a.cfg.Worker.Running() && !(held && now <= stop) {
		return
	}
	a.fed = now
	a.cfg.Feed()
}

// rehearse begins a rehearsal that the leader asked for, once. Its result goes
// with the next request.
func (a *Agent) rehearse(id uint64) {
	if id == 0 || id == a.rehearsing {
		return
	}
	a.rehearsing = id
	kill := a.holder.terms.Stop.Kill.D()
	if kill == 0 {
		kill = a.cfg.Terms.Stop.Kill.D()
	}
	go func() {
		r := failover.RehearsalResult{ID: id}
		if a.cfg.Rehearse == nil {
			r.Detail = "this agent has no guard to rehearse with"
		} else if detail, err := a.cfg.Rehearse(kill); err != nil {
			r.Detail = err.Error()
		} else {
			r.Passed, r.Detail = true, detail
		}
		a.cfg.Log.Info("rehearsal of the fence", "id", id, "passed", r.Passed, "detail", r.Detail)
		a.mu.Lock()
		a.rehearsed = &r
		a.mu.Unlock()
	}()
}

func (a *Agent) start() {
	if err := a.cfg.Worker.Start(a.deadlines()); err != nil {
		a.cfg.Log.Error("the worker cannot be started", "error", err)
		return
	}
	a.cfg.Log.Info("worker started", "epoch", a.holder.epoch)
}

func (a *Agent) extend() {
	if err := a.cfg.Worker.Extend(a.deadlines()); err != nil {
		a.cfg.Log.Warn("the guard does not listen", "error", err)
	}
	// On the lower rungs, say what would have happened.
	if stop, held := a.holder.StopAt(); !a.holder.Bound() && held && a.cfg.Clock.Boot() >= stop && !a.warnedBefore {
		a.warnedBefore = true
		a.would++
		a.cfg.Log.Warn("the lease has ended: an enforced agent would have stopped its workers now", "arming", a.holder.arming, "count", a.would)
	}
}

func (a *Agent) deadlines() Deadlines {
	if !a.holder.Bound() {
		return Deadlines{}
	}
	stop, _ := a.holder.StopAt()
	return Deadlines{Term: stop, Kill: a.holder.KillAt()}
}

// stop begins or goes on stopping. With a lease, SIGKILL comes at its KillAt;
// without one (frozen, gone, clocks jumped), after the grace from now, but
// never later than the lease would have said.
func (a *Agent) stop(now time.Duration) {
	if !a.stopping {
		a.stopKillAt, a.stopping = a.killBy(now), true
		a.cfg.Log.Warn("stopping the workers", "why", a.reason(now), "kill_in", (a.stopKillAt - now).String())
	} else if now < a.stopKillAt {
		return
	}
	if err := a.cfg.Worker.Stop(a.stopKillAt); err != nil {
		a.cfg.Log.Error("the workers could not be told to stop", "error", err)
	}
}

// killBy is when workers that are told to stop now are killed; those that were told
// earlier get no more time.
func (a *Agent) killBy(now time.Duration) time.Duration {
	if a.stopping {
		return a.stopKillAt
	}
	if a.overdue {
		// Nobody knows for how long the lease has been over: no grace.
		a.overdue = false
		return now
	}
	grace := a.cfg.Terms.Stop.Grace.D()
	if g := a.holder.terms.Stop.Grace.D(); g > 0 {
		grace = g
	}
	if a.holder.held && a.holder.Bound() {
		return min(now+grace, a.holder.KillAt())
	}
	return now + grace
}

func (a *Agent) reason(now time.Duration) string {
	switch {
	case a.holder.gone:
		return "another region is active: " + a.holder.sentence
	case a.holder.Frozen() != 0:
		return "the lease is frozen"
	case !a.holder.held:
		return "there is no lease"
	default:
		return fmt.Sprintf("the lease could not be renewed for %s", (now - a.holder.sent).Round(10*time.Millisecond))
	}
}

// shutdown ends the worker and says goodbye.
func (a *Agent) shutdown() error {
	a.mu.Lock()
	deadline := a.killBy(a.cfg.Clock.Boot()) // whoever ends the agent does not lengthen its lease
	a.mu.Unlock()
	if err := a.cfg.Worker.Stop(deadline); err != nil {
		a.cfg.Log.Error("the workers could not be told to stop", "error", err)
	}
	t := time.NewTicker(tick)
	defer t.Stop()
	for a.cfg.Worker.Running() {
		<-t.C
		if _, elsewhere := a.cfg.Worker.(*Served); elsewhere && a.cfg.Clock.Boot() >= deadline {
			// Nothing here keeps them: they end with the leave that they have, and this
			// agent says no goodbye that would speak for them.
			a.cfg.Log.Info("functions may still run for as long as they have leave; the lease runs out by itself")
			return a.cfg.Worker.Close()
		}
		if a.cfg.Clock.Boot() >= deadline {
			if err := a.cfg.Worker.Stop(deadline); err != nil {
				a.cfg.Log.Error("the workers could not be killed", "error", err)
			}
		}
		if a.cfg.Clock.Boot() >= deadline+a.cfg.Terms.Stop.Total()+10*time.Second {
			return errors.New("the workers do not die: look at the host")
		}
	}
	a.mu.Lock()
	a.holder.Forget()
	a.mu.Unlock()
	msg := a.nextAsk()
	msg.Bye = true
	ctx, cancel := context.WithTimeout(context.Background(), a.cfg.RPCTimeout)
	defer cancel()
	if _, err := a.cfg.Asker.Ask(ctx, msg); err != nil {
		a.cfg.Log.Info("the leader could not be told that this agent ends; its lease runs out by itself", "error", err)
	}
	if a.cfg.LeaseFile != "" {
		_ = os.Remove(a.cfg.LeaseFile) // it has expired anyway
	}
	return a.cfg.Worker.Close()
}
