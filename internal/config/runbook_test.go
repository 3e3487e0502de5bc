package config

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// The runbook of the example, word for word: it is read when nothing else helps.
func TestRunbook(t *testing.T) {
	cfg, err := Load(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	got, err := cfg.Runbook(cfg.Primary)
	if err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/runbook.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// What is the way back is written once: no step overwrites what another one kept.
	kept := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?:> |get-object .* )(before-\S+)`).FindAllStringSubmatch(got, -1) {
		if kept[m[1]] {
			t.Errorf("two steps write %s", m[1])
		}
		kept[m[1]] = true
	}
	if strings.Contains(got, "before.") || len(kept) < 5 {
		t.Errorf("kept: %v", kept)
	}
	if strings.Contains(got, "cannot say how") {
		t.Error("a kind of the example has no commands")
	}
}

// What a shell would make of the runbook's commands is what is meant: each line
// that is a command parses, whatever stands in the configuration.
func TestRunbookIsShell(t *testing.T) {
	text, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	odd := strings.NewReplacer(`service = "workers"`, `service = "wor'kers; rm -rf $HOME"`).Replace(string(text))
	cfg, err := Parse("odd.toml", []byte(odd))
	if err != nil {
		t.Fatal(err)
	}
	got, err := cfg.Runbook(cfg.Primary)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(got) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "aws ") && !strings.HasPrefix(line, "jq ") && !strings.HasPrefix(line, "dig ") {
			continue
		}
		n++
		// The shell reads the words and runs none of them.
		out, err := exec.Command("sh", "-c", "set -f; words() { printf '%s\\n' \"$@\"; }; words "+strings.Split(line, " > ")[0]).CombinedOutput()
		if err != nil {
			t.Errorf("%s: %v\n%s", line, err, out)
		}
		if strings.Contains(line, "rm -rf") && !strings.Contains(string(out), "wor'kers; rm -rf $HOME\n") {
			t.Errorf("the name of the service is not one word:\n%s", out)
		}
	}
	if n < 10 {
		t.Errorf("only %d commands:\n%s", n, got)
	}
}

// The file does not say where the service is: who is to bring it home by hand needs the commands of that way, which stop nothing in the primary region.
func TestRunbookOfTheWayHome(t *testing.T) {
	cfg, err := Load(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	got, err := cfg.Runbook(cfg.Secondary)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# failover from us-east-2 to us-east-1 by hand", "Stop workers in us-east-2", "Start workers in us-east-1", "Send the clients to us-east-1", "failoverd recover --node NODE --active us-east-1"} {
		if !strings.Contains(got, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if strings.Contains(got, "Stop workers in us-east-1") {
		t.Error("it stops what it should start")
	}
	if _, err := cfg.Runbook("us-east-9"); err == nil || !strings.Contains(err.Error(), "no plan leaves us-east-9") {
		t.Error(err)
	}
}
