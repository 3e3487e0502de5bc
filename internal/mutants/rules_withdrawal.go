package main

// prepared are the rules of what was prepared when the plan or the quorum is another
// one meanwhile (E7, E8, S8), and of what the log refuses to start (L1).
var prepared = []mutant{
	{
		name: "recovery-leaves-a-preparation-open", rule: "S8",
		says: "a preparation that was open when the quorum was lost is open in the new generation",
		edits: []edit{{"failover/recovery.go", `		s.Preparation = nil
`, ``}},
		tests: []test{{pkg: "failover", name: "TestPreparationIsNotUndoneInTheActiveRegion"}},
	},
	{
		name: "recovery-hides-what-was-begun", rule: "L1",
		says:  "the timeline of a recovered cluster does not name what the preparation had begun",
		edits: []edit{{"failover/recovery.go", `if rec := p.Step(st.ID); len(rec.Attempts) > 0 {`, `if rec := p.Step(st.ID); len(rec.Attempts) > 99 {`}},
		tests: []test{{pkg: "failover", name: "TestPreparationIsNotUndoneInTheActiveRegion"}},
	},
	{
		name: "prepared-undone-where-active", rule: "S8",
		says: "what was prepared in a region that is active by now is taken back: it scales down what works",
		edits: []edit{{"failover/recovery.go", `		s.Preparation = nil
`, ``}, {"failover/apply_prepare.go", `	if s.Level() >= 3 && p.To == s.Active {
`, `	if false {
`}, {"failover/apply_exec.go", `		if s.Level() >= 3 && st.Kind == KindStart && st.Region == s.Active {
`, `		if false {
`}, {"actions/unwind.go", `	if s := x.journal.State(); s.Level() >= 3 && st.Kind == failover.KindStart && st.Region == s.Active {
`, `	if false {
`}},
		tests: []test{{pkg: "actions", name: "TestRecoveryKeepsWhatWasPrepared"}, {pkg: "failover", name: "TestPreparationIsNotUndoneInTheActiveRegion"}},
	},
	{
		name: "end-of-a-preparation-asks-for-undo", rule: "S8",
		says: "a preparation of the region that is active by now ends as one that is to be undone",
		edits: []edit{{"failover/apply_prepare.go", `	if s.Level() >= 3 && p.To == s.Active {
`, `	if false {
`}},
		tests: []test{{pkg: "failover", name: "TestPreparationIsNotUndoneInTheActiveRegion"}},
	},
	{
		name: "undo-of-a-start-where-active", rule: "S8",
		says: "the log accepts the undo of a start in the active region, which an older version has asked for",
		edits: []edit{{"failover/apply_exec.go", `		if s.Level() >= 3 && st.Kind == KindStart && st.Region == s.Active {
`, `		if false {
`}},
		tests: []test{{pkg: "failover", name: "TestPreparationIsNotUndoneInTheActiveRegion"}},
	},
	{
		name: "configuration-during-a-preparation", rule: "E8",
		says: "a configuration comes into force while a preparation runs with the old one",
		edits: []edit{{"failover/apply_config.go", `	case s.Preparation != nil && s.Level() >= 3:
`, `	case false:
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/prepared-config"}, {pkg: "failover", name: "TestConfigurationDuringPreparation"}},
	},
	{
		name: "misfit-adopted", rule: "E7",
		says: "an execution adopts steps that are no part of its plan",
		edits: []edit{{"failover/apply_prepare.go", `	if reason := s.Misfit(e.Plan); reason != "" {
`, `	if reason := ""; reason != "" {
`}},
		tests: []test{{pkg: "failover", name: "TestConfigurationDuringPreparation"}},
	},
	{
		name: "misfit-by-name-alone", rule: "E7",
		says:  "a prepared step fits a plan that has a step of that name, whatever that one does",
		edits: []edit{{"failover/apply_prepare.go", `(same == nil || !sameAction(*same, st)) {`, `same == nil {`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/prepared-config-older"}, {pkg: "failover", name: "TestConfigurationDuringPreparation"}},
	},
	{
		name: "misfit-not-taken-back", rule: "L1",
		says: "what was prepared for another plan is not undone while an incident is open: no failover starts, also by hand",
		edits: []edit{{"failover/decide.go", `	case p != nil && p.State == ExecRunning && s.Execution == nil && in.Misfit != "":
		d.TakeBack = in.Misfit
`, ``}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/prepared-config-older"}, {pkg: "failover", name: "TestConfigurationDuringPreparation"}},
	},
	{
		name: "misfit-in-silence", rule: "L1",
		says: "that what was prepared fits no plan is not said of the incident, which waits for it",
		edits: []edit{{"failover/decide.go", `	if guard == "" && in.Misfit != "" {
		guard, reason = GuardPreparation, in.Misfit
	}
`, `	if in.Misfit != "" {
		return
	}
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/prepared-config-older"}, {pkg: "failover", name: "TestConfigurationDuringPreparation"}},
	},
	{
		name: "request-beside-a-misfit", rule: "L1",
		says: "what a person asks for is proposed while a preparation that fits no plan is being undone, and is refused for it",
		edits: []edit{{"failover/decide.go", `	case in.Misfit == "": // otherwise it waits until what was prepared is undone
`, `	default:
`}},
		tests: []test{{pkg: "failover", name: "TestConfigurationDuringPreparation"}},
	},
	{
		name: "refused-start-in-silence", rule: "L1",
		says: "the log refuses to start an execution, and its incident does not say which guard objects",
		edits: []edit{{"internal/daemon/leader.go", `		if ref != nil && s.Incident.Refusal != ref.Text {
`, `		if ref != nil && s.Incident.Refusal == ref.Text {
`}},
		tests: []test{{pkg: "internal/daemon", name: "TestARefusedStartIsToldOf"}},
	},
	{
		name: "refused-start-without-a-pause", rule: "L1",
		says: "an execution that the log refuses is proposed as fast as the log can write",
		edits: []edit{{"internal/daemon/leader.go", `	l.nextStart = time.Now().Add(startAgain)
`, ``}},
		tests: []test{{pkg: "internal/daemon", name: "TestARefusedStartIsToldOf"}},
	},
}

// withdrawals are the conditions under which an execution that no person wants is
// withdrawn (G8), one by one, and what is over with it.
var withdrawals = []mutant{
	{
		name: "never-withdrawn-once-running", rule: "G8",
		says: "an automatic execution that waits for evidence goes on waiting when its region is well again, and moves it when the evidence comes",
		edits: []edit{{"failover/decide.go", `		d.Withdraw = healthyFor >= p.Hold.D() && (e.State == ExecAwaiting && e.Auto || s.Level() >= 3 && s.Epoch == e.Epoch && e.Withdrawable())
`, `		d.Withdraw = healthyFor >= p.Hold.D() && e.State == ExecAwaiting && e.Auto
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G8"}, {pkg: "failover", name: "TestDecide/withdrawn"}, {pkg: "failover", name: "TestWithdrawn"}},
	},
	{
		name: "withdrawn-at-the-first-sign", rule: "G8",
		says:  "an execution is withdrawn as soon as its region is seen healthy, not after a whole hold of it",
		edits: []edit{{"failover/decide.go", `		d.Withdraw = healthyFor >= p.Hold.D() && (`, `		d.Withdraw = healthyFor > 0 && (`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G8"}, {pkg: "failover", name: "TestDecide/withdrawn"}, {pkg: "failover", name: "TestWithdrawn"}},
	},
	{
		name: "health-not-counted-anew", rule: "G8",
		says: "the hold of good health that withdraws an execution goes on through a vantage that sees the region down",
		edits: []edit{{"failover/decide.go", `	} else {
		mem.HealthySince = time.Time{}
	}
`, `	}
`}},
		tests: []test{{pkg: "failover", name: "TestDecide/withdrawn"}},
	},
	{
		name: "withdrawn-beyond-the-epoch", rule: "G8",
		says:  "an execution is withdrawn although the epoch has advanced",
		edits: []edit{{"failover/decide.go", `s.Epoch == e.Epoch && e.Withdrawable()`, `e.Withdrawable()`}},
		tests: []test{{pkg: "failover", name: "TestWithdrawn"}},
	},
	{
		name: "withdrawn-by-an-older-version", rule: "G8",
		says:  "an execution is withdrawn while the log may be led by a version which undoes beyond the epoch",
		edits: []edit{{"failover/decide.go", `s.Level() >= 3 && s.Epoch == e.Epoch &&`, `s.Epoch == e.Epoch &&`}},
		tests: []test{{pkg: "failover", name: "TestWithdrawn"}},
	},
	{
		name: "withdrawn-though-asked-for", rule: "G8",
		says:  "an execution that a person has asked for is withdrawn",
		edits: []edit{{"failover/withdraw.go", `	if !e.Auto || e.State`, `	if e.State`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G8c"}, {pkg: "failover", name: "TestDecide/withdrawn-not-by-hand"}},
	},
	{
		name: "withdrawn-though-held", rule: "G8",
		says:  "an execution that a person holds is withdrawn",
		edits: []edit{{"failover/withdraw.go", `(e.State != ExecHeld || !suspends)`, `(e.State != ExecHeld && !suspends)`}},
		tests: []test{{pkg: "failover", name: "TestWithdrawn"}},
	},
	{
		name: "suspended-is-not-withdrawn", rule: "G8",
		says:  "an execution that stopped because its target fails asks on, although the region that it would leave is well again",
		edits: []edit{{"failover/withdraw.go", `(e.State != ExecHeld || !suspends)`, `(e.State != "" || !suspends)`}},
		tests: []test{{pkg: "failover", name: "TestWithdrawn"}},
	},
	{
		name: "withdrawn-though-approved", rule: "G8",
		says:  "an execution of which a person has approved something is withdrawn",
		edits: []edit{{"failover/withdraw.go", `func(a Approval) bool { return a.By != byPolicy }`, `func(a Approval) bool { return false }`}},
		tests: []test{{pkg: "failover", name: "TestWithdrawn"}},
	},
	{
		name: "policy-counts-as-a-person", rule: "G8",
		says:  "that nobody answered in time counts as a person's approval, and the execution is not withdrawn",
		edits: []edit{{"failover/withdraw.go", `func(a Approval) bool { return a.By != byPolicy }`, `func(a Approval) bool { return true }`}},
		tests: []test{{pkg: "failover", name: "TestWithdrawn"}},
	},
	{
		name: "withdrawn-after-no-return", rule: "G8",
		says: "an execution is withdrawn although an irreversible step of it has begun",
		edits: []edit{{"failover/withdraw.go", `		return st.NoReturn && st.Kind != KindFence && e.Step(st.ID).State != StepPending
`, `		return false
`}},
		tests: []test{{pkg: "failover", name: "TestWithdrawn"}},
	},
	{
		name: "waiting-fence-is-no-return", rule: "G8",
		says:  "an execution whose fence waits for evidence counts as one that has begun something irreversible",
		edits: []edit{{"failover/withdraw.go", `st.NoReturn && st.Kind != KindFence && e.Step`, `st.NoReturn && e.Step`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G8"}, {pkg: "failover", name: "TestWithdrawn"}},
	},
	{
		name: "withdrawal-keeps-its-incident", rule: "G8",
		says: "what was withdrawn leaves its incident open, as if a person had ended it",
		edits: []edit{{"failover/apply_finish.go", `	aborted := e.State == ExecAborting && !e.Withdrawn
`, `	aborted := e.State == ExecAborting
`}},
		tests: []test{{pkg: "internal/sim", name: "TestStories/G8"}, {pkg: "failover", name: "TestDecide/withdrawn"}, {pkg: "failover", name: "TestWithdrawn"}},
	},
	{
		name: "abort-taken-for-a-withdrawal", rule: "G8",
		says: "a person's abort closes the incident, and automation begins again a second later",
		edits: []edit{{"failover/apply_exec.go", `	e.Withdrawn = s.Level() >= 3 && m.leads()
`, `	e.Withdrawn = s.Level() >= 3
`}},
		tests: []test{{pkg: "failover", name: "TestWithdrawn"}},
	},
	{
		name: "adopted-not-taken-back", rule: "G8",
		says: "an execution that was still to be approved is withdrawn, and what it had adopted of a preparation runs on",
		edits: []edit{{"internal/daemon/leader.go", `		if len(s.Execution.Steps) > 0 || s.Execution.State != failover.ExecAwaiting { // or it had adopted what was prepared
`, `		if s.Execution.State != failover.ExecAwaiting {
`}},
		tests: []test{{pkg: "internal/sim", name: "TestWithdrawnTakesBackWhatWasPrepared"}},
	},
}
