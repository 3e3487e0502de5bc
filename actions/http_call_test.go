package actions

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

const hookKey = "0123456789abcdef0123456789abcdef"

// fakeHook is a receiver that checks what is signed, as one would write it from the
// description.
type fakeHook struct {
	mu      sync.Mutex
	state   string
	posts   []string // action, token and Idempotency-Key of each
	bodies  []map[string]any
	refused []string
	answer  string // instead of the usual one to a GET
	status  int    // instead of 200
}

func (f *fakeHook) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	stamp, sum, _ := strings.Cut(strings.TrimPrefix(r.Header.Get("Failoverd-Signature"), "t="), ",v1=")
	mac := hmac.New(sha256.New, []byte(hookKey))
	_, _ = mac.Write([]byte(stamp + "." + r.Method + "." + r.URL.RequestURI() + "." + string(body)))
	if want := hex.EncodeToString(mac.Sum(nil)); sum != want {
		f.refused = append(f.refused, r.Method)
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if f.status != 0 {
		w.Header().Set("Location", "https://elsewhere.example.net/")
		w.WriteHeader(f.status)
		_, _ = w.Write([]byte("not today"))
		return
	}
	if r.Method == http.MethodGet {
		if f.answer == "" {
			_, _ = fmt.Fprintf(w, `{"state":%q,"detail":"partners use %s","previous":{"list":[1, 2]}}`, f.state, f.state)
			return
		}
		_, _ = io.WriteString(w, f.answer)
		return
	}
	in := map[string]any{}
	_ = json.Unmarshal(body, &in)
	f.bodies = append(f.bodies, in)
	f.posts = append(f.posts, fmt.Sprintf("%s %v %s", in["action"], in["token"], r.Header.Get("Idempotency-Key")))
	f.state = map[string]string{"/do": "present", "/undo": "absent"}[r.URL.Path]
	w.WriteHeader(http.StatusAccepted)
}

// hookAt is the configuration of a hook at an address.
func hookAt(t *testing.T, url string) *HTTPCallConfig {
	t.Helper()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(hookKey+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return &HTTPCallConfig{URL: url + "/do", Inspect: url + "/state?of=relay", Undo: url + "/undo", SecretFile: file}
}

func TestHTTPCall(t *testing.T) {
	f := &fakeHook{state: "absent"}
	srv := httptest.NewServer(f)
	defer srv.Close()
	c := hookAt(t, srv.URL)
	a, err := c.New(Deps{Service: "messaging", Region: "us-east-2"})
	if err != nil {
		t.Fatal(err)
	}
	before := inspect(t, a, Absent, "partners use absent")
	try := Attempt{Execution: 5, Step: "start-partners", Number: 2, Epoch: 7, Token: 41, Previous: before.Previous, Deadline: time.Now().Add(time.Minute)}
	if err := a.Do(t.Context(), try); err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"service": "messaging", "action": "do", "region": "us-east-2", "execution": 5.0, "step": "start-partners", "attempt": 2.0, "epoch": 7.0, "token": 41.0,
		"previous": map[string]any{"list": []any{1.0, 2.0}}}
	if got, _ := json.Marshal(f.bodies[0]); string(got) != func() string { b, _ := json.Marshal(want); return string(b) }() {
		t.Errorf("the hook is told %s", got)
	}
	inspect(t, a, Present, "")
	try.Token = 42
	if err := a.Undo(t.Context(), try); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.posts, []string{"do 41 41", "undo 42 42"}) || len(f.refused) > 0 {
		t.Errorf("posts %v, refused %v", f.posts, f.refused)
	}
	if now := inspect(t, a, Absent, ""); !a.(Restorer).Restored(now, before.Previous) {
		t.Error("not restored")
	}
	f.answer = `{"state":"absent","previous":{"list":[1]}}`
	if now := inspect(t, a, Absent, "says absent"); a.(Restorer).Restored(now, before.Previous) {
		t.Error("absent with other values counts as restored")
	}
	// What an answer must be.
	for answer, want := range map[string]string{
		"OK": "answers no JSON object", `{"state":"done"}`: `says the state "done": it must be one of unknown, absent, partial, present`, `{}`: `says the state ""`,
	} {
		f.answer = answer
		if e, err := a.Inspect(t.Context()); err == nil || e.State != Unknown || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %+v, %v", answer, e, err)
		}
	}
	for status, want := range map[int]string{503: "answers 503 Service Unavailable; it said: not today", 307: "sends the call on to \"https://elsewhere.example.net/\"", 404: "answers 404"} {
		f.status = status
		if err := a.Do(t.Context(), try); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("status %d gives %v", status, err)
		}
		if _, err := a.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("status %d, asked whether it is so, gives %v", status, err)
		}
	}
	f.status = 0
	// After its deadline, with a wrong key, with a short one or without any, nothing happens.
	posts := len(f.posts)
	var late *cloud.EffectDeadlineError
	if err := a.Do(cloud.WithEffectDeadline(t.Context(), time.Now().Add(-time.Second)), try); !errors.As(err, &late) {
		t.Errorf("after its deadline: %v", err)
	}
	for key, want := range map[string]string{"fedcba9876543210": "answers 401", "short": "has 5 bytes: it needs 16 or more"} {
		if err := os.WriteFile(c.SecretFile, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := a.Do(t.Context(), try); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the key %q gives %v", key, err)
		}
	}
	if err := os.Remove(c.SecretFile); err != nil {
		t.Fatal(err)
	}
	if err := a.Do(t.Context(), try); err == nil || !strings.Contains(err.Error(), "reading the key for") {
		t.Errorf("without a key: %v", err)
	}
	if len(f.posts) != posts {
		t.Errorf("something was called: %v", f.posts[posts:])
	}
}

// It is never idempotent by itself, and a call whose reply is lost is not made again
// by Go's transport, which would do so with an Idempotency-Key.
func TestHTTPCallIsMadeOnce(t *testing.T) {
	f := &fakeHook{state: "absent"}
	m := &moody{fake: f, gone: make(chan struct{})}
	defer close(m.gone)
	srv := httptest.NewServer(m)
	defer srv.Close()
	c := hookAt(t, srv.URL)
	a, err := c.New(Deps{Region: "us-east-2"})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := a.(Idempotent); ok {
		t.Error("it is idempotent although nobody said so")
	}
	before := inspect(t, a, Absent, "") // a connection that is kept
	m.feels(loses)
	if err := a.Do(t.Context(), attempt(7, before)); err == nil {
		t.Error("a lost reply is no error")
	}
	f.mu.Lock() // the connection was closed before the handler had ended
	if len(f.posts) != 1 {
		t.Errorf("it was called %d times: %v", len(f.posts), f.posts)
	}
	f.mu.Unlock()
	c.IdempotentCall, c.Undo = true, ""
	if a, err = c.New(Deps{Region: "us-east-2"}); err != nil {
		t.Fatal(err)
	}
	if _, ok := a.(Idempotent); !ok {
		t.Error("it is not idempotent although the configuration says so")
	}
	if err := a.Undo(t.Context(), attempt(8, before)); err == nil || !strings.Contains(err.Error(), "cannot be undone: the configuration names no undo address") {
		t.Errorf("an undo without an address: %v", err)
	}
}

// The commands that a person types are signed as ours are.
func TestHTTPCallByHand(t *testing.T) {
	for _, program := range []string{"sh", "openssl", "curl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatal("no " + program + ", which the runbook needs: make deps installs it")
		}
	}
	f := &fakeHook{state: "absent"}
	srv := httptest.NewServer(f)
	defer srv.Close()
	lines, _ := hookAt(t, srv.URL).byHand("us-east-2", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, "sh", "-c", strings.Join(lines, "\n")).CombinedOutput()
	if err != nil || len(f.posts) != 1 || !strings.HasPrefix(f.posts[0], "do 1 ") || len(f.refused) != 0 || !strings.Contains(string(out), `"state":"present"`) {
		t.Errorf("posts %v, refused %v, said %s, %v", f.posts, f.refused, out, err)
	}
}

func TestHTTPCallParameters(t *testing.T) {
	good := HTTPCallConfig{URL: "https://h.example.net/{region}", Inspect: "https://h.example.net/state", SecretFile: "/etc/key"}
	for _, tt := range []struct {
		change func(c *HTTPCallConfig)
		role   Role
		want   string
	}{
		{func(*HTTPCallConfig) {}, RoleStart, ""},
		{func(c *HTTPCallConfig) { c.Proves = failover.Resource }, RoleStop, ""},
		{func(c *HTTPCallConfig) { c.URL = "" }, "", "url: is missing"},
		{func(c *HTTPCallConfig) { c.URL = "h.example.net" }, "", "no address like"},
		{func(c *HTTPCallConfig) { c.URL = "https://u:p@h/" }, "", "holds a user"},
		{func(c *HTTPCallConfig) { c.Inspect = "" }, "", "nobody can tell whether the call took effect"},
		{func(c *HTTPCallConfig) { c.Undo = "ftp://x/" }, "", "undo:"},
		{func(c *HTTPCallConfig) { c.SecretFile = "" }, "", "could be made by anybody"},
		{func(c *HTTPCallConfig) { c.SecretFile = "key" }, "", "not an absolute path"},
		{func(c *HTTPCallConfig) { c.Proves = "lease" }, "", "proves"},
		{func(*HTTPCallConfig) {}, RoleSwitch, "cannot move clients"},
	} {
		c := good
		tt.change(&c)
		if err := c.Validate(tt.role); (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v as %s: %v, want %q", c, tt.role, err, tt.want)
		}
	}
}
