package fence

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// One way swallows everything, the next one refuses, the third answers: the answer
// comes after one hedge, and nobody waits for the first.
func TestHedged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		var mu sync.Mutex
		var order []string
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		ans, err := Hedged(ctx, []string{"hangs", "refuses", "answers", "spare"}, 500*time.Millisecond, func(ctx context.Context, way string) (Answer, error) {
			mu.Lock()
			order = append(order, way)
			mu.Unlock()
			switch way {
			case "hangs":
				<-ctx.Done()
				return Answer{}, ctx.Err()
			case "refuses":
				return Answer{}, errors.New("no leader")
			}
			time.Sleep(100 * time.Millisecond)
			return Answer{Request: way}, nil
		})
		if took := time.Since(begun); err != nil || ans.Request != "answers" || took != 600*time.Millisecond || strings.Join(order, " ") != "hangs refuses answers" {
			t.Errorf("%+v, %v after %s: %v", ans, err, took, order)
		}
	})
}

// When nobody answers, each one's reason is told, and the caller's time is kept.
func TestHedgedFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, err := Hedged(t.Context(), []string{"a", "b"}, time.Second, func(_ context.Context, way string) (Answer, error) { return Answer{}, errors.New(way + " is down") })
		if err == nil || !strings.Contains(err.Error(), "a is down") || !strings.Contains(err.Error(), "b is down") {
			t.Errorf("%v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begun := time.Now()
		_, err = Hedged(ctx, []string{"a", "b"}, time.Second, func(ctx context.Context, _ string) (Answer, error) { <-ctx.Done(); return Answer{}, ctx.Err() })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) != 3*time.Second {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		if _, err := Hedged(t.Context(), nil, time.Second, func(context.Context, string) (Answer, error) { return Answer{}, nil }); err == nil {
			t.Error("without any way there is an answer")
		}
		synctest.Wait()
	})
}

// An agent that is answered asks once a renewal; one that is not asks five times as
// often, so that a way that has opened is found within a second.
func TestAgentAsksAgain(t *testing.T) {
	agentIn(t, nil, func(r *rig) {
		count := func(d time.Duration) int {
			r.leader.mu.Lock()
			before := len(r.leader.asked)
			r.leader.mu.Unlock()
			time.Sleep(d)
			r.leader.mu.Lock()
			defer r.leader.mu.Unlock()
			return len(r.leader.asked) - before
		}
		time.Sleep(time.Second)
		if n := count(20 * time.Second); n != 4 {
			t.Errorf("asked %d times in 20 s, want every 5 s", n)
		}
		r.leader.set(func(l *fakeLeader) { l.silent = true })
		time.Sleep(5 * time.Second)
		if n := count(20 * time.Second); n < 18 || n > 21 {
			t.Errorf("without an answer it asked %d times in 20 s, want every second", n)
		}
		r.leader.set(func(l *fakeLeader) { l.silent = false })
		time.Sleep(2 * time.Second)
		if n := count(20 * time.Second); n != 4 {
			t.Errorf("answered again, it asked %d times in 20 s", n)
		}
	})
}
