package restore

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// needed is what an account must be allowed in a schema that a restore changes.
var needed = []string{"ALTER", "ALTER ROUTINE", "CREATE", "CREATE ROUTINE", "CREATE VIEW", "DELETE", "DROP", "EVENT", "INDEX", "INSERT", "REFERENCES", "SELECT", "SHOW VIEW", "TRIGGER", "UPDATE"}

// rights says which grants the account lacks, as the statement that gives them; "" if none. What is missing in a live schema would be noticed behind
// the swap, and half of a restore be in by then. What a role gives is not listed by the server, so that an account with one is believed.
func rights(ctx context.Context, s *session, databases []string) (string, error) {
	role, err := s.value(ctx, "SELECT CURRENT_ROLE()")
	if err != nil || role != "" {
		return "", err
	}
	everywhere, err := s.column(ctx, "SELECT PRIVILEGE_TYPE FROM information_schema.USER_PRIVILEGES")
	if err != nil {
		return "", err
	}
	who, err := s.value(ctx, "SELECT CURRENT_USER()")
	if err != nil {
		return "", err
	}
	user, host, _ := strings.Cut(who, "@")
	var give []string
	look := func(schema, as string) error {
		here, err := s.column(ctx, "SELECT PRIVILEGE_TYPE FROM information_schema.SCHEMA_PRIVILEGES WHERE ? LIKE TABLE_SCHEMA", schema)
		if err != nil {
			return err
		}
		var lacks []string
		for _, p := range needed {
			if !slices.Contains(everywhere, p) && !slices.Contains(here, p) {
				lacks = append(lacks, p)
			}
		}
		if len(lacks) == len(needed) {
			lacks = []string{"ALL"}
		}
		if len(lacks) > 0 {
			give = append(give, fmt.Sprintf("GRANT %s ON %s.* TO %s@%s", strings.Join(lacks, ", "), quote(as), literal(user), literal(host)))
		}
		return nil
	}
	escape := strings.NewReplacer("_", `\_`, "%", `\%`)
	for _, db := range databases {
		if err := look(db, db); err != nil {
			return "", err
		}
		n := len(give)
		for _, beside := range []string{shadowName(db, 1), replacedName(db, 1)} {
			if err := look(beside, escape.Replace(db+"__re")+"%"); err != nil {
				return "", err
			}
		}
		if len(give) > n+1 { // one grant gives both
			give = give[:n+1]
		}
	}
	if err := look(ownSchema, ownSchema); err != nil {
		return "", err
	}
	return strings.Join(give, "; "), nil
}
