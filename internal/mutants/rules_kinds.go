package main

// kinds are the rules of what counts as stopped or started, kind by kind.
var kinds = []mutant{
	{
		name: "leave-beyond-the-lease", rule: "G5",
		says: "a function gets leave although it may outlive the lease",
		edits: []edit{{"fence/served.go", `	if need > left {
`, `	if need > left+longestNeed {
`}},
		tests: []test{{pkg: "fence", name: "TestServed"}},
	},
	{
		name: "leave-is-forgotten", rule: "G7",
		says: "the agent reports that all have stopped while a function that has leave may still run",
		edits: []edit{{"fence/served.go", `	return s.on || s.clock.Boot() < s.busy
`, `	return s.on
`}},
		tests: []test{{pkg: "fence", name: "TestServed"}},
	},
	{
		name: "control-plane-makes-down", rule: "D4",
		says: "a control plane that is dead counts as a kind of signal that makes a region down",
		edits: []edit{{"monitor/verdict.go", `		if !s.Data() {
			if`, `		if s.Plane == failover.PlaneUpkeep {
			if`}},
		tests: []test{{pkg: "monitor", name: "TestVerdict"}},
	},
	{
		name: "upkeep-makes-down", rule: "D4",
		says: "a certificate that runs out counts as a kind of signal that makes a region down",
		edits: []edit{{"monitor/verdict.go", `		if !s.Data() {
			if`, `		if s.Plane == failover.PlaneControl {
			if`}},
		tests: []test{{pkg: "monitor", name: "TestVerdict"}},
	},
	{
		name: "terminate-suspended", rule: "E3",
		says:  "a group is emptied with Terminate suspended: nothing ends",
		edits: []edit{{"actions/asg.go", `var returning = []string{"Launch",`, `var returning = []string{"Terminate", "Launch",`}},
		tests: []test{{pkg: "actions", name: "TestASGStop"}},
	},
	{
		name: "waiting-instances-are-gone", rule: "S1",
		says: "instances that still exist do not matter once none is wanted",
		edits: []edit{{"actions/asg.go", `	case len(left) > 0:
		e.State, e.Ending = Partial, ending
`, `	case len(left) > 9:
		e.State, e.Ending = Partial, ending
`}},
		tests: []test{{pkg: "actions", name: "TestASGStop"}},
	},
	{
		name: "launched-is-serving", rule: "E3",
		says: "what was launched counts as serving",
		edits: []edit{{"actions/asg.go", `		if i.LifecycleState == types.LifecycleStateInService && aws.ToString(i.HealthStatus) == "Healthy" {
`, `		if i.LifecycleState != types.LifecycleStateTerminated {
`}},
		tests: []test{{pkg: "actions", name: "TestASGStart"}},
	},
	{
		name: "disabled-is-ended", rule: "S1",
		says: "functions count as ended as soon as their event source is off",
		edits: []edit{{"actions/lambda_event_source.go", `	default:
		return s.ended(ctx, all, e)
`, `	default:
		e.State = Present
`}},
		tests: []test{{pkg: "actions", name: "TestLambdaEventSource"}},
	},
	{
		name: "two-clocks-compared", rule: "G6",
		says:  "the end of an invocation is counted from AWS's clock alone",
		edits: []edit{{"actions/lambda_event_source.go", `time.Since(newest) >= longest+clocksDiffer {`, `time.Since(newest) >= longest {`}},
		tests: []test{{pkg: "actions", name: "TestLambdaWaitsOnItsOwnClock"}},
	},
	{
		name: "autoscaler-awake", rule: "S1",
		says: "a service counts as stopped although its autoscaler would start it again",
		edits: []edit{{"actions/ecs_service.go", `	case scale.wakes():
`, `	case scale.wakes() && false:
`}},
		tests: []test{{pkg: "actions", name: "TestECSAutoscaler"}},
	},
	{
		name: "cut-off-instance-believed", rule: "S1",
		says: "what ECS says of a task on an instance that is cut off is believed",
		edits: []edit{{"actions/ecs_scaling.go", `		if !i.AgentConnected {
`, `		if !i.AgentConnected && false {
`}},
		tests: []test{{pkg: "actions", name: "TestECSDisconnectedInstance"}},
	},
	{
		name: "empty-function-list", rule: "E8", takes: "empty selector means all",
		says: "an empty list of functions is accepted, and AWS lists the mappings of all",
		edits: []edit{{"actions/lambda_event_source.go", `	case len(c.Functions) == 0:
		return badParam("functions", "is empty; an empty list never means all functions")
`, ``}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/P16"}, {pkg: "actions", name: "TestLambdaParameters"}},
	},
	{
		name: "partial-fence-is-proof", rule: "S1",
		says: "a network fence counts as a proof although one of its subnets is open, or is not what was checked",
		edits: []edit{{"actions/nacl.go", `	case closed < n || e.Lacks != "":
`, `	case false:
`}},
		tests: []test{{pkg: "actions", name: "TestNACLProvesWhenItIsWhole"}, {pkg: "actions", name: "TestNACLWithoutOneSubnet"}},
	},
	{
		name: "fence-with-a-hole", rule: "S1",
		says: "a network ACL that lets something pass counts as a fence",
		edits: []edit{{"actions/nacl.go", `		if e.RuleAction != types.RuleActionDeny {
`, `		if false {
`}},
		tests: []test{{pkg: "actions", name: "TestNACLProvesWhenItIsWhole"}, {pkg: "actions", name: "TestNACLRefuses"}},
	},
	{
		name: "fence-undone-with-another", rule: "E2",
		says: "the undo of a network fence gives each subnet the ACL of the fence, and not the one that it had",
		edits: []edit{{"actions/nacl.go", `		case known:
			want[id] = acl
`, `		case known && acl != "":
			want[id] = x.cfg.ACL[x.region]
`}},
		tests: []test{{pkg: "actions", name: "TestNACLIsTakenBack"}, {pkg: "actions", name: "TestNACLUndoNeedsNoFence"}},
	},
	{
		name: "undo-needs-the-fence", rule: "E2",
		says: "what a network fence has cut off is not opened again once somebody has changed the ACL of the fence",
		edits: []edit{{"actions/nacl.go", `		if a.acl != deny || s.why() != "" {
`, `		if s.open != "" {
			return Effect{}, errors.New(s.open)
		}
		if a.acl != deny || s.why() != "" {
`}},
		tests: []test{{pkg: "actions", name: "TestNACLIsTakenBack"}, {pkg: "actions", name: "TestNACLUndoNeedsNoFence"}},
	},
	{
		name: "settling-fence-is-violated", rule: "S8",
		says:  "to the next leader a network fence that stands seems broken, and people are woken",
		edits: []edit{{"actions/nacl.go", `		e.State = Unknown // for`, `		e.State = Partial // for`}},
		tests: []test{{pkg: "actions", name: "TestNACLIsHeldByTheNextLeader"}},
	},
	{
		name: "fence-lifted-over-the-living", rule: "S1",
		says: "what was only cut off in a region is let loose there when the service comes back",
		edits: []edit{{"failover/guards.go", `	to := s.Settings.Other(s.Active)
	for _, h`, `	to := s.Active
	for _, h`}},
		tests: []test{{pkg: "failover", name: "TestWhatIsOnlyCutOffIsNotLetLoose"}},
	},
	{
		name: "two-fences-are-a-death", rule: "S1",
		says:  "a second fence shows that what is behind the first has ended",
		edits: []edit{{"failover/guards.go", `	return class != Resource && part != nil`, `	return part != nil`}},
		tests: []test{{pkg: "failover", name: "TestWhatIsOnlyCutOffIsNotLetLoose"}},
	},
	{
		name: "cut-off-is-ended", rule: "S1",
		says:  "what was only cut off when a region was left counts as ended when it is entered again",
		edits: []edit{{"failover/execution.go", `ev.Void == "" && ev.Class != Resource && (StopSpec`, `ev.Void == "" && (StopSpec`}},
		tests: []test{{pkg: "failover", name: "TestHoldsKnowWhetherItHasEnded"}},
	},
	{
		name: "a-new-name-lifts-the-fence", rule: "S1",
		says: "what was cut off under a name that is configured no more is let loose",
		edits: []edit{{"failover/guards.go", `	return slices.ContainsFunc(s.Components, func(c ComponentSpec) bool {
		return c.Stop != nil &&`, `	return slices.ContainsFunc(s.Components, func(c ComponentSpec) bool {
		return c.Name == "workers" && c.Stop != nil &&`}},
		tests: []test{{pkg: "failover", name: "TestWhatIsOnlyCutOffIsNotLetLoose"}},
	},
	{
		name: "opening-with-an-inventory", rule: "L1",
		says:  "a subnet that is configured no more keeps all others cut off",
		edits: []edit{{"actions/nacl_open.go", `Effect{Previous: previous, Detail:`, `Effect{Previous: previous, Inventory: n, Detail:`}},
		tests: []test{{pkg: "actions", name: "TestNACLOpening"}},
	},
	{
		name: "epoch-over-an-applied-hold", rule: "S8",
		says:  "a region becomes active in which something is being stopped again at that moment",
		edits: []edit{{"failover/apply_evidence.go", `s.StopsUnderWay(e.To, "", m.At)`, `s.StopsUnderWay(e.From, "", m.At)`}},
		tests: []test{{pkg: "failover", name: "TestNoEpochWhileAHoldIsApplied"}},
	},
	{
		name: "opened-before-the-fence", rule: "S1",
		says:  "the network of the region that is entered is opened before the other region has provably stopped",
		edits: []edit{{"failover/plan/plan.go", `Params: a.Opens[p.To], After: []failover.StepID{FenceID},`, `Params: a.Opens[p.To], Prepare: true,`}},
		tests: []test{{pkg: "failover/plan", name: "TestOpenings"}},
	},
	{
		name: "opening-takes-what-is-others", rule: "E2",
		says: "the opening of a network gives subnets its ACL that nobody had cut off",
		edits: []edit{{"actions/nacl_open.go", `		if acl == x.cfg.ACL[x.region] {
			return x.cfg.Open[x.region]`, `		if acl != "" {
			return x.cfg.Open[x.region]`}},
		tests: []test{{pkg: "actions", name: "TestNACLOpening"}},
	},
	{
		name: "half-a-warm-pool", rule: "G7",
		says: "of a warm pool only the first fifty instances are looked at, and the group counts as stopped while another one runs",
		edits: []edit{{"actions/asg.go", `pages.HasMorePages(); { // 50 at a time
`, `pages != nil; pages = nil { // 50 at a time
`}},
		tests: []test{{pkg: "actions", name: "TestASGStop"}},
	},
	{
		name: "pods-of-a-deleted-job", rule: "G7",
		says:  "the pods of a job that was deleted are nobody's, and their CronJob counts as stopped while they run",
		edits: []edit{{"internal/kube/pods.go", `			return of || !there &&`, `			return of || false && !there &&`}},
		tests: []test{{pkg: "actions", name: "TestKubernetesCronJob"}},
	},
	{
		name: "kubernetes-change-after-its-deadline", rule: "E2",
		says: "a change in a cluster is tried again after its deadline, because the API server said Retry-After",
		edits: []edit{{"internal/kube/kube.go", `	cfg.Wrap(inTime)
`, ``}, {"internal/kube/kube.go", `func inTime(`, `func _(`}},
		tests: []test{{pkg: "internal/kube", name: "TestNoChangeAfterItsDeadline"}},
	},
	{
		name: "capacity-launches-in-earnest", rule: "S8",
		says:  "the dry run of the capacity check launches",
		edits: []edit{{"probes/capacity_look.go", `DryRun: aws.Bool(true)`, `DryRun: aws.Bool(false)`}},
		tests: []test{{pkg: "probes", name: "TestCapacityLaunchesNothing"}},
	},
	{
		name: "capacity-from-the-region-that-failed", rule: "L1",
		says:  "an image in the registry of the region that is left counts as there",
		edits: []edit{{"probes/capacity_look.go", `	case i.reference.region != string(s.region):`, `	case false:`}},
		tests: []test{{pkg: "probes", name: "TestCapacity"}},
	},
	{
		name: "capacity-unread-is-there", rule: "L1",
		says: "what could not be looked at counts as there",
		edits: []edit{{"probes/capacity.go", `	case len(s.unread) > 0:
`, `	case false:
`}},
		tests: []test{{pkg: "probes", name: "TestCapacity"}},
	},
	{
		name: "capacity-one-by-one", rule: "L1",
		says: "each service's addresses are counted as if it were alone in its subnets",
		edits: []edit{{"probes/capacity_look.go", `	case need > all:
`, `	case false:
`}},
		tests: []test{{pkg: "probes", name: "TestCapacity"}},
	},
	{
		name: "backup-cut-off-counts", rule: "L1",
		says: "a backup without its end counts as one that could be restored",
		edits: []edit{{"internal/dump/dump.go", `			if !last && !head {
				return s, ErrIncomplete
			}
`, ``}},
		tests: []test{{pkg: "probes", name: "TestMariaDBBackup"}, {pkg: "internal/dump", name: "TestReadReal"}},
	},
	{
		name: "backup-as-young-as-its-copy", rule: "S7",
		says: "a backup is as young as S3 says, whatever its name says",
		edits: []edit{{"internal/backup/backup.go", `	if named.Before(asOf) {
`, `	if named.Before(asOf) && false {
`}},
		tests: []test{{pkg: "probes", name: "TestMariaDBBackup"}},
	},
	{
		name: "share-of-tasks-wants-fewer", rule: "L1",
		says:  "a start that is content with a share of its tasks is done with fewer than that",
		edits: []edit{{"actions/ecs_service.go", `case svc.RunningCount < need:`, `case svc.RunningCount+1 < need:`}},
		tests: []test{{pkg: "actions", name: "TestECSStartWithAShare"}},
	},
	{
		name: "backup-of-the-dark-region", rule: "S7",
		says:  "what would be lost is counted by the backup in the region that fails",
		edits: []edit{{"internal/daemon/survey.go", `v.Verdict.Region != s.Active && sig.LastWrite.After(old)`, `sig.LastWrite.After(old)`}},
		tests: []test{{pkg: "internal/daemon", name: "TestLosses"}},
	},
	{
		name: "backup-replaced-while-read", rule: "L1",
		says:  "a backup that is replaced while it is read is read on",
		edits: []edit{{"internal/backup/backup.go", `IfMatch: &f.ETag, `, ``}},
		tests: []test{{pkg: "probes", name: "TestMariaDBBackupThatIsReplaced"}},
	},
	{
		name: "restore-by-a-stale-token", rule: "E4",
		says: "a restore goes on although a newer token stands in the server",
		edits: []edit{{"internal/restore/claim.go", `	if now.token > r.o.Token {
`, `	if now.token > r.o.Token && now.state == "" {
`}},
		tests: []test{{pkg: "internal/restore", name: "TestStale"}, {pkg: "actions", name: "TestMariaDBRestore"}},
	},
	{
		name: "restore-beside-an-earlier-one", rule: "E4",
		says:  "a restore does not end the earlier run whose connection still lives",
		edits: []edit{{"internal/restore/claim.go", `"KILL "+holder`, `"DO "+holder`}},
		tests: []test{{pkg: "internal/restore", name: "TestStale"}},
	},
	{
		name: "restore-swap-without-its-turn", rule: "E4",
		says:  "the swap does not rename the table that holds the token",
		edits: []edit{{"internal/restore/swap.go", `slices.Concat(pairs, from, to)`, `slices.Concat(pairs[1:], from, to)`}},
		tests: []test{{pkg: "internal/restore", name: "TestDeath"}},
	},
	{
		name: "restore-unread", rule: "L1",
		says: "a backup that is cut off is restored",
		edits: []edit{{"internal/restore/examine.go", `			if errors.Is(e, of) {
				return unfit(r.o.File, e.Error())
			}
`, `			if errors.Is(e, of) {
				h.err, err = nil, nil
			}
`}},
		tests: []test{{pkg: "internal/restore", name: "TestRefuses"}},
	},
	{
		name: "restore-with-events-on", rule: "S1",
		says:  "the events of a backup run in a region that is not stable",
		edits: []edit{{"internal/restore/objects.go", `	return text[:m[2]] + "DISABLE" + text[m[3]:], nil`, `	return text, nil`}},
		tests: []test{{pkg: "internal/restore", name: "TestRestore"}},
	},
	{
		name: "restore-twice-in-an-epoch", rule: "E2",
		says: "what the service has written since a restore is lost to a second one",
		edits: []edit{{"internal/restore/restore.go", `	mine := row.epoch == o.Epoch
`, `	mine := row.epoch == o.Epoch && row.key == ""
`}},
		tests: []test{{pkg: "actions", name: "TestMariaDBRestore"}},
	},
	{
		name: "swap-without-all-rows", rule: "S7",
		says: "a row that one of several connections could not put is missing from what is swapped in",
		edits: []edit{{"internal/restore/fill.go", `	if err == nil {
		err = context.Cause(f.ctx)
	}
`, ``}},
		tests: []test{{pkg: "internal/restore", name: "TestARowThatCannotBePut"}},
	},
	{
		name: "rows-in-any-order", rule: "S7",
		says:  "rows of a table without a primary key lie in another order than in the backup",
		edits: []edit{{"internal/restore/fill.go", `!strings.Contains(text, "PRIMARY KEY"):`, `strings.Contains(text, "PRIMARY KEYS"):`}},
		tests: []test{{pkg: "internal/restore", name: "TestRestore"}},
	},
	{
		name: "work-before-its-data", rule: "E1",
		says:  "workers begin to work on a database that nobody has restored",
		edits: []edit{{"failover/plan/plan.go", `		if id, ok := starts[dep]; ok {`, `		if id, ok := starts[dep]; ok && dep != "mariadb" {`}},
		tests: []test{{pkg: "internal/sim", name: "TestWorkWaitsForItsData"}},
	},
	{
		name: "restore-over-new-rows", rule: "S7",
		says: "rows that were written since the execution began are restored over",
		edits: []edit{{"internal/restore/target.go", `		if len(written) > 0 {
`, `		if len(written) > 0 && r.o.Epoch == 0 {
`}},
		tests: []test{{pkg: "internal/restore", name: "TestRefuses"}},
	},
}
