package actions

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"

	"github.com/failoverd/failoverd/failover"
)

// inHand calls a fake without a network, which a bubble's time would not wait for.
type inHand struct{ http.Handler }

func (h inHand) Do(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w.Result(), r.Context().Err()
}

// fencedOff makes the stop of the workers a fence at the network, and the only proof.
func fencedOff(s *failover.Settings) {
	s.Components[1].Stop = &failover.StopSpec{
		Action: &failover.ActionSpec{
			Kind: "nacl", Version: 1, Proves: failover.Resource, Timeout: failover.Duration(time.Hour),
			Params: map[failover.Region]json.RawMessage{"east1": json.RawMessage(`{}`), "east2": json.RawMessage(`{}`)},
		},
		Proof: []failover.EvidenceClass{failover.Resource},
	}
}

// inNACLStage is inStage with the kind itself on it.
func inNACLStage(t *testing.T, play func(st *stage, f *fakeACLs)) {
	t.Helper()
	inStage(t, fencedOff, func(st *stage) {
		f := newACLs()
		st.own["stop-workers"] = &nacl{
			cfg:    &NACLConfig{Subnets: map[failover.Region]map[string]string{"east1": fenced()["us-east-2"]}, ACL: map[failover.Region]string{"east1": "acl-deny"}},
			region: "east1", quiet: new(Quiet), client: ec2.New(ec2.Options{Region: "east1", Credentials: aws.AnonymousCredentials{}, HTTPClient: inHand{f}, RetryMaxAttempts: 1}),
		}
		play(st, f)
	})
}

// set changes the fake under its lock.
func (f *fakeACLs) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// is reports whether the subnets have these ACLs.
func (f *fakeACLs) is(a, b string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.has["subnet-a"] == a && f.has["subnet-b"] == b
}

// S1: a fence with a hole in it, and one around half of the subnets, prove nothing. The
// region is left when all of them are cut off.
func TestNACLProvesWhenItIsWhole(t *testing.T) {
	inNACLStage(t, func(st *stage, f *fakeACLs) {
		f.allows = true
		st.elect(nil)
		time.Sleep(10 * time.Minute)
		if s := st.state(); s.Epoch != 1 || !f.is("acl-a", "acl-b") {
			t.Fatalf("epoch %d by an ACL that lets something pass; subnets have %v", s.Epoch, f.has)
		}
		f.set(func() { f.allows, f.refuse["subnet-b"] = false, "UnauthorizedOperation" })
		time.Sleep(10 * time.Minute)
		if s := st.state(); s.Epoch != 1 || !f.is("acl-deny", "acl-b") {
			t.Fatalf("epoch %d by half a fence; subnets have %v", s.Epoch, f.has)
		}
		f.set(func() { f.refuse = map[string]string{} })
		s := st.waitFor("the end", 5*time.Minute, ended)
		if rec := s.History[0].Step("stop-workers"); s.Epoch != 2 || rec.State != failover.StepDone || !f.is("acl-deny", "acl-deny") {
			t.Errorf("epoch %d, %+v; subnets have %v", s.Epoch, rec, f.has)
		}
	})
}

// E2: half a fence is taken back from the log, also when somebody has changed the ACL
// meanwhile, so that it is no fence any more.
func TestNACLIsTakenBack(t *testing.T) {
	inNACLStage(t, func(st *stage, f *fakeACLs) {
		f.refuse["subnet-b"] = "UnauthorizedOperation"
		st.elect(nil)
		s := st.waitFor("half a fence", 5*time.Minute, func(*failover.State) bool { return f.is("acl-deny", "acl-b") })
		f.set(func() { f.allows = true })
		st.must(failover.Abort{Execution: s.Execution.ID, Undo: true})
		s = st.waitFor("the end", 30*time.Minute, func(s *failover.State) bool { return ended(s) || questioned(s) })
		if s.Execution != nil || s.History[0].State != failover.ExecUndone || !f.is("acl-a", "acl-b") {
			t.Errorf("subnets have %v, %+v", f.has, s.Execution)
		}
	})
}

// A leader that has just begun cannot know for how long the fence has stood. It waits anew, and wakes nobody: nothing of it is open.
func TestNACLIsHeldByTheNextLeader(t *testing.T) {
	inNACLStage(t, func(st *stage, f *fakeACLs) {
		f.set(func() { f.has = map[string]string{"subnet-a": "acl-deny", "subnet-b": "acl-deny"} })
		s := failover.NewState()
		s.Holds = []failover.StandingHold{{ID: 1, Status: failover.HoldKept, Step: failover.Step{ID: "stop-workers", Kind: failover.KindStop, Timeout: failover.Duration(2 * time.Minute)}}}
		j := &heldJournal{state: s}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		NewKeeper(j, oneWorld{st.own["stop-workers"]}, Options{}, 30*time.Second, slog.New(slog.DiscardHandler)).Run(ctx)
		said := 0
		for _, c := range j.took {
			n, ok := c.(failover.NoteHold)
			if !ok || n.Status == failover.HoldViolated {
				t.Errorf("the next leader proposes %+v", c)
			}
			said++
		}
		if len(f.calls) > 0 || said == 0 {
			t.Errorf("%d notes, calls %v", said, f.calls)
		}
	})
}
