package netns

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Subnet is a namespace behind a site, as a VPC's subnet is behind its router: what runs in it reaches the site's own addresses
// and all others through the site, so that a cut of the site leaves it connected with the site alone. It is plain data, for the
// process that judges the packets at its edge.
type Subnet struct {
	Outer string `json:"outer"` // namespace of the site
	Inner string `json:"inner"` // namespace of the subnet
	Net   int    `json:"net"`   // third octet of both
	Hosts []int  `json:"hosts"` // last octets of the subnet's addresses, none of which the site has
}

// nowhere is a hardware address that nobody has: what is sent to it is dropped by whoever receives it.
const nowhere = "02:de:ad:00:00:00"

func (s Subnet) gate() string { return fmt.Sprintf("02:fb:00:00:00:%02x", s.Net) }
func (s Subnet) far() string  { return fmt.Sprintf("02:fc:00:00:00:%02x", s.Net) }

// AddSubnet makes the subnet of a site. It goes with the world.
func (n *Net) AddSubnet(ctx context.Context, site string, hosts []int) (Subnet, error) {
	s := Subnet{Outer: n.Namespace(site), Inner: n.Namespace(site) + "-sub", Net: n.sites[site].Net, Hosts: hosts}
	if err := ip(ctx, "", "netns add "+s.Inner); err != nil {
		return s, err
	}
	if err := ip(ctx, s.Outer, "link add sub0 type veth peer name eth0 netns "+s.Inner, "link set sub0 address "+s.gate()+" up"); err != nil {
		return s, err
	}
	out, in := []string{}, []string{"link set lo up", "link set eth0 address " + s.far() + " up"}
	for _, h := range hosts {
		in = append(in, fmt.Sprintf("addr add 198.18.%d.%d/32 dev eth0", s.Net, h))
		out = append(out, fmt.Sprintf("route add 198.18.%d.%d/32 dev sub0", s.Net, h))
	}
	in = append(in, fmt.Sprintf("route add default via 198.18.%d.254 dev eth0 onlink src 198.18.%d.%d", s.Net, s.Net, hosts[0]))
	if err := ip(ctx, s.Inner, in...); err != nil {
		return s, err
	}
	if err := ip(ctx, s.Outer, out...); err != nil {
		return s, err
	}
	if out, err := exec.CommandContext(ctx, "ip", "netns", "exec", s.Outer, "sh", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward").CombinedOutput(); err != nil {
		return s, fmt.Errorf("let %s forward: %w: %s", s.Outer, err, strings.TrimSpace(string(out)))
	}
	// Its processes have the resolver and the names of the site.
	if err := os.CopyFS(filepath.Join("/etc/netns", s.Inner), os.DirFS(filepath.Join("/etc/netns", s.Outer))); err != nil {
		return s, fmt.Errorf("resolver of %s: %w", s.Inner, err)
	}
	return s, s.Deny(ctx, false)
}

// Deny drops every packet at the edge of the subnet, in both directions and of whatever connection, or lets all pass again. What
// is inside goes on, among itself.
func (s Subnet) Deny(ctx context.Context, deny bool) error {
	gate, far := s.gate(), s.far()
	if deny {
		gate, far = nowhere, nowhere
	}
	var out []string
	for _, h := range s.Hosts {
		out = append(out, fmt.Sprintf("neigh replace 198.18.%d.%d lladdr %s dev sub0 nud permanent", s.Net, h, far))
	}
	if err := ip(ctx, s.Outer, out...); err != nil {
		return err
	}
	return ip(ctx, s.Inner, neigh(s.Net, gate))
}

// Argv wraps a command so that it runs inside the subnet, as Net.Argv does for a site.
func (s Subnet) Argv(argv ...string) []string {
	return append([]string{"ip", "netns", "exec", s.Inner}, argv...)
}
