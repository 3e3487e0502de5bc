package oracle

import (
	"fmt"
	"maps"
)

// ended judges what the run came to once every fault was over and everybody had
// had time: nothing is open in silence (L1), clients are where the service works
// (S3), what was to be taken back or kept down is (E7, S2).
func ended(record []Entry, rules Rules, final Final) (out []string) {
	complain := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	open, last := "", ""                    // what is open; how the last execution ended
	skipped := map[string]map[string]bool{} // by what a step acts: steps that a person took upon himself
	stood, home := maps.Clone(rules.Fleet), maps.Clone(rules.Fleet)
	active, left, vowed := rules.Primary, "", false // vowed: a person took it upon himself that what was left has stopped
	for _, e := range record {
		switch e.Kind {
		case Began:
			open = e.What
			if e.What == Execution {
				clear(skipped)
			}
		case Ended:
			open = ""
			if e.What == Execution {
				last = e.Detail
				if last == Stable {
					active, home, vowed = rules.other(left), maps.Clone(stood), len(skipped[string(Stop)]) > 0
				}
			}
		case Fenced:
			left = e.Region
		case Ordered:
			if e.What == OrderSkip {
				if skipped[e.Acts] == nil {
					skipped[e.Acts] = map[string]bool{}
				}
				skipped[e.Acts][e.Step] = true
			}
		case Stop, Unstop, Start, Unstart:
			stood[e.What] = e.Is
		}
	}
	if final.Diverged != "" {
		complain("S7: %s", final.Diverged)
	}
	out = append(out, stale(record, rules, final.At)...)
	switch {
	case open == Preparation:
		complain("E7: a preparation is still open in a healthy world")
	case open != "" && !final.Asks:
		complain("L1: the run ended in silence: an execution is open and asks nothing")
	}
	if open != "" {
		return out // it is in the middle of something, and a person is asked
	}
	if last == "" || last == Stable && len(skipped["switch"]) < rules.Switches || last == Undone && len(skipped) == 0 {
		if final.Traffic != active {
			complain("S3: the service works in %s, and clients are sent to %s", active, final.Traffic)
		}
		if final.Deserted != active {
			complain("S3: the service works in %s, and clients are sent to %s once no node is left", active, final.Deserted)
		}
	}
	for _, pool := range keys(stood) {
		n, was, region := stood[pool], home[pool], rules.Pools[pool]
		held := region == left && rules.Stops[pool] // by the newest completed execution, also when another was begun and undone since
		switch {
		case !held && (last == "" || last == Undone && len(skipped) == 0) && n != was:
			complain("E7: %d of %s are wanted, and %d were before; all of it was undone", n, pool, was)
		case (last == Stable || last == Undone) && held && n > 0 && !vowed:
			complain("S2: %d of %s are wanted in %s, which was left", n, pool, region)
		}
	}
	return out
}
