package replset

import (
	"fmt"
	"testing"
	"time"
)

// Who follows by a configuration that a forced one has left behind would elect one of themselves; who was dropped by an ordinary one, or follows somebody
// whose configuration says nothing of ours, is nobody to freeze.
func TestLeftBehind(t *testing.T) {
	was := config(t, 1, 9) // more elections there
	forced := ForcedFrom(1, was.ID(), []string{"w1"}, time.Unix(0, 0))
	led := func(all map[string]*View) {
		all["w1"].Config, all["w1"].Writable, all["w1"].Secondary = only(t, "w1"), true, false
		all["e1a"].Writable, all["e1a"].Secondary = false, true
	}
	for _, tt := range []struct {
		name   string
		do     func(all map[string]*View)
		forced *Forced
		left   string
	}{
		{"both", led, nil, "[e1a e1b]"},
		{"both, as the log knows, whatever became of terms and versions", func(all map[string]*View) {
			led(all)
			all["w1"].Config.Version, all["w1"].Config.Term = 10_002, 5
			all["e1a"].Config, all["e1b"].Config = config(t, 9_000, 9), config(t, 9_000, 9)
		}, forced, "[e1a e1b]"},
		{"one that has heard so is no member any more", func(all map[string]*View) {
			led(all)
			all["e1b"].Name, all["e1b"].Secondary, all["e1b"].Removed = "", false, true
		}, nil, "[e1a]"},
		{"one that leads is a rival", func(all map[string]*View) {
			led(all)
			all["e1a"].Writable, all["e1a"].Secondary = true, false
		}, nil, "[e1b]"},
		{"dropped by an ordinary reconfiguration", func(all map[string]*View) {
			led(all)
			all["w1"].Config.Version = 2
		}, nil, "[]"},
		{"by a newer configuration", func(all map[string]*View) {
			led(all)
			all["e1a"].Config, all["e1b"].Config = config(t, 200_000, 1), config(t, 200_000, 1)
		}, nil, "[]"},
		{"of a set of this name that has no member in common", func(all map[string]*View) {
			led(all)
			for _, h := range []string{"e1a", "e1b"} {
				all[h].Config = only(t, "e1a")
				all[h].Config.Version = 1
			}
		}, nil, "[]"},
		{"named by ours", func(all map[string]*View) {
			led(all)
			all["w1"].Config = config(t, 50_000, 1)
		}, nil, "[]"},
	} {
		all := three(config(t, 1, 1))
		tt.do(all)
		if got := RivalsOf("rs", "west", list(all), tt.forced); fmt.Sprint(got.Left) != tt.left || !got.Known {
			t.Errorf("%s: %v, known %t; want %s", tt.name, got.Left, got.Known, tt.left)
		}
	}
}
