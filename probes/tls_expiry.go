package probes

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/dnsq"
)

// TLSExpiryConfig looks at how long the certificate lives on that a server presents,
// at every address: the leaf, and the chain by which a client comes to trust it. It is
// something that people see to in time; it never makes a region down, and the region
// that stands by needs it as much as the one that serves.
type TLSExpiryConfig struct {
	// Address is host:port of the server.
	Address string `toml:"address" json:"address"`
	// Name is the name that clients use: it is asked for, and the certificate must be
	// good for it. Empty: the host of Address.
	Name string `toml:"name" json:"name,omitempty"`
	// CAFile holds the authorities that are trusted instead of the system's.
	CAFile string `toml:"ca_file" json:"ca_file,omitempty"`
	// Warn is the life below which `failoverd readiness` tells of it. Zero: 21 days.
	Warn failover.Duration `toml:"warn" json:"warn,omitempty"`
	// Min is the life below which it has failed. Zero: 7 days.
	Min failover.Duration `toml:"min" json:"min,omitempty"`
}

// TLSExpiryCheckConfig asserts that the certificate lives for Min at least.
type TLSExpiryCheckConfig struct {
	TLSExpiryConfig
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

const (
	defaultTLSWarn = 21 * 24 * time.Hour
	defaultTLSMin  = 7 * 24 * time.Hour
)

func (c *TLSExpiryConfig) limits() (warn, least time.Duration) {
	warn, least = c.Warn.D(), c.Min.D()
	if least == 0 {
		least = defaultTLSMin
	}
	if warn == 0 {
		warn = max(defaultTLSWarn, least)
	}
	return warn, least
}

// Validate reports the first wrong parameter.
func (c *TLSExpiryConfig) Validate() error {
	if err := validHostPort("address", c.Address); err != nil {
		return err
	}
	if c.Name != "" {
		if err := validDNSName("name", c.Name); err != nil {
			return err
		}
	}
	if err := notNegative("warn", c.Warn); err != nil {
		return err
	}
	if err := notNegative("min", c.Min); err != nil {
		return err
	}
	if warn, least := c.limits(); warn < least {
		return badParam("warn", "%s is below min, %s: it would fail before it warns", c.Warn, least)
	}
	return nil
}

// Validate reports the first wrong parameter.
func (c *TLSExpiryCheckConfig) Validate() error {
	if err := c.TLSExpiryConfig.Validate(); err != nil {
		return err
	}
	return notNegative("within", c.For)
}

// Within implements CheckConfig.
func (c *TLSExpiryCheckConfig) Within() time.Duration { return within(c.For) }

// Upkeep says that the signal is for people, and says nothing of the region's health.
func (c *TLSExpiryConfig) Upkeep() {}

func (c *TLSExpiryConfig) hosts(failover.Region) []string { return hostsOf(c.Address) }

type tlsExpiry struct {
	cfg        *TLSExpiryConfig
	deps       Deps
	host, port string
	dns        *dnsq.Client
}

// New implements Config.
func (c *TLSExpiryConfig) New(d Deps) (Probe, error) { return c.probe(d) }

func (c *TLSExpiryConfig) probe(d Deps) (*tlsExpiry, error) {
	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, err
	}
	return &tlsExpiry{cfg: c, deps: d, host: host, port: port, dns: d.dns()}, nil
}

// Probe implements Probe. A server that cannot be reached has shown no certificate:
// that is told as no result, since other probes look at whether it lives.
func (p *tlsExpiry) Probe(ctx context.Context) failover.Observation {
	o := p.deps.observation("tls_expiry", p.cfg.Address)
	ctx, cancel := p.deps.within(ctx)
	defer cancel()
	roots, err := trustedRoots(p.cfg.CAFile)
	if err != nil {
		return result{outcome: failover.Misconfigured, reason: failover.ReasonConfig, detail: err.Error()}.finish(o)
	}
	addrs, err := p.dns.Addrs(ctx, p.host)
	if err != nil {
		_, reason := networkError(err)
		return result{outcome: failover.NoResult, reason: reason, detail: err.Error(), latency: time.Since(o.At)}.finish(o)
	}
	results := make([]result, len(addrs))
	var wg sync.WaitGroup
	for i, ip := range addrs {
		wg.Go(func() { results[i] = p.look(ctx, ip, roots) })
	}
	wg.Wait()
	return worstOf(results).finish(o)
}

// worstOf is what the worst address says: one certificate that runs out is enough,
// since clients take turns. Where none was worse, all are named.
func worstOf(results []result) result {
	out := result{outcome: failover.NoResult, detail: "there is nothing to ask"}
	for i, r := range results {
		if i == 0 || rank(r.outcome) > rank(out.outcome) {
			out = r
		}
	}
	if detail := details(results, out.outcome); detail != "" {
		out.detail = detail
	}
	return out
}

// look takes the certificates that one address presents and judges them. The
// handshake itself accepts any, so that one that has run out is seen with its dates.
func (p *tlsExpiry) look(ctx context.Context, ip netip.Addr, roots *x509.CertPool) result {
	begin := time.Now()
	name := p.cfg.Name
	if name == "" {
		name = p.host
	}
	d := tls.Dialer{Config: &tls.Config{ServerName: name, MinVersion: tls.VersionTLS12, InsecureSkipVerify: true}} //nolint:gosec // verified right below, by judge; nothing is sent
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(ip.String(), p.port))
	r := result{target: ip.String(), latency: time.Since(begin)}
	if err != nil {
		_, r.reason = networkError(err)
		r.detail = "showed no certificate: it " + short(unwrapOp(err), r.reason)
		return r
	}
	defer func() { _ = conn.Close() }()
	secure, ok := conn.(*tls.Conn)
	if !ok {
		r.outcome, r.reason, r.detail = failover.Misconfigured, failover.ReasonConfig, "the connection is none of TLS"
		return r
	}
	r.outcome, r.reason, r.detail = p.judge(secure.ConnectionState().PeerCertificates, name, roots, time.Now())
	return r
}

// judge verifies what was presented as a client would, and counts what is left.
func (p *tlsExpiry) judge(shown []*x509.Certificate, name string, roots *x509.CertPool, now time.Time) (failover.Outcome, failover.ReasonCode, string) {
	if len(shown) == 0 {
		return failover.Failed, failover.ReasonTLS, "presented no certificate"
	}
	opts := x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: x509.NewCertPool(), CurrentTime: now}
	for _, c := range shown[1:] {
		opts.Intermediates.AddCert(c)
	}
	chains, err := shown[0].Verify(opts)
	if err != nil {
		return failover.Failed, failover.ReasonTLS, "is refused by clients of " + name + ": " + untrusted(err, now)
	}
	first := firstToEnd(chains)
	left := first.NotAfter.Sub(now)
	detail := fmt.Sprintf("%s has %s left, until %s UTC", name, days(shown[0].NotAfter.Sub(now)), shown[0].NotAfter.UTC().Format(time.DateTime))
	if first != shown[0] {
		detail += fmt.Sprintf(", and %q in its chain %s", first.Subject.CommonName, days(left))
	}
	switch warn, least := p.cfg.limits(); {
	case left < least:
		return failover.Failed, failover.ReasonTLS, fmt.Sprintf("%s; less than %s: renew it now", detail, days(least))
	case left < warn:
		return failover.Slow, failover.ReasonTLS, fmt.Sprintf("%s; less than %s: renew it", detail, days(warn))
	}
	return failover.OK, "", detail
}

// firstToEnd is the certificate that ends a client's trust: the first to run out in the
// chain that lasts longest.
func firstToEnd(chains [][]*x509.Certificate) *x509.Certificate {
	var best *x509.Certificate
	for _, chain := range chains {
		first := chain[0]
		for _, c := range chain[1:] {
			if c.NotAfter.Before(first.NotAfter) {
				first = c
			}
		}
		if best == nil || first.NotAfter.After(best.NotAfter) {
			best = first
		}
	}
	return best
}

// days is a life in words: whole days, or less than two of them exactly.
func days(d time.Duration) string {
	if d >= 48*time.Hour {
		return fmt.Sprintf("%d days", int(d/(24*time.Hour)))
	}
	return d.Round(time.Second).String()
}

type tlsExpiryCheck struct{ probe *tlsExpiry }

// NewCheck implements CheckConfig.
func (c *TLSExpiryCheckConfig) NewCheck(d Deps) (Check, error) {
	p, err := c.probe(d)
	if err != nil {
		return nil, err
	}
	return tlsExpiryCheck{p}, nil
}

// Check implements Check. A certificate that should be renewed soon is no reason to
// stop a failover: it passes, and says so.
func (c tlsExpiryCheck) Check(ctx context.Context) Finding {
	switch o := c.probe.Probe(ctx); o.Outcome {
	case failover.OK, failover.Slow:
		return Finding{Pass, o.Detail}
	case failover.Failed:
		return Finding{Fail, o.Detail}
	default:
		return Finding{Unknown, o.Detail}
	}
}
