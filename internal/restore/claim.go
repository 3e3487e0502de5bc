package restore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a restore keeps in the server lies in a schema of its own:
//
//   - the turn, a table without rows whose name holds the token and whether that token's tables were swapped in. The swap renames
//     it in the same statement as all tables, so that the statement of a stale run fails as a whole: there is no table
//     of that name any more (rule E4). RENAME TABLE takes part in no transaction and runs under no LOCK TABLES, so that a row
//     could not be checked along with it.
//   - restored, with a row that tells what was restored, for Look and for people;
//   - later and kept: what is made after the swap, and what stood there before it.
const ownSchema = "failoverd"

// The states of a row.
const (
	stateClaimed  = "claimed"  // nothing of the live schemas was touched, or all was put back
	stateSwapping = "swapping" // triggers and views of the live schemas may be gone; whether the tables are swapped the turn tells
	stateDone     = "done"
)

// row is what the server says of a restore. The zero value: there was none.
type row struct {
	state     string
	token     uint64
	epoch     uint64
	key, etag string // of the backup that was swapped in, or is about to be
	asOf, at  time.Time
	names     uint64 // the token in the names of its schemas
	tables    int
	bytes     int64
	note      string
	swapped   bool   // its tables are in, and what comes after that is not known to be whole
	turn      string // the table that says so; "": none
}

func (r *row) notes() []string {
	if r.note == "" {
		return nil
	}
	return strings.Split(r.note, "\n")
}

// identity names what is restored in a way that fits into a table's name.
func identity(databases []string) string {
	sum := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(databases)), "\x00")))
	return fmt.Sprintf("%x", sum[:6])
}

func (r *run) turnName(token uint64, in bool) string {
	name := fmt.Sprintf("turn_%s_%d", r.id, token)
	if in {
		name += "_in"
	}
	return name
}

func lockName(id string) string { return "failoverd_restore_" + id }

const createOwn = `CREATE TABLE IF NOT EXISTS failoverd.restored (
  id CHAR(12) PRIMARY KEY, databases_ TEXT NOT NULL, state VARCHAR(16) NOT NULL, token BIGINT UNSIGNED NOT NULL, epoch BIGINT UNSIGNED NOT NULL,
  backup TEXT NOT NULL, etag TEXT NOT NULL, as_of DATETIME(6) NOT NULL, at DATETIME(6) NOT NULL, names BIGINT UNSIGNED NOT NULL,
  tables_ INT NOT NULL, bytes BIGINT NOT NULL, note TEXT NOT NULL) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4`

const createLists = `CREATE TABLE IF NOT EXISTS failoverd.%s (
  id CHAR(12), n INT, db VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, what VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, text LONGBLOB NOT NULL, PRIMARY KEY (id, n)) ENGINE=InnoDB`

// claim makes this run the one that may change something, or gives ErrStaleToken. An earlier run that is still connected is
// ended: with its connection goes its lock, and with that all that it could do.
func (r *run) claim(ctx context.Context) (row, error) {
	now, err := read(ctx, r.s, r.id)
	if err != nil {
		return row{}, err
	}
	if err := r.stale(now); err != nil {
		return row{}, err
	}
	if err := r.lock(ctx); err != nil {
		return row{}, err
	}
	if err := r.endDrill(ctx); err != nil {
		return row{}, err
	}
	if err := r.own(ctx, createOwn, fmt.Sprintf(createLists, "later"), fmt.Sprintf(createLists, "kept")); err != nil {
		return row{}, err
	}
	// Once more, and now nobody else can change it.
	if now, err = read(ctx, r.s, r.id); err != nil {
		return row{}, err
	}
	if err := r.stale(now); err != nil {
		return row{}, err
	}
	mine := r.turnName(r.o.Token, now.swapped)
	switch {
	case now.turn == "":
		err = r.s.exec(ctx, fmt.Sprintf("CREATE TABLE %s.%s (x INT) ENGINE=InnoDB", ownSchema, mine))
	case now.turn != mine:
		err = r.s.exec(ctx, fmt.Sprintf("RENAME TABLE %s.%s TO %s.%s", ownSchema, now.turn, ownSchema, mine))
	}
	if err != nil {
		return row{}, fmt.Errorf("taking the turn: %w", err)
	}
	if err := r.s.exec(ctx, "INSERT INTO failoverd.restored VALUES (?, ?, ?, ?, ?, '', '', '1970-01-01', UTC_TIMESTAMP(6), 0, 0, 0, '') ON DUPLICATE KEY UPDATE token=VALUES(token)",
		r.id, strings.Join(r.live, ", "), stateClaimed, r.o.Token, r.o.Epoch); err != nil {
		return row{}, err
	}
	now.turn = mine
	return now, nil
}

// own makes the schema of this package's own, if it is not there, and then what is given in it.
func (r *run) own(ctx context.Context, statements ...string) error {
	for _, text := range slices.Concat([]string{"CREATE DATABASE IF NOT EXISTS " + ownSchema}, statements) {
		if err := r.s.exec(ctx, text); err != nil {
			return fmt.Errorf("making the schema %s, in which a restore keeps its place; grant the account %s all on %s.*: %w", ownSchema, r.o.Server.User, ownSchema, err)
		}
	}
	return nil
}

func (r *run) stale(now row) error {
	if now.token > r.o.Token {
		return fmt.Errorf("token %d stands at %s for %s, ours is %d: %w", now.token, r.o.Server.Addr, strings.Join(r.live, ", "), r.o.Token, ErrStaleToken)
	}
	return nil
}

// read says what the server keeps of a restore. It takes no lock and changes nothing.
func read(ctx context.Context, s *session, id string) (row, error) {
	turns, err := s.column(ctx, "SELECT TABLE_NAME FROM information_schema.TABLES WHERE TABLE_SCHEMA=? AND TABLE_NAME LIKE ?", ownSchema, `turn\_`+id+`\_%`)
	if err != nil {
		return row{}, err
	}
	var out row
	in := false
	for _, turn := range turns { // never more than one
		rest, ends := strings.CutSuffix(strings.TrimPrefix(turn, "turn_"+id+"_"), "_in")
		token, err := strconv.ParseUint(rest, 10, 64)
		if err != nil {
			return row{}, fmt.Errorf("%s.%s is no table of a restore: %w", ownSchema, turn, err)
		}
		if token >= out.token {
			out.token, out.turn, in = token, turn, ends
		}
	}
	if out.turn == "" {
		return out, nil
	}
	rec, err := s.record(ctx, "SELECT * FROM failoverd.restored WHERE id='"+id+"'")
	if code(err) == errNoTable || err == nil && rec == nil {
		return out, nil
	}
	if err != nil {
		return row{}, err
	}
	const layout = "2006-01-02 15:04:05.999999"
	var errs [6]error
	out.state, out.key, out.etag, out.note = rec["state"], rec["backup"], rec["etag"], rec["note"]
	out.epoch, errs[0] = strconv.ParseUint(rec["epoch"], 10, 64)
	out.names, errs[1] = strconv.ParseUint(rec["names"], 10, 64)
	out.asOf, errs[2] = time.Parse(layout, rec["as_of"])
	out.at, errs[3] = time.Parse(layout, rec["at"])
	out.tables, errs[4] = strconv.Atoi(rec["tables_"])
	out.bytes, errs[5] = strconv.ParseInt(rec["bytes"], 10, 64)
	// The row may be one step behind the turn, never before it.
	out.swapped = in && out.state == stateSwapping
	if in && out.state == stateClaimed {
		return row{}, fmt.Errorf("%s.%s says that tables were swapped in, and the row %s of %s.restored knows of none: somebody has changed one of them", ownSchema, out.turn, id, ownSchema)
	}
	return out, errors.Join(errs[:]...)
}

// lock takes the server's lock, which the connection holds as long as it lives.
func (r *run) lock(ctx context.Context) error {
	for tries := 0; ; tries++ {
		got, err := r.s.value(ctx, "SELECT GET_LOCK(?, ?)", lockName(r.id), min(2*tries, 4))
		if err != nil || got == "1" {
			return err
		}
		holder, err := r.s.value(ctx, "SELECT IS_USED_LOCK(?)", lockName(r.id))
		if err != nil {
			return err
		}
		if tries == 10 {
			return fmt.Errorf("connection %s of MariaDB at %s holds the lock %s of an earlier restore and does not end: it may be ending a long statement; see SHOW PROCESSLIST", holder, r.o.Server.Addr, lockName(r.id))
		}
		id, err := strconv.ParseUint(holder, 10, 64)
		if err != nil {
			continue // it has ended
		}
		r.report("ending an earlier run, connection %d", id)
		if err := r.s.exec(ctx, "KILL "+holder); err != nil && code(err) != errNoThread {
			return fmt.Errorf("an earlier restore is still at work on connection %s, and could not be ended: %w", holder, err)
		}
	}
}

// set writes the row, if the token in it is still ours.
func (r *run) set(ctx context.Context, text string, args ...any) error {
	if err := r.s.exec(ctx, "UPDATE failoverd.restored SET at=UTC_TIMESTAMP(6), "+text+" WHERE id=? AND token=?", append(args, r.id, r.o.Token)...); err != nil {
		return err
	}
	n, err := r.s.value(ctx, "SELECT COUNT(*) FROM failoverd.restored WHERE id=? AND token=?", r.id, r.o.Token)
	if err == nil && n != "1" {
		err = ErrStaleToken
	}
	return err
}

func shadowName(db string, token uint64) string   { return fmt.Sprintf("%s__restore_%d", db, token) }
func replacedName(db string, token uint64) string { return fmt.Sprintf("%s__replaced_%d", db, token) }
