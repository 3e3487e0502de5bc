// Package backup finds the backups of a database in an S3 bucket and reads them: which there are, as of when and whole or not, and each by
// ranges that are asked for again where they break off.
package backup

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// Endings are those of the files that count: as mariadb-dump writes them, compressed or not.
var Endings = []string{".sql", ".sql.gz", ".sql.zst"}

// File is one backup. Two that are equal have the same content.
type File struct {
	Key, ETag string
	Size      int64     // bytes, as they lie there
	AsOf      time.Time // nothing that was written later is in it
}

// Candidate is a backup that may be restored.
type Candidate struct {
	File File
	// Usual is the usual size of those before it, in bytes. Zero: there was none.
	Usual int64
}

// Candidates are the newest backups of a list in the order of their time, the newest first: how many are looked at for one that
// could be restored.
func Candidates(all []File) []Candidate {
	const most = 3
	var out []Candidate
	for i := len(all) - 1; i >= 0 && len(out) < most; i-- {
		out = append(out, Candidate{all[i], Usual(all[:i])})
	}
	return out
}

// Place is where backups of one database lie, and nothing else.
type Place struct {
	Client         *s3.Client
	Bucket, Prefix string
	// Takes is how long a backup takes from its snapshot until it is in the bucket.
	Takes time.Duration
	// Part is how many bytes are asked for at once. Zero: 8 MiB.
	Part int64
}

// String is the place for a person.
func (p Place) String() string { return "s3://" + p.Bucket + "/" + p.Prefix }

func once(o *s3.Options) { o.RetryMaxAttempts = 1 }

// mostPages bounds what is listed, a thousand objects each.
const mostPages = 50

// List reads what is there, oldest first, and how many objects are no backups. S3 lists in
// the order of the keys, which need not be that of time.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
func (p Place) List(ctx context.Context) (all []File, other int, err error) {
	pages := s3.NewListObjectsV2Paginator(p.Client, &s3.ListObjectsV2Input{Bucket: &p.Bucket, Prefix: &p.Prefix})
	for n := 0; pages.HasMorePages(); n++ {
		if n == mostPages {
			return nil, 0, fmt.Errorf("more than %d,000 objects under %s: name a prefix under which only backups of this database lie", n, p)
		}
		page, err := pages.NextPage(ctx, once)
		if err != nil {
			return nil, 0, err
		}
		for _, o := range page.Contents {
			key := aws.ToString(o.Key)
			if !slices.ContainsFunc(Endings, func(end string) bool { return strings.HasSuffix(key, end) }) {
				other++
				continue
			}
			all = append(all, File{key, aws.ToString(o.ETag), aws.ToInt64(o.Size), p.asOf(key, aws.ToTime(o.LastModified))})
		}
	}
	slices.SortStableFunc(all, func(a, b File) int { return a.AsOf.Compare(b.AsOf) })
	return all, other, nil
}

// keyTime is a date in a key, with or without the time of day: 2026-11-28, 20261128T0305, 2026-11-28_03-05-12.
var keyTime = regexp.MustCompile(`(20\d\d)-?([01]\d)-?([0-3]\d)(?:[T_-]?([012]\d)[-:]?([0-5]\d)(?:[-:]?([0-5]\d))?)?`)

// asOf is a time after which nothing that was written is in a backup. S3 knows when the
// file was there; a copy or a replica may be younger than the backup, and then its name
// may know better.
func (p Place) asOf(key string, modified time.Time) time.Time {
	asOf := modified.Add(-p.Takes)
	found := keyTime.FindAllStringSubmatch(key, -1)
	if len(found) == 0 {
		return asOf
	}
	part := found[len(found)-1]
	day, err := time.Parse("20060102", part[1]+part[2]+part[3])
	if err != nil {
		return asOf
	}
	named := day.Add(24 * time.Hour) // some time of that day
	if part[4] != "" {
		if at, err := time.Parse("20060102150405", part[1]+part[2]+part[3]+part[4]+part[5]+cmp.Or(part[6], "00")); err == nil {
			named = at
		}
	}
	if named.Before(asOf) {
		return named
	}
	return asOf
}

// Usual is the median of the last sizes; zero where there was none before.
func Usual(all []File) int64 {
	if len(all) == 0 {
		return 0
	}
	var sizes []int64
	for _, b := range all[max(0, len(all)-14):] {
		sizes = append(sizes, b.Size)
	}
	slices.Sort(sizes)
	return sizes[len(sizes)/2]
}

// Shrunken says that a file is so small that something is missing: less than share percent of what is
// usual; "" if it is not.
func (f File) Shrunken(usual int64, share int) string {
	if f.Size*100 >= usual*int64(share) {
		return ""
	}
	return fmt.Sprintf("it has %d bytes, and those before it %d; less than %d %% of what is usual is not all of it", f.Size, usual, share)
}

// Get reads a backup, or a range of it as HTTP writes it: the one that was listed, and none
// that was put in its place since.
func (p Place) Get(ctx context.Context, f File, part *string) (io.ReadCloser, error) {
	out, err := p.Client.GetObject(ctx, &s3.GetObjectInput{Bucket: &p.Bucket, Key: &f.Key, IfMatch: &f.ETag, Range: part}, once)
	if err != nil {
		return nil, err
	}
	if part != nil {
		// What lies between may not know ranges, and gives the whole file from its beginning: it would be read twice.
		first, _, _ := strings.Cut(strings.TrimPrefix(*part, "bytes="), "-")
		if first != "" { // else it is the last bytes that were asked for
			first += "-"
		}
		if got := aws.ToString(out.ContentRange); !strings.HasPrefix(got, "bytes "+first) {
			_ = out.Body.Close() // nothing of it is read
			return nil, fmt.Errorf("s3://%s/%s was asked for its %s, and the answer has the range %q", p.Bucket, f.Key, *part, got)
		}
	}
	return out.Body, nil
}

// Size is a number of bytes for people.
func Size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MiB", n>>20)
	case n >= 10<<10:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
