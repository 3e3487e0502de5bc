package mongotest

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// beat is the message of a heartbeat and of its answer. Replication rides on it: the answer carries the entries that the
// asking secondary lacks.
type beat struct {
	Cmd     int32   `bson:"replSetHeartbeat"`
	From    string  `bson:"from"`
	State   int32   `bson:"state"`
	Term    int64   `bson:"term"`
	Last    optime  `bson:"last"`
	Commit  int64   `bson:"commit"`
	Config  *Config `bson:"config"`
	Entries []entry `bson:"entries,omitempty"`
	Whole   bool    `bson:"whole"` // Entries are the whole log: the asker's last entry is not part of it
	Ready   bool    `bson:"electable"`
	Stand   bool    `bson:"stand"` // for election, at once: the sender steps down
	OK      float64 `bson:"ok"`
	DB      string  `bson:"$db"`
}

var errCut = errors.New("the link is cut")

type ballot struct {
	Cmd     int32   `bson:"replSetRequestVotes"`
	From    string  `bson:"from"`
	Term    int64   `bson:"term"`
	Last    optime  `bson:"last"`
	Config  *Config `bson:"config"`
	Dry     bool    `bson:"dryRun"` // nobody is bound by the answer
	Granted bool    `bson:"voteGranted"`
	OK      float64 `bson:"ok"`
	DB      string  `bson:"$db"`
}

func (m *Member) beat() beat {
	self := m.cfg.member(m.host)
	ready := m.state == secondary && self != nil && self.Priority > 0 && self.Votes > 0 && time.Now().After(m.noElection)
	return beat{Cmd: 1, From: m.host, State: m.state, Term: m.term, Last: m.lastOp(), Commit: m.commit, Config: m.cfg, Ready: ready, OK: 1, DB: "admin"}
}

// heartbeat asks one peer how it is, unless the last question is still open.
func (m *Member) heartbeat(ctx context.Context, host string) {
	m.mu.Lock()
	v, out := m.peer(host), m.beat()
	if m.successor == host {
		out.Stand, m.successor = true, ""
	}
	m.mu.Unlock()
	if !v.beat.TryLock() {
		return
	}
	defer v.beat.Unlock()
	var in beat
	if err := m.ask(ctx, v, host, out, &in); err != nil {
		m.mu.Lock()
		v.state = down
		m.mu.Unlock()
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.down { // meanwhile
		return
	}
	v.heard, v.state, v.term, v.last, v.cfg, v.ready = time.Now(), in.State, in.Term, in.Last, in.Config, in.Ready
	m.adopt(in.Term, in.Config)
	m.fetch(in)
}

// answerBeat is the other side of heartbeat. m.mu is held.
func (m *Member) answerBeat(q beat) beat {
	v := m.peer(q.From)
	v.sent, v.term, v.last = time.Now(), q.Term, q.Last
	if m.cfg.member(q.From) != nil || m.cfg == nil { // who is not in the configuration raises no term
		m.adopt(q.Term, q.Config)
	}
	if q.Stand && m.state == secondary {
		m.noPrimary, m.patience = time.Time{}, 0
	}
	out := m.beat()
	if q.State != secondary && q.State != rolling || !out.Last.after(q.Last) {
		return out
	}
	if i := q.Last.Index; i > 0 && i <= int64(len(m.log)) && m.log[i-1].Term == q.Last.Term {
		out.Entries = m.log[i:]
	} else {
		out.Entries, out.Whole = m.log, true
	}
	return out
}

// campaign takes the primary's place if a majority grants it. It asks first whether that would be so, since each real attempt makes a
// primary step down.
func (m *Member) campaign(ctx context.Context) {
	m.mu.Lock()
	q := ballot{Cmd: 1, From: m.host, Term: m.term + 1, Dry: true, Last: m.lastOp(), Config: m.cfg, DB: "admin"}
	need := m.cfg.majority()
	m.mu.Unlock()
	if m.votes(ctx, q) < need {
		return
	}
	m.mu.Lock()
	if m.term+1 != q.Term || m.state != secondary {
		m.mu.Unlock()
		return
	}
	m.term = q.Term
	m.voted, q.Dry = m.term, false
	m.mu.Unlock()
	votes := m.votes(ctx, q)
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if votes < need || m.term != q.Term || m.state != secondary || newer(m.cfg, q.Config) {
		return
	}
	m.become(primary, now)
	m.hadMajority, m.electedAt = now, now
	m.write("n", "", bson.D{{Key: "msg", Value: "new primary"}})
	if m.cfg.Term != -1 { // a forced configuration keeps its term until the next ordinary reconfiguration
		c := *m.cfg
		c.Term = m.term
		m.cfg = &c
	}
}

// votes asks all members, and counts those that are granted, its own included.
func (m *Member) votes(ctx context.Context, q ballot) (votes int) {
	m.mu.Lock()
	var others []MemberConfig
	for _, c := range m.cfg.Members {
		if c.Host == m.host {
			votes += int(c.Votes)
		} else if c.Votes > 0 {
			others = append(others, c)
		}
	}
	m.mu.Unlock()
	var wg sync.WaitGroup
	var tally sync.Mutex
	for _, c := range others {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var in ballot
			v := &view{} // a connection of its own, so that a slow heartbeat does not delay the vote
			if err := m.ask(ctx, v, c.Host, q, &in); err != nil {
				return
			}
			v.conn.Close()
			if in.Granted {
				tally.Lock()
				votes += int(c.Votes)
				tally.Unlock()
			}
		}()
	}
	wg.Wait()
	return votes
}

// answerBallot is the voter's side. m.mu is held.
func (m *Member) answerBallot(q ballot) ballot {
	sameConfig := m.cfg != nil && !newer(m.cfg, q.Config) && !newer(q.Config, m.cfg)
	q.Granted = sameConfig && q.Term > m.voted && q.Term >= m.term && !m.lastOp().after(q.Last) && m.cfg.member(m.host) != nil
	if q.Granted && !q.Dry {
		m.voted = q.Term
		m.adopt(q.Term, nil)
		m.noPrimary = time.Now()
	}
	q.OK = 1
	return q
}

// ask sends a command to another member over the view's connection and waits for the answer, at most an election timeout.
// The caller owns the connection.
func (m *Member) ask(ctx context.Context, v *view, host string, q, out any) (err error) {
	limit := m.opt.ElectionTimeout / 2
	if m.opt.Cut(host) {
		return errCut
	}
	if v.conn == nil {
		d := net.Dialer{Timeout: limit}
		// The source address tells a member from its neighbours in the same namespace.
		if ip, _, e := net.SplitHostPort(m.host); e == nil {
			d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(ip)}
		}
		if v.conn, err = d.DialContext(ctx, "tcp", host); err != nil {
			v.conn = nil
			return err
		}
	}
	defer func() {
		if err != nil {
			v.conn.Close()
			v.conn = nil
		}
	}()
	_ = v.conn.SetDeadline(time.Now().Add(limit))
	doc, err := bson.Marshal(q)
	if err != nil {
		return err
	}
	if _, err = v.conn.Write(encode(opMsg, 1, doc)); err != nil {
		return err
	}
	msg, err := readMessage(v.conn)
	if err != nil {
		return err
	}
	if m.opt.Cut(host) { // an answer that was under way when the link was cut does not arrive
		return errCut
	}
	var status struct {
		OK  float64 `bson:"ok"`
		Msg string  `bson:"errmsg"`
	}
	if err = bson.Unmarshal(msg.body, &status); err != nil {
		return err
	}
	if status.OK != 1 {
		return errors.New(status.Msg)
	}
	return bson.Unmarshal(msg.body, out)
}
