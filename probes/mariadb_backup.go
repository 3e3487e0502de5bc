package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/backup"
)

// MariaDBBackupConfig looks at the backups of MariaDB in the region's own bucket: whether
// there is a newest one that could be restored, and how old it is. Backups are files as
// mariadb-dump writes them, .sql, .sql.gz or .sql.zst, one file each. It is something that
// people see to in time, and never makes a region down; what would be lost is counted by it
// (policy.max_loss).
type MariaDBBackupConfig struct {
	// Bucket is the region's own: a backup in the region that has failed restores nothing.
	Bucket string `toml:"bucket" json:"bucket"`
	// Prefix is where the backups of this database lie, and nothing else.
	Prefix string `toml:"prefix" json:"prefix"`
	// MaxAge is how old the newest may be. Zero: 26 hours, for daily ones.
	MaxAge failover.Duration `toml:"max_age" json:"max_age,omitempty"`
	// Takes is how long a backup takes from its snapshot until it is in the bucket: it is
	// that much older than S3 says. Zero: 1 hour.
	Takes failover.Duration `toml:"takes" json:"takes,omitempty"`
	// MinSize is the share of the usual size, in percent, that the newest must have. Zero: 50.
	MinSize int `toml:"min_size" json:"min_size,omitempty"`
	// Databases must be in it. Empty: they are not looked at.
	Databases []string `toml:"databases" json:"databases,omitempty"`
}

// MariaDBBackupCheckConfig asserts the same of the newest backup, and reads all of it: of
// a compressed file only that tells whether it is whole.
type MariaDBBackupCheckConfig struct {
	MariaDBBackupConfig
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *MariaDBBackupConfig) Validate() error {
	switch {
	case c.Bucket == "":
		return badParam("bucket", "is missing; name the region's own bucket, such as \"backups-{region}\"")
	case strings.Contains(c.Bucket, "/"):
		return badParam("bucket", "%q is no bucket's name: write what stands behind it as prefix", c.Bucket)
	case strings.HasPrefix(c.Prefix, "/"):
		return badParam("prefix", "%q begins with a slash, with which no key begins that is meant", c.Prefix)
	case c.MinSize < 0 || c.MinSize > 100:
		return badParam("min_size", "%d is not a share in percent", c.MinSize)
	}
	if err := validNames("databases", c.Databases); err != nil {
		return err
	}
	if err := notNegative("max_age", c.MaxAge); err != nil {
		return err
	}
	if err := notNegative("takes", c.Takes); err != nil {
		return err
	}
	if c.takes() >= c.maxAge() {
		return badParam("takes", "%s is not below max_age, %s: no backup would ever be young enough", c.takes(), c.maxAge())
	}
	return nil
}

// Validate reports the first wrong parameter.
func (c *MariaDBBackupCheckConfig) Validate() error {
	if err := c.MariaDBBackupConfig.Validate(); err != nil {
		return err
	}
	return notNegative("within", c.For)
}

func (c *MariaDBBackupConfig) maxAge() time.Duration { return orElse(c.MaxAge, 26*time.Hour) }
func (c *MariaDBBackupConfig) takes() time.Duration  { return orElse(c.Takes, time.Hour) }
func (c *MariaDBBackupConfig) minSize() int          { return cmp.Or(c.MinSize, 50) }

// Within implements CheckConfig.
func (c *MariaDBBackupCheckConfig) Within() time.Duration { return within(c.For) }

// Upkeep says that the signal is for people, and says nothing of the region's health.
func (c *MariaDBBackupConfig) Upkeep() {}

// New implements Config.
func (c *MariaDBBackupConfig) New(d Deps) (Probe, error) { return c.probe(d) }

func (c *MariaDBBackupConfig) probe(d Deps) (*mariaDBBackup, error) {
	if d.Cloud == nil {
		return nil, fmt.Errorf("backups in %s: there are no AWS clients", c.Bucket)
	}
	place := backup.Place{Client: d.Cloud.S3(string(d.Region)), Bucket: c.Bucket, Prefix: c.Prefix, Takes: c.takes()}
	return &mariaDBBackup{cfg: c, deps: d, place: place, known: map[backup.File]backup.Word{}}, nil
}

// NewCheck implements CheckConfig.
func (c *MariaDBBackupCheckConfig) NewCheck(d Deps) (Check, error) {
	p, err := c.probe(d)
	if err != nil {
		return nil, err
	}
	p.all = true
	return mariaDBBackupCheck{p}, nil
}

type mariaDBBackup struct {
	cfg   *MariaDBBackupConfig
	deps  Deps
	place backup.Place
	all   bool // read a file to its end

	known map[backup.File]backup.Word // of those that were looked at
	now   *reading                    // under way, with all; else nil
}

// Probe implements Probe.
func (p *mariaDBBackup) Probe(ctx context.Context) failover.Observation {
	o := p.deps.observation("mariadb_backup", p.place.String())
	ctx, cancel := p.deps.within(ctx)
	defer cancel()
	r := p.look(ctx, o.At)
	r.latency = time.Since(o.At)
	return r.finish(o)
}

type mariaDBBackupCheck struct{ probe *mariaDBBackup }

// Check implements Check.
func (c mariaDBBackupCheck) Check(ctx context.Context) Finding {
	return findingOfStock(c.probe.Probe(ctx))
}

func (p *mariaDBBackup) look(ctx context.Context, now time.Time) result {
	if err := p.deps.Cloud.Credentials(ctx); err != nil {
		return unsaid("credentials", err)
	}
	all, other, err := p.place.List(ctx)
	bad := func(format string, args ...any) result {
		return result{outcome: failover.Failed, reason: failover.ReasonContent, detail: fmt.Sprintf(format, args...)}
	}
	switch {
	case err != nil:
		return unsaid("ListObjectsV2 of "+p.place.String(), err)
	case len(all) == 0:
		return bad("there is no backup under %s in %s (%d other objects): it wants files that end with .sql, .sql.gz or .sql.zst; is the bucket replicated?", p.place, p.deps.Region, other)
	}
	var passed []string // newer ones, and why they do not count
	for _, c := range backup.Candidates(all) {
		b := c.File
		age := now.Sub(b.AsOf)
		if age > p.cfg.maxAge() {
			return bad("the newest of %d backups in %s that may count, %s, is %s old, and may be %s: has the backup of last night run, and was it replicated?%s", len(all), p.deps.Region, b.Key, age.Round(time.Minute), p.cfg.maxAge(), because(passed))
		}
		said, err := p.word(ctx, c)
		switch {
		case err != nil:
			return notRead(b, err)
		case said.Wrong != "":
			passed = append(passed, b.Key+" restores nothing: "+said.Wrong)
			continue
		}
		r := result{outcome: failover.OK, lastWrite: b.AsOf}
		if len(passed) > 0 {
			r.outcome, r.reason = failover.Slow, failover.ReasonContent
		}
		r.detail = fmt.Sprintf("the newest backup in %s is %s: as of %s or %s ago, %s, of MariaDB %s", p.deps.Region, b.Key, b.AsOf.UTC().Format(time.RFC3339), age.Round(time.Minute), backup.Size(b.Size), cmp.Or(said.Summary.Server, "of an unknown version"))
		if p.all {
			r.detail += fmt.Sprintf("; read to its end: %d tables of %s, %s uncompressed", said.Summary.Tables, few(said.Summary.Databases), backup.Size(said.Summary.Bytes))
		}
		if said.Unsaid != "" {
			r.detail += "; " + said.Unsaid
		}
		r.detail += because(passed)
		return r
	}
	return bad("of %d backups in %s the %d newest restore nothing%s", len(all), p.deps.Region, len(passed), because(passed))
}

// notRead is that a backup could not be looked at, or not to its end yet.
func notRead(b backup.File, err error) result {
	if r, ok := errors.AsType[errReading](err); ok {
		return result{outcome: failover.NoResult, reason: failover.ReasonOther, detail: r.text}
	}
	if backup.Replaced(err) {
		return result{outcome: failover.NoResult, reason: failover.ReasonOther, detail: b.Key + " was replaced or deleted while it was looked at"}
	}
	return unsaid("GetObject of "+b.Key, err)
}

func because(passed []string) string {
	if len(passed) == 0 {
		return ""
	}
	return "; newer, but " + strings.Join(passed, "; ")
}

// word says what is known of a backup beside its age.
func (p *mariaDBBackup) word(ctx context.Context, c backup.Candidate) (backup.Word, error) {
	if why := c.File.Shrunken(c.Usual, p.cfg.minSize()); why != "" {
		return backup.Word{Wrong: why}, nil
	}
	said, err := p.file(ctx, c.File)
	if err != nil || said.Wrong != "" {
		return said, err
	}
	for _, db := range p.cfg.Databases {
		// Its beginning alone names the first of several.
		if !slices.Contains(said.Summary.Databases, db) && (p.all || len(p.cfg.Databases) == 1 && len(said.Summary.Databases) > 0) {
			said.Wrong = fmt.Sprintf("it does not hold database %s, but %s", db, cmp.Or(few(said.Summary.Databases), "none that it names"))
		}
	}
	return said, nil
}

// file says what the file is. A file whose ETag has not changed is not read again.
func (p *mariaDBBackup) file(ctx context.Context, b backup.File) (backup.Word, error) {
	if said, ok := p.known[b]; ok {
		return said, nil
	}
	read := p.place.Ends
	if p.all {
		read = p.whole
	}
	said, err := read(ctx, b)
	if err == nil {
		if len(p.known) > 6 { // newer ones have come since
			clear(p.known)
		}
		p.known[b] = said
	}
	return said, err
}
