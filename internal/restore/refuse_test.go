package restore

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// What restores nothing, or not what it should, is refused before anything live is touched, and it is said how it would go.
func TestRefuses(t *testing.T) {
	s := server(t)
	text, before, after, _ := small(t, s)
	other := bytes.ReplaceAll(text, []byte("`app`"), []byte("`shop`"))
	gz := zipped(t, text)
	flipped := bytes.Clone(gz)
	flipped[len(flipped)/2] ^= 4
	replaced := func(old, by string) []byte {
		out := bytes.Replace(text, []byte(old), []byte(by), 1)
		if bytes.Equal(out, text) {
			t.Fatalf("%q is not in the dump", old)
		}
		return out
	}
	for _, tt := range []struct {
		name string
		file []byte
		set  func(o *Options)
		want string // "" restores
		lift Override
	}{
		{"cut off", text[:len(text)-60], nil, `it does not end with "-- Dump completed"`, ""},
		{"cut off in a statement", text[:len(text)/2], nil, `restores nothing: it does not end with "-- Dump completed"`, ""},
		{"compressed and cut off", gz[:len(gz)-9], nil, "it is damaged or cut off", ""},
		{"a bit flipped", flipped, nil, "restores nothing: it is damaged", ""},
		{"empty", nil, nil, "it is empty", ""},
		{"rubbish", bytes.Repeat([]byte("rubbish\n"), 1000), nil, "restores nothing: ", ""},
		{"of another database", other, nil, "holds the databases app, shop, and app was to be restored; name in databases all", ""},
		{"of one more", bytes.Replace(text, []byte("-- Dump completed"), []byte("CREATE DATABASE `more`;\nUSE `more`;\n--\n-- Current Database: `more`\n--\n-- Dump completed"), 1), nil, "holds the databases app, more", ""},
		{"nine days old", text, func(o *Options) { o.MaxAge, o.File.AsOf = 26*time.Hour, time.Now().Add(-9*24*time.Hour) }, `is 216h0m0s old, and may be 26h0m0s; bring a younger one, or put "old" into allow`, AllowOld},
		{"shrunken", text, func(o *Options) { o.Usual, o.MinSize = int64(3*len(text)), 50 }, `less than 50 % of what is usual is not all of it; bring a whole one, or put "small" into allow`, AllowSmall},
		{"of a newer server", replaced("-- Server version\t10.11.19", "-- Server version\t12.1.2"), nil, `is of MariaDB 12.1.2-MariaDB`, AllowNewer},
		{"a statement of its own", replaced("DROP TABLE IF EXISTS `egg`;", "GRANT ALL ON *.* TO x;\nDROP TABLE IF EXISTS `egg`;"), nil, "GRANT ALL ON *.* TO x", ""},
		{"past the shadow", replaced("DROP TABLE IF EXISTS `egg`;", "DROP TABLE IF EXISTS `app`.`egg`;"), nil, "names the database app itself", ""},
		{"a client's command", replaced("DROP TABLE IF EXISTS `egg`;", "\\! rm -rf /tmp/x\n;"), nil, "mariadb-dump writes no such statement", ""},
		{"a statement that is too long", replaced("INSERT INTO `egg` VALUES", "INSERT INTO `egg` VALUES /* "+strings.Repeat("x", 18<<20)+" */"), nil, "and the server at " + s.Addr + " takes 17825792; SET GLOBAL max_allowed_packet=67108864", ""},
		{"in a character set that hides a quote", replaced("SET NAMES utf8mb4", "SET NAMES gbk"), nil, "in which the end of a string cannot be told", ""},
		{"the other region's server", text, func(o *Options) {
			o.Other = account(s)
			o.Other.Addr = strings.Replace(s.Addr, "127.0.0.1", "localhost", 1)
		}, "are the same server", AllowMissing},
		{"rows since", text, func(o *Options) { o.Since = time.Now().Add(-time.Hour) }, `after the service was fenced: `, AllowRows},
		{"rows before", text, func(o *Options) { o.Since = time.Now().Add(time.Hour) }, "", ""},
		{"another account", text, func(o *Options) { o.Server.Passwd = "wrong" }, "connecting to MariaDB at " + s.Addr + " as restorer: Error 1045", ""},
	} {
		o := options(s, tt.file, "app")
		if tt.set != nil {
			tt.set(&o)
		}
		steps := 0
		o.Step = func(_ context.Context, _ int, statement string) error {
			if strings.Contains(statement, "__restore_") {
				steps++
			}
			return nil
		}
		_, err := Run(t.Context(), o)
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) || len(err.Error()) > 600 {
				t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
			}
			if steps > 0 || schemas(t, s) != "app failoverd" && schemas(t, s) != "app" {
				t.Errorf("%s: it was begun: %d, %s", tt.name, steps, schemas(t, s))
			}
			same(t, tt.name, everything(t, s, "app"), before)
		}
		if tt.lift == "" && tt.want != "" {
			continue
		}
		if tt.lift != "" {
			var refused *RefusedError
			if !errors.As(err, &refused) || !strings.Contains(refused.Way, string(tt.lift)) {
				t.Errorf("%s: %v says nothing of %q", tt.name, err, tt.lift)
			}
			o = options(s, tt.file, "app")
			if tt.set != nil {
				tt.set(&o)
			}
			o.Allow = []Override{tt.lift}
			_, err = Run(t.Context(), o)
		}
		if err != nil {
			t.Errorf("%s, allowed: %v", tt.name, err)
			continue
		}
		same(t, tt.name+", allowed", everything(t, s, "app"), after)
		text2, before2, _, _ := small(t, s) // the live one as before
		if before2 != before || !bytes.Equal(bytes.Split(text2, []byte("-- Dump completed"))[0], bytes.Split(text, []byte("-- Dump completed"))[0]) {
			t.Fatal("another start")
		}
	}
}

// A row that the server refuses ends the load, whichever connection it came over, and says where it stands. The next run
// clears away what was loaded.
func TestARowThatCannotBePut(t *testing.T) {
	s := server(t)
	text, before, after, _ := small(t, s)
	twice := bytes.Replace(text, []byte("INSERT INTO `hen` VALUES"), []byte("INSERT INTO `hen` VALUES (3,NULL);\nINSERT INTO `hen` VALUES"), 1)
	for _, connections := range []int{1, 3} {
		o := options(s, twice, "app")
		o.Connections = connections
		if _, err := Run(t.Context(), o); err == nil || code(err) != 1062 || !strings.Contains(err.Error(), "hen: \"INSERT INTO `hen`") || !strings.Contains(err.Error(), "at byte ") {
			t.Errorf("over %d: %v", connections, err)
		}
		same(t, "the live schema", everything(t, s, "app"), before)
	}
	if _, err := Run(t.Context(), options(s, text, "app")); err != nil {
		t.Fatal(err)
	}
	same(t, "then", everything(t, s, "app"), after)
	if got := schemas(t, s); strings.Contains(got, "__restore_") {
		t.Errorf("there are %s", got)
	}
}

// A statement of an earlier try of the same attempt that comes late, as over a path that was broken, puts no row into what is loaded now.
func TestWhatAnEarlierTryHasSentComesTooLate(t *testing.T) {
	s := server(t)
	text, _, after, _ := small(t, s)
	o := options(s, text, "app")
	o.Connections = 2
	late, err := dial(t.Context(), o.Server, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = late.end(false) }()
	shadow := quote(shadowName("app", o.Token))
	for _, text := range []string{"CREATE DATABASE " + shadow, "USE " + shadow} {
		if err := late.exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	came := false
	o.Step = func(ctx context.Context, _ int, statement string) error {
		if strings.HasPrefix(statement, "INSERT INTO `hen`") && !came {
			came = true
			if _, err := late.conn.ExecContext(ctx, "INSERT INTO hen VALUES (99,NULL)"); err == nil {
				t.Error("an earlier try puts a row into the schema of this one")
			}
		}
		return nil
	}
	if _, err := Run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if !came {
		t.Fatal("the rows were never put")
	}
	same(t, "then", everything(t, s, "app"), after)
}

// A server that trusts no functions is found out before anything is swapped.
func TestRefusesBeforeTheSwap(t *testing.T) {
	s := server(t)
	text, before, _, _ := small(t, s)
	s.Feed(t, "SET GLOBAL log_bin_trust_function_creators=0")
	defer s.Feed(t, "SET GLOBAL log_bin_trust_function_creators=1")
	_, err := Run(t.Context(), options(s, text, "app"))
	if err == nil || !strings.Contains(err.Error(), "SET GLOBAL log_bin_trust_function_creators=1 there") {
		t.Errorf("%v", err)
	}
	same(t, "refused", everything(t, s, "app"), before)
}

// What the account may not do is found out at the start, and said as the grants that give it.
func TestRights(t *testing.T) {
	s := server(t)
	text, before, after, _ := small(t, s)
	if st, err := Look(t.Context(), account(s), []string{"app"}); err != nil || st.Lacks != "" {
		t.Errorf("%+v, %v", st, err)
	}
	s.Feed(t, "REVOKE TRIGGER, EVENT ON app.* FROM restorer@'127.0.0.1'; REVOKE ALL ON `app\\_\\_re%`.* FROM restorer@'127.0.0.1'")
	_, err := Run(t.Context(), options(s, text, "app"))
	const grants = "GRANT EVENT, TRIGGER ON `app`.* TO 'restorer'@'127.0.0.1'; GRANT ALL ON `app\\_\\_re%`.* TO 'restorer'@'127.0.0.1'"
	if want := "the account restorer may not do at " + s.Addr + " what a restore needs; " + grants; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	same(t, "refused", everything(t, s, "app"), before)
	s.Feed(t, grants)
	if _, err := Run(t.Context(), options(s, text, "app")); err != nil {
		t.Error(err)
	}
	same(t, "granted", everything(t, s, "app"), after)
}
