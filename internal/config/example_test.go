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
		"api/http/us-east-1 1s", "api/http/us-east-2 1s", "api/tcp/us-east-1 1s", "api/tcp/us-east-2 1s", "api/aws_api/us-east-1 1s", "api/aws_api/us-east-2 1s",
		"edge/alb/us-east-1 3s", "edge/alb/us-east-2 3s", "edge/ecs/us-east-1 3s", "edge/ecs/us-east-2 3s", "edge/tls_expiry/us-east-1 3s", "edge/tls_expiry/us-east-2 3s", "mariadb/mariadb_backup/us-east-1 10s", "mariadb/mariadb_backup/us-east-2 10s", "mongo/mongo/us-east-1 1s", "mongo/mongo/us-east-2 1s", "network/vpc_peering/us-east-1 3s", "reserves/capacity/us-east-1 10s", "reserves/capacity/us-east-2 10s", "workers/sqs/us-east-1 4s", "workers/sqs/us-east-2 4s",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the signals are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// The hash is that of all that the cluster shares: what a node has on its own
// machine, and how the file is written, do not matter.
func TestHash(t *testing.T) {
	a := example(t)
	for name, c := range map[string]struct {
		change func(c *Config)
		same   bool
	}{
		"nothing":           {func(*Config) {}, true},
		"another data dir":  {func(c *Config) { c.Local.Data = "/x" }, true},
		"an endpoint":       {func(c *Config) { c.AWS.Endpoints = map[string]string{"global": "http://x"} }, true},
		"a certificate":     {func(c *Config) { c.TLS.Cert = "/x" }, true},
		"the text":          {func(c *Config) { c.Source += "# more" }, true},
		"a token's file":    {func(c *Config) { c.Slack = &Slack{BotTokenFile: "/x"} }, false}, // Slack itself is new
		"a policy":          {func(c *Config) { c.Policy.MaxPerDay++ }, false},
		"a probe":           {func(c *Config) { c.Probes.Interval = failover.Duration(3 * time.Second) }, false},
		"a reference":       {func(c *Config) { c.SelfCheck.URLs = c.SelfCheck.URLs[:1] }, false},
		"raft's heartbeat":  {func(c *Config) { c.Raft.Heartbeat++ }, false},
		"who may approve":   {func(c *Config) { c.Slack = &Slack{Approvers: []string{"U1"}} }, false},
		"what is seen":      {func(c *Config) { c.Component["api"].See.HTTP.URL += "/x" }, false},
		"the AWS time-out":  {func(c *Config) { c.AWS.Timeout++ }, false},
		"a probe's windows": {func(c *Config) { c.Component["api"].See.Window = 9 }, false},
	} {
		b := example(t)
		c.change(b)
		if (a.Hash() == b.Hash()) != c.same {
			t.Errorf("%s: same hash %t, want %t", name, !c.same, c.same)
		}
	}
	x, y := example(t), example(t)
	x.Slack, y.Slack = &Slack{Channel: "C", BotTokenFile: "/x"}, &Slack{Channel: "C", BotTokenFile: "/y", APIURL: "http://z"}
	if x.Hash() != y.Hash() {
		t.Error("where the tokens are must not change the hash")
	}
	own := example(t)
	own.Local.Data, own.TLS.Cert, own.AWS.Endpoints, own.Slack, own.Policy.MaxPerDay = "/d", "/c", map[string]string{"global": "http://x"}, y.Slack, 99
	got := x.WithLocal(own)
	if got.Local.Data != "/d" || got.TLS.Cert != "/c" || got.AWS.Endpoints["global"] != "http://x" || got.Slack.BotTokenFile != "/y" || got.Slack.Channel != "C" || got.Policy.MaxPerDay == 99 || x.Slack.BotTokenFile != "/x" {
		t.Errorf("%+v", got)
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

// Only a node in one of the two regions looks through the peering, and only into the
// other one; what the file says does not depend on who reads it.
func TestProbeSpecsByPlace(t *testing.T) {
	c := example(t)
	for node, want := range map[failover.NodeID]string{"use1a": "us-east-2", "use2b": "us-east-1", "third": "", "{node}": "us-east-1 us-east-2"} {
		var got []string
		for _, s := range c.ProbeSpecs(node) {
			if s.Kind == "vpc_peering" {
				got = append(got, string(s.Region))
			}
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s looks through the peering into %v, want %s", node, got, want)
		}
	}
}
