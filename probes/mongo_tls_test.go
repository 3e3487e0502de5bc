package probes

import (
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// A member whose certificate is not accepted says nothing of its region: both regions' members are seen by the same configuration,
// and would be down together.
func TestMongoCertificates(t *testing.T) {
	root := issue(t, nil, 365*day, "root")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	// Members are known by name: 127.0.0.1 has the name "localhost".
	serve := func(leaf *issued) []string {
		_, port, err := net.SplitHostPort(present(t, leaf))
		if err != nil {
			t.Fatal(err)
		}
		return []string{net.JoinHostPort("localhost", port)}
	}
	d := deps(t)
	d.Timeout = 3 * time.Second
	for what, tt := range map[string]struct {
		leaf   *issued
		ca     string
		detail string
	}{
		"unknown authority": {issue(t, issue(t, nil, 365*day, "other"), 90*day, "m", "localhost"), ca, "certificate"},
		"ran out":           {issue(t, root, -3*day, "m", "localhost"), ca, "expired"},
		"another name":      {issue(t, root, 90*day, "m", "mongo-e1a.example.net"), ca, "mongo-e1a.example.net"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c := &MongoConfig{ReplicaSet: "rs0", TLS: true, CAFile: tt.ca, Members: map[failover.Region][]string{"us-east-1": serve(tt.leaf)}}
			expect(t, look(t, c, d), failover.Misconfigured, failover.ReasonTLS, tt.detail)
		})
	}
	// With a certificate that is accepted it is asked, and what answers there is no MongoDB.
	c := &MongoConfig{ReplicaSet: "rs0", TLS: true, CAFile: ca, Members: map[failover.Region][]string{"us-east-1": serve(issue(t, root, 90*day, "m", "localhost"))}}
	if o := look(t, c, d); o.Outcome != failover.Failed {
		t.Errorf("%s/%s: %s", o.Outcome, o.Reason, o.Detail)
	}
}
