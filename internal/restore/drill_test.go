package restore

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/failoverd/failoverd/internal/backup"
)

// A drill loads everything and rehearses what comes after a swap, and afterwards the server is as it was.
func TestDrill(t *testing.T) {
	s := server(t)
	both := []string{"app", "shop`s"}
	for _, connections := range []int{1, 3} {
		clean(t, s)
		text := rich(t, s, "--databases", "app", "shop`s")
		s.Feed(t, string(text), "--max-allowed-packet=64M")
		s.Feed(t, "USE app; INSERT INTO hen VALUES (50, NULL, 'only here'); ")
		want, had := everything(t, s, both...), schemas(t, s)
		o := options(s, zipped(t, text), both...)
		o.Connections = connections
		var said []string
		o.Report = func(line string) { said = append(said, line) }
		loaded := ""
		o.Step = func(_ context.Context, _ int, text string) error {
			if strings.Contains(text, "DROP DATABASE") && loaded == "" && len(said) > 0 && strings.Contains(said[len(said)-1], "rehearsing") {
				loaded = s.Feed(t, "SELECT COUNT(*) FROM app__restore_0.types; SELECT COUNT(DISTINCT TABLE_SCHEMA) FROM information_schema.TABLES WHERE TABLE_SCHEMA LIKE '%\\_\\_restore\\_0'")
			}
			return nil
		}
		out, err := Drill(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if out.Took <= 0 || out.Tables < 10 || out.Bytes != int64(len(text)) || len(out.Notes) == 0 {
			t.Errorf("%+v", out)
		}
		if got := strings.Fields(loaded); len(got) != 2 || got[0] == "0" || got[1] != "2" {
			t.Errorf("right before it was removed there were, rows of a table and schemas, %q", got)
		}
		if got := strings.ReplaceAll(schemas(t, s), "failoverd ", ""); got != had { // that one stays, and is empty
			t.Errorf("there are %s, and were %s", got, had)
		}
		same(t, "after the drill", everything(t, s, both...), want)
		if st, err := Look(t.Context(), account(s), both); err != nil || st.Token != 0 || st.Key != "" || st.Done {
			t.Errorf("the server says %+v, %v: a drill is no restore", st, err)
		}
	}
}

// A backup that could not be restored is found by the drill, and leaves nothing either.
func TestDrillFindsWhatIsWrong(t *testing.T) {
	s := server(t)
	clean(t, s)
	text := rich(t, s, "app")
	for name, tt := range map[string]struct {
		text []byte
		says string
	}{
		"cut off":                {text[:len(text)/2], "end"},
		"a statement is refused": {[]byte(strings.Replace(string(text), "ENGINE=InnoDB", "ENGINE=NoSuchEngine", 1)), "NoSuchEngine"},
	} {
		_, err := Drill(t.Context(), options(s, tt.text, "app"))
		if err == nil || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
		if got := schemas(t, s); strings.Contains(got, "restore") {
			t.Errorf("%s: it has left %s", name, got)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	o := options(s, text, "app")
	o.Step = func(_ context.Context, _ int, text string) error {
		if strings.HasPrefix(text, "INSERT INTO `types`") {
			cancel()
		}
		return nil
	}
	if _, err := Drill(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if got := schemas(t, s); strings.Contains(got, "restore") {
		t.Errorf("cancelled, it has left %s", got)
	}
}

// A restore does not wait for a drill: it ends it, and removes what it has loaded. A drill waits for nobody, and touches nothing of a
// restore's.
func TestDrillIsNeverInTheWay(t *testing.T) {
	s := server(t)
	var dumped string
	for _, connections := range []int{1, 2} {
		clean(t, s)
		text := rich(t, s, "app")
		dumped = string(text)
		s.Feed(t, "CREATE DATABASE app; CREATE DATABASE app__restore_7; CREATE TABLE app__restore_7.x (i INT)")
		o := options(s, text, "app")
		o.Connections = connections
		ran := false
		o.Step = func(_ context.Context, _ int, text string) error {
			if ran || !strings.HasPrefix(text, "INSERT INTO `types`") {
				return nil
			}
			ran = true
			if got := schemas(t, s); !strings.Contains(got, "app__restore_7") {
				t.Errorf("the drill has removed what a restore has loaded: there are %s", got)
			}
			if _, err := Drill(t.Context(), options(s, []byte(dumped), "app")); err == nil || !strings.Contains(err.Error(), "another drill is at work") {
				t.Errorf("a second drill: %v", err)
			}
			if res, err := Run(t.Context(), options(s, []byte(dumped), "app")); err != nil || res.Tables == 0 {
				t.Errorf("a restore beside it: %+v, %v", res, err)
			}
			return nil
		}
		if _, err := Drill(t.Context(), o); err == nil || !ran {
			t.Errorf("the drill went on beside the restore (%t)", ran)
		}
		if got := schemas(t, s); strings.Contains(got, "__restore_") {
			t.Errorf("there are %s", got)
		}
	}
	// Also one that reads the file, and stands in no schema yet.
	clean(t, s)
	o, ran := options(s, []byte(dumped), "app"), false
	open := o.Open
	o.Open = func(ctx context.Context, f backup.File) (io.ReadCloser, error) {
		if !ran {
			ran = true
			if _, err := Run(t.Context(), options(s, []byte(dumped), "app")); err != nil {
				t.Error(err)
			}
		}
		return open(ctx, f)
	}
	if _, err := Drill(t.Context(), o); err == nil || !ran {
		t.Errorf("the drill went on beside a restore (%t)", ran)
	}
	o = options(s, []byte(dumped), "app")
	o.Epoch, o.Token = 8, o.Token+1
	if _, err := Run(t.Context(), o); err != nil {
		t.Error(err)
	}
	// And where a restore has taken place that the caller does not know of, what stands there may be live.
	o = options(s, []byte(dumped), "app")
	o.Epoch = 7
	if _, err := Drill(t.Context(), o); err == nil || !strings.Contains(err.Error(), "was restored in epoch 8, and this node knows of 7") {
		t.Errorf("by a node that is behind: %v", err)
	}
	// Nor while a restore is at work.
	o = options(s, []byte(dumped), "app")
	o.Step = func(_ context.Context, _ int, text string) error {
		if strings.HasPrefix(text, "INSERT INTO `types`") {
			if _, err := Drill(t.Context(), options(s, []byte(dumped), "app")); err == nil || !strings.Contains(err.Error(), "a restore is at work") {
				t.Errorf("a drill beside a restore: %v", err)
			}
		}
		return nil
	}
	o.Epoch, o.Token = 9, o.Token+2
	if _, err := Run(t.Context(), o); err != nil {
		t.Error(err)
	}
}
