package actions

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/failoverd/failoverd/internal/dnsq"
)

// asks is how often each name server is asked for each name: an answer drawn by
// weight may be the wanted one by chance.
const asks = 4

// question is one name and type with what the target region's records answer.
type question struct {
	name, typ string
	values    []string // addresses or names, plain
	alias     []string // names whose addresses are right as well
}

// questions are what the zone's name servers are asked.
func (w *route53Weights) questions(z zoneRecords) []question {
	var out []question
	for _, s := range z.Weighted {
		if s.Type != types.RRTypeA && s.Type != types.RRTypeAaaa && s.Type != types.RRTypeCname {
			continue // moved along, but nothing that can be compared
		}
		if w.weight(s, w.region) == 0 {
			continue
		}
		i := slices.IndexFunc(out, func(q question) bool { return q.name == plainName(s) && q.typ == string(s.Type) })
		if i < 0 {
			out = append(out, question{name: plainName(s), typ: string(s.Type)})
			i = len(out) - 1
		}
		for _, r := range s.ResourceRecords {
			out[i].values = append(out[i].values, strings.ToLower(strings.TrimSuffix(aws.ToString(r.Value), ".")))
		}
		if s.AliasTarget != nil {
			out[i].alias = append(out[i].alias, strings.TrimSuffix(aws.ToString(s.AliasTarget.DNSName), "."))
		}
	}
	return out
}

// disagreeing asks every name server of the zone and lists those that do not
// answer with the target region, and those that do not answer.
func (w *route53Weights) disagreeing(ctx context.Context, z zoneRecords) (asked int, others []string) {
	servers, err := w.nameServers(ctx)
	if err != nil {
		return 0, []string{err.Error()}
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	note := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		others = append(others, fmt.Sprintf(format, args...))
	}
	questions := w.questions(z)
	for i := range questions {
		q := &questions[i]
		for _, target := range q.alias {
			addrs, err := w.dns.Addrs(ctx, target)
			if err != nil {
				note("what %s is an alias of is not known: %v", q.name, err)
			}
			for _, a := range addrs {
				q.values = append(q.values, a.String())
			}
		}
	}
	for _, s := range servers {
		if s.Addr == "" {
			note("%s has no address", s.Name)
			continue
		}
		wg.Go(func() {
			for _, q := range questions {
				if why := w.ask(ctx, s, q); why != "" {
					note("%s", why)
					return
				}
			}
			mu.Lock()
			asked += asks * len(questions)
			mu.Unlock()
		})
	}
	wg.Wait()
	slices.Sort(others)
	return asked, slices.Compact(others)
}

// ask returns what a server says wrongly, or "".
func (w *route53Weights) ask(ctx context.Context, s dnsq.Server, q question) string {
	for range asks {
		a, err := w.dns.Ask(ctx, s.Addr, q.name, q.typ)
		if err != nil {
			return fmt.Sprintf("%s: %v", s.Name, err)
		}
		if got := wrongAnswer(a, q); got != "" {
			return fmt.Sprintf("%s (%s) answers %s for %s", s.Name, s.Addr, got, q.name)
		}
	}
	return ""
}

// wrongAnswer returns the part of an answer that is not the target region's. A
// name server follows aliases inside its zone, so that only the first step of a
// CNAME counts.
func wrongAnswer(a dnsq.Answer, q question) string {
	if q.typ == string(types.RRTypeCname) {
		if len(a.Aliases) == 0 || !slices.Contains(q.values, a.Aliases[0]) {
			return strings.Join(a.Aliases, ", ")
		}
		return ""
	}
	if len(a.Addrs) == 0 {
		return "an alias of " + a.CNAME
	}
	for _, ip := range a.Addrs {
		if !slices.ContainsFunc(q.values, func(v string) bool { p, err := netip.ParseAddr(v); return err == nil && p == ip }) {
			return ip.String()
		}
	}
	return ""
}

// nameServers finds the zone's name servers: by the delegation set if the
// control plane answers, else by asking the DNS.
func (w *route53Weights) nameServers(ctx context.Context) ([]dnsq.Server, error) {
	if len(w.servers) == 0 {
		out, err := w.client.GetHostedZone(ctx, &route53.GetHostedZoneInput{Id: &w.cfg.Zone})
		if err == nil && out.DelegationSet != nil {
			w.servers = out.DelegationSet.NameServers
		}
	}
	if len(w.servers) == 0 {
		return w.dns.Authoritative(ctx, w.cfg.Names[0])
	}
	return w.dns.Locate(ctx, w.servers), nil
}
