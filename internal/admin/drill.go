package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// Drilled is what a drill has found.
type Drilled struct {
	Took   failover.Duration `json:"took"`
	Detail string            `json:"detail"`
	// Unkept is why the log does not know of it; "": it does.
	Unkept string `json:"unkept,omitempty"`
}

// Driller is what the server needs of a node that tries something out.
type Driller interface {
	// Drill tries a component's start out, beside what is live. say is told how far it is; by is who.
	Drill(ctx context.Context, by, why string, c failover.Component, say func(line string)) (Drilled, error)
}

// drillLine is one line of the answer: how far it is, and the last one how it ended.
type drillLine struct {
	Line  string   `json:"line,omitempty"`
	Done  *Drilled `json:"done,omitempty"`
	Error string   `json:"error,omitempty"`
}

// drillPace is how often a person is told how far it is.
const drillPace = time.Second

// drillPatience is for how long a line waits for whoever asked for the drill.
const drillPatience = 5 * time.Second

// drill streams how far it is as JSON lines, until it has ended or the caller leaves, with whom it ends.
func (s *server) drill(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("why") == "" {
		http.Error(w, "a drill needs a reason (--why)", http.StatusBadRequest)
		return
	}
	ctx, leave := context.WithCancel(r.Context())
	defer leave()
	var mu sync.Mutex
	var last time.Time
	enc, stream := json.NewEncoder(w), http.NewResponseController(w)
	defer func() { _ = stream.SetWriteDeadline(time.Time{}) }() // the connection may serve another request
	w.Header().Set("Content-Type", "application/x-ndjson")
	send := func(l drillLine) {
		// Who reads no more, as behind a pager or a stopped terminal, does not hold up what may have to end at any moment.
		err := stream.SetWriteDeadline(time.Now().Add(drillPatience))
		if err = errors.Join(err, enc.Encode(l), stream.Flush()); err != nil {
			leave()
		}
	}
	by, _ := r.Context().Value(credKey{}).(string)
	done, err := s.node.Drill(ctx, by, q.Get("why"), failover.Component(q.Get("component")), func(line string) {
		mu.Lock()
		defer mu.Unlock()
		if time.Since(last) >= drillPace {
			last = time.Now()
			send(drillLine{Line: line})
		}
	})
	mu.Lock()
	defer mu.Unlock()
	if err != nil {
		send(drillLine{Error: err.Error()})
		return
	}
	send(drillLine{Done: &done})
}

// Drill asks a node to try a component's start out. It ends when ctx does.
func (c *Client) Drill(ctx context.Context, component, why string, say func(line string)) (Drilled, error) {
	resp, err := c.do(ctx, http.MethodPost, "/v1/drill?"+url.Values{"component": {component}, "why": {why}}.Encode(), nil)
	if err != nil {
		return Drilled{}, err
	}
	defer func() { _ = resp.Body.Close() }() // read to its end or given up
	for dec := json.NewDecoder(resp.Body); ; {
		var l drillLine
		switch err := dec.Decode(&l); {
		case err != nil:
			return Drilled{}, fmt.Errorf("the node was not heard to its end, so that the drill has ended as well: %w", err)
		case l.Done != nil:
			return *l.Done, nil
		case l.Error != "":
			return Drilled{}, errors.New(l.Error)
		}
		say(l.Line)
	}
}
