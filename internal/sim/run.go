package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/daemon"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// Outcome is what a run gave.
type Outcome struct {
	Seed       uint64
	Violations []string
	Virtual    time.Duration
	Executions int
	End        string // stable, asked, undone, aborted, quiet
	Record     []oracle.Entry
	Events     []failover.Event
	Cells      map[cell]int // faults by the phase in which they were played
}

// History is the run for a reader: the world's record and the log, in time.
func (o Outcome) History() string {
	var b strings.Builder
	i := 0
	for _, e := range o.Record {
		for i < len(o.Events) && o.Events[i].At.Before(e.At) {
			fmt.Fprintf(&b, "%s      log %-16s %s\n", o.Events[i].At.Format("15:04:05.000"), o.Events[i].Kind, o.Events[i].Text)
			i++
		}
		fmt.Fprintln(&b, e)
	}
	for ; i < len(o.Events); i++ {
		fmt.Fprintf(&b, "%s      log %-16s %s\n", o.Events[i].At.Format("15:04:05.000"), o.Events[i].Kind, o.Events[i].Text)
	}
	return b.String()
}

// Run runs one seed. It must be called inside a synctest bubble.
func Run(seed uint64, log *slog.Logger) (out Outcome) {
	out.Seed = seed
	rng := rand.New(rand.NewPCG(seed, 7)) //nolint:gosec // a simulation
	ctx, cancel := context.WithCancel(context.Background())
	began := time.Now()
	mode := failover.ModeAutomatic
	if rng.IntN(5) == 0 {
		mode = failover.ModeSupervised
	}
	var mu sync.Mutex
	var died error
	s0 := settings(mode, rng.IntN(2) == 0)
	if seed%2 == 1 {
		s0 = severalSwitches(s0)
	}
	if seed%4 >= 2 {
		s0 = withDatabase(s0)
	}
	s0.Policy.TwoNodes = seed%3 == 0
	c := clusterThatSees(newClusterOf(ctx, rand.New(rand.NewPCG(seed, 8)), s0, log, func(err error) { //nolint:gosec // a simulation
		mu.Lock()
		defer mu.Unlock()
		died = err
	}))
	w := c.world
	c.begin(ctx)
	sleep(time.Duration(15+rng.IntN(30)) * time.Second)
	c.schedule(ctx, rng, seed)

	// Everything is healed; then there must be an end, or a question.
	c.heal(ctx)
	c.awaitEnd()
	if s := c.newest(); s != nil && rng.IntN(3) > 0 {
		if e := s.Continuable(); e != nil { // a person carries on what another one has ended
			c.press(ctx, "uid 2", failover.Continue{Execution: e.ID, Ended: true})
			c.awaitEnd()
		}
	}
	if s := c.newest(); s != nil && s.Execution == nil && string(s.Active) == east2 && rng.IntN(3) > 0 { // and brings the service home
		c.press(ctx, "uid 2", failover.RequestExecution{Kind: failover.Switchover, Overrides: failover.Overridable()})
		c.awaitEnd()
		if s := c.newest(); s != nil && s.Execution != nil && s.Execution.State == failover.ExecAwaiting {
			c.press(ctx, "uid 3", failover.Approve{Execution: s.Execution.ID, Nonce: s.Execution.Question.Nonce})
			c.awaitEnd()
		}
	}

	s := c.newest()
	out.End = "quiet"
	if s != nil {
		out.Events = s.Events
		out.Executions = len(s.History)
		if n := len(s.History); n > 0 {
			out.End = string(s.History[n-1].State)
		}
		if s.Execution != nil {
			out.Executions++
			out.End = "asked"
		}
	}
	intruders := c.intruders()
	final := c.finish(cancel)
	w.mu.Lock()
	out.Record = w.record
	w.mu.Unlock()
	out.Cells = c.cells
	out.Virtual = time.Since(began)
	out.Violations = append(oracle.Judge(out.Record, c.rules, &final), intruders...)
	mu.Lock()
	defer mu.Unlock()
	if died != nil && !errors.Is(died, context.Canceled) {
		out.Violations = append(out.Violations, "S10: a node ended: "+died.Error())
	}
	return out
}

// end stops every node for good.
func (c *cluster) end() {
	c.over.Store(true)
	for _, name := range c.names {
		c.crash(c.hosts[name])
	}
}

// awaitEnd gives the healed cluster as much time as its longest step, and ends
// early when nothing has been open for a while.
func (c *cluster) awaitEnd() {
	const look, longest, enough = 15 * time.Second, 13 * time.Minute, 3 * time.Minute
	quiet := time.Duration(0)
	for waited := time.Duration(0); waited < longest && quiet < enough; waited += look {
		sleep(look)
		quiet += look
		if s := c.newest(); s == nil || s.Incident != nil || s.Request != nil || s.Execution != nil && s.Execution.Question == nil {
			quiet = 0
		}
	}
}

func sleep(d time.Duration) { time.Sleep(d) } // fake time: a bubble

// watchDarkness records from when to when each region could not be reached from
// any vantage outside. It knows the network, not the daemon. While messages are
// lost a darkness does not end: who looks still sees too little to call it light.
func (c *cluster) watchDarkness(ctx context.Context) {
	dark := map[string]bool{}
	for ctx.Err() == nil {
		if c.world.flipped != nil {
			c.world.trafficNow() // when it moves is noted
		}
		for _, region := range []string{east1, east2} {
			now := c.isDark(region, dark[region])
			if now == dark[region] {
				continue
			}
			dark[region] = now
			kind := oracle.Lit
			if now {
				kind = oracle.Dark
			}
			c.world.note(kind, region, "", "")
		}
		t := time.NewTimer(200 * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

func (c *cluster) isDark(region string, was bool) bool {
	c.world.mu.Lock()
	dead := c.world.dead[region] || c.world.sights.ill[region]
	c.world.mu.Unlock()
	c.net.mu.Lock()
	lossy := c.net.loss > 0
	c.net.mu.Unlock()
	if dead || lossy && was {
		return true
	}
	for _, name := range c.names {
		if c.hosts[name].site != region && c.net.open(name, region) && c.net.open(region, name) {
			return false
		}
	}
	return true
}

// schedule plays faults for several minutes. Each seed aims one fault at one
// phase; what else happens is chance.
func (c *cluster) schedule(ctx context.Context, rng *rand.Rand, seed uint64) {
	target, phase := targetOf(seed)
	if phase != phaseQuiet {
		c.lose(ctx, rng)
		if rng.IntN(4) == 0 {
			// A person does not wait for the hold: the lease is all that is left.
			sleep(time.Duration(rng.IntN(20)) * time.Second)
			c.request(ctx)
		}
	}
	if c.await(ctx, rng, phase, target.calls) {
		if rng.IntN(2) == 0 { // else at once: a phase may be over within a moment
			sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
		}
		c.inject(ctx, rng, target)
	}
	if target.calls && phase != phaseHold && phase != phaseQuiet && (phase != phaseFence && phase != phaseStart || rng.IntN(2) == 0) {
		// What was left comes back, and is stopped again: there is a call to strike.
		sleep(time.Duration(30+rng.IntN(60)) * time.Second)
		c.returns(ctx)
		sleep(time.Minute)
	}
	if phase == phaseQuiet && (target.calls || rng.IntN(4) > 0) {
		sleep(time.Duration(rng.IntN(40)) * time.Second)
		c.lose(ctx, rng)
		if target.calls || rng.IntN(2) == 0 { // left in peace until the hold is over
			sleep(time.Duration(85+rng.IntN(30)) * time.Second)
		}
	}
	for range rng.IntN(6) {
		c.inject(ctx, rng, pick(rng, faults))
		sleep(time.Duration(rng.IntN(60_000)) * time.Millisecond)
	}
}

// lose takes the primary away for good, in one way or another.
func (c *cluster) lose(ctx context.Context, rng *rand.Rand) {
	if rng.IntN(2) == 0 {
		c.world.note(oracle.Note, "", "fault", "%s is cut off for good", east1)
		c.net.set(func() { c.net.cutSite[east1] = true })
		return
	}
	c.world.note(oracle.Note, "", "fault", "%s loses its power for good", east1)
	c.powerOff(east1)
}

// returns ends what lose began.
func (c *cluster) returns(ctx context.Context) {
	c.world.note(oracle.Note, "", "fault", "%s comes back", east1)
	c.net.set(func() { delete(c.net.cutSite, east1) })
	c.powerOn(ctx, east1)
}

// await lets time pass until the run is in the phase; people do what they would
// do on the way. Where calls are to be struck, who aborts does so once the region was
// left: then some follow. It gives up after a while.
func (c *cluster) await(ctx context.Context, rng *rand.Rand, phase string, calls bool) bool {
	end := time.Now().Add(6 * time.Minute)
	when := pick(rng, []string{phaseFence, phaseFence, phaseStart, phaseSwitch, phaseCheck})
	if calls {
		when = pick(rng, []string{phaseSwitch, phaseCheck})
	}
	for time.Now().Before(end) {
		now := c.phase()
		if now == phase {
			return true
		}
		if s := c.newest(); s != nil && s.Execution != nil {
			e := s.Execution
			switch {
			case phase == phaseAbort && now == when:
				c.press(ctx, "uid 3", failover.Abort{Execution: e.ID, Undo: !calls && rng.IntN(2) == 0})
			case e.State == failover.ExecAwaiting && rng.IntN(100) == 0:
				c.press(ctx, "uid 3", failover.Approve{Execution: e.ID})
			}
		}
		sleep(50 * time.Millisecond)
	}
	return false
}

// request is a person who orders a failover, at the first node that takes it.
func (c *cluster) request(ctx context.Context) {
	_, _ = c.press(ctx, "uid 2", failover.RequestExecution{Kind: failover.Failover}) // it may be refused
}

// press gives a person's command to the first node that takes it.
func (c *cluster) press(ctx context.Context, by string, cmd failover.Command) (res failover.Result, err error) {
	err = errors.New("no node answers")
	for _, name := range []string{"use2a", "use2b", "third", "use1a", "use1b"} {
		h := c.hosts[name]
		if h == nil {
			continue // not every cluster has them all
		}
		core := h.live()
		if core == nil {
			continue
		}
		res, err = c.wish(ctx, core, by, "a person who knows", cmd)
		var refused *failover.Refusal
		if err == nil || errors.As(err, &refused) {
			return res, err
		}
	}
	return res, err
}

// operator is a person who presses something, mostly at a bad moment. A person
// attests only what is true: the oracle holds the daemon to its promise, not
// people to theirs. heard says that a leader has taken or refused it.
func (c *cluster) operator(ctx context.Context, rng *rand.Rand) (heard bool) {
	h := c.anyHost(rng)
	if h == nil {
		return false
	}
	core := h.live()
	if core == nil {
		return false
	}
	s := core.Node().State()
	any := []failover.Command{
		failover.PauseAutomation{For: dur(time.Duration(1+rng.IntN(120)) * time.Second)}, failover.ResumeAutomation{},
		failover.RehearseFence{Component: "workers"}, failover.AcceptInventory{Component: "workers"},
		failover.RequestExecution{Kind: failover.Failover, Overrides: failover.Overridable()},
	}
	if s.Level() >= 3 {
		any = append(any, failover.RequestExecution{Kind: failover.Switchover, Overrides: failover.Overridable()})
	}
	if s.Level() >= 3 && s.Execution == nil && string(s.Active) == east2 { // it is away: who is in a hurry wants it home
		for range 3 {
			any = append(any, failover.RequestExecution{Kind: failover.Switchover, Overrides: failover.Overridable()},
				failover.RequestExecution{Kind: failover.Failover, Overrides: failover.Overridable()})
		}
	}
	if s.Settings != nil {
		any = append(any, otherStart(*s.Settings, rng.IntN(1000)))
	}
	if p := s.Preparation; p != nil {
		any = append(any, failover.Abort{Execution: p.ID}, failover.Abort{Execution: p.ID})
	}
	if e := s.Execution; e != nil {
		st := e.Plan.Steps[rng.IntN(len(e.Plan.Steps))]
		step, retry := st.ID, failover.Retry{Execution: e.ID, Step: st.ID}
		if e.Step(step).State != failover.StepRunning { // the oracle takes an order to try again for the end of what was asked
			retry.Allow = st.Overrides
		}
		any = append(any, failover.Approve{Execution: e.ID}, failover.Approve{Execution: e.ID}, failover.Hold{Execution: e.ID},
			failover.Continue{Execution: e.ID}, failover.Abort{Execution: e.ID, Undo: rng.IntN(2) == 0},
			retry, failover.Skip{Execution: e.ID, Step: step}, failover.DeclareStable{Execution: e.ID})
		if up, _ := c.world.workersUp(east1); up == 0 {
			any = append(any, failover.Attest{Execution: e.ID, Component: "workers", Epoch: e.Epoch})
		}
	}
	if n := len(s.History); s.Execution == nil && n > 0 {
		carryOn := failover.Continue{Execution: s.History[n-1].ID, Ended: true}
		any = append(any, carryOn, carryOn)
	}
	cmd := pick(rng, any)
	_, err := c.wish(ctx, core, fmt.Sprintf("uid %d", rng.IntN(2)), "a person at a bad moment", cmd)
	c.world.note(oracle.Note, "", "operator", "%s: %v", cmd.Name(), err)
	if _, applied := cmd.(failover.ProposeSettings); applied && err == nil {
		c.world.wg.Go(func() { c.acknowledge(ctx) })
	}
	var refused *failover.Refusal
	return err == nil || errors.As(err, &refused)
}

// otherStart is a configuration that starts the workers in another way.
func otherStart(settings failover.Settings, n int) failover.ProposeSettings {
	settings.Components = slices.Clone(settings.Components)
	start := *settings.Components[0].Start
	params := json.RawMessage(fmt.Sprintf(`{"n":%d}`, n))
	start.Params = map[failover.Region]json.RawMessage{east1: params, east2: params}
	settings.Components[0].Start = &start
	hash := fmt.Sprintf("other-%d", n)
	return failover.ProposeSettings{Settings: settings, Hash: hash, Source: hash}
}

// acknowledge lets every node that runs say that it can run the configuration which
// is being rolled out, as the daemon does that has read its text, until all have.
func (c *cluster) acknowledge(ctx context.Context) {
	for ctx.Err() == nil && !c.over.Load() {
		for _, name := range c.names {
			core := c.hosts[name].live()
			if core == nil {
				continue
			}
			s := core.Node().State()
			p := s.Proposal
			if p == nil {
				continue
			}
			if _, done := p.Acks[failover.NodeID(name)]; done {
				continue
			}
			actx, cancel := context.WithTimeout(ctx, 5*time.Second)
			_, _ = core.Propose(actx, "node "+name, "", failover.AckSettings{Proposal: p.ID, Hash: p.Hash})
			cancel()
		}
		if s := c.newest(); s != nil && s.Proposal == nil {
			return
		}
		t := time.NewTimer(time.Second)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// wish gives a person's command to a node. The record has an order before it is
// given: what it leads to may come before its answer.
func (c *cluster) wish(ctx context.Context, core *daemon.Core, by, why string, cmd failover.Command) (failover.Result, error) {
	_, orders := cmd.(failover.RequestExecution)
	if orders {
		c.world.note(oracle.Asked, "", "operator", "%s, by %s", cmd.Name(), by)
	}
	octx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	res, err := core.Propose(octx, by, why, cmd)
	var refused *failover.Refusal
	for _, name := range c.names { // the same command on another node, where two are wanted
		if !errors.As(err, &refused) || refused.Guard != failover.GuardTwoNodes {
			break
		}
		if other := c.hosts[name].live(); other != nil && other != core {
			res, err = other.Propose(octx, by, why, cmd)
		}
	}
	if orders && errors.As(err, &refused) {
		c.world.note(oracle.Refused, "", "operator", "%s", refused.Text)
	}
	return res, err
}
