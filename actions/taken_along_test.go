package actions

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// switchesOver lets the stage begin a switchover that dumps the component api, and asks before it does and before it restores.
func switchesOver(t *testing.T, st *stage) {
	t.Helper()
	p, err := plan.DeriveKind(st.s.Settings, "east1", failover.Switchover)
	if err != nil {
		t.Fatal(err)
	}
	st.plan, st.effects["dump-api"] = p, &effect{st: st, id: "dump-api", value: "old"}
	st.must(failover.RequestExecution{Kind: failover.Switchover})
	st.must(failover.StartExecution{Kind: failover.Switchover, Request: st.s.Request.ID, Epoch: 1, Plan: p})
}

// bringsAPI makes the start of api one that is dumped in a switchover; the stage begins nothing by itself.
func bringsAPI(s *failover.Settings) {
	api := &s.Components[0]
	api.Start.Prepare = true
	api.Brings = &failover.BringSpec{Dump: *api.Start, Start: *api.Start}
	api.Brings.Dump.Prepare, api.Brings.Start.Prepare = false, false
}

// Who approves the restore of a switchover is told nothing of a loss where the dump has brought all; where the dump was skipped he is.
func TestTheQuestionOfASwitchoverNamesNoLoss(t *testing.T) {
	for _, skipped := range []bool{false, true} {
		inStage(t, func(s *failover.Settings) {
			bringsAPI(s)
			s.Components[0].Brings.Dump.Approval, s.Components[0].Brings.Start.Approval = true, true
		}, func(st *stage) {
			switchesOver(t, st)
			st.elect(nil)
			for _, id := range []failover.StepID{"dump-api", "start-api"} {
				s := st.waitFor("the question of "+string(id), time.Hour, func(s *failover.State) bool { return questioned(s) && s.Execution.Question.Step == id })
				q := s.Execution.Question
				if _, sampled := s.Execution.Loss["api"]; !sampled {
					t.Fatal("there is no sample")
				}
				if got := strings.Contains(q.Text, "Lost of api"); got != (skipped && id == "start-api") {
					t.Errorf("skipped %t, %s asks %q", skipped, id, q.Text)
				}
				if skipped && id == "dump-api" {
					st.must(failover.Skip{Execution: s.Execution.ID, Step: id})
					continue
				}
				st.mu.Lock()
				res := st.apply(failover.Approve{Execution: s.Execution.ID, Nonce: q.Nonce}, "uid 2", "", st.term)
				st.mu.Unlock()
				if res.Err != nil {
					t.Fatal(res.Err)
				}
			}
			st.waitFor("the end", time.Hour, ended)
		})
	}
}
