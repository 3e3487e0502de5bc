package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/smithy-go"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// NACLConfig cuts subnets off by a network ACL that denies everything, which must have
// been made beforehand. It is the one network fence that ends what is established: a
// security group tracks connections and lets them go on, an ACL looks at each packet.
// It proves "resource": what runs in the subnets may run on, and reaches nothing outside
// its own subnet.
//
// It cuts nothing between two hosts of one subnet, so a worker and the database that it
// writes to must not share one that is left as the only fence. It does not cut Amazon's
// own DNS, time and metadata, and it cuts whatever else lies in the subnets: NAT
// gateways, load balancers, endpoints, agents.
// https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html
// https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html
type NACLConfig struct {
	// Subnets are the subnets of each region, by ID, with their IPv4 address blocks: a
	// subnet in which a node lies is refused, and so is one whose block is another.
	Subnets map[failover.Region]map[string]string `toml:"subnets" json:"subnets"`
	// ACL is the ID of the network ACL of each region that denies everything, in the VPC
	// of the subnets: one that was just created, without rules of its own, does.
	ACL map[failover.Region]string `toml:"acl" json:"acl"`
	// Open is the ID of the network ACL of each region that the subnets get when the region is entered: before anything
	// starts there, a step takes away what an earlier failover has left. It is the one that they have on any other day.
	Open map[failover.Region]string `toml:"open" json:"open,omitempty"`
	// Opens makes of the configuration that step. It is never written by people.
	Opens bool `json:"opens,omitempty"`
	// Settle is how long the ACL must have been seen at all subnets before it counts:
	// AWS does not say how long it takes to reach every host. Zero: 15 s.
	Settle failover.Duration `toml:"settle" json:"settle,omitempty"`
}

// Evidence says what a stop of this kind proves.
func (c *NACLConfig) Evidence() failover.EvidenceClass { return failover.Resource }

// Validate implements Config.
func (c *NACLConfig) Validate(role Role) error {
	switch {
	case role == RoleStart || role == RoleSwitch:
		return badParam("subnets", "only cuts off: nacl is a stop, and its undo is what opens the subnets again")
	case len(c.Subnets) == 0:
		return badParam("subnets", "is missing; write those of each region, as us-east-1 = { subnet-… = \"10.0.3.0/24\" }")
	case c.Settle < 0:
		return badParam("settle", "%s is negative", c.Settle)
	}
	for _, r := range slices.Sorted(maps.Keys(c.Subnets)) {
		if len(c.Subnets[r]) == 0 {
			return badParam("subnets", "has none in %s", r)
		}
		for _, id := range slices.Sorted(maps.Keys(c.Subnets[r])) {
			block, err := netip.ParsePrefix(c.Subnets[r][id])
			if !strings.HasPrefix(id, "subnet-") || err != nil || !block.Addr().Is4() {
				return badParam("subnets", "%s = %q of %s is no subnet ID (subnet-…) with its IPv4 address block", id, c.Subnets[r][id], r)
			}
		}
		if !strings.HasPrefix(c.ACL[r], "acl-") {
			return badParam("acl", "%q of %s is no ID of a network ACL (acl-…)", c.ACL[r], r)
		}
		switch open := c.Open[r]; {
		case role == "" && open == "": // of a version before this one, which left the opening to people
		case !strings.HasPrefix(open, "acl-"):
			return badParam("open", "%q of %s is no ID of a network ACL (acl-…): write the one that the subnets have when they are not cut off, so that a plan that enters the region can open them", open, r)
		case open == c.ACL[r]:
			return badParam("open", "%s of %s is the one that denies everything", open, r)
		}
	}
	return nil
}

// Opening is the configuration of the step that lifts what the stop may have left in a region that is entered; nil where
// it has no subnets.
func (c *NACLConfig) Opening(r failover.Region) Config {
	if len(c.Subnets[r]) == 0 {
		return nil
	}
	open := *c
	open.Opens = true
	return &open
}

// Cuts says which subnet of a region an address lies in that would be cut off; "" if none.
func (c *NACLConfig) Cuts(r failover.Region, a netip.Addr) string {
	for _, id := range slices.Sorted(maps.Keys(c.Subnets[r])) {
		if block, err := netip.ParsePrefix(c.Subnets[r][id]); err == nil && block.Contains(a.Unmap()) {
			return id
		}
	}
	return ""
}

// Version implements Config.
func (c *NACLConfig) Version() int { return 1 }

// Timeout implements Config.
func (c *NACLConfig) Timeout() time.Duration { return c.settle() + 2*time.Minute }

func (c *NACLConfig) settle() time.Duration {
	if c.Settle == 0 {
		return 15 * time.Second
	}
	return c.Settle.D()
}

// New implements Config.
func (c *NACLConfig) New(d Deps) (Action, error) {
	if d.Cloud == nil {
		return nil, errors.New("there are no AWS clients")
	}
	if len(c.Subnets[d.Region]) == 0 {
		return nil, badParam("subnets", "has none in %s", d.Region)
	}
	if c.Opens && c.Open[d.Region] == "" {
		return nil, badParam("open", "has none for %s", d.Region)
	}
	x := &nacl{cfg: c, region: d.Region, quiet: d.quiet(), client: d.Cloud.EC2(string(d.Region))}
	if c.Opens {
		return &naclOpening{*x}, nil
	}
	return x, nil
}

// nacl believes the associations that it reads. A subnet has exactly one, whose ID is a
// new one after each change.
type nacl struct {
	cfg    *NACLConfig
	region failover.Region
	quiet  *Quiet
	client *ec2.Client
}

// Idempotent says that Do is absolute. A call that comes late names an association that
// is no more, and is refused.
func (x *nacl) Idempotent() {}

// Ages implements Aging: AWS accepts a signed request for five minutes.
func (x *nacl) Ages() time.Duration { return cloud.SignatureLife }

// association is what a subnet has.
type association struct{ id, acl string }

func (x *nacl) subnets() []string { return slices.Sorted(maps.Keys(x.cfg.Subnets[x.region])) }

// standing is what was read of a region's fence.
type standing struct {
	has   map[string]association // what each subnet has that shows one
	lacks map[string]string      // why one cannot be cut off, or does not count as cut off
	open  string                 // why the ACL is no fence
	err   error                  // the ACL or the subnets could not be read
}

// read reads what each subnet has, and whether the fence would be one. Only the first
// is what an undo needs: the rest is reported, and refused where it matters.
func (x *nacl) read(ctx context.Context) (*standing, error) {
	has, err := x.associations(ctx)
	if err != nil {
		return nil, err
	}
	s := &standing{has: has, lacks: map[string]string{}}
	vpc, err := x.denies(ctx, s)
	if err == nil {
		err = x.blocks(ctx, vpc, s)
	}
	s.err = err
	return s, nil
}

// associations are what the subnets have, those that show one.
func (x *nacl) associations(ctx context.Context) (map[string]association, error) {
	acls, err := x.acls(ctx, &ec2.DescribeNetworkAclsInput{Filters: []types.Filter{{Name: aws.String("association.subnet-id"), Values: x.subnets()}}})
	if err != nil {
		return nil, err
	}
	out := map[string]association{}
	for _, a := range acls {
		for _, s := range a.Associations { // the ACL's other subnets stand there as well
			if id := aws.ToString(s.SubnetId); x.cfg.Subnets[x.region][id] != "" {
				out[id] = association{aws.ToString(s.NetworkAclAssociationId), aws.ToString(a.NetworkAclId)}
			}
		}
	}
	return out, nil
}

// denies looks at the ACL that is the fence: one that lets anything pass would prove
// nothing. It returns the VPC in which it lies.
func (x *nacl) denies(ctx context.Context, s *standing) (vpc string, err error) {
	deny := x.cfg.ACL[x.region]
	acls, err := x.acls(ctx, &ec2.DescribeNetworkAclsInput{NetworkAclIds: []string{deny}})
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "InvalidNetworkAclID.NotFound" {
		acls, err = nil, nil // somebody has deleted it, which AWS refuses while a subnet has it (DeleteNetworkAcl)
	}
	if err != nil {
		return "", err
	}
	if len(acls) != 1 {
		s.open = fmt.Sprintf("%d network ACLs in %s are called %s: create one there that denies everything", len(acls), x.region, deny)
		return "", nil
	}
	for _, e := range acls[0].Entries {
		if e.RuleAction != types.RuleActionDeny {
			s.open = fmt.Sprintf("network ACL %s in %s has a rule %d that lets something pass, so it is no fence: take the rule out", deny, x.region, aws.ToInt32(e.RuleNumber))
		}
	}
	return aws.ToString(acls[0].VpcId), nil
}

func (x *nacl) acls(ctx context.Context, in *ec2.DescribeNetworkAclsInput) (out []types.NetworkAcl, err error) {
	for pages := ec2.NewDescribeNetworkAclsPaginator(x.client, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("describing the network ACLs of %s in %s: %w", strings.Join(x.subnets(), ", "), x.region, err)
		}
		out = append(out, page.NetworkAcls...)
	}
	return out, nil
}

// blocks holds each subnet against the configuration, by which it was checked that no
// node lies in it. By a filter, which gives those that there are: with their IDs as the
// parameter one that is missing makes the request fail for all
// (InvalidSubnetID.NotFound).
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeSubnets.html
func (x *nacl) blocks(ctx context.Context, vpc string, s *standing) error {
	seen := map[string]types.Subnet{}
	in := &ec2.DescribeSubnetsInput{Filters: []types.Filter{{Name: aws.String("subnet-id"), Values: x.subnets()}}}
	for pages := ec2.NewDescribeSubnetsPaginator(x.client, in); pages.HasMorePages(); {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return fmt.Errorf("describing the subnets %s in %s: %w", strings.Join(x.subnets(), ", "), x.region, err)
		}
		for _, sub := range page.Subnets {
			seen[aws.ToString(sub.SubnetId)] = sub
		}
	}
	for _, id := range x.subnets() {
		sub, there := seen[id]
		switch is, says := aws.ToString(sub.CidrBlock), x.cfg.Subnets[x.region][id]; {
		case !there:
			s.lacks[id] = fmt.Sprintf("subnet %s in %s was not described: look at its ID", id, x.region)
		case is != says:
			s.lacks[id] = fmt.Sprintf("subnet %s in %s has the addresses %s, and the configuration says %s: nothing is done to it; write what it has", id, x.region, is, says)
		case vpc != "" && aws.ToString(sub.VpcId) != vpc:
			s.lacks[id] = fmt.Sprintf("subnet %s in %s lies in %s, and network ACL %s in %s: create one in the VPC of the subnets", id, x.region, aws.ToString(sub.VpcId), x.cfg.ACL[x.region], vpc)
		case s.has[id].acl == "":
			s.lacks[id] = fmt.Sprintf("subnet %s in %s shows no network ACL, and every subnet has one: look again", id, x.region)
		}
	}
	return nil
}

// why says what keeps the fence from being whole, for a person; "" if nothing does.
func (s *standing) why() string {
	var says []string
	if s.open != "" {
		says = append(says, s.open)
	}
	for _, id := range slices.Sorted(maps.Keys(s.lacks)) {
		says = append(says, s.lacks[id])
	}
	if s.err != nil {
		says = append(says, s.err.Error())
	}
	return strings.Join(says, "; ")
}

// Inspect implements Action. It reports what is there whatever the fence is worth: an
// undo has to go on also when somebody has changed or deleted the ACL.
func (x *nacl) Inspect(ctx context.Context) (Effect, error) {
	s, err := x.read(ctx)
	if err != nil {
		return Effect{}, err
	}
	deny, was := x.cfg.ACL[x.region], map[string]string{}
	var open []string
	var left time.Duration
	closed := 0
	for _, id := range x.subnets() {
		a, ok := s.has[id]
		if ok {
			was[id] = a.acl
		}
		if ok && a.acl == deny {
			closed++
		} else if ok {
			open = append(open, fmt.Sprintf("%s has %s", id, a.acl))
		}
		if a.acl != deny || s.why() != "" {
			x.quiet.on(x.key(id)) // it counts from when the fence is whole
			continue
		}
		left = max(left, x.cfg.settle()-x.quiet.off(x.key(id), a.id))
	}
	previous, err := json.Marshal(was)
	if err != nil {
		return Effect{}, err
	}
	// The inventory is what the configuration names. One that is missing keeps the fence
	// from being Present, and nothing from the others.
	n := len(x.subnets())
	e := Effect{Previous: previous, Inventory: n, Lacks: s.why(), Detail: fmt.Sprintf("%d of %d subnets in %s are cut off by %s", closed, n, x.region, deny)}
	if e.Lacks != "" {
		e.Detail = fmt.Sprintf("%d of %d subnets in %s have %s", closed, n, x.region, deny)
	}
	switch {
	case closed == 0:
		e.State = Absent
	case s.err != nil:
		e.State = Unknown
	case closed < n || e.Lacks != "":
		e.State = Partial
	case left > 0:
		e.State = Unknown // for the one that looks: a leader that has just begun has not seen it stand
		e.Detail += fmt.Sprintf("; it counts in %s, when it has reached every host", left.Round(100*time.Millisecond))
	default:
		e.State = Present
	}
	if len(open) > 0 {
		e.Detail += ": " + strings.Join(open, ", ")
	}
	if e.Lacks != "" {
		e.Detail += "; " + e.Lacks
	}
	return e, nil
}

func (x *nacl) key(subnet string) string {
	return "nacl " + string(x.region) + " " + subnet + " " + x.cfg.ACL[x.region]
}

// Do implements Action. It refuses an ACL that is no fence, and cuts off each subnet
// that is what the configuration says, also when another one is not.
func (x *nacl) Do(ctx context.Context, a Attempt) error {
	s, err := x.read(ctx)
	switch {
	case err != nil:
		return err
	case s.err != nil:
		return s.err
	case s.open != "":
		return errors.New(s.open)
	}
	want := map[string]string{}
	var errs []error
	for _, id := range x.subnets() {
		if why := s.lacks[id]; why != "" {
			errs = append(errs, errors.New(why))
			continue
		}
		want[id] = x.cfg.ACL[x.region]
	}
	return errors.Join(append(errs, x.set(ctx, a, s.has, want))...)
}

// Undo implements Action: a subnet that is cut off gets back the ACL that it had. One
// that somebody has given another since is not touched. It needs the associations alone.
func (x *nacl) Undo(ctx context.Context, a Attempt) error {
	var was map[string]string
	if err := json.Unmarshal(a.Previous, &was); err != nil {
		return fmt.Errorf("reading the previous network ACLs: %w", err)
	}
	has, err := x.associations(ctx)
	if err != nil {
		return err
	}
	want := map[string]string{}
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(has)) {
		switch acl, known := was[id]; {
		case has[id].acl != x.cfg.ACL[x.region]:
		case known:
			want[id] = acl
		default: // it was not seen when the stop began, and was cut off by a later attempt
			errs = append(errs, fmt.Errorf("subnet %s in %s has %s, and which network ACL it had is not in the log: give it back by hand", id, x.region, has[id].acl))
		}
	}
	return errors.Join(append(errs, x.set(ctx, a, has, want))...)
}

// set gives each subnet the ACL that it should have, and goes on when one is refused.
func (x *nacl) set(ctx context.Context, a Attempt, all map[string]association, want map[string]string) error {
	var errs []error
	for _, id := range slices.Sorted(maps.Keys(want)) {
		is := all[id]
		if is.acl == want[id] {
			continue
		}
		a.Report("giving subnet %s in %s the network ACL %s in place of %s", id, x.region, want[id], is.acl)
		if _, err := x.client.ReplaceNetworkAclAssociation(ctx, &ec2.ReplaceNetworkAclAssociationInput{AssociationId: aws.String(is.id), NetworkAclId: aws.String(want[id])}); err != nil {
			errs = append(errs, fmt.Errorf("giving subnet %s in %s the network ACL %s in place of %s: %w", id, x.region, want[id], is.acl, explained(err)))
		}
	}
	return errors.Join(errs...)
}

// both reads what was and what is.
func (x *nacl) both(now Effect, previous json.RawMessage) (was, is map[string]string, ok bool) {
	ok = json.Unmarshal(previous, &was) == nil && json.Unmarshal(now.Previous, &is) == nil
	return was, is, ok
}

// Restored implements Restorer: each subnet that was seen has what it had, and none
// that was not seen is cut off.
func (x *nacl) Restored(now Effect, previous json.RawMessage) bool {
	was, is, ok := x.both(now, previous)
	if !ok {
		return false
	}
	for id, acl := range was {
		if is[id] != acl {
			return false
		}
	}
	for id, acl := range is {
		if was[id] == "" && acl == x.cfg.ACL[x.region] {
			return false
		}
	}
	return true
}

// Untouched implements Untouchable: no subnet is cut off. One that was not seen may be.
func (x *nacl) Untouched(previous json.RawMessage) bool {
	var was map[string]string
	if json.Unmarshal(previous, &was) != nil {
		return false
	}
	for _, id := range x.subnets() {
		if acl := was[id]; acl == x.cfg.ACL[x.region] || acl == "" {
			return false
		}
	}
	return true
}

// Overtaken implements Witness. Of a subnet that was not seen before nobody knows.
func (x *nacl) Overtaken(now Effect, previous json.RawMessage) string {
	was, is, ok := x.both(now, previous)
	if !ok {
		return ""
	}
	var says []string
	for _, id := range slices.Sorted(maps.Keys(is)) {
		if acl := is[id]; was[id] != "" && acl != was[id] && acl != x.cfg.ACL[x.region] {
			says = append(says, fmt.Sprintf("subnet %s had the network ACL %s and has %s now", id, was[id], acl))
		}
	}
	return strings.Join(says, "; ")
}
