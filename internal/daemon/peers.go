package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/failoverd/failoverd/consensus"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/mtls"
)

// The paths of the nodes' and agents' requests, on the one mTLS port.
const (
	pathPropose = "/v1/propose"
	pathBallot  = "/v1/ballot"
	pathLease   = "/v1/lease"
	pathPassed  = "/v1/lease-passed-on"
	pathView    = "/v1/view"
)

// maxBody bounds what a peer can make us read.
const maxBody = 4 << 20

// caller speaks to nodes over mutual TLS. Connections are kept; a peer is
// trusted only as the node that the configuration places at its address.
type caller struct {
	clients map[failover.NodeID]*http.Client
	addr    map[failover.NodeID]string
}

func newCaller(m *mtls.Material, nodes map[failover.NodeID]failover.NodeSpec, timeout time.Duration) *caller {
	c := &caller{clients: map[failover.NodeID]*http.Client{}, addr: map[failover.NodeID]string{}}
	for id, spec := range nodes {
		want := mtls.Identity{Role: mtls.RoleNode, Name: string(id)}
		dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
			// Built anew for each connection: a renewed certificate takes effect.
			config, err := m.Client([]string{mtls.ProtoHTTP}, func(got mtls.Identity) error {
				if got != want {
					return fmt.Errorf("%s answered as %s, expected %s", addr, got, want)
				}
				return nil
			})
			if err != nil {
				return nil, err
			}
			return dialTLS(ctx, network, addr, config, timeout)
		}
		c.clients[id] = &http.Client{Transport: &http.Transport{
			DialTLSContext: dial, MaxIdleConnsPerHost: 2, IdleConnTimeout: 30 * time.Second,
			ResponseHeaderTimeout: 5 * timeout,
		}}
		c.addr[id] = spec.Address
	}
	return c
}

// call posts a request and decodes the answer into out, which may be nil.
func (c *caller) call(ctx context.Context, to failover.NodeID, path string, in, out any) error {
	client, ok := c.clients[to]
	if !ok {
		return fmt.Errorf("node %s is not in the configuration", to)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("request to %s: %w", to, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+c.addr[to]+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("request to %s: %w", to, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("node %s (%s): %w", to, c.addr[to], err)
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody))
	if err != nil {
		return fmt.Errorf("node %s: reading its answer: %w", to, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("node %s: %s", to, strings.TrimSpace(string(data)))
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(data, out); err != nil {
		return fmt.Errorf("node %s: its answer cannot be read: %w", to, err)
	}
	return nil
}

func (c *caller) close() {
	for _, cl := range c.clients {
		cl.CloseIdleConnections()
	}
}

// Forward implements consensus.Forwarder.
func (c *caller) Forward(ctx context.Context, to failover.NodeID, p consensus.Proposal) (consensus.Reply, error) {
	var r consensus.Reply
	err := c.call(ctx, to, pathPropose, p, &r)
	return r, err
}

// Ballot implements Peers.
func (c *caller) Ballot(ctx context.Context, to failover.NodeID, b failover.Ballot) error {
	return c.call(ctx, to, pathBallot, b, nil)
}

// Ask implements Peers.
func (c *caller) Ask(ctx context.Context, to failover.NodeID, a fence.Ask) (fence.Answer, error) {
	var ans fence.Answer
	err := c.call(ctx, to, pathPassed, a, &ans)
	return ans, err
}

// View implements Peers.
func (c *caller) View(ctx context.Context, to failover.NodeID) (LeaderView, error) {
	var v LeaderView
	err := c.call(ctx, to, pathView, struct{}{}, &v)
	return v, err
}

// peerServer answers the nodes' and agents' requests.
type peerServer struct {
	core *Core
	log  *slog.Logger
}

// handler routes by path and by the role in the peer's certificate: an agent
// can do nothing but ask for its own region's lease (invariant S10).
func (p *peerServer) handler() http.Handler {
	mux := http.NewServeMux()
	node := func(path string, fn func(w http.ResponseWriter, r *http.Request, from failover.NodeID)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			id, err := peerIdentity(r)
			if err != nil || id.Role != mtls.RoleNode {
				http.Error(w, "this request needs a node's certificate", http.StatusForbidden)
				return
			}
			fn(w, r, failover.NodeID(id.Name))
		})
	}
	node(pathPropose, p.propose)
	node(pathBallot, p.ballot)
	node(pathView, p.view)
	node(pathPassed, func(w http.ResponseWriter, r *http.Request, _ failover.NodeID) { p.lease(w, r, true, "") })
	mux.HandleFunc("POST "+pathLease, func(w http.ResponseWriter, r *http.Request) {
		id, err := peerIdentity(r)
		if err != nil || id.Role != mtls.RoleAgent {
			http.Error(w, "this request needs an agent's certificate", http.StatusForbidden)
			return
		}
		p.lease(w, r, false, failover.Region(id.Name))
	})
	return mux
}

func peerIdentity(r *http.Request) (mtls.Identity, error) {
	if r.TLS == nil {
		return mtls.Identity{}, errors.New("no TLS")
	}
	return mtls.IdentityOf(*r.TLS)
}

func (p *peerServer) propose(w http.ResponseWriter, r *http.Request, from failover.NodeID) {
	var in consensus.Proposal
	if !readJSON(w, r, &in) {
		return
	}
	writeJSON(w, p.core.TakeProposal(r.Context(), from, in))
}

func (p *peerServer) ballot(w http.ResponseWriter, r *http.Request, from failover.NodeID) {
	var in failover.Ballot
	if !readJSON(w, r, &in) {
		return
	}
	if err := p.core.TakeBallot(from, in); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (p *peerServer) view(w http.ResponseWriter, _ *http.Request, _ failover.NodeID) {
	v, err := p.core.LocalView()
	if err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	writeJSON(w, v)
}

func (p *peerServer) lease(w http.ResponseWriter, r *http.Request, passedOn bool, region failover.Region) {
	var in fence.Ask
	if !readJSON(w, r, &in) {
		return
	}
	if !passedOn && in.Region != region {
		http.Error(w, fmt.Sprintf("the certificate is for agents of %s, not of %s", region, in.Region), http.StatusForbidden)
		return
	}
	ans, err := p.core.TakeAsk(r.Context(), in, passedOn)
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, ans)
}

// readJSON is lenient about fields that it does not know: an agent of a newer
// version must not lose its lease to an older node.
func readJSON(w http.ResponseWriter, r *http.Request, into any) bool {
	dec := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	if err := dec.Decode(into); err != nil {
		http.Error(w, "the request cannot be read: "+err.Error(), http.StatusBadRequest)
		return false
	}
	return true
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	// An error here means that the caller is gone; it will ask again.
	_ = json.NewEncoder(w).Encode(v)
}
