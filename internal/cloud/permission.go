package cloud

// Permission is what a kind needs of AWS, as a statement of an IAM policy.
type Permission struct {
	// Acts marks what changes the world; the rest only looks.
	Acts      bool
	Actions   []string // "ecs:DescribeServices"
	Resources []string // ARNs; "*" where the service knows no resource for the action
	// Condition, if any, narrows a "*": operator → key → value.
	Condition map[string]map[string]string
}
