package config

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/failoverd/failoverd/failover/plan"
	"github.com/failoverd/failoverd/probes"
)

// Where the servers are and who asks them is written once: under see.
func TestMySQLChecksTakeOverTheServers(t *testing.T) {
	b, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer("\n# see.mysql = ", "\nsee.mysql = ", "\n# start.verify.mysql = ", "\ncheck.mysql = { table = \"app.t\", user = \"other\", password_file = \"/other\" }\nstart.verify.mysql = ").Replace(string(b))
	c, err := Parse("x.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s := c.Settings()
	p, err := plan.Derive(&s, c.Primary)
	if err != nil {
		t.Fatal(err)
	}
	see := c.Component["mariadb"].See.MySQL
	var params []json.RawMessage
	for _, st := range p.Steps {
		if st.Action == "mysql" {
			params = append(params, st.Params)
		}
		for _, v := range st.Verify {
			if v.Kind == "mysql" {
				params = append(params, v.Params)
			}
		}
	}
	if len(params) != 2 {
		t.Fatalf("%d checks are in the plan", len(params))
	}
	for i, raw := range params {
		got, err := probes.DecodeCheck("mysql", probes.CheckVersion, raw)
		if err != nil {
			t.Fatal(err)
		}
		m := got.(*probes.MySQLCheckConfig)
		if len(m.Servers) != 2 || m.Servers["us-east-2"][0] != see.Servers["us-east-2"][0] || m.CAFile != see.CAFile {
			t.Errorf("%d: %+v", i, m)
		}
		own := m.Table == "app.t" && m.User == "other" && m.PasswordFile == "/other"
		taken := m.Table == see.Table && m.User == see.User && m.PasswordFile == see.PasswordFile && m.Write
		if !own && !taken {
			t.Errorf("%d: %+v", i, m)
		}
	}
}
