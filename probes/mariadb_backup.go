package probes

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/backup"
	"github.com/failoverd/failoverd/internal/dump"
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
	return &mariaDBBackup{cfg: c, deps: d, place: place, known: map[backup.File]fileWord{}}, nil
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

	known map[backup.File]fileWord // of those that were looked at
	now   *reading                 // under way, with all; else nil
}

// fileWord is what a file says of itself.
type fileWord struct {
	summary dump.Summary
	wrong   string // why it restores nothing; "" if nothing is known against it
	unsaid  string // what of it is not known
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
	for i := len(all) - 1; i >= 0 && i >= len(all)-mostBackups; i-- {
		b := all[i]
		age := now.Sub(b.AsOf)
		if age > p.cfg.maxAge() {
			return bad("the newest of %d backups in %s that may count, %s, is %s old, and may be %s: has the backup of last night run, and was it replicated?%s", len(all), p.deps.Region, b.Key, age.Round(time.Minute), p.cfg.maxAge(), because(passed))
		}
		said, err := p.word(ctx, b, backup.Usual(all[:i]))
		switch {
		case err != nil:
			return notRead(b, err)
		case said.wrong != "":
			passed = append(passed, b.Key+" restores nothing: "+said.wrong)
			continue
		}
		r := result{outcome: failover.OK, lastWrite: b.AsOf}
		if len(passed) > 0 {
			r.outcome, r.reason = failover.Slow, failover.ReasonContent
		}
		r.detail = fmt.Sprintf("the newest backup in %s is %s: as of %s or %s ago, %s, of MariaDB %s", p.deps.Region, b.Key, b.AsOf.UTC().Format(time.RFC3339), age.Round(time.Minute), backup.Size(b.Size), cmp.Or(said.summary.Server, "of an unknown version"))
		if p.all {
			r.detail += fmt.Sprintf("; read to its end: %d tables of %s, %s uncompressed", said.summary.Tables, few(said.summary.Databases), backup.Size(said.summary.Bytes))
		}
		if said.unsaid != "" {
			r.detail += "; " + said.unsaid
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

// mostBackups is how many of the newest are looked at for one that could be restored.
const mostBackups = 3

func because(passed []string) string {
	if len(passed) == 0 {
		return ""
	}
	return "; newer, but " + strings.Join(passed, "; ")
}

// word says what is known of a backup beside its age.
func (p *mariaDBBackup) word(ctx context.Context, b backup.File, usual int64) (fileWord, error) {
	if why := b.Shrunken(usual, p.cfg.minSize()); why != "" {
		return fileWord{wrong: why}, nil
	}
	said, err := p.file(ctx, b)
	if err != nil || said.wrong != "" {
		return said, err
	}
	for _, db := range p.cfg.Databases {
		// Its beginning alone names the first of several.
		if !slices.Contains(said.summary.Databases, db) && (p.all || len(p.cfg.Databases) == 1 && len(said.summary.Databases) > 0) {
			said.wrong = fmt.Sprintf("it does not hold database %s, but %s", db, cmp.Or(few(said.summary.Databases), "none that it names"))
		}
	}
	return said, nil
}

// file says what the file is. A file whose ETag has not changed is not read again.
func (p *mariaDBBackup) file(ctx context.Context, b backup.File) (fileWord, error) {
	if said, ok := p.known[b]; ok {
		return said, nil
	}
	read := p.ends
	if p.all {
		read = p.whole
	}
	said, err := read(ctx, b)
	if err == nil {
		if len(p.known) > 2*mostBackups {
			clear(p.known)
		}
		p.known[b] = said
	}
	return said, err
}

// wordOf sorts what reading a file gave: an error of the file is said of it.
func wordOf(s dump.Summary, err error) (fileWord, error) {
	for _, of := range []error{dump.ErrNotADump, dump.ErrIncomplete, dump.ErrDamaged} {
		if errors.Is(err, of) {
			return fileWord{summary: s, wrong: err.Error()}, nil
		}
	}
	return fileWord{summary: s}, err
}

// ends reads the beginning of a backup, and its end where that tells something.
func (p *mariaDBBackup) ends(ctx context.Context, b backup.File) (fileWord, error) {
	const head, tail = 256 << 10, 4 << 10
	if b.Size == 0 { // S3 has no range of it
		return fileWord{wrong: dump.ErrNotADump.Error()}, nil
	}
	body, err := p.place.Get(ctx, b, aws.String(fmt.Sprintf("bytes=0-%d", head-1)))
	if err != nil {
		return fileWord{}, err
	}
	defer body.Close()
	said, err := wordOf(dump.ReadHead(body))
	if err != nil || said.wrong != "" {
		return said, err
	}
	if !strings.HasSuffix(b.Key, ".sql") {
		said.unsaid = "whether it is whole only reading all of it tells, as the check mariadb_backup does"
		return said, nil
	}
	end, err := p.place.Get(ctx, b, aws.String(fmt.Sprintf("bytes=-%d", tail)))
	if err != nil {
		return said, err
	}
	defer end.Close()
	text, err := io.ReadAll(io.LimitReader(end, tail))
	if err != nil {
		return said, err
	}
	if said.summary.Complete = dump.Ends(text); !said.summary.Complete {
		said.wrong = dump.ErrIncomplete.Error()
	}
	return said, nil
}
