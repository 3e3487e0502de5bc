package demo

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/world"
)

// thereAndBack lets a person bring the service to us-east-2 while us-east-1 lives, and home again. What MariaDB holds is taken along both ways.
func (d *demo) thereAndBack(ctx context.Context) error {
	d.c.W.Note(ctx, "switchover")
	var err error
	if d.lossAt, err = d.c.NoteTime(ctx, "switchover"); err != nil {
		return err
	}
	d.show.lost(d.lossAt)
	if err := d.switchOver(ctx, world.E1, "use2a", "a power test is due"); err != nil {
		return err
	}
	if err := d.served(ctx, world.Secondary); err != nil {
		return err
	}
	if err := d.switchOver(ctx, world.E2, "use1a", "the power test is over"); err != nil {
		return err
	}
	if err := d.served(ctx, world.Primary); err != nil {
		return err
	}
	if err := d.c.W.PauseProviders(ctx, true); err != nil {
		return err
	}
	if err := d.c.Drain(ctx, 20*time.Second); err != nil {
		return err
	}
	if !d.maria {
		return nil
	}
	n, err := d.c.W.OnlyIn(ctx, world.Secondary, world.Primary)
	if err != nil {
		return err
	}
	if n > 0 {
		return fmt.Errorf("%d deliveries stand in the MariaDB of us-east-2 alone: they were left behind", n)
	}
	d.show.say("every delivery that was written down in us-east-2 stands in the MariaDB of us-east-1")
	return nil
}

// switchOver has the service leave a site that lives.
func (d *demo) switchOver(ctx context.Context, site, node, why string) error {
	before := uint64(0)
	if s := d.show.status(); s != nil && s.Last != nil {
		before = s.Last.ID
	}
	if _, err := d.c.CLI(ctx, node, "switchover", "--why", why); err != nil {
		return err
	}
	d.show.say(`a person runs: failoverd switchover --why "` + why + `"`)
	// A region that lives serves whoever keeps a connection to it: its operators close its balancers once the clients are sent on.
	until := func(what string, ok func(s *harness.Status, e *harness.Execution) bool) error {
		return d.c.Poll(ctx, d.real(8*time.Minute), func() (bool, string) {
			s := d.show.status()
			if s == nil || s.Current() == nil || s.Current().ID == before {
				return false, what
			}
			return ok(s, s.Current()), what
		})
	}
	if err := until("the clients to be sent on", func(_ *harness.Status, e *harness.Execution) bool {
		return e.StepState("check-traffic-traffic_observed") == "running" || e.State == "stable"
	}); err != nil {
		return d.stuck(err)
	}
	if err := d.c.W.Fault(ctx, site, faults.Fault{Service: "alb", Mode: faults.Refuse}); err != nil {
		return err
	}
	d.show.say("the clients are sent on; the balancers that they came from are closed")
	ended := errors.New("")
	if err := until("the service to be stable", func(s *harness.Status, e *harness.Execution) bool {
		ended = fmt.Errorf("the execution ended as %s: %s", e.State, e.Outcome)
		return s.Execution == nil
	}); err != nil {
		return d.stuck(err)
	}
	if s := d.show.status(); s.Last.State != "stable" {
		return ended
	}
	d.show.say("stable: " + d.show.status().Last.Outcome)
	return d.c.W.ClearFaults(ctx, site)
}

// served waits until a region has worked for a while.
func (d *demo) served(ctx context.Context, region string) error {
	before, err := d.c.W.Record(ctx)
	if err != nil {
		return err
	}
	return d.c.Poll(ctx, 20*time.Second, func() (bool, string) {
		r, err := d.c.W.Record(ctx)
		return err == nil && r.Regions[region].Processed > before.Regions[region].Processed+20, region + " to work"
	})
}
