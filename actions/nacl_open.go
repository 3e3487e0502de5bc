package actions

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// naclOpening gives the subnets that are cut off in the region that is entered the network ACL of other days. It touches
// none that has another one, whoever gave it. It reads the associations alone: whether the fence would be one does not
// matter here. What was there, and whether it is so again, it tells as the stop does. It has no inventory: the subnets are
// those that the configuration names, and one that it names no more is no reason to leave the others cut off.
type naclOpening struct{ nacl }

// Inspect implements Action.
func (x *naclOpening) Inspect(ctx context.Context) (Effect, error) {
	has, err := x.associations(ctx)
	if err != nil {
		return Effect{}, err
	}
	was := map[string]string{}
	var closed, unseen []string
	for _, id := range x.subnets() {
		switch a, seen := has[id]; {
		case !seen:
			unseen = append(unseen, id)
		case a.acl == x.cfg.ACL[x.region]:
			closed = append(closed, id)
			fallthrough
		default:
			was[id] = a.acl
		}
	}
	previous, err := json.Marshal(was)
	if err != nil {
		return Effect{}, err
	}
	n := len(x.subnets())
	e := Effect{Previous: previous, Detail: fmt.Sprintf("%d of %d subnets in %s are not cut off", n-len(closed)-len(unseen), n, x.region)}
	if len(unseen) > 0 {
		// There is none of that ID, or it would have one: nothing is cut off there. Readiness tells of it beforehand; after
		// the fence nobody waits for it.
		e.Lacks = fmt.Sprintf("%s show no network ACL, and every subnet has one: look at their IDs", strings.Join(unseen, ", "))
		e.Detail += "; " + e.Lacks
	}
	switch {
	case len(unseen) == n:
		e.State = Unknown
	case len(closed) == n:
		e.State = Absent
	case len(closed) > 0:
		e.State = Partial
	default:
		e.State = Present
	}
	if len(closed) > 0 {
		e.Detail += fmt.Sprintf("; %s still denies everything to %s", x.cfg.ACL[x.region], strings.Join(closed, ", "))
	}
	return e, nil
}

// Do implements Action.
func (x *naclOpening) Do(ctx context.Context, a Attempt) error {
	return x.replace(ctx, a, func(id, acl string) string {
		if acl == x.cfg.ACL[x.region] {
			return x.cfg.Open[x.region]
		}
		return acl
	})
}

// Undo implements Action: a subnet that was cut off is so again, if it has what this step gave it.
func (x *naclOpening) Undo(ctx context.Context, a Attempt) error {
	var was map[string]string
	if err := json.Unmarshal(a.Previous, &was); err != nil {
		return fmt.Errorf("reading the previous network ACLs: %w", err)
	}
	return x.replace(ctx, a, func(id, acl string) string {
		if acl == x.cfg.Open[x.region] && was[id] == x.cfg.ACL[x.region] {
			return was[id]
		}
		return acl
	})
}

// replace gives each subnet that shows what it has what wants says, of that.
func (x *naclOpening) replace(ctx context.Context, a Attempt, wants func(id, acl string) string) error {
	has, err := x.associations(ctx)
	if err != nil {
		return err
	}
	want := map[string]string{}
	for id, is := range has {
		want[id] = wants(id, is.acl)
	}
	return x.set(ctx, a, has, want)
}

// Overtaken implements Witness.
func (x *naclOpening) Overtaken(now Effect, previous json.RawMessage) string {
	was, is, ok := x.both(now, previous)
	if !ok {
		return ""
	}
	var says []string
	for _, id := range x.subnets() {
		if acl := is[id]; was[id] == x.cfg.ACL[x.region] && acl != was[id] && acl != x.cfg.Open[x.region] && acl != "" {
			says = append(says, fmt.Sprintf("subnet %s was cut off and has %s now", id, acl))
		}
	}
	return strings.Join(says, "; ")
}
