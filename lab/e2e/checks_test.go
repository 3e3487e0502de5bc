package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/world"
)

// app is a fault of the application; its target lets it be taken away by itself.
func app(op string, mode faults.Mode) faults.Fault {
	return faults.Fault{Service: "app", Op: op, Target: op, Mode: mode}
}

// heal takes the faults of one operation of the application away.
func (r *rig) heal(site, op string) {
	r.Helper()
	r.do(r.w.Control(site).Call(r.ctx, "DELETE", "/faults?target="+op, nil, nil))
}

// certify gives the load balancer of a site a certificate with so much of its life left.
func (r *rig) certify(site, left string) {
	r.Helper()
	r.do(r.w.Control(site).Call(r.ctx, "POST", "/certificate", map[string]string{"left": left}, nil))
}

// says waits until a step that is not done says something.
func (r *rig) says(step, text string) {
	r.Helper()
	r.until(30*time.Second, step+" to say "+text, func(s *harness.Status) bool {
		e := s.Current()
		if e != nil && e.StepState(step) == "done" {
			r.Fatalf("%s is done, and never said %q: %s", step, text, e.Steps[step].Detail)
		}
		return e != nil && strings.Contains(s.Progress[step], text)
	})
}

// passedWith holds what the steps of the last execution said when they were done.
func (r *rig) passedWith(details map[string]string) {
	r.Helper()
	s, err := r.c.AnyStatus(r.ctx)
	r.do(err)
	for step, want := range details {
		if got := s.Last.Steps[step].Detail; !strings.Contains(got, want) {
			r.Errorf("%s passed with %q, want %q", step, got, want)
		}
	}
}

// impairedBy waits until a signal makes the condition control-plane-impaired, and sees that for more than a hold nothing else comes
// of it.
func (r *rig) impairedBy(signal string) {
	r.Helper()
	s := r.until(20*time.Second, "control-plane-impaired by "+signal, func(s *harness.Status) bool {
		return s.Condition == "control-plane-impaired" && strings.Contains(s.Sentence, signal+" down")
	})
	time.Sleep(s.Hold.D() + r.slow*time.Second)
	r.until(time.Second, "the condition to last", func(s *harness.Status) bool {
		return s.Condition == "control-plane-impaired" && s.Execution == nil && s.Freeze == nil
	})
}

// readiness waits until a node's readiness says all of some texts, and returns it.
func (r *rig) readiness(node string, want ...string) (out string) {
	r.Helper()
	r.do(r.poll(20*time.Second, func() (bool, string) {
		out, _ = r.c.CLI(r.ctx, node, "readiness") // its status says whether it is ready, which it may not be
		for _, w := range want {
			if !strings.Contains(out, w) {
				return false, node + "'s readiness to say " + w + ":\n" + out
			}
		}
		return true, ""
	}))
	return out
}

// Each check of the plan fails while what it looks at is broken, says what it saw, and lets the failover go on once that works.
func TestChecksSeeWhatIsBroken(t *testing.T) {
	r := start(t)
	for _, f := range []faults.Fault{app("healthz", faults.Error), app("ws", faults.Refuse), app("files", faults.Garble)} {
		r.do(r.w.Fault(r.ctx, world.E2, f))
	}
	r.certify(world.E2, "1h") // a twelfth of the least, a day, are two hours (gear)
	at := r.lose()
	r.says("start-api", "Target.ResponseCodeMismatch: Health checks failed with these codes: [503]")
	r.heal(world.E2, "healthz")
	r.says("check-traffic-websocket", "with code 1011 (going down)")
	r.heal(world.E2, "ws")
	r.says("check-api-http_file", "something else came back: byte 2049 of 4096 is ")
	r.heal(world.E2, "files")
	r.says("check-traffic-tls_expiry", "less than "+(r.slow*2*time.Hour).String()+": renew it now")
	r.certify(world.E2, "-1h")
	r.says("check-traffic-tls_expiry", `is refused by clients of api.example.net: the certificate "*.example.net" ran out at`)
	r.certify(world.E2, "2160h")
	r.stable()
	r.passedWith(map[string]string{"check-traffic-websocket": "closed with 1000", "check-traffic-tls_expiry": "api.example.net has 89 days left",
		"check-api-http_file": "4096 bytes, the same that came back: uploaded in ", "check-mariadb-mariadb_backup": "read to its end: 1 tables of app"})
	r.movedSafely(at, 1)
}

// What the load balancer thinks of its targets, and a certificate that has run out, are told, and move nothing: clients of the API
// are served all the while.
func TestUnhealthyTargetsAndCertificatesMoveNothing(t *testing.T) {
	r := start(t)
	since := time.Now()
	r.do(r.w.Fault(r.ctx, world.E1, app("healthz", faults.Error)))
	r.impairedBy("edge/alb")
	r.heal(world.E1, "healthz")
	r.until(20*time.Second, "good health", func(s *harness.Status) bool { return s.Condition == "" })
	r.certify(world.E1, "-1h")
	r.certify(world.E2, "10h") // the least is a week, here 14 hours
	out := r.readiness("use2a", "edge/tls_expiry in us-east-2: ", "renew it now", "ran out at")
	if _, why, _ := strings.Cut(out, "not ready because"); !strings.Contains(why, "edge/tls_expiry in us-east-2") || strings.Contains(why, "edge/tls_expiry in us-east-1") {
		t.Errorf("readiness says\n%s", out)
	}
	r.until(time.Second, "good health", func(s *harness.Status) bool { return s.Condition == "" && s.Execution == nil && s.Freeze == nil })
	r.nothingMoved(since)
}
