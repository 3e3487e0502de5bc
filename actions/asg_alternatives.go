package actions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/autoscaling/types"

	"github.com/failoverd/failoverd/failover"
)

// This file holds what a start does when AWS lacks capacity: it asks other groups for what the
// first cannot launch. How many is told by what AWS shows of all groups at that moment and stands
// in the log before they are asked; nothing else is remembered. So a leader that knows nothing of
// an earlier one finds what that has asked for among what still may come, and asks for the rest
// alone. What it does not know is for how long launches have failed: its patience begins anew.
//
// No group is made smaller for what another brings, since that could end an instance that has just
// come. So what a group that lacks capacity brings later is too many: all together at most Count
// for each group, and a person takes the rest away.

// asgPatience is ASGConfig.Patience if it is zero. A group of several zones tries them all within it.
const asgPatience = time.Minute

func (c *ASGConfig) patience() time.Duration { return cmp.Or(c.Patience.D(), asgPatience) }

// Groups are all groups, in the order in which they are asked.
func (c *ASGConfig) Groups() []string { return append([]string{c.Group}, c.Alternatives...) }

func (c *ASGConfig) validAlternatives() error {
	for i, name := range c.Alternatives {
		switch {
		case name == "":
			return badParam("alternatives", "one of them has no name")
		case slices.Contains(c.Groups()[:i+1], name):
			return badParam("alternatives", "%q is listed twice, or is the group itself", name)
		}
	}
	switch {
	case c.Patience < 0:
		return badParam("patience", "%s is negative", c.Patience)
	case c.Patience > 0 && len(c.Alternatives) == 0:
		return badParam("patience", "is for alternatives, and there are none")
	}
	return nil
}

// asgs are a group and its alternatives.
type asgs struct {
	cfg    *ASGConfig
	groups []*asg
	short  []time.Time // by group: since when this process sees it short of capacity; zero: it is not
}

func (c *ASGConfig) withAlternatives(d Deps) *asgs {
	g := &asgs{cfg: c}
	for _, name := range c.Groups() {
		g.groups = append(g.groups, c.group(d, name))
	}
	g.short = make([]time.Time, len(g.groups))
	return g
}

// Idempotent says that Do is absolute.
func (g *asgs) Idempotent() {}

// Ages implements Aging.
func (g *asgs) Ages() time.Duration { return g.groups[0].Ages() }

// asgsPrevious is what Undo puts back, and what Do asks for.
type asgsPrevious struct {
	Groups []*asgPrevious `json:"groups"` // as ASGConfig.Groups; nil: it does not exist
	// Ask is the desired capacity that each is asked for besides the first; zero: none is
	// asked for. Nil: of none.
	Ask []int32 `json:"ask,omitempty"`
}

// read reads what Inspect has written. It fails unless that is of as many groups.
func (g *asgs) read(previous json.RawMessage) (p asgsPrevious, err error) {
	if err := json.Unmarshal(previous, &p); err != nil {
		return p, fmt.Errorf("reading the previous sizes: %w", err)
	}
	if len(p.Groups) != len(g.groups) || len(p.Ask) != 0 && len(p.Ask) != len(g.groups) || p.Groups[0] == nil {
		return p, fmt.Errorf("reading the previous sizes: they are of %d groups, and there are %d", len(p.Groups), len(g.groups))
	}
	return p, nil
}

// Inspect implements Action.
func (g *asgs) Inspect(ctx context.Context) (Effect, error) {
	var p asgsPrevious
	all := make([]*types.AutoScalingGroup, len(g.groups))
	for i, one := range g.groups {
		group, was, err := one.describe(ctx)
		switch {
		case err == nil:
			all[i] = group
			p.Groups = append(p.Groups, &was)
		case errors.Is(err, errNoGroup) && i > 0 && g.cfg.Count > 0: // the others can be started without it
			p.Groups = append(p.Groups, nil)
		default:
			return Effect{}, err
		}
	}
	var e Effect
	var err error
	if g.cfg.Count == 0 {
		e, err = g.emptied(ctx, all, p)
	} else {
		e = g.filled(ctx, all, &p)
	}
	if err != nil {
		return Effect{}, err
	}
	e.Previous, err = json.Marshal(p)
	return e, err
}

// emptied is Present when every group is.
func (g *asgs) emptied(ctx context.Context, all []*types.AutoScalingGroup, p asgsPrevious) (Effect, error) {
	out := Effect{State: Present, Ending: true}
	var details []string
	for i, one := range g.groups {
		e, err := one.emptied(ctx, all[i], *p.Groups[i])
		if err != nil {
			return out, err
		}
		details = append(details, e.Detail)
		out.Inventory += e.Inventory
		out.Over = cmp.Or(out.Over, e.Over)
		out.State = min(out.State, e.State) // half a stop is Absent, too
		out.Ending = out.Ending && (e.State == Present || e.Ending)
	}
	out.Ending = out.Ending && out.State != Present
	out.Detail = strings.Join(details, "; ")
	return out, nil
}

// asgSeen is what a look shows of one group of a start.
type asgSeen struct {
	*asgPrevious
	serving  int  // in service and healthy
	coming   int  // serving, or on the way there
	hindered bool // what it launches would not serve
	short    bool // AWS has lacked capacity for it for longer than our patience
}

// filled counts what serves in all groups, and finds out what to ask the alternatives for.
func (g *asgs) filled(ctx context.Context, all []*types.AutoScalingGroup, p *asgsPrevious) Effect {
	var e Effect
	var lacks []string
	var why string
	seen := make([]asgSeen, len(all))
	serving, elsewhere := 0, 0
	sizes := make([]string, len(all))
	for i, group := range all {
		one := g.groups[i]
		if group == nil {
			lacks = append(lacks, fmt.Sprintf("the alternative %s does not exist in %s: create it, or check the name", one.cfg.Group, one.region))
			continue
		}
		s := asgSeen{asgPrevious: p.Groups[i], serving: inService(group), coming: onTheWay(group), hindered: len(one.hindered(*p.Groups[i])) > 0}
		sizes[i] = fmt.Sprintf("%s desired %d, %d instances, %d in service and healthy", one.cfg.Group, s.Desired, len(group.Instances), s.serving)
		if small := one.tooSmall(*s.asgPrevious); small != "" {
			lacks = append(lacks, small)
		}
		said := ""
		s.short, said = g.isShort(ctx, i, s)
		why += said
		switch {
		case i == 0:
			serving += s.serving
		case !s.hindered: // else they get no clients, or are not replaced when they fail
			stay := min(s.serving, int(s.Desired)) // the others are about to be ended
			serving += stay
			elsewhere += stay
		}
		seen[i] = s
	}
	e.Detail = fmt.Sprintf("%d in service and healthy of %d in %s: %s", serving, g.cfg.need(), g.groups[0].region, strings.Join(slices.DeleteFunc(sizes, func(s string) bool { return s == "" }), ", "))
	first := seen[0]
	switch {
	case elsewhere >= g.cfg.Count, serving >= g.cfg.need() && int(first.Desired) >= g.cfg.Count && !first.hindered:
		e.State = Present
		return e
	case int(first.Desired) < g.cfg.Count:
		if e.State, e.Lacks = Absent, strings.Join(lacks, "; "); e.Lacks != "" {
			e.Detail += "; " + e.Lacks
		}
		return e
	}
	e.State = Partial
	e.Detail += why
	if first.hindered {
		e.Over = "suspended: " + strings.Join(g.groups[0].hindered(*first.asgPrevious), ", ")
		e.Detail += "; " + e.Over
	}
	if serving < g.cfg.need() {
		g.ask(&e, seen, p)
	}
	return e
}

// onTheWay counts the instances that serve, or will: the others have been lost, or are leaving.
func onTheWay(group *types.AutoScalingGroup) int {
	n := 0
	for _, i := range group.Instances {
		if aws.ToString(i.HealthStatus) == "Healthy" && (i.LifecycleState == types.LifecycleStateInService || strings.HasPrefix(string(i.LifecycleState), "Pending")) {
			n++
		}
	}
	return n
}

// isShort reports whether AWS has lacked capacity for a group for longer than our patience, and says
// why its launches fail. The patience is counted by this process, from the first look that saw both
// that instances are missing and that AWS says so: what failed before they were asked for tells
// nothing yet, and is among its activities as well.
func (g *asgs) isShort(ctx context.Context, i int, s asgSeen) (short bool, why string) {
	if s.serving >= int(s.Desired) || i == 0 && int(s.Desired) < g.cfg.Count {
		g.short[i] = time.Time{}
		return false, ""
	}
	said, why := g.groups[i].failed(ctx, "launches of "+g.groups[i].cfg.Group+" failed")
	switch {
	case said == nil && why != "": // the activities could not be read: nothing is known anew
		return false, why
	case s.coming >= int(s.Desired) || !metElsewhere(said):
		g.short[i] = time.Time{}
		return false, why
	case g.short[i].IsZero():
		g.short[i] = time.Now()
	}
	return time.Since(g.short[i]) > g.cfg.patience(), why
}

// metElsewhere reports whether another group may get what this one does not, by why its launches
// fail, the newest first. A lack of capacity is one of a zone and an instance type. A quota is the
// account's in the whole region, and stands in the way of the others as well; what is wrong with a
// template, or with rights, a person has to see and put right, and instances that come from
// elsewhere would hide it. Zones take turns and need not say the same, so that it counts as long as no
// quota has been met since.
func metElsewhere(said []string) bool {
	for _, s := range said {
		switch lackOf(s) {
		case lackOfCapacity:
			return true
		case lackOfQuota:
			return false
		}
	}
	return false
}

// ask finds out how many instances are missing that no group will bring, and of which alternative
// they are asked. Nothing is asked of one that is short itself, or that does not exist.
func (g *asgs) ask(e *Effect, seen []asgSeen, p *asgsPrevious) {
	missing := g.cfg.Count
	for i, s := range seen {
		switch {
		case s.asgPrevious == nil:
		case s.short:
			missing -= s.coming
		case i == 0 || !s.hindered:
			missing -= max(s.coming, int(s.Desired))
		}
	}
	var asked []string
	asks := make([]int32, len(seen))
	lacking := missing
	for i, s := range seen {
		if i == 0 || s.asgPrevious == nil || s.short || missing <= 0 {
			continue
		}
		size := int(s.Desired)
		if s.hindered { // what it has been asked for comes to nothing until it is asked again
			missing -= size
		}
		more := max(0, missing)
		if !g.cfg.RaiseMax {
			more = min(more, max(0, int(s.Max)-size))
		}
		missing -= more
		if size += more; more > 0 || s.hindered && size > 0 {
			asks[i] = int32(size) //nolint:gosec // at most Count more than AWS has shown
			asked = append(asked, fmt.Sprintf("%s for %d", g.groups[i].cfg.Group, size))
		}
	}
	waits, left := false, false // a group may be found short soon; another one may be asked then
	for i, s := range seen {
		waits = waits || !g.short[i].IsZero() && !s.short
		left = left || i > 0 && s.asgPrevious != nil && g.short[i].IsZero()
	}
	switch {
	case len(asked) > 0:
		p.Ask = asks
		e.Over = fmt.Sprintf("%d of %d lack capacity for longer than %s: asking %s", lacking, g.cfg.Count, g.cfg.patience(), strings.Join(asked, ", "))
		e.Detail += "; " + e.Over
	case missing > 0:
		e.Detail += fmt.Sprintf("; of %d no group is left to be asked: they come when AWS has capacity, or from a group that you enlarge", missing)
	case waits && left:
		e.Detail += fmt.Sprintf("; the next alternative is asked when that has lasted for %s", g.cfg.patience())
	}
}

// Do implements Action. What one group refuses keeps nothing from the others.
func (g *asgs) Do(ctx context.Context, a Attempt) error {
	var errs []error
	if g.cfg.Count == 0 {
		for _, one := range g.groups {
			errs = append(errs, one.empty(ctx, a))
		}
		return errors.Join(errs...)
	}
	p, err := g.read(a.Previous)
	if err != nil {
		return err
	}
	errs = append(errs, g.groups[0].fill(ctx, a, *p.Groups[0], int32(g.cfg.Count))) //nolint:gosec // validated
	for i, size := range p.Ask {
		if size > 0 && p.Groups[i] != nil {
			errs = append(errs, g.groups[i].fill(ctx, a, *p.Groups[i], size))
		}
	}
	return errors.Join(errs...)
}

// Undo implements Action.
func (g *asgs) Undo(ctx context.Context, a Attempt) error {
	p, err := g.read(a.Previous)
	if err != nil {
		return err
	}
	var errs []error
	for i, one := range g.groups {
		if p.Groups[i] != nil { // what appeared since is not in the log; Restored looks at it
			errs = append(errs, one.putBack(ctx, a, *p.Groups[i]))
		}
	}
	return errors.Join(errs...)
}

// Restored implements Restorer. A group that has appeared since must have been left alone.
func (g *asgs) Restored(now Effect, previous json.RawMessage) bool {
	was, err := g.read(previous)
	is, err2 := g.read(now.Previous)
	if err != nil || err2 != nil {
		return false
	}
	for i := range g.groups {
		switch w, n := was.Groups[i], is.Groups[i]; {
		case w == nil && n != nil && n.Desired > 0, w != nil && n == nil, w != nil && !w.isBack(*n):
			return false
		}
	}
	return true
}

// Untouched implements Untouchable. Each group is told to launch nothing before anything else
// happens to it; that some instances are wanted keeps groups of 0 from telling anything alone.
func (g *asgs) Untouched(previous json.RawMessage) bool {
	was, err := g.read(previous)
	wanted := false
	for _, p := range was.Groups {
		if err != nil || p == nil || len(both(p.Suspended, returning)) > 0 {
			return false
		}
		wanted = wanted || p.Desired > 0
	}
	return g.cfg.Count == 0 && wanted
}

// Overtaken implements Witness. How many an alternative has been asked for an earlier attempt knew;
// a start takes none away from it.
func (g *asgs) Overtaken(now Effect, previous json.RawMessage) string {
	was, err := g.read(previous)
	is, err2 := g.read(now.Previous)
	if err != nil || err2 != nil {
		return ""
	}
	for i, one := range g.groups {
		w, n := was.Groups[i], is.Groups[i]
		if w == nil || n == nil || i > 0 && g.cfg.Count > 0 && n.Desired >= w.Desired {
			continue
		}
		if why := overtakenCount(g.cfg.Count, int(w.Desired), int(n.Desired), true); why != "" {
			return one.cfg.Group + ": " + why
		}
	}
	return ""
}

func (c *ASGConfig) byHand(region failover.Region, _ []failover.Region) (do []string, see string) {
	for i, name := range c.Groups() {
		where := fmt.Sprintf("--region %s --auto-scaling-group-name %s", word(string(region)), word(name))
		look := fmt.Sprintf("aws autoscaling describe-auto-scaling-groups --region %s --auto-scaling-group-names %s --query 'AutoScalingGroups[0].[MinSize,MaxSize,DesiredCapacity,Instances[].[InstanceId,LifecycleState,HealthStatus]]'", word(string(region)), word(name))
		if c.Count == 0 {
			do = append(do,
				look+" > "+word("before-"+string(region)+"-"+name+".json")+"   # keep it: it is the way back",
				fmt.Sprintf("aws autoscaling suspend-processes %s --scaling-processes %s   # never without the list: that would suspend Terminate as well", where, strings.Join(returning, " ")),
				fmt.Sprintf("aws autoscaling update-auto-scaling-group %s --min-size 0 --desired-capacity 0", where),
				look)
			continue
		}
		size := strconv.Itoa(c.Count)
		if i > 0 {
			size = "$MISSING"
			do = append(do, fmt.Sprintf("MISSING=…   # go on only if launches fail since AWS lacks capacity: how many are missing of %d, plus those that %s has already", c.Count, name))
		}
		do = append(do,
			fmt.Sprintf("aws autoscaling resume-processes %s --scaling-processes %s", where, strings.Join(needed, " ")),
			fmt.Sprintf("%s   # where more than %s are desired already, leave out the next line: it would take the others away", look, size),
			fmt.Sprintf("aws autoscaling update-auto-scaling-group %s --min-size %s --desired-capacity %s", where, size, size),
			look,
			fmt.Sprintf("aws autoscaling describe-scaling-activities %s --max-items 10", where))
	}
	all := ""
	if len(c.Alternatives) > 0 {
		all = ", of all groups together"
	}
	if c.Count == 0 {
		return do, "no instance is left, also none that is Terminating:Wait or protected from scale-in"
	}
	return do, fmt.Sprintf("%d instances are InService and Healthy%s; launches that fail show in the activities only", c.need(), all)
}
