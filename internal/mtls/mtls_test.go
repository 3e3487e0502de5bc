package mtls

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// authority is a new authority in a directory of its own.
func authority(t *testing.T) (*Authority, string) {
	t.Helper()
	dir := t.TempDir()
	a, made, err := OpenAuthority(dir, "messaging")
	if err != nil || !made {
		t.Fatalf("made %t, %v", made, err)
	}
	return a, dir
}

func files(dir, name string) Files {
	return Files{CA: filepath.Join(dir, "ca.pem"), Cert: filepath.Join(dir, name+".pem"), Key: filepath.Join(dir, name+".key")}
}

func issue(t *testing.T, a *Authority, dir, name string, id Identity) *Material {
	t.Helper()
	if err := a.Issue(dir, name, id); err != nil {
		t.Fatal(err)
	}
	m, err := Load(files(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func node(name string) Identity { return Identity{RoleNode, name} }

func anyone(Identity) error { return nil }

// buffer is a log that can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) { b.mu.Lock(); defer b.mu.Unlock(); return b.b.Write(p) }

func (b *buffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

// serve starts a mux that answers each connection with the protocol's name.
func serve(t *testing.T, m *Material, allowed func(Identity) error) (addr string, log *buffer) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	log = &buffer{}
	mux := NewMux(ln, m, allowed, slog.New(slog.NewTextHandler(log, nil)))
	var wg sync.WaitGroup
	for name, l := range map[string]net.Listener{"raft": mux.Raft(), "http": mux.HTTP()} {
		wg.Go(func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = io.WriteString(c, name) // the client notices
				_ = c.Close()
			}
		})
	}
	t.Cleanup(func() { _ = mux.Close(); wg.Wait() })
	return ln.Addr().String(), log
}

// greet connects and reads what the server answers.
func greet(t *testing.T, addr string, m *Material, proto string, expect func(Identity) error) (string, error) {
	t.Helper()
	config, err := m.Client([]string{proto}, expect)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	c, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }() // read to its end
	b, err := io.ReadAll(c)
	if err == nil && len(b) == 0 {
		err = errors.New("closed without an answer")
	}
	return string(b), err
}

func TestMux(t *testing.T) {
	a, dir := authority(t)
	server := issue(t, a, dir, "third", node("third"))
	peer := issue(t, a, dir, "use2a", node("use2a"))
	agent := issue(t, a, dir, "agent", Identity{RoleAgent, "us-east-1"})
	stranger := issue(t, a, dir, "stranger", node("stranger"))
	other, otherDir := authority(t)
	foreign := issue(t, other, otherDir, "use2a", node("use2a"))
	members := func(id Identity) error {
		if id == node("stranger") {
			return fmt.Errorf("%s is not a member", id)
		}
		return nil
	}
	addr, log := serve(t, server, members)
	is := func(want Identity) func(Identity) error {
		return func(got Identity) error {
			if got != want {
				return fmt.Errorf("%s answered as %s", addr, got)
			}
			return nil
		}
	}
	for _, c := range []struct {
		name    string
		who     *Material
		proto   string
		expect  func(Identity) error
		answer  string // "" for refused
		message string // in the error or in the server's log
	}{
		{"a node speaks raft", peer, ProtoRaft, is(node("third")), "raft", ""},
		{"a node speaks HTTP", peer, ProtoHTTP, is(node("third")), "http", ""},
		{"an agent speaks HTTP", agent, ProtoHTTP2, anyone, "http", ""},
		{"an agent of an earlier version", agent, ProtoHTTP, anyone, "http", ""},
		{"an agent asks for raft", agent, ProtoRaft, anyone, "", "a peer without a node's certificate asked for raft"},
		{"another authority's client", foreign, ProtoRaft, anyone, "", "the peer's certificate is not ours"},
		{"no member", stranger, ProtoRaft, anyone, "", "node stranger is not a member"},
		{"the wrong node at the address", peer, ProtoRaft, is(node("use2b")), "", "answered as node third"},
		{"no protocol in common", peer, "h3", anyone, "", "no application protocol"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := greet(t, addr, c.who, c.proto, c.expect)
			if got != c.answer || (err == nil) != (c.answer != "") {
				t.Errorf("answer %q, %v", got, err)
			}
			if c.message == "" {
				return
			}
			for range 100 {
				if strings.Contains(fmt.Sprint(err)+log.String(), c.message) {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Errorf("%q is nowhere in %v and\n%s", c.message, err, log)
		})
	}

	t.Run("another authority's client that trusts us", func(t *testing.T) {
		if err := os.WriteFile(filepath.Join(otherDir, "both.pem"), mustRead(t, filepath.Join(dir, "ca.pem")), 0o600); err != nil {
			t.Fatal(err)
		}
		f := files(otherDir, "use2a")
		f.CA = filepath.Join(otherDir, "both.pem")
		m, err := Load(f)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := greet(t, addr, m, ProtoRaft, anyone); err == nil {
			t.Errorf("admitted: %q", got)
		}
	})
	t.Run("no certificate", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		c, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{ProtoHTTP}}}).DialContext(ctx, "tcp", addr) //nolint:gosec // the test is about the other side
		if err == nil {
			b, rerr := io.ReadAll(c)
			_ = c.Close()
			if rerr == nil {
				t.Errorf("admitted: %q", b)
			}
		}
	})
}

func mustRead(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A renewed file is used from the next handshake on; a broken one does not take
// away the one in memory.
func TestRenewal(t *testing.T) {
	a, dir := authority(t)
	m := issue(t, a, dir, "third", node("third"))
	if id, err := m.Identity(); err != nil || id != node("third") {
		t.Fatalf("%v, %v", id, err)
	}
	first := m.NotAfter()
	touch := func(d time.Duration) {
		at := time.Now().Add(d)
		if err := os.Chtimes(files(dir, "third").Cert, at, at); err != nil {
			t.Fatal(err)
		}
	}
	sign(t, a, dir, "third", node("third"), -time.Minute, 30*time.Minute)
	touch(time.Second)
	if got := m.NotAfter(); !got.Before(first.Add(-time.Hour)) {
		t.Errorf("the renewed certificate is not used: it ends %s", got)
	}
	renewed := m.NotAfter()
	if err := os.WriteFile(files(dir, "third").Cert, []byte("half written"), 0o600); err != nil {
		t.Fatal(err)
	}
	touch(2 * time.Second)
	if got := m.NotAfter(); !got.Equal(renewed) {
		t.Errorf("a broken file took the certificate away: %s", got)
	}
	if err := os.Remove(files(dir, "third").Cert); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Client(nil, anyone); err != nil {
		t.Errorf("a missing file took the certificate away: %v", err)
	}
}

// sign writes a certificate with a validity of its own.
func sign(t *testing.T, a *Authority, dir, name string, id Identity, from, to time.Duration) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: serial(), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if id.Name != "" {
		tmpl.URIs = []*url.URL{id.uri()}
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	f := files(dir, name)
	if err := writePair(f.Cert, f.Key, der, key); err != nil {
		t.Fatal(err)
	}
}

// What is wrong with the files is said with the way out.
func TestLoadErrors(t *testing.T) {
	a, dir := authority(t)
	issue(t, a, dir, "good", node("good"))
	sign(t, a, dir, "expired", node("x"), -2*time.Hour, -time.Hour)
	sign(t, a, dir, "future", node("x"), time.Hour, 2*time.Hour)
	sign(t, a, dir, "nameless", Identity{}, -time.Hour, time.Hour)
	sign(t, a, dir, "role", Identity{"king", "x"}, -time.Hour, time.Hour)
	if err := os.WriteFile(filepath.Join(dir, "empty.pem"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	good := files(dir, "good")
	for name, c := range map[string]struct {
		files Files
		want  string
	}{
		"missing":       {files(dir, "nowhere"), "cannot be read: "},
		"expired":       {files(dir, "expired"), "renew it with `failoverd certs`, or set the clock"},
		"future":        {files(dir, "future"), "renew it with `failoverd certs`, or set the clock"},
		"another's key": {Files{CA: good.CA, Cert: good.Cert, Key: files(dir, "expired").Key}, "make them with `failoverd certs`"},
		"no authority":  {Files{CA: filepath.Join(dir, "x"), Cert: good.Cert, Key: good.Key}, "certificate authority: "},
		"empty":         {Files{CA: filepath.Join(dir, "empty.pem"), Cert: good.Cert, Key: good.Key}, "holds no certificate"},
	} {
		if _, err := Load(c.files); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"nameless", "role"} {
		m, err := Load(files(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Identity(); err == nil || !strings.Contains(err.Error(), "names no failoverd identity") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := IdentityOf(tls.ConnectionState{}); err == nil {
		t.Error("a peer without a certificate has an identity")
	}
}

// An authority is made once and never replaced.
func TestAuthority(t *testing.T) {
	a, dir := authority(t)
	again, made, err := OpenAuthority(dir, "messaging")
	if err != nil || made || !bytes.Equal(again.der, a.der) {
		t.Fatalf("made again %t, %v", made, err)
	}
	for _, name := range []string{"ca.key", "good.key"} {
		if name == "good.key" {
			issue(t, a, dir, "good", node("good"))
		}
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is open to others: %v, %v", name, info.Mode(), err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "ca.key")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := OpenAuthority(dir, "messaging"); err == nil || !strings.Contains(err.Error(), "put both ca.pem and ca.key back") {
		t.Errorf("%v", err)
	}
	if _, _, err := OpenAuthority(filepath.Join(dir, "nowhere"), "messaging"); err == nil {
		t.Error("an authority was made in a directory that does not exist")
	}
	if err := a.Issue(filepath.Join(dir, "nowhere"), "x", node("x")); err == nil {
		t.Error("a certificate was written into a directory that does not exist")
	}
}

// A signed statement is its signer's word, whoever brings it.
func TestSignedStatements(t *testing.T) {
	a, dir := authority(t)
	b, foreign := authority(t)
	agent := issue(t, a, dir, "agent", Identity{RoleAgent, "east1"})
	n := issue(t, a, dir, "n", node("n"))
	stranger := issue(t, b, foreign, "agent", Identity{RoleAgent, "east1"})
	said := []byte("I have stopped")
	chain, signature, err := agent.Sign(said)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := n.Verify(said, chain, signature); err != nil || id != (Identity{RoleAgent, "east1"}) {
		t.Errorf("%v, %v", id, err)
	}
	theirs, forged, err := stranger.Sign(said)
	if err != nil {
		t.Fatal(err)
	}
	nodes, byNode, err := n.Sign(said)
	if err != nil {
		t.Fatal(err)
	}
	if id, err := n.Verify(said, nodes, byNode); err != nil || id != node("n") {
		t.Errorf("a node's own: %v, %v", id, err) // which is no agent's
	}
	for name, tc := range map[string]struct {
		said      string
		chain     [][]byte
		signature []byte
	}{
		"other words":           {"I run", chain, signature},
		"a node's signature":    {string(said), chain, byNode},
		"of another authority":  {string(said), theirs, forged},
		"without a certificate": {string(said), nil, signature},
		"without a signature":   {string(said), chain, nil},
		"rubbish":               {string(said), [][]byte{{1, 2, 3}}, signature},
		"a chain without end":   {string(said), slices.Repeat(chain, 100), signature},
	} {
		if id, err := n.Verify([]byte(tc.said), tc.chain, tc.signature); err == nil {
			t.Errorf("%s: taken for %s", name, id)
		}
	}
}
