package main

// servers are the rules of servers and hooks: what counts as stopped, and what is
// never done.
var servers = []mutant{
	{
		name: "autoscaler-keeps-the-tasks", rule: "L1",
		says: "tasks are not asked for as long as their autoscaler cannot be woken",
		edits: []edit{{"actions/ecs_service.go", `			a.Report("%v; the tasks are asked for all the same", asleep)
`, `			return asleep
`}},
		tests: []test{{pkg: "actions", name: "TestECSStartsBesideItsAutoscaler"}},
	},
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
	{
		name: "drill-that-reads", rule: "L1",
		says: "a restore lets a drill go on that reads its file and has loaded nothing yet",
		edits: []edit{{"internal/restore/claim.go", `	if err := r.endDrill(ctx); err != nil {
		return row{}, err
	}
`, ``}},
		tests: []test{{pkg: "internal/restore", name: "TestDrillIsNeverInTheWay"}},
	},
	{
		name: "drill-behind", rule: "S8",
		says:  "a node that has missed a change of region loads a whole backup beside what is live there",
		edits: []edit{{"internal/restore/drill.go", `	if now.epoch > r.o.Epoch {`, `	if now.epoch > r.o.Epoch+99 {`}},
		tests: []test{{pkg: "internal/restore", name: "TestDrillIsNeverInTheWay"}},
	},
	{
		name: "drill-goes-on", rule: "L1",
		says: "a drill goes on although an execution has begun that may need its server",
		edits: []edit{{"internal/daemon/drill.go", `		if err := d.core.Node().State().Quiet(); err != nil {
			cancel(`, `		if err := d.core.Node().State().Quiet(); err != nil && false {
			cancel(`}},
		tests: []test{{pkg: "internal/daemon", name: "TestDrillEnds"}},
	},
	{
		name: "drill-without-a-leader", rule: "L1",
		says:  "a drill goes on although its node does not hear of executions any more",
		edits: []edit{{"internal/daemon/drill.go", `time.Since(led) >= drillAlone {`, `time.Since(led) >= 99*drillAlone {`}},
		tests: []test{{pkg: "internal/daemon", name: "TestDrillEnds"}},
	},
	{
		name: "drill-left-at-the-stop", rule: "L1",
		says: "a node that is stopped leaves what its drill has loaded",
		edits: []edit{{"internal/daemon/daemon.go", `	d.onStop("drills", d.drained) // after the servers have ended them
`, ``}},
		tests: []test{{pkg: "internal/daemon", name: "TestDrillEnds"}},
	},
	{
		name: "drill-of-the-other-direction", rule: "S9",
		says:  "readiness shows what was tried out of the other region's server, or under another configuration",
		edits: []edit{{"internal/daemon/drill.go", `ok = ok && last.Of == st.Fingerprint()`, `ok = ok && last.Of != ""`}},
		tests: []test{{pkg: "internal/daemon", name: "TestDrillIsKept"}},
	},
	{
		name: "drill-during-an-execution", rule: "L1",
		says: "the log lets a drill begin while an execution is open",
		edits: []edit{{"failover/drill.go", `	if err := s.Quiet(); err != nil {
		return nil, err
	}
`, ``}},
		tests: []test{{pkg: "failover", name: "TestQuiet"}},
	},
	{
		name: "drill-held-up", rule: "L1",
		says:  "who does not read what a drill says holds it up, and with it the server",
		edits: []edit{{"internal/admin/drill.go", `	err := stream.SetWriteDeadline(time.Now().Add(drillPatience))`, `	err := stream.SetWriteDeadline(time.Now().Add(99 * drillPatience))`}},
		tests: []test{{pkg: "internal/admin", name: "TestDrillOfAStoppedTerminal"}},
	},
	{
		name: "forced-forgotten", rule: "S1",
		says: "members that a forced promotion has left behind are taken for a set that is well, once nobody answers that went on",
		edits: []edit{{"internal/replset/judge.go", `why != "" {
		f.Way, f.Detail, f.Override = Stuck, why, LeftBehind`, `why != "" && false {
		f.Way, f.Detail, f.Override = Stuck, why, LeftBehind`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteRemembersWhatItHasForced"}, {pkg: "internal/replset", name: "TestJudgeKnowsWhatWasForced"}},
	},
	{
		name: "forced-not-written", rule: "E2",
		says:  "a set is forced although the log does not say so",
		edits: []edit{{"actions/mongo_promote.go", `!slices.Equal(begun.Forced, f.Keep) || begun.Version != f.Config.Version {`, `begun.Version < 0 {`}, {"actions/mongo_promote.go", `err := json.Unmarshal(a.Previous, &begun); err != nil || `, `err := json.Unmarshal(a.Previous, &begun); err != nil && f.Config == nil || `}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteRemembersWhatItHasForced"}},
	},
	{
		name: "forced-of-the-failed-forgotten", rule: "S1",
		says:  "a forced promotion is forgotten when a later one has failed",
		edits: []edit{{"actions/mongo_promote.go", `if began != nil || rec.State == failover.StepDone {`, `if true {`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteRemembersWhatItHasForced"}},
	},
	{
		name: "forced-without-a-majority", rule: "L1",
		says:  "a forced promotion that cannot have come to pass stands in the way for ever",
		edits: []edit{{"internal/replset/forced.go", `	if len(f.Hosts)-without < len(f.Hosts)/2+1 {`, `	if without > len(f.Hosts) {`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudgeKnowsWhatWasForced"}},
	},
	{
		name: "forced-by-terms", rule: "S1",
		says:  "after a forced promotion and an ordinary reconfiguration a side that was left behind is newer, if it has held more elections",
		edits: []edit{{"internal/replset/forced.go", `a != nil && (a.Version >= f.Floor) != (b.Version >= f.Floor) {`, `a != nil && false {`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudgeKnowsWhatWasForced"}},
	},
	{
		name: "past-of-one-direction", rule: "S1",
		says:  "an action is not told what earlier executions did with its step",
		edits: []edit{{"internal/daemon/world.go", `append(slices.Clone(s.History), s.Execution) {`, `append(slices.Clone(s.History)[:0], s.Execution) {`}},
		tests: []test{{pkg: "internal/daemon", name: "TestPast"}},
	},
	{
		name: "mongo-default-unasked", rule: "S9",
		says:  "nobody is told on a quiet day that the server will refuse a forced promotion, since nobody has set its default write concern",
		edits: []edit{{"internal/replset/look.go", `			v.Implicit = def.Source == "implicit"`, `			v.Implicit = def.Source == "nobody"`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteKnowsTheDefaultWriteConcern"}},
	},
	{
		name: "drill-not-tried-failed", rule: "S9",
		says:  "a drill that did not come as far as trying anything says of the start that it would fail",
		edits: []edit{{"internal/daemon/drill.go", `	if errors.Is(err, actions.ErrNotTried) {`, `	if errors.Is(err, actions.ErrNotTried) && c == "" {`}},
		tests: []test{{pkg: "internal/daemon", name: "TestDrillIsKept"}},
	},
	{
		name: "mysql-read-only-is-well", rule: "S6",
		says:  "a region in which no server takes writes is seen well",
		edits: []edit{{"probes/mysql.go", `		if said && !readOnly && !writable {`, `		if said && !readOnly && !writable && i < 0 {`}},
		tests: []test{{pkg: "probes", name: "TestMySQL"}},
	},
	{
		name: "mysql-replica-beside-its-primary", rule: "S6",
		says:  "a region is down because one of its servers takes no writes, although another does",
		edits: []edit{{"probes/mysql.go", `writable = writable || results[i].outcome != failover.Failed && s.readOnly == ""`, `writable = i == 0 || writable && s.readOnly == ""`}},
		tests: []test{{pkg: "probes", name: "TestMySQLSeveral"}},
	},
	{
		name: "mysql-replica-down-with-its-source", rule: "L1",
		says:  "a standby whose replication ended with the region that it follows is down, and no failover goes there",
		edits: []edit{{"probes/mysql.go", `results[i].outcome, results[i].reason = failover.Slow, reason`, `results[i].outcome, results[i].reason = failover.Failed, reason`}},
		tests: []test{{pkg: "probes", name: "TestMySQLReplication"}},
	},
	{
		name: "mysql-mistake-votes", rule: "S6",
		says: "a region is down for a password that was changed",
		edits: []edit{{"probes/mysql_look.go", `	case mysqlRefused[code]:
		return mistake(`, `	case mysqlRefused[code]:
		return result{outcome: failover.Failed, reason: failover.ReasonAuth}
	case false:
		return mistake(`}},
		tests: []test{{pkg: "probes", name: "TestMySQLMistakes"}},
	},
	{
		name: "mysql-any-error-votes", rule: "S6",
		says: "whatever error a server answers with is a vote",
		edits: []edit{{"probes/mysql_look.go", `	case code != 0:
		return mistake(failover.ReasonConfig, "%v", err)`, `	case code == 1:
		return mistake(failover.ReasonConfig, "%v", err)`}},
		tests: []test{{pkg: "probes", name: "TestMySQLErrors"}},
	},
	{
		name: "mysql-full-is-dead", rule: "S6",
		says:  "a server that has as many clients as it may have is down",
		edits: []edit{{"probes/mysql_look.go", `	mysqlReadOnly: failover.ReasonRole, 1792`, `	mysqlFull: failover.ReasonServerError, mysqlReadOnly: failover.ReasonRole, 1792`}, {"probes/mysql_look.go", `	case code == mysqlFull:`, `	case false:`}},
		tests: []test{{pkg: "probes", name: "TestMySQLErrors"}},
	},
	{
		name: "mysql-hung-is-our-mistake", rule: "S6",
		says:  "a server that hangs with all of our connections is a mistake of ours, and no vote",
		edits: []edit{{"probes/mysql_look.go", `(code == mysqlMine || code == mysqlMyLimit ||`, `(code == mysqlMine ||`}},
		tests: []test{{pkg: "probes", name: "TestMySQLServesNobody"}},
	},
	{
		name: "mysql-writes-to-a-replica", rule: "S8",
		says:  "the canary is written to a server that replicates",
		edits: []edit{{"probes/mysql.go", `said && !readOnly && cmp.Or(c.ReplicaOf[r], none) == none`, `said && !readOnly`}},
		tests: []test{{pkg: "probes", name: "TestMySQLParameters"}},
	},
	{
		name: "mysql-nonsense-is-well", rule: "S6",
		says:  "a server whose answer is in no form that a server gives is seen well",
		edits: []edit{{"probes/mysql_look.go", `			err = errPanic{said}`, `			err = nil`}},
		tests: []test{{pkg: "probes", name: "TestMySQLHangs"}},
	},
	{
		name: "mysql-idle-is-failed", rule: "S6",
		says:  "a server that has closed an idle connection is seen failing",
		edits: []edit{{"probes/mysql_look.go", `s.conn.ResetSession(ctx) != nil) {`, `s.conn == nil) {`}},
		tests: []test{{pkg: "probes", name: "TestMySQLKeepsItsConnection"}},
	},
	{
		name: "mysql-waits-for-a-lock", rule: "S10",
		says:  "what waits for a lock stays in the server when nobody waits for its answer any more",
		edits: []edit{{"probes/mysql_look.go", `"lock_wait_timeout": patience, `, ``}},
		tests: []test{{pkg: "probes", name: "TestMySQLServesNobody"}},
	},
	{
		name: "mysql-writes-to-who-replicates", rule: "S8",
		says:  "the canary is written to a writable replica, whose replication it stops, because the configuration says nothing of it",
		edits: []edit{{"probes/mysql_look.go", `st.spared = write && len(st.sources) > 0`, `st.spared = write && len(st.sources) > mostRows`}},
		tests: []test{{pkg: "probes", name: "TestMySQLWritesToNoReplica"}},
	},
	{
		name: "mysql-one-row-for-all-servers", rule: "S6",
		says:  "the nodes of a Galera cluster are told to write the same row at the same instant, and all but one refuse",
		edits: []edit{{"probes/mysql_look.go", `row: string(d.Node) + "@" + at,`, `row: string(d.Node),`}},
		tests: []test{{pkg: "probes", name: "TestMySQLWritesARowOfItsOwn"}},
	},
	{
		name: "mysql-lock-is-an-outage", rule: "S6",
		says: "a backup that locks the canary's table is a vote for a failover",
		edits: []edit{{"probes/mysql_look.go", `	case mysqlPassing[code] != "":
		return result{outcome: failover.Slow,`, `	case mysqlPassing[code] != "":
		return result{outcome: failover.Failed,`}},
		tests: []test{{pkg: "probes", name: "TestMySQLErrors"}, {pkg: "probes", name: "TestMySQLWaitsForALock"}},
	},
	{
		name: "mysql-stuck-is-a-lock", rule: "L1",
		says:  "a server that never answers is alive from the second look on, since what it was asked first holds the row",
		edits: []edit{{"probes/mysql_look.go", ` || mysqlPassing[code] == failover.ReasonTimeout) && s.hung {`, `) && s.hung {`}},
		tests: []test{{pkg: "probes", name: "TestMySQLWaitsForALock"}},
	},
	{
		name: "mysql-full-primary-blames-its-replica", rule: "S6",
		says:  "a replica has failed since it takes no writes, while its primary merely lets nobody else in",
		edits: []edit{{"probes/mysql.go", `results[i].outcome != failover.Failed && s.readOnly == ""`, `results[i].outcome == failover.OK && s.readOnly == ""`}},
		tests: []test{{pkg: "probes", name: "TestMySQLBlamesNoReplica"}},
	},
	{
		name: "mysql-check-stays-connected", rule: "S10",
		says:  "each look of a check leaves a connection in the server",
		edits: []edit{{"probes/mysql.go", `	defer func() { _ = p.Close() }()`, ``}},
		tests: []test{{pkg: "probes", name: "TestMySQLCheck"}},
	},
	{
		name: "probes-never-closed", rule: "S10",
		says:  "each configuration leaves connections and goroutines of the one before it",
		edits: []edit{{"monitor/schedule.go", `	s.close(running)`, `	_ = running`}},
		tests: []test{{pkg: "monitor", name: "TestProbesAreClosed"}, {pkg: "internal/daemon", name: "TestProbesAreGivenBack"}},
	},
	{
		name: "probe-closed-under-a-look", rule: "S10",
		says:  "a probe is closed while a look that was left behind uses what is closed",
		edits: []edit{{"monitor/schedule.go", `			<-running`, `			running = nil`}},
		tests: []test{{pkg: "monitor", name: "TestAProbeIsNotClosedUnderALook"}},
	},
	{
		name: "hung-look-holds-the-end", rule: "S8",
		says: "a configuration's end waits for a look that hangs for ever",
		edits: []edit{{"monitor/schedule.go", `time.NewTimer(s.timeout)
	defer late.Stop()
	select {
	case <-closed:`, `time.NewTimer(100 * s.timeout)
	defer late.Stop()
	select {
	case <-closed:`}},
		tests: []test{{pkg: "monitor", name: "TestAProbeIsNotClosedUnderALook"}},
	},
	{
		name: "tried-configuration-stays", rule: "S10",
		says: "a configuration that is only tried leaves what its probes hold",
		edits: []edit{{"internal/daemon/running.go", `	r.monitor.Close()
	return nil
}`, `	_ = r
	return nil
}`}},
		tests: []test{{pkg: "internal/daemon", name: "TestProbesAreGivenBack"}},
	},
	{
		name: "mysql-canary-in-what-is-restored", rule: "L1",
		says:  "the canary lies in a database that a restore replaces, and its rows keep the restore back",
		edits: []edit{{"internal/config/validate_parts.go", `			if strings.EqualFold(restored, database) {`, `			if restored == database+"." {`}},
		tests: []test{{pkg: "internal/config", name: "TestInvalid"}},
	},
	{
		name: "started-beside-a-sleeping-autoscaler", rule: "E3",
		says: "a service counts as started although its autoscaler would take its tasks away",
		edits: []edit{{"actions/ecs_service.go", `		case scale != nil && *scale != s.leaves(*scale):
			e.State = Partial`, `		case scale != nil && *scale != s.leaves(*scale) && need < 0:
			e.State = Partial`}},
		tests: []test{{pkg: "actions", name: "TestConformanceLies/ecs_service_start"}, {pkg: "actions", name: "TestECSAutoscalerThatWasNotAsked/start"}},
	},
	{
		name: "stop-content-with-an-awake-autoscaler", rule: "L1",
		says:  "a stop whose autoscaler could not be told to rest is not tried again",
		edits: []edit{{"actions/ecs_service.go", `errors.Join(awake, s.set(ctx, a, 0))`, `s.set(ctx, a, 0)`}},
		tests: []test{{pkg: "actions", name: "TestConformanceLies/ecs_service_stop"}},
	},
	{
		name: "awake-autoscaler-is-waited-for", rule: "L1",
		says: "that an autoscaler was not told to rest is seen, and waited for until the step's time is over",
		edits: []edit{{"actions/ecs_service.go", `		e.State, e.Over = Partial, "its autoscaler would start it again: "+scale.String()
		e.Detail += ", but " + e.Over`, `		e.State = Partial
		e.Detail += ", but its autoscaler would start it again: " + scale.String()`}},
		tests: []test{{pkg: "actions", name: "TestECSAutoscalerThatWasNotAsked/stop"}},
	},
	{
		name: "unasked-autoscaler-is-put-back", rule: "E2",
		says:  "an autoscaler of which the log does not know what it was like counts as put back",
		edits: []edit{{"actions/ecs_service.go", `	if was.Unasked {`, `	if was.Unasked && is.Unasked {`}},
		tests: []test{{pkg: "actions", name: "TestECSAutoscalerThatWasNotAsked"}},
	},
	{
		name: "served-without-its-balancer", rule: "E3",
		says:  "instances count as serving while the process that gives them clients is suspended",
		edits: []edit{{"actions/asg.go", `serving >= g.cfg.need() && len(hindered) == 0 {`, `serving >= g.cfg.need() {`}},
		tests: []test{{pkg: "actions", name: "TestConformanceLies/asg_start"}, {pkg: "actions", name: "TestASGHalfDoneIsTriedAgain"}},
	},
	{
		name: "lost-protection-is-put-back", rule: "E2",
		says:  "an undo is believed that instances are protected from scale-in again",
		edits: []edit{{"actions/asg.go", `len(both(was.Protected, is.Exposed)) == 0`, `len(both(nil, is.Exposed)) == 0`}},
		tests: []test{{pkg: "actions", name: "TestASGProtectionThatIsNotBack"}},
	},
	{
		name: "cancelled-restore-waits-for-its-server", rule: "L1",
		says:  "a restore that is cancelled waits for a server that hangs",
		edits: []edit{{"actions/long.go", `time.After(longGrace)`, `time.After(5 * longGrace)`}},
		tests: []test{{pkg: "actions", name: "TestCancelOfTheOthers/mariadb_restore"}},
	},
	{
		name: "any-record-may-be-written", rule: "S10",
		says: "the acting role may write each record of the zone",
		edits: []edit{{"actions/permissions.go", `Resources: c.place(),
			Condition: iam.Condition{"ForAllValues:StringEquals": {"route53:ChangeResourceRecordSetsNormalizedRecordNames": c.changed()}}})
`, `Resources: c.place()})
`}},
		tests: []test{{pkg: "actions", name: "TestOnlyTheNamesOfThePlanMayBeWritten"}, {pkg: "internal/config", name: "TestIAMPolicies"}},
	},
	{
		name: "any-subnet-may-be-cut-off", rule: "S10",
		says:  "the acting role may give each subnet of the region the network ACL that denies everything",
		edits: []edit{{"actions/permissions.go", `"arn:aws:ec2:%s:*:subnet/%s", r, id))`, `"arn:aws:ec2:%s:*:subnet/%.0s*", r, id))`}},
		tests: []test{{pkg: "actions", name: "TestOnlyTheSubnetsOfThePlanMayBeCutOff"}},
	},
	{
		name: "any-instance-may-be-stopped", rule: "S10",
		says:  "the acting role may start and stop each instance of the region, whatever its tags",
		edits: []edit{{"actions/permissions.go", `iam.Condition{"StringEquals": same}`, `iam.Condition(nil)`}},
		tests: []test{{pkg: "internal/config", name: "TestIAMPolicies"}},
	},
	{
		name: "dark-sts-is-waited-for", rule: "L1",
		says: "a step waits for the STS of a region that is dark until its own time is over, and nothing is ever done",
		edits: []edit{{"internal/cloud/roles.go", `			late = time.After(a.patience)
`, `			_ = a.patience
`}},
		tests: []test{{pkg: "internal/cloud", name: "TestADarkSTSHoldsNoStepUp"}},
	},
	{
		name: "dark-sts-is-asked-again", rule: "L1",
		says: "each step asks the STS of a region that is dark first, and waits for it",
		edits: []edit{{"internal/cloud/roles.go", `		case a.silent[region]:
`, `		case false:
`}},
		tests: []test{{pkg: "internal/cloud", name: "TestADarkSTSHoldsNoStepUp"}},
	},
	{
		name: "sts-of-the-region-that-is-left", rule: "L1",
		says:  "on the way home a step takes its role on in the region that is left",
		edits: []edit{{"internal/cloud/roles.go", `case region != near:`, `case region != "us-east-2":`}},
		tests: []test{{pkg: "internal/cloud", name: "TestRolesNearTheStep"}},
	},
}
