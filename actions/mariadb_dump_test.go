package actions

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/mariadbtest"
	"github.com/failoverd/failoverd/internal/restore"
	"github.com/failoverd/failoverd/internal/s3test"
)

// home is a switchover from us-east-1, whose server has what was written there last, to us-east-2, whose bucket has older backups.
type home struct {
	left, entered *mariadbtest.Server
	bucket        *s3test.Bucket
	cfg           *MariaDBRestoreConfig
	deps          Deps
	begun         []uint64 // the tokens of the dump's attempts, as the log has them
	failed        bool     // the newest of them is known to have failed
}

func goingHome(t *testing.T) *home {
	t.Helper()
	const grants = "CREATE USER restorer@'127.0.0.1' IDENTIFIED BY 'secret'; GRANT ALL ON `app`.* TO restorer@'127.0.0.1'; GRANT ALL ON `app\\_\\_re%`.* TO restorer@'127.0.0.1'; GRANT ALL ON failoverd.* TO restorer@'127.0.0.1';"
	h := &home{left: mariadbtest.Shared(t, "left"), entered: mariadbtest.Shared(t, "restore"), bucket: &s3test.Bucket{}}
	h.entered.Feed(t, "CREATE DATABASE app; CREATE TABLE app.a (x INT); INSERT INTO app.a VALUES (1); CREATE VIEW app.v AS SELECT * FROM app.a;"+grants)
	h.left.Feed(t, "CREATE DATABASE app; CREATE TABLE app.a (x INT); INSERT INTO app.a SELECT seq FROM mysql.seq_1_to_7; CREATE VIEW app.v AS SELECT * FROM app.a; CREATE PROCEDURE app.p() SELECT 1;"+grants+"GRANT SELECT ON mysql.proc TO restorer@'127.0.0.1'; GRANT PROCESS ON *.* TO restorer@'127.0.0.1'; DO SLEEP(1.1)")
	old := h.entered.Dumped(t, "--databases", "app")
	for _, key := range []string{"app/2026-11-28.sql", "app/failoverd-e1-t900-20261128T101010.sql", "app/z.sql"} { // the newest, and one of an earlier epoch
		h.bucket.Put(key, s3test.Object{ETag: `"1"`, Body: old, At: time.Now()})
	}
	password := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(password, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.cfg = &MariaDBRestoreConfig{
		Bucket: "backups", Prefix: "app/", Servers: map[failover.Region]string{"us-east-1": h.left.Addr, "us-east-2": h.entered.Addr}, User: "restorer",
		PasswordFile: password, Databases: []string{"app"}, Fresh: &MariaDBFreshConfig{},
	}
	h.deps = testDeps(t, h.bucket)
	h.deps.Epoch, h.deps.Since = 2, time.Now().Add(time.Minute)
	h.deps.Begun = func(step failover.StepID) ([]uint64, bool) {
		if step != "dump-mariadb" {
			t.Errorf("asked for the attempts of %s", step)
		}
		return slices.Clone(h.begun), h.failed
	}
	return h
}

// begins is what the log says before an attempt of the dump.
func (h *home) begins(token uint64) { h.begun, h.failed = append(h.begun, token), false }

// steps are the two of a leader.
func (h *home) steps(t *testing.T) (*mariaDBDump, *mariaDBRestore) {
	t.Helper()
	if err := h.cfg.Validate(RoleStart); err != nil {
		t.Fatal(err)
	}
	d, r := h.cfg.Bringing()
	dumped, err := built(d, h.deps, "dump-mariadb")
	if err != nil {
		t.Fatal(err)
	}
	restored, err := built(r, h.deps, "start-mariadb")
	if err != nil {
		t.Fatal(err)
	}
	x, y := dumped.(*mariaDBDump), restored.(*mariaDBRestore)
	t.Cleanup(func() {
		if err := errors.Join(x.now.end(context.Background()), y.end(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return x, y
}

// built makes an action as a plan does: by way of its parameters.
func built(c Config, d Deps, step failover.StepID) (Action, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	d.Step = step
	return Build(KindName(c), c.Version(), b, d)
}

// fresh are the keys of the dumps that lie there, of the epoch.
func (h *home) fresh() (keys []string) {
	for key := range h.bucket.Objects() {
		if strings.HasPrefix(key, "app/failoverd-e2-") {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// A switchover takes along what was written last: it is dumped, and that dump is restored and no older backup; another leader finds it
// done, and goes on with the same one.
func TestMariaDBDump(t *testing.T) {
	h := goingHome(t)
	dump, start := h.steps(t)
	before := inspect(t, dump, Absent, "MariaDB in us-east-1 is not dumped")
	if before.Lacks != "" || len(before.Previous) == 0 {
		t.Errorf("%+v", before)
	}
	if e := inspect(t, start, Absent, "no dump that this switchover has taken lies under s3://backups/app/"); e.Lacks != "" {
		t.Errorf("on a quiet day it lacks %q", e.Lacks)
	}
	var said []string
	a := attempt(11, before)
	a.Progress = func(line string) { said = append(said, line) }
	h.begins(11)
	if err := dump.Do(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	e := inspect(t, dump, Present, "app in us-east-1 is dumped as of ")
	keys := h.fresh()
	if len(keys) != 1 || !strings.HasPrefix(keys[0], "app/failoverd-e2-t11-2") || !strings.HasSuffix(keys[0], ".sql.zst") || len(said) < 2 || len(h.bucket.Uploads.Open()) > 0 {
		t.Fatalf("%q lies there, %q was said", keys, said)
	}
	var found freshFound
	if err := json.Unmarshal(e.Previous, &found); err != nil || found.Key != keys[0] || found.ETag != h.bucket.Objects()[keys[0]].ETag {
		t.Errorf("%+v, %v", found, err)
	}
	*dump.said = "careful"
	inspect(t, dump, Present, "; mariadb-dump said: careful")
	other, otherStart := h.steps(t)
	inspect(t, other, Present, keys[0])
	begun := inspect(t, otherStart, Absent, keys[0])
	if !strings.Contains(string(begun.Previous), keys[0]) {
		t.Errorf("the log keeps %s", begun.Previous)
	}
	if err := start.Do(t.Context(), attempt(12, begun)); err != nil {
		t.Fatal(err)
	}
	inspect(t, start, Present, "is restored from "+keys[0])
	if rows(t, h.entered) != "7" {
		t.Errorf("%s rows", rows(t, h.entered))
	}
	if err := dump.Undo(t.Context(), attempt(13, before)); err != nil || !dump.Restored(e, before.Previous) || len(h.fresh()) != 1 {
		t.Errorf("undone: %v, %v", err, h.fresh())
	}
	if o, err := start.options(t.Context(), Attempt{Epoch: 2}); err != nil || o.MaxAge != 0 || o.File.Key != keys[0] || len(o.Older) != 0 {
		t.Errorf("%+v, %v", o, err)
	}
}

// What looks like a dump of this switchover and is none is neither found nor restored: of another cluster whose epochs and tokens are the same,
// of an earlier execution, or of a day on which nothing is under way.
func TestMariaDBDumpIsItsOwn(t *testing.T) {
	h := goingHome(t)
	old := h.bucket.Objects()["app/z.sql"]
	now := h.deps.Since.UTC().Format(freshTime)
	h.bucket.Put("app/failoverd-e2-t5000-"+now+".sql", old)        // another component's, or another cluster's
	h.bucket.Put("app/failoverd-e2-t11-20250101T000000.sql", old)  // of a cluster that was there before, with the same token
	h.bucket.Put("app/failoverd-e2-t12-20250101T000000.sql", old)  // likewise, with that of a later attempt
	h.bucket.Put("app/failoverd-e1-t11-"+now+".sql", old)          // of an earlier epoch
	h.bucket.Put("app/failoverd-e2-t011-20250101T000000.sql", old) // of nobody
	theirs := len(h.fresh())
	dump, start := h.steps(t)
	before := inspect(t, dump, Absent, "MariaDB in us-east-1 is not dumped")
	inspect(t, start, Absent, "no dump that this switchover has taken")
	h.begins(11)
	do(t, dump.Do, 11, before.Previous)
	ours := ""
	for _, key := range h.fresh() {
		if strings.HasSuffix(key, ".zst") {
			ours = key
		}
	}
	if ours == "" || len(h.fresh()) != theirs+1 {
		t.Fatalf("%q", h.fresh())
	}
	inspect(t, dump, Present, ours)
	if err := start.Do(t.Context(), attempt(13, inspect(t, start, Absent, ours))); err != nil || rows(t, h.entered) != "7" {
		t.Errorf("%v, %s rows", err, rows(t, h.entered))
	}
	// Named by somebody, it is an old backup like any other.
	start.Allow(nil, "app/failoverd-e2-t12-20250101T000000.sql")
	if o, err := start.options(t.Context(), Attempt{Epoch: 2}); err != nil || o.MaxAge == 0 {
		t.Errorf("%+v, %v", o, err)
	}
	// On a quiet day there is no dump, and what the next one lacks is told.
	h.deps.Since, h.begun = time.Time{}, nil
	h.cfg.Fresh.Program = "mariadb-dump-9"
	quiet, _ := h.steps(t)
	if e := inspect(t, quiet, Absent, "is not dumped"); !strings.Contains(e.Lacks, "the program that dumps is not on this node") {
		t.Errorf("%+v", e)
	}
}

// Uploads that are open are given up by the next attempt only where they are this switchover's.
func TestMariaDBDumpLeavesOthersUploads(t *testing.T) {
	h := goingHome(t)
	other, _ := h.steps(t)
	for _, name := range []string{"app/failoverd-e2-t11-20260101T000000.sql", "app/failoverd-e2-t5000-20260101T000000.sql"} {
		if _, err := other.place.Client.CreateMultipartUpload(cloud.WithEffectDeadline(t.Context(), time.Now().Add(time.Minute)), &s3.CreateMultipartUploadInput{Bucket: &other.place.Bucket, Key: &name}); err != nil {
			t.Fatal(err)
		}
	}
	dump, _ := h.steps(t)
	h.begins(11)
	h.begins(12)
	do(t, dump.Do, 12, inspect(t, dump, Absent, "").Previous)
	if open := h.bucket.Uploads.Open(); len(open) != 1 || !strings.Contains(open[0], "-t5000-") {
		t.Errorf("open are %q", open)
	}
}

// An older backup is restored only when somebody says so, whatever kept the dump from being made.
func TestMariaDBDumpNothingOlder(t *testing.T) {
	h := goingHome(t)
	dump, start := h.steps(t)
	full := func(op string, _ *http.Request) (int, string) {
		if op == "UploadPart" {
			return http.StatusInsufficientStorage, "QuotaExceeded"
		}
		return 0, ""
	}
	h.bucket.Feel(full)
	h.begins(11)
	err := dump.Do(t.Context(), attempt(11, inspect(t, dump, Absent, "")))
	if err == nil || !strings.Contains(err.Error(), "QuotaExceeded") || !strings.Contains(err.Error(), "`failoverd retry start-mariadb --allow backup --why …`") {
		t.Errorf("a full bucket: %v", err)
	}
	if e := inspect(t, dump, Absent, "nothing was dumped: "); e.Over == "" || len(h.fresh()) > 0 || len(h.bucket.Uploads.Open()) > 0 {
		t.Errorf("%+v; it leaves %q and the uploads %q", e, h.fresh(), h.bucket.Uploads.Open())
	}
	h.bucket.Feel(nil)
	before := inspect(t, start, Absent, "no dump that this switchover has taken")
	for n, err := range []error{start.Do(t.Context(), attempt(12, before)), start.Do(t.Context(), attempt(13, before))} {
		if err == nil || !strings.Contains(err.Error(), "older backups are not restored in its place unless somebody says so") || rows(t, h.entered) != "1" {
			t.Errorf("%d: %v, %s rows", n, err, rows(t, h.entered))
		}
	}
	start.Allow(nil, "app/2026-11-28.sql")
	if o, err := start.options(t.Context(), Attempt{Epoch: 2}); err != nil || o.File.Key != "app/2026-11-28.sql" || o.MaxAge == 0 {
		t.Errorf("a key: %+v, %v", o.File, err)
	}
	start.Allow([]string{"backup"}, "")
	h.entered.Feed(t, "DELETE FROM app.a")
	if err := start.Do(t.Context(), attempt(14, inspect(t, start, Absent, "the newest backup for us-east-2 is app/z.sql"))); err != nil || rows(t, h.entered) != "1" {
		t.Errorf("allowed: %v, %s rows", err, rows(t, h.entered))
	}
	if got := start.cfg.Overrides(); !slices.Contains(got, "backup") || slices.Contains(h.cfg.Overrides(), "backup") {
		t.Errorf("%q, and in a failover %q", got, h.cfg.Overrides())
	}
}

// The attempt restores the dump with which it began, and none that was put in its place.
func TestMariaDBDumpIsTheOneThatTheLogNames(t *testing.T) {
	h := goingHome(t)
	dump, start := h.steps(t)
	h.begins(11)
	do(t, dump.Do, 11, inspect(t, dump, Absent, "").Previous)
	before := inspect(t, start, Absent, h.fresh()[0])
	o := h.bucket.Objects()[h.fresh()[0]]
	o.ETag = `"other"`
	h.bucket.Put(h.fresh()[0], o)
	if err := start.Do(t.Context(), attempt(12, before)); err == nil || !strings.Contains(err.Error(), "the first attempt began with "+h.fresh()[0]) || rows(t, h.entered) != "1" {
		t.Errorf("%v, %s rows", err, rows(t, h.entered))
	}
}

// So does another leader that goes on with it, whatever it finds at the server.
func TestMariaDBDumpIsTheOneThatTheFirstLeaderBegan(t *testing.T) {
	h := goingHome(t)
	dump, start := h.steps(t)
	h.begins(11)
	do(t, dump.Do, 11, inspect(t, dump, Absent, "").Previous)
	key := h.fresh()[0]
	began := inspect(t, start, Absent, key).Previous
	earlier := json.RawMessage(`{"fresh":{"key":"app/failoverd-e1-t900-20261128T101010.sql","etag":"x"}}`)
	h.deps.Past = []failover.StepRecord{{Attempts: []failover.AttemptRecord{{Previous: earlier}}}, {Attempts: []failover.AttemptRecord{{Previous: began}}}}
	_, other := h.steps(t)
	o := h.bucket.Objects()[key]
	o.ETag = `"other"`
	h.bucket.Put(key, o)
	if e := inspect(t, other, Absent, ""); string(e.Previous) != string(began) {
		t.Errorf("the log keeps %s, and began with %s", e.Previous, began)
	}
	// As of one that finds half of it, whose look says nothing of the dump.
	if err := other.Do(t.Context(), attempt(13, Effect{Previous: json.RawMessage(`{}`)})); err == nil || !strings.Contains(err.Error(), "the first attempt began with "+key) || rows(t, h.entered) != "1" {
		t.Errorf("%v, %s rows", err, rows(t, h.entered))
	}
	other.Allow(nil, key)
	if err := other.Do(t.Context(), attempt(14, Effect{Previous: json.RawMessage(`{}`)})); err != nil && strings.Contains(err.Error(), "the first attempt began with") {
		t.Errorf("named by somebody: %v", err)
	}
}

// Who dies, is stopped or forgotten in mid-dump leaves no half of one; the next leader makes its own, and what the earlier one had
// begun cannot be completed any more.
func TestMariaDBDumpChangesHands(t *testing.T) {
	h := goingHome(t)
	hangs := make(chan struct{})
	var hung sync.Once
	reached := make(chan struct{})
	h.bucket.Feel(func(op string, r *http.Request) (int, string) {
		if op == "UploadPart" && strings.Contains(r.URL.Path, "-t11-") {
			hung.Do(func() { close(reached) })
			select {
			case <-hangs:
			case <-r.Context().Done():
			}
		}
		return 0, ""
	})
	first, _ := h.steps(t)
	a := attempt(11, inspect(t, first, Absent, ""))
	h.begins(11)
	a.Deadline = time.Now().Add(400 * time.Millisecond)
	if err := first.Do(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	<-reached
	inspect(t, first, Partial, "dump")
	second, start := h.steps(t)
	before := inspect(t, second, Absent, "")
	h.begins(12)
	do(t, second.Do, 12, before.Previous)
	close(hangs)
	<-first.now.ended
	if keys := h.fresh(); len(keys) != 1 || !strings.Contains(keys[0], "-t12-") || len(h.bucket.Uploads.Open()) > 0 || first.now.err == nil {
		t.Errorf("%q lies there, open are %q; the first: %v", keys, h.bucket.Uploads.Open(), first.now.err)
	}
	inspect(t, start, Absent, "-t12-")

	t.Run("nobody looks any more", func(t *testing.T) {
		h.deps.Epoch, h.begun = 3, []uint64{21}
		third, _ := h.steps(t)
		h.bucket.Feel(func(op string, r *http.Request) (int, string) {
			if op == "UploadPart" {
				_, _ = io.Copy(io.Discard, r.Body) // a server notices only then that its client is gone
				<-r.Context().Done()
			}
			return 0, ""
		})
		a := attempt(21, inspect(t, third, Absent, ""))
		a.Epoch, a.Deadline = 3, time.Now().Add(400*time.Millisecond)
		if err := third.Do(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		third.now.alone.Reset(0)
		select {
		case <-third.now.ended:
		case <-time.After(20 * time.Second):
			t.Fatal("it goes on for ever")
		}
		if open := h.bucket.Uploads.Open(); len(open) > 0 {
			t.Errorf("it leaves the uploads %q", open)
		}
	})
	t.Run("stopped", func(t *testing.T) {
		// As a process that was stopped wakes up: the timer has not gone off yet, and nobody has looked for long.
		h.deps.Epoch, h.begun = 4, []uint64{31}
		fourth, _ := h.steps(t)
		reached, goes := make(chan struct{}), make(chan struct{})
		h.bucket.Feel(func(op string, _ *http.Request) (int, string) {
			if op == "UploadPart" {
				close(reached)
				<-goes
			}
			return 0, ""
		})
		a := attempt(31, inspect(t, fourth, Absent, ""))
		a.Epoch, a.Deadline = 4, time.Now().Add(400*time.Millisecond)
		if err := fourth.Do(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		<-reached
		fourth.now.seen.Store(time.Now().Add(-time.Second).UnixNano())
		close(goes)
		<-fourth.now.ended
		err := fourth.now.err
		if late, ok := errors.AsType[*cloud.EffectDeadlineError](err); !ok || late.Call != "S3 CompleteMultipartUpload" {
			t.Errorf("%v", err)
		}
		for key := range h.bucket.Objects() {
			if strings.Contains(key, "-t31-") {
				t.Errorf("%s lies there", key)
			}
		}
	})
}

// What would be in the way is told on a quiet day.
func TestMariaDBDumpLacks(t *testing.T) {
	h := goingHome(t)
	lacks := func(want string) {
		t.Helper()
		x, _ := h.steps(t)
		if e := inspect(t, x, Absent, ""); !strings.Contains(e.Lacks, want) {
			t.Errorf("it lacks %q, want %q", e.Lacks, want)
		}
	}
	h.cfg.Fresh.Program = "mariadb-dump-9"
	lacks("the program that dumps is not on this node")
	h.cfg.Fresh.Program = ""
	h.left.Feed(t, "REVOKE SELECT ON mysql.proc FROM restorer@'127.0.0.1'")
	lacks("GRANT SELECT ON mysql.proc TO 'restorer'@'127.0.0.1'")
	h.left.Feed(t, "GRANT SELECT ON mysql.proc TO restorer@'127.0.0.1'; CREATE TABLE app.old (x INT) WITH SYSTEM VERSIONING")
	lacks("keep a history (WITH SYSTEM VERSIONING), which a dump does not bring, so that it is refused: app.old")
	h.cfg.Servers["us-east-1"] = "127.0.0.1:1"
	lacks("MariaDB in us-east-1 cannot be dumped: ")
	x, _ := h.steps(t)
	if err := x.Do(t.Context(), attempt(11, inspect(t, x, Absent, ""))); err == nil || !strings.Contains(err.Error(), "127.0.0.1:1") {
		t.Errorf("Do gives %v", err)
	}
	late := attempt(12, inspect(t, x, Absent, ""))
	late.Deadline = time.Now().Add(-time.Second)
	if err := x.Do(cloud.WithEffectDeadline(t.Context(), late.Deadline), late); err == nil {
		t.Error("it begins after its deadline")
	} else if _, ok := errors.AsType[*cloud.EffectDeadlineError](err); !ok {
		t.Errorf("after its deadline Do gives %v", err)
	}
}

// What the configuration allows is for the server that is restored into: at the one that is left nothing is lifted but by people, in mid-plan.
func TestMariaDBDumpAllowsNothingByItself(t *testing.T) {
	h := goingHome(t)
	h.cfg.Allow = []restore.Override{restore.AllowRows, restore.AllowReplica}
	h.left.Feed(t, "GRANT SLAVE MONITOR ON *.* TO restorer@'127.0.0.1'; CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT=1, MASTER_USER='x'; DO SLEEP(1.1)")
	defer h.left.Feed(t, "RESET SLAVE ALL")
	dump, start := h.steps(t)
	before := inspect(t, dump, Absent, "")
	h.begins(11)
	if err := dump.Do(t.Context(), attempt(11, before)); err == nil || !strings.Contains(err.Error(), "replicates from 127.0.0.1") || len(h.fresh()) > 0 {
		t.Errorf("as it is made: %v", err)
	}
	dump.Allow([]string{"rows"}, "")
	h.begins(12)
	if err := dump.Do(t.Context(), attempt(12, before)); err == nil || !strings.Contains(err.Error(), "--allow replica") || len(h.fresh()) > 0 {
		t.Errorf("with another allowance: %v", err)
	}
	dump.Allow([]string{"replica"}, "")
	if err := dump.Do(t.Context(), attempt(12, before)); err != nil || len(h.fresh()) != 1 {
		t.Errorf("allowed: %v", err)
	}
	if !slices.Equal(start.allow, h.cfg.Allow) {
		t.Errorf("the restore is allowed %q", start.allow)
	}
}

func TestMariaDBDumpConfig(t *testing.T) {
	c := &MariaDBRestoreConfig{Bucket: "b-{region}", Servers: map[failover.Region]string{"us-east-1": "a:3306", "us-east-2": "b:3306"}, User: "u", PasswordFile: "/p", Databases: []string{"app"}, Fresh: &MariaDBFreshConfig{}}
	if err := c.Validate(RoleStart); err != nil {
		t.Fatal(err)
	}
	c.Key = "app/old.sql"
	if err := c.Validate(RoleStart); err == nil || !strings.HasPrefix(err.Error(), `key: "app/old.sql" would be restored in a switchover as well, and not the dump that fresh takes`) {
		t.Error(err)
	}
	c.Key = ""
	c.Fresh.Compress = "lzma"
	if err := c.Validate(RoleStart); err == nil || !strings.HasPrefix(err.Error(), `fresh.compress: "lzma" is none of ["gzip" "none" "zstd"]`) {
		t.Error(err)
	}
	c.Fresh.Compress = "gzip"
	do, _ := (&MariaDBDumpConfig{*c}).byHand("us-east-2", nil)
	if text := strings.Join(do, "\n"); !strings.Contains(text, "mariadb-dump --host=a --port=3306 ") || !strings.Contains(text, "aws s3 cp --region us-east-2 fresh.sql ") || strings.Contains(text, "--host=b") || !strings.Contains(text, "`failoverd retry start-COMPONENT --key KEY --why …`") {
		t.Errorf("by hand:\n%s", text)
	}
	delete(c.Servers, "us-east-1")
	if err := c.Validate(RoleStart); err == nil || !strings.HasPrefix(err.Error(), "fresh: servers has to name the servers of both regions") {
		t.Error(err)
	}
	for _, role := range []Role{RoleStart, RoleStop, RoleSwitch} {
		if err := (&MariaDBDumpConfig{*c}).Validate(role); err == nil || !strings.Contains(err.Error(), "stands nowhere by itself") {
			t.Errorf("as %s: %v", role, err)
		}
	}
	c.Fresh = nil
	if dump, start := c.Bringing(); dump != nil || start != nil {
		t.Errorf("%v, %v", dump, start)
	}
	if got := restore.Compressions["zstd"]; got != ".sql.zst" {
		t.Errorf("zstd ends with %s", got)
	}
}
