package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling"
	astypes "github.com/aws/aws-sdk-go-v2/service/autoscaling/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/smithy-go"

	"github.com/failoverd/failoverd/internal/cloud"
)

// tasks looks at what the tasks of each service are made of.
func (p *capacity) tasks(ctx context.Context, s *stock, here *holding) {
	if here.err != nil {
		s.failed("cluster "+p.cfg.Cluster, "DescribeServices", here.err, map[string]string{"ClusterNotFoundException": "create it, with its services"})
		return
	}
	secrets := map[string]string{} // by what is written, the services that want it
	for _, name := range slices.Sorted(maps.Keys(p.cfg.Tasks)) {
		svc, ok := here.services[name]
		switch {
		case !ok:
			s.add(&s.bad, "service %s is not in cluster %s in %s (DescribeServices has no such service): create it there", name, p.cfg.Cluster, s.region)
			continue
		case aws.ToString(svc.Status) != "ACTIVE":
			s.add(&s.bad, "service %s in %s is %s: create it again", name, s.region, aws.ToString(svc.Status))
			continue
		}
		if n := svc.NetworkConfiguration; n != nil && n.AwsvpcConfiguration != nil {
			s.needs = append(s.needs, addressNeed{"tasks of " + name, p.cfg.Tasks[name] - int(svc.RunningCount), n.AwsvpcConfiguration.Subnets})
		}
		if svc.LaunchType == types.LaunchTypeEc2 || svc.LaunchType == types.LaunchTypeExternal {
			s.add(&s.notes, "the room on the container instances that %s runs on was not looked at", name)
		}
		arn := aws.ToString(svc.TaskDefinition)
		what := "task definition " + arn[strings.LastIndexByte(arn, '/')+1:] + " of " + name
		def := here.defs[name]
		switch {
		case def.err != nil:
			s.failed(what, "DescribeTaskDefinition", def.err, map[string]string{"ClientException": "register it there, and let the service use it"})
			continue
		case def.Status != types.TaskDefinitionStatusActive:
			// A service goes on scaling with it, and cannot be created or updated with it.
			// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/deregister-task-definition-v2.html
			s.add(&s.tight, "%s in %s is %s: register it again, and let the service use it", what, s.region, def.Status)
		default:
			s.add(&s.had, "%s", what)
		}
		for _, c := range def.ContainerDefinitions {
			s.image(name, aws.ToString(c.Name), here.images[name+"/"+aws.ToString(c.Name)])
			for _, from := range secretsOf(c) {
				secrets[from] = name
			}
		}
	}
	var wg sync.WaitGroup
	for from, name := range secrets {
		wg.Go(func() { p.secret(ctx, s, name, from) })
	}
	wg.Wait()
}

// image judges what the region's registry says of a container's image.
func (s *stock) image(service, container string, i image) {
	what := fmt.Sprintf("image %s of %s/%s", i.written, service, container)
	switch {
	case i.reference.region == "":
		s.add(&s.notes, "%s lies in no private registry of ECR and was not looked at", what)
	case i.reference.region != string(s.region):
		s.add(&s.bad, "%s lies in the registry of %s, which may be what failed: push it to %s, or let ECR replicate it, and name that one in the task definition there", what, i.reference.region, s.region)
	case i.err != nil:
		remedy := "push it there; replication brings only what was pushed after its rule was made, unless it is backfilled"
		s.failed(what, "DescribeImages", i.err, map[string]string{"ImageNotFoundException": remedy, "RepositoryNotFoundException": "create the repository, and " + remedy})
	default:
		s.add(&s.had, "%s", what)
	}
}

// secretsOf lists what a container is given from Secrets Manager and Parameter Store.
func secretsOf(c types.ContainerDefinition) (out []string) {
	secrets := c.Secrets
	if c.LogConfiguration != nil {
		secrets = append(slices.Clone(secrets), c.LogConfiguration.SecretOptions...)
	}
	for _, s := range secrets {
		from := aws.ToString(s.ValueFrom)
		if !strings.HasPrefix(from, "arn:") {
			from = "parameter " + from // a bare name is a parameter's
		}
		out = append(out, from)
	}
	if r := c.RepositoryCredentials; r != nil {
		out = append(out, aws.ToString(r.CredentialsParameter)) // a bare name is a secret's
	}
	return out
}

// secret looks at a secret without reading its value: whether it is in the region, is
// about to be deleted, and has a value. Whether the task may decrypt it is not told.
// A secret of Secrets Manager is in one region unless it is replicated, and each replica
// has an ARN of its own.
// https://docs.aws.amazon.com/AmazonECS/latest/developerguide/secrets-envvar-secrets-manager.html
// https://docs.aws.amazon.com/secretsmanager/latest/userguide/replicate-secrets.html
func (p *capacity) secret(ctx context.Context, s *stock, service, from string) {
	what := "secret " + from + " of " + service
	part := strings.Split(from, ":")
	id := from
	switch arn := len(part) > 6 || len(part) > 5 && part[2] == "ssm"; {
	case strings.HasPrefix(from, "parameter "):
		s.add(&s.notes, "%s of %s was not looked at: parameters of Parameter Store are not", from, service)
		return
	case arn && part[3] != string(s.region):
		s.add(&s.bad, "%s lies in %s, which may be what failed: replicate it to %s, and name that one in the task definition there", what, part[3], s.region)
		return
	case arn && part[2] == "ssm":
		s.add(&s.notes, "%s of %s was not looked at: parameters of Parameter Store are not", part[len(part)-1], service)
		return
	case arn:
		id = strings.Join(part[:7], ":") // behind it stand a JSON key, a stage and a version
	}
	out, err := p.deps.Cloud.SecretsManager(string(s.region)).DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: &id}, func(o *secretsmanager.Options) { o.RetryMaxAttempts = 1 })
	if err != nil {
		s.failed(what, "DescribeSecret", err, map[string]string{"ResourceNotFoundException": "replicate it there; the ARN of a replica names the region"})
		return
	}
	current := false
	for _, stages := range out.VersionIdsToStages {
		current = current || slices.Contains(stages, "AWSCURRENT")
	}
	switch {
	case out.DeletedDate != nil:
		s.add(&s.bad, "%s in %s is to be deleted, and gives no value: restore it", what, s.region)
	case !current:
		s.add(&s.bad, "%s in %s has no current value: put one", what, s.region)
	default:
		s.add(&s.had, "%s", what)
	}
}

// addresses holds what wants addresses against the subnets that have them. What a
// subnet has left counts stopped instances as if they ran.
// https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_Subnet.html
func (p *capacity) addresses(ctx context.Context, s *stock) {
	var ids []string
	for _, n := range s.needs {
		ids = append(ids, n.subnets...)
	}
	if slices.Sort(ids); len(ids) == 0 {
		return
	}
	ids = slices.Compact(ids)
	out, err := p.deps.Cloud.EC2(string(s.region)).DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: ids}, onceEC2)
	if err != nil {
		s.failed("subnets "+few(ids), "DescribeSubnets", err, map[string]string{"InvalidSubnetID.NotFound": "name subnets that exist in the service's network configuration, or in the group"})
		return
	}
	free, all, need := map[string]int{}, 0, 0
	for _, n := range out.Subnets {
		left := int(aws.ToInt32(n.AvailableIpAddressCount))
		if aws.ToBool(n.Ipv6Native) { // it has no IPv4 address to count, and more of the others than anybody uses
			left = 1 << 20
		}
		free[aws.ToString(n.SubnetId)] = left
		all += left
	}
	short := false
	for _, n := range s.needs {
		has := 0
		for _, id := range slices.Compact(slices.Sorted(slices.Values(n.subnets))) {
			has += free[id]
		}
		if need += max(n.n, 0); n.n > has {
			short = true
			s.add(&s.bad, "%d addresses are free in %s in %s, and %d more %s need one each: free some, or add a subnet", has, few(n.subnets), s.region, n.n, n.who)
		}
	}
	switch {
	case short:
	case need > all:
		s.add(&s.bad, "%d addresses are free in %s in %s, and %d are needed for all that is to be launched: free some, or add a subnet", all, few(ids), s.region, need)
	default:
		s.add(&s.had, "%d free addresses for %d that are needed", all, need)
	}
}

func onceEC2(o *ec2.Options) { o.RetryMaxAttempts = 1 }

// group looks at an Auto Scaling group, and with dry_run asks for its instances.
func (p *capacity) group(ctx context.Context, s *stock, g CapacityGroup) {
	out, err := p.deps.Cloud.AutoScaling(string(s.region)).DescribeAutoScalingGroups(ctx, &autoscaling.DescribeAutoScalingGroupsInput{AutoScalingGroupNames: []string{g.Name}},
		func(o *autoscaling.Options) { o.RetryMaxAttempts = 1 })
	switch {
	case err != nil:
		s.failed("group "+g.Name, "DescribeAutoScalingGroups", err, nil)
		return
	case len(out.AutoScalingGroups) != 1:
		s.add(&s.bad, "group %s is not in %s (DescribeAutoScalingGroups has no such group): create it there", g.Name, s.region)
		return
	}
	is := out.AutoScalingGroups[0]
	subnets := strings.FieldsFunc(aws.ToString(is.VPCZoneIdentifier), func(r rune) bool { return r == ',' || r == ' ' })
	s.mu.Lock()
	s.needs = append(s.needs, addressNeed{"instances of " + g.Name, g.Count - len(is.Instances), subnets})
	s.mu.Unlock()
	s.add(&s.had, "group %s", g.Name)
	if len(subnets) == 0 {
		s.add(&s.notes, "group %s names no subnets, and no addresses were looked at for it", g.Name)
	}
	if !p.cfg.DryRun {
		return
	}
	from, kind := template(is)
	if from == nil {
		s.add(&s.notes, "group %s has no launch template, and no dry run was made for it", g.Name)
		return
	}
	for _, subnet := range subnets {
		p.dryRun(ctx, s, g.Name, subnet, from, kind)
	}
}

// template is what a group launches from, and the first instance type that it would
// take if it does not leave that to the template.
func template(g astypes.AutoScalingGroup) (*ec2types.LaunchTemplateSpecification, string) {
	from, kind := g.LaunchTemplate, ""
	if m := g.MixedInstancesPolicy; from == nil && m != nil && m.LaunchTemplate != nil {
		from = m.LaunchTemplate.LaunchTemplateSpecification
		for _, o := range m.LaunchTemplate.Overrides {
			kind = cmp.Or(kind, aws.ToString(o.InstanceType))
		}
	}
	if from == nil {
		return nil, ""
	}
	out := &ec2types.LaunchTemplateSpecification{Version: from.Version, LaunchTemplateId: from.LaunchTemplateId}
	if out.LaunchTemplateId == nil {
		out.LaunchTemplateName = from.LaunchTemplateName
	}
	return out, kind
}

// dryRun asks for one instance and gets none. It succeeds with an error.
func (p *capacity) dryRun(ctx context.Context, s *stock, group, subnet string, from *ec2types.LaunchTemplateSpecification, kind string) {
	what := "an instance of group " + group + " in " + subnet
	_, err := p.deps.Cloud.EC2(string(s.region)).RunInstances(ctx, &ec2.RunInstancesInput{DryRun: aws.Bool(true), MinCount: aws.Int32(1), MaxCount: aws.Int32(1),
		LaunchTemplate: from, InstanceType: ec2types.InstanceType(kind), SubnetId: &subnet}, onceEC2)
	switch code := cloud.ErrorCode(err); {
	case code == "DryRunOperation":
		s.add(&s.had, "%s may be asked for", what)
	case err == nil:
		err = errors.New("it was answered as if it were none, which AWS never does: look for an instance that should not be")
		s.failed(what, "RunInstances (a dry run)", err, nil)
	case strings.HasPrefix(code, "Invalid") || code == "Unsupported" || code == "VcpuLimitExceeded":
		s.add(&s.bad, "%s would be refused in %s (RunInstances, a dry run, was answered with %s: %s): put the launch template right", what, s.region, code, message(err))
	default:
		s.failed(what, "RunInstances (a dry run)", err, nil)
	}
}

// compare holds the region against the other one: what is live there must be there as
// well, and the quotas must hold what it uses.
func (p *capacity) compare(s *stock, here, there *holding) {
	other := p.other()
	uncompared := func(what string, err error) {
		why := "nobody said which the other region is"
		if err != nil {
			why = string(other) + " did not tell: " + awsError("the call", err).detail
		}
		s.add(&s.notes, "%s could not be compared (%s)", what, why)
	}
	if len(p.cfg.Tasks) > 0 && (other == "" || there.err != nil) {
		uncompared("images", there.err)
	}
	for _, key := range slices.Sorted(maps.Keys(here.images)) {
		is, live := here.images[key], there.images[key]
		switch {
		case is.digest == "": // said already
		case live.err != nil:
			uncompared("the image of "+key, live.err)
		case live.digest != "" && live.digest != is.digest:
			s.add(&s.tight, "the image of %s in %s is %s, and %s has %s: push or replicate the same one", key, s.region, is.digest, other, live.digest)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(p.cfg.Quotas)) {
		q := here.quotas[key]
		what := fmt.Sprintf("quota %s (%s)", key, q.name)
		if q.err != nil {
			s.failed("quota "+key, "Service Quotas", q.err, map[string]string{"NoSuchResourceException": "look for the service code and the quota code in Service Quotas"})
			continue
		}
		const ask = "ask AWS for more in Service Quotas, which may take days"
		live, least := there.quotas[key], p.cfg.Quotas[key]
		switch {
		case least > 0 && q.value < least:
			s.add(&s.bad, "%s is %s in %s, and must be %s: %s", what, number(q.value), s.region, number(least), ask)
		case least > 0: // it says what is needed
		case other == "" || live.err != nil:
			uncompared(what, live.err)
			continue
		case !live.measured && q.value < live.value:
			s.add(&s.tight, "%s is %s in %s, and %s in %s: %s", what, number(q.value), s.region, number(live.value), other, ask)
			continue
		case !live.measured:
		case q.value < live.used:
			s.add(&s.bad, "%s is %s in %s, and %s uses %s: %s", what, number(q.value), s.region, other, number(live.used), ask)
			continue
		case q.value < live.used+q.used:
			s.add(&s.tight, "%s is %s in %s, where %s are used, and %s uses %s: together it may be too little; %s", what, number(q.value), s.region, number(q.used), other, number(live.used), ask)
			continue
		}
		s.add(&s.had, "%s of %s", what, number(q.value))
	}
}

// message is an API error's own words.
func message(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorMessage()
	}
	return err.Error()
}
