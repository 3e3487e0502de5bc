package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
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

// The only backup is older than the configuration allows, which makes a standby that is not ready: automation stays away, and a person goes
// on. The restore refuses with the command that lifts that; rubbish in its place is refused with a word; and what is allowed outlives the
// leader that it was told to.
func TestABackupIsAllowedInMidPlan(t *testing.T) {
	r := start(t, withMariaDB)
	text, err := os.ReadFile(filepath.Join(r.c.Dir, "config.toml"))
	r.do(err)
	young := regexp.MustCompile(`(start\.mariadb_restore = .*)max_age = "[^"]*", takes = "[^"]*"`).ReplaceAll(text, []byte(`${1}max_age = "5m", takes = "1m"`))
	if bytes.Equal(young, text) {
		t.Fatal("the restore says nothing of how old a backup may be")
	}
	file := filepath.Join(r.c.Dir, "young.toml")
	r.do(os.WriteFile(file, young, 0o600))
	if out := r.order("use2a", "config", "apply", file, "--wait", (r.slow * 8 * time.Second).String()); !strings.Contains(out, "in force") {
		t.Fatal(out)
	}
	r.sleep(5 * time.Second) // the probes have begun anew
	at := r.lose()
	r.until(60*time.Second, "an incident that automation leaves to people", func(s *harness.Status) bool { return s.Incident != nil && s.Current() == nil })
	r.order("use2a", "failover", "--override", "standby")
	const step, command = "start-mariadb", "`failoverd retry start-mariadb --allow old --why …`"
	r.do(r.poll(90*time.Second, func() (bool, string) {
		out, err := r.c.CLI(r.ctx, "use2a", "status")
		return err == nil && strings.Contains(out, command), "a refusal with its command, and not " + out
	}))
	for said, args := range map[string][]string{
		`"bogus" is nothing that step start-mariadb can be allowed; these are: `: {"retry", step, "--allow", "bogus", "--why", "x"},
		`step start-workers refuses nothing that could be allowed`:               {"retry", "start-workers", "--allow", "old", "--why", "x"},
		`the plan has no step "start-nothing"`:                                   {"retry", "start-nothing", "--allow", "old", "--why", "x"},
		"needs a reason":                                                         {"retry", step, "--allow", "old"},
		`only a failed or unclear step can be tried again`:                       {"retry", step, "--why", "x"},
	} {
		if out, err := r.tells("use2a", args...); err == nil || !strings.Contains(err.Error()+out, said) {
			t.Errorf("%v: %v: %s; want %q", args, err, out, said)
		}
	}
	if n := r.sql(world.Secondary, "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'app'"); n != "0" {
		t.Error("what was refused is there")
	}
	r.order("use2a", "retry", step, "--allow", "old")
	leader := r.until(10*time.Second, "a leader", func(s *harness.Status) bool { return s.Raft.Leader != "" }).Raft.Leader
	r.do(r.c.KillNode(r.ctx, leader))
	r.do(r.c.StartNode(r.ctx, leader))
	r.stable()
	if out, err := r.tells("use2a", "retry", step, "--allow", "old", "--why", "pressed twice"); err == nil {
		t.Errorf("pressed twice: %s", out)
	}
	r.movedSafely(at, 1)
	if n := r.sql(world.Secondary, "SELECT COUNT(*) FROM app.customers"); n != "2000" {
		t.Errorf("%s customers, want the 2000 of the backup", n)
	}
	if out, err := r.c.CLI(r.ctx, "use2a", "events"); err != nil || !strings.Contains(out, "step start-mariadb is allowed, for this execution: old") {
		t.Errorf("%v: %s", err, out)
	}
}

// The service is brought elsewhere while its region lives: no row is lost, although the newest backup lacks what came after it. The leader is killed
// in the middle of it.
func TestASwitchoverLosesNoRow(t *testing.T) {
	if why := world.MariaDBMissing(); why != "" {
		t.Fatal(why)
	}
	r := start(t, withMariaDB, edit(harness.Fresh), func(o *harness.Options) { o.Own = true })
	r.record(20*time.Second, "messages in us-east-1", func(rec world.Record) bool { return rec.Regions[world.Primary].Processed > 5 })
	r.do(r.poll(60*time.Second, func() (bool, string) {
		out, _ := r.c.CLI(r.ctx, "use2a", "readiness") // no fence was rehearsed: it is not ready
		return strings.Contains(out, "step dump-mariadb") && strings.Contains(out, "MariaDB in us-east-1 is not dumped"), "readiness to tell of the dump, and not " + out
	}))
	if out, err := r.c.CLI(r.ctx, "use2a", "price", "--switchover"); err != nil || !strings.Contains(out, "lost of mariadb: nothing; step dump-mariadb takes along what us-east-1 holds") {
		t.Errorf("%v: %s", err, out)
	}
	// A failover would lose what was written since the backup, of which the primary tells: 25 rows at least, and not the 2000 that are in it.
	r.do(r.poll(20*time.Second, func() (bool, string) {
		out, err := r.c.CLI(r.ctx, "use2a", "price")
		if err != nil || strings.Contains(out, "takes along") {
			t.Errorf("a failover: %v: %s", err, out)
		}
		var rows int
		_, line, told := strings.Cut(out, "at risk of mariadb: ")
		_, err = fmt.Sscanf(line, "about %d rows in MariaDB in us-east-1, written since the backup mariadb/app/4.sql.gz as of ", &rows)
		return told && err == nil && rows >= 25 && rows < 1000, "the rows at risk in the price of a failover, and not " + out
	}))
	if out, err := r.c.CLI(r.ctx, "use2a", "price", "--switchover"); err != nil || strings.Contains(out, "at risk of mariadb") {
		t.Errorf("a switchover: %v: %s", err, out)
	}
	if out, _ := r.c.CLI(r.ctx, "use2a", "readiness"); !regexp.MustCompile(`at risk mariadb +about \d+ rows in MariaDB in us-east-1, `).MatchString(out) {
		t.Errorf("readiness does not tell of the rows: %s", out)
	}
	r.w.Note(r.ctx, "switchover")
	at, err := r.c.NoteTime(r.ctx, "switchover")
	r.do(err)
	r.order("use2a", "switchover")
	s := r.until(90*time.Second, "the dump to begin", func(s *harness.Status) bool {
		return s.Current() != nil && s.Current().StepState("dump-mariadb") != "" && s.Current().StepState("dump-mariadb") != "pending"
	})
	leader := s.Raft.Leader
	r.do(r.c.KillNode(r.ctx, leader))
	r.do(r.c.StartNode(r.ctx, leader))
	// The old region lives, and serves whoever keeps a connection to it: its balancers are closed once the clients are sent on.
	r.until(90*time.Second, "the clients to be sent on", func(s *harness.Status) bool {
		return s.Current() != nil && s.Current().StepState("check-traffic-traffic_observed") == "running"
	})
	r.do(r.w.Fault(r.ctx, world.E1, faults.Fault{Service: "alb", Mode: faults.Refuse}))
	r.stable()
	if n, err := r.w.OnlyIn(r.ctx, world.Primary, world.Secondary); err != nil || n != 0 {
		t.Errorf("%d deliveries were left behind, %v", n, err)
	}
	for what, want := range map[string]string{
		"SELECT COUNT(*) FROM app.customers":                                                                 "2025", // the newest backup has 2000
		"SELECT COUNT(*) FROM information_schema.routines WHERE routine_schema = 'app'":                      "1",
		"SELECT COUNT(*) > 0 FROM app.deliveries WHERE region = 'us-east-1' AND message NOT LIKE 'before-%'": "1",
		"SELECT backup LIKE 'mariadb/app/failoverd-e2-t%.sql.zst' FROM failoverd.restored":                   "1",
	} {
		if got := r.sql(world.Secondary, what); got != want {
			t.Errorf("%s: %s, want %s", what, got, want)
		}
	}
	r.record(20*time.Second, "messages in us-east-2", func(rec world.Record) bool { return rec.Regions[world.Secondary].Acked > 5 })
	r.do(r.w.PauseProviders(r.ctx, true))
	r.do(r.c.Drain(r.ctx, r.slow*30*time.Second))
	v, err := r.c.Judge(r.ctx, at)
	r.do(err)
	r.Log(v.Line())
	if v.Active != world.Secondary || v.Epoch != 2 || v.Duplicates != 0 || v.DualActiveMs != 0 || v.Lost != 0 {
		t.Errorf("active %s in epoch %d; duplicates %d, both active %d ms, lost %d", v.Active, v.Epoch, v.Duplicates, v.DualActiveMs, v.Lost)
	}
}
