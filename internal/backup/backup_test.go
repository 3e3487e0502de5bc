package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// bucket is a bucket of S3 with one file that can be read, in whatever mood it is.
type bucket struct {
	mu      sync.Mutex
	list    string // of ListObjectsV2
	content []byte
	etag    string
	mood    string
	asked   []string          // ranges
	kept    map[string]string // headers of what S3 keeps of it
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.URL.Query().Get("list-type") != "" {
		_, _ = fmt.Fprintf(w, "<ListBucketResult><IsTruncated>false</IsTruncated>%s</ListBucketResult>", b.list)
		return
	}
	if r.Method == http.MethodHead {
		if r.Header.Get("If-Match") != b.etag {
			w.WriteHeader(http.StatusPreconditionFailed)
			return
		}
		w.Header().Set("ETag", b.etag)
		for k, v := range b.kept {
			w.Header().Set(k, v)
		}
		if b.mood == "replaced" {
			b.etag = `"other"`
		}
		return
	}
	part := r.Header.Get("Range")
	b.asked = append(b.asked, part)
	if r.Header.Get("If-Match") != b.etag {
		w.WriteHeader(http.StatusPreconditionFailed)
		_, _ = io.WriteString(w, "<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>")
		return
	}
	var first, last int
	if _, err := fmt.Sscanf(part, "bytes=%d-%d", &first, &last); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	send := b.content[first : last+1]
	mood := b.mood
	if strings.HasPrefix(mood, "once ") {
		b.mood, mood = "", strings.TrimPrefix(mood, "once ")
	}
	switch mood {
	case "throttle":
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, "<Error><Code>SlowDown</Code><Message>no</Message></Error>")
		return
	case "deny":
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
		return
	case "no ranges":
		_, _ = w.Write(b.content)
		return
	case "nothing":
		send = nil
	case "half": // and then the connection breaks
		w.Header().Set("Content-Length", strconv.Itoa(len(send)))
		send = send[:len(send)/2]
	}
	w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(b.content)))
	w.WriteHeader(http.StatusPartialContent)
	_, _ = w.Write(send)
}

// place is where the bucket's files lie.
func place(t *testing.T, b *bucket) Place {
	t.Helper()
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	return Place{Client: s3.New(s3.Options{
		Region: "us-east-2", BaseEndpoint: &srv.URL, UsePathStyle: true, Credentials: credentials.NewStaticCredentialsProvider("AKIATEST", "secret", ""),
	}), Bucket: "b", Prefix: "app/", Takes: time.Hour, Part: 1000}
}

// The files that count, oldest first as of the time after which nothing in them was written.
func TestList(t *testing.T) {
	b := &bucket{}
	for _, o := range []struct {
		key, modified string
	}{
		{"app/b.sql", "2026-11-28T10:00:00Z"},                              // as of 09:00
		{"app/2026-11-27.sql.gz", "2026-11-28T12:00:00Z"},                  // a replica: some time of the 27th
		{"app/20261126T0305.sql.zst", "2026-11-28T12:00:00Z"},              // its name knows the minute
		{"app/2027-01-01.sql", "2026-11-28T08:30:00Z"},                     // a name from the future knows nothing: as of 07:30
		{"app/20261131.sql", "2026-11-28T06:30:00Z"},                       // no date: as of 05:30
		{"app/2026-11-25/2026-11-24_03-05-12.sql", "2026-11-28T12:00:00Z"}, // the last one in the name
		{"app/manifest.json", "2026-11-28T10:00:00Z"}, {"app/c.sql.gz.part", "2026-11-28T10:00:00Z"},
	} {
		b.list += fmt.Sprintf("<Contents><Key>%s</Key><LastModified>%s</LastModified><ETag>&quot;e&quot;</ETag><Size>7</Size></Contents>", o.key, o.modified)
	}
	all, other, err := place(t, b).List(t.Context())
	if err != nil || other != 2 {
		t.Fatalf("%d others, %v", other, err)
	}
	var got []string
	for _, f := range all {
		got = append(got, strings.TrimPrefix(f.Key, "app/")+" "+f.AsOf.Format("02 15:04"))
	}
	const want = "2026-11-25/2026-11-24_03-05-12.sql 24 03:05, 20261126T0305.sql.zst 26 03:05, 2026-11-27.sql.gz 28 00:00, 20261131.sql 28 05:30, 2027-01-01.sql 28 07:30, b.sql 28 09:00"
	if strings.Join(got, ", ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, ", "), want)
	}
}

func TestUsual(t *testing.T) {
	var all []File
	for _, n := range []int64{1, 1, 1, 1, 1, 1, 100, 100, 100, 100, 100, 100, 100, 100, 100, 7} {
		all = append(all, File{Size: n})
	}
	if got := Usual(all); got != 100 || Usual(nil) != 0 {
		t.Errorf("the usual size is %d", got)
	}
	if f := all[15]; f.Shrunken(100, 50) == "" || f.Shrunken(0, 50) != "" || (File{Size: 50}).Shrunken(100, 50) != "" {
		t.Error("what is too small is not seen, or what is not too small")
	}
}

// What breaks off is asked for again from where it broke off, and nothing is read twice or left out.
func TestReader(t *testing.T) {
	content := make([]byte, 2500)
	for i := range content {
		content[i] = byte(i * 7 / 3)
	}
	for _, tt := range []struct {
		mood   string
		err    string // "" if it is read
		ranges string // the beginnings that were asked for
	}{
		{"", "", "0 1000 2000"},
		{"once throttle", "", "0 0 1000 2000"},
		{"once half", "", "0 500 1500"},
		{"once nothing", "", "0 0 1000 2000"},
		{"once no ranges", "", "0 0 1000 2000"},
		{"no ranges", "has the range", "0 0 0 0 0"},
		{"deny", "AccessDenied", "0"},
		{"nothing", io.ErrNoProgress.Error(), "0 0 0 0 0"},
	} {
		b := &bucket{content: content, etag: `"e"`, mood: tt.mood}
		r := place(t, b).Open(t.Context(), File{Key: "app/a.sql", ETag: `"e"`, Size: int64(len(content))})
		got, err := io.ReadAll(r)
		if cerr := r.Close(); cerr != nil {
			t.Error(cerr)
		}
		var begun []string
		for _, part := range b.asked {
			first, _, _ := strings.Cut(strings.TrimPrefix(part, "bytes="), "-")
			begun = append(begun, first)
		}
		if tt.ranges != "" && strings.Join(begun, " ") != tt.ranges {
			t.Errorf("%q: asked for %s, want %s", tt.mood, strings.Join(begun, " "), tt.ranges)
		}
		switch {
		case tt.err == "" && (err != nil || !bytes.Equal(got, content) || r.Got() != int64(len(content))):
			t.Errorf("%q: %d bytes, %v", tt.mood, len(got), err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%q: %d bytes, %v", tt.mood, len(got), err)
		}
	}
}

// Another file in its place is not read, and one that nobody waits for ends.
func TestReaderEnds(t *testing.T) {
	b := &bucket{content: make([]byte, 2500), etag: `"other"`}
	r := place(t, b).Open(t.Context(), File{Key: "app/a.sql", ETag: `"e"`, Size: 2500})
	if _, err := io.ReadAll(r); !Replaced(err) || len(b.asked) != 0 {
		t.Errorf("another file: %v after %v", err, b.asked)
	}
	b = &bucket{content: make([]byte, 2500), etag: `"e"`, mood: "replaced"}
	r = place(t, b).Open(t.Context(), File{Key: "app/a.sql", ETag: `"e"`, Size: 2500})
	if _, err := io.ReadAll(r); !Replaced(err) || len(b.asked) != 1 {
		t.Errorf("another file right before it is read: %v after %v", err, b.asked)
	}
	b = &bucket{content: make([]byte, 2500), etag: `"e"`, mood: "throttle"}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r = place(t, b).Open(ctx, File{Key: "app/a.sql", ETag: `"e"`, Size: 2500})
	if _, err := io.ReadAll(r); err == nil || errors.Is(err, io.EOF) || Replaced(err) || ctx.Err() == nil {
		t.Errorf("given up: %v", err)
	}
	whole, err := place(t, &bucket{content: []byte("x"), etag: `"e"`}).Get(t.Context(), File{Key: "app/a.sql", ETag: `"e"`, Size: 1}, aws.String("bytes=0-0"))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(whole); err != nil || string(text) != "x" {
		t.Errorf("%q, %v", text, err)
	}
}
