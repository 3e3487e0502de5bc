package awsfake

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/failoverd/failoverd/lab/faults"
)

var queueTag = map[string]string{"role": "queue"}

// launch makes two instances in an imitation that can.
func launch(ctx context.Context, c *ec2.Client) ([]string, error) {
	out, err := c.RunInstances(ctx, &ec2.RunInstancesInput{ImageId: aws.String("ami-12c6146b"), InstanceType: types.InstanceTypeT2Micro, MinCount: aws.Int32(2), MaxCount: aws.Int32(2),
		TagSpecifications: []types.TagSpecification{{ResourceType: types.ResourceTypeInstance, Tags: []types.Tag{{Key: aws.String("role"), Value: aws.String("queue")}}}}})
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, i := range out.Instances {
		ids = append(ids, *i.InstanceId)
	}
	return ids, nil
}

func byTag(ctx context.Context, c *ec2.Client, value string) ([]types.Instance, error) {
	out, err := c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("tag:role"), Values: []string{value}}}})
	if err != nil {
		return nil, err
	}
	var all []types.Instance
	for _, r := range out.Reservations {
		all = append(all, r.Instances...)
	}
	return all, nil
}

// states waits until all instances of the tag are in one state, and says in which they are.
func states(want string) func(context.Context, *sides) string {
	return func(ctx context.Context, s *sides) string {
		for end := time.Now().Add(5 * time.Second); ; <-time.After(20 * time.Millisecond) {
			all, err := byTag(ctx, s.ec2, "queue")
			if err != nil {
				return code(err)
			}
			var got []string
			for _, i := range all {
				got = append(got, string(i.State.Name))
			}
			if said := strings.Join(got, " "); said == strings.TrimSpace(strings.Repeat(want+" ", 2)) || time.Now().After(end) {
				return said
			}
		}
	}
}

// ec2Steps are the calls that a failover makes to EC2.
func ec2Steps() []step {
	start := func(ids func(*sides) []string, dry bool) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			_, err := s.ec2.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: ids(s), DryRun: &dry})
			return code(err)
		}
	}
	stop := func(ids func(*sides) []string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.ec2.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: ids(s)})
			return or(out, err, func(o *ec2.StopInstancesOutput) string {
				return fmt.Sprint(o.StoppingInstances[0].PreviousState.Name, " → ", o.StoppingInstances[0].CurrentState.Name)
			})
		}
	}
	status := func(ctx context.Context, s *sides) string {
		out, err := s.ec2.DescribeInstanceStatus(ctx, &ec2.DescribeInstanceStatusInput{InstanceIds: s.ids})
		return or(out, err, func(o *ec2.DescribeInstanceStatusOutput) string {
			said := fmt.Sprint(len(o.InstanceStatuses))
			for _, i := range o.InstanceStatuses {
				said += fmt.Sprint(" ", i.SystemStatus.Status, "/", i.InstanceStatus.Status)
			}
			return said
		})
	}
	none := func(*sides) []string { return []string{"i-0123456789abcdef0"} }
	both := func(s *sides) []string { return s.ids }
	first := func(s *sides) []string { return s.ids[:1] }
	stopBoth := func(ctx context.Context, s *sides) string {
		_, err := s.ec2.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: s.ids})
		return code(err)
	}
	return []step{
		{"ec2 by a tag that none has", func(ctx context.Context, s *sides) string {
			all, err := byTag(ctx, s.ec2, "other")
			return or(all, err, func(all []types.Instance) string { return fmt.Sprint(len(all)) })
		}},
		{"ec2 by tag", states("running")},
		{"ec2 status checks", status},
		{"ec2 describe what is not there", func(ctx context.Context, s *sides) string {
			_, err := s.ec2.DescribeInstances(ctx, &ec2.DescribeInstancesInput{InstanceIds: none(s)})
			return code(err)
		}},
		{"ec2 stop what is not there", stop(none)},
		{"ec2 start as a dry run", start(both, true)},
		{"ec2 start what runs", start(both, false)},
		{"ec2 stop one", stop(first)},
		{"ec2 start while it stops", start(first, false)},
		{"ec2 stop both", stopBoth},
		{"ec2 stopped", states("stopped")},
		{"ec2 stopped ones have no status", status},
		{"ec2 stop what is stopped", stopBoth},
		{"ec2 start again", start(both, false)},
		{"ec2 stop while it starts", stop(both)},
		{"ec2 start after that", func(ctx context.Context, s *sides) string {
			states("stopped")(ctx, &sides{ec2: s.ec2})
			return start(both, false)(ctx, s)
		}},
		{"ec2 runs", states("running")},
	}
}

// What moto cannot show: time, capacity, protection, and a group that replaces what was stopped in it.
func TestEC2(t *testing.T) {
	ctx := t.Context()
	short := ""
	srv := &Server{Region: "us-east-1", Faults: faults.NewSet(1), Log: slog.New(slog.DiscardHandler)}
	srv.ASG = NewAutoScaling(ASGOptions{Region: "us-east-1", Groups: []ASGroup{{Name: "group", Max: 2, Desired: 1, Min: 1, Zones: []string{"us-east-1a"}}}})
	srv.EC2 = NewEC2(EC2Options{Groups: srv.ASG, Start: 30 * time.Millisecond, Stop: 30 * time.Millisecond, Checks: 100 * time.Millisecond,
		Short: func(zone string) string { return map[string]string{"us-east-1b": short}[zone] },
		Instances: []EC2Instance{{ID: "i-a", Zone: "us-east-1a", Tags: queueTag}, {ID: "i-b", Zone: "us-east-1b", Tags: queueTag},
			{ID: "i-kept", Zone: "us-east-1a", Running: true, Protected: true}}})
	ts := httptest.NewServer(srv)
	defer ts.Close()
	s := newSides(ts.URL)
	c := s.ec2
	startThem := func(ids ...string) string {
		_, err := c.StartInstances(ctx, &ec2.StartInstancesInput{InstanceIds: ids})
		return code(err)
	}
	short = "no capacity (InsufficientInstanceCapacity)"
	if got := startThem("i-a", "i-b"); got != "InsufficientInstanceCapacity" || srv.EC2.States()["i-a"] != "stopped" {
		t.Errorf("a zone is short: %s, and the other instance is %s: none is started", got, srv.EC2.States()["i-a"])
	}
	short = "a quota (VcpuLimitExceeded)"
	if got := startThem("i-b"); got != "VcpuLimitExceeded" {
		t.Errorf("a quota: %s", got)
	}
	if got := startThem("i-a"); got != "ok" {
		t.Fatal(got)
	}
	eventually(t, "it runs", func() bool { return srv.EC2.States()["i-a"] == "running" })
	check := func() string {
		out, err := c.DescribeInstanceStatus(ctx, &ec2.DescribeInstanceStatusInput{InstanceIds: []string{"i-a"}})
		if err != nil || len(out.InstanceStatuses) == 0 {
			return code(err)
		}
		return string(out.InstanceStatuses[0].InstanceStatus.Status)
	}
	if got := check(); got != "initializing" {
		t.Errorf("right after its start the status check says %s", got)
	}
	eventually(t, "its status checks pass", func() bool { return check() == "ok" })
	if _, err := c.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: []string{"i-a", "i-kept"}}); code(err) != "OperationNotPermitted" || srv.EC2.States()["i-a"] != "running" {
		t.Errorf("stop protection: %v, and the other one is %s", err, srv.EC2.States()["i-a"])
	}
	// A member of a group carries its tag, and comes back as another instance.
	members := func() (ids []string) {
		out, err := c.DescribeInstances(ctx, &ec2.DescribeInstancesInput{Filters: []types.Filter{{Name: aws.String("tag:aws:autoscaling:groupName"), Values: []string{"group"}},
			{Name: aws.String("instance-state-name"), Values: []string{"running"}}}})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range out.Reservations {
			ids = append(ids, *r.Instances[0].InstanceId)
		}
		return ids
	}
	was := members()
	if len(was) != 1 {
		t.Fatalf("members %v", was)
	}
	if _, err := c.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: was}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is replaced", func() bool { now := members(); return len(now) == 1 && now[0] != was[0] })
	// Unless the group does not replace what is unhealthy.
	if _, err := s.asg.SuspendProcesses(ctx, &autoscaling.SuspendProcessesInput{AutoScalingGroupName: aws.String("group"), ScalingProcesses: []string{"ReplaceUnhealthy"}}); err != nil {
		t.Fatal(err)
	}
	was = members()
	if _, err := c.StopInstances(ctx, &ec2.StopInstancesInput{InstanceIds: was}); err != nil {
		t.Fatal(err)
	}
	if now := members(); !slices.Equal(now, was) {
		t.Errorf("with ReplaceUnhealthy suspended the members are %v, they were %v", now, was)
	}
	// Throttling has a code and a status of its own.
	srv.Faults.Add(faults.Fault{Service: "ec2", Mode: faults.Throttle})
	if got := startThem("i-b"); got != "RequestLimitExceeded" {
		t.Errorf("throttled: %s", got)
	}
}
