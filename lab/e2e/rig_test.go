package e2e

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/awsfake"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/hooks"
	"github.com/failoverd/failoverd/lab/ledger"
	"github.com/failoverd/failoverd/lab/world"
)

// factor divides all durations where the machine is not slow (gear): the hold is 7.5 s, a lease 6.25 s, its wait 6.8 s, the application's solo time 7.5 s.
const factor = 12

// fast keeps what must not become too short for a small machine with everything on it.
var fast = map[string]string{
	"raft.heartbeat": `"200ms"`, "raft.election": `"200ms"`, "raft.leader_lease": `"160ms"`, "raft.commit": `"10ms"`,
	"policy.vote_ttl": `"1s"`, "probes.interval": `"250ms"`, "probes.timeout": `"500ms"`,
	"self_check.interval": `"500ms"`, "self_check.timeout": `"400ms"`, "aws.timeout": `"1500ms"`,
	"component.workers.see.sqs":           `{ queue = "failoverd-canary-{node}", slow = "1s", waiting = ["messages"] }`,
	"component.api.see.http":              `{ url = "http://api.{region}.example.net/healthz", slow = "400ms" }`,
	"component.workers.check.sqs_backlog": `{ queue = "messages", max = 200, drained_within = "5m", trend = "1s", within = "20s" }`,
	"traffic.check.traffic_observed":      `{ load_balancers = { us-east-1 = "app/messaging-us-east-1/50dc6c495c0c9188", us-east-2 = "app/messaging-us-east-2/50dc6c495c0c9188" }, moved = 95, ignore = 120, period = "1s", within = "75s" }`,
	"component.edge.see.timeout":          `"1s"`,
	"component.network.see.timeout":       `"1s"`,
}

// rig is one world with a cluster in it, and the test's way to look at both.
type rig struct {
	*testing.T
	c    *harness.Cluster
	w    *world.World
	ctx  context.Context
	slow time.Duration // multiplies every time, those of the test itself included: gear
}

// sub is the same world in a subtest.
func (r *rig) sub(t *testing.T) *rig { return &rig{T: t, c: r.c, w: r.w, ctx: r.ctx, slow: r.slow} }

// gear is what this machine needs all times to be multiplied by: two where two programs do not start within a twelfth of a
// second. At a twelfth of the real times a world of some thirty processes keeps two such processors busy all the time, and its
// time-outs tell a region that has died from one that lives only as long as whoever answers gets a processor in time.
func gear(t *testing.T) time.Duration {
	t.Helper()
	const quick, pairs = 83 * time.Millisecond, 5
	var took []time.Duration
	for range pairs {
		begun := time.Now()
		var both [2]*exec.Cmd
		for i := range both {
			both[i] = exec.CommandContext(t.Context(), failoverdBin, "version")
			if err := both[i].Start(); err != nil {
				t.Fatal(err)
			}
		}
		for _, cmd := range both {
			if err := cmd.Wait(); err != nil {
				t.Fatal(err)
			}
		}
		took = append(took, time.Since(begun))
	}
	slices.Sort(took)
	if took[pairs/2] <= quick {
		return 1
	}
	t.Logf("two programs start within %s here: all times of this world are twice as long", took[pairs/2])
	return 2
}

// option changes how a rig is built.
type option func(*harness.Options)

func edit(e harness.Edit) option {
	return func(o *harness.Options) { o.Config.Edits = append(o.Config.Edits, e) }
}

func set(path, value string) option {
	return func(o *harness.Options) { o.Config.Set[path] = value }
}

// start builds a world and waits until it is healthy.
func start(t *testing.T, opts ...option) *rig {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: the simulated world needs root for its network namespaces")
	}
	dir, err := os.MkdirTemp(harness.Memory(), "e2e-") // t.TempDir is too long for unix sockets
	if err != nil {
		t.Fatal(err)
	}
	slow := gear(t)
	o := harness.Options{
		Example: "../../config.toml.example", Failoverd: failoverdBin,
		Config: harness.ConfigOptions{Factor: factor / float64(slow), Slow: float64(slow), Set: map[string]string{}},
		World:  world.Options{Dir: dir, Prefix: "e2e", Lab: labBin, Minute: factor * time.Second, Log: slog.New(slog.NewTextHandler(t.Output(), nil))},
	}
	for k, v := range fast {
		o.Config.Set[k] = v
	}
	for _, f := range opts {
		f(&o)
	}
	c, err := harness.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{T: t, c: c, w: c.W, ctx: t.Context(), slow: slow}
	t.Cleanup(func() {
		for _, said := range c.Ended() {
			// A machine that is busy may keep a write waiting for longer than the test's short
			// timers allow. Nothing else is a reason to end.
			if t.Log(said); !strings.Contains(said, "the disk of the data directory hangs") {
				t.Error("a node has ended by itself")
			}
		}
		if t.Failed() {
			r.logs()
		}
		if err := note(c, o.Stubborn || o.Own); err != nil {
			t.Error(err)
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() && os.Getenv("E2E_KEEP") == "1" {
			t.Log("logs of all processes: " + dir + "/log")
			return
		}
		_ = os.RemoveAll(dir)
	})
	wait := 30 * time.Second
	if o.MariaDB {
		wait = time.Minute
	}
	r.do(r.healthy(wait))
	return r
}

// healthy waits until everything runs in us-east-1.
func (r *rig) healthy(limit time.Duration) error { return r.c.WaitHealthy(r.ctx, r.slow*limit, nil) }

// poll calls look until it is true.
func (r *rig) poll(limit time.Duration, look func() (done bool, waiting string)) error {
	return r.c.Poll(r.ctx, r.slow*limit, look)
}

// sleep lets time go by in which something must not happen, or a trouble lasts.
func (r *rig) sleep(d time.Duration) { time.Sleep(r.slow * d) }

// ms is a delay that the world is told.
func (r *rig) ms(n int) int { return int(r.slow) * n }

// tells gives a command to a node as a person does, who gives it again when the answer is that it has met an election and has
// changed nothing.
func (r *rig) tells(node string, args ...string) (out string, err error) {
	for begun := time.Now(); ; time.Sleep(time.Second) {
		out, err = r.c.CLI(r.ctx, node, args...)
		if err == nil || !strings.Contains(err.Error(), "give it again") && !strings.Contains(err.Error(), "no leader is known") || time.Since(begun) > r.slow*10*time.Second {
			return out, err
		}
		r.Logf("%s: %v", node, err)
	}
}

// order is tells for what must be accepted.
func (r *rig) order(node string, args ...string) string {
	r.Helper()
	out, err := r.tells(node, append(args, "--why", "a test")...)
	if err != nil {
		r.Fatalf("%v: %v: %s", args, err, out)
	}
	return out
}

// logs shows how each node's log ends.
func (r *rig) logs() {
	for _, n := range harness.Nodes {
		b, err := os.ReadFile(filepath.Join(r.c.Dir, "log", n+".log"))
		if err != nil {
			continue
		}
		lines := slices.DeleteFunc(strings.Split(strings.TrimSpace(string(b)), "\n"), func(l string) bool {
			return strings.Contains(l, `msg="signal changed"`) || strings.Contains(l, `msg="raft: `)
		})
		for _, l := range lines[max(0, len(lines)-25):] {
			r.Logf("%s: %.300s", n, l)
		}
	}
}

func (r *rig) do(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// until polls the status of any node until cond holds.
func (r *rig) until(limit time.Duration, what string, cond func(s *harness.Status) bool) *harness.Status {
	r.Helper()
	var got *harness.Status
	begin := time.Now()
	for {
		s, err := r.c.AnyStatus(r.ctx)
		if err == nil {
			if got = s; cond(s) {
				return s
			}
		}
		if time.Since(begin) > r.slow*limit {
			r.Fatalf("waited %s for %s; last status: %s, error %v", limit, what, describe(got), err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// record polls the world's record until cond holds.
func (r *rig) record(limit time.Duration, what string, cond func(world.Record) bool) world.Record {
	r.Helper()
	var got world.Record
	r.do(r.poll(limit, func() (bool, string) {
		var err error
		if got, err = r.w.Record(r.ctx); err != nil {
			return false, err.Error()
		}
		return cond(got), what
	}))
	return got
}

func describe(s *harness.Status) string {
	if s == nil {
		return "none"
	}
	out := "leader " + s.Raft.Leader + " " + s.LeaderError + ", condition " + s.Condition + ", hold " + s.HoldElapsed.D().String()
	if e := s.Current(); e != nil {
		out += ", execution " + e.State
		for _, st := range e.Plan.Steps {
			if state := e.StepState(st.ID); state != "done" && state != "pending" {
				out += ", " + st.ID + " " + state + " (" + e.Steps[st.ID].Detail + " " + s.Progress[st.ID] + ")"
			}
		}
		if e.Question != nil {
			out += ", asks: " + e.Question.Text
		}
	}
	return out
}

// lose cuts us-east-1 off and returns when that was.
func (r *rig) lose() time.Time {
	r.Helper()
	r.do(r.w.Cut(r.ctx, world.E1))
	at, err := r.c.NoteTime(r.ctx, "cut e1")
	r.do(err)
	return at
}

// stable waits until the execution is stable.
func (r *rig) stable() {
	r.Helper()
	r.until(60*time.Second, "a stable execution", func(s *harness.Status) bool {
		return s.Execution == nil && s.Last != nil && s.Last.State == "stable"
	})
}

// calls prints how many AWS calls a failover took, beside the least that could do: each different change once, which is also what it may
// take, and each of them looked at before and after (rule E2). What the probes read meanwhile is counted as well.
func (r *rig) calls(lossAt time.Time, before map[string]awsfake.OpCount) {
	r.Helper()
	reads := 0
	for op, n := range r.c.Ops(r.ctx) {
		if !n.Mutating {
			reads += n.Calls - before[op].Calls
		}
	}
	made, err := r.c.Mutations(r.ctx)
	r.do(err)
	writes, accepted, different := 0, 0, map[string]bool{}
	for _, call := range made {
		if call.At.Before(lossAt) {
			continue
		}
		writes++
		if call.Outcome == "ok" {
			accepted++
			different[call.Region+" "+call.Service+":"+call.Op+" "+string(call.Params)] = true
		}
	}
	if accepted > len(different) {
		r.Errorf("S4: AWS took %d changes, %d of them different: %+v", accepted, len(different), made)
	}
	s, err := r.c.AnyStatus(r.ctx)
	r.do(err)
	r.Logf("bench: what=aws_calls steps=%d writes=%d least_writes=%d reads=%d least_reads=%d seconds=%.0f", len(s.Last.Plan.Steps), writes, len(different), reads, 2*len(different), time.Since(lossAt).Seconds())
}

// movedSafely brings everything to rest, the lost region included, and judges a failover by the world's record.
//
// attempts bounds the accepted Route 53 batches: each attempt at the switch makes at most one.
func (r *rig) movedSafely(lossAt time.Time, attempts int) harness.Verdict {
	r.Helper()
	r.record(20*time.Second, "messages in us-east-2", func(rec world.Record) bool { return rec.Regions[world.Secondary].Acked > 5 })
	r.do(r.w.PauseProviders(r.ctx, true))
	r.do(r.w.Heal(r.ctx, world.E1))
	r.do(r.c.Drain(r.ctx, r.slow*30*time.Second))
	r.sleep(3 * time.Second) // the old region is back: nothing there may start working
	v, err := r.c.Judge(r.ctx, lossAt)
	r.do(err)
	r.Log(v.Line())
	if v.Active != world.Secondary || v.Epoch != 2 {
		r.Errorf("active %s, epoch %d by DNS answers, processed messages and the token: want us-east-2, 2", v.Active, v.Epoch)
	}
	if v.Duplicates != 0 || v.DualActiveMs != 0 || v.Lost != 0 {
		r.Errorf("S1: duplicates %d, both active %d ms, lost %d: want none", v.Duplicates, v.DualActiveMs, v.Lost)
	}
	if v.Detect < 0 || v.Recover < 0 {
		r.Errorf("detected after %s, recovered after %s", v.Detect, v.Recover)
	}
	r.weights(0, 255)
	changes, err := r.c.Changes(r.ctx)
	r.do(err)
	if len(changes) < 1 || len(changes) > attempts {
		r.Errorf("S4: %d accepted Route 53 batches, want 1 to %d: %+v", len(changes), attempts, changes)
	}
	for _, b := range changes {
		for _, ch := range b.Changes {
			if want := map[string]int{world.Primary: 0, world.Secondary: 255}; ch.Set.SetID != "" && ch.Set.Weight != want[ch.Set.SetID] {
				r.Errorf("S3: a batch at %s gave %s the weight %d", b.At.Format("15:04:05.000"), ch.Set.SetID, ch.Set.Weight)
			}
		}
	}
	tasks, err := r.w.Tasks(r.ctx, world.E2)
	r.do(err)
	running := 0
	for _, t := range tasks {
		if t.Service == "workers" && t.State == "RUNNING" {
			running++
		}
	}
	if running != 3 {
		r.Errorf("S4: %d tasks of workers run in us-east-2, want the 3 of the plan", running)
	}
	return v
}

// weights checks both names' weights in Route 53.
func (r *rig) weights(primary, secondary int) {
	r.Helper()
	for _, name := range []string{"api.example.net", "ws.example.net"} {
		w, err := r.c.Weights(r.ctx, name)
		r.do(err)
		if w[world.Primary] != primary || w[world.Secondary] != secondary {
			r.Errorf("weights of %s are %v, want %d and %d", name, w, primary, secondary)
		}
	}
}

// nothingMoved checks that no node has changed anything in the world: no call, no cluster, no record, no worker gone since a
// moment.
func (r *rig) nothingMoved(since time.Time) {
	r.Helper()
	calls, err := r.c.Mutations(r.ctx)
	r.do(err)
	if len(calls) > 0 {
		r.Errorf("%d mutating AWS calls, the first: %s %s in %s by %s", len(calls), calls[0].Service, calls[0].Op, calls[0].Region, calls[0].AccessKey)
	}
	if g := r.gateway(); len(g.Calls) > 0 {
		r.Errorf("the partners' gateway was told: %+v", g.Calls)
	}
	for _, site := range []string{world.E1, world.E2} {
		if changes := r.search(site).Changes; len(changes) > 0 {
			r.Errorf("%d changes in the cluster of %s, the first: %+v", len(changes), site, changes[0])
		}
	}
	r.weights(255, 0)
	r.workersLived(since)
}

// workersLived checks that no worker has ended since a moment.
func (r *rig) workersLived(since time.Time) {
	r.Helper()
	gone, err := r.w.Events(r.ctx, ledger.Bye)
	r.do(err)
	for _, e := range gone {
		if e.Role == "worker" && e.At.After(since) {
			r.Errorf("a worker of %s ended %s after the trouble began", e.Region, e.At.Sub(since))
		}
	}
}

// gateway is what the partners' gateway does, and what it was told.
func (r *rig) gateway() (g struct {
	Active string
	Calls  []hooks.Call
}) {
	r.Helper()
	r.do(r.w.Control(world.Net).Call(r.ctx, "GET", "/hooks", nil, &g))
	return g
}

// span tells when the first and the last event of a type came from a region, and how many there were.
func (r *rig) span(typ, region string) (first, last time.Time, n int) {
	r.Helper()
	events, err := r.w.Events(r.ctx, typ)
	r.do(err)
	for _, e := range events {
		if e.Region == region {
			if n++; n == 1 {
				first = e.At
			}
			last = e.At
		}
	}
	return first, last, n
}

// runs starts a program and returns its output, and its exit status; -1 if it did not run.
func runs(ctx context.Context, argv ...string) (string, int) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	out, _ := cmd.CombinedOutput() // the status says how it went
	return string(out), cmd.ProcessState.ExitCode()
}
