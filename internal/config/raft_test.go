package config

import (
	"os"
	"strings"
	"testing"
	"time"
)

// A profile sets the timers that are not written, and the advice says what they
// are good for.
func TestRaftProfiles(t *testing.T) {
	b, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, _ := strings.Cut(string(b), "[raft]\n")
	_, rest, _ = strings.Cut(rest, "\n\n")
	for _, c := range []struct {
		table     string
		heartbeat time.Duration
		lease     time.Duration
		sound     time.Duration
		warnings  int
	}{
		{"", 500, 400, 125, 0},
		{`profile = "default"`, 500, 400, 125, 0},
		{`profile = "fast"`, 300, 250, 75, 1},
		{"profile = \"fast\"\nheartbeat = \"1s\"\nelection = \"1s\"\nleader_lease = \"900ms\"", 1000, 900, 250, 0},
	} {
		cfg, err := Parse("x.toml", []byte(head+"[raft]\n"+c.table+"\n\n"+rest))
		if err != nil {
			t.Fatalf("%s: %v", c.table, err)
		}
		r := cfg.Raft
		if r.Heartbeat.D() != c.heartbeat*time.Millisecond || r.LeaderLease.D() != c.lease*time.Millisecond || r.Commit.D() != 20*time.Millisecond {
			t.Errorf("%s: %+v", c.table, r)
		}
		if got := r.RoundTrip(); got != c.sound*time.Millisecond || len(cfg.Warnings) != c.warnings {
			t.Errorf("%s: sound up to %s, advice %v", c.table, got, cfg.Warnings)
		}
	}
	if _, err := Parse("x.toml", []byte(head+"[raft]\nprofile = \"fats\"\n\n"+rest)); err == nil || !strings.Contains(err.Error(), `"fats" is not one of default, fast`) {
		t.Errorf("%v", err)
	}
}
