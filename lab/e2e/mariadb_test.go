package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/world"
)

// withMariaDB gives each region a real MariaDB, and the plan its restore.
func withMariaDB(o *harness.Options) { o.MariaDB = true }

// sql asks a region's MariaDB as root.
func (r *rig) sql(reg, statement string) string {
	r.Helper()
	out, err := r.w.SQL(r.ctx, reg, statement)
	r.do(err)
	return strings.TrimSpace(out)
}

// The region goes dark, and its database with it: the other one's is restored from the newest backup before any worker starts. The leader
// is killed in the middle of the restore. What is there in the end is the backup, and what was written since.
func TestMariaDBComesAlong(t *testing.T) {
	if why := world.MariaDBMissing(); why != "" {
		t.Fatal(why)
	}
	r := start(t, withMariaDB)
	r.record(20*time.Second, "messages in us-east-1", func(rec world.Record) bool { return rec.Regions[world.Primary].Processed > 5 })
	if n := r.sql(world.Secondary, "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'app'"); n != "0" {
		t.Fatal("the data are there before anybody has restored them")
	}
	// On a quiet day the restore is tried out, on a node of the standby region. Nothing of it stays.
	out, err := r.c.CLI(r.ctx, "use2a", "drill", "--only", "mariadb", "--why", "monthly")
	r.do(err)
	if !strings.Contains(out, "mariadb can be started: tried out in ") {
		t.Errorf("the drill says %s", out)
	}
	if n := r.sql(world.Secondary, "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE 'app%'"); n != "0" {
		t.Errorf("the drill has left %s schemas", n)
	}
	if out, err = r.c.CLI(r.ctx, "use2a", "readiness"); !strings.Contains(out, "tried out by use2a on ") {
		t.Errorf("readiness knows of no drill: %s, %v", out, err)
	}
	at := r.lose()
	s := r.until(90*time.Second, "the restore to begin", func(s *harness.Status) bool {
		state := ""
		if s.Current() != nil {
			state = s.Current().StepState("start-mariadb")
		}
		return state == "running" || state == "done"
	})
	leader := s.Raft.Leader
	r.do(r.c.KillNode(r.ctx, leader))
	r.do(r.c.StartNode(r.ctx, leader)) // two of five are in the dark: another one is not to be missed for long
	r.stable()
	r.movedSafely(at, 1)
	for what, want := range map[string]string{
		"SELECT COUNT(*) FROM app.customers":                                                             "2000",
		"SELECT COUNT(*) FROM app.deliveries WHERE message LIKE 'before-%'":                              "2000",
		"SELECT COUNT(*) FROM app.deliveries WHERE region = 'us-east-1' AND message NOT LIKE 'before-%'": "0",
		"SELECT COUNT(*) FROM information_schema.triggers WHERE trigger_schema = 'app'":                  "1",
		"SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = 'app'":                  "1",
		"SELECT COUNT(*) FROM information_schema.views WHERE table_schema = 'app'":                       "1",
		"SELECT GROUP_CONCAT(status) FROM information_schema.events WHERE event_schema = 'app'":          "DISABLED",
		"SELECT SUM(deliveries) - (SELECT COUNT(*) FROM app.deliveries) FROM app.totals":                 "0", // the trigger counts on
	} {
		if got := r.sql(world.Secondary, what); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	if n := r.sql(world.Secondary, "SELECT COUNT(*) FROM app.deliveries WHERE region = 'us-east-2'"); n == "0" {
		t.Error("the workers of us-east-2 have written nothing down")
	}
	if got := r.sql(world.Secondary, "SELECT COUNT(*) FROM failoverd.restored"); got == "0" {
		t.Error("nothing says what was restored")
	}
}
