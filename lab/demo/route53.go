package demo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/world"
)

// killRoute53 makes every call to Route 53's control plane hang, for the rest of the run. Its name servers and health checkers
// go on, as they did on 7 December 2021.
func (d *demo) killRoute53(ctx context.Context) error {
	if err := d.c.W.Fault(ctx, world.Net, faults.Fault{Service: "route53", Mode: faults.Hang}); err != nil {
		return err
	}
	d.show.say("Route 53's control plane answers nobody any more; its name servers and health checkers go on")
	return nil
}

// wipe kills every node, one after the other, and removes its disk. Clients must stay where they are: nothing of failoverd is
// left that could say so.
func (d *demo) wipe(ctx context.Context) error {
	weights, err := d.c.Weights(ctx, "api.example.net")
	if err != nil {
		return err
	}
	if weights[world.Primary] != 255 {
		return fmt.Errorf("the weights are %v: Route 53 was to be dead, and traffic to move without it", weights)
	}
	for _, node := range append([]string{"third", "use2a", "use2b"}, "use1a", "use1b") {
		if err := d.c.KillNode(ctx, node); err != nil {
			return err
		}
		if err := os.RemoveAll(d.c.Data(node)); err != nil {
			return fmt.Errorf("wipe the disk of %s: %w", node, err)
		}
		d.show.say("kill -9 of " + node + ", and its disk is wiped")
		if err := d.stays(ctx, d.real(12*time.Second)); err != nil {
			return fmt.Errorf("after the death of %s: %w", node, err)
		}
	}
	d.show.say("no node is left; the records still have the weights 255/0, and only the object in us-east-2 speaks")
	// Longer than a health check takes to change its mind, and the records' TTL.
	if err := d.stays(ctx, d.real(60*time.Second)); err != nil {
		return err
	}
	d.show.say(fmt.Sprintf("%d DNS answers since the first node died, all of them us-east-2", d.answers))
	return nil
}

// stays asks every name server for every name, again and again, and fails at the first answer that is not us-east-2.
func (d *demo) stays(ctx context.Context, long time.Duration) error {
	for end := time.Now().Add(long); time.Now().Before(end); {
		for _, name := range []string{"api.example.net", "ws.example.net"} {
			to, err := d.c.DNSRegion(ctx, name)
			if err != nil {
				return err
			}
			if to != world.Secondary {
				return fmt.Errorf("the name servers lead %s to: %s", name, to)
			}
			d.answers += 4
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return d.stuck(err)
		}
	}
	return nil
}

// followed checks what a person sees of the switch that Route 53 owes: a standing hold, and nothing that asks.
func (d *demo) followed() error {
	s := d.show.status()
	if s == nil {
		return errors.New("no node answers")
	}
	for _, h := range s.Holds {
		if h.Component == "traffic" && h.Step.Action == "route53_weights" {
			d.show.say("the weights follow as a standing hold once Route 53 answers: " + h.Status + ", " + h.Detail)
			return nil
		}
	}
	return fmt.Errorf("no standing hold follows the weights: %+v", s.Holds)
}
