package actions

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// noCapacity is how AWS says that it has none.
const noCapacity = "We currently do not have sufficient m6i.large capacity in the Availability Zone you requested (us-east-2a). Launching EC2 instance failed. (InsufficientInstanceCapacity)"

// fakeASGs are groups beside each other.
type fakeASGs []*fakeASG

func (f fakeASGs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	form, _ := url.ParseQuery(string(body))
	name := cmp.Or(form.Get("AutoScalingGroupName"), form.Get("AutoScalingGroupNames.member.1"))
	to := f[0] // knows of no other
	for _, one := range f {
		if cmp.Or(one.name, "queue") == name {
			to = one
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	to.ServeHTTP(w, r)
}

// settle lets what was asked for take place in all of them.
func (f fakeASGs) settle() {
	for _, one := range f {
		one.settle()
	}
}

// sizes are what the groups were asked for.
func (f fakeASGs) sizes() (out []int) {
	for _, one := range f {
		one.mu.Lock()
		out = append(out, one.desired)
		one.mu.Unlock()
	}
	return out
}

const noQuota = "You have requested more vCPU capacity than your current vCPU limit of 32 allows (VcpuLimitExceeded)."

// pilots are three groups of which none is wanted yet; AWS has no capacity for the first.
func pilots() fakeASGs {
	return fakeASGs{{max: 4, full: true}, {name: "queue-b", max: 4, suspended: []string{"Launch"}}, {name: "queue-c", max: 4, suspended: []string{"AlarmNotification"}}}
}

func twoOfThree() *ASGConfig {
	return &ASGConfig{Group: "queue", Count: 2, Alternatives: []string{"queue-b", "queue-c"}}
}

// alternatives plays in a bubble, where a leader is an action that knows nothing of an earlier one.
func alternatives(t *testing.T, f fakeASGs, cfg *ASGConfig, play func(t *testing.T, leader func() Action)) {
	t.Helper()
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	synctest.Test(t, func(t *testing.T) {
		play(t, func() Action { return wired(t, cfg, &wire{fake: f}) })
	})
}

// goesOn does what a leader does for a while: it looks every second, and asks again when that is worth it.
func goesOn(t *testing.T, a Action, f fakeASGs, d time.Duration) (last Effect, asked int) {
	t.Helper()
	for end := time.Now().Add(d); ; time.Sleep(time.Second) {
		e, err := a.Inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if e.State == Present || !time.Now().Before(end) {
			return e, asked
		}
		if e.State == Absent || e.Over != "" {
			asked++
			do(t, a.Do, 7, e.Previous)
		}
		f.settle()
	}
}

func TestASGAlternatives(t *testing.T) {
	f := pilots()
	alternatives(t, f, twoOfThree(), func(t *testing.T, leader func() Action) {
		a := leader()
		before := inspect(t, a, Absent, "0 in service and healthy of 2 in us-east-2: queue desired 0, 0 instances, 0 in service and healthy, queue-b desired 0")
		if e, _ := goesOn(t, a, f, time.Minute); !slices.Equal(f.sizes(), []int{2, 0, 0}) || !strings.Contains(e.Detail, "launches of queue failed: AWS lacks capacity") || !strings.Contains(e.Detail, "the next alternative is asked when that has lasted for 1m0s") {
			t.Fatalf("before its patience is over it has asked for %v: %s", f.sizes(), e.Detail)
		}
		time.Sleep(2 * time.Second)
		e := inspect(t, a, Partial, "2 of 2 lack capacity for longer than 1m0s: asking queue-b for 2")
		do(t, a.Do, 8, e.Previous)
		f.settle()
		if b := f[1]; b.min != 2 || b.desired != 2 || len(b.suspended) > 0 || f[0].desired != 2 || f[2].desired != 0 {
			t.Errorf("asked for %v, at least %d, suspended %v", f.sizes(), b.min, b.suspended)
		}
		inspect(t, a, Present, "2 in service and healthy of 2")
		// What the first brings later is kept, and so is what an autoscaler has added to the other: a repetition takes nothing away.
		f[0].full = false
		f[1].desired = 3
		f.settle()
		do(t, a.Do, 9, inspect(t, a, Present, "5 in service and healthy of 2").Previous)
		do(t, a.Do, 10, inspect(t, leader(), Present, "").Previous)
		if !slices.Equal(f.sizes(), []int{2, 3, 0}) {
			t.Errorf("asked for %v", f.sizes())
		}
		do(t, a.Undo, 11, before.Previous)
		if !slices.Equal(f.sizes(), []int{0, 0, 0}) || f[1].min != 0 || !slices.Equal(f[1].suspended, []string{"Launch"}) || !slices.Equal(f[2].suspended, []string{"AlarmNotification"}) {
			t.Errorf("undone: %v, suspended %v and %v", f.sizes(), f[1].suspended, f[2].suspended)
		}
		if now := inspect(t, a, Absent, ""); !a.(Restorer).Restored(now, before.Previous) || a.(Witness).Overtaken(now, before.Previous) != "" {
			t.Errorf("not restored: %s", now.Previous)
		}
		f[1].suspended = nil
		if now := inspect(t, a, Absent, ""); a.(Restorer).Restored(now, before.Previous) {
			t.Error("an alternative that is not as it was counts as put back")
		}
	})
}

// However often leaders change, and whatever each of them does not know: nothing is asked for twice, by none that comes late either.
func TestASGAlternativesLostMemory(t *testing.T) {
	for name, brings := range map[string]bool{"what was asked for comes": true, "it is still on its way": false} {
		t.Run(name, func(t *testing.T) {
			f := pilots()
			f[0].room = 1
			alternatives(t, f, twoOfThree(), func(t *testing.T, leader func() Action) {
				a := leader()
				goesOn(t, a, f, 63*time.Second)
				if !slices.Equal(f.sizes(), []int{2, 1, 0}) {
					t.Fatalf("asked for %v, where one of two is missing", f.sizes())
				}
				e := inspect(t, leader(), Present, "2 in service")
				for range 4 {
					if !brings { // it has been asked for, and nothing of it is to be seen
						f[1].mu.Lock()
						f[1].instances = nil
						f[1].mu.Unlock()
					}
					late := a
					a = leader()
					for range 90 {
						now, err := a.Inspect(t.Context())
						if err != nil || !brings && now.State == Present {
							t.Fatalf("%+v, %v", now, err)
						}
						if now.Over != "" {
							t.Fatalf("it would ask again: %s", now.Detail)
						}
						time.Sleep(time.Second)
						e = now
					}
					do(t, a.Do, 8, e.Previous)
					do(t, late.Do, 9, e.Previous)
				}
				if !slices.Equal(f.sizes(), []int{2, 1, 0}) {
					t.Errorf("asked for %v", f.sizes())
				}
			})
		})
	}
}

// An alternative may lack capacity as well, or hold only a part.
func TestASGAlternativesInTurn(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(f fakeASGs)
		cfg    ASGConfig
		want   []int
		says   string
	}{
		"the next is short as well":  {func(f fakeASGs) { f[1].full = true }, ASGConfig{}, []int{2, 2, 2}, "2 in service and healthy of 2"},
		"a part of it comes":         {func(f fakeASGs) { f[1].full, f[1].room = true, 1 }, ASGConfig{}, []int{2, 2, 1}, "2 in service and healthy of 2"},
		"its maximum holds a part":   {func(f fakeASGs) { f[1].max = 1 }, ASGConfig{}, []int{2, 1, 1}, "2 in service and healthy of 2"},
		"its maximum may be raised":  {func(f fakeASGs) { f[1].max = 1 }, ASGConfig{RaiseMax: true}, []int{2, 2, 0}, "2 in service and healthy of 2"},
		"fewer are enough":           {func(f fakeASGs) { f[0].room = 1 }, ASGConfig{MinHealthy: 50}, []int{2, 0, 0}, "1 in service and healthy of 1"},
		"none has any":               {func(f fakeASGs) { f[1].full, f[2].full = true, true }, ASGConfig{}, []int{2, 2, 2}, "of 2 no group is left to be asked"},
		"it runs what is wanted":     {func(f fakeASGs) { f[1].desired, f[1].instances, f[1].suspended = 2, serving(2), nil }, ASGConfig{}, []int{0, 2, 0}, "2 in service and healthy of 2"},
		"it is not there":            {func(f fakeASGs) { f[1].name = "other" }, ASGConfig{}, []int{2, 0, 2}, "2 in service and healthy of 2"},
		"patience is longer":         {func(fakeASGs) {}, ASGConfig{Patience: failover.Duration(time.Hour)}, []int{2, 0, 0}, "when that has lasted for 1h0m0s"},
		"somebody has put it asleep": {func(f fakeASGs) { f[1].desired = 1 }, ASGConfig{}, []int{2, 2, 0}, "2 in service and healthy of 2"},
	} {
		t.Run(name, func(t *testing.T) {
			f, cfg := pilots(), twoOfThree()
			tt.change(f)
			cfg.MinHealthy, cfg.RaiseMax, cfg.Patience = tt.cfg.MinHealthy, tt.cfg.RaiseMax, tt.cfg.Patience
			alternatives(t, f, cfg, func(t *testing.T, leader func() Action) {
				a := leader()
				before, err := a.Inspect(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				if e, _ := goesOn(t, a, f, 5*time.Minute); !slices.Equal(f.sizes(), tt.want) || !strings.Contains(e.Detail, tt.says) {
					t.Errorf("asked for %v, want %v: %s", f.sizes(), tt.want, e.Detail)
				}
				do(t, a.Undo, 9, before.Previous)
				if now, err := a.Inspect(t.Context()); err != nil || !a.(Restorer).Restored(now, before.Previous) {
					t.Errorf("not put back: %s, %v; it was %s", now.Previous, err, before.Previous)
				}
			})
		})
	}
}

// Another group has the same quotas, and what is wrong with a template is for a person to see. What failed before anything was asked for
// says nothing of it.
func TestASGAlternativesAreForCapacityAlone(t *testing.T) {
	for name, failure := range map[string]string{
		"a quota":            noQuota,
		"a template":         "The image id '[ami-0]' does not exist. Launching EC2 instance failed.",
		"throttled":          "Request limit exceeded. Launching EC2 instance failed.",
		"nothing is told":    "",
		"it was before that": noCapacity,
	} {
		t.Run(name, func(t *testing.T) {
			f := pilots()
			alternatives(t, f, twoOfThree(), func(t *testing.T, leader func() Action) {
				a := leader()
				f[0].failure, f[0].desired = failure, 1 // it has been missed all along
				for range 120 {                         // a quiet day
					if e := inspect(t, a, Absent, ""); e.Over != "" {
						t.Fatal(e.Over)
					}
					time.Sleep(time.Second)
				}
				do(t, a.Do, 7, inspect(t, a, Absent, "").Previous)
				wait := 300
				if failure == noCapacity {
					wait = 30 // and then they come: AWS goes on telling of the old failures
				}
				for range wait {
					if e := inspect(t, a, Partial, "0 in service"); e.Over != "" {
						t.Fatalf("it asks another group: %s", e.Detail)
					}
					time.Sleep(time.Second)
				}
				f[0].instances = serving(2)
				inspect(t, a, Present, "2 in service")
			})
		})
	}
	t.Run("not known", func(t *testing.T) {
		f := pilots()
		alternatives(t, f, twoOfThree(), func(t *testing.T, leader func() Action) {
			a := leader()
			goesOn(t, a, f, 30*time.Second)
			f[0].mute = true
			if e, asked := goesOn(t, a, f, 5*time.Minute); asked > 0 || !strings.Contains(e.Detail, "its scaling activities cannot be read") {
				t.Errorf("asked %d times: %s", asked, e.Detail)
			}
			f[0].mute = false
			if _, asked := goesOn(t, a, f, 10*time.Second); asked != 1 { // nothing has told that it was otherwise
				t.Errorf("asked %d times", asked)
			}
		})
	})
	for _, tt := range []struct {
		said []string
		want bool
	}{
		{[]string{noQuota, noCapacity}, false},
		{[]string{noCapacity, noQuota}, true},
		{[]string{"Unsupported in us-east-2b", noCapacity}, true}, // zones take turns
		{nil, false},
	} {
		if got := metElsewhere(tt.said); got != tt.want {
			t.Errorf("%q: %t", tt.said, got)
		}
	}
}

// While all is well, readiness tells of each group that could not take what it may be asked for.
func TestASGAlternativesAreReady(t *testing.T) {
	look := func(t *testing.T, cfg *ASGConfig, f fakeASGs) Effect {
		a, err := cfg.New(testDeps(t, f))
		if err != nil {
			t.Fatal(err)
		}
		return inspect(t, a, Absent, "0 in service")
	}
	f, cfg := pilots(), twoOfThree()
	if e := look(t, cfg, f); e.Lacks != "" {
		t.Errorf("it lacks %s", e.Lacks)
	}
	f[1].max, f[2].name = 1, "other"
	if e := look(t, cfg, f); e.Lacks != "the maximum size 1 of queue-b would not allow 2: raise it, or set raise_max = true; the alternative queue-c does not exist in us-east-2: create it, or check the name" || !strings.HasSuffix(e.Detail, e.Lacks) {
		t.Errorf("it lacks %q", e.Lacks)
	}
	cfg.RaiseMax = true
	if e := look(t, cfg, f); strings.Contains(e.Lacks, "queue-b") {
		t.Errorf("it lacks %s", e.Lacks)
	}
	f[0].name = "gone"
	a, _ := cfg.New(testDeps(t, f))
	if _, err := a.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "group queue does not exist in us-east-2: check the name") {
		t.Errorf("the first is not there: %v", err)
	}
	// A single group is told of as well.
	one, _ := (&ASGConfig{Group: "queue", Count: 9}).New(testDeps(t, &fakeASG{max: 4}))
	if e := inspect(t, one, Absent, ""); e.Lacks == "" {
		t.Error("a start that would be refused lacks nothing")
	}
}

// A stop is proven when each group is empty and stays so; one that cannot be found is not empty.
func TestASGAlternativesStop(t *testing.T) {
	f := fakeASGs{{min: 2, max: 4, desired: 2, instances: serving(2)}, {name: "queue-b", max: 4, desired: 1, instances: serving(1)}}
	f[1].instances[0].protected = true
	cfg := &ASGConfig{Group: "queue", Alternatives: []string{"queue-b"}}
	a, err := cfg.New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	before := inspect(t, a, Absent, "queue-b in us-east-2: min 0, desired 1, 1 instances")
	if before.Inventory != 3 || !a.(Untouchable).Untouched(before.Previous) {
		t.Errorf("an inventory of %d, and untouched: %t", before.Inventory, a.(Untouchable).Untouched(before.Previous))
	}
	do(t, f.stop(t, "queue").Do, 7, nil) // only half of it
	half := inspect(t, a, Absent, "")
	if a.(Untouchable).Untouched(half.Previous) {
		t.Error("half a stop counts as none")
	}
	do(t, a.Do, 8, nil) // blind
	stillEnds(t, a, true, "queue-b in us-east-2: min 0, desired 0, 1 instances: i-1 is InService")
	f[1].settle()
	stillEnds(t, a, true, "queue in us-east-2: min 0, desired 0, 2 instances")
	f[0].instances[0].protected = true
	stillEnds(t, a, false, "protected from scale-in")
	f[0].instances[0].protected = false
	f[0].settle()
	inspect(t, a, Present, "")
	f[1].suspended = nil
	if e := inspect(t, a, Partial, "queue-b in us-east-2: min 0, desired 0, 0 instances, but its process Launch is not suspended"); e.Over == "" {
		t.Error("nobody would try again")
	}
	do(t, a.Undo, 9, before.Previous)
	f.settle()
	do(t, a.Undo, 9, before.Previous) // the fake gives its IDs again
	if now := inspect(t, a, Absent, ""); !a.(Restorer).Restored(now, before.Previous) || !slices.Equal(f.sizes(), []int{2, 1}) {
		t.Errorf("not put back: %v", f.sizes())
	}
	// A group that refuses keeps nothing from the others.
	m := &moody{fake: f}
	if a, err = cfg.New(testDeps(t, m)); err != nil {
		t.Fatal(err)
	}
	m.feelsAt(refuses, 1)
	if err := a.Do(t.Context(), attempt(10, before)); err == nil || !slices.Equal(f.sizes(), []int{2, 0}) {
		t.Errorf("%v, and %v are wanted", err, f.sizes())
	}
	f[1].name = "other"
	if _, err := a.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "queue-b does not exist") {
		t.Errorf("a group that is not there is taken for empty: %v", err)
	}
}

// stop is the stop of one of the groups alone.
func (f fakeASGs) stop(t *testing.T, group string) Action {
	t.Helper()
	a, err := (&ASGConfig{Group: group}).New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestASGAlternativesParameters(t *testing.T) {
	for _, tt := range []struct {
		c    ASGConfig
		want string
	}{
		{ASGConfig{Alternatives: []string{"b", "c"}, Patience: 1}, ""},
		{ASGConfig{Alternatives: []string{""}}, "alternatives: one of them has no name"},
		{ASGConfig{Alternatives: []string{"g"}}, "listed twice, or is the group itself"},
		{ASGConfig{Alternatives: []string{"b", "b"}}, "listed twice"},
		{ASGConfig{Alternatives: []string{"b"}, Patience: -1}, "patience: -1ns is negative"},
		{ASGConfig{Patience: 1}, "patience: is for alternatives"},
	} {
		tt.c.Group, tt.c.Count = "g", 2
		if err := tt.c.Validate(RoleStart); (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want %q", tt.c, err, tt.want)
		}
	}
	c := twoOfThree()
	if c.Timeout() != 12*time.Minute {
		t.Errorf("a time of %s", c.Timeout())
	}
	for _, p := range c.Permissions("us-east-2") {
		if got, _ := json.Marshal(p.Resources); p.Acts && string(got) != `["arn:aws:autoscaling:us-east-2:*:autoScalingGroup:*:autoScalingGroupName/queue","arn:aws:autoscaling:us-east-2:*:autoScalingGroup:*:autoScalingGroupName/queue-b","arn:aws:autoscaling:us-east-2:*:autoScalingGroup:*:autoScalingGroupName/queue-c"]` {
			t.Errorf("it may change %s", got)
		}
	}
}

// An alternative that has fewer than before was made smaller by somebody else; more it may have been asked for.
func TestASGAlternativesOvertaken(t *testing.T) {
	previous := func(first, other string) json.RawMessage {
		return json.RawMessage(`{"groups":[` + first + `,` + other + `]}`)
	}
	for _, tt := range []struct {
		count        int
		first, other string // now
		want         string
	}{
		{2, `{"desired":1}`, `{"desired":4}`, ""},
		{2, `{"desired":2}`, `{"desired":5}`, ""},
		{2, `{"desired":2}`, `{"desired":1}`, "queue-b: the count was 3 before"},
		{2, `{"desired":0}`, `{"desired":3}`, "queue: the count was 1 before"},
		{2, `{"desired":1}`, `null`, ""},
		{0, `{"desired":0}`, `{"desired":3}`, ""},
		{0, `{"desired":0}`, `{"desired":1}`, "queue-b: the count was 3 before, was set to 0, and is 1 now"},
	} {
		g := (&ASGConfig{Group: "queue", Count: tt.count, Alternatives: []string{"queue-b"}}).withAlternatives(testDeps(t, fakeASGs{}))
		was, now := previous(`{"desired":1}`, `{"desired":3}`), Effect{State: Partial, Previous: previous(tt.first, tt.other)}
		if got := g.Overtaken(now, was); !strings.HasPrefix(got, tt.want) || (got == "") != (tt.want == "") {
			t.Errorf("%+v: %q", tt, got)
		}
		if g.Restored(now, was) {
			t.Errorf("%+v counts as put back", tt)
		}
		// One that was not there when the step began must not run anything that nobody takes back.
		was, now.Previous = previous(`{"desired":1}`, `null`), previous(`{"desired":1}`, `{"desired":3}`)
		if g.Restored(now, was) {
			t.Error("what has appeared since, and runs, counts as put back")
		}
		if now.Previous = previous(`{"desired":1}`, `{"desired":0}`); !g.Restored(now, was) {
			t.Error("what has appeared since, and runs nothing, stands in the way of an undo")
		}
	}
}
