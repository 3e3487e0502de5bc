package main

// kind says what the search of a case must come to.
type kind int

const (
	clean    kind = iota // complete, without an error
	mutation             // one rule less: a counter-example
	reach                // a state that must be reachable: found
	spare                // one rule less, but another rule stands in for it: complete, without an error
)

// testcase is one search.
type testcase struct {
	kind kind
	name string
	file string
	defs []string // for the preprocessor
	cond string   // of a reach
	text string   // what the case is, for a person
}

// cases are all searches in the order in which they run.
var cases = []testcase{
	{clean, "round-3", "round.pml", nil, "", "3 voters, a server without a vote"},
	{clean, "round-5", "round.pml", []string{"VOTERS=5"}, "", "5 voters, a server without a vote"},
	{clean, "token", "token.pml", []string{"DECISIONS=4", "TOKENS=8"}, "", "4 decisions, 7 writes, 3 of them under way"},
	{clean, "token-handed-over", "token.pml", []string{"HANDOVER", "DECISIONS=4", "TOKENS=7", "WRITES=2"}, "", "4 decisions, closed also while a write is under way, 6 writes, 2 of them under way"},
	{clean, "terms", "lease.pml", []string{"TERMS=3", "K=2", "LEASE=3", "FREEZES=3"}, "", "3 leaders, 2 requests under way, 3 freezes"},
	{clean, "late", "lease.pml", []string{"TERMS=3", "K=2", "LEASE=3", "LATE"}, "", "the same, grants of any age arrive"},
	{clean, "two-agents", "lease.pml", []string{"NA=2", "K=2"}, "", "2 agents, 2 requests each, 2 leaders"},
	{clean, "two-agents-terms", "lease.pml", []string{"TERMS=3", "NA=2", "LEASE=3", "FREEZES=3"}, "", "2 agents, 3 leaders, 3 freezes"},
	{clean, "failback", "lease.pml", []string{"NB=1", "K=2", "EPOCHS=4", "FREEZES=4"}, "", "an agent on each side, to region 2, back, and away again"},
	{clean, "rates", "lease.pml", []string{"RATES", "TERMS=3", "K=2", "LEASE=4"}, "", "clocks at 2 : 3"},
	{clean, "rates-failback", "lease.pml", []string{"RATES", "NB=1", "EPOCHS=3", "FREEZES=3"}, "", "clocks at 2 : 3, there and back"},
	{clean, "reload", "lease.pml", []string{"RELOAD", "TERMS=3", "K=2", "LEASE=3"}, "", "the lease is shortened while a longer one is held"},
	{clean, "mode", "lease.pml", []string{"MODE", "K=2"}, "", "on_isolation goes from keep to stop and back, requests given up arrive late"},
	{clean, "restore", "lease.pml", []string{"RESTORE", "LATE"}, "", "the cluster is restored from an old copy"},
	{clean, "tail", "lease.pml", []string{"TAIL=1", "NA=2", "TERMS=3"}, "", "effects of killed workers land late"},
	{clean, "goodbye", "lease.pml", []string{"BYE", "NA=2"}, "", "an agent ends and starts again under its name"},
	{clean, "lock-terms", "lease.pml", []string{"ROUND", "TERMS=3", "K=2"}, "", "grants under the leader's lock: 3 leaders"},
	{clean, "lock-two-agents", "lease.pml", []string{"ROUND", "NA=2"}, "", "grants under the leader's lock: 2 agents"},
	{clean, "lock-failback", "lease.pml", []string{"ROUND", "TERMS=3", "NB=1", "EPOCHS=3", "FREEZES=3"}, "", "grants under the leader's lock: there and back"},

	{mutation, "verify-leader", "round.pml", []string{"M_VERIFY"}, "", "replies to heartbeats from before the request count"},
	{mutation, "verify-leader-grants", "lease.pml", []string{"ROUND", "M_VERIFY"}, "", "a deposed leader's round succeeds: what that does to the leases"},
	{mutation, "non-voters-count", "round.pml", []string{"M_NONVOTER"}, "", "a server without a vote counts in the round"},
	{mutation, "any-term-counts", "round.pml", []string{"M_ANYTERM"}, "", "a server that has voted in a later term counts in the round"},
	{mutation, "blind-votes", "round.pml", []string{"M_BLINDVOTE"}, "", "votes without comparing logs"},
	{mutation, "wait-from-commit", "lease.pml", []string{"ROUND", "M_COMMIT"}, "", "the wait counts from the freeze's commit, not from the leader's own apply"},
	{mutation, "wait-from-last-grant", "lease.pml", []string{"ROUND", "M_LASTGRANT"}, "", "the wait counts from the last grant that the leader knows of"},
	{mutation, "wait-goes-on-in-new-term", "lease.pml", []string{"ROUND", "M_TERMWAIT"}, "", "a new leader counts from its apply as a follower"},
	{mutation, "no-barrier", "lease.pml", []string{"ROUND", "M_NOBARRIER"}, "", "a new leader grants before it has applied what was committed"},
	{mutation, "forwarded", "lease.pml", []string{"ROUND", "M_FORWARD"}, "", "a deposed leader's commands are forwarded and the term is not compared"},
	{mutation, "stale-refusal", "lease.pml", []string{"ROUND", "M_STALEREFUSAL"}, "", "a refusal needs no quorum round"},
	{mutation, "evidence-of-earlier-freeze", "lease.pml", []string{"M_FREEZEID_EVIDENCE"}, "", "freeze ID ignored: evidence outlives its freeze"},
	{mutation, "report-of-earlier-freeze", "lease.pml", []string{"M_FREEZEID_REPORT"}, "", "freeze ID ignored: an agent's report is good for every freeze"},
	{mutation, "clock-of-earlier-freeze", "lease.pml", []string{"M_FREEZEID_CLOCK"}, "", "freeze ID ignored: the wait goes on from an earlier freeze"},
	{mutation, "old-requests-kept", "lease.pml", []string{"M_KEEPREQUESTS"}, "", "the agent keeps its old requests after its stop report"},
	{mutation, "one-of-two-agents", "lease.pml", []string{"NA=2", "M_ONEOF"}, "", "confirmed by one of two agents"},
	{mutation, "no-wait", "lease.pml", []string{"M_NOWAIT"}, "", "lease evidence at once"},
	{mutation, "no-freeze", "lease.pml", []string{"M_NOFREEZE"}, "", "grants go on while the leader waits"},
	{mutation, "no-rho", "lease.pml", []string{"RATES", "M_NORHO"}, "", "the wait is the bare lease"},
	{mutation, "counted-from-reply", "lease.pml", []string{"M_FROMREPLY"}, "", "the agent counts its lease from the reply"},
	{mutation, "no-recheck-on-receipt", "lease.pml", []string{"LATE", "M_NORECHECK"}, "", "the agent starts first and looks at the deadline later"},
	{mutation, "local-length", "lease.pml", []string{"RELOAD", "LEASE=3", "M_LOCALLENGTH"}, "", "the wait follows the configuration, not what agents hold"},
	{mutation, "mode-from-log-only", "lease.pml", []string{"MODE", "K=2", "M_LOGMODE"}, "", "on_isolation is read from the configuration, not from the agents"},
	{mutation, "unbound-by-late-answer", "lease.pml", []string{"MODE", "K=2", "M_OLDUNBINDS"}, "", "an agent that has said it is bound can be unbound by an answer"},
	{mutation, "name-used-again", "lease.pml", []string{"MODE", "K=2", "M_SAMENAME"}, "", "an agent starts again under its name: a request of its earlier life speaks for it"},
	{mutation, "late-goodbye", "lease.pml", []string{"BYE", "NA=2", "M_LATEBYE"}, "", "the goodbye of an agent's earlier life removes its record"},
	{mutation, "guard-fed-past-deadline", "lease.pml", []string{"M_GUARD"}, "", "the guard gets a whole period whenever it is fed"},
	{mutation, "epoch-not-kept", "lease.pml", []string{"RESTORE", "M_EPOCHLOST"}, "", "the agent forgets the epoch when it starts again"},
	{mutation, "provisional-freeze-kept", "lease.pml", []string{"M_PROVKEPT"}, "", "an agent is granted during a provisional freeze, which stays"},
	{mutation, "any-region-granted", "lease.pml", []string{"M_ANYREGION"}, "", "grants do not ask which region is active"},
	{mutation, "no-effect-tail", "lease.pml", []string{"TAIL=1", "M_NOTAIL"}, "", "the wait leaves the effect tail out"},
	{mutation, "report-before-effects", "lease.pml", []string{"TAIL=1", "M_REPORTEARLY"}, "", "the agent reports as soon as its workers are dead, their effects still under way"},
	{mutation, "traffic-before-epoch", "lease.pml", []string{"M_TRAFFIC"}, "", "traffic moves when the execution has frozen the lease"},
	{mutation, "token-reused", "token.pml", []string{"M_REUSE"}, "", "undo puts the old token back"},
	{mutation, "token-unconsumed", "token.pml", []string{"M_UNCONSUMED"}, "", "an execution closes while a write may still land"},
	{mutation, "handed-over-forgotten", "token.pml", []string{"HANDOVER", "M_HANDED"}, "", "a decision follows while a write that was handed over may still land"},
	{mutation, "token-not-named", "token.pml", []string{"M_UNCONDITIONAL"}, "", "a write does not name the token that it replaces"},

	{reach, "epoch-by-lease", "lease.pml", []string{"GHOST"}, "epoch == 2 && g_lease && !g_confirmed", "epoch 2 by lease evidence"},
	{reach, "epoch-by-confirmation", "lease.pml", []string{"GHOST", "NA=2"}, "epoch == 2 && g_confirmed && !g_lease", "epoch 2 by the reports of both agents"},
	{reach, "takeover-in-mid-wait", "lease.pml", []string{"GHOST"}, "epoch == 2 && g_mid && g_lease && !g_confirmed", "a leader falls in mid-wait, the next one waits anew"},
	{reach, "abort-second-freeze", "lease.pml", []string{"GHOST"}, "epoch == 2 && g_second && g_lease", "abort, a second freeze, then epoch 2"},
	{reach, "region-2-works", "lease.pml", []string{"NB=1"}, "epoch == 2 && left[1] > 0", "workers run in region 2"},
	{reach, "failback-done", "lease.pml", []string{"NB=1", "EPOCHS=3", "FREEZES=3"}, "epoch == 3 && left[0] > 0 && traffic == 1", "back in region 1: workers and traffic"},
	{reach, "traffic", "lease.pml", nil, "traffic == 2", "traffic moves to region 2"},
	{reach, "self-stop", "lease.pml", []string{"GHOST"}, "g_self", "an agent stops by itself"},
	{reach, "provisional-lifted", "lease.pml", []string{"GHOST"}, "g_lifted && left[0] > 0", "an agent is heard, the provisional freeze ends, it works"},
	{reach, "provisional-adopted", "lease.pml", []string{"GHOST"}, "epoch == 2 && g_adopted && g_lease && made == 1", "a provisional freeze becomes firm, its wait goes on"},
	{reach, "late-grant", "lease.pml", []string{"GHOST", "LATE"}, "g_late", "a grant comes too late"},
	{reach, "parked-grant", "lease.pml", []string{"GHOST", "ROUND"}, "g_parked && left[0] > 0", "a deposed leader answers a round that it won before: a valid lease"},
	{reach, "rates-lease", "lease.pml", []string{"GHOST", "RATES"}, "epoch == 2 && g_lease", "epoch 2 with clocks at two rates"},
	{reach, "shorter-lease", "lease.pml", []string{"GHOST", "RELOAD", "LEASE=3"}, "epoch == 2 && g_lease && shorter && made == 1", "epoch 2 after the lease was shortened"},
	{reach, "unbound", "lease.pml", []string{"MODE"}, "strict && manner[0] == 2", "an agent still runs without a lease, the log says stop"},
	{reach, "bound-evidence", "lease.pml", []string{"GHOST", "MODE"}, "epoch == 2 && g_lease && known[0] == 0 && manner[0] == 1", "lease evidence of an agent that was bound"},
	{reach, "restored", "lease.pml", []string{"RESTORE"}, "restored && saw[0] == 2 && sees[0] == 2", "an agent knows more than the restored log"},
	{reach, "round-then-election", "round.pml", nil, "over && elected", "a round is over and a later leader is elected"},
	{reach, "handed-over-and-back", "token.pml", []string{"HANDOVER"}, "!open && dec == 2 && val == 1 && newest == 2 && !handed", "a decision follows one that was handed over"},
	{reach, "undone", "token.pml", nil, "!open && dec == 2 && val == 1 && newest == 2", "a flip has landed and was undone"},

	{spare, "wait-from-commit, log order", "lease.pml", []string{"M_COMMIT", "TERMS=3", "K=2"}, "", "as the mutation, grants decided in log order"},
	{spare, "new-term, log order", "lease.pml", []string{"M_TERMWAIT", "K=2"}, "", "as the mutation, grants decided in log order"},
}
