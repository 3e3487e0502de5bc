package consensus

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// rounds are the agents of each round that a node has applied, in log order;
// empty rounds only prove leadership.
func (h *host) rounds() [][]failover.AgentID {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out [][]failover.AgentID
	for _, cmd := range h.applied {
		if r, ok := cmd.(failover.Round); ok && len(r.Requests) > 0 {
			var ids []failover.AgentID
			for _, q := range r.Requests {
				ids = append(ids, q.Agent)
			}
			slices.Sort(ids)
			out = append(out, ids)
		}
	}
	return out
}

func request(id failover.AgentID) failover.LeaseRequest {
	return failover.LeaseRequest{Agent: id, Region: "east1", Component: "workers", Lease: failover.Duration(time.Minute), Enforced: true}
}

// G1: a request that arrives while a round is under way is answered by the next
// one, never by the one that had begun before it.
func TestGranterAnswersWithALaterRound(t *testing.T) {
	bubble(t, func(c *trio) {
		lead, tn := c.tenure()
		c.configure(tn)
		ctx, cancel := context.WithCancel(c.ctx)
		defer cancel()
		g := NewGranter()
		if !g.Heard("east1").IsZero() {
			t.Error("an agent was heard before any asked")
		}
		var wg sync.WaitGroup
		wg.Go(func() { g.Run(ctx, tn.Tenure) })
		ask := func(id failover.AgentID) {
			wg.Go(func() {
				if grant, err := g.Ask(ctx, request(id)); err != nil || !grant.Granted {
					t.Errorf("%s: %+v, %v", id, grant, err)
				}
			})
		}
		// The quorum is away for a moment: the first round is under way.
		for _, id := range c.ids {
			if id != lead.id {
				c.isolate(id)
			}
		}
		ask("a")
		time.Sleep(50 * time.Millisecond)
		ask("b")
		ask("c")
		time.Sleep(50 * time.Millisecond)
		if r := lead.rounds(); len(r) != 0 {
			t.Fatalf("answered without a quorum: %v", r)
		}
		for _, id := range c.ids {
			c.heal(id)
		}
		time.Sleep(2 * time.Second)
		if tn.ctx.Err() != nil {
			t.Fatal("the leadership was lost: the test shows nothing")
		}
		want := [][]failover.AgentID{{"a"}, {"b", "c"}}
		if r := lead.rounds(); !slices.EqualFunc(r, want, slices.Equal) {
			t.Errorf("rounds %v, want %v", r, want)
		}
		if at := g.Heard("east1"); at.IsZero() || !g.Heard("east2").IsZero() {
			t.Errorf("heard at %s", at)
		}
		// An asker that leaves blocks nobody.
		gone, leave := context.WithCancel(ctx)
		leave()
		if _, err := g.Ask(gone, request("d")); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		ask("e")
		time.Sleep(time.Second)
		cancel()
		wg.Wait()
	})
}

// A request that is under way when its agent says goodbye, or comes after it, makes the
// agent known no more.
func TestNoRequestOutlivesAGoodbye(t *testing.T) {
	bubble(t, func(c *trio) {
		lead, tn := c.tenure()
		c.configure(tn)
		ctx, cancel := context.WithCancel(c.ctx)
		defer cancel()
		g := NewGranter()
		var wg sync.WaitGroup
		wg.Go(func() { g.Run(ctx, tn.Tenure) })
		ask := func(id failover.AgentID) { wg.Go(func() { _, _ = g.Ask(ctx, request(id)) }) }
		for _, id := range c.ids {
			if id != lead.id {
				c.isolate(id)
			}
		}
		ask("b")
		time.Sleep(20 * time.Millisecond)
		ask("a") // is in no round yet
		time.Sleep(20 * time.Millisecond)
		wg.Go(func() {
			if err := g.Leave(ctx, "a"); err != nil {
				t.Error(err)
			}
		})
		time.Sleep(20 * time.Millisecond)
		ask("a") // came late
		wg.Go(func() {
			if err := g.Leave(ctx, "b"); err != nil { // whose request is in the round that is under way
				t.Error(err)
			}
		})
		for _, id := range c.ids {
			c.heal(id)
		}
		time.Sleep(2 * time.Second)
		ask("a")
		ask("c")
		time.Sleep(time.Second)
		if tn.ctx.Err() != nil {
			t.Fatal("the leadership was lost: the test shows nothing")
		}
		if got := lead.node.State().Agents; len(got) != 1 || got["c"] == nil {
			t.Errorf("known are %v", got)
		}
		cancel()
		wg.Wait()
	})
}

// Requests that wait when the tenure ends are told so, and none is granted by
// a leader without a quorum (G1).
func TestGranterEndsWithItsTenure(t *testing.T) {
	bubble(t, func(c *trio) {
		lead, tn := c.tenure()
		c.configure(tn)
		g := NewGranter()
		var wg sync.WaitGroup
		wg.Go(func() { g.Run(tn.ctx, tn.Tenure) })
		c.isolate(lead.id)
		for _, id := range []failover.AgentID{"a", "b", "c"} {
			wg.Go(func() {
				if grant, err := g.Ask(c.ctx, request(id)); err == nil {
					t.Errorf("an isolated leader granted %+v", grant)
				}
			})
			time.Sleep(30 * time.Millisecond)
		}
		wg.Wait()
		c.heal(lead.id)
		time.Sleep(5 * time.Second)
		c.converged(c.ids...)
		for _, id := range c.ids {
			for _, r := range c.hosts[id].rounds() {
				if slices.Contains(r, "b") || slices.Contains(r, "c") {
					t.Errorf("%s: a request that was answered with an error stands in the log: %v", id, r)
				}
			}
		}
	})
}

// A proposal whose leader stops answering is of unknown outcome, and sending it
// again under the same ID is safe.
func TestUnknownOutcome(t *testing.T) {
	bubble(t, func(c *trio) {
		lead, _ := c.tenure()
		for _, id := range c.ids {
			if id != lead.id {
				c.isolate(id)
			}
		}
		ctx, cancel := context.WithTimeout(c.ctx, 200*time.Millisecond)
		_, err := lead.live().Propose(ctx, by("once"), minute())
		cancel()
		if !errors.Is(err, ErrUnknownOutcome) {
			t.Fatalf("%v", err)
		}
		for _, id := range c.ids {
			c.heal(id)
		}
		time.Sleep(5 * time.Second)
		now, _ := c.tenure()
		if _, err := now.live().Propose(c.ctx, by("once"), minute()); err != nil {
			t.Fatal(err)
		}
		c.converged(c.ids...)
		if n := c.events(now, "pause"); n != 1 {
			t.Errorf("counted %d times", n)
		}
		synctest.Wait()
	})
}

// An entry that a node does not know stops it; one that may be passed over is.
func TestUnknownEntry(t *testing.T) {
	bubble(t, func(c *trio) {
		lead, _ := c.tenure()
		r := lead.live().raft
		if err := r.Apply([]byte(`{"v":1,"type":"new","ignorable":true,"body":{}}`), time.Second).Error(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		select {
		case err := <-c.fatals:
			t.Fatalf("an ignorable entry stopped a node: %v", err)
		default:
		}
		if err := r.Apply([]byte(`{"v":1,"type":"explode","body":{}}`), time.Second).Error(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		for range c.ids {
			select {
			case err := <-c.fatals:
				if !errors.Is(err, ErrUnknownCommand) {
					t.Error(err)
				}
			default:
				t.Fatal("a node went on after an entry that it does not know")
			}
		}
		// From then on it applies nothing.
		at := lead.live().State().Index
		if _, err := lead.live().Propose(c.ctx, by(""), minute()); !errors.Is(err, ErrUnknownCommand) || lead.live().State().Index != at {
			t.Errorf("applied after that: %v", err)
		}
	})
}

// S1: a leader says how long an agent has been silent by its own clock and within its
// tenure, once for each stretch, and only while others of the region ask.
func TestGranterMeasuresSilence(t *testing.T) {
	bubble(t, func(c *trio) {
		lead, tn := c.tenure()
		c.configure(tn)
		if _, err := tn.Propose(c.ctx, failover.RaiseFeatures{Level: 3}, ""); err != nil {
			t.Fatal(err)
		}
		lost := request("lost")
		if _, err := tn.Propose(c.ctx, failover.Round{Requests: []failover.LeaseRequest{lost}}, ""); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour) // nobody of the region speaks
		ctx, cancel := context.WithCancel(c.ctx)
		defer cancel()
		g := NewGranter()
		var wg sync.WaitGroup
		wg.Go(func() { g.Run(ctx, tn.Tenure) })
		ask := func(req failover.LeaseRequest) {
			if _, err := g.Ask(ctx, req); err != nil {
				t.Fatal(err)
			}
		}
		silent := func() time.Duration {
			a := lead.live().State().Agents["lost"]
			if a == nil {
				return -1
			}
			return a.Silent.D()
		}
		speak := func(d time.Duration) {
			for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Second) {
				ask(request("b"))
			}
		}
		speak(58 * time.Second)
		if silent() != 0 {
			t.Errorf("in the first minute of the tenure it is silent for %s", silent())
		}
		speak(4 * time.Minute)
		if got := silent(); got < 4*time.Minute || got > 5*time.Minute {
			t.Errorf("after 5 min it is silent for %s", got)
		}
		ask(lost)
		if silent() != 0 {
			t.Errorf("silent for %s when it was just heard", silent())
		}
		other := request("s")
		other.Region = "east2"
		for range 30 {
			ask(other)
			time.Sleep(5 * time.Second)
		}
		if silent() != 0 {
			t.Errorf("silent for %s while its region was", silent())
		}
		speak(time.Second)
		if got := silent(); got != 2*time.Minute {
			t.Errorf("one report of more than two leases counts as %s", got)
		}
		speak(9 * time.Minute)
		if silent() != -1 {
			t.Errorf("ten leases of silence: it is still known (%s)", silent())
		}
		ask(request("b")) // what is no longer known is not remembered
		cancel()
		wg.Wait()
		if _, known := g.quiet["lost"]; known {
			t.Error("the granter still remembers it")
		}
	})
}
