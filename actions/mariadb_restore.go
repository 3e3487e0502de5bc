package actions

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/backup"
	"github.com/failoverd/failoverd/internal/restore"
)

// MariaDBRestoreConfig restores MariaDB in the region being entered from the newest backup in that region's own
// bucket, as mariadb-dump writes it: .sql, .sql.gz or .sql.zst, one file each. The file is read to its end before anything is
// touched, loaded beside the live schemas and swapped in as a whole (internal/restore). It is done once in each epoch: what is written
// after it is the service's own.
type MariaDBRestoreConfig struct {
	// Bucket is the region's own, such as "backups-{region}".
	Bucket string `toml:"bucket" json:"bucket"`
	// Prefix is where the backups of these databases lie, and nothing else.
	Prefix string `toml:"prefix" json:"prefix"`
	// Servers are where MariaDB is in each region, "host:port". That of the other region is only asked whether
	// it is the same one, which a restore would overwrite.
	Servers map[failover.Region]string `toml:"servers" json:"servers"`
	// User needs what docs/operations.md lists, and no SUPER.
	User         string `toml:"user" json:"user"`
	PasswordFile string `toml:"password_file" json:"password_file"`
	// CAFile holds the certificates by which the server is known. Empty: the connection is in the clear.
	CAFile string `toml:"ca_file" json:"ca_file,omitempty"`
	// Databases are what a backup holds, all of it. They are replaced as a whole.
	Databases []string `toml:"databases" json:"databases"`
	// MaxAge is how old the backup may be. Zero: 26 hours, for daily ones.
	MaxAge failover.Duration `toml:"max_age" json:"max_age,omitempty"`
	// Takes is how long a backup takes from its snapshot until it is in the bucket. Zero: 1 hour.
	Takes failover.Duration `toml:"takes" json:"takes,omitempty"`
	// MinSize is the share of the usual size, in percent, that it must have. Zero: 50.
	MinSize int `toml:"min_size" json:"min_size,omitempty"`
	// Key names one backup. Empty: the newest.
	Key string `toml:"key" json:"key,omitempty"`
	// Connections is over how many rows are put beside each other, at most 16. Zero: 2.
	Connections int `toml:"connections" json:"connections,omitempty"`
	// Allow lifts refusals: "old", "small", "newer" (a newer server's), "rows" (written since the failover began), "replica",
	// "original" (it is not asked whether it is the other region's server).
	Allow []restore.Override `toml:"allow" json:"allow,omitempty"`
	// AtRisk are queries for rows that were written since the backup, asked in the region that is left, as long as it answers, for the
	// price. Empty: nobody counts.
	AtRisk []MariaDBRowsConfig `toml:"at_risk" json:"at_risk,omitempty"`
	// Fresh takes a dump in the region that is left first, in a switchover. Nil: a switchover restores the newest backup, as a failover does.
	Fresh *MariaDBFreshConfig `toml:"fresh" json:"fresh,omitempty"`
	// Brought makes of the configuration the restore of that dump. It is never written by people.
	Brought bool `toml:"-" json:"brought,omitempty"`
}

// mostConnections bounds what a restore takes of a server's.
const mostConnections = 16

// Validate implements Config.
func (c *MariaDBRestoreConfig) Validate(role Role) error {
	switch {
	case role == RoleStop || role == RoleSwitch:
		return badParam("bucket", "a restore brings data into the region being entered, and can only stand under start")
	case c.Bucket == "" || strings.Contains(c.Bucket, "/"):
		return badParam("bucket", "%q is no bucket's name; name the region's own, such as \"backups-{region}\"", c.Bucket)
	case strings.HasPrefix(c.Prefix, "/"):
		return badParam("prefix", "%q begins with a slash, with which no key begins that is meant", c.Prefix)
	case len(c.Servers) == 0:
		return badParam("servers", "is missing; name MariaDB in each region, such as { us-east-2 = \"db.us-east-2.example.net:3306\" }")
	case c.User == "":
		return badParam("user", "is missing")
	case !strings.HasPrefix(c.PasswordFile, "/"):
		return badParam("password_file", "%q is not an absolute path", c.PasswordFile)
	case c.CAFile != "" && !strings.HasPrefix(c.CAFile, "/"):
		return badParam("ca_file", "%q is not an absolute path", c.CAFile)
	case len(c.Databases) == 0:
		return badParam("databases", "is missing; name all that a backup holds")
	case c.MinSize < 0 || c.MinSize > 100:
		return badParam("min_size", "%d is not a share in percent", c.MinSize)
	case c.Connections < 0 || c.Connections > mostConnections:
		return badParam("connections", "%d: rows are put over 1 to %d connections", c.Connections, mostConnections)
	case c.MaxAge < 0:
		return badParam("max_age", "%s is negative", c.MaxAge)
	case c.Takes < 0:
		return badParam("takes", "%s is negative", c.Takes)
	case c.Fresh != nil && len(c.Servers) != 2:
		return badParam("fresh", "servers has to name the servers of both regions: that of the region that is left is dumped")
	case c.Fresh != nil && c.Key != "":
		return badParam("key", "%q would be restored in a switchover as well, and not the dump that fresh takes: leave one of them out (in mid-plan `failoverd retry STEP --key KEY` names a backup)", c.Key)
	case c.Fresh != nil && restore.Compressions[c.Fresh.compression()] == "":
		return badParam("fresh.compress", "%q is none of %q", c.Fresh.Compress, slices.Sorted(maps.Keys(restore.Compressions)))
	}
	seen := map[string]failover.Region{}
	for _, r := range slices.Sorted(maps.Keys(c.Servers)) {
		at := c.Servers[r]
		if _, _, err := net.SplitHostPort(at); err != nil {
			return badParam("servers", "%q of %s is not \"host:port\"", at, r)
		}
		if other, ok := seen[at]; ok {
			return badParam("servers", "%q is named for %s and for %s: a restore would overwrite the original", at, other, r)
		}
		seen[at] = r
	}
	for i, db := range c.Databases {
		if slices.Contains(c.Databases[:i], db) {
			return badParam("databases", "%q is listed twice", db)
		}
	}
	if err := restore.Restorable(c.Databases); err != nil {
		return badParam("databases", "%v", err)
	}
	for _, a := range c.Allow {
		if !slices.Contains(restore.Overrides, a) {
			return badParam("allow", "%q is none of %v", a, restore.Overrides)
		}
	}
	return c.validateRows()
}

// Version implements Config.
func (c *MariaDBRestoreConfig) Version() int { return 1 }

// Overrides implements Overriding.
func (c *MariaDBRestoreConfig) Overrides() []string {
	var out []string
	for _, o := range restore.Overrides {
		out = append(out, string(o))
	}
	if c.Brought {
		out = append(out, string(freshBackup))
	}
	return out
}

// TakesKey implements Keyed.
func (c *MariaDBRestoreConfig) TakesKey() {}

// HoldsToken says that the server holds the token.
func (c *MariaDBRestoreConfig) HoldsToken() {}

// Timeout implements Config.
func (c *MariaDBRestoreConfig) Timeout() time.Duration { return 4 * time.Hour }

// New implements Config.
func (c *MariaDBRestoreConfig) New(d Deps) (Action, error) {
	if d.Cloud == nil {
		return nil, errors.New("there are no AWS clients")
	}
	if c.Servers[d.Region] == "" {
		return nil, fmt.Errorf("servers names no MariaDB in %s", d.Region)
	}
	x := &mariaDBRestore{cfg: c, allow: c.Allow, key: c.Key, step: d.Step, region: d.Region, epoch: d.Epoch, since: d.Since, patience: longPatience, pause: restorePause}
	x.fresh = c.freshDumps(d, failover.StepID(strings.Replace(string(d.Step), "start-", "dump-", 1)))
	for _, rec := range d.Past {
		for _, a := range rec.Attempts {
			x.began(a.Previous)
		}
	}
	x.place = backup.Place{Client: d.Cloud.S3(string(d.Region)), Bucket: c.Bucket, Prefix: c.Prefix, Takes: time.Duration(cmp.Or(c.Takes, failover.Duration(time.Hour)))}
	for r, at := range c.Servers {
		if r != d.Region {
			x.left, x.other = r, at
		}
	}
	return x, nil
}

// server is how the account gets to a server. Its secrets are read each time: they may be renewed.
func (c *MariaDBRestoreConfig) server(at string) (*mysql.Config, error) {
	password, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("reading the password of %s: %w", c.User, err)
	}
	m := mysql.NewConfig()
	m.Net, m.Addr, m.User, m.Passwd = "tcp", at, c.User, strings.TrimSpace(string(password))
	if c.CAFile == "" {
		return m, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the certificates by which MariaDB is known: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", c.CAFile)
	}
	host, _, _ := net.SplitHostPort(at)
	m.TLS = &tls.Config{RootCAs: roots, ServerName: host, MinVersion: tls.VersionTLS12}
	return m, nil
}

// errNotBrought says that a switchover has dumped nothing yet.
var errNotBrought = errors.New("no dump that this switchover has taken lies")

// candidates are the backups to restore, the newest first.
func (x *mariaDBRestore) candidates(ctx context.Context) ([]backup.Candidate, error) {
	all, other, err := x.place.List(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the backups under %s: %w", x.place, err)
	}
	if x.cfg.Brought && x.key == "" {
		if f, ok := x.fresh.among(all); ok {
			return []backup.Candidate{{File: f}}, nil
		}
		if !slices.Contains(x.allow, freshBackup) {
			return nil, askError{fmt.Errorf("%w under %s: older backups are not restored in its place unless somebody says so, the newest (%s) or the one that --key names", errNotBrought, x.place, x.underWay(freshBackup))}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("there is no backup under %s (%d other objects): it wants files that end with %s; is the bucket replicated?", x.place, other, strings.Join(backup.Endings, ", "))
	}
	if x.key == "" {
		return backup.Candidates(all), nil
	}
	i := slices.IndexFunc(all, func(f backup.File) bool { return f.Key == x.key })
	if i < 0 {
		return nil, fmt.Errorf("there is no backup %s under %s, among %d; the newest is %s", x.key, x.place, len(all), all[len(all)-1].Key)
	}
	return backup.Candidates(all[:i+1])[:1], nil
}

// options are a restore by an attempt.
func (x *mariaDBRestore) options(ctx context.Context, a Attempt) (o restore.Options, err error) {
	o = x.wanted()
	o.Token, o.Epoch, o.Since, o.Connections = a.Token, a.Epoch, x.since, cmp.Or(x.cfg.Connections, 2)
	o.Open = func(ctx context.Context, f backup.File) (io.ReadCloser, error) { return x.place.Open(ctx, f), nil }
	if o.Server, err = x.cfg.server(x.cfg.Servers[x.region]); err != nil {
		return o, err
	}
	if x.other != "" {
		if o.Other, err = x.cfg.server(x.other); err != nil {
			return o, err
		}
	}
	found, err := x.candidates(ctx)
	if err != nil {
		return o, err
	}
	x.choose(&o, found)
	x.began(a.Previous)
	if x.first != nil && x.key == "" && x.brings(o.File) && *x.first != (freshFound{o.File.Key, o.File.ETag}) {
		return o, askError{fmt.Errorf("the first attempt began with %s (ETag %s), and %s (ETag %s) lies there now (`failoverd retry %s --key %s --why …` takes that one)", x.first.Key, x.first.ETag, o.File.Key, o.File.ETag, x.step, o.File.Key)}
	}
	return o, nil
}

// began keeps the dump with which an attempt began, if no earlier one's is known. What was committed before an attempt of another execution
// names a dump that is not this one's.
func (x *mariaDBRestore) began(previous json.RawMessage) {
	var was restoredBefore
	if x.first != nil || json.Unmarshal(previous, &was) != nil || was.Fresh == nil {
		return
	}
	if _, _, ok := x.fresh.is(was.Fresh.Key); ok {
		x.first = was.Fresh
	}
}

// brings reports whether a backup is the dump that this switchover has taken.
func (x *mariaDBRestore) brings(f backup.File) bool {
	_, _, ok := x.fresh.is(f.Key)
	return x.cfg.Brought && ok
}

// choose makes backups those to restore. What was taken behind the fence is all that there is, however long ago that was.
func (x *mariaDBRestore) choose(o *restore.Options, found []backup.Candidate) {
	o.Candidate, o.Older = found[0], found[1:]
	if x.brings(o.File) {
		o.MaxAge = 0
	}
}

// wanted is what is wanted of a backup.
func (x *mariaDBRestore) wanted() restore.Options {
	return restore.Options{Databases: x.cfg.Databases, Allow: x.allow, UnderWay: x.underWay, MinSize: x.cfg.minSize(), MaxAge: x.cfg.Oldest()}
}

func (c *MariaDBRestoreConfig) minSize() int { return cmp.Or(c.MinSize, 50) }

// Oldest is how old a backup may be that is restored.
func (c *MariaDBRestoreConfig) Oldest() time.Duration {
	return cmp.Or(c.MaxAge, failover.Duration(26*time.Hour)).D()
}
