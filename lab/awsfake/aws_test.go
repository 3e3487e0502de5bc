package awsfake

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/failoverd/failoverd/lab/checkers"
	"github.com/failoverd/failoverd/lab/dnsfake"
	"github.com/failoverd/failoverd/lab/faults"
)

var creds = credentials.NewStaticCredentialsProvider("AKIATEST", "secret", "")

// fixture is a region and the global services behind one loopback endpoint.
type fixture struct {
	*Server
	sqs     *sqs.Client
	ecs     *ecs.Client
	sts     *sts.Client
	route53 *route53.Client
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	log := slog.New(slog.NewTextHandler(t.Output(), nil))
	f := &fixture{Server: &Server{Region: "us-east-1", Faults: faults.NewSet(1), Log: log}}
	srv := httptest.NewServer(f.Server)
	f.ECS = NewECS(ctx, ECSOptions{Region: "us-east-1", Dir: t.TempDir(), IPs: []string{"127.0.0.1", "127.0.0.2", "127.0.0.3"},
		StartDelay: 20 * time.Millisecond, Lag: 100 * time.Millisecond, TimeFactor: 60, Log: log})
	f.SQS = NewSQS("us-east-1", srv.URL, time.Second, 50*time.Millisecond)
	zone := dnsfake.NewZone("example.net.", 4, 150*time.Millisecond, 60, 1)
	checks := checkers.New(ctx, 60)
	zone.Healthy = checks.Healthy
	weighted := func(id string, w int, ip string) dnsfake.RecordSet {
		return dnsfake.RecordSet{Name: "api.example.net.", Type: "A", TTL: 60, SetID: id, Weight: w, Values: []string{ip}}
	}
	f.Route53 = NewRoute53("Z1", []string{"ns1.example.net"}, zone, checks, []dnsfake.RecordSet{weighted("us-east-1", 255, "198.18.1.21"), weighted("us-east-2", 0, "198.18.2.21"),
		{Name: "www.example.net.", Type: "A", TTL: 60, Values: []string{"198.18.1.1", "198.18.1.2"}}})
	done := make(chan struct{})
	go func() {
		f.ECS.Run()
		close(done)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		srv.CloseClientConnections()
		srv.Close()
	})
	url := aws.String(srv.URL)
	f.sqs = sqs.New(sqs.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, RetryMaxAttempts: 1})
	f.ecs = ecs.New(ecs.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, RetryMaxAttempts: 1})
	f.sts = sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, RetryMaxAttempts: 1})
	f.route53 = route53.New(route53.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, RetryMaxAttempts: 1})
	return f
}

// eventually polls cond for at most ten seconds.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !cond(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e smithy.APIError
	if !errors.As(err, &e) || e.ErrorCode() != code {
		t.Errorf("error %v: want code %s", err, code)
	}
}

func TestSTS(t *testing.T) {
	f := newFixture(t)
	id, err := f.sts.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || aws.ToString(id.Account) != AccountID {
		t.Fatalf("identity %+v, error %v", id, err)
	}
	role, err := f.sts.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/failoverd"), RoleSessionName: aws.String("use1a")})
	if err != nil {
		t.Fatal(err)
	}
	c := role.Credentials
	assumed := sts.New(sts.Options{Region: "us-east-1", BaseEndpoint: f.sts.Options().BaseEndpoint,
		Credentials: credentials.NewStaticCredentialsProvider(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)})
	id, err = assumed.GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if err != nil || aws.ToString(id.Arn) != "arn:aws:sts::123456789012:assumed-role/failoverd/use1a" {
		t.Errorf("identity of the assumed role %+v, error %v", id, err)
	}
}

func TestFaults(t *testing.T) {
	f := newFixture(t)
	f.ECS.Create("prod", "api", f.ECS.Register(TaskDef{Family: "api", Command: []string{"sleep", "100"}}), 0)
	update := func(ctx context.Context, n int32) error {
		_, err := f.ecs.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("prod"), Service: aws.String("api"), DesiredCount: &n})
		return err
	}
	desired := func() int {
		f.ECS.mu.Lock()
		defer f.ECS.mu.Unlock()
		return f.ECS.services["prod/api"].desired
	}
	f.Faults.Add(faults.Fault{Service: "ecs", Op: "UpdateService", Mode: faults.Throttle})
	wantCode(t, update(t.Context(), 1), "ThrottlingException")
	if _, err := f.ecs.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Cluster: aws.String("prod"), Services: []string{"api"}}); err != nil {
		t.Errorf("another operation is hit as well: %v", err)
	}
	f.Faults.Clear()

	f.Faults.Add(faults.Fault{Service: "*", Mode: faults.Error})
	wantCode(t, update(t.Context(), 1), "InternalFailure")
	f.Faults.Clear()

	f.Faults.Add(faults.Fault{Service: "ecs", Mode: faults.Hang})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := update(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("hanging call: %v, want it to end with its context", err)
	}
	f.Faults.Clear()

	f.Faults.Add(faults.Fault{Service: "ecs", Mode: faults.Refuse})
	if update(t.Context(), 1) == nil {
		t.Error("refused call succeeded")
	}
	f.Faults.Clear()
	if n := desired(); n != 0 {
		t.Fatalf("desired count %d after calls without effect, want 0", n)
	}

	f.Faults.Add(faults.Fault{Service: "ecs", Mode: faults.LostReply})
	if err := update(t.Context(), 2); err == nil || desired() != 2 {
		t.Errorf("lost reply: error %v, desired %d; want an error and the effect", err, desired())
	}
	last := f.Calls()[len(f.Calls())-1]
	if last.Op != "UpdateService" || last.Outcome != "ok" || last.Fault != "lostreply" || last.AccessKey != "AKIATEST" {
		t.Errorf("record of the lost reply: %+v", last)
	}
}

// A call that only looks is no change of the world, whatever word AWS begins its name with.
func TestLooksAreNoChanges(t *testing.T) {
	for op, reads := range map[string]bool{"HeadObject": true, "GetObject": true, "DescribeServices": true, "ListTasks": true, "PutObject": false, "DeleteObject": false, "UpdateService": false, "StopInstances": false} {
		if readOnly(op) != reads {
			t.Errorf("%s: taken for a look: %v, want %v", op, !reads, reads)
		}
	}
}
