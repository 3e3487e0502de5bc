package actions

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"
)

// fakeCluster is an API server with its controllers, as far as they matter here: real
// paths, real JSON, merge patches, generations, label selectors, and after each change
// the controllers' work: pods are made and deleted as the replicas say. Nobody runs the
// pods: a test plays the kubelet, through the API as well, as on the real one
// (`make kube-testbed` runs the same tests against a real one). Neither KEDA nor an
// autoscaler's controller is in it.
type fakeCluster struct {
	mu      sync.Mutex
	objects map[string]map[string]any // path → object
	serial  int
	refuse  string // a path of which patches fail
	patches []string
	auth    []string
}

func newFakeCluster(t *testing.T) (*fakeCluster, *rest.Config) {
	f := &fakeCluster{objects: map[string]map[string]any{}}
	srv := httptest.NewServer(f)
	t.Cleanup(srv.Close)
	return f, &rest.Config{Host: srv.URL, QPS: 1000, Burst: 1000}
}

func at(o map[string]any, path ...string) map[string]any {
	for _, p := range path {
		next, ok := o[p].(map[string]any)
		if !ok {
			next = map[string]any{}
			o[p] = next
		}
		o = next
	}
	return o
}

func text(o map[string]any, path ...string) string {
	s, _ := at(o, path[:len(path)-1]...)[path[len(path)-1]].(string)
	return s
}

func number(o map[string]any, def int, path ...string) int {
	n, ok := at(o, path[:len(path)-1]...)[path[len(path)-1]].(float64)
	if !ok {
		return def
	}
	return int(n)
}

// merge is RFC 7396.
func merge(into, change map[string]any) {
	for k, v := range change {
		sub, ok := v.(map[string]any)
		switch {
		case v == nil:
			delete(into, k)
		case ok:
			merge(at(into, k), sub)
		default:
			into[k] = v
		}
	}
}

func status(w http.ResponseWriter, code int, reason, message string) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code})
}

func (f *fakeCluster) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	f.auth = append(f.auth, r.Header.Get("Authorization"))
	path, sub := r.URL.Path, ""
	if p, ok := strings.CutSuffix(path, "/status"); ok {
		path, sub = p, "status"
	}
	body, _ := io.ReadAll(r.Body)
	change := map[string]any{}
	_ = json.Unmarshal(body, &change)
	o := f.objects[path]
	switch {
	case r.Method == http.MethodPost:
		f.serial++
		name := text(change, "metadata", "name")
		meta := at(change, "metadata")
		meta["uid"], meta["generation"] = fmt.Sprintf("uid-%d", f.serial), float64(1)
		if parts := strings.Split(path, "/"); len(parts) > 3 && parts[len(parts)-3] == "namespaces" {
			meta["namespace"] = parts[len(parts)-2]
		}
		f.objects[path+"/"+name] = change
		f.control()
		w.WriteHeader(http.StatusCreated)
		_ = json.NewEncoder(w).Encode(change)
	case o == nil && r.Method == http.MethodGet && f.collection(path):
		items := []any{}
		for p, o := range f.objects {
			if strings.HasPrefix(p, path+"/") && !strings.Contains(p[len(path)+1:], "/") && selected(o, r.URL.Query().Get("labelSelector")) {
				items = append(items, o)
			}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"kind": "List", "apiVersion": "v1", "metadata": map[string]any{}, "items": items})
	case o == nil:
		status(w, http.StatusNotFound, "NotFound", path+" not found")
	case r.Method == http.MethodGet:
		_ = json.NewEncoder(w).Encode(o)
	case r.Method == http.MethodPatch && f.refuse == path:
		status(w, http.StatusForbidden, "Forbidden", "User cannot patch "+path)
	case r.Method == http.MethodPatch && r.Header.Get("Content-Type") == "application/merge-patch+json":
		if spec, ok := change["spec"]; ok && sub == "" {
			before, _ := json.Marshal(o["spec"])
			merge(o, map[string]any{"spec": spec})
			if after, _ := json.Marshal(o["spec"]); string(after) != string(before) {
				at(o, "metadata")["generation"] = float64(number(o, 1, "metadata", "generation") + 1)
			}
		}
		if meta, ok := change["metadata"]; ok {
			merge(o, map[string]any{"metadata": meta})
		}
		if st, ok := change["status"]; ok && sub == "status" {
			merge(o, map[string]any{"status": st})
		}
		if sub == "" && !strings.Contains(path, "/pods/") {
			f.patches = append(f.patches, path[strings.LastIndex(path, "/")+1:]+" "+string(body))
		}
		f.control()
		_ = json.NewEncoder(w).Encode(o)
	case r.Method == http.MethodDelete:
		at(o, "metadata")["deletionTimestamp"] = "2026-01-01T00:00:00Z"
		if r.URL.Query().Get("gracePeriodSeconds") == "0" || strings.Contains(string(body), `"gracePeriodSeconds":0`) {
			delete(f.objects, path)
		}
		f.control()
		_ = json.NewEncoder(w).Encode(o)
	default:
		status(w, http.StatusMethodNotAllowed, "MethodNotAllowed", r.Method)
	}
}

// collection reports whether a path is that of all objects of a kind. KEDA's kinds are
// there once somebody has made one.
func (f *fakeCluster) collection(path string) bool {
	kind := path[strings.LastIndexByte(path, '/')+1:]
	if kind != "scaledobjects" {
		return slices.Contains([]string{"deployments", "statefulsets", "cronjobs", "jobs", "pods", "nodes", "horizontalpodautoscalers"}, kind)
	}
	for p := range f.objects {
		if strings.HasPrefix(p, path+"/") {
			return true
		}
	}
	return false
}

func selected(o map[string]any, selector string) bool {
	for _, term := range strings.Split(selector, ",") {
		if k, v, ok := strings.Cut(term, "="); ok && text(o, "metadata", "labels", k) != v {
			return false
		}
	}
	return true
}

// control is the controllers' work: as many pods as replicas, and the status counts them.
// Pods on a machine that is not heard from stay, being deleted.
func (f *fakeCluster) control() {
	for path, o := range f.objects {
		if !strings.Contains(path, "/deployments/") && !strings.Contains(path, "/statefulsets/") {
			continue
		}
		ns := text(o, "metadata", "namespace")
		labels := at(o, "spec", "selector", "matchLabels")
		var mine []string
		for p, pod := range f.objects {
			if !strings.Contains(p, "/pods/") || text(pod, "metadata", "namespace") != ns || text(pod, "metadata", "deletionTimestamp") != "" {
				continue
			}
			if l, _ := json.Marshal(at(pod, "metadata", "labels")); string(l) == mustJSON(labels) {
				mine = append(mine, p)
			}
		}
		want := number(o, 1, "spec", "replicas")
		for len(mine) > want {
			pod := f.objects[mine[0]]
			if text(pod, "spec", "nodeName") == "" { // never given to a machine: gone at once
				delete(f.objects, mine[0])
			} else {
				at(pod, "metadata")["deletionTimestamp"] = "2026-01-01T00:00:00Z"
			}
			mine = mine[1:]
		}
		for n := len(mine); n < want; n++ {
			f.serial++
			name := fmt.Sprintf("%s-%d", text(o, "metadata", "name"), f.serial)
			f.objects["/api/v1/namespaces/"+ns+"/pods/"+name] = map[string]any{"kind": "Pod", "apiVersion": "v1", "status": map[string]any{"phase": "Pending"}, "spec": map[string]any{},
				"metadata": map[string]any{"name": name, "namespace": ns, "uid": name, "labels": labels}}
		}
		st := at(o, "status")
		st["replicas"], st["observedGeneration"] = float64(want), at(o, "metadata")["generation"]
	}
}

func mustJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

// fakeDeployment is a cluster with the Deployment web in the namespace x.
func fakeDeployment(replicas int) *fakeCluster {
	labels := map[string]any{"app": "web"}
	f := &fakeCluster{objects: map[string]map[string]any{"/apis/apps/v1/namespaces/x/deployments/web": {
		"kind": "Deployment", "apiVersion": "apps/v1", "metadata": map[string]any{"name": "web", "namespace": "x", "generation": float64(1)},
		"spec": map[string]any{"replicas": float64(replicas), "selector": map[string]any{"matchLabels": labels}},
	}}}
	f.control()
	f.settle()
	return f
}

// settle lets every pod become ready.
func (f *fakeCluster) settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for path, o := range f.objects {
		if strings.Contains(path, "/pods/") {
			o["status"] = map[string]any{"phase": "Running", "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}}
		}
	}
}
