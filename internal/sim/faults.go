package sim

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// A fault is something that goes wrong for a while. It says what it does, and
// returns how to end it; nil for what does not pass by itself.
type fault struct {
	name string
	play func(ctx context.Context, c *cluster, rng *rand.Rand) (what string, end func())
}

// faults is the catalogue. The table that a run prints has a row for each.
var faults = []fault{
	{"cut-site", func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		site := pick(rng, sites)
		c.net.set(func() { c.net.cutSite[site] = true })
		return site, func() { c.net.set(func() { delete(c.net.cutSite, site) }) }
	}},
	{"cut-one-way", func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		pair := [2]string{pick(rng, sites), pick(rng, sites)}
		c.net.set(func() { c.net.cutPair[pair] = true })
		return pair[0] + " → " + pair[1], func() { c.net.set(func() { delete(c.net.cutPair, pair) }) }
	}},
	{"cut-pair", func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		a, b := pick(rng, sites), pick(rng, sites)
		c.net.set(func() { c.net.cutPair[[2]string{a, b}], c.net.cutPair[[2]string{b, a}] = true, true })
		return a + " ↔ " + b, func() {
			c.net.set(func() { delete(c.net.cutPair, [2]string{a, b}); delete(c.net.cutPair, [2]string{b, a}) })
		}
	}},
	{"isolate-node", func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		h := c.anyHost(rng)
		c.net.set(func() { c.net.isolated[h.id] = true })
		return h.id, func() { c.net.set(func() { delete(c.net.isolated, h.id) }) }
	}},
	{"crash-node", func(ctx context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		h := c.anyHost(rng)
		c.crash(h)
		return h.id, func() { c.start(ctx, h) }
	}},
	{"lose-disk", func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		// The machine comes back empty under its old name, and is refused: it stays
		// out for the rest of the run.
		h := c.anyHost(rng)
		if !c.mayLose(h) {
			return h.id + " spared: the quorum hangs on it", nil
		}
		c.crash(h)
		h.lost = true
		return h.id, nil
	}},
	{"disk-hang", func(ctx context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		h := c.anyHost(rng)
		release := h.disk.hang()
		return h.id, func() { release(); c.start(ctx, h) }
	}},
	{"pause-process", func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		h := c.anyHost(rng)
		return h.id, c.net.pause(h.id)
	}},
	{"slow-clocks", func(_ context.Context, c *cluster, _ *rand.Rand) (string, func()) {
		// Workers that start from now on count as slowly as the protocol allows.
		c.world.set(func() { c.world.slowest = true })
		return "of the workers", func() { c.world.set(func() { c.world.slowest = false }) }
	}},
	{"loss-and-delay", func(_ context.Context, c *cluster, _ *rand.Rand) (string, func()) {
		c.net.set(func() { c.net.loss, c.net.delay = 0.2, 400*time.Millisecond })
		return "20 %, 400 ms", func() { c.net.set(func() { c.net.loss, c.net.delay = 0, 30*time.Millisecond }) }
	}},
	{"lost-replies", func(_ context.Context, c *cluster, _ *rand.Rand) (string, func()) {
		c.net.set(func() { c.net.noReply = 0.3 })
		return "30 %", func() { c.net.set(func() { c.net.noReply = 0 }) }
	}},
	{"done-but-failed", func(_ context.Context, c *cluster, _ *rand.Rand) (string, func()) {
		c.world.set(func() { c.world.late, c.world.lying = 8*time.Second, 0.4 })
		return "40 % of the calls", func() { c.world.set(func() { c.world.late, c.world.lying = 500*time.Millisecond, 0 }) }
	}},
	{"done-but-later", func(_ context.Context, c *cluster, _ *rand.Rand) (string, func()) {
		c.world.set(func() { c.world.early = 0.5 })
		return "50 % of the calls", func() { c.world.set(func() { c.world.early = 0 }) }
	}},
	{"done-twice", func(_ context.Context, c *cluster, _ *rand.Rand) (string, func()) {
		c.world.set(func() { c.world.twice = 0.5 })
		return "50 % of the calls", func() { c.world.set(func() { c.world.twice = 0 }) }
	}},
	{"blind", func(_ context.Context, c *cluster, _ *rand.Rand) (string, func()) {
		c.net.set(func() { c.net.cutSite[internet] = true })
		return "the references are gone", func() { c.net.set(func() { delete(c.net.cutSite, internet) }) }
	}},
	{"region-dies", func(ctx context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		region := pick(rng, []string{east1, east1, east2})
		c.powerOff(region)
		return region, func() { c.powerOn(ctx, region) }
	}},
	{"agents-stuck", func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		region := pick(rng, []string{east1, east1, east2})
		return region, c.world.stick(region)
	}},
	{"agents-restart", func(_ context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		region := pick(rng, []string{east1, east1, east2})
		c.world.restartAgents(region)
		return region, func() {}
	}},
	{"stubborn-workers", func(_ context.Context, c *cluster, _ *rand.Rand) (string, func()) {
		c.world.set(func() { c.world.stubborn = true })
		return "SIGTERM is ignored", func() { c.world.set(func() { c.world.stubborn = false }) }
	}},
	{"operator", func(ctx context.Context, c *cluster, rng *rand.Rand) (string, func()) {
		c.operator(ctx, rng)
		c.operator(ctx, rng)
		return "presses what there is", func() {}
	}},
}

var sites = []string{east1, east2, thirdLoc}

func pick[T any](rng *rand.Rand, from []T) T { return from[rng.IntN(len(from))] }

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

// targetOf is the cell that a seed aims at; seeds walk through all of them.
func targetOf(seed uint64) (fault, string) {
	n := uint64(len(faults) * len(phases))
	i := seed % n
	return faults[i%uint64(len(faults))], phases[i/uint64(len(faults))]
}

// inject plays a fault now, notes in which phase, and ends it after a while.
func (c *cluster) inject(ctx context.Context, rng *rand.Rand, f fault) {
	at := c.phase()
	length := time.Duration(1+rng.IntN(100)) * time.Second
	what, end := f.play(ctx, c, rng)
	c.cells[cell{f.name, at}]++
	c.world.note(oracle.Note, "", "fault", "%s: %s, for %s, in phase %s", f.name, what, length, at)
	if end == nil {
		return
	}
	c.mu.Lock()
	c.ending = append(c.ending, end)
	i := len(c.ending) - 1
	c.mu.Unlock()
	c.world.wg.Go(func() {
		t := time.NewTimer(length)
		defer t.Stop()
		select {
		case <-t.C:
			c.endFault(i)
		case <-ctx.Done():
		}
	})
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
	c.net.set(func() {
		clear(c.net.cutSite)
		clear(c.net.cutPair)
		clear(c.net.isolated)
		clear(c.net.apart)
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

// start starts a host's process unless its machine is off, empty or hung: then
// something else will.
func (c *cluster) start(ctx context.Context, h *host) {
	c.world.mu.Lock()
	off := c.world.dead[h.site]
	c.world.mu.Unlock()
	if off || h.lost || h.disk.hangs() || c.over.Load() {
		return
	}
	if err := c.boot(ctx, h); err != nil {
		c.fatal(fmt.Errorf("%s does not start: %w", h.id, err))
	}
	c.world.mu.Lock()
	off = c.world.dead[h.site]
	c.world.mu.Unlock()
	if off || c.over.Load() { // meanwhile
		c.crash(h)
	}
}

// mayLose reports whether a majority is left without the host for ever.
func (c *cluster) mayLose(h *host) bool {
	lost := 0
	for _, name := range c.names {
		if c.hosts[name].lost {
			lost++
		}
	}
	return !h.lost && lost == 0
}

// anyHost is a node, half of the time the one that leads.
func (c *cluster) anyHost(rng *rand.Rand) *host {
	if l := c.leader(); l != nil && rng.IntN(2) == 0 {
		return l
	}
	return c.hosts[pick(rng, c.names)]
}
