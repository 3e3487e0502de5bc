package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"

	"github.com/failoverd/failoverd/internal/dump"
)

// Word is what a file says of itself.
type Word struct {
	Summary dump.Summary
	Wrong   string // why it restores nothing; "" if nothing is known against it
	Unsaid  string // what of it is not known
}

// WordOf sorts what reading a file gave: an error of the file is said of it.
func WordOf(s dump.Summary, err error) (Word, error) {
	for _, of := range []error{dump.ErrNotADump, dump.ErrIncomplete, dump.ErrDamaged} {
		if errors.Is(err, of) {
			return Word{Summary: s, Wrong: err.Error()}, nil
		}
	}
	return Word{Summary: s}, err
}

// Ends reads the beginning of a backup, and its end where that tells something.
func (p Place) Ends(ctx context.Context, f File) (Word, error) {
	const head, tail = 256 << 10, 4 << 10
	if f.Size == 0 { // S3 has no range of it
		return Word{Wrong: dump.ErrNotADump.Error()}, nil
	}
	body, err := p.Get(ctx, f, aws.String(fmt.Sprintf("bytes=0-%d", head-1)))
	if err != nil {
		return Word{}, err
	}
	defer body.Close()
	said, err := WordOf(dump.ReadHead(body))
	if err != nil || said.Wrong != "" {
		return said, err
	}
	if !strings.HasSuffix(f.Key, ".sql") {
		said.Unsaid = "whether it is whole only reading all of it tells, as the check mariadb_backup does"
		return said, nil
	}
	end, err := p.Get(ctx, f, aws.String(fmt.Sprintf("bytes=-%d", tail)))
	if err != nil {
		return said, err
	}
	defer end.Close()
	text, err := io.ReadAll(io.LimitReader(end, tail))
	if err != nil {
		return said, err
	}
	if said.Summary.Complete = dump.Ends(text); !said.Summary.Complete {
		said.Wrong = dump.ErrIncomplete.Error()
	}
	return said, nil
}
