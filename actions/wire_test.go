package actions

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"k8s.io/client-go/rest"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/kube"
)

// wire leads the clients of an action to a fake without a socket, so that a bubble's time goes on while they wait.
type wire struct {
	fake  http.Handler
	takes time.Duration // each call

	mu    sync.Mutex
	parks string // the next call that says so is not carried out before it is let go; its caller waits in vain
	late  func() // carries it out
}

var errNobodyWaits = errors.New("nobody has waited for the answer")

// Do is how AWS's clients send.
func (w *wire) Do(r *http.Request) (*http.Response, error) { return w.RoundTrip(r) }

// RoundTrip is how the others do.
func (w *wire) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		_ = r.Body.Close()
	}
	carry := func() *httptest.ResponseRecorder {
		in := httptest.NewRequest(r.Method, r.URL.RequestURI(), bytes.NewReader(body))
		in.Header = r.Header.Clone()
		out := httptest.NewRecorder()
		w.fake.ServeHTTP(out, in)
		return out
	}
	says := strings.Join([]string{r.Method, r.URL.Path, r.Header.Get("X-Amz-Target"), string(body)}, " ")
	w.mu.Lock()
	park := w.parks != "" && strings.Contains(says, w.parks)
	if park {
		w.parks, w.late = "", func() { carry() }
	}
	w.mu.Unlock()
	if park {
		<-r.Context().Done()
		return nil, errNobodyWaits
	}
	select {
	case <-r.Context().Done():
		return nil, r.Context().Err()
	case <-time.After(w.takes):
	}
	out := carry().Result()
	out.Request = r
	return out, nil
}

// park lets the next call that says so wait.
func (w *wire) park(says string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.parks = says
}

// parked reports whether one waits.
func (w *wire) parked() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.late != nil
}

// land carries it out.
func (w *wire) land() {
	w.mu.Lock()
	late := w.late
	w.mu.Unlock()
	late()
}

// wired makes an action whose calls go over a wire.
func wired(t *testing.T, c Config, w *wire) Action {
	t.Helper()
	const nowhere = "http://fake.example.net"
	aws, err := cloud.Open(t.Context(), cloud.Options{Endpoints: map[string]string{"us-east-2": nowhere}})
	if err != nil {
		t.Fatal(err)
	}
	a, err := c.New(Deps{Region: "us-east-2", Regions: []failover.Region{"us-east-1", "us-east-2"}, Node: "n1", Cloud: aws, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	switch k := a.(type) {
	case *ecsService:
		k.client = ecs.New(k.client.Options(), func(o *ecs.Options) { o.HTTPClient = w })
		k.scaler = applicationautoscaling.New(k.scaler.Options(), func(o *applicationautoscaling.Options) { o.HTTPClient = w })
	case *asg:
		k.client = autoscaling.New(k.client.Options(), func(o *autoscaling.Options) { o.HTTPClient = w })
	case *asgs:
		for _, one := range k.groups {
			one.client = autoscaling.New(one.client.Options(), func(o *autoscaling.Options) { o.HTTPClient = w })
		}
	case *ec2Instances:
		k.client = ec2.New(k.client.Options(), func(o *ec2.Options) { o.HTTPClient = w })
	case *nacl:
		k.client = ec2.New(k.client.Options(), func(o *ec2.Options) { o.HTTPClient = w })
	case *eventSource:
		k.client = lambda.New(k.client.Options(), func(o *lambda.Options) { o.HTTPClient = w })
	case *schedule:
		for _, c := range k.clocks {
			switch c := c.(type) {
			case *rule:
				c.client = eventbridge.New(c.client.Options(), func(o *eventbridge.Options) { o.HTTPClient = w })
			case *scheduled:
				c.client = scheduler.New(c.client.Options(), func(o *scheduler.Options) { o.HTTPClient = w })
			}
		}
	case *kubernetes:
		if k.client, err = kube.New(&rest.Config{Host: nowhere, Transport: w}); err != nil {
			t.Fatal(err)
		}
	case idempotentHook:
		k.client.Transport = w
	case *execAction:
	default:
		t.Fatalf("%T has no wire", a)
	}
	return a
}

// writer is an action of a leader that was deposed long ago. It has checked all that there is to check, and its call, which says so, is on its way:
// it lands when land is called.
func writer(t *testing.T, w *wire, says string, write func(context.Context) error) (land func()) {
	t.Helper()
	w.park(says)
	ctx, cancel := acting(t.Context(), Attempt{Step: "stale"}, time.Now().Add(Options{}.withDefaults().CallTimeout))
	defer cancel()
	if err := write(ctx); err == nil || !w.parked() {
		t.Fatalf("the stale writer is not under way: %v", err)
	}
	return w.land
}
