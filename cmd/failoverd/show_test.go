package main

import (
	"strings"
	"testing"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

// Whoever has to answer a question sees under it that its region is well again.
func TestStatusSaysThatTheRegionIsBack(t *testing.T) {
	const back = "us-east-1 is not seen failing any more: `failoverd abort --undo` takes back what was done"
	s := admin.Status{Execution: &failover.Execution{
		ID: 7, Plan: &failover.Plan{}, State: failover.ExecRunning,
		Question: &failover.Question{Text: "Has it stopped?", Ways: []string{"failoverd attest workers --why …"}},
	}}
	show := func() string {
		var b strings.Builder
		showStatus(&b, s)
		return b.String()
	}
	const question = "WAITS FOR YOU: Has it stopped?\n  failoverd attest workers --why …\n"
	if got := show(); !strings.Contains(got, question) || strings.Contains(got, "not seen failing") {
		t.Errorf("while it is seen failing:\n%s", got)
	}
	s.Back = back
	if got := show(); !strings.Contains(got, question+"  "+back+"\n") {
		t.Errorf("when it is well:\n%s", got)
	}
}
