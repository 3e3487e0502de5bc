package restore

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/klauspost/compress/zstd"

	"github.com/failoverd/failoverd/internal/backup"
	"github.com/failoverd/failoverd/internal/dump"
)

// This file takes a dump of a server that nobody writes to any more, for the restore that follows.

// Compressions are how a dump can lie in the bucket, and how such a file ends.
var Compressions = map[string]string{"zstd": ".sql.zst", "gzip": ".sql.gz", "none": ".sql"}

// TakeOptions are one dump.
type TakeOptions struct {
	// Program is mariadb-dump, as a path or as a name on PATH.
	Program string
	Server  *mysql.Config
	// CAFile holds the certificates by which the server is known. Empty: the connection is in the clear.
	CAFile    string
	Databases []string
	// Compression is one of Compressions.
	Compression string
	// Allow holds AllowRows for a dump beside which somebody wrote, AllowReplica for one of a server that replicates, AllowHistory for one
	// without the history of versioned tables; UnderWay says how a person
	// allows that.
	Allow    []Override
	UnderWay func(what Override) string
	// Patience is how long what the server still does for others may take. Zero: stillPatience.
	Patience time.Duration
	// Put brings what it reads to where it is kept. An error of the reader says that the dump is not whole: nothing is kept of it.
	Put func(ctx context.Context, from io.Reader) (backup.File, error)
	// Report is told how far it is, a few times a second at most.
	Report func(line string)
}

// Taken is a dump that was taken.
type Taken struct {
	File   backup.File
	Tables int
	Bytes  int64 // of SQL
	// Said are the first words of the program's on its standard error: it may warn, and end well.
	Said string
}

// Take dumps databases with the real mariadb-dump, in one consistent snapshot, and brings the dump to where it is kept as it comes, in
// constant memory. It is kept only when mariadb-dump has ended well and has written its last line, and is refused when a table was
// written to since it began: somebody writes who was not fenced. That is seen by the tables' own times, which a server keeps since its start, and by its
// binary log; what the server still did for others when it was to begin is waited for (still). It is not seen who could write, nor what is written later. When ctx ends, mariadb-dump is killed with all that it has started.
func Take(ctx context.Context, o TakeOptions) (Taken, error) {
	s, err := dial(ctx, o.Server, nil)
	if err != nil {
		return Taken{}, err
	}
	defer s.end(false) //nolint:errcheck // nothing was written
	of, err := lookSource(ctx, s, o.Databases)
	if err != nil {
		return Taken{}, err
	}
	if from, err := replicates(ctx, s); err != nil || from != "" && !slices.Contains(o.Allow, AllowReplica) {
		return Taken{}, cmp.Or(err, refuse(o.allow(AllowReplica, "name the server that it follows"), "the server at %s replicates from %s: it may lack what was written last", o.Server.Addr, from))
	}
	if of.Lacks != "" {
		return Taken{}, refuse(of.Lacks, "the account %s may not read at %s all that a dump holds", o.Server.User, o.Server.Addr)
	}
	if of.Versioned != "" && !slices.Contains(o.Allow, AllowHistory) {
		return Taken{}, refuse(o.allow(AllowHistory, versionedWay), "tables at %s keep a history (WITH SYSTEM VERSIONING), and a dump holds their rows of now alone: %s", o.Server.Addr, of.Versioned)
	}
	if err := o.still(ctx, s); err != nil {
		return Taken{}, err
	}
	if of.At, err = s.value(ctx, serverTime); err != nil {
		return Taken{}, err
	}
	pos, err := binlogPos(ctx, s)
	if err != nil {
		return Taken{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	from, kept := io.Pipe()
	t := &take{o: o, of: of, begun: time.Now()}
	ended := make(chan error, 1)
	go func() {
		err := t.run(ctx, kept)
		if err == nil {
			// Before the end of the file: what is refused now is not kept.
			err = o.quiet(ctx, s, of.At, pos)
		}
		ended <- err
		if err != nil {
			err = fmt.Errorf("%w", err) // never io.EOF itself, which would be the end
		}
		_ = kept.CloseWithError(err)
	}()
	file, err := o.Put(ctx, from)
	cancel() // what cannot be kept need not be read
	_ = from.CloseWithError(context.Canceled)
	if e := <-ended; err == nil { // else it ended for what kept it from being kept, or err tells of it
		err = e
	}
	if err != nil {
		return Taken{}, err
	}
	return Taken{file, t.tables, t.bytes, t.said}, nil
}

// versionedWay is what can be done about a history: no restore of ours brings it.
const versionedWay = "bring them by hand (mariadb-dump --dump-history, into a server of 10.11 or later) and skip dump and restore"

// allow is the way out of a refusal that can be lifted.
func (o *TakeOptions) allow(what Override, otherwise string) string {
	if o.UnderWay == nil {
		return otherwise
	}
	return otherwise + ", or " + o.UnderWay(what)
}

// quiet refuses a dump that somebody has written beside, by the tables' times and by the binary log.
func (o *TakeOptions) quiet(ctx context.Context, s *session, since, pos string) error {
	if slices.Contains(o.Allow, AllowRows) {
		return nil
	}
	names, err := written(ctx, s, o.Databases, since)
	if err == nil && names == "" {
		names, err = unexplained(ctx, s, o.Databases, pos, since)
	}
	if err != nil || names == "" {
		return err
	}
	return refuse(o.allow(AllowRows, "stop what writes there"), "somebody writes to %s, which should be fenced: %s, and the dump began at %sZ", o.Server.Addr, names, since)
}

// take is a dump under way.
type take struct {
	o      TakeOptions
	of     Source
	begun  time.Time
	last   time.Time // of Report
	tables int
	bytes  int64
	said   string // by the program, on its standard error
	end    []byte // the last bytes, and so the line before a piece
}

// run runs mariadb-dump, and writes what it says to out, compressed.
func (t *take) run(ctx context.Context, out io.Writer) error {
	program, err := exec.LookPath(t.o.Program)
	if err != nil {
		return refuse("install it (Debian: mariadb-client), or name it", "the program that dumps is not there: %v", err)
	}
	secrets, err := t.o.secrets()
	if err != nil {
		return err
	}
	defer secrets.Close()
	running, stop := context.WithCancel(ctx)
	defer stop()
	cmd := exec.CommandContext(running, program, append([]string{"--defaults-file=/dev/fd/3", "--single-transaction", "--quick", "--routines", "--triggers", "--events", "--hex-blob",
		"--default-character-set=utf8mb4", "--max-allowed-packet=1G", "--databases", "--"}, t.o.Databases...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LANG=C.UTF-8"}
	cmd.ExtraFiles = []*os.File{secrets}
	// It ends with this process, too, as far as the kernel can see to that: nobody would read what it says.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	stdout, said, ended, err := begin(cmd)
	if err != nil {
		return fmt.Errorf("starting %s: %w", program, err)
	}
	defer stdout.pipe.Close()
	defer said.pipe.Close()
	words := make(chan string, 1)
	go func() {
		text, _ := io.ReadAll(io.LimitReader(said, 2<<10)) // its first words
		_, _ = io.Copy(io.Discard, said)
		words <- string(bytes.TrimSpace(text))
	}()
	packed, err := pack(t.o.Compression, out)
	if err == nil {
		_, err = io.Copy(io.MultiWriter(packed, t), stdout)
		err = errors.Join(err, packed.Close())
	}
	if err != nil { // nobody takes it any more: it ends, too
		stop()
	}
	t.said = <-words
	if e := <-ended; e != nil && ctx.Err() == nil && err == nil {
		return fmt.Errorf("%s has failed after %s of SQL: %w; it said: %s", program, backup.Size(t.bytes), e, t.said)
	}
	if e := ctx.Err(); e != nil {
		return fmt.Errorf("%s was killed: %w", program, e)
	}
	if err == nil && !dump.Ends(t.end) {
		err = fmt.Errorf("%s has ended well, and %w", program, dump.ErrIncomplete)
	}
	return err
}

// begin starts a program, gives its outputs, and says once how it has ended. Pdeathsig speaks of the thread that has started it: that one is kept for
// as long as it runs.
func begin(cmd *exec.Cmd) (stdout, stderr *output, ended <-chan error, err error) {
	gone := make(chan struct{})
	var out []*output
	defer func() {
		if err != nil {
			for _, o := range out {
				_ = o.pipe.Close()
			}
		}
	}()
	for _, to := range []*io.Writer{&cmd.Stdout, &cmd.Stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			return nil, nil, nil, err
		}
		defer w.Close() // the program has its own
		*to = w
		out = append(out, &output{r, gone})
	}
	started, done := make(chan error), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err != nil {
			return
		}
		done <- cmd.Wait()
		close(gone)
		for _, o := range out {
			_ = o.pipe.SetReadDeadline(time.Now().Add(killPatience)) // for a read under way
		}
	}()
	if err := <-started; err != nil {
		return nil, nil, nil, err
	}
	return out[0], out[1], done, nil
}

// output is what a program says. It ends with the program: what that has started, and has left its group, may hold on to the pipe.
type output struct {
	pipe *os.File        // not embedded: its WriteTo would go past Read
	gone <-chan struct{} // closed: the program has ended
}

// Read implements io.Reader. What the program has said before its end is read, however late.
func (o *output) Read(p []byte) (int, error) {
	select {
	case <-o.gone:
		_ = o.pipe.SetReadDeadline(time.Now().Add(killPatience))
	default:
	}
	n, err := o.pipe.Read(p)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		if n == 0 {
			return 0, io.EOF
		}
		err = nil
	}
	return n, err
}

// killPatience is how long nothing may come out of a pipe whose program has ended.
const killPatience = time.Second

// secrets are the account's, in the form of an option file that lies on no disk: the end of a pipe that only the program inherits.
func (o *TakeOptions) secrets() (*os.File, error) {
	host, port, err := net.SplitHostPort(o.Server.Addr)
	if err != nil {
		return nil, err
	}
	quoted := func(s string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\r", `\r`).Replace(s) + `"`
	}
	text := fmt.Sprintf("[client]\nprotocol=tcp\nhost=%s\nport=%s\nuser=%s\npassword=%s\n", quoted(host), port, quoted(o.Server.User), quoted(o.Server.Passwd))
	if o.CAFile == "" {
		text += "skip-ssl\n"
	} else {
		text += fmt.Sprintf("ssl\nssl-ca=%s\nssl-verify-server-cert\n", quoted(o.CAFile))
	}
	if len(text) > 4096 { // a pipe holds that without a reader
		return nil, errors.New("the account's name and password are too long for an option file")
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	_, err = io.WriteString(w, text)
	if err := errors.Join(err, w.Close()); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

// pack compresses what is written, over one goroutine at a time.
func pack(how string, out io.Writer) (io.WriteCloser, error) {
	switch how {
	case "none":
		return plain{out}, nil
	case "gzip":
		return gzip.NewWriter(out), nil
	}
	return zstd.NewWriter(out, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true))
}

type plain struct{ io.Writer }

// Close implements io.Closer.
func (plain) Close() error { return nil }

// newTable begins a table in a dump. No value holds it: mariadb-dump escapes the line breaks of values.
var newTable = []byte("\nCREATE TABLE `")

// Write implements io.Writer: it counts what mariadb-dump says, and keeps its end.
func (t *take) Write(p []byte) (int, error) {
	t.bytes += int64(len(p))
	// What stands on the border of two pieces is counted once: with the second one.
	border := append(t.end[max(0, len(t.end)-len(newTable)+1):len(t.end):len(t.end)], p[:min(len(p), len(newTable)-1)]...)
	t.tables += bytes.Count(border, newTable) + bytes.Count(p, newTable)
	t.end = append(t.end, p[max(0, len(p)-endSize):]...)
	t.end = append([]byte(nil), t.end[max(0, len(t.end)-endSize):]...)
	if time.Since(t.last) > time.Second {
		t.last = time.Now()
		t.o.Report(t.pace())
	}
	return len(p), nil
}

// endSize is how much of the end is kept: more than the last lines of a dump.
const endSize = 1 << 10

// pace is how far it is, how fast, and how long it will take. How long the SQL will be nobody knows: the server's own size of its rows is near it.
func (t *take) pace() string {
	text := fmt.Sprintf("dumping %s at %s: %s, %d of %d tables", strings.Join(t.o.Databases, ", "), t.o.Server.Addr, backup.Size(t.bytes), t.tables, t.of.Tables)
	if took := time.Since(t.begun).Seconds(); took > 0 && t.bytes > 0 {
		pace := float64(t.bytes) / took
		text += fmt.Sprintf(", %s a second", backup.Size(int64(pace)))
		if left := t.of.Bytes - t.bytes; left > 0 {
			text += fmt.Sprintf(", about %s left", time.Duration(float64(left)/pace*float64(time.Second)).Round(time.Second))
		}
	}
	return text
}
