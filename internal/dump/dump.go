// Package dump reads backups as mariadb-dump writes them: one pass, constant memory.
package dump

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"
)

// Summary is what a dump says of itself. The zero value says nothing.
type Summary struct {
	Server    string   // version of the server that was dumped, such as "10.11.19-MariaDB"; "" if the dump does not say
	Databases []string // in their order; a dump of one database without --databases names it in its head alone
	Tables    int      // CREATE TABLE statements
	Bytes     int64    // of SQL, uncompressed
	Complete  bool     // it ends as mariadb-dump ends a dump that has succeeded
}

// The errors of a file that is not a complete dump. What was read until then is in the
// Summary.
var (
	// ErrNotADump is a file that does not begin as a dump does. A dump with --skip-comments or --compact
	// has neither head nor end, and nothing tells whether it is whole.
	ErrNotADump = errors.New("it does not begin as mariadb-dump begins a dump (which --skip-comments and --compact leave out)")
	// ErrIncomplete is a dump without its last line.
	ErrIncomplete = errors.New(`it does not end with "-- Dump completed": mariadb-dump did not finish, or the file was cut off`)
	// ErrDamaged is a compressed file that cannot be uncompressed to its end.
	ErrDamaged = errors.New("it is damaged or cut off")
)

// trailer begins the last line of a dump that has succeeded: it is missing when the dump has failed in its midst.
// https://mariadb.com/kb/en/mariadb-dump/
const trailer = "-- Dump completed"

// headLines is how far into a file its head may reach.
const headLines = 40

var (
	opening = regexp.MustCompile(`^-- (MariaDB|MySQL) dump `)
	version = regexp.MustCompile(`^-- Server version\s+(\S+)`)
	of      = regexp.MustCompile(`^-- Host: .*\sDatabase: (\S+)`)
	current = regexp.MustCompile("^-- Current Database: `((?:[^`]|``)+)`")
)

// Reader uncompresses what it is given, by its first bytes: gzip, zstd or neither. Close releases what
// that needs, not r. An error of a damaged file wraps ErrDamaged.
func Reader(r io.Reader) (io.ReadCloser, error) {
	from := &source{r: r}
	b := bufio.NewReaderSize(from, 64<<10)
	magic, err := b.Peek(4)
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return nil, from.blame(err)
		}
		return &unpacked{z, from, z.Close}, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		// One goroutine, and never more memory than mariadb-dump | zstd asks for at any level but --ultra.
		z, err := zstd.NewReader(b, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(64<<20))
		if err != nil {
			return nil, from.blame(err)
		}
		return &unpacked{z, from, func() error { z.Close(); return nil }}, nil
	}
	return io.NopCloser(b), nil
}

// source is what a file comes from: its errors are not the file's.
type source struct {
	r   io.Reader
	err error
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		s.err = err
	}
	return n, err
}

func (s *source) blame(err error) error {
	if s.err != nil {
		return s.err
	}
	return fmt.Errorf("%w: %w", ErrDamaged, err)
}

type unpacked struct {
	io.Reader
	from  *source
	close func() error
}

// Close implements io.Closer.
func (u *unpacked) Close() error { return u.close() }

// Read implements io.Reader.
func (u *unpacked) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = u.from.blame(err)
	}
	return n, err
}

// Read reads a dump to its end. The error is one of those above, or of r.
func Read(r io.Reader) (Summary, error) { return read(r, false) }

// ReadHead reads what there is of the beginning of a dump, which may be cut off anywhere. Complete and Bytes say nothing
// then; the error is ErrNotADump, ErrDamaged, or of r.
func ReadHead(r io.Reader) (Summary, error) { return read(r, true) }

func read(r io.Reader, head bool) (s Summary, err error) {
	in, err := Reader(r)
	if err != nil {
		return s, err
	}
	defer in.Close() //nolint:errcheck // nothing was written
	lines := bufio.NewReaderSize(in, 64<<10)
	begun, last, n := false, false, 0
	for {
		// A line may be as long as the server takes; what is looked for stands at its beginning.
		line, err := lines.ReadSlice('\n')
		s.Bytes += int64(len(line))
		if text := bytes.TrimRight(line, " \t\r\n"); len(text) > 0 {
			last = bytes.HasPrefix(text, []byte(trailer))
			begun = s.take(text) || begun
		}
		for n++; errors.Is(err, bufio.ErrBufferFull); {
			line, err = lines.ReadSlice('\n')
			s.Bytes += int64(len(line))
		}
		switch {
		case !begun && (n >= headLines || err != nil && (errors.Is(err, io.EOF) || head && n > 1)):
			return s, ErrNotADump
		case errors.Is(err, io.EOF):
			s.Complete = last
			if !last && !head {
				return s, ErrIncomplete
			}
			return s, nil
		case err != nil && head && begun:
			return s, nil // it was cut off
		case err != nil:
			return s, err
		}
	}
}

// take looks at one line, and reports whether a dump begins with it.
func (s *Summary) take(line []byte) bool {
	switch {
	case bytes.HasPrefix(line, []byte("CREATE TABLE ")):
		s.Tables++
	case !bytes.HasPrefix(line, []byte("-- ")):
	case opening.Match(line):
		return true
	case s.Server == "" && version.Match(line):
		s.Server = string(version.FindSubmatch(line)[1])
	case len(s.Databases) == 0 && of.Match(line):
		s.Databases = append(s.Databases, string(of.FindSubmatch(line)[1]))
	case current.Match(line):
		if name := strings.ReplaceAll(string(current.FindSubmatch(line)[1]), "``", "`"); !slices.Contains(s.Databases, name) { // views come behind all tables, with their database again
			s.Databases = append(s.Databases, name)
		}
	}
	return false
}

// Ends reports whether what is the end of a file is the end of a dump that has succeeded.
func Ends(tail []byte) bool {
	tail = bytes.TrimRight(tail, " \t\r\n")
	return bytes.HasPrefix(tail[bytes.LastIndexByte(tail, '\n')+1:], []byte(trailer))
}
