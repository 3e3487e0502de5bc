package main

import "slices"

// table is every mutant, in the order of the rules.
func table() []mutant {
	return slices.Concat(leases, agents, units, evidence, journal, prepared, withdrawals, effects, traffic, kinds, capacity, data, rows, bring, late, servers, decisions, guards, orders, disks)
}

// mustBeCaught are the mutations that the safety protocol was reviewed with: each
// of them has a mutant, whatever else is in the table.
var mustBeCaught = []string{
	"VerifyLeader as the grant round",
	"wait from commit",
	"wait from last grant",
	"wait not restarted on a new term",
	"freeze ID ignored",
	"agent keeps old requests after its stop",
	"evidence from one of two agents",
	"leader-only command forwarded",
	"term not compared",
	"previous values taken after Do",
	"token reused on undo",
	"execution closed with a token unconsumed",
	"gate answers from memory after restart",
	"lease length from local configuration",
	"mode from the log only",
	"watchdog fed past the deadline",
	"hold not restarted on a change of voices",
	"several silent signals shorten the hold",
	"two nodes of a vantage OR-ed",
	"Absent believed at once",
	"epoch seen by the agent not kept",
	"start counter not checked",
	"no wait",
	"no freeze",
	"no barrier",
	"no ρ",
	"lease counted from the reply",
	"no re-check on receipt",
	"cool-down blocks an unfinished run",
	"empty selector means all",
	"prepare not undone",
}
