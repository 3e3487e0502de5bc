package actions

import (
	"context"
	"fmt"
	"strings"

	"github.com/failoverd/failoverd/internal/restore"
)

// itself says what the server that is left writes by itself; "": nothing that is known of. The fence stops what writes from outside, and not that:
// what an event writes after the dump has begun is lost or refuses it.
func (x *mariaDBDump) itself(ctx context.Context) string {
	server, err := x.cfg.server(x.cfg.Servers[x.left])
	if err != nil {
		return "" // lacks says it
	}
	events, err := restore.Scheduled(ctx, server)
	switch {
	case err != nil:
		return fmt.Sprintf("; whether its event scheduler writes there is not known: %v", err)
	case len(events) == 0:
		return ""
	}
	more := ""
	if n := len(events); n > 3 {
		events, more = events[:3], fmt.Sprintf(" and %d more", n-3)
	}
	return fmt.Sprintf("; its event scheduler is ON, and no fence stops what it runs (%s%s): `SET GLOBAL event_scheduler=OFF` there before the dump, or what they write meanwhile is lost or refuses it", strings.Join(events, ", "), more)
}
