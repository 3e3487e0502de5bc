/*
 * The traffic record, a resource that checks a token (rules E2 to E4, S2).
 *
 * Decisions follow one another: the flip, its undo or a failback, a flip again. For each, leaders of any number of
 * terms make attempts; an attempt is one conditional write that names the token it replaces and the new one. A write
 * that was sent may land at any time later, or never; whoever sent it may have been deposed, or died, long ago.
 */
#ifndef DECISIONS
#define DECISIONS 3
#endif
#ifndef WRITES
#define WRITES 3	/* under way at once */
#endif
#ifndef TOKENS
#define TOKENS 6
#endif

byte rec = 1;		/* the token in the record */
byte val = 1;		/* the region that it sends clients to */
byte tok = 1;		/* the newest token: an index of the log */
byte dec;		/* the decision in force or closed last */
bit open;		/* its execution is not closed */
byte newest;		/* ghost: no write of an earlier decision may land any more */
byte old[WRITES];	/* the token that a write names; its own; where it sends clients; whose it is */
byte new[WRITES];
byte to[WRITES];
byte whose[WRITES];
byte before = 1;	/* the token before the flip, as the journal has it */

#define WANT ((dec%2 == 1) -> 2 : 1)

/* E4: a write is consumed when it has landed, or when what it names is gone for ever. */
#define CONSUMED(w) (new[w] == 0 || old[w] != rec)
#if WRITES == 2
#define ALLCONSUMED (CONSUMED(0) && CONSUMED(1))
#else
#define ALLCONSUMED (CONSUMED(0) && CONSUMED(1) && CONSUMED(2))
#endif
#ifdef M_UNCONSUMED
#define MAYCLOSE true
#else
#define MAYCLOSE ALLCONSUMED
#endif
/* An execution may also be closed while another way has moved the clients and its own write is still under way: it is handed over, and
 * goes on being written (a standing hold, or a burn) until one has landed. No decision follows before that. */
#ifdef HANDOVER
bit handed;
#define LOOKED (open || handed)
#define MINE(w) (open || handed && whose[w] == dec)
#ifdef M_HANDED
#define MAYBEGIN true
#else
#define MAYBEGIN (!handed || ALLCONSUMED)
#endif
#define HANDED(x) handed = x;
#else
#define LOOKED open
#define MINE(w) open
#define MAYBEGIN true
#define HANDED(x)
#endif
#ifdef M_UNCONDITIONAL
#define MATCHES(w) true
#else
#define MATCHES(w) (old[w] == rec)
#endif
#ifdef M_REUSE	/* undo brings the whole old value back, token and all */
#define TOKEN(w) if :: dec%2 == 0 -> new[w] = before :: else -> tok++; new[w] = tok fi;
#else
#define TOKEN(w) tok++; new[w] = tok;
#endif
#ifdef REACH
#define CHECK assert(!(REACH));
#else
#define CHECK
#endif

#define WRITE(w) \
:: d_step { LOOKED && new[w] == 0 && tok < TOKENS -> old[w] = rec; TOKEN(w) to[w] = WANT; whose[w] = dec; \
	printf("decision %d: a write is sent, token %d for %d, region %d\n", dec, new[w], old[w], to[w]) } \
:: d_step { new[w] != 0 && MATCHES(w) -> printf("the write of decision %d lands: token %d, region %d\n", whose[w], new[w], to[w]); LANDS(w) \
	rec = new[w]; val = to[w]; newest = whose[w]; GONE(w) CHECK } \
:: d_step { new[w] != 0 -> GONE(w) }	/* refused, or lost on its way */
/* S2: not after a newer one, and not after the execution is closed. */
#ifdef REACH
#define LANDS(w)
#else
#define LANDS(w) assert(MINE(w) && whose[w] >= newest);
#endif
#define GONE(w) old[w] = 0; new[w] = 0; to[w] = 0; whose[w] = 0;

active proctype world()
{
	do
	:: d_step { !open && dec < DECISIONS && MAYBEGIN -> dec++; open = 1; HANDED(0) newest = dec; before = rec; printf("decision %d: to region %d\n", dec, WANT) }
	/* An abort with undo: the same execution goes the other way; what was sent is still under way. */
	:: d_step { open && dec%2 == 1 && dec < DECISIONS -> dec++; printf("decision %d: undo, to region %d\n", dec, WANT) }
	/* Done, or given up by a person; also when the record was right already and nothing was written. */
	:: d_step { open && MAYCLOSE -> open = 0; printf("decision %d is closed\n", dec); CHECK }
#ifdef HANDOVER
	:: d_step { open && dec%2 == 1 && !ALLCONSUMED -> open = 0; HANDED(1) printf("decision %d is closed, its write is handed over\n", dec) }
#endif
	WRITE(0)
	WRITE(1)
#if WRITES > 2
	WRITE(2)
#endif
	od
}
