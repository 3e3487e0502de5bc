package restore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// Source is what a server says of databases that are to be dumped.
type Source struct {
	Tables int
	Bytes  int64  // of their rows, as far as the server knows; their SQL is of that order
	Lacks  string // the grants that a dump lacks, as statements; "": none
	At     string // the server's own time, UTC, in whole seconds
	// Versioned are tables that keep their history (WITH SYSTEM VERSIONING), which a dump brings without it; "": none.
	Versioned string
}

// holdsRows are the tables that hold rows of their own. Of a sequence the server keeps no time of its last write.
const holdsRows = "TABLE_TYPE IN ('BASE TABLE','SYSTEM VERSIONED','SEQUENCE')"

// serverTime is the server's own, in whole seconds.
const serverTime = "SELECT UTC_TIMESTAMP()"

// dumpNeeds is what an account must be allowed in a schema that it dumps whole. What it may not read mariadb-dump leaves out, some of it
// without a word (triggers, events).
var dumpNeeds = []string{"EVENT", "SELECT", "SHOW VIEW", "TRIGGER"}

// LookSource says whether databases of a server can be dumped, and how much that would be. It changes nothing.
func LookSource(ctx context.Context, server *mysql.Config, databases []string) (out Source, err error) {
	s, err := dial(ctx, server, nil)
	if err != nil {
		return Source{}, err
	}
	defer s.end(false) //nolint:errcheck // nothing was written
	return lookSource(ctx, s, databases)
}

func lookSource(ctx context.Context, s *session, databases []string) (out Source, err error) {
	g, err := granted(ctx, s)
	if err != nil {
		return Source{}, err
	}
	for _, db := range sorted(databases) {
		if err := g.look(ctx, db, db, dumpNeeds); err != nil {
			return Source{}, err
		}
	}
	// The body of a routine is shown to who may read all of them (SHOW CREATE PROCEDURE): without it mariadb-dump gives up.
	switch _, err := s.value(ctx, "SELECT 1 FROM mysql.proc LIMIT 1"); {
	case code(err) == errNoRight:
		g.give = append(g.give, fmt.Sprintf("GRANT SELECT ON mysql.proc TO %s", g.who))
	case err != nil:
		return Source{}, err
	}
	// Without it the server tells of nobody else's transactions and statements.
	if !g.role && !slices.Contains(g.everywhere, "PROCESS") {
		g.give = append(g.give, "GRANT PROCESS ON *.* TO "+g.who)
	}
	out.Lacks = strings.Join(g.give, "; ")
	if out.At, err = s.value(ctx, serverTime); err != nil {
		return Source{}, err
	}
	var names []string
	for _, db := range databases {
		counts, err := s.record(ctx, "SELECT COUNT(*) AS n, COALESCE(SUM(DATA_LENGTH), 0) AS b FROM information_schema.TABLES WHERE "+holdsRows+" AND TABLE_SCHEMA="+literal(db))
		if err != nil {
			return Source{}, err
		}
		n, err1 := strconv.Atoi(counts["n"])
		b, err2 := strconv.ParseInt(counts["b"], 10, 64)
		if err := errors.Join(err1, err2); err != nil {
			return Source{}, err
		}
		if n == 0 { // mariadb-dump would say that there is no such database, or write an empty one
			return Source{}, refuse("look whether this is the server that was meant", "the database %s at %s has no tables that the account %s can see", db, s.cfg.Addr, s.cfg.User)
		}
		out.Tables, out.Bytes = out.Tables+n, out.Bytes+b
		versioned, err := s.column(ctx, "SELECT CONCAT(TABLE_SCHEMA, '.', TABLE_NAME) FROM information_schema.TABLES WHERE TABLE_TYPE='SYSTEM VERSIONED' AND TABLE_SCHEMA=? ORDER BY TABLE_NAME", db)
		if err != nil {
			return Source{}, err
		}
		names = append(names, versioned...)
	}
	out.Versioned = strings.Join(names, ", ")
	return out, nil
}

// written names tables of databases that were written to since a time of the server's own: the newest three; "": none.
func written(ctx context.Context, s *session, databases []string, since string) (string, error) {
	for _, db := range databases {
		all, err := s.column(ctx, writtenSince, db, since)
		if err != nil || len(all) > 0 {
			return strings.Join(all, ", "), err
		}
	}
	return "", nil
}

// writtenSince asks for the newest tables of a schema that were written to. The server knows of no write before its last start.
const writtenSince = `SELECT CONCAT(TABLE_NAME, ' at ', UPDATE_TIME, 'Z') FROM information_schema.TABLES
	WHERE TABLE_SCHEMA=? AND ` + holdsRows + ` AND UPDATE_TIME >= ? ORDER BY UPDATE_TIME DESC LIMIT 3`
