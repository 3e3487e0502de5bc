package restore

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/internal/dump"
)

// shadow is the schema into which a database of the backup is loaded. A stale run has schemas of its own.
func (r *run) shadow(db string) string { return shadowName(db, r.o.Token) }

// dbOptions begins before what follows the name in CREATE DATABASE.
var dbOptions = regexp.MustCompile("(?s)^.*?CREATE (?:DATABASE|SCHEMA)\\b.*?`(?:[^`]|``)+`")

// load fills the shadow schemas with the backup's tables, and gathers what is made after the swap.
func (r *run) load(ctx context.Context) error {
	if err := r.dropLeftovers(ctx); err != nil {
		return err
	}
	for _, db := range r.live { // as the live one is; the backup's own CREATE DATABASE may say otherwise
		how, err := r.s.record(ctx, "SELECT DEFAULT_CHARACTER_SET_NAME c, DEFAULT_COLLATION_NAME o FROM information_schema.SCHEMATA WHERE SCHEMA_NAME="+literal(db))
		if err != nil {
			return err
		}
		text := "CREATE DATABASE " + quote(r.shadow(db))
		if how != nil {
			text += " CHARACTER SET " + how["c"] + " COLLATE " + how["o"]
		}
		if err := r.s.exec(ctx, text); err != nil {
			return fmt.Errorf("making the schema to load into; grant the account %s all on `%s`.*: %w", r.o.Server.User, strings.ReplaceAll(shadowName(db, 0), "0", "%"), err)
		}
	}
	if err := r.s.exec(ctx, "USE "+quote(r.shadow(r.said.Databases[0]))); err != nil {
		return err
	}
	begun, at := time.Now(), ""
	f, err := r.fillers(ctx)
	if err != nil {
		return err
	}
	if f != nil {
		f.schema = r.shadow(r.said.Databases[0])
	}
	err = r.each(ctx, nil, "loading", func(st dump.Statement, db string) error {
		p := classify(st.Text)
		text := string(st.Text)
		switch p.role {
		case useDB:
			text = "USE " + quote(r.shadow(p.name))
		case createDB:
			text = "ALTER DATABASE " + quote(r.shadow(p.name)) + dbOptions.ReplaceAllString(text, "")
			if strings.TrimSpace(text) == "ALTER DATABASE "+quote(r.shadow(p.name)) {
				return nil
			}
		case setting:
			r.later = append(r.later, later{db, text, setting})
		case table:
			at = p.name
			if p.make {
				text = r.redirect(text)
			}
		case object, alterDB:
			if p.what == "TRIGGER" && p.make {
				var err error
				if text, err = unqualified(text, cmp.Or(db, r.said.Databases[0])); err != nil {
					return fmt.Errorf("trigger %s, at byte %d: %w", p.name, st.At, err)
				}
			}
			r.later = append(r.later, later{db, text, p.role})
			return nil
		case left:
			return nil
		case other:
			return fmt.Errorf("%.80q: %s", text, p.why)
		}
		if taken, err := f.takes(p, text, st.At); taken || err != nil {
			return err
		}
		if err := r.s.exec(ctx, text); err != nil {
			return r.loading(st.At, at, err)
		}
		if p.make && p.role == table && p.what == "TABLE" {
			r.res.Tables++
		}
		return nil
	})
	if err := f.finish(ctx, err); err != nil {
		return err
	}
	r.report("loaded %s in %s", r.o.File.Key, time.Since(begun).Round(time.Second))
	return r.s.exec(ctx, setup)
}

// refers is a foreign key into a database that the backup names itself.
var refers = regexp.MustCompile("(?m)^(\\s+CONSTRAINT `(?:[^`]|``)+` FOREIGN KEY \\([^\n]*?\\) REFERENCES )`((?:[^`]|``)+)`(\\.`)")

// redirect lets foreign keys between databases that are restored together point into the shadow: the swap carries them along.
func (r *run) redirect(text string) string {
	if len(r.live) == 1 {
		return text
	}
	return refers.ReplaceAllStringFunc(text, func(m string) string {
		part := refers.FindStringSubmatch(m)
		db := strings.ReplaceAll(part[2], "``", "`")
		if !slices.Contains(r.live, db) {
			return m
		}
		return part[1] + quote(r.shadow(db)) + part[3]
	})
}

// dropLeftovers removes the schemas into which earlier runs have loaded: half of them is worth nothing.
func (r *run) dropLeftovers(ctx context.Context) error {
	for _, db := range r.live {
		prefix := strings.TrimSuffix(shadowName(db, 0), "0")
		all, err := r.s.column(ctx, "SELECT SCHEMA_NAME FROM information_schema.SCHEMATA WHERE LEFT(SCHEMA_NAME, CHAR_LENGTH(?))=? COLLATE utf8mb4_bin", prefix, prefix)
		if err != nil {
			return err
		}
		for _, name := range all {
			if !r.leftover(name, prefix) {
				continue
			}
			// A connection that stands in it may still get a statement of an earlier try, which would land in the next schema of
			// this name: the default schema is a name alone.
			inside, err := r.s.column(ctx, "SELECT ID FROM information_schema.PROCESSLIST WHERE DB=? AND ID<>CONNECTION_ID()", name)
			if err != nil {
				return err
			}
			for _, id := range inside {
				if err := r.s.exec(ctx, "KILL "+id); err != nil && code(err) != errNoThread {
					return fmt.Errorf("ending connection %s, with which an earlier run fills %s: %w", id, name, err)
				}
			}
			if err := r.s.exec(ctx, "SET foreign_key_checks=0"); err != nil {
				return err
			}
			if err := r.s.exec(ctx, "DROP DATABASE IF EXISTS "+quote(name)); err != nil {
				return fmt.Errorf("removing what an earlier run has loaded: %w", err)
			}
		}
	}
	return r.s.exec(ctx, "SET foreign_key_checks=1")
}

// literal is a string as SQL has it while sql_mode is that of setup.
func literal(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`).Replace(text) + "'"
}
