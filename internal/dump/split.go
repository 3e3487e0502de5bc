package dump

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Statement is one statement of a dump, as the server is to be given it: without its
// delimiter, and without the comments before it.
type Statement struct {
	// Text is never empty, and is valid until the next one is asked for. Its bytes are the
	// file's: blobs are no text of any character set.
	Text []byte
	// At is where Text begins in the uncompressed file.
	At int64
}

var (
	// ErrHalf is a file that ends in the midst of a statement.
	ErrHalf = errors.New("it ends in the midst of a statement")
	// ErrDelimiter is a DELIMITER line that mariadb's client would refuse, too.
	ErrDelimiter = errors.New("a DELIMITER line without a delimiter, or with a backslash in it")
	// ErrTooLong is a statement that no server takes.
	ErrTooLong = fmt.Errorf("a statement is longer than %d bytes, which is more than any server takes", MaxStatement)
)

// MaxStatement is the largest max_allowed_packet that a server can have.
// https://mariadb.com/kb/en/server-system-variables/#max_allowed_packet
const MaxStatement = 1 << 30

// Splitter cuts a dump into statements as mariadb's client does. It keeps one statement in
// memory, and nothing else of the file. Its rules are those of the client's add_line:
// DELIMITER is a command of the client's; strings, quoted names and plain comments hide a
// delimiter; executable comments (/*! and /*M!) do not, which is why mariadb-dump changes the
// delimiter around triggers. Whether a backslash escapes depends on sql_mode, which a dump sets
// before each routine: the splitter follows it, from a mode without NO_BACKSLASH_ESCAPES on.
//
// It deviates from the client where that is wrong: the word DELIMITER in the midst of a statement is no
// command, and a command of the client's (\! and the like) is none either.
type Splitter struct {
	r     io.Reader
	buf   []byte
	start int   // of what is not given out yet
	at    int64 // where buf[0] stands in the file
	eof   bool
	err   error // sticks

	delimiter []byte
	mode      sqlMode
	saved     map[string]sqlMode // by user variable
}

// NewSplitter splits what r gives, which is not compressed (Reader).
func NewSplitter(r io.Reader) *Splitter {
	return &Splitter{r: r, delimiter: []byte(";"), saved: map[string]sqlMode{}}
}

// firstBuffer is what memory begins with: it doubles up to twice the longest statement.
const firstBuffer = 4 << 10

// Next gives the next statement; io.EOF after the last one. No other error leaves a part of a
// statement behind, and each sticks.
func (s *Splitter) Next() (Statement, error) {
	if s.err != nil {
		return Statement{}, s.err
	}
	st, err := s.next()
	if err != nil {
		s.err = err
		return Statement{}, err
	}
	s.follow(st.Text)
	return st, nil
}

func (s *Splitter) next() (Statement, error) {
	for {
		if err := s.skip(); err != nil {
			return Statement{}, err
		}
		end, err := s.end()
		if err != nil {
			return Statement{}, err
		}
		text := bytes.TrimRight(s.buf[s.start:end], space)
		st := Statement{text, s.at + int64(s.start)}
		s.start = end + len(s.delimiter)
		if len(text) > 0 {
			return st, nil
		}
	}
}

const space = " \t\r\n\v\f"

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// have reports whether n bytes stand behind what is given out, reading on for them. Reading moves the
// buffer: only offsets from start stay what they are.
func (s *Splitter) have(n int) (bool, error) {
	for len(s.buf)-s.start < n && !s.eof {
		if n > MaxStatement {
			return false, ErrTooLong
		}
		if s.start > 0 && (s.start == len(s.buf) || len(s.buf) == cap(s.buf)) {
			s.at += int64(s.start)
			s.buf = s.buf[:copy(s.buf, s.buf[s.start:])]
			s.start = 0
		}
		if len(s.buf) == cap(s.buf) {
			grown := make([]byte, len(s.buf), max(firstBuffer, 2*cap(s.buf)))
			copy(grown, s.buf)
			s.buf = grown
		}
		got, err := s.r.Read(s.buf[len(s.buf):cap(s.buf)])
		s.buf = s.buf[:len(s.buf)+got]
		switch {
		case errors.Is(err, io.EOF):
			s.eof = true
		case err != nil:
			return false, err
		}
	}
	return len(s.buf)-s.start >= n, nil
}

// peek is the byte i behind start, 0 at the file's end. An error of reading is kept for the next look.
func (s *Splitter) peek(i int) (byte, error) {
	ok, err := s.have(i + 1)
	if !ok {
		return 0, err
	}
	return s.buf[s.start+i], nil
}

// sandbox begins the first line since 10.11.8: to the server a comment that it never executes, to the client a command. It has no
// delimiter. https://mariadb.com/kb/en/mariadb-dump/
const sandbox = `/*M!999999\-`

// skip comes to the first byte of a statement: it leaves out white space, plain comments and the client's
// commands. io.EOF if there is none any more.
func (s *Splitter) skip() error {
	for {
		c, err := s.peek(0)
		if err != nil {
			return err
		}
		if s.start == len(s.buf) {
			return io.EOF
		}
		if _, err := s.have(len(sandbox) + len(s.delimiter)); err != nil { // as much as any look needs
			return err
		}
		rest := s.buf[s.start:]
		switch {
		case bytes.HasPrefix(rest, s.delimiter):
			s.start += len(s.delimiter)
		case isSpace(c):
			s.start++
		case c == '#', bytes.HasPrefix(rest, []byte("--")):
			if err := s.line(); err != nil {
				return err
			}
		case bytes.HasPrefix(rest, []byte(sandbox)), bytes.HasPrefix(rest, []byte("/*")) && !executable(rest):
			if err := s.comment(); err != nil {
				return err
			}
		case len(rest) >= len(command) && bytes.EqualFold(rest[:len(command)], []byte(command)) && s.ends(rest[len(command):]):
			if err := s.setDelimiter(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
}

const command = "delimiter"

// ends reports whether a word of the client's ends before rest.
func (s *Splitter) ends(rest []byte) bool {
	return len(rest) == 0 || isSpace(rest[0]) || bytes.HasPrefix(rest, s.delimiter)
}

// executable reports whether a comment is code to the server.
func executable(text []byte) bool {
	return bytes.HasPrefix(text, []byte("/*!")) || bytes.HasPrefix(text, []byte("/*M!"))
}

// line gives out what is left of a line, which may be of any length.
func (s *Splitter) line() error {
	for {
		if i := bytes.IndexByte(s.buf[s.start:], '\n'); i >= 0 {
			s.start += i + 1
			return nil
		}
		s.start = len(s.buf)
		if ok, err := s.have(1); !ok {
			return err
		}
	}
}

// comment gives out a comment to its end.
func (s *Splitter) comment() error {
	s.start += 2
	for {
		if i := bytes.Index(s.buf[s.start:], []byte("*/")); i >= 0 {
			s.start += i + 2
			return nil
		}
		if n := len(s.buf) - s.start; n > 1 { // a star may be its last byte
			s.start += n - 1
		}
		if ok, err := s.have(2); err != nil {
			return err
		} else if !ok {
			return ErrHalf
		}
	}
}

// setDelimiter carries out a DELIMITER line.
func (s *Splitter) setDelimiter() error {
	n := len(command)
	for {
		c, err := s.peek(n)
		if err != nil {
			return err
		}
		if c == '\n' || s.start+n >= len(s.buf) {
			break
		}
		n++
	}
	fields := bytes.Fields(s.buf[s.start+len(command) : s.start+n])
	if len(fields) == 0 || bytes.IndexByte(fields[0], '\\') >= 0 || n > len(command) && !isSpace(s.buf[s.start+len(command)]) {
		return ErrDelimiter
	}
	s.delimiter = bytes.Clone(fields[0])
	s.start += n
	return nil
}

// special are the bytes that may change what follows; the first byte of the delimiter is one beside them.
var special = func() (t [256]bool) {
	for _, c := range []byte("'\"`#-/") {
		t[c] = true
	}
	return t
}()

// end finds the delimiter of the statement that begins at start, and gives its place in buf.
func (s *Splitter) end() (int, error) {
	first := s.delimiter[0]
	for i := 0; ; {
		rest := s.buf[s.start+i:]
		n := 0
		for n < len(rest) && !special[rest[n]] && rest[n] != first {
			n++
		}
		i += n
		c, err := s.peek(i)
		if err != nil {
			return 0, err
		}
		if s.start+i >= len(s.buf) {
			return 0, ErrHalf
		}
		if _, err := s.have(i + max(len("/*M!"), len(s.delimiter))); err != nil {
			return 0, err
		}
		rest = s.buf[s.start+i:]
		switch {
		case bytes.HasPrefix(rest, s.delimiter):
			return s.start + i, nil
		case c == '\'' || c == '"' || c == '`':
			i, err = s.quoted(i, c)
		case c == '#', c == '-' && len(rest) > 1 && rest[1] == '-' && (len(rest) == 2 || rest[2] <= ' ' || rest[2] == 0x7f):
			i, err = s.find(i+1, []byte("\n"))
		case c == '/' && len(rest) > 1 && rest[1] == '*' && !executable(s.buf[s.start+i:]):
			i, err = s.find(i+2, []byte("*/"))
		default:
			i++
		}
		if err != nil {
			return 0, err
		}
	}
}

// find is the place behind the next what, counted from start like i.
func (s *Splitter) find(i int, what []byte) (int, error) {
	for {
		if at := bytes.Index(s.buf[min(s.start+i, len(s.buf)):], what); at >= 0 {
			return i + at + len(what), nil
		}
		i = max(i, len(s.buf)-s.start-len(what)+1)
		if ok, err := s.have(i + len(what)); err != nil {
			return 0, err
		} else if !ok {
			return 0, ErrHalf
		}
	}
}

// quoted is the place behind the string or name that begins at i. A quote that is written twice ends one and
// begins the next, which comes to the same.
func (s *Splitter) quoted(i int, quote byte) (int, error) {
	escapes := quote != '`' && !s.mode.noEscapes && (quote == '\'' || !s.mode.ansiQuotes)
	for i++; ; i++ {
		rest := s.buf[min(s.start+i, len(s.buf)):]
		n := 0
		for n < len(rest) && rest[n] != quote && rest[n] != '\\' {
			n++
		}
		i += n
		c, err := s.peek(i)
		if err != nil {
			return 0, err
		}
		switch {
		case s.start+i >= len(s.buf):
			return 0, ErrHalf
		case c == quote:
			return i + 1, nil
		case escapes && c == '\\':
			i++
		}
	}
}

// At is how much of the file was given out or left out.
func (s *Splitter) At() int64 { return s.at + int64(s.start) }
