package consensus

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// Granter answers lease requests with quorum rounds (rule G1). Requests that
// arrive while a round is under way are answered by the next one, so every
// answer rests on an entry that was appended after its request had arrived.
// One Granter serves one tenure.
type Granter struct {
	mu      sync.Mutex
	waiting []*waiter
	kick    chan struct{}
	heard   map[failover.Region]time.Time
	// quiet is since when an agent has not been heard, or since when the log has not
	// been told so: by this node's monotonic clock, in this tenure.
	quiet map[failover.AgentID]time.Time
	// left is when an agent has said goodbye. Its name is never used again.
	left map[failover.AgentID]time.Time
	now  func() time.Time
}

// late is for how long a request of an agent may still come after its goodbye.
const late = time.Hour

type waiter struct {
	req    failover.LeaseRequest
	leaves bool             // it is a goodbye of req.Agent
	done   chan grantResult // buffered: an asker that has left blocks nobody
}

type grantResult struct {
	grant failover.Grant
	err   error
}

// NewGranter returns a granter that answers nobody until Run.
func NewGranter() *Granter {
	return &Granter{kick: make(chan struct{}, 1), heard: map[failover.Region]time.Time{}, quiet: map[failover.AgentID]time.Time{}, left: map[failover.AgentID]time.Time{}, now: time.Now}
}

// Ask waits for the answer to one request.
func (g *Granter) Ask(ctx context.Context, req failover.LeaseRequest) (failover.Grant, error) {
	g.mu.Lock()
	g.heard[req.Region] = g.now()
	g.quiet[req.Agent] = g.heard[req.Region]
	g.mu.Unlock()
	return g.wait(ctx, &waiter{req: req, done: make(chan grantResult, 1)})
}

// Leave records that an agent has stopped its workers and ended. No request of it that is
// still on its way makes it known again: silent and unheard of, it would seem to have
// vanished.
func (g *Granter) Leave(ctx context.Context, id failover.AgentID) error {
	g.mu.Lock()
	maps.DeleteFunc(g.left, func(_ failover.AgentID, at time.Time) bool { return g.now().Sub(at) > late })
	g.left[id] = g.now()
	g.mu.Unlock()
	_, err := g.wait(ctx, &waiter{req: failover.LeaseRequest{Agent: id}, leaves: true, done: make(chan grantResult, 1)})
	return err
}

func (g *Granter) wait(ctx context.Context, w *waiter) (failover.Grant, error) {
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	g.mu.Unlock()
	select {
	case g.kick <- struct{}{}:
	default:
	}
	select {
	case r := <-w.done:
		return r.grant, r.err
	case <-ctx.Done():
		return failover.Grant{}, fmt.Errorf("the lease request was not answered in time: %w", ctx.Err())
	}
}

// Heard is when an agent of the region was last heard, by this node's clock;
// zero: never in this tenure.
func (g *Granter) Heard(r failover.Region) time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.heard[r]
}

// Run answers requests until ctx ends.
func (g *Granter) Run(ctx context.Context, t *Tenure) {
	for {
		select {
		case <-ctx.Done():
			batch, leaving := g.take()
			g.answer(append(batch, leaving...), nil, ctx.Err())
			return
		case <-g.kick:
		}
		batch, leaving := g.take()
		for _, w := range leaving { // one after the other with the rounds: none is under way
			_, err := t.Propose(ctx, failover.AgentLeft{Agent: w.req.Agent}, "")
			g.answer([]*waiter{w}, make([]failover.Grant, 1), err)
		}
		if len(batch) == 0 {
			continue
		}
		round := failover.Round{Requests: make([]failover.LeaseRequest, len(batch))}
		for i, w := range batch {
			round.Requests[i] = w.req
		}
		round.Silent = g.silent(t.State(), round)
		res, err := t.Propose(ctx, round, "")
		grants, _ := res.Value.([]failover.Grant)
		if err == nil && len(grants) != len(batch) {
			err = fmt.Errorf("the round answered %d of %d requests", len(grants), len(batch))
		}
		g.answer(batch, grants, err)
	}
}

// silent are the agents that were not heard for a whole lease while others of their
// region ask. Each stretch of silence is named once, also when the round's outcome is
// unknown: what is left out only makes the log forget later.
func (g *Granter) silent(s *failover.State, round failover.Round) []failover.Silence {
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.quiet, func(id failover.AgentID, _ time.Time) bool { return s.Agents[id] == nil })
	if s.Settings == nil || s.Level() < 3 {
		return nil
	}
	now := g.now()
	var out []failover.Silence
	for _, id := range slices.Sorted(maps.Keys(s.Agents)) {
		since, known := g.quiet[id]
		if !known {
			g.quiet[id] = now // an earlier leader heard it: this one begins to count
			continue
		}
		speaks := slices.ContainsFunc(round.Requests, func(r failover.LeaseRequest) bool { return r.Region == s.Agents[id].Region })
		if age := now.Sub(since); speaks && age >= s.Settings.Policy.Lease.Length.D() {
			g.quiet[id] = now
			out = append(out, failover.Silence{Agent: id, For: failover.Duration(age)})
		}
	}
	return out
}

// take takes what waits: the requests for the next round, and the goodbyes. What an agent
// had asked for before its own is answered with an error.
func (g *Granter) take() (batch, leaving []*waiter) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.waiting {
		switch _, gone := g.left[w.req.Agent]; {
		case w.leaves:
			leaving = append(leaving, w)
		case gone:
			w.done <- grantResult{err: fmt.Errorf("agent %s has said goodbye: this request came late", w.req.Agent)}
		default:
			batch = append(batch, w)
		}
	}
	g.waiting = nil
	return batch, leaving
}

func (g *Granter) answer(batch []*waiter, grants []failover.Grant, err error) {
	for i, w := range batch {
		if err != nil {
			w.done <- grantResult{err: err}
			continue
		}
		w.done <- grantResult{grant: grants[i]}
	}
}
