package restore

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"sync"
)

// Rows are put into the shadow schemas over further connections, if Options say so. They hold no lock and need none: what a
// run loads lies in schemas that bear its attempt's token, which no other attempt fills or swaps in, and a further try of the same
// attempt ends every connection that still stands in one of them before it begins (dropLeftovers). Everything else, the making of
// tables included, stays on the one connection, in the dump's order.

// fill is those connections.
type fill struct {
	r        *run
	ctx      context.Context
	cancel   context.CancelCauseFunc
	sessions []*session
	any      chan rows   // for whichever is free
	own      []chan rows // for one of them
	wg       sync.WaitGroup

	// Used by the reader of the dump alone.
	settings []string       // of the dump so far, in order; it only grows
	schema   string         // of the tables that follow
	home     map[string]int // by table without a primary key: the connection that puts all of its rows, in their order
	keys     []string       // what is done once all rows are in
	next     int

	mu   sync.Mutex
	open map[string]int // by table: statements on their way
	done *sync.Cond
}

// rows is one statement of them, and what must hold on a connection before it.
type rows struct {
	settings      []string
	schema, table string
	text          string
	at            int64
}

// deadlocks is how often a statement is given again that lost against another one, or has waited for it in vain: it has put no row then.
const deadlocks = 20

// keysOf tells ALTER TABLE … DISABLE KEYS and ENABLE KEYS from others.
var keysOf = regexp.MustCompile(`(?i)\b(DISABLE|ENABLE)\s+KEYS\b`)

// fillers opens the connections; nil without an error: rows are put over the run's own.
func (r *run) fillers(ctx context.Context) (*fill, error) {
	if r.o.Connections < 2 {
		return nil, nil //nolint:nilnil // as it says
	}
	f := &fill{r: r, any: make(chan rows), home: map[string]int{}, open: map[string]int{}}
	f.done = sync.NewCond(&f.mu)
	f.ctx, f.cancel = context.WithCancelCause(ctx)
	for range r.o.Connections {
		s, err := dial(ctx, r.o.Server, nil)
		if err != nil {
			return nil, f.finish(ctx, err)
		}
		s.steps = r.s.steps
		f.sessions, f.own = append(f.sessions, s), append(f.own, make(chan rows))
	}
	for i, s := range f.sessions {
		f.wg.Go(func() { f.serve(s, f.own[i]) })
	}
	context.AfterFunc(f.ctx, f.wake)
	return f, nil
}

func (f *fill) wake() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.done.Broadcast()
}

// serve puts the rows of one connection.
func (f *fill) serve(s *session, own <-chan rows) {
	applied, schema := 0, ""
	put := func(w rows) error {
		for ; applied < len(w.settings); applied++ {
			if err := s.exec(f.ctx, w.settings[applied]); err != nil {
				return err
			}
		}
		if schema != w.schema {
			if err := s.exec(f.ctx, "USE "+quote(w.schema)); err != nil {
				return err
			}
			schema = w.schema
		}
		for tries := 0; ; tries++ {
			err := s.exec(f.ctx, w.text)
			if code(err) != errDeadlock && code(err) != errLockWait || tries == deadlocks {
				return err
			}
		}
	}
	for any := f.any; any != nil || own != nil; {
		var w rows
		var more bool
		select {
		case w, more = <-any:
			if !more {
				any = nil
			}
		case w, more = <-own:
			if !more {
				own = nil
			}
		}
		if !more {
			continue
		}
		if f.ctx.Err() == nil {
			if err := put(w); err != nil {
				f.cancel(f.r.loading(w.at, w.table, err))
			}
		}
		f.mu.Lock()
		f.open[w.table]--
		f.done.Broadcast()
		f.mu.Unlock()
	}
}

// takes reports whether a statement is the fillers' business, and does with it what is to be done. What is not it may wait for.
func (f *fill) takes(p part, text string, at int64) (bool, error) {
	if f == nil {
		return false, nil
	}
	switch {
	case p.role == useDB:
		f.schema = f.r.shadow(p.name)
	case p.role == setting:
		// Each statement is a transaction of its own: one that is given again after a deadlock takes none along.
		if !strings.Contains(strings.ToUpper(text), "AUTOCOMMIT") {
			f.settings = append(f.settings, text)
		}
	case p.role != table:
	case p.what == "INSERT" || p.what == "REPLACE":
		return true, f.put(p.name, text, at)
	case p.what == "ALTER TABLE" && strings.EqualFold(keysOf.FindString(text), "ENABLE KEYS"):
		f.keys = append(f.keys, "USE "+quote(f.schema), text)
		return true, nil
	case p.make && p.what == "TABLE" && !strings.Contains(text, "PRIMARY KEY"):
		f.next = (f.next + 1) % len(f.own)
		f.home[f.key(p.name)] = f.next
	default:
		return false, f.settled(p.name)
	}
	return false, nil
}

func (f *fill) key(table string) string { return f.schema + "." + table }

// put gives a statement to a connection, and waits until one is free.
func (f *fill) put(table, text string, at int64) error {
	key := f.key(table)
	w := rows{f.settings[:len(f.settings):len(f.settings)], f.schema, key, text, at}
	queue := f.any
	if i, ok := f.home[key]; ok {
		queue = f.own[i]
	}
	f.mu.Lock()
	f.open[key]++
	f.mu.Unlock()
	select {
	case queue <- w:
		return nil
	case <-f.ctx.Done():
		return context.Cause(f.ctx)
	}
}

// settled waits until the rows of a table are in.
func (f *fill) settled(table string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key := f.key(table); f.open[key] > 0 && f.ctx.Err() == nil; {
		f.done.Wait()
	}
	return context.Cause(f.ctx)
}

// finish waits until all rows are in, and closes the connections. With an error it ends what is under way, and returns it.
func (f *fill) finish(ctx context.Context, err error) error {
	if f == nil {
		return err
	}
	if err != nil {
		f.cancel(err)
	}
	close(f.any)
	for _, q := range f.own {
		close(q)
	}
	f.wg.Wait()
	if err == nil {
		err = context.Cause(f.ctx)
	}
	f.cancel(err)
	for _, s := range f.sessions {
		if e := s.end(err != nil); err == nil {
			err = e
		}
	}
	for _, text := range f.keys {
		if err == nil {
			err = f.r.s.exec(ctx, text)
		}
	}
	return err
}

// loading says where it stood.
func (r *run) loading(at int64, table string, err error) error {
	return fmt.Errorf("loading %s, at byte %d of its SQL, table %s: %w", r.o.File.Key, at, table, err)
}
