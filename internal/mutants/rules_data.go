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
		edits: []edit{{"internal/replset/judge.go", `		case v.Err != nil && v.Alive && !f`, `		case v.Err != nil && v.Alive && v.Arbiter && !f`}},
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
		edits: []edit{{"internal/replset/judge.go", `		case v.Writable && !same:`, `		case v.Writable && !same && ours.Newer(v.Config):`}},
		tests: []test{{pkg: "internal/replset", name: "TestRivals"}},
	},
	{
		name: "mongo-rival-in-the-region", rule: "S1",
		says: "a second primary in the region itself, which the promotion has dropped, is no rival",
		edits: []edit{{"internal/replset/judge.go", `		case v.Writable && !same:`, `		case v.Region == region:
		case v.Writable && !same:`}},
		tests: []test{{pkg: "internal/replset", name: "TestRivals"}},
	},
	{
		name: "mongo-rivals-unknown", rule: "S1",
		says:  "there is no rival although the member is silent that may know of one",
		edits: []edit{{"internal/replset/judge.go", `	return rivals, followers, leads || !silent`, `	return rivals, followers, leads || !silent || region != ""`}},
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
		edits: []edit{{"actions/mongo_promote.go", `.Thaw(ctx, members, x.patience)`, `.Thaw(ctx, nil, x.patience)`}},
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
		edits: []edit{{"actions/standing.go", `ok && failsAgain(h, time.Now()) {`, `ok && false {`}},
		tests: []test{{pkg: "actions", name: "TestAGuardThatFailsIsTriedAgain"}},
	},
	{
		name: "start-hold-not-by-hand", rule: "S1",
		says:  "what a person has made to lead, and skipped, is not looked after",
		edits: []edit{{"failover/skip.go", `	s.holdStart(m, c, c.Step, e) // somebody`, `	// somebody`}},
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
		edits: []edit{{"actions/mongo_promote.go", `		if err := cloud.CheckEffectDeadline(ctx, "mongo_promote"); err != nil {`, `		if err := cloud.CheckEffectDeadline(ctx, "mongo_promote"); err != nil && ctx == nil {`}},
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
		edits: []edit{{"actions/mongo_promote.go", `	_, views, err := x.look(ctx)
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
}
