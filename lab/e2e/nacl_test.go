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
	"github.com/aws/aws-sdk-go-v2/service/ecs"

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

// order gives a command to a node.
func (r *rig) order(args ...string) {
	r.Helper()
	if out, err := r.c.CLI(r.ctx, "use2a", append(args, "--why", "a test")...); err != nil {
		r.Fatalf("%v\n%s", err, out)
	}
}

// S1: workers that run on when their lease ends are cut off by a network ACL, which is the proof that the other region may start:
// they live on, and do nothing more.
func TestStubbornWorkersAreFencedAtTheNetwork(t *testing.T) {
	r := start(t, fenceWorkers("15s"))
	_, deny := region.WalledACLs(world.Primary)
	r.order("failover")
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
	if got := r.acl(world.Primary); got != deny {
		t.Errorf("the subnet has %s: the fence is a standing hold", got)
	}

	// The way home. Who lives behind the fence would work again: somebody has to end them first, and to say so.
	r.until(150*time.Second, "the end", func(s *harness.Status) bool { return s.Current() == nil })
	if out, err := r.c.CLI(r.ctx, "use2a", "failover", "--why", "home"); err == nil || !strings.Contains(out+err.Error(), "workers is cut off in us-east-1 by nacl") || !strings.Contains(out+err.Error(), "--override fenced") {
		t.Errorf("what lives behind the fence may be let loose: %v\n%s", err, out)
	}
	r.scaleTo(world.E1, "workers", 0)
	r.record(60*time.Second, "their end", func(rec world.Record) bool { return rec.Alive[world.Primary] == 0 })
	r.order("failover", "--override", "fenced")
	r.until(90*time.Second, "the epoch", func(s *harness.Status) bool { return s.Epoch == 3 })
	r.until(60*time.Second, "the workers of us-east-1", func(s *harness.Status) bool {
		return s.Current() != nil && s.Current().StepState("start-workers") == "done"
	})
	open, _ := region.WalledACLs(world.Primary)
	if got := r.acl(world.Primary); got != open {
		t.Errorf("the subnet of us-east-1 has %s, not %s", got, open)
	}
	home, err := r.w.Record(r.ctx)
	r.do(err)
	rec = r.record(30*time.Second, "messages in us-east-1", func(rec world.Record) bool {
		return rec.Regions[world.Primary].Processed > home.Regions[world.Primary].Processed+5
	})
	if rec.Duplicates != 0 {
		t.Errorf("%d duplicates", rec.Duplicates)
	}
}

// scaleTo sets a service's desired count by its region's API, as somebody in that region would.
func (r *rig) scaleTo(site, service string, n int32) {
	r.Helper()
	c := ecs.New(ecs.Options{
		Region: world.RegionOf(site), BaseEndpoint: aws.String(world.Endpoint(world.RegionOf(site))), Credentials: credentials.NewStaticCredentialsProvider("AKIATEST", "secret", ""),
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			return r.w.Dial(ctx, site, network, addr)
		}}},
	})
	_, err := c.UpdateService(r.ctx, &ecs.UpdateServiceInput{Cluster: aws.String(world.Cluster), Service: &service, DesiredCount: &n})
	r.do(err)
}
