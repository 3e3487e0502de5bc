package probes

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/dnsq"
)

// DNSAnswerConfig asserts that names lead to the same place as another one,
// whoever is asked.
type DNSAnswerConfig struct {
	// Name is what clients use. It must be weighted or otherwise movable.
	Name string `toml:"name" json:"name,omitempty"`
	// Names are further ones, of providers and partners as well.
	Names []string `toml:"names" json:"names,omitempty"`
	// SameAs is a name that always leads to the region.
	SameAs string `toml:"same_as" json:"same_as"`
	// Resolvers are asked beside those of [probes], as "ip:port": those of providers
	// and partners, on which nothing else depends.
	Resolvers []string `toml:"resolvers" json:"resolvers,omitempty"`
	// For is how long it is asked again before it has failed; it must exceed the
	// records' TTL. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *DNSAnswerConfig) Validate() error {
	if c.Name == "" && len(c.Names) == 0 {
		return badParam("name", "is missing; give what clients use, or several as names")
	}
	for i, n := range c.all() {
		field := "names"
		if i == 0 && c.Name != "" {
			field = "name"
		}
		if err := validDNSName(field, n); err != nil {
			return err
		}
		if slices.Contains(c.all()[:i], n) {
			return badParam("names", "%q is listed twice", n)
		}
	}
	if err := validDNSName("same_as", c.SameAs); err != nil {
		return err
	}
	for _, r := range c.Resolvers {
		if err := validHostPort("resolvers", r); err != nil {
			return err
		}
	}
	return notNegative("within", c.For)
}

func (c *DNSAnswerConfig) all() []string {
	if c.Name == "" {
		return c.Names
	}
	return append([]string{c.Name}, c.Names...)
}

// Within implements CheckConfig.
func (c *DNSAnswerConfig) Within() time.Duration { return within(c.For) }

// askTimes is how often each server is asked: an answer that is drawn by weight
// may be the right one by chance.
const askTimes = 3

type dnsAnswer struct {
	cfg  *DNSAnswerConfig
	deps Deps
	dns  *dnsq.Client
}

// NewCheck implements CheckConfig.
func (c *DNSAnswerConfig) NewCheck(d Deps) (Check, error) {
	return &dnsAnswer{cfg: c, deps: d, dns: d.dns()}, nil
}

// Check implements Check. It passes when every authoritative server and every
// resolver leads each name to addresses of the other name only.
func (c *dnsAnswer) Check(ctx context.Context) Finding {
	ctx, cancel := c.deps.within(ctx)
	defer cancel()
	want, err := c.dns.Addrs(ctx, c.cfg.SameAs)
	if err != nil {
		return Finding{Unknown, err.Error()}
	}
	asked := 0
	var wrong, silent []string
	var mu sync.Mutex
	var wg sync.WaitGroup
	// Clients with IPv6 are clients too, though not every name has an address for them.
	four := slices.ContainsFunc(want, netip.Addr.Is4)
	// Of a name with many addresses each answer is a part: all are asked for when one is not known.
	all := sync.OnceValue(func() []netip.Addr { all, _ := c.dns.All(ctx, c.cfg.SameAs); return all }) // what is not known is not right
	note := func(name, typ, who, lasts string, a dnsq.Answer, err error) {
		if e, ok := errors.AsType[*dnsq.Error](err); ok && e.Kind == dnsq.NoData && (typ == "A") != four {
			return
		}
		got, err := c.addrs(ctx, a, err)
		leads := subset(got, want) || len(got) > 0 && subset(got, slices.Concat(want, all()))
		mu.Lock()
		defer mu.Unlock()
		asked++
		switch {
		case err != nil:
			silent = append(silent, err.Error())
		case !leads:
			wrong = append(wrong, fmt.Sprintf("%s answers %s for %s%s", who, join(got), name, lasts))
		}
	}
	for _, name := range c.cfg.all() {
		servers, err := c.dns.Authoritative(ctx, name)
		if err != nil {
			return Finding{Unknown, err.Error()}
		}
		// Side by side: one that does not answer takes its own time and no other's.
		for _, s := range servers {
			if s.Addr == "" {
				mu.Lock()
				silent = append(silent, "name server "+s.Name+" has no address")
				mu.Unlock()
				continue
			}
			wg.Go(func() {
				for range askTimes {
					for _, typ := range []string{"A", "AAAA"} {
						a, err := c.dns.Ask(ctx, s.Addr, name, typ)
						note(name, typ, s.Name+" ("+s.Addr+")", "", a, err)
					}
				}
			})
		}
		for _, r := range slices.Concat(c.deps.Resolvers, c.cfg.Resolvers) {
			wg.Go(func() {
				for _, typ := range []string{"A", "AAAA"} {
					a, err := (&dnsq.Client{Resolvers: []string{r}}).Resolve(ctx, name, typ)
					note(name, typ, "resolver "+r, fmt.Sprintf(" for another %ds", a.TTL), a, err) // what is left of the TTL
				}
			})
		}
		wg.Wait()
	}
	slices.Sort(wrong)
	slices.Sort(silent)
	names := strings.Join(c.cfg.all(), ", ")
	switch {
	case len(wrong) > 0:
		return Finding{Fail, fmt.Sprintf("%s should lead to %s (%s), but %s", names, c.cfg.SameAs, join(want), strings.Join(slices.Compact(wrong), "; "))}
	case len(silent) > 0:
		return Finding{Unknown, strings.Join(slices.Compact(silent), "; ")}
	}
	return Finding{Pass, fmt.Sprintf("%d of %d answers for %s lead to %s", asked, asked, names, join(want))}
}

// addrs follows an alias that leads out of the zone of the server that gave it.
func (c *dnsAnswer) addrs(ctx context.Context, a dnsq.Answer, err error) ([]netip.Addr, error) {
	if err != nil || len(a.Addrs) > 0 {
		return a.Addrs, err
	}
	return c.dns.All(ctx, a.CNAME)
}

// subset: a balancer's name may list its addresses in parts, so that an answer
// needs not hold all of them, but none of elsewhere.
func subset(got, of []netip.Addr) bool {
	for _, ip := range got {
		if !slices.Contains(of, ip) {
			return false
		}
	}
	return len(got) > 0
}

func join(addrs []netip.Addr) string {
	out := make([]string, len(addrs))
	for i, ip := range addrs {
		out[i] = ip.String()
	}
	return strings.Join(out, ", ")
}
