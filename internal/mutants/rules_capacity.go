package main

// capacity are the rules of a start that asks other groups for what AWS lacks (actions/asg_alternatives.go).
var capacity = []mutant{
	{
		name: "asked-for-by-each-leader", rule: "E2",
		says:  "what a group was asked for and has not brought yet is asked for again, by each leader that does not know of it",
		edits: []edit{{"actions/asg_alternatives.go", `missing -= max(s.coming, int(s.Desired))`, `missing -= max(s.coming, int(s.Desired)*max(0, 1-i))`}},
		tests: []test{{pkg: "actions", name: "TestASGAlternativesLostMemory"}},
	},
	{
		name: "alternative-is-asked-at-once", rule: "L1",
		says:  "launches that failed before anything was asked for, or in one zone of several, are taken for a lack of capacity",
		edits: []edit{{"actions/asg_alternatives.go", `time.Since(g.short[i]) > g.cfg.patience()`, `time.Since(g.short[i]) >= 0`}},
		tests: []test{{pkg: "actions", name: "TestASGAlternatives"}, {pkg: "actions", name: "TestASGAlternativesAreForCapacityAlone"}},
	},
	{
		name: "quota-asks-alternatives", rule: "L1",
		says: "a quota that is used up asks the other groups, which have the same one",
		edits: []edit{{"actions/asg_alternatives.go", `		case lackOfQuota:
			return false`, `		case lackOfQuota:
			return true`}},
		tests: []test{{pkg: "actions", name: "TestASGAlternativesAreForCapacityAlone"}},
	},
	{
		name: "alternative-is-not-put-back", rule: "E2",
		says:  "a start counts as put back while the other groups still have what it asked them for",
		edits: []edit{{"actions/asg_alternatives.go", `w != nil && !w.isBack(*n):`, `i == 0 && !w.isBack(*n):`}},
		tests: []test{{pkg: "actions", name: "TestConformanceLies/asg_start_elsewhere"}, {pkg: "actions", name: "TestASGAlternatives"}},
	},
	{
		name: "alternative-runs-on", rule: "S1",
		says:  "a stop counts as proven when the first of its groups is empty",
		edits: []edit{{"actions/asg_alternatives.go", `		out.State = min(out.State, e.State) // half`, `		out.State = min(out.State, max(e.State, Present*EffectState(min(i, 1)))) // half`}},
		tests: []test{{pkg: "actions", name: "TestASGAlternativesStop"}, {pkg: "actions", name: "TestConformanceLies/asg_stop_of_both"}},
	},
	{
		name: "stop-leaves-a-group-out", rule: "S1",
		says:  "a configuration is accepted whose stop leaves out a group in which the start of the same component starts instances",
		edits: []edit{{"internal/config/validate_parts.go", `!slices.Contains(p.Stop.ASG.Groups(), group)`, `len(p.Stop.ASG.Groups()) == 0`}},
		tests: []test{{pkg: "internal/config", name: "TestInvalid/invalid-kind-values"}},
	},
}
