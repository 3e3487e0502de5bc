package actions

import (
	"maps"
	"strings"
	"testing"
	"time"
)

// A batch that Route 53 accepts and forgets is said to be lost, so that it is sent again at once; one that was made, and that
// somebody has changed since, is not.
func TestALostChange(t *testing.T) {
	z := zone()
	w := weights(t, z)
	before := inspect(t, w, Absent, "")
	z.set(func() { z.strand = true })
	do(t, w.Do, 41, before.Previous)
	if e := inspect(t, w, Absent, "api.example.net A us-east-1 has 255, not 0"); e.Over != "" || e.Token != 0 {
		t.Errorf("right after it was accepted: %q, token %d", e.Over, e.Token)
	}
	w.accepted = w.accepted.Add(-lostAfter)
	if e := inspect(t, w, Absent, ""); !strings.Contains(e.Over, "Route 53 accepted change C1 30s ago, and nothing of it stands in zone Z1, not its token either: it was lost") {
		t.Errorf("%q", e.Over)
	}
	// One name was right before: what was lost is told all the same.
	half := z.records
	z.set(func() {
		z.records = maps.Clone(z.records)
		for id, to := range map[string]int{"us-east-1": 0, "us-east-2": 255} {
			r := z.records["api.example.net. A "+id]
			r.Weight = weight(to)
			z.records["api.example.net. A "+id] = r
		}
	})
	if e := inspect(t, w, Partial, ""); !strings.Contains(e.Over, "it was lost") {
		t.Errorf("half of it was right: %q", e.Over)
	}
	z.set(func() { z.records = half })
	do(t, w.Do, 42, before.Previous)
	if e := inspect(t, w, Present, ""); e.Over != "" || e.Token != 42 {
		t.Errorf("sent again: %q, token %d", e.Over, e.Token)
	}
	// A person puts the weights back.
	z.answer("us-east-1")
	z.set(func() {
		for _, id := range []string{"us-east-1", "us-east-2"} {
			key := "ws.example.net. A ws " + id
			r := z.records[key]
			r.Weight = z.records["api.example.net. A "+id].Weight
			z.records[key] = r
		}
	})
	w.accepted = w.accepted.Add(-lostAfter)
	if e := inspect(t, w, Absent, ""); e.Over != "" {
		t.Errorf("what a person has put back is taken for lost: %q", e.Over)
	}
}

// A zone that is busy with another change is asked again, as often as our client may, and then says so.
func TestABusyZone(t *testing.T) {
	z := zone()
	w := weights(t, z)
	before := inspect(t, w, Absent, "")
	z.set(func() { z.busy = 2 })
	do(t, w.Do, 41, before.Previous)
	inspect(t, w, Present, "")
	z.set(func() { z.busy = 9 })
	err := w.Do(t.Context(), Attempt{Token: 42, Epoch: 2, Previous: inspect(t, w, Present, "").Previous, Deadline: time.Now().Add(time.Minute)})
	if err == nil || !strings.Contains(err.Error(), "Route 53 is busy with an earlier change or limits us; it is tried again") || z.busy != 6 {
		t.Errorf("%v, %d left", err, z.busy)
	}
	if e := inspect(t, w, Present, ""); e.Token != 41 || e.Over != "" {
		t.Errorf("token %d, %q", e.Token, e.Over)
	}
}
