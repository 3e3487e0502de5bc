package monitor

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// keeper is a probe that keeps something between its looks. What it keeps is guarded by nothing: the race detector sees whoever closes
// it beside a look.
type keeper struct {
	fake
	looks  int
	closed atomic.Int32
}

func (k *keeper) Probe(ctx context.Context) failover.Observation {
	o := k.fake.Probe(ctx)
	k.looks++
	return o
}

func (k *keeper) Close() error {
	k.looks = 0
	k.closed.Add(1)
	return errors.New("nobody wants to know")
}

var _ io.Closer = (*keeper)(nil)

func kept(t *testing.T) (*Monitor, []*keeper) {
	t.Helper()
	var all []*keeper
	o := Options{Regions: []failover.Region{"us-east-1"}, SelfInterval: time.Second, SelfTimeout: time.Second, Rand: rand.New(rand.NewPCG(1, 2))}
	for range 3 {
		k := &keeper{}
		k.set(failover.OK, "")
		all = append(all, k)
	}
	for _, k := range all[:2] {
		o.Signals = append(o.Signals, Signal{Component: "db", Kind: "mysql", Region: "us-east-1", Probe: k, Interval: time.Second, Timeout: 2 * time.Second, Window: 5, Down: 3})
	}
	o.References = []Reference{{Name: "ref", Probe: all[2]}}
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return m, all
}

// What a probe keeps is given back once when the monitor ends, also by a monitor that never began.
func TestProbesAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, all := kept(t)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		m.Run(ctx)
		m.Close()
		for i, k := range all {
			if k.closed.Load() != 1 || k.count() < 5 {
				t.Errorf("probe %d has looked %d times and was closed %d times", i, k.count(), k.closed.Load())
			}
		}
		m, all = kept(t)
		m.Close()
		m.Close()
		for i, k := range all {
			if k.closed.Load() != 1 || k.count() != 0 {
				t.Errorf("probe %d, which nobody ran, has looked %d times and was closed %d times", i, k.count(), k.closed.Load())
			}
		}
	})
}

// A probe is closed after its last look, however long that takes; the end waits for it no longer than for a look.
func TestAProbeIsNotClosedUnderALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, all := kept(t)
		all[0].hang = true // for an hour
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); m.Run(ctx) }()
		pass(10 * time.Second)
		begin := time.Now()
		cancel()
		<-ended
		if took := time.Since(begin); took != 2*time.Second {
			t.Errorf("the end took %s beside a look that hangs and has a time-out of 2 s", took)
		}
		if all[0].closed.Load() != 0 || all[1].closed.Load() != 1 || all[2].closed.Load() != 1 {
			t.Errorf("closed %d, %d and %d times, and the first one looks", all[0].closed.Load(), all[1].closed.Load(), all[2].closed.Load())
		}
		pass(time.Hour)
		synctest.Wait()
		if all[0].closed.Load() != 1 {
			t.Errorf("its look has ended, and it was closed %d times", all[0].closed.Load())
		}
	})
}
