package region

import (
	"context"
	"fmt"
	"log/slog"
	"slices"

	"github.com/failoverd/failoverd/lab/awsfake"
	"github.com/failoverd/failoverd/lab/netns"
)

// Walled is a subnet of the region's VPC that is a namespace of its own: the lab's network follows its network ACL. Every other
// subnet of the region is told of and nothing more.
type Walled struct {
	netns.Subnet
	Services []string `json:"services"` // whose tasks run in it
}

// WalledID is the subnet's ID.
func WalledID(region string) string { return "subnet-" + region + "w" }

// WalledACLs are the ACL that the subnet has at the beginning and the one that denies everything.
func WalledACLs(region string) (open, deny string) { return "acl-" + region, "acl-" + region + "-deny" }

// WalledHosts are the last octets of the subnet's addresses.
var WalledHosts = []int{193, 194, 195, 196, 197, 198, 199, 200, 201, 202}

// WalledCIDR is the subnet's block of addresses.
func WalledCIDR(net int) string { return fmt.Sprintf("198.18.%d.192/26", net) }

// wall adds the subnet to what EC2 tells of, and lets the network follow it.
func wall(ctx context.Context, c Config, o awsfake.EC2Options, log *slog.Logger) awsfake.EC2Options {
	if c.Walled == nil {
		return o
	}
	open, deny := WalledACLs(c.Region)
	o.ACLs = append(o.ACLs, awsfake.NetworkACL{ID: open, VPC: "vpc-" + c.Region, Opens: true}, awsfake.NetworkACL{ID: deny, VPC: "vpc-" + c.Region})
	o.Subnets = append(o.Subnets, awsfake.Subnet{ID: WalledID(c.Region), Zone: c.Region + "a", Free: 200, CIDR: WalledCIDR(c.Walled.Net), ACL: open})
	o.OnACL = func(subnet string, denies bool) {
		if subnet != WalledID(c.Region) {
			return
		}
		if err := c.Walled.Deny(ctx, denies); err != nil && ctx.Err() == nil {
			log.Error("network ACL", "subnet", subnet, "err", err)
		}
	}
	return o
}

// within places a service's tasks in the subnet, if they run there.
func (c Config) within(service string, d awsfake.TaskDef) awsfake.TaskDef {
	if c.Walled == nil || !slices.Contains(c.Walled.Services, service) {
		return d
	}
	for _, h := range c.Walled.Hosts {
		d.IPs = append(d.IPs, fmt.Sprintf("198.18.%d.%d", c.Walled.Net, h))
	}
	d.Within = c.Walled.Argv
	return d
}
