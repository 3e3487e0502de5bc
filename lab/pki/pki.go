// Package pki is the public certificate authority of the simulated world: a root that clients are given as a file, an
// intermediate that signs, and server certificates whose life can be set, also to one that is over.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// RootFile is the path of the root's certificate below the world's directory.
const RootFile = "pki/root.pem"

const (
	issuerFile = "pki/issuer.pem" // the intermediate's certificate and key
	century    = 100 * 365 * 24 * time.Hour
)

// Create makes the authority's files in a world's directory, unless they are there.
func Create(world string) error {
	if _, err := os.Stat(filepath.Join(world, issuerFile)); err == nil {
		return nil
	}
	rootKey, root, err := sign("Lab Root CA", nil, nil, nil, century)
	if err != nil {
		return err
	}
	key, issuer, err := sign("Lab Issuing CA", nil, root, rootKey, century)
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return fmt.Errorf("authority of the world: %w", err)
	}
	if err := os.MkdirAll(filepath.Join(world, "pki"), 0o755); err != nil {
		return fmt.Errorf("authority of the world: %w", err)
	}
	block := func(typ string, b []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: b}) }
	if err := os.WriteFile(filepath.Join(world, RootFile), block("CERTIFICATE", root.Raw), 0o644); err != nil {
		return fmt.Errorf("authority of the world: %w", err)
	}
	if err := os.WriteFile(filepath.Join(world, issuerFile), append(block("CERTIFICATE", issuer.Raw), block("PRIVATE KEY", der)...), 0o600); err != nil {
		return fmt.Errorf("authority of the world: %w", err)
	}
	return nil
}

// sign makes a certificate: an authority's if it has no names. A nil parent signs itself. left is how much of its life is left;
// a certificate whose life is over was valid for a day.
func sign(name string, names []string, parent *x509.Certificate, parentKey crypto.Signer, left time.Duration) (*ecdsa.PrivateKey, *x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("key of %s: %w", name, err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, nil, fmt.Errorf("serial number of %s: %w", name, err)
	}
	ends := time.Now().Add(left)
	t := &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: name}, DNSNames: names, NotAfter: ends,
		NotBefore: time.Now().Add(min(0, left) - 24*time.Hour), BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	if len(names) == 0 {
		t.IsCA, t.KeyUsage, t.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	}
	if parent == nil {
		parent, parentKey = t, key
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent, key.Public(), parentKey)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate of %s: %w", name, err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("certificate of %s: %w", name, err)
	}
	return key, c, nil
}

// Server holds the certificate that a load balancer presents. It is safe for concurrent use.
type Server struct {
	names  []string
	issuer tls.Certificate

	mu   sync.Mutex
	cert *tls.Certificate
}

// NewServer takes the issuing authority from a world's directory and issues the first certificate.
func NewServer(world string, left time.Duration, names ...string) (*Server, error) {
	path := filepath.Join(world, issuerFile)
	issuer, err := tls.LoadX509KeyPair(path, path)
	if err != nil {
		return nil, fmt.Errorf("authority of the world: %w", err)
	}
	s := &Server{names: names, issuer: issuer}
	return s, s.Issue(left)
}

// Issue replaces the certificate by one with so much of its life left; less than nothing for one that has run out.
func (s *Server) Issue(left time.Duration) error {
	key, cert, err := sign(s.names[0], s.names, s.issuer.Leaf, s.issuer.PrivateKey.(crypto.Signer), left)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cert = &tls.Certificate{Certificate: [][]byte{cert.Raw, s.issuer.Leaf.Raw}, PrivateKey: key, Leaf: cert}
	return nil
}

// Ends is when the certificate runs out.
func (s *Server) Ends() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cert.Leaf.NotAfter
}

// Certificate is GetCertificate of crypto/tls.
func (s *Server) Certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cert, nil
}
