package monitor

import (
	"context"
	"io"
	"math/rand/v2"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// overrun is how much longer than its time-out a probe may take before it is
// left behind.
const overrun = 250 * time.Millisecond

// schedule runs one probe again and again.
type schedule struct {
	interval, timeout, offset time.Duration
	rand                      *rand.Rand // nil: no jitter
	probe                     Probe
	done                      func(failover.Observation) // called from one goroutine
}

// run keeps to the beat that it began with, so that the nodes stay staggered:
// jitter and slow probes do not add up. A probe that ends a little after the next
// beat, as each one into a black hole does when its time-out is the interval, is
// followed by the next at once: skipping that beat would look half as often just
// when it matters.
func (s schedule) run(ctx context.Context) {
	next := time.Now().Add(s.offset)
	var running chan failover.Observation // of a probe that was left behind
	for pause := s.offset; sleep(ctx, pause); pause = time.Until(next) + s.jitter() {
		running = s.once(ctx, running)
		next = next.Add(s.interval)
		if behind := time.Since(next); behind > s.interval/5 {
			next = next.Add((behind + s.interval - 1).Truncate(s.interval)) // beats that a slow probe has used up
		}
	}
	s.close(running)
}

// close closes the probe once its last look has ended, which may use what is
// closed. Nobody waits longer for a look that hangs than it was given.
func (s schedule) close(running chan failover.Observation) {
	if _, ok := s.probe.(io.Closer); !ok {
		return
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if running != nil {
			<-running
		}
		CloseProbe(s.probe)
	}()
	late := time.NewTimer(s.timeout)
	defer late.Stop()
	select {
	case <-closed:
	case <-late.C:
	}
}

// sleep waits for d and reports whether ctx still stands.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

func (s schedule) jitter() time.Duration {
	if s.rand == nil {
		return 0
	}
	return time.Duration(s.rand.Int64N(int64(s.interval)/10 + 1))
}

// once makes one observation. If the probe of an earlier beat is still running,
// or this one overruns, there is no result; the probe's channel is returned, so
// that there is never more than one in flight.
func (s schedule) once(ctx context.Context, running chan failover.Observation) chan failover.Observation {
	begin := time.Now()
	if running != nil {
		select {
		case <-running: // it is too old to mean anything
		default:
			s.done(failover.Observation{Outcome: failover.NoResult, Reason: failover.ReasonStale, At: begin, Detail: "an earlier probe is still running"})
			return running
		}
	}
	result := make(chan failover.Observation, 1)
	probing, cancel := context.WithTimeout(ctx, s.timeout)
	go func() {
		defer cancel()
		result <- s.probe.Probe(probing)
	}()
	late := time.NewTimer(s.timeout + overrun)
	defer late.Stop()
	select {
	case o := <-result:
		if ctx.Err() == nil { // else it failed because we are stopping
			s.done(o)
		}
		return nil
	case <-late.C:
		s.done(failover.Observation{Outcome: failover.NoResult, Reason: failover.ReasonStale, At: begin, Latency: time.Since(begin), Detail: "the probe overran its time-out of " + s.timeout.String()})
	case <-ctx.Done():
	}
	return result
}
