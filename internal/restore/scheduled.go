package restore

import (
	"context"

	"github.com/go-sql-driver/mysql"
)

// Scheduled names the events that a server carries out by itself, of those that the account can see; none while its event scheduler is off. They
// write although everything that writes from outside has stopped. One that is carried out once is DISABLED while it runs, and gone afterwards; one that
// is kept (ON COMPLETION PRESERVE) looks the same before and after its end: a dump waits for it, unnamed.
func Scheduled(ctx context.Context, server *mysql.Config) ([]string, error) {
	s, err := dial(ctx, server, nil)
	if err != nil {
		return nil, err
	}
	defer s.end(false) //nolint:errcheck // nothing was written
	on, err := s.value(ctx, "SELECT @@GLOBAL.event_scheduler")
	if err != nil || on != "ON" {
		return nil, err
	}
	return s.column(ctx, `SELECT CONCAT(EVENT_SCHEMA, '.', EVENT_NAME) FROM information_schema.EVENTS
		WHERE STATUS='ENABLED' OR STATUS='DISABLED' AND EVENT_TYPE='ONE TIME' AND ON_COMPLETION='NOT PRESERVE' AND LAST_EXECUTED IS NOT NULL ORDER BY EVENT_SCHEMA, EVENT_NAME`)
}
