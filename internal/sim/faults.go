package sim

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// A fault is something that goes wrong for a while. It says what it does, and
// returns how to end it; nil for what does not pass by itself. "" says that there
// was nothing to be done wrong: it is not counted.
type fault struct {
	name string
	play func(ctx context.Context, c *cluster, rng *rand.Rand) (what string, end func())
	// calls says that it is one of the control planes': it counts when it has struck
	// a call, and lasts until then.
	calls bool
}

// faults is the catalogue. The table that a run prints has a row for each.
var faults = []fault{
	{name: "cut-site", play: func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		site := pick(rng, sites)
		if c.net.cut(site) {
			return "", nil
		}
		c.net.set(func() { c.net.cutSite[site] = true })
		return site, func() { c.net.set(func() { delete(c.net.cutSite, site) }) }
	}},
	{name: "cut-one-way", play: func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		a, b := c.openPair(rng)
		if a == "" {
			return "", nil
		}
		c.net.set(func() { c.net.cutPair[[2]string{a, b}] = true })
		return a + " → " + b, func() { c.net.set(func() { delete(c.net.cutPair, [2]string{a, b}) }) }
	}},
	{name: "cut-pair", play: func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		a, b := c.openPair(rng)
		if a == "" {
			return "", nil
		}
		c.net.set(func() { c.net.cutPair[[2]string{a, b}], c.net.cutPair[[2]string{b, a}] = true, true })
		return a + " ↔ " + b, func() {
			c.net.set(func() { delete(c.net.cutPair, [2]string{a, b}); delete(c.net.cutPair, [2]string{b, a}) })
		}
	}},
	{name: "isolate-node", play: func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		h := c.anyHost(rng)
		if h == nil {
			return "", nil
		}
		c.net.set(func() { c.net.isolated[h.id] = true })
		return h.id, func() { c.net.set(func() { delete(c.net.isolated, h.id) }) }
	}},
	{name: "crash-node", play: func(ctx context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		h := c.anyHost(rng)
		if h == nil {
			return "", nil
		}
		c.crash(h)
		return h.id, func() { c.start(ctx, h) }
	}},
	{name: "lose-disk", play: func(ctx context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		// The machine comes back empty under its old name. It asks the others before
		// its raft starts, as the daemon does, and must be refused whenever one of them
		// answers; its service manager tries again for ever.
		h := c.anyHost(rng)
		if h == nil || !c.mayLose() {
			return "", nil
		}
		c.emptied(h)
		return h.id, func() { c.start(ctx, h) }
	}},
	{name: "disk-hang", play: func(ctx context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		h := c.anyHost(rng)
		if h == nil || h.disk.hangs() {
			return "", nil
		}
		release := h.disk.hang()
		return h.id, func() { release(); c.start(ctx, h) }
	}},
	{name: "pause-process", play: func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		h := c.anyHost(rng)
		if h == nil || c.net.stands(h.id) != nil {
			return "", nil
		}
		return h.id, c.net.pause(h.id)
	}},
	{name: "slow-clocks", play: func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		// Workers that start from now on count as slowly as the protocol allows.
		region := c.withAgents(rng)
		if region == "" {
			return "", nil
		}
		c.world.set(func() { c.world.slowest = true })
		c.world.restartAgents(region)
		return region + ", whose agents start anew", func() { c.world.set(func() { c.world.slowest = false }) }
	}},
	{name: "loss-and-delay", play: func(_ context.Context, c *cluster, _ *rand.Rand) (string, func()) {
		return c.lossy("20 %, 400 ms", &c.net.loss, 0.2, 400*time.Millisecond)
	}},
	{name: "lost-replies", play: func(_ context.Context, c *cluster, _ *rand.Rand) (string, func()) {
		return c.lossy("30 %", &c.net.noReply, 0.3, 0)
	}},
	{name: doneButFailed, calls: true, play: func(_ context.Context, c *cluster, _ *rand.Rand) (string, func()) {
		c.world.set(func() { c.world.late, c.world.lying = 8*time.Second, 0.4 })
		return "the next call, and 40 % of the others", func() { c.world.set(func() { c.world.late, c.world.lying = 500*time.Millisecond, 0 }) }
	}},
	{name: doneButLater, calls: true, play: func(_ context.Context, c *cluster, _ *rand.Rand) (string, func()) {
		c.world.set(func() { c.world.early = 0.5 })
		return "the next call, and half of the others", func() { c.world.set(func() { c.world.early = 0 }) }
	}},
	{name: doneTwice, calls: true, play: func(_ context.Context, c *cluster, _ *rand.Rand) (string, func()) {
		c.world.set(func() { c.world.twice = 0.5 })
		return "the next call, and half of the others", func() { c.world.set(func() { c.world.twice = 0 }) }
	}},
	{name: "blind", play: func(_ context.Context, c *cluster, _ *rand.Rand) (string, func()) {
		if c.net.cut(internet) {
			return "", nil
		}
		c.net.set(func() { c.net.cutSite[internet] = true })
		return "the references are gone", func() { c.net.set(func() { delete(c.net.cutSite, internet) }) }
	}},
	{name: "region-dies", play: func(ctx context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		region := pick(rng, []string{east1, east1, east2})
		if c.isOff(region) {
			region = east2
		}
		if c.isOff(region) {
			return "", nil
		}
		c.powerOff(region)
		return region, func() { c.powerOn(ctx, region) }
	}},
	{name: "agents-stuck", play: func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		region := c.withAgents(rng)
		if region == "" {
			return "", nil
		}
		return region, c.world.stick(region)
	}},
	{name: "agents-restart", play: func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		region := c.withAgents(rng)
		if region == "" {
			return "", nil
		}
		c.world.restartAgents(region)
		return region, func() {}
	}},
	{name: "stubborn-workers", play: func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		if c.withAgents(rng) == "" {
			return "", nil
		}
		c.world.set(func() { c.world.stubborn = true })
		return "SIGTERM is ignored", func() { c.world.set(func() { c.world.stubborn = false }) }
	}},
	{name: "operator", play: func(ctx context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		first, second := c.operator(ctx, rng), c.operator(ctx, rng)
		if !first && !second {
			return "", nil // nobody heard it
		}
		return "presses what there is", func() {}
	}},
}

// What control planes may do to a call.
const (
	doneButFailed = "done-but-failed"
	doneButLater  = "done-but-later"
	doneTwice     = "done-twice"
)

var sites = []string{east1, east2, thirdLoc}

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

// openPair is two sites between which messages pass now; "" if there are none.
func (c *cluster) openPair(rng *rand.Rand) (a, b string) {
	var open [][2]string
	for _, a := range sites {
		for _, b := range sites {
			if a != b && c.net.open(a, b) {
				open = append(open, [2]string{a, b})
			}
		}
	}
	if len(open) == 0 {
		return "", ""
	}
	p := pick(rng, open)
	return p[0], p[1]
}

// withAgents is a region in which agents run, mostly the primary; "" if none do.
func (c *cluster) withAgents(rng *rand.Rand) string {
	for _, region := range []string{pick(rng, []string{east1, east1, east2}), east1, east2} {
		if _, total := c.world.workersUp(region); total > 0 && !c.isOff(region) {
			return region
		}
	}
	return ""
}

// lossy sets a share of what the network loses, unless it loses that already.
func (c *cluster) lossy(what string, share *float64, to float64, delay time.Duration) (string, func()) {
	was := to
	c.net.set(func() {
		was, *share = *share, to
		c.net.delay = max(c.net.delay, delay)
	})
	if was > 0 {
		return "", nil
	}
	return what, func() {
		c.net.set(func() {
			*share = 0
			if delay > 0 {
				c.net.delay = 30 * time.Millisecond
			}
		})
	}
}

func (c *cluster) isOff(region string) bool {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	return c.world.dead[region]
}

// The phases of a run, as the log of the newest node tells them.
const (
	phaseQuiet  = "quiet"
	phaseHold   = "hold"
	phaseFence  = "fence"
	phaseStart  = "start"
	phaseSwitch = "switch"
	phaseCheck  = "check"
	phaseAbort  = "abort"
	phaseAfter  = "after"
)

var phases = []string{phaseQuiet, phaseHold, phaseFence, phaseStart, phaseSwitch, phaseCheck, phaseAbort, phaseAfter}

func (c *cluster) phase() string {
	s := c.newest()
	if s == nil {
		return phaseQuiet
	}
	e := s.Execution
	switch {
	case e == nil && len(s.History) > 0:
		return phaseAfter
	case e == nil && s.Suspicion != nil && (s.Suspicion.Condition == failover.RegionDown || s.Incident != nil):
		return phaseHold
	case e == nil:
		return phaseQuiet
	case e.State == failover.ExecAborting:
		return phaseAbort
	case e.State == failover.ExecAwaiting:
		return phaseHold
	case s.Epoch == e.Epoch:
		return phaseFence
	}
	switch e.Step("switch-switch").State {
	case failover.StepPending:
		return phaseStart
	case failover.StepRunning:
		return phaseSwitch
	}
	return phaseCheck
}

// cell is one fault in one phase.
type cell struct{ fault, phase string }

func (c cell) String() string { return c.fault + " × " + c.phase }

// targetOf is the cell that a seed aims at; seeds walk through all of them.
func targetOf(seed uint64) (fault, string) {
	i := seed % uint64(len(faults)*len(phases))
	return faults[i%uint64(len(faults))], phases[i/uint64(len(faults))]
}

// inject plays a fault now, notes in which phase, and ends it after a while. It
// counts if it took effect.
func (c *cluster) inject(ctx context.Context, rng *rand.Rand, f fault) {
	at := cell{f.name, c.phase()}
	length := time.Duration(1+rng.IntN(100)) * time.Second
	before := c.world.aim(f)
	what, end := f.play(ctx, c, rng)
	if what == "" {
		return
	}
	c.world.note(oracle.Note, "", "fault", "%s: %s, for %s, in phase %s", f.name, what, length, at.phase)
	struck := func() bool { return !f.calls || c.world.hits(f.name) > before }
	c.mu.Lock()
	c.ending = append(c.ending, func() {
		if struck() {
			c.mu.Lock()
			c.cells[at]++
			c.mu.Unlock()
		}
		if end != nil {
			end()
		}
	})
	i := len(c.ending) - 1
	c.mu.Unlock()
	c.world.wg.Go(func() {
		for wait := length; ; wait = time.Second {
			t := time.NewTimer(wait)
			select {
			case <-t.C:
			case <-ctx.Done():
			}
			t.Stop()
			if ctx.Err() != nil || c.ended(i) {
				return
			}
			if struck() {
				c.endFault(i)
				return
			}
		}
	})
}

func (c *cluster) ended(i int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ending[i] == nil
}

// endFault ends one fault, once.
func (c *cluster) endFault(i int) {
	c.mu.Lock()
	end := c.ending[i]
	c.ending[i] = nil
	c.mu.Unlock()
	if end != nil {
		end()
	}
}

// heal ends everything that has not ended by itself.
func (c *cluster) heal(ctx context.Context) {
	c.mu.Lock()
	n := len(c.ending)
	c.mu.Unlock()
	for i := range n {
		c.endFault(i)
	}
	c.world.set(func() { clear(c.world.aimed) })
	c.net.set(func() {
		clear(c.net.cutSite)
		clear(c.net.cutPair)
		clear(c.net.isolated)
		clear(c.net.apart)
		clear(c.net.voteless)
		c.net.loss, c.net.delay, c.net.noReply = 0, 30*time.Millisecond, 0
	})
	for _, r := range []string{east1, east2} {
		c.powerOn(ctx, r)
	}
	for _, name := range c.names {
		c.start(ctx, c.hosts[name])
	}
	c.world.note(oracle.Healed, "", "", "")
}

// powerOff ends everything in a region; its nodes with it.
func (c *cluster) powerOff(region string) {
	c.world.set(func() { c.world.dead[region] = true })
	for _, name := range c.names {
		if h := c.hosts[name]; h.site == region {
			c.crash(h)
		}
	}
}

func (c *cluster) powerOn(ctx context.Context, region string) {
	c.world.set(func() { delete(c.world.dead, region) })
	for _, name := range c.names {
		if h := c.hosts[name]; h.site == region {
			c.start(ctx, h)
		}
	}
}

// start starts a host's process unless its machine is off or its disk hangs: then
// something else will.
func (c *cluster) start(ctx context.Context, h *host) {
	if c.isOff(h.site) || h.off.Load() || h.disk.hangs() || c.over.Load() {
		return
	}
	err := c.boot(ctx, h)
	switch {
	case errors.Is(err, errRefused) && h.lost.Load():
		c.world.note(oracle.Note, "", "node", "%s does not start: %v", h.id, err)
		c.world.wg.Go(func() { // its service manager tries again
			t := time.NewTimer(10 * time.Second)
			defer t.Stop()
			select {
			case <-t.C:
				c.start(ctx, h)
			case <-ctx.Done():
			}
		})
	case err != nil && ctx.Err() == nil:
		c.fatal(fmt.Errorf("%s does not start: %w", h.id, err))
	}
	if c.isOff(h.site) || c.over.Load() { // meanwhile
		c.crash(h)
	}
}

// mayLose reports whether a majority is left if one more node is lost for ever.
func (c *cluster) mayLose() bool {
	return !slices.ContainsFunc(c.names, func(name string) bool { return c.hosts[name].lost.Load() })
}

// intruders names nodes with a replaced disk that take part all the same.
func (c *cluster) intruders() (out []string) {
	for _, name := range c.names {
		h := c.hosts[name]
		if core := h.live(); h.lost.Load() && core != nil && core.Node().State().Index > 0 {
			out = append(out, "T3: "+name+" takes part with a disk that has forgotten its votes")
		}
	}
	return out
}

// anyHost is a node that runs, half of the time the one that leads; nil if none
// runs.
func (c *cluster) anyHost(rng *rand.Rand) *host {
	if l := c.leader(); l != nil && rng.IntN(2) == 0 {
		return l
	}
	var up []*host
	for _, name := range c.names {
		if h := c.hosts[name]; h.live() != nil && !h.lost.Load() {
			up = append(up, h)
		}
	}
	if len(up) == 0 {
		return nil
	}
	return pick(rng, up)
}
