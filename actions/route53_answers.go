package actions

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/route53"
	"github.com/aws/aws-sdk-go-v2/service/route53/types"

	"github.com/failoverd/failoverd/internal/dnsq"
)

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

// ask asks name servers whether they answer with the target region.
func (w *route53Weights) ask(ctx context.Context, servers []dnsq.Server, z zoneRecords) (out heard) {
	questions := w.questions(z)
	for i := range questions {
		q := &questions[i]
		for _, target := range q.alias {
			addrs, err := w.dns.Addrs(ctx, target)
			if err != nil {
				out.silent = append(out.silent, fmt.Sprintf("what %s is an alias of is not known: %v", q.name, err))
			}
			for _, a := range addrs {
				q.values = append(q.values, a.String())
			}
		}
		if len(q.alias) > 0 {
			q.more = further(ctx, w.dns, q.alias...)
		}
		// An alias to a balancer without IPv6 is answered with nothing, and leads nobody anywhere. One that answers is judged.
		q.optional = q.typ == string(types.RRTypeAaaa) && len(q.alias) > 0 && !slices.ContainsFunc(q.values, func(v string) bool { return strings.Contains(v, ":") })
	}
	out.add(askAll(ctx, w.dns, servers, questions))
	return out
}

// nameServers finds the zone's name servers: by the delegation set if the
// control plane answers, else by asking the DNS.
func (w *route53Weights) nameServers(ctx context.Context) ([]dnsq.Server, error) {
	if len(w.servers) == 0 {
		out, err := w.client.GetHostedZone(ctx, &route53.GetHostedZoneInput{Id: &w.cfg.Zone})
		if err == nil && out.HostedZone != nil && out.HostedZone.Config != nil && out.HostedZone.Config.PrivateZone {
			return nil, fmt.Errorf("zone %s is a private one, whose name servers answer inside its VPCs alone: nothing shows that clients have moved; use a public zone, or skip this step when you have seen it yourself", w.cfg.Zone)
		}
		if err == nil && out.DelegationSet != nil {
			w.servers = out.DelegationSet.NameServers
		}
	}
	if len(w.servers) == 0 {
		return w.dns.Authoritative(ctx, w.cfg.Names[0])
	}
	return w.dns.Locate(ctx, w.servers), nil
}
