package kubefake

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
)

// hand is a client of one cluster.
type hand struct {
	*testing.T
	c     *Cluster
	set   *faults.Set
	addr  string
	creds *credentials
	http  http.Client
}

// serve starts a cluster whose pods are ready at once.
func serve(t *testing.T, dir string, replicas int) *hand {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // a free port
	if err != nil {
		t.Fatal(err)
	}
	h := &hand{T: t, set: faults.NewSet(1), addr: ln.Addr().String()}
	_ = ln.Close()
	if h.c, err = Serve(t.Context(), Options{Region: "r", Addr: h.addr, Dir: dir, Replicas: replicas, Faults: h.set, Log: slog.New(slog.DiscardHandler)}); err != nil {
		t.Fatal(err)
	}
	if h.creds, err = access(dir, "r", h.addr); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	leaf, err := x509.ParseCertificate(h.creds.cert.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(leaf)
	h.http.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}
	t.Cleanup(h.http.CloseIdleConnections)
	return h
}

// call sends a request and returns the status, 0 with the error, and the body.
func (h *hand) call(method, path, body string) (int, string, http.Header) {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), 500*time.Millisecond)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "https://"+h.addr+path, strings.NewReader(body))
	if err != nil {
		h.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+h.creds.token)
	req.Header.Set("Content-Type", "application/merge-patch+json")
	res, err := h.http.Do(req)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return 0, err.Error(), nil
	}
	return res.StatusCode, string(b), res.Header
}

const (
	deployment = "/apis/apps/v1/namespaces/search/deployments/frontend"
	pods       = "/api/v1/namespaces/search/pods"
)

// The API server asks for its token behind its certificate, and both are the same when the region comes back.
func TestAccess(t *testing.T) {
	dir := t.TempDir()
	h := serve(t, dir, 1)
	if code, body, _ := h.call("GET", deployment, ""); code != 200 {
		t.Errorf("%d %s", code, body)
	}
	plain := &http.Client{Timeout: time.Second}
	if _, err := plain.Get("https://" + h.addr + deployment); err == nil || !strings.Contains(err.Error(), "certificate") { //nolint:bodyclose,noctx // it fails
		t.Errorf("a client that does not know the certificate: %v", err)
	}
	right := h.creds.token
	h.creds.token = "wrong"
	if code, body, _ := h.call("GET", deployment, ""); code != http.StatusUnauthorized {
		t.Errorf("a wrong token: %d %s", code, body)
	}
	again := serve(t, dir, 1)
	if again.creds.token != right || !bytes.Equal(again.creds.cert.Certificate[0], h.creds.cert.Certificate[0]) {
		t.Error("the region came back as another cluster")
	}
}

// Each fault does what its mode says, to the calls that it names and to no others.
func TestAPIFaults(t *testing.T) {
	h := serve(t, t.TempDir(), 3)
	size := 3
	patch := func() (int, string, http.Header) {
		size++
		return h.call("PATCH", deployment, fmt.Sprintf(`{"spec":{"replicas":%d}}`, size))
	}
	took := func() bool { // whether the last patch has taken effect
		h.Helper()
		_, body, _ := h.call("GET", deployment, "")
		return strings.Contains(body, fmt.Sprintf(`"replicas":%d`, size))
	}
	for _, tt := range []struct {
		mode  faults.Mode
		code  int
		body  string
		retry string
		took  bool
	}{
		{faults.Throttle, 429, `"reason":"TooManyRequests"`, "1", false},
		{faults.Error, 500, `"reason":"InternalError"`, "", false},
		{faults.Auth, 401, `"reason":"Unauthorized"`, "", false},
		{faults.Refuse, 0, "", "", false},
		{faults.Hang, 0, "deadline exceeded", "", false},
		{faults.LostReply, 0, "EOF", "", true},
		{faults.Slow, 200, "", "", true},
	} {
		h.set.Add(faults.Fault{Service: "kube", Op: "patch", Target: "deployments", Mode: tt.mode, DelayMs: 50})
		code, body, head := patch()
		if code != tt.code || !strings.Contains(body, tt.body) || head.Get("Retry-After") != tt.retry {
			t.Errorf("%s: %d %q, Retry-After %q", tt.mode, code, body, head.Get("Retry-After"))
		}
		if took() != tt.took {
			t.Errorf("%s: took effect: %t", tt.mode, !tt.took)
		}
		if code, body, _ := h.call("GET", pods, ""); code != 200 {
			t.Errorf("%s of patch hits a list: %d %s", tt.mode, code, body)
		}
		h.set.Clear()
		if code, body, _ := patch(); code != 200 || !took() {
			t.Errorf("after %s was cleared: %d %s", tt.mode, code, body)
		}
	}
	for path, want := range map[string]string{pods: "list pods", deployment: "get deployments", "/api/v1/nodes": "list nodes", "/api/v1/nodes/a": "get nodes", "/": "get "} {
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://x"+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if verb, resource := op(req); verb+" "+resource != want {
			t.Errorf("GET %s is %s %s, want %s", path, verb, resource, want)
		}
	}
}

// What is wrong with a machine is wrong with its pod.
func TestMachineFaults(t *testing.T) {
	h := serve(t, t.TempDir(), 0)
	scale := func(n int) {
		t.Helper()
		if code, body, _ := h.call("PATCH", deployment, fmt.Sprintf(`{"spec":{"replicas":%d}}`, n)); code != 200 {
			t.Fatalf("%d %s", code, body)
		}
	}
	want := func(what, pods string) {
		t.Helper()
		if got := fmt.Sprint(h.c.Pods()); got != pods {
			t.Errorf("%s: %s, want %s", what, got, pods)
		}
	}
	h.set.Add(faults.Fault{Service: "pods", Target: Machine("r", "a"), Mode: faults.Error})
	h.set.Add(faults.Fault{Service: "pods", Target: Machine("r", "b"), Mode: faults.Slow, DelayMs: int(time.Hour / time.Millisecond)})
	scale(3)
	want("one machine is full, one slow", "map[pending:1 ready:1 running:1]")
	h.set.Clear()
	want("all is well", "map[ready:3]")
	h.set.Add(faults.Fault{Service: "pods", Target: Machine("r", "c"), Mode: faults.Refuse})
	want("one is not heard from", "map[ready:2 running:1]")
	_, body, _ := h.call("GET", "/api/v1/nodes", "")
	if strings.Count(body, `"status":"Unknown"`) != 1 {
		t.Errorf("machines: %s", body)
	}
	h.set.Clear()
	h.set.Add(faults.Fault{Service: "pods", Target: Machine("r", "c"), Mode: faults.Hang})
	scale(0)
	want("one pod is stuck while it ends", "map[ending:1]")
	h.set.Clear()
	want("all is well", "map[]")
}
