package consensus

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/failover"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestDiskCountsItsStarts(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var disk string
	for i := range uint64(3) {
		d, err := OpenDisk(dir, "third", quiet())
		if err != nil {
			t.Fatal(err)
		}
		if d.Identity.Starts != i+1 || d.Identity.Node != "third" || d.Identity.Disk == "" || (disk != "" && disk != d.Identity.Disk) {
			t.Errorf("start %d: %+v", i+1, d.Identity)
		}
		disk = d.Identity.Disk
		if err := errors.Join(d.CountStart(), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 { // the others refused these: they are none
		d, err := OpenDisk(dir, "third", quiet())
		if err != nil {
			t.Fatal(err)
		}
		if d.Identity.Starts != 4 {
			t.Errorf("after three starts and refused ones: %+v", d.Identity)
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the directory is open to others: %v, %v", info.Mode(), err)
	}
}

// A node whose log was taken away has forgotten its votes, also if the rest of its directory is there:
// it is another disk (T3).
func TestDiskWithoutItsLogIsAnotherOne(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	open := func() *Disk {
		t.Helper()
		d, err := OpenDisk(dir, "third", quiet())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open()
	was := d.Identity
	s := failover.NewState()
	s.Index = 9
	s.Nodes["third"] = failover.NodeRecord{Disk: was.Disk, Starts: was.Starts}
	if err := errors.Join(d.Store.SetUint64([]byte("CurrentTerm"), 4), d.CountStart(), gate(t, dir, Hello{Node: "third"}).Learn(s), d.Close()); err != nil {
		t.Fatal(err)
	}
	d = open() // an ordinary start
	if d.Identity.Disk != was.Disk || d.Identity.Starts != 2 {
		t.Errorf("%+v, was %+v", d.Identity, was)
	}
	if err := errors.Join(d.Close(), os.Remove(filepath.Join(dir, "raft.db"))); err != nil {
		t.Fatal(err)
	}
	d = open()
	defer func() { _ = d.Close() }()
	other := gate(t, "", Hello{Node: "first"})
	if err := other.Learn(s); err != nil {
		t.Fatal(err)
	}
	err := other.Judge(Hello{Node: "third", Disk: d.Identity.Disk, Starts: d.Identity.Starts, Empty: d.Empty})
	if err == nil || !strings.Contains(err.Error(), "another disk than the one that this cluster knows") {
		t.Errorf("it may take part: %v", err)
	}
}

// What is wrong with a data directory is said in words that name the way out.
func TestDiskProblems(t *testing.T) {
	write := func(t *testing.T, dir, name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := func(t *testing.T, dir string) {
		t.Helper()
		d, err := OpenDisk(dir, "third", quiet())
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Store.StoreLog(&raft.Log{Index: 1, Term: 1, Data: bytes.Repeat([]byte("x"), 10_000)}); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(d.CountStart(), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		name, node, want string
		make             func(t *testing.T, dir string)
	}{
		{"another node's", "use2a", "the data directory belongs to node third, not to use2a: give each node its own", good},
		{"damaged identity", "third", "identity.json is damaged", func(t *testing.T, dir string) {
			good(t, dir)
			write(t, dir, "identity.json", []byte(`{"node":"th`))
		}},
		{"empty identity", "third", "identity.json is damaged", func(t *testing.T, dir string) { write(t, dir, "identity.json", nil) }},
		{"rubbish store", "third", "the raft store", func(t *testing.T, dir string) { write(t, dir, "raft.db", bytes.Repeat([]byte("rubbish "), 4096)) }},
		{"short store", "third", "the raft store", func(t *testing.T, dir string) { write(t, dir, "raft.db", []byte("x")) }},
		{"store cut in half", "third", "the raft store", func(t *testing.T, dir string) {
			good(t, dir)
			info, err := os.Stat(filepath.Join(dir, "raft.db"))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(filepath.Join(dir, "raft.db"), info.Size()/8); err != nil {
				t.Fatal(err)
			}
		}},
		{"store overwritten in its middle", "third", "the raft store", func(t *testing.T, dir string) {
			good(t, dir)
			f, err := os.OpenFile(filepath.Join(dir, "raft.db"), os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			_, werr := f.WriteAt(bytes.Repeat([]byte{0xff}, 3*4096), 8192)
			if err := errors.Join(werr, f.Close()); err != nil {
				t.Fatal(err)
			}
		}},
		{"a directory for a store", "third", "the raft store", func(t *testing.T, dir string) {
			if err := os.MkdirAll(filepath.Join(dir, "raft.db"), 0o700); err != nil {
				t.Fatal(err)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			c.make(t, dir)
			d, err := OpenDisk(dir, c.node, quiet())
			if err == nil {
				_ = d.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%v", err)
			}
		})
	}
}

// One process has a data directory at a time.
func TestDiskInUse(t *testing.T) {
	dir := t.TempDir()
	d, err := OpenDisk(dir, "third", quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	if err := d.CountStart(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenDisk(dir, "third", quiet()); err == nil || !strings.Contains(err.Error(), "is in use: another failoverd runs on this data directory") {
		t.Errorf("%v", err)
	}
	// The refused opener counted no start.
	b, err := os.ReadFile(filepath.Join(dir, "identity.json"))
	var id DiskIdentity
	if err := errors.Join(err, json.Unmarshal(b, &id)); err != nil || id.Starts != 1 {
		t.Errorf("%+v, %v", id, err)
	}
}

func TestDiskReadOnly(t *testing.T) {
	if os.Getuid() == 0 {
		// root writes everywhere but into /proc.
		if _, err := OpenDisk("/proc/failoverd", "third", quiet()); err == nil || !strings.Contains(err.Error(), "data directory /proc/failoverd cannot be made") {
			t.Errorf("%v", err)
		}
		return
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil { //nolint:gosec // read-only is the point
		t.Fatal(err)
	}
	if _, err := OpenDisk(dir, "third", quiet()); err == nil || !strings.Contains(err.Error(), "must be writable for the user that runs failoverd") {
		t.Errorf("%v", err)
	}
}

// A snapshot that cannot be read stops the node; one that cannot be written is
// given up whole.
func TestSnapshotErrors(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"rubbish":       {"x", "the snapshot is not readable"},
		"cut off":       {`{"v":1,"state":{"index":`, "the snapshot is not readable"},
		"newer version": {`{"v":2,"state":{}}`, "version 2, this failoverd reads version 1"},
	} {
		var fatal error
		f := newFSM(NewCodec(), quiet(), func(err error) { fatal = err }, nil)
		err := f.Restore(io.NopCloser(strings.NewReader(c.in)))
		if err == nil || !strings.Contains(err.Error(), c.want) || fatal == nil {
			t.Errorf("%s: %v, fatal %v", name, err, fatal)
		}
	}
	sink := memorySink{fails: true}
	if err := (&snapshot{state: failover.NewState()}).Persist(&sink); err == nil || !sink.cancelled {
		t.Errorf("a full disk: %v, cancelled %t", err, sink.cancelled)
	}
}

// Apply shares its views: two readers get the same copy, and it never changes.
func TestViewsDoNotChange(t *testing.T) {
	codec := NewCodec()
	f := newFSM(codec, quiet(), func(err error) { t.Error(err) }, nil)
	apply := func(i uint64) {
		data, err := codec.Encode(failover.Meta{ProposedTerm: 1, At: time.Unix(int64(i), 0)}, failover.Lead{Node: "a"})
		if err != nil {
			t.Fatal(err)
		}
		if res := f.Apply(&raft.Log{Index: i, Term: 1, Data: data}).(failover.Result); res.Err != nil || res.Index != i {
			t.Fatalf("%+v", res)
		}
	}
	apply(1)
	changed := f.wait()
	a, b := f.view(), f.view()
	if a != b || a.Index != 1 {
		t.Error("each reader makes a copy of its own")
	}
	select {
	case <-changed:
		t.Error("woken without a change")
	default:
	}
	apply(2)
	<-changed
	if a.Index != 1 || len(a.Events) != 1 || f.view().Index != 2 {
		t.Error("a view changed")
	}
}

// Raft's repeated complaints are shown once in ten seconds, with a count.
func TestRaftLoggerRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		l := NewRaftLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})))
		named := l.With("peer", "n2").Named("net").Named("pool")
		if named.Name() != "net.pool" || l.ResetNamed("x").Name() != "x" || len(named.ImpliedArgs()) != 2 {
			t.Errorf("name %q, args %v", named.Name(), named.ImpliedArgs())
		}
		for range 100 {
			named.Error("failed to heartbeat", "backoff", time.Second)
			l.Warn("another")
			l.Debug("never shown")
			l.Info("never shown")
			l.Trace("never shown")
			time.Sleep(time.Second)
		}
		text := out.String()
		if n := strings.Count(text, "failed to heartbeat"); n != 10 {
			t.Errorf("shown %d times in 100 s", n)
		}
		if strings.Count(text, "raft: another") != 10 || strings.Contains(text, "never shown") {
			t.Errorf("%s", text)
		}
		if !strings.Contains(text, `level=WARN msg="raft: failed to heartbeat" peer=n2 backoff=1s repeated=9`) {
			t.Errorf("%s", text)
		}
		if _, err := l.StandardWriter(&hclog.StandardLoggerOptions{}).Write([]byte("by the standard logger\n")); err != nil || !strings.Contains(out.String(), "by the standard logger") {
			t.Errorf("%v", err)
		}
	})
}
