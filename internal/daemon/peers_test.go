package daemon

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"log/slog"
)

// What is refused to a peer is counted by its kind, and the log says whose it was and
// why; what is only not possible now is neither.
func TestRefusedRequestsAreSeen(t *testing.T) {
	var log strings.Builder
	var counted []string
	p := &peerServer{log: slog.New(slog.NewTextHandler(&log, nil)), refused: func(request string) { counted = append(counted, request) }}
	for path, want := range map[string]int{pathBallot: http.StatusForbidden, pathLease: http.StatusForbidden, "/v1/anything": http.StatusNotFound} {
		counted = nil
		log.Reset()
		w := httptest.NewRecorder()
		p.handler().ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, strings.NewReader("{}")))
		kind := map[string]string{pathBallot: "ballot", pathLease: "lease"}[path]
		if kind == "" {
			kind = "other"
		}
		if w.Code != want || len(counted) != 1 || counted[0] != kind || !strings.Contains(log.String(), "192.0.2.1") || !strings.Contains(log.String(), strings.TrimSpace(w.Body.String())) {
			t.Errorf("%s: %d, counted %v, logged %s", path, w.Code, counted, &log)
		}
	}
	counted = nil
	p.watched(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "not the leader", http.StatusServiceUnavailable)
	})).ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, pathBallot, nil))
	if counted != nil {
		t.Errorf("counted %v", counted)
	}
}
