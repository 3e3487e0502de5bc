package config

import (
	"os"
	"strings"
	"testing"

	"github.com/failoverd/failoverd/actions"
	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

// What the example says of fresh makes a switchover with a dump for each direction, what that may do of IAM, and leaves a failover as it is.
func TestExampleWithFresh(t *testing.T) {
	b, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	const before = `max_age = "26h", takes = "1h", min_size = 50, connections = 2, key = "", allow = [] }`
	const fresh = `fresh = { program = "mariadb-dump", compress = "zstd" }`
	if !strings.Contains(string(b), "# With `"+fresh+"` in start.mariadb_restore") || !strings.Contains(string(b), before) {
		t.Fatal("the example does not say how")
	}
	if _, err := Parse("config.toml.example", []byte(strings.Replace(string(b), before, strings.TrimSuffix(before, " }")+", "+fresh+", brought = true }", 1))); err == nil || !strings.Contains(err.Error(), "brought") {
		t.Errorf("a restore that is written as one of a dump: %v", err)
	}
	c, err := Parse("config.toml.example", []byte(strings.Replace(string(b), before, strings.TrimSuffix(before, " }")+", "+fresh+" }", 1)))
	if err != nil {
		t.Fatal(err)
	}
	s := c.Settings()
	for _, from := range c.Regions() {
		p, err := plan.DeriveKind(&s, from, failover.Switchover)
		if err != nil {
			t.Fatal(err)
		}
		dump, start := p.Step("dump-mariadb"), p.Step("start-mariadb")
		if dump == nil || dump.Action != "mariadb_dump" || dump.Retries != 3 || dump.Tokens || dump.Keys || strings.Join(dump.Overrides, " ") != "rows replica history" || dump.Timeout != start.Timeout {
			t.Fatalf("%+v", dump)
		}
		if !strings.Contains(string(dump.Params), `"bucket":"messaging-backups-`+string(p.To)+`"`) || !strings.Contains(string(start.Params), `"brought":true`) || !start.Keys || start.Retries != 5 {
			t.Errorf("%s\n%s", dump.Params, start.Params)
		}
		if d, err := actions.Decode(dump.Action, dump.Version, dump.Params); err != nil {
			t.Errorf("%v, %v", d, err)
		}
		failing, err := plan.Derive(&s, from)
		if err != nil || failing.Step("dump-mariadb") != nil || strings.Contains(string(failing.Step("start-mariadb").Params), `"brought"`) {
			t.Errorf("a failover: %v", err)
		}
	}
	for acts, want := range map[bool]bool{true: true, false: false} {
		policy, err := c.IAMPolicy(acts)
		if err != nil {
			t.Fatal(err)
		}
		for _, action := range []string{"s3:ListBucketMultipartUploads", "s3:AbortMultipartUpload", "arn:aws:s3:::messaging-backups-us-east-1/mariadb/app/failoverd-e*"} {
			if strings.Contains(policy, action) != want {
				t.Errorf("acting %t, it may %s: %t", acts, action, !want)
			}
		}
	}
	without := example(t).Settings()
	if spec := without.Component("mariadb"); spec.Brings != nil {
		t.Errorf("%+v", spec.Brings)
	}
	// It stands nowhere by itself.
	if _, err := Parse("x.toml", []byte(strings.Replace(string(b), "[component.mariadb]\n", "[component.mariadb]\nstop.mariadb_dump = { restore = { bucket = \"b\" } }\n", 1))); err == nil || !strings.Contains(err.Error(), "a dump stands nowhere by itself") {
		t.Errorf("%v", err)
	}
}
