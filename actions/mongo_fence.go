package actions

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/internal/replset"
)

// This file keeps members from leading beside those of the region that is entered. What does it is in their memory only: it ends by itself, and a
// restart forgets it.

const (
	// mongoFenced is how long a member is frozen that is left behind. The hold does it anew at each look as long as it has not heard so, whether it was
	// restarted or not: neither can be told from outside. The length is for when nobody looks.
	mongoFenced = 24 * time.Hour
	// mongoTried is how long it is frozen before anything is forced: longer than the attempt lasts and the next leader takes to find what came of it, and
	// so short that nobody has to thaw by hand what a leader has frozen that died before it has forced.
	mongoTried = 30 * time.Minute
)

// forceBeside forces a promotion beside members that answer: none of them may lead meanwhile, nor afterwards.
func (x *mongoPromote) forceBeside(ctx context.Context, a Attempt, f replset.Finding) error {
	a.Report("freezing %s", strings.Join(f.Alive, ", "))
	if err := x.access(x.bounded(ctx, time.Time{})).Fence(ctx, f.Alive, mongoTried, x.patience); err != nil {
		return x.thaw(ctx, f, fmt.Errorf("nothing was forced, since members that answer could not be kept from leading: %w", err))
	}
	a.Report("%s", f.Detail)
	forcing, cancel := ctx, context.CancelFunc(func() {})
	if d, ok := ctx.Deadline(); ok { // an answer that does not come must leave time for what comes after it
		forcing, cancel = context.WithDeadline(ctx, d.Add(-x.patience))
	}
	err := x.force(forcing, f)
	cancel()
	if err != nil {
		return x.thaw(ctx, f, err)
	}
	if err := x.freeze(ctx, f.Alive); err != nil { // the hold goes on with it, and tells
		a.Report("%s; %v", f.Detail, err)
	}
	return nil
}

// freeze lengthens what was frozen for an attempt, since a promotion has come to pass or may have.
func (x *mongoPromote) freeze(ctx context.Context, hosts []string) error {
	return x.access(x.bounded(ctx, time.Time{})).Freeze(ctx, hosts, mongoFenced, x.patience)
}

// thaw lets members lead again that were fenced for a promotion that did not come to pass: nobody else may be left to lead. While it, or an
// earlier one, may have come to pass after all, or somebody else's has, they stay frozen, and why says so.
func (x *mongoPromote) thaw(ctx context.Context, f replset.Finding, why error) error {
	who := strings.Join(f.Alive, ", ")
	stays := func(reason string) error {
		length := mongoFenced
		err := x.freeze(ctx, f.Alive)
		if err != nil {
			length = mongoTried
		}
		return errors.Join(fmt.Errorf("%w; %s%s stay frozen for %s: `rs.freeze(0)` on each lets them lead again, once it is clear that nobody leads in %s", why, reason, who, length, x.region), err)
	}
	if x.open {
		return stays("")
	}
	looked := time.Now()
	now, views, err := x.look(ctx)
	if err != nil {
		return stays(fmt.Sprintf("the set could not be looked at again (%v), and ", err))
	}
	if x.leads(views) || now.Config.Newer(f.Config) {
		return stays(fmt.Sprintf("the set is another one now (%s), and ", now.Detail))
	}
	for _, host := range f.Keep { // each has to say that it was not promoted
		if !slices.ContainsFunc(views, func(v replset.View) bool {
			return v.Answers() && v.Name != "" && (v.Me == host || v.Host == host) && v.Config != nil
		}) {
			return stays(fmt.Sprintf("whether %s was promoted it does not say, and ", host))
		}
	}
	if err := x.access(x.bounded(ctx, x.until(looked))).Thaw(ctx, f.Alive, x.patience); err != nil { // nothing was forced, and nobody has to know more
		return fmt.Errorf("%w; %s stay frozen for %s at most: `rs.freeze(0)` on each lets them lead again before (%w)", why, who, mongoTried, err)
	}
	// Once more: somebody may have promoted meanwhile.
	if _, views, err = x.look(ctx); err == nil && x.leads(views) {
		if err := x.access(x.bounded(ctx, time.Time{})).Fence(ctx, f.Alive, mongoFenced, x.patience); err != nil {
			return fmt.Errorf("%w; %s leads now, and %s could not be kept from leading beside it: %w", why, x.region, who, err)
		}
	}
	return why
}

// fence keeps rivals from leading, and the members that would follow them. Without a rival it does nothing.
func (x *mongoPromote) fence(ctx context.Context, a Attempt, views []replset.View) error {
	r := replset.RivalsOf(x.cfg.ReplicaSet, x.region, views, x.forced)
	switch {
	case len(r.Rivals) > 0:
		a.Report("%s leads beside %s: it is made to step down", strings.Join(r.Rivals, ", "), x.region)
		return x.access(x.bounded(ctx, time.Time{})).Fence(ctx, slices.Concat(r.Rivals, r.Followers), mongoFenced, x.patience)
	case len(r.Beyond) > 0:
		return errors.New(x.beyond(r))
	}
	return nil
}

// Renew implements Renewer: members that were left behind, and do not know it, are frozen anew. One that leads by now is told of and left to the next
// look, which raises the alarm: nobody steps down without it.
func (x *mongoPromote) Renew(ctx context.Context, _ Attempt) error {
	_, views, err := x.judge(ctx)
	if err != nil {
		return err
	}
	r := replset.RivalsOf(x.cfg.ReplicaSet, x.region, views, x.forced)
	if !r.Known || len(r.Rivals)+len(r.Beyond) > 0 {
		return nil
	}
	if err := x.freeze(ctx, r.Left); err != nil {
		return fmt.Errorf("members that %s has left behind could not be kept from leading beside it; stop them, and keep them stopped: %w", x.region, err)
	}
	return nil
}

// beyond says of a second primary that it has the newer configuration.
func (x *mongoPromote) beyond(r replset.Rivalry) string {
	return fmt.Sprintf("%s is writable by a newer configuration than the one by which %s is led, which knows nothing of it: somebody has forced it since. Nobody is fenced: stop one of both sides by hand, and keep it stopped", strings.Join(r.Beyond, ", "), x.region)
}
