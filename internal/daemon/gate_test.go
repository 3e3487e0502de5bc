package daemon

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/failoverd/failoverd/consensus"
)

// T1: a node that had seen the traffic move restarts without a quorum, and what
// its log shows then is older. It goes on saying where the traffic went, also
// when the others are back and know no better.
func TestGateOutlivesARestart(t *testing.T) {
	h := newHouse(t)
	text := h.text("a b c")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	h.registered()
	h.until("every node to say where the traffic goes", func(r *resident) bool {
		_, to, left, epoch, ok := r.Traffic()
		return ok && to == "east1" && left == "east2" && epoch == 1
	})
	service, _, _, _, _ := h.nodes["a"].Traffic()
	for _, id := range []string{"a", "b", "c"} {
		_ = h.stop(id)
	}
	data, err := json.Marshal(consensus.Traffic{Service: service, Region: "east2", Left: "east1", Epoch: 2})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(h.dir, "data-a", "traffic.json"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	a := h.start("a", text)
	says := func(when string) {
		t.Helper()
		if _, to, left, epoch, ok := a.Traffic(); !ok || to != "east2" || left != "east1" || epoch != 2 {
			t.Errorf("%s it says %q, %q left, epoch %d (%t)", when, to, left, epoch, ok)
		}
	}
	says("alone")
	h.start("b", text)
	h.start("c", text)
	h.registered()
	says("with the others, whose log is older,")
}
