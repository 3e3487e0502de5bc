package actions

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/backup"
	"github.com/failoverd/failoverd/internal/restore"
)

// MariaDBFreshConfig says that a switchover takes a dump of the server in the region that is left, once the fence has shown that its writers have
// stopped, and restores that one and nothing older. A failover does not: the server may be gone.
type MariaDBFreshConfig struct {
	// Program is mariadb-dump, as a path or as a name on PATH. Empty: "mariadb-dump".
	Program string `toml:"program" json:"program,omitempty"`
	// Compress is "zstd", "gzip" or "none". Empty: "zstd". Sizes are compared with those of the backups that lie beside it.
	Compress string `toml:"compress" json:"compress,omitempty"`
}

// MariaDBDumpConfig is the step of a switchover that takes that dump. It follows from a restore with Fresh, and stands nowhere by itself.
type MariaDBDumpConfig struct {
	Restore MariaDBRestoreConfig `toml:"restore" json:"restore"`
}

// Validate implements Config.
func (c *MariaDBDumpConfig) Validate(role Role) error {
	if role != "" {
		return badParam("restore", "a dump stands nowhere by itself: write fresh = {} into mariadb_restore, from which a switchover makes this step")
	}
	if c.Restore.Fresh == nil {
		return badParam("restore", "has no fresh")
	}
	return c.Restore.Validate(role)
}

// Version implements Config.
func (c *MariaDBDumpConfig) Version() int { return 1 }

// Timeout implements Config.
func (c *MariaDBDumpConfig) Timeout() time.Duration { return c.Restore.Timeout() }

// Tries is how often it is tried again where the configuration does not say: a server that is gone is a person's business soon.
func (c *MariaDBDumpConfig) Tries() int { return 3 }

// Overrides implements Overriding.
func (c *MariaDBDumpConfig) Overrides() []string {
	return []string{string(restore.AllowRows), string(restore.AllowReplica), string(restore.AllowHistory)}
}

// New implements Config.
func (c *MariaDBDumpConfig) New(d Deps) (Action, error) {
	if d.Cloud == nil {
		return nil, errors.New("there are no AWS clients")
	}
	r := &c.Restore
	x := &mariaDBDump{cfg: r, step: d.Step, region: d.Region, fresh: r.freshDumps(d, d.Step), patience: longPatience}
	x.place = backup.Place{Client: d.Cloud.S3(string(d.Region)), Bucket: r.Bucket, Prefix: r.Prefix}
	for _, other := range slices.Sorted(maps.Keys(r.Servers)) {
		if other != d.Region {
			x.left = other
		}
	}
	if x.left == "" {
		return nil, fmt.Errorf("servers names no MariaDB but that of %s", d.Region)
	}
	return x, nil
}

func (c *MariaDBFreshConfig) program() string     { return cmp.Or(c.Program, "mariadb-dump") }
func (c *MariaDBFreshConfig) compression() string { return cmp.Or(c.Compress, "zstd") }

// Bringing are the steps of a switchover, nil where it does no more than a failover: the dump, and the restore of it.
func (c *MariaDBRestoreConfig) Bringing() (dump, start Config) {
	if c.Fresh == nil {
		return nil, nil
	}
	brought := *c
	brought.Brought = true
	return &MariaDBDumpConfig{*c}, &brought
}

// freshBackup is the override of a restore that was to take a fresh dump: it takes the newest backup, or whatever lies there.
const freshBackup restore.Override = "backup"

// freshName is the name of a fresh dump behind the prefix: the epoch that began with the fence, the attempt's token, and when it was begun, which is
// as of when it is.
var freshName = regexp.MustCompile(`^failoverd-e(\d+)-t(\d+)-(20\d{6}T\d{6})\.sql(?:\.gz|\.zst)?$`)

const freshTime = "20060102T150405"

// freshDumps tells the dumps that a switchover has taken from all others that lie there. Epochs and tokens are unique within one cluster's log only, and
// the bucket may hold what another one has put there: a cluster that was made anew, or one for trials. So its own is the one whose token is that of
// the newest attempt in the execution, unless that is known to have failed, and that was begun after the execution began. What an earlier attempt
// has put there late is none: a later one may have been refused since, because somebody writes.
type freshDumps struct {
	prefix string
	epoch  uint64
	step   failover.StepID // the dump's
	since  time.Time       // when the execution began; zero: none is under way, and none is its own
	begun  func(step failover.StepID) (tokens []uint64, failed bool)
	token  uint64 // of the attempt that this action has begun itself; zero: none
}

func (c *MariaDBRestoreConfig) freshDumps(d Deps, step failover.StepID) freshDumps {
	return freshDumps{prefix: c.Prefix, epoch: d.Epoch, step: step, since: d.Since, begun: d.Begun}
}

// earlier are the tokens of the attempts before this one, whether they have failed or not.
func (o *freshDumps) earlier(token uint64) (out []uint64) {
	if o.begun != nil {
		out, _ = o.begun(o.step)
	}
	return slices.DeleteFunc(out, func(t uint64) bool { return t == token })
}

// counts is the token of the dump that counts; zero: none does.
func (o *freshDumps) counts() uint64 {
	if o.begun == nil {
		return o.token
	}
	switch tokens, failed := o.begun(o.step); {
	case len(tokens) == 0 || o.token > slices.Max(tokens):
		return o.token
	case failed && o.token < slices.Max(tokens):
		return 0
	default:
		return slices.Max(tokens)
	}
}

// under begins the key of an attempt's.
func (o *freshDumps) under(token uint64) string {
	return fmt.Sprintf("%sfailoverd-e%d-t%d-", o.prefix, o.epoch, token)
}

// key is that of an attempt's. The clock of a leader may be behind that of the one who began the execution.
func (o *freshDumps) key(token uint64, at time.Time, compression string) string {
	if at.Before(o.since) {
		at = o.since
	}
	return o.under(token) + at.UTC().Format(freshTime) + restore.Compressions[compression]
}

// is tells whether a key is that of a dump that this switchover has taken, by which attempt, and as of when.
func (o *freshDumps) is(key string) (token uint64, asOf time.Time, ok bool) {
	m := freshName.FindStringSubmatch(key[min(len(o.prefix), len(key)):])
	if m == nil || m[1] != strconv.FormatUint(o.epoch, 10) || o.since.IsZero() {
		return 0, time.Time{}, false
	}
	token, err := strconv.ParseUint(m[2], 10, 64)
	asOf, err2 := time.Parse(freshTime, m[3])
	if err != nil || err2 != nil || asOf.Before(o.since.Truncate(time.Second)) || token == 0 || token != o.counts() {
		return 0, time.Time{}, false
	}
	return token, asOf, true
}

// among is the dump that counts, among backups.
func (o *freshDumps) among(all []backup.File) (out backup.File, ok bool) {
	for _, f := range all {
		if _, asOf, is := o.is(f.Key); is {
			out, ok = f, true
			out.AsOf = asOf
		}
	}
	return out, ok
}

// needs implements needing: unlike all others, it needs the region that is left.
func (c *MariaDBDumpConfig) needs(r failover.Region) []Need {
	out := []Need{{What: "S3", Region: r}}
	for _, other := range slices.Sorted(maps.Keys(c.Restore.Servers)) {
		if other != r {
			out = append(out, Need{What: "MariaDB at " + c.Restore.Servers[other], Region: other})
		}
	}
	return out
}

// byHand implements byHand.
func (c *MariaDBDumpConfig) byHand(region failover.Region, _ []failover.Region) (do []string, see string) {
	r := &c.Restore
	for _, other := range slices.Sorted(maps.Keys(r.Servers)) {
		if other == region {
			continue
		}
		host, port, _ := strings.Cut(r.Servers[other], ":")
		do = append(do, fmt.Sprintf("%s --host=%s --port=%s --user=%s --password --single-transaction --routines --triggers --events --hex-blob --databases %s > fresh.sql   # once everything that writes there has stopped",
			word(r.Fresh.program()), word(host), word(port), word(r.User), words(r.Databases)))
	}
	do = append(do, `tail -1 fresh.sql   # "-- Dump completed on ...", or it is not whole: once more`,
		fmt.Sprintf(`aws s3 cp --region %s fresh.sql s3://%s/%s"by-hand-$(date -u +%%Y%%m%%dT%%H%%M%%S).sql"`, region, word(r.Bucket), word(r.Prefix)))
	do = append(do, "# where failoverd goes on with the restore: `failoverd retry start-COMPONENT --key KEY --why …` with the key of that object, or it takes none that it has not dumped itself")
	return do, "the bucket lists it with the size of fresh.sql"
}
