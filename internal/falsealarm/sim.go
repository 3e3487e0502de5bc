package falsealarm

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/monitor"
)

// Sim is one simulated world.
type Sim struct {
	settings failover.Settings
	region   failover.Region // that is watched, and well
	nodes    []failover.NodeID
	vantage  []failover.Region // of each node
	signals  []monitor.Signal
	slots    []slot
	paths    int
	need     int // signals of a node that must be down before it can see the region down
	noise    Noise
	holds    []time.Duration // the policy's own is the first

	// How much an episode must show to be worth a replay.
	worthAgreed, worthSuspected int

	tracks []track
	record record
}

// Count is what a simulation saw.
type Count struct {
	Years     float64
	Failovers []int // for each hold: started although the region was well
	Prepares  int   // agreements that lasted prepare_after
	Pages     int   // suspicions that lasted prepare_after
	Replays   int   // episodes that went through the real code
	Losses    int64
}

// New returns a world with the nodes, probes and policy of a configuration,
// which also decides with the given holds.
//
// It is harsher than the configuration: nodes inside the region, which could
// turn a wrong verdict into a question, have no voice; nobody looks at the
// other region, whose silence would forbid to go there; no self-check tells
// a node that it is blind; the nodes of one vantage share their bursts, so that
// they contradict each other less.
func New(cfg *config.Config, n Noise, holds []time.Duration) (*Sim, error) {
	if n.Loss < 1e-6 || n.Loss > 0.5 {
		return nil, fmt.Errorf("a loss of %g is not simulated: 0.000001 to 0.5", n.Loss)
	}
	s := &Sim{settings: cfg.Settings(), region: cfg.Primary, noise: n, worthAgreed: worthAgreed, worthSuspected: worthSuspected}
	s.holds = append([]time.Duration{s.settings.Policy.Hold.D()}, holds...)
	var all []failover.NodeID
	for id := range s.settings.Nodes {
		all = append(all, id)
	}
	slices.Sort(all)
	paths := map[failover.Region]int{}
	for index, id := range all {
		v := s.settings.Nodes[id].Vantage
		if v == s.region {
			continue
		}
		if _, ok := paths[v]; !ok {
			paths[v] = len(paths)
		}
		specs := cfg.ProbeSpecs(id)
		s.signals = s.signals[:0]
		beat, beats := 0, 0
		for _, sp := range specs {
			if sp.Region == s.region {
				beats++
			}
		}
		for _, sp := range specs {
			if sp.Region != s.region {
				continue
			}
			beat++
			if sp.Plane() != "" && sp.Interval > time.Second {
				continue // it makes no region down, and what it sees of a loss that is short is less than the others do
			}
			if sp.Interval != time.Second || sp.Window != windowLen || sp.Down != downAfter {
				return nil, fmt.Errorf("%s/%s: the simulation knows probes every second, down after %d of a window of %d", sp.Component, sp.Kind, downAfter, windowLen)
			}
			// As monitor staggers its probes; the jitter is left out.
			part := 1 / float64(beats)
			s.slots = append(s.slots, slot{
				node: len(s.nodes), signal: len(s.signals), path: paths[v],
				offset: part*float64(beat-1) + part*float64(index)/float64(len(all)),
				busy:   int64((sp.Timeout + time.Second - 1) / time.Second),
			})
			s.signals = append(s.signals, monitor.Signal{
				Component: sp.Component, Kind: sp.Kind, Region: sp.Region,
				Interval: sp.Interval, Timeout: sp.Timeout, Window: sp.Window, Down: sp.Down, Plane: sp.Plane(),
			})
		}
		s.nodes, s.vantage = append(s.nodes, id), append(s.vantage, v)
	}
	kinds := map[string]bool{}
	for _, sig := range s.signals {
		kinds[sig.Kind] = true
	}
	s.paths, s.need = len(paths), max(2, len(kinds)/2+1)
	if len(s.nodes) > maxNodes || len(s.slots) > maxSlots {
		return nil, fmt.Errorf("%d nodes outside with %d signals in all: %d and %d are simulated", len(s.nodes), len(s.slots), maxNodes, maxSlots)
	}
	return s, nil
}

// Run simulates years from a seed. The same seed gives the same counts.
func (s *Sim) Run(years float64, seed uint64) (Count, error) {
	x := newNoise(s.noise, s.slots, s.paths, rand.New(rand.NewPCG(seed, 1))) //nolint:gosec // a simulation
	s.tracks = make([]track, len(s.slots))
	c := Count{Years: years, Failovers: make([]int, len(s.holds))}
	end := years * year
	for {
		// Quiet: single losses only, until something begins or a signal is down.
		begin := int64(x.nextStart())
		for x.lostAt < begin {
			b, i := x.lostAt, x.lostSlot
			x.lose()
			c.Losses++
			s.tracks[i].lose(b, s.slots[i].busy)
			if s.tracks[i].down {
				begin = b + 1 // the other losses of this second come first
			}
		}
		if float64(begin) >= end {
			return c, nil
		}
		if s.episode(x, begin) {
			if err := s.judge(&c); err != nil {
				return c, err
			}
		}
	}
}

// What fits into a record.
const (
	maxNodes = 16
	maxSlots = 32
)

// What an episode must show to be worth a replay, with room to spare: the
// shortest hold is 10 s, and what the real code sees down this part sees down as
// well, at the latest when a probe begins and not when it has timed out.
const (
	worthAgreed    = 8  // seconds in which every node may have seen the region down
	worthSuspected = 25 // seconds in which any signal was down
)

// episode simulates every probe from second b on until no signal is down and
// the noise is over. It reports whether the record is worth a replay.
func (s *Sim) episode(x *noise, b int64) bool {
	s.record.reset(b, s.tracks)
	agreed, suspected, worth := 0, 0, false
	for ; ; b++ {
		var lost, probed uint32
		for i := range s.slots {
			t := float64(b) + s.slots[i].offset
			x.begin(t)
			fails := x.probe(i, b, t)
			tr := &s.tracks[i]
			if b < tr.until {
				continue // the probe before is still running
			}
			probed |= 1 << i
			if fails {
				lost |= 1 << i
				tr.lose(b, s.slots[i].busy)
			} else {
				tr.catchUp(b + 1)
			}
		}
		s.record.add(lost, probed)
		x.begin(float64(b + 1)) // what begins after the second's last probe
		all, anyDown := s.down()
		agreed, suspected = count(agreed, all), count(suspected, anyDown)
		worth = worth || agreed >= s.worthAgreed || suspected >= s.worthSuspected
		if !anyDown && x.over(float64(b+1)) {
			return worth
		}
	}
}

func count(n int, goesOn bool) int {
	if goesOn {
		return n + 1
	}
	return 0
}

// down reports whether every node has enough signals down to see the region
// down, and whether any signal is.
func (s *Sim) down() (all, anyDown bool) {
	var n [maxNodes]int
	for i := range s.slots {
		if s.tracks[i].down {
			n[s.slots[i].node]++
			anyDown = true
		}
	}
	for i := range s.nodes {
		if n[i] < s.need {
			return false, anyDown
		}
	}
	return true, anyDown
}
