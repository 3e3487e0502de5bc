package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/region"
	"github.com/failoverd/failoverd/lab/world"
)

// fenceWorkers makes a network ACL the only stop of the workers, and the only proof that they have. settle is undivided.
func fenceWorkers(settle string) option {
	subnet := func(reg string, net int) string {
		return fmt.Sprintf("{ %s = %q }", region.WalledID(reg), region.WalledCIDR(net))
	}
	openOne, one := region.WalledACLs(world.Primary)
	openTwo, two := region.WalledACLs(world.Secondary)
	return func(o *harness.Options) {
		o.Stubborn = true
		o.Config.Edits = append(o.Config.Edits, harness.Edit{
			Old: "stop.ecs_service = { cluster = \"prod\", service = \"workers\", count = 0 }\nstop.proof = [\"confirmed\", \"lease\"]\nstop.timeout = \"30s\"",
			New: fmt.Sprintf("stop.nacl = { subnets = { us-east-1 = %s, us-east-2 = %s }, acl = { us-east-1 = %q, us-east-2 = %q }, open = { us-east-1 = %q, us-east-2 = %q }, settle = %q }\nstop.proof = [\"resource\"]\nstop.timeout = \"20m\"",
				subnet(world.Primary, 1), subnet(world.Secondary, 2), one, two, openOne, openTwo, settle),
		})
	}
}

// acl is the network ACL of the workers' subnet in a region, as it is.
func (r *rig) acl(reg string) string {
	r.Helper()
	var acls map[string]string
	r.do(r.w.Control(world.SiteOf(reg)).Call(r.ctx, "GET", "/acls", nil, &acls))
	return acls[region.WalledID(reg)]
}

// S1: workers that run on when their lease ends are cut off by a network ACL, which is the proof that the other region may start:
// they live on, and do nothing more.
func TestStubbornWorkersAreFencedAtTheNetwork(t *testing.T) {
	r := start(t, fenceWorkers("15s"))
	_, deny := region.WalledACLs(world.Primary)
	// The region that is entered is cut off as well, as it is after it was left: the plan opens it before anything starts there.
	opens, closed := region.WalledACLs(world.Secondary)
	r.giveACL(world.Secondary, closed)
	r.order("use2a", "failover")
	r.until(60*time.Second, "the epoch", func(s *harness.Status) bool { return s.Epoch == 2 })
	left, err := r.w.Record(r.ctx)
	r.do(err)
	// Not until it is stable: us-east-1 still serves, and some clients keep to it.
	s := r.until(60*time.Second, "the workers of us-east-2", func(s *harness.Status) bool {
		return s.Current() != nil && s.Current().StepState("start-workers") == "done"
	})
	proof := ""
	for _, e := range s.Current().Evidence {
		if e.Component == "workers" && e.Void == "" {
			proof += e.Class + " "
		}
	}
	// Agents that are not cut off yet may report that what they mind is dead: true, and no proof that is accepted here.
	if !strings.Contains(proof, "resource ") {
		t.Errorf("the workers' proof is %q: %+v", proof, s.Current().Evidence)
	}
	rec := r.record(20*time.Second, "messages in us-east-2", func(rec world.Record) bool { return rec.Regions[world.Secondary].Processed > 20 })
	if n := rec.Regions[world.Primary].Processed - left.Regions[world.Primary].Processed; n != 0 || rec.Alive[world.Primary] != 3 || rec.Duplicates != 0 {
		t.Errorf("us-east-1 has processed %d messages since the epoch, %d workers live there, %d duplicates: want none, 3, none", n, rec.Alive[world.Primary], rec.Duplicates)
	}
	if got := r.acl(world.Secondary); got != opens {
		t.Errorf("the subnet of us-east-2 has %s, not %s", got, opens)
	}
	if got := r.acl(world.Primary); got != deny {
		t.Errorf("the subnet has %s: the fence is a standing hold", got)
	}
}

// visitor reaches a region's API as somebody there would.
func (r *rig) visitor(reg string) aws.Config {
	return aws.Config{
		Region: reg, BaseEndpoint: aws.String(world.Endpoint(reg)), Credentials: credentials.NewStaticCredentialsProvider("AKIATEST", "secret", ""),
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return r.w.Dial(ctx, world.SiteOf(reg), network, addr)
		}}},
	}
}

// giveACL gives the workers' subnet of a region another network ACL.
func (r *rig) giveACL(reg, acl string) {
	r.Helper()
	c := ec2.NewFromConfig(r.visitor(reg))
	out, err := c.DescribeNetworkAcls(r.ctx, &ec2.DescribeNetworkAclsInput{Filters: []types.Filter{{Name: aws.String("association.subnet-id"), Values: []string{region.WalledID(reg)}}}})
	r.do(err)
	_, err = c.ReplaceNetworkAclAssociation(r.ctx, &ec2.ReplaceNetworkAclAssociationInput{AssociationId: out.NetworkAcls[0].Associations[0].NetworkAclAssociationId, NetworkAclId: &acl})
	r.do(err)
}
