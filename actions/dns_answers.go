package actions

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

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
	optional  bool     // the name need not have this type
	// more are further values, asked for when an answer is none of those that are known: of a name with many addresses each
	// answer is a part. Nil: there are none.
	more func() []string
}

// further asks for all addresses of a name, once, when somebody needs them.
func further(ctx context.Context, dns *dnsq.Client, names ...string) func() []string {
	return sync.OnceValue(func() (out []string) {
		for _, name := range names {
			addrs, err := dns.All(ctx, name)
			if err != nil {
				continue // what is not known is not right
			}
			for _, a := range addrs {
				out = append(out, a.String())
			}
		}
		return out
	})
}

// heard is what name servers have said.
type heard struct {
	asked  int      // right answers
	wrong  []string // who answers something else, in sentences
	silent []string // who says nothing
}

// state is the effect that the name servers show. One that says nothing shows nothing: nobody has led clients elsewhere.
func (h heard) state() EffectState {
	switch {
	case len(h.wrong) > 0:
		return Partial
	case len(h.silent) > 0 || h.asked == 0: // nobody has said anything wrong, since nobody was asked
		return Unknown
	}
	return Present
}

// why says what keeps the effect from being seen; "" if nothing does.
func (h heard) why() string {
	all := slices.Concat(h.wrong, h.silent)
	if len(all) == 0 && h.asked == 0 {
		return "no name server could be asked: the zone has none, or none of the records is an A, AAAA or CNAME"
	}
	slices.Sort(all)
	return strings.Join(slices.Compact(all), "; ")
}

func (h *heard) add(more heard) {
	h.asked += more.asked
	h.wrong, h.silent = append(h.wrong, more.wrong...), append(h.silent, more.silent...)
}

// askAll asks every server every question.
func askAll(ctx context.Context, dns *dnsq.Client, servers []dnsq.Server, questions []question) heard {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var out heard
	away := &elsewhere{dns: dns, by: map[string]func() ([]netip.Addr, error){}}
	for _, s := range servers {
		if s.Addr == "" {
			mu.Lock()
			out.silent = append(out.silent, s.Name+" has no address")
			mu.Unlock()
			continue
		}
		wg.Go(func() {
			var its heard
			for _, q := range questions {
				if its.add(askOne(ctx, dns, away, s, q)); len(its.wrong)+len(its.silent) > 0 {
					its.asked = 0 // it counts as a whole
					break
				}
			}
			mu.Lock()
			defer mu.Unlock()
			out.add(its)
		})
	}
	wg.Wait()
	return out
}

// askOne asks a server one question several times, and ends at the first answer that is not right.
func askOne(ctx context.Context, dns *dnsq.Client, away *elsewhere, s dnsq.Server, q question) (out heard) {
	for range asks {
		a, err := dns.Ask(ctx, s.Addr, q.name, q.typ)
		kind := dnsq.Other
		if e, ok := errors.AsType[*dnsq.Error](err); ok {
			kind = e.Kind
		}
		switch {
		case kind == dnsq.NoData && q.optional:
			continue
		case kind == dnsq.NoData || kind == dnsq.NXDomain:
			return heard{wrong: []string{fmt.Sprintf("%s: %v", s.Name, err)}}
		case err != nil:
			return heard{silent: []string{fmt.Sprintf("%s: %v", s.Name, err)}}
		}
		if q.typ != string(types.RRTypeCname) && len(a.Addrs) == 0 && a.CNAME != "" {
			// A name server follows aliases inside its zone only, and a balancer's name is elsewhere.
			if a.Addrs, err = away.addrs(ctx, a.CNAME, q.typ); err != nil {
				return heard{silent: []string{fmt.Sprintf("%s answers for %s that it is an alias of %s: %v", s.Name, q.name, a.CNAME, err)}}
			}
			if len(a.Addrs) == 0 && q.optional {
				continue
			}
		}
		got := wrongAnswer(a, q)
		if got != "" && q.more != nil {
			q.values, q.more = slices.Concat(q.values, q.more()), nil
			got = wrongAnswer(a, q)
		}
		if got != "" {
			return heard{wrong: []string{fmt.Sprintf("%s (%s) answers %s for %s", s.Name, s.Addr, got, q.name)}}
		}
		out.asked++
	}
	return out
}

// elsewhere knows where names outside a zone lead: each is asked for once in a look.
type elsewhere struct {
	dns *dnsq.Client
	mu  sync.Mutex
	by  map[string]func() ([]netip.Addr, error)
}

// addrs is the addresses of one type that a name leads to.
func (e *elsewhere) addrs(ctx context.Context, name, typ string) (out []netip.Addr, err error) {
	e.mu.Lock()
	ask := e.by[name]
	if ask == nil {
		ask = sync.OnceValues(func() ([]netip.Addr, error) { return e.dns.All(ctx, name) }) // not what one resolver has kept
		e.by[name] = ask
	}
	e.mu.Unlock()
	addrs, err := ask()
	for _, a := range addrs {
		if a.Is4() == (typ == string(types.RRTypeA)) {
			out = append(out, a)
		}
	}
	return out, err
}

// wrongAnswer returns the part of an answer that is not the target region's. Of a
// CNAME only the first step counts.
func wrongAnswer(a dnsq.Answer, q question) string {
	if q.typ == string(types.RRTypeCname) {
		if len(a.Aliases) == 0 || !slices.Contains(q.values, a.Aliases[0]) {
			return strings.Join(a.Aliases, ", ")
		}
		return ""
	}
	if len(a.Addrs) == 0 {
		return "an alias of " + a.CNAME + ", which has no such address,"
	}
	for _, ip := range a.Addrs {
		if !slices.ContainsFunc(q.values, func(v string) bool { p, err := netip.ParseAddr(v); return err == nil && p == ip }) {
			return ip.String()
		}
	}
	return ""
}

// places are names that clients use, and a name that always leads to the region
// where they are sent: what the DNS must say once they have moved. It asks no
// control plane.
type places struct {
	names  []string
	sameAs string
	dns    *dnsq.Client
}

// ask asks the name servers of the names' zones.
func (p places) ask(ctx context.Context) (out heard) {
	want, err := p.dns.Addrs(ctx, p.sameAs)
	if err != nil {
		return heard{silent: []string{fmt.Sprintf("where clients should be sent is not known: %v", err)}}
	}
	// Clients with IPv6 are clients too, though not every name has an address for them; only a name that leads
	// nowhere by IPv4 must have one.
	var four, six []string
	for _, a := range want {
		if a.Is4() {
			four = append(four, a.String())
		} else {
			six = append(six, a.String())
		}
	}
	more := further(ctx, p.dns, p.sameAs)
	for _, name := range p.names { // each may lie in a zone of its own
		servers, err := p.dns.Authoritative(ctx, name)
		if err != nil {
			out.silent = append(out.silent, err.Error())
			continue
		}
		out.add(askAll(ctx, p.dns, servers, []question{
			{name: name, typ: string(types.RRTypeA), values: four, optional: len(four) == 0, more: more},
			{name: name, typ: string(types.RRTypeAaaa), values: six, optional: len(four) > 0, more: more},
		}))
	}
	return out
}

// moved gives the state of a switch whose own part is done: clients count as moved
// when every name server leads them there.
func (p places) moved(ctx context.Context, own string) Effect {
	h := p.ask(ctx)
	if state := h.state(); state != Present {
		return Effect{State: state, Detail: own + ", but not every name server answers so: " + h.why()}
	}
	return Effect{State: Present, Detail: fmt.Sprintf("%s, and %d answers of all name servers lead to %s", own, h.asked, p.sameAs)}
}

func validPlaces(names []string, sameAs string) error {
	switch {
	case len(names) == 0:
		return badParam("names", "is empty; list every name that clients use, here or under [traffic]")
	case sameAs == "":
		return badParam("same_as", "is missing; name what always leads to the region, such as \"api.{region}.example.net\", here or under [traffic]")
	}
	for i, n := range names {
		if n == "" || strings.ContainsAny(n, " /:") {
			return badParam("names", "%q is not a DNS name", n)
		}
		if slices.Contains(names[:i], n) {
			return badParam("names", "%q is listed twice", n)
		}
	}
	return nil
}
