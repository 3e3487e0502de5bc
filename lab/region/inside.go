package region

import (
	"context"
	"fmt"
	"net"
)

// inside takes connections and closes them: something in the VPC that nobody outside the two VPCs reaches. No address, no listener.
func inside(ctx context.Context, addr string) error {
	if addr == "" {
		return nil
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen inside the VPC: %w", err)
	}
	go func() {
		<-ctx.Done()
		_ = l.Close()
	}()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.Close()
		}
	}()
	return nil
}
