package daemon

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// Whoever is asked whether to fail over sees what it would cost; the text does not change by itself, which would edit the message
// every second.
func TestTheQuestionSaysThePrice(t *testing.T) {
	synctest.Test(t, testThePrice)
}

func testThePrice(t *testing.T) {
	s := failover.NewState()
	s.Active = "us-east-1"
	s.Settings = &failover.Settings{Service: "messaging", Primary: "us-east-1", Secondary: "us-east-2"}
	s.Loss = map[string]failover.LossSample{"mongo": {Behind: failover.Duration(3 * time.Second), Detail: "3s behind", At: time.Now()}}
	p, err := plan.Derive(s.Settings, s.Active)
	if err != nil {
		t.Fatal(err)
	}
	s.Incident = &failover.Incident{ID: 4, Region: "us-east-1", At: time.Now(), Execution: 5}
	e := &failover.Execution{ID: 5, Incident: 4, From: p.From, To: p.To, Plan: &p, State: failover.ExecAwaiting, Question: &failover.Question{Kind: "approval", Text: "Fail over?"}}
	text := func() string {
		return strings.Join(append(renderExecution(s, e, nil).Lines, renderIncident(s).Lines...), "\n")
	}
	first := text()
	if n := strings.Count(first, "• lost of mongo: what was written in the last 3s at most"); n != 2 {
		t.Errorf("said %d times in\n%s", n, first)
	}
	time.Sleep(time.Minute)
	if again := text(); again != first {
		t.Errorf("a second later it is\n%s\nand not\n%s", again, first)
	}
	e.State = failover.ExecRunning
	if text := strings.Join(renderExecution(s, e, nil).Lines, "\n"); strings.Contains(text, "lost of") {
		t.Errorf("a failover that goes on says\n%s", text)
	}
}
