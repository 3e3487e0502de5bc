package consensus

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/internal/mtls"
)

// streamLayer carries raft over mutual TLS. A peer must hold the certificate of
// the very node that is expected at the address.
type streamLayer struct {
	net.Listener
	material *mtls.Material
	// expect returns the node that the membership places at an address.
	expect func(raft.ServerAddress) (mtls.Identity, error)
}

// NewTransport returns raft's transport over ln, whose connections are
// authenticated already. timeout bounds each exchange; it should be short, or a
// healed peer is found late.
func NewTransport(ln net.Listener, m *mtls.Material, expect func(raft.ServerAddress) (mtls.Identity, error), timeout time.Duration, log *slog.Logger) raft.Transport {
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:  &streamLayer{Listener: ln, material: m, expect: expect},
		MaxPool: 3, Timeout: timeout, Logger: NewRaftLogger(log),
	})
}

// Dial implements raft.StreamLayer.
func (s *streamLayer) Dial(addr raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	want, err := s.expect(addr)
	if err != nil {
		return nil, err
	}
	config, err := s.material.Client([]string{mtls.ProtoRaft}, func(got mtls.Identity) error {
		if got != want {
			return fmt.Errorf("%s answered as %s, expected %s", addr, got, want)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	d := tls.Dialer{Config: config}
	return d.DialContext(ctx, "tcp", string(addr))
}
