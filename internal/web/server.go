package web

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

// Server serves /metrics, /healthz, /readyz and /status.json. /healthz means
// that the process is alive, never that it has a quorum: a supervisor that
// replaced nodes for lack of a quorum would reap the cluster in mid-incident.
func Server(src Source, m *Metrics, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(m.reg, promhttp.HandlerOpts{
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelWarn), Timeout: 5 * time.Second,
		// One metric gone wrong must not take the others along in mid-incident: it is
		// left out, logged, and counted in promhttp_metric_handler_errors_total.
		ErrorHandling: promhttp.ContinueOnError, Registry: m.reg,
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
	mux.HandleFunc("GET /gate/{service}/{region}", gate(src))
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "failoverd: /metrics  /healthz  /readyz  /status.json  /gate/SERVICE/REGION")
	})
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 15 * time.Second,
		MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// Gate serves the gate and nothing else: it may face the internet, from where
// Route 53's health checkers come.
func Gate(src Source, log *slog.Logger) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /gate/{service}/{region}", gate(src))
	return &http.Server{
		Handler: mux, ReadHeaderTimeout: 2 * time.Second, ReadTimeout: 2 * time.Second, WriteTimeout: 2 * time.Second, IdleTimeout: 5 * time.Second,
		MaxHeaderBytes: 4 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// gate answers a health check that asks whether a region is to be left: 200
// "stop" only when the traffic was sent to another one. Everything else – it
// serves, this node knows nothing, it does not answer – leaves the region open, so
// that no loss of nodes moves traffic (invariant S3). The check is used inverted.
func gate(src Source) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		service, to, left, epoch, ok := src.Traffic()
		switch region := failover.Region(r.PathValue("region")); {
		case !ok:
			http.Error(w, "this node does not know where the traffic goes", http.StatusServiceUnavailable)
		case service != r.PathValue("service") || region != to && region != left:
			http.Error(w, fmt.Sprintf("this cluster protects %s in %s and %s", service, to, left), http.StatusNotFound)
		case region == to:
			http.Error(w, fmt.Sprintf("serve: %s has the traffic since epoch %d", to, epoch), http.StatusServiceUnavailable)
		default:
			fmt.Fprintf(w, "stop: %s has the traffic since epoch %d\n", to, epoch)
		}
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
