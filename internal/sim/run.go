package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
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
	var died error
	c := newCluster(ctx, rand.New(rand.NewPCG(seed, 8)), mode, log, func(err error) { died = err }) //nolint:gosec // a simulation
	w := c.world
	for _, r := range []string{east1, east2} {
		w.wg.Go(func() { w.reconcile(r) })
	}
	for _, name := range c.names {
		if err := c.boot(ctx, c.hosts[name]); err != nil {
			died = err
		}
	}
	w.wg.Go(func() { c.watchDarkness(ctx) })
	sleep(time.Duration(15+rng.IntN(30)) * time.Second)
	c.schedule(ctx, rng)

	// Everything is healed; then there must be an end, or a question.
	c.net.set(func() {
		clear(c.net.cutSite)
		clear(c.net.cutPair)
		clear(c.net.isolated)
		c.net.loss, c.net.delay = 0, 30*time.Millisecond
	})
	w.mu.Lock()
	clear(w.dead)
	w.late, w.lying = 500*time.Millisecond, 0
	w.mu.Unlock()
	for _, name := range c.names {
		if err := c.boot(ctx, c.hosts[name]); err != nil {
			died = err
		}
	}
	c.awaitEnd()

	final := oracle.Final{At: time.Now(), Diverged: c.diverged()}
	s := c.newest()
	out.End = "quiet"
	if s != nil {
		out.Events = s.Events
		out.Executions = len(s.History)
		if n := len(s.History); n > 0 {
			out.End = string(s.History[n-1].State)
		}
		if e := s.Execution; e != nil {
			out.Executions++
			out.End = "asked"
			if e.Question == nil && e.State != failover.ExecHeld {
				final.Open = fmt.Sprintf("execution %d is %s and asks nothing", e.ID, e.State)
			}
		}
	}
	for _, name := range c.names {
		c.crash(c.hosts[name])
	}
	cancel()
	w.wg.Wait()
	w.mu.Lock()
	final.Traffic = w.traffic
	out.Record = w.record
	w.mu.Unlock()
	out.Virtual = time.Since(began)
	out.Violations = oracle.Judge(out.Record, oracle.Rules{Primary: east1, Hold: c.settings.Policy.Hold.D(), Slack: 4 * time.Second}, final)
	if died != nil && !errors.Is(died, context.Canceled) {
		out.Violations = append(out.Violations, "S10: a node ended: "+died.Error())
	}
	return out
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

// watchDarkness records from when to when the primary could not be reached from
// any vantage outside. It knows the network, not the daemon.
func (c *cluster) watchDarkness(ctx context.Context) {
	dark := false
	for ctx.Err() == nil {
		c.world.mu.Lock()
		dead := c.world.dead[east1]
		c.world.mu.Unlock()
		now := true
		for _, h := range []string{"use2a", "use2b", "third"} {
			if !dead && c.net.open(h, east1) && c.net.open(east1, h) {
				now = false
			}
		}
		if now != dark {
			dark = now
			kind := oracle.Lit
			if dark {
				kind = oracle.Dark
			}
			c.world.note(kind, east1, "", "")
		}
		t := time.NewTimer(200 * time.Millisecond)
		select {
		case <-ctx.Done():
		case <-t.C:
		}
		t.Stop()
	}
}

// schedule plays faults for several minutes.
func (c *cluster) schedule(ctx context.Context, rng *rand.Rand) {
	w := c.world
	fault := func(format string, args ...any) { w.note(oracle.Note, "", "fault", format, args...) }
	// Most runs lose the primary for good, in one way or another, and half of
	// those are left in peace until the hold is over: what follows is what we
	// want to see.
	lose := func() {
		if rng.IntN(2) == 0 {
			fault("cut %s off", east1)
			c.net.set(func() { c.net.cutSite[east1] = true })
			return
		}
		fault("%s loses its power", east1)
		w.mu.Lock()
		w.dead[east1] = true
		w.mu.Unlock()
		c.crash(c.hosts["use1a"])
		c.crash(c.hosts["use1b"])
	}
	lossAt := rng.IntN(6)
	if rng.IntN(6) == 0 {
		lossAt = -1
	}
	for i := range 8 {
		if i == lossAt {
			lose()
			if rng.IntN(3) == 0 {
				// A person does not wait for the hold: the lease is all that is left.
				sleep(time.Duration(rng.IntN(20)) * time.Second)
				c.request(ctx)
			}
			if rng.IntN(2) == 0 {
				sleep(time.Duration(85+rng.IntN(30)) * time.Second)
			}
		}
		c.oneFault(ctx, rng, fault)
		sleep(time.Duration(rng.IntN(60_000)) * time.Millisecond)
	}
}

// oneFault plays one fault, and undoes it after a while if it is a passing one.
func (c *cluster) oneFault(ctx context.Context, rng *rand.Rand, fault func(string, ...any)) {
	w := c.world
	sites := []string{east1, east2, thirdLoc}
	site := sites[rng.IntN(len(sites))]
	name := c.names[rng.IntN(len(c.names))]
	length := time.Duration(1+rng.IntN(100)) * time.Second
	after := func(fn func()) {
		w.wg.Go(func() {
			t := time.NewTimer(length)
			defer t.Stop()
			select {
			case <-t.C:
				fn()
			case <-ctx.Done():
			}
		})
	}
	switch rng.IntN(10) {
	case 0:
		fault("cut %s off for %s", site, length)
		c.net.set(func() { c.net.cutSite[site] = true })
		after(func() { c.net.set(func() { delete(c.net.cutSite, site) }) })
	case 1:
		other := sites[rng.IntN(len(sites))]
		fault("cut %s → %s for %s", site, other, length)
		c.net.set(func() { c.net.cutPair[[2]string{site, other}] = true })
		after(func() { c.net.set(func() { delete(c.net.cutPair, [2]string{site, other}) }) })
	case 2:
		fault("isolate %s for %s", name, length)
		c.net.set(func() { c.net.isolated[name] = true })
		after(func() { c.net.set(func() { delete(c.net.isolated, name) }) })
	case 3, 4:
		h := c.hosts[name]
		if l := c.leader(); l != nil && rng.IntN(2) == 0 {
			h = l
		}
		fault("crash %s for %s", h.id, length)
		c.crash(h)
		after(func() { _ = c.boot(ctx, h) }) // an error shows as a missing node at the end
	case 5:
		fault("20 %% loss and 400 ms delay for %s", length)
		c.net.set(func() { c.net.loss, c.net.delay = 0.2, 400*time.Millisecond })
		after(func() { c.net.set(func() { c.net.loss, c.net.delay = 0, 30*time.Millisecond }) })
	case 6:
		fault("control planes lie and are late for %s", length)
		w.mu.Lock()
		w.late, w.lying = 8*time.Second, 0.3
		w.mu.Unlock()
		after(func() {
			w.mu.Lock()
			w.late, w.lying = 500*time.Millisecond, 0
			w.mu.Unlock()
		})
	case 7:
		fault("internet gone for %s", length)
		c.net.set(func() { c.net.cutSite[internet] = true })
		after(func() { c.net.set(func() { delete(c.net.cutSite, internet) }) })
	default:
		c.operator(ctx, rng)
	}
}

// request is a person who orders a failover, at the first node that takes it.
func (c *cluster) request(ctx context.Context) {
	for _, name := range []string{"use2a", "use2b", "third"} {
		core := c.hosts[name].live()
		if core == nil {
			continue
		}
		octx, cancel := context.WithTimeout(ctx, 5*time.Second)
		_, err := core.Propose(octx, "uid 2", "a person who knows", failover.RequestExecution{Kind: failover.Failover})
		cancel()
		c.world.note(oracle.Asked, "", "operator", "failover: %v", err)
		if err == nil {
			return
		}
	}
}

// operator is a person who presses something, mostly at a bad moment. A person
// attests only what is true: the oracle holds the daemon to its promise, not
// people to theirs.
func (c *cluster) operator(ctx context.Context, rng *rand.Rand) {
	core := c.hosts[c.names[rng.IntN(len(c.names))]].live()
	if core == nil {
		return
	}
	s := core.Node().State()
	var cmd failover.Command
	e := s.Execution
	switch {
	case e == nil && rng.IntN(4) == 0:
		cmd = failover.RequestExecution{Kind: failover.Failover}
	case e == nil:
		return
	default:
		up, _ := c.world.workersUp(east1)
		pick := []failover.Command{
			failover.Approve{Execution: e.ID}, failover.Approve{Execution: e.ID}, failover.Hold{Execution: e.ID},
			failover.Continue{Execution: e.ID}, failover.Abort{Execution: e.ID, Undo: rng.IntN(2) == 0},
		}
		if up == 0 {
			pick = append(pick, failover.Attest{Execution: e.ID, Component: "workers", Epoch: e.Epoch})
		}
		cmd = pick[rng.IntN(len(pick))]
	}
	octx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_, err := core.Propose(octx, fmt.Sprintf("uid %d", rng.IntN(2)), "a person at a bad moment", cmd)
	kind := oracle.Note
	if _, ok := cmd.(failover.RequestExecution); ok {
		kind = oracle.Asked
	}
	c.world.note(kind, "", "operator", "%s: %v", cmd.Name(), err)
}
