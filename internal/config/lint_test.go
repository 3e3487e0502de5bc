package config

import (
	"os"
	"strings"
	"testing"
)

// A plan that cannot work is refused, and one that may stand in the night is
// advised against, each with step, dependency and alternative.
func TestLint(t *testing.T) {
	b, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	example := string(b)
	named := example[strings.Index(example, "third = {"):strings.Index(example, "stop.ecs_service =")] // from the last node to the workers' stop
	mapped := example[strings.Index(example, "use1b = {"):strings.Index(example, "stop.ecs_service =")]
	for _, tt := range []struct {
		name, old, new string
		bad, advice    string
	}{
		{"the example", "", "", "", ""},
		{
			"the object in the region that is left", `key = "failoverd/messaging", region = "us-east-2" }`, `key = "failoverd/messaging", region = "us-east-1" }`,
			"traffic.switch.s3_object: step switch-s3_object needs S3 in us-east-1, the region that is left: it would wait for what has failed", "",
		},
		{
			"weights alone", example[strings.Index(example, "switch.gate ="):strings.Index(example, "switch.route53_weights =")], "",
			"", "step switch-route53_weights needs Route 53's control plane in us-east-1, the region that is left, and nothing else moves the clients",
		},
		{
			"a check that watches, in a place where each look begins anew", `start.verify.alb = { target_group = "api", min_healthy = 2 }`, `start.verify.sqs_backlog = { queue = "messages", max = 9, drained_within = "1h" }`,
			"has to watch the queue for a while, and here each look begins anew", "",
		},
		{
			"a check that only a node in the region that is left can pass", `start.verify.alb = { target_group = "api", min_healthy = 2 }`, `start.require.vpc_peering = { id = "pcx-1", addresses = { us-east-1 = "10.0.1.10:7700", us-east-2 = "10.1.1.10:7700" } }`,
			"", "component.api.start.require.vpc_peering: passes only when the node that leads is in the other region",
		},
		{
			"a fence around a node", "stop.ecs_service =", `stop.nacl = { subnets = { us-east-1 = { subnet-a = "10.0.9.0/24", subnet-b = "10.0.2.0/24" } }, acl = { us-east-1 = "acl-1" }, open = { us-east-1 = "acl-2" } }` + "\nstop.ecs_service =",
			"component.workers.stop.nacl.subnets: node use1b (10.0.2.10) lies in subnet-b: the fence would cut off a node that has to decide and to act; move the node", "",
		},
		{
			"a fence around agents", "stop.ecs_service =", `stop.nacl = { subnets = { us-east-1 = { subnet-a = "10.0.9.0/24" } }, acl = { us-east-1 = "acl-1" }, open = { us-east-1 = "acl-2" } }` + "\nstop.ecs_service =",
			"", "component.workers.stop.nacl: cuts off the agents of workers in those subnets as well",
		},
		{
			"a fence and a node's name", named, strings.Replace(named, "203.0.113.7", "third.example.net", 1) + `stop.nacl = { subnets = { us-east-1 = { subnet-a = "10.0.9.0/24" } }, acl = { us-east-1 = "acl-1" }, open = { us-east-1 = "acl-2" } }` + "\n",
			"", "whether node third (third.example.net) lies in one of the subnets that are cut off cannot be told from a name; write the node's IPv4 address",
		},
		{
			"a fence and a node's IPv6 address", named, strings.Replace(named, "203.0.113.7:7700", "[2001:db8::7]:7700", 1) + `stop.nacl = { subnets = { us-east-1 = { subnet-a = "10.0.9.0/24" } }, acl = { us-east-1 = "acl-1" }, open = { us-east-1 = "acl-2" } }` + "\n",
			"", "whether node third (2001:db8::7) lies in one of the subnets that are cut off cannot be told from an IPv6 address; write the node's IPv4 address",
		},
		{
			"a fence around a node's IPv4-mapped address", mapped, strings.Replace(mapped, "10.0.2.10:7700", "[::ffff:10.0.2.10]:7700", 1) + `stop.nacl = { subnets = { us-east-1 = { subnet-b = "10.0.2.0/24" } }, acl = { us-east-1 = "acl-1" }, open = { us-east-1 = "acl-2" } }` + "\n",
			"component.workers.stop.nacl.subnets: node use1b (10.0.2.10) lies in subnet-b: the fence would cut off a node", "",
		},
		{
			"clients before the data", "strategy = \"pilot-light\"\nstart.ec2_instances", "strategy = \"backup-restore\"\nstart.ec2_instances",
			"", "clients arrive before relay is restored in us-east-2",
		},
		{
			"workers prepared before their data", `start.verify.ecs = { cluster = "prod", service = "workers", count = 3 }`, `start.verify.ecs = { cluster = "prod", service = "workers", count = 3 }` + "\nstart.prepare = true",
			"", "start-workers is not prepared: it comes after a start that is not",
		},
		{
			"a fence around what has no start", "[component.mariadb]", "[component.oldhosts]\nstrategy = \"pilot-light\"\nstop.nacl = { subnets = { us-east-1 = { subnet-a = \"10.0.9.0/24\" }, us-east-2 = { subnet-b = \"10.1.9.0/24\" } }, acl = { us-east-1 = \"acl-1\", us-east-2 = \"acl-3\" }, open = { us-east-1 = \"acl-2\", us-east-2 = \"acl-4\" } }\nstop.proof = [\"resource\"]\n\n[component.mariadb]",
			"", "",
		},
		{
			"clients before the workers' data", `after = ["api", "queue", "mariadb", "mongo"]`, `after = ["api", "queue", "mongo"]`,
			"", "clients arrive before mariadb is restored in us-east-2",
		},
		{
			"clients before the set is led there", `after = ["api", "queue", "mariadb", "mongo"]`, `after = ["api", "queue", "mariadb"]`,
			"", "clients arrive before mongo is ready in us-east-2",
		},
		{
			"a forced reconfiguration without a person", `unattended = false`, `unattended = true`,
			"", "component.mongo.start.mongo_promote.unattended: a replica set that has lost its majority is reconfigured by force without a person",
		},
		{
			"what nothing takes back, and nobody is asked about", "strategy = \"pilot-light\"\nstart.ec2_instances", "strategy = \"pilot-light\"\nstart.irreversible = true\nstart.ec2_instances",
			"", "component.relay.start: start-relay cannot be undone, and in mode \"automatic\" nobody is asked before it",
		},
		{
			"what nothing takes back, after a question", "strategy = \"pilot-light\"\nstart.ec2_instances", "strategy = \"pilot-light\"\nstart.irreversible = true\nstart.ask = true\nstart.ec2_instances",
			"", "",
		},
		{
			"less than a sample says", `max_loss = { mongo = "60s", mariadb = "26h" }`, `max_loss = { mongo = "2s", mariadb = "26h" }`,
			"", "policy.max_loss.mongo: 2s is less than what a sample of a set that is well may say, 3s",
		},
		{
			"an older backup than may be lost", `max_loss = { mongo = "60s", mariadb = "26h" }`, `max_loss = { mongo = "60s", mariadb = "8h" }`,
			"", "policy.max_loss.mariadb: 8h0m0s is less than max_age of the restore, 26h0m0s",
		},
		{
			"a probe in plain text", `replica_set = "rs0", tls = true, ca_file = "/etc/failoverd/mongo-ca.pem", members = { us-east-1 = ["mongo-e1a.example.net:27017", "mongo-e1b.example.net:27017"], us-east-2 = ["mongo-e2a.example.net:27017"] } }
start.mongo_promote = {`, `replica_set = "rs0", members = { us-east-1 = ["mongo-e1a.example.net:27017", "mongo-e1b.example.net:27017"], us-east-2 = ["mongo-e2a.example.net:27017"] } }
start.mongo_promote = { tls = true, ca_file = "/etc/failoverd/mongo-ca.pem",`,
			"component.mongo.see.mongo: the promotion speaks TLS to the members, and the probe would speak plain text", "",
		},
		{
			"a promotion on a suspicion", "start.verify.mongo_write =", "start.prepare = true\nstart.verify.mongo_write =",
			"component.mongo.start.prepare: a promotion is not taken back", "",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if !strings.Contains(example, tt.old) {
				t.Fatalf("the example has no %q", tt.old)
			}
			c, err := Parse("x.toml", []byte(strings.Replace(example, tt.old, tt.new, 1)))
			if (tt.bad == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), tt.bad) {
				t.Fatalf("got %v, want %q", err, tt.bad)
			}
			if err != nil {
				return
			}
			advice := c.Warnings.Error()
			unwanted := strings.Contains(advice, "traffic") || strings.Contains(advice, "cannot be undone")
			if tt.advice == "" && unwanted || !strings.Contains(advice, tt.advice) {
				t.Errorf("advice %q, want %q", advice, tt.advice)
			}
		})
	}
}
