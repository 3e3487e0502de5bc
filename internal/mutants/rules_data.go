package main

// data are the rules of what a service's data come along by.
var data = []mutant{
	{
		name: "prepared-before-its-data", rule: "E1",
		says:  "what has a lease is prepared although it comes after a start that is not, and works with the epoch, before its data are there",
		edits: []edit{{"failover/plan/plan.go", `step.Prepare && (!c.Agent || !behind)`, `step.Prepare && (!c.Agent || !slices.ContainsFunc(before, func(id failover.StepID) bool { return !p.Step(id).Prepare }))`}},
		tests: []test{{pkg: "failover/plan", name: "TestWhatHasALeaseIsNotPreparedBehindWhatIsNot"}},
	},
	{
		name: "earlier-try-lives", rule: "E1",
		says:  "a connection of an earlier try of a restore puts rows into the schema of the next one",
		edits: []edit{{"internal/restore/load.go", `			for _, id := range inside {`, `			for _, id := range inside[:0] {`}},
		tests: []test{{pkg: "internal/restore", name: "TestWhatAnEarlierTryHasSentComesTooLate"}},
	},
	{
		name: "ended-although-it-runs", rule: "S1",
		says:  "a person's word that something has ended counts while it is seen running",
		edits: []edit{{"failover/apply_holds.go", `h.Step.Kind == KindStop && h.Status == HoldViolated {`, `h.Step.Kind == KindStop && h.Status == "" {`}},
		tests: []test{{pkg: "failover", name: "TestWhatIsOnlyCutOffIsNotLetLoose"}},
	},
	{
		name: "mongo-alive-but-mute", rule: "S1",
		says:  "a member that is alive and does not accept our user is taken for lost",
		edits: []edit{{"internal/replset/judge.go", `		case v.Err != nil && v.Alive && (stranger ||`, `		case v.Err != nil && v.Alive && v.Arbiter && (stranger ||`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudge"}},
	},
	{
		name: "mongo-starting-is-dead", rule: "S1",
		says: "an old member that is starting is taken for lost",
		edits: []edit{{"internal/replset/judge.go", `		case v.Empty:
			mute`, `		case v.Empty && v.Arbiter:
			mute`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudge"}},
	},
	{
		name: "mongo-rival-of-a-higher-term", rule: "S1",
		says:  "a second primary is no rival when its side has held more elections",
		edits: []edit{{"internal/replset/judge.go", `		case v.Writable && version < ours.Config.Version && (`, `		case v.Writable && ours.Config.Newer(v.Config) && (`}},
		tests: []test{{pkg: "internal/replset", name: "TestRivals"}},
	},
	{
		name: "mongo-rival-in-the-region", rule: "S1",
		says: "a second primary in the region itself, which the promotion has dropped, is no rival",
		edits: []edit{{"internal/replset/judge.go", `		switch {
		case v.Writable && version == 0:`, `		switch {
		case v.Region == region:
		case v.Writable && version == 0:`}},
		tests: []test{{pkg: "internal/replset", name: "TestRivals"}},
	},
	{
		name: "mongo-slow-primary-fenced", rule: "S1",
		says:  "a primary that has not said by which configuration it leads is a rival",
		edits: []edit{{"internal/replset/judge.go", `		case v.Writable && version == 0:`, `		case v.Writable && version < 0:`}},
		tests: []test{{pkg: "internal/replset", name: "TestRivals"}},
	},
	{
		name: "mongo-own-slow-primary-fenced", rule: "L1",
		says: "the region's own primary is fenced because it is slow to give its configuration",
		edits: []edit{{"internal/replset/look.go", `	return v.SetVersion
`, `	return 1 - v.SetVersion
`}},
		tests: []test{{pkg: "internal/replset", name: "TestRivals"}},
	},
	{
		name: "mongo-another-set-fenced", rule: "L1",
		says:  "a member of another set at an old address is fenced",
		edits: []edit{{"internal/replset/judge.go", `		if v.Name != name || v.Host`, `		if v.Host`}},
		tests: []test{{pkg: "internal/replset", name: "TestRivals"}},
	},
	{
		name: "mongo-forced-since-unseen", rule: "S1",
		says: "a side that was forced since is no second primary",
		edits: []edit{{"internal/replset/judge.go", `			out.Beyond = append(out.Beyond, v.Host)
`, ``}},
		tests: []test{{pkg: "internal/replset", name: "TestRivals"}},
	},
	{
		name: "mongo-heard-forgotten", rule: "S1",
		says:  "a set is forced although somebody hears a member that could lead and that we do not reach",
		edits: []edit{{"internal/replset/judge.go", `f.heard(views); at != "" {`, `f.heard(views); at == "?" {`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudge"}},
	},
	{
		name: "mongo-one-way-forgotten", rule: "S1",
		says:  "a member that reaches the survivor counts as silent when the survivor does not reach it",
		edits: []edit{{"internal/replset/judge.go", `(v.Healthy[m.Host] || v.Hears[m.Host])`, `v.Healthy[m.Host]`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudge"}},
	},
	{
		name: "mongo-alias-is-lost", rule: "S1",
		says:  "a member that is alive counts as lost when it is known by another name and cannot be asked",
		edits: []edit{{"internal/replset/judge.go", `		stranger := m == nil`, `		stranger := m != nil && m == nil`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudge"}},
	},
	{
		name: "mongo-freshest-although-alone", rule: "E1",
		says:  "the freshest member is forced although another one hears a majority",
		edits: []edit{{"internal/replset/judge.go", `h && !hears || h == hears && v`, `v`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudgePrefersWhoHearsAMajority"}},
	},
	{
		name: "mongo-frozen-although-refused", rule: "L1",
		says:  "members stay frozen when the server has refused the promotion that was to follow",
		edits: []edit{{"actions/mongo_promote.go", `	case replset.Rejected(err), errors`, `	case errors`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteThawsWhatTheServerRefuses"}},
	},
	{
		name: "mongo-thawed-although-open", rule: "S1",
		says: "members are let lead again although the promotion may have taken effect",
		edits: []edit{{"actions/mongo_fence.go", `	if x.open {
`, `	if x.open && why == nil {
`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteThawsWhatTheServerRefuses"}},
	},
	{
		name: "mongo-thawed-beside-a-leader", rule: "S1",
		says:  "members are let lead again beside somebody else's promotion",
		edits: []edit{{"actions/mongo_fence.go", `	if x.leads(views) || now.Config.Newer(f.Config) {`, `	if x.leads(views) && now.Config == nil {`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteThawsNobodyBesideALeader"}},
	},
	{
		name: "mongo-old-look", rule: "E2",
		says:  "a reconfiguration leaves long after the look that it rests on",
		edits: []edit{{"actions/mongo_promote.go", `then.Add(x.looked + 2*x.patience)`, `then.Add(x.looked + 2*x.patience + time.Hour)`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteIsNotSentLate"}},
	},
	{
		name: "start-hold-before-the-fence", rule: "S1",
		says: "what a person has made to lead before the region was left is not looked after",
		edits: []edit{{"failover/apply_holds.go", `			s.holdStart(m, c, st.ID, e, n)
`, ``}},
		tests: []test{{pkg: "failover", name: "TestWhatWasMadeToLeadIsLookedAfter"}},
	},
	{
		name: "drill-removes-a-restores", rule: "E1",
		says:  "a drill removes what a restore has loaded",
		edits: []edit{{"internal/restore/drill.go", `	if r.o.Token == drillToken { // a`, `	if r.o.Token == drillToken && name == "" { // a`}},
		tests: []test{{pkg: "internal/restore", name: "TestDrillIsNeverInTheWay"}},
	},
	{
		name: "drill-in-the-way", rule: "L1",
		says: "a restore lets a drill go on",
		edits: []edit{{"internal/restore/drill.go", `	if err != nil || holder == "" {
		return err
	}
	r.report`, `	if err != nil || holder != "" {
		return err
	}
	r.report`}, {"internal/restore/load.go", `			for _, id := range inside {`, `			for _, id := range inside[:0] {`}},
		tests: []test{{pkg: "internal/restore", name: "TestDrillIsNeverInTheWay"}},
	},
	{
		name: "mongo-rivals-only-waited-for", rule: "S1",
		says: "a step that finds two primaries waits for its time-out and fences nobody",
		edits: []edit{{"actions/mongo_promote.go", `		e.State, e.Over = Partial, f.Detail
`, `		e.State = Partial
`}},
		tests: []test{{pkg: "actions", name: "TestMongoSplitBrain"}},
	},
	{
		name: "mongo-rivals-unknown", rule: "S1",
		says:  "there is no rival although the member is silent that may know of one",
		edits: []edit{{"internal/replset/judge.go", `	out.Known = ours.Writable || !silent`, `	out.Known = ours.Writable || !silent || region != ""`}},
		tests: []test{{pkg: "internal/replset", name: "TestRivals"}},
	},
	{
		name: "mongo-outsider-leads", rule: "S1",
		says:  "a primary that the newest configuration does not name is given commands",
		edits: []edit{{"internal/replset/judge.go", `		if !v.Writable || f.Config.Member(v.name()) == nil {`, `		if !v.Writable {`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudge"}},
	},
	{
		name: "mongo-ahead-dropped", rule: "E1",
		says:  "a member that answers and has newer writes is dropped with them",
		edits: []edit{{"internal/replset/judge.go", `!v.Applied.After(target.Applied) {`, `true {`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudge"}},
	},
	{
		name: "mongo-unreached-primary-forgotten", rule: "S1",
		says:  "a set is forced although somebody follows a primary that we do not reach",
		edits: []edit{{"internal/replset/judge.go", `v.follows(); ok && !`, `v.follows(); ok && at == "" && !`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudge"}},
	},
	{
		name: "mongo-waits-for-nobody", rule: "L1",
		says:  "a majority of which nobody can be elected is waited for",
		edits: []edit{{"internal/replset/judge.go", `	case f.Primary == "" && !slices`, `	case f.Primary == "?" && !slices`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudge"}},
	},
	{
		name: "mongo-arbiter-has-no-vote", rule: "S1",
		says:  "an arbiter that we reach has no vote when it is judged who may lead",
		edits: []edit{{"internal/replset/judge.go", `(v.Answers() || v.Alive && f.Config.Member(h).Arbiter)`, `v.Answers() && !v.Arbiter`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudge"}},
	},
	{
		name: "mongo-arbiter-asked-for-a-user", rule: "L1",
		says:  "an arbiter, which holds no users, blocks the promotion of a set with users",
		edits: []edit{{"internal/replset/look.go", `	if Refused(v.Err) && a.Username != "" {`, `	if Refused(v.Err) && a.Username == "" {`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteWithAnArbiter"}},
	},
	{
		name: "mongo-frozen-for-nothing", rule: "L1",
		says:  "members that were fenced for a promotion that did not come to pass stay frozen",
		edits: []edit{{"actions/mongo_fence.go", `.Thaw(ctx, f.Alive, x.patience)`, `.Thaw(ctx, nil, x.patience)`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteThawsWhatItHasNotForced"}},
	},
	{
		name: "mongo-fence-waits", rule: "S1",
		says: "one member that hangs keeps the primary beside it from being fenced",
		edits: []edit{{"internal/replset/act.go", `	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return a.at(member, timeout, func(c *mongo.Client) error {
		return run(ctx, c, bson.D{{Key: "replSetFreeze"`, `	return a.at(member, timeout, func(c *mongo.Client) error {
		return run(ctx, c, bson.D{{Key: "replSetFreeze"`}},
		tests: []test{{pkg: "actions", name: "TestMongoFenceWaitsForNobody"}},
	},
	{
		name: "guard-waits-for-its-step", rule: "L1",
		says:  "a guard that has failed is tried again after the time-out of its step alone",
		edits: []edit{{"actions/standing.go", `	if _, ok := action.(guarding); ok { //`, `	if _, ok := action.(guarding); ok && err == nil { //`}},
		tests: []test{{pkg: "actions", name: "TestAGuardThatFailsIsTriedAgain"}},
	},
	{
		name: "guard-uses-up-its-hour", rule: "L1",
		says:  "a guard that fails uses up the tries of an hour in its first minutes",
		edits: []edit{{"actions/standing.go", `ok && (eff.Unmendable || failsAgain(h, time.Now())) {`, `ok && eff.Unmendable {`}},
		tests: []test{{pkg: "actions", name: "TestAGuardThatFailsIsTriedAgain"}},
	},
	{
		name: "start-hold-not-by-hand", rule: "S1",
		says:  "what a person has made to lead, and skipped, is not looked after",
		edits: []edit{{"failover/skip.go", `!m.leads() || s.Level() < 3 || tried {`, `tried {`}},
		tests: []test{{pkg: "failover", name: "TestWhatWasMadeToLeadIsLookedAfter"}},
	},
	{
		name: "mongo-keeps-the-unheard", rule: "L1",
		says:  "a forced configuration keeps a member that its target does not hear, and has no majority",
		edits: []edit{{"internal/replset/judge.go", `		if target.Healthy[v.name()] {`, `		if target.Host != "" {`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudgeTakesTheFreshest"}},
	},
	{
		name: "start-hold-of-a-held-run", rule: "S1",
		says:  "what was made to lead while its execution was held is not looked after",
		edits: []edit{{"failover/apply_holds.go", `e.Kind == Preparation || st.Region != s.Active {`, `e.State != ExecRunning || st.Region != s.Active {`}},
		tests: []test{{pkg: "failover", name: "TestWhatWasMadeToLeadIsLookedAfter"}},
	},
	{
		name: "mongo-partition-forced", rule: "S1",
		says:  "a replica set is forced although a majority is alive, and only a link is cut",
		edits: []edit{{"internal/replset/judge.go", `	if !alive && (`, `	if false && !alive && (`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudge"}, {pkg: "actions", name: "TestMongoPromoteRefuses"}},
	},
	{
		name: "mongo-keeps-the-lost", rule: "E1",
		says: "lost members stay in a forced configuration, and come back as members",
		edits: []edit{{"internal/replset/config.go", `		if !slices.Contains(keep, m.Host) {
			continue
		}
`, ``}},
		tests: []test{{pkg: "internal/replset", name: "TestForcedConfiguration"}, {pkg: "actions", name: "TestMongoPromoteForces"}},
	},
	{
		name: "mongo-survivor-unchanged", rule: "E1",
		says: "a survivor that is hidden, delayed or of priority 0 is forced as it is",
		edits: []edit{{"internal/replset/config.go", `		members = append(members, e)
	}
	return c.with(members)
}

// Preferred`, `		_ = append(members, e)
		members = append(members, m.doc)
	}
	return c.with(members)
}

// Preferred`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteForces"}},
	},
	{
		name: "mongo-unfenced", rule: "S1",
		says:  "members that answer are not frozen before a forced promotion",
		edits: []edit{{"actions/mongo_promote.go", `	if len(f.Alive) == 0 {`, `	if len(f.Alive) < 9 {`}},
		tests: []test{{pkg: "actions", name: "TestMongoSplitBrain"}},
	},
	{
		name: "mongo-sent-late", rule: "E2",
		says:  "a reconfiguration leaves a process that was paused behind its last look",
		edits: []edit{{"actions/mongo_dial.go", `		if err := cloud.CheckEffectDeadline(ctx, "mongo_promote"); err != nil {`, `		if err := cloud.CheckEffectDeadline(ctx, "mongo_promote"); err != nil && ctx == nil {`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteIsNotSentLate"}},
	},
	{
		name: "mongo-not-looked-at-again", rule: "E2",
		says:  "a set that has changed since it was judged is reconfigured all the same",
		edits: []edit{{"actions/mongo_promote.go", `	if !ok || now.Way != f.Way || now.Config.Newer(f.Config) || f.Config.Newer(now.Config) {`, `	if !ok {`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteRefuses"}},
	},
	{
		name: "mongo-hold-forces", rule: "S4",
		says: "the hold on a promotion promotes again",
		edits: []edit{{"actions/mongo_promote.go", `	_, views, err := x.judge(ctx)
	if err != nil {
		return err
	}
	return x.fence(ctx, a, views)
`, `	return x.Do(ctx, a)
`}},
		tests: []test{{pkg: "actions", name: "TestMongoHoldNeverReconfigures"}},
	},
	{
		name: "hold-does-its-step", rule: "S4",
		says:  "the hold on a start does the start again",
		edits: []edit{{"actions/standing.go", `	if g, ok := action.(Guard); ok {`, `	if g, ok := action.(Guard); ok && g == nil {`}},
		tests: []test{{pkg: "actions", name: "TestAHoldOnAStartNeverDoesItsStep"}},
	},
	{
		name: "mongo-led-unacknowledged", rule: "E1",
		says:  "a primary leads although no majority has acknowledged a write of its term",
		edits: []edit{{"internal/replset/judge.go", `	case by.Committed.Term < by.Term:`, `	case by.Committed.Term > by.Term:`}},
		tests: []test{{pkg: "internal/replset", name: "TestJudge"}},
	},
	{
		name: "mongo-asks-nobody", rule: "E2",
		says:  "a replica set may be forced without a person unless that is written",
		edits: []edit{{"actions/mongo_promote.go", `{ return !c.Unattended }`, `{ return false }`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteAsksByDefault"}},
	},
	{
		name: "start-hold-in-the-wrong-region", rule: "S1",
		says:  "what was made to lead is looked after when its region is left",
		edits: []edit{{"failover/apply_holds.go", `	return (h.Step.Kind == KindStop) == (h.Step.Region != active)`, `	return h.Step.Kind == KindStart || (h.Step.Kind == KindStop) == (h.Step.Region != active)`}},
		tests: []test{{pkg: "failover", name: "TestWhatWasMadeToLeadIsLookedAfter"}},
	},
	{
		name: "start-hold-of-the-passed-over", rule: "S1",
		says:  "a start that the leader passed over before anything was tried is looked after as if somebody had done it by hand",
		edits: []edit{{"failover/skip.go", `s.Level() < 3 || tried {`, `true || tried {`}},
		tests: []test{{pkg: "failover", name: "TestWhatWasMadeToLeadIsLookedAfter"}},
	},
	{
		name: "start-hold-of-what-may-land", rule: "S1",
		says:  "a start that failed, may take effect all the same, and was passed over, is not looked after",
		edits: []edit{{"failover/skip.go", `s.Level() < 3 || tried {`, `s.Level() < 3 || tried && false {`}},
		tests: []test{{pkg: "failover", name: "TestWhatWasMadeToLeadIsLookedAfter"}},
	},
	{
		name: "mongo-busy-is-no", rule: "E4",
		says:  "a server that is busy with an earlier reconfiguration is taken for one that has refused it: the old side is let lead again beside it",
		edits: []edit{{"internal/replset/replset.go", `codeShuttingDown, codeBusy, `, `codeShuttingDown, `}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteThawsNobodyBesideAnEarlierAttempt"}},
	},
	{
		name: "mongo-thaw-forgets", rule: "E4",
		says: "the old side is let lead again although an earlier attempt may still take effect",
		edits: []edit{{"actions/mongo_promote.go", `	x.open = x.open || open
`, `	x.open = open
`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteThawsNobodyBesideAnEarlierAttempt"}},
	},
	{
		name: "mongo-thaw-of-the-silent", rule: "S1",
		says:  "the old side is let lead again although the one that was to be promoted does not say that it was not",
		edits: []edit{{"actions/mongo_fence.go", `return v.Answers() && v.Name != "" && (v.Me`, `return v.Host == host || v.Answers() && (v.Me`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteThawsNobodyBesideAnEarlierAttempt"}},
	},
	{
		name: "mongo-thaw-late", rule: "E4",
		says:  "a leader that was paused lets the old side lead again, long after it has looked",
		edits: []edit{{"actions/mongo_fence.go", `x.access(x.bounded(ctx, x.until(looked))).Thaw`, `x.access(x.bounded(ctx, looked.Add(time.Hour))).Thaw`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteThawsNobodyBesideAnEarlierAttempt"}},
	},
	{
		name: "mongo-kernel-goes-on", rule: "E2",
		says:  "what was written to a member's socket is sent again for minutes, when the link comes back",
		edits: []edit{{"actions/mongo_dial.go", `errors.Join(tcp.SetLinger(0), raw.Control(`, `errors.Join(raw.Control(`}},
		tests: []test{{pkg: "actions", name: "TestMongoConnectionsForget"}},
	},
	{
		name: "mongo-led-for-now", rule: "S1",
		says: "a region leads by the set's own election, and the old region's priorities take the primary back when it returns",
		edits: []edit{{"internal/replset/judge.go", `		f.stays(region, mine)
`, ``}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteStaysWhenTheRegionReturns"}, {pkg: "internal/replset", name: "TestJudge"}},
	},
	{
		name: "mongo-versions-of-strangers", rule: "S1",
		says:  "of two sides that were forced apart, the one with the lower version is fenced, which is chance",
		edits: []edit{{"internal/replset/judge.go", `(version > ours.Config.Version || !v.Config.sharesWith(ours.Config)):`, `version > ours.Config.Version:`}},
		tests: []test{{pkg: "internal/replset", name: "TestRivals"}},
	},
	{
		name: "guard-tries-in-vain", rule: "L1",
		says:  "a guard uses up its tries where nothing but a person helps, and has none left when a rival comes",
		edits: []edit{{"actions/standing.go", `ok && (eff.Unmendable || f`, `ok && (f`}},
		tests: []test{{pkg: "actions", name: "TestAGuardDoesNotTryInVain"}},
	},
	{
		name: "broken-login-is-refused", rule: "S10",
		says:  "a member that breaks off in the midst of a login is taken for one that does not accept our user",
		edits: []edit{{"internal/replset/replset.go", `[]string{"AuthenticationFailed", "Unauthorized", "MechanismUnavailable"}`, `[]string{"auth error"}`}},
		tests: []test{{pkg: "actions", name: "TestMongoBrokenLoginIsNoRefusal"}},
	},
	{
		name: "mongo-priorities-hold-up", rule: "L1",
		says:  "a region that leads by the set's own election waits, and fails, because its priorities could not be written",
		edits: []edit{{"actions/mongo_promote.go", `		if here { // the`, `		if here && err == nil { // the`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteStaysWhenTheRegionReturns"}},
	},
	{
		name: "forced-and-then-not", rule: "L1",
		says:  "a forced promotion that was begun, and did not come to pass, stands in the way of the set's own majority for ever",
		edits: []edit{{"actions/mongo_promote.go", `was.Version < began.Floor && rec.State == failover.StepDone:`, `was.Version < 0 && rec.State == failover.StepDone:`}},
		tests: []test{{pkg: "actions", name: "TestMongoPromoteRemembersWhatItHasForced"}},
	},
	{
		name: "held-messages-not-counted", rule: "S6",
		says:  "messages that a worker holds in the region that is left are not in the price",
		edits: []edit{{"probes/sqs.go", `types.QueueAttributeNameApproximateNumberOfMessages, types.QueueAttributeNameApproximateNumberOfMessagesNotVisible,`, `types.QueueAttributeNameApproximateNumberOfMessages,`}},
		tests: []test{{pkg: "probes", name: "TestSQSCountsWhatWaits"}},
	},
	{
		name: "counted-in-the-other-region", rule: "S6",
		says:  "the price counts what stands in the region that is entered",
		edits: []edit{{"internal/daemon/survey.go", `v.Verdict.Abstain || v.Verdict.Region != s.Active || now`, `v.Verdict.Abstain || now`}},
		tests: []test{{pkg: "internal/daemon", name: "TestAtRisk"}},
	},
	{
		name: "counts-outlive-the-epoch", rule: "S6",
		says:  "what was counted in the region that was left counts for the one that was entered",
		edits: []edit{{"failover/apply_evidence.go", `s.Suspicion, s.Vanished, s.Loss, s.AtRisk = nil, nil, nil, nil`, `s.Suspicion, s.Vanished, s.Loss = nil, nil, nil`}},
		tests: []test{{pkg: "failover", name: "TestAtRiskIsOfTheActiveRegion"}},
	},
	{
		name: "loss-without-the-time-since", rule: "S6",
		says:  "what was written between the newest sample and the failure is not counted in the price",
		edits: []edit{{"failover/guards.go", `return sample, age, sample.Behind + age, ok`, `return sample, age, sample.Behind, ok`}},
		tests: []test{{pkg: "failover/plan", name: "TestPrice"}},
	},
	{
		name: "loss-by-an-old-word", rule: "S6",
		says:  "what the active region has written since it was looked at is taken for nothing",
		edits: []edit{{"internal/daemon/survey.go", `behind + p.unseen)`, `behind)`}},
		tests: []test{{pkg: "internal/daemon", name: "TestLossesAreABound"}},
	},
	{
		name: "price-ends-with-the-epoch", rule: "S9",
		says: "who is asked before a step of no return is not told what would be lost",
		edits: []edit{{"failover/apply_exec.go", `		e.Loss = map[string]LossSample{}
		for store := range s.Loss {`, `		e.Loss = map[string]LossSample{}
		for store := range s.Inventory {
			store := string(store)`}},
		tests: []test{{pkg: "actions", name: "TestApprovalOfAStep"}},
	},
	{
		name: "restore-the-newest-or-none", rule: "L1",
		says:  "a newest backup that is no good keeps an older one that is whole from being restored",
		edits: []edit{{"internal/restore/restore.go", `append([]backup.Candidate{o.Candidate}, o.Older...)`, `append([]backup.Candidate{o.Candidate}, o.Older[:0]...)`}},
		tests: []test{{pkg: "actions", name: "TestIncidentP7"}},
	},
	{
		name: "restore-whatever-version", rule: "S6",
		says: "a backup of a newer server is restored",
		edits: []edit{{"internal/restore/examine.go", `		return r.checkVersion(ctx)
`, `		return nil
`}},
		tests: []test{{pkg: "actions", name: "TestIncidentP7"}, {pkg: "internal/restore", name: "TestRefuses"}},
	},
	{
		name: "mongo-stale-is-well", rule: "S6",
		says:  "a member whose newest write has not moved for days is taken for well",
		edits: []edit{{"probes/mongo.go", `still > orElse(p.cfg.Stale, time.Minute)`, `still > 24*time.Hour`}},
		tests: []test{{pkg: "probes", name: "TestIncidentP11"}},
	},
	{
		name: "mongo-survivor-is-stale", rule: "L1",
		says: "a member that has lost its primary is seen to fail, although it is what a failover goes to",
		edits: []edit{{"probes/mongo.go", `	case !h.Writable && (!h.Secondary || h.Primary == ""):
		m.since`, `	case h.Arbiter:
		m.since`}},
		tests: []test{{pkg: "probes", name: "TestIncidentP11"}},
	},
	{
		name: "mongo-probe-in-plain-text", rule: "S6",
		says:  "a probe in plain text takes members that want TLS for down",
		edits: []edit{{"internal/config/lint.go", `see != nil && s.MongoPromote.TLS && !see.TLS`, `see == nil && s.MongoPromote.TLS`}},
		tests: []test{{pkg: "internal/config", name: "TestLint"}},
	},
}
