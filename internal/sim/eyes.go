package sim

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/monitor"
)

// Each node of the simulation runs the daemon's own monitor with the example's
// numbers. Only the probes are simulated: they ask over the simulated network.

// sights are what probes can see beside cuts: a region that is slow or answers
// only some of the time. Guarded by the world's lock.
type sights struct {
	slow map[string]time.Duration // region → how long its answers take
	deaf map[string]float64       // region → share of the requests that are never answered
	// ill says that the service answers nobody in a region; all else is well there.
	ill map[string]bool
	// hidden says that a region answers nobody outside it, whatever the network does.
	hidden map[string]bool
	// blind says that a node's own way to a region is broken: node, region.
	blind map[[2]string]bool
	// part says that one of the zones behind a region's addresses is dark.
	part map[string]bool
	// stale says that the samples of a region's stores do not move any more.
	stale map[string]bool
	// shrunk is the share of their targets, in percent, that selectors miss.
	shrunk int
	// mute says that a region's control plane takes calls and answers no question; lost, that
	// calls to change something do not reach it.
	mute, lost map[string]bool
}

func newSights() sights {
	return sights{slow: map[string]time.Duration{}, deaf: map[string]float64{}, ill: map[string]bool{}, hidden: map[string]bool{}, blind: map[[2]string]bool{}, part: map[string]bool{}, stale: map[string]bool{}, mute: map[string]bool{}, lost: map[string]bool{}}
}

const (
	probeEvery   = time.Second
	probeTimeout = time.Second
	slowAfter    = 800 * time.Millisecond
)

// look is one probe: a request over the network and its answer.
type look struct {
	w            *world
	node         string
	region, kind string
}

// Probe implements monitor.Probe.
func (l look) Probe(ctx context.Context) failover.Observation {
	o := failover.Observation{Target: l.kind + "." + l.region, At: time.Now()}
	l.w.mu.Lock()
	deaf := l.w.dead[l.region] || l.w.sights.ill[l.region] || l.w.rng.Float64() < l.w.sights.deaf[l.region]
	deaf = deaf || l.w.sights.hidden[l.region] && l.w.net.site(l.node) != l.region
	deaf = deaf || l.w.sights.blind[[2]string{l.node, l.region}]
	slow, part, stale := l.w.sights.slow[l.region], l.w.sights.part[l.region], l.w.sights.stale[l.region]
	l.w.mu.Unlock()
	err := l.w.net.carry(ctx, l.node, l.region)
	if err == nil && deaf {
		<-ctx.Done()
	}
	if err == nil && slow > 0 {
		t := time.NewTimer(slow)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
	if err == nil {
		err = l.w.net.carry(ctx, l.region, l.node)
	}
	o.Latency = time.Since(o.At)
	switch {
	case err != nil || ctx.Err() != nil:
		o.Outcome, o.Reason, o.Detail = failover.Failed, failover.ReasonTimeout, "nothing came back within "+probeTimeout.String()
	case stale && l.kind == "mongo":
		o.Outcome, o.Reason, o.Detail = failover.Failed, failover.ReasonStale, "it answers, but its newest write does not move"
	case part:
		o.Outcome, o.Reason, o.Detail, o.Part = failover.Slow, failover.ReasonTimeout, "one of its addresses is dark", true
	case o.Latency > slowAfter:
		o.Outcome, o.Reason = failover.Slow, failover.ReasonSlow
	default:
		o.Outcome = failover.OK
	}
	switch {
	case o.Outcome == failover.Failed:
	case l.kind == "mongo":
		o.LastWrite = time.Now() // replication is behind by nothing
	case l.kind == "mariadb_backup":
		o.LastWrite = time.Now().Add(-2 * time.Hour) // the newest backup
	}
	return o
}

// neutral is a look at something on the internet that shares no fate with a
// region.
type neutral struct {
	w    *world
	node string
}

// Probe implements monitor.Probe.
func (r neutral) Probe(ctx context.Context) failover.Observation {
	o := failover.Observation{Target: "reference", At: time.Now(), Outcome: failover.OK}
	if r.w.net.carry(ctx, r.node, internet) != nil || r.w.net.carry(ctx, internet, r.node) != nil {
		o.Outcome, o.Reason = failover.Failed, failover.ReasonTimeout
	}
	return o
}

// newMonitor makes a node's monitor.
func (c *cluster) newMonitor(h *host, rng *rand.Rand) (*monitor.Monitor, error) {
	o := monitor.Options{
		Regions:    []failover.Region{east1, east2},
		References: []monitor.Reference{{Name: "reference", Probe: neutral{c.world, h.id}}}, SelfInterval: 2 * time.Second, SelfTimeout: time.Second,
		Nodes: len(c.names), Rand: rng, Log: c.log,
	}
	for i, name := range c.names {
		if name == h.id {
			o.Index = i
		}
	}
	if c.together {
		o.Index, o.Nodes = 0, 1
	}
	for _, r := range o.Regions {
		for _, see := range c.sees {
			o.Signals = append(o.Signals, monitor.Signal{
				Component: see.Component, Kind: see.Kind, Region: r, Probe: look{c.world, h.id, string(r), see.Kind},
				Interval: probeEvery, Timeout: probeTimeout, Window: 5, Down: 3, Plane: see.Plane,
			})
		}
	}
	return monitor.New(o)
}
