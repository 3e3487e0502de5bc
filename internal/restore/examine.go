package restore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/failoverd/failoverd/internal/backup"
	"github.com/failoverd/failoverd/internal/dump"
)

// examined is what reading a backup to its end has given.
type examined struct {
	dump.Summary
	longest int // bytes of a statement
	tables  map[string]int
}

// choose reads the newest backup to its end, and an older one if that is no good.
func (r *run) choose(ctx context.Context) error {
	chosen, passed, err := r.o.first(func(c backup.Candidate) error {
		r.o.Candidate, r.said = c, nil
		if err := r.o.judge(c, time.Now()); err != nil {
			return err
		}
		if err := r.examine(ctx); err != nil {
			return err
		}
		return r.checkVersion(ctx)
	})
	if err != nil {
		return err
	}
	r.o.Candidate, r.res.File = chosen, chosen.File
	for _, why := range passed {
		r.notes = append(r.notes, "passed over: "+why)
	}
	return nil
}

// examine reads the whole backup and refuses what is not whole, is not what it should be, or is more than this package
// understands. Nothing of the server is touched until then: that a compressed file is cut off shows at its end.
func (r *run) examine(ctx context.Context) error {
	r.report("reading %s, %s, to its end before anything is touched", r.o.File.Key, backup.Size(r.o.File.Size))
	if r.o.File.Size == 0 {
		return unfit(r.o.File, "it is empty: "+dump.ErrNotADump.Error())
	}
	said := &examined{tables: map[string]int{}}
	text, copied := io.Pipe()
	defer text.Close()
	type head struct {
		s   dump.Summary
		err error
	}
	heads := make(chan head, 1)
	go func() {
		s, err := dump.Read(text)
		_, _ = io.Copy(io.Discard, text) // what it has not read, so that the other side is not kept
		heads <- head{s, err}
	}()
	db := ""
	bad := ""
	note := func(format string, args ...any) { // the first one; damage that shows at the end says more
		if bad == "" {
			bad = fmt.Sprintf(format, args...)
		}
	}
	err := r.each(ctx, copied, "reading", func(st dump.Statement, _ string) error {
		said.longest = max(said.longest, len(st.Text))
		switch p := classify(st.Text); p.role {
		case other:
			note("at byte %d it says %.80q, and %s", st.At, st.Text, p.why)
		case useDB, createDB:
			db = p.name
		case table:
			if p.make {
				said.tables[db]++
			}
		case object:
			var err error
			switch {
			case p.make && p.what == "EVENT":
				_, err = disabled(string(st.Text))
			case p.make && p.what == "TRIGGER":
				_, err = unqualified(string(st.Text), cmp.Or(db, r.live[0])) // without a name of its own there is one database
			}
			if err != nil {
				note("at byte %d is the %s %s: %v", st.At, strings.ToLower(p.what), p.name, err)
			}
		}
		return nil
	})
	if errors.Is(err, dump.ErrHalf) { // all of it was read, and its end says more
		_ = copied.Close()
	} else {
		_ = copied.CloseWithError(err) // nil: the end
	}
	h := <-heads
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("reading %s: %w", r.o.File.Key, err)
	}
	for _, e := range []error{h.err, err} {
		for _, of := range []error{dump.ErrNotADump, dump.ErrIncomplete, dump.ErrDamaged, dump.ErrHalf, dump.ErrDelimiter, dump.ErrTooLong} {
			if errors.Is(e, of) {
				return unfit(r.o.File, e.Error())
			}
		}
	}
	if bad != "" {
		return unfit(r.o.File, bad)
	}
	if err := errors.Join(err, h.err); err != nil {
		return fmt.Errorf("reading %s: %w", r.o.File.Key, err)
	}
	said.Summary = h.s
	if !slices.Equal(slices.Sorted(slices.Values(said.Databases)), r.live) {
		return refuseFile("name in databases all that a backup holds, or give each a prefix of its own", "the backup %s holds the databases %s, and %s was to be restored",
			r.o.File.Key, strings.Join(said.Databases, ", "), strings.Join(r.live, ", "))
	}
	if said.tables[""] > 0 { // of one database, which only the head names
		said.tables[said.Databases[0]] += said.tables[""]
	}
	r.said = said
	return nil
}

// unfit refuses a backup that restores nothing: no override makes it one.
func unfit(f backup.File, why string) error {
	return refuseFile("nothing was touched; name another one in key, or make a new backup", "the backup %s restores nothing: %s", f.Key, why)
}

// each reads the backup statement by statement; db is the database that is in use, "" before any. What is read is written to
// copied, too, if that is not nil.
func (r *run) each(ctx context.Context, copied io.Writer, doing string, f func(st dump.Statement, db string) error) error {
	raw, err := r.o.Open(ctx, r.o.File)
	if err != nil {
		return err
	}
	defer raw.Close()
	counted := &counter{r: raw}
	in, err := dump.Reader(counted)
	if err != nil {
		return err
	}
	defer in.Close()
	var from io.Reader = in
	if copied != nil {
		from = io.TeeReader(in, copied)
	}
	split, begun := dump.NewSplitter(from), time.Now()
	for db := ""; ; {
		st, err := split.Next()
		if errors.Is(err, io.EOF) {
			r.res.Bytes = split.At()
			return nil
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if time.Since(r.last) > time.Second {
			r.report("%s %s: %s", doing, r.o.File.Key, r.pace(counted.n, begun))
		}
		if p := classify(st.Text); p.role == useDB {
			db = p.name
		}
		if err := f(st, db); err != nil {
			return err
		}
	}
}

type counter struct {
	r io.Reader
	n int64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

// pace is how far it is, how fast, and how long it will take.
func (r *run) pace(got int64, begun time.Time) string {
	text := fmt.Sprintf("%s of %s", backup.Size(got), backup.Size(r.o.File.Size))
	if r.said != nil {
		text += fmt.Sprintf(", %d of %d tables", r.res.Tables, r.said.Tables)
	}
	if took := time.Since(begun).Seconds(); got > 0 && took > 0 {
		pace := float64(got) / took
		left := time.Duration(float64(r.o.File.Size-got) / pace * float64(time.Second))
		text += fmt.Sprintf(", %s a second, %s left", backup.Size(int64(pace)), max(0, left).Round(time.Second))
	}
	return text
}

// release is the beginning of a version, such as 10.11.
var release = regexp.MustCompile(`^(\d+)\.(\d+)`)

// newer reports whether a version is of a later release than another.
func newer(a, b string) bool {
	x, y := release.FindStringSubmatch(a), release.FindStringSubmatch(b)
	if x == nil || y == nil {
		return x != nil
	}
	for i := 1; i < 3; i++ {
		m, _ := strconv.Atoi(x[i])
		n, _ := strconv.Atoi(y[i])
		if m != n {
			return m > n
		}
	}
	return false
}
