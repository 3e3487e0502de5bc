package awsfake

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	aastypes "github.com/aws/aws-sdk-go-v2/service/applicationautoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/servicequotas"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/failoverd/failoverd/lab/checkers"
	"github.com/failoverd/failoverd/lab/dnsfake"
	"github.com/failoverd/failoverd/lab/faults"
)

var updateDoc = flag.Bool("update", false, "write DIFFERENCES.md")

// sides are the clients of one implementation.
type sides struct {
	sts *sts.Client
	sqs *sqs.Client
	ecs *ecs.Client
	aas *applicationautoscaling.Client
	asg *autoscaling.Client
	ec2 *ec2.Client
	r53 *route53.Client
	s3  *s3.Client
	// of checks
	lambda  *lambda.Client
	logs    *cloudwatchlogs.Client
	pcx     string // a peering connection
	mapping string // an event source mapping

	// of what can be launched
	ecr               *ecr.Client
	secrets           *secretsmanager.Client
	secret            string // an ARN
	subnet, template  string // IDs
	deny, association string // of network ACLs

	elb    *elb.Client
	events *eventbridge.Client
	times  *scheduler.Client
	quotas *servicequotas.Client

	orders, dump string   // a queue, and the ETag of an object
	handles, old []string // of messages
	group        string   // an ARN
	change       string   // an ID

	ids  []string // of instances
	zone string
	etag string
	q    string
	hc   string
}

func newSides(url string) *sides {
	u, region := aws.String(url), "us-east-1"
	return &sides{
		sts:     sts.New(sts.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
		sqs:     sqs.New(sqs.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
		ecs:     ecs.New(ecs.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
		aas:     applicationautoscaling.New(applicationautoscaling.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
		asg:     autoscaling.New(autoscaling.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
		ec2:     ec2.New(ec2.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
		r53:     route53.New(route53.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
		s3:      s3.New(s3.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1, UsePathStyle: true, DisableLogOutputChecksumValidationSkipped: true}),
		lambda:  lambda.New(lambda.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
		ecr:     ecr.New(ecr.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
		secrets: secretsmanager.New(secretsmanager.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
		elb:     elb.New(elb.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
		events:  eventbridge.New(eventbridge.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
		times:   scheduler.New(scheduler.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
		quotas:  servicequotas.New(servicequotas.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
		logs:    cloudwatchlogs.New(cloudwatchlogs.Options{Region: region, BaseEndpoint: u, Credentials: creds, RetryMaxAttempts: 1}),
	}
}

// refill lets a test call without being throttled: what is compared is what is answered.
func (r *Route53) refill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tokens = 50
}

// step is one call, and what of its answer is compared.
type step struct {
	name string
	run  func(ctx context.Context, s *sides) string
}

func code(err error) string {
	var api smithy.APIError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &api):
		return api.ErrorCode()
	}
	if r, ok := errors.AsType[*smithyhttp.ResponseError](err); ok && r.HTTPStatusCode() == http.StatusInternalServerError {
		return "a status of 500"
	}
	return "error: " + err.Error()
}

// or gives the error's code, or what say makes of the answer.
func or[T any](out T, err error, say func(T) string) string {
	if err != nil {
		return code(err)
	}
	return say(out)
}

func sdkSteps() []step {
	service := func(n int32) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			_, err := s.ecs.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("prod"), Service: aws.String("api"), DesiredCount: &n})
			return code(err)
		}
	}
	desired := func(ctx context.Context, s *sides) string {
		out, err := s.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String("prod"), Services: []string{"api"}})
		return or(out, err, func(o *ecs.DescribeServicesOutput) string {
			return fmt.Sprint(o.Services[0].DesiredCount, " ", *o.Services[0].Status)
		})
	}
	group := func(in autoscaling.UpdateAutoScalingGroupInput) func(context.Context, *sides) string {
		in.AutoScalingGroupName = aws.String("queue")
		return func(ctx context.Context, s *sides) string {
			_, err := s.asg.UpdateAutoScalingGroup(ctx, &in)
			return code(err)
		}
	}
	sizes := func(ctx context.Context, s *sides) string {
		out, err := s.asg.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"queue"}})
		return or(out, err, func(o *autoscaling.DescribeAutoScalingGroupsOutput) string {
			g := o.AutoScalingGroups[0]
			var off []string
			for _, p := range g.SuspendedProcesses {
				off = append(off, *p.ProcessName)
			}
			slices.Sort(off)
			return fmt.Sprintf("min %d max %d desired %d suspended %v", *g.MinSize, *g.MaxSize, *g.DesiredCapacity, off)
		})
	}
	record := func(action r53types.ChangeAction, id string, weight int64, ttl int64) r53types.Change {
		return r53types.Change{Action: action, ResourceRecordSet: &r53types.ResourceRecordSet{Name: aws.String("api.example.net"), Type: r53types.RRTypeA, SetIdentifier: &id, Weight: &weight, TTL: &ttl,
			ResourceRecords: []r53types.ResourceRecord{{Value: aws.String("192.0.2.1")}}}}
	}
	change := func(changes ...r53types.Change) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			_, err := s.r53.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{HostedZoneId: &s.zone, ChangeBatch: &r53types.ChangeBatch{Changes: changes}})
			return code(err)
		}
	}
	txt := func(action r53types.ChangeAction, value string) r53types.Change {
		return r53types.Change{Action: action, ResourceRecordSet: &r53types.ResourceRecordSet{Name: aws.String("_token.example.net"), Type: r53types.RRTypeTxt, TTL: aws.Int64(60),
			ResourceRecords: []r53types.ResourceRecord{{Value: aws.String(`"` + value + `"`)}}}}
	}
	weights := func(ctx context.Context, s *sides) string {
		out, err := s.r53.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{HostedZoneId: &s.zone, StartRecordName: aws.String("api.example.net")})
		return or(out, err, func(o *route53.ListResourceRecordSetsOutput) string {
			var w []string
			for _, r := range o.ResourceRecordSets {
				if *r.Name == "api.example.net." && r.Weight != nil {
					w = append(w, fmt.Sprint(*r.SetIdentifier, "=", *r.Weight))
				}
			}
			return strings.Join(w, " ")
		})
	}
	put := func(match, none *string, body string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			if match != nil && *match == "current" {
				match = &s.etag
			}
			out, err := s.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a/key"), Body: bytes.NewReader([]byte(body)), IfMatch: match, IfNoneMatch: none})
			return or(out, err, func(o *s3.PutObjectOutput) string { s.etag = aws.ToString(o.ETag); return "ok " + s.etag })
		}
	}
	const up, del, create = r53types.ChangeActionUpsert, r53types.ChangeActionDelete, r53types.ChangeActionCreate
	return append(slices.Concat(ec2Steps(), checkSteps(), stockSteps(), messageSteps(), objectSteps(), serviceSteps(), groupSteps(), clockSteps()), append([]step{
		{"sts GetCallerIdentity", func(ctx context.Context, s *sides) string {
			out, err := s.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
			return or(out, err, func(o *sts.GetCallerIdentityOutput) string { return *o.Account })
		}},
		{"sqs GetQueueUrl of a queue that is not there", func(ctx context.Context, s *sides) string {
			_, err := s.sqs.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: aws.String("none")})
			return code(err)
		}},
		{"sqs CreateQueue, SendMessage", func(ctx context.Context, s *sides) string {
			out, err := s.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("canary")})
			if err != nil {
				return code(err)
			}
			s.q = *out.QueueUrl
			_, err = s.sqs.SendMessage(ctx, &sqs.SendMessageInput{QueueUrl: &s.q, MessageBody: aws.String("hello")})
			return code(err)
		}},
		{"sqs ReceiveMessage, DeleteMessageBatch", func(ctx context.Context, s *sides) string {
			out, err := s.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &s.q, WaitTimeSeconds: 1})
			if err != nil || len(out.Messages) != 1 {
				return fmt.Sprint(code(err), " ", len(out.Messages))
			}
			_, err = s.sqs.ReceiveMessage(ctx, &sqs.ReceiveMessageInput{QueueUrl: &s.q, MaxNumberOfMessages: 11})
			return *out.Messages[0].Body + "; eleven at once: " + code(err)
		}},
		{"ecs DescribeServices of one that is not there", func(ctx context.Context, s *sides) string {
			out, err := s.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String("prod"), Services: []string{"none"}})
			return or(out, err, func(o *ecs.DescribeServicesOutput) string { return *o.Failures[0].Reason })
		}},
		{"ecs UpdateService in a cluster that is not there", func(ctx context.Context, s *sides) string {
			_, err := s.ecs.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: aws.String("none"), Service: aws.String("api"), DesiredCount: aws.Int32(1)})
			return code(err)
		}},
		{"ecs UpdateService 0", service(0)}, {"ecs after it", desired},
		{"ecs UpdateService 2", service(2)}, {"ecs after that", desired},
		{"application autoscaling of a service without", func(ctx context.Context, s *sides) string {
			out, err := s.aas.DescribeScalableTargets(ctx, &applicationautoscaling.DescribeScalableTargetsInput{ServiceNamespace: aastypes.ServiceNamespaceEcs, ResourceIds: []string{"service/prod/api"}})
			return or(out, err, func(o *applicationautoscaling.DescribeScalableTargetsOutput) string {
				return fmt.Sprint(len(o.ScalableTargets))
			})
		}},
		{"application autoscaling registered, suspended, read", func(ctx context.Context, s *sides) string {
			yes := aws.Bool(true)
			_, err := s.aas.RegisterScalableTarget(ctx, &applicationautoscaling.RegisterScalableTargetInput{ServiceNamespace: aastypes.ServiceNamespaceEcs, ResourceId: aws.String("service/prod/api"),
				ScalableDimension: aastypes.ScalableDimensionECSServiceDesiredCount, MinCapacity: aws.Int32(0), MaxCapacity: aws.Int32(5),
				SuspendedState: &aastypes.SuspendedState{DynamicScalingInSuspended: yes, DynamicScalingOutSuspended: yes, ScheduledScalingSuspended: yes}})
			if err != nil {
				return code(err)
			}
			out, err := s.aas.DescribeScalableTargets(ctx, &applicationautoscaling.DescribeScalableTargetsInput{ServiceNamespace: aastypes.ServiceNamespaceEcs, ResourceIds: []string{"service/prod/api"}})
			return or(out, err, func(o *applicationautoscaling.DescribeScalableTargetsOutput) string {
				t := o.ScalableTargets[0]
				return fmt.Sprint(*t.MinCapacity, *t.MaxCapacity, *t.SuspendedState.DynamicScalingOutSuspended)
			})
		}},
		{"asg of a name that is not there", func(ctx context.Context, s *sides) string {
			out, err := s.asg.DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{"none"}})
			return or(out, err, func(o *autoscaling.DescribeAutoScalingGroupsOutput) string {
				return fmt.Sprint(len(o.AutoScalingGroups))
			})
		}},
		{"asg at the beginning", sizes},
		{"asg desired beyond the maximum", group(autoscaling.UpdateAutoScalingGroupInput{DesiredCapacity: aws.Int32(50)})}, {"asg then", sizes},
		{"asg suspend with a list", func(ctx context.Context, s *sides) string {
			_, err := s.asg.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: aws.String("queue"), ScalingProcesses: []string{"Launch", "AZRebalance"}})
			return code(err)
		}},
		{"asg min and desired 0 in one call", group(autoscaling.UpdateAutoScalingGroupInput{MinSize: aws.Int32(0), DesiredCapacity: aws.Int32(0)})}, {"asg emptied", sizes},
		{"asg resume with a list", func(ctx context.Context, s *sides) string {
			_, err := s.asg.ResumeProcesses(ctx, &autoscaling.ResumeProcessesInput{AutoScalingGroupName: aws.String("queue"), ScalingProcesses: []string{"Launch"}})
			return code(err)
		}},
		{"asg resumed", sizes},
		{"asg suspend without a list", func(ctx context.Context, s *sides) string {
			_, err := s.asg.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: aws.String("queue")})
			return code(err)
		}},
		{"asg with all suspended", func(ctx context.Context, s *sides) string {
			return fmt.Sprint("Terminate too: ", strings.Contains(sizes(ctx, s), "Terminate"))
		}},
		{"route53 two weighted records", change(record(up, "one", 255, 60), record(up, "two", 0, 60))}, {"route53 lists them", weights},
		{"route53 a batch with one bad change", change(record(up, "one", 0, 60), record(del, "three", 1, 60))}, {"route53 changed nothing", weights},
		{"route53 a weight of 256", change(record(up, "one", 256, 60))},
		{"route53 another TTL in the group", change(record(up, "one", 255, 30))},
		{"route53 token created", change(txt(create, "1"))},
		{"route53 token created again", change(txt(create, "2"))},
		{"route53 token replaced by its exact value", change(txt(del, "1"), txt(create, "2"))},
		{"route53 stale writer", change(record(up, "one", 0, 60), record(up, "two", 255, 60), txt(del, "1"), txt(create, "3"))}, {"route53 after the stale writer", weights},
		{"route53 the flip", change(record(up, "one", 0, 60), record(up, "two", 255, 60), txt(del, "2"), txt(create, "3"))}, {"route53 after the flip", weights},
		{"route53 a zone that is not there", func(ctx context.Context, s *sides) string {
			_, err := s.r53.ListResourceRecordSets(ctx, &route53.ListResourceRecordSetsInput{HostedZoneId: aws.String("Z000000000NONE")})
			return code(err)
		}},
		{"route53 health check created, inverted, read", func(ctx context.Context, s *sides) string {
			out, err := s.r53.CreateHealthCheck(ctx, &route53.CreateHealthCheckInput{CallerReference: aws.String("ref-1"), HealthCheckConfig: &r53types.HealthCheckConfig{Type: r53types.HealthCheckTypeHttp,
				IPAddress: aws.String("192.0.2.1"), Port: aws.Int32(7781), ResourcePath: aws.String("/gate/x/y"), Inverted: aws.Bool(true), RequestInterval: aws.Int32(10), FailureThreshold: aws.Int32(3)}})
			if err != nil {
				return code(err)
			}
			s.hc = *out.HealthCheck.Id
			got, err := s.r53.GetHealthCheck(ctx, &route53.GetHealthCheckInput{HealthCheckId: &s.hc})
			return or(got, err, func(o *route53.GetHealthCheckOutput) string {
				c := o.HealthCheck.HealthCheckConfig
				return fmt.Sprint(c.Type, " ", *c.IPAddress, " ", *c.Port, " ", *c.ResourcePath, " ", aws.ToBool(c.Inverted), " ", aws.ToInt32(c.RequestInterval))
			})
		}},
		{"route53 calculated health check", func(ctx context.Context, s *sides) string {
			out, err := s.r53.CreateHealthCheck(ctx, &route53.CreateHealthCheckInput{CallerReference: aws.String("ref-2"), HealthCheckConfig: &r53types.HealthCheckConfig{Type: r53types.HealthCheckTypeCalculated,
				ChildHealthChecks: []string{s.hc}, HealthThreshold: aws.Int32(1)}})
			return or(out, err, func(o *route53.CreateHealthCheckOutput) string {
				c := o.HealthCheck.HealthCheckConfig
				return fmt.Sprint(c.Type, " ", len(c.ChildHealthChecks), " ", aws.ToInt32(c.HealthThreshold))
			})
		}},
		{"route53 version of a health check after an update", func(ctx context.Context, s *sides) string {
			out, err := s.r53.UpdateHealthCheck(ctx, &route53.UpdateHealthCheckInput{HealthCheckId: &s.hc, Inverted: aws.Bool(false)})
			return or(out, err, func(o *route53.UpdateHealthCheckOutput) string { return fmt.Sprint(*o.HealthCheck.HealthCheckVersion) })
		}},
		{"route53 a health check that is not there", func(ctx context.Context, s *sides) string {
			_, err := s.r53.GetHealthCheck(ctx, &route53.GetHealthCheckInput{HealthCheckId: aws.String("00000000-0000-0000-0000-000000000000")})
			return code(err)
		}},
		{"s3 GetObject that is not there", func(ctx context.Context, s *sides) string {
			_, err := s.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a/key")})
			return code(err)
		}},
		{"s3 If-Match on nothing", put(aws.String(`"0123"`), nil, "zero")},
		{"s3 If-None-Match creates", put(nil, aws.String("*"), "one")},
		{"s3 If-None-Match again", put(nil, aws.String("*"), "two")},
		{"s3 If-Match of another", put(aws.String(`"0123"`), nil, "two")},
		{"s3 If-Match of the current one", put(aws.String("current"), nil, "two")},
		{"s3 read", func(ctx context.Context, s *sides) string {
			out, err := s.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: aws.String("a/key")})
			return or(out, err, func(o *s3.GetObjectOutput) string {
				defer o.Body.Close()
				b, _ := io.ReadAll(o.Body)
				return string(b) + " " + aws.ToString(o.ETag)
			})
		}},
		{"s3 a bucket that is not there", func(ctx context.Context, s *sides) string {
			_, err := s.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("none"), Key: aws.String("key")})
			return code(err)
		}},
	}, recordSteps()...)...)
}

// TestAgainstMoto runs the same steps of the SDK against this fake and against moto, an independent imitation, where it is
// installed. What differs must be known, with the reason.
func TestAgainstMoto(t *testing.T) {
	ctx := t.Context()
	log := slog.New(slog.DiscardHandler)
	checks := checkers.New(ctx, 60)
	srv := &Server{Region: "us-east-1", Faults: faults.NewSet(1), Log: log, S3: NewS3("bucket"),
		ASG:     NewAutoScaling(ASGOptions{Region: "us-east-1", Groups: []ASGroup{{Name: "queue", Min: 1, Max: 4, Desired: 2, Zones: []string{"us-east-1a"}}}, Launch: time.Second, End: time.Second}),
		Route53: NewRoute53("Z1", []string{"ns1.example.net"}, dnsfake.NewZone("example.net.", 1, 0, 60, 1), checks, nil),
		EC2: NewEC2(EC2Options{Instances: []EC2Instance{{ID: "i-0a", Zone: "us-east-1a", Tags: queueTag, Running: true}, {ID: "i-0b", Zone: "us-east-1a", Tags: queueTag, Running: true}}, Start: 50 * time.Millisecond, Stop: 50 * time.Millisecond,
			Peerings: []Peering{{ID: "pcx-1", Requester: VPC{"vpc-1", "us-east-1", "198.18.1.0/24"}, Accepter: VPC{"vpc-2", "us-east-2", "198.18.2.0/24"}}},
			Subnets:  []Subnet{{ID: "subnet-a", Zone: "us-east-1a", Free: 251, CIDR: "198.18.3.0/24", ACL: "acl-open"}}, Templates: []string{"lt-1"},
			ACLs: []NetworkACL{{"acl-open", "vpc-3", true}, {"acl-deny", "vpc-3", false}}}),
		ELB:    NewELB("us-east-1", TargetGroup{Name: "web", Port: 80, Targets: func() []TargetState { return []TargetState{{ID: "198.18.3.10", Port: 80, State: "healthy"}} }}),
		Clocks: NewClocks("us-east-1", 0, Timer{Name: "nightly", Rule: true, Every: time.Minute, Enabled: true}, Timer{Name: "report", Every: time.Minute, Enabled: true}),
		Stock:  &Stock{Region: "us-east-1", Images: map[string]string{"web:1": "sha256:aa"}, Secrets: []string{"db"}},
		ECS:    NewECS(ctx, ECSOptions{Region: "us-east-1", Dir: t.TempDir(), TimeFactor: 60, Log: log})}
	ts := httptest.NewServer(srv)
	defer ts.Close()
	srv.SQS = NewSQS("us-east-1", ts.URL, 30*time.Second, 0)
	srv.Logs = NewLogs(0)
	for _, l := range lines {
		srv.Logs.Write(logsGroup, "%s", l)
	}
	srv.Lambda = NewLambda(srv.SQS, time.Minute, Function{Name: "events", Queue: "events", Timeout: 3 * time.Second, Enabled: true})
	srv.ECS.Create("prod", "api", srv.ECS.Register(TaskDef{Family: "api", Image: "api:1"}), 1)
	ours := newSides(ts.URL)
	ours.zone, ours.ids, ours.pcx = "Z1", []string{"i-0a", "i-0b"}, "pcx-1"
	ours.secret, ours.subnet, ours.template = SecretARN("us-east-1", "db"), "subnet-a", "lt-1"
	ours.deny = "acl-deny"
	results := map[string]string{}
	for _, s := range sdkSteps() {
		if _, twice := results[s.name]; twice {
			t.Errorf("two steps are called %q", s.name)
		}
		srv.Route53.refill()
		results[s.name] = s.run(ctx, ours)
		if strings.HasPrefix(results[s.name], "error:") {
			t.Errorf("%s: the SDK cannot read our answer: %s", s.name, results[s.name])
		}
	}
	url := moto(t)
	if url == "" {
		t.Skip("moto_server is not installed: our fake was not compared with anything")
	}
	theirs := newSides(url)
	if err := errors.Join(setUp(ctx, theirs), setUpChecks(ctx, theirs, url), setUpStock(ctx, theirs), setUpGroups(ctx, theirs)); err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, s := range sdkSteps() {
		got, want := results[s.name], s.run(ctx, theirs)
		switch {
		case got == want && differs[s.name] != "":
			t.Errorf("%s: listed as different, and both say %s", s.name, got)
		case got != want && differs[s.name] == "":
			t.Errorf("%s: we say %s, moto says %s (the table was made with moto 5.2.1)", s.name, got, want)
		case got != want:
			found[s.name] = fmt.Sprintf("| %s | `%s` | `%s` | %s |", s.name, got, want, differs[s.name])
		}
	}
	doc := fmt.Sprintf("# Our AWS fake beside moto\n\nWritten by `go test ./awsfake -run TestAgainstMoto -update` with moto_server on the PATH: %d calls of the AWS SDK against both.\nWhat is not listed here is the same.\n\n| call | this fake | moto | why |\n|---|---|---|---|\n", len(sdkSteps()))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		doc += found[name] + "\n"
	}
	doc += "\n## By documentation only\n\n- " + strings.Join(documented, "\n- ") + "\n"
	if *updateDoc {
		if err := os.WriteFile("DIFFERENCES.md", []byte(doc), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if b, err := os.ReadFile("DIFFERENCES.md"); err != nil || string(b) != doc {
		t.Errorf("DIFFERENCES.md (%v) should be\n%s", err, doc)
	}
}

// moto starts the server, and returns its address; "" if it is not installed.
func moto(t *testing.T) string {
	t.Helper()
	bin, err := exec.LookPath("moto_server")
	if err != nil {
		return ""
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := ln.Addr().String()
	ln.Close()
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(bin, "-H", "127.0.0.1", "-p", port)
	if err := cmd.Start(); err != nil {
		t.Logf("moto_server does not start: %v", err)
		return ""
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); <-time.After(100 * time.Millisecond) {
		select {
		case <-ended:
			t.Log("moto_server ends at once")
			return ""
		default:
		}
		if res, err := http.Get("http://" + addr + "/moto-api/"); err == nil {
			res.Body.Close()
			return "http://" + addr
		}
	}
	t.Log("moto_server does not answer within 20 s")
	return ""
}

// setUp makes in moto what our fake begins with.
func setUp(ctx context.Context, s *sides) error {
	_, err1 := s.ecs.CreateCluster(ctx, &ecs.CreateClusterInput{ClusterName: aws.String("prod")})
	_, err2 := s.ecs.RegisterTaskDefinition(ctx, &ecs.RegisterTaskDefinitionInput{Family: aws.String("api"), ContainerDefinitions: []ecstypes.ContainerDefinition{{Name: aws.String("api"), Image: aws.String("api:1"), Memory: aws.Int32(128)}}})
	_, err3 := s.ecs.CreateService(ctx, &ecs.CreateServiceInput{Cluster: aws.String("prod"), ServiceName: aws.String("api"), TaskDefinition: aws.String("api"), DesiredCount: aws.Int32(1)})
	_, err4 := s.asg.CreateLaunchConfiguration(ctx, &autoscaling.CreateLaunchConfigurationInput{LaunchConfigurationName: aws.String("lc"), ImageId: aws.String("ami-12c6146b"), InstanceType: aws.String("t2.micro")})
	_, err5 := s.asg.CreateAutoScalingGroup(ctx, &autoscaling.CreateAutoScalingGroupInput{AutoScalingGroupName: aws.String("queue"), LaunchConfigurationName: aws.String("lc"), MinSize: aws.Int32(1), MaxSize: aws.Int32(4),
		DesiredCapacity: aws.Int32(2), AvailabilityZones: []string{"us-east-1a"}})
	_, err6 := s.s3.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("bucket")})
	zone, err7 := s.r53.CreateHostedZone(ctx, &route53.CreateHostedZoneInput{Name: aws.String("example.net"), CallerReference: aws.String("ref")})
	if err7 == nil {
		s.zone = strings.TrimPrefix(*zone.HostedZone.Id, "/hostedzone/")
	}
	var err8 error
	s.ids, err8 = launch(ctx, s.ec2)
	return errors.Join(err1, err2, err3, err4, err5, err6, err7, err8)
}
