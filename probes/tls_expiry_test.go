package probes

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

const day = 24 * time.Hour

// issued is a certificate with its key.
type issued struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate with so much of its life left; an authority's without
// names, and one that signs itself without a parent.
func issue(t *testing.T, parent *issued, left time.Duration, cn string, names ...string) *issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: cn}, DNSNames: names, BasicConstraintsValid: true, IsCA: len(names) == 0,
		NotBefore: time.Now().Add(min(left, 0) - day), NotAfter: time.Now().Add(left + time.Minute), KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	by := &issued{tpl, key}
	if parent != nil {
		by = parent
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, by.cert, key.Public(), by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &issued{cert, key}
}

// present serves a certificate and what else is sent along with it.
func present(t *testing.T, leaf *issued, chain ...*issued) string {
	t.Helper()
	c := tls.Certificate{Certificate: [][]byte{leaf.cert.Raw}, PrivateKey: leaf.key}
	for _, i := range chain {
		c.Certificate = append(c.Certificate, i.cert.Raw)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{c}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = conn.Read(make([]byte, 1)) // makes the handshake, and waits for the peer to leave
				_ = conn.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// The life of the leaf and of the chain counts, for the name that clients use.
func TestTLSExpiry(t *testing.T) {
	root := issue(t, nil, 4000*day, "Root")
	mid := issue(t, root, 1000*day, "Issuing CA")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pemOf(root.cert), 0o600); err != nil {
		t.Fatal(err)
	}
	leaf := func(by *issued, left time.Duration) *issued { return issue(t, by, left, "leaf", "api.example.net") }
	shortMid, deadMid := issue(t, root, 3*day, "Short CA"), issue(t, root, -day, "Dead CA")
	// An old intermediate of the same key beside the new one: clients take the way that lasts.
	old := *mid
	tpl := *mid.cert
	tpl.SerialNumber, tpl.NotAfter = big.NewInt(7), time.Now().Add(3*day)
	der, err := x509.CreateCertificate(rand.Reader, &tpl, root.cert, mid.key.Public(), root.key)
	if err != nil {
		t.Fatal(err)
	}
	if old.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	const name = "api.example.net"
	d := deps(t)
	d.Timeout = 2 * time.Second
	for _, tt := range []struct {
		what    string
		addr    string
		c       TLSExpiryConfig
		outcome failover.Outcome
		detail  string
		check   Status
	}{
		{"long", present(t, leaf(mid, 90*day), mid), TLSExpiryConfig{}, failover.OK, "api.example.net has 90 days left", Pass},
		{"below warn", present(t, leaf(mid, 20*day), mid), TLSExpiryConfig{}, failover.Slow, "20 days left, until", Pass},
		{"below min", present(t, leaf(mid, 6*day), mid), TLSExpiryConfig{}, failover.Failed, "less than 7 days: renew it now", Fail},
		{"own limits", present(t, leaf(mid, 6*day), mid), TLSExpiryConfig{Warn: failover.Duration(5 * day), Min: failover.Duration(day)}, failover.OK, "6 days left", Pass},
		{"hours", present(t, leaf(mid, 5*time.Hour), mid), TLSExpiryConfig{}, failover.Failed, "has 5h", Fail},
		{"over", present(t, leaf(mid, -3*day), mid), TLSExpiryConfig{}, failover.Failed, `the certificate "leaf" ran out at `, Fail},
		{"the chain ends first", present(t, leaf(shortMid, 90*day), shortMid), TLSExpiryConfig{}, failover.Failed, `90 days left, until`, Fail},
		{"the chain is over", present(t, leaf(deadMid, 90*day), deadMid), TLSExpiryConfig{}, failover.Failed, "is refused by clients", Fail},
		{"an old intermediate beside the new", present(t, leaf(mid, 90*day), &old, mid), TLSExpiryConfig{}, failover.OK, "90 days left", Pass},
		{"the new one before the old", present(t, leaf(mid, 90*day), mid, &old), TLSExpiryConfig{}, failover.OK, "90 days left", Pass},
		{"no intermediate", present(t, leaf(mid, 90*day)), TLSExpiryConfig{}, failover.Failed, "its certificate is not trusted", Fail},
		{"another name", present(t, issue(t, mid, 90*day, "leaf", "ws.example.net"), mid), TLSExpiryConfig{}, failover.Failed, "is refused by clients of api.example.net", Fail},
		{"nobody there", closedPort(t), TLSExpiryConfig{}, failover.NoResult, "showed no certificate: it refused the connection", Unknown},
		{"no TLS", blackHole(t, "127.0.0.1:0"), TLSExpiryConfig{}, failover.NoResult, "showed no certificate: it did not answer in time", Unknown},
		{"no such file", present(t, leaf(mid, 90*day), mid), TLSExpiryConfig{CAFile: "/none.pem"}, failover.Misconfigured, "reading ca_file", Unknown},
	} {
		c := tt.c
		c.Address, c.Name = tt.addr, name
		if c.CAFile == "" {
			c.CAFile = ca
		}
		o := look(t, &c, d)
		if o.Outcome != tt.outcome || !strings.Contains(o.Detail, tt.detail) {
			t.Errorf("%s: got %s %q, want %s with %q", tt.what, o.Outcome, o.Detail, tt.outcome, tt.detail)
		}
		check, err := (&TLSExpiryCheckConfig{TLSExpiryConfig: c}).NewCheck(d)
		if err != nil {
			t.Fatal(err)
		}
		verify(t, check, tt.check, tt.detail)
	}
	o := look(t, &TLSExpiryConfig{Address: present(t, leaf(shortMid, 90*day), shortMid), Name: name, CAFile: ca}, d)
	expect(t, o, failover.Failed, failover.ReasonTLS, `and "Short CA" in its chain 3 days; less than 7 days`)
	o = look(t, &TLSExpiryConfig{Address: present(t, leaf(mid, 90*day), mid), Name: name}, d)
	expect(t, o, failover.Failed, failover.ReasonTLS, "its certificate is not trusted") // by the system's own authorities
	if (Spec{Config: &TLSExpiryConfig{}}).Plane() != failover.PlaneUpkeep {
		t.Error("it is no signal of upkeep")
	}
}

// One address with a certificate that runs out is enough: clients take turns.
func TestTLSExpiryAtEveryAddress(t *testing.T) {
	root := issue(t, nil, 4000*day, "Root")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pemOf(root.cert), 0o600); err != nil {
		t.Fatal(err)
	}
	good, bad := issue(t, root, 90*day, "leaf", "api.example.net"), issue(t, root, day, "leaf", "api.example.net")
	first := present(t, good)
	_, port, err := net.SplitHostPort(first)
	if err != nil {
		t.Fatal(err)
	}
	l, err := tls.Listen("tcp", "127.0.0.2:"+port, &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{bad.cert.Raw}, PrivateKey: bad.key}}})
	if err != nil {
		t.Skip("NOT TESTED: there is no second loopback address: ", err)
	}
	defer func() { _ = l.Close() }()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
	}()
	d := deps(t)
	d.Timeout = 2 * time.Second
	d.Resolvers = []string{dnsServer(t, "api.example.net. 60 IN A 127.0.0.1", "api.example.net. 60 IN A 127.0.0.2")}
	o := look(t, &TLSExpiryConfig{Address: "api.example.net:" + port, CAFile: ca}, d)
	expect(t, o, failover.Failed, failover.ReasonTLS, "127.0.0.2 api.example.net has 24h")
	if strings.Contains(o.Detail, "127.0.0.1 ") {
		t.Errorf("the good address is blamed: %s", o.Detail)
	}
}

func TestTLSExpiryValidate(t *testing.T) {
	for want, c := range map[string]TLSExpiryCheckConfig{
		"address: is missing":     {},
		"is not host:port":        {TLSExpiryConfig: TLSExpiryConfig{Address: "api.example.net"}},
		"is not a DNS name":       {TLSExpiryConfig: TLSExpiryConfig{Address: "a:443", Name: "https://a"}},
		"min: -1ns is negative":   {TLSExpiryConfig: TLSExpiryConfig{Address: "a:443", Min: -1}},
		"warn: -1ns is negative":  {TLSExpiryConfig: TLSExpiryConfig{Address: "a:443", Warn: -1}},
		"warn: 24h0m0s is below":  {TLSExpiryConfig: TLSExpiryConfig{Address: "a:443", Warn: failover.Duration(day)}},
		"within: -1s is negative": {TLSExpiryConfig: TLSExpiryConfig{Address: "a:443"}, For: failover.Duration(-time.Second)},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err := (&TLSExpiryConfig{Address: "a:443", Min: failover.Duration(30 * day)}).Validate(); err != nil {
		t.Errorf("a min above the usual warn: %v", err)
	}
}
