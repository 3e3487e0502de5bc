package main

// traffic are the rules of how clients are moved (T1, T2, S3).
var traffic = []mutant{
	{
		name: "gate-is-enough", rule: "T1",
		says: "the service is stable although nothing that outlives the nodes has followed the gate",
		edits: []edit{{"failover/plan/plan.go", `		if len(latched) > 0 {
			kept = latched
		}
`, `		_ = latched
`}},
		tests: []test{{pkg: "actions", name: "TestALatchedSwitchMustFollow"}, {pkg: "failover/plan", name: "TestSeveralSwitches"}},
	},
	{
		name: "route53-decides", rule: "S3",
		says: "records that Route 53 moves by itself, before anything is fenced, are ready",
		edits: []edit{{"actions/route53_health.go", `			if s.AliasTarget != nil && s.AliasTarget.EvaluateTargetHealth {
`, `			if false {
`}},
		tests: []test{{pkg: "actions", name: "TestCompareRecords"}},
	},
	{
		name: "clients-in-both-regions", rule: "S3",
		says: "records that lead clients to both regions are ready",
		edits: []edit{{"actions/route53_health.go", `			case 1:
			default:
				out`, `			case 1, 2:
			default:
				out`}},
		tests: []test{{pkg: "actions", name: "TestCompareRecords"}},
	},
	{
		name: "weights-of-nothing", rule: "S3",
		says: "records whose weights are all 0, with all of which Route 53 answers, are ready",
		edits: []edit{{"actions/route53_health.go", `			if led[s.Type] == nil {
				led[s.Type] = map[failover.Region]bool{}
			}
			if *s.Weight > 0 {
				led[s.Type][of] = true
			}
`, `			if *s.Weight > 0 {
				led[s.Type] = map[failover.Region]bool{of: true}
			}
`}},
		tests: []test{{pkg: "actions", name: "TestCompareRecords"}},
	},
	{
		name: "lost-change-is-awaited", rule: "L1",
		says: "a change that Route 53 has accepted and lost is waited for until the step's time is over",
		edits: []edit{{"actions/route53_action.go", `strings.Join(wrong, ", "), w.lost(z)
		return e, nil
	case`, `strings.Join(wrong, ", "), ""
		return e, nil
	case`}},
		tests: []test{{pkg: "actions", name: "TestALostChange"}},
	},
	{
		name: "reverted-change-is-lost", rule: "E2",
		says:  "weights that a person has put back within the step are taken for a lost change, and moved again",
		edits: []edit{{"actions/route53_action.go", `z.token().Token >= w.token || `, ``}},
		tests: []test{{pkg: "actions", name: "TestALostChange"}},
	},
	{
		name: "unproven-switch-counts", rule: "S3",
		says: "a switch that was not seen to take effect counts as one that moved the clients",
		edits: []edit{{"failover/step_record.go", `func (r StepRecord) Reached() bool { return r.State == StepDone || r.State == StepSkipped }
`, `func (r StepRecord) Reached() bool { return r.Passed() }
`}},
		tests: []test{{pkg: "failover", name: "TestReached"}},
	},
	{
		name: "one-of-is-ignored", rule: "S3",
		says: "checks and the end wait for no switch",
		edits: []edit{{"failover/execution.go", `	if len(st.AfterOne) > 0 {
		return st.AfterOne[0]
	}
`, ``}},
		tests: []test{{pkg: "failover", name: "TestReached"}},
	},
	{
		name: "following-switch-times-out", rule: "L1",
		says: "a person is asked because a switch is late, although the clients were moved by another one",
		edits: []edit{{"actions/switch.go", `r.st.Kind == failover.KindSwitch && e.Moved(r.st.ID)
`, `false
`}},
		tests: []test{{pkg: "actions", name: "TestALatchedSwitchMustFollow"}},
	},
	{
		name: "following-in-silence", rule: "L1",
		says:  "no latched switch can follow, and nobody is told that the nodes must live",
		edits: []edit{{"actions/switch.go", `	if e == nil || !r.st.Latched ||`, `	if true || e == nil || !r.st.Latched ||`}},
		tests: []test{{pkg: "actions", name: "TestALatchedSwitchMustFollow"}},
	},
	{
		name: "following-without-a-pace", rule: "E2",
		says: "a switch that cannot follow fills the log with attempts",
		edits: []edit{{"actions/act.go", `			pause = followPace
`, ``}},
		tests: []test{{pkg: "actions", name: "TestAPersonEndsTheFollowing"}},
	},
	{
		name: "following-without-end", rule: "L1",
		says:  "a person cannot end a switch that cannot follow",
		edits: []edit{{"failover/skip.go", `		follows := s.Level() >= 3 &&`, `		follows := false &&`}},
		tests: []test{{pkg: "actions", name: "TestAPersonEndsTheFollowing"}},
	},
	{
		name: "following-first", rule: "L1",
		says: "a question that nothing waits for keeps one away that a person has to answer",
		edits: []edit{{"failover/execution.go", `	return e.Question == nil || e.Question.Kind == Following && kind != Following
`, `	return e.Question == nil
`}},
		tests: []test{{pkg: "actions", name: "TestFollowingGivesWay"}},
	},
	{
		name: "nothing-follows", rule: "S3",
		says:  "what was handed over is forgotten: the weights never follow",
		edits: []edit{{"failover/apply_finish.go", `s.holdTraffic(m.Index, m.At, e, 0, state == ExecStable, func`, `s.holdTraffic(m.Index, m.At, e, 0, false, func`}},
		tests: []test{{pkg: "actions", name: "TestOneSwitchIsEnough"}},
	},
	{
		name: "flip-not-committed", rule: "T1", takes: "gate answers from memory after restart",
		says: "the gate's step is done without the flip in the log",
		edits: []edit{{"actions/act.go", `		if err := r.x.flip(cctx, r.e); err != nil {
			return fmt.Errorf("the flip was not committed: %w", err)
		}
`, ``}},
		tests: []test{{pkg: "actions", name: "TestOneSwitchIsEnough"}},
	},
	{
		name: "flip-committed-twice", rule: "T1",
		says: "switches that are done at the same moment each commit the flip",
		edits: []edit{{"actions/executor.go", `flipping: make(chan struct{}, 1),
`, `flipping: make(chan struct{}, 3),
`}},
		tests: []test{{pkg: "actions", name: "TestTheFlipIsCommittedOnce"}},
	},
	{
		name: "end-of-a-step-given-up", rule: "E6",
		says: "a switch that is done while the service becomes stable gives its own end up, and another end is written beside it",
		edits: []edit{{"actions/writes.go", `	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), x.opts.CallTimeout)
	defer cancel()
	x.propose(ctx, c, "")
`, `	x.propose(ctx, c, "")
`}},
		tests: []test{{pkg: "actions", name: "TestADoneSwitchIsNotHandedOver"}},
	},
	{
		name: "object-written-blindly", rule: "T2",
		says: "the object is written without naming what it replaces: a stale writer overwrites a newer one",
		edits: []edit{{"actions/s3_object.go", `	if was.ETag == "" {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = aws.String(was.ETag)
	}
`, ``}},
		tests: []test{{pkg: "actions", name: "TestS3Object"}, {pkg: "actions", name: "TestAStaleObjectWriterChangesNothing"}},
	},
	{
		name: "older-token-on-the-object", rule: "T2",
		says: "an older token may replace a newer one, if it has read it",
		edits: []edit{{"actions/s3_object.go", `	if was.Token >= a.Token {
		return fmt.Errorf("token %d stands in %s, ours is %d: %w", was.Token, o.name(), a.Token, ErrStaleToken)
	}
`, ``}},
		tests: []test{{pkg: "actions", name: "TestAStaleObjectWriterChangesNothing"}},
	},
	{
		name: "silent-node-says-stop", rule: "S3",
		says:  "the health checks are not inverted: a node that is lost counts as one that says that the region is to be left",
		edits: []edit{{"actions/route53_health.go", `aws.String(GatePath(o.Service, o.From)), Inverted: aws.Bool(true),`, `aws.String(GatePath(o.Service, o.From)), Inverted: aws.Bool(false),`}},
		tests: []test{{pkg: "actions", name: "TestHealthChecks"}},
	},
	{
		name: "one-node-moves-all", rule: "S3",
		says:  "one node that is wrong moves every client",
		edits: []edit{{"actions/route53_health.go", `int32(len(ids) - g.need() + 1)`, `int32(len(ids))`}},
		tests: []test{{pkg: "actions", name: "TestHealthChecks"}},
	},
	{
		name: "written-is-moved", rule: "S3",
		says: "a switch counts as done when it is written, whatever the name servers answer",
		edits: []edit{{"actions/dns_answers.go", `	if state := h.state(); state != Present {
		return Effect`, `	if state := h.state(); state == Absent {
		return Effect`}},
		tests: []test{{pkg: "actions", name: "TestS3Object"}, {pkg: "actions", name: "TestGate"}},
	},
	{
		name: "traffic-held-where-it-was-left", rule: "S2",
		says: "a standing hold of clients outlives the region that it sends them to",
		edits: []edit{{"failover/apply_holds.go", `	return (h.Step.Kind == KindStop) == (h.Step.Region != active)
`, `	return h.Step.Kind == KindSwitch || (h.Step.Kind == KindStop) == (h.Step.Region != active)
`}},
		tests: []test{{pkg: "failover", name: "TestTrafficHolds"}},
	},
	{
		name: "refused-is-no-request", rule: "L1",
		says:  "clients that keep coming to a region whose targets were stopped are not counted",
		edits: []edit{{"probes/traffic_observed.go", `{"refused", "HTTPCode_ELB_503_Count"}, `, ``}},
		tests: []test{{pkg: "probes", name: "TestTrafficObserved"}},
	},
	{
		name: "half-moved-is-moved", rule: "L1",
		says: "the service is declared stable however many clients still reach the old side",
		edits: []edit{{"probes/traffic_observed.go", `		if status == Pass && share < float64(t.cfg.moved()) {
`, `		if status == Pass && share < 0 {
`}},
		tests: []test{{pkg: "probes", name: "TestTrafficObserved"}},
	},
	{
		name: "empty-at-the-switch", rule: "L1",
		says: "a queue that is empty at the moment of the switch counts as worked off, before any client has come",
		edits: []edit{{"probes/sqs_backlog.go", `	case watched < b.cfg.trend():
`, `	case watched < b.cfg.trend() && n > b.cfg.Max:
`}},
		tests: []test{{pkg: "probes", name: "TestSQSBacklogTrend"}},
	},
	{
		name: "backlog-stands-and-passes", rule: "L1",
		says: "a queue that nobody reads passes by the rounding error of its slope",
		edits: []edit{{"probes/sqs_backlog.go", `	case pace > -1: // a queue that nobody reads has the slope of its rounding errors
`, `	case pace >= 0:
`}},
		tests: []test{{pkg: "probes", name: "TestSQSBacklogTrend"}},
	},
	{
		name: "counted-before-the-switch", rule: "L1",
		says:  "requests that a load balancer counted before the switch show that clients have come",
		edits: []edit{{"probes/traffic_observed.go", `n.requests > 0 && !begin.Before(t.began) && `, `n.requests > 0 && `}},
		tests: []test{{pkg: "probes", name: "TestTrafficObserved"}},
	},
	{
		name: "late-is-zero", rule: "L1",
		says:  "what the old region has not reported yet counts as no request there",
		edits: []edit{{"probes/traffic_observed.go", `known = known && !begin.After(end.Add(-looksLate*period))`, `known = known && !begin.After(end.Add(0*period))`}},
		tests: []test{{pkg: "probes", name: "TestTrafficObserved"}},
	},
	{
		name: "answers-are-proof", rule: "T1",
		says: "records that cannot be read count as moved because name servers lead to the region, whoever has made them",
		edits: []edit{{"actions/route53_recall.go", `	case z.token().Region != w.region:
`, `	case z.token().Region != w.region && len(k.servers) == 0:
`}},
		tests: []test{{pkg: "actions", name: "TestAnswersAloneDoNotMoveRecords"}},
	},
	{
		name: "kept-is-restored", rule: "E7",
		says:  "what the log has kept of a resource that cannot be read counts as its state after an undo",
		edits: []edit{{"actions/action.go", `	if now.Recalled {`, `	if false {`}},
		tests: []test{{pkg: "actions", name: "TestRecordsAreMovedUnread"}},
	},
	{
		name: "optional-step-blocks", rule: "L1",
		says:  "a step that the plan goes on without keeps an automatic failover from beginning",
		edits: []edit{{"actions/survey.go", ` && !s.Optional {`, ` {`}},
		tests: []test{{pkg: "actions", name: "TestSurveyOfWhatIsOptional"}},
	},
	{
		name: "complaining-target-is-down", rule: "D4",
		says:  "a control plane that complains in the region to be entered makes a region that is down a failure that followed us",
		edits: []edit{{"failover/decide.go", `v.Vantage != region && v.Verdict.serves()`, `v.Vantage != region && v.Verdict.Health == Healthy`}},
		tests: []test{{pkg: "failover", name: "TestDecide/target-control-plane"}},
	},
	{
		name: "complaint-keeps-incidents-open", rule: "D5",
		says:  "a region that serves, and whose control plane complains, is not taken for well: an execution that nobody approved stays wanted",
		edits: []edit{{"failover/conditions.go", `return c == "" || c == ControlPlane }`, `return c == "" }`}},
		tests: []test{{pkg: "failover", name: "TestDecide/control-plane"}},
	},
	{
		name: "aborted-hands-over", rule: "E4",
		says:  "an execution that is aborted when it becomes stable counts on a standing hold for a token, and can never be closed",
		edits: []edit{{"actions/unwind.go", `e.State != failover.ExecAborting && e.HandedOver(st)`, `e.HandedOver(st)`}},
		tests: []test{{pkg: "actions", name: "TestAbortedWhenStable"}},
	},
	{
		name: "refused-close-in-silence", rule: "L1",
		says: "an execution that the log refuses to close is proposed for ever, and nobody is told",
		edits: []edit{{"actions/writes.go", `	case now.Sub(x.closingSince) < closeFor:
`, `	case now.Sub(x.closingSince) < closeFor*1e6:
`}},
		tests: []test{{pkg: "actions", name: "TestARefusedCloseIsToldOf"}},
	},
	{
		name: "nobody-asked-is-moved", rule: "S3",
		says:  "clients count as moved although no name server could be asked",
		edits: []edit{{"actions/dns_answers.go", `len(h.silent) > 0 || h.asked == 0:`, `len(h.silent) > 0:`}},
		tests: []test{{pkg: "actions", name: "TestPlaces"}},
	},
	{
		name: "old-by-ipv6-is-moved", rule: "S3",
		says: "clients count as moved although a name leads those with IPv6 to the old region",
		edits: []edit{{"actions/dns_answers.go", `			{name: name, typ: string(types.RRTypeAaaa), values: six, optional: len(four) > 0, more: more},
`, `			{name: name, typ: string(types.RRTypeA), values: four, optional: len(six) < 0, more: more},
`}},
		tests: []test{{pkg: "actions", name: "TestPlaces"}},
	},
	{
		name: "ipv6-servers-asked-without-ipv6", rule: "L1",
		says:  "on a host without IPv6 no switch proves itself, since name servers have IPv6 addresses too",
		edits: []edit{{"internal/dnsq/dnsq.go", `range oneFamily(addrs, routed) {`, `range oneFamily(addrs, func(netip.Addr) bool { return false }) {`}},
		tests: []test{{pkg: "internal/dnsq", name: "TestAuthoritative"}},
	},
	{
		name: "no-ipv6-is-not-moved", rule: "L1",
		says:  "an AAAA alias to a balancer without IPv6 keeps a switch from ever being proven",
		edits: []edit{{"actions/route53_answers.go", `q.optional = q.typ == string(types.RRTypeAaaa)`, `q.optional = q.typ == string(types.RRTypeTxt)`}},
		tests: []test{{pkg: "actions", name: "TestAliasesWithoutIPv6"}},
	},
	{
		name: "one-answer-is-all-addresses", rule: "L1",
		says: "a balancer with more addresses than an answer holds keeps a switch from ever being proven",
		edits: []edit{{"actions/dns_answers.go", `		if got != "" && q.more != nil {
`, `		if false {
`}},
		tests: []test{{pkg: "actions", name: "TestPlaces"}},
	},
	{
		name: "silence-is-a-violation", rule: "E2",
		says: "a name server that does not answer makes a standing hold write the records anew",
		edits: []edit{{"actions/dns_answers.go", `	case len(h.wrong) > 0:
		return Partial`, `	case len(h.wrong)+len(h.silent) > 0:
		return Partial`}},
		tests: []test{{pkg: "actions", name: "TestASilentNameServerIsNoViolation"}},
	},
	{
		name: "silence-keeps-a-token-from-being-burnt", rule: "L1",
		says:  "while a name server does not answer, the token of a batch whose fate is unknown is replaced again and again",
		edits: []edit{{"actions/unwind.go", `	case eff.stands() >= token:`, `	case eff.State != Unknown && eff.Token >= token:`}},
		tests: []test{{pkg: "actions", name: "TestTokenIsBurntBeforeTheEnd"}},
	},
}
