package actions

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// fakeACLs are the network ACLs of two subnets, subnet-a and subnet-b.
type fakeACLs struct {
	mu      sync.Mutex
	has     map[string]string // the ACL of each subnet
	turn    map[string]int    // of its association
	block   string            // of subnet-a
	vpc     string            // of acl-deny
	allows  bool              // acl-deny does
	refuse  map[string]string // error codes, by subnet
	calls   []string
	missing bool   // acl-deny is
	gone    string // a subnet that is not there
	down    string // an operation that is not answered
}

func newACLs() *fakeACLs {
	return &fakeACLs{has: map[string]string{"subnet-a": "acl-a", "subnet-b": "acl-b"}, turn: map[string]int{}, block: "10.0.8.0/24", vpc: "vpc-1", refuse: map[string]string{}}
}

func cutOff() *fakeACLs {
	f := newACLs()
	f.has = map[string]string{"subnet-a": "acl-deny", "subnet-b": "acl-deny"}
	return f
}

func fenced() map[failover.Region]map[string]string {
	return map[failover.Region]map[string]string{"us-east-2": {"subnet-a": "10.0.8.0/24", "subnet-b": "10.0.9.0/24"}}
}

func (f *fakeACLs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = r.ParseForm()
	fail := func(code string) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = fmt.Fprintf(w, "<Response><Errors><Error><Code>%s</Code><Message>no</Message></Error></Errors></Response>", code)
	}
	body, op := "", r.Form.Get("Action")
	if op == f.down {
		fail("UnauthorizedOperation")
		return
	}
	switch op {
	case "DescribeSubnets":
		if f.gone != "" && strings.Contains(r.Form.Encode(), "SubnetId.1=") { // by a filter it is left out
			fail("InvalidSubnetID.NotFound")
			return
		}
		for id, block := range map[string]string{"subnet-a": f.block, "subnet-b": "10.0.9.0/24"} {
			if id != f.gone {
				body += fmt.Sprintf("<item><subnetId>%s</subnetId><vpcId>vpc-1</vpcId><cidrBlock>%s</cidrBlock></item>", id, block)
			}
		}
		body = "<subnetSet>" + body + "</subnetSet>"
	case "DescribeNetworkAcls":
		acls := map[string]bool{}
		if id := r.Form.Get("NetworkAclId.1"); id != "" {
			acls[id] = true
		} else {
			for _, acl := range f.has {
				acls[acl] = true
			}
		}
		if f.missing && acls["acl-deny"] {
			fail("InvalidNetworkAclID.NotFound")
			return
		}
		for _, acl := range slices.Sorted(maps.Keys(acls)) {
			of, action := "<item><networkAclAssociationId>aclassoc-z</networkAclAssociationId><subnetId>subnet-z</subnetId></item>", "allow" // of nobody's business
			for _, s := range slices.Sorted(maps.Keys(f.has)) {
				if f.has[s] == acl {
					of += fmt.Sprintf("<item><networkAclAssociationId>aclassoc-%s-%d</networkAclAssociationId><subnetId>%s</subnetId></item>", s, f.turn[s], s)
				}
			}
			if acl == "acl-deny" && !f.allows {
				action = "deny"
			}
			body += fmt.Sprintf("<item><networkAclId>%s</networkAclId><vpcId>%s</vpcId><entrySet><item><ruleNumber>100</ruleNumber><ruleAction>%s</ruleAction></item><item><ruleNumber>32767</ruleNumber><ruleAction>deny</ruleAction></item></entrySet><associationSet>%s</associationSet></item>",
				acl, f.vpc, action, of)
		}
		body = "<networkAclSet>" + body + "</networkAclSet>"
	case "ReplaceNetworkAclAssociation":
		f.calls = append(f.calls, r.Form.Get("AssociationId")+" "+r.Form.Get("NetworkAclId"))
		for s := range f.has {
			if r.Form.Get("AssociationId") != fmt.Sprintf("aclassoc-%s-%d", s, f.turn[s]) {
				continue
			}
			if code := f.refuse[s]; code != "" {
				fail(code)
				return
			}
			f.has[s] = r.Form.Get("NetworkAclId")
			f.turn[s]++
			body = "<newAssociationId>x</newAssociationId>"
		}
		if body == "" {
			fail("InvalidAssociationID.NotFound")
			return
		}
	}
	_, _ = fmt.Fprintf(w, "<%sResponse>%s</%sResponse>", op, body, op)
}

// fence makes the action, at a moment of its own.
func fence(t *testing.T, f *fakeACLs, settle time.Duration, q *Quiet) Action {
	t.Helper()
	c := &NACLConfig{Subnets: fenced(), ACL: map[failover.Region]string{"us-east-2": "acl-deny"}, Open: map[failover.Region]string{"us-east-2": "acl-a"}, Settle: failover.Duration(settle)}
	if err := c.Validate(RoleStop); err != nil {
		t.Fatal(err)
	}
	d := testDeps(t, f)
	d.Quiet = q
	a, err := c.New(d)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestNACL(t *testing.T) {
	f := newACLs()
	var q Quiet
	a := fence(t, f, time.Hour, &q)
	before := inspect(t, a, Absent, "0 of 2 subnets in us-east-2 are cut off by acl-deny: subnet-a has acl-a, subnet-b has acl-b")
	if string(before.Previous) != `{"subnet-a":"acl-a","subnet-b":"acl-b"}` || before.Inventory != 2 {
		t.Errorf("recorded %s of %d", before.Previous, before.Inventory)
	}
	// One that is refused keeps nothing from the other.
	f.refuse["subnet-a"] = "UnauthorizedOperation"
	err := a.Do(t.Context(), attempt(7, before))
	if err == nil || !strings.Contains(err.Error(), "giving subnet subnet-a in us-east-2 the network ACL acl-deny in place of acl-a") || strings.Contains(err.Error(), "subnet-b") {
		t.Errorf("got %v", err)
	}
	stillEnds(t, a, false, "1 of 2 subnets in us-east-2 are cut off by acl-deny: subnet-a has acl-a")
	f.refuse = map[string]string{}
	do(t, a.Do, 8, before.Previous)
	if want := []string{"aclassoc-subnet-a-0 acl-deny", "aclassoc-subnet-b-0 acl-deny", "aclassoc-subnet-a-0 acl-deny"}; !slices.Equal(f.calls, want) {
		t.Errorf("calls %v, want %v", f.calls, want)
	}
	// What was asked for must have reached every host, and a new Action does not wait anew.
	inspect(t, a, Unknown, "2 of 2 subnets in us-east-2 are cut off by acl-deny; it counts in 1h0m0s, when it has reached every host")
	soon := fence(t, f, time.Nanosecond, &q)
	done := inspect(t, soon, Present, "2 of 2 subnets in us-east-2 are cut off by acl-deny")
	do(t, a.Do, 9, done.Previous)
	if len(f.calls) != 3 {
		t.Errorf("what stands was asked for again: %v", f.calls)
	}
	// Undo puts back what was recorded first, and leaves alone what somebody has changed since.
	w := a.(Witness)
	if says := w.Overtaken(done, before.Previous); says != "" {
		t.Errorf("its own change is %q", says)
	}
	f.has["subnet-b"] = "acl-c"
	changed := inspect(t, a, Partial, "subnet-b has acl-c")
	if says := w.Overtaken(changed, before.Previous); says != "subnet subnet-b had the network ACL acl-b and has acl-c now" {
		t.Errorf("got %q", says)
	}
	do(t, a.Undo, 10, before.Previous)
	if f.has["subnet-a"] != "acl-a" || f.has["subnet-b"] != "acl-c" || len(f.calls) != 4 {
		t.Errorf("now %v, after %v", f.has, f.calls)
	}
	if now := inspect(t, a, Absent, "0 of 2"); a.(Restorer).Restored(now, before.Previous) {
		t.Error("another ACL counts as restored")
	}
	f.has["subnet-b"] = "acl-b"
	if now := inspect(t, a, Absent, "0 of 2"); !a.(Restorer).Restored(now, before.Previous) {
		t.Error("the same ACLs do not count as restored")
	}
	if len(q.seen) != 0 {
		t.Errorf("what is open counts as cut off since %v", q.seen)
	}
	// It begins to count anew.
	f.has = map[string]string{"subnet-a": "acl-deny", "subnet-b": "acl-deny"}
	inspect(t, a, Unknown, "it counts in 1h0m0s")
	for previous, want := range map[string]bool{`{"subnet-a":"acl-a","subnet-b":"acl-b"}`: true, `{"subnet-a":"acl-deny","subnet-b":"acl-b"}`: false, `{"subnet-a":""}`: false, `{}`: false, ``: false} {
		if a.(Untouchable).Untouched(json.RawMessage(previous)) != want {
			t.Errorf("untouched by %s: %t", previous, !want)
		}
	}
	if err := a.Undo(t.Context(), Attempt{Previous: json.RawMessage("[]")}); err == nil {
		t.Error("an undo without what was before is done")
	}
}

// A fence that would prove nothing is none, and one that is not what was checked is not
// put up: Inspect says so, with what is there, and it never counts.
func TestNACLRefuses(t *testing.T) {
	for want, tt := range map[string]struct {
		change func(f *fakeACLs)
		calls  int // of what may be cut off all the same
	}{
		"network ACL acl-deny in us-east-2 has a rule 100 that lets something pass, so it is no fence":                        {func(f *fakeACLs) { f.allows = true }, 0},
		"subnet subnet-a in us-east-2 has the addresses 10.0.1.0/24, and the configuration says 10.0.8.0/24":                  {func(f *fakeACLs) { f.block = "10.0.1.0/24" }, 1},
		"subnet subnet-a in us-east-2 lies in vpc-1, and network ACL acl-deny in vpc-2: create one in the VPC of the subnets": {func(f *fakeACLs) { f.vpc = "vpc-2" }, 0},
		"subnet subnet-b in us-east-2 shows no network ACL":                                                                   {func(f *fakeACLs) { delete(f.has, "subnet-b") }, 1},
		"subnet subnet-b in us-east-2 was not described":                                                                      {func(f *fakeACLs) { delete(f.has, "subnet-b"); f.gone = "subnet-b" }, 1},
		"0 network ACLs in us-east-2 are called acl-deny":                                                                     {func(f *fakeACLs) { f.missing = true }, 0},
		"describing the subnets subnet-a, subnet-b in us-east-2":                                                              {func(f *fakeACLs) { f.down = "DescribeSubnets" }, 0},
	} {
		f := newACLs()
		tt.change(f)
		a := fence(t, f, time.Nanosecond, new(Quiet))
		before := inspect(t, a, Absent, want)
		if !strings.Contains(before.Lacks, want) || !strings.Contains(string(before.Previous), `"subnet-a":"acl-a"`) {
			t.Errorf("%+v, want %q", before, want)
		}
		if err := a.Do(t.Context(), attempt(7, before)); err == nil || !strings.Contains(err.Error(), want) || len(f.calls) != tt.calls {
			t.Errorf("%s: %v, and %v were called", want, err, f.calls)
		}
		// Were all that there is cut off, it would be no proof.
		for id := range f.has {
			f.has[id] = "acl-deny"
		}
		if f.missing {
			continue // AWS deletes none that a subnet has
		}
		for range 2 {
			if e, err := a.Inspect(t.Context()); err != nil || e.State == Present || e.State == Absent || e.Ending {
				t.Errorf("%s: all that there is stands, and it counts as %+v, %v", want, e, err)
			}
		}
	}
	f := newACLs()
	f.down = "DescribeNetworkAcls"
	if e, err := fence(t, f, 0, nil).Inspect(t.Context()); err == nil || e.State != Unknown {
		t.Errorf("%+v, %v", e, err)
	}
}

// What was cut off is opened again whatever has become of the fence meanwhile.
func TestNACLUndoNeedsNoFence(t *testing.T) {
	for name, change := range map[string]func(f *fakeACLs){
		"its entries were changed":        func(f *fakeACLs) { f.allows = true },
		"it lies in another VPC":          func(f *fakeACLs) { f.vpc = "vpc-2" },
		"a subnet has another block":      func(f *fakeACLs) { f.block = "10.0.1.0/24" },
		"the subnets cannot be described": func(f *fakeACLs) { f.down = "DescribeSubnets" },
		"somebody has opened one and deleted it": func(f *fakeACLs) {
			f.missing, f.has["subnet-a"], f.has["subnet-b"] = true, "acl-a", "acl-b"
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newACLs()
			a := fence(t, f, time.Nanosecond, new(Quiet))
			before := inspect(t, a, Absent, "0 of 2")
			do(t, a.Do, 7, before.Previous)
			change(f)
			now, err := a.Inspect(t.Context()) // the executor looks before it undoes
			if err != nil || len(now.Previous) == 0 || a.(Witness).Overtaken(now, before.Previous) != "" {
				t.Fatalf("%+v, %v", now, err)
			}
			do(t, a.Undo, 8, before.Previous)
			if f.has["subnet-a"] != "acl-a" || f.has["subnet-b"] != "acl-b" {
				t.Errorf("now %v", f.has)
			}
			if now, err = a.Inspect(t.Context()); err != nil || !restored(a, now, before.Previous) {
				t.Errorf("not restored: %+v, %v", now, err)
			}
		})
	}
}

// A subnet that is not there keeps nothing from the others, and the fence from being a
// proof. One that was not seen before it was cut off is not given back by a guess.
func TestNACLWithoutOneSubnet(t *testing.T) {
	f := newACLs()
	f.gone = "subnet-b"
	delete(f.has, "subnet-b")
	var q Quiet
	a, waits := fence(t, f, time.Nanosecond, &q), fence(t, f, time.Hour, &q)
	before := inspect(t, a, Absent, "0 of 2 subnets in us-east-2 have acl-deny: subnet-a has acl-a; subnet subnet-b in us-east-2 was not described")
	if err := a.Do(t.Context(), attempt(7, before)); err == nil || !strings.Contains(err.Error(), "subnet-b in us-east-2 was not described") || strings.Contains(err.Error(), "subnet-a") {
		t.Errorf("got %v", err)
	}
	if f.has["subnet-a"] != "acl-deny" {
		t.Fatalf("the other one is not cut off: %v", f.has)
	}
	stillEnds(t, a, false, "1 of 2 subnets in us-east-2 have acl-deny; subnet subnet-b in us-east-2 was not described")
	if now := inspect(t, a, Partial, ""); a.(Untouchable).Untouched(before.Previous) || a.(Restorer).Restored(now, before.Previous) {
		t.Error("a subnet that was not seen counts as open, or one that is cut off as given back")
	}
	f.gone, f.has["subnet-b"] = "", "acl-deny"
	inspect(t, waits, Unknown, "it counts in 1h0m0s") // both, from now on
	inspect(t, a, Present, "2 of 2 subnets in us-east-2 are cut off by acl-deny")
	err := a.Undo(t.Context(), attempt(8, before))
	if err == nil || !strings.Contains(err.Error(), "subnet subnet-b in us-east-2 has acl-deny, and which network ACL it had is not in the log") || f.has["subnet-a"] != "acl-a" {
		t.Errorf("%v, now %v", err, f.has)
	}
	if now := inspect(t, a, Partial, "1 of 2"); a.(Restorer).Restored(now, before.Previous) || a.(Witness).Overtaken(now, before.Previous) != "" {
		t.Error("what was cut off later counts as given back, or as somebody else's")
	}
	f.has["subnet-b"] = "acl-c" // by hand
	if now := inspect(t, a, Absent, "0 of 2"); !a.(Restorer).Restored(now, before.Previous) || a.(Witness).Overtaken(now, before.Previous) != "" {
		t.Error("what a person has given it keeps the undo from its end")
	}
}

// What an earlier failover has left is taken away in the region that is entered; what somebody else has given a subnet is
// not touched, and whether the fence is one does not matter.
func TestNACLOpening(t *testing.T) {
	f := newACLs()
	f.has, f.allows, f.block = map[string]string{"subnet-a": "acl-deny", "subnet-b": "acl-b"}, true, "10.0.7.0/24"
	c := &NACLConfig{Subnets: fenced(), ACL: map[failover.Region]string{"us-east-2": "acl-deny"}, Open: map[failover.Region]string{"us-east-2": "acl-a"}}
	a, err := c.Opening("us-east-2").New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	if c.Opens {
		t.Error("the stop opens")
	}
	before := inspect(t, a, Partial, "1 of 2 subnets in us-east-2 are not cut off; acl-deny still denies everything to subnet-a")
	if before.Inventory != 0 {
		t.Errorf("an inventory of %d: a subnet that is configured no more would keep the others cut off", before.Inventory)
	}
	if err := a.Do(t.Context(), attempt(1, before)); err != nil {
		t.Fatal(err)
	}
	inspect(t, a, Present, "2 of 2")
	if f.has["subnet-a"] != "acl-a" || f.has["subnet-b"] != "acl-b" || len(f.calls) != 1 {
		t.Errorf("%v, %v", f.has, f.calls)
	}
	if err := a.Do(t.Context(), attempt(2, before)); err != nil || len(f.calls) != 1 {
		t.Errorf("again: %v, %v", err, f.calls)
	}
	if err := a.Undo(t.Context(), attempt(3, before)); err != nil || f.has["subnet-a"] != "acl-deny" || f.has["subnet-b"] != "acl-b" {
		t.Errorf("undone: %v, %v", err, f.has)
	}
	if now := inspect(t, a, Partial, ""); !a.(Restorer).Restored(now, before.Previous) || a.(Witness).Overtaken(now, before.Previous) != "" {
		t.Error("undone, and it does not count as that")
	}
	f.has["subnet-a"] = "acl-c" // by hand, meanwhile
	now := inspect(t, a, Present, "2 of 2")
	if err := a.Undo(t.Context(), attempt(4, before)); err != nil || f.has["subnet-a"] != "acl-c" {
		t.Errorf("what a person has given it is taken away: %v, %v", err, f.has)
	}
	if a.(Restorer).Restored(now, before.Previous) || !strings.Contains(a.(Witness).Overtaken(now, before.Previous), "subnet subnet-a was cut off and has acl-c now") {
		t.Error("what a person has given it counts as undone")
	}
	// All are cut off, and AWS refuses one: the other is opened.
	f.has, f.refuse["subnet-a"] = map[string]string{"subnet-a": "acl-deny", "subnet-b": "acl-deny"}, "Server.Internal"
	all := inspect(t, a, Absent, "0 of 2")
	if a.(Untouchable).Untouched(all.Previous) || !a.(Untouchable).Untouched(now.Previous) {
		t.Error("it does not know whether there was anything to do")
	}
	if err := a.Do(t.Context(), attempt(5, all)); err == nil || f.has["subnet-b"] != "acl-a" {
		t.Errorf("one is refused: %v, %v", err, f.has)
	}
	// One that does not exist is told of, and keeps nothing waiting but when there is none at all.
	delete(f.refuse, "subnet-a")
	delete(f.has, "subnet-b")
	if e := inspect(t, a, Partial, "subnet-b show no network ACL"); e.Lacks == "" {
		t.Error("readiness is not told")
	}
	if err := a.Do(t.Context(), attempt(6, all)); err != nil || f.has["subnet-a"] != "acl-a" {
		t.Errorf("one is missing: %v, %v", err, f.has)
	}
	if e := inspect(t, a, Present, "1 of 2"); e.Lacks == "" {
		t.Error("readiness is not told any more")
	}
	delete(f.has, "subnet-a")
	inspect(t, a, Unknown, "0 of 2")
}

func TestNACLConfig(t *testing.T) {
	good := func() *NACLConfig {
		return &NACLConfig{Subnets: fenced(), ACL: map[failover.Region]string{"us-east-2": "acl-1"}, Open: map[failover.Region]string{"us-east-2": "acl-2"}}
	}
	for want, c := range map[string]func(c *NACLConfig){
		"subnets: is missing":           func(c *NACLConfig) { c.Subnets = nil },
		"subnets: has none in us-ea":    func(c *NACLConfig) { c.Subnets["us-east-1"] = nil },
		`acl: "" of us-east-1 is`:       func(c *NACLConfig) { c.Subnets["us-east-1"] = map[string]string{"subnet-c": "10.0.0.0/24"} },
		`subnet-a = "10.0.8.0" of us`:   func(c *NACLConfig) { c.Subnets["us-east-2"]["subnet-a"] = "10.0.8.0" },
		`subnet-a = "fd00::/64" of us`:  func(c *NACLConfig) { c.Subnets["us-east-2"]["subnet-a"] = "fd00::/64" },
		"vpc-1 = \"10.0.0.0/24\" of us": func(c *NACLConfig) { c.Subnets["us-east-2"]["vpc-1"] = "10.0.0.0/24" },
		`open: "" of us-east-2 is`:      func(c *NACLConfig) { c.Open = nil },
		"open: acl-1 of us-east-2 is":   func(c *NACLConfig) { c.Open["us-east-2"] = "acl-1" },
		"settle: -1ns is negative":      func(c *NACLConfig) { c.Settle = -1 },
	} {
		bad := good()
		c(bad)
		if err := bad.Validate(RoleStop); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for _, role := range []Role{RoleStart, RoleSwitch} {
		if err := good().Validate(role); err == nil {
			t.Errorf("it may be a %s", role)
		}
	}
	if got := good().Cuts("us-east-2", netip.MustParseAddr("::ffff:10.0.9.7")); got != "subnet-b" {
		t.Errorf("by its IPv4-mapped address it cuts off %q", got)
	}
	if got := good().Cuts("us-east-2", netip.MustParseAddr("10.0.9.7")) + good().Cuts("us-east-1", netip.MustParseAddr("10.0.9.7")) + good().Cuts("us-east-2", netip.MustParseAddr("10.0.7.7")); got != "subnet-b" {
		t.Errorf("it cuts off %q", got)
	}
	old := good()
	if old.Open = nil; old.Validate("") != nil {
		t.Error("the log of a version without it cannot be read")
	}
	if _, err := old.Opening("us-east-2").New(testDeps(t, newACLs())); err == nil {
		t.Error("it opens with nothing")
	}
	if good().Opening("us-east-1") != nil {
		t.Error("it opens where it cuts nothing")
	}
	opening, ok := good().Opening("us-east-2").(*NACLConfig)
	if !ok {
		t.Fatal("another kind")
	}
	if do, see := opening.byHand("us-east-2", nil); !strings.Contains(strings.Join(do, "\n"), "--network-acl-id acl-2 ") || see != "none of the subnets has acl-1" {
		t.Errorf("opened by hand:\n%s\n%s", strings.Join(do, "\n"), see)
	}
	do, see := good().byHand("us-east-2", nil)
	if text := strings.Join(do, "\n"); strings.Count(text, "replace-network-acl-association --region us-east-2 --association-id ASSOCIATION --network-acl-id acl-1 ") != 2 || !strings.Contains(text, "Name=association.subnet-id,Values=subnet-b ") || !strings.Contains(see, "acl-1") {
		t.Errorf("by hand:\n%s\n%s", text, see)
	}
	if good().Evidence() != failover.Resource {
		t.Error("it does not fence at the resource")
	}
	d := testDeps(t, newACLs())
	d.Region = "us-east-1"
	if _, err := good().New(d); err == nil {
		t.Error("a region without subnets is accepted")
	}
	d.Cloud = nil
	if _, err := good().New(d); err == nil {
		t.Error("without clients it is made")
	}
}
