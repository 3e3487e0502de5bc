package sim

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/internal/sim/oracle"
)

// A scene is a failover of the reference plan, and where its points begin.
//
//	ill   the service answers nobody in the primary region; machines, control plane and nodes there are well: stops
//	      take effect, workers run until they are stopped, and there are nodes enough for a takeover
//	cut   the primary region is cut off from everything: the lease is the only evidence, three nodes of five are left,
//	      and each of them is needed for a majority
//	undo  as ill, and a person aborts with undo once the workers are told to stop: the points are those of going back
var scenes = []string{"ill", "cut", "undo"}

// byChance is a write that about one run in six has: an agent reports that its
// worker has stopped if the control plane has not ended the agent before. A cell
// of it would be empty more often than not, so the matrix has none; TestSim's
// clusters come to it.
const byChance = "agent-stopped"

// reference is the example configuration, as its readers have it.
func reference(t testing.TB) (failover.Settings, []failover.SignalState, failover.Plan) {
	t.Helper()
	c, err := config.Load("../../config.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	s := c.Settings()
	for i := range s.Components { // nobody is there to be asked
		if start := s.Components[i].Start; start != nil {
			start.Approval = false
		}
	}
	p, err := plan.Derive(&s, s.Primary)
	if err != nil {
		t.Fatal(err)
	}
	var sees []failover.SignalState
	for _, spec := range c.ProbeSpecs("use2a") {
		if string(spec.Region) == east1 {
			sees = append(sees, failover.SignalState{Component: spec.Component, Kind: spec.Kind, Plane: spec.Plane()})
		}
	}
	return s, sees, p
}

// refer lets run in the world what the example's components are.
func (c *cluster) refer(settings failover.Settings) {
	w := c.world
	clear(w.desired)
	for _, comp := range settings.Components {
		if comp.Stop != nil || comp.Start != nil {
			w.desired[pool(string(comp.Name), east1)], w.desired[pool(string(comp.Name), east2)] = 1, 0
		}
	}
	w.desired[east1], w.desired[pool("api", east1)] = 3, 2
}

// result is what one run came to.
type result struct {
	End        string // stable, undone, asked: …, silent
	World      string // final state of the world and of what the log says about it
	Effects    string // what changed the world, and how often
	Violations []string
	Repeated   []string
	Again      int // calls that were made again while their step was not finished: allowed, all are absolute or carry tokens
	Late       int // calls that landed after their step was finished, and changed nothing
	Unplayed   string
	Strikes    []strike
	Points     []string
	History    string
	Virtual    time.Duration
}

// differs says how the run differs from the undisturbed one; "" if it does not.
func (r result) differs(from result) string {
	var out []string
	for _, c := range []struct{ what, got, want string }{{"ended", r.End, from.End}, {"world", r.World, from.World}, {"effects", r.Effects, from.Effects}} {
		if c.got != c.want {
			out = append(out, fmt.Sprintf("%s: %s\n    undisturbed: %s", c.what, c.got, c.want))
		}
	}
	return strings.Join(out, "\n  ")
}

// play runs a scene in a bubble of its own, with the blows of the plan. want is
// the world's final state that is waited for, as long as may be; "" waits for
// everything that may still happen.
func play(t *testing.T, scene string, seed uint64, blows []blow, want string) (r result) {
	t.Helper()
	settings, sees, _ := reference(t)
	synctest.Test(t, func(*testing.T) {
		rng := rand.New(rand.NewPCG(seed, 11)) //nolint:gosec // a simulation
		ctx, cancel := context.WithCancel(context.Background())
		var mu sync.Mutex
		var died error
		c := newClusterOf(ctx, rng, settings, slog.New(slog.NewTextHandler(io.Discard, nil)), func(err error) {
			mu.Lock()
			defer mu.Unlock()
			died = err
		})
		c.sees = sees
		w := c.world
		c.refer(settings)
		d := newDirector(c, slices.Clone(blows))
		began := time.Now()
		c.begin(ctx)
		sleep(30*time.Second + time.Duration(rng.IntN(2000))*time.Millisecond)
		c.fall(scene, d)
		r.End = c.awaitClose()
		c.recoverAll(ctx, d)
		r.World = c.awaitWorld(want)

		s := c.newest()
		final := c.finish(cancel)
		r.Violations = oracle.Judge(w.record, c.rules, &final)
		if died != nil {
			r.Violations = append(r.Violations, "S10: a node ended: "+died.Error())
		}
		d.report(&r)
		out := Outcome{Record: w.record}
		if s != nil {
			out.Events = s.Events
		}
		r.History, r.Virtual = out.History(), time.Since(began)
	})
	return r
}

// fall lets the primary fail as the scene says, and points begin.
func (c *cluster) fall(scene string, d *director) {
	c.world.note(oracle.Note, "", "fault", "%s: %s fails", scene, east1)
	if scene == "cut" {
		c.net.set(func() { c.net.cutSite[east1] = true })
	} else {
		c.world.set(func() { c.world.sights.ill[east1] = true })
	}
	if scene != "undo" {
		d.begin()
		return
	}
	// The person sees on the dashboard that the workers are wanted no more.
	c.world.wg.Go(func() {
		for tries := 0; c.ctx.Err() == nil; {
			sleep(50 * time.Millisecond)
			c.world.mu.Lock()
			told := c.world.desired[east1] == 0
			c.world.mu.Unlock()
			s := c.newest()
			if !told || s == nil {
				continue
			}
			if s.Execution == nil || s.Execution.State == failover.ExecAborting {
				return
			}
			d.begin()
			// Pressed again until it shows, each time at another node: who gets no answer
			// does not wait for it.
			core, cmd := c.hosts[c.names[tries%len(c.names)]].live(), failover.Abort{Execution: s.Execution.ID, Undo: true}
			tries++
			if core == nil {
				continue
			}
			c.world.wg.Go(func() {
				octx, cancel := context.WithTimeout(c.ctx, 5*time.Second)
				defer cancel()
				_, _ = core.Propose(octx, "uid 3", "a person who knows", cmd)
			})
			sleep(450 * time.Millisecond)
		}
	})
}

// awaitClose waits until the execution is closed or asks, and says which.
func (c *cluster) awaitClose() string {
	for began := time.Now(); time.Since(began) < 25*time.Minute; sleep(100 * time.Millisecond) {
		s := c.newest()
		if s == nil {
			continue
		}
		if n := len(s.History); n > 0 {
			return string(s.History[n-1].State)
		}
		if e := s.Execution; e != nil && e.Question != nil {
			return "asked: " + e.Question.Text
		}
	}
	return "silent"
}

// recoverAll waits until the faults have passed and makes everything well.
func (c *cluster) recoverAll(ctx context.Context, d *director) {
	for began := time.Now(); !d.over() && time.Since(began) < 5*time.Minute; {
		sleep(time.Second)
	}
	c.world.set(func() { clear(c.world.sights.ill) })
	c.heal(ctx)
}

// awaitWorld waits until no call can land any more and the world is as wanted,
// and says how it is.
func (c *cluster) awaitWorld(want string) (got string) {
	for began := time.Now(); time.Since(began) < 4*time.Minute; sleep(5 * time.Second) {
		got = c.standing()
		if got == want && time.Since(began) >= sendTail+5*time.Second {
			break
		}
	}
	return got
}

// standing is the state of the world, and what the log says about it.
func (c *cluster) standing() string {
	s := c.newest()
	if s == nil || s.Settings == nil {
		return "no node"
	}
	w := c.world
	var up []string
	for _, region := range []string{east1, east2} {
		n, total := w.workersUp(region)
		up = append(up, fmt.Sprintf("%s %d of %d up", region, n, total))
	}
	traffic := w.trafficNow()
	w.mu.Lock()
	defer w.mu.Unlock()
	var wanted []string
	for _, pool := range slices.Sorted(maps.Keys(w.desired)) {
		wanted = append(wanted, fmt.Sprintf("%s %d", pool, w.desired[pool]))
	}
	var past []string
	// The resource holds the newest attempt's,
	// or that of one before it which nobody had resolved when the next began: of
	// those that are under way at once it takes one and refuses the others.
	right, burnt := true, true
	for _, e := range s.History {
		past = append(past, fmt.Sprintf("%s %s", e.Kind, e.State))
		for _, st := range e.Plan.Steps {
			rec := e.Step(st.ID)
			if !st.Tokens || rec.Last() == nil {
				continue
			}
			var tokens []uint64
			burnt = burnt && (rec.Consumed() || e.HandedOver(st))
			for _, a := range slices.Backward(rec.Attempts) {
				if len(tokens) > 0 && !a.FinishedAt.IsZero() {
					break
				}
				tokens = append(tokens, a.Token)
			}
			holds := func() uint64 { return w.lever("switch").token }
			if st.Action == "s3_object" {
				holds = func() uint64 { return w.lever("object").token }
			}
			if st.Action == restoreKind {
				holds = func() uint64 { return w.database(pool(string(st.Component), string(st.Region))).token }
			}
			for _, h := range s.Holds { // what was handed over, and done since
				if h.Step.ID == st.ID && h.Last != nil {
					tokens = append(tokens, h.Last.Token)
				}
			}
			for _, ev := range s.Events { // or took its place, so that it could land no more
				if ev.Kind == (failover.BurnToken{}).Name() && strings.Contains(ev.Text, fmt.Sprintf(" of %s in %s ", st.Action, st.Region)) {
					tokens = append(tokens, ev.Index)
				}
			}
			right = right && slices.Contains(tokens, holds())
		}
	}
	burnt = burnt && len(s.Late) == 0 // what was handed over is settled in the end
	return fmt.Sprintf("wanted: %s; workers: %s; traffic %s, each token is the newest attempt's, or one's that was open with it: %t, consumed or handed over: %t; log: %s, active %s, traffic %s, epoch %d, holds %v, frozen %t, open %t",
		strings.Join(wanted, ", "), strings.Join(up, ", "), traffic, right, burnt, strings.Join(past, ", "), s.Active, s.Traffic, s.Epoch,
		len(s.Holds), s.Freeze != nil, s.Execution != nil || s.Preparation != nil)
}

// report says what the calls came to.
func (d *director) report(r *result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var effects []string
	for _, key := range slices.Sorted(maps.Keys(d.changed)) {
		effects = append(effects, fmt.Sprintf("%s %d×", key, d.changed[key]))
	}
	r.Effects = strings.Join(effects, ", ")
	for _, n := range d.calls {
		r.Again += n - 1
	}
	r.Repeated, r.Late = d.repeated, d.late
	for _, id := range d.points {
		if strings.HasPrefix(id, byChance) {
			continue
		}
		r.Points = append(r.Points, id)
		if strings.HasPrefix(id, "finish-execution:") {
			break
		}
	}
	for _, s := range d.struck {
		r.Strikes = append(r.Strikes, *s)
	}
	d.mu.Unlock()
	r.Unplayed = d.unplayed()
	d.mu.Lock()
}
