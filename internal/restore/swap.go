package restore

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// baseTables are what RENAME TABLE moves.
const baseTables = "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA=? AND " + holdsRows + " ORDER BY TABLE_NAME"

// swap puts the shadow schemas' tables in the place of the live ones: all databases in one statement, which MariaDB carries out as a
// whole or not at all, also when it dies in its midst (atomic DDL, 10.6). What was there before lies in a schema beside.
// https://mariadb.com/kb/en/atomic-ddl/
func (r *run) swap(ctx context.Context) (row, error) {
	var from, to []string
	pairs := []string{fmt.Sprintf("%s.%s TO %s.%s", ownSchema, r.turnName(r.o.Token, false), ownSchema, r.turnName(r.o.Token, true))}
	loaded := 0
	fresh, err := r.fresh(ctx)
	if err != nil {
		return row{}, err
	}
	for _, db := range r.live {
		loaded += len(fresh[db])
		for _, t := range fresh[db] {
			to = append(to, quote(r.shadow(db))+"."+quote(t)+" TO "+quote(db)+"."+quote(t))
		}
		old, err := r.s.column(ctx, baseTables, db)
		if err != nil {
			return row{}, err
		}
		for _, t := range old {
			from = append(from, quote(db)+"."+quote(t)+" TO "+quote(replacedName(db, r.o.Token))+"."+quote(t))
		}
		if len(old) > 0 {
			r.notes = append(r.notes, fmt.Sprintf("the %d tables that were in %s before are in %s: drop it when nobody wants them any more", len(old), db, replacedName(db, r.o.Token)))
		}
	}
	if err := r.stage(ctx); err != nil {
		return row{}, err
	}
	if err := r.clear(ctx, len(from) > 0); err != nil {
		return row{}, err
	}
	r.report("swapping %d tables in", loaded)
	for {
		err := r.s.exec(ctx, "RENAME TABLE "+strings.Join(slices.Concat(pairs, from, to), ", "))
		if err == nil {
			break
		}
		if code(err) != errLockWait {
			return row{}, fmt.Errorf("swapping the tables, of which none was: %w", err)
		}
		// What was loaded stays loaded: it waits on.
		r.report("all is loaded; waiting for transactions that hold the live tables: see SHOW PROCESSLIST at %s", r.o.Server.Addr)
	}
	return read(ctx, r.s, r.id)
}

// fresh are the tables that were loaded, by database: as many as the backup has.
func (r *run) fresh(ctx context.Context) (map[string][]string, error) {
	out := map[string][]string{}
	for _, db := range r.live {
		var err error
		if out[db], err = r.s.column(ctx, baseTables, r.shadow(db)); err != nil {
			return nil, err
		}
		if want := r.said.tables[db]; len(out[db]) != want {
			return nil, fmt.Errorf("%d tables of %s were loaded, and the backup %s has %d: nothing was swapped", len(out[db]), db, r.o.File.Key, want)
		}
	}
	return out, nil
}

// stage writes down what a later run needs to know to go on from here.
func (r *run) stage(ctx context.Context) error {
	was, err := read(ctx, r.s, r.id)
	if err != nil {
		return err
	}
	if err := r.s.exec(ctx, "START TRANSACTION"); err != nil {
		return err
	}
	forget := []string{"later"}
	if was.state != stateSwapping { // else what the run before has taken away is only there
		forget = append(forget, "kept")
	}
	for _, list := range forget {
		if err := r.s.exec(ctx, "DELETE FROM failoverd."+list+" WHERE id=?", r.id); err != nil {
			return err
		}
	}
	var rows []string
	for i, l := range r.later {
		// In hexadecimal digits: its bytes are of any character set.
		db := strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(r.inLive(l.db), "`"), "`"), "``", "`")
		rows = append(rows, fmt.Sprintf("('%s', %d, %s, '%d', X'%X')", r.id, i, literal(db), l.role, l.text))
		if len(rows) == 100 || len(l.text) > 1<<16 || i == len(r.later)-1 {
			if err := r.s.exec(ctx, "INSERT INTO failoverd.later VALUES "+strings.Join(rows, ", ")); err != nil {
				return err
			}
			rows = nil
		}
	}
	if err := r.set(ctx, "state=?, epoch=?, backup=?, etag=?, as_of=?, names=?, tables_=?, bytes=?, note=?", stateSwapping, r.o.Epoch, r.o.File.Key, r.o.File.ETag,
		r.o.File.AsOf.UTC().Format("2006-01-02 15:04:05.999999"), r.o.Token, r.res.Tables, r.res.Bytes, strings.Join(r.notes, "\n")); err != nil {
		return err
	}
	return r.s.exec(ctx, "COMMIT")
}

// clear takes away from the live schemas what keeps their tables from being renamed, and keeps its definition for Undo.
func (r *run) clear(ctx context.Context, moves bool) error {
	count, err := r.s.value(ctx, "SELECT COALESCE(MAX(n), -1) + 1 FROM failoverd.kept WHERE id=?", r.id)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	for _, db := range r.live {
		if err := r.s.exec(ctx, "CREATE DATABASE IF NOT EXISTS "+quote(db)); err != nil {
			return err
		}
		if moves {
			if err := r.s.exec(ctx, "CREATE DATABASE IF NOT EXISTS "+quote(replacedName(db, r.o.Token))); err != nil {
				return err
			}
		}
		how, err := r.s.record(ctx, "SELECT DEFAULT_CHARACTER_SET_NAME c, DEFAULT_COLLATION_NAME o FROM information_schema.SCHEMATA WHERE SCHEMA_NAME="+literal(r.shadow(db)))
		if err != nil {
			return err
		}
		if err := r.s.exec(ctx, "ALTER DATABASE "+quote(db)+" CHARACTER SET "+how["c"]+" COLLATE "+how["o"]); err != nil {
			return err
		}
		for _, k := range []struct{ what, list, show string }{
			{"TRIGGER", "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA=? ORDER BY EVENT_OBJECT_TABLE, ACTION_ORDER", "SQL Original Statement"},
			{"VIEW", "SELECT TABLE_NAME FROM information_schema.VIEWS WHERE TABLE_SCHEMA=?", "Create View"},
		} {
			all, err := r.s.column(ctx, k.list, db)
			if err != nil {
				return err
			}
			for _, name := range all {
				full := quote(db) + "." + quote(name)
				was, err := r.s.record(ctx, "SHOW CREATE "+k.what+" "+full)
				if err != nil {
					return fmt.Errorf("keeping the definition of %s %s: %w", strings.ToLower(k.what), full, err)
				}
				if err := r.s.exec(ctx, fmt.Sprintf("INSERT INTO failoverd.kept VALUES (?, ?, ?, ?, X'%X')", was[k.show]), r.id, n, db, strings.Join([]string{was["character_set_client"], was["collation_connection"], was["sql_mode"]}, " ")); err != nil {
					return err
				}
				n++
				if err := r.s.exec(ctx, "DROP "+k.what+" "+full); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// finish makes what the swap has not carried, in the live schemas, and closes the row. It may be done again from its
// beginning: what is made is dropped before.
func (r *run) finish(ctx context.Context, now row) error {
	r.report("making triggers, views, routines and events")
	rows, err := r.s.conn.QueryContext(ctx, "SELECT db, what, text FROM failoverd.later WHERE id=? ORDER BY n", r.id)
	if err != nil {
		return err
	}
	defer rows.Close()
	var all []later
	for rows.Next() {
		var l later
		var what string
		if err := rows.Scan(&l.db, &what, &l.text); err != nil {
			return err
		}
		n, err := strconv.Atoi(what)
		if err != nil {
			return err
		}
		l.role = role(n)
		all = append(all, l)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	db := ""
	for _, l := range all {
		if l.db != db {
			db = l.db
			if err := r.s.exec(ctx, "USE "+quote(db)); err != nil {
				return err
			}
		}
		if p := classify([]byte(l.text)); l.role == object && p.make && p.what != "VIEW" {
			drop := p.what
			if drop == "PACKAGE" && strings.Contains(strings.ToUpper(l.text[:min(len(l.text), 200)]), "PACKAGE BODY") {
				drop = "PACKAGE BODY"
			}
			if err := r.s.exec(ctx, "DROP "+drop+" IF EXISTS "+quote(p.name)); err != nil {
				return err
			}
		}
		if err := r.s.exec(ctx, l.text); err != nil {
			return fmt.Errorf("the tables of %s are in; making what belongs to them: %w", now.key, err)
		}
	}
	if err := r.s.exec(ctx, setup); err != nil {
		return err
	}
	for _, db := range r.live {
		if err := r.s.exec(ctx, "DROP DATABASE IF EXISTS "+quote(shadowName(db, now.names))); err != nil {
			return err
		}
	}
	if err := r.set(ctx, "state=?", stateDone); err != nil {
		return err
	}
	// From here on the turn says again that nothing is half done.
	return r.s.exec(ctx, fmt.Sprintf("RENAME TABLE %s.%s TO %s.%s", ownSchema, now.turn, ownSchema, r.turnName(r.o.Token, false)))
}
