package awsfake

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/applicationautoscaling"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	r53types "github.com/aws/aws-sdk-go-v2/service/route53/types"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	sqstypes "github.com/aws/aws-sdk-go-v2/service/sqs/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"github.com/failoverd/failoverd/lab/iam"
)

// guarded is a region with something of each service in it.
func guarded(t *testing.T) (*Server, string) {
	t.Helper()
	s := &Server{S3: NewS3("dumps"),
		EC2: NewEC2(EC2Options{Instances: []EC2Instance{{ID: "i-0a", Tags: map[string]string{"role": "relay"}, Running: true}},
			ACLs: []NetworkACL{{"acl-open", "vpc-1", true}, {"acl-deny", "vpc-1", false}}, Subnets: []Subnet{{ID: "subnet-a", ACL: "acl-open"}}}),
		Clocks: NewClocks("us-east-1", 0, Timer{Name: "report", Every: time.Minute, Enabled: true})}
	s.Lambda = NewLambda(NewSQS("us-east-1", "", time.Second, 0), 0, Function{Name: "events", Enabled: true})
	return s, *serve(t, s, func(context.Context) {})
}

// What IAM is asked for a call, by the service authorization reference of each service: the ARNs are written out here.
func TestQuestions(t *testing.T) {
	s, url := guarded(t)
	c, ctx := newSides(url), t.Context()
	watch := cloudwatch.New(cloudwatch.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: creds, RetryMaxAttempts: 1})
	str := aws.String
	prod := map[string][]string{"ecs:cluster": {"arn:aws:ecs:us-east-1:123456789012:cluster/prod"}}
	queue := str("http://x/123456789012/messages")
	s.S3.Store("dumps", "here", []byte("x"), time.Now())
	change := func(name string) r53types.Change {
		return r53types.Change{Action: r53types.ChangeActionUpsert, ResourceRecordSet: &r53types.ResourceRecordSet{Name: &name, Type: r53types.RRTypeA}}
	}
	for _, q := range []struct {
		call func() error
		want []iam.Request
	}{
		{func() error {
			_, err := c.sqs.GetQueueUrl(ctx, &sqs.GetQueueUrlInput{QueueName: str("messages")})
			return err
		}, one("sqs:GetQueueUrl", "arn:aws:sqs:us-east-1:123456789012:messages")},
		{func() error {
			_, err := c.sqs.DeleteMessageBatch(ctx, &sqs.DeleteMessageBatchInput{QueueUrl: queue, Entries: []sqstypes.DeleteMessageBatchRequestEntry{{Id: str("1"), ReceiptHandle: str("h")}}})
			return err
		}, one("sqs:DeleteMessage", "arn:aws:sqs:us-east-1:123456789012:messages")},
		{func() error {
			_, err := c.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: str("prod"), Services: []string{"api", "arn:aws:ecs:us-east-1:123456789012:service/prod/workers"}})
			return err
		}, []iam.Request{{Action: "ecs:DescribeServices", Resource: "arn:aws:ecs:us-east-1:123456789012:service/prod/api", Keys: prod}, {Action: "ecs:DescribeServices", Resource: "arn:aws:ecs:us-east-1:123456789012:service/prod/workers", Keys: prod}}},
		{func() error {
			_, err := c.ecs.UpdateService(ctx, &ecs.UpdateServiceInput{Cluster: str("prod"), Service: str("api")})
			return err
		}, []iam.Request{{Action: "ecs:UpdateService", Resource: "arn:aws:ecs:us-east-1:123456789012:service/prod/api", Keys: prod}}},
		{func() error {
			_, err := c.ecs.ListTasks(ctx, &ecs.ListTasksInput{Cluster: str("prod"), ServiceName: str("api")})
			return err
		}, []iam.Request{{Action: "ecs:ListTasks", Resource: "arn:aws:ecs:us-east-1:123456789012:container-instance/prod/*", Keys: prod}}},
		{func() error {
			_, err := c.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: str("prod"), Tasks: []string{"t1"}})
			return err
		}, []iam.Request{{Action: "ecs:DescribeTasks", Resource: "arn:aws:ecs:us-east-1:123456789012:task/prod/t1", Keys: prod}}},
		{func() error {
			_, err := c.ecs.DescribeClusters(ctx, &ecs.DescribeClustersInput{})
			return err
		}, one("ecs:DescribeClusters", "arn:aws:ecs:us-east-1:123456789012:cluster/default")},
		{func() error {
			_, err := c.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: str("api:1")})
			return err
		}, one("ecs:DescribeTaskDefinition", "*")},
		{func() error {
			_, err := c.aas.RegisterScalableTarget(ctx, &applicationautoscaling.RegisterScalableTargetInput{ResourceId: str("service/prod/api"), ServiceNamespace: "ecs", ScalableDimension: "ecs:service:DesiredCount"})
			return err
		}, []iam.Request{{Action: "application-autoscaling:RegisterScalableTarget", Resource: "arn:aws:application-autoscaling:us-east-1:123456789012:scalable-target/0ec5api", Keys: map[string][]string{"application-autoscaling:service-namespace": {"ecs"}}},
			{Action: "ecs:DescribeServices", Resource: "arn:aws:ecs:us-east-1:123456789012:service/prod/api"}, {Action: "ecs:UpdateService", Resource: "arn:aws:ecs:us-east-1:123456789012:service/prod/api"}}},
		{func() error {
			_, err := c.asg.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: str("queue")})
			return err
		}, one("autoscaling:SuspendProcesses", "arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:5ae5b0c2-0000-4000-8000-000000000000:autoScalingGroupName/queue")},
		{func() error {
			_, err := c.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{})
			return err
		}, one("ec2:DescribeInstances", "*")},
		{func() error {
			_, err := c.ec2.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{"i-0a", "i-none"}})
			return err
		}, []iam.Request{{Action: "ec2:StopInstances", Resource: "arn:aws:ec2:us-east-1:123456789012:instance/i-0a", Keys: map[string][]string{"aws:ResourceTag/role": {"relay"}}},
			{Action: "ec2:StopInstances", Resource: "arn:aws:ec2:us-east-1:123456789012:instance/i-none"}}},
		{func() error {
			_, err := c.ec2.ReplaceNetworkAclAssociation(ctx, &ec2.ReplaceNetworkAclAssociationInput{AssociationId: str(s.EC2.assoc["subnet-a"].id), NetworkAclId: str("acl-deny")})
			return err
		}, []iam.Request{{Action: "ec2:ReplaceNetworkAclAssociation", Resource: "arn:aws:ec2:us-east-1:123456789012:network-acl/acl-deny"}, {Action: "ec2:ReplaceNetworkAclAssociation", Resource: "arn:aws:ec2:us-east-1:123456789012:subnet/subnet-a"}}},
		{func() error {
			_, err := c.events.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: str("hourly")})
			return err
		}, one("events:DescribeRule", "arn:aws:events:us-east-1:123456789012:rule/hourly")},
		{func() error {
			_, err := c.events.DisableRule(ctx, &eventbridge.DisableRuleInput{Name: str("hourly"), EventBusName: str("orders")})
			return err
		}, one("events:DisableRule", "arn:aws:events:us-east-1:123456789012:rule/orders/hourly")},
		{func() error {
			_, err := c.events.ListTargetsByRule(ctx, &eventbridge.ListTargetsByRuleInput{Rule: str("hourly"), EventBusName: str("default")})
			return err
		}, one("events:ListTargetsByRule", "arn:aws:events:us-east-1:123456789012:rule/hourly")},
		{func() error {
			_, err := c.times.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: str("report"), GroupName: str("jobs")})
			return err
		}, one("scheduler:GetSchedule", "arn:aws:scheduler:us-east-1:123456789012:schedule/jobs/report")},
		{func() error {
			was, err := c.times.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: str("report")})
			if err != nil {
				return err
			}
			_, err = c.times.UpdateSchedule(ctx, &scheduler.UpdateScheduleInput{Name: was.Name, ScheduleExpression: was.ScheduleExpression, FlexibleTimeWindow: was.FlexibleTimeWindow, Target: was.Target})
			return err
		}, []iam.Request{{Action: "iam:PassRole", Resource: "arn:aws:iam::123456789012:role/scheduler", Keys: map[string][]string{"iam:PassedToService": {"scheduler.amazonaws.com"}}},
			{Action: "scheduler:GetSchedule", Resource: "arn:aws:scheduler:us-east-1:123456789012:schedule/default/report"}, {Action: "scheduler:UpdateSchedule", Resource: "arn:aws:scheduler:us-east-1:123456789012:schedule/default/report"}}},
		{func() error {
			_, err := c.lambda.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: str("events")})
			return err
		}, one("lambda:GetFunctionConfiguration", "arn:aws:lambda:us-east-1:123456789012:function:events")},
		{func() error {
			_, err := c.lambda.Invoke(ctx, &lambda.InvokeInput{FunctionName: str("events"), InvocationType: "DryRun"})
			return err
		}, one("lambda:InvokeFunction", "arn:aws:lambda:us-east-1:123456789012:function:events")},
		{func() error {
			_, err := c.lambda.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: &s.Lambda.fns[0].uuid})
			return err
		}, []iam.Request{{Action: "lambda:UpdateEventSourceMapping", Resource: "arn:aws:lambda:us-east-1:123456789012:event-source-mapping:" + s.Lambda.fns[0].uuid,
			Keys: map[string][]string{"lambda:FunctionArn": {"arn:aws:lambda:us-east-1:123456789012:function:events"}}}}},
		{func() error {
			_, err := c.logs.FilterLogEvents(ctx, &cloudwatchlogs.FilterLogEventsInput{LogGroupName: str("/aws/lambda/events")})
			return err
		}, one("logs:FilterLogEvents", "arn:aws:logs:us-east-1:123456789012:log-group:/aws/lambda/events:log-stream:")},
		{func() error {
			_, err := watch.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{"messaging"}})
			return err
		}, one("cloudwatch:DescribeAlarms", "arn:aws:cloudwatch:us-east-1:123456789012:alarm:*")},
		{func() error {
			_, err := c.ecr.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: str("web")})
			return err
		}, one("ecr:DescribeImages", "arn:aws:ecr:us-east-1:123456789012:repository/web")},
		{func() error {
			_, err := c.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: str("db")})
			return err
		}, one("secretsmanager:DescribeSecret", "arn:aws:secretsmanager:us-east-1:123456789012:secret:db-AbCdEf")},
		{func() error {
			_, err := c.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: str("dumps"), Key: str("here")})
			return err
		}, one("s3:GetObject", "arn:aws:s3:::dumps/here")},
		{func() error {
			_, err := c.s3.HeadObject(ctx, &s3.HeadObjectInput{Bucket: str("dumps"), Key: str("a/none")})
			return err
		}, []iam.Request{{Action: "s3:GetObject", Resource: "arn:aws:s3:::dumps/a/none"}, {Action: "s3:ListBucket", Resource: "arn:aws:s3:::dumps"}}},
		{func() error {
			_, err := c.s3.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: str("dumps"), Prefix: str("app/")})
			return err
		}, []iam.Request{{Action: "s3:ListBucket", Resource: "arn:aws:s3:::dumps", Keys: map[string][]string{"s3:prefix": {"app/"}}}}},
		{func() error {
			_, err := c.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: str("dumps"), Key: str("new"), IfNoneMatch: str("*"), Body: strings.NewReader("x")})
			return err
		}, one("s3:PutObject", "arn:aws:s3:::dumps/new")},
		{func() error {
			_, err := c.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: str("dumps"), Key: str("here"), IfMatch: str("e"), Body: strings.NewReader("x")})
			return err
		}, []iam.Request{{Action: "s3:GetObject", Resource: "arn:aws:s3:::dumps/here"}, {Action: "s3:PutObject", Resource: "arn:aws:s3:::dumps/here"}}},
		{func() error {
			_, err := c.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: str("dumps"), Key: str("large")})
			return err
		}, one("s3:PutObject", "arn:aws:s3:::dumps/large")},
		{func() error {
			_, err := c.s3.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: str("dumps"), Prefix: str("large")})
			return err
		}, one("s3:ListBucketMultipartUploads", "arn:aws:s3:::dumps")},
		{func() error {
			_, err := c.s3.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: str("dumps"), Key: str("large"), UploadId: str("1")})
			return err
		}, one("s3:AbortMultipartUpload", "arn:aws:s3:::dumps/large")},
		{func() error {
			_, err := c.r53.ChangeResourceRecordSets(ctx, &route53.ChangeResourceRecordSetsInput{HostedZoneId: str("Z2"), ChangeBatch: &r53types.ChangeBatch{Changes: []r53types.Change{change("API.example.net."), change("ws.example.net")}}})
			return err
		}, []iam.Request{{Action: "route53:ChangeResourceRecordSets", Resource: "arn:aws:route53:::hostedzone/Z2", Keys: map[string][]string{"route53:ChangeResourceRecordSetsNormalizedRecordNames": {"api.example.net", "ws.example.net"},
			"route53:ChangeResourceRecordSetsRecordTypes": {"A"}, "route53:ChangeResourceRecordSetsActions": {"UPSERT"}}}}},
		{func() error {
			_, err := c.r53.GetChange(ctx, &route53.GetChangeInput{Id: str("C1")})
			return err
		}, one("route53:GetChange", "arn:aws:route53:::change/C1")},
		{func() error {
			_, err := c.r53.GetHealthCheck(ctx, &route53.GetHealthCheckInput{HealthCheckId: str("h1")})
			return err
		}, one("route53:GetHealthCheck", "arn:aws:route53:::healthcheck/h1")},
		{func() error {
			_, err := c.sts.GetCallerIdentity(ctx, &sts.GetCallerIdentityInput{})
			return err
		}, nil},
		{func() error {
			_, err := c.ecs.DeleteService(ctx, &ecs.DeleteServiceInput{Cluster: str("prod"), Service: str("api")})
			return err
		}, one("ecs:DeleteService", "*")},
	} {
		s.mu.Lock()
		s.judged = nil
		s.mu.Unlock()
		err := q.call() // most of it is not there: what IAM is asked comes before
		var got, want []string
		for _, j := range s.Judgements() {
			got = append(got, fmt.Sprint(j.Action, j.Resource, j.Keys))
		}
		for _, r := range q.want {
			want = append(want, fmt.Sprint(r.Action, r.Resource, r.Keys))
		}
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Errorf("asked:\n%s\nwant:\n%s\n(%v)", strings.Join(got, "\n"), strings.Join(want, "\n"), err)
		}
	}
}

// A role may do what its policies allow and nothing else; who has none is not judged, and neither is anybody where there are no policies.
func TestPoliciesAreEnforced(t *testing.T) {
	f := newFixture(t)
	f.ECS.Create("prod", "api", f.ECS.Register(TaskDef{Family: "api", Command: []string{"sleep", "100"}}), 0)
	f.ECS.Create("prod", "workers", f.ECS.Register(TaskDef{Family: "workers", Command: []string{"sleep", "100"}}), 0)
	p, err := iam.Parse([]byte(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "ecs:UpdateService", "Resource": "arn:aws:ecs:us-east-1:*:service/prod/api"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	as := func(role string) *ecs.Client {
		out, err := f.sts.AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/path/" + role), RoleSessionName: aws.String("step-1")})
		if err != nil {
			t.Fatal(err)
		}
		c := out.Credentials
		return ecs.New(f.ecs.Options(), func(o *ecs.Options) {
			o.Credentials = credentials.NewStaticCredentialsProvider(*c.AccessKeyId, *c.SecretAccessKey, *c.SessionToken)
		})
	}
	update := func(c *ecs.Client, service string) error {
		_, err := c.UpdateService(t.Context(), &ecs.UpdateServiceInput{Cluster: aws.String("prod"), Service: &service, DesiredCount: aws.Int32(0)})
		return err
	}
	if err := update(as("act"), "workers"); err != nil {
		t.Errorf("there are no policies, and yet: %v", err)
	}
	f.Policies = map[string][]iam.Policy{"act": {p}}
	if err := update(f.ecs, "workers"); err != nil {
		t.Errorf("of no role: %v", err)
	}
	if err := update(as("act"), "api"); err != nil {
		t.Errorf("allowed: %v", err)
	}
	calls := len(f.Calls())
	for role, service := range map[string]string{"act": "workers", "look": "api"} {
		err := update(as(role), service)
		wantCode(t, err, "AccessDeniedException")
		words := "User: arn:aws:sts::123456789012:assumed-role/" + role + "/step-1 is not authorized to perform: ecs:UpdateService on resource: arn:aws:ecs:us-east-1:123456789012:service/prod/" + service +
			" because no identity-based policy allows the ecs:UpdateService action"
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("it says %v", err)
		}
	}
	refused := 0
	for _, j := range f.Judgements() {
		if !j.Allowed {
			refused++
		}
	}
	if refused != 2 || len(f.Calls()) != calls+2 {
		t.Errorf("%d refusals in the record, and %d calls: want 2 and %d", refused, len(f.Calls()), calls+2)
	}
}

// S3 says of an object that is not there that it is forbidden to whoever may not list, and EC2 has a code of its own.
func TestRefusalsOfS3AndEC2(t *testing.T) {
	s, url := guarded(t)
	p, err := iam.Parse([]byte(`{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	s.Policies = map[string][]iam.Policy{"look": {p}}
	role := credentials.NewStaticCredentialsProvider("ASIA1", "secret", "session/look/n1/AKIATEST")
	c, ctx := newSides(url), t.Context()
	_, err = s3.New(c.s3.Options(), func(o *s3.Options) { o.Credentials = role }).GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("dumps"), Key: aws.String("none")})
	wantCode(t, err, "AccessDenied")
	_, err = c.s3.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("dumps"), Key: aws.String("none")})
	wantCode(t, err, "NoSuchKey")
	_, err = ec2.New(c.ec2.Options(), func(o *ec2.Options) { o.Credentials = role }).StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{"i-0a"}})
	wantCode(t, err, "UnauthorizedOperation")
	if got := s.EC2.States()["i-0a"]; got != "running" {
		t.Errorf("an instance that may not be stopped is %s", got)
	}
}

// wide are the actions that the policies allow on everything although IAM knows their resources, with the reason.
var wide = map[string]string{
	"cloudwatch:DescribeAlarms": "composite alarms are shown to nobody whose right is narrower (API_DescribeAlarms)",
	"ecs:DescribeClusters":      "asked for no cluster: which one IAM is asked for then is written nowhere",
}

// The policies of the example name resources wherever IAM knows them, and "*" where it knows none: with an ARN such an action is never allowed.
func TestPoliciesNameResources(t *testing.T) {
	for _, which := range []string{"observe", "act"} {
		text, err := os.ReadFile("../../deploy/iam/" + which + ".json")
		if err != nil {
			t.Fatal(err)
		}
		p, err := iam.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Statement {
			all := slices.Contains(s.Resource, iam.Any)
			for _, a := range s.Action {
				switch none := slices.Contains(noResource, a); {
				case none && !all:
					t.Errorf("%s: %s has no resource, and %v allows nothing", which, a, s.Resource)
				case !none && all && len(s.Condition) == 0 && wide[a] == "":
					t.Errorf("%s: %s is allowed on everything", which, a)
				}
			}
		}
	}
}

func TestPolicyOfAnotherRegion(t *testing.T) {
	s, _ := guarded(t)
	s.Region = "us-east-2"
	r := httptest.NewRequest("POST", "/", nil)
	got := s.questions(&request{Request: r, service: "ecs", op: "UpdateService", body: []byte(`{"cluster":"prod","service":"api"}`)})
	if len(got) != 1 || got[0].Resource != "arn:aws:ecs:us-east-2:123456789012:service/prod/api" {
		t.Errorf("in us-east-2 IAM is asked %+v", got)
	}
}
