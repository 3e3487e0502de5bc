package probes

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/dnsq"
)

// TCPConfig looks at whether every address behind a name accepts a connection.
type TCPConfig struct {
	// Address is host:port.
	Address string `toml:"address" json:"address"`
	// Slow is the time after which an accepted connection counts as slow. Zero:
	// never.
	Slow failover.Duration `toml:"slow" json:"slow,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *TCPConfig) Validate() error {
	if err := validHostPort("address", c.Address); err != nil {
		return err
	}
	return notNegative("slow", c.Slow)
}

func (c *TCPConfig) hosts(failover.Region) []string { return hostsOf(c.Address) }

// hostsOf takes the ports off.
func hostsOf(addrs ...string) []string {
	var out []string
	for _, a := range addrs {
		if h, _, err := net.SplitHostPort(a); err == nil {
			out = append(out, h)
		}
	}
	return out
}

type tcpProbe struct {
	cfg        *TCPConfig
	deps       Deps
	host, port string
	dns        *dnsq.Client
	dialer     net.Dialer
}

// New implements Config.
func (c *TCPConfig) New(d Deps) (Probe, error) {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, err
	}
	return &tcpProbe{cfg: c, deps: d, host: host, port: port, dns: d.dns()}, nil
}

// Probe implements Probe.
func (p *tcpProbe) Probe(ctx context.Context) failover.Observation {
	o := p.deps.observation("tcp", p.cfg.Address)
	ctx, cancel := p.deps.within(ctx)
	defer cancel()
	addrs, err := p.dns.Addrs(ctx, p.host)
	if err != nil {
		outcome, reason := networkError(err)
		return result{outcome: outcome, reason: reason, detail: err.Error(), latency: time.Since(o.At)}.finish(o)
	}
	results := make([]result, len(addrs))
	var wg sync.WaitGroup
	for i, ip := range addrs {
		wg.Go(func() { results[i] = p.dial(ctx, ip) })
	}
	wg.Wait()
	return fold(o, results)
}

func (p *tcpProbe) dial(ctx context.Context, ip netip.Addr) result {
	begin := time.Now()
	r := result{target: ip.String(), outcome: failover.OK}
	conn, err := p.dialer.DialContext(ctx, "tcp", net.JoinHostPort(ip.String(), p.port))
	r.latency = time.Since(begin)
	if err != nil {
		r.outcome, r.reason = networkError(err)
		r.detail = short(unwrapOp(err), r.reason)
		return r
	}
	_ = conn.Close()
	return r.slower(p.cfg.Slow.D())
}
