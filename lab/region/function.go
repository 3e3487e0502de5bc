package region

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"time"

	"github.com/failoverd/failoverd/lab/app"
	"github.com/failoverd/failoverd/lab/awsfake"
	"github.com/failoverd/failoverd/lab/faults"
	"github.com/failoverd/failoverd/lab/ledger"
)

// The function of the world, and its queue.
const (
	FunctionName = "events-handler"
	EventsQueue  = "events"
	// The ECS services whose tasks answer GET /lease.
	LeaseService        = "lease"
	NightlyLeaseService = "lease-nightly"
	leasePort           = 7790
	// What fires by the clock.
	ScheduleName = "nightly-report"
	RuleName     = "hourly-cleanup"
)

// function is what runs in Lambda: before it works on an event it asks for leave, and the ledger witnesses its life.
// The fault "events" of the application makes it fail.
func function(c Config, ecs *awsfake.ECS, set *faults.Set, timeout time.Duration) awsfake.Function {
	client := &http.Client{Timeout: timeout / 4, Transport: &http.Transport{DisableKeepAlives: true}}
	return awsfake.Function{Name: FunctionName, Queue: EventsQueue, Timeout: timeout, Enabled: c.FunctionOn, Handle: func(ctx context.Context, body string) error {
		deadline, _ := ctx.Deadline()
		if err := leave(ctx, client, ecs.Targets(Cluster, LeaseService), time.Until(deadline)); err != nil {
			return fmt.Errorf("%w: %w", awsfake.ErrNotNow, err)
		}
		if f, _ := set.Match("app", "events", "events"); f.Mode == faults.Error {
			return errors.New("the event cannot be read")
		}
		witness, err := ledger.Dial(filepath.Join(c.World, app.LedgerSocket), ledger.Event{Role: "function", Region: c.Region})
		if err != nil {
			return err
		}
		defer witness.Close()
		t := time.NewTimer(time.Duration((0.2 + 0.5*rand.Float64()) * float64(timeout)))
		defer t.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		return witness.Write(ledger.Event{Type: ledger.Handled, Region: c.Region, Key: body})
	}}
}

// job is what a rule or a schedule starts: it asks for leave as well, and the ledger witnesses its life. longest is how long it
// may run.
func job(c Config, ecs *awsfake.ECS, name string, longest time.Duration, log *slog.Logger) func(context.Context, int) {
	client := &http.Client{Timeout: longest / 4, Transport: &http.Transport{DisableKeepAlives: true}}
	return func(ctx context.Context, n int) {
		ctx, cancel := context.WithTimeout(ctx, longest)
		defer cancel()
		if err := leave(ctx, client, ecs.Targets(Cluster, NightlyLeaseService), longest); err != nil {
			log.Info("a job has no leave", "job", name, "why", err.Error())
			return
		}
		witness, err := ledger.Dial(filepath.Join(c.World, app.LedgerSocket), ledger.Event{Role: "function", Region: c.Region})
		if err != nil {
			return
		}
		defer witness.Close()
		t := time.NewTimer(time.Duration((0.1 + 0.3*rand.Float64()) * float64(longest)))
		defer t.Stop()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		if err := witness.Write(ledger.Event{Type: ledger.Fired, Region: c.Region, Key: fmt.Sprintf("%s-%s-%d", name, c.Region, n)}); err != nil {
			log.Error("ledger", "err", err)
		}
	}
}

// leave asks the agents one after the other. need is how long this invocation may still live.
func leave(ctx context.Context, client *http.Client, agents []awsfake.Target, need time.Duration) error {
	err := fmt.Errorf("no agent to ask")
	for _, a := range agents {
		req, rerr := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s:%d/lease?need=%s", a.IP, leasePort, need), nil)
		if rerr != nil {
			return rerr
		}
		res, rerr := client.Do(req)
		if rerr != nil {
			err = rerr
			continue
		}
		res.Body.Close()
		if res.StatusCode == http.StatusOK {
			return nil
		}
		err = fmt.Errorf("agent %s: status %d", a.IP, res.StatusCode)
	}
	return err
}

// events sends one event after the other to the region's own queue, whichever region is active.
func events(ctx context.Context, sqs *awsfake.SQS, region string, every time.Duration) {
	t := time.NewTicker(every)
	defer t.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			sqs.Put(EventsQueue, fmt.Sprintf("event-%s-%d", region, n))
		}
	}
}
