// Command failoverd watches over a service that runs in one region, and takes it
// to another when a quorum of vantages agrees that the region has failed.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/failoverd/failoverd/fence"
	"github.com/failoverd/failoverd/internal/admin"
)

// version is set by the linker.
var version = "devel"

// The exit statuses.
const (
	exitFailed  = 1
	exitUsage   = 2
	exitNoQuo   = 3 // no leader, no quorum, or the outcome is unknown
	exitRefused = 4 // a guard objects
)

// main maps the outcome of a command to an exit status and says nothing twice.
func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:]))
}

func run(ctx context.Context, args []string) int {
	root := newRoot()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var (
		exit  *exitError
		ended *fence.ErrWorkerEnded
	)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &ended):
		return ended.Status
	case errors.As(err, &exit):
		if exit.err != nil {
			fmt.Fprintln(os.Stderr, "failoverd: "+exit.err.Error())
		}
		return exit.status
	default:
		// What cobra itself objects to: unknown commands and flags.
		fmt.Fprintf(os.Stderr, "failoverd: %v\nTry: failoverd --help\n", err)
		return exitUsage
	}
}

// exitError is an error with the status that the process ends with.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string { return fmt.Sprint(e.err) }
func (e *exitError) Unwrap() error { return e.err }

// failed wraps an error of a command's work, as opposed to its usage.
func failed(err error) error {
	if err == nil {
		return nil
	}
	var ended *fence.ErrWorkerEnded
	if errors.As(err, &ended) {
		return err
	}
	if errors.Is(err, admin.ErrUnavailable) {
		return &exitError{exitNoQuo, err}
	}
	return &exitError{exitFailed, err}
}

// shared are the flags that every command has.
type shared struct {
	config string
	socket string
	level  string
}

func newRoot() *cobra.Command {
	s := &shared{}
	root := &cobra.Command{
		Use:   "failoverd",
		Short: "Regional failover that proves the old region has stopped before the new one starts",
		Long: "failoverd watches a service in one region, agrees by quorum that the region has failed,\n" +
			"proves that its critical processes have stopped, and takes the service to another region.",
		SilenceErrors: true, SilenceUsage: true, Version: version,
	}
	root.PersistentFlags().StringVar(&s.config, "config", "/etc/failoverd/config.toml", "configuration `file`")
	root.PersistentFlags().StringVar(&s.socket, "socket", "", "admin socket of the node to speak to (default: FAILOVERD_SOCKET, or /run/failoverd/admin.sock)")
	root.PersistentFlags().StringVar(&s.level, "log-level", "info", "debug, info, warn or error")
	root.AddCommand(
		runCommand(s), agentCommand(s), guardCommand(), canaryCommand(),
		configCommand(s), certsCommand(s), planCommand(s), priceCommand(s), trafficCommand(s), iamCommand(s), runbookCommand(s),
		statusCommand(s), votesCommand(s), probesCommand(s), eventsCommand(s), membersCommand(s), attestNodeCommand(s), recoverCommand(s), healthCommand(s), versionCommand(),
		readinessCommand(s), conditionsCommand(), drillCommand(s),
	)
	root.AddCommand(operateCommands(s)...)
	return root
}

// logger writes structured lines to standard error.
func (s *shared) logger() (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.level)); err != nil {
		return nil, fmt.Errorf("--log-level %q is not one of debug, info, warn, error", s.level)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})), nil
}

func (s *shared) socketPath() string {
	if s.socket != "" {
		return s.socket
	}
	if env := os.Getenv("FAILOVERD_SOCKET"); env != "" {
		return env
	}
	return "/run/failoverd/admin.sock"
}
