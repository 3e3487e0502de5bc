// Package mongotest is a replica set that speaks the MongoDB wire protocol: enough for the real driver to discover it, find
// its primary, read its status, write, step it down, freeze it and reconfigure it by force. What it says and does was written
// down from a real mongod 4.4.6: codes, their order, and who is primary when.
//
// Each member is its own listener, and members talk to each other over real TCP: cutting the network between them has the
// consequences that it has for a real set. A primary that loses the majority steps down after the election timeout, and
// acknowledges w:1 writes until then; the survivor of a lost majority stays secondary; a member that left is REMOVED once
// it hears the newer configuration. A forced reconfiguration waits for each member that it lists and that does not answer.
// A freeze is forgotten at a restart. A member whose history is not that of the set rolls back, ends over it, or notices nothing (rollback.go).
// Not simulated: a member that was dropped and has begun to roll back before it hears so, journaling, transactions, roles of users.
package mongotest

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Member states, as in replSetGetStatus.
const (
	startup   int32 = 0
	primary   int32 = 1
	secondary int32 = 2
	arbiter   int32 = 7
	down      int32 = 8
	rolling   int32 = 9
	removed   int32 = 10
)

var stateNames = map[int32]string{startup: "STARTUP", primary: "PRIMARY", secondary: "SECONDARY", arbiter: "ARBITER", down: "(not reachable/healthy)", rolling: "ROLLBACK", removed: "REMOVED"}

// Options sets up a member. ElectionTimeout is already divided by the time factor (10 s on a real set).
type Options struct {
	Host            string  // host:port, as in the configuration; also the listen address
	Config          *Config // initial configuration; it is copied. Nil: an empty member that nobody has initiated
	ElectionTimeout time.Duration
	// Mood says what goes wrong with a command; that of "" is the member's own. Nil: nothing does.
	Mood func(cmd string) Mood
	// Cut says whether this member and another one do not reach each other. Nil: they do.
	Cut func(host string) bool
	// Implicit says whether the default write concern follows the configuration where nobody has set it, as since 5.0. Nil: it does not.
	Implicit func() bool
	// User is who may ask more than what the member is.
	User User
	Log  *slog.Logger
}

// Mood is what happens to a command beside being answered. The zero value: nothing does.
type Mood struct {
	// Hang waits, and reports whether the command is served after all. A member of which "" hangs does nothing of itself.
	Hang func(context.Context) bool
	// Refuse resets the connection. A member of which "" is refused does nothing of itself.
	Refuse bool
	Delay  time.Duration
	Reply  bson.D // instead of the answer
	Lose   bool   // the command is served, and its answer lost
}

// entry is one write of the oplog. Its index in the log is Index-1.
type entry struct {
	Term  int64     `bson:"term"`
	Index int64     `bson:"index"`
	At    time.Time `bson:"at"`
	Op    string    `bson:"op"` // n: no-op, i: insert
	NS    string    `bson:"ns"`
	Doc   bson.D    `bson:"doc,omitempty"`
}

// view is what a member knows of another one by its heartbeats.
type view struct {
	beat  sync.Mutex // one heartbeat at a time
	conn  net.Conn   // guarded by beat
	heard time.Time  // last answer
	sent  time.Time  // last request received
	state int32
	term  int64
	last  optime
	cfg   *Config
	ready bool // could be elected
}

type optime struct {
	Term  int64     `bson:"term"`
	Index int64     `bson:"index"`
	At    time.Time `bson:"at"`
}

func (o optime) after(p optime) bool { return o.Term > p.Term || o.Term == p.Term && o.Index > p.Index }

// Member is one member. It is safe for concurrent use.
type Member struct {
	opt  Options
	host string

	mu          sync.Mutex
	down        bool // the process does not run
	ln          net.Listener
	starting    time.Time // until when it looks for itself among the members that its configuration names, and takes part in nothing
	cfg         *Config
	state       int32
	term, voted int64
	log         []entry
	oplog       struct { // as it is told; zero: what log says
		from time.Time
		size int64
	}
	commit        int64 // index of the newest entry that a majority has
	recovered     int64 // what commit was when the process was started again: nothing that it has heard
	stable        int64 // commit of the last stable checkpoint
	checkpoint    time.Duration
	checkpointAt  time.Time
	peers         map[string]*view
	noPrimary     time.Time // since when no primary has been seen
	hadMajority   time.Time // when a majority was last seen
	patience      time.Duration
	noElection    time.Time // replSetFreeze, or after a step-down
	electedAt     time.Time
	rolledBack    int
	aside         []entry // what was rolled back
	exits         []Exit
	reconfiguring bool
	stalled       bool   // it answers, and applies nothing
	successor     string // whom a primary that steps down tells to stand for election
	conns         map[net.Conn]bool
}

// Start opens the member's listener and runs it until ctx ends.
func Start(ctx context.Context, opt Options) (*Member, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", opt.Host)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	if opt.Mood == nil {
		opt.Mood = func(string) Mood { return Mood{} }
	}
	if opt.Implicit == nil {
		opt.Implicit = func() bool { return false }
	}
	if opt.Cut == nil {
		opt.Cut = func(string) bool { return false }
	}
	m := &Member{opt: opt, host: opt.Host, state: startup, peers: map[string]*view{}, noPrimary: now, hadMajority: now, checkpoint: 6 * opt.ElectionTimeout, checkpointAt: now, conns: map[net.Conn]bool{}}
	m.patience = m.jitter()
	if opt.Config != nil {
		cfg := *opt.Config
		m.cfg, m.state, m.term = &cfg, secondary, 1
		if m.arbiter() {
			m.state = arbiter
		} else {
			m.log = append(m.log, entry{Term: 1, Index: 1, At: now, Op: "n"}) // members begin with a common history
		}
	}
	m.ln = ln
	go m.accept(ln)
	go func() {
		<-ctx.Done()
		m.mu.Lock()
		defer m.mu.Unlock()
		m.ln.Close()
	}()
	go m.run(ctx)
	return m, nil
}

func (m *Member) jitter() time.Duration {
	et := m.opt.ElectionTimeout
	return et + time.Duration(rand.Int64N(int64(et)*15/100+1))
}

// frozen tells whether the whole member is stopped or hangs: then it does nothing of itself either.
func (m *Member) frozen() bool {
	w := m.opt.Mood("")
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.down || w.Refuse || w.Hang != nil
}

// Kill ends the member's process. What it has written stays.
func (m *Member) Kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.end()
}

// end is Kill's. m.mu is held.
func (m *Member) end() {
	m.down = true
	m.ln.Close()
	for c := range m.conns {
		c.Close()
	}
}

// Restart starts it again, with its data and without what it kept in memory: a freeze, whom it had seen, and what a majority had. It looks for itself first, and
// says as long that it has no configuration: 30 s for each member that is silent on a real one, three election time-outs here.
func (m *Member) Restart() error {
	ln, err := net.Listen("tcp", m.host) //nolint:noctx // until it is killed again
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	m.down, m.noElection, m.successor, m.ln = false, time.Time{}, "", ln
	m.peers = map[string]*view{}
	m.state, m.starting, m.checkpointAt = startup, now.Add(m.opt.ElectionTimeout/4), now
	if m.cfg == nil {
		m.starting = time.Time{}
	}
	m.commit, m.recovered = m.stable, m.stable
	for _, h := range m.others() {
		if m.opt.Cut(h) {
			m.starting = m.starting.Add(3 * m.opt.ElectionTimeout)
		}
	}
	m.hadMajority = now
	go m.accept(ln)
	return nil
}

// arbiter reports whether the member votes and holds nothing.
func (m *Member) arbiter() bool {
	self := m.cfg.member(m.host)
	return self != nil && self.Arbiter
}

// configured reports whether the member has a configuration that it lets others see.
func (m *Member) configured() bool { return m.cfg != nil && time.Now().After(m.starting) }

// started takes part from now on. m.mu is held.
func (m *Member) started(now time.Time) {
	if m.state != startup || !m.configured() {
		return
	}
	m.become(secondary, now)
	if m.cfg.member(m.host) == nil {
		m.state = removed
	}
	m.hadMajority = now
}

func (m *Member) run(ctx context.Context) {
	t := time.NewTicker(m.opt.ElectionTimeout / 20) // a real set beats every fifth; this keeps lag near zero
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if m.frozen() {
			continue
		}
		m.mu.Lock()
		m.started(time.Now())
		m.idle(time.Now())
		var hosts []string
		if m.configured() {
			hosts = m.others()
		}
		m.mu.Unlock()
		for _, h := range hosts {
			go m.heartbeat(ctx, h)
		}
		m.tick(ctx, time.Now())
	}
}

// others are the members of the configuration beside this one.
func (m *Member) others() []string {
	var out []string
	if m.cfg != nil {
		for _, c := range m.cfg.Members {
			if c.Host != m.host {
				out = append(out, c.Host)
			}
		}
	}
	return out
}

func (m *Member) peer(host string) *view {
	if m.peers[host] == nil {
		m.peers[host] = &view{state: down}
	}
	return m.peers[host]
}

func (m *Member) lastOp() optime {
	if len(m.log) == 0 {
		return optime{}
	}
	e := m.log[len(m.log)-1]
	return optime{e.Term, e.Index, e.At}
}

// Stall has a secondary answer and apply nothing from now on, as one whose replication has died, or catch up again.
func (m *Member) Stall(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stalled = on
}

// idle writes a no-op when nobody has written for an election time-out, as a real primary does every ten seconds
// (writePeriodicNoops). m.mu is held.
func (m *Member) idle(now time.Time) {
	if m.state == primary && now.Sub(m.lastOp().At) > m.opt.ElectionTimeout {
		m.write("n", "", nil)
	}
}

func (m *Member) write(op, ns string, doc bson.D) {
	m.log = append(m.log, entry{Term: m.term, Index: int64(len(m.log)) + 1, At: time.Now(), Op: op, NS: ns, Doc: doc})
}

// install takes a configuration into force.
func (m *Member) install(c *Config) {
	m.cfg = c
	self := c.member(m.host)
	now := time.Now()
	switch {
	case self == nil:
		m.state = removed
	case m.state == primary && (self.Priority == 0 || self.Votes == 0), m.state == removed, m.state == startup && m.starting.IsZero():
		m.become(secondary, now)
	}
	if self != nil && self.Votes == 1 && c.majority() == 1 && m.state == secondary {
		m.patience = 0 // who votes alone does not wait
	}
	m.hadMajority = now
	m.opt.Log.Info("mongo config", "member", m.host, "version", c.Version, "term", c.Term, "state", stateNames[m.state])
}

func (m *Member) become(state int32, now time.Time) {
	if m.state != state {
		m.opt.Log.Info("mongo state", "member", m.host, "from", stateNames[m.state], "to", stateNames[state], "term", m.term)
	}
	m.state, m.noPrimary, m.patience = state, now, m.jitter()
	if m.arbiter() {
		m.state = arbiter
	}
}

// adopt takes over a newer term and configuration from another member.
func (m *Member) adopt(term int64, cfg *Config) {
	if term > m.term {
		m.term = term
		if m.state == primary {
			m.become(secondary, time.Now())
		}
	}
	if newer(cfg, m.cfg) {
		c := *cfg
		m.install(&c)
	}
}

// alive tells whether a peer has answered within the election timeout.
func (m *Member) alive(v *view, now time.Time) bool {
	return now.Sub(v.heard) < m.opt.ElectionTimeout && !v.heard.IsZero()
}

// tick does what a member does of itself: step down without a majority, move the commit point, call an election.
func (m *Member) tick(ctx context.Context, now time.Time) {
	m.mu.Lock()
	self := m.cfg.member(m.host)
	if self == nil {
		m.mu.Unlock()
		return
	}
	m.checkpointed(now)
	if m.state == rolling && now.Sub(m.noPrimary) > m.opt.ElectionTimeout { // whom it followed is gone
		m.become(secondary, now)
	}
	seen, holders := 0, 0
	var leader *MemberConfig
	for i := range m.cfg.Members {
		c := &m.cfg.Members[i]
		if c.Host == m.host {
			seen += int(c.Votes)
			holders += int(c.Votes)
			continue
		}
		v := m.peer(c.Host)
		if !m.alive(v, now) {
			continue
		}
		seen += int(c.Votes)
		if !c.Arbiter && v.last.Term == m.lastOp().Term && v.last.Index >= m.lastOp().Index && newer(v.cfg, m.cfg) == newer(m.cfg, v.cfg) {
			holders += int(c.Votes)
		}
		if v.state == primary && v.term >= m.term {
			leader = c
		}
	}
	if seen >= m.cfg.majority() {
		m.hadMajority = now
	}
	if m.state == primary {
		if now.Sub(m.hadMajority) > m.opt.ElectionTimeout {
			m.become(secondary, now)
		} else if holders >= m.cfg.majority() {
			m.commit = int64(len(m.log))
		}
		if now.Sub(m.lastOp().At) > m.opt.ElectionTimeout { // the periodic no-op of an idle primary
			m.write("n", "", nil)
		}
		m.mu.Unlock()
		return
	}
	takeover := leader != nil && leader.Priority < self.Priority
	if leader != nil && !takeover {
		m.noPrimary = now
	}
	run := m.state == secondary && self.Priority > 0 && self.Votes > 0 && seen >= m.cfg.majority() &&
		now.After(m.noElection) && now.Sub(m.noPrimary) > m.patience
	if !run {
		m.mu.Unlock()
		return
	}
	m.noPrimary, m.patience = now, m.jitter()
	// Who has the higher priority takes over if it is no more than two seconds behind then, a fifth of the election time-out. Else it waits anew.
	if takeover && m.peer(leader.Host).last.At.Sub(m.lastOp().At) > m.opt.ElectionTimeout/5 {
		m.mu.Unlock()
		return
	}
	ask := ""
	if takeover {
		ask = leader.Host
	}
	m.mu.Unlock()
	if ask != "" {
		m.heartbeat(ctx, ask) // a real one has what is written within milliseconds, and not only at the next beat
	}
	m.campaign(ctx)
}
