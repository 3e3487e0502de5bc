package actions

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
)

// byHand is a configuration that can say how a person makes its change without
// failoverd: the commands, and how to see that it has taken effect.
type byHand interface {
	byHand(region failover.Region, regions []failover.Region) (do []string, see string)
}

// Runbook is the plan as numbered commands for the day when failoverd itself is
// gone. It asks nobody: it needs no node, no quorum and no network. It fails when
// the plan holds a kind that this version does not know.
func Runbook(s *failover.Settings, p *failover.Plan) (string, error) {
	var b strings.Builder
	n := 0
	step := func(title string, lines ...string) {
		n++
		fmt.Fprintf(&b, "\n%d. %s\n", n, title)
		for _, l := range lines {
			fmt.Fprintf(&b, "   %s\n", l)
		}
	}
	fmt.Fprintf(&b, "# %s from %s to %s by hand, plan %s\n\n", p.Kind, p.From, p.To, p.Hash())
	b.WriteString("Only when failoverd cannot do it. While a quorum of its nodes is alive: `failoverd failover --why …`. When the quorum is lost for good\nand one node is alive: `failoverd recover` (it begins the cluster anew), then `failoverd failover`. In every other case failoverd must be\nkept from acting beside you, and you are what keeps two regions from working at once: do not go past a step that you have not seen.\n")

	step("Stop every node of failoverd, so that none grants a lease or acts beside you, also one that comes back:",
		"sudo systemctl disable --now failoverd   # on: "+strings.Join(nodeNames(s), ", "),
		fmt.Sprintf("# Those that cannot be reached grant nothing as long as they are fewer than %d. If they are more, they may: go on only with their machines off.", len(s.Nodes)/2+1))
	for _, st := range p.Steps {
		if st.Kind == failover.KindStop {
			if err := stepByHand(step, s, p, st, "Stop "+string(st.Component)+" in "+string(st.Region)); err != nil {
				return "", err
			}
		}
	}
	step(fmt.Sprintf("Be sure that nothing critical runs in %s any more. What is no proof: a command that returned, a time-out, silence.", p.From), proofs(s, p)...)
	for _, st := range p.Steps {
		title := ""
		switch st.Kind {
		case failover.KindStart:
			title = "Start " + string(st.Component) + " in " + string(st.Region)
			if opening(st) {
				title = "Open the network of " + string(st.Component) + " in " + string(st.Region) + ", if it is cut off. See first that nothing of it runs there that should have stopped"
			} else if c := s.Component(st.Component); c != nil && c.Agent {
				title += ". " + unleased(st.Action)
			}
		case failover.KindSwitch:
			title = "Send the clients to " + string(p.To)
		case failover.KindCheck:
			title = "Look: " + string(st.ID)
		default:
			continue
		}
		if err := stepByHand(step, s, p, st, title); err != nil {
			return "", err
		}
	}
	step(fmt.Sprintf("Before failoverd is started again: nothing in %s may start by itself (desired counts 0, units disabled). Begin the cluster anew with", p.From),
		fmt.Sprintf("failoverd recover --node NODE --active %s --why …", p.To))
	return b.String(), nil
}

// unleased says how a component runs that nobody grants a lease.
func unleased(action string) string {
	if action == "lambda_event_source" || action == "schedule" {
		return "What it starts asks for a lease, and nobody grants one: set its FAILOVERD_LEASE to \"off\" first, and back before failoverd is started again"
	}
	return "Its agent starts nothing without a lease, and nobody grants one: run its command without `failoverd agent … --`"
}

// stepByHand adds one step of the plan.
func stepByHand(add func(string, ...string), s *failover.Settings, p *failover.Plan, st failover.Step, title string) error {
	if st.Kind == failover.KindCheck {
		add(title, fmt.Sprintf("%s %s", st.Action, plain(st.Params)))
		return nil
	}
	if st.Action == "" {
		add(title, "its agents stop it when they get no lease")
		return nil
	}
	c, err := Decode(st.Action, st.Version, st.Params)
	if err != nil {
		return fmt.Errorf("step %s: %w", st.ID, err)
	}
	h, ok := c.(byHand)
	if !ok {
		add(title, fmt.Sprintf("(%s %s: this version cannot say how that is done by hand)", st.Action, plain(st.Params)))
		return nil
	}
	region := st.Region
	if st.Kind == failover.KindSwitch {
		region = p.To
	}
	do, see := h.byHand(region, []failover.Region{s.Primary, s.Secondary})
	for i, line := range do {
		do[i] = strings.ReplaceAll(line, "{service}", s.Service)
	}
	add(title, append(slices.Clone(do), "# seen when: "+see)...)
	return nil
}

// proofs says per fenced component what shows that it has stopped.
func proofs(s *failover.Settings, p *failover.Plan) []string {
	var out []string
	for _, f := range p.Fenced {
		var ways []string
		if f.LeaseProves() {
			ways = append(ways, fmt.Sprintf("%s have passed since step 1 was done on the last node that lived (the lease, both clocks' errors, margin, last effects; `failoverd pause` hands out leases to the end of the pause: then not before that)", s.Policy.Lease.Wait(0).Round(100*time.Millisecond)))
		}
		if slices.Contains(f.Proof, failover.Confirmed) {
			ways = append(ways, "you have seen every one of its processes gone, in the control plane or on the machines")
		}
		ways = append(ways, "its machines are off, and you know it from somebody who would know")
		out = append(out, fmt.Sprintf("%s: %s", f.Component, strings.Join(ways, "; or ")))
	}
	if len(out) == 0 {
		out = append(out, "the plan names no critical component")
	}
	return out
}

func nodeNames(s *failover.Settings) []string {
	var out []string
	for id, n := range s.Nodes {
		out = append(out, fmt.Sprintf("%s (%s, %s)", id, n.Vantage, n.Address))
	}
	slices.Sort(out)
	return out
}

// plain is JSON on one line.
func plain(params json.RawMessage) string {
	if len(params) == 0 || string(params) == "{}" {
		return ""
	}
	return string(params)
}

func (c *ECSServiceConfig) byHand(region failover.Region, _ []failover.Region) (do []string, see string) {
	where := fmt.Sprintf("--region %s --cluster %s", word(string(region)), word(c.Cluster))
	do = []string{
		fmt.Sprintf("aws ecs update-service %s --service %s --desired-count %d", where, word(c.Service), c.Count),
		fmt.Sprintf("aws ecs describe-services %s --services %s --query 'services[0].[desiredCount,runningCount,pendingCount]'", where, word(c.Service)),
		fmt.Sprintf("aws ecs list-tasks %s --service-name %s", where, word(c.Service)),
	}
	if c.Count == 0 {
		do = append([]string{fmt.Sprintf("aws application-autoscaling register-scalable-target --region %s --service-namespace ecs --scalable-dimension ecs:service:DesiredCount --resource-id %s --min-capacity 0 --suspended-state DynamicScalingInSuspended=true,DynamicScalingOutSuspended=true,ScheduledScalingSuspended=true   # if the service has an autoscaler",
			word(string(region)), word("service/"+c.Cluster+"/"+c.Service))}, do...)
		return do, "it shows 0, 0, 0 and no task; a count alone is no proof: a task whose machine is cut off runs on"
	}
	return do, fmt.Sprintf("at least %d run and none is pending; leave a larger count as it is", c.Count)
}

func (c *EC2InstancesConfig) byHand(region failover.Region, _ []failover.Region) (do []string, see string) {
	where := "--region " + word(string(region))
	ids, which := strings.Join(c.IDs[region], " "), ""
	if which = "--instance-ids " + ids; len(c.Tags) > 0 {
		which = "--filters"
		for _, k := range slices.Sorted(maps.Keys(c.Tags)) {
			which += " " + word("Name=tag:"+k+",Values="+c.Tags[k])
		}
		do = append(do, fmt.Sprintf("IDS=$(aws ec2 describe-instances %s %s Name=instance-state-name,Values=pending,running,stopping,stopped --query 'Reservations[].Instances[].InstanceId' --output text); echo $IDS   # go on only if these are the ones", where, which))
		ids, which = "$IDS", "--instance-ids $IDS"
	}
	verb := "stop"
	if c.Running {
		verb = "start"
	}
	do = append(do, fmt.Sprintf("aws ec2 %s-instances %s --instance-ids %s", verb, where, ids),
		fmt.Sprintf("aws ec2 describe-instances %s %s --query 'Reservations[].Instances[].[InstanceId,State.Name,StateReason.Code]' --output text", where, which))
	if !c.Running {
		return do, "every one is stopped; stopping is not stopped"
	}
	return append(do, fmt.Sprintf("aws ec2 describe-instance-status %s %s --query 'InstanceStatuses[].[InstanceId,SystemStatus.Status,InstanceStatus.Status]' --output text", where, which)),
		"every one is running, and both its status checks are ok"
}

// opening reports whether a start only lifts what an earlier failover has left.
func opening(st failover.Step) bool {
	c, err := Decode(st.Action, st.Version, st.Params)
	n, ok := c.(*NACLConfig)
	return err == nil && ok && n.Opens
}

func (c *NACLConfig) byHand(region failover.Region, _ []failover.Region) (do []string, see string) {
	if c.Opens {
		return c.backByHand(region)
	}
	where, acl := "--region "+word(string(region)), word(c.ACL[region])
	do = append(do, fmt.Sprintf("aws ec2 describe-network-acls %s --network-acl-ids %s --query 'NetworkAcls[].Entries[].[RuleNumber,RuleAction]' --output text   # go on only if each says deny", where, acl))
	for _, id := range slices.Sorted(maps.Keys(c.Subnets[region])) {
		do = append(do,
			fmt.Sprintf("aws ec2 describe-network-acls %s --filters %s --query 'NetworkAcls[].Associations[].[SubnetId,NetworkAclAssociationId,NetworkAclId]' --output text   # note the last of the line of %s: it is the way back", where, word("Name=association.subnet-id,Values="+id), word(id)),
			fmt.Sprintf("aws ec2 replace-network-acl-association %s --association-id ASSOCIATION --network-acl-id %s   # ASSOCIATION is the second of that line", where, acl))
	}
	return do, fmt.Sprintf("each of the subnets has %s", c.ACL[region])
}

// backByHand implements backByHand.
func (c *NACLConfig) backByHand(region failover.Region) (do []string, see string) {
	where, acl := "--region "+word(string(region)), c.ACL[region]
	previous := "PREVIOUS   # ASSOCIATION is the second of that line, PREVIOUS what %s had before: what made the subnet says which"
	if open := c.Open[region]; open != "" {
		previous = word(open) + "   # ASSOCIATION is the second of the line of %s"
	}
	for _, id := range slices.Sorted(maps.Keys(c.Subnets[region])) {
		do = append(do,
			fmt.Sprintf("aws ec2 describe-network-acls %s --filters %s --query 'NetworkAcls[].Associations[].[SubnetId,NetworkAclAssociationId,NetworkAclId]' --output text   # go on only if the last of the line of %s is %s", where, word("Name=association.subnet-id,Values="+id), word(id), word(acl)),
			fmt.Sprintf("aws ec2 replace-network-acl-association %s --association-id ASSOCIATION --network-acl-id "+previous, where, word(id)))
	}
	return do, fmt.Sprintf("none of the subnets has %s", acl)
}

func (c *LambdaEventSourceConfig) byHand(region failover.Region, _ []failover.Region) (do []string, see string) {
	flag := map[bool]string{true: "--enabled", false: "--no-enabled"}[c.Enabled]
	for _, f := range c.Functions {
		do = append(do,
			fmt.Sprintf("aws lambda list-event-source-mappings --region %s --function-name %s --query 'EventSourceMappings[].[UUID,State]' --output text", word(string(region)), word(f)),
			fmt.Sprintf("aws lambda update-event-source-mapping --region %s %s --uuid UUID   # for each UUID of the list", word(string(region)), flag))
	}
	if c.Enabled {
		return do, "each is Enabled"
	}
	return do, "each is Disabled, and the functions' longest time-out has passed since: what was running runs on until then"
}

func (c *ScheduleConfig) byHand(region failover.Region, _ []failover.Region) (do []string, see string) {
	where := "--region " + word(string(region))
	verb, state := "disable", "DISABLED"
	if c.Enabled {
		verb, state = "enable", "ENABLED"
	}
	for _, n := range c.Rules {
		bus, name := splitName(n)
		do = append(do, fmt.Sprintf("aws events %s-rule %s --event-bus-name %s --name %s", verb, where, word(bus), word(name)),
			fmt.Sprintf("aws events describe-rule %s --event-bus-name %s --name %s --query State", where, word(bus), word(name)))
	}
	for _, n := range c.Schedules {
		group, name := splitName(n)
		get := fmt.Sprintf("aws scheduler get-schedule %s --group-name %s --name %s", where, word(group), word(name))
		file := word(string(region) + "-" + group + "-" + name + ".json")
		do = append(do, fmt.Sprintf("%s > before-%s   # keep it: it is the way back", get, file),
			fmt.Sprintf(`jq 'del(.Arn, .CreationDate, .LastModificationDate) | .State = "%s"' before-%s > change-%s`, state, file, file),
			fmt.Sprintf("aws scheduler update-schedule %s --cli-input-json file://change-%s   # all fields: what is left out is reset", where, file),
			get+" --query State")
	}
	if c.Enabled {
		return do, "each is ENABLED"
	}
	return do, fmt.Sprintf("each is DISABLED, and %s have passed since, and the time for which their retry policies deliver late: a day, unless MaximumRetryAttempts is 0", c.settle()+c.LongestRun.D())
}

func (c *KubernetesConfig) byHand(region failover.Region, _ []failover.Region) (do []string, see string) {
	kubectl := "kubectl"
	if c.Kubeconfig != "" {
		kubectl += " --kubeconfig " + word(c.Kubeconfig)
		if c.Context != "" {
			kubectl += " --context " + word(c.Context)
		}
	} else {
		do = append(do, fmt.Sprintf("aws eks update-kubeconfig --region %s --name %s --kubeconfig %s", word(string(region)), word(c.EKS), word("kube-"+string(region))))
		kubectl += " --kubeconfig " + word("kube-"+string(region))
	}
	kubectl += " -n " + word(c.Namespace)
	// Another component may have workloads in the namespace: by then its step has changed them.
	first := slices.Concat(c.Deployments, c.StatefulSets, c.CronJobs)[0]
	do = append(do, kubectl+" get deployments,statefulsets,cronjobs,hpa -o wide > "+word("before-"+string(region)+"-"+c.Namespace+"-"+first+".txt")+"   # keep it: it is the way back")
	note := "--all autoscaling.keda.sh/paused-replicas=0   # where KEDA is installed, for those of these workloads; an hpa with a minimum of 0 needs 1"
	if c.Count > 0 {
		note = "--all autoscaling.keda.sh/paused-replicas- autoscaling.keda.sh/paused-   # where KEDA is installed, for those of these workloads"
	}
	do = append(do, kubectl+" annotate --overwrite scaledobjects "+note)
	for _, list := range []struct {
		kind  string
		names []string
	}{{"deployment/", c.Deployments}, {"statefulset/", c.StatefulSets}} {
		for _, n := range list.names {
			do = append(do, fmt.Sprintf("%s scale %s --replicas %d", kubectl, word(list.kind+n), c.Count))
		}
	}
	for _, n := range c.CronJobs {
		do = append(do, fmt.Sprintf(`%s patch %s -p '{"spec":{"suspend":%t}}'`, kubectl, word("cronjob/"+n), c.Count == 0))
	}
	do = append(do, kubectl+" get pods -o wide", strings.Replace(kubectl, " -n "+word(c.Namespace), "", 1)+" get nodes")
	if c.Count > 0 {
		return do, fmt.Sprintf("at least %d pods of each are Ready; leave a larger count as it is", c.need())
	}
	return do, "no pod of theirs is left, also none that is Terminating; one on a node that is NotReady may run whatever stands there"
}

func (c *Route53WeightsConfig) byHand(region failover.Region, regions []failover.Region) (do []string, see string) {
	names := make([]string, len(c.Names))
	for i, n := range c.Names {
		names[i] = `"` + strings.TrimSuffix(n, ".") + `."`
	}
	other := regions[0]
	if other == region {
		other = regions[1]
	}
	of := func(r failover.Region) string {
		if id, ok := c.Identifiers[r]; ok {
			return fmt.Sprintf("== %q", id)
		}
		return fmt.Sprintf("| contains(%q)", r)
	}
	// The longer name first: us-east-10 contains us-east-1.
	first, second, weights := region, other, [2]int{fullWeight, 0}
	if len(other) > len(region) {
		first, second, weights = other, region, [2]int{0, fullWeight}
	}
	do = []string{
		fmt.Sprintf("aws route53 list-resource-record-sets --hosted-zone-id %s > before-records.json   # keep it: it is the way back", word(c.Zone)),
		fmt.Sprintf(`jq '[%s] as $names | {Changes: [.ResourceRecordSets[] | select(.Weight != null and (.Name | IN($names[]))) | .Weight = (if (.SetIdentifier %s) then %d elif (.SetIdentifier %s) then %d else error("unknown record " + .SetIdentifier) end) | {Action: "UPSERT", ResourceRecordSet: .}]}' before-records.json > change-records.json`,
			strings.Join(names, ", "), of(first), weights[0], of(second), weights[1]),
		fmt.Sprintf("aws route53 change-resource-record-sets --hosted-zone-id %s --change-batch file://change-records.json   # one batch: all or nothing; never 0/0", word(c.Zone)),
	}
	for _, n := range c.Names {
		do = append(do, "dig +short "+word(n))
	}
	return do, "every name server of the zone answers with the addresses of " + string(region) + "; clients follow within the records' TTL"
}

func (c *GateConfig) byHand(region failover.Region, _ []failover.Region) (do []string, see string) {
	return []string{"# nothing: without failoverd its gates are silent, which means \"serve\"; another switch moves clients to " + string(region)}, "another switch is seen"
}

func (c *S3ObjectConfig) byHand(region failover.Region, _ []failover.Region) (do []string, see string) {
	where := fmt.Sprintf("--region %s --bucket %s --key %s", word(string(c.Region)), word(c.Bucket), word(c.Key))
	do = []string{
		fmt.Sprintf("ETAG=$(aws s3api get-object %s before-object.txt --query ETag --output text)   # keep the file: it is the way back; where there is no object yet, both numbers below become 1", where),
		"TOKEN=$(( $(sed -n 's/.* token=\\([0-9]*\\).*/\\1/p' before-object.txt) + 1 )) EPOCH=$(( $(sed -n 's/.* epoch=\\([0-9]*\\).*/\\1/p' before-object.txt) + 1 ))",
		fmt.Sprintf(`printf 'failoverd service={service} %stoken=%%s epoch=%%s\n' "$TOKEN" "$EPOCH" > now-object.txt`, MatchRegion(region)),
		fmt.Sprintf(`aws s3api put-object %s --body now-object.txt --content-type text/plain --if-match "$ETAG"   # where there is no object yet: --if-none-match '*' instead; refused, somebody else has written: look who`, where),
	}
	return do, "every name server of the zone answers with the addresses of " + string(region) + ", once the health check has read it three times"
}

func (c *MariaDBRestoreConfig) byHand(region failover.Region, _ []failover.Region) (do []string, see string) {
	host, port, _ := strings.Cut(c.Servers[region], ":")
	at := fmt.Sprintf("--host=%s --port=%s --user=%s --password", word(host), word(port), word(c.User))
	do = []string{
		fmt.Sprintf("aws s3api list-objects-v2 --region %s --bucket %s --prefix %s --query 'sort_by(Contents,&LastModified)[-3:].[Key,Size,LastModified]' --output text   # the newest is the last", region, word(c.Bucket), word(c.Prefix)),
		fmt.Sprintf("aws s3 cp --region %s s3://%s/KEY - > backup.sql   # KEY is its name; with .gz: - | zcat > backup.sql, with .zst: - | zstdcat > backup.sql", region, word(c.Bucket)),
		`tail -1 backup.sql   # "-- Dump completed on ...", or it is not whole: take the one before`,
		fmt.Sprintf("mariadb-dump %s --single-transaction --routines --events --databases %s > %s   # what stands there now: the way back", at, words(c.Databases), word("before-"+host+".sql")),
		fmt.Sprintf("mariadb %s --execute 'SET GLOBAL event_scheduler=OFF'   # it needs SUPER: the events of a backup are on", at),
		fmt.Sprintf("mariadb %s --comments < backup.sql   # a backup of one database without its name: the name behind --comments", at),
	}
	return do, "the last command has said nothing, and the newest rows are of the day of the backup"
}

func (c *MongoPromoteConfig) byHand(region failover.Region, _ []failover.Region) (do []string, see string) {
	options := ""
	if c.TLS {
		options += " --tls"
		if c.CAFile != "" {
			options += " --tlsCAFile " + word(c.CAFile)
		}
	}
	if c.Username != "" {
		options += " --authenticationDatabase admin --username " + word(c.Username)
	}
	shell := func(m, eval string) string {
		return fmt.Sprintf("mongosh --host %s%s --eval %s", word(m), options, word(eval))
	}
	for _, m := range c.Members[region] {
		do = append(do, shell(m, "const s = rs.status(); [s.members.map(m => [m.name, m.stateStr, m.health]), s.optimes.appliedOpTime]"))
	}
	survivor := c.Members[region][0]
	var keep []string
	for _, m := range c.Members[region] {
		keep = append(keep, fmt.Sprintf("%q", m))
	}
	do = append(do,
		"# If a majority is alive, raise the priorities of these members on the primary (rs.conf(), rs.reconfig()), and wait. Only if it is lost, and nothing in the other region can run as a primary any more:",
		shell(survivor, fmt.Sprintf("const c = rs.conf(); c.members = c.members.filter(m => [%s].includes(m.host)).map(m => ({_id: m._id, host: m.host, tags: m.tags, votes: 1, priority: 1})); c.version++; rs.reconfig(c, {force: true})", strings.Join(keep, ", ")))+
			"   # on the one with the newest appliedOpTime; leave those out that are gone",
		shell(survivor, "db.getSiblingDB('failoverd').canary.updateOne({_id: 'runbook'}, {$set: {at: new Date()}}, {upsert: true, writeConcern: {w: 'majority', wtimeout: 10000}})"),
	)
	return do, "one member of the region is PRIMARY and has acknowledged the write of the last command. A member that was left out comes back only with an empty data directory"
}

func words(names []string) string {
	var out []string
	for _, n := range names {
		out = append(out, word(n))
	}
	return strings.Join(out, " ")
}

func (c *ExecConfig) byHand(failover.Region, []failover.Region) (do []string, see string) {
	var env []string
	for k, v := range c.Env {
		env = append(env, k+"="+word(v))
	}
	slices.Sort(env)
	line := func(argv []string) string {
		words := slices.Clone(env)
		for _, a := range argv {
			words = append(words, word(a))
		}
		return strings.Join(words, " ")
	}
	return []string{line(append([]string{c.Command}, c.Args...)), line(c.Inspect) + "; echo $?"}, "the second command ends with status 0"
}

func (c *HTTPCallConfig) byHand(region failover.Region, _ []failover.Region) (do []string, see string) {
	// printf and the program must see the same bytes: one variable, written twice.
	call := func(method, to, body string) string {
		path := to
		if u, err := url.Parse(to); err == nil {
			path = u.RequestURI()
		}
		line := fmt.Sprintf(`T=$(date +%%s); S=$(printf '%%s.%s.%%s.%%s' "$T" %s "$BODY" | openssl dgst -sha256 -hmac "$(cat %s)" -r | cut -d' ' -f1); curl -sS -H "Failoverd-Signature: t=$T,v1=$S"`, method, word(path), word(c.SecretFile))
		if body == "" {
			return "BODY=; " + line + " " + word(to)
		}
		return "BODY=" + word(body) + "$TOKEN'}'; " + line + ` -H 'Content-Type: application/json' -H "Idempotency-Key: $T" --data-binary "$BODY" ` + word(to)
	}
	do = []string{
		"TOKEN=1   # one more than the highest that the receiver has seen, or it refuses the call",
		call("POST", c.URL, fmt.Sprintf(`{"service":"{service}","action":"do","region":"%s","token":`, region)),
		call("GET", c.Inspect, ""),
	}
	return do, `the answer to the second call says "state":"present"`
}

func (c *ApprovalConfig) byHand(failover.Region, []failover.Region) (do []string, see string) {
	return []string{"# " + c.Message}, "you have done it"
}

// word quotes what a shell would not take as one word.
func word(s string) string {
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool {
		return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./:@%+=,", r))
	}) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
