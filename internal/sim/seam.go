package sim

import (
	"context"

	"github.com/hashicorp/raft"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
)

// seam is where a test stands that aims faults at points instead of moments: at
// each write of a process's log, and at each call that changes the world. The
// daemon knows nothing of it. Its methods may block, and may end the process
// that calls them.
type seam interface {
	// store is called for each write of the log; write makes it.
	store(h *host, process *handle, ls []*raft.Log, write func() error) error
	// applied is called when a process has applied an entry, before its readers see
	// the new state.
	applied(h *host, process *handle, res failover.Result, cmd failover.Command)
	// leaves is called right before a call leaves its process; what is do, undo or
	// burn. True: it is on its way whatever has become of the process. Who keeps it on
	// its way says sent first: what its process has decided is judged by what was so
	// then, and what it does by what is so when it lands.
	leaves(ctx context.Context, a action, at actions.Attempt, what string, sent func()) (gone bool)
	// flies is called when it is on its way.
	flies(a action, at actions.Attempt, what string)
	// landed is called when it has taken effect, or was refused.
	landed(a action, at actions.Attempt, what string, changed bool)
}
