package probes

import (
	"context"
	"crypto/tls"
	"net"

	"github.com/failoverd/failoverd/internal/dnsq"
)

// dialer connects to the first address behind a name that accepts, using the
// configured resolvers.
type dialer struct{ dns *dnsq.Client }

// DialContext implements the dialer of HTTP transports and database drivers.
func (d dialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	addrs, err := d.dns.Addrs(ctx, host)
	if err != nil {
		return nil, err
	}
	for _, ip := range addrs {
		var conn net.Conn
		if conn, err = (&net.Dialer{}).DialContext(ctx, network, net.JoinHostPort(ip.String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// tlsConfig trusts the host's certificate authorities.
func tlsConfig(host string) *tls.Config {
	return &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
}
