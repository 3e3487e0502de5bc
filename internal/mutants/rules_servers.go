package main

// servers are the rules of servers and hooks: what counts as stopped, and what is
// never done.
var servers = []mutant{
	{
		name: "stopping-is-stopped", rule: "S1",
		says: "an instance counts as stopped while it still shuts down",
		edits: []edit{{"actions/ec2_instances.go", `		case types.InstanceStateNameStopped, types.InstanceStateNameTerminated:
`, `		case types.InstanceStateNameStopped, types.InstanceStateNameTerminated, types.InstanceStateNameStopping:
`}},
		tests: []test{{pkg: "actions", name: "TestEC2InstancesStop"}},
	},
	{
		name: "nothing-found-is-stopped", rule: "S1",
		says: "a selector that finds no instance proves that all have stopped",
		edits: []edit{{"actions/ec2_instances.go", `	if len(out) == 0 {
`, `	if len(out) < 0 {
`}},
		tests: []test{{pkg: "actions", name: "TestEC2InstancesRefuse"}},
	},
	{
		name: "members-are-stopped", rule: "S1",
		says:  "a member of an Auto Scaling group is stopped by itself, and its group launches another",
		edits: []edit{{"actions/ec2_instances.go", `aws.ToString(t.Key) == groupTag {`, `aws.ToString(t.Key) == groupTag+"?" {`}},
		tests: []test{{pkg: "actions", name: "TestEC2InstancesRefuse"}},
	},
	{
		name: "running-is-serving", rule: "E3",
		says:  "an instance counts as started before its status checks pass",
		edits: []edit{{"actions/ec2_instances.go", `		case check == "ok":`, `		case check != "":`}},
		tests: []test{{pkg: "actions", name: "TestEC2InstancesStart"}},
	},
	{
		name: "group-may-launch", rule: "S1",
		says:  "an empty group counts as stopped although an alarm would launch instances again",
		edits: []edit{{"actions/asg.go", `	case !slices.Contains(p.Suspended, "Launch"):`, `	case !slices.Contains(p.Suspended, "Launch") && p.Max < 0:`}},
		tests: []test{{pkg: "actions", name: "TestASGStop"}},
	},
	{
		name: "hook-is-called-twice", rule: "E3",
		says:  "Go's transport makes a call again whose reply was lost",
		edits: []edit{{"actions/http_call.go", `		req.GetBody = nil`, `		_ = req.GetBody`}},
		tests: []test{{pkg: "actions", name: "TestHTTPCallIsMadeOnce"}},
	},
	{
		name: "hook-is-idempotent", rule: "E3",
		says:  "a hook counts as idempotent although nobody said so",
		edits: []edit{{"actions/http_call.go", `	if c.IdempotentCall {`, `	if c.IdempotentCall || c.URL != "" {`}},
		tests: []test{{pkg: "actions", name: "TestHTTPCallIsMadeOnce"}},
	},
}
