package restore

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// needed is what an account must be allowed in a schema that a restore changes.
var needed = []string{"ALTER", "ALTER ROUTINE", "CREATE", "CREATE ROUTINE", "CREATE VIEW", "DELETE", "DROP", "EVENT", "INDEX", "INSERT", "REFERENCES", "SELECT", "SHOW VIEW", "TRIGGER", "UPDATE"}

// granting is what an account may do, and which it lacks.
type granting struct {
	s          *session
	everywhere []string
	role       bool     // what a role gives is not listed by the server, so that an account with one is believed
	who        string   // as SQL has it
	give       []string // the statements that give what lacks
}

func granted(ctx context.Context, s *session) (*granting, error) {
	role, err := s.value(ctx, "SELECT CURRENT_ROLE()")
	if err != nil {
		return nil, err
	}
	everywhere, err := s.column(ctx, "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES")
	if err != nil {
		return nil, err
	}
	who, err := s.value(ctx, "SELECT CURRENT_USER()")
	if err != nil {
		return nil, err
	}
	user, host, _ := strings.Cut(who, "@")
	return &granting{s: s, everywhere: everywhere, role: role != "", who: literal(user) + "@" + literal(host)}, nil
}

// look notes what of needs is not granted in a schema; as is how the grant names it.
func (g *granting) look(ctx context.Context, schema, as string, needs []string) error {
	if g.role {
		return nil
	}
	here, err := g.s.column(ctx, "SELECT PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES WHERE ? LIKE TABLE_SCHEMA", schema)
	if err != nil {
		return err
	}
	var lacks []string
	for _, p := range needs {
		if !slices.Contains(g.everywhere, p) && !slices.Contains(here, p) {
			lacks = append(lacks, p)
		}
	}
	if len(lacks) == len(needed) {
		lacks = []string{"ALL"}
	}
	if len(lacks) > 0 {
		g.give = append(g.give, fmt.Sprintf("GRANT %s ON %s.* TO %s", strings.Join(lacks, ", "), quote(as), g.who))
	}
	return nil
}

// rights says which grants the account lacks, as the statement that gives them; "" if none. What is missing in a live schema would be noticed behind
// the swap, and half of a restore be in by then.
func rights(ctx context.Context, s *session, databases []string) (string, error) {
	g, err := granted(ctx, s)
	if err != nil {
		return "", err
	}
	escape := strings.NewReplacer("_", `\_`, "%", `\%`)
	for _, db := range databases {
		if err := g.look(ctx, db, db, needed); err != nil {
			return "", err
		}
		n := len(g.give)
		for _, beside := range []string{shadowName(db, 1), replacedName(db, 1)} {
			if err := g.look(ctx, beside, escape.Replace(db+"__re")+"%", needed); err != nil {
				return "", err
			}
		}
		if len(g.give) > n+1 { // one grant gives both
			g.give = g.give[:n+1]
		}
	}
	if err := g.look(ctx, ownSchema, ownSchema, needed); err != nil {
		return "", err
	}
	return strings.Join(g.give, "; "), nil
}
