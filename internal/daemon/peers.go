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
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
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
	pathSecond  = "/v1/second"
	pathView    = "/v1/view"
	// pathStanding is how a node asks the others, before its raft starts, what the
	// log says of it. It is open to every node's certificate of the authority: one
	// that is no member is told so.
	pathStanding = "/v1/standing"
)

// maxBody bounds what a peer can make us read.
const maxBody = 4 << 20

// caller speaks to nodes over mutual TLS. Connections are kept; a peer is
// trusted only as the node that the membership places at its address.
type caller struct {
	material *mtls.Material
	timeout  time.Duration
	// nodes is the membership now: it changes while the node runs.
	nodes func() map[failover.NodeID]failover.NodeSpec
	// hello is what this node says of itself; nil for an agent.
	hello func() consensus.Hello

	mu      sync.Mutex
	clients map[failover.NodeID]*http.Client
}

// generationHeader carries the sender's generation of the cluster; absent from
// agents, and from nodes whose disk is empty.
const generationHeader = "Failoverd-Generation"

func newCaller(m *mtls.Material, nodes func() map[failover.NodeID]failover.NodeSpec, timeout time.Duration) *caller {
	return &caller{material: m, nodes: nodes, timeout: timeout, clients: map[failover.NodeID]*http.Client{}}
}

// client is the one for a node, made at its first use. It does not know the
// node's address, which may change.
func (c *caller) client(id failover.NodeID) *http.Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	if cl := c.clients[id]; cl != nil {
		return cl
	}
	want := mtls.Identity{Role: mtls.RoleNode, Name: string(id)}
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		// Built anew for each connection: a renewed certificate takes effect.
		config, err := c.material.Client([]string{mtls.ProtoHTTP2, mtls.ProtoHTTP}, func(got mtls.Identity) error {
			if got != want {
				return fmt.Errorf("%s answered as %s, expected %s", addr, got, want)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		return dialTLS(ctx, network, addr, config, c.timeout)
	}
	cl := &http.Client{Transport: &http.Transport{
		DialTLSContext: dial, IdleConnTimeout: 30 * time.Second, ResponseHeaderTimeout: 5 * c.timeout,
		// HTTP/2, since most of the ways that an agent or a leader tries at once are given up, and with HTTP/1.1
		// each request that is given up takes its connection along: the next one would pay for a handshake. All
		// requests to a node share one connection then, so one that is dead must be seen soon.
		ForceAttemptHTTP2: true, HTTP2: &http.HTTP2Config{SendPingTimeout: c.timeout, PingTimeout: c.timeout, WriteByteTimeout: 2 * c.timeout},
		MaxIdleConnsPerHost: 2, // to nodes of versions before this one
	}}
	c.clients[id] = cl
	return cl
}

// call posts a request and decodes the answer into out, which may be nil.
func (c *caller) call(ctx context.Context, to failover.NodeID, path string, in, out any) error {
	spec, ok := c.nodes()[to]
	if !ok {
		return fmt.Errorf("node %s is not a member of the cluster", to)
	}
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("request to %s: %w", to, err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+spec.Address+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("request to %s: %w", to, err)
	}
	if c.hello != nil {
		if h := c.hello(); !h.Empty {
			req.Header.Set(generationHeader, strconv.FormatUint(h.Generation, 10))
		}
	}
	resp, err := c.client(to).Do(req)
	if err != nil {
		return fmt.Errorf("node %s (%s): %w", to, spec.Address, err)
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
	c.mu.Lock()
	defer c.mu.Unlock()
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

// Second implements Peers.
func (c *caller) Second(ctx context.Context, to failover.NodeID, request string) (*fence.Vouch, error) {
	var by fence.Vouch
	err := c.call(ctx, to, pathSecond, secondRequest{request}, &by)
	return &by, err
}

// secondRequest asks for a node's word; see Core.TakeSecond.
type secondRequest struct {
	Request string `json:"request"` // the agent's
}

// View implements Peers.
func (c *caller) View(ctx context.Context, to failover.NodeID) (LeaderView, error) {
	var v LeaderView
	err := c.call(ctx, to, pathView, struct{}{}, &v)
	return v, err
}

// peerServer answers the nodes' and agents' requests. It serves before the core
// runs: others must be able to ask about the standing of a node, and of this one.
type peerServer struct {
	core    atomic.Pointer[Core] // nil while the node starts
	gate    *consensus.Gatekeeper
	members func() map[failover.NodeID]failover.NodeSpec
	log     *slog.Logger
	refused func(request string) // counts; may be nil
	said    refusalLog           // of what was refused
}

// handler routes by path and by the role in the peer's certificate: an agent
// can do nothing but ask for its own region's lease (invariant S10).
func (p *peerServer) handler() http.Handler {
	mux := http.NewServeMux()
	node := func(path string, fn func(core *Core, w http.ResponseWriter, r *http.Request, from failover.NodeID)) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			id, err := peerIdentity(r)
			if err != nil || id.Role != mtls.RoleNode {
				http.Error(w, "this request needs a node's certificate", http.StatusForbidden)
				return
			}
			from := failover.NodeID(id.Name)
			if _, ok := p.members()[from]; !ok {
				http.Error(w, fmt.Sprintf("node %s is not a member of this cluster: `failoverd members add` makes it one", from), http.StatusForbidden)
				return
			}
			if err := p.sameGeneration(r, from); err != nil {
				http.Error(w, err.Error(), http.StatusConflict)
				return
			}
			core := p.core.Load()
			if core == nil {
				http.Error(w, "this node is starting", http.StatusServiceUnavailable)
				return
			}
			fn(core, w, r, from)
		})
	}
	mux.HandleFunc("POST "+pathStanding, p.standing)
	node(pathPropose, p.propose)
	node(pathBallot, p.ballot)
	node(pathSecond, p.second)
	node(pathView, p.view)
	node(pathPassed, func(core *Core, w http.ResponseWriter, r *http.Request, _ failover.NodeID) {
		p.lease(core, w, r, true, "")
	})
	mux.HandleFunc("POST "+pathLease, func(w http.ResponseWriter, r *http.Request) {
		id, err := peerIdentity(r)
		if err != nil || id.Role != mtls.RoleAgent {
			http.Error(w, "this request needs an agent's certificate", http.StatusForbidden)
			return
		}
		core := p.core.Load()
		if core == nil {
			http.Error(w, "this node is starting", http.StatusServiceUnavailable)
			return
		}
		p.lease(core, w, r, false, failover.Region(id.Name))
	})
	return p.watched(mux)
}

// watched logs and counts what is refused to a peer: a stolen node that tries one
// thing after the other is to be seen by somebody.
func (p *peerServer) watched(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &answered{ResponseWriter: w}
		next.ServeHTTP(answer, r)
		if answer.status/100 != 4 && !answer.forbidden {
			return
		}
		from := r.RemoteAddr
		who, _, _ := net.SplitHostPort(from) // a connection has a port of its own
		if id, err := peerIdentity(r); err == nil {
			who = id.String()
			from = who + " at " + from
		}
		request := "other"
		if slices.Contains([]string{pathPropose, pathBallot, pathLease, pathPassed, pathSecond, pathView, pathStanding}, r.URL.Path) {
			request = path.Base(r.URL.Path)
		}
		p.said.note(p.log, from, refusal{who, request, strings.TrimSpace(answer.said)})
		if p.refused != nil {
			p.refused(request)
		}
	})
}

// answered remembers how a request was answered.
type answered struct {
	http.ResponseWriter
	status int
	said   string // the beginning of it, if it is a refusal
	// forbidden marks a refusal that is an answer like any other to whoever asked.
	forbidden bool
}

func (a *answered) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answered) Write(b []byte) (int, error) {
	if a.status >= 400 && a.said == "" {
		a.said = string(b[:min(len(b), 300)])
	}
	return a.ResponseWriter.Write(b)
}

// sameGeneration refuses a node that belongs to another generation (rule T4). A
// request without one comes from an empty disk, or from a version before
// generations, which are the first.
func (p *peerServer) sameGeneration(r *http.Request, from failover.NodeID) error {
	text := r.Header.Get(generationHeader)
	self := p.gate.Self()
	if text == "" || self.Empty {
		return nil
	}
	g, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return fmt.Errorf("%s is %q, not a number", generationHeader, text)
	}
	if g != self.Generation {
		return consensus.DifferentGeneration(from, g, self.Node, self.Generation)
	}
	return nil
}

func peerIdentity(r *http.Request) (mtls.Identity, error) {
	if r.TLS == nil {
		return mtls.Identity{}, errors.New("no TLS")
	}
	return mtls.IdentityOf(*r.TLS)
}

func (p *peerServer) propose(core *Core, w http.ResponseWriter, r *http.Request, from failover.NodeID) {
	var in consensus.Proposal
	if !readJSON(w, r, &in) {
		return
	}
	reply := core.TakeProposal(r.Context(), from, in)
	if a, ok := w.(*answered); ok && reply.Forbidden {
		a.said, a.forbidden = reply.Failed, true
	}
	writeJSON(w, reply)
}

func (p *peerServer) ballot(core *Core, w http.ResponseWriter, r *http.Request, from failover.NodeID) {
	var in failover.Ballot
	if !readJSON(w, r, &in) {
		return
	}
	switch err := core.TakeBallot(from, in); {
	case errors.Is(err, errNotLeading):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	w.WriteHeader(http.StatusOK)
}

func (p *peerServer) second(core *Core, w http.ResponseWriter, r *http.Request, from failover.NodeID) {
	var in secondRequest
	if !readJSON(w, r, &in) {
		return
	}
	by, err := core.TakeSecond(from, in.Request)
	switch {
	case errors.Is(err, errOtherLeader):
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	case err != nil:
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeJSON(w, by)
}

func (p *peerServer) view(core *Core, w http.ResponseWriter, _ *http.Request, _ failover.NodeID) {
	v, err := core.LocalView()
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, v)
}

func (p *peerServer) lease(core *Core, w http.ResponseWriter, r *http.Request, passedOn bool, region failover.Region) {
	var in fence.Ask
	if !readJSON(w, r, &in) {
		return
	}
	if !passedOn && in.Region != region {
		http.Error(w, fmt.Sprintf("the certificate is for agents of %s, not of %s", region, in.Region), http.StatusForbidden)
		return
	}
	ans, err := core.TakeAsk(r.Context(), in, passedOn)
	switch {
	case errors.Is(err, errNotVouched):
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	case err != nil:
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
		if r.Context().Err() != nil {
			// Given up by whoever asked, who had an answer by another way: nothing is refused.
			http.Error(w, "the request was given up", http.StatusServiceUnavailable)
			return false
		}
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
