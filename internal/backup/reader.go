package backup

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/failoverd/failoverd/internal/cloud"
)

// Reader reads a backup range by range: a call takes seconds, and one that fails is made
// again where it broke off. Never more than one range is under way. At the end what was read is held
// against the checksum that S3 keeps, if it keeps one: an error of that wraps dump.ErrDamaged.
type Reader struct {
	ctx   context.Context //nolint:containedctx // of an io.Reader
	place Place
	of    File
	got   atomic.Int64
	body  io.ReadCloser
	asked bool      // for the checksum
	sum   *checksum // nil: S3 keeps none
}

const (
	partSize  = 8 << 20
	partTries = 5 // in a row
)

// Open begins to read a backup. Nothing is asked for yet.
func (p Place) Open(ctx context.Context, f File) *Reader { return &Reader{ctx: ctx, place: p, of: f} }

// Got is how many bytes were read; it may be asked at any time.
func (r *Reader) Got() int64 { return r.got.Load() }

// Close ends the range that is under way.
func (r *Reader) Close() error {
	if r.body == nil {
		return nil
	}
	defer func() { r.body = nil }()
	return r.body.Close()
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	for tries := 1; ; tries++ {
		at := r.got.Load()
		if at >= r.of.Size {
			if err := r.sum.holds(); err != nil {
				return 0, err
			}
			return 0, io.EOF
		}
		n, err := r.some(p, at)
		if r.sum != nil {
			_, _ = r.sum.Write(p[:n]) // a hash takes everything
		}
		r.got.Add(int64(n))
		if n > 0 {
			return n, nil
		}
		if err == nil && tries >= partTries {
			err = io.ErrNoProgress // answers without content, one after the other
		}
		if err != nil && (tries >= partTries || r.ctx.Err() != nil || final(err)) {
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
func (r *Reader) some(p []byte, at int64) (n int, err error) {
	if !r.asked {
		if r.sum, err = r.place.checksum(r.ctx, r.of); err != nil {
			return 0, err
		}
		r.asked = true
	}
	if r.body == nil {
		last := min(at+cmp.Or(r.place.Part, partSize), r.of.Size) - 1
		if r.body, err = r.place.Get(r.ctx, r.of, aws.String(fmt.Sprintf("bytes=%d-%d", at, last))); err != nil {
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

// Replaced reports that a backup is no longer the one that was listed.
func Replaced(err error) bool {
	switch cloud.ErrorCode(err) {
	case "PreconditionFailed", "NoSuchKey":
		return true
	}
	return false
}
