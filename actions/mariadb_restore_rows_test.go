package actions

import (
	"maps"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// countable is a restore that asks a server in us-east-1, which tells the time by another clock, for orders of three hours, 90 minutes and a minute ago; its
// backup is as of two hours ago. Nobody answers in us-east-2: it is not asked.
func countable(t *testing.T) (*fakeBackups, *MariaDBRestoreConfig, Deps) {
	t.Helper()
	s, f, c, d := restorable(t)
	s.Feed(t, `CREATE SEQUENCE app.numbers; CREATE TABLE app.orders (at TIMESTAMP NOT NULL, said DATETIME NOT NULL); SET time_zone='+09:00';
		INSERT INTO app.orders SELECT NOW() - INTERVAL m MINUTE, UTC_TIMESTAMP() - INTERVAL m MINUTE FROM (SELECT 180 AS m UNION SELECT 90 UNION SELECT 1) x; INSERT INTO app.a VALUES (1)`)
	c.Servers = map[failover.Region]string{"us-east-1": s.Addr, "us-east-2": "127.0.0.1:1"}
	c.AtRisk = []MariaDBRowsConfig{{"orders", "SELECT COUNT(*) FROM app.orders WHERE at > ?"}, {"all that is said", "SELECT COUNT(*) FROM app.orders WHERE said > ? - INTERVAL 1 DAY"}}
	return f, c, d
}

func atRiskOf(t *testing.T, c *MariaDBRestoreConfig, d Deps, patience time.Duration) *failover.AtRisk {
	t.Helper()
	p := &failover.Plan{Steps: []failover.Step{{ID: "start-mariadb", Component: "mariadb", Kind: failover.KindStart, Action: "mariadb_restore"}}}
	got := AtRisk(t.Context(), oneWorld{restorer(t, c, d)}, p, patience)
	if one, ok := got["mariadb"]; ok && len(got) == 1 {
		return &one
	}
	return nil
}

// Rows that were written since the backup that would be restored are counted where they are, each query by its name.
func TestMariaDBRowsAtRisk(t *testing.T) {
	f, c, d := countable(t)
	got := atRiskOf(t, c, d, 5*time.Second)
	if got == nil || got.Items != 5 || got.Unit != "rows" || !got.Lost || got.Lacks != "" || !strings.HasPrefix(got.Where, "MariaDB in us-east-1, written since the backup app/1.sql as of 20") ||
		!strings.HasSuffix(got.Where, ", 2h0m0s old by then: orders 2, all that is said 3") {
		t.Fatalf("%+v", got)
	}
	// It is the backup that would be restored: one that is cut off counts for nothing, and a newer one that is whole for the rest.
	whole := f.objects["app/1.sql"]
	f.objects["app/2.sql"] = whole[:len(whole)-60]
	if got := atRiskOf(t, c, d, 5*time.Second); got.Items != 5 || !strings.Contains(got.Where, "the backup app/1.sql as of") {
		t.Errorf("a newer one that is cut off: %+v", got)
	}
	delete(f.objects, "app/2.sql")
	f.age = 0
	if got := atRiskOf(t, c, d, 5*time.Second); !strings.HasSuffix(got.Where, "1h0m0s old by then: orders 1, all that is said 3") {
		t.Errorf("a younger one: %+v", got)
	}
	// One that would be refused for its age is what a person would allow.
	f.age = 50 * time.Hour
	if got := atRiskOf(t, c, d, 5*time.Second); got.Items != 6 || !strings.Contains(got.Where, "51h0m0s old by then: orders 3") {
		t.Errorf("an old one: %+v", got)
	}
	brought := *c
	brought.Brought = true
	if got := atRiskOf(t, &brought, d, 5*time.Second); got != nil {
		t.Errorf("a dump brings them all: %+v", got)
	}
	c.AtRisk = nil
	if got := atRiskOf(t, c, d, 5*time.Second); got != nil {
		t.Errorf("nobody wants to know: %+v", got)
	}
}

// What could not be counted is told, and is no zero: an answer that is missing makes the sum unknown. Nobody is waited for any longer than was said.
func TestMariaDBRowsThatAreUnknown(t *testing.T) {
	f, c, d := countable(t)
	hangs, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hangs.Close()
	for name, tt := range map[string]struct {
		set  func(c *MariaDBRestoreConfig)
		want string
	}{
		"a query fails": {func(c *MariaDBRestoreConfig) {
			c.AtRisk[1] = MariaDBRowsConfig{"gone", "SELECT COUNT(*) FROM app.gone WHERE at > ?"}
		}, "orders 2, gone unknown: Error 1146 (42S02): Table 'app.gone' doesn't exist"},
		"a query writes": {func(c *MariaDBRestoreConfig) {
			c.AtRisk[0].Query = "SELECT NEXTVAL(app.numbers) FROM app.a WHERE ? IS NOT NULL"
		}, "orders unknown: it would write, and may only read (Error 1792"},
		"the server is dark": {func(c *MariaDBRestoreConfig) { c.Servers["us-east-1"] = "127.0.0.1:2" },
			"MariaDB in us-east-1 at 127.0.0.1:2 cannot be asked (connecting to MariaDB at 127.0.0.1:2 as restorer: "},
		"the server hangs": {func(c *MariaDBRestoreConfig) { c.Servers["us-east-1"] = hangs.Addr().String() },
			"MariaDB in us-east-1 at " + hangs.Addr().String() + " cannot be asked (connecting to MariaDB at "},
		"there is no password": {func(c *MariaDBRestoreConfig) { c.PasswordFile = "/nowhere/password" }, "cannot be asked (reading the password of restorer: "},
		"there is no backup":   {func(c *MariaDBRestoreConfig) { c.Prefix = "other/"; f.objects = nil }, "there is no backup under s3://backups/other/"},
	} {
		c := *c
		c.AtRisk, c.Servers, f.objects = slices.Clone(c.AtRisk), maps.Clone(c.Servers), map[string][]byte{"app/1.sql": f.objects["app/1.sql"]}
		whole := f.objects
		tt.set(&c)
		begun := time.Now()
		got := atRiskOf(t, &c, d, time.Second)
		if f.objects = whole; got == nil || !strings.Contains(got.Lacks, tt.want) || got.Items != 0 || !strings.HasPrefix(got.Where, "MariaDB in us-east-1") {
			t.Errorf("%s: %+v", name, got)
		}
		if took := time.Since(begun); took > 3*time.Second {
			t.Errorf("%s: it took %s", name, took)
		}
	}
}

func TestMariaDBRowsConfig(t *testing.T) {
	const good = "SELECT COUNT(*) FROM app.orders WHERE created_at > ?"
	for want, queries := range map[string][]MariaDBRowsConfig{
		"":                                  {{"orders", good}, {"bills", "\n select count(*) from app.bills where at > ?"}},
		"at_risk: the query \"SELECT COUNT": {{" ", good}},
		`at_risk: "orders" is named twice`:  {{"orders", good}, {"orders", good}},
		`at_risk: the query of "x" does not begin with SELECT: "DELETE FROM app.orders WHERE at > ?"`: {{"x", "DELETE FROM app.orders WHERE at > ?"}},
		`at_risk: the query of "y" does not begin with SELECT`:                                        {{"y", "SELECTED ?"}},
		`at_risk: the query of "z" has 0 question marks`:                                              {{"z", "SELECT COUNT(*) FROM app.orders"}},
		`at_risk: the query of "z" has 2 question marks`:                                              {{"z", "SELECT COUNT(*) FROM app.orders WHERE at > ? AND at < ?"}},
		`at_risk: the query of "o" has a semicolon`:                                                   {{"o", good + "; DROP TABLE app.orders"}},
	} {
		c := MariaDBRestoreConfig{Bucket: "b-{region}", Servers: map[failover.Region]string{"us-east-1": "a:3306", "us-east-2": "b:3306"}, User: "u", PasswordFile: "/p", Databases: []string{"app"}, AtRisk: queries}
		if err := c.Validate(RoleStart); (err == nil) != (want == "") || err != nil && !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
		delete(c.Servers, "us-east-1")
		if err := c.Validate(RoleStart); err == nil || !strings.HasPrefix(err.Error(), "at_risk: servers has to name the servers of both regions") {
			t.Errorf("with one server: %v", err)
		}
	}
}
