/*
 * The lease, freeze, takeover and epoch protocol.
 *
 * One process takes one atomic step after the other; all concurrency (lost, late and reordered messages, paused
 * processes, applies that lag behind) is the free choice of the next step. What does not act for a while is paused.
 * README.md beside this file says what stands for what, and why leaving the rest out is sound.
 *
 * Sizes and variants come from -D macros of the runner (table.go): M_* take one rule out, REACH is a condition that
 * must be reachable, ROUND decides grants under the leader's lock instead of in log order.
 */
#ifndef TERMS
#define TERMS 2		/* how many leaders there are, one after the other */
#endif
#ifndef NA
#define NA 1		/* agents of region 1 */
#endif
#ifndef NB
#define NB 0		/* agents of region 2; with none, region 2 counts as running from its epoch on */
#endif
#ifndef K
#define K 1		/* requests that an agent may have under way */
#endif
#ifndef LEASE
#define LEASE 2		/* ticks of the holder's clock */
#endif
#ifndef FREEZES
#define FREEZES 2
#endif
#ifndef EPOCHS
#define EPOCHS 2
#endif
#ifndef TAIL
#define TAIL 0		/* how long an effect may land after its worker was killed */
#endif
#define N (NA+NB)
#ifdef RELOAD
#define SHORT 1		/* the lease after the reload */
#else
#define SHORT LEASE
#endif
#ifdef RATES		/* rho = 1/5: of three ticks of a granter, a holder's clock makes two */
#define SCALED(l) (((l)*3+1)/2)
#else
#define SCALED(l) (l)
#endif
#define WAITMAX (SCALED(LEASE)+TAIL)

#define REGION(a) (((a) < NA) -> 1 : 2)
#define ACTIVE(e) (((e)%2 == 1) -> 1 : 2)

#include "lease_state.pml"
#include "lease_rules.pml"

#define AGENTSTEPS(a) \
:: d_step { report[a] != 0 && LANDS_BY_ANY && fz == FIRM && report[a] == fid && known[a] -> \
	printf("the log: agent %d has stopped its workers for freeze %d\n", a, fid); stopped[a] = fid; report[a] = 0; CHECK } \
:: d_step { report[a] != 0 -> report[a] = 0 } \
:: d_step { fz == FIRM && REGION(a) == ACTIVE(epoch) && known[a] && REFUSED_BY_ANY && report[a] != fid && stopped[a] != fid CANSTOP(a) -> \
	printf("agent %d hears of freeze %d, stops its workers\n", a, fid); KILLED(a) left[a] = 0; FEEDSTOP(a) FORGETS(a) REPORT(a) CHECK } \
TAILREPORT(a) \
:: d_step { left[a] > 0 CRASHES -> printf("agent %d crashes, its worker with it, and starts again\n", a); STRAYS(a*K) STRAYS(a*K+K-1) KILLED(a) left[a] = 0; FEEDSTOP(a) forget(a); RESTART(a) CHECK }

#define FEEDSTOP(a)
#define CANSTOP(a)
#define CRASHES
#define RESTART(a)
#define TAILREPORT(a)
#ifdef M_GUARD
#undef FEEDSTOP
#define FEEDSTOP(a) guard[a] = 0;
#endif
#ifdef M_KEEPREQUESTS
#define FORGETS(a)
#else
#define FORGETS(a) forget(a);
#endif
#if TAIL > 0 && !defined(M_REPORTEARLY)
#undef TAILREPORT
#define REPORT(a)
#define TAILREPORT(a) :: d_step { fz == FIRM && REGION(a) == ACTIVE(epoch) && known[a] && REFUSED_BY_ANY && left[a] == 0 && tail[a] == 0 && report[a] != fid && stopped[a] != fid -> \
	printf("agent %d reports for freeze %d, its effects have landed\n", a, fid); forget(a); report[a] = fid; CHECK }
#else
#define REPORT(a) report[a] = fid;
#endif
#ifdef MODE
#undef CRASHES
#undef RESTART
#undef CANSTOP
#undef FEEDSTOP
/* A refusal may bind the workers, never unbind them; those that nothing binds go on. */
#define CANSTOP(a) && (manner[a] != 2 || strict)
#define FEEDSTOP(a) if :: manner[a] == 2 -> manner[a] = 1 :: else fi;
#define CRASHES || manner[0] != 0	/* one agent only */
#ifdef M_SAMENAME
#define RESTART(a) manner[a] = 0; held[a] = 0;
#else	/* a new life has a new name; the old one's record and requests speak of the dead */
#define RESTART(a) manner[a] = 0; held[a] = 0; known[a] = 0; stopped[a] = 0; bound[a] = 0; report[a] = 0; stray = 0;
#endif
#endif
#ifdef RESTORE
#undef RESTART
#undef CRASHES
#define CRASHES || true
#ifdef M_EPOCHLOST
#define RESTART(a) under[a] = 0; sees[a] = 0;
#else
#define RESTART(a) under[a] = 0;
#endif
#endif

#define SENDS(a, s) \
:: d_step { !(st[s] == ASKED && since[s] == 0) -> printf("agent %d asks (request %d)\n", a, s); STRAYS(s) clear(s); st[s] = ASKED; SAYS(a, s) }
#ifdef MODE
#define SAYS(a, s) says[s] = ISBOUND(a);
#else
#define SAYS(a, s)
#endif
/* A request that the agent has given up may still reach the log. In all other variants that changes nothing for the
   worse: it makes a record, or lifts a provisional freeze. */
#ifdef MODE
#define STRAYS(s) if :: st[s] == ASKED && says[s] -> stray = 1 :: else fi;
#else
#define STRAYS(s)
#endif

#define TAKES(a, s) \
:: d_step { st[s] == GRANTED -> printf("agent %d receives the grant for request %d, %d ticks after sending\n", a, s, since[s]); takes(a, s); CHECK }

#if TERMS == 1
#define LANDS_BY_ANY LANDS_BY(1)
#elif TERMS == 2
#define LANDS_BY_ANY (LANDS_BY(1) || LANDS_BY(2))
#else
#define LANDS_BY_ANY (LANDS_BY(1) || LANDS_BY(2) || LANDS_BY(3))
#endif

/* Who refuses has applied the freeze; and a refusal needs its quorum round as much as a grant does, or a deposed
   leader makes an agent report that its successor, slower to apply, grants again. */
#ifdef ROUND
#ifdef M_STALEREFUSAL
#define REFUSES(t) (leads[t] && vfid[t] == fid)
#else
#define REFUSES(t) (LANDS_BY(t) && vfid[t] == fid)
#endif
#if TERMS == 2
#define REFUSED_BY_ANY (REFUSES(1) || REFUSES(2))
#else
#define REFUSED_BY_ANY (REFUSES(1) || REFUSES(2) || REFUSES(3))
#endif
#else
#define REFUSED_BY_ANY LANDS_BY_ANY
#endif

#ifdef ROUND
/* G1: at a moment after the request arrived, no later leader had been elected (round.pml). */
#ifdef M_VERIFY
#define SOUND(t) leads[t]
#else
#define SOUND(t) LANDS_BY(t)
#endif
#define DECIDES(a, s, t) \
:: d_step { st[s] == ASKED && SOUND(t) -> printf("leader %d: quorum round for request %d of agent %d\n", t, s, a); \
	HEARD record(a, s); st[s] = PROVEN; at[s] = t; CHECK } \
:: d_step { st[s] == PROVEN && at[s] == t && OPENFOR(vfid[t]) && MAYHAVE(a, vepoch[t]) -> printf("leader %d grants request %d of agent %d\n", t, s, a); \
	if :: t < term -> G(g_parked) :: else fi; NOTEGRANT(t) at[s] = 0; terms(a, s); CHECK }
#ifdef M_LASTGRANT
#define NOTEGRANT(t) quiet[t] = 0;
#else
#define NOTEGRANT(t)
#endif
#else
#define DECIDES(a, s, t)
#define ANSWERS(a, s) \
:: d_step { st[s] == ASKED && LANDS_BY_ANY -> printf("the log: request %d of agent %d is answered\n", s, a); answer(a, s); CHECK }
#endif
#ifndef ANSWERS
#define ANSWERS(a, s)
#endif

#define SLOTSTEPS(a, s) SENDS(a, s) ANSWERS(a, s) TAKES(a, s) DECIDES(a, s, 1) DECIDES2(a, s) DECIDES3(a, s)
#if TERMS > 1
#define DECIDES2(a, s) DECIDES(a, s, 2)
#else
#define DECIDES2(a, s)
#endif
#if TERMS > 2
#define DECIDES3(a, s) DECIDES(a, s, 3)
#else
#define DECIDES3(a, s)
#endif

#ifdef M_NOBARRIER
#define BARRIER(t) leads[t] = 1;	/* it acts on what it happened to have applied as a follower */
#elif defined(M_TERMWAIT)
#define BARRIER(t) leads[t] = 1; follow(t);	/* the clock goes on from what it saw as a follower */
#else
#define BARRIER(t) leads[t] = 1; vfid[t] = fid; vepoch[t] = epoch; age[t] = 0;
#endif

#define LEADERSTEPS(t) \
:: d_step { t == term && !leads[t] -> printf("leader %d passes its barrier\n", t); BARRIER(t) BURY CHECK } \
:: d_step { FOLLOWS(t) && (vfid[t] != fid || vepoch[t] != epoch) -> printf("leader %d applies: epoch %d, freeze %d\n", t, epoch, fid); follow(t); CHECK } \
:: d_step { COMMANDS(t) && fz == NONE && made < FREEZES && epoch < EPOCHS && vepoch[t] == epoch -> \
	made++; fid = made; fz = PROV; COMMITTED printf("the log: leader %d freezes provisionally (freeze %d)\n", t, fid); CHECK } \
:: d_step { COMMANDS(t) && fz == NONE && made < FREEZES && epoch < EPOCHS && vepoch[t] == epoch -> \
	made++; fid = made; fz = FIRM; COMMITTED printf("the log: leader %d freezes (freeze %d)\n", t, fid); if :: made > 1 -> G(g_second) :: else fi; CHECK } \
:: d_step { COMMANDS(t) && fz == PROV && vepoch[t] == epoch -> printf("the log: leader %d adopts freeze %d\n", t, fid); fz = FIRM; G(g_adopted) CHECK } \
:: d_step { COMMANDS(t) && fz == PROV && vfid[t] == fid -> printf("the log: leader %d lifts freeze %d\n", t, fid); fz = NONE; fid = 0; CHECK } \
:: d_step { COMMANDS(t) && fz == FIRM && vfid[t] == fid -> printf("the log: execution aborted, freeze %d lifted\n", fid); fz = NONE; fid = 0; CHECK } \
:: d_step { COMMANDS(t) && fz == FIRM && vfid[t] == fid && ev != fid && LEASEPROVES && WAITED(t) -> \
	printf("the log: leader %d has waited %d since freeze %d: lease evidence\n", t, age[t], fid); ev = fid; G(g_lease) CHECK } \
:: d_step { COMMANDS(t) && fz == FIRM && ev != fid && ALLDEAD -> \
	printf("the log: leader %d: every agent has stopped for freeze %d: confirmed\n", t, fid); ev = fid; G(g_confirmed) CHECK } \
:: d_step { COMMANDS(t) && fz == FIRM && PROOF && vepoch[t] == epoch -> \
	epoch++; fz = NONE; fid = 0; ev = 0; FORGETRECORDS printf("the log: epoch %d\n", epoch); CHECK } \
:: d_step { COMMANDS(t) && SWITCHES(t) && traffic != ACTIVE(epoch TOOEARLY) -> \
	traffic = ACTIVE(epoch TOOEARLY); printf("the log: traffic to region %d\n", traffic); S3CHECK }

#define SWITCHES(t) (fz == NONE && vepoch[t] == epoch)
#define TOOEARLY
#ifdef M_TRAFFIC
#undef SWITCHES
#undef TOOEARLY
#define SWITCHES(t) (fz == FIRM && vepoch[t] == epoch)
#define TOOEARLY +1
#endif
/* S3: when traffic moves, nothing critical lives where it comes from. */
#ifdef REACH
#define S3CHECK CHECK
#elif N == 1
#define S3CHECK assert(!(ALIVE(0) && REGION(0) != traffic));
#else
#define S3CHECK assert(!(ALIVE(0) && REGION(0) != traffic) && !(ALIVE(1) && REGION(1) != traffic));
#endif
#ifdef M_COMMIT
#define COMMITTED cage = 0;
#else
#define COMMITTED
#endif
#if defined(ROUND) || defined(M_FORWARD) || TERMS == 1
#define BURY
#else	/* nothing of an earlier leader can land any more */
#define BURY for (i : 1 .. term-1) { leads[i] = 0; vfid[i] = 0; vepoch[i] = 0; age[i] = 0; } i = 0;
#endif
/* The new epoch forgets the records of the region that was left. */
#define FORGETRECORDS for (i : 0 .. N-1) { if :: REGION(i) != ACTIVE(epoch) -> known[i] = 0; stopped[i] = 0 :: else fi } i = 0; FORGETLENGTHS
#ifdef RELOAD
#define FORGETLENGTHS longest[0] = 0;
#else
#define FORGETLENGTHS
#endif

active proctype world()
{
	/* The first leader has passed its barrier. */
	d_step { leads[1] = 1; vepoch[1] = 1; }
	do
	SLOTSTEPS(0, 0)
#if K > 1
	SLOTSTEPS(0, 1)
#endif
	AGENTSTEPS(0)
#if N > 1
	SLOTSTEPS(1, K)
#if K > 1
	SLOTSTEPS(1, K+1)
#endif
	AGENTSTEPS(1)
#endif
	LEADERSTEPS(1)
#if TERMS > 1
	LEADERSTEPS(2)
#endif
#if TERMS > 2
	LEADERSTEPS(3)
#endif
	:: d_step { term < TERMS && leads[term] -> \
		if :: fz == FIRM && age[term] > 0 -> G(g_mid) :: else fi; \
		term++; printf("leader %d is elected; leader %d does not know\n", term, term-1) }
#if defined(M_TERMWAIT)
	/* A follower applies freezes too, and this mutation counts from then. */
	:: d_step { term == 1 && TERMS > 1 && (vfid[2] != fid || vepoch[2] != epoch) -> follow(2); printf("node of leader 2 applies as a follower: freeze %d\n", fid) }
#endif
#if defined(M_NOBARRIER)
	:: d_step { term == 1 && TERMS > 1 && vepoch[2] != epoch -> vfid[2] = fid; vepoch[2] = epoch; printf("node of leader 2 applies as a follower: freeze %d\n", fid) }
#endif
#ifdef RELOAD
	:: d_step { !shorter && fz != FIRM && LANDS_BY_ANY -> shorter = 1; printf("the log: configuration with a shorter lease\n"); CHECK }
#endif
#ifdef MODE
	:: d_step { stray && LANDS_BY_ANY -> stray = 0; printf("the log: a request that agent 0 has given up arrives\n"); HEARD
		if :: OPENFOR(fid) && ACTIVE(epoch) == 1 -> known[0] = 1; stopped[0] = 0; bound[0] = strict :: else fi; CHECK }
	:: d_step { stray -> stray = 0 }
	:: d_step { fz != FIRM && LANDS_BY_ANY -> strict = 1-strict; printf("the log: configuration, stop on isolation: %d\n", strict); CHECK }
#endif
#ifdef M_GUARD
	/* The agent feeds the guard a whole period for as long as its lease stands. */
	:: d_step { left[0] > 0 && guard[0] < LEASE -> guard[0] = LEASE; printf("agent 0 feeds the guard\n") }
#endif
#ifdef RESTORE
	:: d_step { !restored && epoch > 1 -> restored = 1; epoch = 1; fz = NONE; fid = 0; ev = 0; known[0] = 0; stopped[0] = 0; vepoch[term] = 1; vfid[term] = 0; age[term] = 0;
		printf("the cluster is restored from an old copy: epoch 1\n"); CHECK }
	:: d_step { sees[0] < epoch && LANDS_BY_ANY -> sees[0] = epoch; if :: epoch > saw[0] -> saw[0] = epoch :: else fi; KILLED(0)
		if :: ACTIVE(epoch) != 1 -> left[0] = 0; under[0] = 0 :: else fi; printf("agent 0 is told epoch %d\n", epoch); CHECK }
#endif
#ifdef BYE
	:: d_step { life == 0 && known[0] -> forget(0); left[0] = 0; bye = 1; life = 1; printf("agent 0 stops its workers, says goodbye and starts again\n") }
	:: d_step { bye && LANDS_BY_ANY && known[0] SAMELIFE -> known[0] = 0; stopped[0] = 0; bye = 0; printf("the log: agent 0 has left\n"); CHECK }
	:: d_step { bye -> bye = 0 }
#endif
	:: d_step { true -> printf("- tick -\n"); tick(); CHECK }
	od
}
