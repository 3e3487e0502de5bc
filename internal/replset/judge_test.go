package replset

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// config is a set of e1a, e1b and w1, each with a vote and the priorities 3, 2, 1, changed by edits of members.
func config(t *testing.T, version, term int64, edits ...func([]bson.D)) *Config {
	t.Helper()
	var members []bson.D
	for i, h := range []string{"e1a", "e1b", "w1"} {
		members = append(members, bson.D{
			{Key: "_id", Value: int32(i)}, {Key: "host", Value: h}, {Key: "arbiterOnly", Value: false}, {Key: "buildIndexes", Value: true}, {Key: "hidden", Value: false},
			{Key: "priority", Value: float64(3 - i)}, {Key: "tags", Value: bson.D{{Key: "at", Value: h}}}, {Key: "slaveDelay", Value: int64(0)}, {Key: "votes", Value: int32(1)},
		})
	}
	for _, f := range edits {
		f(members)
	}
	a := bson.A{}
	for _, m := range members {
		a = append(a, m)
	}
	d := bson.D{{Key: "_id", Value: "rs"}, {Key: "version", Value: version}}
	if term >= 0 {
		d = append(d, bson.E{Key: "term", Value: term})
	}
	d = append(d, bson.E{Key: "protocolVersion", Value: int64(1)}, bson.E{Key: "members", Value: a}, bson.E{Key: "settings", Value: bson.D{{Key: "chainingAllowed", Value: false}, {Key: "replicaSetId", Value: "id"}}})
	c, err := readConfig(d)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// only is a configuration of one member, as a forced promotion leaves it.
func only(t *testing.T, host string) *Config {
	c := config(t, 50000, -1)
	c.Members = slices.DeleteFunc(c.Members, func(m Member) bool { return m.Host != host })
	return c
}

func arbiter(member int) func([]bson.D) {
	return func(m []bson.D) { field(member, "arbiterOnly", true)(m); field(member, "priority", 0.0)(m) }
}

// chained is a configuration whose secondaries may copy from each other.
func chained(c *Config) *Config {
	next := *c
	next.doc = set(slices.Clone(c.doc), "settings", bson.D{})
	next.Version++
	return &next
}

func field(member int, key string, value any) func([]bson.D) {
	return func(m []bson.D) { m[member] = set(m[member], key, value) }
}

// three are the views of a set that is well, as far as each member hears.
func three(c *Config, hears ...string) map[string]*View {
	all := map[string]*View{}
	for _, h := range []string{"e1a", "e1b", "w1"} {
		region := "east"
		if h == "w1" {
			region = "west"
		}
		healthy := map[string]bool{h: true}
		for _, o := range hears {
			healthy[o] = true
		}
		all[h] = &View{Place: Place{h, region}, Name: "rs", Secondary: true, Config: c, Term: 4, Applied: OpTime{Term: 4}, Committed: OpTime{Term: 4}, Healthy: healthy, Primary: "e1a", SetVersion: c.Version}
	}
	all["e1a"].Writable, all["e1a"].Secondary = true, false
	return all
}

func list(all map[string]*View) []View { return []View{*all["e1a"], *all["e1b"], *all["w1"]} }

func TestJudge(t *testing.T) {
	whole := []string{"e1a", "e1b", "w1"}
	gone := errors.New("did not answer")
	five := config(t, 1, 1, field(0, "votes", int32(3))) // so that two of them are no majority
	dead := func(all map[string]*View, hosts ...string) {
		for _, h := range hosts {
			*all[h] = View{Place: all[h].Place, Err: gone}
		}
	}
	for _, tt := range []struct {
		name   string
		config *Config
		hears  []string
		do     func(all map[string]*View)
		alive  bool
		way    Way
		says   string
	}{
		{"well", nil, whole, nil, false, Move, "nothing is lost"},
		{"a set of which one region takes the majority along", nil, whole, nil, false, Move, "nothing is lost; once east is gone, 1 of 3 votes are left and it takes force"},
		{"a set of three regions needs no force", nil, whole, func(all map[string]*View) { all["e1b"].Region = "third" }, false, Move, "and nothing is lost$"},
		{"led, but no write of its term is acknowledged yet", nil, whole, func(all map[string]*View) {
			all["e1a"].Writable, all["w1"].Writable, all["w1"].Term = false, true, 5
		}, false, Wait, "no majority has acknowledged a write of that term yet"},
		{"led, and those elsewhere would take it back", nil, whole, func(all map[string]*View) {
			all["e1a"].Writable, all["w1"].Writable, all["w1"].Term, all["w1"].Committed.Term = false, true, 5, 5
		}, false, Move, "would take the primary back when they can"},
		{"led", config(t, 1, 1, field(2, "priority", 4.0)), whole, func(all map[string]*View) {
			all["e1a"].Writable, all["w1"].Writable, all["w1"].Term, all["w1"].Committed.Term = false, true, 5, 5
		}, false, Led, "w1 is the writable primary"},
		{"both regions' members write", nil, whole, func(all map[string]*View) {
			all["w1"].Writable, all["w1"].Config = true, config(t, 40000, -1)
		}, false, Rivals, "TWO PRIMARIES"},
		{"the higher version leads, whatever the terms are", nil, whole, func(all map[string]*View) {
			all["w1"].Writable, all["w1"].Config, all["e1a"].Term = true, config(t, 40000, -1), 9
		}, false, Rivals, "w1 leads with configuration 40000, and e1a"},
		{"the majority is lost", nil, nil, func(all map[string]*View) { dead(all, "e1a", "e1b") }, false, Force, "w1 goes on by a FORCED reconfiguration without e1a, e1b"},
		{"it is heard for some seconds more", nil, whole, func(all map[string]*View) { dead(all, "e1a", "e1b") }, false, Wait, "follows e1a, which we do not reach"},
		{"one of two is lost", nil, []string{"e1b"}, func(all map[string]*View) { dead(all, "e1a"); all["w1"].Primary = "" }, false, Wait, "elects one by itself"},
		{"one answers us, and the survivor hears none", nil, nil, func(all map[string]*View) { dead(all, "e1a") }, false, Stuck, "hears no majority, and we reach members that are one"},
		{"one is alive, and does not accept our user", nil, nil, func(all map[string]*View) {
			dead(all, "e1a", "e1b")
			all["e1b"].Alive = true
			all["e1b"].Err = mongo.CommandError{Code: 13, Message: "command replSetGetConfig requires authentication"}
		}, true, Stuck, "e1b is alive, but cannot be asked"},
		{"one shows a certificate that nobody knows", nil, nil, func(all map[string]*View) {
			dead(all, "e1a", "e1b")
			all["e1a"].Alive = true
			all["e1a"].Err = errors.New("server selection error: current topology: { Last error: tls: failed to verify certificate: x509: certificate has expired }")
		}, true, Stuck, "e1a is alive, but cannot be asked"},
		{"a majority answers us, and the survivor hears none", nil, nil, nil, false, Stuck, "only the link between them is cut"},
		{"the same, allowed", nil, nil, nil, true, Force, "e1a, e1b answers, and is frozen and stepped down first"},
		{"a primary answers us that alone is no majority", config(t, 1, 1, field(1, "votes", int32(0)), field(1, "priority", 0.0)), nil, func(all map[string]*View) { dead(all, "e1b"); all["e1a"].Config = nil }, false, Stuck, "e1a is a writable primary"},
		{"nobody in the region answers", nil, whole, func(all map[string]*View) { dead(all, "w1") }, false, Blind, "no member in west could be asked: w1: did not answer"},
		{"another set", nil, whole, func(all map[string]*View) { all["e1b"].Name = "other" }, false, Stuck, `e1b belongs to the replica set "other"`},
		{"dropped", nil, nil, func(all map[string]*View) {
			all["w1"].Name, all["w1"].Removed, all["w1"].Secondary = "", true, false
			all["w1"].Config = config(t, 50000, -1, field(2, "host", "other"))
		}, false, Stuck, "may have forked"},
		{"empty", nil, nil, func(all map[string]*View) { *all["w1"] = View{Place: all["w1"].Place, Empty: true} }, false, Stuck, "w1 is empty"},
		{"known by another name", nil, whole, func(all map[string]*View) { all["w1"].Host, all["w1"].Me = "alias", "w1" }, false, Move, "nothing is lost"},
		{"a primary that has said so, and then nothing more in time", nil, nil, func(all map[string]*View) {
			dead(all, "e1b")
			all["e1a"].Err, all["e1a"].Alive, all["e1a"].Config = gone, true, nil
		}, false, Stuck, "e1a is a writable primary"},
		{"the same, allowed: it cannot be fenced", nil, nil, func(all map[string]*View) {
			dead(all, "e1b")
			all["e1a"].Err, all["e1a"].Alive, all["e1a"].Config = gone, true, nil
		}, true, Stuck, "e1a is alive, but cannot be asked"},
		{"one that takes connections and says nothing", nil, nil, func(all map[string]*View) { dead(all, "e1a", "e1b"); all["e1b"].Alive = true }, false, Stuck, "e1b is alive, but cannot be asked"},
		{"an old member that does not find itself", nil, nil, func(all map[string]*View) {
			dead(all, "e1b")
			*all["e1a"] = View{Place: all["e1a"].Place, Alive: true, Removed: true, Config: all["w1"].Config}
		}, false, Stuck, "e1a does not find itself"},
		{"old members that are starting", nil, nil, func(all map[string]*View) {
			*all["e1a"], *all["e1b"] = View{Place: all["e1a"].Place, Alive: true, Empty: true}, View{Place: all["e1b"].Place, Alive: true, Empty: true}
		}, false, Stuck, "e1a starts: it will find its data"},
		{"old members that we know by other names", nil, nil, func(all map[string]*View) {
			for _, h := range []string{"e1a", "e1b"} {
				all[h].Me, all[h].Host, all[h].Writable, all[h].Secondary = h, h+".public", false, true
			}
		}, false, Stuck, "we reach members that are one (e1a.public, e1b.public)"},
		{"the same, allowed", nil, nil, func(all map[string]*View) {
			for _, h := range []string{"e1a", "e1b"} {
				all[h].Me, all[h].Host = h, h+".public"
			}
		}, true, Force, "e1a.public, e1b.public answers, and is frozen"},
		{"a primary that hears no majority any more", nil, nil, func(all map[string]*View) {
			dead(all, "e1a", "e1b")
			all["w1"].Writable, all["w1"].Secondary = true, false
		}, false, Wait, "hears no majority: it will step down"},
		{"still copying", nil, whole, func(all map[string]*View) { all["w1"].Secondary = false }, false, Stuck, "it starts, recovers or copies its data"},
		{"an arbiter is no survivor", config(t, 1, 1, field(2, "arbiterOnly", true), field(2, "priority", 0.0)), nil, func(all map[string]*View) {
			dead(all, "e1a", "e1b")
			all["w1"].Arbiter, all["w1"].Secondary = true, false
		}, false, Stuck, "w1 is an arbiter"},
		{"one that builds no indexes is no survivor", config(t, 1, 1, field(2, "buildIndexes", false), field(2, "priority", 0.0)), nil, func(all map[string]*View) { dead(all, "e1a", "e1b") }, false, Stuck, "w1 builds no indexes"},
		{"a hidden one is forced", config(t, 1, 1, field(2, "hidden", true), field(2, "priority", 0.0)), nil, func(all map[string]*View) { dead(all, "e1a", "e1b") }, false, Force, "FORCED"},
		{"a hidden one is not moved to", config(t, 1, 1, field(2, "hidden", true), field(2, "priority", 0.0)), whole, nil, false, Stuck, "w1 is hidden"},
		{"a third site's member that it hears has newer writes", nil, nil, func(all map[string]*View) {
			dead(all, "e1a")
			all["w1"].Healthy["e1b"], all["e1b"].Applied.TS, all["e1b"].Healthy = true, bson.Timestamp{T: 100}, map[string]bool{"e1b": true}
			all["w1"].Config = chained(five)
		}, false, Wait, "e1b has newer writes (until 00:01:40) than w1 (until 00:00:00), which copies them now"},
		{"the same, but it may not copy from it", five, nil, func(all map[string]*View) {
			dead(all, "e1a")
			all["w1"].Healthy["e1b"], all["e1b"].Applied.TS = true, bson.Timestamp{T: 100}
		}, false, Stuck, "a forced promotion would lose them"},
		{"the same, given up", five, nil, func(all map[string]*View) {
			dead(all, "e1a")
			all["w1"].Healthy["e1b"], all["e1b"].Applied.TS = true, bson.Timestamp{T: 100}
		}, true, Force, "e1b answers, and is frozen"},
		{"one that it does not hear has newer writes", five, nil, func(all map[string]*View) {
			dead(all, "e1a")
			all["e1b"].Applied.TS = bson.Timestamp{T: 100}
		}, false, Stuck, "a forced promotion would lose them"},
		{"one follows a primary that we do not reach", five, nil, func(all map[string]*View) {
			dead(all, "e1a")
			all["e1b"].Healthy["e1a"] = true
		}, true, Wait, "e1b follows e1a, which we do not reach"},
		{"an arbiter follows one", config(t, 1, 1, arbiter(1)), nil, func(all map[string]*View) {
			dead(all, "e1a")
			*all["e1b"] = View{Place: all["e1b"].Place, Alive: true, Name: "rs", Arbiter: true, Primary: "e1a"}
			all["w1"].Healthy["e1b"] = true
			all["w1"].Config.Member("w1").Priority = 0
		}, false, Wait, "e1b follows e1a, which we do not reach"},
		{"an arbiter and one of priority 0: they can elect nobody", config(t, 1, 1, arbiter(1), field(2, "priority", 0.0)), []string{"e1b"}, func(all map[string]*View) {
			dead(all, "e1a")
			*all["e1b"] = View{Place: all["e1b"].Place, Alive: true, Name: "rs", Arbiter: true}
		}, false, Force, "FORCED reconfiguration without e1a, e1b"},
		{"an arbiter that we reach and it does not", config(t, 1, 1, arbiter(1)), nil, func(all map[string]*View) {
			dead(all, "e1a")
			*all["e1b"] = View{Place: all["e1b"].Place, Alive: true, Name: "rs", Arbiter: true}
		}, false, Stuck, "we reach members that are one"},
		{"an arbiter that only accepts connections, which may vote for one that we do not reach", config(t, 1, 1, arbiter(1)), nil, func(all map[string]*View) {
			dead(all, "e1a", "e1b")
			all["e1b"].Alive = true
		}, false, Stuck, "we reach members that are one"},
		{"an arbiter that only accepts connections, of a set whose majority is lost", config(t, 1, 1, arbiter(1), field(0, "votes", int32(3))), nil, func(all map[string]*View) {
			dead(all, "e1a", "e1b")
			all["e1b"].Alive = true
		}, false, Force, "FORCED"},
		{"an arbiter is all that answers in the region", nil, nil, func(all map[string]*View) {
			*all["w1"] = View{Place: all["w1"].Place, Alive: true, Name: "rs", Arbiter: true}
		}, false, Blind, "w1 is an arbiter"},
		{"elected with an arbiter, and nobody else holds data", config(t, 1, 1, arbiter(1)), []string{"e1b"}, func(all map[string]*View) {
			dead(all, "e1a")
			*all["e1b"] = View{Place: all["e1b"].Place, Alive: true, Name: "rs", Arbiter: true}
			all["w1"].Writable, all["w1"].Term = true, 5
		}, false, Stuck, "as long as e1a is away"},
		{"a primary that the newest configuration does not name", nil, nil, func(all map[string]*View) {
			dead(all, "e1b")
			all["w1"].Config = only(t, "w1")
		}, false, Wait, "it elects one by itself, once w1 has all data"},
		{"the same, and the survivor leads", nil, nil, func(all map[string]*View) {
			all["w1"].Config, all["w1"].Writable, all["w1"].Secondary = only(t, "w1"), true, false
		}, false, Rivals, "w1 leads with configuration 50000, and e1a"},
		{"one that we reach hears one that we do not", five, nil, func(all map[string]*View) {
			dead(all, "e1a")
			all["e1b"].Primary, all["w1"].Primary = "", ""
			all["e1b"].Healthy["e1a"] = true
		}, true, Wait, "e1b hears e1a, which we do not reach"},
		{"one reaches it that it does not reach", nil, nil, func(all map[string]*View) {
			dead(all, "e1a", "e1b")
			all["w1"].Hears = map[string]bool{"e1a": true}
		}, false, Wait, "w1 hears e1a, which we do not reach"},
		{"one that we know by another name takes connections alone", nil, nil, func(all map[string]*View) {
			dead(all, "e1a", "e1b")
			all["e1a"].Host, all["e1a"].Alive = "e1a.public", true
		}, false, Stuck, "e1a.public is alive, but cannot be asked"},
		{"an arbiter that was dropped, and knows nobody", nil, nil, func(all map[string]*View) {
			dead(all, "e1a", "e1b")
			all["w1"].Config = chained(config(t, 50000, -1, field(0, "host", "x"), field(1, "host", "y")))
			all["e1a"].Alive, all["e1a"].Err = true, mongo.CommandError{Code: 18}
		}, false, Force, "FORCED"},
		{"it is preferred already", config(t, 1, 1, field(2, "priority", 9.0)), whole, nil, false, Wait, "it takes over when it has caught up"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := tt.config
			if c == nil {
				c = config(t, 1, 1)
			}
			all := three(c, tt.hears...)
			if tt.do != nil {
				tt.do(all)
			}
			f := Judge("rs", "west", list(all), tt.alive, nil)
			if f.Way != tt.way || !strings.Contains(f.Detail+"$", tt.says) {
				t.Errorf("%d %q; want %d with %q", f.Way, f.Detail, tt.way, tt.says)
			}
			if f.Way == Force && (f.Target != "w1" || fmt.Sprint(f.Keep) != "[w1]" || len(f.Drop) != 2 || !strings.Contains("[e1a e1b] [x y]", fmt.Sprint(f.Drop))) {
				t.Errorf("to %s: keeps %v, drops %v", f.Target, f.Keep, f.Drop)
			}
		})
	}
}

// A member that hears a majority loses nothing: it is moved to, however fresh one is that hears nobody.
func TestJudgePrefersWhoHearsAMajority(t *testing.T) {
	all := three(config(t, 1, 1), "e1a", "e1b", "w1")
	all["e1b"].Region, all["e1b"].Healthy, all["e1b"].Applied.TS = "west", map[string]bool{"e1b": true}, bson.Timestamp{T: 100}
	if f := Judge("rs", "west", list(all), true, nil); f.Way != Move {
		t.Errorf("%d %q: want a move", f.Way, f.Detail)
	}
}

// The survivor with the newest write goes on, with the neighbours that it hears; those that it does not hear would be half of a set without
// a majority.
func TestJudgeTakesTheFreshest(t *testing.T) {
	for _, hears := range []bool{true, false} {
		c := config(t, 1, 1, field(0, "votes", int32(0)), field(0, "priority", 0.0))
		all := three(c)
		all["w1"].Err = errors.New("gone")
		all["w1"].Config = nil
		all["e1a"].Writable, all["e1a"].Secondary = false, true
		all["e1a"].Applied.TS, all["e1b"].Applied.TS = bson.Timestamp{T: 100, I: 1}, bson.Timestamp{T: 100, I: 2}
		all["e1b"].Healthy["e1a"] = hears
		f := Judge("rs", "east", list(all), false, nil)
		keep, alive := "[e1a e1b]", "[]"
		if !hears {
			keep, alive = "[e1b]", "[e1a]"
		}
		if f.Way != Force || f.Target != "e1b" || fmt.Sprint(f.Keep) != keep || fmt.Sprint(f.Alive) != alive {
			t.Errorf("it hears the other: %t: %d %q to %s, keeps %v, fences %v; want e1b, %s, %s", hears, f.Way, f.Detail, f.Target, f.Keep, f.Alive, keep, alive)
		}
	}
}

// A primary elsewhere is a rival unless it leads by the configuration that the region's members have.
func TestRivals(t *testing.T) {
	forced := config(t, 50000, -1)
	for _, tt := range []struct {
		name   string
		do     func(all map[string]*View)
		rivals string
		known  bool
	}{
		{"elected by all", func(map[string]*View) {}, "[]", true},
		{"elected by a majority that ours does not hear", func(all map[string]*View) { all["e1a"].Config = config(t, 1, 6) }, "[]", true},
		{"of an old configuration", func(all map[string]*View) { all["w1"].Config = forced }, "[e1a]", true},
		{"of an old configuration with a higher term", func(all map[string]*View) {
			all["w1"].Config, all["e1a"].Config = config(t, 50001, 5), config(t, 1, 9)
		}, "[e1a]", true},
		{"while ours starts again", func(all map[string]*View) { all["w1"].Config, all["w1"].Secondary = forced, false }, "[e1a]", true},
		{"that has said no more than that", func(all map[string]*View) {
			all["w1"].Config, all["e1a"].Config, all["e1a"].Err = forced, nil, errors.New("too slow")
		}, "[e1a]", true},
		{"that has not even said its version", func(all map[string]*View) {
			all["w1"].Config, all["e1a"].Config, all["e1a"].SetVersion, all["e1a"].Err = forced, nil, 0, errors.New("too slow")
		}, "[]", false},
		{"its own, which is too slow to say more", func(all map[string]*View) {
			all["e1a"].Region, all["e1a"].Config, all["e1a"].Err = "west", nil, errors.New("too slow")
		}, "[]", false},
		{"of another set at an old address", func(all map[string]*View) {
			all["w1"].Config, all["e1a"].Name, all["e1b"].Name = only(t, "w1"), "analytics", "analytics"
		}, "[]", true},
		{"of a side that was forced since", func(all map[string]*View) {
			all["w1"].Config, all["w1"].Writable, all["w1"].Secondary = only(t, "w1"), true, false
			all["e1a"].Config = only(t, "e1a")
			all["e1a"].Config.Version = 60000
		}, "[] beyond [e1a]", true},
		{"of a side that was forced since, from an older base", func(all map[string]*View) {
			all["w1"].Config, all["w1"].Writable, all["w1"].Secondary = only(t, "w1"), true, false
			all["e1a"].Config = only(t, "e1a")
			all["e1a"].Config.Version = 40000
		}, "[] beyond [e1a]", true},
		{"of a side that was forced since, while ours does not lead", func(all map[string]*View) {
			all["w1"].Config, all["e1a"].Config = only(t, "w1"), only(t, "e1a")
			all["e1a"].Config.Version = 40000
		}, "[]", false},
		{"by the configuration before, which a majority has still", func(all map[string]*View) { all["w1"].Config = config(t, 2, 1) }, "[]", true},
		{"dropped by an ordinary reconfiguration", func(all map[string]*View) {
			all["w1"].Config = only(t, "w1")
			all["w1"].Config.Version = 2
		}, "[e1a]", true},
		{"in the region itself", func(all map[string]*View) {
			all["e1b"].Region, all["e1b"].Writable, all["w1"].Config = "west", true, only(t, "w1")
			all["e1a"].Writable = false
		}, "[e1b]", true},
		{"while one of ours that may know more is silent", func(all map[string]*View) {
			*all["w1"] = View{Place: all["w1"].Place, Err: errors.New("gone")}
			all["e1b"].Region = "west"
		}, "[]", false},
		{"while ours is silent", func(all map[string]*View) { *all["w1"] = View{Place: all["w1"].Place, Err: errors.New("gone")} }, "[]", false},
	} {
		all := three(config(t, 1, 1))
		tt.do(all)
		got := RivalsOf("rs", "west", list(all), nil)
		all2 := fmt.Sprint(got.Rivals)
		if len(got.Beyond) > 0 {
			all2 += fmt.Sprint(" beyond ", got.Beyond)
		}
		if all2 != tt.rivals || got.Known != tt.known {
			t.Errorf("%s: %s, known %t; want %s, %t", tt.name, all2, got.Known, tt.rivals, tt.known)
		}
	}
}

func TestForcedConfiguration(t *testing.T) {
	c := config(t, 7, 3, field(2, "hidden", true), field(2, "priority", 0.0), field(2, "votes", int32(0)), field(2, "slaveDelay", int64(60)))
	got, err := readConfig(c.Forced([]string{"w1"}))
	if err != nil {
		t.Fatal(err)
	}
	m := got.Members[0]
	if len(got.Members) != 1 || m.Host != "w1" || m.ID != 2 || m.Votes != 1 || m.Priority != 1 || m.Hidden || m.Delay != 0 {
		t.Errorf("members %+v: want w1 alone, numbered 2, with a vote, visible, without delay", got.Members)
	}
	if tags, _ := val(m.doc, "tags").(bson.D); val(tags, "at") != "w1" {
		t.Errorf("its tags are %v", val(m.doc, "tags"))
	}
	settings, _ := val(got.doc, "settings").(bson.D)
	if val(settings, "chainingAllowed") != false || val(settings, "replicaSetId") != "id" || val(got.doc, "protocolVersion") != int64(1) || got.Version != 8 || val(got.doc, "term") != nil {
		t.Errorf("the configuration is %v: want all else kept, the next version and no term", got.doc)
	}
}

func TestPreferredConfiguration(t *testing.T) {
	c := config(t, 7, 3)
	got, err := readConfig(c.Preferred([]string{"e1b", "w1"}))
	if err != nil {
		t.Fatal(err)
	}
	if a, b, w := got.Members[0].Priority, got.Members[1].Priority, got.Members[2].Priority; a != 3 || w <= a || b <= w {
		t.Errorf("priorities %v, %v, %v: want 3, and both others above, in their order", a, b, w)
	}
	if c.Members[1].Priority != 2 || val(c.Members[1].doc, "priority") != 2.0 {
		t.Error("the old configuration was changed")
	}
	if again := got.Preferred([]string{"e1b", "w1"}); again != nil {
		t.Errorf("what is so already is changed again: %v", again)
	}
	// One that is hidden or delayed is not raised, and is no reason to begin anew.
	c = config(t, 7, 3, field(1, "hidden", true), field(1, "priority", 0.0))
	if got, err = readConfig(c.Preferred([]string{"e1b", "w1"})); err != nil || got.Members[1].Priority != 0 || got.Preferred([]string{"e1b", "w1"}) != nil {
		t.Errorf("%+v, %v", got, err)
	}
	// None is above 1000.
	c = config(t, 7, 3, field(0, "priority", 1000.0), field(1, "priority", 400.0))
	if got, err = readConfig(c.Preferred([]string{"e1b", "w1"})); err != nil {
		t.Fatal(err)
	}
	if a, b, w := got.Members[0].Priority, got.Members[1].Priority, got.Members[2].Priority; b > 1000 || w > 1000 || a >= w || w >= b {
		t.Errorf("priorities %v, %v, %v: want none above 1000, the first the lowest, and the others in their order", a, b, w)
	}
}

func TestNewer(t *testing.T) {
	for _, tt := range []struct {
		a, b *Config
		want bool
	}{
		{config(t, 2, 1), config(t, 1, 1), true},
		{config(t, 1, 2), config(t, 5, 1), true},
		{config(t, 5, 1), config(t, 1, 2), false},
		{config(t, 5, -1), config(t, 1, 9), true},
		{config(t, 5, 9), config(t, 6, -1), false},
		{config(t, 5, 1), config(t, 5, 1), false},
		{config(t, 1, 1), nil, true},
		{nil, config(t, 1, 1), false},
		{nil, nil, false},
	} {
		if got := tt.a.Newer(tt.b); got != tt.want {
			t.Errorf("%+v newer than %+v: %t", tt.a, tt.b, got)
		}
	}
}

// Who remembers a forced promotion takes nobody for well that it has left behind.
func TestJudgeKnowsWhatWasForced(t *testing.T) {
	was := config(t, 1, 1)
	forced := ForcedFrom(1, was.ID(), []string{"w1"}, time.Unix(0, 0))
	gone := errors.New("did not answer")
	for _, tt := range []struct {
		name   string
		do     func(all map[string]*View)
		forced *Forced
		way    Way
		says   string
	}{
		{"nobody has it, and who was forced is gone", func(all map[string]*View) { *all["w1"] = View{Place: all["w1"].Place, Err: gone} }, forced, Stuck, "a forced promotion of w1 was begun at 1970"},
		{"who was forced hangs", func(all map[string]*View) { all["w1"].Config, all["w1"].Err = nil, gone }, forced, Stuck, "Start w1 and let it answer"},
		{"who was to be forced does not have it", func(map[string]*View) {}, forced, Led, "e1a is the writable primary"},
		{"of another set of this name", func(all map[string]*View) { *all["w1"] = View{Place: all["w1"].Place, Err: gone} }, ForcedFrom(1, "another", []string{"w1"}, time.Unix(0, 0)), Led, ""},
		{"who went on is there, and more reconfigurations have come", func(all map[string]*View) {
			all["w1"].Config, all["w1"].Writable = only(t, "w1"), true
			all["w1"].Config.Version, all["w1"].Config.Term = 50001, 5
			for _, h := range []string{"e1a", "e1b"} {
				all[h].Config = config(t, 1, 9) // more elections there
			}
		}, forced, Stuck, "does not know the newest configuration"},
		{"one of two that were forced does not have it", func(all map[string]*View) { *all["w1"] = View{Place: all["w1"].Place, Err: gone} },
			ForcedFrom(1, was.ID(), []string{"e1b", "w1"}, time.Unix(0, 0)), Led, ""},
		{"one of three does not have it", func(all map[string]*View) { *all["w1"] = View{Place: all["w1"].Place, Err: gone} },
			ForcedFrom(1, was.ID(), []string{"e1b", "w1", "w2"}, time.Unix(0, 0)), Stuck, "a forced promotion of e1b, w1, w2"},
	} {
		all := three(was, "e1a", "e1b", "w1")
		tt.do(all)
		f := Judge("rs", "east", list(all), false, tt.forced)
		if f.Way != tt.way || !strings.Contains(f.Detail, tt.says) {
			t.Errorf("%s: %d %q; want %d with %q", tt.name, f.Way, f.Detail, tt.way, tt.says)
		}
	}
	// And for the rivals of west, by the same terms.
	all := three(config(t, 1, 9))
	all["w1"].Config = only(t, "w1")
	all["w1"].Config.Version, all["w1"].Config.Term = 50001, 5
	all["e1a"].Config = only(t, "e1a") // forced by hand, from the old base
	all["e1a"].Config.Version = 9000
	if got := RivalsOf("rs", "west", list(all), forced); fmt.Sprint(got.Rivals, got.Beyond) != "[e1a] []" {
		t.Errorf("%+v", got)
	}
}
