package actions

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/kube"
	"github.com/failoverd/failoverd/internal/kubetest"
)

// The moods of an API.
const (
	throttles = "throttle"
	errs      = "error"
	hangs     = "hang"
	loses     = "lose the reply" // it is carried out
	dies      = "die"            // its caller does, once it was carried out
	claims    = "claim"          // it says done, and nothing happened
	denies    = "deny"           // it says failed, and it happened
	refuses   = "refuse"         // it says failed, and nothing happened
	halves    = "halve"          // it says done, and only the last of the objects that the call names was changed
)

// moody is a fake between moods. A mood has hold of all calls, or of those from one on, or of one that changes something.
type moody struct {
	fake http.Handler
	twin http.Handler // is as the fake was at the beginning, and knows what an honest API would say
	gone chan struct{}

	mu      sync.Mutex
	mood    string
	from    int    // the first call that it has hold of
	change  int    // the change, and then no other call; zero: calls from the first on
	calls   int    // since the mood came
	changes int    // likewise
	halved  int    // changes of which something was left out
	die     func() // ends the caller, or makes it give up
}

// feels sets the mood of all calls.
func (m *moody) feels(mood string) { m.feelsFrom(mood, 1, nil) }

// feelsFrom lets everything go well until the given call, counted from now.
func (m *moody) feelsFrom(mood string, call int, die func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.mood, m.from, m.change, m.calls, m.changes, m.die = mood, call, 0, 0, 0, die
}

// feelsAt lets everything go well but one change.
func (m *moody) feelsAt(mood string, change int) {
	m.feels(mood)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.change = change
}

// counted is how many calls there were since the mood came, and how many of them were changes.
func (m *moody) counted() (calls, changes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls, m.changes
}

// holds is the mood for a call.
func (m *moody) holds(change bool) (mood string, die func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.calls++
	if change {
		m.changes++
	}
	if m.change > 0 && (!change || m.changes != m.change) || m.calls < m.from {
		return "", nil
	}
	return m.mood, m.die
}

func (m *moody) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	change := changes(r, body)
	to := func(h http.Handler, w http.ResponseWriter, body []byte) {
		r := r.Clone(r.Context())
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		h.ServeHTTP(w, r)
	}
	mood, die := m.holds(change)
	if change && m.twin != nil && mood != claims && mood != halves { // it follows until somebody lies
		to(m.twin, discard{}, body)
	}
	switch mood {
	case throttles:
		w.Header().Set("X-Amzn-Errortype", "ThrottlingException")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"__type":"ThrottlingException","message":"Rate exceeded"}`))
	case errs:
		w.WriteHeader(http.StatusServiceUnavailable)
	case hangs:
		if die != nil {
			die()
		}
		select {
		case <-m.gone:
		case <-r.Context().Done():
		}
	case loses, dies:
		if mood == loses || m.once() {
			to(m.fake, discard{}, body)
		}
		if die != nil {
			die()
		}
		if h, ok := w.(http.Hijacker); ok {
			if c, _, err := h.Hijack(); err == nil {
				_ = c.Close()
			}
		}
	case claims:
		to(m.twin, w, body)
	case halves:
		part := lastOnly(body)
		if !bytes.Equal(part, body) {
			m.mu.Lock()
			m.halved++
			m.mu.Unlock()
		}
		to(m.fake, discard{}, part)
		to(m.twin, w, body)
	case denies, refuses:
		if mood == denies {
			to(m.fake, discard{}, body)
		}
		w.Header().Set("X-Amzn-Errortype", "ValidationException")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write([]byte(`{"__type":"ValidationException","message":"not so"}`))
	default:
		to(m.fake, w, body)
	}
}

// once reports whether this is the first call since the mood took hold: what a caller that is dead seems to send is not carried out.
func (m *moody) once() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.calls == m.from
}

var reads = regexp.MustCompile(`^(Describe|List|Get)|\.(Describe|List|Get)`)

// changes reports whether a call changes something, by the names of AWS's operations.
func changes(r *http.Request, body []byte) bool {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return false
	}
	form, _ := url.ParseQuery(string(body))
	return !reads.MatchString(cmp.Or(r.Header.Get("X-Amz-Target"), form.Get("Action")))
}

var numbered = regexp.MustCompile(`^(InstanceId\.|[A-Za-z]+\.member\.)\d+$`)

// lastOnly leaves only the last of each list in a call of AWS's query protocol.
func lastOnly(body []byte) []byte {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return body
	}
	some := false
	for _, k := range slices.SortedFunc(maps.Keys(form), func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) }) {
		if m := numbered.FindStringSubmatch(k); m != nil && !strings.HasSuffix(k, ".1") {
			form.Set(m[1]+"1", form.Get(k)) // the next one takes its place
			form.Del(k)
			some = true
		}
	}
	if !some {
		return body
	}
	return []byte(form.Encode())
}

// discard is a reply that nobody gets.
type discard struct{}

func (discard) Header() http.Header         { return http.Header{} }
func (discard) Write(b []byte) (int, error) { return len(b), nil }
func (discard) WriteHeader(int)             {}

// subject is one kind in one role, with a world that it can change.
type subject struct {
	name   string
	fake   http.Handler
	cfg    Config
	settle func()     // what was asked for takes place
	world  func() any // what is there, but for tokens, IDs and times
	tokens bool
}

// fakeCommand is what the program of an exec step has to do with: the test's own binary is that program (calledAsCommand).
type fakeCommand struct {
	mu   sync.Mutex
	does bool
}

func (f *fakeCommand) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case r.Method == http.MethodPost:
		f.does = r.URL.Path == "/do"
	case !f.does:
		w.WriteHeader(http.StatusNotFound)
	}
}

// commandCalls is the variable by which the test's binary is told that it is a program of an exec step, and where its world is.
const commandCalls = "ACTIONS_TEST_CALLS"

// calledAsCommand is that program.
func calledAsCommand(at string) (status int) {
	method, path := http.MethodPost, "/"+os.Args[1]
	if path == "/inspect" {
		method = http.MethodGet
	}
	r, err := http.NewRequest(method, at+path, nil)
	if err != nil {
		return 2
	}
	res, err := http.DefaultClient.Do(r)
	switch {
	case err == nil && res.StatusCode == http.StatusOK:
		return 0
	case err == nil && res.StatusCode == http.StatusNotFound:
		return 1
	}
	return 2
}

// fakeCluster has two Deployments: web, whose autoscaler may scale from zero, and api, which KEDA scales.
func fakeCluster(t *testing.T, replicas int, annotations map[string]any) *kubetest.Server {
	t.Helper()
	f := fakeDeployment(replicas)
	f.Deployment("x", "api", replicas)
	f.Settle()
	for path, o := range map[string]map[string]any{
		"autoscaling/v2/namespaces/x/horizontalpodautoscalers": {"kind": "HorizontalPodAutoscaler", "apiVersion": "autoscaling/v2", "metadata": map[string]any{"name": "load"},
			"spec": map[string]any{"minReplicas": 0, "scaleTargetRef": map[string]any{"kind": "Deployment", "name": "web"}}},
		"keda.sh/v1alpha1/namespaces/x/scaledobjects": {"kind": "ScaledObject", "apiVersion": "keda.sh/v1alpha1", "metadata": map[string]any{"name": "backlog", "annotations": annotations},
			"spec": map[string]any{"scaleTargetRef": map[string]any{"name": "api"}}},
	} {
		b, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		out := httptest.NewRecorder()
		if f.ServeHTTP(out, httptest.NewRequest(http.MethodPost, "/apis/"+path, bytes.NewReader(b))); out.Code != http.StatusCreated {
			t.Fatalf("%s: %s", path, out.Body)
		}
	}
	return f
}

// inCluster is what fakeCluster's objects say, and how many pods there are.
func inCluster(f *kubetest.Server) any {
	out := []any{f.Pods("x", "web"), f.Pods("x", "api")}
	for _, path := range []string{"apps/v1/namespaces/x/deployments/web", "apps/v1/namespaces/x/deployments/api", "autoscaling/v2/namespaces/x/horizontalpodautoscalers/load", "keda.sh/v1alpha1/namespaces/x/scaledobjects/backlog"} {
		w := httptest.NewRecorder()
		f.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/apis/"+path, nil))
		o := map[string]any{}
		_ = json.Unmarshal(w.Body.Bytes(), &o)
		out = append(out, o["spec"], o["metadata"].(map[string]any)["annotations"])
	}
	return out
}

// settle lets tasks start and end.
func (f *fakeECS) settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running = f.desired
}

// settle lets instances start, unless Launch is suspended, and end, unless they are protected.
func (f *fakeASG) settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if extra := len(f.instances) - f.desired; extra > 0 {
		f.instances = slices.DeleteFunc(f.instances, func(i fakeInstance) bool {
			extra--
			return extra >= 0 && !i.protected
		})
	} else if !slices.Contains(f.suspended, "Launch") {
		more := -extra
		if f.full {
			more = max(0, min(more, f.room-len(f.instances)))
		}
		f.instances = append(f.instances, serving(more)...)
		if f.failure = ""; more < -extra {
			f.failure = noCapacity
		}
	}
}

// settle lets every mapping arrive.
func (f *fakeLambda) settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, s := range f.states {
		f.states[id] = map[string]string{"Enabling": "Enabled", "Disabling": "Disabled"}[s]
		if f.states[id] == "" {
			f.states[id] = s
		}
	}
	f.changed = time.Now().Add(-time.Hour) // no invocation is left
}

// names is the region that the object leads clients to.
func (o *fakeObject) names() failover.Region {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range []failover.Region{"us-east-1", "us-east-2"} {
		if strings.Contains(o.body, MatchRegion(r)) {
			return r
		}
	}
	return "us-east-1"
}

// states are what the clocks are, but for when they were changed.
func (f *fakeClocks) states() any {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := maps.Clone(f.schedules["default/nightly"])
	delete(out, "LastModificationDate")
	return []any{maps.Clone(f.rules["default/hourly"]), out}
}

// weighted are the records that have a weight.
func (z *fakeZone) weighted() any {
	z.mu.Lock()
	defer z.mu.Unlock()
	out := map[string]string{}
	for key, r := range z.records {
		if r.SetID != "" {
			out[key] = r.text()
		}
	}
	return out
}

// conformer is a subject in a world of its own.
type conformer struct {
	*testing.T
	subject
	*moody
	deps  Deps
	port  string // of its name servers
	host  string // of its API
	cfg   Config
	token uint64
	twins func() // settles the twin
}

// conform makes the world of the n-th subject.
func conform(t *testing.T, n int) *conformer {
	t.Helper()
	z := trafficZone()
	s, twin := subjects(t, z)[n], subjects(t, trafficZone())[n]
	m := &moody{fake: s.fake, twin: twin.fake, gone: make(chan struct{})}
	c := &conformer{T: t, subject: s, moody: m, cfg: s.cfg, token: 10, deps: testDeps(t, m), twins: twin.settle}
	c.port = located(t, &c.deps, z)
	srv := httptest.NewServer(m)
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(m.gone) }) // before that: what hangs is let go
	c.host = srv.URL
	switch k := s.cfg.(type) { // their address is their own
	case *HTTPCallConfig:
		at := hookAt(t, c.host)
		at.IdempotentCall, c.cfg = k.IdempotentCall, at
	case *ExecConfig:
		k.Env = map[string]string{commandCalls: c.host}
	}
	return c
}

// action is that of a process that has just begun.
func (c *conformer) action() Action {
	c.Helper()
	d := c.deps
	d.Quiet = new(Quiet)
	a, err := c.cfg.New(d)
	if err != nil {
		c.Fatal(err)
	}
	switch k := a.(type) {
	case *s3Object:
		k.places.dns.Port = c.port
	case *route53Weights:
		k.dns.Port = c.port
	case *kubernetes:
		if k.cfg.CAFile != "" {
			break // it is reached as in life
		}
		if k.client, err = kube.New(&rest.Config{Host: c.host, QPS: 1000, Burst: 1000}); err != nil {
			c.Fatal(err)
		}
	}
	return a
}

// look is what an action sees, once it has seen for how long.
func (c *conformer) look(a Action) Effect {
	c.Helper()
	var e Effect
	for range 2 {
		var err error
		if e, err = a.Inspect(c.Context()); err != nil {
			c.Fatal(err)
		}
	}
	return e
}

// next is an attempt that rests on what was seen.
func (c *conformer) next(e Effect) Attempt {
	c.token++
	return attempt(c.token, e)
}

// passes lets what was asked for take place.
func (c *conformer) passes() {
	c.settle()
	c.twins()
}

// is is the world in words.
func (c *conformer) is() string { return fmt.Sprintf("%+v", c.world()) }

// same fails unless the world is as it should be.
func (c *conformer) same(what, want string) {
	c.Helper()
	if is := c.is(); is != want {
		c.Errorf("%s, the world is\n%s, and should be\n%s", what, is, want)
	}
}

// finish does what leaders do after one another has ended in the middle: each is a new process, looks, and tries again until the effect is there.
func (c *conformer) finish() {
	c.Helper()
	for range 5 {
		a := c.action()
		e := c.look(a)
		if e.State == Present {
			return
		}
		if err := a.Do(c.Context(), c.next(e)); err != nil {
			c.Logf("a later attempt: %v", err)
		}
		c.passes()
	}
	c.Error("no later leader has brought it to an end")
}

// putBack does so until what was there before is there again.
func (c *conformer) putBack(before Effect) {
	c.Helper()
	for range 5 {
		a := c.action()
		if restored(a, c.look(a), before.Previous) {
			return
		}
		if err := a.Undo(c.Context(), c.next(before)); err != nil {
			c.Logf("a later undo: %v", err)
		}
		c.passes()
	}
	c.Error("no later leader has put it back")
}
