package main

// orders take the rules apart by which orders count.
var orders = []mutant{
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
