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
			case reflect.Pointer:
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

// Two nodes must stand behind an answer.
func TestBelieve(t *testing.T) {
	sign := func(by string, statement []byte) *Vouch {
		return &Vouch{Chain: [][]byte{[]byte(by)}, Signature: statement}
	}
	verify := func(statement []byte, by *Vouch) (failover.NodeID, error) {
		if string(by.Signature) != string(statement) {
			return "", errors.New("forged")
		}
		return failover.NodeID(by.Chain[0]), nil
	}
	ask := Ask{Request: "r"}
	good := Answer{Request: "r", Grant: failover.Grant{Granted: true}}
	good.Leader, good.Second = sign("a", good.Statement(ask)), sign("b", Seconding("r", "a"))
	if err := good.Believe(ask, verify); err != nil {
		t.Error(err)
	}
	for want, spoil := range map[string]func(*Answer){
		"answers request":        func(a *Answer) { a.Request = "s" },
		"not signed":             func(a *Answer) { a.Leader = nil },
		"upgrade them before":    func(a *Answer) { a.Second = nil },
		"not the word":           func(a *Answer) { a.Epoch = 7 },
		"no other node's word":   func(a *Answer) { a.Second = sign("b", Seconding("r", "c")) },
		"a alone says that it l": func(a *Answer) { a.Second = sign("a", Seconding("r", "a")) },
	} {
		bad := good
		spoil(&bad)
		if err := bad.Believe(ask, verify); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
