package daemon

import (
	"errors"
	"strings"
	"testing"

	"github.com/failoverd/failoverd/failover"
)

// A drill is refused while a server may be needed for what it is there for, and of what cannot be tried out.
func TestDrillIsRefused(t *testing.T) {
	s := failover.NewState()
	for _, tt := range []struct {
		do   func()
		says string
	}{
		{func() {}, "no configuration"},
		{func() { s.Settings, s.Execution = &failover.Settings{}, &failover.Execution{ID: 7} }, "execution 7 is under way"},
		{func() { s.Execution, s.Preparation = nil, &failover.Execution{} }, "being prepared"},
		{func() { s.Preparation = nil }, ""},
	} {
		tt.do()
		if err := errors.Join(quietEnough(s)); (err == nil) != (tt.says == "") || err != nil && !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%v, want %q", err, tt.says)
		}
	}
	h := newHouse(t)
	text := h.text("a b c")
	for _, id := range []string{"a", "b", "c"} {
		h.start(id, text)
	}
	n := h.leader()
	h.until("a configuration", func(r *resident) bool { return r.State().Settings != nil })
	for _, c := range []failover.Component{"workers", "nothing"} {
		if _, err := n.Drill(t.Context(), "uid 0", "why", c, func(string) {}); err == nil || !strings.Contains(err.Error(), "those that can: none of this plan") {
			t.Errorf("%s: %v", c, err)
		}
	}
}
