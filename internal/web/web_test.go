package web

import (
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

// source is a leader in the middle of everything, so that no metric is missing.
type source struct{ status admin.Status }

func (s source) Local() admin.Status { return s.status }

func (source) Verdicts() []failover.Verdict {
	return []failover.Verdict{{Region: "us-east-1", Health: failover.Down}, {Region: "us-east-2", Health: failover.Healthy, Abstain: true}}
}

func (source) Executions() map[failover.ExecState]int {
	return map[failover.ExecState]int{failover.ExecStable: 2}
}

func (source) LastContact() time.Time  { return time.Now().Add(-time.Second) }
func (source) CertNotAfter() time.Time { return time.Unix(1_900_000_000, 0) }

func (source) Traffic() (service string, to, left failover.Region, epoch uint64, ok bool) {
	return "messaging", "us-east-2", "us-east-1", 2, true
}

// unknowing is a node that has kept nothing yet.
type unknowing struct{ source }

func (unknowing) Traffic() (service string, to, left failover.Region, epoch uint64, ok bool) { return }

// S3, T1: only the region that was left is told to stop. A typing mistake, another
// service and a node that knows nothing leave a region as it is.
func TestGate(t *testing.T) {
	for path, want := range map[string]int{
		"/gate/messaging/us-east-1": 200, "/gate/messaging/us-east-2": 503, "/gate/messaging/us-east1": 404, "/gate/other/us-east-1": 404,
	} {
		if code, body := get(t, busy(), NewMetrics(busy()), path); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
		if code, body := get(t, unknowing{busy()}, NewMetrics(busy()), path); code != 503 {
			t.Errorf("%s of a node that knows nothing: %d %s", path, code, body)
		}
	}
}

func busy() source {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	return source{admin.Status{
		Epoch: 3, Active: "us-east-1", Standby: "us-east-2", Traffic: "us-east-1", Condition: failover.RegionDown, Config: "h", OwnFile: "h", Time: now,
		Raft: admin.RaftStatus{State: "Leader", Leader: "third", Term: 4, Applied: 99}, HoldElapsed: failover.Duration(30 * time.Second),
		Freeze: &failover.Freeze{ID: 7, Provisional: true}, Pause: &failover.Pause{Until: now.Add(time.Hour)},
		Execution: &failover.Execution{State: failover.ExecHeld, Question: &failover.Question{}},
		Members:   []admin.MemberStatus{{ID: "third", Vantage: "gru", Voted: true}},
		Fences:    []admin.FenceStatus{{Component: "workers", Rehearsed: now, WouldHave: 2}, {Component: "mail", Why: "no agent is heard"}},
		Late:      []failover.LateToken{{ID: 1, Token: 7}},
		Holds: []failover.StandingHold{
			{Component: "workers", Step: failover.Step{ID: "stop-workers", Region: "us-east-2"}, Status: failover.HoldKept},
			// Every switch that moved traffic is held by itself.
			{Component: "traffic", Step: failover.Step{ID: "switch-s3_object", Region: "us-east-1"}, Status: failover.HoldKept},
			{Component: "traffic", Step: failover.Step{ID: "switch-route53_weights", Region: "us-east-1"}, Status: failover.HoldViolated},
		},
		Agents: []admin.AgentStatus{{ID: "w1", AgentRecord: failover.AgentRecord{Region: "us-east-1", Component: "workers", LastAsked: now}}},
	}}
}

func get(t *testing.T, src Source, m *Metrics, path string) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	Server(src, m, slog.New(slog.DiscardHandler)).Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w.Code, w.Body.String()
}

// names are the metrics of an exposition with their types.
func names(t *testing.T, text string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (failoverd_\S+) (\S+)$`).FindAllStringSubmatch(text, -1) {
		out[m[1]] = m[2]
	}
	return out
}

// scrape is the exposition of a busy leader and of a follower together.
func scrape(t *testing.T) string {
	t.Helper()
	leader, follower := busy(), busy()
	follower.status.Raft.State = "Follower"
	m := NewMetrics(leader)
	m.Observe(failover.Observation{Component: "api", Kind: "http", Region: "us-east-1", Outcome: failover.Failed, Reason: failover.ReasonTimeout, Latency: 2 * time.Second})
	m.Observe(failover.Observation{Component: "api", Kind: "http", Region: "us-east-2", Outcome: failover.Slow, Latency: time.Second})
	m.RefusedCommand("attest", "lease-valid")
	m.RefusedRequest("ballot")
	code, a := get(t, leader, m, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("status %d: %s", code, a)
	}
	if _, again := get(t, leader, m, "/metrics"); !strings.Contains(again, faultless) {
		t.Errorf("a metric was left out: no %s", faultless)
	}
	_, b := get(t, follower, NewMetrics(follower), "/metrics")
	return a + b
}

const faultless = `promhttp_metric_handler_errors_total{cause="gathering"} 0`

// What cannot be gathered is left out and counted; the rest is served.
func TestOneBadMetric(t *testing.T) {
	s := busy()
	s.status.Holds = append(s.status.Holds, s.status.Holds[0])
	m := NewMetrics(s)
	code, text := get(t, s, m, "/metrics")
	if code != http.StatusOK || !strings.Contains(text, "\nfailoverd_epoch 3\n") || !strings.Contains(text, "\nfailoverd_question_open 1\n") {
		t.Errorf("status %d: %s", code, text)
	}
	if _, text = get(t, s, m, "/metrics"); strings.Contains(text, faultless) {
		t.Error("the metric that was left out is not counted")
	}
}

// Every metric has its values; the exposition is a promise to dashboards.
func TestExposition(t *testing.T) {
	text := scrape(t)
	for _, line := range []string{
		`failoverd_active_region{region="us-east-1"} 1`, `failoverd_active_region{region="us-east-2"} 0`,
		`failoverd_traffic_region{region="us-east-1"} 1`, `failoverd_condition{condition="region-down"} 1`,
		`failoverd_verdict{health="down",region="us-east-1"} 1`, `failoverd_verdict{health="healthy",region="us-east-1"} 0`,
		`failoverd_abstains 1`, `failoverd_voted{node="third",vantage="gru"} 1`, `failoverd_hold_elapsed_seconds 30`,
		`failoverd_freeze{provisional="true"} 1`, `failoverd_agents{component="workers",region="us-east-1"} 1`,
		`failoverd_agent_last_asked_timestamp_seconds{agent="w1",component="workers",region="us-east-1"} 1.7672256e+09`,
		`failoverd_standing_hold{component="workers",region="us-east-2",status="kept",step="stop-workers"} 1`,
		`failoverd_standing_hold{component="traffic",region="us-east-1",status="kept",step="switch-s3_object"} 1`,
		`failoverd_standing_hold{component="traffic",region="us-east-1",status="violated",step="switch-route53_weights"} 1`,
		`failoverd_fence_armed{component="workers"} 1`, `failoverd_fence_armed{component="mail"} 0`, `failoverd_late_writes 1`,
		`failoverd_refused_commands_total{command="attest",guard="lease-valid"} 1`, `failoverd_refused_requests_total{request="ballot"} 1`,
		`failoverd_paused 1`, `failoverd_execution{state="held"} 1`, `failoverd_question_open 1`, `failoverd_executions_total{outcome="stable"} 2`,
		`failoverd_raft_leader 1`, `failoverd_raft_leader 0`, `failoverd_raft_term 4`, `failoverd_raft_applied_index 99`, `failoverd_epoch 3`,
		`failoverd_certificate_not_after_timestamp_seconds 1.9e+09`,
		`failoverd_probe_success{component="api",kind="http",region="us-east-1"} 0`, `failoverd_probe_success{component="api",kind="http",region="us-east-2"} 1`,
		`failoverd_probe_results_total{component="api",kind="http",outcome="failed",reason="timeout",region="us-east-1"} 1`,
		`failoverd_probe_duration_seconds_bucket{component="api",kind="http",region="us-east-1",le="2.5"} 1`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("missing: %s", line)
		}
	}
	if !regexp.MustCompile(`(?m)^failoverd_raft_last_contact_seconds 1\.`).MatchString(text) {
		t.Error("missing: failoverd_raft_last_contact_seconds of a follower")
	}
}

// docs/metrics.md lists every metric with its type, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(failoverd_\\w+)` \\| (\\w+) \\|").FindAllStringSubmatch(string(doc), -1) {
		listed[m[1]] = m[2]
	}
	have := names(t, scrape(t))
	for _, n := range slices.Sorted(maps.Keys(have)) {
		if listed[n] != have[n] {
			t.Errorf("%s is a %s; docs/metrics.md says %q", n, have[n], listed[n])
		}
	}
	for _, n := range slices.Sorted(maps.Keys(listed)) {
		if have[n] == "" {
			t.Errorf("docs/metrics.md lists %s, which does not exist", n)
		}
	}
}

func TestReadiness(t *testing.T) {
	for want, change := range map[string]func(*admin.Status){
		"ready\n": func(*admin.Status) {},
		"not ready because no leader is known: there is no quorum, or an election is under way\n": func(s *admin.Status) { s.Raft.Leader = "" },
		"not ready because the cluster has no configuration yet\n":                                func(s *admin.Status) { s.Config = "" },
		"not ready because this node's file differs from the configuration in force\n":            func(s *admin.Status) { s.OwnFile = "other" },
	} {
		src := busy()
		change(&src.status)
		code, body := get(t, src, NewMetrics(src), "/readyz")
		if body != want || (code == http.StatusOK) != (want == "ready\n") {
			t.Errorf("%d %q, want %q", code, body, want)
		}
		// Alive is alive, quorum or not.
		if code, _ := get(t, src, NewMetrics(src), "/healthz"); code != http.StatusOK {
			t.Errorf("healthz: %d", code)
		}
	}
	src := busy()
	if code, body := get(t, src, NewMetrics(src), "/status.json"); code != http.StatusOK || !strings.Contains(body, `"active":"us-east-1"`) {
		t.Errorf("%d %s", code, body)
	}
	if code, _ := get(t, src, NewMetrics(src), "/"); code != http.StatusOK {
		t.Errorf("/: %d", code)
	}
	if code, _ := get(t, src, NewMetrics(src), "/nowhere"); code != http.StatusNotFound {
		t.Errorf("/nowhere: %d", code)
	}
	// It changes nothing, so it takes nothing.
	w := httptest.NewRecorder()
	Server(src, NewMetrics(src), slog.New(slog.DiscardHandler)).Handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/status.json", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}
