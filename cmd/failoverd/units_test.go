package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/internal/config"
)

// The units of deploy/ as systemd reads them, and their times beside those that the example's lease counts on: a unit that
// gives a worker more time than the stop budget has makes the lease's promise untrue.
func TestUnits(t *testing.T) {
	const deploy = "../../deploy/"
	example, err := os.ReadFile("../../config.toml.example")
	if err != nil {
		t.Fatal(err)
	}
	// Where agents run units, the line stands as it is offered.
	cfg, err := config.Parse("example", []byte(strings.Replace(string(example), "\n# stop.watchdog", "\nstop.watchdog", 1)))
	if err != nil {
		t.Fatal(err)
	}
	stop := cfg.Lease.Stop
	read := func(file string) string {
		t.Helper()
		text, err := os.ReadFile(deploy + file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(text), "\\\n", " ")
	}
	key := func(unit, key string) string {
		m := regexp.MustCompile(`(?m)^`+key+`=(.*)$`).FindAllStringSubmatch(unit, -1)
		if len(m) != 1 {
			t.Errorf("%s stands %d times in\n%s", key, len(m), unit)
			return ""
		}
		return m[0][1]
	}
	within := func(unit, k string, limit time.Duration) {
		d, err := time.ParseDuration(key(unit, k))
		if err != nil || d <= 0 || d > limit {
			t.Errorf("%s=%s (%v), and the lease counts on no more than %s", k, key(unit, k), err, limit)
		}
	}
	node, agent, worker := read("failoverd.service"), read("failoverd-agent@.service"), read("worker-dropin.conf")

	within(worker, "TimeoutStopSec", stop.Grace.D())
	within(agent, "WatchdogSec", stop.Watchdog.D())
	for _, want := range []struct{ unit, key, value, why string }{
		{worker, "Restart", "no", "only the agent starts it"},
		{worker, "SendSIGKILL", "yes", "a worker that ignores SIGTERM ends all the same"},
		{worker, "KillMode", "control-group", "its children end with it"},
		{worker, "BindsTo", "failoverd-agent@mail.service", "it ends when its agent does"},
		{worker, "After", "failoverd-agent@mail.service", "BindsTo alone does not stop it first"},
		{agent, "WatchdogSignal", "SIGKILL", "an agent that is stuck gets no time of its own"},
		{agent, "KillMode", "control-group", "its guards end with it"},
		{agent, "Restart", "always", "a region without agents gets no work done"},
		{agent, "Type", "notify", "a watchdog needs it"},
		{agent, "StartLimitIntervalSec", "0", "five failed starts would be the last"},
		{node, "StartLimitIntervalSec", "0", "five failed starts would be the last"},
		{node, "Restart", "always", "the margin of two voters counts on it"},
		{node, "Type", "notify", "an upgrade waits until the node takes part"},
	} {
		if got := key(want.unit, want.key); got != want.value {
			t.Errorf("%s=%s, not %s: %s", want.key, got, want.value, want.why)
		}
	}

	// What they start exists, with these flags.
	for _, unit := range []string{node, agent} {
		line := key(unit, "ExecStart")
		if unit == agent {
			name, value, _ := strings.Cut(key(agent, "Environment"), "=") // what the file need not name
			line = strings.ReplaceAll(line, "${"+name+"}", value)
		}
		args := strings.Fields(line)
		cmd, rest, err := newRoot().Find(args[1:])
		if err != nil || cmd.Name() == "failoverd" {
			t.Errorf("%v: %v", args, err)
			continue
		}
		if err := cmd.ParseFlags(rest); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}

	// systemd itself: a key that it does not know it only warns of, and goes on without.
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Fatal("systemd-analyze is not installed: apt-get install --no-install-recommends systemd")
	}
	dir := t.TempDir()
	put := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // units are no secret
			t.Fatal(err)
		}
		// The program need not be installed here.
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, "/usr/local/bin/failoverd", "/bin/true")), 0o644); err != nil { //nolint:gosec // as above
			t.Fatal(err)
		}
	}
	put("failoverd.service", node)
	put("failoverd-agent@.service", agent)
	put("mail.service", "[Service]\nExecStart=/bin/true\n")
	put("mail.service.d/failoverd.conf", worker)
	verify := exec.Command(analyze, "verify", "--man=no", filepath.Join(dir, "failoverd.service"), filepath.Join(dir, "failoverd-agent@mail.service"), filepath.Join(dir, "mail.service")) //nolint:gosec // a test's own files
	verify.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
	if out, err := verify.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("%v; systemd-analyze says:\n%s", err, out)
	}
}
