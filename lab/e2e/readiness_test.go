package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/world"
)

// The fence is armed when its agents have shown on a process that is no worker that they kill in time; readiness says so,
// and says what is missing.
func TestRehearsalMakesReady(t *testing.T) {
	r := start(t, set("lease.stop.kill", `"500ms"`)) // at a twelfth of the times, on a machine that does much else
	before, err := r.c.CLI(r.ctx, "use2a", "readiness")
	if err == nil || !strings.Contains(before, "not ready because") || !strings.Contains(before, "has never rehearsed") {
		t.Errorf("before any rehearsal: %v\n%s", err, before)
	}
	rehearse := func(component string) (string, error) {
		return r.tells("use2a", "fence", "rehearse", component, "--why", "the yearly exercise")
	}
	out, err := rehearse("workers")
	if err != nil || strings.Count(out, "passed") != 3 {
		t.Fatalf("rehearsal: %v\n%s", err, out)
	}
	t.Log(out)
	for _, asked := range []string{"functions", "nightly"} {
		if out, err := rehearse(asked); err != nil || strings.Count(out, "passed") != 2 {
			t.Fatalf("rehearsal of what %s ask: %v\n%s", asked, err, out)
		}
	}
	after := ""
	for end := time.Now().Add(r.slow * 15 * time.Second); ; time.Sleep(500 * time.Millisecond) {
		if after, err = r.c.CLI(r.ctx, "use2a", "readiness"); err == nil || time.Now().After(end) {
			break
		}
	}
	if err != nil || !strings.HasSuffix(strings.TrimSpace(after), "\nready") {
		t.Errorf("after the rehearsal: %v\n%s", err, after)
	}
	if !strings.Contains(after, "the newest backup in us-east-2 is mariadb/app/4.sql.gz: as of ") || !strings.Contains(after, "loss mariadb") {
		t.Errorf("of the backups and what would be lost with them:\n%s", after)
	}
	t.Log(after)
	rec := r.record(5*time.Second, "a record", func(world.Record) bool { return true })
	if rec.Alive[world.Primary] != 3 {
		t.Errorf("%d workers live after a rehearsal", rec.Alive[world.Primary])
	}
	if out, err := r.tells("use2a", "fence", "rehearse", "nothing"); err == nil || !strings.Contains(out+err.Error(), "not a component that runs under a lease") {
		t.Errorf("a component without agents: %v\n%s", err, out)
	}
}
