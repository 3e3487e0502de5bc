package oracle

import (
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	east = "us-east-1"
	west = "us-east-2"
)

var rules = Rules{
	Primary: east, Secondary: west, Fleet: map[string]int{east: 2, west: 0}, Pools: map[string]string{east: east, west: west},
	Stops: map[string]bool{east: true, west: true}, Switches: 1,
	Hold: 90 * time.Second, Prepare: 30 * time.Second, Slack: 4 * time.Second, Recover: 6 * time.Second, Linger: 10 * time.Second, Patience: 3 * time.Minute, Repair: time.Minute,
}

// after sets when a line was written.
func after(d time.Duration, e Entry) Entry {
	e.At = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(d)
	return e
}

func sent(call int, what, acts, region string, token uint64) Entry {
	return Entry{Kind: Sent, Call: call, What: what, Step: acts + "-x", Acts: acts, Region: region, Who: "n1", Token: token}
}

func answered(call int, err string) Entry {
	return Entry{Kind: Answered, Call: call, Who: "n1", Detail: err}
}

func effect(kind Kind, call int, pool string, was, is int, token uint64) Entry {
	return Entry{Kind: kind, Call: call, What: pool, Region: pool, Was: was, Is: is, Token: token}
}

func flip(call int, region string, token, replaces uint64) Entry {
	return Entry{Kind: Flip, Call: call, What: "switch", Region: region, Token: token, Replaces: replaces}
}

// failover is a run with nothing to object to: an hour of it, a line for each
// second from the moment at which the region has been dark for the hold.
func failover() []Entry {
	lines := []Entry{
		{Kind: Incident, Region: east},
		{Kind: Began, What: Execution, Detail: ByIncident},
		sent(1, Do, "stop", east, 11), effect(Stop, 1, east, 2, 0, 11), answered(1, ""),
		{Kind: WorkerDown, Region: east, Who: "w1"},
		{Kind: Fenced, Region: east},
		sent(2, Do, "start", west, 12), effect(Start, 2, west, 0, 2, 12), answered(2, ""),
		{Kind: WorkerUp, Region: west, Who: "w2"},
		sent(3, Do, "switch", west, 13), flip(3, west, 13, 0), answered(3, ""),
		{Kind: Ended, What: Execution, Detail: Stable},
		{Kind: Healed},
	}
	record := []Entry{
		after(0, Entry{Kind: NodeUp, Who: "n1"}), after(0, Entry{Kind: NodeUp, Who: "n2"}), after(0, Entry{Kind: WorkerUp, Region: east, Who: "w1"}),
		after(10*time.Second, Entry{Kind: Dark, Region: east}),
	}
	for i, e := range lines {
		record = append(record, after(100*time.Second+time.Duration(i)*time.Second, e))
	}
	return record
}

// until is the record up to the first line of a kind, and including it.
func until(record []Entry, kind Kind) []Entry {
	i := slices.IndexFunc(record, func(e Entry) bool { return e.Kind == kind })
	return slices.Clone(record[:i+1])
}

// then adds lines to a record, a second apart.
func then(record []Entry, lines ...Entry) []Entry {
	at := record[len(record)-1].At
	for i, e := range lines {
		e.At = at.Add(time.Duration(i+1) * time.Second)
		record = append(record, e)
	}
	return record
}

func without(record []Entry, drop func(Entry) bool) []Entry {
	return slices.DeleteFunc(record, drop)
}

func kindIs(k Kind) func(Entry) bool { return func(e Entry) bool { return e.Kind == k } }

// good is where failover ends.
var good = Final{At: time.Date(2000, 1, 1, 1, 0, 0, 0, time.UTC), Traffic: west, Deserted: west}

// homecoming is a failover after which a person has brought the service back.
func homecoming() []Entry {
	return then(failover(), Entry{Kind: Asked}, Entry{Kind: Began, What: Execution, Detail: ByPerson},
		sent(11, Do, "stop", west, 31), effect(Stop, 11, west, 2, 0, 31), answered(11, ""), Entry{Kind: WorkerDown, Region: west, Who: "w2"}, Entry{Kind: Fenced, Region: west},
		sent(12, Do, "start", east, 32), effect(Start, 12, east, 0, 2, 32), answered(12, ""), Entry{Kind: WorkerUp, Region: east, Who: "w3"},
		sent(13, Do, "switch", east, 33), flip(13, east, 33, 13), answered(13, ""), Entry{Kind: Ended, What: Execution, Detail: Stable})
}

// back is where homecoming ends.
var back = Final{At: good.At, Traffic: east, Deserted: east}

func TestOracleAcceptsAFailover(t *testing.T) {
	if v := Judge(failover(), rules, &good); len(v) > 0 {
		t.Error(v)
	}
	if v := Judge(homecoming(), rules, &back); len(v) > 0 {
		t.Error(v)
	}
	// The way home was undone before its fence, and the stop of the dead region lands only then.
	dead := then(without(failover(), func(e Entry) bool { return e.Kind == Stop || e.Kind == Answered && e.Call == 1 }), Entry{Kind: Asked}, Entry{Kind: Began, What: Execution, Detail: ByPerson},
		Entry{Kind: Ended, What: Execution, Detail: Undone})
	if v := Judge(then(dead, sent(21, Do, "stop", east, 21), effect(Stop, 21, east, 2, 0, 21), answered(21, "")), rules, &good); len(v) > 0 {
		t.Error(v)
	}
	if v := Judge(dead, rules, &good); len(v) != 1 || !strings.HasPrefix(v[0], "S2: 2 of us-east-1 are wanted in us-east-1, which was left") {
		t.Error(v)
	}
}

// Each of these records breaks one rule, and the oracle says which.
func TestOracleObjects(t *testing.T) {
	stopped := until(failover(), Fenced) // fenced, and nothing has started
	home := Final{At: good.At, Traffic: east, Deserted: east}
	for _, tc := range []struct {
		name, want string
		record     []Entry
		final      *Final
	}{
		{"two regions work", "S1: w9 started in us-east-1", then(failover(), Entry{Kind: WorkerUp, Region: east, Who: "w9"}), nil},
		{"left while it works", "S1: us-east-1 was taken for stopped", without(failover(), kindIs(WorkerDown)), nil},
		{"clients moved while it works", "S3: switch moved to us-east-2", then(until(failover(), Began), sent(3, Do, "switch", west, 13), flip(3, west, 13, 0)), nil},
		{"clients sent back", "S3: switch led to us-east-2 and leads to us-east-1", then(failover(), sent(4, Do, "switch", west, 14), flip(4, east, 14, 13)), nil},
		{"gates turn back although nodes speak", "S3: gates led to us-east-2", then(stopped,
			Entry{Kind: Says, Who: "n1"}, Entry{Kind: Says, Who: "n2"}, Entry{Kind: Flip, What: Gates, Region: west}, Entry{Kind: Flip, What: Gates, Region: east}), nil},
		{"the loss of nodes sends clients back", "S3: gates led to us-east-2", then(stopped,
			Entry{Kind: Says, Who: "n1"}, Entry{Kind: Says, Who: "n2"}, Entry{Kind: Flip, What: Gates, Region: west},
			Entry{Kind: Ended, What: Execution, Detail: Stable}, Entry{Kind: NodeDown, Who: "n1"}, Entry{Kind: Flip, What: Gates, Region: east}), nil},
		{"an older token after a newer one", "S2: at 00:01:57.000 the effect of token 12 took place", then(failover(), sent(4, Do, "switch", west, 12),
			Entry{Kind: Write, Call: 4, What: "switch", Region: west, Token: 12, Replaces: 13}), nil},
		{"a parked write moves clients although it was replaced", "the effect of token 13 took place at object after that of 20", then(until(failover(), Start), answered(2, ""),
			sent(3, Do, "switch", west, 13), sent(4, Burn, "switch", west, 20), Entry{Kind: Write, Call: 4, What: "object", Region: east, Token: 20},
			answered(4, ""), sent(5, Do, "switch", west, 21), flip(5, west, 21, 0), answered(5, ""), Entry{Kind: Flip, Call: 3, What: "object", Region: west, Token: 13}), nil},
		{"a parked write lands where it was given up, while the first region works", "S3: switch moved to us-east-2", then(until(failover(), Began),
			sent(3, Do, "switch", west, 13), answered(3, "timeout"), Entry{Kind: Ended, What: Execution, Detail: Undone}, flip(3, west, 13, 0)), nil},
		{"a token that replaces another than is there", "S2: at 00:01:57.000 switch took token 14, which replaces 12", then(failover(), sent(4, Do, "switch", west, 14),
			Entry{Kind: Write, Call: 4, What: "switch", Region: west, Token: 14, Replaces: 12}), nil},
		{"the same start made again", "S4: at 00:01:50.000 n1 sent do of start-x with token 14, although token 12 has done it", then(until(failover(), Start),
			answered(2, ""), sent(3, Do, "start", west, 14), effect(Landed, 3, west, 2, 2, 14)), nil},
		{"a finished step made again by a later leader", "written down as finished", then(until(failover(), Start), answered(2, ""), Entry{Kind: Finished, Step: "start-x", What: Do},
			Entry{Kind: NodeDown, Who: "n1"}, Entry{Kind: Leads, Who: "n2"}, sent(3, Do, "start", west, 14)), nil},
		{"a token spent again by a later leader, who sees that it is done", "although token 13 has done it", then(until(failover(), Flip), answered(3, ""), Entry{Kind: Leads, Who: "n2"},
			sent(4, Do, "switch", west, 14)), nil},
		{"the same start made twice at once", "under way", then(until(failover(), Start), sent(3, Do, "start", west, 14)), nil},
		{"one call that changes the world twice", "took effect twice", then(until(failover(), Start), effect(Unstart, 2, west, 2, 0, 12), effect(Start, 2, west, 0, 2, 12)), nil},
		{"an effect that nobody sent", "S4: at 00:01:48.000 start took effect", without(until(failover(), Start), func(e Entry) bool { return e.Kind == Sent && e.Call == 2 }), nil},
		{"a hold that is applied for ever", "7. time", then(failover(), sent(21, Do, "stop", east, 21), sent(22, Do, "stop", east, 22), sent(23, Do, "stop", east, 23),
			sent(24, Do, "stop", east, 24), sent(25, Do, "stop", east, 25), sent(26, Do, "stop", east, 26), sent(27, Do, "stop", east, 27)), nil},
		{"an incident before the hold", "S6: an incident opens", []Entry{after(0, Entry{Kind: Dark, Region: east}), after(80*time.Second, Entry{Kind: Incident, Region: east})}, nil},
		{"an incident long after the light", "S6: an incident opens", []Entry{after(0, Entry{Kind: Dark, Region: east}), after(100*time.Second, Entry{Kind: Lit, Region: east}), after(120*time.Second, Entry{Kind: Incident, Region: east})}, nil},
		{"a second incident on the strength of the first darkness", "S6: an incident opens", then(failover(), Entry{Kind: Lit, Region: east}, Entry{}, Entry{}, Entry{}, Entry{}, Entry{}, Entry{},
			Entry{}, Entry{Kind: Dark, Region: east}, Entry{Kind: Incident, Region: east}), nil},
		{"a preparation at the first sign", "S6: a preparation begins", []Entry{after(0, Entry{Kind: Dark, Region: east}), after(9*time.Second, Entry{Kind: Began, What: Preparation})}, nil},
		{"an execution without an incident", "without an incident", without(failover(), kindIs(Incident)), nil},
		{"an execution for a person who was refused", "nobody had", []Entry{after(0, Entry{Kind: Asked}), after(1, Entry{Kind: Refused}), after(2, Entry{Kind: Began, What: Execution, Detail: ByPerson})}, nil},
		{"an execution for an order of yesterday", "nobody had", []Entry{after(0, Entry{Kind: Asked}), after(24*time.Hour, Entry{Kind: Began, What: Execution, Detail: ByPerson})}, nil},
		{"an effect after the execution that a person asked for", "nothing is open that it could be part of", []Entry{
			after(0, Entry{Kind: Asked}), after(1, Entry{Kind: Began, What: Execution, Detail: ByPerson}), after(2, Entry{Kind: Ended, What: Execution, Detail: Undone}), after(3, sent(1, Do, "stop", east, 3)),
		}, nil},
		{"a stop in a preparation", "nothing is open that it could be part of", []Entry{after(0, Entry{Kind: Dark, Region: east}), after(time.Minute, Entry{Kind: Began, What: Preparation}), after(time.Minute+1, sent(1, Do, "stop", east, 3))}, nil},
		{"an undo that nobody ordered", "nobody ordered that", then(until(failover(), Stop), sent(5, Undo, "stop", east, 14)), nil},
		{"an undo after the region was left", "S3: undo of start-x", then(until(failover(), Start), Entry{Kind: Ordered, What: OrderUndo}, sent(5, Undo, "start", west, 14)), nil},
		{"one carried on that was not ended", "S6: an execution is carried on", then(failover(), Entry{Kind: Began, What: Execution, Detail: CarriedOn}), nil},
		{"one carried on that was ended before the fence", "S6: an execution is carried on", then(until(failover(), Began), Entry{Kind: Ended, What: Execution, Detail: Aborted},
			Entry{Kind: Began, What: Execution, Detail: CarriedOn}), nil},
		{"a finished step made again by one that is carried on", "written down as finished", then(until(failover(), Start), answered(2, ""), Entry{Kind: Finished, Step: "start-x", What: Do},
			Entry{Kind: Ended, What: Execution, Detail: Aborted}, Entry{Kind: Began, What: Execution, Detail: CarriedOn}, sent(3, Do, "start", west, 14)), nil},
		{"two executions at once", "S5: an execution begins", then(until(failover(), Began), Entry{Kind: Incident, Region: east}, Entry{Kind: Began, What: Execution, Detail: ByIncident}), nil},
		{"gates turn by themselves", "S6: the gates move clients", []Entry{after(0, Entry{Kind: Flip, What: Gates, Region: west})}, nil},
		{"silence", "L1: ", until(failover(), Fenced), &home},
		{"clients stay behind", "S3: the service works in us-east-2, and clients are sent to us-east-1", failover(), &home},
		{"clients return when all nodes are gone", "once no node is left", failover(), &Final{At: good.At, Traffic: west, Deserted: east}},
		{"a preparation that stays open", "E7: a preparation is still open", []Entry{after(0, Entry{Kind: Dark, Region: east}), after(time.Minute, Entry{Kind: Began, What: Preparation})}, &home},
		{"what was prepared stays", "E7: 2 of us-east-2 are wanted", []Entry{
			after(0, Entry{Kind: Dark, Region: east}), after(time.Minute, Entry{Kind: Began, What: Preparation}), after(time.Minute+1, sent(1, Do, "start", west, 3)),
			after(time.Minute+2, effect(Start, 1, west, 0, 2, 3)), after(2*time.Minute, Entry{Kind: Ended, What: Preparation, Detail: Undone}),
		}, &home},
		{"the region that was left is wanted", "S2: 2 of us-east-1 are wanted", then(failover(), effect(Unstop, 1, east, 0, 2, 30)), &good},
		{"a stale stop that nobody takes back", "S2: stop of us-east-2", then(failover(), effect(Stop, 2, west, 2, 0, 5)), &good},
		{"two regions work after the way home", "S1: w9 started in us-east-2", then(homecoming(), Entry{Kind: WorkerUp, Region: west, Who: "w9"}), nil},
		{"clients sent away again", "S3: switch led to us-east-1 and leads to us-east-2", then(homecoming(), sent(14, Do, "switch", west, 34), flip(14, west, 34, 33)), nil},
		{"something else leads to the region that was left", "S3: object leads to us-east-2 since 00:02:12.000 (token 34 of ), which was left", then(homecoming(), sent(14, Do, "switch", west, 34),
			Entry{Kind: Flip, Call: 14, What: "object", Region: west, Token: 34}), nil},
		{"clients stay away", "S3: the service works in us-east-1, and clients are sent to us-east-2", homecoming(), &good},
		{"the region that was entered and left is wanted", "S2: 2 of us-east-2 are wanted", then(homecoming(), effect(Unstop, 11, west, 0, 2, 40)), &back},
		{"it comes home by itself", "S6: an execution begins by itself at 00:01:57.000, and the service is away from us-east-1", then(failover(), Entry{Kind: Incident, Region: east},
			Entry{Kind: Began, What: Execution, Detail: ByIncident}), nil},
		{"a preparation while it is away", "S6: a preparation begins at 00:01:56.000, and the service is away", then(failover(), Entry{Kind: Began, What: Preparation}), nil},
		{"an undo after the way home is behind its fence", "S3: undo of start-x", then(until(homecoming(), Asked), append(slices.Clone(homecoming()[len(failover())+1:len(failover())+10]),
			Entry{Kind: Ordered, What: OrderUndo}, sent(15, Undo, "start", east, 41))...), nil},
		{"nodes that differ", "S7: ", failover(), &Final{At: good.At, Traffic: west, Deserted: west, Diverged: "n1 and n2 differ"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := Judge(tc.record, rules, tc.final)
			if !slices.ContainsFunc(got, func(v string) bool { return strings.Contains(v, tc.want) }) {
				t.Errorf("want %q, got %q", tc.want, got)
			}
		})
	}
}

// What the protocol allows after a loss is no violation.
func TestOracleAllows(t *testing.T) {
	prepared := []Entry{after(0, Entry{Kind: Dark, Region: east}), after(time.Minute, Entry{Kind: Began, What: Preparation}), after(time.Minute+1, sent(1, Do, "start", west, 3))}
	again := []Entry{sent(2, Do, "start", west, 4), effect(Landed, 2, west, 2, 2, 4)}
	for _, tc := range []struct {
		name   string
		record []Entry
	}{
		{"again after an error", then(prepared, slices.Concat([]Entry{effect(Start, 1, west, 0, 2, 3), answered(1, "503")}, again)...)},
		{"again after a success that had not come", then(prepared, slices.Concat([]Entry{answered(1, "")}, again)...)},
		{"again after the death of who knew", then(prepared, slices.Concat([]Entry{effect(Start, 1, west, 0, 2, 3), answered(1, ""), {Kind: NodeDown, Who: "n1"}}, again)...)},
		{"again by a later leader", then(prepared, slices.Concat([]Entry{effect(Start, 1, west, 0, 2, 3), answered(1, ""), {Kind: Leads, Who: "n2"}}, again)...)},
		{"again because a person wants it", then(prepared, slices.Concat([]Entry{effect(Start, 1, west, 0, 2, 3), answered(1, ""), {Kind: Ordered, What: OrderRetry, Step: "start-x"}}, again)...)},
		{"again after it was undone", then(prepared, effect(Start, 1, west, 0, 2, 3), answered(1, ""), sent(5, Undo, "start", west, 4), effect(Unstart, 5, west, 2, 0, 4), answered(5, ""), sent(6, Do, "start", west, 5))},
		{"a call that the world carries out twice", then(prepared, effect(Start, 1, west, 0, 2, 3), Entry{Kind: Unstart, Call: 1, What: west, Region: west, Again: true, Was: 2, Token: 3})},
		{"a moment of light that nobody need notice", []Entry{after(0, Entry{Kind: Dark, Region: east}), after(time.Minute, Entry{Kind: Lit, Region: east}),
			after(63*time.Second, Entry{Kind: Dark, Region: east}), after(90*time.Second, Entry{Kind: Incident, Region: east})}},
		{"gates that have not heard of the way home", then(homecoming(), Entry{Kind: Says, Who: "n1"}, Entry{Kind: Says, Who: "n2"}, Entry{Kind: Flip, What: Gates, Region: west},
			Entry{Kind: Flip, What: Gates, Region: east}, Entry{Kind: Flip, What: Gates, Region: west})},
		{"an undo on the way home before its fence", then(until(homecoming(), Asked), Entry{Kind: Began, What: Execution, Detail: ByPerson}, sent(11, Do, "stop", west, 31), effect(Stop, 11, west, 2, 0, 31),
			answered(11, ""), Entry{Kind: Ordered, What: OrderUndo}, sent(12, Undo, "stop", west, 32), effect(Unstop, 12, west, 0, 2, 32), answered(12, ""), Entry{Kind: Ended, What: Execution, Detail: Undone})},
		{"gates that too few nodes speak for, before anything else has moved", then(until(failover(), Fenced), Entry{Kind: Says, Who: "n1"}, Entry{Kind: Says, Who: "n2"},
			Entry{Kind: Flip, What: Gates, Region: west}, Entry{Kind: NodeDown, Who: "n1"}, Entry{Kind: Flip, What: Gates, Region: east})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := Judge(tc.record, rules, nil); len(got) > 0 {
				t.Error(got)
			}
		})
	}
}
