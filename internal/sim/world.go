package sim

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// world is what the daemon acts on: a fleet of workers in each region, each
// behind a real fence.Agent, and a weighted record with a token. It keeps the
// record that the oracle reads.
type world struct {
	mu      sync.Mutex
	rng     *rand.Rand
	net     *network
	record  []oracle.Entry
	desired map[string]int       // by pool: of workers, the region
	since   map[string]time.Time // when a pool was scaled up last
	fleet   map[string][]*task
	levers  map[string]*lever    // what clients follow, by kind of switch
	data    map[string]*database // by pool: what workers write into
	flipped func() bool          // whether nodes enough say that the gate has moved clients; nil: no gate
	gating  sync.Mutex           // held while that is asked
	gated   bool                 // what it said last
	dead    map[string]bool      // the region's machines are off
	sights  sights
	serial  int
	calls   int // that were sent
	// Faults of the control planes: effects may be late, replies lost, errors
	// returned although the effect takes place.
	late   time.Duration
	undoes time.Duration // how long an undo takes at least
	lying  float64
	twice  float64                  // effects that take place a second time, later
	early  float64                  // calls that report success long before the effect
	aimed  map[string]bool          // faults that strike the next call
	struck map[string]int           // how often each has struck one
	parks  map[string]chan struct{} // by kind: the next call is held on its way until this is closed
	// Faults of agents and workers.
	keeps    bool                     // agents are configured not to stop their workers
	stubborn bool                     // workers ignore SIGTERM
	stuck    map[string]chan struct{} // region → closed when its agents go on
	slowest  bool                     // agents' clocks run as slow as they may
	epochs   string                   // directory where agents keep the epoch that they have seen; "": nowhere
	units    bool                     // workers are systemd units, which their service manager ends with their agents

	ctx   context.Context // of the world itself
	wg    sync.WaitGroup
	terms failover.LeaseTerms
	ask   func(ctx context.Context, site string, a fence.Ask) (fence.Answer, error)
	log   *slog.Logger
	seam  seam // nil but where a test aims at points
}

type task struct {
	id     string
	slot   int // of the machine that it runs on
	cancel context.CancelFunc
	worker *process
	done   chan struct{}
}

func (w *world) set(fn func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	fn()
}

// park holds the next call of a kind on its way until it is released.
func (w *world) park(kind string) (release func()) {
	held := make(chan struct{})
	w.set(func() { w.parks[kind] = held })
	return func() { close(held) }
}

// takePark is what holds a call of the kind; nil: nothing does. The caller holds the lock.
func (w *world) takePark(kind string) chan struct{} {
	held := w.parks[kind]
	delete(w.parks, kind)
	return held
}

// underWay waits until a call arrives, and reports whether it does.
func (w *world) underWay(d time.Duration, parked <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-w.ctx.Done():
		return false
	}
	if parked == nil {
		return true
	}
	select {
	case <-parked:
		return true
	case <-w.ctx.Done():
		return false
	}
}

// restartAgents kills the agents of a region: their workers die with them, and
// the scheduler starts others.
func (w *world) restartAgents(region string) {
	w.mu.Lock()
	fleet := append([]*task{}, w.fleet[region]...)
	w.mu.Unlock()
	for _, tk := range fleet {
		w.restart(region, tk)
	}
}

// restart does it to one.
func (w *world) restart(region string, tk *task) {
	w.wg.Go(func() {
		tk.worker.die() // its guard sees the end of its standard input
		tk.cancel()
		<-tk.done
		w.mu.Lock()
		defer w.mu.Unlock()
		w.fleet[region] = slices.DeleteFunc(w.fleet[region], func(other *task) bool { return other == tk })
	})
}

func (w *world) note(kind oracle.Kind, region, who, format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.noteLocked(kind, region, who, format, args...)
}

func (w *world) noteLocked(kind oracle.Kind, region, who, format string, args ...any) {
	w.add(oracle.Entry{Kind: kind, Region: region, Who: who, Detail: fmt.Sprintf(format, args...)})
}

// add keeps a line of the record; the caller holds the lock.
func (w *world) add(e oracle.Entry) {
	e.At = time.Now()
	w.record = append(w.record, e)
}

// slowestRate is that of the slowest clock which the lease protocol allows for,
// with the error of the leader's as well.
const slowestRate = 0.9802

// bubbleClock is the clock of agents in the bubble. Its rate differs from true
// time by no more than what the lease protocol allows for both clocks together:
// the leader's cannot be bent here.
type bubbleClock struct {
	start time.Time
	rate  float64
}

func (c bubbleClock) Boot() time.Duration {
	return time.Duration(float64(time.Since(c.start))*c.rate) + time.Hour
}
func (c bubbleClock) Real() time.Time { return c.start.Add(c.Boot()) }

// until is how much true time passes before the clock shows at.
func (c bubbleClock) until(at time.Duration) time.Duration {
	return time.Duration(float64(at-c.Boot())/c.rate) + 1
}

// process is a simulated worker with its guard: it dies at its kill deadline
// whatever its agent does.
type process struct {
	w      *world
	region string
	id     string
	clock  bubbleClock

	// Of a systemd unit: how long its service manager waits to be fed before it
	// ends the agent, and the unit with it. Zero: a child with a guard of its own.
	watchdog time.Duration
	fed      time.Time

	mu      sync.Mutex
	running bool
	killAt  time.Duration
	wake    chan struct{}
	exited  chan int
}

func (p *process) Start(d fence.Deadlines) error {
	p.mu.Lock()
	p.running, p.killAt, p.fed = true, d.Kill, time.Now()
	p.mu.Unlock()
	p.w.note(oracle.WorkerUp, p.region, p.id, "")
	p.w.wg.Go(p.guard)
	return nil
}

func (p *process) guard() {
	for {
		p.w.mu.Lock()
		stuck, grace := p.watchdog > 0 && p.w.stuck[p.region] != nil, time.Second
		if p.w.stubborn {
			grace = p.w.terms.Stop.Grace.D()
		}
		p.w.mu.Unlock()
		p.mu.Lock()
		if !p.running {
			p.mu.Unlock()
			return
		}
		left := time.Hour
		if p.killAt > 0 && !stuck { // a unit's guard stands still with its agent
			left = p.clock.until(p.killAt)
		}
		if p.watchdog > 0 { // the unit is told to stop, and killed after its grace
			left = min(left, time.Until(p.fed.Add(p.watchdog+grace)))
		}
		p.mu.Unlock()
		if left <= 0 {
			p.die()
			return
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-p.wake:
		case <-p.w.ctx.Done():
			p.die()
		}
		t.Stop()
	}
}

func (p *process) die() {
	p.mu.Lock()
	was := p.running
	p.running = false
	p.mu.Unlock()
	if was {
		p.w.note(oracle.WorkerDown, p.region, p.id, "")
	}
}

// feed is what the agent tells the service manager.
func (p *process) feed() {
	p.w.agentsGoOn(p.region)
	p.mu.Lock()
	p.fed = time.Now()
	p.mu.Unlock()
	p.poke()
}

func (p *process) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

func (p *process) Extend(d fence.Deadlines) error {
	p.w.agentsGoOn(p.region)
	p.mu.Lock()
	p.killAt = d.Kill
	p.mu.Unlock()
	p.poke()
	return nil
}

// Stop lets the worker end between now and the deadline, as workers do.
func (p *process) Stop(killAt time.Duration) error {
	p.w.agentsGoOn(p.region)
	p.w.mu.Lock()
	stubborn := p.w.stubborn
	p.w.mu.Unlock()
	p.mu.Lock()
	soon := p.clock.Boot() + time.Second
	if killAt < soon || stubborn {
		soon = killAt
	}
	p.killAt = max(soon, 1)
	p.mu.Unlock()
	p.poke()
	return nil
}

func (p *process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.running
}

func (p *process) Exited() <-chan int { return p.exited }
func (p *process) Close() error       { return nil }

// agentsGoOn waits while the region's agents are stuck. Their guards are not.
func (w *world) agentsGoOn(region string) {
	for {
		w.mu.Lock()
		ch := w.stuck[region]
		w.mu.Unlock()
		if ch == nil {
			return
		}
		<-ch
	}
}

// stick makes the agents of a region stand still until they are let go.
func (w *world) stick(region string) (release func()) {
	ch := make(chan struct{})
	w.mu.Lock()
	w.stuck[region] = ch
	w.mu.Unlock()
	return func() {
		w.mu.Lock()
		if w.stuck[region] == ch {
			delete(w.stuck, region)
		}
		w.mu.Unlock()
		close(ch)
	}
}

// askerFunc adapts the world's way to the nodes.
type askerFunc func(ctx context.Context, a fence.Ask) (fence.Answer, error)

func (f askerFunc) Ask(ctx context.Context, a fence.Ask) (fence.Answer, error) { return f(ctx, a) }

// reconcile is the scheduler of a region: it brings the fleet to the desired
// count, with the delays of real ones.
func (w *world) reconcile(region string) {
	for w.ctx.Err() == nil {
		w.mu.Lock()
		want := w.desired[region]
		if w.dead[region] {
			want = 0
		}
		fleet := w.fleet[region]
		var add, drop int
		if len(fleet) < want {
			add = want - len(fleet)
		} else {
			drop = len(fleet) - want
		}
		dead := w.dead[region]
		w.mu.Unlock()
		for range add {
			w.launch(region)
		}
		for range drop {
			w.retire(region, dead)
		}
		t := time.NewTimer(time.Second)
		select {
		case <-w.ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

func (w *world) launch(region string) {
	w.mu.Lock()
	w.serial++
	id := "worker-" + region + "-" + strconv.Itoa(w.serial)
	ctx, cancel := context.WithCancel(w.ctx)
	// ±1 % each for holder and granter: the holder's alone is bent by both.
	clock := bubbleClock{start: bubbleStart, rate: 0.9802 + 0.0399*w.rng.Float64()}
	if w.slowest {
		clock.rate = slowestRate
	}
	p := &process{w: w, region: region, id: id, clock: clock, wake: make(chan struct{}, 1), exited: make(chan int)}
	slot := 0
	for slices.ContainsFunc(w.fleet[region], func(other *task) bool { return other.slot == slot }) {
		slot++
	}
	tk := &task{id: id, slot: slot, cancel: cancel, worker: p, done: make(chan struct{})}
	w.fleet[region] = append(w.fleet[region], tk)
	serial := 0
	isolation := "stop"
	if w.keeps {
		isolation = "keep"
	}
	epoch := ""
	if w.epochs != "" {
		epoch = filepath.Join(w.epochs, region+"-"+strconv.Itoa(slot))
	}
	if w.units {
		p.watchdog = w.terms.Stop.Watchdog.D()
	}
	w.mu.Unlock()
	agent, err := fence.NewAgent(fence.Config{
		Agent: failover.AgentID(id), Region: failover.Region(region), Component: "workers", Terms: w.terms,
		Arming: failover.ArmEnforced, OnIsolation: isolation, RPCTimeout: 4 * time.Second, EpochFile: epoch,
		Asker: askerFunc(func(ctx context.Context, a fence.Ask) (fence.Answer, error) {
			w.agentsGoOn(region)
			return w.ask(ctx, region, a)
		}),
		Watchdog: p.watchdog, Feed: p.feed,
		Worker: p, Clock: clock, NewID: func() string { serial++; return id + "/" + strconv.Itoa(serial) }, Log: w.log,
	})
	if err != nil {
		panic(err) // no file is damaged
	}
	w.wg.Go(func() {
		defer close(tk.done)
		_ = agent.Run(ctx) // it ends with its context
	})
}

// retire ends one task: in good order, or by cutting the power.
func (w *world) retire(region string, power bool) {
	w.mu.Lock()
	fleet := w.fleet[region]
	if len(fleet) == 0 {
		w.mu.Unlock()
		return
	}
	tk := fleet[len(fleet)-1]
	w.mu.Unlock()
	if power {
		tk.worker.die()
	}
	tk.cancel()
	<-tk.done
	w.mu.Lock()
	defer w.mu.Unlock()
	// A task is counted until it is dead, as a control plane does.
	w.fleet[region] = slices.DeleteFunc(w.fleet[region], func(other *task) bool { return other == tk })
}

// trafficNow is where clients are sent: to the secondary region as soon as one
// lever says so.
func (w *world) trafficNow() string {
	w.gating.Lock()
	defer w.gating.Unlock()
	gates := w.flipped != nil && w.flipped()
	w.mu.Lock()
	defer w.mu.Unlock()
	if gates != w.gated {
		e := oracle.Entry{Kind: oracle.Flip, Region: east1, What: oracle.Gates, Detail: "too few nodes speak for them: "}
		if gates {
			e.Region, e.Detail = east2, "enough nodes say so: "
		}
		w.add(e)
	}
	w.gated = gates
	if gates {
		return east2
	}
	for _, l := range w.levers {
		if l.traffic == east2 {
			return east2
		}
	}
	return east1
}

func (w *world) workersUp(region string) (up, total int) {
	w.mu.Lock()
	fleet := append([]*task{}, w.fleet[region]...)
	w.mu.Unlock()
	for _, tk := range fleet {
		if tk.worker.Running() {
			up++
		}
	}
	return up, len(fleet)
}
