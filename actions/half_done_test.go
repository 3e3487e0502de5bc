package actions

import (
	"strings"
	"testing"
)

// An autoscaler that could not be asked when a step began is not in the log. A later attempt that can ask it tells it to rest, or to work, all the
// same; then an undo of the count alone is no undo.
func TestECSAutoscalerThatWasNotAsked(t *testing.T) {
	for name, cfg := range map[string]*ECSServiceConfig{"stop": {Cluster: "prod", Service: "workers"}, "start": {Cluster: "prod", Service: "workers", Count: 3}} {
		t.Run(name, func(t *testing.T) {
			f := &fakeECS{tasks: map[string]string{}, target: &ecsScale{Min: 1, Max: 2, In: true}, scalerDown: true}
			if name == "stop" {
				f.desired, f.running = 2, 2
			}
			a, err := cfg.New(testDeps(t, f))
			if err != nil {
				t.Fatal(err)
			}
			first := inspect(t, a, Absent, "whether it has an autoscaler is not known")
			do(t, a.Do, 7, first.Previous)
			f.scalerDown = false
			f.settle()
			// It is tried again at once, and not after the step's time.
			second := inspect(t, a, Partial, "its autoscaler ")
			if second.Over == "" {
				t.Error("nobody would try again")
			}
			do(t, a.Do, 8, second.Previous)
			f.settle()
			inspect(t, a, Present, "")
			if err := a.Undo(t.Context(), attempt(9, first)); err == nil || !strings.Contains(err.Error(), "is not in the log, since it could not be asked") {
				t.Errorf("what it was like is not known, and the undo says %v", err)
			}
			f.settle()
			now, err := a.Inspect(t.Context())
			if err != nil || a.(Restorer).Restored(now, first.Previous) {
				t.Errorf("it counts as put back: %+v, %v", now, err)
			}
			if name == "stop" && !strings.Contains(now.Detail, "its autoscaler rests") {
				t.Errorf("a person is told %q", now.Detail)
			}
			f.target = &ecsScale{Min: 1, Max: 2, In: true} // somebody has set it
			if now, err = a.Inspect(t.Context()); err != nil || !a.(Restorer).Restored(now, first.Previous) {
				t.Errorf("it does not count as put back: %+v, %v", now, err)
			}
			do(t, a.Undo, 10, first.Previous) // nor is it missed any more
		})
	}
}

// An autoscaler that cannot be woken keeps no task from being asked for: they boot meanwhile, and it is tried again.
func TestECSStartsBesideItsAutoscaler(t *testing.T) {
	f := &fakeECS{tasks: map[string]string{}, target: &ecsScale{Min: 0, Max: 2, In: true, Out: true}}
	a, err := (&ECSServiceConfig{Cluster: "prod", Service: "workers", Count: 3}).New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	before := inspect(t, a, Absent, "desired 0")
	f.scalerDown = true
	if err := a.Do(t.Context(), attempt(7, before)); err == nil || f.desired != 3 {
		t.Errorf("%v, desired %d", err, f.desired)
	}
	f.scalerDown = false
	f.settle()
	now := inspect(t, a, Partial, "running 3")
	if now.Over == "" {
		t.Error("nobody would try again")
	}
	do(t, a.Do, 8, now.Previous)
	inspect(t, a, Present, "")
	if *f.target != (ecsScale{Min: 3, Max: 3}) {
		t.Errorf("target %s", f.target)
	}
	do(t, a.Undo, 9, before.Previous)
	if now := inspect(t, a, Absent, ""); !a.(Restorer).Restored(now, before.Previous) {
		t.Errorf("undone: desired %d, target %s", f.desired, f.target)
	}
}

// That instances are protected from scale-in again is looked at, and not taken from an answer: a group that shrinks would end them.
func TestASGProtectionThatIsNotBack(t *testing.T) {
	f := &fakeASG{min: 2, max: 4, desired: 3, instances: serving(3)}
	f.instances[1].protected = true
	m := &moody{fake: f, twin: &fakeASG{instances: serving(3)}}
	a, err := (&ASGConfig{Group: "queue"}).New(testDeps(t, m))
	if err != nil {
		t.Fatal(err)
	}
	before := inspect(t, a, Absent, "")
	do(t, a.Do, 7, before.Previous)
	m.feelsAt(claims, 1)
	do(t, a.Undo, 8, before.Previous)
	m.feels("")
	if now := inspect(t, a, Absent, "desired 3"); a.(Restorer).Restored(now, before.Previous) {
		t.Error("an instance that is protected no more counts as put back")
	}
	do(t, a.Undo, 9, before.Previous)
	if now := inspect(t, a, Absent, "desired 3"); !f.instances[1].protected || !a.(Restorer).Restored(now, before.Previous) {
		t.Errorf("not put back: %+v", f.instances)
	}
}

// What AWS has taken and not done is tried again at the next look, and not when the step's time is over.
func TestASGHalfDoneIsTriedAgain(t *testing.T) {
	for what, tt := range map[string]struct {
		fake *fakeASG
		cfg  ASGConfig
	}{
		"its process Launch is not suspended":                  {&fakeASG{max: 4}, ASGConfig{Group: "queue"}},
		"healthy of 2; suspended: AddToLoadBalancer":           {&fakeASG{min: 2, max: 4, desired: 2, instances: serving(2), suspended: []string{"AddToLoadBalancer"}}, ASGConfig{Group: "queue", Count: 2}},
		"in service and healthy; suspended: AddToLoadBalancer": {&fakeASG{min: 2, max: 4, desired: 2, instances: serving(2), suspended: []string{"AddToLoadBalancer"}}, ASGConfig{Group: "queue", Count: 2, Alternatives: []string{"queue-b"}}},
	} {
		a, err := tt.cfg.New(testDeps(t, tt.fake))
		if err != nil {
			t.Fatal(err)
		}
		e := inspect(t, a, Partial, what)
		if e.Over == "" {
			t.Errorf("%s: nobody would try again", what)
		}
		do(t, a.Do, 7, e.Previous)
		inspect(t, a, Present, "")
	}
}
