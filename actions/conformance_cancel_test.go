package actions

import (
	"context"
	"runtime"
	"testing"
	"time"
)

const (
	// promptly is how soon a call returns that is cancelled while the API hangs.
	promptly = time.Second
	// cancels is how often each call is cancelled to see what it leaves behind: a goroutine for each call is more than anything else makes.
	cancels = 20
)

// interrupted is a call of an action that hangs: it says so by calling hanging.
type interrupted struct {
	what string
	hang func(hanging func())
	call func(context.Context) error
}

// isCancelled cancels it as soon as it hangs, and fails unless it returns promptly.
func (x interrupted) isCancelled(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hung := make(chan time.Time, 1)
	x.hang(func() {
		select {
		case hung <- time.Now():
		default:
		}
		cancel()
	})
	over := make(chan struct{})
	go func() { defer close(over); _ = x.call(ctx) }()
	select {
	case <-over:
	case <-time.After(30 * time.Second):
		t.Fatalf("%s does not return", x.what)
	}
	select {
	case at := <-hung:
		if took := time.Since(at); took > promptly {
			t.Errorf("%s took %s after it was cancelled", x.what, took)
		}
	default:
		t.Fatalf("%s did not come to what hangs", x.what)
	}
}

// leavesNothing fails if goroutines are left behind by calls that were cancelled.
func leavesNothing(t *testing.T, all ...interrupted) {
	t.Helper()
	for _, x := range all {
		x.isCancelled(t) // what is made once, is made now
	}
	// Those that have done their work may take a moment to end.
	quiet := func(ok func(n, before int) bool) int {
		n, before := runtime.NumGoroutine(), 0
		for end := time.Now().Add(20 * time.Second); !ok(n, before) && time.Now().Before(end); n, before = runtime.NumGoroutine(), n {
			<-time.After(50 * time.Millisecond)
		}
		return n
	}
	before := quiet(func(n, before int) bool { return n == before })
	for _, x := range all {
		for range cancels {
			x.isCancelled(t)
		}
		if n := quiet(func(n, _ int) bool { return n <= before }); n > before {
			stacks := make([]byte, 1<<20)
			t.Fatalf("%d goroutines after %d cancelled calls of %s, %d before:\n%s", n, cancels, x.what, before, stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// Each call of Inspect, Do and Undo may be the one that hangs. Cancelled, each returns promptly and leaves nothing behind.
func TestConformanceCancel(t *testing.T) {
	for n, s := range subjects(t, trafficZone()) {
		t.Run(s.name, func(t *testing.T) {
			u := s.goes(t, n)
			verbs := func(c *conformer, call int) []interrupted {
				a := c.action()
				hang := func(hanging func()) { c.feelsFrom(hangs, call, hanging) }
				return []interrupted{
					{"Inspect", hang, func(ctx context.Context) error { _, err := a.Inspect(ctx); return err }},
					{"Do", hang, func(ctx context.Context) error { return a.Do(ctx, c.next(u.before)) }},
					{"Undo", hang, func(ctx context.Context) error { return a.Undo(ctx, c.next(u.before)) }},
				}
			}
			for call := 1; call <= u.look; call++ {
				verbs(conform(t, n), call)[0].isCancelled(t)
			}
			for call := 1; call <= u.do; call++ {
				verbs(conform(t, n), call)[1].isCancelled(t)
			}
			for call := 1; call <= u.undo; call++ {
				verbs(u.done(t, n), call)[2].isCancelled(t)
			}
			leavesNothing(t, verbs(conform(t, n), 1)...)
		})
	}
}
