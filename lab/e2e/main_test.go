// Package e2e runs the daemon's real processes in the simulated world and breaks things. Every test judges by the world's
// record: the ledger, the AWS calls, Route 53's history and the DNS answers. What the daemon says of itself is read only to
// know when to act.
package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The binaries under test.
var failoverdBin, unsafeBin, labBin string

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if os.Geteuid() != 0 {
		return m.Run() // every test skips itself
	}
	dir, err := os.MkdirTemp("", "e2e-bin-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := build(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	status := m.Run()
	if whole := flag.Lookup("test.run").Value.String() == ""; whole && status == 0 {
		if err := compareIAM(); err != nil {
			fmt.Fprintln(os.Stderr, "--- FAIL: the policies of `failoverd iam` against the calls of all tests:", err)
			return 1
		}
	}
	return status
}

// build makes the three binaries, or takes those that the environment names. They are built without the race detector: their
// timing is what is tested here, and the unit tests run with it.
func build(dir string) error {
	root, err := filepath.Abs("../..")
	if err != nil {
		return err
	}
	overlay := filepath.Join(dir, "overlay.json")
	replace := map[string]map[string]string{"Replace": {
		root + "/failover/unproven.go": root + "/lab/unsafe/unproven.go.txt",
		root + "/fence/bound.go":       root + "/lab/unsafe/bound.go.txt",
	}}
	b, err := json.Marshal(replace)
	if err != nil {
		return err
	}
	if err := os.WriteFile(overlay, b, 0o644); err != nil {
		return err
	}
	for _, bin := range []struct {
		path *string
		env  string
		dir  string
		args []string
	}{
		{&failoverdBin, "FAILOVERD_BIN", root, []string{"./cmd/failoverd"}},
		{&unsafeBin, "FAILOVERD_UNSAFE_BIN", root, []string{"-overlay", overlay, "./cmd/failoverd"}},
		{&labBin, "LAB_BIN", root + "/lab", []string{"./cmd/lab"}},
	} {
		if *bin.path = os.Getenv(bin.env); *bin.path != "" {
			continue
		}
		*bin.path = filepath.Join(dir, bin.env)
		cmd := exec.Command("go", append([]string{"build", "-o", *bin.path}, bin.args...)...)
		cmd.Dir, cmd.Env = bin.dir, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build %v: %w: %s", bin.args, err, out)
		}
	}
	return nil
}
