package consensus

import (
	"context"
	"fmt"
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
	now     func() time.Time
}

type waiter struct {
	req  failover.LeaseRequest
	done chan grantResult // buffered: an asker that has left blocks nobody
}

type grantResult struct {
	grant failover.Grant
	err   error
}

// NewGranter returns a granter that answers nobody until Run.
func NewGranter() *Granter {
	return &Granter{kick: make(chan struct{}, 1), heard: map[failover.Region]time.Time{}, now: time.Now}
}

// Ask waits for the answer to one request.
func (g *Granter) Ask(ctx context.Context, req failover.LeaseRequest) (failover.Grant, error) {
	w := &waiter{req: req, done: make(chan grantResult, 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, w)
	g.heard[req.Region] = g.now()
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
			g.answer(g.take(), nil, ctx.Err())
			return
		case <-g.kick:
		}
		batch := g.take()
		if len(batch) == 0 {
			continue
		}
		round := failover.Round{Requests: make([]failover.LeaseRequest, len(batch))}
		for i, w := range batch {
			round.Requests[i] = w.req
		}
		res, err := t.Propose(ctx, round, "")
		grants, _ := res.Value.([]failover.Grant)
		if err == nil && len(grants) != len(batch) {
			err = fmt.Errorf("the round answered %d of %d requests", len(grants), len(batch))
		}
		g.answer(batch, grants, err)
	}
}

func (g *Granter) take() []*waiter {
	g.mu.Lock()
	defer g.mu.Unlock()
	batch := g.waiting
	g.waiting = nil
	return batch
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
