// Package restore brings a backup that mariadb-dump has written into a MariaDB server: the whole file is read and judged
// before anything is touched, loaded into schemas of its own beside the live ones, and swapped in by one statement. It may die
// at any point and be run again. It decides nothing about regions; whoever calls it has proven that the old one has stopped.
//
// Everything that changes the server goes through one connection, which holds a lock of the server's for as long
// as it lives (claim.go): a run that has lost its connection can change nothing any more. Rows of the schemas beside the live ones
// may come over others (fill.go).
package restore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/failoverd/failoverd/internal/backup"
)

// ErrStaleToken is a run whose token is not the newest that the server has seen: another leader has gone on.
var ErrStaleToken = errors.New("a newer token stands in the server: another leader has gone on, and this run changes nothing")

// RefusedError is a backup or a server that a restore does not touch, and how it would.
type RefusedError struct {
	Why string
	Way string // what to do next
	// OfFile says that it is the file that is no good: an older one may be.
	OfFile bool
}

func (e *RefusedError) Error() string { return e.Why + "; " + e.Way }

func refuse(way, format string, args ...any) error {
	return &RefusedError{Why: fmt.Sprintf(format, args...), Way: way}
}

// refuseFile is refuse for what an older backup may not suffer from.
func refuseFile(way, format string, args ...any) error {
	return &RefusedError{Why: fmt.Sprintf(format, args...), Way: way, OfFile: true}
}

// Override is a refusal that a person has lifted.
type Override string

// The overrides.
const (
	AllowOld     Override = "old"      // a backup beyond MaxAge
	AllowSmall   Override = "small"    // one that is smaller than usual
	AllowNewer   Override = "newer"    // one of a newer server than the target
	AllowRows    Override = "rows"     // overwriting what was written since Since
	AllowReplica Override = "replica"  // a target that replicates from somewhere
	AllowMissing Override = "original" // a target of which it is not known whether it is the other region's
)

// AllowHistory is a dump's alone: that the history of versioned tables stays behind.
const AllowHistory Override = "history"

// Overrides are all that a restore takes.
var Overrides = []Override{AllowOld, AllowSmall, AllowNewer, AllowRows, AllowReplica, AllowMissing}

func (o *Options) allows(what Override) bool { return slices.Contains(o.Allow, what) }

// allow is the way out of a refusal that can be lifted.
func (o *Options) allow(what Override, otherwise string) string {
	way := fmt.Sprintf("%s, or put %q into allow", otherwise, what)
	if o.UnderWay != nil {
		way += " (" + o.UnderWay(what) + ")"
	}
	return way
}

// Options are one restore.
type Options struct {
	// Server is the target. Its connections are made with settings of this package's own.
	Server *mysql.Config
	// Other is the server of the other region, which must not be the target; nil: there is none to ask. That it does not answer
	// is no reason to refuse: it is what a restore is for.
	Other *mysql.Config
	// Databases are what the backup must hold, all of it and nothing else.
	Databases []string
	Allow     []Override
	// UnderWay says how a refusal is lifted for whom it is too late to change what Allow holds; nil: nobody is.
	UnderWay func(what Override) string

	backup.Candidate
	// Older are tried in turn, if what was to be restored is found to be no good: the newest that is whole is restored.
	Older []backup.Candidate
	// Open reads a backup from its beginning, compressed as it lies there. It is asked for twice.
	Open func(ctx context.Context, f backup.File) (io.ReadCloser, error)
	// MinSize is the share of it in percent that File must have. Zero: any.
	MinSize int
	// MaxAge is how old File may be. Zero: any.
	MaxAge time.Duration

	// Connections is over how many rows are put beside each other. Zero and one: over that of the run.
	Connections int

	// Token was never used before, and grows; Epoch is that of the token.
	Token, Epoch uint64
	// Since is when the live schema must have been left alone. Zero: not known, and not looked at.
	Since time.Time
	// Report is told how far it is, a few times a second at most. It may be nil.
	Report func(line string)
	// Step is called before each statement that may change something, one at a time, for tests; nil.
	Step func(ctx context.Context, n int, statement string) error
}

// Result is what a restore has done.
type Result struct {
	File    backup.File
	Already bool // by an earlier run
	Tables  int
	Bytes   int64 // of SQL
	// Notes are what a person should know of: definers that were replaced, events that were left off, where the tables that were
	// there before are now.
	Notes []string
}

// Text is the result in a line.
func (r *Result) Text() string {
	text := fmt.Sprintf("%s of %s is restored: %d tables, %s", r.File.Key, r.File.AsOf.UTC().Format(time.RFC3339), r.Tables, backup.Size(r.Bytes))
	if len(r.Notes) > 0 {
		text += "; " + strings.Join(r.Notes, "; ")
	}
	return text
}

// run is a restore under way.
type run struct {
	o    Options
	id   string // of what is restored: turn tables and rows are named by it
	s    *session
	said *examined
	live []string // databases, sorted
	res  Result
	last time.Time // of Report
	// later is what is made after the swap, and kept is what stood there before.
	later []later
	notes []string
}

// later is a statement that is carried out again after the swap.
type later struct {
	db, text string // db as in the dump; "" for the first database
	role     role
}

// Run restores, or finds that an earlier run of the same backup in the same epoch has. An error says that it is not done, and
// whether anything was swapped only Look tells.
func Run(ctx context.Context, o Options) (res Result, err error) {
	if _, _, err := o.Judge(time.Now(), nil); err != nil {
		return Result{}, err
	}
	r := &run{o: o, live: sorted(o.Databases), id: identity(o.Databases)}
	if r.s, err = dial(ctx, o.Server, o.Step); err != nil {
		return Result{}, err
	}
	defer func() {
		// What the server does at the word of a connection that is gone it goes on doing.
		if e := r.s.end(err != nil); err == nil {
			err = e
		}
	}()
	if err := r.checkServer(ctx); err != nil {
		return Result{}, err
	}
	row, err := r.claim(ctx)
	if err != nil {
		return Result{}, err
	}
	// One restore an epoch: what is written from then on is the service's own, and a backup that comes later is no reason to
	// lose it.
	mine := row.epoch == o.Epoch
	if row.swapped {
		// A run has died behind its swap: what it has begun is ended first, whatever comes then.
		r.report("an earlier run has swapped %s in: making its triggers, views, routines and events", row.key)
		if err := r.finish(ctx, row); err != nil {
			return Result{}, err
		}
	}
	if mine && (row.swapped || row.state == stateDone) {
		file := backup.File{Key: row.key, ETag: row.etag, AsOf: row.asOf}
		return Result{File: file, Already: !row.swapped, Tables: row.tables, Bytes: row.bytes, Notes: row.notes()}, nil
	}
	if err := r.choose(ctx); err != nil {
		return Result{}, err
	}
	if err := r.checkTarget(ctx); err != nil {
		return Result{}, err
	}
	if err := r.load(ctx); err != nil {
		return Result{}, err
	}
	if err := r.rehearse(ctx); err != nil {
		return Result{}, err
	}
	row, err = r.swap(ctx)
	if err != nil {
		return Result{}, err
	}
	if err := r.finish(ctx, row); err != nil {
		return Result{}, err
	}
	r.res.Tables, r.res.Bytes, r.res.Notes = row.tables, row.bytes, r.notes
	return r.res, nil
}

func sorted(names []string) []string { return slices.Sorted(slices.Values(names)) }

// report tells how far it is.
func (r *run) report(format string, args ...any) {
	if r.o.Report != nil {
		r.last = time.Now()
		r.o.Report(fmt.Sprintf(format, args...))
	}
}

// Judge gives the newest backup against which nothing is known before it is read to its end, what is known against newer ones, and refuses
// where there is none. look says what else is wrong with a file; nil: nobody looks.
func (o *Options) Judge(now time.Time, look func(f backup.File) (wrong string, err error)) (c backup.Candidate, passed []string, err error) {
	if err := Restorable(o.Databases); err != nil {
		return o.Candidate, nil, err
	}
	return o.first(func(c backup.Candidate) error {
		if err := o.judge(c, now); err != nil || look == nil {
			return err
		}
		wrong, err := look(c.File)
		if wrong != "" {
			return unfit(c.File, wrong)
		}
		return err
	})
}

// first gives the newest backup that suits, and what is wrong with newer ones. What is wrong with something else than the file ends it.
func (o *Options) first(suits func(backup.Candidate) error) (c backup.Candidate, passed []string, err error) {
	var ways []string
	for _, c := range append([]backup.Candidate{o.Candidate}, o.Older...) {
		err := suits(c)
		refused, ok := errors.AsType[*RefusedError](err)
		if err == nil || !ok || !refused.OfFile {
			return c, passed, err
		}
		passed = append(passed, refused.Why)
		if !slices.Contains(ways, refused.Way) {
			ways = append(ways, refused.Way)
		}
	}
	return o.Candidate, passed, refuse(strings.Join(ways, ", or "), "%s", strings.Join(passed, "; "))
}

// judge refuses what is known to be wrong with a backup before it is read.
func (o *Options) judge(c backup.Candidate, now time.Time) error {
	if age := now.Sub(c.File.AsOf); o.MaxAge > 0 && age > o.MaxAge && !o.allows(AllowOld) {
		return refuseFile(o.allow(AllowOld, "bring a younger one"), "the backup %s is %s old, and may be %s", c.File.Key, age.Round(time.Minute), o.MaxAge)
	}
	if why := c.File.Shrunken(c.Usual, o.MinSize); why != "" && !o.allows(AllowSmall) {
		return refuseFile(o.allow(AllowSmall, "bring a whole one"), "the backup %s restores nothing: %s", c.File.Key, why)
	}
	return nil
}

// Restorable says what is wrong with the names of databases.
func Restorable(databases []string) error {
	most := 64 - len(replacedName("", ^uint64(0))) // characters of a schema's name
	for _, db := range databases {
		if slices.Contains([]string{"mysql", "sys", "information_schema", "performance_schema", ownSchema}, strings.ToLower(db)) {
			return fmt.Errorf("%q is no database to restore: it is the server's own", db)
		}
		if db == "" || len(db) > most {
			return fmt.Errorf("%q is empty or longer than %d bytes, so that no schema can be named after it", db, most)
		}
	}
	if len(databases) == 0 {
		return errors.New("no databases are named")
	}
	return nil
}
