package probes

import (
	"context"
	"fmt"
	"time"

	"github.com/failoverd/failoverd/internal/backup"
	"github.com/failoverd/failoverd/internal/dump"
)

// A backup is read to its end beside the looks of a check: a look takes seconds, and a
// backup may take minutes. Each look tells how far it is.

// reading is a backup that is being read.
type reading struct {
	of    backup.File
	begun time.Time
	from  *backup.Reader
	ended chan struct{}
	alone *time.Timer // ends it when nobody looks any more
	word  backup.Word // after ended
	err   error       // after ended
}

// patience is how long a backup is read on without anybody looking.
const patience = time.Minute

// errReading is that a backup is not read yet; its text says how far it is.
type errReading struct{ text string }

func (e errReading) Error() string { return e.text }

// whole says what reading all of a backup gave, or errReading.
func (p *mariaDBBackup) whole(ctx context.Context, b backup.File) (backup.Word, error) {
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
		return backup.Word{}, errReading{r.progress()}
	}
}

func (r *reading) progress() string {
	got, took := r.from.Got(), time.Since(r.begun)
	text := fmt.Sprintf("%s is being read to its end: %s of %s", r.of.Key, backup.Size(got), backup.Size(r.of.Size))
	if pace := float64(got) / took.Seconds(); got > 0 && took > 0 {
		left := time.Duration(float64(r.of.Size-got) / pace * float64(time.Second))
		text += fmt.Sprintf(", %s a second, %s left", backup.Size(int64(pace)), left.Round(time.Second))
	}
	return text
}

// read begins to read a backup, until its end or until nobody looks any more.
func (p *mariaDBBackup) read(ctx context.Context, b backup.File) *reading {
	ctx, cancel := context.WithCancel(ctx)
	r := &reading{of: b, from: p.place.Open(ctx, b), begun: time.Now(), ended: make(chan struct{}), alone: time.AfterFunc(patience, cancel)}
	go func() {
		defer close(r.ended)
		defer cancel()
		defer r.alone.Stop()
		defer r.from.Close()
		s, err := dump.Read(r.from)
		r.word, r.err = backup.WordOf(s, err)
	}()
	return r
}
