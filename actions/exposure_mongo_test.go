package actions

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/mongotest"
)

// mongoHeld is what is agreed when the west was entered, and a hold keeps its primary the only one.
func mongoHeld(timeout time.Duration) *failover.State {
	st := failover.NewState()
	st.Features, st.Epoch, st.Active = failover.Features, 2, "west"
	st.Holds = []failover.StandingHold{{
		ID: 1, Component: "mongo", Epoch: 2, Status: failover.HoldKept,
		Step: failover.Step{ID: "start-mongo", Component: "mongo", Kind: failover.KindStart, Region: "west", Timeout: failover.Duration(timeout), Stands: true},
	}}
	return st
}

// The standing hold against a second primary is measured in looks: the set's members speak over sockets, with elections of their own, so that no bubble
// holds them. One look is enough; it comes within the keeper's pace, and what it takes is added.
func TestExposureOfASecondPrimary(t *testing.T) {
	const trials = 3
	opts := Options{}.withDefaults()
	s, a := twoAndOne(t, "west", mongotest.MemberConfig{Priority: 1, Votes: 1}, mongoAlive)
	s.Cut(true, 2)
	becomes(t, a, Absent, "FORCED")
	if err := try(t, a); err != nil {
		t.Fatal(err)
	}
	becomes(t, a, Present, s.Hosts[2])
	st := mongoHeld(5 * time.Minute)
	j := &heldJournal{state: st, keeps: true}
	k := NewKeeper(j, oneWorld{a}, opts, opts.HoldEvery(), slog.New(slog.DiscardHandler))
	leads := func() bool {
		for n := range 2 {
			if is, _, _ := s.Member(n).State(); is == "PRIMARY" {
				return true
			}
		}
		return false
	}
	var all []time.Duration
	most := 0
	for range trials {
		restart(t, s, 0)
		restart(t, s, 1) // they have forgotten that they are frozen
		soon(t, "a second primary is seen", func() bool {
			e, err := a.Watch(t.Context())
			return err == nil && strings.Contains(e.Detail, "TWO PRIMARIES")
		})
		looks, began := 0, time.Now()
		for leads() && looks < 5 {
			looks++
			k.keep(t.Context(), j.State().Holds[0], began)
		}
		took := time.Duration(looks)*opts.HoldEvery() + time.Since(began)
		all, most = append(all, took), max(most, looks)
		if bound := opts.HoldEvery() + 2*opts.CallTimeout; looks != 1 || took > bound {
			t.Errorf("a second primary led for %d looks, %s at most; the bound is %s", looks, took, bound)
		}
	}
	slices.Sort(all)
	t.Logf("exposure: kind=mongo_promote effect=second-primary trials=%d looks_max=%d max_s=%.1f bound_s=%.0f", trials, most, all[len(all)-1].Seconds(), (opts.HoldEvery() + 2*opts.CallTimeout).Seconds())
}
