/* The rules of lease.pml, each with the mutation that takes it out, and what the parts do by themselves. */

/* --- rules ---------------------------------------------------------------------------------------------------- */
/* E1: only a leader's own entries land, in its own term; those that it appended last may be carried over by its
   successor, ahead of the barrier. */
#define LANDS_BY(t) (leads[t] && (t == term || (t+1 == term && !leads[term])))
#ifdef M_FORWARD	/* forwarded by a deposed leader, and the terms are not compared */
#define COMMANDS(t) leads[t]
#else
#define COMMANDS(t) LANDS_BY(t)
#endif
#ifdef M_FREEZEID_EVIDENCE
#define PROOF (ev != 0)
#else
#define PROOF (ev == fid)
#endif
#ifdef M_FREEZEID_REPORT	/* a report once made is good for every freeze */
#define DEAD(a) (!known[a] || stopped[a] != 0)
#else
#define DEAD(a) (!known[a] || stopped[a] == fid)
#endif
/* G7: every agent of the active region that may hold or ask for a lease; no agents prove nothing. */
#if NB > 0	/* one agent on each side */
#define ALLDEAD ((ACTIVE(epoch) == 1) -> (known[0] && DEAD(0)) : (known[NA] && DEAD(NA)))
#elif NA == 1
#define ALLDEAD (known[0] && DEAD(0))
#elif defined(M_ONEOF)
#define ALLDEAD ((known[0] && DEAD(0)) || (known[1] && DEAD(1)))
#else
#define ALLDEAD ((known[0] || known[1]) && DEAD(0) && DEAD(1))
#endif
#ifdef M_NOWAIT
#define NEED 0
#elif defined(M_NORHO)
#define NEED (LEASE+TAIL)
#elif defined(M_NOTAIL)
#define NEED LEASE
#elif defined(M_LOCALLENGTH)
#define NEED (shorter -> SHORT : LEASE)
#elif defined(RELOAD)	/* G4: what any agent may still hold */
#define NEED ((shorter && !(known[0] && longest[0] == LEASE)) -> SHORT : LEASE)
#else
#define NEED (SCALED(LEASE)+TAIL)
#endif
#if defined(M_COMMIT)
#define WAITED(t) (cage >= NEED)
#elif defined(M_LASTGRANT)
#define WAITED(t) (quiet[t] >= NEED)
#else
#define WAITED(t) (age[t] >= NEED)
#endif
#ifdef MODE
#ifdef M_LOGMODE
#define LEASEPROVES (strict)
#else
#define LEASEPROVES (strict && (!known[0] || bound[0]))
#endif
#else
#define LEASEPROVES true
#endif
#ifdef M_NOFREEZE
#define FROZEN(f) false
#else
#define FROZEN(f) ((f) != 0)
#endif
#ifdef M_ANYREGION
#define MAYHAVE(a,e) true
#else
#define MAYHAVE(a,e) (REGION(a) == ACTIVE(e))
#endif
#if defined(ROUND) || defined(M_FORWARD)
#define FOLLOWS(t) leads[t]
#else
#define FOLLOWS(t) (LANDS_BY(t))	/* what a deposed leader sees can land nowhere */
#endif

#ifdef RESTORE
#define RESTORE_OK(a) && sees[a] <= epoch
#else
#define RESTORE_OK(a)
#endif
#ifdef M_OLDUNBINDS
#define UNBINDS(a)
#define ISBOUND(a) (manner[a] != 2)	/* nothing runs: nothing that it would fail to stop */
#else
/* What says once that it is bound stays bound until it ends: its word may arrive late. */
#define UNBINDS(a) && manner[a] != 1
#define ISBOUND(a) (manner[a] == 1)
#endif

/* --- steps ---------------------------------------------------------------------------------------------------- */
byte i, j, x;	/* scratch, zero between steps */

inline clear(s) {
	st[s] = FREE; since[s] = 0;
#ifdef ROUND
	at[s] = 0;
#endif
#ifdef RELOAD
	glen[s] = 0;
#endif
#ifdef MODE
	says[s] = 0; gstrict[s] = 0;
#endif
#ifdef RESTORE
	gepoch[s] = 0;
#endif
}
inline forget(a) {	/* Holder.Forget */
	clear(a*K);
#if K > 1
	clear(a*K+1);
#endif
}
inline record(a, s) {	/* the round entry carries the request: the log knows the agent from here on */
	known[a] = 1;
#ifndef M_FREEZEID_REPORT
	stopped[a] = 0;
#endif
#ifdef MODE
	bound[a] = (strict && says[s]);
#endif
#ifdef BYE
	if :: a == 0 -> kin = life :: else fi;
#endif
}
inline terms(a, s) {	/* the grant states the terms in force */
	st[s] = GRANTED;
#ifdef RELOAD
	glen[s] = (shorter -> SHORT : LEASE);
	if :: glen[s] > longest[a] -> longest[a] = glen[s] :: else fi;
#endif
#ifdef MODE
	gstrict[s] = strict;
#endif
#ifdef RESTORE
	gepoch[s] = epoch;
#endif
}
/* Hearing an agent lifts a provisional freeze. */
#ifdef M_PROVKEPT
#define HEARD
#define OPENFOR(f) (fz == PROV || !FROZEN(f))
#else
#define HEARD if :: fz == PROV -> fz = NONE; fid = 0; G(g_lifted) :: else fi;
#define OPENFOR(f) (!FROZEN(f))
#endif

inline answer(a, s) {	/* State.answer: decided in log order */
	HEARD
	if
	:: OPENFOR(fid) && MAYHAVE(a, epoch) RESTORE_OK(a) -> record(a, s); terms(a, s)
	:: else -> clear(s)	/* refused; the agent may also learn of the freeze in StopsFor */
	fi;
}

inline expire(a) {	/* one tick of the agent's clock */
#ifdef M_GUARD
	if :: guard[a] > 0 -> guard[a]-- :: else fi;
#endif
#if TAIL > 0
	if :: tail[a] > 0 -> tail[a]-- :: else fi;
#endif
	if
	:: left[a] > 1 -> left[a]--
	:: left[a] == 1 -> KILLED(a) left[a] = 0; G(g_self)	/* by the agent, or by the guard while the agent is paused */
	:: else
	fi;
#ifdef RESTORE
	if :: left[a] == 0 -> under[a] = 0 :: else fi;
#endif
#ifdef MODE
	if :: held[a] < LEASE -> held[a]++ :: else fi;
#endif
	for (j : a*K .. a*K+K-1) {
		if
		:: st[j] != FREE && since[j] < LEASE -> since[j]++
		:: else
		fi;
#ifndef LATE
		/* Whatever comes of a request this old is of no use; that it comes at all is seen with -DLATE. */
		if :: st[j] != FREE && since[j] >= LEASE -> clear(j) :: else fi;
#endif
	}
	j = 0;
}

inline takes(a, s) {	/* Holder.Received: a grant for a request that is still remembered */
#ifdef RELOAD
	x = glen[s];
#else
	x = LEASE;
#endif
#ifdef M_FROMREPLY
	j = x;
#else
	j = (since[s] < x -> x - since[s] : 0);
#endif
#ifdef M_NORECHECK
	/* It stops at its next look at the clock, not before it starts. */
	if :: j == 0 -> j = 1 :: else fi;
#endif
#ifdef RESTORE
	if
	:: gepoch[s] < sees[a] -> j = 0
	:: else ->
		sees[a] = gepoch[s];
		if :: gepoch[s] > saw[a] -> saw[a] = gepoch[s] :: else fi
	fi;
#endif
#ifdef MODE
	if
	:: manner[a] != 0 && since[s] > held[a] -> j = 0	/* an older request answered late */
	:: else ->
		held[a] = since[s];
		if
		:: gstrict[s] -> manner[a] = 1
		:: !gstrict[s] UNBINDS(a) -> manner[a] = 2
		:: else	/* stays bound for this life */
		fi
	fi;
#endif
	if :: j == 0 -> G(g_late) :: else fi;
	if :: j > left[a] -> left[a] = j;
#ifdef RESTORE
		under[a] = gepoch[s];
#endif
	:: else fi;
#ifdef M_GUARD
	if :: left[a] > guard[a] -> guard[a] = left[a] :: else fi;
#endif
	x = 0; j = 0;
	clear(s);
}

inline tick() {
#ifdef RATES
	phase = (phase+1) % 3;
	if
	:: phase == 0	/* every third tick passes by the slow clocks */
	:: else -> for (i : 0 .. N-1) { expire(i) }
	fi;
#else
	for (i : 0 .. N-1) { expire(i) }
#endif
	for (i : 1 .. TERMS) {
		if :: vfid[i] != 0 && age[i] < WAITMAX -> age[i]++ :: else fi;
#ifdef M_LASTGRANT
		if :: quiet[i] < WAITMAX -> quiet[i]++ :: else fi;
#endif
	}
	i = 0;
#ifdef M_COMMIT
	if :: fid != 0 && cage < WAITMAX -> cage++ :: else fi;
#endif
}

inline follow(t) {
#ifndef M_FREEZEID_CLOCK	/* which lets the clock of an earlier freeze run on */
	if :: vfid[t] != fid -> age[t] = 0 :: else fi;
#endif
	vfid[t] = fid; vepoch[t] = epoch;
}
