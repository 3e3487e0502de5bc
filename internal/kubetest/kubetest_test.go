package kubetest

import (
	"context"
	"fmt"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/failoverd/failoverd/internal/kube"
)

var podKind = schema.GroupVersionResource{Version: "v1", Resource: "pods"}

// fleet is a cluster with three machines of one pod each, whose moods the test sets and
// whose clock it turns.
type fleet struct {
	*testing.T
	*Server
	mu    sync.Mutex
	moods map[string]Mood
	now   time.Time
}

func newFleet(t *testing.T, replicas int) *fleet {
	f := &fleet{T: t, moods: map[string]Mood{}, now: time.Now()}
	f.Server = New(Options{
		Machines: []Machine{{"a", 1}, {"b", 1}, {"c", 1}}, Control: time.Second, Start: 10 * time.Second, Ready: 10 * time.Second, End: 5 * time.Second,
		Mood: func(m string) Mood { f.mu.Lock(); defer f.mu.Unlock(); return f.moods[m] },
		now:  func() time.Time { f.mu.Lock(); defer f.mu.Unlock(); return f.now },
	})
	f.Deployment("x", "web", replicas)
	return f
}

// after looks again some time later.
func (f *fleet) after(d time.Duration, want map[string]int) {
	f.Helper()
	f.set(func() { f.now = f.now.Add(d) })
	if got := f.Pods("x", "web"); !reflect.DeepEqual(got, want) {
		f.Errorf("after %s the pods are %v, want %v", d, got, want)
	}
}

func (f *fleet) set(fn func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fn()
}

// clients are failoverd's own client and a plain one.
func clients(t *testing.T, s *Server, token string) (*kube.Client, dynamic.Interface) {
	t.Helper()
	srv := httptest.NewServer(s)
	t.Cleanup(srv.Close)
	cfg := &rest.Config{Host: srv.URL, BearerToken: token}
	own, err := kube.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return own, plain
}

func (f *fleet) scale(c *kube.Client, to int) {
	f.Helper()
	if err := c.Patch(f.Context(), kube.Deployments, "x", "web", map[string]any{"spec": map[string]any{"replicas": to}}); err != nil {
		f.Fatal(err)
	}
}

// Pods take their time to become ready and to end, and failoverd's own client counts
// them as the server does.
func TestPodsTakeTheirTime(t *testing.T) {
	f := newFleet(t, 0)
	c, _ := clients(t, f.Server, "")
	f.after(time.Hour, map[string]int{})
	f.scale(c, 3)
	f.after(0, map[string]int{}) // the controllers have not seen it
	f.after(time.Second, map[string]int{"pending": 3})
	f.after(9*time.Second, map[string]int{"pending": 3})
	f.after(time.Second, map[string]int{"running": 3})
	f.after(10*time.Second, map[string]int{"ready": 3})
	o, err := c.Get(t.Context(), kube.Deployments, "x", "web")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.PodsOf(t.Context(), o); err != nil || n.Ready != 3 || n.Left() != 3 {
		t.Errorf("the client counts %v, %v", n, err)
	}
	if o.Int(0, "status", "readyReplicas") != 3 || o.Int(0, "status", "observedGeneration") != 2 || o.GetGeneration() != 2 {
		t.Errorf("status %v, generation %d", o.Object["status"], o.GetGeneration())
	}
	f.scale(c, 1)
	f.after(time.Second, map[string]int{"ready": 1, "ending": 2})
	f.after(4*time.Second, map[string]int{"ready": 1, "ending": 2})
	f.after(time.Second, map[string]int{"ready": 1})
	if got := f.Changes(); len(got) != 2 || got[0].Body != `{"spec":{"replicas":3}}` || got[0].Outcome != 200 || got[0].Agent != "failoverd" {
		t.Errorf("changes %+v", got)
	}
	// A cluster that has run for a long time has its pods.
	newFleet(t, 2).after(0, map[string]int{"ready": 2})
}

// What is wrong with a machine is wrong with its pods, and not with the others.
func TestMachines(t *testing.T) {
	f := newFleet(t, 0)
	c, _ := clients(t, f.Server, "")
	f.set(func() { f.moods["a"], f.moods["b"] = Mood{Full: true}, Mood{Late: 30 * time.Second} })
	f.scale(c, 3)
	f.after(time.Second, map[string]int{"pending": 3})
	f.after(20*time.Second, map[string]int{"ready": 1, "running": 1, "pending": 1})
	f.after(30*time.Second, map[string]int{"ready": 2, "pending": 1})
	f.scale(c, 2) // the one that is not ready goes first
	f.after(time.Second, map[string]int{"ready": 2})
	f.scale(c, 3)
	f.set(func() { delete(f.moods, "a") }) // there is room again
	f.after(time.Second, map[string]int{"ready": 2, "pending": 1})
	f.after(20*time.Second, map[string]int{"ready": 3})
	f.set(func() { f.moods["c"] = Mood{Stuck: true} })
	f.scale(c, 0)
	f.after(time.Second, map[string]int{"ending": 3})
	f.after(time.Hour, map[string]int{"ending": 1})
	f.set(func() { f.moods["c"] = Mood{Lost: true} })
	o, err := c.Get(t.Context(), kube.Deployments, "x", "web")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.PodsOf(t.Context(), o); err != nil || n.Unheard != 1 || n.Left() != 1 {
		t.Errorf("the client counts %v, %v; want the one on the lost machine", n, err)
	}
	f.set(func() { delete(f.moods, "c") })
	f.after(0, map[string]int{})
}

// Lists come in pages, by labels, and what the server does not know it refuses.
func TestLists(t *testing.T) {
	s := New(Options{Token: "t"})
	s.Deployment("x", "web", 5)
	s.Deployment("x", "other", 1)
	_, plain := clients(t, s, "t")
	pods := plain.Resource(podKind)
	opts, sizes := metav1.ListOptions{LabelSelector: "app=web", Limit: 2}, ""
	names := map[string]bool{}
	for len(sizes) < 9 { // a server that begins anew with each page would never end
		l, err := pods.Namespace("x").List(t.Context(), opts)
		if err != nil {
			t.Fatal(err)
		}
		sizes += fmt.Sprint(len(l.Items))
		for _, o := range l.Items {
			names[o.GetName()] = true
		}
		if opts.Continue = l.GetContinue(); opts.Continue == "" {
			break
		}
	}
	if sizes != "221" || len(names) != 5 {
		t.Errorf("pages of %s, %d names: want 2, 2, 1 and 5", sizes, len(names))
	}
	refuses := func(what string, err error, is func(error) bool) {
		t.Helper()
		if err == nil || !is(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	_, err := pods.Namespace("x").List(t.Context(), metav1.ListOptions{LabelSelector: "app in (web)"})
	refuses("a selector that it does not know", err, apierrors.IsBadRequest)
	_, err = pods.Namespace("x").Watch(t.Context(), metav1.ListOptions{})
	refuses("a watch", err, apierrors.IsMethodNotSupported)
	patch := func(kind types.PatchType, body string) error {
		_, err := plain.Resource(kube.Deployments).Namespace("x").Patch(context.Background(), "web", kind, []byte(body), metav1.PatchOptions{})
		return err
	}
	refuses("a patch of another kind", patch(types.JSONPatchType, `[]`), func(err error) bool { return strings.Contains(err.Error(), "no JSON object") })
	refuses("fewer than none", patch(types.MergePatchType, `{"spec":{"replicas":-1}}`), apierrors.IsInvalid)
	_, stranger := clients(t, s, "wrong")
	_, err = stranger.Resource(podKind).Namespace("x").List(t.Context(), metav1.ListOptions{})
	refuses("a stranger", err, apierrors.IsUnauthorized)
}
