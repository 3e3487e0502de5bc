package dnsq

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// serve starts a DNS server for the given records ("api.example.net. 60 IN A
// 10.0.0.1") and returns its address.
func serve(t *testing.T, records ...string) string {
	t.Helper()
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &dns.Server{PacketConn: pc, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg)
		r.SetReply(q)
		exists := false
		for _, text := range records {
			rr, err := dns.NewRR(text)
			if err != nil {
				panic(err)
			}
			if strings.EqualFold(rr.Header().Name, q.Question[0].Name) {
				exists = true
				if rr.Header().Rrtype == q.Question[0].Qtype {
					r.Answer = append(r.Answer, rr)
				}
			}
		}
		if !exists {
			r.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(r)
	})}
	go func() { _ = s.ActivateAndServe() }()
	t.Cleanup(func() { _ = s.Shutdown() })
	return pc.LocalAddr().String()
}

func TestAddrs(t *testing.T) {
	server := serve(t, "api.example.net. 60 IN A 10.0.0.2", "api.example.net. 60 IN A 10.0.0.1", "api.example.net. 60 IN AAAA 2001:db8::1", "txt.example.net. 60 IN TXT x")
	c := &Client{Resolvers: []string{server}}
	addrs, err := c.Addrs(t.Context(), "api.example.net")
	if err != nil || fmt.Sprint(addrs) != "[10.0.0.1 10.0.0.2 2001:db8::1]" {
		t.Errorf("got %v, %v", addrs, err)
	}
	if addrs, err = c.Addrs(t.Context(), "10.9.8.7"); err != nil || fmt.Sprint(addrs) != "[10.9.8.7]" {
		t.Errorf("an address resolves to %v, %v", addrs, err)
	}
	for name, want := range map[string]Kind{"nobody.example.net": NXDomain, "txt.example.net": NoData} {
		_, err := c.Addrs(t.Context(), name)
		var e *Error
		if !errors.As(err, &e) || e.Kind != want {
			t.Errorf("%s gives %v, want kind %d", name, err, want)
		}
	}
}

func TestADeadResolverIsPassedOver(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	c := &Client{Resolvers: []string{silent.LocalAddr().String(), serve(t, "api.example.net. 60 IN A 10.0.0.1")}}
	if addrs, err := c.Addrs(t.Context(), "api.example.net"); err != nil || len(addrs) != 1 {
		t.Errorf("got %v, %v", addrs, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	_, err = (&Client{Resolvers: c.Resolvers[:1]}).Addrs(ctx, "api.example.net")
	var e *Error
	if !errors.As(err, &e) || e.Kind != Timeout || time.Since(begin) > 500*time.Millisecond {
		t.Errorf("a silent resolver gives %v after %s", err, time.Since(begin))
	}
}

func TestAuthoritative(t *testing.T) {
	server := serve(t, "example.net. 60 IN NS ns1.example.net.", "example.net. 60 IN NS ns2.example.net.",
		"ns1.example.net. 60 IN A 127.0.0.1", "ns1.example.net. 60 IN AAAA 2001:db8::53", "api.example.net. 60 IN A 10.0.0.1")
	_, port, _ := net.SplitHostPort(server)
	c := &Client{Resolvers: []string{server}, Port: port}
	servers, err := c.Authoritative(t.Context(), "api.example.net")
	if err != nil || len(servers) != 2 || servers[0] != (Server{"ns1.example.net", server}) || servers[1] != (Server{Name: "ns2.example.net"}) {
		t.Errorf("got %v, %v", servers, err)
	}
	a, err := c.Ask(t.Context(), servers[0].Addr, "api.example.net", "A")
	if err != nil || len(a.Addrs) != 1 || a.TTL != 60 {
		t.Errorf("asked directly, got %+v, %v", a, err)
	}
}

// A name server that says nothing is not waited for as often as it would be asked.
func TestASilentNameServerIsNotWaitedForLong(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	_, port, _ := net.SplitHostPort(silent.LocalAddr().String())
	resolver := serve(t, "example.net. 60 IN NS ns1.example.net.", "ns1.example.net. 60 IN A 127.0.0.2", "lb.example.net. 60 IN A 10.0.0.1")
	c := &Client{Resolvers: []string{resolver}, Port: port}
	addrs, err := c.All(t.Context(), "lb.example.net")
	if err != nil || len(addrs) != 1 {
		t.Errorf("got %v, %v", addrs, err)
	}
	asked := 0
	for buf := make([]byte, 512); silent.SetReadDeadline(time.Now().Add(50*time.Millisecond)) == nil; asked++ {
		if _, _, err := silent.ReadFrom(buf); err != nil {
			break
		}
	}
	if asked != 2 {
		t.Errorf("asked %d times, want 2", asked)
	}
}

// A host without IPv6 hears all of Route 53's servers, one without IPv4 too.
func TestOneFamily(t *testing.T) {
	addrs := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("2001:db8::1")}
	for want, routed := range map[string]func(netip.Addr) bool{
		"[192.0.2.1 192.0.2.2]":             func(netip.Addr) bool { return true },
		"[192.0.2.2]":                       func(ip netip.Addr) bool { return ip == addrs[1] || ip.Is6() },
		"[2001:db8::1]":                     netip.Addr.Is6,
		"[192.0.2.1 192.0.2.2 2001:db8::1]": func(netip.Addr) bool { return false },
	} {
		if got := fmt.Sprint(oneFamily(addrs, routed)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	if !routed(netip.MustParseAddr("127.0.0.1")) {
		t.Error("no route to the host itself")
	}
}
