package daemon

import (
	"fmt"
	"testing"

	"github.com/failoverd/failoverd/failover"
)

// The life of certificates is told in both regions; below the least it makes the region
// that clients would go to unready, and the one that serves only a case for people.
func TestSignalRows(t *testing.T) {
	s := func(region failover.Region, kind, plane string, h failover.Health) failover.SignalState {
		return failover.SignalState{Component: "edge", Kind: kind, Plane: plane, Region: region, Health: h, Detail: "seen"}
	}
	const up, cp = failover.PlaneUpkeep, failover.PlaneControl
	for _, tt := range []struct {
		signal failover.SignalState
		want   string // OK and Advice; "" for no row
	}{
		{s("us-east-1", "tls_expiry", up, failover.Healthy), "true false"},
		{s("us-east-1", "tls_expiry", up, failover.Degraded), "false true"},
		{s("us-east-1", "tls_expiry", up, failover.Down), "false true"},
		{s("us-east-2", "tls_expiry", up, failover.Healthy), "true false"},
		{s("us-east-2", "tls_expiry", up, failover.Degraded), "false true"},
		{s("us-east-2", "tls_expiry", up, failover.Down), "false false"},
		{s("us-east-2", "tls_expiry", up, failover.Unknown), "false true"},
		{s("us-east-2", "alb", cp, failover.Down), "false true"},
		{s("us-east-2", "alb", cp, failover.Healthy), ""},
		{s("us-east-2", "http", "", failover.Down), ""},
	} {
		rows := signalRows("us-east-1", []failover.Verdict{{Signals: []failover.SignalState{tt.signal}}})
		got := ""
		for _, r := range rows {
			got = fmt.Sprintf("%t %t", r.OK, r.Advice)
			if want := fmt.Sprintf("edge/%s in %s", tt.signal.Kind, tt.signal.Region); r.Name != want || r.Detail != "seen" {
				t.Errorf("%+v, want %s", r, want)
			}
		}
		if got != tt.want || len(rows) > 1 {
			t.Errorf("%s in %s %s: %q, want %q", tt.signal.Kind, tt.signal.Region, tt.signal.Health, got, tt.want)
		}
	}
	if rows := signalRows("us-east-1", []failover.Verdict{{Signals: []failover.SignalState{{Kind: "tls_expiry", Plane: up}}}}); len(rows) != 1 || rows[0].Detail != "nothing has been seen yet" {
		t.Errorf("%+v", rows)
	}
}

// A queue that cannot be counted says so while all is well, and hinders nothing.
func TestWhatIsNotCountedIsAdvice(t *testing.T) {
	lacks := &failover.AtRisk{Unit: "messages", Where: "queue mail", Lacks: "mail: AccessDenied"}
	sig := failover.SignalState{Component: "workers", Kind: "sqs", Region: "us-east-1", Health: failover.Healthy, AtRisk: lacks}
	rows := signalRows("us-east-1", []failover.Verdict{{Signals: []failover.SignalState{sig}}})
	if len(rows) != 1 || rows[0].OK || !rows[0].Advice || rows[0].Name != "queue mail in us-east-1" || rows[0].Detail != "messages are not counted for the price: mail: AccessDenied" {
		t.Errorf("%+v", rows)
	}
	if rows := signalRows("us-east-2", []failover.Verdict{{Signals: []failover.SignalState{sig}}}); len(rows) != 0 {
		t.Errorf("of the other region: %+v", rows)
	}
}
