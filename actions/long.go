package actions

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// Some of what Do begins takes longer than a call may. Do leaves it running; each Inspect tells how far it is and that somebody still wants it. When
// nobody has looked for a while (the leader has changed, the execution was aborted) it ends itself.

// longWork is something under way that one action has begun.
type longWork struct {
	stop  context.CancelFunc
	alone *time.Timer  // ends it when nobody looks any more
	seen  atomic.Int64 // until when it may begin calls that change something, in Unix nanoseconds
	line  atomic.Pointer[string]
	ended chan struct{}
	err   error // after ended
}

const (
	// longPatience is how long it goes on without anybody looking: the executor looks every second.
	longPatience = 30 * time.Second
	// longGrace is how long a call that is cancelled waits for it to end.
	longGrace = 300 * time.Millisecond
)

// beginLong begins something beside the looks. Its context is its own: those of the calls end with them.
func beginLong(a Attempt, patience time.Duration, begins string, do func(ctx context.Context, r *longWork, say func(line string)) error) *longWork {
	ctx, stop := context.WithCancel(context.Background())
	r := &longWork{stop: stop, ended: make(chan struct{}), alone: time.AfterFunc(patience, stop)}
	r.seen.Store(time.Now().Add(patience).UnixNano())
	say := func(line string) {
		r.line.Store(&line)
		a.Report("%s", line)
	}
	say(begins)
	go func() {
		defer close(r.ended)
		defer stop()
		defer r.alone.Stop()
		r.err = do(ctx, r, say)
	}()
	return r
}

// looked says that somebody still wants it.
func (r *longWork) looked(patience time.Duration) {
	if r == nil {
		return
	}
	r.alone.Reset(patience)
	r.seen.Store(time.Now().Add(patience).UnixNano())
}

// until is when nobody wants it any more, if nobody looks.
func (r *longWork) until() time.Time { return time.Unix(0, r.seen.Load()) }

// result says whether it has ended, and how.
func (r *longWork) result() (ended bool, err error) {
	select {
	case <-r.ended:
		return true, r.err
	default:
		return false, nil
	}
}

// end stops what was begun before, and waits for it.
func (r *longWork) end(ctx context.Context) error {
	if r == nil {
		return nil
	}
	r.stop()
	select {
	case <-r.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("ending what was under way: %w", ctx.Err())
	}
}

// begun is how Do returns: what ends soon, such as what is refused, is told at once.
func (r *longWork) begun(ctx context.Context, a Attempt, what string) error {
	select {
	case <-r.ended:
		return r.err
	case <-time.After(time.Until(a.Deadline) / 2):
		return nil
	case <-ctx.Done():
		r.stop()
		select {
		case <-r.ended:
		case <-time.After(longGrace): // a server that hangs is not waited for: the next attempt does so, or burns the token
		}
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
}

// End implements Ender: half a dump is none, and nobody waits for the whole one.
func (x *mariaDBDump) End(ctx context.Context) error { return x.now.end(ctx) }

// End implements Ender: nobody waits for a restore that nobody wants. Then the server tells what of it is in.
func (x *mariaDBRestore) End(ctx context.Context) error { return x.end(ctx) }
