package dump

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// split gives the statements of a text; the error is nil at its end.
func split(r io.Reader) (all []string, at []int64, err error) {
	s := NewSplitter(r)
	for {
		st, err := s.Next()
		if errors.Is(err, io.EOF) {
			return all, at, nil
		}
		if err != nil {
			return all, at, err
		}
		all, at = append(all, string(st.Text)), append(at, st.At)
	}
}

func TestSplit(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       []string
		err        error
	}{
		{"nothing", "", nil, nil},
		{"white space and comments", " \n-- a; b\n# c;\n/* d; */\n--\n;;\n", nil, nil},
		{"two", "SELECT 1;SELECT 2 ;\n", []string{"SELECT 1", "SELECT 2"}, nil},
		{"the sandbox line", "/*M!999999\\- enable the sandbox mode */ \n-- x\nSELECT 1;\n", []string{"SELECT 1"}, nil},
		{"executable comments are kept", "/*!40101 SET NAMES utf8mb4 */;/*M!100616 SET @a=1 */;", []string{"/*!40101 SET NAMES utf8mb4 */", "/*M!100616 SET @a=1 */"}, nil},
		{"executable comments hide nothing", "SELECT /*!50003 1;SELECT 2 */;SELECT /*M! '*/;' */;", []string{"SELECT /*!50003 1", "SELECT 2 */", "SELECT /*M! '*/;' */"}, nil},
		{"comments within are kept", "SELECT 1 /* a; 'b */ + 2 -- c; \"d\n + 3 # e;`\n;", []string{"SELECT 1 /* a; 'b */ + 2 -- c; \"d\n + 3 # e;`"}, nil},
		{"two minus signs are no comment", "SELECT 1--1;SELECT 2--\t;\n;", []string{"SELECT 1--1", "SELECT 2--\t;"}, nil},
		{"strings", `INSERT INTO a VALUES ('a;b''c\';d',"e;\"f;""g",'\\');SELECT 2;`, []string{`INSERT INTO a VALUES ('a;b''c\';d',"e;\"f;""g",'\\')`, "SELECT 2"}, nil},
		{"names", "SELECT `a;``b\\`;SELECT 2;", []string{"SELECT `a;``b\\`", "SELECT 2"}, nil},
		{"bytes", "INSERT INTO a VALUES ('\x00\xff\xfe;\\0\\Z');SELECT 2;", []string{"INSERT INTO a VALUES ('\x00\xff\xfe;\\0\\Z')", "SELECT 2"}, nil},
		{"a delimiter", "DELIMITER ;;\nBEGIN; END ;;\ndelimiter\t;\nSELECT 2;", []string{"BEGIN; END", "SELECT 2"}, nil},
		{"a delimiter of quotes", "DELIMITER $$ \r\nBEGIN; END $$\nDELIMITER ;\r\nSELECT 2;", []string{"BEGIN; END", "SELECT 2"}, nil},
		{"the word within", "DELIMITER ;;\nBEGIN DECLARE\ndelimiter INT; END;;\nDELIMITER ;\nSELECT delimiter FROM a;", []string{"BEGIN DECLARE\ndelimiter INT; END", "SELECT delimiter FROM a"}, nil},
		{"a name that begins so", "DELIMITERS;\n", []string{"DELIMITERS"}, nil},
		{"without escapes", `SET sql_mode = 'X,NO_BACKSLASH_ESCAPES';SELECT '\';SELECT 2;`, []string{"SET sql_mode = 'X,NO_BACKSLASH_ESCAPES'", `SELECT '\'`, "SELECT 2"}, nil},
		{
			"around a routine", `/*!50003 SET @saved_sql_mode = @@sql_mode */ ;/*!50003 SET sql_mode = 'NO_BACKSLASH_ESCAPES' */ ;SELECT '\';/*!50003 SET sql_mode = @saved_sql_mode */ ;SELECT '\';';`,
			[]string{"/*!50003 SET @saved_sql_mode = @@sql_mode */", "/*!50003 SET sql_mode = 'NO_BACKSLASH_ESCAPES' */", `SELECT '\'`, "/*!50003 SET sql_mode = @saved_sql_mode */", `SELECT '\';'`}, nil,
		},
		{
			"the head of a dump", `/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */;SELECT '\';';/*!40101 SET SQL_MODE=@OLD_SQL_MODE */;SELECT '\';';`,
			[]string{"/*!40101 SET @OLD_SQL_MODE=@@SQL_MODE, SQL_MODE='NO_AUTO_VALUE_ON_ZERO' */", `SELECT '\';'`, "/*!40101 SET SQL_MODE=@OLD_SQL_MODE */", `SELECT '\';'`}, nil,
		},
		{"names in double quotes", `SET sql_mode='ANSI_QUOTES';SELECT "a\";SELECT 2;`, []string{"SET sql_mode='ANSI_QUOTES'", `SELECT "a\"`, "SELECT 2"}, nil},
		{"a mode in a string", `SELECT 'SET sql_mode=''NO_BACKSLASH_ESCAPES''';SELECT '\';';`, []string{`SELECT 'SET sql_mode=''NO_BACKSLASH_ESCAPES'''`, `SELECT '\';'`}, nil},
		{"without its end", "SELECT 1;\nSELECT 2\n", []string{"SELECT 1"}, ErrHalf},
		{"in a string", "SELECT 1;SELECT ';", []string{"SELECT 1"}, ErrHalf},
		{"behind a backslash", `SELECT 1;SELECT '\`, []string{"SELECT 1"}, ErrHalf},
		{"in a name", "SELECT `;", nil, ErrHalf},
		{"in a comment", "SELECT 1;/* ;", []string{"SELECT 1"}, ErrHalf},
		{"in a comment of a statement", "SELECT 1 /*;", nil, ErrHalf},
		{"in a comment's end", "SELECT 1;/*/", []string{"SELECT 1"}, ErrHalf},
		{"in a line's comment", "SELECT 1 -- ;", nil, ErrHalf},
		{"in its delimiter", "DELIMITER ;;\nSELECT 1;", nil, ErrHalf},
		{"a comment at the end", "SELECT 1;\n-- Dump completed", []string{"SELECT 1"}, nil},
		{"no delimiter", "SELECT 1;\nDELIMITER \nSELECT 2;", []string{"SELECT 1"}, ErrDelimiter},
		{"the delimiter at once", "SELECT 1;DELIMITER;", []string{"SELECT 1"}, ErrDelimiter},
		{"no delimiter at the end", "DELIMITER", nil, ErrDelimiter},
		{"a delimiter with a backslash", "DELIMITER \\;\n", nil, ErrDelimiter},
	} {
		for how, r := range map[string]io.Reader{"at once": strings.NewReader(tt.text), "by bytes": iotest.OneByteReader(strings.NewReader(tt.text)), "with its end": iotest.DataErrReader(strings.NewReader(tt.text))} {
			got, _, err := split(r)
			if !slices.Equal(got, tt.want) || !errors.Is(err, tt.err) {
				t.Errorf("%s, %s: %q, %v; want %q, %v", tt.name, how, got, err, tt.want, tt.err)
			}
		}
	}
}

// An error of what is read is none of the file, and no statement comes after it.
func TestSplitSource(t *testing.T) {
	lost := errors.New("connection lost")
	for _, text := range []string{"SELECT 1;", "SELECT 1;-- a", "SELECT 1;/*", "SELECT 1;SELECT ", "SELECT 1;SELECT '", "SELECT 1;DELIMITER", "SELECT 1;SELECT /*"} {
		s := NewSplitter(io.MultiReader(strings.NewReader(text), iotest.ErrReader(lost)))
		st, err := s.Next()
		if err == nil && string(st.Text) != "SELECT 1" {
			t.Errorf("%q: %q", text, st.Text)
		}
		for range 2 {
			if st, err = s.Next(); !errors.Is(err, lost) {
				t.Errorf("%q: then %q, %v", text, st.Text, err)
			}
		}
	}
}

// A statement of many buffers comes whole, and memory is that of the longest.
func TestSplitLong(t *testing.T) {
	long := "INSERT INTO a VALUES ('" + strings.Repeat(`0123456789\';`, 800_000) + "')"
	r := strings.NewReader(strings.Repeat("-- "+strings.Repeat("comment; ", 500_000)+"\n", 2) + long + ";\n" + long + ";\nSELECT 1;")
	s := NewSplitter(r)
	for range 2 {
		if st, err := s.Next(); err != nil || string(st.Text) != long {
			t.Fatalf("%d bytes, %v; want %d", len(st.Text), err, len(long))
		}
	}
	if cap(s.buf) > 32<<20 {
		t.Errorf("%d bytes of memory", cap(s.buf))
	}
	many := &endless{line: []byte("INSERT INTO `a` VALUES (" + strings.Repeat("'0123456789',", 4096) + "1);\n")}
	n := testing.AllocsPerRun(1, func() {
		s := NewSplitter(io.LimitReader(many, 64<<20))
		for {
			if _, err := s.Next(); err != nil {
				if !errors.Is(err, ErrHalf) && !errors.Is(err, io.EOF) {
					t.Error(err)
				}
				return
			}
		}
	})
	if n > 50 {
		t.Errorf("%g allocations", n)
	}
}

func BenchmarkSplit(b *testing.B) {
	text := []byte(strings.Repeat("INSERT INTO `a` VALUES ("+strings.Repeat("'0123456789',12345,", 4096)+"1);\n", 100))
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, _, err := split(bytes.NewReader(text)); err != nil {
			b.Fatal(err)
		}
	}
}

// Whatever the bytes: no panic, no half statement, the same in whatever pieces they come, and nothing of the file is lost: what
// stands between two statements holds none.
func FuzzSplit(f *testing.F) {
	for _, name := range []string{"two", "one", "bare"} {
		text, err := os.ReadFile("testdata/" + name + ".sql")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Add([]byte("DELIMITER ;;\n/*!50003 CREATE*/ 'a\\';;' -- b\n;;\nDELIMITER ;\nSET sql_mode='NO_BACKSLASH_ESCAPES';SELECT '\\';#;\n/* ; */`;`;"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s := NewSplitter(bytes.NewReader(text))
		var all []string
		from := 0 // what stands behind the last statement
		for {
			delimiter, mode := s.delimiter, s.mode
			st, err := s.Next()
			to := len(text)
			if err == nil {
				to = int(st.At)
				all = append(all, string(st.Text))
				if !bytes.Equal(text[to:to+len(st.Text)], st.Text) {
					t.Fatalf("%q is not what stands at %d", st.Text, to)
				}
				alone := NewSplitter(io.MultiReader(bytes.NewReader(st.Text), strings.NewReader("\n"), bytes.NewReader(s.delimiter)))
				alone.delimiter, alone.mode = s.delimiter, mode
				whole := bytes.Clone(st.Text)
				if one, err := alone.Next(); err != nil || !bytes.Equal(one.Text, whole) {
					t.Fatalf("%q alone is %q, %v", whole, one.Text, err)
				}
			}
			between := NewSplitter(bytes.NewReader(text[from:to]))
			between.delimiter = delimiter
			if one, berr := between.Next(); err == nil && !errors.Is(berr, io.EOF) || errors.Is(err, io.EOF) && !errors.Is(berr, io.EOF) {
				t.Fatalf("between: %q, %v", one.Text, berr)
			}
			if err != nil {
				if again, again2 := s.Next(); !errors.Is(again2, err) || again.Text != nil {
					t.Fatalf("after %v: %q, %v", err, again.Text, again2)
				}
				break
			}
			from = int(st.At) + len(st.Text)
		}
		if got, _, _ := split(iotest.OneByteReader(bytes.NewReader(text))); !slices.Equal(got, all) {
			t.Fatalf("by bytes: %.2000q, at once: %.2000q", got, all)
		}
	})
}
