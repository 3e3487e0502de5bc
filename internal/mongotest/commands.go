package mongotest

import (
	"encoding/binary"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func fail(code int32, name, msg string) bson.D {
	return bson.D{{Key: "ok", Value: 0.0}, {Key: "errmsg", Value: msg}, {Key: "code", Value: code}, {Key: "codeName", Value: name}}
}

func get(d bson.D, key string) any {
	for _, e := range d {
		if e.Key == key {
			return e.Value
		}
	}
	return nil
}

func number(d bson.D, key string, missing float64) float64 {
	switch x := get(d, key).(type) {
	case int32:
		return float64(x)
	case int64:
		return float64(x)
	case float64:
		return x
	case bool:
		if x {
			return 1
		}
		return 0
	}
	return missing
}

func (o optime) ts() bson.Timestamp {
	return bson.Timestamp{T: uint32(o.At.Unix()), I: uint32(o.Index)}
}

func (o optime) doc() bson.D {
	return bson.D{{Key: "ts", Value: o.ts()}, {Key: "t", Value: o.Term}}
}

func (m *Member) committed() optime {
	if m.commit == 0 || m.commit > int64(len(m.log)) {
		return optime{}
	}
	e := m.log[m.commit-1]
	return optime{e.Term, e.Index, e.At}
}

// command runs one command and returns its answer.
func (m *Member) command(cmd string, raw bson.Raw) any {
	ok := bson.D{{Key: "ok", Value: 1.0}}
	var d bson.D
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cfg != nil && !m.configured() && (cmd == "replSetHeartbeat" || cmd == "replSetRequestVotes") {
		return fail(94, "NotYetInitialized", "no replset config has been received")
	}
	switch cmd {
	case "replSetHeartbeat":
		var q beat
		if err := bson.Unmarshal(raw, &q); err != nil {
			return fail(9, "FailedToParse", err.Error())
		}
		return m.answerBeat(q)
	case "replSetRequestVotes":
		var q ballot
		if err := bson.Unmarshal(raw, &q); err != nil {
			return fail(9, "FailedToParse", err.Error())
		}
		return m.answerBallot(q)
	}
	if err := bson.Unmarshal(raw, &d); err != nil {
		return fail(9, "FailedToParse", err.Error())
	}
	switch cmd {
	case "hello", "isMaster", "ismaster":
		return m.hello()
	case "ping", "endSessions", "killCursors":
		return ok
	case "buildInfo", "buildinfo":
		return append(bson.D{{Key: "version", Value: "4.4.6"}, {Key: "versionArray", Value: bson.A{4, 4, 6, 0}}, {Key: "maxBsonObjectSize", Value: 16 << 20}}, ok...)
	case "replSetGetConfig":
		if !m.configured() {
			return fail(94, "NotYetInitialized", "no replset config has been received")
		}
		return append(bson.D{{Key: "config", Value: m.cfg.doc(m.opt.ElectionTimeout)}}, ok...)
	case "replSetGetStatus":
		return m.status()
	case "replSetReconfig":
		c, _ := get(d, cmd).(bson.D)
		return m.reconfig(c, number(d, "force", 0) == 1)
	case "replSetStepDown":
		return m.stepDown(number(d, cmd, 60), number(d, "secondaryCatchUpPeriodSecs", -1), number(d, "force", 0) == 1)
	case "replSetFreeze":
		if m.state == primary {
			return fail(95, "NotSecondary", "Cannot freeze node when primary or running for election, state: Primary")
		}
		// It lengthens what stands, and only zero shortens it (prepareFreezeResponse in the server's topology_coordinator.cpp).
		now, seconds := time.Now(), number(d, cmd, 0)
		if until := now.Add(time.Duration(seconds * float64(time.Second))); seconds == 0 || until.After(m.noElection) {
			m.noElection = until
		}
		return ok
	case "insert", "update":
		return m.write1(cmd, d)
	case "find":
		return m.find(d)
	case "serverStatus":
		return append(m.serverStatus(d), ok...)
	case "collStats":
		return m.collStats(d)
	case "getDefaultRWConcern":
		return append(m.defaultConcern(), ok...)
	case "setDefaultRWConcern":
		if m.state != primary {
			return fail(10107, "NotWritablePrimary", "not master")
		}
		w := get(d, "defaultWriteConcern")
		m.write("u", defaultsIn, bson.D{{Key: "_id", Value: defaultsID}, {Key: "defaultWriteConcern", Value: w}})
		return m.acknowledge(ok, nil)
	}
	return fail(59, "CommandNotFound", "no such command: '"+cmd+"'")
}

// stepDown is replSetStepDown: seconds, and those to wait for an electable secondary that has everything (10, or 0 by force; below 0:
// not said). m.mu is held on entry and exit.
func (m *Member) stepDown(period, catchUp float64, force bool) bson.D {
	switch {
	case m.state != primary:
		return fail(10107, "NotWritablePrimary", "not primary so can't step down")
	case catchUp < 0 && force:
		catchUp = 0
	case catchUp < 0:
		catchUp = 10
	}
	if period < catchUp {
		return fail(2, "BadValue", "stepdown period must be longer than secondaryCatchUpPeriodSecs")
	}
	term := m.term
	for deadline := time.Now().Add(time.Duration(catchUp * float64(time.Second))); ; m.pause() {
		if m.state != primary || m.term != term {
			return fail(11602, "InterruptedDueToReplStateChange", "operation was interrupted")
		}
		now := time.Now()
		for _, h := range m.others() {
			if v := m.peer(h); m.alive(v, now) && v.state == secondary && v.ready && !m.lastOp().after(v.last) {
				m.successor = h
			}
		}
		if m.successor != "" || !now.Before(deadline) {
			if m.successor == "" && !force {
				return fail(262, "ExceededTimeLimit", "No electable secondaries caught up as of "+now.UTC().Format(time.RFC3339Nano)+
					". Please use the replSetStepDown command with the argument {force: true} to force node to step down.")
			}
			m.noElection = now.Add(time.Duration(period * float64(time.Second)))
			m.become(secondary, now)
			return bson.D{{Key: "ok", Value: 1.0}}
		}
	}
}

// hello describes the member to drivers. It carries no topologyVersion, so that they poll instead of waiting on it.
func (m *Member) hello() bson.D {
	last, major := m.lastOp(), m.committed()
	r := bson.D{{Key: "isWritablePrimary", Value: m.state == primary}, {Key: "ismaster", Value: m.state == primary}, {Key: "helloOk", Value: true},
		{Key: "maxBsonObjectSize", Value: int32(16 << 20)}, {Key: "maxMessageSizeBytes", Value: int32(48000000)}, {Key: "maxWriteBatchSize", Value: int32(100000)},
		{Key: "localTime", Value: time.Now()}, {Key: "logicalSessionTimeoutMinutes", Value: int32(30)}, {Key: "connectionId", Value: int32(1)},
		{Key: "minWireVersion", Value: int32(0)}, {Key: "maxWireVersion", Value: int32(9)}, {Key: "readOnly", Value: false}, {Key: "ok", Value: 1.0}}
	if m.opt.User != (User{}) {
		r = append(r, bson.E{Key: "saslSupportedMechs", Value: bson.A{"SCRAM-SHA-256"}})
	}
	if m.state == removed || !m.configured() {
		return append(r, bson.E{Key: "isreplicaset", Value: true}, bson.E{Key: "secondary", Value: false}, bson.E{Key: "info", Value: "Does not have a valid replica set config"})
	}
	hosts, passives := bson.A{}, bson.A{}
	for _, c := range m.cfg.Members {
		switch {
		case c.Hidden, c.Arbiter: // arbiters have a list of their own, which nobody here reads
		case c.Priority > 0:
			hosts = append(hosts, c.Host)
		default:
			passives = append(passives, c.Host)
		}
	}
	r = append(r, bson.D{{Key: "setName", Value: m.cfg.Set}, {Key: "setVersion", Value: int32(m.cfg.Version)}, {Key: "hosts", Value: hosts}, {Key: "me", Value: m.host},
		{Key: "secondary", Value: m.state == secondary},
		{Key: "lastWrite", Value: bson.D{{Key: "opTime", Value: last.doc()}, {Key: "lastWriteDate", Value: last.At}, {Key: "majorityOpTime", Value: major.doc()}, {Key: "majorityWriteDate", Value: major.At}}}}...)
	if m.state == arbiter {
		r = append(r, bson.E{Key: "arbiterOnly", Value: true})
	}
	if len(passives) > 0 {
		r = append(r, bson.E{Key: "passives", Value: passives})
	}
	if m.state == primary {
		var id bson.ObjectID
		binary.BigEndian.PutUint32(id[:], 0x7fffffff)
		binary.BigEndian.PutUint64(id[4:], uint64(m.term))
		r = append(r, bson.E{Key: "primary", Value: m.host}, bson.E{Key: "electionId", Value: id})
	} else {
		for h, v := range m.peers {
			if v.state == primary && m.alive(v, time.Now()) {
				r = append(r, bson.E{Key: "primary", Value: h})
				break
			}
		}
	}
	return r
}

func (m *Member) status() bson.D {
	if !m.configured() {
		return fail(94, "NotYetInitialized", "no replset config has been received")
	}
	if m.state == removed {
		return fail(93, "InvalidReplicaSetConfig", "Our replica set config is invalid or we are not a member of it")
	}
	now, ms, voters := time.Now(), bson.A{}, int32(0)
	for _, c := range m.cfg.Members {
		voters += c.Votes
		d := bson.D{{Key: "_id", Value: c.ID}, {Key: "name", Value: c.Host}}
		if c.Host == m.host {
			last := m.lastOp()
			d = append(d, bson.D{{Key: "health", Value: 1.0}, {Key: "state", Value: m.state}, {Key: "stateStr", Value: stateNames[m.state]},
				{Key: "optime", Value: last.doc()}, {Key: "optimeDate", Value: last.At}, {Key: "configVersion", Value: int32(m.cfg.Version)}, {Key: "configTerm", Value: int32(m.cfg.Term)}, {Key: "self", Value: true}}...)
			if m.state == primary {
				d = append(d, bson.E{Key: "electionDate", Value: m.electedAt})
			}
			ms = append(ms, d)
			continue
		}
		v, health, state := m.peer(c.Host), 0.0, down
		last := optime{At: time.Unix(0, 0)}
		if m.alive(v, now) && v.state != down {
			health, state, last = 1.0, v.state, v.last
		}
		d = append(d, bson.D{{Key: "health", Value: health}, {Key: "state", Value: state}, {Key: "stateStr", Value: stateNames[state]},
			{Key: "optime", Value: last.doc()}, {Key: "optimeDate", Value: last.At}, {Key: "lastHeartbeat", Value: v.heard}, {Key: "lastHeartbeatRecv", Value: v.sent}}...)
		if v.cfg != nil && health == 1 {
			d = append(d, bson.E{Key: "configVersion", Value: int32(v.cfg.Version)}, bson.E{Key: "configTerm", Value: int32(v.cfg.Term)})
		}
		ms = append(ms, d)
	}
	return bson.D{{Key: "set", Value: m.cfg.Set}, {Key: "date", Value: now}, {Key: "myState", Value: m.state}, {Key: "term", Value: m.term},
		{Key: "heartbeatIntervalMillis", Value: int64(2000)}, {Key: "majorityVoteCount", Value: int32(m.cfg.majority())}, {Key: "writeMajorityCount", Value: int32(m.cfg.majority())},
		{Key: "votingMembersCount", Value: voters}, {Key: "writableVotingMembersCount", Value: voters},
		{Key: "optimes", Value: bson.D{{Key: "lastCommittedOpTime", Value: m.committed().doc()}, {Key: "lastCommittedWallTime", Value: m.committed().At},
			{Key: "appliedOpTime", Value: m.lastOp().doc()}, {Key: "durableOpTime", Value: m.lastOp().doc()}, {Key: "lastAppliedWallTime", Value: m.lastOp().At}, {Key: "lastDurableWallTime", Value: m.lastOp().At}}},
		{Key: "members", Value: ms}, {Key: "ok", Value: 1.0}}
}

// serverStatus is what we ask of it: how far back the oplog reaches, for who asks for that.
func (m *Member) serverStatus(q bson.D) bson.D {
	out := bson.D{{Key: "host", Value: m.host}, {Key: "process", Value: "mongod"}}
	if number(q, "oplog", 0) == 0 || len(m.log) == 0 {
		return out
	}
	from := m.log[0]
	if !m.oplog.from.IsZero() {
		from.At = m.oplog.from
	}
	return append(out, bson.E{Key: "oplog", Value: bson.D{{Key: "latestOptime", Value: m.lastOp().ts()}, {Key: "earliestOptime", Value: optime{from.Term, from.Index, from.At}.ts()}}})
}

// collStats is that of the oplog, which is all that we ask for.
func (m *Member) collStats(q bson.D) bson.D {
	if get(q, "collStats") != "oplog.rs" || get(q, "$db") != "local" {
		return fail(26, "NamespaceNotFound", "Collection not found")
	}
	size := m.oplog.size
	if size == 0 {
		size = int64(200 * len(m.log))
	}
	return bson.D{{Key: "ns", Value: "local.oplog.rs"}, {Key: "size", Value: size}, {Key: "capped", Value: true}, {Key: "maxSize", Value: int64(oplogMax)}, {Key: "ok", Value: 1.0}}
}

// oplogMax is what the smallest oplog of a real one may hold.
const oplogMax = 990 << 20

// FillOplog makes the oplog one that is full, and reaches back to a time.
func (m *Member) FillOplog(from time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.oplog.from, m.oplog.size = from, oplogMax-4096
}

// State returns the member's state and term: the world's own view.
func (m *Member) State() (state string, term int64, rolledBack int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return stateNames[m.state], m.term, m.rolledBack
}

// Frozen is for how long the member stands for no election, by a freeze or a step-down: the world's own view.
func (m *Member) Frozen() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return max(0, time.Until(m.noElection))
}

// Where a default that somebody has set is kept.
const defaultsIn, defaultsID = "config.settings", "ReadWriteConcernDefaults"

// defaults is what somebody has set as default; nil: nobody has.
func (m *Member) defaults() bson.D {
	return m.stored(defaultsIn, len(m.log), bson.D{{Key: "_id", Value: defaultsID}})
}

// defaultConcern is the default write concern; before 5.0 there is none but what somebody has set, and nothing is said of its source.
func (m *Member) defaultConcern() bson.D {
	set := m.defaults()
	switch {
	case set != nil && m.opt.Implicit():
		return bson.D{{Key: "defaultWriteConcern", Value: get(set, "defaultWriteConcern")}, {Key: "defaultWriteConcernSource", Value: "global"}}
	case set != nil:
		return bson.D{{Key: "defaultWriteConcern", Value: get(set, "defaultWriteConcern")}}
	case m.opt.Implicit():
		var w any = int32(1)
		if m.cfg.implicitMajority() {
			w = "majority"
		}
		return bson.D{{Key: "defaultWriteConcern", Value: bson.D{{Key: "w", Value: w}, {Key: "wtimeout", Value: int32(0)}}}, {Key: "defaultWriteConcernSource", Value: "implicit"}}
	}
	return nil
}
