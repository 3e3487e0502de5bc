package app

import (
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"time"
)

// Request is what the region's own processes ask of the store.
type Request struct {
	Op    string `json:"op"` // put, claim, done, sweep, reach
	Key   string `json:"key,omitempty"`
	Body  string `json:"body,omitempty"`
	Epoch uint64 `json:"epoch,omitempty"`
}

// Response is the store's answer.
type Response struct {
	OK         bool     `json:"ok"`
	Why        string   `json:"why,omitempty"` // why a claim was not granted
	Body       string   `json:"body,omitempty"`
	Reclaimed  bool     `json:"reclaimed,omitempty"`  // a dead worker of this region had claimed it: it may have been processed
	Replicated bool     `json:"replicated,omitempty"` // the other region has it
	Backlog    int      `json:"backlog,omitempty"`    // messages that nobody has claimed
	Keys       []string `json:"keys,omitempty"`
}

// serveLocal answers one process. When its connection ends, its claims are free for others of this region.
func (s *Store) serveLocal(c net.Conn) {
	defer c.Close()
	s.mu.Lock()
	s.nextConn++
	id := s.nextConn
	s.clients[id] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.clients, id)
		s.mu.Unlock()
	}()
	dec, enc := json.NewDecoder(c), json.NewEncoder(c)
	for {
		var q Request
		if dec.Decode(&q) != nil {
			return
		}
		var a Response
		switch q.Op {
		case "put":
			a.Backlog, a.Replicated = s.Put(q.Key, q.Body)
			a.OK = true
		case "claim":
			a = s.claim(q.Key, q.Epoch, id)
		case "done":
			s.done(q.Key, q.Epoch)
			a.OK = true
		case "sweep":
			a.OK, a.Keys = true, s.Status().New
		case "reach":
			a.OK = true
		default:
			a.Why = "unknown operation " + q.Op
		}
		if enc.Encode(a) != nil {
			return
		}
	}
}

// StoreClient is a process's connection to its region's store. It is safe for concurrent use; calls are made one by one.
type StoreClient struct {
	mu   sync.Mutex
	c    net.Conn
	dec  *json.Decoder
	addr string // by TCP: a call that fails is over, and the next one connects anew
}

// storePatience is how long a call over the network may take.
const storePatience = time.Second

// FarStore reaches a store over the network. It connects with the first call.
func FarStore(addr string) *StoreClient { return &StoreClient{addr: addr} }

// connect makes the connection of a call over the network.
func (s *StoreClient) connect() error {
	if s.c == nil {
		c, err := net.DialTimeout("tcp", s.addr, storePatience) //nolint:noctx // bounded
		if err != nil {
			return fmt.Errorf("connect to the region's store: %w", err)
		}
		s.c, s.dec = c, json.NewDecoder(c)
	}
	return s.c.SetDeadline(time.Now().Add(storePatience))
}

// DialStore connects to a store's unix socket.
func DialStore(socket string) (*StoreClient, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connect to the region's store: %w", err)
	}
	return &StoreClient{c: c, dec: json.NewDecoder(c)}, nil
}

// Call makes one request.
func (s *StoreClient) Call(q Request) (a Response, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.addr != "" {
		if err := s.connect(); err != nil {
			return a, err
		}
		defer func() {
			if err != nil {
				s.c.Close()
				s.c = nil
			}
		}()
	}
	if err := json.NewEncoder(s.c).Encode(q); err != nil {
		return a, fmt.Errorf("store: %s %s: %w", q.Op, q.Key, err)
	}
	if err := s.dec.Decode(&a); err != nil {
		return a, fmt.Errorf("store: %s %s: read answer: %w", q.Op, q.Key, err)
	}
	return a, nil
}
