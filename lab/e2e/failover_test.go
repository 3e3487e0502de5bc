package e2e

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/hooks"
	"github.com/failoverd/failoverd/lab/slackfake"
	"github.com/failoverd/failoverd/lab/world"
)

// S1, S3, S4: a region that is cut off stops by itself before the other one starts.
func TestIncidentP2RegionCutOff(t *testing.T) {
	r := start(t)
	at := r.lose()
	before := r.c.Ops(r.ctx)
	r.stable()
	r.calls(at, before)
	r.movedSafely(at, 1)
	r.metered()
	if g := r.gateway(); g.Active != world.Secondary || len(g.Calls) != 1 || g.Calls[0].Outcome != 202 || g.Calls[0].Step != "start-partners" {
		t.Errorf("the partners' gateway: %+v", g)
	}
}

// A region whose every process dies is left in the same way, and does not work again when it comes back as it was. A hook that does
// what it is told, and whose answer is lost, is told again with a newer token until it says that it is so.
func TestRegionKilled(t *testing.T) {
	r := start(t)
	r.do(r.w.Fault(r.ctx, world.Net, faults.Fault{Service: "hooks", Op: "do", Mode: faults.LostReply}))
	r.w.KillSite(r.ctx, world.E1)
	at, err := r.c.NoteTime(r.ctx, "kill e1")
	r.do(err)
	r.stable()
	r.do(r.w.StartSite(r.ctx, world.E1))
	r.do(r.c.StartNode(r.ctx, "use1a"))
	r.do(r.c.StartNode(r.ctx, "use1b"))
	r.movedSafely(at, 1)
	g := r.gateway()
	newer := slices.IsSortedFunc(g.Calls, func(a, b hooks.Call) int { return cmp.Compare(a.Token, b.Token) })
	if refused := slices.ContainsFunc(g.Calls, func(c hooks.Call) bool { return c.Outcome != 202 || c.Action != "do" }); g.Active != world.Secondary || len(g.Calls) == 0 || refused || !newer {
		t.Errorf("the partners' gateway: %+v", g)
	}
}

// L1, S4: leaders die in every phase, and each time another one goes on exactly there.
func TestIncidentP18LeaderKilledInEachPhase(t *testing.T) {
	r := start(t)
	// Slow control planes, so that no phase is over before it has been seen.
	r.do(r.w.Fault(r.ctx, world.E2, faults.Fault{Service: "ecs", Op: "UpdateService", Mode: faults.Slow, DelayMs: r.ms(2500)}))
	at := r.lose()
	running := func(kind string) func(*harness.Status) bool {
		return func(s *harness.Status) bool {
			if s.Execution == nil {
				return false
			}
			for _, st := range s.Execution.Plan.Steps {
				if st.Kind == kind && s.Execution.StepState(st.ID) == "running" {
					return true
				}
			}
			return false
		}
	}
	for _, phase := range []struct {
		name string
		in   func(*harness.Status) bool
	}{
		{"held", func(s *harness.Status) bool { return s.HoldElapsed > 0 && s.HoldElapsed.D() > s.Hold.D()/10 }},
		{"frozen", func(s *harness.Status) bool { return s.Freeze != nil }},
		{"epoch advanced", func(s *harness.Status) bool { return s.Epoch == 2 }},
		{"starting", running("start")},
		{"switching", running("switch")},
	} {
		s := r.until(40*time.Second, "phase "+phase.name, func(s *harness.Status) bool { return s.LeaderError == "" && phase.in(s) })
		leader := s.Raft.Leader
		t.Logf("%s: kill %s", phase.name, leader)
		r.do(r.c.KillNode(r.ctx, leader))
		r.sleep(300 * time.Millisecond)
		r.do(r.c.StartNode(r.ctx, leader)) // the majority outside us-east-1 needs all three
	}
	r.stable()
	r.movedSafely(at, 2) // the leader that died while switching, and its successor: one attempt each
}

// parked is a write that is taken in and waits, as on a slow network, before it takes effect.
type parked struct {
	site, service, op string
	step              string
	refusal           string // of the resource, when it comes after another one
	batches           int    // that Route 53 may accept in all
}

// S2: an old leader's Route 53 batch that arrives after the new leader's is refused by Route 53 itself.
func TestIncidentP5StaleLeaderIsRefusedByRoute53(t *testing.T) {
	r := start(t)
	r.staleWriter(parked{world.Net, "route53", "ChangeResourceRecordSets", "switch-route53_weights", "InvalidChangeBatch", 1})
}

// S2: the same of the object, refused by S3.
func TestIncidentP5StaleLeaderIsRefusedByS3(t *testing.T) {
	r := start(t)
	r.staleWriter(parked{world.E2, "s3", "PutObject", "switch-s3_object", "PreconditionFailed", 2})
}

// staleWriter stops the leader between its check and its write; another one finishes, then the write arrives, then the old leader
// goes on. The region's services go dark, and its nodes stay: with the leader stopped there must be a majority left.
func (r *rig) staleWriter(p parked) {
	r.Helper()
	r.do(r.w.Fault(r.ctx, p.site, faults.Fault{Service: p.service, Op: p.op, Mode: faults.Slow, DelayMs: r.ms(15000)}))
	r.do(r.w.DarkServices(r.ctx, world.E1))
	at, err := r.c.NoteTime(r.ctx, "dark services in e1")
	r.do(err)
	s := r.until(40*time.Second, "the switch", func(s *harness.Status) bool {
		return s.LeaderError == "" && s.Execution.StepState(p.step) == "running"
	})
	old := s.Raft.Leader
	r.sleep(400 * time.Millisecond) // intent, proof, and the write on its way; the call gives up only after 1.5 s
	r.do(r.c.Node(old).Stop())
	r.do(r.w.ClearFaults(r.ctx, p.site)) // the one under way still waits
	r.until(40*time.Second, "another leader to finish", func(s *harness.Status) bool {
		return s.Raft.Leader != old && s.Execution == nil && s.Last != nil && s.Last.State == "stable"
	})
	r.do(r.poll(20*time.Second, func() (bool, string) { // the weights may follow a little later
		w, err := r.c.Weights(r.ctx, "api.example.net")
		return err == nil && w[world.Secondary] == 255, "the weights"
	}))
	key := harness.KeyPrefix + upper(old)
	r.do(r.poll(25*time.Second, func() (bool, string) {
		calls, err := r.w.Calls(r.ctx, p.site)
		if err != nil {
			return false, err.Error()
		}
		for _, c := range calls {
			if c.AccessKey == key && c.Op == p.op {
				if c.Outcome != p.refusal {
					r.Fatalf("the stale write of %s ended as %s", old, c.Outcome)
				}
				return true, ""
			}
		}
		return false, "the write of " + old + " to arrive late"
	}))
	r.do(r.c.Node(old).Cont())
	r.sleep(3 * time.Second) // it wakes up, and may try whatever it had in mind
	changes, err := r.c.Changes(r.ctx)
	r.do(err)
	for _, c := range changes {
		if c.AccessKey == key && p.service == "route53" {
			r.Errorf("S2: a batch of the old leader %s was accepted: %+v", old, c)
		}
	}
	objects, err := r.c.Objects(r.ctx)
	r.do(err)
	for _, o := range objects {
		if o.AccessKey == key && p.service == "s3" {
			r.Errorf("S2: a write of the old leader %s was accepted: %+v", old, o)
		}
	}
	r.do(r.w.LightServices(r.ctx, world.E1))
	r.movedSafely(at, p.batches)
}

func upper(s string) string {
	b := []byte(s)
	for i, c := range b {
		if c >= 'a' && c <= 'z' {
			b[i] = c - 'a' + 'A'
		}
	}
	return string(b)
}

// S4, S8: every node dies in mid-plan, and all come back.
func TestAllNodesRestartInMidPlan(t *testing.T) {
	r := start(t)
	r.do(r.w.Fault(r.ctx, world.E2, faults.Fault{Service: "ecs", Op: "UpdateService", Mode: faults.Slow, DelayMs: r.ms(2500)}))
	at := r.lose()
	r.until(40*time.Second, "the starts in us-east-2", func(s *harness.Status) bool {
		return s.Epoch == 2 && s.Execution.StepState("start-workers") == "running"
	})
	r.restartAll()
	r.stable()
	r.movedSafely(at, 1)
	// T1: a node that starts without a quorum knows an old log at best, and says all the same that the traffic has left.
	for _, n := range harness.Nodes {
		r.do(r.c.KillNode(r.ctx, n))
	}
	r.do(r.c.StartNode(r.ctx, "third"))
	for region, want := range map[string]string{"us-east-1": "stop: us-east-2 has the traffic since epoch 2", "us-east-2": "serve: us-east-2 has the traffic"} {
		if got := r.page("third", "/gate/messaging/"+region); !strings.Contains(got, want) {
			t.Errorf("the gate of a node without a quorum says %q of %s, want %q", got, region, want)
		}
	}
}

// page reads one of a node's pages from within its own site, as often as it takes until the node answers.
func (r *rig) page(node, path string) string {
	r.Helper()
	script := fmt.Sprintf(`for i in $(seq 100); do exec 3<>/dev/tcp/%s/7780 && break; sleep 0.1; done; printf 'GET %s HTTP/1.0\r\n\r\n' >&3; cat <&3`, node, path)
	p, err := r.w.Exec(r.ctx, harness.SiteOfNode(node), []string{"bash", "-c", script}, world.ProcOptions{Name: "page" + strings.ReplaceAll(path, "/", "-")})
	r.do(err)
	_ = p.Wait(r.ctx) // what it read is all
	out, err := os.ReadFile(p.LogPath)
	r.do(err)
	return string(out)
}

// metered checks that every node's metrics are whole: what cannot be gathered is counted by the scrape after it.
func (r *rig) metered() {
	r.Helper()
	for _, n := range harness.Nodes {
		r.page(n, "/metrics")
		got := r.page(n, "/metrics")
		for _, line := range []string{
			`failoverd_active_region{region="us-east-2"} 1`, `promhttp_metric_handler_errors_total{cause="gathering"} 0`,
			`failoverd_standing_hold{component="traffic",region="us-east-2",status="kept",step="switch-route53_weights"} 1`,
		} {
			if !strings.Contains(got, "\n"+line+"\n") {
				r.Errorf("the metrics of %s lack %s; they begin %.300q", n, line, got)
			}
		}
	}
}

// restartAll kills every node and starts it again.
func (r *rig) restartAll() {
	r.Helper()
	for _, n := range harness.Nodes {
		r.do(r.c.KillNode(r.ctx, n))
	}
	for _, n := range harness.Nodes {
		r.do(r.c.StartNode(r.ctx, n))
	}
}

// A supervised failover that nobody answers holds, with nothing done beyond the fence of the lease; a late answer lets it go on.
func TestSupervisedTimesOutThenGoesOn(t *testing.T) {
	r := start(t, edit(harness.Supervised), set("policy.ask", `{ wait = "2s", then = "hold" }`), set("component.api.start.prepare", "false"))
	at := r.lose()
	r.until(30*time.Second, "the question", func(s *harness.Status) bool { return s.Execution != nil && s.Execution.State == "awaiting-approval" })
	r.until(10*time.Second, "the time-out, after which the question stays open without a limit", func(s *harness.Status) bool {
		return s.Execution != nil && s.Execution.State == "awaiting-approval" && s.Execution.Question != nil && s.Execution.Question.Deadline.IsZero()
	})
	r.sleep(3 * time.Second)
	r.weights(255, 0)
	calls, err := r.c.Mutations(r.ctx)
	r.do(err)
	if len(calls) > 0 {
		t.Errorf("%d mutating AWS calls although nobody has approved, the first %s", len(calls), calls[0].Op)
	}
	r.order("use2b", "approve")
	r.stable()
	r.movedSafely(at, 1)
}

// A supervised failover is approved by a click in Slack, by an approver only.
func TestSupervisedApprovedInSlack(t *testing.T) {
	r := start(t, edit(harness.Supervised))
	at := r.lose()
	r.until(30*time.Second, "the question", func(s *harness.Status) bool { return s.Execution != nil && s.Execution.State == "awaiting-approval" })
	click := func(user string) {
		t.Helper()
		r.do(r.poll(15*time.Second, func() (bool, string) {
			d, err := r.w.SlackClick(r.ctx, slackfake.Click{Button: "Approve", User: user, Team: harness.SlackTeam})
			if err != nil {
				return false, err.Error()
			}
			return d.Acked, "a node to acknowledge the click"
		}))
	}
	click("U0000000666")
	r.sleep(time.Second)
	if s, err := r.c.AnyStatus(r.ctx); err != nil || s.Execution == nil || s.Execution.State != "awaiting-approval" {
		t.Fatalf("after the click of somebody who may not approve: %s, error %v", describe(s), err)
	}
	r.weights(255, 0)
	click(harness.SlackUser)
	r.stable()
	r.movedSafely(at, 1)
}

// What the zeros mean: a daemon without its fence is found out by the same record.
func TestUnsafeIsRed(t *testing.T) {
	r := start(t, func(o *harness.Options) { o.Failoverd, o.Unsafe = unsafeBin, true })
	r.lose()
	r.record(60*time.Second, "duplicates", func(rec world.Record) bool { return rec.Duplicates > 0 && rec.DualActiveMs > 0 })
}
