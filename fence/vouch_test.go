package fence

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/failoverd/failoverd/failover"
)

// What is signed must be all of it: each field, changed alone, changes the statement.
func TestStatementsNameEverything(t *testing.T) {
	ask := Ask{Request: "r", Agent: "w1", Region: "east1", Component: "workers"}
	all := string(Answer{}.Statement(ask))
	changed := func(what string, statement []byte) {
		t.Helper()
		if string(statement) == all {
			t.Errorf("%s is not in the statement", what)
		}
	}
	var each func(at reflect.Value, path string, root *Answer)
	each = func(at reflect.Value, path string, root *Answer) {
		for i := range at.NumField() {
			name, f := path+at.Type().Field(i).Name, at.Field(i)
			switch f.Kind() {
			case reflect.Struct:
				each(f, name+".", root)
				continue
			case reflect.Pointer, reflect.Slice:
				continue // the signatures themselves
			case reflect.String:
				f.SetString("x")
			case reflect.Bool:
				f.SetBool(true)
			case reflect.Uint64:
				f.SetUint(1)
			case reflect.Int, reflect.Int64:
				f.SetInt(1)
			default:
				t.Fatalf("%s: what is a %s?", name, f.Kind())
			}
			changed(name, root.Statement(ask))
			f.SetZero()
		}
	}
	var ans Answer
	each(reflect.ValueOf(&ans).Elem(), "", &ans)
	for _, other := range []Ask{{Agent: "w2", Region: "east1", Component: "workers"}, {Agent: "w1", Region: "east2", Component: "workers"}, {Agent: "w1", Region: "east1", Component: "mail"}} {
		changed("whom it is for", Answer{}.Statement(other))
	}
	if string(Seconding("1", "a")) == string(Seconding("2", "a")) || string(Seconding("1", "a")) == string(Seconding("1", "b")) {
		t.Error("a node's word for another is one for every request, or for every node")
	}
}

// A majority of the nodes that the agent knows must stand behind an answer.
func TestBelieve(t *testing.T) {
	sign := func(by string, statement []byte) Vouch {
		return Vouch{Chain: [][]byte{[]byte(by)}, Signature: statement}
	}
	verify := func(statement []byte, by *Vouch) (failover.NodeID, error) {
		if string(by.Signature) != string(statement) {
			return "", errors.New("forged")
		}
		return failover.NodeID(by.Chain[0]), nil
	}
	ask := Ask{Request: "r", Nodes: []failover.NodeID{"a", "b", "c", "d", "e"}}
	led := func(leader string, seconds ...string) Answer {
		ans := Answer{Request: "r", Grant: failover.Grant{Granted: true}}
		by := sign(leader, ans.Statement(ask))
		ans.Leader = &by
		for _, id := range seconds {
			ans.Seconds = append(ans.Seconds, sign(id, Seconding("r", failover.NodeID(leader))))
		}
		return ans
	}
	unknownSigner := led("a", "b", "c")
	unknownSigner.Leader = nil
	changed := led("a", "b", "c")
	changed.Epoch = 7
	forOther := led("a", "b")
	forOther.Seconds = append(forOther.Seconds, sign("c", Seconding("r", "b")))
	earlier := led("a", "b")
	earlier.Seconds = append(earlier.Seconds, sign("c", Seconding("q", "a")))
	another := led("a", "b", "c")
	another.Request = "s"
	one := ask
	one.Nodes = []failover.NodeID{"a"}
	for _, tc := range []struct {
		name, want string
		ans        Answer
		ask        Ask
	}{
		{"a majority", "", led("a", "b", "c"), ask},
		{"a leader that is not known yet, with one word more", "", led("z", "b", "c", "d"), ask},
		{"the only node that there is", "", led("a"), one},
		{"what is forged beside a majority", "", func() Answer { a := led("a", "b", "c"); a.Seconds = append(a.Seconds, sign("d", nil)); return a }(), ask},
		{"a leader that is not known yet", "2 of 5 nodes say that z leads, and it takes 3", led("z", "b", "c"), ask},
		{"alone", "1 of 5 nodes say that a leads, and it takes 3", led("a"), ask},
		{"both nodes of a region that was cut off", "2 of 5 nodes", led("a", "b"), ask},
		{"one twice", "2 of 5 nodes", led("a", "b", "b"), ask},
		{"its own word twice", "2 of 5 nodes", led("a", "a", "b"), ask},
		{"keys of nodes that are not known", "2 of 5 nodes", led("a", "b", "old1", "old2"), ask},
		{"no leader's word", "not signed", unknownSigner, ask},
		{"changed", "not the word of a leader", changed, ask},
		{"a word for another leader", "one more says nothing: forged", forOther, ask},
		{"a word for an earlier request", "one more says nothing: forged", earlier, ask},
		{"another request", "answers request", another, ask},
		{"nobody is known", "0 of 0 nodes say that a leads, and it takes 1", led("a", "b", "c"), Ask{Request: "r"}},
	} {
		switch err := tc.ans.Believe(tc.ask, verify); {
		case tc.want == "" && err != nil:
			t.Errorf("%s: %v", tc.name, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: want %q, got %v", tc.name, tc.want, err)
		}
	}
}
