package config

import (
	"os"
	"strings"
	"testing"

	"github.com/failoverd/failoverd/failover/plan"
)

// What the example says of at_risk is taken as it stands there; a query that is wrong is refused where it is written, and so are two counts of
// one component.
func TestExampleWithAtRisk(t *testing.T) {
	b, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	const before, asks = `connections = 2, key = "", allow = [] }`, `at_risk = [{ name = "orders", query = "SELECT COUNT(*) FROM app.orders WHERE created_at > ?" }]`
	if !strings.Contains(string(b), "# With `"+asks+"` there") || strings.Count(string(b), before) != 1 {
		t.Fatal("the example does not say how")
	}
	text := strings.Replace(string(b), before, strings.TrimSuffix(before, " }")+", "+asks+" }", 1)
	c, err := Parse("x.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s := c.Settings()
	p, err := plan.Derive(&s, c.Primary)
	if err != nil {
		t.Fatal(err)
	}
	if params := string(p.Step("start-mariadb").Params); !strings.Contains(params, `"at_risk":[{"name":"orders","query":"SELECT COUNT(*) FROM app.orders WHERE created_at \u003e ?"}]`) {
		t.Error(params)
	}
	for want, edit := range map[string][2]string{
		`component.mariadb.start.mariadb_restore.at_risk: the query of "orders" has 0 question marks`:                         {"created_at > ?", "created_at > NOW()"},
		`component.mariadb.see.sqs.waiting: is counted for the price as start.mariadb_restore.at_risk is`:                     {"[component.mariadb]\n", "[component.mariadb]\nsee.sqs = { queue = \"canary-{node}\", waiting = [\"bills\"] }\n"},
		`component.mariadb.start.mariadb_restore.at_risk: the query of "orders" does not begin with SELECT: "UPDATE COUNT(*)`: {"\"SELECT COUNT", "\"UPDATE COUNT"},
	} {
		if _, err := Parse("x.toml", []byte(strings.ReplaceAll(text, edit[0], edit[1]))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
