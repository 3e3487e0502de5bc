package app

import (
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/failoverd/failoverd/lab/ctl"
)

// A worker runs only on a clear yes.
func TestWorkerAsksItsAgent(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "a.sock")
	w := &worker{WorkerOptions: WorkerOptions{ActiveSocket: socket, Log: slog.New(slog.DiscardHandler)}, agent: agentClient(socket)}
	if _, ok := w.active(t.Context()); ok {
		t.Error("active without an agent")
	}
	status, body := 200, ""
	mux := http.NewServeMux()
	mux.HandleFunc("GET /active", func(rw http.ResponseWriter, _ *http.Request) {
		rw.WriteHeader(status)
		_, _ = io.WriteString(rw, body)
	})
	if err := ctl.Serve(t.Context(), socket, mux); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		status int
		body   string
		epoch  uint64
		ok     bool
	}{
		{200, `{"active":true,"epoch":7}`, 7, true},
		{200, `{"active":false,"epoch":7}`, 7, false},
		{503, `{"active":true,"epoch":7}`, 0, false},
		{200, `nonsense`, 0, false},
	} {
		status, body = tc.status, tc.body
		if epoch, ok := w.active(t.Context()); epoch != tc.epoch || ok != tc.ok {
			t.Errorf("%d %s: epoch %d, active %v", tc.status, tc.body, epoch, ok)
		}
	}
	w.ActiveSocket = ""
	if _, ok := w.active(t.Context()); !ok {
		t.Error("without a socket a worker just works")
	}
}
