package main

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/admin"
)

// membership is what `members` shows.
type membership struct {
	Members    []admin.MemberStatus   `json:"members"`
	Change     *failover.MemberChange `json:"change,omitempty"`
	Generation uint64                 `json:"generation,omitempty"`
	Unattested []failover.NodeID      `json:"unattested,omitempty"`
	Features   int                    `json:"features"`
}

func membersCommand(s *shared) *cobra.Command {
	cmd := reading(s, "members", "Show the nodes of the cluster, add one, or remove one", func(ctx context.Context, c *admin.Client) (membership, error) {
		st, err := c.Status(ctx)
		return membership{st.Members, st.Change, st.Generation, st.Unattested, st.Features}, err
	}, showMembers)

	var spec failover.NodeSpec
	add := operate(s, "add ID --region REGION --address HOST:PORT", "Add a node: it receives the log first, and votes once it has caught up", cobra.ExactArgs(1),
		func(_ admin.Status, args []string) (failover.Command, error) {
			return failover.AddMember{Node: failover.NodeID(args[0]), Spec: spec}, nil
		})
	add.Long = "Make its certificate first (`failoverd certs` with the node in [nodes]), start it with an empty data\n" +
		"directory, and watch `failoverd members`. A replaced disk needs a new name: names are never used twice."
	add.Flags().StringVar((*string)(&spec.Vantage), "region", "", "the region or place that it looks from")
	add.Flags().StringVar(&spec.Address, "address", "", "the address that the other nodes dial")
	for _, name := range []string{"region", "address"} {
		if err := add.MarkFlagRequired(name); err != nil {
			panic("failoverd: " + err.Error()) // a flag defined above
		}
	}
	remove := operate(s, "remove ID", "Remove a node, for good; also gives up adding one", cobra.ExactArgs(1),
		func(_ admin.Status, args []string) (failover.Command, error) {
			return failover.RemoveMember{Node: failover.NodeID(args[0])}, nil
		})
	cmd.AddCommand(add, remove)
	return cmd
}

func showMembers(w io.Writer, v membership) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "NODE\tVANTAGE\tADDRESS\tSTATE\tHEARD\tVERSION\tLEVEL\tFILE\tDISK")
	for _, m := range v.Members {
		heard := "no"
		if m.Voted {
			heard = m.VoteAge.D().Round(10*time.Millisecond).String() + " ago"
		}
		state := m.State
		switch m.Change {
		case "add":
			state += ", being added"
		case "remove":
			state += ", being removed"
		}
		disk := orDash(m.Disk)
		if m.Starts > 0 {
			disk = fmt.Sprintf("%.8s start %d", m.Disk, m.Starts)
		}
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", m.ID, m.Vantage, m.Address, state, heard, orDash(m.Version), m.Features, orDash(m.Config), disk)
	}
	_ = tw.Flush() // an error means that the terminal is gone
	fmt.Fprintf(w, "feature level %d in force\n", v.Features)
	if v.Generation > 0 {
		fmt.Fprintf(w, "generation %d: the cluster was recovered from a lost quorum\n", v.Generation)
	}
	for _, id := range v.Unattested {
		fmt.Fprintf(w, "NO LEASES: node %s was left behind and may still lead the old quorum; stop it for good, then `failoverd attest-node %s --why …`\n", id, id)
	}
}

// attestNodeCommand is the word of a person on a voter that was left behind.
func attestNodeCommand(s *shared) *cobra.Command {
	return operate(s, "attest-node ID", "Give your word that a node left behind by `recover` runs no more and never will", cobra.ExactArgs(1),
		func(_ admin.Status, args []string) (failover.Command, error) {
			return failover.AttestNode{Node: failover.NodeID(args[0])}, nil
		})
}
