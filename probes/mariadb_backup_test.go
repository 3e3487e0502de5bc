package probes

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/xml"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// bucket is S3 with one bucket, "backups", that lists two objects a page.
type bucket struct {
	mu      sync.Mutex
	objects map[string]object
	gets    []string                                          // key and range
	before  func(w http.ResponseWriter, r *http.Request) bool // true: it has answered
}

type object struct {
	body     []byte
	modified time.Time
}

type listed struct {
	XMLName  xml.Name `xml:"ListBucketResult"`
	More     bool     `xml:"IsTruncated"`
	Next     string   `xml:"NextContinuationToken,omitempty"`
	Contents []struct {
		Key          string
		LastModified time.Time
		ETag         string
		Size         int
	}
}

func (b *bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.before != nil && b.before(w, r) {
		return
	}
	name, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if name != "backups" {
		refuse(w, http.StatusNotFound, "NoSuchBucket")
		return
	}
	if key == "" {
		var out listed
		q := r.URL.Query()
		for _, k := range slices.Sorted(maps.Keys(b.objects)) {
			if !strings.HasPrefix(k, q.Get("prefix")) || k <= q.Get("continuation-token") {
				continue
			}
			if len(out.Contents) == 2 {
				out.More, out.Next = true, out.Contents[1].Key
				break
			}
			o := b.objects[k]
			out.Contents = append(out.Contents, struct {
				Key          string
				LastModified time.Time
				ETag         string
				Size         int
			}{k, o.modified.UTC(), etag(o), len(o.body)})
		}
		_ = xml.NewEncoder(w).Encode(out)
		return
	}
	b.gets = append(b.gets, key+" "+r.Header.Get("Range"))
	o, ok := b.objects[key]
	switch {
	case !ok:
		refuse(w, http.StatusNotFound, "NoSuchKey")
	case r.Header.Get("If-Match") != "" && r.Header.Get("If-Match") != etag(o):
		refuse(w, http.StatusPreconditionFailed, "PreconditionFailed")
	default:
		w.Header().Set("ETag", etag(o))
		http.ServeContent(w, r, "", o.modified, bytes.NewReader(o.body))
	}
}

func etag(o object) string { return fmt.Sprintf(`"%x-%d"`, len(o.body), o.modified.UnixNano()) }

func refuse(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	fmt.Fprintf(w, "<Error><Code>%s</Code><Message>no</Message></Error>", code)
}

// put stores a backup that is so old.
func (b *bucket) put(key string, body []byte, age time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[key] = object{body, time.Now().Add(-age)}
}

func (b *bucket) asked() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.gets)
}

func newBucket(t *testing.T) (*bucket, Deps) {
	t.Helper()
	_, d := newAPI(t)
	b := &bucket{objects: map[string]object{}}
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	c, err := cloud.Open(t.Context(), cloud.Options{Endpoints: map[string]string{"us-east-1": srv.URL}, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	d.Cloud = c
	return b, d
}

func sqlDump(database string, rows int) string {
	return "-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB\n--\n-- Host: localhost    Database: " + database + "\n-- ------\n-- Server version\t10.11.19-MariaDB\n\nCREATE TABLE `a` (\n  `id` int\n);\n" +
		strings.Repeat("INSERT INTO `a` VALUES (1);\n", rows) + "-- Dump completed on 2026-11-28  3:05:12\n"
}

func gz(t *testing.T, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(s)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Of the backups that there are the newest counts that could be restored; what is wrong
// with newer ones is said, and with all of them.
func TestMariaDBBackup(t *testing.T) {
	whole := sqlDump("app", 40_000)
	for _, tt := range []struct {
		name    string
		put     func(t *testing.T, b *bucket, c *MariaDBBackupCheckConfig)
		probe   failover.Outcome // reads its ends
		check   Status           // reads all of it
		details []string         // of the check
	}{
		{"as it should be", nil, failover.OK, Pass, []string{"the newest backup in us-east-1 is app/3.sql: as of ", " or 3h0m0s ago, 1093 KiB, of MariaDB 10.11.19-MariaDB; read to its end: 1 tables of app, 1093 KiB uncompressed"}},
		{"nothing", func(_ *testing.T, b *bucket, _ *MariaDBBackupCheckConfig) {
			clear(b.objects)
			b.put("app/readme", nil, 0)
		}, failover.Failed, Fail, []string{"there is no backup under s3://backups/app/ in us-east-1 (1 other objects): it wants files that end with"}},
		{"all too old", func(_ *testing.T, _ *bucket, c *MariaDBBackupCheckConfig) {
			c.MaxAge = failover.Duration(150 * time.Minute)
		}, failover.Failed, Fail, []string{"app/3.sql, is 3h0m0s old, and may be 2h30m0s: has the backup of last night run"}},
		{"no bucket", func(_ *testing.T, _ *bucket, c *MariaDBBackupCheckConfig) { c.Bucket = "none" }, failover.Misconfigured, Unknown, []string{"NoSuchBucket"}},
		{"compressed", func(t *testing.T, b *bucket, _ *MariaDBBackupCheckConfig) {
			clear(b.objects)
			b.put("app/4.sql.gz", gz(t, whole), 0)
		}, failover.OK, Pass, []string{"app/4.sql.gz: as of", "read to its end: 1 tables of app, 1093 KiB uncompressed"}},
		{"compressed and cut off", func(t *testing.T, b *bucket, _ *MariaDBBackupCheckConfig) {
			f := gz(t, whole)
			clear(b.objects)
			b.put("app/4.sql.gz", f[:len(f)-20], 0)
		}, failover.OK, Fail, []string{"the 1 newest restore nothing; newer, but app/4.sql.gz restores nothing: it is damaged or cut off"}},
		{"cut off", func(_ *testing.T, b *bucket, _ *MariaDBBackupCheckConfig) {
			b.put("app/4.sql", []byte(whole[:len(whole)-50]), 0)
		}, failover.Slow, Pass,
			[]string{"the newest backup in us-east-1 is app/3.sql", `; newer, but app/4.sql restores nothing: it does not end with "-- Dump completed"`}},
		{"empty", func(_ *testing.T, b *bucket, _ *MariaDBBackupCheckConfig) {
			clear(b.objects)
			b.put("app/4.sql", nil, 0)
		}, failover.Failed, Fail, []string{"it does not begin as mariadb-dump begins a dump"}},
		{"rubbish", func(_ *testing.T, b *bucket, _ *MariaDBBackupCheckConfig) {
			b.put("app/4.sql", bytes.Repeat([]byte("rubbish\n"), 150_000), 0)
		}, failover.Slow, Pass, []string{"it does not begin as"}},
		{"shrunken", func(_ *testing.T, b *bucket, _ *MariaDBBackupCheckConfig) {
			b.put("app/4.sql", []byte(sqlDump("app", 10)), 0)
		}, failover.Slow, Pass, []string{"app/4.sql restores nothing: it has ", "less than 50 % of what is usual is not all of it"}},
		{"three that restore nothing", func(_ *testing.T, b *bucket, _ *MariaDBBackupCheckConfig) {
			for i := range 3 {
				b.put(fmt.Sprintf("app/%d.sql", 4+i), []byte(whole[:len(whole)-50]), 0)
			}
		}, failover.Failed, Fail, []string{"of 6 backups in us-east-1 the 3 newest restore nothing"}},
		{"another database", func(_ *testing.T, b *bucket, c *MariaDBBackupCheckConfig) { c.Databases = []string{"shop"} }, failover.Failed, Fail, []string{"it does not hold database shop, but app"}},
		{"the name knows better", func(_ *testing.T, b *bucket, _ *MariaDBBackupCheckConfig) {
			at := time.Now().Add(-5 * time.Hour)
			clear(b.objects)
			b.put("app/"+at.UTC().Format("2006-01-02T15-04")+".sql", []byte(whole), 0)
			b.put("app/copy-of-2020-01-01.sql", []byte(whole), 0)
		}, failover.OK, Pass, []string{"app/20", " or 5h"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, d := newBucket(t)
			for i := range 3 {
				b.put(fmt.Sprintf("app/%d.sql", 1+i), []byte(whole), time.Duration(4-i)*2*time.Hour-2*time.Hour)
			}
			c := &MariaDBBackupCheckConfig{MariaDBBackupConfig: MariaDBBackupConfig{Bucket: "backups", Prefix: "app/"}}
			if tt.put != nil {
				tt.put(t, b, c)
			}
			o := look(t, &c.MariaDBBackupConfig, d)
			if o.Outcome != tt.probe {
				t.Errorf("%s %q, want %s", o.Outcome, o.Detail, tt.probe)
			}
			if o.Outcome == failover.OK && o.LastWrite.IsZero() {
				t.Error("nothing says as of when it is")
			}
			for _, want := range tt.details {
				verify(t, mustCheck(t, c, d), tt.check, want)
			}
		})
	}
}

// Only the ends of a file are read by a probe, and those of an unchanged one once.
func TestMariaDBBackupReadsLittle(t *testing.T) {
	b, d := newBucket(t)
	b.put("app/1.sql", []byte(sqlDump("app", 400_000)), 0)
	p, err := (&MariaDBBackupConfig{Bucket: "backups", Prefix: "app/"}).New(d)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if o := p.Probe(t.Context()); o.Outcome != failover.OK {
			t.Fatalf("%s %s", o.Outcome, o.Detail)
		}
	}
	if got := b.asked(); !slices.Equal(got, []string{"app/1.sql bytes=0-262143", "app/1.sql bytes=-4096"}) {
		t.Errorf("read %q", got)
	}
}

// A long backup is read beside the looks of a check, each of which tells how far it is; a
// range that breaks off is asked for again from there, and one that was replaced is not
// read to its end.
func TestMariaDBBackupIsReadBesideTheLooks(t *testing.T) {
	b, d := newBucket(t)
	body := []byte(sqlDump("app", 7000)) // three ranges
	const part = 64 << 10
	b.put("app/1.sql", body, 0)
	d.Timeout = 300 * time.Millisecond
	goOn := make(chan struct{})
	broken := 0
	b.before = func(w http.ResponseWriter, r *http.Request) bool {
		from := 0
		if _, err := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-", &from); err != nil || from < part {
			return false
		}
		if broken++; broken == 1 { // it breaks off in its midst
			w.Header().Set("Content-Length", "10000")
			w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+9999, len(body)))
			w.WriteHeader(http.StatusPartialContent)
			_, _ = w.Write(body[from : from+5000])
			return true
		}
		b.mu.Unlock()
		select {
		case <-goOn:
		case <-r.Context().Done():
		}
		b.mu.Lock()
		return false
	}
	p, err := (&MariaDBBackupConfig{Bucket: "backups", Prefix: "app/"}).probe(d)
	if err != nil {
		t.Fatal(err)
	}
	p.all, p.place.Part = true, part
	c := mariaDBBackupCheck{p}
	verify(t, c, Unknown, "app/1.sql is being read to its end: 68 KiB of 191 KiB, ")
	verify(t, c, Unknown, " left")
	close(goOn)
	var f Finding
	for f = c.Check(t.Context()); f.Status == Unknown && strings.Contains(f.Detail, "is being read"); f = c.Check(t.Context()) {
	}
	if f.Status != Pass || !strings.Contains(f.Detail, "read to its end: 1 tables of app, 191 KiB") {
		t.Errorf("%+v", f)
	}
	again := 0
	for _, g := range b.asked() {
		if strings.HasPrefix(g, "app/1.sql bytes=70536-") {
			again++
		}
	}
	if again != 1 {
		t.Errorf("it does not go on where it broke off: %q", b.asked())
	}
	n := len(b.asked())
	verify(t, c, Pass, "read to its end")
	if len(b.asked()) != n {
		t.Error("it was read a second time")
	}
}

// A file that is put in another's place while that one is read is not taken for its rest.
func TestMariaDBBackupThatIsReplaced(t *testing.T) {
	b, d := newBucket(t)
	body := []byte(sqlDump("app", 7000))
	b.put("app/1.sql", body, 0)
	p, err := (&MariaDBBackupConfig{Bucket: "backups", Prefix: "app/"}).probe(d)
	if err != nil {
		t.Fatal(err)
	}
	p.all, p.place.Part = true, 64<<10
	b.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.Header.Get("Range"), "bytes=65536-") {
			b.objects["app/1.sql"] = object{body, time.Now().Add(time.Minute)}
		}
		return false
	}
	verify(t, mariaDBBackupCheck{p}, Unknown, "app/1.sql was replaced or deleted while it was looked at")
}

// Nobody looks any more: the reading ends.
func TestMariaDBBackupReadingEnds(t *testing.T) {
	b, d := newBucket(t)
	b.put("app/1.sql", []byte(sqlDump("app", 10)), 0)
	hang := make(chan struct{})
	defer close(hang)
	b.before = func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Header.Get("Range") == "" {
			return false
		}
		b.mu.Unlock()
		defer b.mu.Lock()
		select {
		case <-hang:
		case <-r.Context().Done():
		}
		return true
	}
	p, err := (&MariaDBBackupConfig{Bucket: "backups", Prefix: "app/"}).probe(d)
	if err != nil {
		t.Fatal(err)
	}
	p.all = true
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if o := p.Probe(ctx); o.Outcome != failover.NoResult || !strings.Contains(o.Detail, "is being read") {
		t.Fatalf("%s %s", o.Outcome, o.Detail)
	}
	p.now.alone.Reset(0)
	select {
	case <-p.now.ended:
	case <-t.Context().Done():
		t.Error("it goes on for ever")
	}
}

func TestMariaDBBackupConfig(t *testing.T) {
	of := func(c MariaDBBackupConfig) *MariaDBBackupCheckConfig {
		return &MariaDBBackupCheckConfig{MariaDBBackupConfig: c}
	}
	refused(t, map[string]*MariaDBBackupCheckConfig{
		"bucket: is missing":                  {},
		`bucket: "b/app" is no bucket's name`: of(MariaDBBackupConfig{Bucket: "b/app"}),
		`prefix: "/app" begins with a slash`:  of(MariaDBBackupConfig{Bucket: "b", Prefix: "/app"}),
		"min_size: 101 is not a share":        of(MariaDBBackupConfig{Bucket: "b", MinSize: 101}),
		`databases: "app" is listed twice`:    of(MariaDBBackupConfig{Bucket: "b", Databases: []string{"app", "app"}}),
		"max_age: -1ns is negative":           of(MariaDBBackupConfig{Bucket: "b", MaxAge: -1}),
		"takes: -1ns is negative":             of(MariaDBBackupConfig{Bucket: "b", Takes: -1}),
		"takes: 1h0m0s is not below max_age":  of(MariaDBBackupConfig{Bucket: "b", MaxAge: failover.Duration(time.Hour)}),
		"within: -1ns is negative":            {MariaDBBackupConfig: MariaDBBackupConfig{Bucket: "b"}, For: -1},
	})
	if s := (Spec{Kind: "mariadb_backup", Config: &MariaDBBackupConfig{}}); s.Plane() != failover.PlaneUpkeep {
		t.Error("it is no signal of upkeep")
	}
	if _, err := (&MariaDBBackupConfig{Bucket: "b"}).New(Deps{Region: "us-east-1"}); err == nil || !strings.Contains(err.Error(), "there are no AWS clients") {
		t.Errorf("without clients: %v", err)
	}
}
