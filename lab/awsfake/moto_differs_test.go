package awsfake

// differs are the steps in which moto does something else, and who is right by AWS's documentation.
var differs = map[string]string{
	"asg desired beyond the maximum":                            "AWS refuses a desired capacity above the maximum size (API_UpdateAutoScalingGroup)",
	"ecs ListTasks of a service that is not there":              "a service that is not found is an error (API_ListTasks, ServiceNotFoundException)",
	"ecs DescribeTasks of one that is not there":                "what is not found is among the failures, as MISSING (API failure reasons)",
	"lambda right after that":                                   "a change of a mapping takes a while, in which it is Disabling (API_UpdateEventSourceMapping)",
	"logs one of two":                                           "moto knows terms and phrases alone, and gives everything for other patterns (FilterAndPatternSyntax)",
	"logs all without a term":                                   "moto knows terms and phrases alone, and gives everything for other patterns (FilterAndPatternSyntax)",
	"vpc peering that is not there":                             "an ID that does not exist is an error (EC2 error codes)",
	"ec2 start while it stops":                                  "an instance is started once it has stopped; in moto it has at once (StartInstances)",
	"ec2 stop while it starts":                                  "the lifecycle knows no way from pending to stopping; in moto nothing is ever pending",
	"ec2 a dry run in a subnet that is not there":               "what a request names must exist, in a dry run as well (EC2 error codes); moto looks at nothing",
	"ec2 another network ACL by an association that is no more": "an association ID that does not exist is an error (EC2 error codes); moto breaks",
	"ec2 the network ACL of a subnet then":                      "every network ACL ends with the rule 32767, which denies the rest (Custom network ACLs); moto gives a new one none",
	"ec2 a dry run of a template that is not there":             "what a request names must exist, in a dry run as well (EC2 error codes); moto looks at nothing",
	"asg then":                                          "follows from the row above",
	"route53 a batch with one bad change":               "AWS makes all changes of a batch or none, and a DELETE of what is not there is an error (API_ChangeResourceRecordSets)",
	"route53 changed nothing":                           "follows from the row above",
	"route53 a weight of 256":                           "AWS allows 0 to 255 (API_ResourceRecordSet, Weight)",
	"route53 another TTL in the group":                  "all weighted records of a group have one TTL (API_ResourceRecordSet, TTL)",
	"route53 token created again":                       "CREATE of what exists is an error (API_Change)",
	"route53 token replaced by its exact value":         "follows from the row above: moto holds two values, and the DELETE names one",
	"route53 stale writer":                              "a DELETE must name the current value (API_Change); this is what the token rests on",
	"route53 after the stale writer":                    "follows from the row above",
	"route53 the flip":                                  "follows from the stale writer's success",
	"route53 version of a health check after an update": "AWS counts up (API_UpdateHealthCheck, HealthCheckVersion)",
}

// documented is what moto cannot confirm at all: it rests on AWS's documentation alone.
var documented = []string{
	"Asynchrony: PENDING changes of Route 53 and name servers that follow late, tasks and instances that take time, counts that lag, a mapping that is Disabling. In moto everything is done at once.",
	"Health of targets and health checks: moto never looks at anything.",
	"Throttling, 5xx, hanging and lost replies.",
	"Suspended processes of a group, and an autoscaler that puts a count back: moto stores them without effect.",
	"What event source mappings of Lambda start, and a function that is Inactive, Pending or being updated.",
	"CloudWatch as a whole, metrics and alarms: the SDK speaks Smithy's RPC v2 in CBOR, moto the older Query protocol alone.",
	"CloudWatch Logs: events that are found late, and empty pages with others behind them.",
	"ECS: health of tasks, events of a service, deployments that do not come to their end.",
	"VPC peering: that address blocks are told only of an active one, and what comes through.",
	"Failed launches in the scaling activities.",
	"Network ACLs: that what is told of them is behind what was asked for.",
	"Service Quotas: moto has the values of few quotas, and no use of them; a quota of which only the default is known.",
}
