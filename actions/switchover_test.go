package actions

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// switching is a stage on which a switchover has begun, and no leader is at work yet.
func switching(t *testing.T, h *home) *stage {
	t.Helper()
	st := newStage(t, func(s *failover.Settings) {
		api := &s.Components[0]
		api.Start.Prepare = true // so that the stage begins nothing yet
		api.Brings = &failover.BringSpec{Dump: *api.Start, Start: *api.Start}
		api.Brings.Dump.Prepare, api.Brings.Start.Prepare, api.Brings.Start.Tokens = false, false, true
		api.Brings.Dump.Retries = 1
		s.Policy.Lease.EffectTail = failover.Duration(time.Millisecond)
	})
	p, err := plan.DeriveKind(st.s.Settings, "east1", failover.Switchover)
	if err != nil {
		t.Fatal(err)
	}
	st.plan = p
	st.must(failover.RequestExecution{Kind: failover.Switchover})
	st.must(failover.StartExecution{Kind: failover.Switchover, Request: st.s.Request.ID, Epoch: 1, Plan: p})
	h.follows(st)
	return st
}

// follows has the actions of h know the attempts of a stage's dump, as a node does by its log.
func (h *home) follows(st *stage) {
	h.deps.Begun = func(failover.StepID) (out []uint64, failed bool) {
		if e := st.state().Execution; e != nil {
			for _, a := range e.Step("dump-api").Attempts {
				out, failed = append(out, a.Token), a.Outcome != "" && a.Outcome != failover.StepDone
			}
		}
		return out, failed
	}
}

// A switchover by the executor itself, with real servers: its leader ends in mid-dump, and the next one ends it without a row lost.
func TestASwitchoverChangesHands(t *testing.T) {
	h := goingHome(t)
	st := switching(t, h)
	act := func() { // of a leader of its own
		dump, start := h.steps(t)
		st.mu.Lock()
		defer st.mu.Unlock()
		st.own["dump-api"], st.own["start-api"] = dump, start
	}
	act()
	var hung atomic.Bool
	reached, goes := make(chan struct{}), make(chan struct{})
	release := sync.OnceFunc(func() { close(goes) })
	defer release()
	h.bucket.Feel(func(op string, _ *http.Request) (int, string) {
		if op == "UploadPart" && hung.CompareAndSwap(false, true) {
			close(reached)
			<-goes
		}
		return 0, ""
	})
	st.elect(nil)
	select {
	case <-reached:
	case <-time.After(60 * time.Second):
		t.Fatalf("it does not come to the dump: %+v", st.state().Events)
	}
	if s := st.state(); s.Epoch != 2 || s.Execution.Step(plan.FenceID).State != failover.StepDone || s.Execution.Step("start-api").State != failover.StepPending {
		t.Errorf("epoch %d, %+v: it is dumped before the fence, or restored before it is dumped", s.Epoch, s.Execution.Steps)
	}
	st.end()
	act()
	st.elect(nil)
	defer st.end()
	soon(t, "a dump of the second leader", func() bool { return len(h.fresh()) > 0 })
	release()
	soon(t, "the end", func() bool { return ended(st.state()) })
	s := st.state()
	e := s.History[len(s.History)-1]
	dumped, restored := e.Step("dump-api"), e.Step("start-api")
	keys := h.fresh()
	if e.State != failover.ExecStable || len(keys) != 1 || !strings.Contains(string(restored.Last().Previous), keys[0]) || len(dumped.Attempts) != 2 {
		t.Errorf("%s; %q lies there; dumped by %+v, restored by %+v", e.State, keys, dumped.Attempts, restored.Attempts)
	}
	if rows(t, h.entered) != "7" || len(h.bucket.Uploads.Open()) > 0 {
		t.Errorf("%s rows; the uploads %q", rows(t, h.entered), h.bucket.Uploads.Open())
	}
}

// A dump that somebody does without is a question at once, and not hours of tries: what is restored in its place is a person's word.
func TestASwitchoverWithoutItsDumpAsks(t *testing.T) {
	h := goingHome(t)
	st := switching(t, h)
	dump, start := h.steps(t)
	st.own["dump-api"], st.own["start-api"] = dump, start
	h.bucket.Feel(func(op string, _ *http.Request) (int, string) {
		if op == "UploadPart" {
			return http.StatusInsufficientStorage, "QuotaExceeded"
		}
		return 0, ""
	})
	st.elect(nil)
	defer st.end()
	state := func(id failover.StepID) failover.StepState {
		if e := st.state().Execution; e != nil {
			return e.Step(id).State
		}
		return ""
	}
	soon(t, "the dump fails", func() bool { return state("dump-api") == failover.StepFailed })
	st.must(failover.Skip{Execution: st.state().Execution.ID, Step: "dump-api"})
	soon(t, "the restore asks", func() bool { return state("start-api") == failover.StepFailed })
	rec := st.state().Execution.Step("start-api")
	if len(rec.Attempts) != 1 || !strings.Contains(rec.Last().Detail, "older backups are not restored in its place unless somebody says so") || rows(t, h.entered) != "1" {
		t.Errorf("%+v, %s rows", rec, rows(t, h.entered))
	}
}
