package actions

import (
	"context"
	"errors"
	"net"

	"golang.org/x/sys/unix"

	"github.com/failoverd/failoverd/internal/cloud"
)

// boundedDialer is the last layer before the network: a process that was paused between its last look and the write sends nothing.
type boundedDialer struct {
	memberDialer
	effects []context.Context // they hold deadlines, and nothing else is asked of them
}

func (d boundedDialer) DialContext(ctx context.Context, network, addr string) (net.Conn, error) {
	c, err := d.memberDialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if err := forgetful(c); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return boundedConn{c, d.effects}, nil
}

// forgetful has the kernel send nothing on its own account: what was written and not acknowledged is given up when the connection is
// closed, and after mongoLooked also when this process stands still. Without that it goes on for minutes, over a link that may come back.
func forgetful(c net.Conn) error {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return err
	}
	var set error
	err = errors.Join(tcp.SetLinger(0), raw.Control(func(fd uintptr) {
		set = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(mongoLooked.Milliseconds()))
	}))
	return errors.Join(err, set)
}

type boundedConn struct {
	net.Conn
	effects []context.Context
}

func (c boundedConn) Write(b []byte) (int, error) {
	for _, ctx := range c.effects {
		if err := cloud.CheckEffectDeadline(ctx, "mongo_promote"); err != nil {
			return 0, err
		}
	}
	return c.Conn.Write(b)
}
