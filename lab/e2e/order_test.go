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

// The other order of the runbook is one line, which config check warns of: clients are served before the data are there, their messages wait
// in the queue, and no worker starts before its database. The backups cannot be listed until the clients have been served for a while.
func TestTrafficBeforeData(t *testing.T) {
	r := start(t, func(o *harness.Options) {
		withMariaDB(o)
		o.Config.Set["traffic.after"] = `["api"]`
		o.Config.Set["component.mariadb.start.retries"] = `0` // a busy machine may take longer to serve the clients than five retries
	})
	log, err := os.ReadFile(filepath.Join(r.c.Dir, "log", "use2a.log"))
	r.do(err)
	if warning := "clients arrive before mariadb is restored in us-east-2: what they write meanwhile may be lost"; !strings.Contains(string(log), warning) {
		t.Errorf("the node has not warned that %s", warning)
	}
	at := r.lose()
	r.until(90*time.Second, "an execution", func(s *harness.Status) bool { return s.Current() != nil })
	r.do(r.w.Fault(r.ctx, world.E2, faults.Fault{Service: "s3", Op: "ListObjectsV2", Mode: faults.Error}))
	served := r.record(90*time.Second, "clients that us-east-2 serves", func(rec world.Record) bool { return rec.Regions[world.Secondary].Acked > 20 })
	s := r.until(time.Second, "the execution", func(s *harness.Status) bool { return s.Current() != nil })
	for _, step := range []string{"start-mariadb", "start-workers"} {
		if state := s.Current().StepState(step); state == "done" {
			t.Errorf("%s is done although no backup could be listed", step)
		}
	}
	if s.Traffic != world.Secondary || served.Regions[world.Secondary].Processed != 0 {
		t.Errorf("traffic %s, %d messages processed in us-east-2 without its database", s.Traffic, served.Regions[world.Secondary].Processed)
	}
	r.do(r.w.ClearFaults(r.ctx, world.E2))
	r.stable()
	r.movedSafely(at, 1)
	if n := r.sql(world.Secondary, "SELECT COUNT(*) FROM app.customers"); n != "2000" {
		t.Errorf("%s customers, want the 2000 of the backup", n)
	}
}
