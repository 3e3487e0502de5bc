package restore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Status is what a server says of a restore of certain databases.
type Status struct {
	// Token is the newest that the server has seen; zero: none.
	Token uint64
	Epoch uint64 // of the restore that is described
	// Key and ETag are the backup's that is in, or half in; "" if there is none.
	Key, ETag string
	AsOf, At  time.Time // as of when it is, and when the server was told so
	Done      bool      // all of it is there
	Half      bool      // its tables are in, and not all that belongs to them
	Tables    int
	Notes     []string
	Lacks     string // the grants that the account lacks, as statements; "": none
	// Running is where a run is at work: the server's number of its connection; zero if there is none.
	Running uint64
	Turn    string // the table that holds the token; "": none
}

// Look says what the server keeps of the restore of certain databases. It changes nothing, and waits for nobody.
func Look(ctx context.Context, server *mysql.Config, databases []string) (Status, error) {
	s, err := dial(ctx, server, nil)
	if err != nil {
		return Status{}, err
	}
	defer s.end(false) //nolint:errcheck // nothing was written
	id := identity(databases)
	now, err := read(ctx, s, id)
	if err != nil {
		return Status{}, err
	}
	holder, err := s.value(ctx, "SELECT IS_USED_LOCK(?)", lockName(id))
	if err != nil {
		return Status{}, err
	}
	out := Status{Token: now.token, Epoch: now.epoch, Key: now.key, ETag: now.etag, AsOf: now.asOf, At: now.at, Done: now.state == stateDone, Half: now.swapped, Tables: now.tables, Notes: now.notes(), Turn: now.turn}
	if now.state == stateSwapping && !now.swapped {
		out.Key, out.ETag = "", "" // it came to nothing
	}
	if out.Lacks, err = rights(ctx, s, sorted(databases)); err != nil {
		return Status{}, err
	}
	out.Running, _ = strconv.ParseUint(holder, 10, 64) // "" is none
	return out, nil
}

// Written is when databases were written to last. Zero: the server knows of no write, as of none before its last start.
func Written(ctx context.Context, server *mysql.Config, databases []string) (time.Time, error) {
	s, err := dial(ctx, server, nil)
	if err != nil {
		return time.Time{}, err
	}
	defer s.end(false) //nolint:errcheck // nothing was written
	at, err := s.value(ctx, "SELECT COALESCE(UNIX_TIMESTAMP(MAX(UPDATE_TIME)), 0) FROM information_schema.TABLES WHERE "+holdsRows+" AND TABLE_SCHEMA IN ("+literals(databases)+")")
	if err != nil {
		return time.Time{}, err
	}
	whole, _, _ := strings.Cut(at, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || sec == 0 {
		return time.Time{}, err
	}
	return time.Unix(sec, 0).UTC(), nil
}

// Burn writes a token and ends what is under way, so that no earlier run changes anything any more; nothing else is changed.
func Burn(ctx context.Context, server *mysql.Config, databases []string, token uint64) error {
	return with(ctx, Options{Server: server, Databases: databases, Token: token}, func(*run, row) error { return nil })
}

// with does something with the turn taken.
func with(ctx context.Context, o Options, f func(r *run, now row) error) (err error) {
	r := &run{o: o, live: sorted(o.Databases), id: identity(o.Databases)}
	if r.s, err = dial(ctx, o.Server, o.Step); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.s.end(err != nil)) }()
	now, err := r.claim(ctx)
	if err != nil {
		return err
	}
	return f(r, now)
}

// Undo puts back the tables, views and triggers that stood in the live schemas before a restore, and removes what it has
// loaded. Routines and events that it has made stay: those are in the backup and run nothing by themselves.
// Without a swap there is only to remove what was loaded.
func Undo(ctx context.Context, o Options) error {
	return with(ctx, o, func(r *run, now row) error {
		if now.state == stateDone || now.swapped {
			if err := r.swapBack(ctx, now); err != nil {
				return err
			}
		}
		if now.state == stateDone || now.state == stateSwapping {
			if err := r.putBack(ctx); err != nil {
				return err
			}
		}
		if err := r.dropLeftovers(ctx); err != nil {
			return err
		}
		if err := r.set(ctx, "state=?, backup='', etag=''", stateClaimed); err != nil {
			return err
		}
		return nil
	})
}

// swapBack moves what was restored out of the way, and what was there before in again, in one statement.
func (r *run) swapBack(ctx context.Context, now row) error {
	in, out := r.turnName(r.o.Token, true), r.turnName(r.o.Token, false)
	if !now.swapped { // as right behind the swap: a run that goes on from here knows where it is
		if err := r.s.exec(ctx, fmt.Sprintf("RENAME TABLE %s.%s TO %s.%s", ownSchema, out, ownSchema, in)); err != nil {
			return err
		}
		if err := r.set(ctx, "state=?", stateSwapping); err != nil {
			return err
		}
	}
	pairs := []string{fmt.Sprintf("%s.%s TO %s.%s", ownSchema, in, ownSchema, out)}
	var back []string
	for _, db := range r.live {
		restored, err := r.s.column(ctx, baseTables, db)
		if err != nil {
			return err
		}
		old, err := r.s.column(ctx, baseTables, replacedName(db, now.names))
		if err != nil {
			return err
		}
		if err := r.s.exec(ctx, "CREATE DATABASE IF NOT EXISTS "+quote(shadowName(db, r.o.Token))); err != nil {
			return err
		}
		if err := r.dropAll(ctx, db); err != nil {
			return err
		}
		for _, t := range restored {
			pairs = append(pairs, quote(db)+"."+quote(t)+" TO "+quote(shadowName(db, r.o.Token))+"."+quote(t))
		}
		for _, t := range old {
			back = append(back, quote(replacedName(db, now.names))+"."+quote(t)+" TO "+quote(db)+"."+quote(t))
		}
	}
	if err := r.s.exec(ctx, "RENAME TABLE "+strings.Join(append(pairs, back...), ", ")); err != nil {
		return fmt.Errorf("putting back the tables that were there before, of which none was: %w", err)
	}
	for _, db := range r.live {
		if err := r.s.exec(ctx, "DROP DATABASE IF EXISTS "+quote(replacedName(db, now.names))); err != nil { // it is empty
			return err
		}
	}
	return nil
}

// dropAll removes the triggers and views of a live schema.
func (r *run) dropAll(ctx context.Context, db string) error {
	for what, list := range map[string]string{
		"TRIGGER": "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA=?", "VIEW": "SELECT TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA=?",
	} {
		all, err := r.s.column(ctx, list, db)
		if err != nil {
			return err
		}
		for _, name := range all {
			if err := r.s.exec(ctx, "DROP "+what+" IF EXISTS "+quote(db)+"."+quote(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// putBack makes the triggers and views again that were kept. Views may rest on each other: what fails is tried again after the others.
func (r *run) putBack(ctx context.Context) error {
	rows, err := r.s.conn.QueryContext(ctx, "SELECT db, what, text FROM failoverd.kept WHERE id=? ORDER BY n", r.id)
	if err != nil {
		return err
	}
	defer rows.Close()
	type kept struct{ db, mode, text string } // mode: character set, collation and sql_mode
	var all []kept
	for rows.Next() {
		var k kept
		if err := rows.Scan(&k.db, &k.mode, &k.text); err != nil {
			return err
		}
		all = append(all, k)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for len(all) > 0 {
		var again []kept
		var last error
		for _, k := range all {
			if m := hasDefiner.FindStringSubmatchIndex(k.text); m != nil {
				k.text = k.text[:m[2]] + "CURRENT_USER" + k.text[m[3]:]
			}
			if err := r.s.exec(ctx, "USE "+quote(k.db)); err != nil {
				return err
			}
			charset, rest, _ := strings.Cut(k.mode, " ")
			collation, mode, _ := strings.Cut(rest, " ")
			as := "SET sql_mode=" + literal(mode)
			if strings.HasPrefix(charset, "utf8") { // its text was read as utf8mb4, and is in no other
				as += ", character_set_client=" + charset + ", collation_connection=" + collation
			}
			if err := r.s.exec(ctx, as); err != nil {
				return err
			}
			if err := r.s.exec(ctx, k.text); err != nil && code(err) == 0 {
				return err
			} else if err != nil && code(err) != errExists && code(err) != errTrigger {
				again, last = append(again, k), err
			}
		}
		if len(again) == len(all) {
			return fmt.Errorf("putting back what belongs to the tables that were there before: %w", last)
		}
		all = again
	}
	return r.s.exec(ctx, setup)
}
