package awsfake

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	ecrtypes "github.com/aws/aws-sdk-go-v2/service/ecr/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// manifest is what is pushed as an image: only its digest counts.
const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json","size":1,"digest":"sha256:01"},"layers":[]}`

// stockSteps are the calls that tell whether something can be launched.
func stockSteps() []step {
	image := func(repository, tag string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.ecr.DescribeImages(ctx, &ecr.DescribeImagesInput{RepositoryName: &repository, ImageIds: []ecrtypes.ImageIdentifier{{ImageTag: &tag}}})
			return or(out, err, func(o *ecr.DescribeImagesOutput) string {
				return fmt.Sprint(len(o.ImageDetails), " ", o.ImageDetails[0].ImageTags)
			})
		}
	}
	secret := func(id func(*sides) string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.secrets.DescribeSecret(ctx, &secretsmanager.DescribeSecretInput{SecretId: aws.String(id(s))})
			return or(out, err, func(o *secretsmanager.DescribeSecretOutput) string {
				for _, stages := range o.VersionIdsToStages {
					return fmt.Sprint(aws.ToString(o.Name), " ", stages)
				}
				return "no version"
			})
		}
	}
	subnet := func(id func(*sides) string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.ec2.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: []string{id(s)}})
			return or(out, err, func(o *ec2.DescribeSubnetsOutput) string {
				return fmt.Sprint(len(o.Subnets), " ", aws.ToInt32(o.Subnets[0].AvailableIpAddressCount))
			})
		}
	}
	launch := func(template, subnet func(*sides) string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			_, err := s.ec2.RunInstances(ctx, &ec2.RunInstancesInput{DryRun: aws.Bool(true), MinCount: aws.Int32(1), MaxCount: aws.Int32(1), SubnetId: aws.String(subnet(s)),
				LaunchTemplate: &ec2types.LaunchTemplateSpecification{LaunchTemplateId: aws.String(template(s))}})
			return code(err)
		}
	}
	definition := func(name string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			out, err := s.ecs.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: &name})
			return or(out, err, func(o *ecs.DescribeTaskDefinitionOutput) string {
				return fmt.Sprint(o.TaskDefinition.Status, " ", aws.ToString(o.TaskDefinition.ContainerDefinitions[0].Image))
			})
		}
	}
	acl := func(ctx context.Context, s *sides) string {
		out, err := s.ec2.DescribeNetworkAcls(ctx, &ec2.DescribeNetworkAclsInput{Filters: []ec2types.Filter{{Name: aws.String("association.subnet-id"), Values: []string{s.subnet}}}})
		return or(out, err, func(o *ec2.DescribeNetworkAclsOutput) string {
			if len(o.NetworkAcls) == 0 {
				return "none"
			}
			for _, a := range o.NetworkAcls[0].Associations {
				if aws.ToString(a.SubnetId) == s.subnet {
					s.association = aws.ToString(a.NetworkAclAssociationId)
				}
			}
			actions := map[ec2types.RuleAction]int{}
			for _, e := range o.NetworkAcls[0].Entries {
				if aws.ToString(e.CidrBlock) != "" { // a VPC without IPv6 has no others
					actions[e.RuleAction]++
				}
			}
			return fmt.Sprint(len(o.NetworkAcls), " ", actions)
		})
	}
	replace := func(to func(*sides) string) func(context.Context, *sides) string {
		return func(ctx context.Context, s *sides) string {
			_, err := s.ec2.ReplaceNetworkAclAssociation(ctx, &ec2.ReplaceNetworkAclAssociationInput{AssociationId: &s.association, NetworkAclId: aws.String(to(s))})
			return code(err)
		}
	}
	none := func(id string) func(*sides) string { return func(*sides) string { return id } }
	theSubnet, theTemplate := func(s *sides) string { return s.subnet }, func(s *sides) string { return s.template }
	return []step{
		{"ecs a task definition", definition("api:1")},
		{"ecs a task definition that is not there", definition("none:1")},
		{"ecr an image", image("web", "1")},
		{"ecr an image that is not there", image("web", "2")},
		{"ecr a repository that is not there", image("none", "1")},
		{"secretsmanager a secret", secret(none("db"))},
		{"secretsmanager a secret by its ARN", secret(func(s *sides) string { return s.secret })},
		{"secretsmanager a secret that is not there", secret(none("none"))},
		{"ec2 the free addresses of a subnet", subnet(theSubnet)},
		{"ec2 a subnet that is not there", subnet(none("subnet-0123456789abcdef0"))},
		{"ec2 the network ACL of a subnet", acl},
		{"ec2 another network ACL", replace(func(s *sides) string { return s.deny })},
		{"ec2 another network ACL by an association that is no more", replace(func(s *sides) string { return s.deny })},
		{"ec2 the network ACL of a subnet then", acl},
		{"ec2 another network ACL that is not there", replace(none("acl-0123456789abcdef0"))},
		{"ec2 a dry run of a launch", launch(theTemplate, theSubnet)},
		{"ec2 a dry run in a subnet that is not there", launch(theTemplate, none("subnet-0123456789abcdef0"))},
		{"ec2 a dry run of a template that is not there", launch(none("lt-0123456789abcdef0"), theSubnet)},
	}
}

// setUpStock makes in moto what those look at.
func setUpStock(ctx context.Context, s *sides) error {
	_, err1 := s.ecr.CreateRepository(ctx, &ecr.CreateRepositoryInput{RepositoryName: aws.String("web")})
	_, err2 := s.ecr.PutImage(ctx, &ecr.PutImageInput{RepositoryName: aws.String("web"), ImageTag: aws.String("1"), ImageManifest: aws.String(manifest)})
	secret, err3 := s.secrets.CreateSecret(ctx, &secretsmanager.CreateSecretInput{Name: aws.String("db"), SecretString: aws.String("x")})
	vpc, err4 := s.ec2.CreateVpc(ctx, &ec2.CreateVpcInput{CidrBlock: aws.String("198.18.3.0/24")})
	template, err5 := s.ec2.CreateLaunchTemplate(ctx, &ec2.CreateLaunchTemplateInput{LaunchTemplateName: aws.String("queue"),
		LaunchTemplateData: &ec2types.RequestLaunchTemplateData{ImageId: aws.String("ami-12c6146b"), InstanceType: ec2types.InstanceTypeT2Micro}})
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return err
	}
	subnet, err := s.ec2.CreateSubnet(ctx, &ec2.CreateSubnetInput{VpcId: vpc.Vpc.VpcId, CidrBlock: aws.String("198.18.3.0/24")})
	if err != nil {
		return err
	}
	deny, err := s.ec2.CreateNetworkAcl(ctx, &ec2.CreateNetworkAclInput{VpcId: vpc.Vpc.VpcId})
	if err != nil {
		return err
	}
	s.deny = *deny.NetworkAcl.NetworkAclId
	s.secret, s.subnet, s.template = *secret.ARN, *subnet.Subnet.SubnetId, *template.LaunchTemplate.LaunchTemplateId
	return nil
}
