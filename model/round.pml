/*
 * What one quorum round proves (rule G1), with every voter and every message.
 *
 * Voter 0 leads term 1 and goes on believing so, however long it is paused. A request arrives; the leader asks the
 * voters and counts their replies. Voter 1 may be elected in term 2 at any time. lease.pml takes two facts from here:
 *   R1  when the round is over, there was a moment after the request's arrival at which nobody led a later term;
 *   R2  an entry that the round committed is in the log of every later leader.
 */
#ifndef VOTERS
#define VOTERS 3
#endif
#ifndef WATCHERS
#define WATCHERS 1	/* servers without a vote; they answer heartbeats too */
#endif
#define ALL (VOTERS+WATCHERS)
#define MAJORITY (VOTERS/2+1)

/* the message between the leader and a server: on its way, or its reply is; the odd ones left before the request */
#define NONE 0
#define OLD 1
#define OLDREPLY 2
#define NEW 3
#define NEWREPLY 4

byte voted[ALL];	/* the newest term that the server has voted or replied in; 0 stands for term 1 */
byte msg[ALL];
bit has[ALL];		/* the round's entry is in its log */
bit credit[ALL];	/* its reply was counted */
bit arrived;		/* the request */
bit elected;		/* voter 1, in term 2 */
bit late;		/* ghost: it had been elected when the request arrived */
bit over;		/* the round */

#if VOTERS == 3
#define FOR ((voted[1] != 0) + (voted[2] != 0))
#define COUNTED (credit[0] + credit[1] + credit[2] NONVOTERS(3))
#else
#define FOR ((voted[1] != 0) + (voted[2] != 0) + (voted[3] != 0) + (voted[4] != 0))
#define COUNTED (credit[0] + credit[1] + credit[2] + credit[3] + credit[4] NONVOTERS(5))
#endif
#ifdef M_NONVOTER	/* a server without a vote counts like a voter */
#define NONVOTERS(v) + credit[v]
#else
#define NONVOTERS(v)
#endif

#ifdef M_VERIFY		/* any reply counts that comes in after the request */
#define COUNTS(r) true
#else
#define COUNTS(r) (r == NEWREPLY)
#endif
#ifdef M_ANYTERM	/* a server that has voted in a later term is believed as well */
#define REPLIES(v) true
#else
#define REPLIES(v) (voted[v] == 0)
#endif
#ifdef M_BLINDVOTE	/* votes without comparing logs */
#define VOTESFOR(v) true
#else
#define VOTESFOR(v) (has[1] || !has[v])
#endif

#define SERVER(v) \
:: d_step { !over && msg[v] == NONE && !credit[v] -> if :: arrived -> msg[v] = NEW :: else -> msg[v] = OLD fi; printf("the leader asks server %d\n", v) } \
:: d_step { msg[v] == OLD && REPLIES(v) -> msg[v] = OLDREPLY; printf("server %d replies to a message from before the request\n", v) } \
:: d_step { msg[v] == NEW && REPLIES(v) -> msg[v] = NEWREPLY; if :: voted[v] == 0 -> has[v] = 1 :: else fi; printf("server %d replies\n", v) } \
:: d_step { msg[v] != NONE -> msg[v] = NONE; printf("a message from or to server %d is lost\n", v) } \
:: d_step { arrived && !over && (msg[v] == OLDREPLY || msg[v] == NEWREPLY) && COUNTS(msg[v]) -> credit[v] = 1; msg[v] = NONE; printf("the leader counts server %d\n", v) } \
:: d_step { v < VOTERS && v != 0 && voted[v] == 0 && (v == 1 || voted[1] == 1) && VOTESFOR(v) -> voted[v] = 1; printf("server %d votes for server 1 in term 2\n", v) }

#ifdef REACH
#define CHECK assert(!(REACH));
#else
#define CHECK assert(!over || !late); /* R1 */ assert(!over || !elected || has[1]); /* R2 */
#endif

active proctype world()
{
	credit[0] = 1;	/* the leader counts itself, and keeps to its term */
	do
	:: d_step { !arrived -> arrived = 1; late = elected; has[0] = 1; printf("the request arrives\n") }
	:: d_step { !elected && voted[1] == 1 && FOR >= MAJORITY -> elected = 1; printf("server 1 leads term 2\n"); CHECK }
	:: d_step { arrived && !over && COUNTED >= MAJORITY -> over = 1; printf("the round is over\n"); CHECK }
	SERVER(1)
	SERVER(2)
	SERVER(3)
#if ALL > 4
	SERVER(4)
#endif
#if ALL > 5
	SERVER(5)
#endif
	od
}
