// Package harness runs the daemon's real processes inside a simulated world: the five nodes of the reference case, and
// workers behind agents. The demo and the end-to-end tests are written against it.
//
// It knows the daemon only from outside: its binary, its configuration file, and its admin socket. Everything that is judged
// comes from the world's own record.
package harness

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/failoverd/failoverd/lab/pki"
	"github.com/failoverd/failoverd/lab/world"
)

// ConfigOptions say how the example configuration becomes the world's.
type ConfigOptions struct {
	Factor float64 // divides every duration
	Dir    string  // the world's directory
	// Edits are made after the world's addresses, in the times of the undivided file. Each must find its place: an edit that no longer fits the example is an
	// error, not a silent nothing.
	Edits []Edit
	// Set overrides single keys, "section.key" → TOML value, after everything else and undivided.
	Set map[string]string
	// Slow multiplies every duration of Set; 0 means 1.
	Slow float64
}

// Edit replaces a piece of the configuration's text.
type Edit struct {
	Old, New string
	What     string // for the summary
}

// Supervised asks a person before anything is done.
var Supervised = Edit{`mode = "automatic"`, `mode = "supervised"`, "mode: supervised"}

// StopAPI makes the API a fenced component that only the region's own control plane can confirm as stopped.
var StopAPI = Edit{"start.ecs_service = { cluster = \"prod\", service = \"api\", count = 2 }",
	"stop.ecs_service = { cluster = \"prod\", service = \"api\", count = 0 }\nstop.proof = [\"confirmed\"]\nstop.timeout = \"30s\"\n" +
		"start.ecs_service = { cluster = \"prod\", service = \"api\", count = 2 }",
	"component api: stop.ecs_service with proof = [\"confirmed\"] only"}

// Fresh lets a switchover take along what MariaDB holds.
var Fresh = Edit{`connections = 2, key = "", allow = [] }`, `connections = 2, key = "", allow = [], fresh = { program = "mariadb-dump" } }`, "MariaDB: a switchover dumps it first"}

func mariaPassword(dir string) string { return filepath.Join(dir, "mariadb-password") }

// restoring gives the restore the world's servers. In a world without MariaDB there is no such step, and nobody waits for it.
func restoring(dir string, maria bool) []Edit {
	if !maria {
		return []Edit{
			{"start.mariadb_restore = ", "# start.mariadb_restore = ", "MariaDB: left out"},
			{"start.timeout = \"2h\"\nstart.retries = 5\n", "", ""},
			{`after = ["api", "queue", "mariadb", "mongo"]`, `after = ["api", "queue", "mongo"]`, ""},
		}
	}
	return []Edit{
		{`servers = { us-east-1 = "mariadb.us-east-1.example.net:3306", us-east-2 = "mariadb.us-east-2.example.net:3306" }, user = "restorer", password_file = "/etc/failoverd/mariadb-password", ca_file = "/etc/failoverd/mariadb-ca.pem"`,
			fmt.Sprintf("servers = { us-east-1 = %q, us-east-2 = %q }, user = %q, password_file = %q, at_risk = [{ name = \"deliveries\", query = \"SELECT COUNT(*) FROM app.deliveries WHERE at > ?\" }]",
				world.MariaDBAddress(world.Primary), world.MariaDBAddress(world.Secondary), world.MariaDBUser, mariaPassword(dir)), "MariaDB's servers and account, and what is at risk there"},
	}
}

// unattended promotes MongoDB without asking anybody.
var unattended = Edit{`unattended = false`, `unattended = true`, "MongoDB: nobody is asked before a forced promotion"}

// SlackUser and SlackTeam are who may click in the world's Slack.
const (
	SlackUser = "U0123456789"
	SlackTeam = "T0123456789"
)

// addresses are the places of the example that differ in the world.
func addresses(dir string) []Edit {
	return []Edit{
		{`addresses = { us-east-1 = "10.0.1.10:7700", us-east-2 = "10.1.1.10:7700" }, slow`, `addresses = { us-east-1 = "198.18.1.8:7700", us-east-2 = "198.18.2.8:7700" }, slow`, "what is reached through the VPC peering"},
		{"10.0.1.10:7700", "198.18.1.11:7700", "node addresses"},
		{"10.0.2.10:7700", "198.18.1.12:7700", ""},
		{"10.1.1.10:7700", "198.18.2.11:7700", ""},
		{"10.1.2.10:7700", "198.18.2.12:7700", ""},
		{"203.0.113.7:7700", "198.18.3.11:7700", ""},
		{`gate = "0.0.0.0:7781"`, `gate = "{node}:7781"`, "gates, one address per node"},
		{"198.51.100.10:7781", "198.18.1.11:7781", ""},
		{"198.51.100.11:7781", "198.18.1.12:7781", ""},
		{"198.51.100.20:7781", "198.18.2.11:7781", ""},
		{"198.51.100.21:7781", "198.18.2.12:7781", ""},
		{"203.0.113.7:7781", "198.18.3.11:7781", ""},
		{`data = "/var/lib/failoverd"`, `data = "` + dir + `/node/{node}"`, "directories and sockets, one per node"},
		{`socket = "/run/failoverd/admin.sock"`, `socket = "` + dir + `/sock/{node}.sock"`, ""},
		{`web = "127.0.0.1:7780"`, `web = "{node}:7780"`, ""},
		{`"/etc/failoverd/kube-{region}.yaml"`, `"` + dir + `/kube-{region}.yaml"`, "kubeconfigs"},
		{`"/etc/failoverd/tls/`, `"` + dir + `/tls/`, "certificates"},
		{`"http://ref1.example.org/", "http://ref2.example.org/"`, `"http://198.18.9.61/", "http://198.18.9.62/"`, "self-check references"},
		{`# resolvers = ["10.0.0.2:53"]`, `resolvers = ["198.18.9.50:53"]`, "resolver"},
		{`# roles = {`, `roles = {`, "roles to look and to act"},
		{`# endpoints = { us-east-1 = "http://…", us-east-2 = "http://…", global = "http://…" }`,
			`endpoints = { us-east-1 = "http://198.18.1.5:4566", us-east-2 = "http://198.18.2.5:4566", global = "http://198.18.9.5:4566" }`, "AWS endpoints"},
		{`see.http = { url = "https://api.{region}.example.net/healthz"`, `see.http = { url = "http://api.{region}.example.net/healthz"`, "http instead of https"},
		{`check.http = { url = "https://api.{region}.example.net/healthz"`, `check.http = { url = "http://api.{region}.example.net/healthz"`, ""},
		{`"https://hooks.example.net/partners`, `"http://hooks.example.net/partners`, ""},
		{`"/etc/failoverd/hook-key"`, `"` + dir + `/hook-key"`, "the hook's key"},
		{`check.websocket = { url = "wss://ws.example.net/ws"`, `check.websocket = { url = "wss://ws.example.net/ws", ca_file = "` + dir + `/` + pki.RootFile + `"`, "the world's certificate authority"},
		{`check.http_file = { url = "https://api.{region}.example.net/files"`, `check.http_file = { url = "http://api.{region}.example.net/files"`, ""},
		{`see.tcp = { address = "api.{region}.example.net:443"`, `see.tcp = { address = "api.{region}.example.net:80"`, ""},
		{`see.tls_expiry = {`, `see.tls_expiry = { ca_file = "` + dir + `/` + pki.RootFile + `",`, ""},
		{`check.tls_expiry = {`, `check.tls_expiry = { ca_file = "` + dir + `/` + pki.RootFile + `",`, ""},
		{`"mongo-e1a.example.net:27017", "mongo-e1b.example.net:27017"`, `"198.18.1.31:27017", "198.18.1.32:27017"`, "MongoDB members"},
		{`"mongo-e2a.example.net:27017"`, `"198.18.2.31:27017"`, ""},
		{`tls = true, ca_file = "/etc/failoverd/mongo-ca.pem", members`, `members`, "MongoDB speaks plain text"},
		{`username = "failoverd", password_file = "/etc/failoverd/mongo-password", answer_within = "2s"`, `answer_within = "12s"`, "MongoDB asks for no user"},
		{`# [slack]`, `[slack]`, "Slack, with the tokens in files"},
		{`# channel = "C0123456789"`, `channel = "C0123456789"`, ""},
		{`# bot_token_file = "/etc/failoverd/slack-bot"`, `bot_token_file = "` + dir + `/slack-bot"`, ""},
		{`# app_token_file = "/etc/failoverd/slack-app"`, `app_token_file = "` + dir + `/slack-app"`, ""},
		{`# approvers = ["U0123456789"]`, `approvers = ["` + SlackUser + `"]`, ""},
		{`# team = "T0123456789"`, `team = "` + SlackTeam + `"`, ""},
		{`# api_url = "https://slack.com/api/"`, `api_url = "http://198.18.9.70/api/"`, ""},
	}
}

// Configure turns the example configuration into the world's: other addresses, all durations divided by one factor, and
// nothing else but the options' edits. summary says what was substituted, one line each.
func Configure(example string, o ConfigOptions) (text string, summary []string, err error) {
	text = example
	for _, e := range append(addresses(o.Dir), o.Edits...) {
		if !strings.Contains(text, e.Old) {
			return "", nil, fmt.Errorf("config.toml.example has no %q any more: the substitution into %q has nothing to do", e.Old, e.New)
		}
		text = strings.ReplaceAll(text, e.Old, e.New)
		if e.What != "" {
			summary = append(summary, e.What)
		}
	}
	text, n := divideDurations(text, o.Factor)
	summary = append([]string{fmt.Sprintf("%d durations divided by %g, raft's timers included", n, o.Factor)}, summary...)
	for path, value := range o.Set {
		if o.Slow != 0 {
			value, _ = divideDurations(value, 1/o.Slow)
		}
		if text, err = set(text, path, value); err != nil {
			return "", nil, err
		}
	}
	head := fmt.Sprintf("# Made from config.toml.example: the world's addresses, and every duration, raft's timers included, divided by %g.\n", o.Factor)
	return head + text, summary, nil
}

var quoted = regexp.MustCompile(`"([^"]*)"`)

// divideDurations divides every quoted string outside comments that is a duration, and counts them.
func divideDurations(text string, factor float64) (string, int) {
	n := 0
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		lines[i] = quoted.ReplaceAllStringFunc(line, func(q string) string {
			d, err := time.ParseDuration(q[1 : len(q)-1])
			if err != nil {
				return q
			}
			n++
			return `"` + time.Duration(float64(d)/factor).Round(time.Microsecond).String() + `"`
		})
	}
	return strings.Join(lines, "\n"), n
}

// set replaces the value of one key of a section; "section.key", or "section.dotted.key".
func set(text, path, value string) (string, error) {
	section, key, ok := strings.Cut(path, ".")
	if strings.HasPrefix(path, "component.") {
		rest, k, found := strings.Cut(key, ".")
		section, key, ok = section+"."+rest, k, found
	}
	if !ok {
		return "", fmt.Errorf("%q is not section.key", path)
	}
	lines, in := strings.Split(text, "\n"), false
	for i, line := range lines {
		trim := strings.TrimSpace(line)
		if strings.HasPrefix(trim, "[") {
			in = trim == "["+section+"]"
		}
		if k, _, found := strings.Cut(trim, "="); in && found && strings.TrimSpace(k) == key {
			lines[i] = key + " = " + value
			return strings.Join(lines, "\n"), nil
		}
	}
	return "", fmt.Errorf("the configuration has no key %q in [%s]", key, section)
}
