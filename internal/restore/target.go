package restore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// checkServer refuses a server on which nothing of this kind may be done, before anything is.
func (r *run) checkServer(ctx context.Context) error {
	version, err := r.s.value(ctx, "SELECT @@version")
	if err != nil {
		return err
	}
	if !strings.Contains(version, "MariaDB") {
		return refuse("name a MariaDB server", "the server at %s is %s, no MariaDB", r.o.Server.Addr, version)
	}
	if newer("10.6", version) { // before, RENAME TABLE may stop half way when the server dies
		return refuse("upgrade the server to 10.6 or later", "the server at %s is MariaDB %s, which does not rename several tables as a whole", r.o.Server.Addr, version)
	}
	if err := r.checkOther(ctx); err != nil {
		return err
	}
	lacks, err := rights(ctx, r.s, r.live)
	if err != nil {
		return err
	}
	if lacks != "" {
		return refuse(lacks, "the account %s may not do at %s what a restore needs", r.o.Server.User, r.o.Server.Addr)
	}
	from, err := replicates(ctx, r.s)
	if err == nil && from != "" && !r.o.allows(AllowReplica) {
		err = refuse(r.o.allow(AllowReplica, "STOP ALL SLAVES and RESET SLAVE ALL there"), "the server at %s replicates from %s, which would write into what is restored", r.o.Server.Addr, from)
	}
	return err
}

// replicates says from where a server replicates; "" if it does not, or does not tell the account: that needs SLAVE MONITOR, which is not asked of it.
func replicates(ctx context.Context, s *session) (string, error) {
	from, err := s.record(ctx, "SHOW ALL SLAVES STATUS")
	if code(err) == errNoPrivilege {
		return "", nil
	}
	return from["Master_Host"], err
}

// checkOther refuses the server of the other region, whatever address led to it.
func (r *run) checkOther(ctx context.Context) error {
	if r.o.Other == nil || r.o.allows(AllowMissing) {
		return nil
	}
	mine, err := who(ctx, r.s)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	other, err := dial(ctx, r.o.Other, nil)
	if err != nil {
		if r.o.Other.Addr == r.o.Server.Addr {
			return fmt.Errorf("%s is named as the server of both regions", r.o.Server.Addr)
		}
		return nil // it is gone: what a restore is for
	}
	defer other.end(false) //nolint:errcheck // nothing was written
	theirs, err := who(ctx, other)
	if err == nil && mine == theirs {
		return refuse(r.o.allow(AllowMissing, "look where the two names lead to"), "%s and %s are the same server (%s): restoring there would overwrite the original", r.o.Server.Addr, r.o.Other.Addr, mine)
	}
	return nil
}

// who names a server in a way that no other has. A copy of a whole server has the name of its original, so
// its host counts, too.
func who(ctx context.Context, s *session) (string, error) {
	uid, err := s.value(ctx, "SELECT @@server_uid")
	if err != nil && code(err) != errNoVariable {
		return "", err
	}
	host, err := s.value(ctx, "SELECT CONCAT(@@hostname, ':', @@port, ' ', @@datadir)")
	return strings.TrimSpace(uid + " " + host), err
}

// checkVersion refuses a backup of a newer server.
func (r *run) checkVersion(ctx context.Context) error {
	version, err := r.s.value(ctx, "SELECT @@version")
	if err != nil {
		return err
	}
	if newer(r.said.Server, version) && !r.o.allows(AllowNewer) {
		return refuseFile(r.o.allow(AllowNewer, "upgrade the server"), "the backup %s is of MariaDB %s, and the server at %s is older: %s", r.o.File.Key, r.said.Server, r.o.Server.Addr, version)
	}
	return nil
}

// checkTarget refuses a server that cannot take the backup, and one whose own rows are newer than they should be.
func (r *run) checkTarget(ctx context.Context) error {
	most, err := r.s.value(ctx, "SELECT @@global.max_allowed_packet")
	if err != nil {
		return err
	}
	if n, err := strconv.Atoi(most); err != nil || r.said.longest+1024 > n {
		return refuse(fmt.Sprintf("SET GLOBAL max_allowed_packet=%d there, and in its configuration", max(64<<20, (r.said.longest/(1<<20)+2)<<20)),
			"the backup %s has a statement of %d bytes, and the server at %s takes %s", r.o.File.Key, r.said.longest, r.o.Server.Addr, most)
	}
	for _, db := range r.live {
		// It would follow the table out of the live schema. Seen are those on which the account has any right.
		follow, err := r.s.column(ctx, `SELECT CONCAT(CONSTRAINT_SCHEMA, '.', TABLE_NAME, ' (', CONSTRAINT_NAME, ')') FROM information_schema.REFERENTIAL_CONSTRAINTS
			WHERE UNIQUE_CONSTRAINT_SCHEMA=? AND NOT FIND_IN_SET(CONSTRAINT_SCHEMA, ?) LIMIT 3`, db, strings.Join(r.live, ","))
		if err != nil {
			return err
		}
		if len(follow) > 0 {
			return refuse("restore that database along with it, or drop the constraints", "foreign keys of other databases refer to %s at %s: %s", db, r.o.Server.Addr, strings.Join(follow, ", "))
		}
	}
	if r.o.Since.IsZero() || time.Until(r.o.Since) > 0 || r.o.allows(AllowRows) {
		return nil
	}
	// By the server's own clock, which is whole seconds here; it knows of no write before its last start.
	since, err := r.s.value(ctx, "SELECT UTC_TIMESTAMP() - INTERVAL ? SECOND", fmt.Sprintf("%.0f", time.Since(r.o.Since).Seconds()))
	if err != nil {
		return err
	}
	for _, db := range r.live {
		written, err := r.s.column(ctx, writtenSince, db, since)
		if err != nil {
			return err
		}
		if len(written) > 0 {
			return refuse(r.o.allow(AllowRows, "stop what writes there, save what it wrote"), "the live schema %s at %s has been written to since %s, after the service was fenced: %s",
				db, r.o.Server.Addr, r.o.Since.UTC().Format(time.RFC3339), strings.Join(written, ", "))
		}
	}
	return nil
}
