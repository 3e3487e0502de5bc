package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/backup"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/restore"
)

// mariaDBDump is the action. Its one effect is an object whose key bears the attempt's token, so that no attempt ever replaces what another has
// made: which of them is restored says the restore (fresh). It appears as a whole or not at all, and nothing live rests on it before.
type mariaDBDump struct {
	cfg    *MariaDBRestoreConfig
	allow  []restore.Override // by people, in mid-plan: what the configuration allows is for the target of a restore
	step   failover.StepID
	region failover.Region // that is entered
	left   failover.Region // whose server is dumped
	place  backup.Place
	fresh  freshDumps
	now    *longWork // begun by this action; nil: none
	events string    // what the server there writes by itself, when it was looked at last before the dump
	said   *string   // by mariadb-dump, once now has ended

	patience time.Duration
}

// freshFound is the dump that stands in the bucket; its zero value is none.
type freshFound struct {
	Key  string `json:"key,omitempty"`
	ETag string `json:"etag,omitempty"`
}

// Idempotent says that a late repetition changes nothing: it makes an object of its own, which no restore takes any more.
func (x *mariaDBDump) Idempotent() {}

// Allow implements Allower.
func (x *mariaDBDump) Allow(overrides []string, _ string) {
	x.allow = nil
	for _, o := range overrides {
		x.allow = append(x.allow, restore.Override(o))
	}
}

// Inspect implements Action.
func (x *mariaDBDump) Inspect(ctx context.Context) (Effect, error) {
	x.now.looked(x.patience)
	e := Effect{State: Absent}
	found := freshFound{}
	ended, failed := false, error(nil)
	if r := x.now; r != nil {
		if ended, failed = r.result(); !ended {
			e.State, e.Detail = Partial, *r.line.Load()
			return e, x.note(&e, found)
		}
	}
	all, _, err := x.place.List(ctx)
	if err != nil {
		return Effect{}, errors.Join(fmt.Errorf("listing the backups under %s: %w", x.place, err), failed)
	}
	// Before its own error is believed: the answer that an upload is complete may have been lost. What was seen to be something else is not taken.
	if f, ok := x.fresh.among(all); ok && !errors.Is(failed, backup.ErrOther) {
		e.State, found = Present, freshFound{f.Key, f.ETag}
		e.Detail = fmt.Sprintf("%s in %s is dumped as of %s: %s, %s", strings.Join(x.cfg.Databases, ", "), x.left, f.AsOf.Format(time.RFC3339), f.Key, backup.Size(f.Size)) + x.events
		if ended && x.said != nil && *x.said != "" {
			e.Detail += "; mariadb-dump said: " + *x.said
		}
		return e, x.note(&e, found)
	}
	if failed != nil {
		e.Over, e.Detail = failed.Error(), "nothing was dumped: "+failed.Error()
		return e, x.note(&e, found)
	}
	if ended {
		e.Over = "the dump was uploaded and is not there any more"
		e.Detail = e.Over
		return e, x.note(&e, found)
	}
	e.Detail = fmt.Sprintf("MariaDB in %s is not dumped", x.left)
	if e.Lacks = x.lacks(ctx); e.Lacks != "" {
		e.Detail += "; " + e.Lacks
	} else {
		x.events = x.itself(ctx)
		e.Detail += x.events
	}
	return e, x.note(&e, found)
}

// note writes what was found into what the log keeps.
func (x *mariaDBDump) note(e *Effect, found freshFound) (err error) {
	e.Previous, err = json.Marshal(found)
	return err
}

// lacks says what would keep a dump from being made; "" if nothing is known.
func (x *mariaDBDump) lacks(ctx context.Context) string {
	if _, err := exec.LookPath(x.cfg.Fresh.program()); err != nil {
		return fmt.Sprintf("the program that dumps is not on this node (%v); install it (Debian: mariadb-client), or name it in fresh.program", err)
	}
	server, err := x.cfg.server(x.cfg.Servers[x.left])
	if err != nil {
		return err.Error()
	}
	of, err := restore.LookSource(ctx, server, x.cfg.Databases)
	switch {
	case err != nil:
		return fmt.Sprintf("MariaDB in %s cannot be dumped: %v", x.left, err)
	case of.Lacks != "":
		return fmt.Sprintf("the account %s may not read in MariaDB in %s all that a dump holds; %s", x.cfg.User, x.left, of.Lacks)
	case of.Versioned != "" && !slices.Contains(x.allow, restore.AllowHistory):
		return fmt.Sprintf("tables in MariaDB in %s keep a history (WITH SYSTEM VERSIONING), which a dump does not bring, so that it is refused: %s", x.left, of.Versioned)
	}
	return ""
}

// Do implements Action.
func (x *mariaDBDump) Do(ctx context.Context, a Attempt) error {
	if err := cloud.CheckEffectDeadline(ctx, "mariadb_dump"); err != nil {
		return err
	}
	if err := x.now.end(ctx); err != nil {
		return err
	}
	x.now = nil
	server, err := x.cfg.server(x.cfg.Servers[x.left])
	if err != nil {
		return err
	}
	calls := func(ctx context.Context) context.Context { return ctx }
	for _, token := range x.fresh.earlier(a.Token) { // and nobody else's: another component may have the same prefix
		if err := x.place.Abandon(ctx, x.fresh.under(token), calls); err != nil {
			a.Report("%v", err) // nothing rests on it: an earlier attempt's object would be no worse
		}
	}
	x.fresh.token = a.Token
	key := x.fresh.key(a.Token, time.Now(), x.cfg.Fresh.compression())
	said, allow := new(string), slices.Clone(x.allow) // which each look sets anew
	x.said = said
	x.now = beginLong(a, x.patience, fmt.Sprintf("dumping MariaDB in %s to s3://%s/%s", x.left, x.place.Bucket, key), func(ctx context.Context, r *longWork, say func(string)) error {
		taken, err := restore.Take(ctx, restore.TakeOptions{
			Program: x.cfg.Fresh.program(), Server: server, CAFile: x.cfg.CAFile, Databases: x.cfg.Databases, Compression: x.cfg.Fresh.compression(),
			Allow: allow, UnderWay: func(o restore.Override) string { return underWay(x.step, string(o)) },
			Report: say,
			Put: func(ctx context.Context, from io.Reader) (backup.File, error) {
				// Nothing is sent by a process that was stopped or suspended meanwhile: nobody has looked since.
				return x.place.Put(ctx, key, from, func(ctx context.Context) context.Context {
					return a.acts(cloud.WithEffectDeadline(ctx, r.until()))
				})
			},
		})
		if err != nil {
			return fmt.Errorf("dumping MariaDB in %s: %w (an older backup is restored only if somebody says so: `failoverd skip %s --why …`, and then `failoverd retry %s --allow %s --why …`)",
				x.left, err, x.step, strings.Replace(string(x.step), "dump-", "start-", 1), freshBackup)
		}
		*said = taken.Said
		return nil
	})
	return x.now.begun(ctx, a, "dumping MariaDB in "+string(x.left))
}

// Undo implements Action. What was uploaded stays: it is a backup like any other, and nothing else was changed.
func (x *mariaDBDump) Undo(ctx context.Context, _ Attempt) error {
	if err := x.now.end(ctx); err != nil {
		return err
	}
	x.now = nil
	return nil
}

// Restored implements Restorer.
func (x *mariaDBDump) Restored(Effect, json.RawMessage) bool { return true }
