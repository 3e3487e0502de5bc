package awsfake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	logs "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/failoverd/failoverd/lab/faults"
)

// What a queue reports follows its activity, and alarms follow that, as late as everybody else.
func TestQueueMetricsAndAlarms(t *testing.T) {
	queues := NewSQS("us-east-1", "http://none", time.Minute, 0)
	queues.CreateQueue("messages")
	queues.CreateQueue("unused")
	set := faults.NewSet(1)
	const minute, late = time.Second, 300 * time.Millisecond
	age := Metric{"AWS/SQS", "ApproximateAgeOfOldestMessage", "QueueName", "messages"}
	s := &Server{Metrics: NewCloudWatch(CloudWatchOptions{Minute: minute, Late: late, Sources: []func() []Point{queues.Metrics()}, Faults: set, Alarms: []Alarm{
		{Name: "old", Metric: age, Above: 1, Periods: 2, Quiet: true},
		{Name: "loud", Metric: Metric{"AWS/SQS", "NumberOfMessagesDeleted", "QueueName", "unused"}, Above: 0, Periods: 1},
		{Name: "any", Of: []string{"old", "loud"}},
	}})}
	url := serve(t, s, s.Metrics.Run)
	c, ctx := cloudwatch.New(cloudwatch.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, RetryMaxAttempts: 1}), context.Background()
	read := func(m Metric, stat string, period int32) []float64 {
		t.Helper()
		now := time.Now()
		out, err := c.GetMetricData(ctx, &cloudwatch.GetMetricDataInput{StartTime: aws.Time(now.Add(-time.Hour)), EndTime: &now, MetricDataQueries: []types.MetricDataQuery{{Id: aws.String("m"), MetricStat: &types.MetricStat{
			Metric: &types.Metric{Namespace: &m.Space, MetricName: &m.Name, Dimensions: []types.Dimension{{Name: &m.Dimension, Value: &m.Of}}}, Period: &period, Stat: &stat}}}})
		if err != nil {
			t.Fatal(err)
		}
		return out.MetricDataResults[0].Values
	}
	states := func(kinds ...types.AlarmType) string {
		t.Helper()
		out, err := c.DescribeAlarms(ctx, &cloudwatch.DescribeAlarmsInput{AlarmNames: []string{"any", "loud", "old", "none"}, AlarmTypes: kinds})
		if err != nil {
			t.Fatal(err)
		}
		var said []string
		for _, a := range out.MetricAlarms {
			said = append(said, *a.AlarmName+" "+string(a.StateValue))
		}
		for _, a := range out.CompositeAlarms {
			said = append(said, *a.AlarmName+" "+string(a.StateValue))
		}
		return strings.Join(said, ", ")
	}
	both := []types.AlarmType{types.AlarmTypeMetricAlarm, types.AlarmTypeCompositeAlarm}
	if got := states(both...); got != "loud INSUFFICIENT_DATA, old INSUFFICIENT_DATA, any INSUFFICIENT_DATA" {
		t.Errorf("alarms that have not looked yet: %s", got)
	}
	eventually(t, "the alarms to look", func() bool { return states(both...) == "loud INSUFFICIENT_DATA, old OK, any OK" })
	if got := states(); got != "loud INSUFFICIENT_DATA, old OK" {
		t.Errorf("without a type: %s", got)
	}
	deleted := Metric{"AWS/SQS", "NumberOfMessagesDeleted", "QueueName", "messages"}
	if n := read(deleted, "Sum", 1); len(n) != 0 {
		t.Errorf("a queue that nobody uses reports %v", n)
	}
	for _, body := range []string{"a", "b", "stays"} {
		queues.Put("messages", body)
	}
	for range 2 {
		_, handle, _ := queues.take("messages")
		queues.drop("messages", handle)
	}
	eventually(t, "two deletions, and then none", func() bool {
		n := read(deleted, "Sum", 1)
		return slices.Contains(n, 2) && slices.Contains(n, 0)
	})
	if sum, most, least := read(deleted, "Sum", 60), read(deleted, "Maximum", 60), read(deleted, "Minimum", 60); slices.Max(sum) != 2 || slices.Max(most) != 2 || slices.Max(least) > 2 {
		t.Errorf("over a minute: %v, %v, %v", sum, most, least)
	}
	eventually(t, "an old message to be noticed", func() bool { return states(both...) == "loud INSUFFICIENT_DATA, old ALARM, any ALARM" })
	_, handle, _ := queues.take("messages")
	queues.drop("messages", handle)
	eventually(t, "that to pass", func() bool { return states(both...) == "loud INSUFFICIENT_DATA, old OK, any OK" })
	set.Add(faults.Fault{Service: "alarm", Target: "old", Mode: faults.Hang})
	eventually(t, "the fault", func() bool { return strings.Contains(states(), "old INSUFFICIENT_DATA") })
	set.Add(faults.Fault{Service: "metric", Target: "NumberOfMessagesDeleted", Mode: faults.Hang})
	eventually(t, "the metric to stop", func() bool {
		n := len(read(deleted, "Sum", 1))
		<-time.After(minute + late + 200*time.Millisecond)
		return len(read(deleted, "Sum", 1)) == n
	})
}

// Lines are found some time after they were written, behind an empty page.
func TestLogs(t *testing.T) {
	const lag = 300 * time.Millisecond
	s := &Server{Logs: NewLogs(lag)}
	url := serve(t, s, func(context.Context) {})
	c, ctx := logs.New(logs.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, RetryMaxAttempts: 1}), t.Context()
	in := &logs.FilterLogEventsInput{LogGroupName: aws.String("g"), FilterPattern: aws.String("ERROR"), Limit: aws.Int32(2)}
	_, err := c.FilterLogEvents(ctx, in)
	wantCode(t, err, "ResourceNotFoundException")
	for i := range 5 {
		s.Logs.Write("g", "ERROR %d", i)
	}
	var pages []int
	look := func() {
		pages = nil
		for p := logs.NewFilterLogEventsPaginator(c, in); p.HasMorePages(); {
			out, err := p.NextPage(ctx)
			if err != nil {
				t.Fatal(err)
			}
			pages = append(pages, len(out.Events))
		}
	}
	if look(); fmt.Sprint(pages) != "[0 0]" {
		t.Errorf("found at once: %v", pages)
	}
	eventually(t, "the lines to be found", func() bool { look(); return fmt.Sprint(pages) == "[0 2 2 1]" })
	for _, bad := range []string{"{ $.level = 1 }", `"open`} {
		_, err := c.FilterLogEvents(ctx, &logs.FilterLogEventsInput{LogGroupName: aws.String("g"), FilterPattern: &bad})
		wantCode(t, err, "InvalidParameterException")
	}
	s.Faults.Add(faults.Fault{Service: "logs", Mode: faults.Throttle})
	_, err = c.FilterLogEvents(ctx, in)
	wantCode(t, err, "ThrottlingException")
}

// A function writes what became of each event, and an event that it left for later is no error.
func TestFunctionLogsAndStates(t *testing.T) {
	queues := NewSQS("us-east-1", "http://none", 200*time.Millisecond, 0)
	queues.CreateQueue("events")
	set := faults.NewSet(1)
	l := NewLambda(queues, 0, Function{Name: "f", Queue: "events", Timeout: time.Second, Enabled: true, Handle: func(ctx context.Context, body string) error {
		switch body {
		case "later":
			return fmt.Errorf("%w: no lease", ErrNotNow)
		case "slow":
			<-ctx.Done()
			return ctx.Err()
		}
		return errors.New("cannot read it")
	}})
	l.Logs, l.Faults = NewLogs(0), set
	s := &Server{SQS: queues, Lambda: l, Logs: l.Logs}
	url := serve(t, s, l.Run)
	c, ctx := logs.New(logs.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, RetryMaxAttempts: 1}), t.Context()
	found := func(pattern string) (n int) {
		for p := logs.NewFilterLogEventsPaginator(c, &logs.FilterLogEventsInput{LogGroupName: aws.String("/aws/lambda/f"), FilterPattern: &pattern}); p.HasMorePages(); {
			out, err := p.NextPage(ctx)
			if err != nil {
				return -1
			}
			n += len(out.Events)
		}
		return n
	}
	queues.Put("events", "later")
	eventually(t, "a line", func() bool { return found("later no lease") > 0 && found("REPORT") > 0 })
	if n := found(`?ERROR ?"timed out"`); n != 0 {
		t.Errorf("%d errors of an event that was left for later", n)
	}
	queues.Put("events", "bad")
	queues.Put("events", "slow")
	eventually(t, "an error and a time-out", func() bool { return found("ERROR bad") > 0 && found(`"Task timed out after 1.00 seconds"`) > 0 })

	fn := lambda.New(lambda.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, RetryMaxAttempts: 1})
	for mode, want := range map[faults.Mode]string{faults.Error: "Failed Successful", faults.Refuse: "Inactive Successful", faults.Slow: "Active InProgress", "": "Active Successful"} {
		set.Clear()
		if mode != "" {
			set.Add(faults.Fault{Service: "function", Target: "f", Mode: mode})
		}
		out, err := fn.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: aws.String("f")})
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(out.State, " ", out.LastUpdateStatus); got != want {
			t.Errorf("%s: %s, want %s", mode, got, want)
		}
	}
	_, err := fn.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("f")})
	wantCode(t, err, "InvalidRequestContentException")
}

// A task's health check is known some time after its start; one that fails is an event, and the end of it another.
func TestTaskHealth(t *testing.T) {
	f := newFixture(t)
	set := f.Server.Faults
	f.ECS.opt.Faults = set
	f.ECS.Create("prod", "api", f.ECS.Register(TaskDef{Family: "api", Command: []string{"sleep", "60"}, HealthAfter: 30 * time.Second}), 1)
	f.ECS.Create("prod", "plain", f.ECS.Register(TaskDef{Family: "plain", Command: []string{"sleep", "60"}}), 1)
	health := func(service string) string {
		list, err := f.ecs.ListTasks(t.Context(), &ecs.ListTasksInput{Cluster: aws.String("prod"), ServiceName: &service})
		if err != nil || len(list.TaskArns) != 1 {
			return ""
		}
		out, err := f.ecs.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Cluster: aws.String("prod"), Tasks: list.TaskArns})
		if err != nil || len(out.Tasks) != 1 {
			return ""
		}
		return *out.Tasks[0].LastStatus + " " + string(out.Tasks[0].HealthStatus)
	}
	event := func() string {
		out, err := f.ecs.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Cluster: aws.String("prod"), Services: []string{"api"}})
		if err != nil || len(out.Services[0].Events) == 0 {
			return ""
		}
		if d := out.Services[0].Deployments[0]; d.RolloutState == ecstypes.DeploymentRolloutStateFailed {
			return "failed"
		}
		return *out.Services[0].Events[0].Message
	}
	eventually(t, "an unknown health", func() bool { return health("api") == "RUNNING UNKNOWN" })
	eventually(t, "a known one", func() bool { return health("api") == "RUNNING HEALTHY" })
	eventually(t, "a steady state", func() bool { return event() == "(service api) has reached a steady state." })
	set.Add(faults.Fault{Service: "tasks", Target: "api", Mode: faults.Error})
	eventually(t, "an ill task", func() bool {
		return health("api") == "RUNNING UNHEALTHY" && strings.Contains(event(), "failed container health checks.")
	})
	set.Clear()
	eventually(t, "a steady state again", func() bool {
		return health("api") == "RUNNING HEALTHY" && strings.Contains(event(), "has reached a steady state.")
	})
	if got := health("plain"); got != "RUNNING UNKNOWN" {
		t.Errorf("a task without a health check is %s", got)
	}
}

// Address blocks are told only of a peering that is active.
func TestPeering(t *testing.T) {
	set := faults.NewSet(1)
	s := &Server{EC2: NewEC2(EC2Options{Faults: set, Peerings: []Peering{{ID: "pcx-1", Requester: VPC{"vpc-1", "us-east-1", "10.0.0.0/16"}, Accepter: VPC{"vpc-2", "us-east-2", "10.1.0.0/16"}}}})}
	c := ec2.New(ec2.Options{Region: "us-east-1", BaseEndpoint: serve(t, s, func(context.Context) {}), Credentials: creds, RetryMaxAttempts: 1})
	look := func() string {
		out, err := c.DescribeVpcPeeringConnections(t.Context(), &ec2.DescribeVpcPeeringConnectionsInput{VpcPeeringConnectionIds: []string{"pcx-1"}})
		if err != nil {
			t.Fatal(err)
		}
		p := out.VpcPeeringConnections[0]
		return fmt.Sprint(p.Status.Code, " ", aws.ToString(p.RequesterVpcInfo.CidrBlock), " ", len(p.AccepterVpcInfo.CidrBlockSet))
	}
	if got := look(); got != "active 10.0.0.0/16 1" {
		t.Error(got)
	}
	set.Add(faults.Fault{Service: "peering", Target: "pcx-1", Mode: faults.Error})
	if got := look(); got != "deleted  0" {
		t.Error(got)
	}
	_, err := c.DescribeVpcPeeringConnections(t.Context(), &ec2.DescribeVpcPeeringConnectionsInput{VpcPeeringConnectionIds: []string{"pcx-2"}})
	wantCode(t, err, "InvalidVpcPeeringConnectionID.NotFound")
}
