package daemon

import (
	"strings"
	"testing"

	"github.com/failoverd/failoverd/failover"
)

// The status of every node says, beside an open question, that nobody sees the region
// failing which would be left.
func TestStatusSaysThatTheRegionIsBack(t *testing.T) {
	h := newHouse(t)
	text := h.text("a b c")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	h.registered()
	if back := h.nodes["a"].Local().Back; back != "" {
		t.Errorf("without a question: %q", back)
	}
	if _, err := h.leader().Propose(t.Context(), "uid 1", "a drill", "", failover.RequestExecution{Kind: failover.Failover, Overrides: failover.Overridable()}); err != nil {
		t.Fatal(err)
	}
	h.until("the question, and that the region is back, on every node", func(r *resident) bool {
		s := r.Status(t.Context())
		return s.Execution != nil && s.Execution.Question != nil && strings.HasPrefix(s.Back, "east1 is not seen failing any more: `failoverd abort --undo`")
	})
}
