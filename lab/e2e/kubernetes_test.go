package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/kubefake"
	"github.com/failoverd/failoverd/lab/world"
)

// The search's Deployment is started in the second region, and it counts by the pods that are ready there, not by those that
// were asked for: while two machines have no room, one pod is not enough; with one of them back the failover goes on, with the
// third pod pending. A cluster that throttles meanwhile only takes longer.
func TestKubernetesDeploymentIsStarted(t *testing.T) {
	r := start(t)
	for _, zone := range []string{"b", "c"} {
		r.do(r.w.Fault(r.ctx, world.E2, faults.Fault{Service: "pods", Target: kubefake.Machine(world.Secondary, zone), Mode: faults.Error}))
	}
	r.do(r.w.Fault(r.ctx, world.E2, faults.Fault{Service: "kube", Op: "patch", Target: "deployments", Mode: faults.Throttle}))
	if before := r.search(world.E2); before.total() != 0 || len(before.Changes) > 0 {
		t.Fatalf("before the failover us-east-2 has %+v", before)
	}
	if primary := r.search(world.E1); primary.Pods["ready"] != 3 {
		t.Fatalf("before the failover us-east-1 has %+v", primary)
	}
	at := r.lose()
	r.until(40*time.Second, "the search to be asked for", func(s *harness.Status) bool {
		return s.Current() != nil && s.Current().StepState("start-search") == "running" && s.Progress["start-search"] != ""
	})
	if seen := r.search(world.E2); seen.total() != 0 {
		t.Errorf("a cluster that refuses every change has pods: %v", seen.Pods)
	}
	r.do(r.w.ClearFaultsOf(r.ctx, world.E2, "deployments"))
	s := r.until(20*time.Second, "one pod to be ready", func(s *harness.Status) bool {
		return strings.Contains(s.Progress["start-search"], "1 ready, 2 starting, 0 ending, 3 wanted")
	})
	if state := s.Current().StepState("start-search"); state != "running" {
		t.Errorf("with one of three pods ready the start is %s", state)
	}
	if seen := r.search(world.E2); seen.Pods["ready"] != 1 || seen.Pods["pending"] != 2 {
		t.Errorf("the cluster has %v, want 1 ready and 2 pending", seen.Pods)
	}
	if s, err := r.c.AnyStatus(r.ctx); err == nil && s.Traffic == world.Secondary && s.Execution == nil {
		t.Error("the service was declared stable with one pod ready")
	}
	r.do(r.w.ClearFaultsOf(r.ctx, world.E2, kubefake.Machine(world.Secondary, "b")))
	r.stable()
	after := r.search(world.E2)
	if after.Pods["ready"] != 2 || after.Pods["pending"] != 1 {
		t.Errorf("stable with %v, want the 2 ready pods that are enough, and 1 pending", after.Pods)
	}
	s, err := r.c.AnyStatus(r.ctx)
	r.do(err)
	for _, step := range []string{"start-search", "check-search-pods"} {
		if rec := s.Last.Steps[step]; s.Last.StepState(step) != "done" || !strings.Contains(rec.Detail, "2 ready, 1 starting") {
			t.Errorf("%s is %s: %s", step, s.Last.StepState(step), rec.Detail)
		}
	}
	// One change was made, and nothing in the region that was left: the search has no stop.
	r.movedSafely(at, 1)
	taken := 0
	for _, c := range r.search(world.E2).Changes {
		if c.Path != "/apis/apps/v1/namespaces/search/deployments/frontend" || c.Body != `{"spec":{"replicas":3}}` || c.Agent != "failoverd" {
			t.Errorf("a node changed %+v", c)
		}
		if c.Outcome == 200 {
			taken++
		}
	}
	if taken != 1 {
		t.Errorf("%d patches were taken, want 1", taken)
	}
	if left := r.search(world.E1); left.Pods["ready"] != 3 || len(left.Changes) > 0 {
		t.Errorf("the region that was left has %+v", left)
	}
}

// searchView is what the control socket shows of a region's cluster.
type searchView struct {
	Pods    map[string]int
	Changes []struct {
		Path, Body, Agent string
		Outcome           int
	}
}

func (v searchView) total() (n int) {
	for _, m := range v.Pods {
		n += m
	}
	return n
}

// search reads the search's pods in a site's cluster, and what was changed there.
func (r *rig) search(site string) (v searchView) {
	r.Helper()
	r.do(r.w.Control(site).Call(r.ctx, "GET", "/kube", nil, &v))
	return v
}
