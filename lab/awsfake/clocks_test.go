package awsfake

import (
	"context"
	"log/slog"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/scheduler"
	"github.com/aws/aws-sdk-go-v2/service/scheduler/types"

	"github.com/failoverd/failoverd/lab/faults"
)

// serve runs a region with what the test has put into it.
func serve(t *testing.T, s *Server, run func(context.Context)) (url *string) {
	t.Helper()
	s.Region, s.Faults, s.Log = "us-east-1", faults.NewSet(1), slog.New(slog.NewTextHandler(t.Output(), nil))
	srv := httptest.NewServer(s)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { run(ctx); close(done) }()
	t.Cleanup(func() {
		cancel()
		<-done
		srv.Close()
	})
	return aws.String(srv.URL)
}

// A rule that was disabled fires for a while yet, and then no more.
func TestRule(t *testing.T) {
	var fired atomic.Int64
	s := &Server{Clocks: NewClocks("us-east-1", 300*time.Millisecond, Timer{Name: "hourly", Rule: true, Every: 10 * time.Millisecond, Enabled: true, Fire: func(context.Context, int) { fired.Add(1) }})}
	url := serve(t, s, s.Clocks.Run)
	c, ctx := eventbridge.New(eventbridge.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, RetryMaxAttempts: 1}), t.Context()
	state := func() string {
		out, err := c.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: aws.String("hourly")})
		if err != nil {
			t.Fatal(err)
		}
		return string(out.State)
	}
	eventually(t, "the rule fires", func() bool { return fired.Load() > 1 })
	if _, err := c.DisableRule(ctx, &eventbridge.DisableRuleInput{Name: aws.String("hourly"), EventBusName: aws.String("default")}); err != nil || state() != "DISABLED" {
		t.Fatalf("%v, %s", err, state())
	}
	n := fired.Load()
	eventually(t, "it fires although it is disabled", func() bool { return fired.Load() > n })
	begin := time.Now()
	eventually(t, "it has come to rest", func() bool {
		if now := fired.Load(); now != n {
			n, begin = now, time.Now()
		}
		return time.Since(begin) > 200*time.Millisecond
	})
	if _, err := c.EnableRule(ctx, &eventbridge.EnableRuleInput{Name: aws.String("hourly")}); err != nil || state() != "ENABLED" {
		t.Fatalf("%v, %s", err, state())
	}
	eventually(t, "it fires again", func() bool { return fired.Load() > n })
	targets, err := c.ListTargetsByRule(ctx, &eventbridge.ListTargetsByRuleInput{Rule: aws.String("hourly")})
	if err != nil || len(targets.Targets) != 1 || aws.ToInt32(targets.Targets[0].RetryPolicy.MaximumRetryAttempts) != 0 {
		t.Errorf("%+v, %v", targets, err)
	}
	_, err = c.DescribeRule(ctx, &eventbridge.DescribeRuleInput{Name: aws.String("nothing")})
	wantCode(t, err, "ResourceNotFoundException")
	if calls := s.Calls(); len(calls) != 3 || calls[0].Op != "DisableRule" || calls[1].Op != "EnableRule" || calls[2].Outcome != "ResourceNotFoundException" {
		t.Errorf("recorded %+v", calls)
	}
}

// An update of a schedule that names the state alone is refused; one that leaves something out resets it.
func TestScheduler(t *testing.T) {
	var fired atomic.Int64
	s := &Server{Clocks: NewClocks("us-east-1", 20*time.Millisecond, Timer{Name: "nightly", Every: 10 * time.Millisecond, Fire: func(context.Context, int) { fired.Add(1) }})}
	url := serve(t, s, s.Clocks.Run)
	c, ctx := scheduler.New(scheduler.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, RetryMaxAttempts: 1}), t.Context()
	get := func() *scheduler.GetScheduleOutput {
		out, err := c.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: aws.String("nightly"), GroupName: aws.String("default")})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	was := get()
	if was.State != types.ScheduleStateDisabled || aws.ToString(was.Description) != "the job nightly" {
		t.Errorf("%+v", was)
	}
	in := &scheduler.UpdateScheduleInput{Name: was.Name, ScheduleExpression: was.ScheduleExpression, FlexibleTimeWindow: was.FlexibleTimeWindow,
		Target: &types.Target{Arn: was.Target.Arn, RoleArn: was.Target.RoleArn}, StartDate: aws.Time(time.Now().Add(-time.Hour))}
	_, err := c.UpdateSchedule(ctx, in)
	wantCode(t, err, "ValidationException")
	in.StartDate = nil
	if _, err := c.UpdateSchedule(ctx, in); err != nil {
		t.Fatal(err)
	}
	now := get()
	if now.State != types.ScheduleStateEnabled || now.Description != nil || aws.ToInt32(now.Target.RetryPolicy.MaximumRetryAttempts) != 185 {
		t.Errorf("what the update left out is %s, %v, %v: want the defaults", now.State, now.Description, now.Target.RetryPolicy)
	}
	eventually(t, "the schedule fires", func() bool { return fired.Load() > 1 })
	_, err = c.GetSchedule(ctx, &scheduler.GetScheduleInput{Name: aws.String("nightly"), GroupName: aws.String("other")})
	wantCode(t, err, "ResourceNotFoundException")
}

// A mapping that was turned off is "Disabling" for a while and hands out messages; it cannot be changed meanwhile.
func TestEventSourceMapping(t *testing.T) {
	queues := NewSQS("us-east-1", "http://x", time.Second, time.Millisecond)
	queues.CreateQueue("events")
	var handled atomic.Int64
	s := &Server{SQS: queues, Lambda: NewLambda(queues, 300*time.Millisecond, Function{Name: "f", Queue: "events", Timeout: 3 * time.Second, Enabled: true, Handle: func(context.Context, string) error {
		handled.Add(1)
		return nil
	}})}
	url := serve(t, s, s.Lambda.Run)
	c, ctx := lambda.New(lambda.Options{Region: "us-east-1", BaseEndpoint: url, Credentials: creds, RetryMaxAttempts: 1}), t.Context()
	list, err := c.ListEventSourceMappings(ctx, &lambda.ListEventSourceMappingsInput{FunctionName: aws.String("f")})
	if err != nil || len(list.EventSourceMappings) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	id := list.EventSourceMappings[0].UUID
	if out, err := c.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: aws.String("f")}); err != nil || aws.ToInt32(out.Timeout) != 3 {
		t.Errorf("%+v, %v", out, err)
	}
	queues.Put("events", "1")
	eventually(t, "an event is handled", func() bool { return handled.Load() == 1 })
	off, err := c.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: id, Enabled: aws.Bool(false)})
	if err != nil || aws.ToString(off.State) != "Disabling" {
		t.Fatalf("%+v, %v", off, err)
	}
	_, err = c.UpdateEventSourceMapping(ctx, &lambda.UpdateEventSourceMappingInput{UUID: id, Enabled: aws.Bool(true)})
	wantCode(t, err, "ResourceInUseException")
	queues.Put("events", "2")
	eventually(t, "an event is handled while the mapping is Disabling", func() bool { return handled.Load() == 2 })
	eventually(t, "it is Disabled", func() bool {
		out, err := c.GetEventSourceMapping(ctx, &lambda.GetEventSourceMappingInput{UUID: id})
		return err == nil && aws.ToString(out.State) == "Disabled"
	})
	queues.Put("events", "3")
	begin := time.Now()
	eventually(t, "nothing is handled any more", func() bool { return handled.Load() != 2 || time.Since(begin) > 200*time.Millisecond })
	if n := handled.Load(); n != 2 {
		t.Errorf("%d events handled", n)
	}
}
