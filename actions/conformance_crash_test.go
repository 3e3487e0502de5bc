package actions

import (
	"context"
	"slices"
	"testing"
)

// undisturbed is how a subject's way looks when nothing happens to it.
type undisturbed struct {
	before           Effect
	was, end         string // the world
	look, do, undo   int    // calls
	changed, putBack int    // of which change something
}

// goes plays it.
func (s subject) goes(t *testing.T, n int) (u undisturbed) {
	t.Helper()
	c := conform(t, n)
	a := c.action()
	c.feels("")
	if _, err := a.Inspect(t.Context()); err != nil {
		t.Fatal(err)
	}
	u.look, _ = c.counted()
	u.before, u.was = c.look(a), c.is()
	c.feels("")
	if err := a.Do(t.Context(), c.next(u.before)); err != nil {
		t.Fatal(err)
	}
	u.do, u.changed = c.counted()
	c.passes()
	if e := c.look(a); e.State != Present {
		t.Fatalf("it is done and %s: %s", e.State, e.Detail)
	}
	u.end = c.is()
	c.feels("")
	if err := a.Undo(t.Context(), c.next(u.before)); err != nil {
		t.Fatal(err)
	}
	u.undo, u.putBack = c.counted()
	c.passes()
	if e := c.look(a); !restored(a, e, u.before.Previous) {
		t.Fatalf("it is undone and %s: %s", e.State, e.Previous)
	}
	c.same("undone", u.was)
	if u.changed == 0 || u.putBack == 0 || u.was == u.end {
		t.Fatalf("nothing was changed: %+v", u)
	}
	return u
}

// done is a world of its own in which the effect is there.
func (u undisturbed) done(t *testing.T, n int) *conformer {
	t.Helper()
	c := conform(t, n)
	a := c.action()
	e := c.look(a)
	if string(e.Previous) != string(u.before.Previous) {
		t.Errorf("what was there is recorded as %s, and was %s when nothing happened", e.Previous, u.before.Previous)
	}
	if err := a.Do(t.Context(), c.next(e)); err != nil {
		t.Fatal(err)
	}
	c.passes()
	return c
}

// A process dies right after each call of Do and of Undo. Whoever comes after it knows what the log has: the end is the same as when nothing
// happens, and so is what is put back.
func TestConformanceCrashBetween(t *testing.T) {
	for n, s := range subjects(t, trafficZone()) {
		t.Run(s.name, func(t *testing.T) {
			u := s.goes(t, n)
			for call := 1; call <= u.do; call++ {
				c := conform(t, n)
				a := c.action()
				before := c.look(a)
				ctx, die := context.WithCancel(t.Context())
				c.feelsFrom(dies, call, die)
				_ = a.Do(ctx, c.next(before))
				if ctx.Err() == nil {
					t.Fatalf("Do has made no call %d", call)
				}
				c.feels("")
				if call%2 == 0 { // what was asked for takes place before or after the next one looks
					c.passes()
				}
				c.finish()
				c.same("after a crash behind a call of Do, and another leader,", u.end)
				c.putBack(before)
				c.same("after a crash behind a call of Do, and an undo,", u.was)
				// An abort in place of the next leader: what was half done is put back.
				c = conform(t, n)
				a, ctx, die = c.action(), t.Context(), nil
				before = c.look(a)
				ctx, die = context.WithCancel(ctx)
				c.feelsFrom(dies, call, die)
				_ = a.Do(ctx, c.next(before))
				c.feels("")
				c.passes()
				c.putBack(before)
				c.same("half done and put back,", u.was)
			}
			for call := 1; call <= u.undo; call++ {
				c := u.done(t, n)
				ctx, die := context.WithCancel(t.Context())
				c.feelsFrom(dies, call, die)
				_ = c.action().Undo(ctx, c.next(u.before))
				if ctx.Err() == nil {
					t.Fatalf("Undo has made no call %d", call)
				}
				c.feels("")
				if call%2 == 0 {
					c.passes()
				}
				c.putBack(u.before)
				c.passes()
				c.same("after a crash behind a call of Undo", u.was)
			}
		})
	}
}

// An API lies about each change, in each way. No look believes it, an error is an error, and what was asked for comes about once it is honest
// again, or is put back.
func TestConformanceLies(t *testing.T) {
	several := []string{"asg start", "asg stop", "asg start elsewhere", "asg stop of both", "ec2_instances start", "ec2_instances stop"} // name several objects in a call; the others make one for each
	for n, s := range subjects(t, trafficZone()) {
		t.Run(s.name, func(t *testing.T) {
			u, halved := s.goes(t, n), 0
			for _, lie := range []string{claims, denies, refuses, halves} {
				for change := 1; change <= u.changed; change++ {
					c := conform(t, n)
					a := c.action()
					before := c.look(a)
					c.feelsAt(lie, change)
					err := a.Do(t.Context(), c.next(before))
					c.feels("")
					if err == nil && (lie == denies || lie == refuses) {
						t.Errorf("change %d of Do was refused (%s), and it is content", change, lie)
					}
					halved += c.halved
					c.passes()
					if e := c.look(c.action()); e.State == Present && c.is() != u.end {
						t.Errorf("change %d of Do: %s: it is believed (%s), and the world is\n%s, not\n%s", change, lie, e.Detail, c.is(), u.end)
					}
					c.finish()
					c.same("once it is honest", u.end)
					c.putBack(before)
					c.same("once it is honest, and put back,", u.was)
				}
				for change := 1; change <= u.putBack; change++ {
					c := u.done(t, n)
					c.feelsAt(lie, change)
					err := c.action().Undo(t.Context(), c.next(u.before))
					c.feels("")
					if err == nil && (lie == denies || lie == refuses) {
						t.Errorf("change %d of Undo was refused (%s), and it is content", change, lie)
					}
					halved += c.halved
					c.passes()
					a := c.action()
					if restored(a, c.look(a), u.before.Previous) && c.is() != u.was {
						t.Errorf("change %d of Undo: %s: it is believed, and the world is\n%s, not\n%s", change, lie, c.is(), u.was)
					}
					c.putBack(u.before)
					c.same("put back, once it is honest", u.was)
				}
			}
			if (halved > 0) != slices.Contains(several, s.name) {
				t.Errorf("%d calls were half done", halved)
			}
		})
	}
}
