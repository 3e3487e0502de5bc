package failover

// Condition is the name of what is wrong with the active region. "" means
// nothing.
type Condition string

// The conditions. Only RegionDown moves a region; every other pages with its
// name and what it means.
const (
	RegionDown   Condition = "region-down"
	ServiceDown  Condition = "service-down"
	ZoneDown     Condition = "zone-down"
	Partitioned  Condition = "partitioned"
	ControlPlane Condition = "control-plane-impaired"
	Brownout     Condition = "brownout"
	SelfIsolated Condition = "self-isolated"
	FollowedUs   Condition = "failure-followed-us"
	NoAutonomy   Condition = "no-autonomy"
	Disagreement Condition = "disagreement"
)

// ConditionInfo describes a condition: one row of the table that people are
// shown.
type ConditionInfo struct {
	Code Condition
	// Meaning is the sentence that goes with every page.
	Meaning string
	// Needs is what has to be seen for the condition to be named.
	Needs string
	// Allows is what may follow without a person.
	Allows string
}

// Conditions is the table of all conditions, gravest first. docs/conditions.md
// is generated from it.
var Conditions = []ConditionInfo{
	{RegionDown, "every vantage outside the region sees it down; failover is the remedy",
		"every vantage outside that has an opinion, at least two, sees two kinds of signals or more down; no node inside that is connected sees the region healthy",
		"prepare steps after prepare_after; a failover after the whole hold, if no guard objects"},
	{FollowedUs, "the other region fails in the same way: moving would not help, and may be the cause",
		"region-down, and the other region is seen down by a vantage while none outside it sees it up",
		"nothing; a running execution stops and asks"},
	{Partitioned, "vantages outside see the region down, while nodes inside are connected and see it healthy: a person must decide",
		"what region-down needs, but a node inside the region that is connected to the leader and sees its references says that the region works",
		"nothing"},
	{Disagreement, "vantages outside the region disagree; nothing is done while one of them sees it up",
		"one vantage outside sees the region down and another does not",
		"nothing"},
	{SelfIsolated, "our own nodes are blind: that says nothing about the region",
		"every fresh vote from outside the region abstains, because its node sees none of its references",
		"nothing; no vote counts"},
	{NoAutonomy, "fewer than two vantages outside the region can see it: nothing is decided automatically",
		"fewer than two vantages outside have a fresh opinion",
		"nothing"},
	{ZoneDown, "a part of the addresses of the region is dark while the rest answers: a zone, not the region",
		"at least one vantage outside sees some, not all, addresses behind a signal dark, and no signal is down",
		"nothing"},
	{ServiceDown, "some signals are down, but too few kinds of them to call it the region; look at the service",
		"a vantage outside sees a signal down, but fewer than two kinds",
		"nothing"},
	{ControlPlane, "the region's control plane is impaired, or calls something unhealthy, while its data plane serves: launches and changes there may fail",
		"only signals of the control plane are down",
		"nothing"},
	{Brownout, "the region is slow or partly failing; slow is not dead",
		"a vantage outside sees signals slow or flapping, and none down",
		"nothing"},
}

// serves reports whether the region serves its clients under the condition: a
// control plane that complains is no reason to leave, nor to stay suspicious.
func (c Condition) serves() bool { return c == "" || c == ControlPlane }

// dark reports whether the condition means that nobody who looks sees the region
// alive, from outside or within.
func (c Condition) dark() bool { return c == RegionDown || c == FollowedUs }

// Info returns the condition's row; the zero value for "" and unknown codes.
func (c Condition) Info() ConditionInfo {
	for _, i := range Conditions {
		if i.Code == c {
			return i
		}
	}
	return ConditionInfo{}
}

// Meaning explains the condition in one sentence.
func (c Condition) Meaning() string { return c.Info().Meaning }
