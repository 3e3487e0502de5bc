package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/config"
	"github.com/failoverd/failoverd/internal/daemon"
)

func recoverCommand(s *shared) *cobra.Command {
	var (
		node, active, why, mean string
		seen                    uint64
	)
	cmd := &cobra.Command{
		Use: "recover --node NAME --active REGION --why TEXT", Short: "Begin a cluster anew on one survivor, after its quorum was lost for good", Args: cobra.NoArgs,
		Long: "Works offline, on one survivor whose node does not run. It is refused while any other voter can be\n" +
			"reached that has a leader. The other voters are left behind for good; nothing runs on the strength of\n" +
			"their silence before each of them is attested by name. See \"Recover\" in docs/operations.md.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			log, err := s.logger()
			if err != nil {
				return err
			}
			cfg, err := config.Load(s.config)
			if err != nil {
				return failed(err)
			}
			if node == "" {
				node = os.Getenv("FAILOVERD_NODE")
			}
			r, err := daemon.OpenRecovery(daemon.Options{Config: cfg, Node: failover.NodeID(node), Log: log})
			if err != nil {
				return failed(err)
			}
			return errors.Join(recovering(cmd, r, active, why, mean, seen), failed(r.Close()))
		},
	}
	f := cmd.Flags()
	f.StringVar(&node, "node", "", "the survivor's name (default: FAILOVERD_NODE)")
	f.StringVar(&active, "active", "", "the region that is the active one now")
	f.StringVar(&why, "why", "", "the reason, kept in the audit trail")
	f.StringVar(&mean, "yes-i-mean", "", "confirm with the service's name, for scripts")
	f.Uint64Var(&seen, "seen-epoch", 0, "the highest epoch found in agents' epoch files, and at resources whose token could not be read from here")
	for _, name := range []string{"active", "why"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic("failoverd: " + err.Error()) // a flag defined above
		}
	}
	return cmd
}

func recovering(cmd *cobra.Command, r *daemon.Recovery, active, why, mean string, seen uint64) error {
	out := cmd.OutOrStdout()
	fmt.Fprint(out, r.Consequences(failover.Region(active)))
	if err := r.SeenEpoch(seen); err != nil {
		return &exitError{exitRefused, err}
	}
	for _, look := range []func(context.Context) ([]string, error){r.Reach, r.Tokens} {
		notes, err := look(cmd.Context())
		if err != nil {
			return &exitError{exitRefused, err}
		}
		for _, n := range notes {
			fmt.Fprintln(out, n)
		}
	}
	if mean == "" {
		fmt.Fprintf(out, "Type the service's name to go on: ")
		line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n') // nothing typed is not the name
		mean = strings.TrimSpace(line)
	}
	if mean != r.Service() {
		return &exitError{exitRefused, fmt.Errorf("%q is not the service's name, %s: nothing has changed", mean, r.Service())}
	}
	st, err := r.Begin(failover.RecoverOrder{Active: failover.Region(active), By: "uid " + strconv.Itoa(os.Getuid()), Why: why})
	if err != nil {
		return failed(err)
	}
	fmt.Fprintf(out, "generation %d begun: epoch %d, %s active. Start the node, then attest each node that was left behind\n", st.Generation, st.Epoch, st.Active)
	for _, id := range st.Unattested() {
		fmt.Fprintf(out, "  failoverd attest-node %s --why …\n", id)
	}
	fmt.Fprintln(out, "and bring the cluster back to size with `failoverd members add`.")
	return nil
}
