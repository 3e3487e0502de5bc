package alb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// TargetHealth is what the load balancer says of a target: state, reason and description as the API documents them.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/APIReference/API_TargetHealth.html
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/target-group-health-checks.html#target-health-states
type TargetHealth struct {
	Address     string `json:"address"` // host:port
	State       string `json:"state"`
	Reason      string `json:"reason,omitempty"` // none of a healthy one
	Description string `json:"description,omitempty"`
}

// result is one health check.
type result struct {
	ok                  bool
	reason, description string
}

// look makes one health check.
func (a *ALB) look(ctx context.Context, addr string) result {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+a.opt.HealthPath, nil)
	if err != nil {
		return result{reason: "Elb.InternalError", description: "Health checks failed due to an internal error"}
	}
	req.Header.Set("User-Agent", "ELB-HealthChecker/2.0") // as the load balancers of AWS call themselves
	resp, err := a.check.Do(req)
	if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
		return result{reason: "Target.Timeout", description: "Request timed out"}
	}
	if err != nil {
		return result{reason: "Target.FailedHealthChecks", description: "Health checks failed"}
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return result{reason: "Target.ResponseCodeMismatch", description: fmt.Sprintf("Health checks failed with these codes: [%d]", resp.StatusCode)}
	}
	return result{ok: true}
}

// checkAll checks each target once; two results in a row change its state, the first one decides for a new target.
func (a *ALB) checkAll(ctx context.Context) {
	all := a.opt.Targets()
	var wg sync.WaitGroup
	for _, addr := range all {
		wg.Go(func() {
			r := a.look(ctx, addr)
			a.mu.Lock()
			defer a.mu.Unlock()
			h := a.health[addr]
			if h == nil || !h.gone.IsZero() { // new, or registered again
				h = &target{healthy: r.ok}
				a.health[addr] = h
			}
			if r.ok {
				h.good, h.bad = h.good+1, 0
			} else {
				h.good, h.bad, h.why = 0, h.bad+1, r
			}
			if h.good >= 2 || h.bad >= 2 {
				h.healthy = r.ok
			}
		})
	}
	wg.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for addr, h := range a.health {
		switch registered := slices.Contains(all, addr); {
		case registered:
		case h.gone.IsZero():
			h.gone = time.Now()
		case time.Since(h.gone) > a.opt.Drain:
			delete(a.health, addr)
		}
	}
}

// Health reports the registered targets' health as the load balancer sees it.
func (a *ALB) Health() map[string]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[string]bool{}
	for t, h := range a.health {
		if h.gone.IsZero() {
			out[t] = h.healthy
		}
	}
	return out
}

// Describe is the state of every target, those that are being taken out included, sorted by address.
func (a *ALB) Describe() (out []TargetHealth) {
	all := a.opt.Targets()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, addr := range all {
		t := TargetHealth{Address: addr, State: "healthy"}
		switch h := a.health[addr]; {
		case h == nil || !h.gone.IsZero():
			t.State, t.Reason, t.Description = "initial", "Elb.RegistrationInProgress", "Target registration is in progress"
		case !h.healthy:
			t.State, t.Reason, t.Description = "unhealthy", h.why.reason, h.why.description
		}
		out = append(out, t)
	}
	for addr := range a.health {
		if !slices.Contains(all, addr) {
			out = append(out, TargetHealth{Address: addr, State: "draining", Reason: "Target.DeregistrationInProgress", Description: "Target deregistration is in progress"})
		}
	}
	slices.SortFunc(out, func(x, y TargetHealth) int { return strings.Compare(x.Address, y.Address) })
	return out
}
