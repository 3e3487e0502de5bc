// Package kubefake serves a small Kubernetes cluster in a region of the simulated world: the API server of internal/kubetest,
// which the daemon's own tests hold against a real one, behind TLS and a bearer token, with three machines and faults.
//
// Faults of the service `kube` hit the API server: op is the verb (get, list, patch), target the resource (deployments). Those of
// `pods` hit what runs: target is a machine.
package kubefake

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/failoverd/failoverd/internal/kubetest"
	"github.com/failoverd/failoverd/lab/faults"
)

// Names of the reference case.
const (
	Namespace  = "search"
	Deployment = "frontend"
)

// Machine is the name of a region's machine in a zone (a, b, c). Each has room for one pod.
func Machine(region, zone string) string { return "machine-" + region + zone }

// Options set up a cluster.
type Options struct {
	Region   string
	Addr     string // of the API server
	Dir      string // where the kubeconfig is written, as kube-REGION.yaml
	Replicas int    // of the Deployment at the beginning, all of them ready
	Control  time.Duration
	Start    time.Duration
	Ready    time.Duration
	End      time.Duration
	Faults   *faults.Set
	Log      *slog.Logger
}

// Cluster is a cluster that is being served.
type Cluster struct{ server *kubetest.Server }

// Serve starts a cluster and serves it until ctx ends.
func Serve(ctx context.Context, o Options) (*Cluster, error) {
	a, err := access(o.Dir, o.Region, o.Addr)
	if err != nil {
		return nil, err
	}
	k := kubetest.Options{Control: o.Control, Start: o.Start, Ready: o.Ready, End: o.End, Token: a.token,
		Mood: func(machine string) kubetest.Mood { return mood(o.Faults, machine) }}
	for _, zone := range []string{"a", "b", "c"} {
		k.Machines = append(k.Machines, kubetest.Machine{Name: Machine(o.Region, zone), Room: 1})
	}
	c := &Cluster{kubetest.New(k)}
	c.server.Deployment(Namespace, Deployment, o.Replicas)
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s for the API server of %s: %w (does the address belong to this network namespace?)", o.Addr, o.Region, err)
	}
	// HTTP/1.1 only: a connection that is to be reset has to be the request's own.
	srv := &http.Server{Handler: faulty(o.Faults, c.server), ReadHeaderTimeout: 10 * time.Second, TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{a.cert}, MinVersion: tls.VersionTLS12}, ErrorLog: slog.NewLogLogger(o.Log.Handler(), slog.LevelDebug)}
	go func() { _ = srv.ServeTLS(ln, "", "") }()
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	return c, nil
}

// Pods counts the Deployment's pods: ready, running, pending, ending.
func (c *Cluster) Pods() map[string]int { return c.server.Pods(Namespace, Deployment) }

// Changes are the patches that were sent to the cluster, the oldest first.
func (c *Cluster) Changes() []kubetest.Change { return c.server.Changes() }

// mood is what the faults in force say of a machine.
func mood(set *faults.Set, machine string) (m kubetest.Mood) {
	f, hit := set.Match("pods", "", machine)
	if !hit {
		return m
	}
	switch f.Mode {
	case faults.Error:
		m.Full = true
	case faults.Hang:
		m.Stuck = true
	case faults.Refuse:
		m.Lost = true
	case faults.Slow:
		m.Late = f.Delay()
	}
	return m
}

// op is a request's verb and resource in the words of the API (Authorization Overview, "Determine the request verb").
func op(r *http.Request) (verb, resource string) {
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if parts[0] == "api" { // api/v1/…
		parts = parts[min(2, len(parts)):]
	} else { // apis/GROUP/VERSION/…
		parts = parts[min(3, len(parts)):]
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		parts = parts[2:]
	}
	verb = strings.ToLower(r.Method)
	if len(parts) == 0 {
		return verb, ""
	}
	if verb == "get" && len(parts) == 1 {
		verb = "list"
	}
	return verb, parts[0]
}

// faulty lets the API server's faults come before it. Throttling is API Priority and Fairness: 429 with Retry-After
// (https://kubernetes.io/docs/concepts/cluster-administration/flow-control/).
func faulty(set *faults.Set, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		verb, resource := op(r)
		f, hit := set.Match("kube", verb, resource)
		if !hit {
			next.ServeHTTP(w, r)
			return
		}
		refuse := func(code int, reason, message string) {
			if f.Status != 0 {
				code = f.Status
			}
			if f.Code != "" {
				reason = f.Code
			}
			w.Header().Set("Content-Type", "application/json")
			kubetest.Refusal(w, code, reason, message)
		}
		switch f.Mode {
		case faults.Throttle:
			w.Header().Set("Retry-After", "1")
			refuse(http.StatusTooManyRequests, "TooManyRequests", "too many requests, please try again later")
		case faults.Error:
			refuse(http.StatusInternalServerError, "InternalError", "etcdserver: request timed out")
		case faults.Auth:
			refuse(http.StatusUnauthorized, "Unauthorized", "Unauthorized")
		case faults.Hang:
			if set.Hang(r.Context()) {
				faults.Drop(w, false)
			}
		case faults.Refuse:
			faults.Drop(w, true)
		case faults.LostReply:
			next.ServeHTTP(httptest.NewRecorder(), r)
			faults.Drop(w, false)
		case faults.Slow:
			faults.Sleep(r.Context(), f.Delay())
			next.ServeHTTP(w, r)
		}
	})
}

// View is what a control socket shows of a cluster.
func (c *Cluster) View(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{"pods": c.Pods(), "changes": c.Changes()})
}
