package actions

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/backup"
	"github.com/failoverd/failoverd/internal/restore"
)

// MariaDBRowsConfig counts rows that a failover would lose: those that were written in the region that is left since the backup that would be
// restored.
type MariaDBRowsConfig struct {
	// Name says what is counted, for people: "orders".
	Name string `toml:"name" json:"name"`
	// Query selects one number of rows. Its one ? stands for the time of the backup, in UTC as is the session's own time.
	Query string `toml:"query" json:"query"`
}

// selects is how a query begins that may only read.
var selects = regexp.MustCompile(`(?i)^\s*SELECT\b`)

// validateRows reports the first wrong query.
func (c *MariaDBRestoreConfig) validateRows() error {
	if len(c.AtRisk) > 0 && len(c.Servers) != 2 {
		return badParam("at_risk", "servers has to name the servers of both regions: that of the region that is left is asked")
	}
	seen := map[string]bool{}
	for _, q := range c.AtRisk {
		switch {
		case strings.TrimSpace(q.Name) == "":
			return badParam("at_risk", "the query %q has no name; say what it counts, such as name = \"orders\"", q.Query)
		case seen[q.Name]:
			return badParam("at_risk", "%q is named twice", q.Name)
		case !selects.MatchString(q.Query):
			return badParam("at_risk", "the query of %q does not begin with SELECT: %q; it may only read, such as \"SELECT COUNT(*) FROM app.orders WHERE created_at > ?\"", q.Name, q.Query)
		case strings.Count(q.Query, "?") != 1:
			return badParam("at_risk", "the query of %q has %d question marks, and needs one, which stands for the time of the backup", q.Name, strings.Count(q.Query, "?"))
		case strings.Contains(q.Query, ";"):
			return badParam("at_risk", "the query of %q has a semicolon: it has to be one statement", q.Name)
		}
		seen[q.Name] = true
	}
	return nil
}

// AtRisk implements Counter: rows that the server of the region that is left has, and the backup that a failover would restore now has not.
func (x *mariaDBRestore) AtRisk(ctx context.Context) *failover.AtRisk {
	if len(x.cfg.AtRisk) == 0 || x.cfg.Brought {
		return nil
	}
	out := &failover.AtRisk{Unit: "rows", Where: fmt.Sprintf("MariaDB in %s", x.left), Lost: true}
	f, err := x.newest(ctx)
	if err != nil {
		out.Lacks = err.Error()
		return out
	}
	out.Where += fmt.Sprintf(", written since the backup %s as of %s, %s old by then", f.Key, f.AsOf.UTC().Format(time.RFC3339), time.Since(f.AsOf).Round(time.Minute))
	counted, err := x.ask(ctx, f.AsOf)
	if err != nil {
		out.Lacks = fmt.Sprintf("MariaDB in %s at %s cannot be asked (%.300s)", x.left, x.other, err)
		return out
	}
	var said []string
	for i, q := range x.cfg.AtRisk {
		if err := counted[i].Err; err != nil {
			said, out.Lacks = append(said, fmt.Sprintf("%s unknown: %.300s", q.Name, err)), "some"
			continue
		}
		said = append(said, fmt.Sprintf("%s %d", q.Name, counted[i].Rows))
		out.Items += counted[i].Rows
	}
	answer := strings.Join(said, ", ")
	if out.Lacks != "" { // a part is no sum
		out.Items, out.Lacks = 0, answer
		return out
	}
	out.Where += ": " + answer
	return out
}

// newest is the backup that would be restored now, or, where that would be refused, the one that it would be refused for.
func (x *mariaDBRestore) newest(ctx context.Context) (backup.File, error) {
	found, err := x.candidates(ctx)
	if err != nil {
		return backup.File{}, err
	}
	o := x.wanted()
	x.choose(&o, found)
	c, _, _ := o.Judge(time.Now(), func(f backup.File) (string, error) {
		said, err := x.place.Ends(ctx, f)
		return said.Wrong, err
	})
	return c.File, nil
}

// ask asks the server in the region that is left.
func (x *mariaDBRestore) ask(ctx context.Context, since time.Time) ([]restore.Counted, error) {
	server, err := x.cfg.server(x.other)
	if err != nil {
		return nil, err
	}
	var queries []string
	for _, q := range x.cfg.AtRisk {
		queries = append(queries, q.Query)
	}
	return restore.Rows(ctx, server, since, queries)
}
