// Package falsealarm simulates years of a noisy network in front of a region
// that is well, and counts how often the real decision logic would have left it.
//
// Nothing is skipped that could matter. A loss is not drawn for each of the
// twelve probes a second, but the number of probes to the next one is, which is
// geometrically distributed: the same process, drawn in fewer steps. Between
// two losses, outside of bursts and cuts, every probe succeeds, no signal is
// down and none begins to be; so nothing has to be looked at. From the moment
// when a burst or a cut begins, or a signal is down, every probe is simulated
// until no signal is down and the noise is over. A signal's future then depends
// on its last results only, which are kept.
//
// That part judges signals by itself, since it sees billions of losses; a test
// holds it against monitor's windows. What it finds – an episode in which all
// outside vantages may have agreed, or something was suspected for long – goes
// probe by probe through monitor's windows, failover.Decide and OpenIncident's
// Apply (replay.go).
package falsealarm

import (
	"math"
	"math/rand/v2"
)

// Noise is what the network does, by assumption.
type Noise struct {
	Loss      float64 // of any probe, by itself
	BurstRate float64 // bursts of loss per second and path
	BurstLen  float64 // seconds
	BurstLoss float64 // of a probe on the path, during a burst
	Cuts      []Cut   // common to all vantages: every probe is lost
}

// Cut is a kind of event that blackens the region for all vantages at once.
type Cut struct {
	PerYear  float64
	Min, Max float64 // its length in seconds, evenly distributed
}

const (
	hour = 3600.0
	day  = 24 * hour
	year = 365.25 * day
)

// Assumed is the noise of the goal: its upper end where it is a range.
func Assumed() Noise {
	return Noise{
		Loss: 0.01, BurstRate: 1 / hour, BurstLen: 5, BurstLoss: 0.7,
		Cuts: []Cut{{PerYear: 365.25, Min: 4, Max: 4}, {PerYear: 12, Min: 20, Max: 20}, {PerYear: 2, Min: 30, Max: 75}},
	}
}

// slot is one signal of one node: its place in every second.
type slot struct {
	node, signal int
	path         int     // the nodes of one vantage share a path
	offset       float64 // of its probe within the second
	busy         int64   // seconds that a failing probe takes
}

// Results that are looked at, and failures in a row that make a signal down.
// newSim holds the configuration against them.
const (
	windowLen = 5
	downAfter = 3
)

// track is what is known of a slot's last results, the newest in bit 0.
type track struct {
	next  int64 // the second of the first probe whose result is not in mask
	mask  uint8 // 1: failed
	run   uint8 // failures in a row
	down  bool
	until int64 // its probe is still running before that second
}

const maskAll = 1<<windowLen - 1

// fail and succeed take in a result, as monitor's window does: down after three
// failures in a row, and until the window holds no failure.
func (t *track) fail() {
	t.mask = (t.mask<<1 | 1) & maskAll
	t.run = min(t.run+1, downAfter)
	t.down = t.down || t.run == downAfter
}

func (t *track) succeed() {
	t.mask = t.mask << 1 & maskAll
	t.run = 0
	t.down = t.down && t.mask != 0
}

// catchUp takes in the successes up to second b.
func (t *track) catchUp(b int64) {
	n := b - t.next
	if n <= 0 {
		return
	}
	t.next = b
	if n >= windowLen {
		t.mask, t.run, t.down = 0, 0, false
		return
	}
	for range n {
		t.succeed()
	}
}

// lose takes in a failure of the probe at second b, if there was one.
func (t *track) lose(b, busy int64) {
	if b < t.until {
		return
	}
	t.catchUp(b)
	t.fail()
	t.next, t.until = b+busy, b+busy
}

// noise draws events.
type noise struct {
	Noise
	rng   *rand.Rand
	slots []slot
	scale float64

	// The next probe that is lost by itself.
	lostAt   int64 // second
	lostSlot int

	burstAt  []float64 // per path: when the next burst begins
	burstEnd []float64
	cutAt    []float64 // per kind
	cutEnd   float64
}

func newNoise(n Noise, slots []slot, paths int, rng *rand.Rand) *noise {
	x := &noise{Noise: n, rng: rng, slots: slots, lostSlot: -1, scale: -1 / math.Log1p(-n.Loss), burstAt: make([]float64, paths), burstEnd: make([]float64, paths), cutAt: make([]float64, len(n.Cuts))}
	for i := range x.burstAt {
		x.burstAt[i] = rng.ExpFloat64() / n.BurstRate
	}
	for i, c := range n.Cuts {
		x.cutAt[i] = rng.ExpFloat64() / c.PerYear * year
	}
	x.lose()
	return x
}

// lose draws the next single loss. An exponential variable, rounded down, is
// geometric.
func (x *noise) lose() {
	n := uint32(len(x.slots))
	i := uint32(x.lostSlot+1) + uint32(x.rng.ExpFloat64()*x.scale)
	x.lostAt, x.lostSlot = x.lostAt+int64(i/n), int(i%n)
}

// nextStart is when the next burst or cut begins.
func (x *noise) nextStart() float64 {
	t := math.Inf(1)
	for _, at := range x.burstAt {
		t = min(t, at)
	}
	for _, at := range x.cutAt {
		t = min(t, at)
	}
	return t
}

// begin starts what is due at time t.
func (x *noise) begin(t float64) {
	for i, at := range x.burstAt {
		for at <= t {
			x.burstEnd[i] = max(x.burstEnd[i], at+x.BurstLen)
			at += x.rng.ExpFloat64() / x.BurstRate
		}
		x.burstAt[i] = at
	}
	for i, at := range x.cutAt {
		for at <= t {
			c := x.Cuts[i]
			x.cutEnd = max(x.cutEnd, at+c.Min+x.rng.Float64()*(c.Max-c.Min))
			at += x.rng.ExpFloat64() / c.PerYear * year
		}
		x.cutAt[i] = at
	}
}

// over reports whether nothing that has begun goes on at time t.
func (x *noise) over(t float64) bool {
	for _, e := range x.burstEnd {
		if e > t {
			return false
		}
	}
	return x.cutEnd <= t
}

// probe reports whether the probe of slot i at second b, time t, is lost.
func (x *noise) probe(i int, b int64, t float64) bool {
	lost := false
	if x.lostAt == b && x.lostSlot == i {
		lost = true
		x.lose()
	}
	if t < x.cutEnd {
		return true
	}
	return t < x.burstEnd[x.slots[i].path] && x.rng.Float64() < x.BurstLoss || lost
}
