package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/world"
)

// switchOver leaves a region that lives. It serves whoever keeps a connection to it: its balancers are closed once the clients are sent on, and
// opened again when all is over.
func (r *rig) switchOver(node, site string) {
	r.Helper()
	r.order(node, "switchover")
	r.until(90*time.Second, "the clients to be sent on", func(s *harness.Status) bool {
		return s.Current() != nil && s.Current().StepState("check-traffic-traffic_observed") == "running"
	})
	r.do(r.w.Fault(r.ctx, site, faults.Fault{Service: "alb", Mode: faults.Refuse}))
	r.stable()
	r.do(r.w.ClearFaults(r.ctx, site))
}

// home judges a service that has been away: it is in us-east-1 again, in epoch 3, and no message was lost or done twice on all of its ways.
func (r *rig) home() {
	r.Helper()
	r.weights(255, 0)
	r.do(r.w.PauseProviders(r.ctx, true))
	r.do(r.c.Drain(r.ctx, r.slow*30*time.Second))
	v, err := r.c.Judge(r.ctx, time.Time{})
	r.do(err)
	r.Log(v.Line())
	if v.Active != world.Primary || v.Epoch != 3 || v.Duplicates != 0 || v.DualActiveMs != 0 || v.Lost != 0 {
		r.Errorf("active %s in epoch %d; duplicates %d, both active %d ms, lost %d", v.Active, v.Epoch, v.Duplicates, v.DualActiveMs, v.Lost)
	}
}

// The service leaves us-east-1, which lives, and comes home by the same configuration. MariaDB is taken along both ways: what us-east-2 has written stands in
// us-east-1 in the end, and so does what was there before.
func TestTheServiceComesHome(t *testing.T) {
	if why := world.MariaDBMissing(); why != "" {
		t.Fatal(why)
	}
	r := start(t, withMariaDB, edit(harness.Fresh), func(o *harness.Options) { o.Own = true })
	r.record(20*time.Second, "messages in us-east-1", func(rec world.Record) bool { return rec.Regions[world.Primary].Processed > 5 })
	r.switchOver("use2a", world.E1)
	r.record(20*time.Second, "messages in us-east-2", func(rec world.Record) bool { return rec.Regions[world.Secondary].Acked > 20 })
	if out, err := r.tells("use1a", "failover", "--why", "home"); err == nil || !strings.Contains(err.Error(), "refused by guard direction: us-east-2 is active, and the way back is a person's decision") {
		t.Errorf("a failover: %v: %s", err, out)
	}
	if out, err := r.tells("use1a", "readiness"); !strings.Contains(out, "`failoverd switchover --why …` brings the service home while us-east-2 lives") {
		t.Errorf("%v: %s", err, out)
	}
	r.switchOver("use1a", world.E2)
	r.home()
	if n, err := r.w.OnlyIn(r.ctx, world.Secondary, world.Primary); err != nil || n != 0 {
		t.Errorf("%d deliveries were left behind in us-east-2, %v", n, err)
	}
	for what, want := range map[string]string{
		"SELECT COUNT(*) FROM app.customers":                                                                 "2025",
		"SELECT COUNT(*) > 0 FROM app.deliveries WHERE region = 'us-east-2'":                                 "1",
		"SELECT COUNT(*) > 0 FROM app.deliveries WHERE region = 'us-east-1' AND message NOT LIKE 'before-%'": "1",
		"SELECT backup LIKE 'mariadb/app/failoverd-e3-t%.sql.zst' FROM failoverd.restored":                   "1",
	} {
		if got := r.sql(world.Primary, what); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	// Automation protects us-east-1 again, once it has rested.
	if out, err := r.tells("use1a", "readiness"); !strings.Contains(out, "automation rests until") || strings.Contains(out, "the way back") {
		t.Errorf("%v: %s", err, out)
	}
}

// The region that the service has moved to is lost. Nothing is done by itself, and it is said what a person can do; who insists on it leaves the dark region as any
// other, although the object that tells clients where to go lies there.
func TestTheRegionThatWasEnteredIsLost(t *testing.T) {
	r := start(t)
	r.switchOver("use2a", world.E1)
	r.record(20*time.Second, "messages in us-east-2", func(rec world.Record) bool { return rec.Regions[world.Secondary].Acked > 5 })
	r.do(r.w.Cut(r.ctx, world.E2))
	r.until(60*time.Second, "the refusal", func(s *harness.Status) bool {
		return s.Incident != nil && strings.Contains(s.Incident.Refusal, "`failoverd failover --override direction --why …`")
	})
	r.order("use1a", "failover", "--override", "direction")
	r.stable()
	r.record(20*time.Second, "messages in us-east-1", func(rec world.Record) bool { return rec.Regions[world.Primary].Acked > 5 })
	r.do(r.w.Heal(r.ctx, world.E2))
	r.home()
}
