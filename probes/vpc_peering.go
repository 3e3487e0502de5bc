package probes

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/failoverd/failoverd/failover"
)

// VPCPeeringConfig looks at a VPC peering connection: whether it is active, and, since
// that alone says nothing of routes and security groups, whether a TCP connection goes
// through it from this node into the VPC of the region. What a node in that VPC, or in
// neither, could see would be no proof: it has no result. It is something that people
// see to in time – replication, and a restore from the other region, need it –, and it
// never makes a region down.
type VPCPeeringConfig struct {
	// ID is the peering connection, "pcx-…", which is the same seen from both sides.
	ID string `toml:"id" json:"id"`
	// Addresses are where something listens in the VPC of each region: private
	// addresses with ports, which lead through the peering.
	Addresses map[failover.Region]string `toml:"addresses" json:"addresses"`
	// Slow is the time after which a connection counts as slow. Zero: never.
	Slow failover.Duration `toml:"slow" json:"slow,omitempty"`
}

// VPCPeeringCheckConfig asserts that the peering carries a connection into the region. A
// check is made by the node that leads, and only one in the other region can pass it:
// unknown on every other, which is every one that is left when that region is dark.
type VPCPeeringCheckConfig struct {
	VPCPeeringConfig
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *VPCPeeringConfig) Validate() error {
	switch {
	case c.ID == "":
		return badParam("id", "is missing")
	case !strings.HasPrefix(c.ID, "pcx-"):
		return badParam("id", "%q is not the ID of a VPC peering connection, which begins with pcx-", c.ID)
	case len(c.Addresses) < 2:
		return badParam("addresses", "names %d addresses; one in the VPC of each region is needed, as us-east-1 = \"10.0.1.10:7700\"", len(c.Addresses))
	}
	for _, r := range slices.Sorted(maps.Keys(c.Addresses)) {
		a, err := netip.ParseAddrPort(c.Addresses[r])
		if err != nil || a.Port() == 0 {
			return badParam("addresses", "%s: %q is no IP address with a port; a name might lead past the peering", r, c.Addresses[r])
		}
	}
	return notNegative("slow", c.Slow)
}

// Validate reports the first wrong parameter.
func (c *VPCPeeringCheckConfig) Validate() error {
	if err := c.VPCPeeringConfig.Validate(); err != nil {
		return err
	}
	return notNegative("within", c.For)
}

// Within implements CheckConfig.
func (c *VPCPeeringCheckConfig) Within() time.Duration { return within(c.For) }

// Upkeep says that the signal is for people, and says nothing of the region's health.
func (c *VPCPeeringConfig) Upkeep() {}

// SeenFrom implements Placed: a connection goes through the peering only from one
// region into the other.
func (c *VPCPeeringConfig) SeenFrom(vantage, region failover.Region) bool {
	return vantage != region && c.Addresses[vantage] != ""
}

// New implements Config.
func (c *VPCPeeringConfig) New(d Deps) (Probe, error) { return c.probe(d) }

func (c *VPCPeeringConfig) probe(d Deps) (*vpcPeering, error) {
	if d.Cloud == nil {
		return nil, fmt.Errorf("peering connection %s: there are no AWS clients", c.ID)
	}
	to, err := netip.ParseAddrPort(c.Addresses[d.Region])
	if err != nil {
		return nil, fmt.Errorf("addresses names none in %s, whose side of the peering is looked at", d.Region)
	}
	return &vpcPeering{cfg: c, deps: d, client: d.Cloud.EC2(string(d.Region)), to: to}, nil
}

// NewCheck implements CheckConfig.
func (c *VPCPeeringCheckConfig) NewCheck(d Deps) (Check, error) {
	p, err := c.probe(d)
	if err != nil {
		return nil, err
	}
	return peeringCheck{p}, nil
}

type vpcPeering struct {
	cfg    *VPCPeeringConfig
	deps   Deps
	client *ec2.Client
	to     netip.AddrPort
	dialer net.Dialer
}

// Probe implements Probe.
func (p *vpcPeering) Probe(ctx context.Context) failover.Observation {
	o := p.deps.observation("vpc_peering", p.cfg.ID)
	ctx, cancel := p.deps.within(ctx)
	defer cancel()
	return p.look(ctx).finish(o)
}

// look asks for the state and opens a connection side by side: a control plane that
// hangs must leave time for the one thing that proves anything. A control plane that
// does not say is no peering that is broken: it has no result.
func (p *vpcPeering) look(ctx context.Context) result {
	var wg sync.WaitGroup
	var state, way result
	var from netip.Addr
	var sides []side
	wg.Go(func() { sides, state = p.state(ctx) })
	wg.Go(func() { from, way = p.connect(ctx) })
	wg.Wait()
	if state.outcome != failover.OK {
		state.detail += "; a connection from here to " + p.to.String() + " " + way.detail
		return state
	}
	return p.judge(from, sides, way).slower(p.cfg.Slow.D())
}

// side is one of the two VPCs.
type side struct {
	vpc    string
	blocks []netip.Prefix
}

func (s side) holds(a netip.Addr) bool {
	for _, b := range s.blocks {
		if b.Contains(a) {
			return true
		}
	}
	return false
}

func sideOf(v *types.VpcPeeringConnectionVpcInfo) side {
	if v == nil {
		return side{}
	}
	s := side{vpc: aws.ToString(v.VpcId)}
	blocks := []string{aws.ToString(v.CidrBlock)}
	for _, b := range v.CidrBlockSet {
		blocks = append(blocks, aws.ToString(b.CidrBlock))
	}
	for _, b := range v.Ipv6CidrBlockSet {
		blocks = append(blocks, aws.ToString(b.Ipv6CidrBlock))
	}
	for _, b := range blocks {
		if prefix, err := netip.ParsePrefix(b); err == nil {
			s.blocks = append(s.blocks, prefix)
		}
	}
	return s
}

// state asks whether the peering is active. Only then does the answer say which
// addresses lie in which VPC; one that was deleted can be described for a while.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_VpcPeeringConnection.html
// https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-basics.html
func (p *vpcPeering) state(ctx context.Context) ([]side, result) {
	if err := p.deps.Cloud.Credentials(ctx); err != nil {
		return nil, unsaid("credentials", err)
	}
	out, err := p.client.DescribeVpcPeeringConnections(ctx, &ec2.DescribeVpcPeeringConnectionsInput{VpcPeeringConnectionIds: []string{p.cfg.ID}}, func(o *ec2.Options) { o.RetryMaxAttempts = 1 })
	if err != nil {
		return nil, unsaid("DescribeVpcPeeringConnections", err)
	}
	if len(out.VpcPeeringConnections) != 1 {
		return nil, ours("%d peering connections in %s are called %s: write the ID of the one between the two VPCs", len(out.VpcPeeringConnections), p.deps.Region, p.cfg.ID)
	}
	c := out.VpcPeeringConnections[0]
	if c.Status == nil || c.Status.Code != types.VpcPeeringConnectionStateReasonCodeActive {
		var code types.VpcPeeringConnectionStateReasonCode
		why := ""
		if c.Status != nil {
			code, why = c.Status.Code, aws.ToString(c.Status.Message)
		}
		return nil, result{outcome: failover.Failed, reason: failover.ReasonContent, detail: fmt.Sprintf("%s is %q (%s) and not active", p.cfg.ID, code, why)}
	}
	return []side{sideOf(c.RequesterVpcInfo), sideOf(c.AccepterVpcInfo)}, result{outcome: failover.OK}
}

// unsaid is what a control plane that did not say leaves: no result, unless the mistake
// is ours.
func unsaid(call string, err error) result {
	r := awsError(call, err)
	if r.outcome != failover.Misconfigured {
		r.outcome = failover.NoResult
	}
	return r
}

// connect opens a TCP connection and says from which of this host's addresses. A
// connection that is refused came through as well: what refused it is over there.
func (p *vpcPeering) connect(ctx context.Context) (from netip.Addr, r result) {
	// A datagram socket is given its address by the routes, and nothing is sent.
	if u, err := p.dialer.DialContext(ctx, "udp", p.to.String()); err == nil {
		if a, ok := u.LocalAddr().(*net.UDPAddr); ok {
			from = a.AddrPort().Addr().Unmap()
		}
		_ = u.Close()
	}
	begin := time.Now()
	conn, err := p.dialer.DialContext(ctx, "tcp", p.to.String())
	r = result{outcome: failover.OK, detail: "came through", latency: time.Since(begin)}
	if err != nil {
		r.outcome, r.reason = networkError(err)
		r.detail = short(unwrapOp(err), r.reason)
		if r.reason == failover.ReasonRefused {
			r.detail = "was refused over there, where nothing listens"
		}
		return from, r
	}
	_ = conn.Close()
	return from, r
}

// judge says what a connection between two addresses proves of a peering that is
// active.
func (p *vpcPeering) judge(from netip.Addr, sides []side, way result) result {
	there, here := sides[0], sides[1]
	if !there.holds(p.to.Addr()) {
		there, here = here, there
	}
	switch {
	case !there.holds(p.to.Addr()):
		return ours("%s lies in neither VPC of %s (%s %v, %s %v): write a private address in %s", p.to.Addr(), p.cfg.ID, there.vpc, there.blocks, here.vpc, here.blocks, p.deps.Region)
	case there.holds(from):
		return result{outcome: failover.NoResult, reason: failover.ReasonOther, detail: fmt.Sprintf("%s is active; this node, %s, is in %s itself, and goes through no peering", p.cfg.ID, from, there.vpc)}
	case !here.holds(from):
		return result{outcome: failover.NoResult, reason: failover.ReasonOther, detail: fmt.Sprintf("%s is active; this node, %s, is in neither of its VPCs, and what it reached would prove nothing", p.cfg.ID, from)}
	}
	path := fmt.Sprintf("from %s in %s to %s in %s", from, here.vpc, p.to, there.vpc)
	if way.outcome != failover.OK {
		why := "look at the routes of both subnets to the other VPC, and at the security groups"
		if way.reason == failover.ReasonRefused {
			why = "write the address of something that listens"
		}
		way.detail = fmt.Sprintf("%s is active, and a connection %s %s: %s", p.cfg.ID, path, way.detail, why)
		return way
	}
	way.detail = fmt.Sprintf("%s is active, and a connection %s came through", p.cfg.ID, path)
	return way
}

type peeringCheck struct{ probe *vpcPeering }

// Check implements Check. Active alone does not pass.
func (c peeringCheck) Check(ctx context.Context) Finding {
	o := c.probe.Probe(ctx)
	switch {
	case o.Outcome == failover.NoResult:
		return Finding{Unknown, o.Detail}
	case o.Outcome == failover.Slow && o.Reason == failover.ReasonSlow:
		return Finding{Pass, o.Detail}
	}
	return finding(o, o.Detail)
}
