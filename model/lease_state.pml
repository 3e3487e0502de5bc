/* The state of lease.pml, and what must hold in each of its states. */

/* --- what is committed (failover.State) ----------------------------------------------------------------------- */
#define NONE 0
#define PROV 1
#define FIRM 2
byte term = 1;		/* of the newest leader that a majority has elected */
byte epoch = 1;
byte fz;		/* NONE, PROV, FIRM: the freeze in force; FIRM belongs to a running execution */
byte fid;		/* its ID; 0: none */
byte made;		/* how many freezes there were: the source of IDs */
byte ev;		/* the freeze for which the component is proven to have stopped; 0: none */
byte traffic = 1;
bit known[N];		/* the log has a record of the agent */
byte stopped[N];	/* the freeze for which it has reported */
#ifdef RELOAD
byte longest[N];	/* the largest lease that it may hold */
bit shorter;		/* the configuration has been reloaded with a shorter lease */
#endif
#ifdef MODE
bit strict;		/* on_isolation: 0 keep, 1 stop */
bit bound[N];		/* the agent stops its workers when its lease ends, as the log knows it */
#endif

/* --- leaders: one tenure for each term ------------------------------------------------------------------------ */
bit leads[TERMS+1];	/* its barrier is applied; a deposed one goes on believing */
byte vfid[TERMS+1];	/* the state as it has applied it */
byte vepoch[TERMS+1];
byte age[TERMS+1];	/* since it applied that freeze, on its own clock */

/* --- agents --------------------------------------------------------------------------------------------------- */
byte left[N];		/* of the lease, on the holder's clock; workers may be alive while it is not zero */
byte report[N];		/* a report "stopped for this freeze" under way; 0: none */
/* requests; FREE also means that it was lost, or forgotten by the agent */
#define FREE 0
#define ASKED 1		/* on its way, or in a leader's queue */
#define PROVEN 2	/* ROUND: the quorum round is over, the decision is not taken */
#define GRANTED 3	/* the grant is on its way */
byte st[N*K];
byte since[N*K];	/* ticks since it was sent, on the agent's clock */
#ifdef ROUND
byte at[N*K];		/* the tenure that decides */
#endif
#ifdef RELOAD
byte glen[N*K];		/* the lease that the grant states */
#endif
#ifdef MODE
bit says[N*K];		/* the request says that the agent stops its workers */
bit gstrict[N*K];	/* the answer's on_isolation */
byte manner[N];		/* 0 no answer yet, nothing runs; 1 bound by the lease; 2 runs without one */
bit stray;		/* a request of agent 0 that was given up, and says that it is bound, is still under way */
byte held[N];		/* ticks since the request behind the lease was sent */
#endif
#if TAIL > 0
byte tail[N];		/* effects of a killed worker may still land */
#endif
#ifdef M_GUARD
byte guard[N];		/* ticks until the guard kills the worker */
#endif
#ifdef RATES
byte phase;
#endif
#ifdef RESTORE
bit restored;
byte sees[N];		/* the epoch in the agent's file */
byte saw[N];		/* ghost: the highest epoch that it was ever told */
byte gepoch[N*K];
byte under[N];		/* the epoch of the lease that is held */
#endif
#ifdef BYE
bit bye;		/* a goodbye of agent 0's first life under way */
bit life;		/* which of its lives runs */
bit kin;		/* of which one the record speaks */
#ifdef M_LATEBYE
#define SAMELIFE
#else
#define SAMELIFE && kin == 0
#endif
#endif
#ifdef M_COMMIT
byte cage;		/* ticks since the freeze was committed */
#endif
#ifdef M_LASTGRANT
byte quiet[TERMS+1] = WAITMAX;	/* ticks since the last grant that this leader knows of */
#endif

/* --- ghosts, for REACH only ----------------------------------------------------------------------------------- */
#ifdef GHOST
bit g_mid;		/* a leader fell while it waited */
bit g_second;		/* a second freeze after an abort */
bit g_lease, g_confirmed; /* how the epoch before was proven */
bit g_self;		/* an agent stopped by itself */
bit g_lifted;		/* a provisional freeze was lifted by an agent */
bit g_adopted;		/* a provisional freeze was adopted */
bit g_late;		/* a grant came too late */
bit g_parked;		/* a grant was decided by a deposed leader */
bit g_long;		/* evidence waited for the longer lease */
#define G(x) x = 1;
#else
#define G(x)
#endif

#if TAIL > 0
#define LANDS(a) || tail[a] > 0
#define KILLED(a) if :: left[a] > 0 -> tail[a] = TAIL :: else fi;
#else
#define LANDS(a)
#define KILLED(a)
#endif
#ifdef MODE
#define LOOSE(a) || manner[a] == 2
#else
#define LOOSE(a)
#endif
#ifdef M_GUARD
#define FED(a) || guard[a] > 0
#else
#define FED(a)
#endif
#define ALIVE(a) (left[a] > 0 LANDS(a) LOOSE(a) FED(a))
/* S1, the strong form: whatever is alive is in the active region. Two active regions break it, and so does
   anything that starts in the new region before the epoch says so. */
#define STRAY(a) (ALIVE(a) && REGION(a) != ACTIVE(epoch))
#if N == 1
#define S1 (!STRAY(0))
#elif N == 2
#define S1 (!STRAY(0) && !STRAY(1))
#else
#define S1 (!STRAY(0) && !STRAY(1) && !STRAY(2))
#endif
#if N == 1
#define ANYALIVE ALIVE(0)
#else
#define ANYALIVE (ALIVE(0) || ALIVE(1))
#endif
#ifdef REACH
#define CHECK assert(!(REACH));
#elif defined(RESTORE)
/* After a restore the log itself is wrong. What is left to hold: no agent works under an epoch older than one it knew. */
#define CHECK assert(!(left[0] > 0 && under[0] < saw[0]));
#else
#define CHECK assert(S1);
#endif
