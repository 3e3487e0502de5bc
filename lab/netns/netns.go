// Package netns builds the network of one simulated world out of Linux network namespaces.
//
// One namespace holds a bridge (the switch); each site is a namespace with one interface on it. Sites reach each other
// through one route per /24, whose gateway has a fixed neighbour entry. Hence no ARP is ever spoken between sites, and a
// broken path is a true black hole: packets vanish and connects time out, where an ARP failure would report "no route to
// host" after three seconds and give the outage away. Nothing has a route out of the world.
//
// It needs root and the ip command. A Net is safe for concurrent use: every method is a sequence of ip commands, and the
// state is the kernel's.
package netns

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Site is one place of the world. All its addresses are in 198.18.<Net>.0/24 (the benchmarking range of RFC 2544, which
// no real network routes).
type Site struct {
	Name  string
	Net   int      // third octet; unique in the world
	Hosts []int    // last octets that the site's interface answers for
	DNS   string   // resolver written to /etc/netns/<ns>/resolv.conf; "" writes none
	Names []string // lines of /etc/netns/<ns>/hosts beside localhost; none writes no file
	Extra []string // further ip commands, run inside the namespace
}

// Net is the network of one world.
type Net struct {
	prefix string
	sites  map[string]Site
	order  []string
}

// New creates the namespaces. If it fails, what it has created is removed again.
func New(ctx context.Context, prefix string, sites []Site) (*Net, error) {
	n := &Net{prefix: prefix, sites: map[string]Site{}}
	for _, s := range sites {
		n.sites[s.Name] = s
		n.order = append(n.order, s.Name)
	}
	if err := n.build(ctx, sites); err != nil {
		_ = n.Close(ctx)
		return nil, err
	}
	return n, nil
}

func (n *Net) build(ctx context.Context, sites []Site) error {
	if err := ip(ctx, "", "netns add "+n.sw()); err != nil {
		return err
	}
	if err := ip(ctx, n.sw(), "link add br0 type bridge", "link set br0 up", "link set lo up"); err != nil {
		return err
	}
	for _, s := range sites {
		ns := n.Namespace(s.Name)
		if err := ip(ctx, "", "netns add "+ns); err != nil {
			return err
		}
		if err := ip(ctx, n.sw(), "link add "+port(s.Name)+" type veth peer name eth0 netns "+ns,
			"link set "+port(s.Name)+" master br0 up"); err != nil {
			return err
		}
		cmds := []string{"link set lo up", "link set eth0 address " + mac(s.Net) + " up"}
		for _, h := range s.Hosts {
			cmds = append(cmds, fmt.Sprintf("addr add 198.18.%d.%d/32 dev eth0", s.Net, h))
		}
		for _, o := range sites {
			if o.Name == s.Name {
				continue
			}
			cmds = append(cmds, neigh(o.Net, mac(o.Net)),
				fmt.Sprintf("route add 198.18.%d.0/24 via 198.18.%d.254 dev eth0 onlink src 198.18.%d.%d", o.Net, o.Net, s.Net, s.Hosts[0]))
		}
		if err := ip(ctx, ns, append(cmds, s.Extra...)...); err != nil {
			return err
		}
		if s.DNS != "" {
			dir := filepath.Join("/etc/netns", ns)
			if err := os.MkdirAll(dir, 0o755); err != nil {
				return fmt.Errorf("create %s: %w", dir, err)
			}
			conf := "nameserver " + s.DNS + "\noptions timeout:1 attempts:2\n"
			if err := os.WriteFile(filepath.Join(dir, "resolv.conf"), []byte(conf), 0o644); err != nil {
				return fmt.Errorf("write resolv.conf of %s: %w", ns, err)
			}
			if len(s.Names) > 0 {
				hosts := "127.0.0.1 localhost\n" + strings.Join(s.Names, "\n") + "\n"
				if err := os.WriteFile(filepath.Join(dir, "hosts"), []byte(hosts), 0o644); err != nil {
					return fmt.Errorf("write hosts of %s: %w", ns, err)
				}
			}
		}
	}
	return nil
}

// Namespace is the name under which `ip netns` knows a site.
func (n *Net) Namespace(site string) string { return n.prefix + "-" + site }

// Argv wraps a command so that it runs inside a site. `ip netns exec` replaces itself by the command: the process ID, the
// signals and the parent-death signal are the command's own.
func (n *Net) Argv(site string, argv ...string) []string {
	return append([]string{"ip", "netns", "exec", n.Namespace(site)}, argv...)
}

// Cut takes a site off the network: its packets and those for it vanish, established connections hang, and everything
// inside goes on.
func (n *Net) Cut(ctx context.Context, site string) error {
	return ip(ctx, n.sw(), "link set "+port(site)+" down")
}

// Heal undoes every cut of a site, its one-way and pairwise ones included.
func (n *Net) Heal(ctx context.Context, site string) error {
	for _, o := range n.order {
		if o == site {
			continue
		}
		if err := n.HealOneWay(ctx, site, o); err != nil {
			return err
		}
		if err := n.HealOneWay(ctx, o, site); err != nil {
			return err
		}
	}
	return ip(ctx, n.sw(), "link set "+port(site)+" up")
}

// CutOneWay loses the packets from one site to another; the other direction works.
func (n *Net) CutOneWay(ctx context.Context, from, to string) error {
	// A frame for an address that nobody has is flooded by the bridge and dropped by every receiver.
	return ip(ctx, n.Namespace(from), neigh(n.sites[to].Net, "02:de:ad:00:00:00"))
}

// HealOneWay undoes CutOneWay.
func (n *Net) HealOneWay(ctx context.Context, from, to string) error {
	return ip(ctx, n.Namespace(from), neigh(n.sites[to].Net, mac(n.sites[to].Net)))
}

// Dark takes addresses away from a site, by their last octets: packets for them vanish, as if the machines behind them had
// lost power. Everything else of the site stays connected.
func (n *Net) Dark(ctx context.Context, site string, hosts ...int) error {
	return n.addr(ctx, "del", site, hosts)
}

// Light gives the addresses back; whoever listened there is reached again.
func (n *Net) Light(ctx context.Context, site string, hosts ...int) error {
	return n.addr(ctx, "add", site, hosts)
}

func (n *Net) addr(ctx context.Context, verb, site string, hosts []int) error {
	var cmds []string
	for _, h := range hosts {
		cmds = append(cmds, fmt.Sprintf("addr %s 198.18.%d.%d/32 dev eth0", verb, n.sites[site].Net, h))
	}
	return ip(ctx, n.Namespace(site), cmds...)
}

// Kill ends every process inside a site and its subnet, without warning.
func (n *Net) Kill(ctx context.Context, site string) {
	kill(ctx, n.Namespace(site))
	kill(ctx, n.Namespace(site)+"-sub") // its subnet's, if it has one
}

// Pids lists the processes inside a site.
func (n *Net) Pids(ctx context.Context, site string) []int { return pids(ctx, n.Namespace(site)) }

// Close kills every process in the world's namespaces and removes them.
func (n *Net) Close(ctx context.Context) error { return Clean(ctx, n.prefix) }

// Clean removes all namespaces whose name begins with prefix and a dash, with the processes inside. It is the last resort
// after a crash and does not need the Net that made them.
func Clean(ctx context.Context, prefix string) error {
	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		return nil // no namespace was ever made on this machine
	}
	var first error
	for _, e := range entries {
		ns := e.Name()
		if !strings.HasPrefix(ns, prefix+"-") {
			continue
		}
		kill(ctx, ns)
		if err := ip(ctx, "", "netns del "+ns); err != nil && first == nil {
			first = err
		}
		_ = os.RemoveAll(filepath.Join("/etc/netns", ns))
	}
	return first
}

// kill ends all processes of a namespace. New ones may be born while the old die, so it repeats until none is left.
func kill(ctx context.Context, ns string) {
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		ps := pids(ctx, ns)
		if len(ps) == 0 {
			return
		}
		for _, p := range ps {
			_ = syscall.Kill(p, syscall.SIGKILL)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func pids(ctx context.Context, ns string) []int {
	out, err := exec.CommandContext(ctx, "ip", "netns", "pids", ns).Output()
	if err != nil {
		return nil
	}
	var ps []int
	for _, f := range strings.Fields(string(out)) {
		if p, err := strconv.Atoi(f); err == nil && p != os.Getpid() {
			ps = append(ps, p)
		}
	}
	return ps
}

func (n *Net) sw() string     { return n.prefix + "-sw" }
func port(site string) string { return "p-" + site }
func mac(net int) string      { return fmt.Sprintf("02:fa:00:00:00:%02x", net) }
func neigh(net int, lladdr string) string {
	return fmt.Sprintf("neigh replace 198.18.%d.254 lladdr %s dev eth0 nud permanent", net, lladdr)
}

// ip runs commands of the ip tool in one process, inside namespace ns unless it is empty.
func ip(ctx context.Context, ns string, cmds ...string) error {
	args := []string{"-batch", "-"}
	if ns != "" {
		args = append([]string{"-n", ns}, args...)
	}
	c := exec.CommandContext(ctx, "ip", args...)
	c.Stdin = strings.NewReader(strings.Join(cmds, "\n") + "\n")
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		return fmt.Errorf("ip %s, running %q: %w: %s (this needs root and network namespaces)",
			strings.Join(args, " "), cmds, err, strings.TrimSpace(out.String()))
	}
	return nil
}
