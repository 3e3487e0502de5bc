package consensus

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/durable"
)

// Hello is what a node says of itself at the beginning of each raft connection,
// and when it asks the others before its raft starts.
type Hello struct {
	Node   failover.NodeID `json:"node"`
	Disk   string          `json:"disk"`
	Starts uint64          `json:"starts"`
	Boot   string          `json:"boot"`
	// Empty says that the disk holds nothing of any cluster: its generation means
	// nothing then.
	Empty      bool   `json:"empty,omitempty"`
	Generation uint64 `json:"generation"`
	Features   int    `json:"features"` // highest feature level that it understands
}

// known is what a node remembers of the others. It lies in a file of its own
// because a node that starts has applied nothing yet, and must refuse a disk
// that was set back all the same: when all nodes start together, the first
// election comes before the first applied entry.
type known struct {
	Generation uint64 `json:"generation"`
	// Index is that of the log's entry with which the rest was learned.
	Index    uint64 `json:"index,omitempty"`
	Features int    `json:"features,omitempty"` // the level in force
	// Members are the nodes of the cluster with the one that is being added; nil
	// before the log names any.
	Members map[failover.NodeID]failover.NodeSpec    `json:"members,omitempty"`
	Nodes   map[failover.NodeID]failover.NodeRecord  `json:"nodes"`
	Removed map[failover.NodeID]failover.RemovedNode `json:"removed,omitempty"`
}

// Gatekeeper decides which nodes may speak raft with this one (rules T3 and T4).
// It is safe for concurrent use.
type Gatekeeper struct {
	path string
	log  *slog.Logger

	mu    sync.Mutex
	self  Hello
	known known
	saved string            // what the file holds
	said  map[string]string // the last refusal by peer, so that each is logged once
}

// knownFile is where a data directory keeps what its node knows of the others.
const knownFile = "known.json"

// NewGatekeeper reads what the data directory remembers. A file that is missing
// means that nothing is known; one that is damaged is an error, because it may
// have held the reason to refuse somebody.
func NewGatekeeper(dir string, self Hello, log *slog.Logger) (*Gatekeeper, error) {
	g := &Gatekeeper{self: self, log: log, said: map[string]string{}}
	if dir != "" {
		g.path = filepath.Join(dir, knownFile)
	}
	k, err := readKnown(g.path)
	if err != nil {
		return nil, err
	}
	g.known = k
	g.self.Generation = k.Generation
	return g, nil
}

// Again is the gatekeeper of a node's next start, for a node whose data directory
// is kept in memory: it knows what this one knew.
func (g *Gatekeeper) Again(self Hello) *Gatekeeper {
	g.mu.Lock()
	defer g.mu.Unlock()
	next := &Gatekeeper{self: self, log: g.log, said: map[string]string{}, known: g.known}
	next.self.Generation = g.known.Generation
	return next
}

func readKnown(path string) (known, error) {
	k := known{Nodes: map[failover.NodeID]failover.NodeRecord{}, Removed: map[failover.NodeID]failover.RemovedNode{}}
	if path == "" {
		return k, nil
	}
	data, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return k, fmt.Errorf("reading what is known of the other nodes: %w", err)
	default:
		if err := json.Unmarshal(data, &k); err != nil {
			return k, fmt.Errorf("%s is damaged: %w; remove the file if the other nodes run: they know the same", path, err)
		}
	}
	return k, nil
}

// Self is what this node says of itself now.
func (g *Gatekeeper) Self() Hello {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.self
}

// NotEmpty says that this node belongs to a cluster from now on.
func (g *Gatekeeper) NotEmpty() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.self.Empty = false
}

// Learn takes in what the log says, and keeps it in the file when it is new. A
// state without entries teaches nothing.
func (g *Gatekeeper) Learn(s *failover.State) error {
	if s.Index == 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if s.Generation < g.known.Generation {
		return nil // not caught up yet
	}
	g.self.Empty, g.self.Generation = false, s.Generation
	k := known{Generation: s.Generation, Index: g.known.Index, Features: s.Level(), Members: s.Members(), Nodes: maps.Clone(s.Nodes), Removed: s.Removed}
	if k.Members == nil {
		k.Members = g.known.Members
	}
	if g.known.Generation == s.Generation && s.Index < g.known.Index {
		// It has restarted, and has an old snapshot and no leader: what it knew before stands.
		k.Members, k.Features, k.Removed = g.known.Members, g.known.Features, g.known.Removed
	}
	for id, old := range g.known.Nodes {
		// A node that restarts replays its log: what it knew before stands.
		if rec, ok := k.Nodes[id]; g.known.Generation == s.Generation && (!ok || rec.Disk == old.Disk && rec.Starts < old.Starts) {
			k.Nodes[id] = old
		}
	}
	data, err := json.Marshal(k)
	if err == nil && string(data) != g.saved {
		k.Index = max(k.Index, s.Index)
		data, err = json.Marshal(k)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", g.path, err)
	}
	g.known = k
	if string(data) == g.saved || g.path == "" {
		return nil
	}
	if err := durable.Replace(g.path, data, 0o600); err != nil {
		return err
	}
	g.saved = string(data)
	return nil
}

// Plain reports whether nodes of versions that do not greet may take part: until
// every node has been upgraded, and never in a cluster that was begun anew.
func (g *Gatekeeper) Plain() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known.Features < 2 && g.known.Generation == 0
}

// Members are the nodes of the cluster as far as the log, or what was kept of it,
// names them; nil for a node that has heard of no cluster. Do not change it.
func (g *Gatekeeper) Members() map[failover.NodeID]failover.NodeSpec {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.known.Members
}

// Judge returns why a node may not speak with this one; nil: it may.
func (g *Gatekeeper) Judge(h Hello) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.judge(h)
}

func (g *Gatekeeper) judge(h Hello) error {
	if !h.Empty && !g.self.Empty && h.Generation != g.self.Generation {
		return DifferentGeneration(h.Node, h.Generation, g.self.Node, g.self.Generation)
	}
	if r, ok := g.known.Removed[h.Node]; ok {
		return failover.RemovedError(h.Node, r)
	}
	rec, ok := g.known.Nodes[h.Node]
	return failover.CheckDisk(h.Node, rec, ok, failover.NodeRecord{Disk: h.Disk, Starts: h.Starts, Boot: h.Boot})
}

// DifferentGeneration says that two nodes belong to different generations of the
// cluster, and what to do with the older one.
func DifferentGeneration(a failover.NodeID, ga uint64, b failover.NodeID, gb uint64) error {
	if ga > gb {
		a, ga, b, gb = b, gb, a, ga
	}
	return &failover.Refusal{Guard: "generation", Text: fmt.Sprintf("node %s belongs to generation %d of this cluster, node %s to generation %d, which was begun by `failoverd recover`: they share no log any more; stop %s for good, and let a new node join with an empty data directory under a new name", a, ga, b, gb, a)}
}

// greetTimeout bounds the exchange of greetings on a new connection.
const greetTimeout = 2 * time.Second

// greeting is one message of the exchange.
type greeting struct {
	Hello   Hello  `json:"hello"`
	Refused string `json:"refused,omitempty"`
}

// Greet exchanges greetings on a new connection, whose other end has proven by
// its certificate to be peer. The side that dialled speaks first. An error means
// that the connection must be closed: one of the two objects.
func (g *Gatekeeper) Greet(c net.Conn, dialled bool, peer failover.NodeID) error {
	if err := c.SetDeadline(time.Now().Add(greetTimeout)); err != nil {
		return fmt.Errorf("greeting %s: %w", peer, err)
	}
	var theirs greeting
	ours := greeting{Hello: g.Self()}
	var verdict error
	judge := func() {
		if theirs.Hello.Node != peer {
			verdict = fmt.Errorf("%s calls itself %s", peer, theirs.Hello.Node)
		} else {
			verdict = g.Judge(theirs.Hello)
		}
		if verdict != nil {
			ours.Refused = verdict.Error()
		}
	}
	// Dialler: hello → ← hello and verdict → verdict.
	steps := []func() error{
		func() error { return writeGreeting(c, ours) },
		func() error { defer judge(); return readGreeting(c, &theirs) },
		func() error { return writeGreeting(c, ours) },
	}
	if !dialled {
		steps = []func() error{
			func() error { defer judge(); return readGreeting(c, &theirs) },
			func() error { return writeGreeting(c, ours) },
			func() error { return readGreeting(c, &theirs) },
		}
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return fmt.Errorf("greeting %s: %w", peer, err)
		}
	}
	if verdict != nil {
		g.complain(peer, "refused "+string(peer), verdict.Error())
		return verdict
	}
	if theirs.Refused != "" {
		g.complain(peer, string(peer)+" refuses this node", theirs.Refused)
		return fmt.Errorf("%s refuses this node: %s", peer, theirs.Refused)
	}
	if err := c.SetDeadline(time.Time{}); err != nil {
		return fmt.Errorf("greeting %s: %w", peer, err)
	}
	return nil
}

// complain logs a refusal once until it changes: connections are tried many
// times a second.
func (g *Gatekeeper) complain(peer failover.NodeID, what, why string) {
	g.mu.Lock()
	known := g.said[string(peer)] == what+why
	g.said[string(peer)] = what + why
	g.mu.Unlock()
	if !known {
		g.log.Error("no raft with a peer: "+what, "peer", peer, "why", why)
	}
}

// maxGreeting bounds what a peer can make us read.
const maxGreeting = 16 << 10

func writeGreeting(w io.Writer, m greeting) error {
	data, err := json.Marshal(m)
	if err != nil || len(data) > maxGreeting {
		return fmt.Errorf("a greeting of %d bytes: %w", len(data), err)
	}
	_, err = w.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(data))), data...)) //nolint:gosec // bounded above
	return err
}

// readGreeting reads exactly one message: what follows belongs to raft. Fields
// that it does not know are those of a newer version.
func readGreeting(r io.Reader, into *greeting) error {
	var head [2]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return err
	}
	n := binary.BigEndian.Uint16(head[:])
	if n > maxGreeting {
		return fmt.Errorf("a greeting of %d bytes is too long", n)
	}
	data := make([]byte, n)
	if _, err := io.ReadFull(r, data); err != nil {
		return err
	}
	*into = greeting{}
	return json.Unmarshal(data, into)
}
