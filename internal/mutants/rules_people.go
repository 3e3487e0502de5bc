package main

// orders take the rules apart by which orders count.
var orders = []mutant{
	{
		name: "fork-by-optime-alone", rule: "L1",
		says: "a member that diverged without a sign, with the primary's optime, is fit to lead",
		edits: []edit{{"internal/replset/fork.go", `			f.Elections = append(f.Elections, e.OpTime)
`, ``}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteFindsForks"}},
	},
	{
		name: "fork-by-elections-alone", rule: "L1",
		says: "a member with writes of its own and no election since shows no fork",
		edits: []edit{{"internal/replset/fork.go", `		f.Unknown = true
`, ``}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteFindsATail"}},
	},
	{
		name: "irreversible-unasked", rule: "G8",
		says:  "nobody is warned of an automatic plan that does what nothing takes back without asking",
		edits: []edit{{"internal/config/lint.go", `st.NoReturn && st.Kind != failover.KindFence && !asked[st.ID]`, `false && !asked[st.ID]`}},
		tests: []test{{pkg: "internal/config", name: "TestLint"}},
	},
	{
		name: "one-node-suffices", rule: "S10",
		says: "with policy.two_nodes an order counts through one node",
		edits: []edit{{"failover/two_nodes.go", `	if !s.wantsTwo() || stops(c) || m.leads() {
		return nil
	}
	s.HalfOrders`, `	if true {
		return nil
	}
	s.HalfOrders`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/stolen-orders"}, {pkg: "failover", name: "TestOrdersThroughTwoNodes"}},
	},
	{
		name: "override-without-a-reason", rule: "E8",
		says:  "a step is allowed in mid-plan what it refused, and nobody has said why",
		edits: []edit{{"failover/apply_retry.go", `	case m.Why == "":`, `	case false:`}},
		tests: []test{{pkg: "failover", name: "TestAnOverrideInMidPlan"}},
	},
	{
		name: "override-unknown", rule: "E8",
		says:  "a step is allowed in mid-plan what it does not know: the person believes that it counts",
		edits: []edit{{"failover/apply_retry.go", `		if !slices.Contains(st.Overrides, name) {`, `		if false {`}},
		tests: []test{{pkg: "failover", name: "TestAnOverrideInMidPlan"}},
	},
	{
		name: "override-of-every-step", rule: "E8",
		says: "what one step is allowed in mid-plan all steps of the execution are",
		edits: []edit{{"failover/apply_retry.go", `	rec.Allowed = append(rec.Allowed, a)
`, `	for _, rec := range e.Steps {
		rec.Allowed = append(rec.Allowed, a)
	}
`}},
		tests: []test{{pkg: "failover", name: "TestAnOverrideInMidPlan"}},
	},
	{
		name: "override-outlives-its-end", rule: "E8",
		says: "an execution that is carried on goes by what was allowed before it ended, perhaps days ago",
		edits: []edit{{"failover/apply_continue.go", `		if !rec.Passed() {
			rec.Allowed`, `		if false {
			rec.Allowed`}},
		tests: []test{{pkg: "failover", name: "TestAnOverrideEndsWithItsExecution"}},
	},
	{
		name: "override-by-the-old-approval", rule: "E8",
		says:  "a step goes on with an override by an approval that was given without it",
		edits: []edit{{"failover/apply_retry.go", `	if e.Plan.Step(c.Step).Approval {`, `	if false {`}},
		tests: []test{{pkg: "failover", name: "TestAnOverrideIsApprovedAgain"}, {pkg: "failover", name: "TestOverridesOfRandomLogs"}},
	},
	{
		name: "allowed-under-an-open-question", rule: "S10",
		says:  "a step is allowed what it refused while a person is asked about it without that, and the answer counts for both",
		edits: []edit{{"failover/apply_retry.go", `q.Kind == "approval" && q.Step == c.Step {`, `q.Kind == "approval" && q.Step == "" {`}},
		tests: []test{{pkg: "failover", name: "TestAnOverrideBeforeTheApproval"}},
	},
	{
		name: "asked-without-the-allowance", rule: "S10",
		says:  "a question that was written before a step was allowed what it refused is answered after, and the answer counts for both",
		edits: []edit{{"failover/apply_exec.go", `s.Level() >= 3 && c.Allowed != n {`, `s.Level() >= 3 && c.Allowed > n {`}},
		tests: []test{{pkg: "failover", name: "TestAnOverrideBeforeTheApproval"}},
	},
	{
		name: "allowance-ends-a-hold", rule: "S10",
		says:  "an allowance of one person lets go on what another one holds",
		edits: []edit{{"failover/apply_retry.go", `	if held && c.allows() {`, `	if held && c.Step == "" {`}},
		tests: []test{{pkg: "failover", name: "TestAnOverrideEndsNoHold"}},
	},
	{
		name: "override-while-approved-work-runs", rule: "E8",
		says:  "a step that acts by an approval is allowed more than was approved",
		edits: []edit{{"failover/apply_retry.go", `	case e.Step(c.Step).State == StepRunning && st.Approval:`, `	case false:`}},
		tests: []test{{pkg: "failover", name: "TestAnOverrideIsApprovedAgain"}},
	},
	{
		name: "override-approved-by-who-asked", rule: "E8",
		says:  "who has a step do what it refused approves that himself",
		edits: []edit{{"failover/apply_exec.go", `	case !m.leads() && e.Step(q.Step).allowedBy(m.By):`, `	case false:`}},
		tests: []test{{pkg: "failover", name: "TestAnOverrideIsApprovedAgain"}, {pkg: "failover", name: "TestAnOverrideThroughTwoNodes"}},
	},
	{
		name: "override-approved-by-its-second-half", rule: "S10",
		says:  "who gave one half of an override approves it",
		edits: []edit{{"failover/apply_retry.go", `return a.By == who || a.With == who`, `return a.By == who`}},
		tests: []test{{pkg: "failover", name: "TestAnOverrideThroughTwoNodes"}},
	},
	{
		name: "override-not-in-the-question", rule: "E8",
		says:  "a person approves a step and is not told what it was allowed",
		edits: []edit{{"actions/approval.go", `	if len(rec.Allowed) > 0 {`, `	if false {`}},
		tests: []test{{pkg: "actions", name: "TestWhatWasAllowedIsInTheQuestion"}},
	},
	{
		name: "override-unheard", rule: "E8",
		says:  "what a person has allowed a step does not reach its action",
		edits: []edit{{"actions/allow.go", `		x.Allow(rec.Lifted(), rec.Key())`, `		x.Allow(nil, "")`}},
		tests: []test{{pkg: "actions", name: "TestAnAllowedStepIsDone"}, {pkg: "actions", name: "TestAStepUnderWayIsAllowed"}},
	},
	{
		name: "restore-override-unheard", rule: "E8",
		says: "a restore does not do what a person has allowed it in mid-plan",
		edits: []edit{{"actions/mariadb_restore_run.go", `		x.allow = append(x.allow, restore.Override(o))
`, `		_ = o
`}},
		tests: []test{{pkg: "actions", name: "TestARestoreThatIsAllowedInMidPlan"}},
	},
	{
		name: "restore-key-unheard", rule: "E8",
		says:  "a restore takes another backup than the one that a person has named in mid-plan",
		edits: []edit{{"actions/mariadb_restore_run.go", `cmp.Or(key, x.cfg.Key)`, `cmp.Or(x.cfg.Key, "")`}},
		tests: []test{{pkg: "actions", name: "TestARestoreThatIsAllowedInMidPlan"}},
	},
	{
		name: "mongo-override-unheard", rule: "E8",
		says:  "a promotion does not do what a person has allowed it in mid-plan",
		edits: []edit{{"actions/mongo_promote.go", `slices.Concat(x.cfg.Allow, overrides)`, `slices.Concat(x.cfg.Allow, overrides[:0])`}},
		tests: []test{{pkg: "actions", name: "TestAPromotionThatIsAllowedInMidPlan"}},
	},
	{
		name: "override-shared-with-a-copy", rule: "S7",
		says: "what a step is allowed changes in a copy of the state that readers hold",
		edits: []edit{{"failover/apply_retry.go", `	rec.Allowed = append(rec.Allowed, a)
`, `	if n := len(rec.Allowed); n > 0 {
		rec.Allowed[0].Overrides = append(rec.Allowed[0].Overrides, names...)
	} else {
		rec.Allowed = append(rec.Allowed, a)
	}
`}, {"failover/execution.go", `		cp.Allowed = slices.Clone(r.Allowed)
`, ``}},
		tests: []test{{pkg: "failover", name: "TestOverridesOfRandomLogs"}},
	},
	{
		name: "override-unread", rule: "E8",
		says: "an override in mid-plan is proposed to members that cannot read it",
		edits: []edit{{"failover/level.go", `		if c.allows() {
			return 3
		}
`, ``}},
		tests: []test{{pkg: "failover", name: "TestAnOverrideInMidPlan"}},
	},
	{
		name: "one-node-twice", rule: "S10",
		says:  "with policy.two_nodes an order counts that one node has given twice",
		edits: []edit{{"failover/two_nodes.go", `h.says(c) && h.Node != m.Node {`, `h.says(c) {`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/stolen-orders"}, {pkg: "failover", name: "TestOrdersThroughTwoNodes"}},
	},
	{
		name: "another-order-completes", rule: "S10",
		says: "the second node may say something else: a request with overrides completes one without",
		edits: []edit{{"failover/two_nodes.go", `	_, digest := written(c)
	return h.Command == c.Name() && h.Digest == digest
`, `	return h.Command == c.Name()
`}},
		tests: []test{{pkg: "failover", name: "TestOrdersThroughTwoNodes"}},
	},
	{
		name: "half-orders-for-ever", rule: "S10",
		says:  "an order that nobody completed waits for ever for a second node",
		edits: []edit{{"failover/two_nodes.go", `return !m.At.Before(h.Until()) })`, `return false })`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/stolen-orders"}, {pkg: "failover", name: "TestOrdersThroughTwoNodes"}},
	},
	{
		name: "first-asker-approves", rule: "S9",
		says:  "who gave the first half of a request may approve it",
		edits: []edit{{"failover/apply_exec.go", ` || m.By == e.With):`, `):`}},
		tests: []test{{pkg: "failover", name: "TestNeitherAskerApproves"}},
	},
	{
		name: "half-order-used-twice", rule: "S10",
		says: "the first half of an order that was carried out completes the next one",
		edits: []edit{{"failover/two_nodes.go", `		return true
	})
}`, `		return false
	})
}`}},
		tests: []test{{pkg: "failover", name: "TestOrdersThroughTwoNodes"}},
	},
	{
		name: "undo-through-one-node", rule: "S10",
		says: "abort --undo, which makes something happen, counts through one node",
		edits: []edit{{"failover/two_nodes.go", `		return !c.Undo
`, `		return !c.Undo || true
`}},
		tests: []test{{pkg: "failover", name: "TestOneNodeStops"}},
	},
	{
		name: "leader-needs-a-second-node", rule: "G8",
		says: "with policy.two_nodes the leader's own withdrawal waits for a second node, and the healthy region stays stopped",
		edits: []edit{{"failover/two_nodes.go", `	if !s.wantsTwo() || stops(c) || m.leads() {
`, `	if !s.wantsTwo() || stops(c) {
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G8"}, {pkg: "failover", name: "TestTheLeaderNeedsNoSecondNode"}},
	},
	{
		name: "order-of-nobody", rule: "S10",
		says: "what a node forwards without a name is taken for the leader's own",
		edits: []edit{{"consensus/node.go", `	if m.By == "" {
		m.By = "node " + string(through)`, `	if m.By == "" && false {
		m.By = "node " + string(through)`}},
		tests: []test{{pkg: "consensus", name: "TestReceive"}},
	},
	{
		name: "drill-through-two-nodes", rule: "S10",
		says:  "with policy.two_nodes what a drill has found waits for a second node, which never says the same",
		edits: []edit{{"failover/two_nodes.go", `SaveMessage, RecordDrill, BeginDrill,`, `SaveMessage, BeginDrill,`}},
		tests: []test{{pkg: "failover", name: "TestOneNodeStops"}},
	},
}
