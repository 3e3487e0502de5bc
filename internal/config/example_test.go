package config

import (
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/failover/plan"
)

const examplePath = "../../config.toml.example"

func example(t *testing.T) *Config {
	t.Helper()
	c, err := Load(examplePath)
	if err != nil {
		t.Fatalf("the example is refused:\n%v", err)
	}
	return c
}

func TestExampleLoads(t *testing.T) {
	c := example(t)
	if len(c.Warnings) > 0 {
		t.Errorf("the example deserves advice: %v", c.Warnings)
	}
	s := c.Settings()
	for _, from := range c.Regions() {
		p, err := plan.Derive(&s, from)
		if err != nil {
			t.Fatalf("no plan out of %s: %v", from, err)
		}
		for _, st := range p.Steps {
			if strings.Contains(string(st.Params), "{region}") {
				t.Errorf("step %s still holds {region}: %s", st.ID, st.Params)
			}
		}
	}
	if got := string(s.Component("api").Checks[0].Params["us-east-2"]); !strings.Contains(got, "https://api.us-east-2.example.net/healthz") {
		t.Errorf("the check of api in us-east-2 has parameters %s", got)
	}
	t.Logf("\n%s", Summary(c))
}

// TestExampleWithEverything takes the comment signs off the example's optional
// parts: what they show must be valid as well.
func TestExampleWithEverything(t *testing.T) {
	b, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	commented := regexp.MustCompile(`(?m)^# (\[[a-z_.]+\]|[a-z_.]+ = )`)
	all := commented.ReplaceAllString(string(b), "$1")
	c, err := Parse("config.toml.example", []byte(all))
	if err != nil {
		t.Fatalf("the commented parts of the example are refused:\n%v", err)
	}
	if c.Slack == nil || len(c.Probes.Resolvers) == 0 {
		t.Error("the commented parts were not read")
	}
}

// TestExampleShowsEveryKey keeps the example complete: it is the reference.
func TestExampleShowsEveryKey(t *testing.T) {
	b, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	seen := map[reflect.Type]bool{}
	var walk func(path string, typ reflect.Type)
	walk = func(path string, typ reflect.Type) {
		for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Map || typ.Kind() == reflect.Slice {
			typ = typ.Elem()
		}
		if typ.Kind() != reflect.Struct || seen[typ] {
			return
		}
		seen[typ] = true
		for f := range typ.Fields() {
			if f.Anonymous {
				walk(path, f.Type)
				continue
			}
			key := f.Tag.Get("toml")
			if key == "" {
				continue
			}
			if !regexp.MustCompile(`(?m)(^|[^a-z_])` + key + `($|[^a-z_])`).MatchString(text) {
				t.Errorf("%s is not in config.toml.example", join(path, key))
			}
			walk(join(path, key), f.Type)
		}
	}
	walk("", reflect.TypeFor[Config]())
}

func TestProbeSpecs(t *testing.T) {
	specs := example(t).ProbeSpecs("use2a")
	var got []string
	for _, s := range specs {
		got = append(got, string(s.Component)+"/"+s.Kind+"/"+string(s.Region)+" "+s.Timeout.String())
		if strings.ContainsAny(strings.Join(s.Hosts(), ""), "{}") {
			t.Errorf("%s/%s has hosts %v", s.Component, s.Kind, s.Hosts())
		}
	}
	want := []string{
		"api/http/us-east-1 1s", "api/http/us-east-2 1s", "api/tcp/us-east-1 1s", "api/tcp/us-east-2 1s",
		"mongo/mongo/us-east-1 1s", "mongo/mongo/us-east-2 1s", "workers/sqs/us-east-1 4s", "workers/sqs/us-east-2 4s",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the signals are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestHashFollowsTheSettingsOnly(t *testing.T) {
	a, b := example(t), example(t)
	if a.Hash() != b.Hash() {
		t.Error("equal files have different hashes")
	}
	b.Probes.Interval = failover.Duration(3 * time.Second)
	if a.Hash() != b.Hash() {
		t.Error("the probes' interval is local and must not change the hash")
	}
	b.Policy.MaxPerDay++
	if a.Hash() == b.Hash() {
		t.Error("a changed policy has the same hash")
	}
}

func TestForNode(t *testing.T) {
	c := example(t)
	n, err := c.ForNode("use2b")
	if err != nil {
		t.Fatal(err)
	}
	if n.TLS.Cert != "/etc/failoverd/tls/use2b.pem" || n.Index != 4 || n.Vantage != "us-east-2" {
		t.Errorf("node use2b is %+v", n)
	}
	const want = `node "nobody" is not in [nodes]: set FAILOVERD_NODE or --node to one of [third use1a use1b use2a use2b]`
	if _, err := c.ForNode("nobody"); err == nil || err.Error() != want {
		t.Errorf("an unknown node gives %v, want %s", err, want)
	}
}
