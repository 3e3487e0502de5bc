package mongotest

import (
	"fmt"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// code is the server's error code of a command; 0: it was done.
func code(t *testing.T, err error) int32 {
	t.Helper()
	if err == nil {
		return 0
	}
	e, ok := err.(mongo.CommandError) //nolint:errorlint // the driver returns it unwrapped
	if !ok {
		t.Fatalf("no error of the server's: %v", err)
	}
	return e.Code
}

// The codes are those that a real mongod 4.4.6 gave to the same commands, members of priority 3, 2 and 1.
func TestRulesOfTheRealServer(t *testing.T) {
	s := replicaSet(t)
	a, c := direct(t, s.Hosts[0]), direct(t, s.Hosts[2])
	eventually(t, "the member of the highest priority is primary", func() bool { st, _, _ := s.Member(0).State(); return st == "PRIMARY" })
	current := func(run func(bson.D) (bson.M, error)) bson.D {
		m, err := run(bson.D{{Key: "replSetGetConfig", Value: 1}})
		if err != nil {
			t.Fatal(err)
		}
		return m["config"].(bson.D)
	}
	// with is the configuration with the next version, and members that f has changed.
	with := func(f func(i int, m bson.D) bson.D) bson.D {
		cfg, out := current(a), bson.A{}
		for i, m := range get(cfg, "members").(bson.A) {
			if m := f(i, m.(bson.D)); m != nil {
				out = append(out, m)
			}
		}
		return put(put(cfg, "members", out), "version", get(cfg, "version").(int32)+1)
	}
	same := func(_ int, m bson.D) bson.D { return m }
	only := func(n int, f func(bson.D) bson.D) bson.D {
		return with(func(i int, m bson.D) bson.D {
			if i != n {
				return nil
			}
			return f(m)
		})
	}
	reconfig := func(cfg bson.D, force bool) bson.D {
		cmd := bson.D{{Key: "replSetReconfig", Value: cfg}}
		if force {
			cmd = append(cmd, bson.E{Key: "force", Value: true})
		}
		return cmd
	}
	asIs := func(m bson.D) bson.D { return m }
	for _, tt := range []struct {
		what string
		run  func(bson.D) (bson.M, error)
		cmd  bson.D
		want int32
	}{
		{"reconfiguration on a secondary", c, reconfig(with(same), false), 10107},
		{"the same version", a, reconfig(current(a), false), 103},
		{"two voters dropped", a, reconfig(only(0, asIs), false), 103},
		{"a priority without a vote", a, reconfig(with(func(i int, m bson.D) bson.D {
			if i == 2 {
				m = put(m, "votes", int32(0))
			}
			return m
		}), false), 103},
		{"itself dropped", c, reconfig(with(func(i int, m bson.D) bson.D {
			if i == 2 {
				return nil
			}
			return m
		}), true), 74},
		{"itself of priority 0", a, reconfig(with(func(i int, m bson.D) bson.D {
			if i == 0 {
				m = put(m, "priority", 0.0)
			}
			return m
		}), false), 104},
		{"another set's name", a, reconfig(put(with(same), "_id", "other"), false), 93},
		{"forced, of priority 0", c, reconfig(only(2, func(m bson.D) bson.D { return put(m, "priority", 0.0) }), true), 103},
		{"forced, hidden with a priority", c, reconfig(only(2, func(m bson.D) bson.D { return put(m, "hidden", true) }), true), 103},
		{"forced, delayed with a priority", c, reconfig(only(2, func(m bson.D) bson.D { return put(m, "slaveDelay", int64(10)) }), true), 103},
		{"forced, without a vote", c, reconfig(only(2, func(m bson.D) bson.D { return put(put(m, "priority", 0.0), "votes", int32(0)) }), true), 103},
		{"a step down on a secondary", c, bson.D{{Key: "replSetStepDown", Value: 5}}, 10107},
		{"a step down shorter than its wait", a, bson.D{{Key: "replSetStepDown", Value: 5}, {Key: "secondaryCatchUpPeriodSecs", Value: 6}}, 2},
		{"a freeze on the primary", a, bson.D{{Key: "replSetFreeze", Value: 5}}, 95},
		{"a freeze on a secondary", c, bson.D{{Key: "replSetFreeze", Value: 0}}, 0},
		{"an ordinary reconfiguration", a, reconfig(with(same), false), 0},
		{"what it does not know", a, bson.D{{Key: "replSetDance", Value: 1}}, 59},
	} {
		t.Run(tt.what, func(t *testing.T) {
			if _, err := tt.run(tt.cmd); code(t, err) != tt.want {
				t.Errorf("%v: want code %d", err, tt.want)
			}
		})
	}
}

// A primary that nobody can follow steps down by force only, and a frozen member does not follow. A restart forgets the freeze.
func TestFreezeAndStepDown(t *testing.T) {
	s := replicaSet(t)
	a, b := direct(t, s.Hosts[0]), direct(t, s.Hosts[1])
	state := func(n int) string { st, _, _ := s.Member(n).State(); return st }
	eventually(t, "a primary", func() bool { return state(0) == "PRIMARY" })
	s.Cut(true, 2)
	if _, err := b(bson.D{{Key: "replSetFreeze", Value: 60}}); err != nil {
		t.Fatal(err)
	}
	<-time.After(3 * election / 2) // the primary hears of it, and that the third is gone
	if _, err := a(bson.D{{Key: "replSetStepDown", Value: 60}, {Key: "secondaryCatchUpPeriodSecs", Value: 1}}); code(t, err) != 262 || state(0) != "PRIMARY" {
		t.Fatalf("%v, and it is %s: want code 262, and still primary", err, state(0))
	}
	if _, err := a(bson.D{{Key: "replSetStepDown", Value: 60}, {Key: "force", Value: true}}); err != nil {
		t.Fatal(err)
	}
	for range 20 { // nobody leads: the one is stepped down, the other one frozen
		if state(0) == "PRIMARY" || state(1) == "PRIMARY" {
			t.Fatal("a frozen side leads")
		}
		<-time.After(50 * time.Millisecond)
	}
	s.Member(1).Kill()
	if err := s.Member(1).Restart(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a restart forgets the freeze", func() bool { return state(1) == "PRIMARY" })
}

// A member that is listed and does not answer is waited for before a forced reconfiguration is applied: 30 s on a real one, three election
// time-outs here.
func TestForceWaitsForTheSilent(t *testing.T) {
	s := replicaSet(t)
	c := direct(t, s.Hosts[2])
	s.Cut(true, 2)
	m, err := c(bson.D{{Key: "replSetGetConfig", Value: 1}})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if _, err := c(bson.D{{Key: "replSetReconfig", Value: m["config"]}, {Key: "force", Value: true}}); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(begin); took < 6*election {
		t.Errorf("it took %s with two members that are silent", took)
	}
}

// What a majority has not got is gone when the one that has it comes back behind another primary; what it has stays.
func TestWritesSurviveAsARealOnes(t *testing.T) {
	s := replicaSet(t)
	a := direct(t, s.Hosts[0])
	eventually(t, "a primary", func() bool { st, _, _ := s.Member(0).State(); return st == "PRIMARY" })
	insert := func(id int, w any) error {
		_, err := a(bson.D{{Key: "insert", Value: "c"}, {Key: "documents", Value: bson.A{bson.D{{Key: "_id", Value: int32(id)}}}}, {Key: "writeConcern", Value: bson.D{{Key: "w", Value: w}}}})
		return err
	}
	if err := insert(1, "majority"); err != nil {
		t.Fatal(err)
	}
	s.Cut(true, 0)
	if err := insert(2, int32(1)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the others lead", func() bool { st, _, _ := s.Member(1).State(); return st == "PRIMARY" })
	s.Cut(false, 0)
	eventually(t, "it has rolled back", func() bool { _, _, n := s.Member(0).State(); return n > 0 })
	eventually(t, "only what a majority had is there", func() bool {
		m, err := a(bson.D{{Key: "find", Value: "c"}})
		if err != nil {
			return false
		}
		return fmt.Sprint(get(m["cursor"].(bson.D), "firstBatch")) == fmt.Sprint(bson.A{bson.D{{Key: "_id", Value: int32(1)}}})
	})
}
