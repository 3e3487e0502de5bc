package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

// operateCommands are what a person can do. Each is one command of the log.
func operateCommands(s *shared) []*cobra.Command {
	var (
		overrides []string
		undo      bool
		pauseFor  time.Duration
	)
	failoverCmd := operate(s, "failover", "Start a failover to the standby region", cobra.NoArgs,
		func(admin.Status, []string) (failover.Command, error) {
			return failover.RequestExecution{Kind: failover.Failover, Overrides: overrides}, nil
		})
	failoverCmd.RunE = awaitRequest(s, failoverCmd.RunE)
	failoverCmd.Flags().StringSliceVar(&overrides, "override", nil, "act in spite of these `guards`: "+strings.Join(failover.Overridable(), ", "))

	switchoverCmd := operate(s, "switchover", "Move to the other region from one that lives, be it to come home (failback), and take along what it holds", cobra.NoArgs,
		func(admin.Status, []string) (failover.Command, error) {
			return failover.RequestExecution{Kind: failover.Switchover, Overrides: overrides}, nil
		})
	switchoverCmd.RunE = awaitRequest(s, switchoverCmd.RunE)
	switchoverCmd.Flags().StringSliceVar(&overrides, "override", nil, "act in spite of these `guards`: "+strings.Join(failover.Overridable(), ", "))

	approve := operate(s, "approve", "Approve what the execution asks for, or let a held one go on", cobra.NoArgs,
		func(st admin.Status, _ []string) (failover.Command, error) {
			e, err := open(st)
			if err != nil {
				return nil, err
			}
			if e.State == failover.ExecHeld && (e.Question == nil || e.Question.Kind != "approval") {
				return failover.Continue{Execution: e.ID}, nil
			}
			cmd := failover.Approve{Execution: e.ID}
			if e.Question != nil {
				cmd.Nonce = e.Question.Nonce
			}
			return cmd, nil
		})

	carryOn := operate(s, "continue", "Carry on an execution that was ended behind the fence, or let a held one go on", cobra.NoArgs,
		func(st admin.Status, _ []string) (failover.Command, error) {
			switch {
			case st.Execution != nil:
				return failover.Continue{Execution: st.Execution.ID}, nil
			case st.Last != nil:
				return failover.Continue{Execution: st.Last.ID, Ended: true}, nil
			}
			return nil, errors.New("no execution is running, and none has ended")
		})

	hold := operate(s, "hold", "Let nothing new start; what runs is finished", cobra.NoArgs,
		onExecution(func(e *failover.Execution, _ []string) failover.Command { return failover.Hold{Execution: e.ID} }))

	abort := operate(s, "abort", "End the execution; with --undo put back what it changed", cobra.NoArgs,
		func(st admin.Status, _ []string) (failover.Command, error) {
			if st.Execution == nil && st.Preparation != nil {
				return failover.Abort{Execution: st.Preparation.ID, Undo: true}, nil
			}
			e, err := open(st)
			if err != nil {
				return nil, err
			}
			return failover.Abort{Execution: e.ID, Undo: undo}, nil
		})
	abort.Flags().BoolVar(&undo, "undo", false, "undo in reverse order; possible until the epoch has advanced")

	pause := operate(s, "pause", "Keep automation quiet for a time; it survives restarts", cobra.NoArgs,
		func(admin.Status, []string) (failover.Command, error) {
			return failover.PauseAutomation{For: failover.Duration(pauseFor)}, nil
		})
	pause.Flags().DurationVar(&pauseFor, "for", 0, "how long, such as 2h")

	rehearse := operate(s, "rehearse COMPONENT", "Let every agent of a component prove, on a process that is none of its workers, that it kills in time", cobra.ExactArgs(1),
		func(_ admin.Status, args []string) (failover.Command, error) {
			return failover.RehearseFence{Component: failover.Component(args[0])}, nil
		})
	rehearse.RunE = awaitRehearsal(s, rehearse.RunE)
	fence := &cobra.Command{Use: "fence", Short: "What stops the region that is left"}
	fence.AddCommand(rehearse)

	inventory := &cobra.Command{Use: "inventory", Short: "What the plan counts on finding"}
	inventory.AddCommand(operate(s, "accept COMPONENT", "Give your word that what is there now is all there is", cobra.ExactArgs(1),
		func(_ admin.Status, args []string) (failover.Command, error) {
			return failover.AcceptInventory{Component: failover.Component(args[0])}, nil
		}))

	return []*cobra.Command{
		failoverCmd, switchoverCmd, fence, inventory, approve, hold, carryOn, abort, pause,
		operate(s, "resume", "End a pause", cobra.NoArgs,
			func(admin.Status, []string) (failover.Command, error) { return failover.ResumeAutomation{}, nil }),
		operate(s, "attest COMPONENT", "Give your word that a component has stopped in the region being left", cobra.ExactArgs(1),
			onExecution(func(e *failover.Execution, args []string) failover.Command {
				return failover.Attest{Execution: e.ID, Component: failover.Component(args[0]), Epoch: e.Epoch}
			})),
		retryCommand(s),
		operate(s, "skip STEP", "Pass over a step; a fence cannot be skipped", cobra.ExactArgs(1),
			onExecution(func(e *failover.Execution, args []string) failover.Command {
				return failover.Skip{Execution: e.ID, Step: failover.StepID(args[0])}
			})),
		operate(s, "release COMPONENT", "End the standing hold that keeps a component stopped in a region that was left; late-write: give your word that no write can land late any more", cobra.ExactArgs(1),
			func(_ admin.Status, args []string) (failover.Command, error) {
				return failover.ReleaseHold{Component: failover.Component(args[0])}, nil
			}),
		operate(s, "ended COMPONENT", "Give your word that what was only cut off in a region that was left has ended; it stays cut off until the region is entered", cobra.ExactArgs(1),
			func(_ admin.Status, args []string) (failover.Command, error) {
				return failover.ReleaseHold{Component: failover.Component(args[0]), Ended: true}, nil
			}),
		operate(s, "stable", "Declare the service stable although checks have not all passed", cobra.NoArgs,
			onExecution(func(e *failover.Execution, _ []string) failover.Command {
				return failover.DeclareStable{Execution: e.ID}
			})),
	}
}

// retryCommand tries a step again, and may allow it what it refused.
func retryCommand(s *shared) *cobra.Command {
	var (
		allow []string
		key   string
	)
	cmd := operate(s, "retry STEP", "Try a failed or unclear step again; with --allow or --key also let one go on that is refused", cobra.ExactArgs(1),
		onExecution(func(e *failover.Execution, args []string) failover.Command {
			names := slices.Compact(slices.Sorted(slices.Values(allow))) // with two_nodes both halves say the same
			return failover.Retry{Execution: e.ID, Step: failover.StepID(args[0]), Allow: names, Key: key}
		}))
	cmd.Long = `Tries a failed or unclear step again.

With --allow the step does what it refused, and with --key it restores that backup and not the newest: for this step of this execution
alone, in each of its later attempts, whoever leads, until the execution ends. The reason (--why) is kept with it. What a step can be allowed
its refusal names. One that is under way goes by it from its next attempt on; one that needs an approval asks for it again, and somebody
else gives it. A backup that is named must lie where the step looks and pass the same checks: an older one may need --allow old as well.`
	cmd.Flags().StringSliceVar(&allow, "allow", nil, "the refusals to lift, by `name`, such as small")
	cmd.Flags().StringVar(&key, "key", "", "the S3 `key` of the backup to restore")
	return cmd
}

func open(st admin.Status) (*failover.Execution, error) {
	if st.Execution == nil {
		return nil, errors.New("no execution is running")
	}
	return st.Execution, nil
}

func onExecution(make func(e *failover.Execution, args []string) failover.Command) func(admin.Status, []string) (failover.Command, error) {
	return func(st admin.Status, args []string) (failover.Command, error) {
		e, err := open(st)
		if err != nil {
			return nil, err
		}
		return make(e, args), nil
	}
}

// operate makes a command that reads the status, gives an order for exactly what
// it saw, and says what came of it. The order names execution, question and
// epoch: what has changed in between is refused as stale.
func operate(s *shared, use, short string, args cobra.PositionalArgs, build func(st admin.Status, args []string) (failover.Command, error)) *cobra.Command {
	var why string
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 15*time.Second)
			defer cancel()
			c := admin.NewClient(s.socketPath())
			st, err := c.Status(ctx)
			if err != nil {
				return failed(err)
			}
			order, err := build(st, args)
			if err != nil {
				return &exitError{exitRefused, err}
			}
			r, err := c.Command(ctx, why, order)
			if err != nil {
				return failed(err)
			}
			if err := accepted(r); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "accepted: %s (log index %d); `failoverd status` shows what follows\n", order.Name(), r.Index)
			return nil
		},
	}
	cmd.Flags().StringVar(&why, "why", "", "the reason, kept in the audit trail")
	return cmd
}

// accepted turns a reply that is no acceptance into the error and the exit status
// for it.
func accepted(r admin.Reply) error {
	switch r.Outcome {
	case "accepted":
		return nil
	case "refused":
		if r.Guard == failover.GuardTwoNodes {
			return &exitError{exitRefused, fmt.Errorf("not yet: %s", r.Text)}
		}
		return &exitError{exitRefused, fmt.Errorf("refused by guard %s: %s", r.Guard, r.Text)}
	case "no-leader", "unknown":
		return &exitError{exitNoQuo, errors.New(r.Text)}
	}
	return failed(errors.New(r.Text))
}
