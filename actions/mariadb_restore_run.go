package actions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/backup"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/restore"
)

// A restore is long work (long.go). That its writes come after the attempt's deadline is what the token is for: the swap of a stale one fails as a whole, and the
// next attempt ends its connection first.

// mariaDBRestore is the action.
type mariaDBRestore struct {
	cfg    *MariaDBRestoreConfig
	allow  []restore.Override // the configuration's, and what people have allowed since
	key    string             // likewise
	step   failover.StepID
	region failover.Region
	left   failover.Region // the other region; "": servers names none
	other  string          // its server; "": none is named
	place  backup.Place
	epoch  uint64
	since  time.Time
	fresh  freshDumps
	first  *freshFound // the dump with which the execution's first attempt began; nil: none has yet
	now    *longWork   // begun by this action; nil: none

	patience, pause time.Duration
}

// restorePause is the time before what failed, and was not refused, is tried again from its beginning.
const restorePause = 5 * time.Second

// restoredBefore is what stood at the server before a change.
type restoredBefore struct {
	Token uint64 `json:"token,omitempty"`
	Epoch uint64 `json:"epoch,omitempty"`
	Key   string `json:"key,omitempty"`
	ETag  string `json:"etag,omitempty"`
	// Fresh is the dump that is restored, in a switchover that has taken one. Nil: none has.
	Fresh *freshFound `json:"fresh,omitempty"`
}

// ChecksToken implements TokenChecker.
func (x *mariaDBRestore) ChecksToken() {}

// Allow implements Allower.
func (x *mariaDBRestore) Allow(overrides []string, key string) {
	x.allow, x.key = slices.Clone(x.cfg.Allow), cmp.Or(key, x.cfg.Key)
	for _, o := range overrides {
		x.allow = append(x.allow, restore.Override(o))
	}
}

// underWay says how a person lifts a refusal in mid-plan.
func (x *mariaDBRestore) underWay(what restore.Override) string {
	return underWay(x.step, string(what))
}

// Inspect implements Action.
func (x *mariaDBRestore) Inspect(ctx context.Context) (Effect, error) {
	x.now.looked(x.patience)
	server, err := x.cfg.server(x.cfg.Servers[x.region])
	if err != nil {
		return Effect{}, err
	}
	st, err := restore.Look(ctx, server, x.cfg.Databases)
	if err != nil {
		return Effect{}, fmt.Errorf("asking MariaDB in %s what it was restored from: %w", x.region, err)
	}
	before := restoredBefore{Token: st.Token, Epoch: st.Epoch, Key: st.Key, ETag: st.ETag, Fresh: x.first}
	e := Effect{State: Absent, Token: st.Token}
	if e.Previous, err = json.Marshal(before); err != nil {
		return Effect{}, err
	}
	ours := st.Epoch == x.epoch && x.epoch > 0
	switch {
	case st.Done && ours:
		e.State, e.Detail = Present, fmt.Sprintf("MariaDB in %s is restored from %s as of %s", x.region, st.Key, st.AsOf.UTC().Format(time.RFC3339))
		for _, note := range st.Notes {
			e.Detail += "; " + note
		}
		if x.key != x.cfg.Key && x.key != st.Key {
			e.Detail += fmt.Sprintf("; %s, which was named while that was under way, is not: what is restored once in an epoch stays", x.key)
		}
		return e, nil
	case st.Half:
		e.State = Partial
		e.Detail = fmt.Sprintf("the tables of %s are in, and not yet all that belongs to them", st.Key)
	case st.Running != 0:
		e.State, e.Detail = Partial, fmt.Sprintf("a restore is at work on connection %d of MariaDB in %s", st.Running, x.region)
	}
	if r := x.now; r != nil {
		switch ended, err := r.result(); {
		case !ended:
			e.State, e.Detail = Partial, *r.line.Load()
		case err != nil:
			e.Over = err.Error()
			e.Detail = "nothing was restored: " + err.Error()
			if e.State == Partial {
				e.Detail = fmt.Sprintf("the tables of %s are in, and what belongs to them is not: %v", st.Key, err)
			}
		}
		return e, nil
	}
	if e.State == Partial {
		return e, nil
	}
	found, err := x.candidates(ctx)
	if err != nil {
		e.Detail = err.Error()
		if e.Lacks = e.Detail; errors.Is(err, errNotBrought) { // that comes only behind the fence, and lacks on no quiet day
			if e.Lacks = x.lacks(st); e.Lacks != "" {
				e.Detail += "; " + e.Lacks
			}
		}
		return e, nil //nolint:nilerr // the server could be read: what lacks is said
	}
	o := x.wanted()
	x.choose(&o, found)
	if x.brings(o.File) {
		before.Fresh = cmp.Or(x.first, &freshFound{o.File.Key, o.File.ETag})
		if e.Previous, err = json.Marshal(before); err != nil {
			return Effect{}, err
		}
	}
	c, passed, err := o.Judge(time.Now(), func(f backup.File) (string, error) {
		said, err := x.place.Ends(ctx, f)
		return said.Wrong, err
	})
	f := c.File
	e.Detail = fmt.Sprintf("the newest backup for %s is %s as of %s, %s; it is not restored", x.region, f.Key, f.AsOf.UTC().Format(time.RFC3339), backup.Size(f.Size))
	if err != nil { // it names what was passed over
		e.Lacks, passed = err.Error(), nil
		e.Detail += "; " + e.Lacks
	}
	for _, why := range passed {
		e.Detail += "; passed over: " + why
	}
	if why := x.lacks(st); why != "" && e.Lacks == "" {
		e.Lacks = why
		e.Detail += "; " + e.Lacks
	}
	if !x.brings(f) {
		e.Advice = x.newer(ctx, server, st, f)
	}
	return e, nil
}

// newer says that the live schemas have what the backup has not: the service worked there since, and its own rows are nearer to what is lost than the
// backup's. "" if nothing is known of that.
func (x *mariaDBRestore) newer(ctx context.Context, server *mysql.Config, st restore.Status, f backup.File) string {
	at, err := restore.Written(ctx, server, x.cfg.Databases)
	if err != nil || !at.After(f.AsOf) || st.Done && st.Key == f.Key && !at.After(st.At) {
		return ""
	}
	return fmt.Sprintf("what lives in MariaDB in %s was written to until %s, later than that backup is: the restore would put it aside. Bring a younger backup; in mid-plan `failoverd skip %s --why …` goes on with what lives there",
		x.region, at.Format(time.RFC3339), x.step)
}

// lacks says what the account may not do at the server; "" if nothing is known.
func (x *mariaDBRestore) lacks(st restore.Status) string {
	if st.Lacks == "" {
		return ""
	}
	return fmt.Sprintf("the account %s may not do in MariaDB in %s what a restore needs; %s", x.cfg.User, x.region, st.Lacks)
}

// Do implements Action. What ends soon, such as what is refused, is told at once.
func (x *mariaDBRestore) Do(ctx context.Context, a Attempt) error {
	if err := cloud.CheckEffectDeadline(ctx, "mariadb_restore"); err != nil {
		return err
	}
	if err := x.end(ctx); err != nil {
		return err
	}
	o, err := x.options(ctx, a)
	if err != nil {
		return err
	}
	x.now = x.begin(o, a)
	return x.now.begun(ctx, a, "restoring MariaDB in "+string(x.region))
}

// end stops what this action has begun before, and waits for it.
func (x *mariaDBRestore) end(ctx context.Context) error {
	if err := x.now.end(ctx); err != nil {
		return err
	}
	x.now = nil
	return nil
}

// begin starts a restore beside the looks.
func (x *mariaDBRestore) begin(o restore.Options, a Attempt) *longWork {
	return beginLong(a, x.patience, "restoring "+o.File.Key, func(ctx context.Context, _ *longWork, say func(string)) error {
		o.Report = say
		for {
			_, err := restore.Run(ctx, o)
			var refused *restore.RefusedError
			if err == nil || ctx.Err() != nil || errors.Is(err, restore.ErrStaleToken) || errors.As(err, &refused) || backup.Replaced(err) {
				err = stale(err)
				if refused != nil {
					err = fmt.Errorf("%w (a plan that is under way goes on as well after a restore by hand and `failoverd skip %s --why …`)", err, a.Step)
				}
				return err
			}
			say("it is tried again from its beginning: " + err.Error())
			select {
			case <-time.After(x.pause):
			case <-ctx.Done():
				return err
			}
		}
	})
}

// Drill implements Driller: the newest backup is loaded beside the live schemas.
func (x *mariaDBRestore) Drill(ctx context.Context, say func(line string)) (Drilled, error) {
	o, err := x.options(ctx, Attempt{})
	if err != nil {
		return Drilled{}, fmt.Errorf("%w: %w", ErrNotTried, err)
	}
	o.Report = say
	d, err := restore.Drill(ctx, o)
	if err != nil {
		return Drilled{}, fmt.Errorf("trying out a restore of %s in %s: %w", o.File.Key, x.region, err)
	}
	return Drilled{d.Took, fmt.Sprintf("%s as of %s, %d tables, %s", d.File.Key, d.File.AsOf.UTC().Format(time.RFC3339), d.Tables, backup.Size(d.Bytes))}, nil
}

// Undo implements Action: what was there before is put back.
func (x *mariaDBRestore) Undo(ctx context.Context, a Attempt) error {
	if err := cloud.CheckEffectDeadline(ctx, "mariadb_restore"); err != nil {
		return err
	}
	if err := x.end(ctx); err != nil {
		return err
	}
	server, err := x.cfg.server(x.cfg.Servers[x.region])
	if err != nil {
		return err
	}
	a.Report("putting back what stood in MariaDB in %s before", x.region)
	return stale(restore.Undo(ctx, restore.Options{Server: server, Databases: x.cfg.Databases, Token: a.Token, Epoch: a.Epoch}))
}

// Restored implements Restorer: nothing of this epoch is in, or what was is again.
func (x *mariaDBRestore) Restored(now Effect, previous json.RawMessage) bool {
	var was, is restoredBefore
	if json.Unmarshal(previous, &was) != nil || json.Unmarshal(now.Previous, &is) != nil {
		return false
	}
	if now.State == Present {
		return was.Epoch == is.Epoch && was.Key == is.Key && was.ETag == is.ETag
	}
	return now.State == Absent
}

// Burn implements Burner.
func (x *mariaDBRestore) Burn(ctx context.Context, a Attempt) error {
	if err := x.end(ctx); err != nil {
		return err
	}
	server, err := x.cfg.server(x.cfg.Servers[x.region])
	if err != nil {
		return err
	}
	a.Report("replacing the token alone by %d, and ending what is under way", a.Token)
	return stale(restore.Burn(ctx, server, x.cfg.Databases, a.Token))
}

// stale is the executor's word for a token that is not the newest.
func stale(err error) error {
	if errors.Is(err, restore.ErrStaleToken) {
		return fmt.Errorf("%w (%w)", ErrStaleToken, err)
	}
	return err
}
