package probes

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/failoverd/failoverd/internal/cloud"
	"github.com/failoverd/failoverd/internal/dump"
)

// A backup is read to its end beside the looks of a check: a look takes seconds, and a
// backup may take minutes. Each look tells how far it is.

// reading is a backup that is being read.
type reading struct {
	of    backup
	begun time.Time
	got   atomic.Int64 // bytes of it
	ended chan struct{}
	alone *time.Timer // ends it when nobody looks any more
	word  fileWord    // after ended
	err   error       // after ended
}

// patience is how long a backup is read on without anybody looking.
const patience = time.Minute

// errReading is that a backup is not read yet; its text says how far it is.
type errReading struct{ text string }

func (e errReading) Error() string { return e.text }

// whole says what reading all of a backup gave, or errReading.
func (p *mariaDBBackup) whole(ctx context.Context, b backup) (fileWord, error) {
	r := p.now
	if r != nil && r.of != b {
		r.alone.Reset(0)
		r = nil
	}
	if r == nil {
		p.now = nil
		r = p.read(context.WithoutCancel(ctx), b)
		p.now = r
	}
	r.alone.Reset(patience)
	wait := ctx
	if until, ok := ctx.Deadline(); ok { // there must be time to say so
		var cancel context.CancelFunc
		wait, cancel = context.WithDeadline(ctx, until.Add(-time.Until(until)/10))
		defer cancel()
	}
	select {
	case <-r.ended:
		p.now = nil
		return r.word, r.err
	case <-wait.Done():
		return fileWord{}, errReading{r.progress()}
	}
}

func (r *reading) progress() string {
	got, took := r.got.Load(), time.Since(r.begun)
	text := fmt.Sprintf("%s is being read to its end: %s of %s", r.of.key, size(got), size(r.of.size))
	if pace := float64(got) / took.Seconds(); got > 0 && took > 0 {
		left := time.Duration(float64(r.of.size-got) / pace * float64(time.Second))
		text += fmt.Sprintf(", %s a second, %s left", size(int64(pace)), left.Round(time.Second))
	}
	return text
}

// read begins to read a backup, until its end or until nobody looks any more.
func (p *mariaDBBackup) read(ctx context.Context, b backup) *reading {
	ctx, cancel := context.WithCancel(ctx)
	r := &reading{of: b, begun: time.Now(), ended: make(chan struct{}), alone: time.AfterFunc(patience, cancel)}
	go func() {
		defer close(r.ended)
		defer cancel()
		defer r.alone.Stop()
		s, err := dump.Read(&ranges{ctx: ctx, p: p, of: b, got: &r.got})
		r.word, r.err = wordOf(s, err)
	}()
	return r
}

// ranges reads a backup range by range: a call takes seconds, and one that fails is made
// again where it broke off. Never more than one range is under way.
type ranges struct {
	ctx  context.Context //nolint:containedctx // of an io.Reader
	p    *mariaDBBackup
	of   backup
	got  *atomic.Int64
	body io.ReadCloser
}

const (
	rangeSize  = 8 << 20
	rangeTries = 5 // in a row
)

// Read implements io.Reader.
func (r *ranges) Read(p []byte) (int, error) {
	for tries := 1; ; tries++ {
		at := r.got.Load()
		if at >= r.of.size {
			return 0, io.EOF
		}
		n, err := r.some(p, at)
		r.got.Add(int64(n))
		if n > 0 {
			return n, nil
		}
		if err != nil && (tries == rangeTries || r.ctx.Err() != nil || final(err)) {
			return 0, err
		}
		if err != nil {
			select {
			case <-time.After(time.Duration(tries) * 200 * time.Millisecond):
			case <-r.ctx.Done():
			}
		}
	}
}

// some reads what the range that begins at has left, and asks for the next one at its end.
func (r *ranges) some(p []byte, at int64) (n int, err error) {
	if r.body == nil {
		last := min(at+r.p.part, r.of.size) - 1
		if r.body, err = r.p.get(r.ctx, r.of, aws.String(fmt.Sprintf("bytes=%d-%d", at, last))); err != nil {
			r.body = nil
			return 0, err
		}
	}
	if n, err = r.body.Read(p); err != nil {
		_ = r.body.Close() // read to its end, or broken
		r.body = nil
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// final reports whether making a call again would change nothing.
func final(err error) bool {
	k := cloud.Classify(err)
	return k == cloud.Ours || k == cloud.OtherAPI
}

// get reads a backup, or a range of it: the one that was listed, and none that was put in
// its place since.
func (p *mariaDBBackup) get(ctx context.Context, b backup, part *string) (io.ReadCloser, error) {
	out, err := p.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &p.cfg.Bucket, Key: &b.key, IfMatch: &b.etag, Range: part}, onceS3)
	if err != nil {
		return nil, err
	}
	return out.Body, nil
}
