package fence

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/failoverd/failoverd/internal/durable"
)

// This file keeps the highest epoch that an agent has seen: without a durable
// memory of it a restored cluster could grant an old one (rules G2, T4).

func readEpoch(path string) (uint64, error) {
	if path == "" {
		return 0, nil
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading the epoch that was seen last: %w", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s is damaged (%q): write the epoch that `failoverd status` shows into it", path, string(b))
	}
	return n, nil
}

// readable are files that workers of other users read.
const readable = 0o644

func writeEpoch(path string, epoch uint64) error {
	if path == "" {
		return nil
	}
	// Another agent of this host may have seen a later one. A file that cannot be read is
	// written over: what it held was read when this agent began.
	if kept, err := readEpoch(path); err == nil && kept >= epoch {
		return nil
	}
	return durable.Replace(path, []byte(strconv.FormatUint(epoch, 10)+"\n"), readable)
}
