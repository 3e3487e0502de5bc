package probes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/dnsq"
)

// DNSConfig looks at whether DNS servers answer for a name.
type DNSConfig struct {
	// Name is what is asked for.
	Name string `toml:"name" json:"name"`
	// Type is "A" (default), "AAAA", "CNAME" or "TXT".
	Type string `toml:"type" json:"type,omitempty"`
	// Servers are asked, each as host:port. Empty: the authoritative servers of
	// the name.
	Servers []string `toml:"servers" json:"servers,omitempty"`
	// Want must be among the answers if it is not empty.
	Want string `toml:"want" json:"want,omitempty"`
	// Slow is the time after which an answer counts as slow. Zero: never.
	Slow failover.Duration `toml:"slow" json:"slow,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *DNSConfig) Validate() error {
	if err := validDNSName("name", c.Name); err != nil {
		return err
	}
	switch c.Type {
	case "", "A", "AAAA", "CNAME", "TXT":
	default:
		return badParam("type", "%q is not one of A, AAAA, CNAME, TXT", c.Type)
	}
	for _, s := range c.Servers {
		if err := validHostPort("servers", s); err != nil {
			return err
		}
	}
	return notNegative("slow", c.Slow)
}

func (c *DNSConfig) hosts(failover.Region) []string {
	return append([]string{c.Name}, hostsOf(c.Servers...)...)
}

type dnsProbe struct {
	cfg  *DNSConfig
	deps Deps
	typ  string
	dns  *dnsq.Client
	// servers are the authoritative ones as found last; asked again when none of
	// them answers.
	servers []string
}

// New implements Config.
func (c *DNSConfig) New(d Deps) (Probe, error) {
	p := &dnsProbe{cfg: c, deps: d, typ: c.Type, dns: d.dns()}
	if p.typ == "" {
		p.typ = "A"
	}
	return p, nil
}

// Probe implements Probe.
func (p *dnsProbe) Probe(ctx context.Context) failover.Observation {
	o := p.deps.observation("dns", p.cfg.Name)
	ctx, cancel := p.deps.within(ctx)
	defer cancel()
	servers := p.cfg.Servers
	if len(servers) == 0 {
		if err := p.discover(ctx); err != nil {
			outcome, reason := networkError(err)
			return result{outcome: outcome, reason: reason, detail: err.Error(), latency: time.Since(o.At)}.finish(o)
		}
		servers = p.servers
	}
	results := make([]result, len(servers))
	var wg sync.WaitGroup
	for i, s := range servers {
		wg.Go(func() { results[i] = p.ask(ctx, s) })
	}
	wg.Wait()
	o = fold(o, results)
	if o.Outcome == failover.Failed {
		p.servers = nil
	}
	return o
}

func (p *dnsProbe) discover(ctx context.Context) error {
	if len(p.servers) > 0 {
		return nil
	}
	found, err := p.dns.Authoritative(ctx, p.cfg.Name)
	if err != nil {
		return err
	}
	for _, s := range found {
		if s.Addr != "" {
			p.servers = append(p.servers, s.Addr)
		}
	}
	return nil
}

func (p *dnsProbe) ask(ctx context.Context, server string) result {
	begin := time.Now()
	a, err := p.dns.Ask(ctx, server, p.cfg.Name, p.typ)
	r := result{target: server, outcome: failover.OK, latency: time.Since(begin)}
	if err != nil {
		r.outcome, r.reason = networkError(err)
		r.detail = err.Error()
		return r
	}
	got := a.Texts
	if a.CNAME != "" {
		got = append(got, a.CNAME)
	}
	for _, ip := range a.Addrs {
		got = append(got, ip.String())
	}
	if p.cfg.Want != "" && !slices.Contains(got, p.cfg.Want) {
		r.outcome, r.reason = failover.Failed, failover.ReasonContent
		r.detail = fmt.Sprintf("answers %s, not %s", strings.Join(got, ", "), p.cfg.Want)
	}
	return r.slower(p.cfg.Slow.D())
}
