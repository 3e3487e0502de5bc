package monitor

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// fake is a probe whose answer the test sets.
type fake struct {
	mu     sync.Mutex
	answer failover.Observation
	hang   bool // ignore the context for an hour
	takes  time.Duration
	starts []time.Time
	now    int // in flight
	most   int
}

func (f *fake) set(o failover.Outcome, r failover.ReasonCode) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = failover.Observation{Outcome: o, Reason: r}
}

func (f *fake) Probe(ctx context.Context) failover.Observation {
	f.mu.Lock()
	o, hang, takes := f.answer, f.hang, f.takes
	o.At = time.Now()
	f.starts = append(f.starts, o.At)
	f.now++
	f.most = max(f.most, f.now)
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.now--
		f.mu.Unlock()
	}()
	if hang {
		<-time.After(time.Hour)
	}
	sleep(ctx, takes)
	return o
}

func (f *fake) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.starts)
}

// bench is a monitor of one region with an http and an sqs signal.
type bench struct {
	*Monitor
	http, sqs, ref *fake
}

func run(t *testing.T, change func(*Options)) bench {
	t.Helper()
	b := bench{http: &fake{}, sqs: &fake{}, ref: &fake{}}
	for _, f := range []*fake{b.http, b.sqs, b.ref} {
		f.set(failover.OK, "")
	}
	o := Options{
		Regions: []failover.Region{"us-east-1"},
		Signals: []Signal{
			{Component: "workers", Kind: "sqs", Region: "us-east-1", Probe: b.sqs, Interval: time.Second, Timeout: time.Second, Window: 5, Down: 3},
			{Component: "api", Kind: "http", Region: "us-east-1", Probe: b.http, Interval: time.Second, Timeout: time.Second, Window: 5, Down: 3},
		},
		References:   []Reference{{Name: "ref", Probe: b.ref}},
		SelfInterval: 2 * time.Second, SelfTimeout: time.Second, Nodes: 1,
		Rand: rand.New(rand.NewPCG(1, 2)),
	}
	if change != nil {
		change(&o)
	}
	m, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	b.Monitor = m
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { m.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return b
}

func (b bench) expect(t *testing.T, h failover.Health, abstain bool, why string) {
	t.Helper()
	synctest.Wait()
	v := b.Verdicts()[0]
	if v.Health != h || v.Abstain != abstain || !strings.Contains(v.Why, why) {
		t.Errorf("at %s: the verdict is %s, abstain %v, %q; want %s, %v, with %q", time.Now().Format("05.0"), v.Health, v.Abstain, v.Why, h, abstain, why)
	}
}

// pass lets simulated time go by.
func pass(d time.Duration) { <-time.After(d) }

func TestARegionGoesDownAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, nil)
		pass(3 * time.Second)
		b.expect(t, failover.Healthy, false, "2 of 2 signals")
		b.http.set(failover.Failed, failover.ReasonTimeout)
		pass(1500 * time.Millisecond)
		b.expect(t, failover.Degraded, false, "api/http degraded (timeout)")
		pass(3 * time.Second)
		b.expect(t, failover.Degraded, false, "a service, not the region: 1 of 2 kinds")
		b.sqs.set(failover.Failed, failover.ReasonRefused)
		pass(4 * time.Second)
		b.expect(t, failover.Down, false, "2 of 2 kinds of probes are down: api/http down (timeout), workers/sqs down (refused)")
		b.http.set(failover.OK, "")
		b.sqs.set(failover.OK, "")
		pass(3500 * time.Millisecond)
		b.expect(t, failover.Down, false, "") // the windows still hold failures
		pass(2 * time.Second)
		b.expect(t, failover.Healthy, false, "")
	})
}

func TestMisconfiguredIsNoVote(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, nil)
		b.http.set(failover.Misconfigured, failover.ReasonAuth)
		b.sqs.set(failover.Failed, failover.ReasonTimeout)
		pass(10 * time.Second)
		b.expect(t, failover.Degraded, false, "1 of 2 kinds")
		if s := b.Verdicts()[0].Signals[0]; s.Health != failover.Unknown || s.Reason != failover.ReasonAuth {
			t.Errorf("the misconfigured signal is %+v", s)
		}
	})
}

func TestABlindNodeAbstains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, nil)
		pass(3 * time.Second)
		for _, f := range []*fake{b.http, b.sqs, b.ref} {
			f.set(failover.Failed, failover.ReasonTimeout)
		}
		pass(10 * time.Second)
		b.expect(t, failover.Unknown, true, "may be blind itself")
		for _, f := range []*fake{b.http, b.sqs, b.ref} {
			f.set(failover.OK, "")
		}
		pass(2100 * time.Millisecond)
		synctest.Wait()
		// It must not come back with an opinion that it formed while blind.
		if v := b.Verdicts()[0]; v.Abstain || v.Health == failover.Down {
			t.Errorf("after its sight is back the verdict is %+v", v)
		}
		pass(2 * time.Second)
		b.expect(t, failover.Healthy, false, "")
		if got := len(b.Recent(Filter{Kind: "http", Failed: true})); got < 8 {
			t.Errorf("%d failures are kept as evidence", got)
		}
	})
}

func TestAnAnswerOfAReferenceIsSight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, nil)
		b.ref.set(failover.Failed, failover.ReasonStatus)
		pass(3 * time.Second)
		b.expect(t, failover.Healthy, false, "")
	})
}

func TestAProbeThatOverrunsDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, nil)
		b.http.mu.Lock()
		b.http.hang = true
		b.http.mu.Unlock()
		pass(20 * time.Second)
		b.expect(t, failover.Healthy, false, "1 of 2 signals are healthy")
		if n := b.sqs.count(); n < 19 {
			t.Errorf("the other probe ran %d times in 20 s", n)
		}
		if b.http.most != 1 || b.http.count() > 2 {
			t.Errorf("the hanging probe was started %d times, %d at once", b.http.count(), b.http.most)
		}
		b.http.mu.Lock()
		b.http.hang = false
		b.http.mu.Unlock()
		pass(time.Hour) // let it end
		b.expect(t, failover.Healthy, false, "2 of 2 signals")
	})
}

func TestNodesAreStaggered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for i := range 5 {
			b := run(t, func(o *Options) { o.Index, o.Nodes = i, 5; o.Signals = o.Signals[:1] })
			pass(0)
			synctest.Wait()
			b.sqs.mu.Lock()
			b.sqs.takes = 300 * time.Millisecond
			b.sqs.mu.Unlock()
			begin := time.Now()
			pass(time.Minute)
			synctest.Wait()
			for k, at := range b.sqs.starts {
				phase := at.Sub(begin) - time.Duration(k)*time.Second - time.Duration(i)*200*time.Millisecond
				if phase < 0 || phase > 100*time.Millisecond {
					t.Fatalf("probe %d of node %d started %s off its beat", k, i, phase)
				}
			}
		}
	})
}

func TestASlowProbeKeepsTheBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, func(o *Options) {
			for i := range o.Signals {
				o.Signals[i].Timeout = 4 * time.Second
			}
		})
		b.http.mu.Lock()
		b.http.takes = 2500 * time.Millisecond
		b.http.mu.Unlock()
		pass(31 * time.Second)
		synctest.Wait()
		if n := b.http.count(); n < 9 || n > 12 {
			t.Errorf("a probe of 2.5 s ran %d times in 31 s, want one every third beat", n)
		}
		if b.http.most != 1 {
			t.Errorf("%d were in flight at once", b.http.most)
		}
	})
}

func TestChangedIsCoalesced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := run(t, nil)
		pass(3 * time.Second)
		synctest.Wait()
		<-b.Changed()
		pass(10 * time.Second)
		synctest.Wait()
		select {
		case <-b.Changed():
			t.Error("woken without a change")
		default:
		}
		b.http.set(failover.Failed, failover.ReasonReset)
		pass(2 * time.Second)
		synctest.Wait()
		<-b.Changed()
		if got := b.Recent(Filter{Component: "api", Limit: 1}); len(got) != 1 || got[0].Reason != failover.ReasonReset {
			t.Errorf("the newest observation is %+v", got)
		}
	})
}

func TestEvidenceKeepsFailures(t *testing.T) {
	var e evidence
	at := time.Unix(0, 0)
	for i := range 10_000 {
		o := failover.Observation{Outcome: failover.OK, At: at.Add(time.Duration(i) * time.Second)}
		if i == 17 {
			o.Outcome = failover.Failed
		}
		e.add(o)
	}
	all := e.all()
	if len(all) != keepRecent+1 || all[0].Outcome != failover.Failed || all[0].At.Unix() != 17 {
		t.Errorf("%d observations are kept, the first is %+v", len(all), all[0])
	}
}

func TestVerdict(t *testing.T) {
	s := func(component, kind string, h failover.Health) failover.SignalState {
		return failover.SignalState{Component: failover.Component(component), Kind: kind, Health: h}
	}
	plane := func(component string, h failover.Health) failover.SignalState {
		st := s(component, "aws_api", h)
		st.Plane = failover.PlaneControl
		return st
	}
	upkeep := func(component string, h failover.Health) failover.SignalState {
		st := s(component, "tls_expiry", h)
		st.Plane = failover.PlaneUpkeep
		return st
	}
	const u, ok, deg, dn = failover.Unknown, failover.Healthy, failover.Degraded, failover.Down
	for _, tt := range []struct {
		name   string
		states []failover.SignalState
		want   failover.Health
	}{
		{"nothing configured", nil, u},
		{"no data", []failover.SignalState{s("a", "http", u), s("b", "sqs", u)}, u},
		{"all healthy", []failover.SignalState{s("a", "http", ok), s("b", "sqs", ok)}, ok},
		{"one slow", []failover.SignalState{s("a", "http", deg), s("b", "sqs", ok)}, deg},
		{"one kind down", []failover.SignalState{s("a", "http", dn), s("b", "sqs", ok)}, deg},
		{"one kind down twice", []failover.SignalState{s("a", "http", dn), s("b", "http", dn), s("b", "sqs", ok)}, deg},
		{"two of two", []failover.SignalState{s("a", "http", dn), s("b", "sqs", dn)}, dn},
		{"two of three", []failover.SignalState{s("a", "http", dn), s("b", "sqs", dn), s("c", "mongo", ok)}, dn},
		{"two of four", []failover.SignalState{s("a", "http", dn), s("b", "sqs", dn), s("c", "mongo", ok), s("d", "tcp", ok)}, deg},
		{"three of four", []failover.SignalState{s("a", "http", dn), s("b", "sqs", dn), s("c", "mongo", dn), s("d", "tcp", ok)}, dn},
		{"two of three, the third unknown", []failover.SignalState{s("a", "http", dn), s("b", "sqs", dn), s("c", "mongo", u)}, dn},
		{"a kind that lives elsewhere", []failover.SignalState{s("a", "http", dn), s("b", "http", ok), s("b", "sqs", dn)}, deg},
		{"only one configured", []failover.SignalState{s("a", "http", dn)}, deg},
		{"the control plane alone", []failover.SignalState{s("a", "http", ok), s("b", "sqs", ok), plane("a", dn)}, deg},
		{"a kind and the control plane are no two kinds", []failover.SignalState{s("a", "http", dn), s("b", "sqs", ok), plane("a", dn)}, deg},
		{"upkeep alone says nothing of the region", []failover.SignalState{s("a", "http", ok), s("b", "sqs", ok), upkeep("a", dn)}, ok},
		{"a kind and upkeep are no two kinds", []failover.SignalState{s("a", "http", dn), s("b", "sqs", ok), upkeep("a", dn)}, deg},
		{"upkeep that lives makes no majority", []failover.SignalState{s("a", "http", dn), s("b", "sqs", dn), s("c", "mongo", ok), upkeep("a", ok)}, dn},
		{"a control plane that lives makes no majority", []failover.SignalState{s("a", "http", dn), s("b", "sqs", dn), s("c", "mongo", ok), plane("a", ok)}, dn},
	} {
		if v := verdict("r", tt.states, false); v.Health != tt.want {
			t.Errorf("%s: %s (%s), want %s", tt.name, v.Health, v.Why, tt.want)
		}
		if v := verdict("r", tt.states, true); !v.Abstain || v.Health != u {
			t.Errorf("%s: a blind node says %s", tt.name, v.Health)
		}
	}
}

// A black hole with a time-out of one interval is looked at once per interval:
// three failures are there within three intervals and a time-out, not five.
func TestABlackHoleKeepsTheBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var n atomic.Int32
		s := schedule{
			interval: time.Second, timeout: time.Second, rand: rand.New(rand.NewPCG(1, 2)),
			probe: blackHole{},
			done:  func(failover.Observation) { n.Add(1) },
		}
		go s.run(ctx)
		time.Sleep(60 * time.Second)
		if n.Load() < 57 {
			t.Errorf("%d looks in a minute, want one a second", n.Load())
		}
	})
}

type blackHole struct{}

func (blackHole) Probe(ctx context.Context) failover.Observation {
	<-ctx.Done()
	return failover.Observation{Outcome: failover.Failed}
}

// A failure or two of a signal of which nothing was seen are no life: a node that
// has just begun to look has no opinion until it has seen an answer or enough
// failures.
func TestFewFailuresAreNoOpinion(t *testing.T) {
	w := newWindow(Signal{Component: "api", Kind: "http", Region: "us-east-1", Window: 5, Down: 3})
	want := []failover.Health{failover.Unknown, failover.Unknown, failover.Down}
	for i, h := range want {
		w.add(failover.Observation{Outcome: failover.Failed, At: time.Unix(int64(i), 0)})
		if w.state.Health != h {
			t.Errorf("after %d failures: %s, want %s", i+1, w.state.Health, h)
		}
	}
	w = newWindow(Signal{Component: "api", Kind: "http", Region: "us-east-1", Window: 5, Down: 3})
	w.add(failover.Observation{Outcome: failover.OK})
	w.add(failover.Observation{Outcome: failover.Failed})
	if w.state.Health != failover.Degraded {
		t.Errorf("a failure after an answer: %s", w.state.Health)
	}
}
