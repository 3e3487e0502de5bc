package probes

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// mysqlSource is one source from which a server replicates, as it says itself.
type mysqlSource struct {
	name    string // of the connection or channel; usually ""
	at      string // host:port
	io, sql string // what the two threads do: Yes, No, Connecting …
	// lag is how many seconds it is behind, by its own count; nil: it cannot tell.
	lag  *int64
	last string // the last error of either thread
}

func (f mysqlSource) String() string {
	out := "replicates from " + f.at
	if f.name != "" {
		out += " (" + f.name + ")"
	}
	if f.lag != nil {
		out += fmt.Sprintf(", %d s behind", *f.lag)
	}
	return out
}

// replication asks for all sources. The statement is MariaDB's or MySQL's, which has another one since 8.0.22.
func (s *mysqlServer) replication(ctx context.Context, version string) ([]mysqlSource, error) {
	statements := []string{"SHOW REPLICA STATUS", "SHOW SLAVE STATUS"}
	if strings.Contains(version, "MariaDB") {
		statements = []string{"SHOW ALL SLAVES STATUS"}
	}
	var last error
	for _, text := range statements {
		names, all, err := s.rows(ctx, text)
		if err == nil {
			var out []mysqlSource
			for _, row := range all {
				out = append(out, sourceOf(names, row))
			}
			return out, nil
		}
		if last = err; mysqlCode(err) != mysqlNoSyntax {
			break
		}
	}
	return nil, last
}

// sourceOf reads a row of either product's: MySQL has called the same columns by other names since 8.0.22.
func sourceOf(names []string, values []driver.Value) mysqlSource {
	get := func(any ...string) string {
		for i, name := range names {
			if values[i] != nil && slices.Contains(any, name) {
				return fmt.Sprint(values[i])
			}
		}
		return ""
	}
	f := mysqlSource{
		name: get("Connection_name", "Channel_Name"),
		at:   net.JoinHostPort(get("Master_Host", "Source_Host"), get("Master_Port", "Source_Port")),
		io:   get("Slave_IO_Running", "Replica_IO_Running"),
		sql:  get("Slave_SQL_Running", "Replica_SQL_Running"),
		last: strings.TrimSpace(get("Last_SQL_Error") + " " + get("Last_IO_Error")),
	}
	if n, err := strconv.ParseInt(get("Seconds_Behind_Master", "Seconds_Behind_Source"), 10, 64); err == nil {
		f.lag = &n
	}
	return f
}

// follows says what is wrong with a server's replication if it should follow source, or none; "" if nothing is. Stale says that it
// follows the right one, and is behind.
func (s mysqlState) follows(source string, within time.Duration) (why string, stale bool) {
	if source == none {
		if len(s.sources) > 0 {
			end := "STOP ALL SLAVES; RESET SLAVE ALL"
			if !strings.Contains(s.version, "MariaDB") {
				end = "STOP REPLICA; RESET REPLICA ALL"
			}
			return "it must replicate from none (" + end + ")", false
		}
		return "", false
	}
	var at []string
	for _, f := range s.sources {
		if !strings.EqualFold(f.at, source) {
			at = append(at, f.at)
			continue
		}
		switch {
		case f.io != "Yes" || f.sql != "Yes":
			why = fmt.Sprintf("its replication has stopped: the thread that reads says %q, the one that applies %q", f.io, f.sql)
		case f.lag == nil:
			why = "it cannot tell how far it is behind"
		case time.Duration(*f.lag)*time.Second > within:
			why = fmt.Sprintf("it is %d s behind, and may be %s", *f.lag, within)
		default:
			return "", false
		}
		if f.last != "" {
			why += "; its last error: " + f.last
		}
		return why, true
	}
	if len(at) == 0 {
		return "it does not replicate, and must from " + source, false
	}
	return fmt.Sprintf("it replicates from %s, and must from %s", strings.Join(at, ", "), source), false
}
