package failover_test

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// What nobody has answered the policy approves only as long as it would begin it: not for a region that is seen alive again, and not in
// a pause. The limit per day counts the execution itself, and does not end it.
func TestThePolicyApprovesNothingThatTheGuardsRefuse(t *testing.T) {
	down := failover.NoteSuspicion{Region: east1, Condition: failover.RegionDown, Sentence: "dark"}
	for name, tt := range map[string]struct {
		then []failover.Command
		why  string // "" proceeds
	}{
		"still down":        {nil, ""},
		"well again":        {[]failover.Command{failover.NoteSuspicion{Region: east1}}, "is not seen down any more"},
		"seen from within":  {[]failover.Command{failover.NoteSuspicion{Region: east1, Condition: failover.Partitioned}}, "is not seen down any more"},
		"down once more":    {[]failover.Command{failover.NoteSuspicion{Region: east1}, down}, ""},
		"paused meanwhile":  {[]failover.Command{failover.PauseAutomation{For: dur("4h")}}, "automation is paused"},
		"data lost by then": {[]failover.Command{failover.RecordLoss{Samples: map[string]failover.LossSample{"mongo": {Behind: dur("2h")}}}}, "2h0m0s of mongo would be lost"},
	} {
		c := current(t)
		s := settings()
		s.Policy.Mode, s.Policy.Ask.Then, s.Policy.MaxPerDay = failover.ModeSupervised, "proceed", 1
		s.Policy.MaxLoss = map[string]failover.Duration{"mongo": dur("1h")}
		c.must(failover.Configure{Settings: s, Hash: "h2"})
		c.must(failover.RecordLoss{Samples: map[string]failover.LossSample{"mongo": {Behind: dur("1s")}}})
		c.must(down)
		inc := c.must(failover.OpenIncident{Region: east1, Votes: downVotes(), Held: dur("90s")}).Index
		p, err := plan.Derive(c.s.Settings, east1)
		if err != nil {
			t.Fatal(err)
		}
		c.must(failover.StartExecution{Kind: failover.Failover, Incident: inc, Epoch: 1, Plan: p, Approval: true})
		for _, cmd := range tt.then {
			if res := c.apply(cmd, "uid 1"); res.Err != nil {
				t.Fatal(name, res.Err)
			}
		}
		c.now = c.now.Add(16 * time.Minute)
		e := c.s.Execution
		c.must(failover.AskExpired{Execution: e.ID, Nonce: e.Question.Nonce})
		e = c.s.Execution
		said := ""
		for _, ev := range c.s.Events {
			said += ev.Text + "\n"
		}
		if tt.why == "" {
			if e.State != failover.ExecRunning || e.Question != nil {
				t.Errorf("%s: %s, %+v", name, e.State, e.Question)
			}
			continue
		}
		if e.State != failover.ExecAwaiting || e.Question == nil || !e.Question.Deadline.IsZero() || !strings.Contains(said, "the policy does not proceed") || !strings.Contains(said, tt.why) {
			t.Errorf("%s: %s, %+v; said\n%s", name, e.State, e.Question, said)
		}
		if res := c.apply(failover.Approve{Execution: e.ID, Nonce: e.Question.Nonce}, "uid 2"); res.Err != nil || c.s.Execution.State != failover.ExecRunning {
			t.Errorf("%s: a person cannot approve it: %v", name, res.Err)
		}
	}
}
