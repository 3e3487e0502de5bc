package web

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/failoverd/failoverd/internal/admin"
)

// Server serves /metrics, /healthz, /readyz and /status.json. /healthz means
// that the process is alive, never that it has a quorum: a supervisor that
// replaced nodes for lack of a quorum would reap the cluster in mid-incident.
func Server(src Source, m *Metrics, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.reg, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), Timeout: 5 * time.Second,
	}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if why := notReady(src.Local()); why != "" {
			http.Error(w, "not ready because "+why, http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /status.json", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(src.Local()) // an error means that the caller is gone
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "failoverd: /metrics  /healthz  /readyz  /status.json")
	})
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 15 * time.Second,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// notReady says why the node could not take part in a failover now.
func notReady(s admin.Status) string {
	switch {
	case s.Raft.Leader == "":
		return "no leader is known: there is no quorum, or an election is under way"
	case s.Config == "":
		return "the cluster has no configuration yet"
	case s.Config != s.OwnFile:
		return "this node's file differs from the configuration in force"
	}
	return ""
}
