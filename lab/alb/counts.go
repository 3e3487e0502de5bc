package alb

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
)

// Counts is what a load balancer reports of itself since it began: requests for which a target was chosen, those that it
// refused with 503 before that, and the connections that are open now, from clients and to targets.
// https://docs.aws.amazon.com/elasticloadbalancing/latest/application/load-balancer-cloudwatch-metrics.html
type Counts struct{ Requests, Refused, Open int64 }

type counters struct{ requests, refused, open atomic.Int64 }

// Counts returns the present counts. Health checks count as nothing.
func (a *ALB) Counts() Counts {
	return Counts{a.counted.requests.Load(), a.counted.refused.Load(), a.counted.open.Load()}
}

// track counts a TCP connection until it is closed.
func (c *counters) track(conn net.Conn) net.Conn {
	c.open.Add(1)
	return &tracked{TCPConn: conn.(*net.TCPConn), close: sync.OnceFunc(func() { c.open.Add(-1) })}
}

// tracked keeps all that a TCP connection can: net/http closes one half of it, and a fault resets it.
type tracked struct {
	*net.TCPConn
	close func()
}

func (t *tracked) Close() error {
	t.close()
	return t.TCPConn.Close()
}

type trackedListener struct {
	net.Listener
	c *counters
}

func (l trackedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return l.c.track(conn), nil
}

func (c *counters) dial(d *net.Dialer) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := d.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return c.track(conn), nil
	}
}
