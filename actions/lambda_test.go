package actions

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// fakeLambda has two mappings of one function.
type fakeLambda struct {
	mu      sync.Mutex
	states  map[string]string
	changed time.Time
	timeout int
	busy    string // refuses to be changed
	updates []string
}

func (f *fakeLambda) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case strings.HasSuffix(r.URL.Path, "/configuration"):
		_, _ = fmt.Fprintf(w, `{"Timeout":%d}`, f.timeout)
	case r.Method == http.MethodPut:
		uuid := r.URL.Path[strings.LastIndex(strings.TrimSuffix(r.URL.Path, "/"), "/")+1:]
		if uuid == f.busy {
			w.Header().Set("X-Amzn-Errortype", "ResourceInUseException")
			w.WriteHeader(http.StatusBadRequest)
			_, _ = io.WriteString(w, `{"Message":"it is being updated"}`)
			return
		}
		var in struct{ Enabled *bool }
		_ = json.NewDecoder(r.Body).Decode(&in)
		f.states[uuid] = map[bool]string{true: "Enabling", false: "Disabling"}[*in.Enabled]
		f.updates = append(f.updates, fmt.Sprintf("%s %t", uuid, *in.Enabled))
		_, _ = fmt.Fprintf(w, `{"UUID":%q,"State":%q}`, uuid, f.states[uuid])
	case r.URL.Query().Get("FunctionName") == "handler":
		var list []string
		for _, id := range []string{"a", "b"} {
			list = append(list, fmt.Sprintf(`{"UUID":%q,"State":%q,"LastModified":%d}`, id, f.states[id], f.changed.Unix()))
		}
		_, _ = fmt.Fprintf(w, `{"EventSourceMappings":[%s]}`, strings.Join(list, ","))
	default:
		_, _ = io.WriteString(w, `{"EventSourceMappings":[]}`)
	}
}

func (f *fakeLambda) become(state string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id := range f.states {
		f.states[id] = state
	}
	f.changed = time.Now()
}

func TestLambdaEventSource(t *testing.T) {
	f := &fakeLambda{states: map[string]string{"a": "Enabled", "b": "Disabled"}, timeout: 1, changed: time.Now()}
	a, err := (&LambdaEventSourceConfig{Functions: []string{"handler"}}).New(testDeps(t, f))
	if err != nil {
		t.Fatal(err)
	}
	before := inspect(t, a, Partial, "1 Disabled, 1 Enabled")
	if before.Inventory != 2 {
		t.Errorf("an inventory of %d", before.Inventory)
	}
	f.busy = "a"
	if err := a.Do(t.Context(), Attempt{Token: 1}); err == nil || !strings.Contains(err.Error(), "event source mapping a of handler in us-east-2: it is being changed, and is tried again") {
		t.Errorf("a mapping that is being changed gives %v", err)
	}
	f.busy = ""
	do(t, a.Do, 2, before.Previous)
	if got := strings.Join(f.updates, ", "); got != "a false" {
		t.Errorf("updated %s: what is off is left alone", got)
	}
	inspect(t, a, Partial, "1 Disabled, 1 Disabling")
	f.become("Disabled")
	// Disabled is not ended: what was running runs on to its time-out.
	inspect(t, a, Unknown, "invocations that had begun may run for another 1s, to their time-out of 1s")
	for end := time.Now().Add(10 * time.Second); ; <-time.After(20 * time.Millisecond) {
		if e, err := a.Inspect(t.Context()); err == nil && e.State == Present {
			break
		} else if time.Now().After(end) {
			t.Fatalf("%+v, %v", e, err)
		}
	}
	// Undo puts each one back as it was.
	do(t, a.Undo, 3, before.Previous)
	if got := strings.Join(f.updates, ", "); got != "a false, a true" {
		t.Errorf("updated %s", got)
	}
	on, _ := (&LambdaEventSourceConfig{Functions: []string{"handler"}, Enabled: true}).New(testDeps(t, f))
	do(t, on.Do, 4, inspect(t, on, Partial, "").Previous)
	inspect(t, on, Partial, "2 Enabling")
	f.become("Enabled")
	inspect(t, on, Present, "2 Enabled")
	none, _ := (&LambdaEventSourceConfig{Functions: []string{"other"}}).New(testDeps(t, f))
	if _, err := none.Inspect(t.Context()); err == nil || !strings.Contains(err.Error(), "function other in us-east-2 has no event source mapping") {
		t.Errorf("no mapping gives %v", err)
	}
	if err := none.Do(t.Context(), Attempt{}); err == nil {
		t.Error("nothing was found, and nothing was said")
	}
}

// An action is made anew for each look: right before the epoch advances, what was
// confirmed must be seen again, without waiting for the time-out a second time.
func TestLambdaIsSeenAgain(t *testing.T) {
	f := &fakeLambda{states: map[string]string{"a": "Disabled", "b": "Disabled"}, timeout: 1, changed: time.Now()}
	d := testDeps(t, f)
	d.Quiet = new(Quiet)
	see := func(enabled bool) Effect {
		t.Helper()
		a, err := (&LambdaEventSourceConfig{Functions: []string{"handler"}, Enabled: enabled}).New(d)
		if err != nil {
			t.Fatal(err)
		}
		e, err := a.Inspect(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return e
	}
	look := func() Effect { t.Helper(); return see(false) }
	wait := func() {
		t.Helper()
		for end := time.Now().Add(10 * time.Second); look().State != Present; <-time.After(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%+v", look())
			}
		}
	}
	if e := look(); e.State != Unknown {
		t.Fatalf("right after it was turned off: %+v", e)
	}
	wait()
	// The survey looks at the way back, which would turn them on.
	if e := see(true); e.State != Absent {
		t.Errorf("to be turned on: %+v", e)
	}
	if e := look(); e.State != Present {
		t.Errorf("nobody has touched it, and the wait began anew: %+v", e)
	}
	// On and off again between two looks: LastModified tells.
	f.mu.Lock()
	f.changed = f.changed.Add(2 * time.Second)
	f.mu.Unlock()
	if e := look(); e.State != Unknown {
		t.Errorf("it was on in between: %+v", e)
	}
	wait()
	// Seen on.
	f.become("Enabled")
	if e := look(); e.State != Absent {
		t.Errorf("%+v", e)
	}
	f.mu.Lock()
	before := f.changed
	f.mu.Unlock()
	f.become("Disabled")
	f.mu.Lock()
	f.changed = before
	f.mu.Unlock()
	if e := look(); e.State != Unknown {
		t.Errorf("it was seen on in between: %+v", e)
	}
}

// What nobody has looked at for a while counts no more, unless the resource itself
// tells that it was not touched.
func TestQuiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var q Quiet
		for _, step := range []struct{ wait, want time.Duration }{
			{0, 0}, {10 * time.Second, 10 * time.Second}, {lookGap, 10*time.Second + lookGap}, {lookGap + time.Second, 0}, {time.Second, time.Second},
		} {
			time.Sleep(step.wait)
			if got := q.off("x", ""); got != step.want {
				t.Errorf("after another %s: off for %s, want %s", step.wait, got, step.want)
			}
			q.off("y", "m")
		}
		time.Sleep(time.Hour)
		if got := q.off("y", "m"); got < time.Hour {
			t.Errorf("off for %s, although its mark says that nobody has touched it", got)
		}
	})
}

// Whoever looks for the first time – another leader, the keeper – waits anew, unless
// the mappings were turned off so long ago that no clock can be wrong about it.
func TestLambdaWaitsOnItsOwnClock(t *testing.T) {
	f := &fakeLambda{states: map[string]string{"a": "Disabled", "b": "Disabled"}, timeout: 60}
	d := testDeps(t, f)
	for since, want := range map[time.Duration]EffectState{0: Unknown, 2 * time.Minute: Unknown, 15 * time.Minute: Unknown, 17 * time.Minute: Present} {
		f.mu.Lock()
		f.changed = time.Now().Add(-since)
		f.mu.Unlock()
		a, err := (&LambdaEventSourceConfig{Functions: []string{"handler"}}).New(d)
		if err != nil {
			t.Fatal(err)
		}
		if e, err := a.Inspect(t.Context()); err != nil || e.State != want {
			t.Errorf("turned off %s ago: %s (%s, %v), want %s", since, e.State, e.Detail, err, want)
		}
	}
}

func TestLambdaParameters(t *testing.T) {
	for _, tt := range []struct {
		c    LambdaEventSourceConfig
		role Role
		want string
	}{
		{LambdaEventSourceConfig{Functions: []string{"f"}}, RoleStop, ""},
		{LambdaEventSourceConfig{Functions: []string{"f"}, Enabled: true}, RoleStart, ""},
		{LambdaEventSourceConfig{}, RoleStop, "never means all functions"},
		{LambdaEventSourceConfig{Functions: []string{"f", "f"}}, RoleStop, "listed twice"},
		{LambdaEventSourceConfig{Functions: []string{"f"}}, RoleStart, "starts nothing"},
		{LambdaEventSourceConfig{Functions: []string{"f"}, Enabled: true}, RoleStop, "stops nothing"},
		{LambdaEventSourceConfig{Functions: []string{"f"}}, RoleSwitch, "cannot move clients"},
	} {
		if err := tt.c.Validate(tt.role); (tt.want == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v as %s: %v, want %q", tt.c, tt.role, err, tt.want)
		}
	}
}
