// Package ledger is the world's witness: one process with one clock that no cut reaches. Workers connect to it over a unix
// socket and write down what they process; the end of a connection is the kernel's own record of a worker's death. From it
// follows whether two regions were active at once and whether anything was processed twice.
package ledger

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/failoverd/failoverd/lab/ctl"
)

// Event types.
const (
	Hello     = "hello"     // a process connects: role, region, task, pid
	Bye       = "bye"       // its connection ended; written by the ledger
	Processed = "processed" // a worker has done a message: key, region, epoch, start, end
	Sent      = "sent"      // a provider sends a message for the first time: key
	Acked     = "acked"     // it was accepted: key, region
	Handled   = "handled"   // a function has done an event: key, region
	Stored    = "stored"    // a majority of MongoDB's members has acknowledged a worker's document: key, region
	Fired     = "fired"     // what a rule or a schedule started has done its work: key, region
	TaskState = "task"      // an ECS task changed state: region, task, text "service STATE"
	Note      = "note"      // anything that shall stand in the timeline: text
)

// Event is one line of the ledger. At is the ledger's clock, except that Start and End are read by the worker (the same
// machine, hence the same clock).
type Event struct {
	At     time.Time `json:"at"`
	Type   string    `json:"type"`
	Conn   int       `json:"conn,omitempty"` // which connection
	Role   string    `json:"role,omitempty"` // of a hello: worker, api, provider
	Region string    `json:"region,omitempty"`
	Task   string    `json:"task,omitempty"`
	Pid    int       `json:"pid,omitempty"`
	Key    string    `json:"key,omitempty"`
	Epoch  uint64    `json:"epoch,omitempty"`
	Start  time.Time `json:"start,omitzero"`
	End    time.Time `json:"end,omitzero"`
	Text   string    `json:"text,omitempty"`
}

// request is what a client sends: an event, or the question whether a region has processed a key.
type request struct {
	Event
	Ask bool `json:"ask,omitempty"`
}

type answer struct {
	OK    bool   `json:"ok"`
	Found bool   `json:"found,omitempty"`
	Err   string `json:"err,omitempty"`
}

// Ledger keeps the events in memory and in an append-only file. It is safe for concurrent use.
type Ledger struct {
	log *slog.Logger

	mu     sync.Mutex
	file   *os.File
	events []Event
	conns  int
	stat   *tally
}

// Run serves the ledger on socket and its queries on control, and appends to file, until ctx ends.
func Run(ctx context.Context, socket, control, file string, log *slog.Logger) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return fmt.Errorf("open the ledger's file: %w", err)
	}
	defer f.Close()
	l := &Ledger{log: log, file: f, stat: newTally()}
	ln, err := ctl.Listen(socket)
	if err != nil {
		return err
	}
	defer ln.Close()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) { ctl.Reply(w, true) })
	mux.HandleFunc("GET /summary", func(w http.ResponseWriter, _ *http.Request) { ctl.Reply(w, l.Summary(time.Now())) })
	mux.HandleFunc("GET /unprocessed", func(w http.ResponseWriter, _ *http.Request) { ctl.Reply(w, l.unprocessed()) })
	mux.HandleFunc("GET /events", func(w http.ResponseWriter, r *http.Request) { ctl.Reply(w, l.list(r.URL.Query().Get("type"))) })
	mux.HandleFunc("POST /note", func(w http.ResponseWriter, r *http.Request) {
		var e Event
		if ctl.Read(w, r, &e) {
			e.Type = Note
			l.append(e)
			ctl.Reply(w, true)
		}
	})
	if err := ctl.Serve(ctx, control, mux); err != nil {
		return err
	}
	go func() {
		<-ctx.Done()
		ln.Close()
	}()
	for {
		c, err := ln.Accept()
		if err != nil {
			return nil //nolint:nilerr // closed by the end of ctx
		}
		go l.serve(c)
	}
}

func (l *Ledger) serve(c net.Conn) {
	defer c.Close()
	l.mu.Lock()
	l.conns++
	id := l.conns
	l.mu.Unlock()
	var hello Event
	in, out := bufio.NewScanner(c), json.NewEncoder(c)
	for in.Scan() {
		var q request
		if err := json.Unmarshal(in.Bytes(), &q); err != nil {
			_ = out.Encode(answer{Err: err.Error()})
			return
		}
		if q.Ask {
			_ = out.Encode(answer{OK: true, Found: l.processedIn(q.Key, q.Region)})
			continue
		}
		q.Conn = id
		if q.Type == Hello {
			hello = q.Event
		}
		l.append(q.Event)
		if out.Encode(answer{OK: true}) != nil {
			break
		}
	}
	if hello.Type != "" {
		l.append(Event{Type: Bye, Conn: id, Role: hello.Role, Region: hello.Region, Task: hello.Task, Pid: hello.Pid})
	}
}

func (l *Ledger) append(e Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e.At = time.Now()
	l.events = append(l.events, e)
	l.stat.add(e)
	b, err := json.Marshal(e)
	if err == nil {
		_, err = l.file.Write(append(b, '\n'))
	}
	if err != nil {
		l.log.Error("ledger file", "err", err)
	}
}

func (l *Ledger) list(typ string) []Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := []Event{}
	for _, e := range l.events {
		if typ == "" || e.Type == typ {
			out = append(out, e)
		}
	}
	return out
}

// Client is a process's connection to the ledger. Its methods are safe for concurrent use. When the ledger goes away the
// world is over: every call fails.
type Client struct {
	mu  sync.Mutex
	c   net.Conn
	in  *bufio.Scanner
	out *json.Encoder
}

// Dial connects and, if h has a role, introduces the process.
func Dial(socket string, h Event) (*Client, error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return nil, fmt.Errorf("connect to the ledger: %w", err)
	}
	l := &Client{c: c, in: bufio.NewScanner(c), out: json.NewEncoder(c)}
	if h.Role != "" {
		h.Type = Hello
		if err := l.Write(h); err != nil {
			c.Close()
			return nil, err
		}
	}
	return l, nil
}

// Close ends the connection: the end of whoever said hello on it.
func (l *Client) Close() error { return l.c.Close() }

// Write appends an event and returns when it is written.
func (l *Client) Write(e Event) error {
	_, err := l.call(request{Event: e})
	return err
}

// ProcessedIn asks whether a region's workers have processed a key. It stands for the region's own database, and must not
// be used to look into the other region's.
func (l *Client) ProcessedIn(region, key string) (bool, error) {
	a, err := l.call(request{Ask: true, Event: Event{Key: key, Region: region}})
	return a.Found, err
}

// WaitClosed returns when the ledger is gone. It is for clients that write nothing after their hello.
func (l *Client) WaitClosed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.in.Scan() {
	}
}

func (l *Client) call(q request) (answer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.out.Encode(q); err != nil {
		return answer{}, fmt.Errorf("write to the ledger: %w", err)
	}
	if !l.in.Scan() {
		return answer{}, fmt.Errorf("the ledger closed the connection: the world has ended")
	}
	var a answer
	if err := json.Unmarshal(l.in.Bytes(), &a); err != nil || !a.OK {
		return a, fmt.Errorf("the ledger refused %s: %s %w", q.Type, a.Err, err)
	}
	return a, nil
}
