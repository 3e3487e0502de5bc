package actions

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/internal/replset"
)

// This file holds what is looked at on a quiet day and decides nothing of a promotion.

// oplogs is what a person could do so that members that were away come back quickly. What cannot be asked says nothing.
func (x *mongoPromote) oplogs(ctx context.Context) string {
	here := slices.DeleteFunc(slices.Clone(x.places), func(p replset.Place) bool { return p.Region != x.region })
	outage := cmp.Or(x.cfg.Outage.D(), 24*time.Hour)
	return replset.OplogAdvice(replset.Oplogs(ctx, x.access(x.dns), here, x.patience), outage)
}

// forks holds the members that the newest forced promotion has left behind against the primary. One that is back in the set with a history of its
// own looks well in every other way, and would lead with documents that the others have not: that is what the region lacks. Of one that is still
// outside the verdict says whether it has something to save before it is emptied.
func (x *mongoPromote) forks(ctx context.Context, e *Effect, f replset.Finding, views []replset.View) {
	if x.forced == nil || f.Config == nil || f.Primary == "" || x.open {
		return
	}
	member := map[string]bool{} // whether the set's configuration names who is tested
	var left []replset.Place
	for _, v := range views {
		name := cmp.Or(v.Me, v.Host)
		if v.Alive && v.Config != nil && !v.Arbiter && v.Host != f.Primary && !slices.Contains(x.forced.Hosts, name) {
			left, member[v.Host] = append(left, v.Place), f.Config.Member(name) != nil
		}
	}
	var lacks, advice []string
	for _, fork := range replset.ForkTests(ctx, x.access(x.dns), f.Primary, left, x.forced.At, x.patience) {
		switch {
		case member[fork.Host] && fork.Forked():
			lacks = append(lacks, fork.String()+": it was added again with the data that it had, and must be emptied (docs/mongodb.md, the way back)")
		case fork.Forked():
			advice = append(advice, fork.String()+": save what only it has before it is emptied")
		case member[fork.Host] && fork.Err == nil:
		default:
			advice = append(advice, fork.String())
		}
	}
	e.Advice = strings.Join(slices.DeleteFunc(append([]string{e.Advice}, advice...), func(s string) bool { return s == "" }), "; ")
	if len(lacks) > 0 {
		e.Lacks = strings.Join(slices.DeleteFunc(append([]string{e.Lacks}, lacks...), func(s string) bool { return s == "" }), "; ")
	}
}
