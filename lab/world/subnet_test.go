package world

import (
	"context"
	"net"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"

	"github.com/failoverd/failoverd/lab/region"
)

// giveACL gives the walled subnet of a region another network ACL by its region's API.
func (w *World) giveACL(ctx context.Context, reg, acl string) error {
	c := ec2.New(ec2.Options{Region: reg, BaseEndpoint: aws.String(Endpoint(reg)), Credentials: creds, HTTPClient: w.from(SiteOf(reg))})
	out, err := c.DescribeNetworkAcls(ctx, &ec2.DescribeNetworkAclsInput{Filters: []types.Filter{{Name: aws.String("association.subnet-id"), Values: []string{region.WalledID(reg)}}}})
	if err != nil {
		return err
	}
	_, err = c.ReplaceNetworkAclAssociation(ctx, &ec2.ReplaceNetworkAclAssociationInput{AssociationId: out.NetworkAcls[0].Associations[0].NetworkAclAssociationId, NetworkAclId: aws.String(acl)})
	return err
}

// A network ACL that denies everything ends what is established, works on nobody beside its subnet, and is taken back. Workers that
// ask nobody for a lease live on behind it and do nothing.
func TestNetworkACLCutsItsSubnet(t *testing.T) {
	t.Parallel()
	w := start(t, Options{Prefix: "labt5", Walled: []string{"workers"}})
	ctx := t.Context()
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	open, deny := region.WalledACLs(Primary)
	const sub, aws1, aws2, store1 = E1 + "-sub", "198.18.1.5:4566", "198.18.2.5:4566", "198.18.1.6:7101"
	for _, to := range []string{aws1, aws2, store1} {
		if got := w.reach(ctx, sub, to); got != "ok" {
			t.Fatalf("from the subnet to %s: %s", to, got)
		}
	}
	until(t, w, 20*time.Second, "us-east-1 to process", func(r Record) bool { return r.Regions[Primary].Processed > 10 && r.Stores[Primary].LinkUp })
	c, err := w.Dial(ctx, sub, "tcp", store1) // established before
	do(err)
	defer c.Close()
	echo := func() error {
		do(c.SetDeadline(time.Now().Add(500 * time.Millisecond)))
		if _, err := c.Write([]byte(`{"op":"reach"}` + "\n")); err != nil {
			return err
		}
		_, err := c.Read(make([]byte, 64))
		return err
	}
	do(echo())

	do(w.giveACL(ctx, Primary, deny))
	if err, ok := echo().(net.Error); !ok || !err.Timeout() {
		t.Errorf("what was established before goes on: %v", err)
	}
	for _, to := range []string{aws1, aws2, store1} {
		if got := w.reach(ctx, sub, to); got != "silence" {
			t.Errorf("from behind the ACL to %s: %s", to, got)
		}
	}
	if got := w.reach(ctx, E1, aws2) + w.reach(ctx, E2, aws1); got != "okok" {
		t.Errorf("beside the subnet: %s", got)
	}
	before, err := w.Record(ctx)
	do(err)
	later := until(t, w, 20*time.Second, "five more messages to wait", func(r Record) bool {
		return len(r.Stores[Primary].New) >= len(before.Stores[Primary].New)+5
	})
	if n := later.Regions[Primary].Processed - before.Regions[Primary].Processed; n != 0 || later.Alive[Primary] != 3 {
		t.Errorf("%d messages were processed behind the ACL, and %d workers live: want none, 3", n, later.Alive[Primary])
	}

	do(w.giveACL(ctx, Primary, open))
	r := until(t, w, 20*time.Second, "the workers to go on", func(r Record) bool { return r.Regions[Primary].Processed > later.Regions[Primary].Processed+5 })
	if r.Duplicates != 0 {
		t.Errorf("duplicates: %v", r.DuplicateKeys)
	}
}
