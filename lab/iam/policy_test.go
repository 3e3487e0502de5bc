package iam

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func policy(t *testing.T, statements string) Policy {
	t.Helper()
	p, err := Parse([]byte(`{"Version": "2012-10-17", "Statement": [` + statements + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestAllows(t *testing.T) {
	const service = "arn:aws:ecs:us-east-1:123456789012:service/prod/api"
	keys := func(kv ...string) map[string][]string {
		out := map[string][]string{}
		for i := 0; i < len(kv); i += 2 {
			out[kv[i]] = append(out[kv[i]], kv[i+1])
		}
		return out
	}
	for _, c := range []struct {
		name, statements string
		r                Request
		want             bool
	}{
		{"nothing allows it", ``, Request{"ecs:UpdateService", service, nil}, false},
		{"the very thing", `{"Effect": "Allow", "Action": "ecs:UpdateService", "Resource": "` + service + `"}`, Request{"ecs:UpdateService", service, nil}, true},
		{"another action", `{"Effect": "Allow", "Action": "ecs:UpdateService", "Resource": "*"}`, Request{"ecs:DeleteService", service, nil}, false},
		{"a longer action", `{"Effect": "Allow", "Action": "ecs:Update", "Resource": "*"}`, Request{"ecs:UpdateService", service, nil}, false},
		{"an action by pattern, of any case", `{"Effect": "Allow", "Action": "ECS:update*", "Resource": "*"}`, Request{"ecs:UpdateService", service, nil}, true},
		{"one of several actions", `{"Effect": "Allow", "Action": ["ecs:DeleteService", "ecs:UpdateService"], "Resource": ["*"]}`, Request{"ecs:UpdateService", service, nil}, true},
		{"any account", `{"Effect": "Allow", "Action": "ecs:UpdateService", "Resource": "arn:aws:ecs:us-east-1:*:service/prod/api"}`, Request{"ecs:UpdateService", service, nil}, true},
		{"another region", `{"Effect": "Allow", "Action": "ecs:UpdateService", "Resource": "arn:aws:ecs:us-east-2:*:service/prod/api"}`, Request{"ecs:UpdateService", service, nil}, false},
		{"a resource of another case", `{"Effect": "Allow", "Action": "ecs:UpdateService", "Resource": "arn:aws:ecs:us-east-1:*:service/prod/API"}`, Request{"ecs:UpdateService", service, nil}, false},
		{"the longer name", `{"Effect": "Allow", "Action": "ecs:UpdateService", "Resource": "arn:aws:ecs:us-east-1:*:service/prod/ap"}`, Request{"ecs:UpdateService", service, nil}, false},
		{"one character", `{"Effect": "Allow", "Action": "ecs:UpdateService", "Resource": "arn:aws:ecs:us-east-?:*:service/prod/ap?"}`, Request{"ecs:UpdateService", service, nil}, true},
		{"one character is not none", `{"Effect": "Allow", "Action": "ecs:UpdateService", "Resource": "arn:aws:ecs:us-east-1:*:service/prod/api?"}`, Request{"ecs:UpdateService", service, nil}, false},
		{"an ARN where the action knows no resource", `{"Effect": "Allow", "Action": "ec2:DescribeSubnets", "Resource": "arn:aws:ec2:us-east-1:*:subnet/*"}`, Request{"ec2:DescribeSubnets", Any, nil}, false},
		{"who denies wins", `{"Effect": "Allow", "Action": "*", "Resource": "*"}, {"Effect": "Deny", "Action": "ecs:*", "Resource": "*"}`, Request{"ecs:UpdateService", service, nil}, false},
		{"who denies something else", `{"Effect": "Deny", "Action": "ecs:*", "Resource": "*"}, {"Effect": "Allow", "Action": "*", "Resource": "*"}`, Request{"sqs:SendMessage", "arn:aws:sqs:us-east-1:1:q", nil}, true},
		{"equal", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/role": "relay"}}}`, Request{"ec2:StopInstances", "i", keys("aws:ResourceTag/role", "relay")}, true},
		{"a key of another case", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"AWS:resourcetag/role": "relay"}}}`, Request{"ec2:StopInstances", "i", keys("aws:ResourceTag/role", "relay")}, true},
		{"a value of another case", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/role": "Relay"}}}`, Request{"ec2:StopInstances", "i", keys("aws:ResourceTag/role", "relay")}, false},
		{"equal knows no pattern", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"aws:ResourceTag/role": "rel*"}}}`, Request{"ec2:StopInstances", "i", keys("aws:ResourceTag/role", "relay")}, false},
		{"a key that the request lacks", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringLike": {"s3:prefix": "*"}}}`, Request{"s3:ListBucket", "b", nil}, false},
		{"like", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringLike": {"s3:prefix": "mariadb/app/*"}}}`, Request{"s3:ListBucket", "b", keys("s3:prefix", "mariadb/app/")}, true},
		{"not like", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringLike": {"s3:prefix": "mariadb/app/*"}}}`, Request{"s3:ListBucket", "b", keys("s3:prefix", "mariadb/")}, false},
		{"both keys must hold", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"a": "1", "b": "2"}}}`, Request{"x:Y", "r", keys("a", "1", "b", "3")}, false},
		{"both operators must hold", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"a": "1"}, "StringLike": {"b": "2*"}}}`, Request{"x:Y", "r", keys("a", "1", "b", "3")}, false},
		{"one of the values", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringEquals": {"a": ["1", "2"]}}}`, Request{"x:Y", "r", keys("a", "2")}, true},
		{"ARNs are alike", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"ArnLike": {"ecs:cluster": "arn:aws:ecs:us-east-1:*:cluster/prod"}}}`, Request{"ecs:ListTasks", "r", keys("ecs:cluster", "arn:aws:ecs:us-east-1:123456789012:cluster/prod")}, true},
		{"a star of an ARN ends with its part", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"ArnLike": {"ecs:cluster": "arn:aws:ecs:*:cluster/prod"}}}`, Request{"ecs:ListTasks", "r", keys("ecs:cluster", "arn:aws:ecs:us-east-1:123456789012:cluster/prod")}, false},
		{"the last part of an ARN has colons", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"ArnLike": {"lambda:FunctionArn": "arn:aws:lambda:us-east-1:*:function:f"}}}`, Request{"lambda:UpdateEventSourceMapping", "r", keys("lambda:FunctionArn", "arn:aws:lambda:us-east-1:1:function:f")}, true},
		{"all values", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"ForAllValues:StringEquals": {"n": ["a", "b"]}}}`, Request{"x:Y", "r", keys("n", "a", "n", "b")}, true},
		{"one value too many", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"ForAllValues:StringEquals": {"n": ["a", "b"]}}}`, Request{"x:Y", "r", keys("n", "a", "n", "c")}, false},
		{"all of no values", `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"ForAllValues:StringEquals": {"n": ["a", "b"]}}}`, Request{"x:Y", "r", nil}, true},
	} {
		if got := Allows([]Policy{policy(t, c.statements)}, c.r); got != c.want {
			t.Errorf("%s: allowed %t, want %t", c.name, got, c.want)
		}
	}
}

// A word that the evaluator passed over would allow what IAM refuses, or the other way round.
func TestParseRefusesWhatItDoesNotKnow(t *testing.T) {
	for want, statement := range map[string]string{
		"NotAction":         `{"Effect": "Allow", "NotAction": "ecs:*", "Resource": "*"}`,
		"NotResource":       `{"Effect": "Allow", "Action": "*", "NotResource": "*"}`,
		"Principal":         `{"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*"}`,
		"StringNotEquals":   `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringNotEquals": {"a": "b"}}}`,
		"ForAnyValue":       `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"ForAnyValue:StringEquals": {"a": "b"}}}`,
		"variables":         `{"Effect": "Allow", "Action": "*", "Resource": "arn:aws:s3:::${aws:username}"}`,
		"effect":            `{"Effect": "allow", "Action": "*", "Resource": "*"}`,
		"lacks":             `{"Effect": "Allow", "Action": "*"}`,
		"neither a string":  `{"Effect": "Allow", "Action": 7, "Resource": "*"}`,
		"variables are not": `{"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {"StringLike": {"a": ["${b}"]}}}`,
	} {
		if _, err := Parse([]byte(`{"Version": "2012-10-17", "Statement": [` + statement + `]}`)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v", want, err)
		}
	}
	if _, err := Parse([]byte(`{"Version": "2008-10-17", "Statement": []}`)); err == nil {
		t.Error("the older version, which has other rules, is taken")
	}
}

func TestSpare(t *testing.T) {
	p := policy(t, `{"Effect": "Allow", "Action": ["ecs:A", "ecs:B"], "Resource": ["arn:1", "arn:2"]},
		{"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:3", "Condition": {"StringLike": {"s3:prefix": "x/*"}}}`)
	list := Request{"s3:ListBucket", "arn:3", map[string][]string{"s3:prefix": {"x/y"}}}
	for _, c := range []struct {
		name   string
		needed []Request
		want   string
	}{
		{"all is needed", []Request{{"ecs:A", "arn:1", nil}, {"ecs:B", "arn:2", nil}, list}, ""},
		{"an action", []Request{{"ecs:A", "arn:1", nil}, {"ecs:A", "arn:2", nil}, list}, "ecs:B on arn:1, arn:2"},
		{"a resource", []Request{{"ecs:A", "arn:1", nil}, {"ecs:B", "arn:1", nil}, list}, "resource arn:2"},
		{"the right action at another place", []Request{{"ecs:A", "arn:1", nil}, {"ecs:B", "arn:2", nil}, {"s3:ListBucket", "arn:4", list.Keys}}, "s3:ListBucket on arn:3"},
		{"a condition that never holds", []Request{{"ecs:A", "arn:1", nil}, {"ecs:B", "arn:2", nil}, {"s3:ListBucket", "arn:3", nil}}, "s3:ListBucket on arn:3"},
	} {
		if got := strings.Join(p.Spare(c.needed), "; "); got != c.want {
			t.Errorf("%s: spare %q, want %q", c.name, got, c.want)
		}
	}
}

func TestLoad(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "iam")
	if roles, err := Load(dir); roles != nil || err != nil {
		t.Errorf("no directory: %v, error %v: want nil", roles, err)
	}
	write := func(path, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, path), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const empty = `{"Version": "2012-10-17", "Statement": []}`
	write("look/observe.json", empty)
	write("act/observe.json", empty)
	write("act/act.json", empty)
	roles, err := Load(dir)
	if err != nil || len(roles["look"]) != 1 || len(roles["act"]) != 2 || len(roles) != 2 {
		t.Errorf("roles %v, error %v", roles, err)
	}
	write("act/wrong.json", `{`)
	if _, err := Load(dir); err == nil {
		t.Error("a policy that cannot be read is passed over")
	}
}
