// Package dnsq asks DNS servers questions one by one.
//
// The system resolver gives one opinion and hides whose it is. A failover has to
// know what each authoritative server answers, and whether a name does not exist
// or only nobody said so in time.
package dnsq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Kind says why there is no answer.
type Kind uint8

// The kinds of errors.
const (
	Other    Kind = iota
	NXDomain      // the name does not exist
	NoData        // the name exists without a record of the type
	Timeout       // nobody answered in time
	Servfail      // a server answered that it could not
	Refused       // a server does not want to answer us
)

// Error is a question without an answer.
type Error struct {
	Name   string
	Type   string // "A", "NS", …; "A/AAAA" for addresses
	Server string // the last that was asked; "" for the host's resolver
	Kind   Kind
	Err    error // nil for NXDomain and NoData
}

func (e *Error) Error() string {
	who := e.Server
	if who == "" {
		who = "the host's resolver"
	}
	switch e.Kind {
	case NXDomain:
		return fmt.Sprintf("%s does not exist, says %s", e.Name, who)
	case NoData:
		return fmt.Sprintf("%s has no %s record, says %s", e.Name, e.Type, who)
	case Timeout:
		return fmt.Sprintf("asking %s for %s %s: no answer in time", who, e.Name, e.Type)
	}
	return fmt.Sprintf("asking %s for %s %s: %v", who, e.Name, e.Type, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// attempt bounds one question to one server over UDP, so that a dead server
// leaves time for the next; rounds is how often all resolvers are asked, since a
// packet that was lost is no answer.
const (
	attempt = 400 * time.Millisecond
	rounds  = 2
)

// Client asks resolvers and name servers. It has no state and is safe for
// concurrent use.
type Client struct {
	// Resolvers are recursive servers, "ip:port", asked in turn. Empty: the
	// host's own resolver, or for questions that it cannot ask, the servers of
	// /etc/resolv.conf.
	Resolvers []string
	// Port is where authoritative servers listen. Empty means "53".
	Port string
}

// Answer is what one server said.
type Answer struct {
	Server string // ip:port
	// Name is the server's own name; "" for a resolver.
	Name  string
	Addrs []netip.Addr // of A or AAAA records, sorted
	// CNAME is the last target of the answer's chain of aliases, "" if there is
	// none; Aliases is the whole chain.
	CNAME   string
	Aliases []string
	Texts   []string // of TXT records
	Hosts   []string // of NS records
	TTL     uint32   // smallest, in seconds
}

// Addrs resolves a host name to all its addresses, A before AAAA. An address
// resolves to itself. The error is an *Error.
func (c *Client) Addrs(ctx context.Context, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	if len(c.Resolvers) == 0 {
		return systemAddrs(ctx, host)
	}
	type reply struct {
		addrs []netip.Addr
		err   error
	}
	six := make(chan reply, 1)
	go func() {
		a, err := c.resolve(ctx, host, dns.TypeAAAA)
		six <- reply{a.Addrs, err}
	}()
	four, err4 := c.resolve(ctx, host, dns.TypeA)
	r6 := <-six
	addrs := append(four.Addrs, r6.addrs...)
	if len(addrs) > 0 {
		return addrs, nil
	}
	for _, err := range []error{err4, r6.err} {
		if e, ok := errors.AsType[*Error](err); ok && e.Kind != NoData {
			return nil, err
		}
	}
	return nil, &Error{Name: host, Type: "A/AAAA", Server: four.Server, Kind: NoData}
}

// allTimes is how often All asks each name server.
const allTimes = 4

// All is Addrs, and what the name servers of the name's zone answer beside it, each asked
// several times: one answer may be a part of all addresses, drawn anew each time, or what a
// resolver has kept. Name servers that do not answer add nothing. The error is an *Error.
func (c *Client) All(ctx context.Context, host string) ([]netip.Addr, error) {
	all, err := c.Addrs(ctx, host)
	if _, is := netip.ParseAddr(host); err != nil || is == nil {
		return all, err
	}
	servers, err := c.Authoritative(ctx, host)
	if err != nil {
		return all, nil //nolint:nilerr // the resolvers know addresses, and nobody else is known
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, s := range servers {
		if s.Addr == "" {
			continue
		}
		wg.Go(func() {
			silent := 0 // in a row: a packet that was lost is no silence, and a server that says nothing is not waited for eight times
			for i := 0; i < 2*allTimes && silent < 2; i++ {
				a, err := c.Ask(ctx, s.Addr, host, []string{"A", "AAAA"}[i%2])
				if e, ok := errors.AsType[*Error](err); ok && e.Kind == Timeout {
					silent++
				} else {
					silent = 0
				}
				if err == nil {
					mu.Lock()
					all = append(all, a.Addrs...)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	slices.SortFunc(all, byFamily)
	return slices.Compact(all), nil
}

func systemAddrs(ctx context.Context, host string) ([]netip.Addr, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		e := &Error{Name: host, Type: "A/AAAA", Kind: Other, Err: err}
		var de *net.DNSError
		switch {
		case ctx.Err() != nil || (errors.As(err, &de) && de.IsTimeout):
			e.Kind = Timeout
		case de != nil && de.IsNotFound:
			e.Kind = NXDomain
		case de != nil && de.IsTemporary:
			e.Kind = Servfail
		}
		return nil, e
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	slices.SortFunc(addrs, byFamily)
	return slices.Compact(addrs), nil
}

func byFamily(a, b netip.Addr) int {
	if a.Is4() != b.Is4() {
		if a.Is4() {
			return -1
		}
		return 1
	}
	return a.Compare(b)
}

// Resolve asks the resolvers for records of a type, "A", "AAAA", "CNAME",
// "TXT" or "NS", following aliases. The error is an *Error.
func (c *Client) Resolve(ctx context.Context, name, typ string) (Answer, error) {
	return c.resolve(ctx, name, dns.StringToType[typ])
}

func (c *Client) resolve(ctx context.Context, name string, typ uint16) (Answer, error) {
	servers := c.Resolvers
	if len(servers) == 0 {
		servers = systemServers()
	}
	var last error
	for _, s := range slices.Repeat(servers, rounds) {
		a, err := ask(ctx, s, name, typ, true)
		if err == nil {
			return a, nil
		}
		last = err
		if e, ok := errors.AsType[*Error](err); ok && (e.Kind == NXDomain || e.Kind == NoData) {
			return a, err
		}
		if ctx.Err() != nil {
			break
		}
	}
	return Answer{}, last
}

// systemServers are the resolvers of the host.
func systemServers() []string {
	conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil || len(conf.Servers) == 0 {
		return []string{"127.0.0.1:53"}
	}
	var out []string
	for _, s := range conf.Servers {
		out = append(out, net.JoinHostPort(s, conf.Port))
	}
	return out
}

// Ask asks one server one question without recursion. The error is an *Error.
func (c *Client) Ask(ctx context.Context, server, name, typ string) (Answer, error) {
	return ask(ctx, server, name, dns.StringToType[typ], false)
}

// Server is one address of an authoritative name server.
type Server struct {
	Name string
	Addr string // ip:port
}

// Authoritative finds the name servers of the zone that holds name: the
// delegation that the resolvers know, as Locate gives them. The error is an *Error.
func (c *Client) Authoritative(ctx context.Context, name string) ([]Server, error) {
	zone := dns.Fqdn(name)
	var last error
	for zone != "." {
		a, err := c.resolve(ctx, zone, dns.TypeNS)
		if err == nil && len(a.Hosts) > 0 && a.CNAME == "" {
			return c.Locate(ctx, a.Hosts), nil
		}
		last = err
		if ctx.Err() != nil {
			break
		}
		_, parent, _ := strings.Cut(zone, ".")
		if parent == "" {
			break
		}
		zone = parent
	}
	if last == nil {
		last = &Error{Name: name, Type: "NS", Kind: NoData}
	}
	return nil, last
}

// Locate resolves the names of name servers. A server is listed with its addresses of
// one family, IPv4 if this host has a route there: all of Route 53's servers have IPv6
// addresses too, and most hosts in AWS cannot reach those. It is the same server either
// way. A server whose name does not resolve is listed without address.
func (c *Client) Locate(ctx context.Context, names []string) []Server {
	port := c.Port
	if port == "" {
		port = "53"
	}
	var out []Server
	for _, n := range names {
		n = strings.TrimSuffix(n, ".")
		addrs, err := c.Addrs(ctx, n)
		if err != nil {
			out = append(out, Server{Name: n})
		}
		for _, ip := range oneFamily(addrs, routed) {
			out = append(out, Server{Name: n, Addr: net.JoinHostPort(ip.String(), port)})
		}
	}
	return out
}

// oneFamily is the addresses of the first family that has one with a route, IPv4 before
// IPv6; all, if none has: what is wrong there is to be seen.
func oneFamily(addrs []netip.Addr, routed func(netip.Addr) bool) []netip.Addr {
	for _, four := range []bool{true, false} {
		var out []netip.Addr
		for _, ip := range addrs {
			if ip.Is4() == four && routed(ip) {
				out = append(out, ip)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return addrs
}

// routed says whether this host knows a way to an address. Nothing is sent: the kernel
// looks for a route when a UDP socket is connected.
func routed(ip netip.Addr) bool {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 53)))
	if err != nil {
		return false
	}
	_ = conn.Close() // nothing was sent
	return true
}

// dialEach bounds the attempt to reach one address, so that the next has its turn:
// one dark zone is not the whole name.
const dialEach = 2 * time.Second

// DialContext connects to the first address behind a name that accepts. It fits
// HTTP transports and database drivers.
func (c *Client) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	addrs, err := c.Addrs(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, ip := range addrs {
		var conn net.Conn
		if conn, err = (&net.Dialer{Timeout: dialEach}).DialContext(ctx, network, net.JoinHostPort(ip.String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// ask sends one question, over UDP and again over TCP if the answer was cut.
func ask(ctx context.Context, server, name string, typ uint16, recurse bool) (Answer, error) {
	fail := func(kind Kind, err error) (Answer, error) {
		return Answer{Server: server}, &Error{Name: strings.TrimSuffix(name, "."), Type: dns.TypeToString[typ], Server: server, Kind: kind, Err: err}
	}
	q := new(dns.Msg)
	q.SetQuestion(dns.Fqdn(name), typ)
	q.RecursionDesired = recurse
	q.SetEdns0(1232, false)
	one, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	r, err := exchange(one, "udp", q, server)
	if err == nil && r.Truncated {
		r, err = exchange(one, "tcp", q, server)
	}
	if err != nil {
		if ne, ok := errors.AsType[net.Error](err); one.Err() != nil || (ok && ne.Timeout()) {
			return fail(Timeout, err)
		}
		return fail(Other, err)
	}
	switch r.Rcode {
	case dns.RcodeSuccess:
	case dns.RcodeNameError:
		return fail(NXDomain, nil)
	case dns.RcodeServerFailure:
		return fail(Servfail, errors.New("SERVFAIL"))
	case dns.RcodeRefused:
		return fail(Refused, errors.New("REFUSED"))
	default:
		return fail(Other, errors.New(dns.RcodeToString[r.Rcode]))
	}
	a := read(server, r)
	if a.empty(typ) {
		return fail(NoData, nil)
	}
	return a, nil
}

// exchange returns when ctx ends, which the library's own exchange does not
// promise.
func exchange(ctx context.Context, network string, q *dns.Msg, server string) (*dns.Msg, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, server)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if d, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(d)
	}
	c := &dns.Client{Net: network, UDPSize: 1232}
	r, _, err := c.ExchangeWithConnContext(ctx, q, &dns.Conn{Conn: conn, UDPSize: 1232})
	return r, err
}

func read(server string, r *dns.Msg) Answer {
	a := Answer{Server: server}
	for i, rr := range r.Answer {
		if ttl := rr.Header().Ttl; i == 0 || ttl < a.TTL {
			a.TTL = ttl
		}
		switch rr := rr.(type) {
		case *dns.A:
			if ip, ok := netip.AddrFromSlice(rr.A.To4()); ok {
				a.Addrs = append(a.Addrs, ip)
			}
		case *dns.AAAA:
			if ip, ok := netip.AddrFromSlice(rr.AAAA); ok {
				a.Addrs = append(a.Addrs, ip)
			}
		case *dns.CNAME:
			a.CNAME = strings.ToLower(strings.TrimSuffix(rr.Target, "."))
			a.Aliases = append(a.Aliases, a.CNAME)
		case *dns.TXT:
			a.Texts = append(a.Texts, strings.Join(rr.Txt, ""))
		case *dns.NS:
			a.Hosts = append(a.Hosts, strings.ToLower(strings.TrimSuffix(rr.Ns, ".")))
		}
	}
	slices.SortFunc(a.Addrs, byFamily)
	slices.Sort(a.Hosts)
	return a
}

// empty reports whether the answer holds nothing of use for a question of typ.
// An alias without addresses is an answer: its target lies in another zone.
func (a Answer) empty(typ uint16) bool {
	switch typ {
	case dns.TypeTXT:
		return len(a.Texts) == 0
	case dns.TypeNS:
		return len(a.Hosts) == 0
	}
	return len(a.Addrs) == 0 && a.CNAME == ""
}
