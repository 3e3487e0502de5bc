package awsfake

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	logs "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	logtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// lines are in the log group of both sides.
var lines = []string{"START of it", "ERROR the disk is full", "ERROR a Task timed out after 3.00 seconds", "all is well", "Task timed out after 3.00 seconds"}

const logsGroup = "app/events"

// checkSteps are the calls that checks make of ECS, Lambda, VPC peering and the logs.
func checkSteps() []step {
	filter := func(in logs.FilterLogEventsInput) func(context.Context, *sides) string {
		if in.LogGroupName == nil {
			in.LogGroupName = aws.String(logsGroup)
		}
		return func(ctx context.Context, s *sides) string {
			n, in := 0, in
			for {
				out, err := s.logs.FilterLogEvents(ctx, &in)
				if err != nil {
					return code(err)
				}
				if n += len(out.Events); aws.ToString(out.NextToken) == "" {
					return fmt.Sprint(n, " events")
				}
				in.NextToken = out.NextToken
			}
		}
	}
	match := func(pattern string) func(context.Context, *sides) string {
		return filter(logs.FilterLogEventsInput{FilterPattern: &pattern})
	}
	peering := func(ids func(*sides) []string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.ec2.DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{VpcPeeringConnectionIds: ids(s)})
			return or(out, err, func(o *ec2.DescribeVpcPeeringConnectionsOutput) string {
				if len(o.VpcPeeringConnections) == 0 {
					return "none"
				}
				c := o.VpcPeeringConnections[0]
				return fmt.Sprint(len(o.VpcPeeringConnections), " ", c.Status.Code, " ", aws.ToString(c.RequesterVpcInfo.CidrBlock), " ", aws.ToString(c.AccepterVpcInfo.CidrBlock))
			})
		}
	}
	function := func(name string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.lambda.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &name})
			return or(out, err, func(o *lambda.GetFunctionConfigurationOutput) string {
				return fmt.Sprint(o.State, " ", o.LastUpdateStatus)
			})
		}
	}
	dryRun := func(name string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.lambda.Invoke(ctx, &lambda.InvokeInput{FunctionName: &name, InvocationType: lambdatypes.InvocationTypeDryRun})
			return or(out, err, func(o *lambda.InvokeOutput) string { return fmt.Sprint(o.StatusCode) })
		}
	}
	mapping := func(ctx context.Context, s *sides) string {
		out, err := s.lambda.ListEventSourceMappings(ctx, &lambda.ListEventSourceMappingsInput{FunctionName: aws.String("events")})
		return or(out, err, func(o *lambda.ListEventSourceMappingsOutput) string {
			if len(o.EventSourceMappings) == 0 {
				return "none"
			}
			s.mapping = aws.ToString(o.EventSourceMappings[0].UUID)
			return aws.ToString(o.EventSourceMappings[0].State)
		})
	}
	return []step{
		{"ecs the deployment of a service", func(ctx context.Context, s *sides) string {
			out, err := s.ecs.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String("prod"), Services: []string{"api"}})
			return or(out, err, func(o *ecs.DescribeServicesOutput) string {
				d := o.Services[0].Deployments
				return fmt.Sprint(len(d), " ", aws.ToString(d[0].Status))
			})
		}},
		{"ecs ListTasks of a service that is not there", func(ctx context.Context, s *sides) string {
			_, err := s.ecs.ListTasks(ctx, &ecs.ListTasksInput{Cluster: aws.String("prod"), ServiceName: aws.String("none"), DesiredStatus: ecstypes.DesiredStatusRunning})
			return code(err)
		}},
		{"ecs DescribeTasks of one that is not there", func(ctx context.Context, s *sides) string {
			out, err := s.ecs.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: aws.String("prod"), Tasks: []string{"0123456789abcdef0123456789abcdef"}})
			return or(out, err, func(o *ecs.DescribeTasksOutput) string {
				return fmt.Sprint(len(o.Tasks), " and ", len(o.Failures), " failures")
			})
		}},
		{"lambda a function", function("events")},
		{"lambda a function that is not there", function("none")},
		{"lambda a dry run", dryRun("events")},
		{"lambda a dry run of what is not there", dryRun("none")},
		{"lambda an event source mapping", mapping},
		{"lambda turned off", func(ctx context.Context, s *sides) string {
			_, err := s.lambda.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: &s.mapping, Enabled: aws.Bool(false)})
			return code(err)
		}},
		{"lambda right after that", mapping},
		{"vpc peering that is active", peering(func(s *sides) []string { return []string{s.pcx} })},
		{"vpc peering that is not there", peering(func(*sides) []string { return []string{"pcx-0123456789abcdef0"} })},
		{"logs all lines", filter(logs.FilterLogEventsInput{})},
		{"logs with a limit for each page", filter(logs.FilterLogEventsInput{Limit: aws.Int32(2)})},
		{"logs a term", match("ERROR")},
		{"logs two terms", match("ERROR disk")},
		{"logs a phrase", match(`"Task timed out"`)},
		{"logs one of two", match(`?ERROR ?"Task timed out"`)},
		{"logs all without a term", match("-ERROR")},
		{"logs before they were written", filter(logs.FilterLogEventsInput{EndTime: aws.Int64(1000)})},
		{"logs of a group that is not there", filter(logs.FilterLogEventsInput{LogGroupName: aws.String("none")})},
	}
}

// setUpChecks makes in moto what the checks look at.
func setUpChecks(ctx context.Context, s *sides, base string) error {
	var vpcs []string
	for _, block := range []string{"198.18.1.0/24", "198.18.2.0/24"} {
		v, err := s.ec2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String(block)})
		if err != nil {
			return err
		}
		vpcs = append(vpcs, *v.Vpc.VpcId)
	}
	c, err := s.ec2.CreateVpcPeeringConnection(ctx, &ec2.CreateVpcPeeringConnectionInput{VpcId: &vpcs[0], PeerVpcId: &vpcs[1]})
	if err != nil {
		return err
	}
	s.pcx = *c.VpcPeeringConnection.VpcPeeringConnectionId
	_, err1 := s.ec2.AcceptVpcPeeringConnection(ctx, &ec2.AcceptVpcPeeringConnectionInput{VpcPeeringConnectionId: &s.pcx})
	_, err2 := s.logs.CreateLogGroup(ctx, &logs.CreateLogGroupInput{LogGroupName: aws.String(logsGroup)})
	_, err3 := s.logs.CreateLogStream(ctx, &logs.CreateLogStreamInput{LogGroupName: aws.String(logsGroup), LogStreamName: aws.String("one")})
	var events []logtypes.InputLogEvent
	for i, l := range lines {
		events = append(events, logtypes.InputLogEvent{Message: aws.String(l), Timestamp: aws.Int64(time.Now().UnixMilli() + int64(i))})
	}
	_, err4 := s.logs.PutLogEvents(ctx, &logs.PutLogEventsInput{LogGroupName: aws.String(logsGroup), LogStreamName: aws.String("one"), LogEvents: events})
	return errors.Join(err1, err2, err3, err4, setUpFunction(ctx, s, base))
}

// setUpFunction makes a function and what feeds it; its role comes by the Query protocol, for which no client is at hand.
func setUpFunction(ctx context.Context, s *sides, base string) error {
	form := url.Values{"Action": {"CreateRole"}, "Version": {"2010-05-08"}, "RoleName": {"lambda"}, "AssumeRolePolicyDocument": {"{}"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, base+"/", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AKIATEST/20260101/us-east-1/iam/aws4_request, SignedHeaders=host, Signature=0")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	var code bytes.Buffer
	z := zip.NewWriter(&code)
	f, err := z.Create("f.py")
	if err != nil {
		return err
	}
	_, err1 := f.Write([]byte("def handler(event, context): pass"))
	err2 := z.Close()
	_, err3 := s.lambda.CreateFunction(ctx, &lambda.CreateFunctionInput{FunctionName: aws.String("events"), Role: aws.String("arn:aws:iam::123456789012:role/lambda"), Handler: aws.String("f.handler"),
		Runtime: lambdatypes.RuntimePython311, Code: &lambdatypes.FunctionCode{ZipFile: code.Bytes()}})
	_, err4 := s.sqs.CreateQueue(ctx, &sqs.CreateQueueInput{QueueName: aws.String("events")})
	_, err5 := s.lambda.CreateEventSourceMapping(ctx, &lambda.CreateEventSourceMappingInput{FunctionName: aws.String("events"), EventSourceArn: aws.String("arn:aws:sqs:us-east-1:123456789012:events"), Enabled: aws.Bool(true)})
	return errors.Join(err1, err2, err3, err4, err5)
}
