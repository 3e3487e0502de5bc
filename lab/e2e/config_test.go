package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
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
		out := r.order("use2a", "config", "apply", file, "--wait", (r.slow * 8 * time.Second).String())
		r.Log(out)
		return out
	}
	inForce := func(old string) string {
		r.Helper()
		now := ""
		r.do(r.poll(10*time.Second, func() (bool, string) {
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
	r.do(r.healthy(15 * time.Second)) // its probes started anew
	r.sleep(3 * time.Second)          // half a lease: workers that were told to stop would be gone
	r.nothingMoved(since)

	r.order("use2a", "failover")
	r.until(10*time.Second, "the question", func(s *harness.Status) bool { return s.Execution != nil && s.Execution.Question != nil })
	out = apply("more.toml", `max_per_day = 2`, `max_per_day = 4`)
	if !strings.Contains(out, "it waits for execution ") {
		t.Errorf("said %s", out)
	}
	if now := inForce(before.Config); now != first {
		t.Errorf("configuration %s is in force during an execution that began with %s", now, first)
	}
	r.order("use2a", "abort")
	first = inForce(first)
	r.nothingMoved(since)

	// From now on what makes something happen takes two nodes (S10).
	apply("two.toml", "two_nodes = false", "two_nodes = true")
	inForce(first)
	order := []string{"failover", "--why", "through two nodes"}
	if out, err := r.tells("use2b", order...); err == nil || !strings.Contains(err.Error(), "exit status 4: failoverd: not yet: order ") || !strings.Contains(err.Error(), "give the same command on another node by ") {
		t.Errorf("through one node: %v: %s", err, out)
	}
	if out, err := r.c.CLI(r.ctx, "use2a", "status"); err != nil || !strings.Contains(out, `waits for a second node until `) || !strings.Contains(out, `through node use2b ("through two nodes")`) {
		t.Errorf("%v: %s", err, out)
	}
	r.nothingMoved(since)
	if s, err := r.c.AnyStatus(r.ctx); err != nil || s.Execution != nil {
		t.Errorf("something has begun: %v, %+v", err, s)
	}
	if out, err := r.tells("third", order...); err != nil || !strings.Contains(out, "has begun") {
		t.Errorf("through the second: %v: %s", err, out)
	}
	r.until(10*time.Second, "the question", func(s *harness.Status) bool { return s.Execution != nil && s.Execution.Question != nil })
	r.order("use2b", "abort") // one node is enough to stop
	r.nothingMoved(since)
}

// S8: agents are replaced by a newer program and newer files, and every certificate is renewed, while workers run: none is
// stopped. An agent that could not go on with the new files is not replaced. When the region is cut off afterwards, they end
// their workers as before.
func TestAgentsAndCertificatesAreRenewedWhileWorkersRun(t *testing.T) {
	r := start(t)
	since := time.Now()
	said := func(text string) int {
		logs, err := filepath.Glob(filepath.Join(r.c.Dir, "log", "us-east-1-*.log"))
		r.do(err)
		n := 0
		for _, path := range logs {
			b, err := os.ReadFile(path)
			r.do(err)
			n += strings.Count(string(b), text)
		}
		return n
	}
	hup := func(what, text string) {
		r.Helper()
		before, sent := said(text), time.Time{}
		r.do(r.poll(20*time.Second, func() (bool, string) {
			if time.Since(sent) > r.slow*3*time.Second { // one that is being replaced hears no signal
				for _, pid := range r.c.Agents() {
					r.do(syscall.Kill(pid, syscall.SIGHUP))
				}
				sent = time.Now()
			}
			n := said(text) - before
			return n >= 5, fmt.Sprintf("%s: %d of the 5 agents of us-east-1", what, n) // three of workers, two that serve
		}))
	}
	r.do(r.c.Renew(r.ctx))
	hup("replaced", "took over from the earlier program")
	good, err := os.ReadFile(r.c.Config)
	r.do(err)
	r.do(os.WriteFile(r.c.Config, []byte("rubbish"), 0o600))
	hup("kept", "not replaced: the agent goes on as it was")
	r.do(os.WriteFile(r.c.Config, good, 0o600))
	hup("replaced again", "took over from the earlier program")
	r.sleep(8 * time.Second) // longer than a lease: every worker lives by what its new agent was granted
	r.workersLived(since)
	r.nothingMoved(since)
	at := r.lose()
	r.stable()
	r.movedSafely(at, 1)
}
