package restore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-sql-driver/mysql"
)

// rowsTime is how long the server works at one query of Rows. It ends the query by itself, also when nobody waits any more.
const rowsTime = 2 * time.Second

// errTooLong is the server's error of a statement that has used up max_statement_time, and errReadOnly of one that would write.
const (
	errTooLong  = 1969
	errReadOnly = 1792
)

// Counted is the answer to one query of Rows.
type Counted struct {
	Rows int64
	Err  error // why it is not known; Rows means nothing then
}

// Rows asks a server, for each query, how many rows there are since a time. A query selects one number and has one ?, which stands for that
// time, in UTC as is the session's own time. Nothing is changed: a query that would write is refused by the server. What was written
// while it is asked counts for all queries or for none. Its error is that of the connection, or of ctx, which it does not outlast.
func Rows(ctx context.Context, server *mysql.Config, since time.Time, queries []string) ([]Counted, error) {
	s, err := dial(ctx, server, nil)
	if err != nil {
		return nil, err
	}
	defer s.end(false) //nolint:errcheck // nothing was written
	// A node that loses its power leaves no transaction open, which would keep the server from forgetting old rows.
	for _, text := range []string{
		fmt.Sprintf("SET SESSION max_statement_time=%g, wait_timeout=10", rowsTime.Seconds()),
		"SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
		"START TRANSACTION READ ONLY",
	} {
		if err := s.exec(ctx, text); err != nil {
			return nil, err
		}
	}
	out := make([]Counted, len(queries))
	for i, q := range queries {
		if out[i].Rows, out[i].Err = s.number(ctx, q, since); out[i].Err != nil && code(out[i].Err) == 0 && !errors.Is(out[i].Err, errNoNumber) {
			return nil, out[i].Err
		}
	}
	return out, nil
}

// errNoNumber says that a query of Rows does not answer with one number.
var errNoNumber = errors.New("it has to select one number of rows, such as COUNT(*)")

// number is the answer to one query.
func (s *session) number(ctx context.Context, query string, since time.Time) (int64, error) {
	rows, err := s.conn.QueryContext(ctx, query, since)
	if err != nil {
		return 0, refusedRows(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return 0, err
	}
	if len(columns) != 1 {
		return 0, fmt.Errorf("it answers with %d columns; %w", len(columns), errNoNumber)
	}
	var all []*string
	for rows.Next() && len(all) < 2 {
		var v *string
		if err := rows.Scan(&v); err != nil {
			return 0, err
		}
		all = append(all, v)
	}
	switch err := rows.Err(); {
	case err != nil:
		return 0, refusedRows(err)
	case len(all) == 0:
		return 0, fmt.Errorf("it answers with no row; %w", errNoNumber)
	case len(all) > 1:
		return 0, fmt.Errorf("it answers with more than one row; %w", errNoNumber)
	case all[0] == nil:
		return 0, fmt.Errorf("it answers with NULL; %w", errNoNumber)
	}
	n, err := strconv.ParseInt(*all[0], 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("it answers with %.40q; %w", *all[0], errNoNumber)
	}
	return n, nil
}

// refusedRows adds what to do to what the server says of a query.
func refusedRows(err error) error {
	switch code(err) {
	case errTooLong:
		return fmt.Errorf("it takes the server longer than %s, and was ended; an index on what it compares with the time would help (%w)", rowsTime, err)
	case errReadOnly:
		return fmt.Errorf("it would write, and may only read (%w)", err)
	case errNoRight:
		return fmt.Errorf("the account may not read that there; GRANT SELECT on it (%w)", err)
	}
	return err
}
