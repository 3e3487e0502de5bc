package awsfake

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	elb "github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2"
	"github.com/aws/aws-sdk-go-v2/service/elasticloadbalancingv2/types"
	"github.com/aws/smithy-go"

	"github.com/failoverd/failoverd/lab/faults"
)

// The SDK reads every documented state, and is told of groups that do not exist and of throttling as AWS tells it.
func TestTargetHealth(t *testing.T) {
	states := []TargetState{
		{ID: "10.0.0.1", Port: 8080, State: "healthy"},
		{ID: "10.0.0.2", Port: 8080, State: "unhealthy", Reason: "Target.ResponseCodeMismatch", Description: "Health checks failed with these codes: [503]"},
	}
	get := func() []TargetState { return states }
	set := faults.NewSet(1)
	srv := httptest.NewServer(&Server{Region: "us-east-1", Faults: set, Log: slog.New(slog.DiscardHandler),
		ELB: NewELB("us-east-1", TargetGroup{Name: "api", Port: 8080, Attached: true, Targets: get}, TargetGroup{Name: "spare", Port: 8080, Targets: get})})
	defer srv.Close()
	c := elb.New(elb.Options{Region: "us-east-1", BaseEndpoint: &srv.URL, RetryMaxAttempts: 1, Credentials: credentials.NewStaticCredentialsProvider("AKIA", "x", "")})
	arn := func(name string) *string {
		t.Helper()
		out, err := c.DescribeTargetGroups(t.Context(), &elb.DescribeTargetGroupsInput{Names: []string{name}})
		if err != nil || len(out.TargetGroups) != 1 {
			t.Fatalf("%s: %v", name, err)
		}
		return out.TargetGroups[0].TargetGroupArn
	}
	states1 := func(in *elb.DescribeTargetHealthInput) string {
		t.Helper()
		out, err := c.DescribeTargetHealth(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, d := range out.TargetHealthDescriptions {
			all = append(all, fmt.Sprintf("%s:%d %s %s %s", *d.Target.Id, *d.Target.Port, d.TargetHealth.State, d.TargetHealth.Reason, aws.ToString(d.TargetHealth.Description)))
		}
		return strings.Join(all, "\n")
	}
	if got, want := states1(&elb.DescribeTargetHealthInput{TargetGroupArn: arn("api")}), "10.0.0.1:8080 healthy  \n10.0.0.2:8080 unhealthy Target.ResponseCodeMismatch Health checks failed with these codes: [503]"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := states1(&elb.DescribeTargetHealthInput{TargetGroupArn: arn("spare")}); strings.Count(got, "unused Target.NotInUse") != 2 {
		t.Errorf("a group that no load balancer uses: %s", got)
	}
	asked := &elb.DescribeTargetHealthInput{TargetGroupArn: arn("api"), Targets: []types.TargetDescription{{Id: aws.String("10.0.0.9")}, {Id: aws.String("10.0.0.1"), Port: aws.Int32(8080)}}}
	if got := states1(asked); !strings.HasPrefix(got, "10.0.0.9:8080 unused Target.NotRegistered") || !strings.Contains(got, "10.0.0.1:8080 healthy") {
		t.Errorf("targets that were asked for: %s", got)
	}
	code := func(err error) string {
		var api smithy.APIError
		if errors.As(err, &api) {
			return api.ErrorCode()
		}
		return fmt.Sprint(err)
	}
	var none *types.TargetGroupNotFoundException
	if _, err := c.DescribeTargetGroups(t.Context(), &elb.DescribeTargetGroupsInput{Names: []string{"other"}}); !errors.As(err, &none) {
		t.Errorf("a group that does not exist: %v", err)
	}
	if _, err := c.DescribeTargetHealth(t.Context(), &elb.DescribeTargetHealthInput{TargetGroupArn: aws.String("arn:aws:elasticloadbalancing:us-east-2:1:targetgroup/api/1")}); !errors.As(err, &none) {
		t.Errorf("another region's group: %v", err)
	}
	set.Add(faults.Fault{Service: "elasticloadbalancing", Mode: faults.Throttle})
	if _, err := c.DescribeTargetHealth(t.Context(), &elb.DescribeTargetHealthInput{TargetGroupArn: asked.TargetGroupArn}); code(err) != "Throttling" {
		t.Errorf("throttled: %v", err)
	}
}
