package backup

import (
	"bytes"
	"cmp"
	"context"
	"crypto/md5" //nolint:gosec // what S3 keeps
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"
)

// This file puts a backup into the bucket whose length nobody knows beforehand.

const (
	// mostParts is how many parts an object may have: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
	mostParts = 10_000
	// largestPart bounds the memory of an upload, and with mostParts the object: some 500 GiB.
	largestPart = 64 << 20
	// doubleAfter is after how many parts they are made twice as large.
	doubleAfter = 1000
	// partPatience is for one call of an upload; abandonPatience is for taking back what was begun.
	partPatience, abandonPatience = 5 * time.Minute, 10 * time.Second
)

// Calling gives a call that changes something what it needs of its own, such as until when it may be sent. It is asked before each sending: a call
// takes minutes, and what was slow is sent again.
type Calling func(ctx context.Context) context.Context

// anew asks again right before each sending, also one that the SDK repeats.
func (c Calling) anew(o *s3.Options) {
	ask := middleware.FinalizeMiddlewareFunc("AskAnew", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
		return next.HandleFinalize(c(ctx), in)
	})
	o.APIOptions = append(o.APIOptions, func(s *middleware.Stack) error { return s.Finalize.Insert(ask, "Retry", middleware.After) })
}

// ErrOther says that what stands under the name of an upload is not what was uploaded. It was removed if that could be done; nobody takes it.
var ErrOther = errors.New("is not what was uploaded")

// upload is one object on its way.
type upload struct {
	place   Place
	key, id string
	calling Calling
	slowly  func(o *s3.Options)
	parts   []types.CompletedPart
	whole   hash.Hash64 // of all that was read
	each    hash.Hash   // of the parts' own, as S3 makes the ETag of them
	size    int64
}

// Put reads from to its end and puts all of it under key, which no object bears yet. Nothing stands there before all of it is in the bucket: what is
// cut off, because from gives an error or ctx ends, is taken back. What stands there afterwards is held against what was read: by its size, and by
// what S3 keeps of it, a checksum or the parts' MD5; an object that is another one is removed again. The memory that it takes is that of one part.
func (p Place) Put(ctx context.Context, key string, from io.Reader, calling Calling) (File, error) {
	u := &upload{place: p, key: key, calling: calling, slowly: slowly(p.Client.Options().HTTPClient), whole: crc64.New(nvme), each: md5.New()} //nolint:gosec // what S3 keeps
	made, err := p.Client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{
		Bucket: &p.Bucket, Key: &key, ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme, ChecksumType: types.ChecksumTypeFullObject,
	}, calling.anew)
	if err != nil {
		return File{}, fmt.Errorf("beginning to upload s3://%s/%s: %w", p.Bucket, key, err)
	}
	u.id = aws.ToString(made.UploadId)
	if err := u.all(ctx, from); err != nil {
		return File{}, errors.Join(err, u.abandon(ctx))
	}
	file, err := u.complete(ctx)
	if err != nil {
		return File{}, errors.Join(err, u.abandon(ctx))
	}
	return file, nil
}

// slowly gives a call of an upload the time that it takes: a part goes over a slow line, and S3 puts many parts together for minutes. Those of other
// calls are short.
func slowly(c s3.HTTPClient) func(o *s3.Options) {
	if b, ok := c.(*awshttp.BuildableClient); ok {
		c = b.WithTimeout(partPatience)
	}
	return func(o *s3.Options) { o.HTTPClient = c }
}

// all sends part after part.
func (u *upload) all(ctx context.Context, from io.Reader) error {
	buf := make([]byte, 0)
	for n := 1; ; n++ {
		if n > mostParts {
			return fmt.Errorf("s3://%s/%s would have more than %d parts: %s are too much for one object of this kind", u.place.Bucket, u.key, mostParts, Size(u.size))
		}
		size := min(int(cmp.Or(u.place.Part, partSize))<<((n-1)/doubleAfter), largestPart)
		if cap(buf) < size {
			buf = make([]byte, size)
		}
		got, err := io.ReadFull(from, buf[:size])
		// As io.ReadFull says it, and not what it was told of another end: one that holds io.ErrUnexpectedEOF tells of what is cut off.
		last := err == io.EOF || err == io.ErrUnexpectedEOF //nolint:errorlint // see above
		if err != nil && !last {
			return err
		}
		if got > 0 || n == 1 {
			if err := u.part(ctx, n, buf[:got]); err != nil {
				return fmt.Errorf("uploading part %d of s3://%s/%s: %w", n, u.place.Bucket, u.key, err)
			}
		}
		if last {
			return nil
		}
	}
}

func sum64(n uint64) *string {
	return aws.String(base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, n)))
}

func (u *upload) part(ctx context.Context, n int, data []byte) error {
	ctx, cancel := context.WithTimeout(ctx, partPatience)
	defer cancel()
	out, err := u.place.Client.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: &u.place.Bucket, Key: &u.key, UploadId: &u.id, PartNumber: aws.Int32(int32(n)), //nolint:gosec // at most mostParts
		Body: bytes.NewReader(data), ChecksumAlgorithm: types.ChecksumAlgorithmCrc64nvme, ChecksumCRC64NVME: sum64(crc64.Checksum(data, nvme)),
	}, u.slowly, u.calling.anew)
	if err != nil {
		return err
	}
	own := md5.Sum(data) //nolint:gosec // what S3 keeps
	_, _ = u.whole.Write(data)
	_, _ = u.each.Write(own[:])
	u.size += int64(len(data))
	u.parts = append(u.parts, types.CompletedPart{ETag: out.ETag, PartNumber: aws.Int32(int32(n)), ChecksumCRC64NVME: out.ChecksumCRC64NVME}) //nolint:gosec // at most mostParts
	return nil
}

// complete makes the object of the parts, and looks at it.
func (u *upload) complete(ctx context.Context) (File, error) {
	cctx, cancel := context.WithTimeout(ctx, partPatience)
	defer cancel()
	p := u.place
	out, err := p.Client.CompleteMultipartUpload(cctx, &s3.CompleteMultipartUploadInput{
		Bucket: &p.Bucket, Key: &u.key, UploadId: &u.id, MultipartUpload: &types.CompletedMultipartUpload{Parts: u.parts},
		ChecksumCRC64NVME: sum64(u.whole.Sum64()), ChecksumType: types.ChecksumTypeFullObject, MpuObjectSize: &u.size,
	}, u.slowly, u.calling.anew)
	if err != nil {
		return File{}, fmt.Errorf("completing s3://%s/%s: %w", p.Bucket, u.key, err)
	}
	// A look, with a time of its own: it changes nothing, and what came before may have taken minutes.
	head, err := p.Client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &p.Bucket, Key: &u.key, ChecksumMode: types.ChecksumModeEnabled})
	if err != nil {
		return File{}, fmt.Errorf("looking at s3://%s/%s, which was uploaded: %w", p.Bucket, u.key, err)
	}
	if why := u.differs(head, aws.ToString(out.ETag)); why != "" {
		_, err := p.Client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &p.Bucket, Key: &u.key}, u.calling.anew)
		became := "was removed"
		if err != nil {
			became = "could not be removed"
		}
		return File{}, errors.Join(fmt.Errorf("s3://%s/%s %w, and %s: %s", p.Bucket, u.key, ErrOther, became, why), err)
	}
	return File{Key: u.key, ETag: aws.ToString(head.ETag), Size: u.size, AsOf: p.asOf(u.key, aws.ToTime(head.LastModified))}, nil
}

// differs says why an object is not what was uploaded; "" if it is, as far as S3 tells.
func (u *upload) differs(head *s3.HeadObjectOutput, etag string) string {
	if got := aws.ToInt64(head.ContentLength); got != u.size {
		return fmt.Sprintf("it has %d bytes, and %d were read", got, u.size)
	}
	if got, want := aws.ToString(head.ETag), etag; got != want {
		return fmt.Sprintf("its ETag is %s, and that of the upload was %s: somebody else has put it there", got, want)
	}
	if kept := aws.ToString(head.ChecksumCRC64NVME); kept != "" {
		if want := *sum64(u.whole.Sum64()); kept != want {
			return fmt.Sprintf("S3 keeps the CRC64NVME %s of it, and what was read has %s", kept, want)
		}
		return ""
	}
	// A key of KMS or of the caller's makes the ETag something else.
	plain := head.SSECustomerAlgorithm == nil && (head.ServerSideEncryption == "" || head.ServerSideEncryption == types.ServerSideEncryptionAes256)
	if want := fmt.Sprintf(`"%s-%d"`, hex.EncodeToString(u.each.Sum(nil)), len(u.parts)); plain && aws.ToString(head.ETag) != want {
		return fmt.Sprintf("its ETag is %s, and that of what was read %s", aws.ToString(head.ETag), want)
	}
	return ""
}

// abandon takes back what was begun, so that nobody pays for it; also when the context of the upload has ended.
func (u *upload) abandon(ctx context.Context) error {
	// In the caller's session: the role that looks may not take back what the acting one has begun.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), abandonPatience)
	defer cancel()
	_, err := u.place.Client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.place.Bucket, Key: &u.key, UploadId: &u.id}, once, u.calling.anew)
	if _, gone := errors.AsType[*types.NoSuchUpload](err); gone || err == nil {
		return nil
	}
	return fmt.Errorf("what was uploaded of s3://%s/%s until then stays as an incomplete upload (a lifecycle rule removes those): %w", u.place.Bucket, u.key, err)
}

// Abandon takes back the uploads under a beginning of keys that nobody has completed: whoever made them cannot complete them any more.
func (p Place) Abandon(ctx context.Context, prefix string, calling Calling) error {
	out, err := p.Client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: &p.Bucket, Prefix: &prefix}, once)
	if err != nil {
		return fmt.Errorf("listing what earlier uploads have left under s3://%s/%s: %w", p.Bucket, prefix, err)
	}
	var errs []error
	for _, left := range out.Uploads {
		u := &upload{place: p, key: aws.ToString(left.Key), id: aws.ToString(left.UploadId), calling: calling}
		errs = append(errs, u.abandon(ctx))
	}
	return errors.Join(errs...)
}
