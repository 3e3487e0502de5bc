package probes

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"

	"github.com/failoverd/failoverd/internal/cloud"
)

// api is one region of AWS, scripted by operation, in the protocol in which each call
// comes: JSON (ECS, Logs), REST-JSON (Lambda), CBOR (CloudWatch) and Query (EC2).
type api struct {
	mu      sync.Mutex
	answers map[string]func(in call) any // by operation
	calls   []string
	done    chan struct{}
}

// call is what came.
type call struct {
	r    *http.Request
	json map[string]any
	cbor cbor.Map
	form url.Values
}

// failed is the code of an error: with it 400, 503 for ServiceUnavailable; "hang"
// answers nothing.
type failed string

// on scripts an operation.
func (a *api) on(op string, answer func(in call) any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.answers[op] = answer
}

// says scripts an operation with one answer.
func (a *api) says(op string, answer any) { a.on(op, func(call) any { return answer }) }

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	in, op, write := call{r: r}, "", writeJSON
	const smithyPath = "/service/GraniteServiceVersion20100801/operation/"
	switch target := r.Header.Get("X-Amz-Target"); {
	case target != "":
		op = target[strings.LastIndexByte(target, '.')+1:]
		_ = json.Unmarshal(body, &in.json)
	case strings.HasPrefix(r.URL.Path, smithyPath):
		op, write = strings.TrimPrefix(r.URL.Path, smithyPath), writeCBOR
		v, _ := cbor.Decode(body)
		in.cbor, _ = v.(cbor.Map)
	case strings.HasSuffix(r.URL.Path, "/configuration"):
		op = "GetFunctionConfiguration"
	case strings.HasSuffix(r.URL.Path, "/invocations"):
		op = "Invoke " + r.Header.Get("X-Amz-Invocation-Type")
	case strings.HasSuffix(strings.Trim(r.URL.Path, "/"), "event-source-mappings"):
		op = "ListEventSourceMappings"
	default:
		in.form, _ = url.ParseQuery(string(body))
		op, write = in.form.Get("Action"), writeXML
	}
	a.mu.Lock()
	a.calls = append(a.calls, op)
	answer := a.answers[op]
	a.mu.Unlock()
	if answer == nil {
		write(w, http.StatusNotFound, failed("UnknownOperationException"))
		return
	}
	switch out := answer(in).(type) {
	case failed:
		if out == "hang" {
			<-a.done
			return
		}
		status := http.StatusBadRequest
		if out == "ServiceUnavailable" {
			status = http.StatusServiceUnavailable
		}
		write(w, status, out)
	default:
		write(w, http.StatusOK, out)
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	if code, ok := v.(failed); ok {
		w.Header().Set("X-Amzn-Errortype", string(code))
		v = map[string]string{"__type": string(code), "message": "no"}
	}
	w.WriteHeader(status)
	if v != nil {
		_ = json.NewEncoder(w).Encode(v)
	}
}

func writeCBOR(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Smithy-Protocol", "rpc-v2-cbor")
	w.Header().Set("Content-Type", "application/cbor")
	m, _ := v.(cbor.Map)
	if code, ok := v.(failed); ok {
		m = cbor.Map{"__type": cbor.String(code), "message": cbor.String("no")}
	}
	w.WriteHeader(status)
	_, _ = w.Write(cbor.Encode(m))
}

func writeXML(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	if code, ok := v.(failed); ok {
		v = fmt.Sprintf(`<Response><Errors><Error><Code>%s</Code><Message>no</Message></Error></Errors></Response>`, code)
	}
	_, _ = fmt.Fprint(w, v)
}

// newAPI starts one, and returns what a probe in us-east-1 needs to ask it.
func newAPI(t *testing.T) (*api, Deps) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	a := &api{answers: map[string]func(call) any{}, done: make(chan struct{})}
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(a.done) })
	c, err := cloud.Open(t.Context(), cloud.Options{Endpoints: map[string]string{"us-east-1": srv.URL}, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	d := deps(t)
	d.Region, d.Cloud, d.Timeout = "us-east-1", c, 10*time.Second
	return a, d
}

// mustCheck makes a check that is valid.
func mustCheck(t *testing.T, c CheckConfig, d Deps) Check {
	t.Helper()
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	check, err := c.NewCheck(d)
	if err != nil {
		t.Fatal(err)
	}
	return check
}

// refused holds configurations against what is said of them.
func refused[C interface{ Validate() error }](t *testing.T, bad map[string]C) {
	t.Helper()
	for want, c := range bad {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", c, err, want)
		}
	}
}

// unread holds a check against what an API does that says nothing of the world.
func unread(t *testing.T, a *api, op string, d Deps, c CheckConfig) {
	t.Helper()
	for _, code := range []failed{"ThrottlingException", "ServiceUnavailable", "AccessDeniedException", "hang"} {
		want := string(code)
		a.says(op, code)
		if code == "hang" {
			d.Timeout, want = 300*time.Millisecond, "did not answer in time"
		}
		verify(t, mustCheck(t, c, d), Unknown, want)
	}
	d.Cloud = nil
	if _, err := c.NewCheck(d); err == nil || !strings.Contains(err.Error(), "there are no AWS clients") {
		t.Errorf("without clients: %v", err)
	}
}
