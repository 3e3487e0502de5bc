package awsfake

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/lab/faults"
)

// failoverd's own fence, through the real client, holds over reads that lag, throttled and lost calls, and is taken back.
func TestNACLFence(t *testing.T) {
	s := &Server{EC2: NewEC2(EC2Options{ACLs: []NetworkACL{{"acl-open", "vpc-1", true}, {"acl-deny", "vpc-1", false}}, Lag: 300 * time.Millisecond,
		Subnets: []Subnet{{ID: "subnet-a", CIDR: "10.0.8.0/24", ACL: "acl-open"}, {ID: "subnet-b", CIDR: "10.0.9.0/24", ACL: "acl-open"}, {ID: "subnet-c", CIDR: "10.0.1.0/24", ACL: "acl-open"}}})}
	url := serve(t, s, func(context.Context) {})
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	clients, err := cloud.Open(t.Context(), cloud.Options{Endpoints: map[string]string{"us-east-1": *url}, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	c := &actions.NACLConfig{Subnets: map[failover.Region]map[string]string{"us-east-1": {"subnet-a": "10.0.8.0/24", "subnet-b": "10.0.9.0/24"}}, ACL: map[failover.Region]string{"us-east-1": "acl-deny"}, Open: map[failover.Region]string{"us-east-1": "acl-a"}, Settle: failover.Duration(200 * time.Millisecond)}
	a, err := c.New(actions.Deps{Region: "us-east-1", Cloud: clients, Quiet: new(actions.Quiet), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	state := func() actions.Effect {
		e, err := a.Inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	before := state()
	if before.State != actions.Absent {
		t.Fatalf("%s %s", before.State, before.Detail)
	}
	at := actions.Attempt{Previous: before.Previous, Deadline: time.Now().Add(time.Minute)}
	s.Faults.Add(faults.Fault{Service: "ec2", Op: "ReplaceNetworkAclAssociation", Mode: faults.Throttle})
	if err := a.Do(t.Context(), at); err == nil || !strings.Contains(err.Error(), "subnet-a") || !strings.Contains(err.Error(), "subnet-b") {
		t.Errorf("throttled: %v", err)
	}
	s.Faults.Clear()
	s.Faults.Add(faults.Fault{Service: "ec2", Op: "ReplaceNetworkAclAssociation", Mode: faults.LostReply})
	if err := a.Do(t.Context(), at); err == nil {
		t.Error("the reply was lost, and Do is content")
	}
	s.Faults.Clear()
	if got := s.EC2.ACLs(); got["subnet-a"] != "acl-deny" || got["subnet-b"] != "acl-deny" || got["subnet-c"] != "acl-open" {
		t.Fatalf("now %v", got)
	}
	// A read that lags shows it open still; a call that rests on it is refused, and undoes nothing.
	if e := state(); e.State != actions.Absent {
		t.Errorf("at once: %s %s", e.State, e.Detail)
	}
	if err := a.Do(t.Context(), at); err == nil || !strings.Contains(err.Error(), "InvalidAssociationID.NotFound") {
		t.Errorf("by an association that is no more: %v", err)
	}
	eventually(t, "what was asked for to be told", func() bool {
		e := state()
		return e.State == actions.Unknown && strings.Contains(e.Detail, "it counts in")
	})
	eventually(t, "the fence to count", func() bool { return state().State == actions.Present })
	if err := a.Undo(t.Context(), at); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all as it was", func() bool { return a.(actions.Restorer).Restored(state(), before.Previous) })
	if got := s.EC2.ACLs(); got["subnet-a"] != "acl-open" || got["subnet-b"] != "acl-open" {
		t.Errorf("undone: %v", got)
	}
}

// A subnet that does not exist fails a request that names it, and is left out by a filter.
func TestSubnetsByFilter(t *testing.T) {
	s := &Server{EC2: NewEC2(EC2Options{Subnets: []Subnet{{ID: "subnet-a"}, {ID: "subnet-b"}}})}
	c, ctx := ec2.New(ec2.Options{Region: "us-east-1", BaseEndpoint: serve(t, s, func(context.Context) {}), Credentials: creds, RetryMaxAttempts: 1}), t.Context()
	_, err := c.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{"subnet-a", "subnet-none"}})
	wantCode(t, err, "InvalidSubnetID.NotFound")
	by := func(name string) *ec2.DescribeSubnetsInput {
		return &ec2.DescribeSubnetsInput{Filters: []types.Filter{{Name: aws.String(name), Values: []string{"subnet-a", "subnet-none"}}}}
	}
	out, err := c.DescribeSubnets(ctx, by("subnet-id"))
	if err != nil || len(out.Subnets) != 1 || aws.ToString(out.Subnets[0].SubnetId) != "subnet-a" {
		t.Errorf("%+v, %v", out, err)
	}
	_, err = c.DescribeSubnets(ctx, by("nonsense"))
	wantCode(t, err, "InvalidParameterValue")
}

func TestNetworkACLs(t *testing.T) {
	s := &Server{EC2: NewEC2(EC2Options{ACLs: []NetworkACL{{"acl-open", "vpc-1", true}}, Subnets: []Subnet{{ID: "subnet-a", ACL: "acl-open"}}})}
	c, ctx := ec2.New(ec2.Options{Region: "us-east-1", BaseEndpoint: serve(t, s, func(context.Context) {}), Credentials: creds, RetryMaxAttempts: 1}), t.Context()
	_, err := c.DescribeNetworkAcls(ctx, &ec2.DescribeNetworkAclsInput{NetworkAclIds: []string{"acl-none"}})
	wantCode(t, err, "InvalidNetworkAclID.NotFound")
	_, err = c.ReplaceNetworkAclAssociation(ctx, &ec2.ReplaceNetworkAclAssociationInput{AssociationId: aws.String("aclassoc-none"), NetworkAclId: aws.String("acl-open")})
	wantCode(t, err, "InvalidAssociationID.NotFound")
	out, err := c.DescribeNetworkAcls(ctx, &ec2.DescribeNetworkAclsInput{})
	if err != nil || len(out.NetworkAcls) != 1 || len(out.NetworkAcls[0].Entries) != 4 {
		t.Fatalf("%+v, %v", out, err)
	}
	_, err = c.ReplaceNetworkAclAssociation(ctx, &ec2.ReplaceNetworkAclAssociationInput{AssociationId: out.NetworkAcls[0].Associations[0].NetworkAclAssociationId, NetworkAclId: aws.String("acl-none")})
	wantCode(t, err, "InvalidNetworkAclID.NotFound")
}
