package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/internal/admin"
)

// tried is a start that can be tried out.
type tried struct {
	actions.Action
	drill func(context.Context) (actions.Drilled, error)
}

func (tried) Inspect(context.Context) (actions.Effect, error) {
	return actions.Effect{State: actions.Absent}, nil
}

func (x tried) Drill(ctx context.Context, say func(string)) (actions.Drilled, error) {
	say("under way")
	return x.drill(ctx)
}

// drillHouse has three nodes, on which the start of api can be tried out as of says.
func drillHouse(t *testing.T, of func(context.Context) (actions.Drilled, error)) *house {
	h := newHouse(t)
	h.action = func(st failover.Step) (actions.Action, error) {
		if st.ID == "start-api" {
			return tried{drill: of}, nil
		}
		return nil, nil //nolint:nilnil // as it is
	}
	text := h.text("a b c")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	h.newestLevel()
	return h
}

// follower is a node that does not lead.
func (h *house) follower() *resident {
	lead := h.leader()
	for _, r := range h.nodes {
		if r != lead {
			return r
		}
	}
	return nil
}

// What a drill finds is in the log, as what it was found of: of the other direction it says nothing.
func TestDrillIsKept(t *testing.T) {
	var fails error
	h := drillHouse(t, func(context.Context) (actions.Drilled, error) {
		return actions.Drilled{Took: time.Minute, Detail: "7 tables"}, fails
	})
	n := h.follower()
	for _, c := range []failover.Component{"workers", "nothing"} {
		if _, err := n.Drill(t.Context(), "uid 0", "why", c, func(string) {}); err == nil || !strings.Contains(err.Error(), "those that can: api") {
			t.Errorf("%s: %v", c, err)
		}
	}
	row := func(active failover.Region) admin.Row {
		s := *n.State()
		s.Active = active
		rows := n.drillRows(&s, s.Time)
		if len(rows) != 1 {
			t.Fatalf("%+v", rows)
		}
		return rows[0]
	}
	out, err := n.Drill(t.Context(), "uid 0", "monthly", "api", func(string) {})
	if err != nil || out.Unkept != "" {
		t.Fatalf("%+v, %v", out, err)
	}
	h.until("the log to know", func(r *resident) bool { return len(r.State().Drills) == 1 })
	p, err := plan.Derive(n.State().Settings, "east1")
	if err != nil {
		t.Fatal(err)
	}
	if d := n.State().Drills["start-api"]; d.Of != p.Step("start-api").Fingerprint() || d.Node != n.this.ID {
		t.Errorf("%+v", d)
	}
	if r := row("east1"); !r.OK || !strings.Contains(r.Detail, "in 1m0s: 7 tables") {
		t.Errorf("%+v", r)
	}
	if r := row("east2"); r.OK || !strings.Contains(r.Detail, "never tried out") {
		t.Errorf("of the way back: %+v", r)
	}
	fails = fmt.Errorf("%w: the bucket cannot be reached from here", actions.ErrNotTried)
	if _, err := n.Drill(t.Context(), "uid 0", "monthly", "api", func(string) {}); !errors.Is(err, fails) {
		t.Errorf("%v", err)
	}
	if r := row("east1"); !r.OK {
		t.Errorf("what was not tried out says something of the start: %+v", r)
	}
	fails = errors.New("it lacks a grant")
	if _, err := n.Drill(t.Context(), "uid 0", "monthly", "api", func(string) {}); !errors.Is(err, fails) {
		t.Errorf("%v", err)
	}
	h.until("the log to know", func(r *resident) bool { return r.State().Drills["start-api"].Failed })
	if r := row("east1"); r.OK || !strings.Contains(r.Detail, "FAILED when") || !strings.Contains(r.Detail, "it lacks a grant") {
		t.Errorf("%+v", r)
	}
}

// A drill ends when its server may be needed, and when nobody can say that it is not; a node that stops waits until it has.
func TestDrillEnds(t *testing.T) {
	begun := make(chan struct{})
	gone := make(chan error, 1)
	over := t.Context()
	h := drillHouse(t, func(ctx context.Context) (actions.Drilled, error) {
		begun <- struct{}{}
		select {
		case <-ctx.Done():
		case <-over.Done(): // the test has failed
		}
		time.Sleep(3 * time.Second) // it takes away what it has loaded
		gone <- context.Cause(ctx)
		return actions.Drilled{}, ctx.Err()
	})
	n := h.follower()
	begin := func(why string) func() error {
		answer := make(chan error, 1)
		go func() {
			_, err := n.Drill(t.Context(), "uid 0", why, "api", func(string) {})
			answer <- err
		}()
		<-begun
		return func() error {
			select {
			case err := <-answer:
				<-gone
				return err
			case <-time.After(30 * time.Second):
				t.Fatalf("the drill goes on, that was begun %s", why)
				return nil
			}
		}
	}
	// The node stops: the server of the admin socket ends the drill, and what it does then is waited for.
	other := h.follower()
	for other == n || other == h.leader() {
		for _, r := range h.nodes {
			if r != n && r != h.leader() {
				other = r
			}
		}
	}
	go func() {
		_, _ = admin.NewClient(other.this.Socket).Drill(t.Context(), "api", "why", func(string) {})
	}()
	<-begun
	id, text := string(other.this.ID), h.text("a b c")
	_ = h.stop(id)
	select {
	case <-gone:
	default:
		t.Error("the node has stopped before its drill had taken everything away")
	}
	h.start(id, text)
	h.registered()

	answer := begin("until an execution begins")
	if _, err := h.leader().Propose(t.Context(), "uid 1", "why", "", failover.RequestExecution{Kind: failover.Failover, Overrides: failover.Overridable()}); err != nil {
		t.Fatal(err)
	}
	if err := answer(); err == nil || !strings.Contains(err.Error(), "the drill was ended: execution ") {
		t.Errorf("%v", err)
	}
	if _, err := n.Drill(t.Context(), "uid 0", "why", "api", func(string) {}); err == nil || !strings.Contains(err.Error(), "is under way: drill when it is over") {
		t.Errorf("during an execution: %v", err)
	}
	if len(n.State().Drills) != 0 {
		t.Errorf("what was ended says something of its start: %+v", n.State().Drills)
	}
	exec := n.State().Execution.ID
	h.do(failover.Abort{Execution: exec})
	h.until("the end of the execution", func(r *resident) bool { return r.State().Execution == nil })

	answer = begin("until nobody leads")
	for id := range h.nodes {
		if h.nodes[id] != n {
			_ = h.stop(id)
		}
	}
	if err := answer(); err == nil || !strings.Contains(err.Error(), "has known of no leader for 10s") {
		t.Errorf("%v", err)
	}
	if _, err := n.Drill(t.Context(), "uid 0", "why", "api", func(string) {}); err == nil || !strings.Contains(err.Error(), "a drill begins in the log") {
		t.Errorf("cut off: %v", err)
	}
}
