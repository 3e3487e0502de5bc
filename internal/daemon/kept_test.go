package daemon

import (
	"testing"

	"github.com/failoverd/failoverd/internal/durabletest"
)

// A machine that loses its power right after a configuration came into force starts with it, and not with half of it.
func TestTheLastConfigurationIsDurable(t *testing.T) {
	dir := t.TempDir()
	if !durabletest.Synced(t, dir, func() error { return keepLast(dir, "service = \"x\"\n") }) {
		t.Error("the configuration may be cut off, or forgotten")
	}
}
