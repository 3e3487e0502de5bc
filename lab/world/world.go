// Package world starts, breaks and reads one simulated world: two AWS regions, a third vantage and the internet, each a
// network namespace with real processes in it. The demo and the end-to-end tests are written against it.
//
// The world's directory holds everything that outlives a process: configurations, logs (log/), control sockets (ctl/), the
// ledger (ledger.jsonl) and the stores' journals. Its path must be short, since unix socket paths end at 107 bytes.
//
// It needs root. Several worlds may exist at once if their prefixes differ.
package world

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/lab/app"
	"github.com/failoverd/failoverd/lab/awsfake"
	"github.com/failoverd/failoverd/lab/ctl"
	"github.com/failoverd/failoverd/lab/internet"
	"github.com/failoverd/failoverd/lab/netns"
	"github.com/failoverd/failoverd/lab/pki"
	"github.com/failoverd/failoverd/lab/region"
)

// The sites.
const (
	E1    = "e1"    // us-east-1
	E2    = "e2"    // us-east-2
	Third = "third" // the vantage outside both regions
	Net   = "net"   // the internet
)

// Names of the reference case.
const (
	Primary   = "us-east-1"
	Secondary = "us-east-2"
	Cluster   = region.Cluster
	Queue     = "messages"
	// PeeringID is the peering connection between the regions' VPCs.
	PeeringID = "pcx-0a1b2c3d4e5f67890"
	// TrafficBucket is in the secondary region.
	TrafficBucket = "messaging-traffic"
)

// Fixed addresses. Regional ones are in 198.18.1.0/24 and 198.18.2.0/24.
const (
	Route53Endpoint = "http://198.18.9.5:4566"
	Resolver        = "198.18.9.50:53"
	SlackAPI        = "http://198.18.9.70/api/"
	LedgerURL       = "http://ledger.example.net/duplicates" // by name, as the configuration has it
	Reference1      = "http://198.18.9.61/"
	Reference2      = "http://198.18.9.62/"
)

// NodeAddresses are the addresses that wait for the watchdog nodes of the reference case. Inside the world a node's name
// resolves to its address by /etc/hosts.
var NodeAddresses = map[string]string{
	"use1a": "198.18.1.11", "use1b": "198.18.1.12", "use2a": "198.18.2.11", "use2b": "198.18.2.12", "third": "198.18.3.11",
}

// octets is the third octet of each site's network.
var octets = map[string]int{E1: 1, E2: 2, Third: 3, Net: 9}

// SiteOf maps a region to its site.
func SiteOf(reg string) string {
	if reg == Primary {
		return E1
	}
	return E2
}

// RegionOf maps a site to its region; "" if it has none.
func RegionOf(site string) string {
	return map[string]string{E1: Primary, E2: Secondary}[site]
}

// Endpoint is the base URL of a region's AWS APIs.
func Endpoint(reg string) string { return fmt.Sprintf("http://198.18.%d.5:4566", octets[SiteOf(reg)]) }

// QueueURL is the URL of a queue in a region.
func QueueURL(reg, queue string) string { return Endpoint(reg) + "/123456789012/" + queue }

// Options sets up a world.
type Options struct {
	Dir        string  // "" makes a temporary one, which Close removes
	Prefix     string  // of the namespaces; "" derives one from the process ID. Two worlds must differ
	TimeFactor float64 // divides all durations of the real world; 0 means 1
	Lab        string  // path of the lab binary; "" means this very binary, which must run cli.Main if LAB_COMMAND=1
	// TaskCommand is the command of an ECS task definition; nil, or a nil result, means DefaultCommand. The placeholders
	// {task}, {region}, {dir}, {ip} and {world} are filled in for each task.
	TaskCommand func(region, service string) []string
	TaskEnv     func(region, service string) map[string]string // with the same placeholders
	Desired     map[string]map[string]int                      // region → service → tasks; nil means 2+3 and 1+0
	Rate        float64                                        // provider's messages per second; 0 means 1.5, < 0 none
	Propagation time.Duration                                  // of a DNS change; 0 means 30 s
	SoloAfter   time.Duration                                  // of the application's store; 0 means 90 s
	Minute      time.Duration                                  // of CloudWatch; 0 means one
	// Walled are services whose tasks run in a subnet of their own, which a network ACL cuts off (region.Walled). Nil: there is none.
	Walled []string
	// Documents lets the workers write into MongoDB as well.
	Documents bool
	// MariaDB gives each region a real one (MariaDBMissing). The workers need it then: they look customers up in it and write into it.
	MariaDB bool
	Log     *slog.Logger // nil discards
}

// World is a running world. Its methods are safe for concurrent use.
type World struct {
	Dir string

	opt     Options
	net     *netns.Net
	ownsDir bool
	walled  map[string]netns.Subnet // by site
	begun   time.Time
	mu      sync.Mutex
	procs   []*Proc
}

// Start builds a world and waits until all its parts are up.
func Start(ctx context.Context, opt Options) (*World, error) {
	if opt.TimeFactor == 0 {
		opt.TimeFactor = 1
	}
	if opt.Prefix == "" {
		opt.Prefix = fmt.Sprintf("lab%d", os.Getpid())
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Rate == 0 {
		opt.Rate = 1.5
	}
	if opt.Desired == nil {
		opt.Desired = map[string]map[string]int{Primary: {"api": 2, "workers": 3}, Secondary: {"api": 1, "workers": 0}}
	}
	if opt.Lab == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find this binary: %w", err)
		}
		opt.Lab = self
	}
	w := &World{Dir: opt.Dir, opt: opt, begun: time.Now()}
	if w.Dir == "" {
		dir, err := os.MkdirTemp("", "lab")
		if err != nil {
			return nil, fmt.Errorf("make the world's directory: %w", err)
		}
		w.Dir, w.ownsDir = dir, true
	}
	if err := w.start(ctx); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

func (w *World) start(ctx context.Context) error {
	if len(w.Dir) > 60 {
		return fmt.Errorf("the world's directory %s is too long for unix sockets below it: at most 60 bytes", w.Dir)
	}
	for _, d := range []string{"log", "ctl", "tasks"} {
		if err := os.MkdirAll(filepath.Join(w.Dir, d), 0o755); err != nil {
			return fmt.Errorf("make the world's directory: %w", err)
		}
	}
	if err := pki.Create(w.Dir); err != nil {
		return err
	}
	if err := netns.Clean(ctx, w.opt.Prefix); err != nil {
		return fmt.Errorf("remove leftovers of an earlier world: %w", err)
	}
	var err error
	if w.net, err = netns.New(ctx, w.opt.Prefix, sites()); err != nil {
		return err
	}
	w.walled = map[string]netns.Subnet{}
	for _, site := range []string{E1, E2} {
		if len(w.opt.Walled) == 0 {
			break
		}
		if w.walled[site], err = w.net.AddSubnet(ctx, site, region.WalledHosts); err != nil {
			return err
		}
	}
	if _, err := w.lab(ctx, "", "ledger", "ledger", "--world", w.Dir); err != nil {
		return err
	}
	if err := w.ready(ctx, "ledger"); err != nil {
		return err
	}
	for _, site := range []string{Net, E1, E2} {
		if err := w.StartSite(ctx, site); err != nil {
			return err
		}
	}
	return nil
}

func sites() []netns.Site {
	hosts := map[string][]int{
		E1:    {11, 12, 5, 6, 7, 8, 21, 22, 23, 31, 32, mariaHost},
		E2:    {11, 12, 5, 6, 7, 8, 21, 22, 23, 31, mariaHost},
		Third: {11},
		Net:   {80, 5, 50, 53, 54, 55, 56, 61, 62, 65, 66, 70},
	}
	for i := 100; i < 150; i++ { // tasks
		hosts[E1], hosts[E2] = append(hosts[E1], i), append(hosts[E2], i)
	}
	// A machine knows the names of the nodes from its own file, as it would in a region that has lost its resolver.
	var names, nodes []string
	for node := range NodeAddresses {
		nodes = append(nodes, node)
	}
	slices.Sort(nodes)
	for _, node := range nodes {
		names = append(names, NodeAddresses[node]+" "+node)
	}
	var out []netns.Site
	for _, s := range []string{E1, E2, Third, Net} {
		out = append(out, netns.Site{Name: s, Net: octets[s], Hosts: hosts[s], DNS: "198.18.9.50", Names: names})
	}
	return out
}

// StartSite starts the lab's process of a region or of the internet, at the beginning and after KillSite. A region comes
// back with its store and its ECS services as they were configured at the beginning, and with empty queues.
func (w *World) StartSite(ctx context.Context, site string) error {
	if w.opt.MariaDB && site != Net {
		if err := w.startMariaDB(ctx, site); err != nil {
			return err
		}
	}
	cmd, cfg := "region", any(nil)
	if site == Net {
		cmd, cfg = "internet", w.internetConfig()
	} else {
		cfg = w.regionConfig(site)
	}
	b, err := json.MarshalIndent(cfg, "", "  ")
	if err != nil {
		return fmt.Errorf("configuration of %s: %w", site, err)
	}
	path := filepath.Join(w.Dir, site+".json")
	if err := os.WriteFile(path, b, 0o644); err != nil {
		return fmt.Errorf("configuration of %s: %w", site, err)
	}
	if _, err := w.lab(ctx, site, site, cmd, "--config", path); err != nil {
		return err
	}
	return w.ready(ctx, site)
}

func (w *World) regionConfig(site string) region.Config {
	reg, n := RegionOf(site), octets[site]
	ip := func(net, host, port int) string { return fmt.Sprintf("198.18.%d.%d:%d", net, host, port) }
	c := region.Config{World: w.Dir, Site: site, Region: reg, TimeFactor: w.opt.TimeFactor, AWS: ip(n, 5, 4566), APIPort: 8080,
		Zones:    map[string]string{"a": ip(n, 21, 80), "b": ip(n, 22, 80), "c": ip(n, 23, 80)},
		TLSZones: map[string]string{"a": ip(n, 21, 443), "b": ip(n, 22, 443), "c": ip(n, 23, 443)}, Names: []string{"*.example.net", "*." + reg + ".example.net"},
		Store: ip(n, 6, 7100), Peer: ip(3-n, 6, 7100), Queues: []string{Queue}, SoloAfter: w.opt.SoloAfter, Minute: w.opt.Minute,
		Members: []region.Member{{Host: ip(1, 31, 27017), Priority: 3}, {Host: ip(1, 32, 27017), Priority: 2}, {Host: ip(2, 31, 27017), Priority: 1}}}
	for i := 100; i < 150; i++ {
		c.TaskIPs = append(c.TaskIPs, fmt.Sprintf("198.18.%d.%d", n, i))
	}
	queue := awsfake.ASGroup{Name: "queue-" + reg, Min: 2, Max: 4, Desired: 2, Zones: []string{reg + "a", reg + "b", reg + "c"},
		Subnets: region.Subnets(reg), Template: region.Template}
	c.Buckets = []string{app.FilesBucket(reg), region.BackupsBucket(reg)}
	queue.WarmPool = 1
	if reg == Secondary { // the pilot light: none runs, and nothing launches any
		c.Buckets = append(c.Buckets, TrafficBucket)
		queue.Min, queue.Desired, queue.WarmPool, queue.Asleep = 0, 0, 0, true
	}
	// Another one for the day when AWS lacks capacity for that, in a zone of its own. None runs, and nothing launches any.
	other := awsfake.ASGroup{Name: "queue-b-" + reg, Max: 4, Zones: []string{reg + "d"}, Asleep: true, Subnets: queue.Subnets, Template: queue.Template}
	c.Groups = []awsfake.ASGroup{queue, other}
	for _, zone := range []string{"a", "b"} {
		c.Instances = append(c.Instances, awsfake.EC2Instance{ID: "i-relay" + strings.ReplaceAll(reg, "-", "") + zone, Zone: reg + zone, Tags: map[string]string{"role": "relay"}, Running: reg == Primary})
	}
	c.Kube, c.Inside = ip(n, 7, 6443), ip(n, insideHost, 7700)
	c.Peerings = []awsfake.Peering{{ID: PeeringID, Requester: awsfake.VPC{ID: "vpc-primary", Region: Primary, CIDR: "198.18.1.0/24"},
		Accepter: awsfake.VPC{ID: "vpc-secondary", Region: Secondary, CIDR: "198.18.2.0/24"}}}
	if reg == Primary {
		c.FunctionOn, c.Search = true, 3
	}
	c.Queues = append(c.Queues, region.EventsQueue)
	c.Mongo = []string{ip(n, 31, 27017)}
	if site == E1 {
		c.Mongo = append(c.Mongo, ip(n, 32, 27017))
	}
	for _, node := range []string{"use1a", "use1b", "use2a", "use2b", "third"} {
		c.Queues = append(c.Queues, "failoverd-canary-"+node)
	}
	if len(w.opt.Walled) > 0 {
		c.Walled, c.StoreFar = &region.Walled{Subnet: w.walled[site], Services: w.opt.Walled}, StoreFar(reg)
	}
	if w.opt.MariaDB {
		c.Backups = w.mariaFiles()
	}
	services := []string{"api", "workers"}
	if w.opt.TaskCommand != nil {
		services = append(services, region.LeaseService, region.NightlyLeaseService) // agents that functions and jobs ask: the world has none of its own
	}
	for _, svc := range services {
		n := w.opt.Desired[reg][svc]
		if svc == region.LeaseService || svc == region.NightlyLeaseService {
			n = 1
		}
		s := region.Service{Name: svc, Desired: n, Env: map[string]string{"LAB_COMMAND": "1", app.SiteEnv: site}}
		if svc == "api" {
			s.HealthAfter = 6 * time.Second
		}
		if svc == "workers" && w.opt.TaskCommand != nil { // an autoscaler that puts back what is taken away
			s.Scale = &awsfake.Scale{Min: n, Max: 9}
			if n == 0 {
				s.Scale = &awsfake.Scale{Max: 2, In: true, Out: true, Scheduled: true}
			}
		}
		if w.opt.TaskCommand != nil {
			s.Command = w.opt.TaskCommand(reg, svc)
		}
		if s.Command == nil {
			s.Command = DefaultCommand(w.opt.Lab, reg, svc, w.opt.TimeFactor)
			if svc == "workers" && slices.Contains(w.opt.Walled, svc) {
				s.Command = append(s.Command, "--store", c.StoreFar)
			}
		}
		if svc == "workers" && w.opt.MariaDB { // at the end of the command line: an agent's ends in its worker's
			s.Command = append(s.Command, "--mariadb", fmt.Sprintf("%s:%s@tcp(%s)/app?timeout=2s&readTimeout=4s", mariaAppUser, mariaAppPassword, MariaDBAddress(reg)))
		}
		if svc == "workers" && w.opt.Documents {
			s.Command = append(s.Command, "--mongodb", strings.Join(MongoDBMembers(), ","))
		}
		if w.opt.TaskEnv != nil {
			for k, v := range w.opt.TaskEnv(reg, svc) {
				s.Env[k] = v
			}
		}
		c.Services = append(c.Services, s)
	}
	return c
}

// MongoDBMembers are the members of the replica set, those of the primary region first.
func MongoDBMembers() []string {
	one, two := octets[E1], octets[E2]
	return []string{fmt.Sprintf("198.18.%d.31:27017", one), fmt.Sprintf("198.18.%d.32:27017", one), fmt.Sprintf("198.18.%d.31:27017", two)}
}

// StoreFar is where a region's store serves those that run in a subnet of their own.
func StoreFar(reg string) string { return fmt.Sprintf("198.18.%d.6:7101", octets[SiteOf(reg)]) }

// DefaultCommand is the command of a task that runs the application without any agent; lab is the path of the lab binary. An
// agent's command line ends in it.
func DefaultCommand(lab, reg, service string, timeFactor float64) []string {
	if service == "api" {
		return []string{lab, "api", "--world", "{world}", "--region", "{region}", "--task", "{task}", "--listen", "{ip}:8080", "--queue", QueueURL(reg, Queue)}
	}
	return []string{lab, "worker", "--world", "{world}", "--region", "{region}", "--task", "{task}", "--queue", QueueURL(reg, Queue),
		"--time-factor", fmt.Sprint(timeFactor)}
}

func (w *World) internetConfig() internet.Config {
	lb := func(n int) (out []string) {
		for h := 21; h <= 23; h++ {
			out = append(out, fmt.Sprintf("198.18.%d.%d", n, h))
		}
		return out
	}
	return internet.Config{World: w.Dir, Site: Net, TimeFactor: w.opt.TimeFactor, Route53: "198.18.9.5:4566",
		NS: []string{"198.18.9.53", "198.18.9.54", "198.18.9.55", "198.18.9.56"}, Resolver: "198.18.9.50",
		References: []string{"198.18.9.61:80", "198.18.9.62:80"}, Slack: "198.18.9.70:80", Ledger: "198.18.9.65:80", Hooks: "198.18.9.66:80",
		Regions: map[string][]string{Primary: lb(1), Secondary: lb(2)}, Active: Primary, Rate: w.opt.Rate, Propagation: w.opt.Propagation}
}

// ready waits until a process answers on its control socket.
func (w *World) ready(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		err := w.Control(name).Call(ctx, "GET", "/ready", nil, nil)
		if err == nil {
			return nil
		}
		if p := w.find(name); p != nil && p.Exited() {
			return fmt.Errorf("start %s: it ended: %s", name, p.tail())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("start %s: not ready after 20 s: %w", name, err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// Control is the control socket of e1, e2, net or ledger, for what has no method here.
func (w *World) Control(name string) *ctl.Client {
	return ctl.Dial(filepath.Join(w.Dir, "ctl", name+".sock"))
}

// Close kills every process of the world and removes its network. The directory stays unless Start made it.
func (w *World) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	err := netns.Clean(ctx, w.opt.Prefix)
	w.mu.Lock()
	procs := w.procs
	w.mu.Unlock()
	for _, p := range procs {
		_ = p.Kill()
		<-p.done
	}
	if w.ownsDir {
		err = errors.Join(err, os.RemoveAll(w.Dir))
	}
	return err
}

// CleanStale removes what crashed worlds whose prefix begins so have left: processes and namespaces.
func CleanStale(ctx context.Context, prefix string) error { return netns.Clean(ctx, prefix) }
