package actions

import (
	"context"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// E5: a stop was sent, its answer did not come, it was sent again, and the execution was taken back. The first call lands in the region that stayed
// active, at any moment at which it still can. It is put back within a look of the executor and the two calls that a look and an undo may take. The figures
// stand in docs/safety.md.
func TestExposureOfALateStop(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	opts := Options{}.withDefaults()
	bound := opts.Poll + 2*opts.CallTimeout + exposureWorld
	trials := exposureTrials / 2
	if testing.Short() {
		trials = 2
	}
	for n, x := range exposures(t) {
		if x.stops == "" {
			continue
		}
		t.Run(x.kind, func(t *testing.T) {
			var all []time.Duration
			for i := range trials {
				inStage(t, func(s *failover.Settings) { // nothing proves it: the fence waits
					s.Components = append(s.Components, failover.ComponentSpec{Name: "sink", Stop: &failover.StopSpec{Proof: []failover.EvidenceClass{failover.Attested}}})
					s.Components[1].Stop.Action.Timeout = failover.Duration(5 * time.Minute)
				}, func(st *stage) {
					took := exposures(t)[n].lateStop(st, float64(i)/float64(trials))
					if all = append(all, took); took > bound {
						t.Errorf("a late stop of %s stood for %s; the bound is %s", x.kind, took, bound)
					}
				})
			}
			logExposure(t, x.kind, "late-stop", all, bound)
		})
	}
}

// lateStop plays one trial, in which the call lands after a share of the time for which it can.
func (x exposed) lateStop(st *stage, share float64) time.Duration {
	t := st.t
	if x.runs != nil {
		x.runs()
	}
	w := &wire{fake: x.fake, takes: exposureCall}
	w.park(x.stops)
	stop := wired(t, x.stop, w)
	st.own["stop-workers"] = stop
	eye := wired(t, x.stop, &wire{fake: x.fake}) // it takes no time
	before, err := eye.Inspect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	whole := func() bool {
		now, err := eye.Inspect(t.Context())
		return err == nil && restored(eye, now, before.Previous)
	}
	l := st.elect(nil)
	world := make(chan struct{})
	go func() { defer close(world); x.lives(l.ctx) }()
	defer func() { l.cancel(); <-world }()
	s := st.waitFor("the stop", 10*time.Minute, func(s *failover.State) bool { return s.Execution.Step("stop-workers").State == failover.StepDone })
	rec := s.Execution.Step("stop-workers")
	if len(rec.Attempts) != 2 || !w.parked() || whole() {
		t.Fatalf("the first call is not under way: %+v", rec)
	}
	st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
	st.waitFor("the undo", 5*time.Minute, func(*failover.State) bool { return whole() })
	lands := ages(stop, rec.Attempts[0].Until) // until then it can
	time.Sleep(2*time.Second + time.Duration(share*float64(time.Until(lands)-3*time.Second)))
	landed := time.Now()
	if w.land(); whole() {
		t.Fatal("the late call came to nothing")
	}
	for !whole() {
		if time.Since(landed) > time.Hour {
			t.Fatalf("it stands: %+v", st.state().Execution)
		}
		time.Sleep(exposureLook)
	}
	took := time.Since(landed)
	if s := st.waitFor("the end", 30*time.Minute, ended); s.History[0].State != failover.ExecUndone || !whole() {
		t.Errorf("%s: %s", s.History[0].State, s.History[0].Outcome)
	}
	return took
}

// The late call of a network's fence comes to nothing: it names an association that is no more since the subnet was cut off by another call, whatever
// became of that one.
func TestALateFenceIsRefused(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	synctest.Test(t, func(t *testing.T) {
		f := newACLs()
		cfg := &NACLConfig{Subnets: fenced(), ACL: map[failover.Region]string{"us-east-2": "acl-deny"}}
		before := map[string]string{"subnet-a": "acl-a", "subnet-b": "acl-b"}
		w := &wire{fake: f, takes: exposureCall}
		stale, a := wired(t, cfg, w), wired(t, cfg, &wire{fake: f, takes: exposureCall})
		land := writer(t, w, "Action=ReplaceNetworkAclAssociation", func(ctx context.Context) error { return stale.Do(ctx, Attempt{Token: 1}) })
		eff, err := a.Inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		do(t, a.Do, 2, eff.Previous)
		do(t, a.Undo, 3, eff.Previous)
		if land(); !maps.Equal(f.has, before) || len(f.calls) != 5 {
			t.Errorf("after a late call the subnets have %v, by %v", f.has, f.calls)
		}
	})
}
