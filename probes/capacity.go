package probes

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// CapacityConfig looks at whether a region has what would be launched there: task
// definitions, their images in the region's own registry, their secrets, free
// addresses, quotas, and on request whether an instance could be asked for. It
// launches nothing. What it cannot tell is whether AWS has machines free at the
// moment they are asked for: no API tells that, and no quota promises it; only a
// capacity reservation holds any. It is something that people see to in time, and it
// never makes a region down.
type CapacityConfig struct {
	// Cluster is the ECS cluster of Tasks, by a name that is the same in both regions.
	Cluster string `toml:"cluster" json:"cluster,omitempty"`
	// Tasks says of ECS services how many tasks of each must find a place.
	Tasks map[string]int `toml:"tasks" json:"tasks,omitempty"`
	// Groups says of Auto Scaling groups how many instances of each must find one.
	Groups []CapacityGroup `toml:"groups" json:"groups,omitempty"`
	// Quotas are the least values of quotas, by "service code/quota code", such as
	// "ec2/L-1216C47A". Zero: as much as the other region uses, or where Service Quotas
	// knows no use, as much as its quota there.
	Quotas map[string]float64 `toml:"quotas" json:"quotas,omitempty"`
	// DryRun asks EC2 in a dry run for an instance of each group in each of its
	// subnets. That tells rights and parameters (the image, the key pair, the security
	// groups), and nothing of capacity or quotas; it needs the right to launch them.
	DryRun bool `toml:"dry_run" json:"dry_run,omitempty"`
}

// CapacityGroup is an Auto Scaling group and how many instances it must be able to
// hold.
type CapacityGroup struct {
	Name  string `toml:"name" json:"name"`
	Count int    `toml:"count" json:"count"`
}

// CapacityCheckConfig asserts that nothing is missing. As `require` of a start it holds
// the start back for as long as something is.
type CapacityCheckConfig struct {
	CapacityConfig
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *CapacityConfig) Validate() error {
	switch {
	case len(c.Tasks)+len(c.Groups)+len(c.Quotas) == 0:
		return badParam("tasks", "is missing, and so are groups and quotas: there is nothing to look at")
	case len(c.Tasks) > 0 && c.Cluster == "":
		return badParam("cluster", "is missing: tasks are those of services in it")
	case c.DryRun && len(c.Groups) == 0:
		return badParam("dry_run", "has no groups whose instances to ask for")
	}
	names := slices.Sorted(maps.Keys(c.Tasks))
	if err := validNames("tasks", names); err != nil {
		return err
	}
	for _, n := range names {
		if c.Tasks[n] < 1 {
			return badParam("tasks", "%s = %d: write how many tasks must find a place, 1 at least", n, c.Tasks[n])
		}
	}
	var groups []string
	for _, g := range c.Groups {
		if g.Count < 1 {
			return badParam("groups", "count of %q is %d: write how many instances must find a place, 1 at least", g.Name, g.Count)
		}
		groups = append(groups, g.Name)
	}
	if err := validNames("groups", groups); err != nil {
		return err
	}
	for _, q := range slices.Sorted(maps.Keys(c.Quotas)) {
		if service, code, ok := strings.Cut(q, "/"); !ok || service == "" || !strings.HasPrefix(code, "L-") {
			return badParam("quotas", "%q is no service code and quota code, such as ec2/L-1216C47A", q)
		}
		if c.Quotas[q] < 0 {
			return badParam("quotas", "%s = %s is negative", q, number(c.Quotas[q]))
		}
	}
	return nil
}

// Validate reports the first wrong parameter.
func (c *CapacityCheckConfig) Validate() error {
	if err := c.CapacityConfig.Validate(); err != nil {
		return err
	}
	return notNegative("within", c.For)
}

// Within implements CheckConfig.
func (c *CapacityCheckConfig) Within() time.Duration { return within(c.For) }

// Upkeep says that the signal is for people, and says nothing of the region's health.
func (c *CapacityConfig) Upkeep() {}

// New implements Config.
func (c *CapacityConfig) New(d Deps) (Probe, error) { return c.probe(d) }

func (c *CapacityConfig) probe(d Deps) (*capacity, error) {
	if d.Cloud == nil {
		return nil, fmt.Errorf("capacity of %s: there are no AWS clients", d.Region)
	}
	return &capacity{cfg: c, deps: d}, nil
}

// NewCheck implements CheckConfig.
func (c *CapacityCheckConfig) NewCheck(d Deps) (Check, error) {
	p, err := c.probe(d)
	if err != nil {
		return nil, err
	}
	return capacityCheck{p}, nil
}

type capacity struct {
	cfg  *CapacityConfig
	deps Deps
}

// other is the region that this one would take over from; "" if nobody said.
func (p *capacity) other() failover.Region {
	for _, r := range p.deps.Regions {
		if r != p.deps.Region {
			return r
		}
	}
	return ""
}

// Probe implements Probe.
func (p *capacity) Probe(ctx context.Context) failover.Observation {
	o := p.deps.observation("capacity", "capacity of "+string(p.deps.Region))
	ctx, cancel := p.deps.within(ctx)
	defer cancel()
	r := p.look(ctx)
	r.latency = time.Since(o.At)
	return r.finish(o)
}

// look asks for everything side by side. The other region may be dark, which is when
// this is looked at in earnest: what is only compared with it has half the time, and
// is left out.
func (p *capacity) look(ctx context.Context) result {
	if err := p.deps.Cloud.Credentials(ctx); err != nil {
		return unsaid("credentials", err)
	}
	s := &stock{region: p.deps.Region}
	here, there := p.holding(p.deps.Region), p.holding(p.other())
	var wg sync.WaitGroup
	if p.other() != "" {
		half, cancel := halfOf(ctx)
		defer cancel()
		wg.Go(func() { there.read(half, p.cfg) })
	}
	wg.Go(func() { here.read(ctx, p.cfg) })
	for _, g := range p.cfg.Groups {
		wg.Go(func() { p.group(ctx, s, g) })
	}
	wg.Wait()
	p.tasks(ctx, s, here)
	p.addresses(ctx, s)
	p.compare(s, here, there)
	return s.judge()
}

func halfOf(ctx context.Context) (context.Context, context.CancelFunc) {
	until, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(until)/2)
}

// stock is what a look has found. It is safe for concurrent use.
type stock struct {
	region failover.Region

	mu     sync.Mutex
	bad    []string // keeps something from being launched
	ours   []string // may not be looked at: a permission that lacks
	unread []string // could not be read now
	tight  []string // launches today, and deserves a look
	had    []string // is there
	notes  []string // was not looked at
	needs  []addressNeed
}

// addressNeed is what wants addresses, and the subnets that may give them.
type addressNeed struct {
	who     string
	n       int
	subnets []string
}

func (s *stock) add(to *[]string, format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	*to = append(*to, fmt.Sprintf(format, args...))
}

// failed sorts an error of a call: what says that something is not there is bad, with
// what to do; the rest is a call that told nothing.
func (s *stock) failed(what, call string, err error, missing map[string]string) {
	if remedy, ok := missing[cloud.ErrorCode(err)]; ok {
		s.add(&s.bad, "%s is not in %s (%s was answered with %s): %s", what, s.region, call, cloud.ErrorCode(err), remedy)
		return
	}
	switch r := unsaid(call, err); r.outcome {
	case failover.Misconfigured:
		s.add(&s.ours, "%s could not be looked at in %s: %s; if a right lacks, `failoverd iam observe` prints the policy", what, s.region, r.detail)
	default:
		s.add(&s.unread, "%s could not be looked at in %s: %s", what, s.region, r.detail)
	}
}

// judge makes one result of it: the worst that was found, and all that was found.
func (s *stock) judge() result {
	for _, l := range []*[]string{&s.bad, &s.ours, &s.unread, &s.tight, &s.notes} {
		slices.Sort(*l)
		*l = slices.Compact(*l)
	}
	says := slices.Concat(s.bad, s.ours, s.unread, s.tight)
	r := result{outcome: failover.OK}
	switch {
	case len(s.bad) > 0:
		r.outcome, r.reason = failover.Failed, failover.ReasonContent
	case len(s.ours) > 0:
		r.outcome, r.reason = failover.Misconfigured, failover.ReasonAuth
	case len(s.unread) > 0:
		r.outcome, r.reason = failover.NoResult, failover.ReasonOther
	case len(s.tight) > 0:
		r.outcome, r.reason = failover.Slow, failover.ReasonContent
	}
	if len(says) == 0 {
		says = append(says, fmt.Sprintf("nothing that is looked at lacks in %s: %s", s.region, strings.Join(s.had, ", ")))
		says = append(says, "whether AWS has machines free when they are asked for, nothing tells beforehand")
	}
	r.detail = strings.Join(append(says, s.notes...), "; ")
	return r
}

type capacityCheck struct{ probe *capacity }

// Check implements Check.
func (c capacityCheck) Check(ctx context.Context) Finding {
	return findingOfStock(c.probe.Probe(ctx))
}
