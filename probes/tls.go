package probes

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"
)

// trustedRoots are the authorities of a PEM file, or nil, the system's own, without
// one. The file is read anew each time, since it may be replaced while the process
// lives.
func trustedRoots(caFile string) (*x509.CertPool, error) {
	if caFile == "" {
		return nil, nil //nolint:nilnil // nil is how crypto/tls says "the system's own"
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("reading ca_file: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("reading ca_file: %s holds no certificate in PEM", caFile)
	}
	return pool, nil
}

// caFileFor refuses a file that nothing would read.
func caFileFor(u, caFile string, schemes ...string) error {
	if caFile == "" {
		return nil
	}
	for _, s := range schemes {
		if strings.HasPrefix(u, s+"://") {
			return nil
		}
	}
	return badParam("ca_file", "has no use, since %q is without TLS: write %s://, or take it out", u, strings.Join(schemes, ":// or "))
}

// untrusted says in a few words why a certificate was refused, with the dates that a
// person would ask for next; "" if the error is another one.
func untrusted(err error, now time.Time) string {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired && invalid.Cert != nil {
		name := invalid.Cert.Subject.CommonName
		if now.Before(invalid.Cert.NotBefore) {
			return fmt.Sprintf("the certificate %q is not valid before %s", name, invalid.Cert.NotBefore.UTC().Format(time.DateTime))
		}
		return fmt.Sprintf("the certificate %q ran out at %s UTC", name, invalid.Cert.NotAfter.UTC().Format(time.DateTime))
	}
	if isCertificate(err) {
		return "its certificate is not trusted: " + unwrapOp(err).Error()
	}
	return ""
}

// defaultPort is the port of a URL.
func defaultPort(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	return map[string]string{"http": "80", "ws": "80", "https": "443", "wss": "443"}[u.Scheme]
}
