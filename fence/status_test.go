package fence

import (
	"testing"
	"time"
)

// G6: whoever asks first after a pause by the host is told so, also before the agent
// itself has looked at its clocks.
func TestActiveRightAfterAPause(t *testing.T) {
	agentIn(t, nil, func(r *rig) {
		time.Sleep(time.Second + tick/2) // between two ticks
		r.runs(true)
		if st := r.agent.Status(); !st.Active {
			t.Fatalf("not active before the pause: %+v", st)
		}
		r.leader.set(func(l *fakeLeader) { l.silent = true })
		r.clock.jump(0, time.Minute)
		if st := r.agent.Status(); st.Active || st.DeadlineNS != 0 {
			t.Errorf("active right after the pause: %+v", st)
		}
		time.Sleep(2*tick + time.Millisecond)
		if st := r.agent.Status(); st.Active {
			t.Errorf("active after the pause: %+v", st)
		}
		time.Sleep(2 * time.Second)
		r.runs(false)
	})
}
