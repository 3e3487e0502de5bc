package main

// units are the rules by which systemd ends a unit with its agent (G5).
var units = []mutant{
	{
		name: "unit-outlives-its-agent", rule: "G5",
		says:  "an agent asks as enforced although systemd would let its unit go on for longer than the grace when the agent is stuck",
		edits: []edit{{"fence/unit.go", `err == nil && d <= grace }`, `err == nil && d > 0 }`}},
		tests: []test{{pkg: "fence", name: "TestUnitIsBound"}},
	},
	{
		name: "unit-is-not-killed", rule: "G5",
		says:  "an agent asks as enforced although systemd never kills its unit, which may ignore SIGTERM",
		edits: []edit{{"fence/unit.go", `func(v string) bool { return v == "yes" }`, `func(string) bool { return true }`}},
		tests: []test{{pkg: "fence", name: "TestUnitIsBound"}},
	},
	{
		name: "unit-leaves-children", rule: "G5",
		says:  "an agent asks as enforced although systemd ends only the main process of its unit",
		edits: []edit{{"fence/unit.go", `return v == "control-group" || v == "mixed" }`, `return v != "none" }`}},
		tests: []test{{pkg: "fence", name: "TestUnitIsBound"}},
	},
	{
		name: "watchdog-asks-politely", rule: "G5",
		says:  "an agent asks as enforced although its watchdog sends a signal that one that stands still does not hear",
		edits: []edit{{"fence/unit.go", `return v == strconv.Itoa(int(syscall.SIGKILL)) }`, `return v != strconv.Itoa(0*int(syscall.SIGKILL)) }`}},
		tests: []test{{pkg: "fence", name: "TestUnitIsBound"}},
	},
	{
		name: "direct-restart-is-bound", rule: "G5",
		says:  "an agent asks as enforced although it is restarted without its unit hearing that it has ended",
		edits: []edit{{"fence/unit.go", `func(v string) bool { return v != "direct" }`, `func(string) bool { return true }`}},
		tests: []test{{pkg: "fence", name: "TestUnitIsBound"}},
	},
}
