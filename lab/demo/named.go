package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/world"
)

// staysHome reports whether the service stays in us-east-1.
func (d *demo) staysHome() bool {
	return d.Scenario == "blip" || d.Scenario == "control-plane-impaired" || d.Scenario == "zone-down"
}

// named breaks a part of us-east-1 for longer than the hold. The daemon must name what it is, tell people, and touch nothing.
func (d *demo) named(ctx context.Context) error {
	fault, what := faults.Fault{Service: "ecs", Mode: faults.Hang}, "the ECS API of us-east-1 answers nobody any more; what it has launched works on"
	if d.Scenario == "zone-down" {
		fault, what = faults.Fault{Service: "alb", Target: "b", Mode: faults.Refuse}, "zone b of us-east-1 is dark: one of the load balancer's three addresses"
	}
	if err := d.c.W.Fault(ctx, world.E1, fault); err != nil {
		return err
	}
	d.lossAt = time.Now()
	d.show.lost(d.lossAt)
	d.show.say(what)
	if err := d.c.Poll(ctx, 40*time.Second, func() (bool, string) {
		s := d.show.status()
		return s != nil && s.Condition == d.Scenario, "the condition " + d.Scenario
	}); err != nil {
		return err
	}
	// Longer than the hold after which a dark region is left.
	s := d.show.status()
	d.show.say("named: " + s.Condition + ": " + s.Sentence)
	for end := time.Now().Add(s.Hold.D() + 3*time.Second); time.Now().Before(end); {
		if now := d.show.status(); now != nil && (now.Current() != nil || now.Freeze != nil || now.Epoch != 1) {
			return fmt.Errorf("a part of a region led to something: execution %v, freeze %v, epoch %d", now.Current(), now.Freeze, now.Epoch)
		}
		if err := sleep(ctx, 200*time.Millisecond); err != nil {
			return d.stuck(err)
		}
	}
	messages, err := d.c.W.SlackMessages(ctx)
	if err != nil {
		return err
	}
	told := false
	for _, m := range messages {
		told = told || strings.Contains(fmt.Sprint(m), d.Scenario)
	}
	if !told {
		return fmt.Errorf("nobody was told of %s", d.Scenario)
	}
	d.show.say("longer than the hold has passed; people were told, and nothing was touched")
	if err := d.c.W.ClearFaults(ctx, world.E1); err != nil {
		return err
	}
	if err := d.c.WaitHealthy(ctx, 40*time.Second, nil); err != nil {
		return err
	}
	return d.nothingHappened(ctx)
}
