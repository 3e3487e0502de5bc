package app

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"sync"
	"time"
)

// peerMessage is the replication protocol: one JSON value each way per call.
type peerMessage struct {
	Op      string  `json:"op,omitempty"` // sync, ping, put, claim
	Entries []Entry `json:"entries,omitempty"`
	Refused string  `json:"refused,omitempty"` // why a claim was not granted
}

var errLinkDown = errors.New("no link to the other region's store")

// peerLink is the outgoing connection. Calls are made one at a time; each has a deadline, and one that misses it ends the
// connection, since the answer of the next call could not be told from a late one.
type peerLink struct {
	mu   sync.Mutex
	conn net.Conn
	dec  *json.Decoder
	on   func() // called after each answer
}

func (l *peerLink) call(q peerMessage, limit time.Duration) (a peerMessage, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn == nil {
		return a, errLinkDown
	}
	_ = l.conn.SetDeadline(time.Now().Add(limit))
	if err = json.NewEncoder(l.conn).Encode(q); err == nil {
		err = l.dec.Decode(&a)
	}
	if err != nil {
		l.conn.Close()
		l.conn = nil
		return a, err
	}
	l.on()
	return a, nil
}

// keepLink dials the peer, merges both stores, and then pings, for ever.
func (s *Store) keepLink(ctx context.Context) {
	s.link.mu.Lock()
	s.link.on = func() {
		s.mu.Lock()
		s.lastUp = time.Now()
		s.mu.Unlock()
	}
	s.link.mu.Unlock()
	t := time.NewTicker(s.opt.LinkDown / 5)
	defer t.Stop()
	for {
		if _, err := s.link.call(peerMessage{Op: "ping"}, s.opt.LinkDown); err != nil {
			s.setSynced(false)
			s.dial(ctx)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (s *Store) setSynced(v bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.synced != v {
		s.opt.Log.Info("store link", "region", s.opt.Region, "up", v)
	}
	s.synced = v
}

func (s *Store) dial(ctx context.Context) {
	d := net.Dialer{Timeout: s.opt.LinkDown}
	c, err := d.DialContext(ctx, "tcp", s.opt.Peer)
	if err != nil {
		return
	}
	s.link.mu.Lock()
	s.link.conn, s.link.dec = c, json.NewDecoder(c)
	s.link.mu.Unlock()
	s.mu.Lock()
	all := make([]Entry, 0, len(s.entries))
	for _, e := range s.entries {
		all = append(all, *e)
	}
	s.mu.Unlock()
	a, err := s.link.call(peerMessage{Op: "sync", Entries: all}, s.opt.LinkDown)
	if err != nil {
		return
	}
	s.mu.Lock()
	for _, e := range a.Entries {
		s.merge(e)
	}
	s.mu.Unlock()
	s.setSynced(true)
}

// servePeer answers the peer's calls.
func (s *Store) servePeer(c net.Conn) {
	defer c.Close()
	dec, enc := json.NewDecoder(c), json.NewEncoder(c)
	for {
		var q peerMessage
		if dec.Decode(&q) != nil || enc.Encode(s.answer(q)) != nil {
			return
		}
	}
}

func (s *Store) answer(q peerMessage) (a peerMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a.Op = q.Op
	switch q.Op {
	case "claim":
		for _, want := range q.Entries {
			mine := s.entries[want.Key]
			switch {
			case mine != nil && mine.State == "done":
				a.Refused = "done"
			case mine != nil && mine.State == "claimed" && mine.Region == s.opt.Region:
				a.Refused = "in doubt: claimed by " + s.opt.Region
			case s.pending[want.Key]:
				a.Refused = "claim in progress in " + s.opt.Region
			default:
				s.set(want)
				continue
			}
			if mine != nil && mine.State != "new" {
				a.Entries = append(a.Entries, *mine)
			}
		}
	case "sync":
		for _, e := range q.Entries {
			s.merge(e)
		}
		for _, e := range s.entries {
			a.Entries = append(a.Entries, *e)
		}
	case "put":
		for _, e := range q.Entries {
			s.merge(e)
		}
	}
	return a
}
