package demo

import (
	"encoding/json"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/ledger"
)

// full is a status with everything at once, and long words everywhere.
const full = `{"raft":{"leader":"use2a","term":12},"epoch":1,"active":"us-east-1","condition":"failure-followed-us","hold":"22.5s","hold_elapsed":"21s",
"freeze":{"provisional":true},"freeze_age":"20s","freeze_wait":"20.379s",
"views":[{"vantage":"gru","health":"down","why":"LONG"},{"vantage":"us-east-2","health":"unknown","why":"LONG"},{"vantage":"us-east-1","inside":true,"health":"degraded","why":"LONG"}],
"progress":{"stop-workers":"LONG"},
"execution":{"id":1234,"state":"awaiting-approval","question":{"text":"LONG","ways":["LONG","LONG"]},
"plan":{"fenced":[{"component":"api","proof":["confirmed"]},{"component":"workers","proof":["confirmed","lease"]}],
"steps":[{"id":"freeze"},{"id":"stop-api"},{"id":"stop-workers"},{"id":"fence","no_return":true},{"id":"start-api"},{"id":"start-workers"},{"id":"switch-route53_weights"},
{"id":"check-api-http"},{"id":"check-workers-sqs_backlog"},{"id":"check-traffic-dns_answer"},{"id":"check-traffic-duplicates"},{"id":"stable"}]},
"steps":{"stop-workers":{"state":"running","detail":"LONG","attempts":[{"started_at":"2026-01-01T00:00:00Z"}]},"freeze":{"state":"failed"},"stop-api":{"state":"unproven"}},
"evidence":[{"component":"workers","class":"lease","detail":"LONG"}]}}`

// One picture fits a terminal of 100 columns and 40 rows, whatever it has to say.
func TestRenderFits(t *testing.T) {
	var s harness.Status
	long := strings.Repeat("something long – ", 30) + `\nand a second line`
	if err := json.Unmarshal([]byte(strings.ReplaceAll(full, "LONG", long)), &s); err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 1, 1, 0, 1, 0, 0, time.UTC)
	f := frame{now: now, begin: now.Add(-3 * time.Minute), lossAt: now.Add(-2 * time.Minute), factor: 4, status: &s,
		ledger: ledger.Summary{Acked: 100000, Processed: 100000, Duplicates: 1000, DualActiveMs: 1000000}, says: []string{long, long, long, long}, waiting: long}
	text := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(render(f), "")
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) > 40 {
		t.Errorf("%d rows, want at most 40", len(lines))
	}
	for _, l := range lines {
		if n := utf8.RuneCountInString(l); n > 100 {
			t.Errorf("%d columns: %s", n, l)
		}
	}
	for _, want := range []string{"failure-followed-us", "21.0 s of 22.5 s", "evidence lease", "not proven", "point of no return", "✗ freeze", "▶ stop-workers"} {
		if !strings.Contains(text, want) {
			t.Errorf("the picture lacks %q:\n%s", want, text)
		}
	}
}

func TestAtRiskOfAPrice(t *testing.T) {
	const price = "a failover from us-east-1 to us-east-2 would cost\n  lost of mariadb: what was written\n  at risk of mariadb: about 26 rows in MariaDB\n  stable\n"
	if got := atRisk(price); got != "at risk of mariadb: about 26 rows in MariaDB" {
		t.Error(got)
	}
	if got := atRisk("a failover would cost\n"); got != "" {
		t.Error(got)
	}
}

func TestFromEnv(t *testing.T) {
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	o, err := FromEnv(env(nil))
	if err != nil || o.Death != "cut" || o.Factor != 4 || o.Via != "slack" {
		t.Errorf("defaults %+v, error %v", o, err)
	}
	for _, bad := range []map[string]string{{"DEATH": "shot"}, {"SCENARIO": "x"}, {"VIA": "fax"}, {"UNSAFE": "all"}, {"FACTOR": "0"}, {"FACTOR": "fast"}} {
		if _, err := FromEnv(env(bad)); err == nil {
			t.Errorf("%v is taken", bad)
		}
	}
}
