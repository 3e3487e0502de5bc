package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/world"
)

// S6: troubles that must not move a region, one after the other in one world. Each lasts longer than the hold, the blip
// excepted, and each is over before the next begins.
func TestNothingMoves(t *testing.T) {
	r := start(t, set("component.api.start.prepare", "false"))
	hold := r.until(time.Second, "a status", func(*harness.Status) bool { return true }).Hold.D()
	for _, tt := range []struct {
		name      string
		begin     func() error
		end       func() error
		condition string
		lasts     time.Duration
	}{
		{"blip of 80 % of the hold", func() error { return r.w.DarkServices(r.ctx, world.E1) }, func() error { return r.w.LightServices(r.ctx, world.E1) },
			"region-down", hold * 8 / 10},
		{"isolated observer", func() error { return r.w.Cut(r.ctx, world.Third) }, func() error { return r.w.Heal(r.ctx, world.Third) },
			"no-autonomy", hold * 13 / 10},
		{"one vantage loses sight of the region", func() error { return r.w.CutPair(r.ctx, world.Third, world.E1) }, func() error { return r.w.HealPair(r.ctx, world.Third, world.E1) },
			"disagreement", hold * 13 / 10},
		{"slow primary", func() error {
			return r.w.Fault(r.ctx, world.E1, faults.Fault{Service: "alb", Mode: faults.Slow, DelayMs: r.ms(450)})
		}, func() error { return r.w.ClearFaults(r.ctx, world.E1) }, "brownout", hold * 13 / 10},
		{"third vantage dead, then the region dark", func() error {
			r.do(r.c.KillNode(r.ctx, "third"))
			r.until(10*time.Second, "no autonomy after the death of third", func(s *harness.Status) bool { return s.Condition == "no-autonomy" })
			return r.w.DarkServices(r.ctx, world.E1)
		}, func() error {
			r.do(r.w.LightServices(r.ctx, world.E1))
			return r.c.StartNode(r.ctx, "third")
		}, "no-autonomy", hold * 13 / 10},
	} {
		ok := t.Run(tt.name, func(t *testing.T) {
			r := r.sub(t)
			since := time.Now()
			r.do(tt.begin())
			r.until(hold, "condition "+tt.condition, func(s *harness.Status) bool { return s.Condition == tt.condition })
			time.Sleep(tt.lasts) // the trouble itself, not a wait for something
			if s, err := r.c.AnyStatus(r.ctx); err != nil || s.Condition != tt.condition || s.Epoch != 1 {
				t.Errorf("at the end of the trouble: %s, error %v; want condition %s in epoch 1", describe(s), err, tt.condition)
			}
			r.do(tt.end())
			r.nothingMoved(since)
			r.do(r.healthy(30 * time.Second))
			done := r.record(5*time.Second, "a record", func(world.Record) bool { return true }).Regions[world.Primary].Processed
			r.record(20*time.Second, "us-east-1 to go on working", func(rec world.Record) bool { return rec.Regions[world.Primary].Processed > done })
			r.nothingMoved(since)
		})
		if !ok {
			return // the next trouble would meet a world that is not healthy
		}
	}
}

// E7: a blip that outlasts prepare_after is prepared for, and taken back by itself: no worker is stopped, no region moves.
func TestIncidentP1BlipIsPreparedForAndTakenBack(t *testing.T) {
	r := start(t)
	hold := r.until(time.Second, "a status", func(*harness.Status) bool { return true }).Hold.D()
	r.do(r.w.DarkServices(r.ctx, world.E1))
	time.Sleep(hold * 6 / 10) // the trouble itself, not a wait for something
	r.do(r.w.LightServices(r.ctx, world.E1))
	var events string
	for end := time.Now().Add(r.slow * 40 * time.Second); !strings.Contains(events, "every step was undone"); time.Sleep(200 * time.Millisecond) {
		var err error
		if events, err = r.c.CLI(r.ctx, "third", "events"); err != nil || time.Now().After(end) {
			t.Fatalf("the preparation was not taken back: %v\n%s", err, events)
		}
	}
	for _, want := range []string{"region-down", "steps for leaving us-east-1 begin", "is taken back: the vantages have not agreed"} {
		if !strings.Contains(events, want) {
			t.Errorf("the timeline does not say %q:\n%s", want, events)
		}
	}
	if n := strings.Count(events, "of workers in us-east-1 asks for a lease for the first time"); n != 3 {
		t.Errorf("%d agents have asked for the first time: a worker was stopped and started again\n%s", n, events)
	}
	calls, err := r.c.Mutations(r.ctx)
	r.do(err)
	if len(calls) != 2 {
		t.Errorf("%d mutating AWS calls, want one up and one down: %+v", len(calls), calls)
	}
	if s, err := r.c.AnyStatus(r.ctx); err != nil || s.Epoch != 1 || s.Execution != nil || s.Last != nil {
		t.Errorf("afterwards: %s, error %v", describe(s), err)
	}
	r.weights(255, 0)
}

// S8: without a majority nothing is done; leases run out where the policy says so, and that is all.
func TestIncidentP15MajorityLost(t *testing.T) {
	r := start(t)
	r.do(r.w.Cut(r.ctx, world.Third))
	r.until(10*time.Second, "no autonomy", func(s *harness.Status) bool { return s.Condition == "no-autonomy" })
	r.lose()
	r.record(20*time.Second, "the workers of us-east-1 to stop with their lease", func(rec world.Record) bool { return rec.Alive[world.Primary] == 0 })
	r.sleep(8 * time.Second) // another hold
	calls, err := r.c.Mutations(r.ctx)
	r.do(err)
	if len(calls) > 0 {
		t.Errorf("two nodes of five made %d mutating AWS calls, the first %s", len(calls), calls[0].Op)
	}
	r.weights(255, 0)
	if rec := r.record(time.Second, "a record", func(world.Record) bool { return true }); rec.Alive[world.Secondary] != 0 {
		t.Errorf("S1: %d workers live in us-east-2 without an epoch", rec.Alive[world.Secondary])
	}
	// The majority comes back, and with it the service.
	r.do(r.w.Heal(r.ctx, world.E1))
	r.do(r.w.Heal(r.ctx, world.Third))
	r.record(30*time.Second, "the workers of us-east-1 to run again", func(rec world.Record) bool { return rec.Alive[world.Primary] == 3 })
	if rec := r.record(time.Second, "a record", func(world.Record) bool { return true }); rec.Duplicates != 0 || rec.DualActiveMs != 0 {
		t.Errorf("S1: duplicates %d, both active %d ms", rec.Duplicates, rec.DualActiveMs)
	}
}

// A pause is in the log: it outlives a restart of every node, and keeps automation from a region that is really gone.
func TestIncidentP4PauseSurvivesRestarts(t *testing.T) {
	r := start(t)
	r.order("use2a", "pause", "--for", "1h")
	r.restartAll()
	r.do(r.healthy(30 * time.Second))
	text, err := os.ReadFile(r.c.Config)
	r.do(err)
	other := filepath.Join(r.c.Dir, "other.toml")
	r.do(os.WriteFile(other, []byte(strings.Replace(string(text), "max_per_day = 2", "max_per_day = 3", 1)), 0o600))
	if out := r.order("use2a", "config", "apply", other, "--wait", (r.slow * 8 * time.Second).String()); !strings.Contains(out, "in force") {
		t.Fatal(out)
	}
	r.do(r.healthy(30 * time.Second)) // its probes started anew
	r.do(r.w.DarkServices(r.ctx, world.E1))
	since := time.Now()
	r.until(30*time.Second, "an incident that is refused", func(s *harness.Status) bool { return s.Incident != nil && s.Incident.Refusal != "" })
	r.sleep(2 * time.Second)
	if s, err := r.c.AnyStatus(r.ctx); err != nil || s.Pause == nil || s.Execution != nil || s.Last != nil || s.Epoch != 1 {
		t.Errorf("paused: %s, error %v", describe(s), err)
	}
	r.do(r.w.LightServices(r.ctx, world.E1))
	r.nothingMoved(since)
}
