package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/harness"
)

// A changed configuration moves to all nodes while workers run: none is stopped, and nothing in the world changes. While an
// execution is open it waits, and is in force right after.
func TestConfigurationMovesWhileWorkersRun(t *testing.T) {
	r := start(t, edit(harness.Supervised))
	text, err := os.ReadFile(r.c.Config)
	r.do(err)
	apply := func(name, old, now string) string {
		r.Helper()
		next := strings.Replace(string(text), old, now, 1)
		if next == string(text) {
			r.Fatalf("the configuration has no %q", old)
		}
		file := filepath.Join(r.c.Dir, name)
		r.do(os.WriteFile(file, []byte(next), 0o600))
		out, err := r.c.CLI(r.ctx, "use2a", "config", "apply", file, "--why", "a test", "--wait", "8s")
		if err != nil {
			r.Fatalf("%v: %s", err, out)
		}
		r.Log(out)
		return out
	}
	inForce := func(old string) string {
		r.Helper()
		now := ""
		r.do(r.c.Poll(r.ctx, 10*time.Second, func() (bool, string) {
			seen := map[string]bool{}
			for _, n := range harness.Nodes {
				s, err := r.c.Status(r.ctx, n)
				if err != nil {
					return false, err.Error()
				}
				seen[s.Config], now = true, s.Config
			}
			return len(seen) == 1 && now != old, "one new configuration on all nodes"
		}))
		return now
	}
	before, err := r.c.AnyStatus(r.ctx)
	r.do(err)

	since := time.Now()
	out := apply("longer.toml", `max_per_day = 2`, `max_per_day = 3`)
	if !strings.Contains(out, "this changes what failoverd may do:\n  max_per_day: 2 → 3") || !strings.Contains(out, "in force") {
		t.Errorf("said %s", out)
	}
	first := inForce(before.Config)
	r.do(r.c.WaitHealthy(r.ctx, 15*time.Second, nil)) // its probes started anew
	time.Sleep(3 * time.Second)                       // half a lease: workers that were told to stop would be gone
	r.nothingMoved(since)

	if out, err := r.c.CLI(r.ctx, "use2a", "failover", "--why", "a test"); err != nil {
		t.Fatal(err, out)
	}
	r.until(10*time.Second, "the question", func(s *harness.Status) bool { return s.Execution != nil && s.Execution.Question != nil })
	out = apply("more.toml", `max_per_day = 2`, `max_per_day = 4`)
	if !strings.Contains(out, "it waits for execution ") {
		t.Errorf("said %s", out)
	}
	if now := inForce(before.Config); now != first {
		t.Errorf("configuration %s is in force during an execution that began with %s", now, first)
	}
	if out, err := r.c.CLI(r.ctx, "use2a", "abort", "--why", "a test"); err != nil {
		t.Fatal(err, out)
	}
	inForce(first)
	r.nothingMoved(since)
}
