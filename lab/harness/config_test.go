package harness

import (
	"os"
	"strings"
	"testing"
)

// The example as it stands takes every substitution, all its durations are divided, and nothing else changes.
func TestConfigure(t *testing.T) {
	b, err := os.ReadFile("../../config.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	text, summary, err := Configure(string(b), ConfigOptions{Factor: 4, Dir: "/tmp/w", Edits: []Edit{Supervised, StopAPI}, Slow: 2,
		Set: map[string]string{"component.api.strategy": `"warm-standby"`, "self_check.timeout": `"400ms"`}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`hold = "22.5s"`, `heartbeat = "125ms"`, `ask = { wait = "3m45s", then = "hold" }`, `length = "18.75s"`, `mode = "supervised"`,
		`stop.timeout = "7.5s"`, `address = "198.18.3.11:7700"`, `socket = "/tmp/w/sock/{node}.sock"`, `strategy = "warm-standby"`, `timeout = "800ms"`, `clock_error = "1%"`} {
		if !strings.Contains(text, want) {
			t.Errorf("the result lacks %s", want)
		}
	}
	for _, forbidden := range []string{"10.0.1.10", `hold = "90s"`, "https://api."} {
		for _, line := range strings.Split(text, "\n") {
			if !strings.HasPrefix(line, "#") && strings.Contains(line, forbidden) {
				t.Errorf("left as it was: %s", line)
			}
		}
	}
	if len(summary) < 8 {
		t.Errorf("summary %v", summary)
	}
	for _, bad := range []ConfigOptions{
		{Factor: 4, Edits: []Edit{{"no such text", "x", ""}}},
		{Factor: 4, Set: map[string]string{"policy.nothing": "1"}},
		{Factor: 4, Set: map[string]string{"nothing": "1"}},
	} {
		if _, _, err := Configure(string(b), bad); err == nil {
			t.Errorf("%+v: no error for a substitution that has nothing to do", bad)
		}
	}
}

func TestVerdictLine(t *testing.T) {
	v := Verdict{Active: "us-east-2", Epoch: 2, Messages: 137, Detect: 24512 * 1e6, BackupAge: 612 * 1e9, MongoLost: 3, MongoRPO: 1500 * 1e6, Recover: -1, Factor: 4}
	const want = "result: active=us-east-2 epoch=2 duplicates=0 dual_active_ms=0 messages=137 lost=0 mongo_lost=3 mongo_rpo_s=1.5 mariadb_backup_age_s=612.0 detect_s=24.5 recover_s=- time_factor=4"
	if got := v.Line(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
