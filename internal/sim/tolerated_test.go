package sim

import (
	"fmt"
	"testing"
	"time"

	"github.com/failoverd/failoverd/internal/config"
)

// S8: a cut or a loss of the quorum that is shorter than what `config check` prints
// stops nothing, wherever in the renewal of a lease it begins. One that outlasts the
// lease does: the test would see it.
func TestToleratedLossStopsNothing(t *testing.T) {
	example, err := config.Load("../../config.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	cut, quorum := example.Tolerated()
	terms := example.LeaseTerms()
	if terms != settings("", false).Policy.Lease || example.Raft.Heartbeat.D() != simTimers.Heartbeat || example.Raft.Election.D() != simTimers.Election {
		t.Fatalf("the simulation runs with other numbers than the example: %+v", terms)
	}
	step := 500 * time.Millisecond
	if testing.Short() || raceDetector {
		step = 2 * time.Second
	}
	for _, loss := range []struct {
		name  string
		long  time.Duration
		begin func(*stage)
		stops bool
	}{
		{"cut", cut, func(s *stage) { s.cut(east1) }, false},
		{"quorum", quorum, func(s *stage) { s.stop("use2a", "use2b", "third") }, false},
		{"beyond", terms.Length.D() - terms.Stop.Total() + time.Second, func(s *stage) { s.cut(east1) }, true},
	} {
		for phase := time.Duration(0); phase < terms.Renew.D(); phase += step {
			t.Run(fmt.Sprintf("%s/%s", loss.name, phase), func(t *testing.T) {
				perform(t, story{id: loss.name, play: func(s *stage) {
					sleep(phase)
					at := time.Now()
					loss.begin(s)
					sleep(loss.long - 10*time.Millisecond)
					s.mend()
					sleep(2 * time.Minute)
					if died := s.died(east1, at); (died > 0) != loss.stops {
						t.Errorf("%s for %s stopped %d workers", loss.name, loss.long, died)
					}
				}})
			})
		}
	}
}
