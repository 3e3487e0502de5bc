package falsealarm

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/monitor"
)

func world(t *testing.T, n Noise, holds ...time.Duration) *Sim {
	t.Helper()
	cfg, err := config.Load("../../config.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(cfg, n, holds)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Years of noise start nothing at the policy's hold, and a lot at ten
// seconds: the zero means something.
func TestQuietYears(t *testing.T) {
	years := 20
	if raceDetector {
		years = 4 // it slows the simulation down tenfold
	}
	c, err := world(t, Assumed(), 10*time.Second).Run(float64(years), 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", c)
	if c.Failovers[0] != 0 {
		t.Errorf("%d failovers of a region that was well", c.Failovers[0])
	}
	// Cuts of 20 s and more, about 14 a year, pass ten seconds.
	if c.Failovers[1] < 8*years {
		t.Errorf("%d failovers with a hold of 10 s: the noise does not reach the decision", c.Failovers[1])
	}
	if c.Prepares < years/2 || c.Pages < c.Prepares {
		t.Errorf("%d prepares and %d pages in %d years", c.Prepares, c.Pages, years)
	}
}

// What is not worth a replay changes nothing: the same counts when nearly
// everything is replayed.
func TestReplaysAreEnough(t *testing.T) {
	n := Assumed()
	n.Cuts = []Cut{{PerYear: 2000, Min: 1, Max: 40}}
	n.BurstRate = 20 / hour // which overlap
	run := func(change func(*Sim)) Count {
		s := world(t, n, 10*time.Second, 20*time.Second)
		change(s)
		c, err := s.Run(0.01, 7)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	some := run(func(*Sim) {})
	most := run(func(s *Sim) { s.worthAgreed, s.worthSuspected = 1, 8 })
	t.Logf("%+v\n%+v", some, most)
	if most.Replays <= some.Replays || some.Failovers[1] == 0 || some.Pages == 0 {
		t.Fatal("nothing is compared")
	}
	if some.Prepares != most.Prepares || some.Pages != most.Pages || !slices.Equal(some.Failovers, most.Failovers) {
		t.Errorf("replays left out something: %+v, not %+v", some, most)
	}
}

// A cut that is longer than the hold is left: the simulation can fail.
func TestLongCutsFailOver(t *testing.T) {
	n := Assumed()
	n.Cuts = []Cut{{PerYear: 50, Min: 120, Max: 120}}
	c, err := world(t, n).Run(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	if c.Failovers[0] < 25 {
		t.Errorf("%d failovers after about 50 cuts of two minutes", c.Failovers[0])
	}
}

func TestDetect(t *testing.T) {
	s := world(t, Assumed())
	times, err := s.Detect(20, 1)
	if err != nil {
		t.Fatal(err)
	}
	hold := s.settings.Policy.Hold.D()
	if first, last := times[0][0]-hold, times[0][len(times[0])-1]-hold; first < 2*time.Second || last > 10*time.Second {
		t.Errorf("a real loss was confirmed %s to %s after the hold", first, last)
	}
}

// The fast part judges signals as monitor's windows do, whatever the results.
func TestTrackIsWindow(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	for range 200 {
		loss := rng.Float64()
		real := monitor.NewTracker([]monitor.Signal{{Kind: "http", Window: windowLen, Down: downAfter}})
		var tr track
		for range windowLen {
			real.Observe(0, failover.Observation{Outcome: failover.OK})
		}
		for b := int64(0); b < 500; b++ {
			o := failover.Observation{Outcome: failover.OK}
			if rng.Float64() < loss {
				o.Outcome = failover.Failed
				tr.lose(b, 1)
			}
			real.Observe(0, o)
			seen := tr
			seen.catchUp(b + 1)
			if want := real.Health(0) == failover.Down; seen.down != want {
				t.Fatalf("second %d, loss %.2f: down %t, monitor says %t", b, loss, seen.down, want)
			}
		}
	}
}

// Single losses are drawn at their rate.
func TestLossRate(t *testing.T) {
	n := Assumed()
	n.Cuts = nil
	s := world(t, n)
	x := newNoise(n, s.slots, s.paths, rand.New(rand.NewPCG(1, 1)))
	const losses = 1_000_000
	for range losses {
		x.lose()
	}
	if rate := losses / float64(x.lostAt*int64(len(s.slots))); rate < 0.00995 || rate > 0.01005 {
		t.Errorf("probes are lost at a rate of %.5f", rate)
	}
}
