// Package app is the application that failoverd protects: an API that takes messages, a store in each region that
// replicates them, and workers that process each message once.
//
// It is correct if and only if its regions are never active at the same time for longer than the lease. Every claim of a
// message is agreed with the other region; only when the link between the regions has been down for longer than any lease
// lives does a region grant claims by itself ("solo"). That rule is sound if whoever lost the lease has stopped. If workers
// are left running behind a cut, both regions process the same backlog, and the ledger sees it.
package app

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/failoverd/failoverd/lab/ctl"
)

// Entry is one message in a store.
type Entry struct {
	Key    string `json:"key"`
	Body   string `json:"body,omitempty"`
	State  string `json:"state"`            // new, claimed, done
	Region string `json:"region,omitempty"` // of the claim or of the work done
	Epoch  uint64 `json:"epoch,omitempty"`
}

func rank(state string) int { return map[string]int{"new": 0, "claimed": 1, "done": 2}[state] }

// StoreOptions sets up a region's store. Durations are already divided by the time factor.
type StoreOptions struct {
	Region    string
	Socket    string        // unix socket for the region's APIs and workers
	Listen    string        // TCP address for the peer's replication
	Clients   string        // TCP address for the region's workers in a subnet of their own; "" means none
	Peer      string        // TCP address of the peer's store
	Journal   string        // append-only file; replayed at start
	SoloAfter time.Duration // link down for this long: grant claims alone
	LinkDown  time.Duration // silence after which the link counts as down
	Log       *slog.Logger
}

// Store is the replicated outbox of one region. It is safe for concurrent use.
type Store struct {
	opt StoreOptions

	mu       sync.Mutex
	entries  map[string]*Entry
	pending  map[string]bool // claims on their way to the peer
	owner    map[string]int  // key claimed by this region → client connection
	clients  map[int]bool
	nextConn int
	journal  *os.File
	synced   bool      // the link is up and both stores have merged
	lastUp   time.Time // last answer of the peer

	link peerLink
}

// StartStore replays the journal and serves until ctx ends. It returns once both listeners are open.
func StartStore(ctx context.Context, opt StoreOptions) (*Store, error) {
	s := &Store{opt: opt, entries: map[string]*Entry{}, pending: map[string]bool{}, owner: map[string]int{}, clients: map[int]bool{}, lastUp: time.Now()}
	if err := s.replay(); err != nil {
		return nil, err
	}
	local, err := ctl.Listen(opt.Socket)
	if err != nil {
		return nil, err
	}
	remote, err := (&net.ListenConfig{}).Listen(ctx, "tcp", opt.Listen)
	if err != nil {
		local.Close()
		return nil, fmt.Errorf("store of %s: listen for the peer: %w", opt.Region, err)
	}
	var clients net.Listener
	if opt.Clients != "" {
		if clients, err = (&net.ListenConfig{}).Listen(ctx, "tcp", opt.Clients); err != nil {
			local.Close()
			remote.Close()
			return nil, fmt.Errorf("store of %s: listen for workers: %w", opt.Region, err)
		}
		go accept(clients, s.serveLocal)
	}
	go func() {
		<-ctx.Done()
		local.Close()
		remote.Close()
		if clients != nil {
			clients.Close()
		}
	}()
	go accept(local, s.serveLocal)
	go accept(remote, s.servePeer)
	go s.keepLink(ctx)
	return s, nil
}

func accept(ln net.Listener, serve func(net.Conn)) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		go serve(c)
	}
}

// replay reads the journal. A store that comes back after its region died knows what it knew.
func (s *Store) replay() error {
	f, err := os.OpenFile(s.opt.Journal, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o644)
	if err != nil {
		return fmt.Errorf("store of %s: journal: %w", s.opt.Region, err)
	}
	s.journal = f
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		var e Entry
		if json.Unmarshal(sc.Bytes(), &e) == nil { // a torn last line is an entry that was never acknowledged
			s.entries[e.Key] = &e
		}
	}
	return sc.Err()
}

// set stores an entry and journals it. s.mu is held.
func (s *Store) set(e Entry) {
	s.entries[e.Key] = &e
	b, err := json.Marshal(e)
	if err == nil {
		_, err = s.journal.Write(append(b, '\n'))
	}
	if err != nil {
		s.opt.Log.Error("store journal", "err", err)
	}
}

// merge takes over what another store knows, if it is further along.
func (s *Store) merge(e Entry) {
	if old := s.entries[e.Key]; old == nil || rank(e.State) > rank(old.State) {
		s.set(e)
	}
}

// up tells whether the peer answers and has merged with us; solo whether it has been silent for longer than any lease.
func (s *Store) up() bool   { return s.synced && time.Since(s.lastUp) < s.opt.LinkDown }
func (s *Store) solo() bool { return !s.up() && time.Since(s.lastUp) > s.opt.SoloAfter }

// Put stores a new message (a known key is accepted again) and replicates it if the link is up. The second result tells
// whether the peer has it.
func (s *Store) Put(key, body string) (backlog int, replicated bool) {
	s.mu.Lock()
	e := s.entries[key]
	if e == nil {
		s.set(Entry{Key: key, Body: body, State: "new"})
		e = s.entries[key]
	}
	copied, backlog := *e, s.backlog()
	s.mu.Unlock()
	for { // acknowledge only what the peer has, unless the link is known to be down
		if _, err := s.link.call(peerMessage{Op: "put", Entries: []Entry{copied}}, s.opt.LinkDown); err == nil {
			return backlog, true
		}
		s.mu.Lock()
		up := s.up()
		s.mu.Unlock()
		if !up {
			return backlog, false
		}
		time.Sleep(s.opt.LinkDown / 50)
	}
}

// backlog counts the messages that nobody has claimed.
func (s *Store) backlog() (n int) {
	for _, e := range s.entries {
		if e.State == "new" {
			n++
		}
	}
	return n
}

// claim grants a message to a worker of this region, or says why not.
func (s *Store) claim(key string, epoch uint64, conn int) Response {
	s.mu.Lock()
	e := s.entries[key]
	refuse := func(why string) Response { s.mu.Unlock(); return Response{Why: why} }
	switch {
	case e == nil:
		return refuse("unknown")
	case e.State == "done":
		return refuse("done")
	case e.State == "claimed" && e.Region != s.opt.Region:
		return refuse("in doubt: claimed by " + e.Region) // it may have been processed there; a person decides
	case e.State == "claimed" && s.clients[s.owner[key]]:
		return refuse("claimed by a living worker")
	case s.pending[key]:
		return refuse("claim in progress")
	}
	reclaimed := e.State == "claimed" // its worker died: in this region that is certain
	want := Entry{Key: key, Body: e.Body, State: "claimed", Region: s.opt.Region, Epoch: epoch}
	up, solo := s.up(), s.solo()
	if !up && !solo {
		return refuse("waiting: the other region cannot be asked")
	}
	s.pending[key] = true
	s.mu.Unlock()
	var err error
	var reply peerMessage
	if up {
		reply, err = s.link.call(peerMessage{Op: "claim", Entries: []Entry{want}}, s.opt.LinkDown)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pending, key)
	switch {
	case err != nil:
		return Response{Why: "waiting: the other region did not answer"}
	case up && reply.Refused != "":
		for _, known := range reply.Entries {
			s.merge(known)
		}
		return Response{Why: reply.Refused}
	case s.entries[key].State == "done":
		return Response{Why: "done"}
	}
	s.set(want)
	s.owner[key] = conn
	if solo {
		s.opt.Log.Info("claim granted solo", "key", key)
	}
	return Response{OK: true, Body: want.Body, Reclaimed: reclaimed}
}

// done marks a message as processed here and tells the peer, without waiting for it: a merge repeats it after a cut.
func (s *Store) done(key string, epoch uint64) {
	s.mu.Lock()
	e := Entry{Key: key, State: "done", Region: s.opt.Region, Epoch: epoch}
	s.set(e)
	delete(s.owner, key)
	s.mu.Unlock()
	go func() { _, _ = s.link.call(peerMessage{Op: "put", Entries: []Entry{e}}, s.opt.LinkDown) }()
}

// Status is the world's view of a store.
type Status struct {
	Region  string   `json:"region"`
	LinkUp  bool     `json:"linkUp"`
	Solo    bool     `json:"solo"`
	New     []string `json:"new"`     // keys nobody has claimed
	Claimed []string `json:"claimed"` // keys claimed by this region and not done
	InDoubt []string `json:"inDoubt"` // keys claimed by the other region and not done
	Done    int      `json:"done"`
}

// Status sums up the store.
func (s *Store) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := Status{Region: s.opt.Region, LinkUp: s.up(), Solo: s.solo(), New: []string{}, Claimed: []string{}, InDoubt: []string{}}
	for k, e := range s.entries {
		switch {
		case e.State == "new":
			out.New = append(out.New, k)
		case e.State == "done":
			out.Done++
		case e.Region == s.opt.Region:
			out.Claimed = append(out.Claimed, k)
		default:
			out.InDoubt = append(out.InDoubt, k)
		}
	}
	sort.Strings(out.New)
	sort.Strings(out.Claimed)
	sort.Strings(out.InDoubt)
	return out
}
