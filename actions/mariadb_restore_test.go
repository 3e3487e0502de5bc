package actions

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/mariadbtest"
	"github.com/failoverd/failoverd/internal/restore"
	"github.com/failoverd/failoverd/internal/s3test"
)

func TestMain(m *testing.M) {
	if at := os.Getenv(commandCalls); at != "" {
		os.Exit(calledAsCommand(at))
	}
	mariadbtest.Main(m)
}

// fakeBackups is S3 with one bucket, "backups".
type fakeBackups struct {
	mu      sync.Mutex
	objects map[string][]byte
	put     map[string][]byte // what was uploaded, where it is not what is read: S3 keeps the checksum of that
	age     time.Duration
	hang    chan struct{} // while it is open no range but the first is answered; nil: all are
}

func (f *fakeBackups) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	objects, put, hang := maps.Clone(f.objects), maps.Clone(f.put), f.hang
	at := time.Now().Add(-f.age)
	f.mu.Unlock()
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if key == "" {
		listed := map[string]s3test.Object{}
		for i, k := range slices.Sorted(maps.Keys(objects)) {
			listed[k] = s3test.Object{ETag: `"1"`, Body: objects[k], At: at.Add(time.Duration(i) * time.Second)}
		}
		s3test.List(w, r, listed)
		return
	}
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("ETag", `"1"`)
	if text, ok := put[key]; ok && r.Method == http.MethodHead && r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" {
		w.Header().Set("X-Amz-Checksum-Crc64nvme", s3test.CRC64(text))
		w.Header().Set("X-Amz-Checksum-Type", "FULL_OBJECT")
	}
	http.ServeContent(w, r, "", at, bytes.NewReader(objects[key]))
}

// restorable is a server with something in the database app, a backup of another state of it, and the action.
func restorable(t *testing.T) (*mariadbtest.Server, *fakeBackups, *MariaDBRestoreConfig, Deps) {
	t.Helper()
	s := mariadbtest.Shared(t, "restore")
	s.Feed(t, "CREATE DATABASE app; CREATE TABLE app.a (x INT); INSERT INTO app.a VALUES (1), (2); CREATE VIEW app.v AS SELECT * FROM app.a")
	f := &fakeBackups{objects: map[string][]byte{"app/1.sql": s.Dumped(t, "--databases", "app")}, age: time.Hour}
	s.Feed(t, "DELETE FROM app.a; CREATE USER restorer@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT ALL ON `app`.* TO restorer@'127.0.0.1'; GRANT ALL ON `app\\_\\_re%`.* TO restorer@'127.0.0.1'; GRANT ALL ON failoverd.* TO restorer@'127.0.0.1'")
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d := testDeps(t, f)
	d.Epoch, d.Since = 2, time.Now().Add(time.Minute)
	return s, f, &MariaDBRestoreConfig{Bucket: "backups", Prefix: "app/", Servers: map[failover.Region]string{"us-east-2": s.Addr}, User: "restorer", PasswordFile: password, Databases: []string{"app"}}, d
}

func restorer(t *testing.T, c *MariaDBRestoreConfig, d Deps) *mariaDBRestore {
	t.Helper()
	if err := c.Validate(RoleStart); err != nil {
		t.Fatal(err)
	}
	a, err := c.New(d)
	if err != nil {
		t.Fatal(err)
	}
	x := a.(*mariaDBRestore)
	t.Cleanup(func() {
		if err := x.end(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return x
}

func rows(t *testing.T, s *mariadbtest.Server) string {
	t.Helper()
	return strings.TrimSpace(s.Feed(t, "SELECT COUNT(*) FROM app.v"))
}

func TestMariaDBRestore(t *testing.T) {
	s, f, c, d := restorable(t)
	x := restorer(t, c, d)
	before := inspect(t, x, Absent, "the newest backup for us-east-2 is app/1.sql as of ")
	if before.Lacks != "" || before.Token != 0 {
		t.Errorf("before: %+v", before)
	}
	var said []string
	late := attempt(10, before)
	late.Deadline = time.Now().Add(-time.Second)
	var refused *cloud.EffectDeadlineError
	if err := x.Do(cloud.WithEffectDeadline(t.Context(), late.Deadline), late); !errors.As(err, &refused) {
		t.Errorf("after its deadline Do gives %v", err)
	}
	a := attempt(11, before)
	a.Epoch, a.Progress = 2, func(line string) { said = append(said, line) }
	if err := x.Do(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	done := inspect(t, x, Present, "MariaDB in us-east-2 is restored from app/1.sql as of ")
	if rows(t, s) != "2" || done.Token != 11 || !strings.Contains(strings.Join(said, "\n"), "swapping 1 tables in") {
		t.Errorf("%s rows, %+v, said %q", rows(t, s), done, said)
	}
	// The next leader finds it done, also when the service has written and a newer backup is there; the next execution does not.
	s.Feed(t, "INSERT INTO app.a VALUES (3)")
	f.mu.Lock()
	f.objects["app/2.sql"] = f.objects["app/1.sql"]
	f.mu.Unlock()
	inspect(t, restorer(t, c, d), Present, "from app/1.sql")
	later := d
	later.Epoch = 3
	next := restorer(t, c, later)
	inspect(t, next, Absent, "the newest backup for us-east-2 is app/2.sql")
	do(t, x.Do, 12, done.Previous)
	if rows(t, s) != "3" {
		t.Errorf("done twice, it has lost what was written: %s rows", rows(t, s))
	}
	// A token that is not the newest changes nothing.
	do(t, next.Burn, 20, done.Previous)
	for what, call := range map[string]func(context.Context, Attempt) error{"Do": next.Do, "Undo": next.Undo, "Burn": next.Burn} {
		if err := call(t.Context(), attempt(19, done)); !errors.Is(err, ErrStaleToken) {
			t.Errorf("%s with a stale token: %v", what, err)
		}
	}
	if rows(t, s) != "3" {
		t.Errorf("%s rows", rows(t, s))
	}
	do(t, x.Undo, 21, before.Previous)
	if now := inspect(t, x, Absent, ""); rows(t, s) != "0" || !x.Restored(now, before.Previous) {
		t.Errorf("undone: %s rows, %+v", rows(t, s), now)
	}
}

// A restore that takes longer than a call goes on beside the looks, tells how far it is, and ends when nobody looks any more; the
// next one does not wait for it.
func TestMariaDBRestoreBesideTheLooks(t *testing.T) {
	s, f, c, d := restorable(t)
	x := restorer(t, c, d)
	f.hang = make(chan struct{})
	a := attempt(11, inspect(t, x, Absent, ""))
	a.Epoch, a.Deadline = 2, time.Now().Add(400*time.Millisecond)
	if err := x.Do(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); !strings.Contains(inspect(t, x, Partial, "").Detail, "reading app/1.sql"); <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not say how far it is")
		}
	}
	other := restorer(t, c, d)
	inspect(t, other, Partial, "a restore is at work on connection ")
	x.now.alone.Reset(0)
	select {
	case <-x.now.ended:
	case <-time.After(20 * time.Second):
		t.Fatal("it goes on for ever")
	}
	inspect(t, x, Absent, "nothing was restored: ")
	if err := x.Do(t.Context(), a); err != nil { // and is begun again
		t.Fatal(err)
	}
	becomes(t, other, Partial, "a restore is at work on connection ") // Do has not waited for that
	close(f.hang)
	b := attempt(12, inspect(t, other, Partial, ""))
	b.Epoch = 2
	if err := other.Do(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if rows(t, s) != "2" {
		t.Errorf("%s rows", rows(t, s))
	}
	<-x.now.ended
	if e := inspect(t, x, Present, ""); e.Token != 12 {
		t.Errorf("token %d", e.Token)
	}
}

// What would be refused is told beforehand, and by Do at once.
func TestMariaDBRestoreLacks(t *testing.T) {
	s, f, c, d := restorable(t)
	x := restorer(t, c, d)
	f.age = 50 * time.Hour
	before := inspect(t, x, Absent, "")
	if !strings.Contains(before.Lacks, `is 51h0m0s old, and may be 26h0m0s; bring a younger one, or put "old" into allow`) {
		t.Errorf("it lacks %q", before.Lacks)
	}
	err := x.Do(t.Context(), attempt(11, before))
	var refused *restore.RefusedError
	if !errors.As(err, &refused) {
		t.Errorf("Do gives %v", err)
	}
	f.age, f.objects = 0, map[string][]byte{"app/readme": nil}
	if e := inspect(t, restorer(t, c, d), Absent, ""); !strings.Contains(e.Lacks, "there is no backup under s3://backups/app/ (1 other objects)") {
		t.Errorf("it lacks %q", e.Lacks)
	}
	c.Servers = map[failover.Region]string{"us-east-2": "127.0.0.1:1"}
	if _, err := restorer(t, c, d).Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "asking MariaDB in us-east-2") {
		t.Errorf("without a server: %v", err)
	}
	if rows(t, s) != "0" {
		t.Errorf("%s rows", rows(t, s))
	}
}

// GitLab, 31 January 2017: the newest backup was no backup, and nobody knew. The newest one that is whole is restored, and the ones that
// were passed over are named, before it and afterwards; a server that is the other region's own is not touched.
func TestIncidentP7(t *testing.T) {
	s, f, c, d := restorable(t)
	c.MinSize = 1 // else size alone would tell
	whole, epoch := f.objects["app/1.sql"], uint64(100)
	cut := whole[:len(whole)-60]
	newer := bytes.Replace(whole, []byte("-- Server version\t10."), []byte("-- Server version\t99."), 1)
	flipped := gzipped(t, whole)
	flipped[len(flipped)/2] ^= 4
	at := bytes.Index(whole, []byte("VALUES\n(1)"))
	plain := bytes.Replace(whole, []byte("(1)"), []byte("(3)"), 1) // a bit of a number: nothing but a checksum tells
	if at < 0 || bytes.Equal(plain, whole) {
		t.Fatalf("%s", whole)
	}
	for name, tt := range map[string]struct {
		objects map[string][]byte
		before  string // what is said beforehand, as far as its beginning and end tell
		note    string // what is said of it afterwards
		refused string // "" restores
	}{
		"cut off":                     {map[string][]byte{"app/2.sql": cut}, "is app/1.sql as of ", `passed over: the backup app/2.sql restores nothing: it does not end with "-- Dump completed"`, ""},
		"empty":                       {map[string][]byte{"app/2.sql": nil}, "is app/1.sql as of ", "passed over: the backup app/2.sql restores nothing: it ", ""},
		"two of them":                 {map[string][]byte{"app/2.sql": cut, "app/3.sql": cut}, "is app/1.sql as of ", "passed over: the backup app/2.sql restores nothing: it ", ""},
		"a bit flipped":               {map[string][]byte{"app/2.sql.gz": flipped}, "is app/2.sql.gz as of ", "passed over: the backup app/2.sql.gz restores nothing: it is damaged", ""},
		"a bit of plain text flipped": {map[string][]byte{"app/2.sql": plain}, "is app/2.sql as of ", "passed over: the backup app/2.sql restores nothing: it is damaged or cut off: its CRC64NVME is ", ""},
		"of a newer server":           {map[string][]byte{"app/2.sql": newer}, "is app/2.sql as of ", "passed over: the backup app/2.sql is of MariaDB 99.", ""},
		"all that may count":          {map[string][]byte{"app/1.sql": cut, "app/2.sql": nil, "app/3.sql": newer}, "is app/3.sql as of ", "", "app/3.sql is of MariaDB 99."},
		"more than are looked":        {map[string][]byte{"app/2.sql": cut, "app/3.sql": cut, "app/4.sql": cut}, "; the backup app/2.sql restores nothing", "", "the backup app/2.sql restores nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			epoch++ // one restore an epoch
			d := d
			d.Epoch = epoch
			f.mu.Lock()
			f.objects, f.put = map[string][]byte{"app/1.sql": whole}, nil
			if name == "a bit of plain text flipped" {
				f.put = map[string][]byte{"app/2.sql": whole}
			}
			maps.Copy(f.objects, tt.objects)
			f.mu.Unlock()
			s.Feed(t, "DELETE FROM app.a")
			x := restorer(t, c, d)
			before := inspect(t, x, Absent, tt.before)
			a := attempt(d.Epoch, before)
			a.Epoch, a.Deadline = d.Epoch, time.Now().Add(time.Minute)
			err := x.Do(t.Context(), a)
			if tt.refused != "" {
				if err == nil || !strings.Contains(err.Error(), tt.refused) || rows(t, s) != "0" {
					t.Errorf("%v, and %s rows; want %q", err, rows(t, s), tt.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if done := inspect(t, x, Present, "is restored from app/1.sql as of "); !strings.Contains(done.Detail, tt.note) || rows(t, s) != "2" {
				t.Errorf("%s rows; %s", rows(t, s), done.Detail)
			}
		})
	}
	// The two addresses lead to one server: it is the original.
	c.Servers["us-east-1"] = strings.Replace(s.Addr, "127.0.0.1", "localhost", 1)
	s.Feed(t, "CREATE USER restorer@'localhost' IDENTIFIED BY 'secret'")
	f.objects = map[string][]byte{"app/1.sql": whole}
	d.Epoch = 1000
	x := restorer(t, c, d)
	a := attempt(1000, inspect(t, x, Absent, ""))
	a.Epoch = 1000
	if err := x.Do(t.Context(), a); err == nil || !strings.Contains(err.Error(), "are the same server") {
		t.Errorf("the original was restored over: %v", err)
	}
}

func gzipped(t *testing.T, text []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestMariaDBRestoreConfig(t *testing.T) {
	good := func() *MariaDBRestoreConfig {
		return &MariaDBRestoreConfig{Bucket: "b-{region}", Servers: map[failover.Region]string{"us-east-1": "a:3306", "us-east-2": "b:3306"}, User: "u", PasswordFile: "/p", Databases: []string{"app"}}
	}
	if err := good().Validate(RoleStart); err != nil {
		t.Fatal(err)
	}
	for want, set := range map[string]func(c *MariaDBRestoreConfig){
		`bucket: "" is no bucket's name`:                         func(c *MariaDBRestoreConfig) { c.Bucket = "" },
		`prefix: "/x" begins with a slash`:                       func(c *MariaDBRestoreConfig) { c.Prefix = "/x" },
		"servers: is missing":                                    func(c *MariaDBRestoreConfig) { c.Servers = nil },
		`servers: "a" of us-east-1 is not "host:port"`:           func(c *MariaDBRestoreConfig) { c.Servers["us-east-1"] = "a" },
		`servers: "b:3306" is named for us-east-1 and for us-ea`: func(c *MariaDBRestoreConfig) { c.Servers["us-east-1"] = "b:3306" },
		"user: is missing":                                       func(c *MariaDBRestoreConfig) { c.User = "" },
		`password_file: "p" is not an absolute path`:             func(c *MariaDBRestoreConfig) { c.PasswordFile = "p" },
		`ca_file: "p" is not an absolute path`:                   func(c *MariaDBRestoreConfig) { c.CAFile = "p" },
		"databases: is missing":                                  func(c *MariaDBRestoreConfig) { c.Databases = nil },
		`databases: "app" is listed twice`:                       func(c *MariaDBRestoreConfig) { c.Databases = []string{"app", "app"} },
		`databases: "mysql" is no database to restore`:           func(c *MariaDBRestoreConfig) { c.Databases = []string{"mysql"} },
		"min_size: 101 is not a share":                           func(c *MariaDBRestoreConfig) { c.MinSize = 101 },
		"max_age: -1ns is negative":                              func(c *MariaDBRestoreConfig) { c.MaxAge = -1 },
		"takes: -1ns is negative":                                func(c *MariaDBRestoreConfig) { c.Takes = -1 },
		`allow: "all" is none of [old small`:                     func(c *MariaDBRestoreConfig) { c.Allow = []restore.Override{"all"} },
	} {
		c := good()
		set(c)
		if err := c.Validate(RoleStart); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	for _, role := range []Role{RoleStop, RoleSwitch} {
		if err := good().Validate(role); err == nil {
			t.Errorf("it may stand under %s", role)
		}
	}
	if got := fmt.Sprint((&MariaDBRestoreConfig{Bucket: "b", Servers: good().Servers}).needs("us-east-2")); got != "[S3 in us-east-2 MariaDB at b:3306 in us-east-2]" {
		t.Errorf("it needs %s", got)
	}
}

// A drill restores beside what is live, and the step is as it was.
func TestMariaDBDrill(t *testing.T) {
	s, f, c, d := restorable(t)
	x := restorer(t, c, d)
	before := inspect(t, x, Absent, "it is not restored")
	s.Feed(t, "INSERT INTO app.a VALUES (7)")
	var said []string
	out, err := x.Drill(t.Context(), func(line string) { said = append(said, line) })
	if err != nil || out.Took <= 0 || !strings.Contains(out.Detail, "app/1.sql as of ") || !strings.Contains(out.Detail, "1 tables") || !strings.Contains(strings.Join(said, "\n"), "rehearsing") {
		t.Errorf("%+v, %v, said %q", out, err, said)
	}
	if after := inspect(t, x, Absent, "it is not restored"); rows(t, s) != "1" || after.Token != before.Token {
		t.Errorf("%s rows, %+v: a drill has changed something", rows(t, s), after)
	}
	f.mu.Lock()
	f.objects = nil
	f.mu.Unlock()
	if _, err := x.Drill(t.Context(), func(string) {}); err == nil || !strings.Contains(err.Error(), "there is no backup") {
		t.Errorf("without a backup: %v", err)
	}
}
