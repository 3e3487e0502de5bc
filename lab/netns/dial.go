package netns

import (
	"context"
	"fmt"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Dial connects from inside a site, so that a test can see the world as a process there does. address must hold an IP:
// names would be resolved outside.
func (n *Net) Dial(ctx context.Context, site, network, address string) (net.Conn, error) {
	// A namespace belongs to a thread. The socket is made on the thread that calls, and keeps its namespace afterwards.
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("open this thread's namespace: %w", err)
	}
	defer home.Close()
	there, err := os.Open("/run/netns/" + n.Namespace(site))
	if err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("open the namespace of %s: %w", site, err)
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return nil, fmt.Errorf("enter the namespace of %s: %w", site, err)
	}
	c, derr := (&net.Dialer{}).DialContext(ctx, network, address)
	if err := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); err != nil {
		// The thread stays locked, and Go ends it with this goroutine instead of using it for others.
		return nil, fmt.Errorf("return from the namespace of %s: %w", site, err)
	}
	runtime.UnlockOSThread()
	return c, derr
}
