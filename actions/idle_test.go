package actions

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// quietJournal holds one state that never changes and counts how often it is
// looked at.
type quietJournal struct {
	state *failover.State
	looks atomic.Int64
}

func (j *quietJournal) State() *failover.State   { j.looks.Add(1); return j.state }
func (j *quietJournal) Changed() <-chan struct{} { return nil }
func (j *quietJournal) Prove(context.Context) error {
	return errors.New("nothing is to be proven")
}

func (j *quietJournal) Propose(context.Context, failover.Command, string) (failover.Result, error) {
	return failover.Result{}, errors.New("nothing is to be proposed")
}

type noWorld struct{}

func (noWorld) Action(failover.Step) (Action, error) {
	return nil, errors.New("no action is to be made")
}
func (noWorld) Check(failover.Step, time.Time) (Check, error) {
	return nil, errors.New("no check is to be made")
}

// A step from which nothing can come – it waits for a person, or is held in
// mid-fence – costs a look per poll, not a core.
func TestWaitingForAPersonCostsNothing(t *testing.T) {
	step := failover.Step{ID: "start", Kind: failover.KindStart, Action: "x", Approval: true}
	fence := failover.Step{ID: "fence", Kind: failover.KindFence}
	for name, e := range map[string]*failover.Execution{
		"question": {
			State: failover.ExecRunning, Plan: &failover.Plan{Steps: []failover.Step{step}},
			Question: &failover.Question{Kind: "approval", Step: "start"},
		},
		"held in mid-fence": {
			State: failover.ExecHeld, Plan: &failover.Plan{Steps: []failover.Step{fence}},
			Steps: map[failover.StepID]*failover.StepRecord{"fence": {State: failover.StepRunning, Attempts: []failover.AttemptRecord{{Number: 1, Token: 7}}}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := failover.NewState()
				s.Execution = e
				j := &quietJournal{state: s}
				ctx, cancel := context.WithCancel(t.Context())
				x := NewExecutor(j, noWorld{}, Options{}, slog.New(slog.DiscardHandler))
				done := make(chan struct{})
				go func() { x.Run(ctx); close(done) }()
				time.Sleep(time.Minute)
				cancel()
				<-done
				if n := j.looks.Load(); n > 1000 {
					t.Fatalf("looked %d times in a minute", n)
				}
			})
		})
	}
}
