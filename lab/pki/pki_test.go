package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A certificate is trusted by the root's file through the intermediate that the server presents, until its life is over.
func TestLife(t *testing.T) {
	dir := t.TempDir()
	if err := Create(dir); err != nil {
		t.Fatal(err)
	}
	first, err := os.ReadFile(filepath.Join(dir, RootFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := Create(dir); err != nil { // a second process of the world
		t.Fatal(err)
	}
	again, err := os.ReadFile(filepath.Join(dir, RootFile))
	if err != nil || string(again) != string(first) {
		t.Fatalf("the authority was made anew: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(first)
	s, err := NewServer(dir, time.Hour, "*.example.net", "*.us-east-1.example.net")
	if err != nil {
		t.Fatal(err)
	}
	ln, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{GetCertificate: s.Certificate})
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake()
			c.Close()
		}
	}()
	dial := func(name string) error {
		c, err := tls.Dial("tcp", ln.Addr().String(), &tls.Config{ServerName: name, RootCAs: roots})
		if err == nil {
			c.Close()
		}
		return err
	}
	for _, name := range []string{"api.example.net", "api.us-east-1.example.net"} {
		if err := dial(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var wrong x509.HostnameError
	if err := dial("api.us-east-2.example.net"); !errors.As(err, &wrong) {
		t.Errorf("another region's name: %v", err)
	}
	if err := s.Issue(-time.Hour); err != nil {
		t.Fatal(err)
	}
	var over x509.CertificateInvalidError
	if err := dial("api.example.net"); !errors.As(err, &over) || over.Reason != x509.Expired || time.Until(s.Ends()) > 0 {
		t.Errorf("a certificate whose life is over: %v, ends %s", err, s.Ends())
	}
}
