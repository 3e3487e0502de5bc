package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
)

// api answers every call with a status and an error code, and counts them.
type api struct {
	status int
	code   string
	calls  atomic.Int32
	auth   atomic.Value // the last Authorization header
}

func (a *api) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.calls.Add(1)
	a.auth.Store(r.Header.Get("Authorization"))
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(a.status)
	_, _ = fmt.Fprintf(w, `{"__type":%q,"message":"no"}`, a.code)
}

func open(t *testing.T, a *api) *Clients {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	// Neither of these may count.
	t.Setenv("AWS_ENDPOINT_URL", "http://192.0.2.1:1")
	t.Setenv("HTTP_PROXY", "http://192.0.2.1:1")
	srv := httptest.NewServer(a)
	t.Cleanup(srv.Close)
	c, err := Open(t.Context(), Options{Endpoints: map[string]string{"us-east-1": srv.URL, "us-east-2": srv.URL, "global": srv.URL}, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEffectDeadline(t *testing.T) {
	a := &api{status: 400, code: "AccessDeniedException"}
	c := open(t, a)
	calls := map[string]func(context.Context) error{
		"SQS SendMessage": func(ctx context.Context) error {
			_, err := c.SQS("us-east-1").SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: aws.String("q"), MessageBody: aws.String("b")})
			return err
		},
		"ECS UpdateService": func(ctx context.Context) error {
			_, err := c.ECS("us-east-2").UpdateService(ctx, &ecs.UpdateServiceInput{Service: aws.String("s")})
			return err
		},
		"Route 53 GetHostedZone": func(ctx context.Context) error {
			_, err := c.Route53().GetHostedZone(ctx, &route53.GetHostedZoneInput{Id: aws.String("Z1")})
			return err
		},
		"STS GetCallerIdentity": func(ctx context.Context) error {
			_, err := c.STS("us-east-2").GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
			return err
		},
	}
	for name, call := range calls {
		before := a.calls.Load()
		err := call(WithEffectDeadline(t.Context(), time.Now().Add(-time.Second)))
		var late *EffectDeadlineError
		if !errors.As(err, &late) || late.Call != name || late.Late < time.Second || a.calls.Load() != before {
			t.Errorf("%s after its deadline: %v, %d calls were sent", name, err, a.calls.Load()-before)
		}
		if err := call(WithEffectDeadline(t.Context(), time.Now().Add(time.Minute))); errors.As(err, &late) || a.calls.Load() == before {
			t.Errorf("%s before its deadline: %v", name, err)
		}
		if err := call(WithEffectDeadline(t.Context(), time.Time{})); errors.As(err, &late) {
			t.Errorf("%s without a deadline: %v", name, err)
		}
	}
}

// TestASuspendedMachineSendsNothing moves the boot clock alone, as it looks to a
// process on a machine that slept.
func TestASuspendedMachineSendsNothing(t *testing.T) {
	boot := time.Hour
	ctx := withEffectDeadline(t.Context(), time.Now().Add(time.Minute), func() time.Duration { return boot })
	if err := CheckEffectDeadline(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	boot += 2 * time.Minute
	var late *EffectDeadlineError
	if err := CheckEffectDeadline(ctx, "x"); !errors.As(err, &late) || late.Late < time.Minute-time.Second {
		t.Errorf("after two minutes of sleep: %v", err)
	}
}

func TestRegionsAreSeparate(t *testing.T) {
	a := &api{status: 500, code: "InternalFailure"}
	c := open(t, a)
	east1, again, east2 := c.SQS("us-east-1"), c.SQS("us-east-1"), c.SQS("us-east-2")
	if east1 != again || east1 == east2 {
		t.Error("a client is made once for each region")
	}
	_, err := c.STS("us-east-2").GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if Classify(err) != ServerError || !strings.Contains(a.auth.Load().(string), "/us-east-2/sts/") {
		t.Errorf("%v; signed as %s", err, a.auth.Load())
	}
	if got := a.calls.Load(); got != 3 {
		t.Errorf("a failing call was sent %d times", got)
	}
}

func TestClassify(t *testing.T) {
	for _, tt := range []struct {
		status int
		code   string
		want   ErrorClass
	}{
		{403, "AccessDeniedException", Ours}, {403, "ExpiredTokenException", Ours}, {403, "SignatureDoesNotMatch", Ours},
		{400, "AWS.SimpleQueueService.NonExistentQueue", Ours}, {400, "com.amazonaws.sqs#QueueDoesNotExist", Ours},
		{400, "ThrottlingException", Throttled}, {400, "PriorRequestNotComplete", Throttled},
		{503, "ServiceUnavailable", ServerError}, {400, "InvalidParameterValue", OtherAPI},
	} {
		c := open(t, &api{status: tt.status, code: tt.code})
		_, err := c.SQS("us-east-1").GetQueueUrl(t.Context(), &sqs.GetQueueUrlInput{QueueName: aws.String("q")}, func(o *sqs.Options) { o.RetryMaxAttempts = 1 })
		if got := Classify(err); got != tt.want {
			t.Errorf("%d %s is class %d, want %d (%v)", tt.status, tt.code, got, tt.want, err)
		}
	}
	c := open(t, &api{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.SQS("us-east-1").GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("q")}); Classify(err) != Transport {
		t.Errorf("a call that was given up is class %d", Classify(err))
	}
}

func TestNoCredentials(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("HOME", t.TempDir())
	c, err := Open(t.Context(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	var none *CredentialsError
	if err := c.Credentials(t.Context()); !errors.As(err, &none) || !strings.Contains(err.Error(), "give the host an instance role") {
		t.Errorf("without credentials: %v", err)
	}
}
