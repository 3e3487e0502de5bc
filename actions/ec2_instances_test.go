package actions

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/failoverd/failoverd/failover"
)

// fakeEC2 is the instances i-1, i-2, … of one region, all with the tag role=queue.
type fakeEC2 struct {
	mu        sync.Mutex
	states    []string
	checks    []string          // of each; "": ok
	reasons   []string          // state reason code of each
	quick     bool              // nothing takes time
	group     string            // Auto Scaling group of the last one
	refuse    map[string]string // instance → error code of StartInstances and StopInstances
	calls     []string
	selectors []string // what was asked for in DescribeInstances
}

func newEC2(states ...string) *fakeEC2 {
	return &fakeEC2{states: states, checks: make([]string, len(states)), reasons: make([]string, len(states)), refuse: map[string]string{}}
}

// settle lets what passes end.
func (f *fakeEC2) settle() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i, s := range f.states {
		f.states[i] = map[string]string{"pending": "running", "stopping": "stopped"}[s]
		if f.states[i] == "" {
			f.states[i] = s
		}
	}
}

func (f *fakeEC2) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = r.ParseForm()
	op := r.Form.Get("Action")
	var ids []string
	for i := 1; r.Form.Get(fmt.Sprintf("InstanceId.%d", i)) != ""; i++ {
		ids = append(ids, r.Form.Get(fmt.Sprintf("InstanceId.%d", i)))
	}
	body := ""
	switch op {
	case "DescribeInstances":
		f.selectors = append(f.selectors, strings.Join(ids, " ")+r.Form.Get("Filter.1.Name")+"="+r.Form.Get("Filter.1.Value.1"))
		for n, s := range f.states {
			id := fmt.Sprintf("i-%d", n+1)
			if len(ids) > 0 && !slices.Contains(ids, id) || len(ids) == 0 && r.Form.Get("Filter.1.Value.1") != "queue" {
				continue
			}
			tags := "<item><key>role</key><value>queue</value></item>"
			if f.group != "" && n == len(f.states)-1 {
				tags += "<item><key>aws:autoscaling:groupName</key><value>" + f.group + "</value></item>"
			}
			body += fmt.Sprintf("<item><instancesSet><item><instanceId>%s</instanceId><instanceState><name>%s</name></instanceState><stateReason><code>%s</code><message>why</message></stateReason><tagSet>%s</tagSet></item></instancesSet></item>", id, s, f.reasons[n], tags)
		}
		body = "<reservationSet>" + body + "</reservationSet>"
	case "DescribeInstanceStatus":
		for _, id := range ids {
			check := f.checks[id[2]-'1']
			if check == "none" { // the first ones take minutes
				continue
			}
			if check == "" {
				check = "ok"
			}
			body += fmt.Sprintf("<item><instanceId>%s</instanceId><systemStatus><status>ok</status></systemStatus><instanceStatus><status>%s</status></instanceStatus></item>", id, check)
		}
		body = "<instanceStatusSet>" + body + "</instanceStatusSet>"
	case "StartInstances", "StopInstances":
		f.calls = append(f.calls, op+" "+strings.Join(ids, " "))
		for _, id := range ids {
			if code := f.refuse[id]; code != "" { // the request as a whole
				w.WriteHeader(http.StatusBadRequest)
				_, _ = fmt.Fprintf(w, "<Response><Errors><Error><Code>%s</Code><Message>no</Message></Error></Errors></Response>", code)
				return
			}
		}
		for _, id := range ids {
			next := map[string]string{"StartInstances": "pending", "StopInstances": "stopping"}
			if f.quick {
				next = map[string]string{"StartInstances": "running", "StopInstances": "stopped"}
			}
			f.states[id[2]-'1'] = next[op]
		}
	}
	_, _ = fmt.Fprintf(w, "<%[1]sResponse>%[2]s</%[1]sResponse>", op, body)
}

func queueServers(t *testing.T, f *fakeEC2, c EC2InstancesConfig) Action {
	t.Helper()
	if c.IDs == nil {
		c.Tags = map[string]string{"role": "queue"}
	}
	a, err := c.New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestEC2InstancesStop(t *testing.T) {
	f := newEC2("running", "stopped", "pending", "terminated")
	a := queueServers(t, f, EC2InstancesConfig{})
	before := inspect(t, a, Absent, "instances role=queue in us-east-2: 1 pending, 1 running, 1 stopped: i-1 is running, i-3 is pending")
	if before.Inventory != 3 {
		t.Errorf("an inventory of %d: the shrink guard counts what is there, without what was terminated", before.Inventory)
	}
	do(t, a.Do, 7, before.Previous)
	if !slices.Equal(f.calls, []string{"StopInstances i-1 i-3"}) {
		t.Errorf("calls %v", f.calls)
	}
	// Stopping is not stopped.
	stillEnds(t, a, true, "i-1 is stopping, i-3 is stopping")
	do(t, a.Do, 8, before.Previous)
	if len(f.calls) != 1 {
		t.Errorf("what is stopping was stopped again: %v", f.calls)
	}
	f.settle()
	inspect(t, a, Present, "3 stopped")
	// Undo starts those that ran, and no other.
	do(t, a.Undo, 9, before.Previous)
	if f.calls[1] != "StartInstances i-1 i-3" {
		t.Errorf("calls %v", f.calls)
	}
	again := func() bool {
		e, err := a.Inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return a.(Restorer).Restored(e, before.Previous)
	}
	if again() {
		t.Error("pending counts as restored")
	}
	if f.settle(); !again() {
		t.Errorf("not restored: %v", f.states)
	}
	f.states[1] = "running"
	if again() {
		t.Error("one that did not run before runs, and it counts as restored")
	}
}

// What is stopped by hand in a group comes back as another instance.
func TestEC2InstancesRefuse(t *testing.T) {
	f := newEC2("running", "running")
	f.group = "queue-us-east-2"
	a := queueServers(t, f, EC2InstancesConfig{})
	_, err := a.Inspect(t.Context())
	if want := "i-2 in us-east-2 belongs to the Auto Scaling group queue-us-east-2, which would replace it: nothing is done; use asg"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("a member of a group gives %v", err)
	}
	if err := a.Do(t.Context(), Attempt{Token: 7}); err == nil || len(f.calls) > 0 {
		t.Errorf("a member of a group is stopped: %v, calls %v", err, f.calls)
	}
	// Nothing found proves nothing.
	nobody, err := (&EC2InstancesConfig{Tags: map[string]string{"role": "other"}}).New(testDeps(t, newEC2("running")))
	if err != nil {
		t.Fatal(err)
	}
	if e, err := nobody.Inspect(t.Context()); err == nil || e.State != Unknown || !strings.Contains(err.Error(), "no instance in us-east-2 is role=other") {
		t.Errorf("a selector that finds nothing gives %+v, %v", e, err)
	}
	if _, err := (&EC2InstancesConfig{IDs: map[failover.Region][]string{"us-east-1": {"i-1"}}}).New(testDeps(t, f)); err == nil || !strings.Contains(err.Error(), "has no instance of us-east-2") {
		t.Errorf("ids of another region give %v", err)
	}
	// Even one that got past Validate asks for nothing.
	empty, err := (&EC2InstancesConfig{Tags: map[string]string{}, IDs: map[failover.Region][]string{"us-east-2": {"i-1"}}}).New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	empty.(*ec2Instances).cfg = &EC2InstancesConfig{}
	if asked := len(f.selectors); empty.Do(t.Context(), Attempt{Token: 7}) == nil || len(f.selectors) != asked {
		t.Error("an empty selector asks for every instance")
	}
}

func TestEC2InstancesStart(t *testing.T) {
	f := newEC2("stopped", "stopped", "stopping", "stopped")
	a := queueServers(t, f, EC2InstancesConfig{Running: true, MinHealthy: 50})
	before := inspect(t, a, Absent, "0 run and pass their status checks of 2")
	// One lacks capacity and one has not stopped yet: the others start all the same.
	f.refuse["i-2"] = "InsufficientInstanceCapacity"
	err := a.Do(t.Context(), attempt(7, before))
	if err == nil || !strings.Contains(err.Error(), "starting i-2 in us-east-2: AWS lacks capacity") || !strings.Contains(err.Error(), "i-3 in us-east-2 is still stopping, and is tried again") {
		t.Errorf("it says %v", err)
	}
	if want := []string{"StartInstances i-1 i-2 i-4", "StartInstances i-1", "StartInstances i-2", "StartInstances i-4"}; !slices.Equal(f.calls, want) {
		t.Errorf("calls %v, want %v", f.calls, want)
	}
	// Running is not serving: the status checks decide.
	inspect(t, a, Partial, "0 run and pass")
	f.settle()
	f.checks[0], f.checks[3] = "none", "initializing"
	inspect(t, a, Partial, "i-1: status checks not known yet, i-2 is stopped, i-3 is stopped, i-4: status checks system ok, instance initializing")
	f.checks[0] = ""
	inspect(t, a, Partial, "1 run and pass their status checks of 2")
	f.checks[3] = ""
	inspect(t, a, Present, "2 run and pass their status checks of 2")
	// All of them: a quota is another thing than capacity, and throttling is neither.
	a = queueServers(t, f, EC2InstancesConfig{Running: true})
	for code, want := range map[string]string{
		"VcpuLimitExceeded": "a quota of this account is used up", "InstanceLimitExceeded": "a quota", "InsufficientInstanceCapacity": "AWS lacks capacity",
	} {
		f.refuse["i-2"] = code
		f.states[2] = "running"
		if err := a.Do(t.Context(), attempt(8, before)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s gives %v", code, err)
		}
	}
	for message, want := range map[string]lack{
		"InsufficientInstanceCapacity: Insufficient capacity.":                                                       lackOfCapacity,
		"We currently do not have sufficient m5.large capacity in the Availability Zone you requested (us-east-2a).": lackOfCapacity,
		"There is no Spot capacity available that matches your request.":                                             lackOfCapacity,
		"You are not authorized: insufficient permissions to launch":                                                 0,
		"InsufficientFreeAddressesInSubnet: The specified subnet does not have enough free addresses.":               0,
		"You have requested more vCPU capacity than your current vCPU limit of 32 allows":                            lackOfQuota,
	} {
		if got := lackOf(message); got != want {
			t.Errorf("%q is %d, want %d", message, got, want)
		}
	}
	if got := reason("RequestLimitExceeded: Request limit exceeded."); strings.Contains(got, "quota") || !strings.Contains(got, "throttles") {
		t.Errorf("throttling is explained as %q", got)
	}
	if refused(errors.New("no answer")) {
		t.Error("no answer is a refusal")
	}
	// It was accepted, and ended again for lack of capacity.
	f.reasons[1] = "Server.InsufficientInstanceCapacity"
	inspect(t, a, Absent, "i-2 is stopped, AWS lacks capacity")
	f.states[1] = "terminated"
	a = queueServers(t, f, EC2InstancesConfig{Running: true, IDs: map[failover.Region][]string{"us-east-2": {"i-1", "i-2"}}})
	if err := a.Do(t.Context(), attempt(9, before)); err == nil || !strings.Contains(err.Error(), "i-2 in us-east-2 is terminated: it has to be launched anew") {
		t.Errorf("a terminated instance gives %v", err)
	}
}

func TestEC2InstancesParameters(t *testing.T) {
	ids := map[failover.Region][]string{"us-east-1": {"i-1"}, "us-east-2": {"i-2"}}
	for _, tt := range []struct {
		c    EC2InstancesConfig
		role Role
		want string
	}{
		{EC2InstancesConfig{IDs: ids, Running: true, MinHealthy: 50}, RoleStart, ""},
		{EC2InstancesConfig{Tags: map[string]string{"role": "queue"}}, RoleStop, ""},
		{EC2InstancesConfig{}, RoleStop, "never means every instance"},
		{EC2InstancesConfig{Tags: map[string]string{}}, "", "never means every instance"},
		{EC2InstancesConfig{IDs: map[failover.Region][]string{"us-east-1": {}}}, RoleStop, "has no instance of us-east-1"},
		{EC2InstancesConfig{IDs: ids, Tags: map[string]string{"a": "b"}}, RoleStop, "beside ids"},
		{EC2InstancesConfig{IDs: map[failover.Region][]string{"us-east-1": {"i-1", "i-1"}}}, RoleStop, "listed twice"},
		{EC2InstancesConfig{IDs: map[failover.Region][]string{"us-east-1": {"queue"}}}, RoleStop, "no instance id"},
		{EC2InstancesConfig{Tags: map[string]string{"role": ""}}, RoleStop, "is empty or holds a wildcard"},
		{EC2InstancesConfig{Tags: map[string]string{"role": "*"}}, RoleStop, "wildcard"},
		{EC2InstancesConfig{IDs: ids, Running: true}, RoleStop, "stops nothing"},
		{EC2InstancesConfig{IDs: ids}, RoleStart, "starts nothing"},
		{EC2InstancesConfig{IDs: ids, MinHealthy: 50}, RoleStop, "has no meaning in a stop"},
		{EC2InstancesConfig{IDs: ids, Running: true, MinHealthy: 101}, RoleStart, "percent"},
		{EC2InstancesConfig{IDs: ids, Running: true}, RoleSwitch, "cannot move clients"},
	} {
		if err := tt.c.Validate(tt.role); (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v as %s: %v, want %q", tt.c, tt.role, err, tt.want)
		}
	}
}
