// Package iam says what the kinds need of AWS, in the words of IAM policies.
package iam

// Permission is what a kind needs of AWS, as a statement of an IAM policy.
type Permission struct {
	// Acts marks what changes the world; the rest only looks.
	Acts      bool
	Actions   []string // "ecs:DescribeServices"
	Resources []string // ARNs; "*" where the service knows no resource for the action
	// Condition, if any, narrows the resources: operator → key → values.
	Condition Condition
}

// Condition is that of a statement: operator → key → values, one of which must match.
type Condition map[string]map[string][]string
