package actions

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// fakeASG is one group; a test moves its instances.
type fakeASG struct {
	mu                sync.Mutex
	name              string // "": queue
	full              bool   // AWS has no capacity for more than room
	room              int
	mute              bool // of its activities
	min, max, desired int
	suspended         []string
	instances         []fakeInstance
	warm              []string // lifecycle states; nil: no warm pool
	failure           string   // status message of the newest activity
	calls             []string
}

type fakeInstance struct {
	state, health string
	protected     bool
}

func (f *fakeASG) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = r.ParseForm()
	op := r.Form.Get("Action")
	list := func(name string) (out []string) {
		for i := 1; r.Form.Get(fmt.Sprintf("%s.member.%d", name, i)) != ""; i++ {
			out = append(out, r.Form.Get(fmt.Sprintf("%s.member.%d", name, i)))
		}
		return out
	}
	body := ""
	switch op {
	case "DescribeAutoScalingGroups":
		if name := cmp.Or(f.name, "queue"); list("AutoScalingGroupNames")[0] == name {
			body = fmt.Sprintf("<AutoScalingGroups><member><AutoScalingGroupName>%s</AutoScalingGroupName><MinSize>%d</MinSize><MaxSize>%d</MaxSize><DesiredCapacity>%d</DesiredCapacity><Instances>", name, f.min, f.max, f.desired)
			for n, i := range f.instances {
				body += fmt.Sprintf("<member><InstanceId>i-%d</InstanceId><LifecycleState>%s</LifecycleState><HealthStatus>%s</HealthStatus><ProtectedFromScaleIn>%t</ProtectedFromScaleIn></member>", n+1, i.state, i.health, i.protected)
			}
			body += "</Instances><SuspendedProcesses>"
			for _, p := range f.suspended {
				body += "<member><ProcessName>" + p + "</ProcessName></member>"
			}
			body += "</SuspendedProcesses>"
			if f.warm != nil {
				body += "<WarmPoolConfiguration><PoolState>Stopped</PoolState></WarmPoolConfiguration>"
			}
			body += "</member></AutoScalingGroups>"
		}
	case "DescribeWarmPool":
		const page = 50
		from, _ := strconv.Atoi(r.Form.Get("NextToken")) // "" is the first
		for n := from; n < min(from+page, len(f.warm)); n++ {
			s := f.warm[n]
			body += fmt.Sprintf("<member><InstanceId>i-warm%d</InstanceId><LifecycleState>%s</LifecycleState><HealthStatus>Healthy</HealthStatus></member>", n+1, s)
		}
		body = "<Instances>" + body + "</Instances>"
		if from+page < len(f.warm) {
			body += fmt.Sprintf("<NextToken>%d</NextToken>", from+page)
		}
	case "DescribeScalingActivities":
		if f.mute {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if f.failure != "" {
			body = fmt.Sprintf("<Activities><member><ActivityId>a</ActivityId><StartTime>%s</StartTime><StatusCode>Failed</StatusCode><StatusMessage>%s</StatusMessage></member></Activities>", time.Now().UTC().Format(time.RFC3339), f.failure)
		}
	case "SuspendProcesses":
		f.suspended = append(f.suspended, list("ScalingProcesses")...)
		slices.Sort(f.suspended)
		f.suspended = slices.Compact(f.suspended)
	case "ResumeProcesses":
		f.suspended = slices.DeleteFunc(f.suspended, func(p string) bool { return slices.Contains(list("ScalingProcesses"), p) })
	case "SetInstanceProtection":
		for _, id := range list("InstanceIds") {
			var n int
			if _, err := fmt.Sscanf(id, "i-%d", &n); err != nil || n > len(f.instances) || f.instances[n-1].state != "InService" {
				w.WriteHeader(http.StatusBadRequest)
				_, _ = fmt.Fprintf(w, "<ErrorResponse><Error><Code>ValidationError</Code><Message>The instance %s is not in InService or EnteringStandby or Standby.</Message></Error></ErrorResponse>", id)
				return
			}
			f.instances[n-1].protected = r.Form.Get("ProtectedFromScaleIn") == "true"
		}
	case "UpdateAutoScalingGroup":
		for key, into := range map[string]*int{"MinSize": &f.min, "MaxSize": &f.max, "DesiredCapacity": &f.desired} {
			if s := r.Form.Get(key); s != "" {
				_, _ = fmt.Sscan(s, into)
			}
		}
	}
	if !strings.HasPrefix(op, "Describe") {
		f.calls = append(f.calls, op)
	}
	_, _ = fmt.Fprintf(w, "<%[1]sResponse><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>", op, body)
}

func serving(n int) []fakeInstance {
	return slices.Repeat([]fakeInstance{{state: "InService", health: "Healthy"}}, n)
}

func TestASGStop(t *testing.T) {
	f := &fakeASG{min: 2, max: 4, desired: 3, instances: serving(3), suspended: []string{"AZRebalance"}, warm: []string{"Warmed:Stopped"}}
	f.instances[1].protected = true
	a, err := (&ASGConfig{Group: "queue"}).New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	before := inspect(t, a, Absent, "queue in us-east-2: min 2, desired 3, 3 instances")
	if before.Inventory != 3 {
		t.Errorf("an inventory of %d", before.Inventory)
	}
	do(t, a.Do, 7, before.Previous)
	// What launches again is suspended before anything is ended, and Terminate never is.
	if !slices.Equal(f.calls, []string{"SuspendProcesses", "SetInstanceProtection", "UpdateAutoScalingGroup"}) || slices.Contains(f.suspended, "Terminate") || !slices.Contains(f.suspended, "Launch") || f.min != 0 || f.desired != 0 || f.max != 4 {
		t.Errorf("calls %v, suspended %v, min %d, max %d, desired %d", f.calls, f.suspended, f.min, f.max, f.desired)
	}
	f.instances = []fakeInstance{{state: "Terminating:Wait", health: "Healthy"}, {state: "InService", health: "Healthy", protected: true}}
	stillEnds(t, a, false, "i-1 is Terminating:Wait, i-2 is InService, protected from scale-in")
	f.instances = f.instances[:1]
	stillEnds(t, a, true, "i-1 is Terminating:Wait")
	f.instances, f.warm = nil, []string{"Warmed:Stopped", "Warmed:Running"}
	inspect(t, a, Partial, "i-warm2 is Warmed:Running")
	// AWS shows 50 of a pool at a time.
	f.warm = append(slices.Repeat([]string{"Warmed:Stopped"}, 50), "Warmed:Running")
	inspect(t, a, Partial, "i-warm51 is Warmed:Running")
	f.warm = []string{"Warmed:Stopped", "Warmed:Stopped"}
	inspect(t, a, Present, "")
	do(t, a.Do, 8, inspect(t, a, Present, "").Previous)
	// An empty group that could launch by itself is not stopped.
	held := f.suspended
	f.suspended = []string{"AZRebalance"}
	stillEnds(t, a, false, "its process Launch is not suspended")
	f.suspended = held
	// Undo resumes what we suspended and nothing else.
	do(t, a.Undo, 9, before.Previous)
	if f.min != 2 || f.desired != 3 || !slices.Equal(f.suspended, []string{"AZRebalance"}) {
		t.Errorf("undone: min %d, desired %d, suspended %v", f.min, f.desired, f.suspended)
	}
	if now, err := a.Inspect(t.Context()); err != nil || !a.(Restorer).Restored(now, before.Previous) {
		t.Errorf("not restored: %+v, %v", now, err)
	}
	a, _ = (&ASGConfig{Group: "other"}).New(testDeps(t, f))
	if _, err := a.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "other does not exist in us-east-2") {
		t.Errorf("a group that is not there gives %v", err)
	}
}

func TestASGStart(t *testing.T) {
	f := &fakeASG{max: 2, suspended: []string{"Launch", "ScheduledActions"}}
	a, err := (&ASGConfig{Group: "queue", Count: 4, MinHealthy: 75}).New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	before := inspect(t, a, Absent, "desired 0, 0 instances, 0 in service and healthy of 3; the maximum size 2 of queue would not allow 4")
	if err := a.Do(t.Context(), Attempt{Token: 7, Previous: before.Previous}); err == nil || !strings.Contains(err.Error(), "the maximum size of queue in us-east-2 is 2, below the 4 that are wanted") || f.desired != 0 {
		t.Errorf("beyond the maximum: %v, desired %d", err, f.desired)
	}
	f.max = 6
	if before = inspect(t, a, Absent, ""); strings.Contains(before.Detail, "maximum") {
		t.Errorf("it says %s", before.Detail)
	}
	do(t, a.Do, 8, before.Previous)
	if f.min != 4 || f.desired != 4 || !slices.Equal(f.suspended, []string{"ScheduledActions"}) {
		t.Fatalf("min %d, desired %d, suspended %v", f.min, f.desired, f.suspended)
	}
	// Launched is not serving, and two of four are too few.
	f.instances = append(serving(2), fakeInstance{state: "Pending", health: "Healthy"}, fakeInstance{state: "InService", health: "Unhealthy"})
	f.failure = "We currently do not have sufficient m6i.large capacity in us-east-2a. (InsufficientInstanceCapacity)"
	inspect(t, a, Partial, "4 instances, 2 in service and healthy of 3; launches failed: AWS lacks capacity")
	f.failure = "You have requested more vCPU capacity than your current vCPU limit (VcpuLimitExceeded)"
	inspect(t, a, Partial, "launches failed: a quota of this account is used up")
	f.instances = serving(3)
	inspect(t, a, Present, "3 in service and healthy of 3")
	// An autoscaler went further: a repetition must not take capacity away.
	f.desired, f.instances = 6, serving(6)
	do(t, a.Do, 9, inspect(t, a, Present, "").Previous)
	if f.desired != 6 || f.min != 4 {
		t.Errorf("scaled to min %d, desired %d", f.min, f.desired)
	}
	do(t, a.Undo, 10, before.Previous)
	if f.desired != 0 || f.min != 0 || f.max != 6 || !slices.Equal(f.suspended, []string{"Launch", "ScheduledActions"}) {
		t.Errorf("undone: min %d, max %d, desired %d, suspended %v", f.min, f.max, f.desired, f.suspended)
	}
	raise, _ := (&ASGConfig{Group: "queue", Count: 9, RaiseMax: true}).New(testDeps(t, f))
	do(t, raise.Do, 11, inspect(t, raise, Absent, "").Previous)
	if f.max != 9 || f.desired != 9 {
		t.Errorf("max %d, desired %d", f.max, f.desired)
	}
}

func TestASGParameters(t *testing.T) {
	for _, tt := range []struct {
		c    ASGConfig
		role Role
		want string
	}{
		{ASGConfig{Group: "g", Count: 2}, RoleStart, ""},
		{ASGConfig{Group: "g"}, RoleStop, ""},
		{ASGConfig{Count: 2}, RoleStart, "group"},
		{ASGConfig{Group: "g"}, RoleStart, "starts nothing"},
		{ASGConfig{Group: "g", Count: 1}, RoleStop, "leaves instances running"},
		{ASGConfig{Group: "g", Count: -1}, RoleStart, "negative"},
		{ASGConfig{Group: "g", Count: 1, MinHealthy: 101}, RoleStart, "percent"},
		{ASGConfig{Group: "g", Count: 1}, RoleSwitch, "cannot move clients"},
	} {
		if err := tt.c.Validate(tt.role); (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v as %s: %v, want %q", tt.c, tt.role, err, tt.want)
		}
	}
	for percent, want := range map[int]int{0: 3, 100: 3, 50: 2, 34: 2, 33: 1, 1: 1} {
		if got := (&ASGConfig{Count: 3, MinHealthy: percent}).need(); got != want {
			t.Errorf("%d %% of 3 are %d, not %d", percent, got, want)
		}
	}
	var p asgPrevious
	if json.Unmarshal([]byte(`{"min":1}`), &p) != nil || p.Min != 1 {
		t.Error("previous values are not read")
	}
}

// What a stop has unprotected from scale-in is protected again, if it lived on: another
// undo than of the size, which AWS refuses for what is ending.
func TestASGStopUndoneProtectsAgain(t *testing.T) {
	f := &fakeASG{min: 2, max: 4, desired: 3, instances: serving(3)}
	f.instances[0].protected, f.instances[1].protected = true, true
	a, err := (&ASGConfig{Group: "queue"}).New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	before := inspect(t, a, Absent, "")
	do(t, a.Do, 7, before.Previous)
	if f.instances[0].protected || f.instances[1].protected {
		t.Error("protected, it does not end")
	}
	f.instances[0].state = "Terminating"
	do(t, a.Undo, 8, before.Previous)
	if f.instances[0].protected || !f.instances[1].protected || f.instances[2].protected || f.desired != 3 {
		t.Errorf("undone: %+v, desired %d", f.instances, f.desired)
	}
}
