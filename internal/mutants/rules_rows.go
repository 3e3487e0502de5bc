package main

// rows are the rules of counting what a failover would lose, in the region that is left.
var rows = []mutant{
	{
		name: "count-that-writes", rule: "S6",
		says:  "a query for the price may change the data that the region holds",
		edits: []edit{{"internal/restore/rows.go", `"START TRANSACTION READ ONLY"`, `"START TRANSACTION"`}},
		tests: []test{{pkg: "internal/restore", name: "TestRowsRefusesWhatIsNoCount"}, {pkg: "actions", name: "TestMariaDBRowsThatAreUnknown"}},
	},
	{
		name: "part-for-the-sum", rule: "S6",
		says:  "rows that could not be counted are none in the price",
		edits: []edit{{"actions/mariadb_restore_rows.go", `q.Name, err)), "some"`, `q.Name, err)), ""`}},
		tests: []test{{pkg: "actions", name: "TestMariaDBRowsThatAreUnknown"}},
	},
	{
		name: "unknown-for-none", rule: "S6",
		says:  "the price calls what could not be counted nothing",
		edits: []edit{{"failover/plan/price.go", `	if c.Lacks != "" {`, `	if c.Lacks != "" && c.Items > 0 {`}},
		tests: []test{{pkg: "failover/plan", name: "TestPrice"}},
	},
	{
		name: "rows-since-a-torn-backup", rule: "S6",
		says:  "rows are counted since a backup that restores nothing",
		edits: []edit{{"actions/mariadb_restore_rows.go", `	return c.File, nil`, "	c.File = found[0].File\n	return c.File, nil"}},
		tests: []test{{pkg: "actions", name: "TestMariaDBRowsAtRisk"}},
	},
	{
		name: "rows-of-a-dump", rule: "S6",
		says:  "the price of a switchover counts rows as lost that its dump takes along",
		edits: []edit{{"failover/plan/price.go", `one.Lost && brought[`, `one.Items < 0 && brought[`}},
		tests: []test{{pkg: "failover/plan", name: "TestPriceOfASwitchover"}},
	},
	{
		name: "darkness-forgets-the-count", rule: "S6",
		says:  "what a region was known to hold alone is unknown as soon as it goes dark",
		edits: []edit{{"internal/daemon/at_risk.go", `(was.Lacks == "" || was`, `(was`}},
		tests: []test{{pkg: "internal/daemon", name: "TestCounts"}},
	},
	{
		name: "count-of-other-settings", rule: "S6",
		says:  "what was counted for a configuration that is no more in force is in the price",
		edits: []edit{{"internal/daemon/at_risk.go", ` || now.SettingsHash != s.SettingsHash`, ``}},
		tests: []test{{pkg: "internal/daemon", name: "TestCounts"}},
	},
}
