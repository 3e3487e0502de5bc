package alb

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
)

func TestStatusCodesTellWhatIsBroken(t *testing.T) {
	var mu sync.Mutex
	healthy := true
	release := make(chan struct{})
	good := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if r.URL.Path == "/healthz" && !healthy {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, "good "+r.Host)
	}))
	t.Cleanup(good.Close)
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(release) })
	dead := httptest.NewServer(nil)
	dead.Close()

	var targets []string
	set := faults.NewSet(1)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	a := New(Options{Zones: map[string]string{"a": addr}, HealthPath: "/healthz", HealthEvery: 20 * time.Millisecond, IdleTimeout: 200 * time.Millisecond, Drain: 150 * time.Millisecond,
		Faults: set, Log: slog.New(slog.DiscardHandler), Targets: func() []string {
			mu.Lock()
			defer mu.Unlock()
			return targets
		}})
	if err := a.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	use := func(srv ...*httptest.Server) {
		mu.Lock()
		defer mu.Unlock()
		targets = nil
		for _, s := range srv {
			targets = append(targets, strings.TrimPrefix(s.URL, "http://"))
		}
	}
	get := func() int {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/messages", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	for _, tc := range []struct {
		what    string
		targets []*httptest.Server
		fault   faults.Mode
		want    int    // 0: no answer
		counted Counts // a request once a target was chosen for it, a refusal before that, and no health check
	}{
		{"no targets", nil, "", 503, Counts{Refused: 1}},
		{"a live target", []*httptest.Server{good}, "", 200, Counts{Requests: 1}},
		{"a target that refuses", []*httptest.Server{dead}, "", 502, Counts{Requests: 1}},
		{"a target that is silent", []*httptest.Server{silent}, "", 504, Counts{Requests: 1}},
		{"the zone refuses", []*httptest.Server{good}, faults.Refuse, 0, Counts{}},
		{"the zone fails", []*httptest.Server{good}, faults.Error, 503, Counts{Refused: 1}},
		{"the reply is lost", []*httptest.Server{good}, faults.LostReply, 0, Counts{Requests: 1}},
		{"the zone is dark", []*httptest.Server{good}, faults.Hang, 0, Counts{}}, // the last: what hung goes on afterwards
	} {
		before := a.Counts()
		use(tc.targets...)
		if tc.fault != "" {
			set.Add(faults.Fault{Service: "alb", Target: "a", Mode: tc.fault})
		}
		if got := get(); got != tc.want {
			t.Errorf("%s: status %d, want %d", tc.what, got, tc.want)
		}
		if n := a.Counts(); n.Requests-before.Requests != tc.counted.Requests || n.Refused-before.Refused != tc.counted.Refused {
			t.Errorf("%s: counted as %+v after %+v, want %+v more", tc.what, n, before, tc.counted)
		}
		set.Clear()
	}

	// A dead target is left out once the health checks have seen it; if no target is healthy, all are used.
	use(dead, good)
	deadline := time.Now().Add(5 * time.Second)
	for h := a.Health(); len(h) != 2 || h[strings.TrimPrefix(dead.URL, "http://")] || !h[strings.TrimPrefix(good.URL, "http://")]; h = a.Health() {
		if time.Now().After(deadline) {
			t.Fatalf("health %v", h)
		}
		<-time.After(5 * time.Millisecond)
	}
	for range 10 {
		if got := get(); got != 200 {
			t.Errorf("with one healthy target: %d", got)
		}
	}
	mu.Lock()
	healthy = false
	mu.Unlock()
	use(good)
	for a.Health()[strings.TrimPrefix(good.URL, "http://")] {
		<-time.After(5 * time.Millisecond)
	}
	if got := get(); got != 200 {
		t.Errorf("no healthy target: %d, want the load balancer to fail open", got)
	}

	// What the API says: the reason of what is wrong, and a target that was taken out drains before it is forgotten.
	state := func(srv *httptest.Server) string {
		for _, h := range a.Describe() {
			if h.Address == strings.TrimPrefix(srv.URL, "http://") {
				return strings.TrimSpace(h.State + " " + h.Reason + " " + h.Description)
			}
		}
		return "none"
	}
	become := func(srv *httptest.Server, want string) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); state(srv) != want; <-time.After(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("the target is %q, want %q", state(srv), want)
			}
		}
	}
	become(good, "unhealthy Target.ResponseCodeMismatch Health checks failed with these codes: [500]")
	use(dead, silent)
	become(dead, "unhealthy Target.FailedHealthChecks Health checks failed")
	become(silent, "unhealthy Target.Timeout Request timed out")
	become(good, "draining Target.DeregistrationInProgress Target deregistration is in progress")
	mu.Lock()
	healthy = true
	mu.Unlock()
	use(good)
	become(good, "healthy")
	become(dead, "draining Target.DeregistrationInProgress Target deregistration is in progress")
	become(dead, "none")
}
