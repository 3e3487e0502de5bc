package falsealarm

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/monitor"
)

// record is an episode, probe by probe.
type record struct {
	start  int64 // second
	before []track
	lost   []uint32 // for each second, a bit for each slot
	probed []uint32
}

func (r *record) reset(start int64, tracks []track) {
	r.start, r.lost, r.probed = start, r.lost[:0], r.probed[:0]
	r.before = append(r.before[:0], tracks...)
	for i := range r.before {
		r.before[i].catchUp(start)
	}
}

func (r *record) add(lost, probed uint32) {
	r.lost, r.probed = append(r.lost, lost), append(r.probed, probed)
}

const (
	answer  = 50 * time.Millisecond // of a probe that succeeds
	oneWay  = 40 * time.Millisecond // of a ballot to the leader
	lookout = 500 * time.Millisecond
)

// event is a result that a node gets.
type event struct {
	at    time.Duration // since the episode began
	slot  int
	fails bool
}

// events are the results of the recorded probes, in order of their arrival.
func (s *Sim) events(r *record) []event {
	var out []event
	for b := range r.lost {
		for i, sl := range s.slots {
			if r.probed[b]&(1<<i) == 0 {
				continue
			}
			e := event{at: time.Duration((float64(b) + sl.offset) * float64(time.Second)), slot: i, fails: r.lost[b]&(1<<i) != 0}
			if e.fails {
				e.at += s.signals[sl.signal].Timeout
			} else {
				e.at += answer
			}
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return out
}

// court is a leader that decides with one hold.
type court struct {
	state *failover.State
	mem   failover.Memory
	start time.Duration // when it would have started a failover; negative: never
}

// outcome is what the real code made of an episode.
type outcome struct {
	start    []time.Duration // for each hold; negative: never
	prepares int
	pages    int
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// replay gives an episode to monitor's windows and verdicts, and their votes to
// failover.Decide: at once when a signal changes, every second anyway, and
// with a look by the leader's own clock every half second.
func (s *Sim) replay(r *record) (outcome, error) {
	nodes := make([]*monitor.Tracker, len(s.nodes))
	for n := range nodes {
		nodes[n] = monitor.NewTracker(s.signals)
	}
	observe := func(i int, at time.Duration, fails bool) bool {
		o := failover.Observation{Outcome: failover.OK, At: epoch.Add(at)}
		if fails {
			o.Outcome, o.Reason = failover.Failed, failover.ReasonTimeout
		}
		return nodes[s.slots[i].node].Observe(s.slots[i].signal, o)
	}
	for i, tr := range r.before {
		for bit := windowLen - 1; bit >= 0; bit-- {
			observe(i, 0, tr.mask>>bit&1 != 0)
		}
	}
	courts, err := s.courts()
	if err != nil {
		return outcome{}, err
	}
	votes := make([]failover.Vote, len(nodes))
	vote := func(n int, at time.Duration) {
		votes[n] = failover.Vote{Node: s.nodes[n], Vantage: s.vantage[n], Verdict: nodes[n].Verdict(s.region), Received: epoch.Add(at + oneWay)}
	}
	for n := range nodes {
		vote(n, -oneWay)
	}
	var out outcome
	w := watch{after: s.settings.Policy.PrepareAfter.D()}
	events := s.events(r)
	end := events[len(events)-1].at + 2*time.Second // the last votes arrive
	for at := time.Duration(0); at < end; {
		next := at.Truncate(lookout) + lookout
		for len(events) > 0 && events[0].at < next {
			e := events[0]
			events = events[1:]
			if observe(e.slot, e.at, e.fails) {
				vote(s.slots[e.slot].node, e.at)
				if err := s.decide(courts, votes, e.at+oneWay, &w, &out); err != nil {
					return out, err
				}
			}
		}
		at = next
		if at%time.Second == 0 {
			for n := range nodes {
				vote(n, at)
			}
		}
		if err := s.decide(courts, votes, at+oneWay, &w, &out); err != nil {
			return out, err
		}
	}
	for _, c := range courts {
		out.start = append(out.start, c.start)
	}
	return out, nil
}

// ready says that the region to be entered stands in nobody's way.
var ready = failover.Standby{Checked: true}

func (s *Sim) courts() ([]*court, error) {
	var out []*court
	for _, hold := range s.holds {
		st := failover.NewState()
		set := s.settings
		set.Policy.Hold = failover.Duration(hold)
		// No guard but the hold: a loss that is not known would refuse everything.
		set.Policy.MaxLoss, set.Policy.PrepareAfter = nil, min(set.Policy.PrepareAfter, failover.Duration(hold/3))
		if res := st.Apply(failover.Meta{Index: 1, Term: 1, ProposedTerm: 1, At: epoch}, failover.Configure{Settings: set, Hash: "simulated"}); res.Err != nil {
			return nil, res.Err
		}
		out = append(out, &court{state: st, start: -1})
	}
	return out, nil
}

// watch follows the suspicion as the policy's own hold sees it.
type watch struct {
	agreed           time.Time // the agreement that was counted last
	suspect          time.Duration
	suspected, paged bool
	after            time.Duration // prepare_after
}

// suspicious are the conditions in which a signal is down. A brownout is none:
// at a loss of 1 % one of a hundred probes makes one.
func suspicious(c failover.Condition) bool { return c != "" && c != failover.Brownout }

func (s *Sim) decide(courts []*court, votes []failover.Vote, at time.Duration, w *watch, out *outcome) error {
	now := epoch.Add(at)
	for i, c := range courts {
		if c.start >= 0 {
			continue
		}
		d, mem := failover.Decide(failover.Input{State: c.state, Votes: votes, Now: now, TermStart: epoch.Add(-time.Hour), Standby: ready}, c.mem)
		c.mem = mem
		if i == 0 {
			w.look(d, mem, at, out)
		}
		if d.Open != nil {
			// As the leader would propose it; Apply judges the frozen votes again.
			res := c.state.Apply(failover.Meta{Index: c.state.Index + 1, Term: 1, ProposedTerm: 1, At: now}, *d.Open)
			if res.Err != nil {
				return fmt.Errorf("an incident was refused: %w", res.Err)
			}
			d, c.mem = failover.Decide(failover.Input{State: c.state, Votes: votes, Now: now, TermStart: epoch.Add(-time.Hour), Standby: ready}, c.mem)
		}
		if d.Start {
			c.start = at
		}
	}
	return nil
}

func (w *watch) look(d failover.Decision, mem failover.Memory, at time.Duration, out *outcome) {
	if d.HoldElapsed >= w.after && !mem.AgreedSince.Equal(w.agreed) {
		w.agreed = mem.AgreedSince
		out.prepares++
	}
	switch {
	case !suspicious(d.Judgement.Condition):
		w.suspected, w.paged = false, false
	case !w.suspected:
		w.suspected, w.suspect = true, at
	case !w.paged && at-w.suspect >= w.after:
		w.paged = true
		out.pages++
	}
}

// judge replays the recorded episode and counts.
func (s *Sim) judge(c *Count) error {
	o, err := s.replay(&s.record)
	if err != nil {
		return err
	}
	c.Replays++
	c.Prepares += o.prepares
	c.Pages += o.pages
	for i, at := range o.start {
		if at >= 0 {
			c.Failovers[i]++
		}
	}
	return nil
}

// Detect kills the region at a random moment, under the noise, and returns for
// each hold how long it took until a failover would have started, sorted.
func (s *Sim) Detect(trials int, seed uint64) ([][]time.Duration, error) {
	rng := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // a simulation
	longest := slices.Max(s.holds)
	out := make([][]time.Duration, len(s.holds))
	for range trials {
		const before = 10
		var r record
		tracks := make([]track, len(s.slots))
		r.reset(0, tracks)
		dies := before + rng.Float64()
		for b := int64(0); b < before+int64(longest/time.Second)+20; b++ {
			var lost, probed uint32
			for i, sl := range s.slots {
				if b < tracks[i].until {
					continue
				}
				probed |= 1 << i
				if float64(b)+sl.offset >= dies || rng.Float64() < s.noise.Loss {
					lost |= 1 << i
					tracks[i].until = b + sl.busy
				}
			}
			r.add(lost, probed)
		}
		o, err := s.replay(&r)
		if err != nil {
			return nil, err
		}
		for i, at := range o.start {
			if at < 0 {
				return nil, fmt.Errorf("a real loss was not detected with a hold of %s", s.holds[i])
			}
			out[i] = append(out[i], at-time.Duration(dies*float64(time.Second)))
		}
	}
	for i := range out {
		slices.Sort(out[i])
	}
	return out, nil
}
