package actions

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/kube"
	"github.com/failoverd/failoverd/internal/kubetest"
)

// cluster is a namespace of a cluster, and the hand of whoever plays its users and
// kubelets.
type cluster struct {
	*testing.T
	cfg  *rest.Config
	dyn  dynamic.Interface
	ns   string
	fake *kubetest.Server // nil: a real one
}

var (
	podKind  = schema.GroupVersionResource{Version: "v1", Resource: "pods"}
	nodeKind = schema.GroupVersionResource{Version: "v1", Resource: "nodes"}
	jobKind  = schema.GroupVersionResource{Group: "batch", Version: "v1", Resource: "jobs"}
	spaces   = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}
	accounts = schema.GroupVersionResource{Version: "v1", Resource: "serviceaccounts"}
)

// served is how to reach a small server.
func served(t *testing.T, f http.Handler) *rest.Config {
	t.Helper()
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return &rest.Config{Host: srv.URL, QPS: 1000, Burst: 1000}
}

// fakeDeployment is a cluster with the Deployment web in the namespace x.
func fakeDeployment(replicas int) *kubetest.Server {
	f := kubetest.New(kubetest.Options{})
	f.Deployment("x", "web", replicas)
	f.Settle()
	return f
}

// onCluster runs a test against the small server of internal/kubetest, or against the
// real one that KUBE_TESTBED names.
func onCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{T: t, ns: "failoverd-test"}
	if host := os.Getenv("KUBE_TESTBED"); host != "" {
		c.cfg = &rest.Config{Host: host, QPS: 100, Burst: 200, BearerToken: os.Getenv("KUBE_TESTBED_TOKEN"), TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
		c.ns = fmt.Sprintf("failoverd-%d", time.Now().UnixNano())
	} else {
		c.fake = kubetest.New(kubetest.Options{})
		c.cfg = served(t, c.fake)
	}
	d, err := dynamic.NewForConfig(c.cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.dyn = d
	if c.fake == nil {
		c.make(spaces, map[string]any{"kind": "Namespace", "apiVersion": "v1", "metadata": map[string]any{"name": c.ns}})
		c.await("the namespace's service account", func() bool {
			_, err := d.Resource(accounts).Namespace(c.ns).Get(t.Context(), "default", metav1.GetOptions{})
			return err == nil
		})
		c.allow()
	}
	return c
}

func (c *cluster) of(kind schema.GroupVersionResource) dynamic.ResourceInterface {
	if kind == nodeKind || kind == spaces {
		return c.dyn.Resource(kind)
	}
	return c.dyn.Resource(kind).Namespace(c.ns)
}

func (c *cluster) make(kind schema.GroupVersionResource, o map[string]any) *unstructured.Unstructured {
	c.Helper()
	out, err := c.of(kind).Create(c.Context(), &unstructured.Unstructured{Object: o}, metav1.CreateOptions{})
	if err != nil {
		c.Fatal(err)
	}
	return out
}

func (c *cluster) await(what string, cond func() bool) {
	c.Helper()
	for end := time.Now().Add(30 * time.Second); !cond(); <-time.After(50 * time.Millisecond) {
		if time.Now().After(end) {
			c.Fatalf("not within 30 s: %s", what)
		}
	}
}

func (c *cluster) patch(kind schema.GroupVersionResource, name, change string, sub ...string) {
	c.Helper()
	if _, err := c.of(kind).Patch(c.Context(), name, types.MergePatchType, []byte(change), metav1.PatchOptions{}, sub...); err != nil {
		c.Fatal(err)
	}
}

func (c *cluster) get(kind schema.GroupVersionResource, name string) kube.Object {
	c.Helper()
	o, err := c.of(kind).Get(c.Context(), name, metav1.GetOptions{})
	if err != nil {
		c.Fatal(err)
	}
	return kube.Object{Unstructured: o}
}

// workload makes a Deployment or StatefulSet whose pods carry its name.
func (c *cluster) workload(kind schema.GroupVersionResource, name string, replicas int64) {
	c.Helper()
	labels := map[string]any{"app": name}
	spec := map[string]any{"replicas": replicas, "selector": map[string]any{"matchLabels": labels}, "template": map[string]any{"metadata": map[string]any{"labels": labels}, "spec": podSpec()}}
	if kind == kube.StatefulSets {
		spec["podManagementPolicy"], spec["serviceName"] = "Parallel", name
	}
	c.make(kind, map[string]any{"kind": map[bool]string{true: "StatefulSet", false: "Deployment"}[kind == kube.StatefulSets], "apiVersion": "apps/v1", "metadata": map[string]any{"name": name}, "spec": spec})
}

func podSpec() map[string]any {
	return map[string]any{"containers": []any{map[string]any{"name": "a", "image": "b"}}, "tolerations": []any{map[string]any{"operator": "Exists"}}}
}

// node makes a machine, ready or not.
func (c *cluster) node(name string, ready bool) string {
	c.Helper()
	name += fmt.Sprintf("-%d", time.Now().UnixNano())
	c.make(nodeKind, map[string]any{"kind": "Node", "apiVersion": "v1", "metadata": map[string]any{"name": name}})
	c.nodeIs(name, map[bool]string{true: "True", false: "Unknown"}[ready])
	return name
}

func (c *cluster) nodeIs(name, ready string) {
	c.Helper()
	c.patch(nodeKind, name, fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":%q}]}}`, ready), "status")
}

// pods of a label.
func (c *cluster) pods(app string) []kube.Object {
	c.Helper()
	list, err := c.of(podKind).List(c.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	if err != nil {
		c.Fatal(err)
	}
	var out []kube.Object
	for i := range list.Items {
		out = append(out, kube.Object{Unstructured: &list.Items[i]})
	}
	return out
}

// run plays scheduler and kubelet: the pods of a label, once there are n, are bound to a
// machine and ready.
func (c *cluster) run(app, node string, n int) {
	c.Helper()
	c.await(fmt.Sprintf("%d pods of %s", n, app), func() bool { return len(c.pods(app)) == n })
	for _, p := range c.pods(app) {
		c.bind(p.GetName(), node)
		c.patch(podKind, p.GetName(), `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`, "status")
	}
}

func (c *cluster) bind(pod, node string) {
	c.Helper()
	if c.fake != nil {
		c.patch(podKind, pod, fmt.Sprintf(`{"spec":{"nodeName":%q}}`, node))
		return
	}
	binding := map[string]any{"kind": "Binding", "apiVersion": "v1", "metadata": map[string]any{"name": pod}, "target": map[string]any{"kind": "Node", "name": node}}
	if _, err := c.of(podKind).Create(c.Context(), &unstructured.Unstructured{Object: binding}, metav1.CreateOptions{}, "binding"); err != nil && !apierrors.IsConflict(err) { // a conflict: it is bound
		c.Fatal(err)
	}
}

// gone plays the kubelet at the end: it has stopped the pods that are being deleted.
func (c *cluster) gone(app string) {
	c.Helper()
	zero := int64(0)
	for _, p := range c.pods(app) {
		if p.GetDeletionTimestamp() == nil {
			continue
		}
		if err := c.of(podKind).Delete(c.Context(), p.GetName(), metav1.DeleteOptions{GracePeriodSeconds: &zero}); err != nil && !apierrors.IsNotFound(err) {
			c.Fatal(err)
		}
	}
}

func (c *cluster) action(cfg KubernetesConfig) Action {
	c.Helper()
	as := rest.CopyConfig(c.cfg)
	if c.fake == nil {
		as.Impersonate = rest.ImpersonationConfig{UserName: "node", Groups: []string{"failoverd"}}
	}
	client, err := kube.New(as)
	if err != nil {
		c.Fatal(err)
	}
	cfg.Namespace = c.ns
	return &kubernetes{cfg: &cfg, client: client}
}

// sees waits for an effect: controllers take their time.
func (c *cluster) sees(a Action, state EffectState, detail string) Effect {
	c.Helper()
	var last Effect
	for end := time.Now().Add(30 * time.Second); ; <-time.After(50 * time.Millisecond) {
		e, err := a.Inspect(c.Context())
		if err == nil && e.State == state && strings.Contains(e.Detail, detail) {
			return e
		}
		if last = e; time.Now().After(end) {
			c.Fatalf("%s %q (%v), want %s with %q", last.State, last.Detail, err, state, detail)
		}
		if c.fake != nil && time.Until(end) < 28*time.Second {
			c.Fatalf("%s %q (%v), want %s with %q", last.State, last.Detail, err, state, detail)
		}
	}
}

// A Deployment and a StatefulSet are stopped when their pods are gone, started when they
// are ready, and put back as they were.
func TestKubernetesStopAndStart(t *testing.T) {
	c := onCluster(t)
	node := c.node("good", true)
	c.workload(kube.Deployments, "web", 3)
	c.workload(kube.StatefulSets, "queue", 2)
	c.run("web", node, 3)
	c.run("queue", node, 2)
	which := KubernetesConfig{Deployments: []string{"web"}, StatefulSets: []string{"queue"}}
	stop := c.action(which)
	before := c.sees(stop, Absent, "deployment web: 3 ready, 0 starting, 0 ending, 3 wanted; statefulset queue: 2 ready")
	if before.Inventory != 2 {
		t.Errorf("an inventory of %d", before.Inventory)
	}
	do(t, stop.Do, 1, before.Previous)
	c.sees(stop, Partial, "deployment web: 0 ready, 0 starting, 3 ending; statefulset queue: 0 ready, 0 starting, 2 ending")
	do(t, stop.Do, 2, before.Previous)
	c.gone("web")
	c.sees(stop, Partial, "statefulset queue: 0 ready, 0 starting, 2 ending")
	c.gone("queue")
	c.sees(stop, Present, "deployment web: 0 ready, 0 starting, 0 ending; statefulset queue: 0 ready, 0 starting, 0 ending")

	do(t, stop.Undo, 3, before.Previous)
	now := c.sees(stop, Absent, "3 wanted")
	if r, ok := stop.(Restorer); !ok || !r.Restored(now, before.Previous) {
		t.Errorf("not as it was: %s, %s", now.Previous, before.Previous)
	}
	c.run("web", node, 3)
	c.run("queue", node, 2)

	which.Count = 3
	start := c.action(which)
	do(t, start.Do, 4, c.sees(start, Partial, "statefulset queue: 2 ready, 0 starting, 0 ending, 2 wanted").Previous)
	c.sees(start, Partial, "statefulset queue: 2 ready, 1 starting, 0 ending, 3 wanted")
	c.run("queue", node, 3)
	c.sees(start, Present, "deployment web: 3 ready")
	// It never scales down.
	which.Count = 2
	less := c.action(which)
	do(t, less.Do, 5, c.sees(less, Present, "3 wanted").Previous)
	c.sees(less, Present, "deployment web: 3 ready, 0 starting, 0 ending, 3 wanted")
}

// Two of three are enough where two thirds were asked for.
func TestKubernetesMinReady(t *testing.T) {
	c := onCluster(t)
	node := c.node("good", true)
	c.workload(kube.Deployments, "web", 3)
	c.run("web", node, 3)
	c.patch(podKind, c.pods("web")[0].GetName(), `{"status":{"conditions":[{"type":"Ready","status":"False"}]}}`, "status")
	c.sees(c.action(KubernetesConfig{Deployments: []string{"web"}, Count: 3}), Partial, "2 ready, 1 starting")
	c.sees(c.action(KubernetesConfig{Deployments: []string{"web"}, Count: 3, MinReady: 60}), Present, "2 ready, 1 starting")
}

// A pod on a machine that is not heard from may run, also when the cluster says that it
// has ended.
func TestKubernetesUnheardMachine(t *testing.T) {
	c := onCluster(t)
	node := c.node("lost", true)
	c.workload(kube.Deployments, "web", 2)
	c.run("web", node, 2)
	stop := c.action(KubernetesConfig{Deployments: []string{"web"}})
	do(t, stop.Do, 1, c.sees(stop, Absent, "").Previous)
	c.nodeIs(node, "Unknown")
	c.sees(stop, Unknown, "2 on machines that are not heard from")
	for _, p := range c.pods("web") {
		c.patch(podKind, p.GetName(), `{"status":{"phase":"Failed"}}`, "status")
	}
	c.sees(stop, Unknown, "2 on machines that are not heard from")
	c.nodeIs(node, "True")
	c.sees(stop, Present, "0 ready, 0 starting, 0 ending")
}

// A CronJob is stopped when it is suspended and what it has started has ended.
func TestKubernetesCronJob(t *testing.T) {
	c := onCluster(t)
	node := c.node("good", true)
	cron := c.make(kube.CronJobs, map[string]any{"kind": "CronJob", "apiVersion": "batch/v1", "metadata": map[string]any{"name": "report"}, "spec": map[string]any{
		"schedule": "0 0 31 2 *", "suspend": false, "jobTemplate": map[string]any{"spec": map[string]any{"template": map[string]any{"spec": merged(podSpec(), "restartPolicy", "Never")}}},
	}})
	stop, start := c.action(KubernetesConfig{CronJobs: []string{"report"}}), c.action(KubernetesConfig{CronJobs: []string{"report"}, Count: 1})
	before := c.sees(stop, Absent, "cronjob report: 0 ready, 0 starting, 0 ending, not suspended")
	c.sees(start, Present, "not suspended")
	owner := func(kind string, o *unstructured.Unstructured) []any {
		return []any{map[string]any{"kind": kind, "apiVersion": "batch/v1", "name": o.GetName(), "uid": string(o.GetUID()), "controller": true}}
	}
	// A job is under way, with one pod; it is suspended itself, so that no controller makes others.
	job := c.make(jobKind, map[string]any{"kind": "Job", "apiVersion": "batch/v1", "metadata": map[string]any{"name": "report-1", "ownerReferences": owner("CronJob", cron)},
		"spec": map[string]any{"suspend": false, "template": map[string]any{"spec": merged(podSpec(), "restartPolicy", "Never")}}})
	if c.fake != nil {
		c.make(podKind, map[string]any{"kind": "Pod", "apiVersion": "v1", "metadata": map[string]any{"name": "report-1-x", "ownerReferences": owner("Job", job)}, "spec": podSpec()})
	}
	var pod string
	c.await("the job's pod", func() bool {
		list, err := c.of(podKind).List(t.Context(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 1 {
			return false
		}
		pod = list.Items[0].GetName()
		return true
	})
	c.bind(pod, node)
	c.patch(podKind, pod, `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`, "status")
	do(t, stop.Do, 1, before.Previous)
	c.sees(stop, Partial, "cronjob report: 1 ready, 0 starting, 0 ending, suspended, but 1 jobs that it has started have not ended")
	c.sees(start, Absent, "suspended")
	c.patch(podKind, pod, `{"status":{"phase":"Succeeded","conditions":[{"type":"Ready","status":"False"}]}}`, "status")
	if c.fake != nil {
		// Its pod has ended, and the job may make another one.
		c.sees(stop, Partial, "0 ready, 0 starting, 0 ending, suspended, but 1 jobs that it has started have not ended")
		c.patch(jobKind, "report-1", `{"status":{"conditions":[{"type":"Complete","status":"True"}]}}`, "status")
	}
	c.sees(stop, Present, "0 ready, 0 starting, 0 ending")
	if c.fake != nil {
		// A job that is deleted is gone at once, and its pod goes on until it has been told.
		gone := &unstructured.Unstructured{Object: map[string]any{}}
		gone.SetName("report-29000000")
		gone.SetUID("gone")
		c.make(podKind, map[string]any{"kind": "Pod", "apiVersion": "v1", "metadata": map[string]any{"name": "report-29000000-x", "ownerReferences": owner("Job", gone)}, "spec": podSpec()})
		c.bind("report-29000000-x", node)
		c.patch(podKind, "report-29000000-x", `{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`, "status")
		c.sees(stop, Partial, "1 ready, 0 starting, 0 ending")
		c.patch(podKind, "report-29000000-x", `{"status":{"phase":"Succeeded"}}`, "status")
		c.sees(stop, Present, "0 ready, 0 starting, 0 ending")
	}
	do(t, stop.Undo, 2, before.Previous)
	c.sees(stop, Absent, "not suspended")
}

func merged(o map[string]any, k string, v any) map[string]any {
	o[k] = v
	return o
}

// An autoscaler that may scale from zero is kept from it, one that may not is left alone.
func TestKubernetesAutoscaler(t *testing.T) {
	c := onCluster(t)
	c.workload(kube.Deployments, "web", 2)
	hpa := func(name, target string, min int64) map[string]any {
		return map[string]any{"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2", "metadata": map[string]any{"name": name}, "spec": map[string]any{
			"minReplicas": min, "maxReplicas": int64(9), "scaleTargetRef": map[string]any{"kind": "Deployment", "name": target, "apiVersion": "apps/v1"},
			"metrics": []any{map[string]any{"type": "External", "external": map[string]any{"metric": map[string]any{"name": "backlog"}, "target": map[string]any{"type": "AverageValue", "averageValue": "10"}}}},
		}}
	}
	c.make(kube.Autoscalers, hpa("steady", "web", 2))
	c.make(kube.Autoscalers, hpa("other", "elsewhere", 2))
	stop := c.action(KubernetesConfig{Deployments: []string{"web"}})
	before := c.sees(stop, Absent, "2 wanted")
	do(t, stop.Do, 1, before.Previous)
	c.sees(stop, Present, "")
	if n := c.get(kube.Autoscalers, "steady").Int(0, "spec", "minReplicas"); n != 2 {
		t.Errorf("an autoscaler that leaves zero alone was given a minimum of %d", n)
	}
	if c.fake == nil {
		return // a minimum of 0 needs the gate HPAScaleToZero before 1.37
	}
	c.patch(kube.Autoscalers, "steady", `{"spec":{"minReplicas":0}}`)
	before = c.sees(stop, Partial, "but hpa steady may bring it back")
	do(t, stop.Do, 2, before.Previous)
	c.sees(stop, Present, "")
	if n := c.get(kube.Autoscalers, "steady").Int(0, "spec", "minReplicas"); n != 1 {
		t.Errorf("minimum %d, want 1", n)
	}
	do(t, stop.Undo, 3, before.Previous)
	if n := c.get(kube.Autoscalers, "steady").Int(9, "spec", "minReplicas"); n != 0 {
		t.Errorf("minimum %d after the undo, want 0", n)
	}
	if n := c.get(kube.Autoscalers, "other").Int(9, "spec", "minReplicas"); n != 2 {
		t.Errorf("another's autoscaler has a minimum of %d", n)
	}
}

// KEDA is paused at zero for a stop, and not paused after a start.
func TestKubernetesKEDA(t *testing.T) {
	c := onCluster(t)
	if c.fake == nil {
		c.Skip("NOT TESTED: KEDA is not installed in the testbed; its annotations are by its documentation only")
	}
	c.workload(kube.Deployments, "web", 0)
	c.make(kube.ScaledObjects, map[string]any{"kind": "ScaledObject", "apiVersion": "keda.sh/v1alpha1", "metadata": map[string]any{"name": "by-backlog", "annotations": map[string]any{"mine": "yes", paused: "true"}},
		"spec": map[string]any{"scaleTargetRef": map[string]any{"name": "web"}}})
	stop := c.action(KubernetesConfig{Deployments: []string{"web"}})
	before := c.sees(stop, Partial, "but scaledobject by-backlog may bring it back")
	do(t, stop.Do, 1, before.Previous)
	c.sees(stop, Present, "")
	start := c.action(KubernetesConfig{Deployments: []string{"web"}, Count: 2})
	do(t, start.Do, 2, c.sees(start, Absent, "0 wanted, scaledobject by-backlog is paused").Previous)
	c.sees(start, Partial, "0 ready, 2 starting, 0 ending, 2 wanted")
	if a := c.get(kube.ScaledObjects, "by-backlog").GetAnnotations(); len(a) != 1 || a["mine"] != "yes" {
		t.Errorf("annotations %v", a)
	}
	do(t, stop.Undo, 3, before.Previous)
	if a := c.get(kube.ScaledObjects, "by-backlog").GetAnnotations(); len(a) != 2 || a[paused] != "true" {
		t.Errorf("annotations %v after the undo", a)
	}
}

// One object that refuses does not keep the others from being changed, and is named.
func TestKubernetesRefusal(t *testing.T) {
	f := kubetest.New(kubetest.Options{})
	cfg := served(t, f)
	c := &cluster{T: t, cfg: cfg, ns: "failoverd-test", fake: f}
	var err error
	if c.dyn, err = dynamic.NewForConfig(cfg); err != nil {
		t.Fatal(err)
	}
	c.workload(kube.Deployments, "a", 1)
	c.workload(kube.Deployments, "b", 1)
	f.Refuse("/apis/apps/v1/namespaces/failoverd-test/deployments/a")
	stop := c.action(KubernetesConfig{Deployments: []string{"a", "b"}})
	err = stop.Do(t.Context(), Attempt{Token: 1})
	if err == nil || !strings.Contains(err.Error(), "changing deployments failoverd-test/a") || !strings.Contains(err.Error(), "cannot patch") {
		t.Errorf("a refusal gives %v", err)
	}
	c.sees(stop, Partial, "deployment b: 0 ready")
	var got []string
	for _, ch := range f.Changes() {
		got = append(got, fmt.Sprintf("%s %s %d", path.Base(ch.Path), ch.Body, ch.Outcome))
	}
	if s := strings.Join(got, ", "); s != `a {"spec":{"replicas":0}} 403, b {"spec":{"replicas":0}} 200` {
		t.Errorf("changed %s", s)
	}
	none := c.action(KubernetesConfig{Deployments: []string{"none"}})
	if _, err := none.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "deployments failoverd-test/none does not exist: check name and namespace") {
		t.Errorf("a Deployment that does not exist gives %v", err)
	}
	// The deadline of an attempt holds for these calls, too (rule E2).
	late := cloud.WithEffectDeadline(t.Context(), time.Now().Add(-time.Second))
	if err := stop.Do(late, Attempt{Token: 2}); err == nil || !strings.Contains(err.Error(), "Kubernetes patch of deployment a was not sent") {
		t.Errorf("a call after its deadline gives %v", err)
	}
}

// Two components may have workloads in one namespace: what one step keeps as the way back
// is not overwritten by the other, which comes after its change.
func TestKubernetesByHandKeepsApart(t *testing.T) {
	kept := map[string]bool{}
	for _, name := range []string{"frontend", "indexer"} {
		do, _ := (&KubernetesConfig{Namespace: "search", Deployments: []string{name}, Count: 1}).byHand("us-east-2", nil)
		for _, line := range do {
			if _, file, ok := strings.Cut(line, " > "); ok {
				if kept[file] {
					t.Errorf("two steps write %s", file)
				}
				kept[file] = true
			}
		}
	}
	if len(kept) != 2 {
		t.Errorf("kept: %v", kept)
	}
}
