package world

import (
	"context"
	"net"
	"net/url"

	"github.com/failoverd/failoverd/lab/faults"
)

// Cut takes a site off the network. Nothing inside notices but by silence.
func (w *World) Cut(ctx context.Context, site string) error {
	w.Note(ctx, "cut "+site)
	return w.net.Cut(ctx, site)
}

// Heal undoes all cuts of a site.
func (w *World) Heal(ctx context.Context, site string) error {
	w.Note(ctx, "heal "+site)
	return w.net.Heal(ctx, site)
}

// CutPair cuts two sites from each other; both still reach the rest of the world.
func (w *World) CutPair(ctx context.Context, a, b string) error {
	w.Note(ctx, "cut "+a+" from "+b)
	if err := w.net.CutOneWay(ctx, a, b); err != nil {
		return err
	}
	return w.net.CutOneWay(ctx, b, a)
}

// HealPair undoes CutPair and CutOneWay between two sites.
func (w *World) HealPair(ctx context.Context, a, b string) error {
	w.Note(ctx, "heal "+a+" and "+b)
	if err := w.net.HealOneWay(ctx, a, b); err != nil {
		return err
	}
	return w.net.HealOneWay(ctx, b, a)
}

// CutOneWay loses the packets from one site to another.
func (w *World) CutOneWay(ctx context.Context, from, to string) error {
	w.Note(ctx, "cut "+from+" to "+to)
	return w.net.CutOneWay(ctx, from, to)
}

// services are the last octets of what probes and clients see of a region: AWS APIs, Kubernetes, load balancer, databases.
var services = map[string][]int{E1: {5, 7, 21, 22, 23, 31, 32, mariaHost}, E2: {5, 7, 21, 22, 23, 31, mariaHost}}

// DarkServices takes a region's AWS APIs, Kubernetes, load balancer and databases off the network; its nodes, agents and workers stay
// connected. LightServices brings them back.
func (w *World) DarkServices(ctx context.Context, site string) error {
	w.Note(ctx, "dark services in "+site)
	return w.net.Dark(ctx, site, services[site]...)
}

// DarkPeering loses what goes through the VPC peering into a site; nothing else uses that address. LightPeering undoes it.
func (w *World) DarkPeering(ctx context.Context, site string) error {
	w.Note(ctx, "dark peering into "+site)
	return w.net.Dark(ctx, site, insideHost)
}

// insideHost is the last octet of what is reached through the peering.
const insideHost = 8

// LightPeering undoes DarkPeering.
func (w *World) LightPeering(ctx context.Context, site string) error {
	w.Note(ctx, "peering back into "+site)
	return w.net.Light(ctx, site, insideHost)
}

// LightServices undoes DarkServices.
func (w *World) LightServices(ctx context.Context, site string) error {
	w.Note(ctx, "services back in "+site)
	return w.net.Light(ctx, site, services[site]...)
}

// KillSite kills every process inside a site: its region's AWS, load balancer, databases and tasks, and what Exec started
// there. StartSite brings the lab's part back.
func (w *World) KillSite(ctx context.Context, site string) {
	w.Note(ctx, "kill "+site)
	w.net.Kill(ctx, site)
}

// Fault injects a fault into the services of e1, e2 or net.
func (w *World) Fault(ctx context.Context, site string, f faults.Fault) error {
	w.Note(ctx, "fault in "+site+": "+f.Service+" "+f.Op+" "+f.Target+" "+string(f.Mode))
	return w.Control(site).Call(ctx, "POST", "/faults", f, nil)
}

// ClearFaults removes all faults of a site.
func (w *World) ClearFaults(ctx context.Context, site string) error {
	w.Note(ctx, "clear faults in "+site)
	return w.Control(site).Call(ctx, "DELETE", "/faults", nil, nil)
}

// ClearFaultsOf removes the faults of one target in a site, and leaves the others in force.
func (w *World) ClearFaultsOf(ctx context.Context, site, target string) error {
	w.Note(ctx, "clear faults of "+target+" in "+site)
	return w.Control(site).Call(ctx, "DELETE", "/faults?target="+url.QueryEscape(target), nil, nil)
}

// Dial connects to an address as a process inside a site would. It fits net/http's DialContext with a site filled in.
func (w *World) Dial(ctx context.Context, site, network, address string) (net.Conn, error) {
	return w.net.Dial(ctx, site, network, address)
}

// Note writes into the ledger's timeline; a world without it is still a world.
func (w *World) Note(ctx context.Context, text string) {
	if err := w.Control("ledger").Call(ctx, "POST", "/note", map[string]string{"text": text}, nil); err != nil {
		w.opt.Log.Warn("note", "text", text, "err", err)
	}
	w.opt.Log.Info("world", "what", text)
}
