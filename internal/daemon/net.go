package daemon

import (
	"context"
	"crypto/tls"
	"net"
	"time"
)

// dialTLS connects and shakes hands within the time-out: an unreachable peer
// must not cost more than that.
func dialTLS(ctx context.Context, network, addr string, config *tls.Config, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	d := tls.Dialer{Config: config, NetDialer: &net.Dialer{KeepAlive: 5 * time.Second}}
	return d.DialContext(ctx, network, addr)
}
