package daemon

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/boottime"
)

// What GET /lease answers, and when.
func TestLeaseAnswers(t *testing.T) {
	clock := boottime.System{}
	served := fence.NewServed(clock)
	h := leaseHandler(func(need time.Duration) fence.Leave {
		l := served.Ask(need)
		if l.Valid {
			l.Epoch = 7
		}
		return l
	})
	ask := func(query string, status int, want ...string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/lease"+query, nil))
		for _, s := range want {
			if w.Code != status || !strings.Contains(w.Body.String(), s) {
				t.Errorf("%s: %d %s, want %d with %s", query, w.Code, w.Body, status, s)
			}
		}
		if status == http.StatusServiceUnavailable && strings.Contains(w.Body.String(), "epoch") {
			t.Errorf("a token without leave: %s", w.Body)
		}
	}
	ask("?need=30s", http.StatusServiceUnavailable, `"valid":false`, "there is no lease")
	now := clock.Boot()
	if err := served.Start(fence.Deadlines{Term: now + 50*time.Second, Kill: now + time.Minute}); err != nil {
		t.Fatal(err)
	}
	ask("?need=30s", http.StatusOK, `"valid":true`, `"remaining_ms":59`, `"epoch":7`)
	ask("?need=2m", http.StatusServiceUnavailable, `"valid":false`, "the lease is good for 1m0s, and you may run for 2m0s")
	ask("?need=soon", http.StatusBadRequest, "/lease?need=28s")
	ask("", http.StatusBadRequest, "need: how long you may still run")
}

// The examples in deploy/ work with a lease and refuse without one, and ask the next
// agent when one does not answer. What is not installed here is not tested.
func TestLeaseExamples(t *testing.T) {
	served := fence.NewServed(boottime.System{})
	srv := httptest.NewServer(leaseHandler(served.Ask))
	defer srv.Close()
	dead := httptest.NewServer(nil)
	dead.Close()
	dir, err := filepath.Abs("../../deploy/examples")
	if err != nil {
		t.Fatal(err)
	}
	// Each says "works", or ends in an error that holds what the agent said.
	const python = `
import sys; sys.path.insert(0, "."); import lambda_lease as f
class Context: get_remaining_time_in_millis = lambda self: 28000
done = []; f.process = done.append
f.handler({"Records": [{"body": "a"}, {"body": "b"}]}, Context())
print("works" if done == ["a", "b"] else done)`
	const node = `
import("./lambda_lease.mjs").then(f => f.handler({Records: [{body: "a"}]}, {getRemainingTimeInMillis: () => 28000})).then(() => console.log("works"))`
	for name, argv := range map[string][]string{
		"python": {"python3", "-B", "-c", python}, "node": {"node", "-e", node}, "go": {"go", "run", "lambda_lease.go"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath(argv[0]); err != nil {
				t.Fatal(argv[0] + " is not installed: make deps installs it")
			}
			agents := strings.TrimPrefix(dead.URL, "http://") + "," + strings.TrimPrefix(srv.URL, "http://")
			run := func(agents string) string {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
				cmd.Dir = dir
				cmd.Env = append(os.Environ(), "FAILOVERD_LEASE="+agents)
				out, _ := cmd.CombinedOutput() // it says how it ended
				return string(out)
			}
			if out := run("off"); strings.TrimSpace(out) != "works" {
				t.Errorf("by hand: %s", out)
			}
			if out := run(agents); strings.Contains(out, "works") || !strings.Contains(out, "there is no lease: another region may be active") {
				t.Errorf("without a lease: %s", out)
			}
			now := boottime.System{}.Boot()
			if err := served.Start(fence.Deadlines{Term: now + 5*time.Minute, Kill: now + 6*time.Minute}); err != nil {
				t.Fatal(err)
			}
			if out := run(agents); strings.TrimSpace(out) != "works" {
				t.Errorf("with a lease: %s", out)
			}
			_ = served.Stop(now)
		})
	}
}

// A leave is read by programs: its fields stand.
func TestLeaveFields(t *testing.T) {
	b, err := json.Marshal(fence.Leave{Valid: true, RemainingMS: 2, Epoch: 3})
	if err != nil || string(b) != `{"valid":true,"remaining_ms":2,"epoch":3}` {
		t.Errorf("%s, %v", b, err)
	}
}
