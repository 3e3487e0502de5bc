package probes

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// peering is the answer to DescribeVpcPeeringConnections.
func peering(status, requester, accepter string) string {
	vpc := func(id, block string) string {
		if block == "" { // told only of one that is active
			return "<vpcId>" + id + "</vpcId>"
		}
		return fmt.Sprintf("<vpcId>%s</vpcId><cidrBlock>203.0.113.0/30</cidrBlock><cidrBlockSet><item><cidrBlock>%s</cidrBlock></item></cidrBlockSet>", id, block)
	}
	return fmt.Sprintf(`<DescribeVpcPeeringConnectionsResponse><vpcPeeringConnectionSet><item><vpcPeeringConnectionId>pcx-1</vpcPeeringConnectionId>
<requesterVpcInfo>%s</requesterVpcInfo><accepterVpcInfo>%s</accepterVpcInfo><status><code>%s</code><message>says AWS</message></status></item></vpcPeeringConnectionSet></DescribeVpcPeeringConnectionsResponse>`,
		vpc("vpc-a", requester), vpc("vpc-b", accepter), status)
}

// Active is nothing without a connection, and a connection is nothing unless it is from
// one VPC into the other. On this machine 127.0.0.1 reaches 127.0.0.2 by itself.
func TestVPCPeering(t *testing.T) {
	a, d := newAPI(t)
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	c := &VPCPeeringConfig{ID: "pcx-1", Addresses: map[failover.Region]string{"us-east-1": "127.0.0.2:" + port, "us-east-2": "127.0.0.1:" + port}}
	const here, there, else1 = "127.0.0.1/32", "127.0.0.2/32", "10.9.0.0/16"
	for _, tt := range []struct {
		answer  any
		outcome failover.Outcome
		check   Status
		detail  string
	}{
		{peering("active", here, there), failover.OK, Pass, "pcx-1 is active, and a connection from 127.0.0.1 in vpc-a to 127.0.0.2:" + port + " in vpc-b came through"},
		{peering("active", there, here), failover.OK, Pass, "from 127.0.0.1 in vpc-b to 127.0.0.2:" + port + " in vpc-a"},
		{peering("deleted", "", ""), failover.Failed, Fail, `pcx-1 is "deleted" (says AWS) and not active; a connection from here to 127.0.0.2:` + port + " came through"},
		{peering("pending-acceptance", "", ""), failover.Failed, Fail, `"pending-acceptance"`},
		{peering("active", "127.0.0.0/8", else1), failover.NoResult, Unknown, "this node, 127.0.0.1, is in vpc-a itself, and goes through no peering"},
		{peering("active", else1, there), failover.NoResult, Unknown, "this node, 127.0.0.1, is in neither of its VPCs"},
		{peering("active", here, else1), failover.Misconfigured, Unknown, "127.0.0.2 lies in neither VPC of pcx-1"},
		{"<DescribeVpcPeeringConnectionsResponse/>", failover.Misconfigured, Unknown, "0 peering connections in us-east-1 are called pcx-1"},
		{failed("InvalidVpcPeeringConnectionID.NotFound"), failover.Misconfigured, Unknown, "InvalidVpcPeeringConnectionID.NotFound"},
		{failed("RequestLimitExceeded"), failover.NoResult, Unknown, "RequestLimitExceeded; a connection from here to 127.0.0.2"},
		{failed("hang"), failover.NoResult, Unknown, "did not answer in time; a connection from here to 127.0.0.2:" + port + " came through"},
	} {
		a.says("DescribeVpcPeeringConnections", tt.answer)
		d.Timeout = 10 * time.Second
		if tt.answer == failed("hang") {
			d.Timeout = 500 * time.Millisecond
		}
		if o := look(t, c, d); o.Outcome != tt.outcome {
			t.Errorf("%s %q, want %s", o.Outcome, o.Detail, tt.outcome)
		}
		verify(t, mustCheck(t, &VPCPeeringCheckConfig{VPCPeeringConfig: *c}, d), tt.check, tt.detail)
	}
	a.says("DescribeVpcPeeringConnections", peering("active", here, there))
	verify(t, mustCheck(t, &VPCPeeringCheckConfig{VPCPeeringConfig: VPCPeeringConfig{ID: "pcx-1", Addresses: c.Addresses, Slow: 1}}, d), Pass, "slow is 1ns")
	// Something over there that refuses was reached, and proves only half.
	_ = l.Close()
	verify(t, mustCheck(t, &VPCPeeringCheckConfig{VPCPeeringConfig: *c}, d), Fail, "was refused over there, where nothing listens: write the address of something that listens")
	// A black hole: what routes and security groups leave of a peering that is active.
	full := listenFull(t)
	dark := &VPCPeeringCheckConfig{VPCPeeringConfig: VPCPeeringConfig{ID: "pcx-1", Addresses: map[failover.Region]string{"us-east-1": full, "us-east-2": full}}}
	d.Timeout = 2 * time.Second
	verify(t, mustCheck(t, dark, d), Fail, "pcx-1 is active, and a connection from 127.0.0.1 in vpc-a to "+full+" in vpc-b did not answer in time: look at the routes of both subnets")
	d.Timeout = 10 * time.Second
	unread(t, a, "DescribeVpcPeeringConnections", d, &VPCPeeringCheckConfig{VPCPeeringConfig: *c})
	if s := (Spec{Kind: "vpc_peering", Config: c}); s.Plane() != failover.PlaneUpkeep {
		t.Error("it is no signal of upkeep")
	}
	d.Region = "eu-west-1"
	if _, err := c.New(d); err == nil {
		t.Error("a region without an address is accepted")
	}
	both := func(s string) map[failover.Region]string {
		return map[failover.Region]string{"us-east-1": s, "us-east-2": s}
	}
	refused(t, map[string]*VPCPeeringCheckConfig{
		"id: is missing":                       {},
		`id: "vpc-1" is not`:                   {VPCPeeringConfig: VPCPeeringConfig{ID: "vpc-1"}},
		"addresses: names 0 addresses":         {VPCPeeringConfig: VPCPeeringConfig{ID: "pcx-1"}},
		`us-east-1: "db.example.net:1" is no `: {VPCPeeringConfig: VPCPeeringConfig{ID: "pcx-1", Addresses: both("db.example.net:1")}},
		"slow: -1ns is negative":               {VPCPeeringConfig: VPCPeeringConfig{ID: "pcx-1", Addresses: both("10.0.0.1:1"), Slow: -1}},
		"within: -1ns is negative":             {VPCPeeringConfig: VPCPeeringConfig{ID: "pcx-1", Addresses: both("10.0.0.1:1")}, For: -1},
	})
}

// Credentials that do not come are no peering that is broken, and take no time from the
// connection.
func TestVPCPeeringWaitsForNoCredentials(t *testing.T) {
	_, d := newAPI(t)
	done := make(chan struct{})
	hangs := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-done }))
	t.Cleanup(hangs.Close)
	t.Cleanup(func() { close(done) })
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	t.Setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", hangs.URL)
	c, err := cloud.Open(t.Context(), cloud.Options{Endpoints: map[string]string{"us-east-1": hangs.URL}, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	d.Cloud, d.Timeout = c, 300*time.Millisecond
	o := look(t, &VPCPeeringConfig{ID: "pcx-1", Addresses: map[failover.Region]string{"us-east-1": l.Addr().String(), "us-east-2": "127.0.0.1:1"}}, d)
	expect(t, o, failover.NoResult, failover.ReasonTimeout, "came through")
}

// listenFull listens with a queue that is full: further connections are neither taken
// nor refused.
func listenFull(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 2}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.2:%d", name.(*syscall.SockaddrInet4).Port)
	for range 8 {
		c, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Fatal("the queue is not full after 8 connections")
	return ""
}
