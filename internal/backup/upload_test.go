package backup

import (
	"bytes"
	"context"
	"crypto/md5" //nolint:gosec // what S3 keeps
	"errors"
	"fmt"
	"hash/crc64"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsmiddleware "github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/middleware"

	"github.com/failoverd/failoverd/internal/s3test"
)

func uploadPlace(t *testing.T, b *s3test.Bucket) Place {
	t.Helper()
	srv := httptest.NewServer(b)
	t.Cleanup(srv.Close)
	return Place{Client: s3.New(s3.Options{
		Region: "us-east-2", BaseEndpoint: &srv.URL, UsePathStyle: true, Credentials: credentials.NewStaticCredentialsProvider("AKIATEST", "secret", ""), RetryMaxAttempts: 1,
	}), Bucket: "b", Prefix: "app/", Part: 1000}
}

func asIs(ctx context.Context) context.Context { return ctx }

// What is put is what was read, of any length, and nothing of it stands there before it is whole.
func TestPut(t *testing.T) {
	for _, size := range []int{0, 1, 999, 1000, 1001, 2000, 12345} {
		b := &s3test.Bucket{}
		p := uploadPlace(t, b)
		text := make([]byte, size)
		for i := range text {
			text[i] = byte(rand.IntN(256))
		}
		early := false
		b.Feel(func(op string, _ *http.Request) (int, string) {
			early = early || op != "HeadObject" && len(b.Objects()) > 0
			return 0, ""
		})
		f, err := p.Put(t.Context(), "app/x.sql", iotest.HalfReader(bytes.NewReader(text)), asIs)
		if err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
		o := b.Objects()["app/x.sql"]
		if !bytes.Equal(o.Body, text) || f.Size != int64(size) || f.ETag != o.ETag || f.Key != "app/x.sql" || early || len(b.Uploads.Open()) > 0 {
			t.Errorf("%d bytes: %+v with %d bytes, object before its end: %t, open %v", size, f, len(o.Body), early, b.Uploads.Open())
		}
		// It reads as any other backup, with its checksum.
		all, _, err := p.List(t.Context())
		if err != nil || len(all) != 1 {
			t.Fatal(all, err)
		}
		if got, err := io.ReadAll(p.Open(t.Context(), all[0])); err != nil || !bytes.Equal(got, text) {
			t.Errorf("%d bytes, %d read: %v", size, len(got), err)
		}
	}
}

// Whatever fails, nothing stands under the name, and what was begun is taken back.
func TestPutLeavesNothingHalf(t *testing.T) {
	broken := errors.New("broken")
	text := strings.Repeat("x", 3500)
	for name, tt := range map[string]struct {
		from io.Reader
		mood func(op string, r *http.Request) (int, string)
		want string
	}{
		"the source breaks": {io.MultiReader(strings.NewReader(text), iotest.ErrReader(broken)), nil, "broken"},
		"the source is cut off": {
			io.MultiReader(strings.NewReader(text), iotest.ErrReader(fmt.Errorf("the server is gone: %w", io.ErrUnexpectedEOF))), nil, "the server is gone: unexpected EOF",
		},
		"no space": {strings.NewReader(text), func(op string, r *http.Request) (int, string) {
			if op == "UploadPart" && r.URL.Query().Get("partNumber") == "3" {
				return http.StatusInsufficientStorage, "QuotaExceeded"
			}
			return 0, ""
		}, "uploading part 3 of s3://b/app/x.sql"},
		"refused at once": {strings.NewReader(text), func(op string, _ *http.Request) (int, string) {
			if op == "CreateMultipartUpload" {
				return http.StatusForbidden, "AccessDenied"
			}
			return 0, ""
		}, "AccessDenied"},
		"refused at the end": {strings.NewReader(text), func(op string, _ *http.Request) (int, string) {
			if op == "CompleteMultipartUpload" {
				return http.StatusForbidden, "AccessDenied"
			}
			return 0, ""
		}, "completing s3://b/app/x.sql"},
	} {
		t.Run(name, func(t *testing.T) {
			b := &s3test.Bucket{}
			p := uploadPlace(t, b)
			b.Feel(tt.mood)
			_, err := p.Put(t.Context(), "app/x.sql", tt.from, asIs)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
			if len(b.Objects()) > 0 || len(b.Uploads.Open()) > 0 {
				t.Errorf("it leaves %v and the uploads %v", slices.Collect(maps.Keys(b.Objects())), b.Uploads.Open())
			}
		})
	}
}

// An object that is not what was read is removed, whether S3 keeps a checksum or not; so is one that a caller whose context has ended began.
func TestPutLooksAtWhatStandsThere(t *testing.T) {
	for name, change := range map[string]func(b *s3test.Bucket, o s3test.Object) s3test.Object{
		"a bit flipped, by its checksum": func(_ *s3test.Bucket, o s3test.Object) s3test.Object { o.CRC64 = s3test.CRC64([]byte("y")); return o },
		"shorter":                        func(_ *s3test.Bucket, o s3test.Object) s3test.Object { o.Body = o.Body[1:]; return o },
		"somebody else's":                func(_ *s3test.Bucket, o s3test.Object) s3test.Object { o.ETag = `"0"`; return o },
	} {
		t.Run(name, func(t *testing.T) {
			b := &s3test.Bucket{}
			p := uploadPlace(t, b)
			b.Feel(func(op string, _ *http.Request) (int, string) {
				if op == "HeadObject" {
					b.Put("app/x.sql", change(b, b.Objects()["app/x.sql"]))
				}
				return 0, ""
			})
			_, err := p.Put(t.Context(), "app/x.sql", strings.NewReader("some text"), asIs)
			if err == nil || !strings.Contains(err.Error(), "is not what was uploaded, and was removed") || len(b.Objects()) > 0 {
				t.Errorf("%v; it leaves %d objects", err, len(b.Objects()))
			}
		})
	}
	// What cannot be removed is told as well, by an error that says that nobody takes it.
	stays := &s3test.Bucket{}
	stays.Feel(func(op string, _ *http.Request) (int, string) {
		switch op {
		case "HeadObject":
			stays.Put("app/x.sql", s3test.Object{ETag: `"0"`, Body: []byte("other"), At: time.Now()})
		case "DeleteObject":
			return http.StatusForbidden, "AccessDenied"
		}
		return 0, ""
	})
	if _, err := uploadPlace(t, stays).Put(t.Context(), "app/x.sql", strings.NewReader("some text"), asIs); !errors.Is(err, ErrOther) || !strings.Contains(err.Error(), "and could not be removed") {
		t.Errorf("what stays there: %v", err)
	}
	// Without a checksum the parts' MD5 tell: that of the whole is made of them.
	b := &s3test.Bucket{}
	b.KeepNoChecksums()
	if _, err := uploadPlace(t, b).Put(t.Context(), "app/x.sql", strings.NewReader(strings.Repeat("z", 2500)), asIs); err != nil {
		t.Error(err)
	}
	u := &upload{whole: crc64.New(nvme), each: md5.New(), size: 3} //nolint:gosec // what S3 keeps
	head := &s3.HeadObjectOutput{ContentLength: aws.Int64(3), ETag: aws.String(`"x-1"`)}
	if why := u.differs(head, `"x-1"`); !strings.Contains(why, "and that of what was read") {
		t.Errorf("another ETag than that of the parts: %q", why)
	}
	head.ServerSideEncryption = types.ServerSideEncryptionAwsKms
	if why := u.differs(head, `"x-1"`); why != "" {
		t.Errorf("a key of KMS has encrypted it: %q", why)
	}
	ctx, cancel := context.WithCancel(t.Context())
	b = &s3test.Bucket{}
	b.Feel(func(op string, _ *http.Request) (int, string) {
		if op == "UploadPart" {
			cancel()
		}
		return 0, ""
	})
	if _, err := uploadPlace(t, b).Put(ctx, "app/x.sql", strings.NewReader("some text"), asIs); !errors.Is(err, context.Canceled) || len(b.Uploads.Open()) > 0 {
		t.Errorf("cancelled: %v, open %v", err, b.Uploads.Open())
	}
}

// Until when a call may be sent is asked before each sending: S3 may take longer for one than was known when it began, and what was slow is sent
// again. Looking at what was made is no call that changes something: until when it may be sent nobody asks.
func TestPutTakesItsTime(t *testing.T) {
	b := &s3test.Bucket{}
	p := uploadPlace(t, b)
	var now atomic.Int64 // of a clock that moves on with what S3 does, as do the looks that say that it is still wanted
	failed := false
	b.Feel(func(op string, _ *http.Request) (int, string) {
		now.Add(60)
		if op == "UploadPart" && !failed {
			failed = true
			return http.StatusServiceUnavailable, "SlowDown"
		}
		return 0, ""
	})
	type untilKey struct{}
	o := p.Client.Options()
	o.RetryMaxAttempts = 2
	asked := map[string]int{}
	o.APIOptions = append(o.APIOptions, func(s *middleware.Stack) error {
		return s.Finalize.Insert(middleware.FinalizeMiddlewareFunc("Late", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (middleware.FinalizeOutput, middleware.Metadata, error) {
			op := awsmiddleware.GetOperationName(ctx)
			until, ok := ctx.Value(untilKey{}).(int64)
			if ok {
				asked[op]++
			}
			if ok && now.Load() > until {
				return middleware.FinalizeOutput{}, middleware.Metadata{}, errors.New(op + " is late")
			}
			return next.HandleFinalize(ctx, in)
		}), "Signing", middleware.Before)
	})
	p.Client = s3.New(o)
	wanted := int64(30)
	calling := func(ctx context.Context) context.Context {
		return context.WithValue(ctx, untilKey{}, now.Load()+wanted)
	}
	if _, err := p.Put(t.Context(), "app/x.sql", strings.NewReader("some text"), calling); err != nil || len(b.Objects()) != 1 {
		t.Errorf("%v; %d objects", err, len(b.Objects()))
	}
	if want := map[string]int{"CreateMultipartUpload": 1, "UploadPart": 2, "CompleteMultipartUpload": 1}; !maps.Equal(asked, want) {
		t.Errorf("asked for %v, want %v", asked, want)
	}
	wanted = -1 // nobody wants it any more
	if _, err := p.Put(t.Context(), "app/y.sql", strings.NewReader("some text"), calling); err == nil || !strings.Contains(err.Error(), "CreateMultipartUpload is late") {
		t.Errorf("%v", err)
	}
}

// Who comes later ends what an earlier one has not completed, and no other's.
func TestAbandon(t *testing.T) {
	b := &s3test.Bucket{}
	p := uploadPlace(t, b)
	begin := func(key string) *upload {
		made, err := p.Client.CreateMultipartUpload(t.Context(), &s3.CreateMultipartUploadInput{Bucket: &p.Bucket, Key: &key})
		if err != nil {
			t.Fatal(err)
		}
		return &upload{place: p, key: key, id: *made.UploadId, calling: asIs, whole: crc64.New(nvme), each: md5.New()} //nolint:gosec // what S3 keeps
	}
	mine := begin("app/failoverd-e5-t1-a")
	mine.slowly = slowly(p.Client.Options().HTTPClient)
	begin("app/other")
	type session struct{}
	in := ""
	calling := func(ctx context.Context) context.Context { in, _ = ctx.Value(session{}).(string); return ctx }
	if err := p.Abandon(context.WithValue(t.Context(), session{}, "the step's"), "app/failoverd-e5-", calling); err != nil {
		t.Fatal(err)
	}
	if in != "the step's" {
		t.Errorf("it was taken back in the session %q", in)
	}
	if open := b.Uploads.Open(); !slices.Equal(open, []string{"app/other"}) {
		t.Errorf("open are %v", open)
	}
	if err := mine.part(t.Context(), 1, []byte("late")); err == nil {
		t.Error("the earlier one goes on")
	}
	if err := mine.abandon(t.Context()); err != nil {
		t.Errorf("what is gone is no error: %v", err)
	}
}

// The memory of an upload is that of a part, whatever its length.
func TestPutTakesConstantMemory(t *testing.T) {
	var got atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch s3test.Op(r) {
		case "CreateMultipartUpload":
			_, _ = io.WriteString(w, "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>")
		case "UploadPart":
			n, _ := io.Copy(io.Discard, r.Body)
			got.Add(n)
			w.Header().Set("ETag", `"1"`)
		default:
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer srv.Close()
	p := uploadPlace(t, &s3test.Bucket{})
	o := p.Client.Options()
	o.BaseEndpoint = &srv.URL
	p.Client, p.Part = s3.New(o), 1<<20
	const size = 200 << 20
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	peak := atomic.Uint64{}
	zeros := readerFunc(func(b []byte) (int, error) {
		var m runtime.MemStats
		if rand.IntN(50) == 0 {
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapInuse))
		}
		return len(b), nil
	})
	_, err := p.Put(t.Context(), "app/x.sql", io.LimitReader(zeros, size), asIs)
	runtime.ReadMemStats(&after)
	if err == nil || got.Load() != size || peak.Load() > before.HeapInuse+64<<20 {
		t.Errorf("%v; %d bytes came, and the heap grew to %d MiB", err, got.Load(), peak.Load()>>20)
	}
}

type readerFunc func(b []byte) (int, error)

// Read implements io.Reader.
func (f readerFunc) Read(b []byte) (int, error) { return f(b) }
