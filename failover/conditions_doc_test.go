package failover_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/failoverd/failoverd/failover"
)

// docs/conditions.md is the table, and nothing else.
func TestConditionsDocument(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Conditions\n\nGenerated from the table in `failover/conditions.go` by `go test ./failover -run ConditionsDocument -update`; do not edit.\n`failoverd conditions` prints the same.\n\n")
	b.WriteString("Only `region-down` moves a region. Every other condition that lasts for `prepare_after` pages with its name and what it means.\n\n")
	b.WriteString("| condition | what it means | what has to be seen | what may follow without a person |\n|---|---|---|---|\n")
	for _, c := range failover.Conditions {
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", c.Code, c.Meaning, c.Needs, c.Allows)
	}
	const file = "../docs/conditions.md"
	if *update {
		if err := os.WriteFile(file, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(file); err != nil || string(got) != b.String() {
		t.Errorf("%s is not the table (%v): -update writes it", file, err)
	}
}
