package demo

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/failoverd/failoverd/lab/harness"
	"github.com/failoverd/failoverd/lab/ledger"
	"github.com/failoverd/failoverd/lab/slackfake"
	"github.com/failoverd/failoverd/lab/world"
)

// real is a duration of the undivided configuration in the demo's time.
func (d *demo) real(t time.Duration) time.Duration { return time.Duration(float64(t) / d.Factor) }

// scenario plays everything from the first message to the last.
func (d *demo) scenario(ctx context.Context) error {
	d.show.say("starting: five nodes elect a leader, agents ask for the lease, messages begin to flow")
	if err := d.c.WaitHealthy(ctx, 45*time.Second, func(m string) { d.show.missing(m) }); err != nil {
		return err
	}
	d.show.say("healthy: us-east-1 serves, us-east-2 is a pilot light")
	if err := sleep(ctx, 4*time.Second); err != nil {
		return err
	}
	switch d.Scenario {
	case "blip":
		return d.blip(ctx)
	case "control-plane-impaired", "zone-down":
		return d.named(ctx)
	case "home":
		return d.thereAndBack(ctx)
	}
	if d.Scenario == "route53-down" {
		if err := d.killRoute53(ctx); err != nil {
			return err
		}
	}
	if err := d.lose(ctx); err != nil {
		return err
	}
	if err := d.watch(ctx); err != nil {
		return err
	}
	if d.Scenario == "route53-down" {
		if err := d.followed(); err != nil {
			return err
		}
	}
	if err := d.comeBack(ctx); err != nil || d.Scenario != "route53-down" {
		return err
	}
	return d.wipe(ctx)
}

// lose takes us-east-1 away.
func (d *demo) lose(ctx context.Context) error {
	if out, err := d.c.CLI(ctx, "use2a", "price"); err == nil {
		d.risk = atRisk(out)
	}
	note := "cut e1"
	if d.Death == "killed" {
		note = "kill e1"
		d.c.W.KillSite(ctx, world.E1)
	} else if err := d.c.W.Cut(ctx, world.E1); err != nil {
		return err
	}
	var err error
	if d.lossAt, err = d.c.NoteTime(ctx, note); err != nil {
		return err
	}
	d.show.lost(d.lossAt)
	d.show.say(map[string]string{"cut": "us-east-1 is cut off; its workers are alive behind the cut", "killed": "every process in us-east-1 is dead"}[d.Death])
	return nil
}

// atRisk is what a price says of MariaDB's rows; "": nothing.
func atRisk(price string) string {
	for line := range strings.Lines(price) {
		if i := strings.Index(line, "at risk of mariadb: "); i >= 0 {
			return strings.TrimSpace(line[i:])
		}
	}
	return ""
}

// watch waits until the execution is stable, and does the person's or the villain's part.
func (d *demo) watch(ctx context.Context) error {
	var answered, crashed bool
	var askedAt time.Time
	for {
		s := d.show.status()
		e := (*harness.Execution)(nil)
		if s != nil {
			e = s.Current()
		}
		switch {
		case e == nil:
		case d.Unsafe != "" && s.Traffic == world.Secondary && d.show.duplicates() > 2:
			d.show.say("both regions work, and the ledger has seen messages processed twice")
			return nil
		case e.State == "stable":
			d.show.say("stable: " + e.Outcome)
			return nil
		case e.State == "undone" || e.State == "aborted":
			return fmt.Errorf("the execution ended as %s: %s", e.State, e.Outcome)
		case e.Question != nil && askedAt.IsZero():
			askedAt = time.Now()
			d.show.say("the daemon asks: " + e.Question.Text)
		case d.Scenario == "leader-crash" && !crashed && s.Epoch == 2 && midPlan(e):
			crashed = true
			if err := d.crash(ctx, s.Raft.Leader); err != nil {
				return err
			}
		case e.Question != nil && !answered && time.Since(askedAt) > 3*time.Second: // long enough to read it
			var err error
			if answered, err = d.answer(ctx, e); err != nil {
				return err
			}
		}
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return d.stuck(err)
		}
	}
}

// crash kills the leader. With us-east-1 gone, three of five nodes are left, and all three are needed for a majority: nothing
// goes on before the service manager has started the dead one again, as systemd would.
func (d *demo) crash(ctx context.Context, leader string) error {
	d.crashAt = time.Now()
	if err := d.c.KillNode(ctx, leader); err != nil {
		return err
	}
	d.show.say("kill -9 of the leader, " + leader + ", in mid-plan")
	if err := sleep(ctx, time.Second); err != nil {
		return err
	}
	d.show.say("its service manager starts " + leader + " again: two of five nodes are no majority")
	return d.c.StartNode(ctx, leader)
}

// midPlan: the epoch has advanced, something is being started, and clients have not been moved.
func midPlan(e *harness.Execution) bool {
	started := false
	for _, st := range e.Plan.Steps {
		if st.Kind == "switch" && e.StepState(st.ID) != "pending" {
			return false
		}
		started = started || st.Kind == "start" && e.StepState(st.ID) == "running"
	}
	return started
}

// answer does a person's part.
func (d *demo) answer(ctx context.Context, e *harness.Execution) (bool, error) {
	switch {
	case d.Scenario == "manual" && d.Via == "slack":
		click, err := d.c.W.SlackClick(ctx, slackfake.Click{Button: "Approve", User: harness.SlackUser, Team: harness.SlackTeam})
		if err != nil {
			return false, fmt.Errorf("click Approve in Slack: %w", err)
		}
		if !click.Acked { // as Slack does, it shows an error, and the person clicks again
			d.show.say("a person clicks Approve in Slack; nobody answers within 3 s")
			return false, nil
		}
		d.show.say("a person clicks Approve in Slack")
		d.slack = "approved by a click in Slack"
	case d.Scenario == "manual":
		if _, err := d.c.CLI(ctx, "use2b", "approve", "--why", "the demo's operator has seen it"); err != nil {
			return false, err
		}
		d.show.say("a person runs: failoverd approve")
		d.slack = "approved on the command line"
	case d.Scenario == "api-only" && e.Question.Kind == "evidence":
		if _, err := d.c.CLI(ctx, "use2b", "attest", "api", "--why", "called the data centre: the API hosts are off"); err != nil {
			return false, err
		}
		d.show.say("a person gives their word: failoverd attest api --why …")
		d.slack = "api attested by a person"
	default:
		return false, fmt.Errorf("the daemon asks what this scenario does not answer: %s (%s)", e.Question.Text, strings.Join(e.Question.Ways, ", "))
	}
	return true, nil
}

// stuck explains a time-out by what the daemon was doing.
func (d *demo) stuck(err error) error {
	if !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	s := d.show.status()
	if s == nil {
		return errors.New("no end in time, and no node answers")
	}
	where := "condition " + or(s.Condition, "healthy")
	if e := s.Current(); e != nil {
		where = "execution " + e.State
		for _, st := range e.Plan.Steps {
			if state := e.StepState(st.ID); state != "done" && state != "pending" && state != "skipped" {
				where += ", " + st.ID + " " + state + " " + e.Steps[st.ID].Detail + " " + s.Progress[st.ID]
			}
		}
	}
	return fmt.Errorf("no end in time: %s", where)
}

// comeBack lets the world come to rest, brings the lost region back, and watches that nothing there works again.
func (d *demo) comeBack(ctx context.Context) error {
	// Long enough to see clients served; then nothing new, so that what is left can be counted.
	if err := sleep(ctx, 4*time.Second); err != nil {
		return d.stuck(err)
	}
	if err := d.c.W.PauseProviders(ctx, true); err != nil {
		return err
	}
	d.show.say("providers pause; us-east-2 works off what is left")
	if err := d.drainSecondary(ctx); err != nil {
		return err
	}
	d.show.say("us-east-1 comes back: nothing there may start working again")
	if d.Death == "killed" {
		if err := d.c.W.StartSite(ctx, world.E1); err != nil {
			return err
		}
		for _, n := range []string{"use1a", "use1b"} {
			if err := d.c.StartNode(ctx, n); err != nil {
				return err
			}
		}
	} else if err := d.c.W.Heal(ctx, world.E1); err != nil {
		return err
	}
	if err := sleep(ctx, max(5*time.Second, d.real(20*time.Second))); err != nil {
		return d.stuck(err)
	}
	if d.Unsafe != "" {
		return nil // two regions fight over what is left; it need not come to rest
	}
	return d.c.Drain(ctx, 20*time.Second)
}

// drainSecondary waits until us-east-2 has worked off what it has. What only the lost region knows comes later.
func (d *demo) drainSecondary(ctx context.Context) error {
	return d.c.Poll(ctx, 25*time.Second, func() (bool, string) {
		r, err := d.c.W.Record(ctx)
		if err != nil {
			return false, err.Error()
		}
		s := r.Stores[world.Secondary]
		return r.Provider.Unacked == 0 && len(s.New) == 0 && len(s.Claimed) == 0,
			fmt.Sprintf("us-east-2 to work off its queue: %d messages not acknowledged, %d not claimed, %d in hand", r.Provider.Unacked, len(s.New), len(s.Claimed))
	})
}

// blip turns us-east-1 black for everybody, its own nodes included, for 80 % of the hold. Nodes, agents and workers stay
// connected to each other. Nothing may come of it.
func (d *demo) blip(ctx context.Context) error {
	if err := d.c.W.DarkServices(ctx, world.E1); err != nil {
		return err
	}
	var err error
	if d.lossAt, err = d.c.NoteTime(ctx, "dark services in e1"); err != nil {
		return err
	}
	d.show.lost(d.lossAt)
	d.show.say("us-east-1 is out of sight: load balancer, AWS APIs and MongoDB are gone for every vantage")
	if err := d.c.Poll(ctx, 40*time.Second, func() (bool, string) {
		s := d.show.status()
		if s == nil {
			return false, "a node to answer"
		}
		return s.Hold > 0 && s.HoldElapsed.D() >= s.Hold.D()*8/10, fmt.Sprintf("80 %% of the hold (%s of %s)", s.HoldElapsed.D(), s.Hold.D())
	}); err != nil {
		return err
	}
	if err := d.c.W.LightServices(ctx, world.E1); err != nil {
		return err
	}
	d.show.say("80 % of the hold is over, and us-east-1 is back")
	if err := d.c.WaitHealthy(ctx, 40*time.Second, nil); err != nil {
		return err
	}
	before, err := d.c.W.Record(ctx)
	if err != nil {
		return err
	}
	if err := d.c.Poll(ctx, 20*time.Second, func() (bool, string) {
		r, err := d.c.W.Record(ctx)
		return err == nil && r.Regions[world.Primary].Processed > before.Regions[world.Primary].Processed+20, "us-east-1 to go on working"
	}); err != nil {
		return err
	}
	if err := sleep(ctx, 3*time.Second); err != nil {
		return err
	}
	return d.nothingHappened(ctx)
}

// nothingHappened checks what a blip must not do, by the world's record.
func (d *demo) nothingHappened(ctx context.Context) error {
	calls, err := d.c.Mutations(ctx)
	if err != nil {
		return err
	}
	if len(calls) > 0 {
		return fmt.Errorf("a blip led to %d mutating AWS calls, the first %s %s in %s", len(calls), calls[0].Service, calls[0].Op, calls[0].Region)
	}
	gone, err := d.c.W.Events(ctx, ledger.Bye)
	if err != nil {
		return err
	}
	for _, e := range gone {
		if e.Role == "worker" && e.At.After(d.lossAt) {
			return fmt.Errorf("a blip stopped a worker of %s", e.Region)
		}
	}
	return nil
}

func sleep(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
