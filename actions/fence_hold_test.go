package actions

import (
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// E5: a stop of a standing hold that was sent into the region that is entered, and was not seen to take effect, may still land: the fence waits until
// it can no more, says so, asks for no epoch and nobody meanwhile, and goes on by itself. One in the region that is left delays nothing.
func TestTheFenceWaitsForAStopThatMayLand(t *testing.T) {
	const sent = 10 * time.Second
	for name, tt := range map[string]struct {
		hold  failover.StandingHold
		waits time.Duration
	}{
		"being sent":      {failover.StandingHold{Step: failover.Step{Kind: failover.KindStop, Region: "east2"}, Running: &failover.AttemptRecord{Number: 1}}, sent + 5*time.Minute},
		"not seen":        {failover.StandingHold{Step: failover.Step{Kind: failover.KindStop, Region: "east2"}, Quiet: time.Now()}, 4 * time.Minute},
		"left":            {failover.StandingHold{Step: failover.Step{Kind: failover.KindStop, Region: "east1"}, Running: &failover.AttemptRecord{Number: 1}}, 0},
		"of a switch":     {failover.StandingHold{Step: failover.Step{Kind: failover.KindSwitch, Region: "east2"}, Running: &failover.AttemptRecord{Number: 1}}, 0},
		"nothing of that": {failover.StandingHold{Step: failover.Step{Kind: failover.KindStop, Region: "east2"}}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inStage(t, fenceOnly(failover.Confirmed), func(st *stage) {
				began := time.Now()
				h := tt.hold
				h.ID, h.Component, h.Step.ID = 7, "workers", "held"
				if h.Running != nil {
					h.Running.Until = began.Add(sent)
				}
				if !h.Quiet.IsZero() {
					h.Quiet = began.Add(tt.waits)
				}
				st.mu.Lock()
				st.s.Holds = []failover.StandingHold{h}
				st.mu.Unlock()
				var advances []time.Duration
				l := st.elect(func(l *leader) {
					l.refuse = func(c failover.Command) error {
						if _, ok := c.(failover.AdvanceEpoch); ok {
							advances = append(advances, time.Since(began))
						}
						return nil
					}
				})
				if tt.waits > 0 {
					time.Sleep(tt.waits - time.Second)
					says := l.exec.Progress()["fence"]
					if s := st.state(); s.Epoch != 1 || s.Execution.Question != nil || len(st.effect("start-api").asked) != 0 || !strings.Contains(says, "workers was being stopped in east2, was not seen to stop, and a call of that may still land until") {
						t.Errorf("epoch %d, question %+v, it says %q", s.Epoch, s.Execution.Question, says)
					}
				}
				st.waitFor("the end", 2*time.Minute, ended)
				if len(advances) != 1 || advances[0] < tt.waits || advances[0] > tt.waits+20*time.Second {
					t.Errorf("the epoch was asked for after %v; want once, after %s", advances, tt.waits)
				}
			})
		})
	}
}
