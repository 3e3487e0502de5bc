// Package mtls is the one port's mutual TLS: who a peer is by its certificate,
// how certificates are made, and how one listener serves both raft and the
// nodes' and agents' requests.
package mtls

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"time"
)

// Role says what a certificate's owner may do.
type Role string

// The roles.
const (
	RoleNode  Role = "node"  // a watchdog node; the name is its node ID
	RoleAgent Role = "agent" // an agent; the name is its region
)

// Identity is who a certificate speaks for. It stands in a URI subject
// alternative name, failoverd://ROLE/NAME.
type Identity struct {
	Role Role
	Name string
}

func (id Identity) String() string { return string(id.Role) + " " + id.Name }

func (id Identity) uri() *url.URL {
	return &url.URL{Scheme: "failoverd", Host: string(id.Role), Path: "/" + id.Name}
}

// IdentityOf reads the identity from a peer's verified certificate.
func IdentityOf(cs tls.ConnectionState) (Identity, error) {
	if len(cs.PeerCertificates) == 0 {
		return Identity{}, errors.New("the peer sent no certificate")
	}
	return identityOfCert(cs.PeerCertificates[0])
}

func identityOfCert(cert *x509.Certificate) (Identity, error) {
	for _, u := range cert.URIs {
		if u.Scheme == "failoverd" {
			id := Identity{Role: Role(u.Host), Name: strings.TrimPrefix(u.Path, "/")}
			if (id.Role == RoleNode || id.Role == RoleAgent) && id.Name != "" {
				return id, nil
			}
		}
	}
	return Identity{}, fmt.Errorf("the certificate of %q names no failoverd identity; make one with `failoverd certs`", cert.Subject.CommonName)
}

// Files are the three PEM files of one identity.
type Files struct{ CA, Cert, Key string }

// Material holds loaded certificates. It reads the files again when they
// change, so that renewing a certificate needs no restart. Safe for concurrent
// use.
type Material struct {
	files Files
	mu    sync.Mutex
	stamp time.Time
	cert  *tls.Certificate
	pool  *x509.CertPool
}

// Load reads the files once and reports everything that is wrong with them.
func Load(files Files) (*Material, error) {
	m := &Material{files: files}
	if err := m.refresh(); err != nil {
		return nil, err
	}
	return m, nil
}

// Identity is who the material speaks for.
func (m *Material) Identity() (Identity, error) {
	cert, _, err := m.current()
	if err != nil {
		return Identity{}, err
	}
	return identityOfCert(cert.Leaf)
}

// NotAfter is when the certificate ends.
func (m *Material) NotAfter() time.Time {
	cert, _, err := m.current()
	if err != nil {
		return time.Time{}
	}
	return cert.Leaf.NotAfter
}

// Sign signs a statement with the certificate's key. The chain begins with the
// certificate.
func (m *Material) Sign(statement []byte) (chain [][]byte, signature []byte, err error) {
	cert, _, err := m.current()
	if err != nil {
		return nil, nil, err
	}
	signer, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("the key %s cannot sign", m.files.Key)
	}
	hash := sha256.Sum256(statement)
	signature, err = signer.Sign(rand.Reader, hash[:], crypto.SHA256)
	return cert.Certificate, signature, err
}

// Verify says whose word a signed statement is: the chain must lead to our authority
// and be valid now, and the signature must be that of its first certificate.
func (m *Material) Verify(statement []byte, chain [][]byte, signature []byte) (Identity, error) {
	_, pool, err := m.current()
	if err != nil {
		return Identity{}, err
	}
	if len(chain) == 0 || len(chain) > maxChain {
		return Identity{}, fmt.Errorf("a chain of %d certificates, want 1 to %d", len(chain), maxChain)
	}
	between := x509.NewCertPool()
	var leaf *x509.Certificate
	for i, der := range chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			return Identity{}, fmt.Errorf("certificate %d of the chain: %w", i+1, err)
		}
		if i == 0 {
			leaf = cert
		} else {
			between.AddCert(cert)
		}
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: pool, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		return Identity{}, fmt.Errorf("the certificate is not of our authority: %w", err)
	}
	algorithm := map[x509.PublicKeyAlgorithm]x509.SignatureAlgorithm{x509.ECDSA: x509.ECDSAWithSHA256, x509.RSA: x509.SHA256WithRSA}[leaf.PublicKeyAlgorithm]
	if err := leaf.CheckSignature(algorithm, statement, signature); err != nil {
		return Identity{}, fmt.Errorf("the signature is not that of %q: %w", leaf.Subject.CommonName, err)
	}
	return identityOfCert(leaf)
}

// maxChain bounds what a peer can make us parse.
const maxChain = 5

func (m *Material) refresh() error {
	info, err := os.Stat(m.files.Cert)
	if err != nil {
		return fmt.Errorf("certificate %s cannot be read: %w; make it with `failoverd certs`", m.files.Cert, err)
	}
	stamp := info.ModTime()
	if ca, err := os.Stat(m.files.CA); err == nil && ca.ModTime().After(stamp) {
		stamp = ca.ModTime() // a changed authority counts as well
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cert != nil && stamp.Equal(m.stamp) {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(m.files.Cert, m.files.Key)
	if err != nil {
		return fmt.Errorf("certificate %s with key %s: %w; make them with `failoverd certs`", m.files.Cert, m.files.Key, err)
	}
	pem, err := os.ReadFile(m.files.CA)
	if err != nil {
		return fmt.Errorf("certificate authority: %w; make it with `failoverd certs`", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return fmt.Errorf("certificate authority %s holds no certificate", m.files.CA)
	}
	if now := time.Now(); now.After(cert.Leaf.NotAfter) || now.Before(cert.Leaf.NotBefore) {
		return fmt.Errorf("certificate %s is valid from %s to %s, and it is %s: renew it with `failoverd certs`, or set the clock",
			m.files.Cert, cert.Leaf.NotBefore.Format(time.RFC3339), cert.Leaf.NotAfter.Format(time.RFC3339), now.Format(time.RFC3339))
	}
	m.cert, m.pool, m.stamp = &cert, pool, stamp
	return nil
}

// current returns the newest usable certificate: a file that became unreadable
// does not take the one in memory away.
func (m *Material) current() (*tls.Certificate, *x509.CertPool, error) {
	err := m.refresh()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cert == nil {
		return nil, nil, err
	}
	return m.cert, m.pool, nil
}

// Server returns a TLS configuration that admits peers whose identity allowed
// accepts.
func (m *Material) Server(protocols []string, allowed func(Identity) error) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			cert, pool, err := m.current()
			if err != nil {
				return nil, err
			}
			return &tls.Config{
				MinVersion: tls.VersionTLS13, NextProtos: protocols,
				Certificates: []tls.Certificate{*cert}, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
				VerifyConnection: func(cs tls.ConnectionState) error { return check(cs, allowed) },
				// Every handshake proves the peer anew; a resumed session would
				// not be checked against today's membership.
				SessionTicketsDisabled: true,
			}, nil
		},
	}
}

// Client returns a TLS configuration that accepts servers whose identity
// allowed accepts. The name in the address does not matter; the identity does.
func (m *Material) Client(protocols []string, allowed func(Identity) error) (*tls.Config, error) {
	cert, pool, err := m.current()
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: protocols, Certificates: []tls.Certificate{*cert},
		// The chain is verified below, against our authority and for the identity
		// in the URI name rather than for a host name.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies chain and identity
		VerifyConnection: func(cs tls.ConnectionState) error {
			if len(cs.PeerCertificates) == 0 {
				return errors.New("the server sent no certificate")
			}
			inter := x509.NewCertPool()
			for _, c := range cs.PeerCertificates[1:] {
				inter.AddCert(c)
			}
			_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{
				Roots: pool, Intermediates: inter, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
			})
			if err != nil {
				return fmt.Errorf("the peer's certificate is not ours: %w", err)
			}
			return check(cs, allowed)
		},
	}, nil
}

func check(cs tls.ConnectionState, allowed func(Identity) error) error {
	id, err := IdentityOf(cs)
	if err != nil {
		return err
	}
	return allowed(id)
}
