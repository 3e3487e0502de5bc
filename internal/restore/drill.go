package restore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Drilled is what a drill has found.
type Drilled struct {
	Result
	Took time.Duration
}

// ErrNotTried is of a drill that did not come as far as trying anything: it says nothing of a restore.
var ErrNotTried = errors.New("it was not tried out")

// drillToken is in the names of a drill's schemas. No attempt has it, so that the next restore finds them as what an earlier run has left,
// ends whoever stands in them, and removes them: a drill is never in the way of a restore.
const drillToken = 0

// Drill does all of a restore that touches nothing live, takes the time, and removes it again: the backup is read to its end and loaded into
// schemas beside the live ones, and what comes after a swap is rehearsed there. One drill at a time; none while a restore is under
// way, or has not come to its end. What it has loaded is gone when it returns, unless the server cannot be reached any more: the next one
// removes it. Epoch is what the caller knows of: it is refused where a later one has restored. Token and Since are not looked at.
func Drill(ctx context.Context, o Options) (out Drilled, err error) {
	begun := time.Now()
	if _, _, err := o.Judge(begun, nil); err != nil {
		return Drilled{}, err
	}
	o.Token, o.Since = drillToken, time.Time{}
	r := &run{o: o, live: sorted(o.Databases), id: identity(o.Databases)}
	if r.s, err = dial(ctx, o.Server, o.Step); err != nil {
		return Drilled{}, fmt.Errorf("%w: %w", ErrNotTried, err)
	}
	loads := false
	defer func() {
		err = errors.Join(err, r.s.end(err != nil)) // and with it goes its lock
		if loads {
			err = errors.Join(err, r.tidy())
		}
	}()
	if err := r.checkServer(ctx); err != nil {
		return Drilled{}, err
	}
	if err := r.alone(ctx); err != nil {
		return Drilled{}, fmt.Errorf("%w: %w", ErrNotTried, err)
	}
	loads = true
	if err := r.choose(ctx); err != nil {
		return Drilled{}, err
	}
	if err := r.checkTarget(ctx); err != nil {
		return Drilled{}, err
	}
	if err := r.load(ctx); err != nil {
		return Drilled{}, err
	}
	if err := r.rehearse(ctx); err != nil {
		return Drilled{}, err
	}
	if _, err := r.fresh(ctx); err != nil {
		return Drilled{}, err
	}
	r.res.Notes = r.notes
	return Drilled{Result: r.res, Took: time.Since(begun)}, nil
}

// alone takes the lock of drills, and refuses one beside a restore. The lock first, and then the look at the restore's: a restore takes its
// own first, and then looks at that of drills, so that whichever comes later sees the other.
func (r *run) alone(ctx context.Context) error {
	got, err := r.s.value(ctx, "SELECT GET_LOCK(?, 0)", drillLock(r.id))
	if err != nil {
		return err
	}
	if got != "1" {
		other, err := r.s.value(ctx, "SELECT IS_USED_LOCK(?)", drillLock(r.id))
		if err != nil {
			return err
		}
		return refuse("wait until it has ended; if its node is gone for good, the server may not know yet: KILL "+other+" ends it",
			"another drill is at work on connection %s of MariaDB at %s", other, r.o.Server.Addr)
	}
	holder, err := r.s.value(ctx, "SELECT IS_USED_LOCK(?)", lockName(r.id))
	if err != nil {
		return err
	}
	if holder != "" {
		return refuse("wait until it has ended", "a restore is at work on connection %s of MariaDB at %s", holder, r.o.Server.Addr)
	}
	now, err := read(ctx, r.s, r.id)
	if err != nil {
		return err
	}
	if now.epoch > r.o.Epoch {
		return refuse("give the command on a node that is up to date", "MariaDB at %s was restored in epoch %d, and this node knows of %d: what it would be loaded beside may be live", r.o.Server.Addr, now.epoch, r.o.Epoch)
	}
	if now.swapped {
		return refuse("let that restore come to its end (`failoverd retry`), or undo it", "the tables of %s are in at %s, and not yet all that belongs to them", now.key, r.o.Server.Addr)
	}
	return r.own(ctx)
}

// endDrill ends a drill that is under way. What it has loaded is removed with what earlier runs have left.
func (r *run) endDrill(ctx context.Context) error {
	holder, err := r.s.value(ctx, "SELECT IS_USED_LOCK(?)", drillLock(r.id))
	if err != nil || holder == "" {
		return err
	}
	r.report("ending a drill, connection %s", holder)
	if err := r.s.exec(ctx, "KILL "+holder); err != nil && code(err) != errNoThread {
		return fmt.Errorf("a drill is at work on connection %s, and could not be ended: %w", holder, err)
	}
	return nil
}

func drillLock(id string) string { return "failoverd_drill_" + id }

// tidy removes what the drill has loaded, over a connection of its own: that of the drill may have been at a statement. It takes the
// lock of drills for that: what stands there under somebody else's is not this one's any more, and goes with theirs.
func (r *run) tidy() error {
	ctx, cancel := context.WithTimeout(context.Background(), tidyPatience)
	defer cancel()
	s, err := dial(ctx, r.o.Server, r.o.Step)
	if err != nil {
		return fmt.Errorf("removing what the drill has loaded (the next one does it): %w", err)
	}
	r.s = s
	got, err := s.value(ctx, "SELECT GET_LOCK(?, ?)", drillLock(r.id), int(dialTimeout.Seconds()))
	if err == nil && got == "1" {
		err = errors.Join(r.dropLeftovers(ctx), s.exec(ctx, "DROP PROCEDURE IF EXISTS "+r.trial()))
	}
	return errors.Join(err, s.end(err != nil))
}

// tidyPatience is for dropping schemas, which takes a moment for each large table.
const tidyPatience = 2 * time.Minute

// trial is the procedure with which a run finds out in whose name it may make something. A drill has its own: neither takes away the other's.
func (r *run) trial() string {
	if r.o.Token == drillToken {
		return ownSchema + ".drill_may_be_" + r.id
	}
	return ownSchema + ".may_be_" + r.id
}

// leftover reports whether a schema is one that an earlier run of this kind has loaded, named with the prefix.
func (r *run) leftover(name, prefix string) bool {
	token := strings.TrimPrefix(name, prefix)
	if r.o.Token == drillToken { // a drill touches nothing of a restore's
		return token == fmt.Sprint(drillToken)
	}
	return strings.Trim(token, "0123456789") == ""
}
