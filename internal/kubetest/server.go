// Package kubetest is an API server of Kubernetes with its controllers, as far as a
// failover needs them: real paths, real JSON, merge patches (RFC 7396), generations,
// label selectors and lists in pages, and after each change the work of the controllers.
// With machines it also has a scheduler and kubelets, and pods take their time; without
// any, nobody runs the pods, and a test plays the kubelet through the API, as on a real
// server. Neither KEDA nor an autoscaler's controller is in it, and nothing can be
// watched: what it does not know it refuses.
//
// The tests of package actions run against it and, by `make kube-testbed`, against a
// real API server; the lab serves it in each region. It needs the standard library only.
package kubetest

import (
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Options set up a cluster. Its zero value has no machines, and its controllers work at
// once.
type Options struct {
	Machines []Machine
	Control  time.Duration // from a change until the controllers have seen it
	Start    time.Duration // from a machine's first sight of a pod until its containers run
	Ready    time.Duration // from then until its readiness probe passes
	End      time.Duration // from a pod's deletion until its containers have ended
	// Mood is asked at every look how a machine is; nil: all are well.
	Mood func(machine string) Mood
	// Token is what clients must bear; "" asks for none.
	Token string

	now func() time.Time // of a test; nil: the time
}

// Machine is a machine of the cluster.
type Machine struct {
	Name string `json:"name"`
	Room int    `json:"room"` // how many pods it holds
}

// Mood is what is wrong with a machine.
type Mood struct {
	Full  bool          // no pod is given to it any more; those that it has go on
	Lost  bool          // its kubelet is not heard from; nothing there is known to begin, or to end
	Stuck bool          // pods there become neither ready nor, once deleted, gone
	Late  time.Duration // pods become ready that much later
}

// Change is a patch that was taken, or refused.
type Change struct {
	At      time.Time `json:"at"`
	Path    string    `json:"path"`
	Body    string    `json:"body"`
	From    string    `json:"from"`  // the client's address
	Agent   string    `json:"agent"` // its User-Agent
	Outcome int       `json:"outcome"`
}

// Object is an object as its JSON has it.
type Object = map[string]any

// Server is the cluster. It is safe for concurrent use.
type Server struct {
	opt Options

	mu      sync.Mutex
	objects map[string]Object // by path
	changed map[string]time.Time
	serial  int
	refused string
	changes []Change
	runs    map[string]*run // by pod's path: what its machine has done of it
}

// New makes a cluster.
func New(opt Options) *Server {
	if opt.now == nil {
		opt.now = time.Now
	}
	s := &Server{opt: opt, objects: map[string]Object{}, changed: map[string]time.Time{}, runs: map[string]*run{}}
	for _, m := range opt.Machines {
		s.objects[nodesPath+"/"+m.Name] = Object{"kind": "Node", "apiVersion": "v1", "metadata": Object{"name": m.Name, "uid": "uid-" + m.Name}, "status": Object{}}
	}
	s.advance(s.opt.now())
	return s
}

const nodesPath = "/api/v1/nodes"

// Deployment makes a Deployment whose pods carry the label app with its name; replicas
// of it are there and ready at once if the cluster has machines with room for them, as
// in a cluster that has run for a long time.
func (s *Server) Deployment(namespace, name string, replicas int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	labels := Object{"app": name}
	path := "/apis/apps/v1/namespaces/" + namespace + "/deployments/" + name
	s.objects[path] = Object{"kind": "Deployment", "apiVersion": "apps/v1", "metadata": Object{"name": name, "namespace": namespace, "uid": "uid-" + name, "generation": float64(1)},
		"spec": Object{"replicas": float64(replicas), "selector": Object{"matchLabels": labels}}}
	s.advance(s.opt.now())
	for _, r := range s.runs {
		r.born = s.opt.now().Add(-time.Hour)
	}
	s.advance(s.opt.now())
}

// Refuse lets patches of one path fail; "" lets all succeed again.
func (s *Server) Refuse(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refused = path
}

// Changes are the patches of what is no pod, the oldest first.
func (s *Server) Changes() []Change {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Change{}, s.changes...)
}

// Settle makes every pod ready, without any machine.
func (s *Server) Settle() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for path, o := range s.objects {
		if strings.Contains(path, "/pods/") {
			o["status"] = Object{"phase": "Running", "conditions": []any{Object{"type": "Ready", "status": "True"}}}
		}
	}
}

// Pods counts the pods of a workload by what can be seen of them: "pending", "running",
// "ready", "ending".
func (s *Server) Pods(namespace, app string) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(s.opt.now())
	out := map[string]int{}
	for path, o := range s.objects {
		if !strings.HasPrefix(path, "/api/v1/namespaces/"+namespace+"/pods/") || text(o, "metadata", "labels", "app") != app {
			continue
		}
		switch {
		case text(o, "metadata", "deletionTimestamp") != "":
			out["ending"]++
		case condition(o, "Ready") == "True":
			out["ready"]++
		default:
			out[strings.ToLower(text(o, "status", "phase"))]++
		}
	}
	return out
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	if s.opt.Token != "" && subtle.ConstantTimeCompare([]byte(r.Header.Get("Authorization")), []byte("Bearer "+s.opt.Token)) != 1 {
		Refusal(w, http.StatusUnauthorized, "Unauthorized", "Unauthorized")
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return // the client has gone
	}
	s.advance(s.opt.now())
	path, sub := r.URL.Path, ""
	if p, ok := strings.CutSuffix(path, "/status"); ok {
		path, sub = p, "status"
	}
	change := Object{}
	if r.Method == http.MethodPost || r.Method == http.MethodPatch {
		if err := json.Unmarshal(body, &change); err != nil {
			Refusal(w, http.StatusBadRequest, "BadRequest", "the body is no JSON object: "+err.Error())
			return
		}
	}
	o := s.objects[path]
	switch {
	case r.Method == http.MethodPost && (s.collection(path) || strings.HasSuffix(path, "/scaledobjects")):
		s.create(w, path, change)
	case o == nil && r.Method == http.MethodGet && s.collection(path):
		s.list(w, path, r)
	case o == nil:
		Refusal(w, http.StatusNotFound, "NotFound", path+" not found")
	case r.Method == http.MethodGet:
		reply(w, http.StatusOK, o)
	case r.Method == http.MethodPatch:
		code := s.patch(w, r, path, sub, o, change)
		if sub == "" && !strings.Contains(path, "/pods/") {
			s.changes = append(s.changes, Change{At: s.opt.now(), Path: path, Body: string(body), From: r.RemoteAddr, Agent: r.UserAgent(), Outcome: code})
		}
	case r.Method == http.MethodDelete:
		s.remove(path, o, r.URL.Query().Get("gracePeriodSeconds") == "0" || strings.Contains(string(body), `"gracePeriodSeconds":0`))
		s.advance(s.opt.now())
		reply(w, http.StatusOK, o)
	default:
		Refusal(w, http.StatusMethodNotAllowed, "MethodNotAllowed", r.Method+" is not known here")
	}
}

func (s *Server) create(w http.ResponseWriter, path string, o Object) {
	name := text(o, "metadata", "name")
	if name == "" || s.objects[path+"/"+name] != nil {
		Refusal(w, http.StatusConflict, "AlreadyExists", path+"/"+name+" has no name, or already exists")
		return
	}
	s.serial++
	meta := at(o, "metadata")
	meta["uid"], meta["generation"] = fmt.Sprintf("uid-%d", s.serial), float64(1)
	if parts := strings.Split(path, "/"); len(parts) > 3 && parts[len(parts)-3] == "namespaces" {
		meta["namespace"] = parts[len(parts)-2]
	}
	s.objects[path+"/"+name] = o
	s.touch(path+"/"+name, s.opt.now())
	s.advance(s.opt.now())
	reply(w, http.StatusCreated, o)
}

// list answers with all objects of a kind, a page at a time if the client asks for a
// limit (API concepts, "Retrieving large results sets in chunks").
func (s *Server) list(w http.ResponseWriter, path string, r *http.Request) {
	q := r.URL.Query()
	if q.Get("watch") != "" && q.Get("watch") != "false" && q.Get("watch") != "0" {
		Refusal(w, http.StatusMethodNotAllowed, "MethodNotAllowed", "nothing can be watched here: this server knows lists only")
		return
	}
	want, err := selector(q.Get("labelSelector"))
	if err != nil {
		Refusal(w, http.StatusBadRequest, "BadRequest", err.Error())
		return
	}
	limit, _ := strconv.Atoi(q.Get("limit")) // none, or none that is a number: all of them
	items, meta, last := []any{}, Object{"resourceVersion": strconv.Itoa(s.serial)}, ""
	for _, p := range slices.Sorted(maps.Keys(s.objects)) {
		o := s.objects[p]
		if !strings.HasPrefix(p, path+"/") || strings.Contains(p[len(path)+1:], "/") || p <= q.Get("continue") || !want(o) {
			continue
		}
		if limit > 0 && len(items) == limit {
			meta["continue"] = last
			break
		}
		items, last = append(items, o), p
	}
	reply(w, http.StatusOK, Object{"kind": "List", "apiVersion": "v1", "metadata": meta, "items": items})
}

// selector reads the labels that must be equal. Other terms are refused: to overlook
// them would be to find too much.
func selector(s string) (func(Object) bool, error) {
	want := map[string]string{}
	for _, term := range strings.Split(s, ",") {
		k, v, ok := strings.Cut(term, "=")
		switch {
		case term == "":
			continue
		case !ok || strings.ContainsAny(term, "!() "):
			return nil, fmt.Errorf("the term %q of the label selector is not known here: equality only", term)
		}
		want[k] = strings.TrimPrefix(v, "=")
	}
	return func(o Object) bool {
		for k, v := range want {
			if text(o, "metadata", "labels", k) != v {
				return false
			}
		}
		return true
	}, nil
}

func (s *Server) patch(w http.ResponseWriter, r *http.Request, path, sub string, o, change Object) (code int) {
	switch n, given := at(copied(change), "spec")["replicas"].(float64); {
	case path == s.refused:
		return Refusal(w, http.StatusForbidden, "Forbidden", "User cannot patch "+path)
	case r.Header.Get("Content-Type") != "application/merge-patch+json":
		return Refusal(w, http.StatusUnsupportedMediaType, "UnsupportedMediaType", r.Header.Get("Content-Type")+" is not known here: merge patches only")
	case given && n < 0:
		return Refusal(w, http.StatusUnprocessableEntity, "Invalid", "spec.replicas: must be greater than or equal to 0")
	}
	before, now := mustJSON(o["spec"]), s.opt.now()
	if spec, ok := change["spec"]; ok && sub == "" {
		merge(o, Object{"spec": spec})
	}
	if meta, ok := change["metadata"]; ok {
		merge(o, Object{"metadata": meta})
	}
	if st, ok := change["status"]; ok && sub == "status" {
		merge(o, Object{"status": st})
	}
	if mustJSON(o["spec"]) != before {
		at(o, "metadata")["generation"] = float64(number(o, 1, "metadata", "generation") + 1)
		s.touch(path, now)
	}
	s.advance(now)
	return reply(w, http.StatusOK, o)
}

// remove marks a pod that a machine has; what else there is is gone at once.
func (s *Server) remove(path string, o Object, now bool) {
	if now || !strings.Contains(path, "/pods/") || text(o, "spec", "nodeName") == "" {
		delete(s.objects, path)
		delete(s.runs, path)
		return
	}
	s.end(path, o, s.opt.now())
}

// collection reports whether a path is that of all objects of a kind. KEDA's kinds are
// there once somebody has made one.
func (s *Server) collection(path string) bool {
	switch kind := path[strings.LastIndexByte(path, '/')+1:]; kind {
	case "deployments", "statefulsets", "cronjobs", "jobs", "pods", "nodes", "horizontalpodautoscalers":
		return true
	case "scaledobjects":
		return slices.ContainsFunc(slices.Collect(maps.Keys(s.objects)), func(p string) bool { return strings.HasPrefix(p, path+"/") })
	}
	return false
}

// touch notes a change for the controllers.
func (s *Server) touch(path string, now time.Time) {
	s.serial++
	s.changed[path] = now
}

// Refusal writes an error as the API server does, and returns its code. The content
// type is the caller's business: what stands before an API server gives another one.
func Refusal(w http.ResponseWriter, code int, reason, message string) int {
	return reply(w, code, Object{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message, "code": code})
}

func reply(w http.ResponseWriter, code int, o any) int {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(o) // a client that has gone needs no answer
	return code
}
