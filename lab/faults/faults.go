// Package faults injects faults into the simulated services at run time. Every fake asks its Set before it acts; tests and
// people change the Set over the control socket.
package faults

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/failoverd/failoverd/lab/ctl"
)

// Mode is what goes wrong.
type Mode string

// The modes. Not every service knows every mode; README.md has the table.
const (
	Throttle  Mode = "throttle"  // the service's documented throttling error
	Error     Mode = "error"     // a server error: 500 InternalFailure, ALB 503, DNS SERVFAIL, Mongo error
	Hang      Mode = "hang"      // the request is accepted and never answered, until the fault is cleared
	Refuse    Mode = "refuse"    // the connection is reset
	Slow      Mode = "slow"      // the answer comes DelayMs later
	LostReply Mode = "lostreply" // the effect happens, the reply is lost
	Auth      Mode = "auth"      // credentials are rejected
	Garble    Mode = "garble"    // the application gives back something else than it was given
)

// Fault is one injected fault, as it is sent to POST /faults on a control socket. Empty fields match everything.
type Fault struct {
	Service     string  `json:"service"`           // ecs, sqs, sts, route53 and so on, or * for all AWS APIs; alb, app, mongo, dns, slack, ref, kube, pods, hooks, metric, alarm, function, tasks, peering
	Op          string  `json:"op,omitempty"`      // API operation, e.g. UpdateService, chat.postMessage; of kube: get, list, patch
	Target      string  `json:"target,omitempty"`  // ALB zone (a, b, c), Mongo member (31), name server (ns1), queue or service name; of kube: deployments; of pods: a machine
	Mode        Mode    `json:"mode"`              //
	Code        string  `json:"code,omitempty"`    // error code instead of the mode's usual one
	Status      int     `json:"status,omitempty"`  // HTTP status instead of the usual one
	DelayMs     int     `json:"delayMs,omitempty"` // milliseconds: of Slow; Retry-After of Slack's 429
	Probability float64 `json:"probability"`       // 0 < p <= 1; 0 means 1
	ID          int     `json:"id,omitempty"`      // given by the Set
}

// Delay is the fault's delay.
func (f Fault) Delay() time.Duration { return time.Duration(f.DelayMs) * time.Millisecond }

// Set holds the faults of one process. It is safe for concurrent use; the zero value is not ready, use NewSet.
type Set struct {
	mu      sync.Mutex
	list    []Fault
	next    int
	cleared chan struct{} // closed and replaced whenever faults are removed, to free what hangs
	rnd     *rand.Rand
}

// NewSet makes an empty set. The seed makes probabilities repeatable.
func NewSet(seed uint64) *Set {
	return &Set{cleared: make(chan struct{}), rnd: rand.New(rand.NewPCG(seed, 1))}
}

// Add puts a fault into force and returns its ID.
func (s *Set) Add(f Fault) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next++
	f.ID = s.next
	s.list = append(s.list, f)
	return f.ID
}

// Clear removes all faults; what hangs goes on.
func (s *Set) Clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = nil
	close(s.cleared)
	s.cleared = make(chan struct{})
}

// ClearTarget removes the faults of one target and leaves the others in force; what hangs looks again.
func (s *Set) ClearTarget(target string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = slices.DeleteFunc(s.list, func(f Fault) bool { return f.Target == target })
	close(s.cleared)
	s.cleared = make(chan struct{})
}

// List returns the faults in force.
func (s *Set) List() []Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Fault{}, s.list...)
}

// awsServices are what the service "*" stands for: a control plane is lost while load balancers and databases live.
var awsServices = map[string]bool{
	"ecs": true, "sqs": true, "sts": true, "route53": true, "elasticloadbalancing": true, "autoscaling": true, "application-autoscaling": true,
	"ec2": true, "cloudwatch": true, "lambda": true, "events": true, "scheduler": true, "s3": true, "logs": true,
}

// Match returns the fault that hits this call, the latest one winning.
func (s *Set) Match(service, op, target string) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.list) - 1; i >= 0; i-- {
		f := s.list[i]
		if f.Service != service && (f.Service != "*" || !awsServices[service]) {
			continue
		}
		if f.Op != "" && f.Op != op || f.Target != "" && f.Target != target {
			continue
		}
		if f.Probability > 0 && s.rnd.Float64() >= f.Probability {
			continue
		}
		return f, true
	}
	return Fault{}, false
}

// Hang waits until the faults are cleared (true: go on) or the context ends (false).
func (s *Set) Hang(ctx context.Context) bool {
	s.mu.Lock()
	c := s.cleared
	s.mu.Unlock()
	select {
	case <-ctx.Done():
		return false
	case <-c:
		return true
	}
}

// Sleep waits d, or less if the context ends.
func Sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// Drop ends the HTTP connection without an answer; with reset the client sees RST, else a closed connection.
func Drop(w http.ResponseWriter, reset bool) {
	h, ok := w.(http.Hijacker)
	if !ok {
		panic(http.ErrAbortHandler)
	}
	c, _, err := h.Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if t, ok := c.(*tls.Conn); ok && reset {
		c = t.NetConn()
	}
	if t, ok := c.(interface{ SetLinger(sec int) error }); ok && reset {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

// Register serves the set: GET /faults lists, POST /faults adds one, DELETE /faults clears all, or those of ?target=.
func (s *Set) Register(mux *http.ServeMux) {
	mux.HandleFunc("GET /faults", func(w http.ResponseWriter, _ *http.Request) { ctl.Reply(w, s.List()) })
	mux.HandleFunc("DELETE /faults", func(w http.ResponseWriter, r *http.Request) {
		if target := r.URL.Query().Get("target"); target != "" {
			s.ClearTarget(target)
		} else {
			s.Clear()
		}
		ctl.Reply(w, s.List())
	})
	mux.HandleFunc("POST /faults", func(w http.ResponseWriter, r *http.Request) {
		var f Fault
		if !ctl.Read(w, r, &f) {
			return
		}
		switch f.Mode {
		case Throttle, Error, Hang, Refuse, Slow, LostReply, Auth, Garble:
		default:
			http.Error(w, "unknown mode "+string(f.Mode)+"; one of throttle, error, hang, refuse, slow, lostreply, auth, garble", http.StatusBadRequest)
			return
		}
		f.ID = s.Add(f)
		ctl.Reply(w, f)
	})
}
