package dump

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"
)

// whole is what mariadb-dump 10.11 writes with --databases app, shortened.
func whole() string {
	return "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)\n--\n-- Host: localhost    Database: app\n" +
		"-- ------------------------------------------------------\n-- Server version\t10.11.19-MariaDB-0+deb12u1-log\n\n/*!40101 SET NAMES utf8mb4 */;\n\n--\n-- Current Database: `app`\n--\n\nUSE `app`;\n" +
		"CREATE TABLE `a` (\n  `id` int(11) NOT NULL\n);\nINSERT INTO `a` VALUES (" + strings.Repeat("1),(", 40_000) + "2);\nCREATE TABLE `b` (\n  `x` blob\n);\n\n--\n-- Current Database: `two``s`\n--\n\n" +
		"CREATE TABLE `c` (\n  `x` int\n);\n/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;\n\n-- Dump completed on 2026-11-28  3:05:12\n"
}

func zipped(t *testing.T, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, s); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func packed(t *testing.T, s string) []byte {
	t.Helper()
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return z.EncodeAll([]byte(s), nil)
}

// A whole dump says what it holds, however it is compressed and in whatever pieces it comes.
func TestRead(t *testing.T) {
	text := whole()
	for name, file := range map[string][]byte{"plain": []byte(text), "gzip": zipped(t, text), "zstd": packed(t, text), "two members": append(zipped(t, text[:3000]), zipped(t, text[3000:])...)} {
		for how, r := range map[string]io.Reader{"at once": bytes.NewReader(file), "in pieces": iotest.HalfReader(bytes.NewReader(file)), "with its end": iotest.DataErrReader(bytes.NewReader(file))} {
			s, err := Read(r)
			if got, want := fmt.Sprintf("%+v, %v", s, err), fmt.Sprintf("{Server:10.11.19-MariaDB-0+deb12u1-log Databases:[app two`s] Tables:3 Bytes:%d Complete:true}, <nil>", len(text)); got != want {
				t.Errorf("%s %s: %s, want %s", name, how, got, want)
			}
		}
	}
}

// What the real mariadb-dump 10.11.19 wrote of testdata/seed.sql: of two databases, of one without --databases, without
// comments, and when a table was not there.
func TestReadReal(t *testing.T) {
	for name, want := range map[string]string{
		"two":    "{Server:10.11.19-MariaDB-0+deb12u1-log Databases:[app shop`s] Tables:4 Bytes:11311 Complete:true}, <nil>",
		"one":    "{Server:10.11.19-MariaDB-0+deb12u1-log Databases:[app] Tables:3 Bytes:6834 Complete:true}, <nil>",
		"failed": "{Server:10.11.19-MariaDB-0+deb12u1-log Databases:[app] Tables:0 Bytes:864 Complete:false}, " + ErrIncomplete.Error(),
		"bare":   "{Server: Databases:[] Tables:2 Bytes:1730 Complete:false}, " + ErrNotADump.Error(),
	} {
		text, err := os.ReadFile("testdata/" + name + ".sql")
		if err != nil {
			t.Fatal(err)
		}
		s, err := Read(bytes.NewReader(text))
		if got := fmt.Sprintf("%+v, %v", s, err); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
		if Ends(text) != (err == nil) {
			t.Errorf("%s: its end says %t", name, Ends(text))
		}
	}
}

// What is no whole dump is told from one, and a source that fails from a file that is damaged.
func TestReadRefuses(t *testing.T) {
	text := whole()
	gz, zs := zipped(t, text), packed(t, text)
	flipped := bytes.Clone(gz)
	flipped[len(flipped)/2] ^= 1
	lost := errors.New("connection lost")
	for _, tt := range []struct {
		name string
		r    io.Reader
		want error
	}{
		{"nothing", strings.NewReader(""), ErrNotADump},
		{"one byte", strings.NewReader("x"), ErrNotADump},
		{"rubbish", strings.NewReader(strings.Repeat("rubbish\n", 1000)), ErrNotADump},
		{"one endless line", strings.NewReader(strings.Repeat("x", 1<<20)), ErrNotADump},
		{"without comments", strings.NewReader("CREATE TABLE `a` (`id` int);\n"), ErrNotADump},
		{"without its end", strings.NewReader(text[:len(text)-60]), ErrIncomplete},
		{"with half its end", strings.NewReader(text[:len(text)-28]), ErrIncomplete},
		{"its end in the midst", strings.NewReader(text + "CREATE TABLE `d` (\n"), ErrIncomplete},
		{"gzip that is cut off", bytes.NewReader(gz[:len(gz)-10]), ErrDamaged},
		{"gzip that is cut off in its head", bytes.NewReader(gz[:5]), ErrDamaged},
		{"gzip with a bit flipped", bytes.NewReader(flipped), ErrDamaged},
		{"gzip with something behind it", bytes.NewReader(append(bytes.Clone(gz), "tail"...)), ErrDamaged},
		{"zstd that is cut off", bytes.NewReader(zs[:len(zs)-3]), ErrDamaged},
		{"a source that fails", io.MultiReader(strings.NewReader(text[:900]), iotest.ErrReader(lost)), lost},
		{"a source of gzip that fails", io.MultiReader(bytes.NewReader(gz[:90]), iotest.ErrReader(lost)), lost},
	} {
		s, err := Read(tt.r)
		if !errors.Is(err, tt.want) || s.Complete {
			t.Errorf("%s: %+v, %v, want %v", tt.name, s, err, tt.want)
		}
		if errors.Is(err, lost) && errors.Is(err, ErrDamaged) {
			t.Errorf("%s: the file is blamed: %v", tt.name, err)
		}
	}
}

// The beginning of a dump tells as much as it holds, wherever it is cut off.
func TestReadHead(t *testing.T) {
	text := whole()
	for name, file := range map[string][]byte{"plain": []byte(text), "gzip": zipped(t, text), "zstd": packed(t, text)} {
		for n := 600; n < len(file); n += 997 {
			s, err := ReadHead(bytes.NewReader(file[:n]))
			if name == "zstd" && err != nil { // a block that is cut off says nothing
				continue
			}
			if err != nil || s.Server != "10.11.19-MariaDB-0+deb12u1-log" {
				t.Fatalf("%s, %d bytes: %+v, %v", name, n, s, err)
			}
		}
	}
	for _, rubbish := range []string{"", "x", strings.Repeat("rubbish\n", 99)} {
		if _, err := ReadHead(strings.NewReader(rubbish)); !errors.Is(err, ErrNotADump) {
			t.Errorf("%.20q: %v", rubbish, err)
		}
	}
}

// Rubbish neither panics nor counts as a dump.
func FuzzRead(f *testing.F) {
	f.Add([]byte(whole()[:700]))
	f.Add([]byte{0x1f, 0x8b, 8, 0})
	f.Add([]byte{0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, file []byte) {
		s, err := Read(bytes.NewReader(file))
		if s.Complete != (err == nil) {
			t.Errorf("%+v, %v", s, err)
		}
		_, _ = ReadHead(bytes.NewReader(file))
	})
}

// Memory does not grow with the length of a line or of the dump.
func TestReadTakesLittleMemory(t *testing.T) {
	line := []byte("INSERT INTO `a` VALUES (" + strings.Repeat("'0123456789',", 4096) + "1);\n")
	n := testing.AllocsPerRun(1, func() {
		r := io.MultiReader(strings.NewReader(whole()[:900]), io.LimitReader(&endless{line: line}, 64<<20))
		if s, err := Read(r); s.Bytes < 64<<20 || !errors.Is(err, ErrIncomplete) {
			t.Errorf("%+v, %v", s, err)
		}
	})
	if n > 200 {
		t.Errorf("%g allocations", n)
	}
}

type endless struct {
	line []byte
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.line[e.at:])
	e.at = (e.at + n) % len(e.line)
	return n, nil
}
