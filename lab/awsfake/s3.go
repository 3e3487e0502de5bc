package awsfake

import (
	"bytes"
	"cmp"
	"crypto/md5"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/failoverd/failoverd/internal/s3test"
)

// S3 imitates small objects of one region, path-style: PutObject with If-Match and If-None-Match, GetObject, HeadObject,
// DeleteObject, and uploads in parts. Reads follow writes at once, as S3's do ("strong read-after-write consistency"), and anybody may read, as with
// a bucket policy that lets a health checker in.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/Welcome.html#ConsistencyModel
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
type S3 struct {
	mu      sync.Mutex
	buckets map[string]map[string]S3Object
	uploads map[string]*s3test.Uploads // by bucket
	history []S3Write
}

// S3Object is an object.
type S3Object struct {
	Body []byte
	ETag string // with its quotes
	At   time.Time
	Type string
}

// S3Write is an accepted write: the world's record of who moved the traffic.
type S3Write struct {
	At        time.Time `json:"at"`
	Bucket    string    `json:"bucket"`
	Key       string    `json:"key"`
	Body      string    `json:"body"`
	AccessKey string    `json:"accessKey"`
	Session   string    `json:"session,omitempty"`
	From      string    `json:"from"`
}

// NewS3 makes the named buckets.
func NewS3(buckets ...string) *S3 {
	s := &S3{buckets: map[string]map[string]S3Object{}, uploads: map[string]*s3test.Uploads{}}
	for _, b := range buckets {
		s.buckets[b], s.uploads[b] = map[string]S3Object{}, &s3test.Uploads{}
	}
	return s
}

// History returns the accepted writes, oldest first.
func (s *S3) History() []S3Write {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]S3Write{}, s.history...)
}

// Objects returns what a bucket holds.
func (s *S3) Objects(bucket string) map[string]S3Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.buckets[bucket])
}

// s3Op names the operation of a path-style request, or "" if it is none.
func s3Op(r *http.Request) string {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if op := s3test.Op(r); op != "" && bucket != "" {
		return op
	}
	if bucket != "" && key == "" && r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2" {
		return "ListObjectsV2"
	}
	if bucket == "" || key == "" || r.Header.Get("X-Amz-Target") != "" {
		return ""
	}
	return map[string]string{http.MethodGet: "GetObject", http.MethodHead: "HeadObject", http.MethodPut: "PutObject", http.MethodDelete: "DeleteObject"}[r.Method]
}

type s3Error struct {
	XMLName xml.Name `xml:"Error"`
	Code    string   `xml:"Code"`
	Message string   `xml:"Message"`
}

func (s *S3) fail(w http.ResponseWriter, q *request, status int, code, message string) string {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if q.Method != http.MethodHead {
		_ = xml.NewEncoder(w).Encode(s3Error{Code: code, Message: message}) // an error means that the client is gone
	}
	return code
}

// serve runs one operation and returns its outcome.
func (s *S3) serve(w http.ResponseWriter, q *request) string {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(q.URL.Path, "/"), "/")
	s.mu.Lock()
	defer s.mu.Unlock()
	objects, ok := s.buckets[bucket]
	if !ok {
		return s.fail(w, q, http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
	}
	if s3test.Op(q.Request) != "" {
		q.Body = io.NopCloser(bytes.NewReader(q.body)) // which was read
		code := s.uploads[bucket].Serve(w, q.Request, func(m s3test.Made) {
			objects[m.Key] = S3Object{Body: m.Body, ETag: m.ETag, At: time.Now()}
			s.history = append(s.history, S3Write{At: time.Now(), Bucket: bucket, Key: m.Key, AccessKey: q.call.AccessKey, Session: q.call.Session, From: q.call.From})
		})
		return cmp.Or(code, "ok")
	}
	o, exists := objects[key]
	switch q.op {
	case "ListObjectsV2":
		return s.list(w, q, bucket, objects)
	case "GetObject", "HeadObject":
		if !exists {
			return s.fail(w, q, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		}
		w.Header().Set("ETag", o.ETag)
		w.Header().Set("Content-Type", o.Type)
		w.Header().Set("Last-Modified", o.At.UTC().Format(http.TimeFormat))
		return s.send(w, q, o)
	case "PutObject":
		// "If the object exists … S3 returns 412 Precondition Failed"; If-Match on an object that is not there is 404.
		none, match := q.Header.Get("If-None-Match"), q.Header.Get("If-Match")
		switch {
		case none == "*" && exists, match != "" && exists && match != o.ETag:
			return s.fail(w, q, http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
		case match != "" && !exists:
			return s.fail(w, q, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		}
		body, err := unchunk(q)
		if err != nil {
			return s.fail(w, q, http.StatusBadRequest, "IncompleteBody", err.Error())
		}
		sum := md5.Sum(body)
		o = S3Object{Body: body, ETag: `"` + hex.EncodeToString(sum[:]) + `"`, At: time.Now(), Type: q.Header.Get("Content-Type")}
		objects[key] = o
		s.history = append(s.history, S3Write{At: o.At, Bucket: bucket, Key: key, Body: string(body), AccessKey: q.call.AccessKey, Session: q.call.Session, From: q.call.From})
		w.Header().Set("ETag", o.ETag)
	case "DeleteObject":
		delete(objects, key)
		w.WriteHeader(http.StatusNoContent)
	}
	return "ok"
}

type listResult struct {
	XMLName  xml.Name     `xml:"http://s3.amazonaws.com/doc/2006-03-01/ ListBucketResult"`
	Name     string       `xml:"Name"`
	Prefix   string       `xml:"Prefix"`
	Count    int          `xml:"KeyCount"`
	Max      int          `xml:"MaxKeys"`
	More     bool         `xml:"IsTruncated"`
	Token    string       `xml:"ContinuationToken,omitempty"`
	Next     string       `xml:"NextContinuationToken,omitempty"`
	Contents []listObject `xml:"Contents"`
}

type listObject struct {
	Key      string    `xml:"Key"`
	Modified time.Time `xml:"LastModified"`
	ETag     string    `xml:"ETag"`
	Size     int       `xml:"Size"`
	Class    string    `xml:"StorageClass"`
}

// list answers ListObjectsV2: in the order of the keys, at most 1,000 at a time, and the rest by a token that says nothing to
// who reads it. https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html
func (s *S3) list(w http.ResponseWriter, q *request, bucket string, objects map[string]S3Object) string {
	v := q.URL.Query()
	out := listResult{Name: bucket, Prefix: v.Get("prefix"), Max: 1000, Token: v.Get("continuation-token")}
	if n, err := strconv.Atoi(v.Get("max-keys")); err == nil {
		out.Max = min(n, 1000)
	}
	after := v.Get("start-after")
	if out.Token != "" {
		key, err := hex.DecodeString(out.Token)
		if err != nil {
			return s.fail(w, q, http.StatusBadRequest, "InvalidArgument", "The continuation token provided is incorrect")
		}
		after = string(key)
	}
	for _, key := range slices.Sorted(maps.Keys(objects)) {
		if !strings.HasPrefix(key, out.Prefix) || key <= after {
			continue
		}
		if len(out.Contents) == out.Max {
			out.More = out.Max > 0
			break
		}
		o := objects[key]
		out.Contents = append(out.Contents, listObject{key, o.At.UTC().Truncate(time.Second), o.ETag, len(o.Body), "STANDARD"})
	}
	if out.Count = len(out.Contents); out.More {
		out.Next = hex.EncodeToString([]byte(out.Contents[out.Count-1].Key))
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(out) // an error means that the client is gone
	return "ok"
}

// Store puts an object there as of a time, as replication does: it is no write of a client.
func (s *S3) Store(bucket, key string, body []byte, at time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sum := md5.Sum(body) //nolint:gosec // the ETag of an object
	s.buckets[bucket][key] = S3Object{Body: body, ETag: `"` + hex.EncodeToString(sum[:]) + `"`, At: at, Type: "application/octet-stream"}
}

// send answers with an object or a range of it. Its conditions come first: "If-Match: return the object only if its entity tag is
// the same as the one specified; otherwise return a 412 error", If-None-Match alike with 304, and a range behind the end is 416.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObject.html
func (s *S3) send(w http.ResponseWriter, q *request, o S3Object) string {
	match, none := q.Header.Get("If-Match"), q.Header.Get("If-None-Match")
	switch {
	case match != "" && match != "*" && match != o.ETag:
		return s.fail(w, q, http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")
	case none == "*" || none == o.ETag:
		w.WriteHeader(http.StatusNotModified)
		return "NotModified"
	}
	body, status := o.Body, http.StatusOK
	if from, to, ok := byteRange(q.Header.Get("Range"), len(o.Body)); ok {
		if from > to {
			return s.fail(w, q, http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable")
		}
		body, status = o.Body[from:to+1], http.StatusPartialContent
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(o.Body)))
	}
	w.Header().Set("Accept-Ranges", "bytes")
	w.Header().Set("Content-Length", fmt.Sprint(len(body)))
	w.WriteHeader(status)
	if q.Method == http.MethodGet {
		_, _ = w.Write(body) // an error means that the client is gone
	}
	return "ok"
}

// byteRange reads a Range header, first and last byte; from > to means a range in which there is nothing. A header that is
// none is ignored: https://www.rfc-editor.org/rfc/rfc9110#section-14.2
func byteRange(header string, size int) (from, to int, ok bool) {
	first, last, found := strings.Cut(strings.TrimPrefix(header, "bytes="), "-")
	a, err1 := strconv.Atoi(first)
	b, err2 := strconv.Atoi(last)
	switch {
	case !found || !strings.HasPrefix(header, "bytes="):
		return 0, 0, false
	case first == "" && err2 == nil: // the last bytes
		return max(0, size-b), size - 1, true
	case err1 == nil && last == "":
		return a, size - 1, true
	case err1 == nil && err2 == nil && a <= b:
		return a, max(min(b, size-1), a-1), true
	}
	return 0, 0, false
}

// unchunk takes the aws-chunked encoding off a body: the SDK sends it with a trailing checksum.
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming-trailers.html
func unchunk(q *request) ([]byte, error) {
	if !strings.Contains(q.Header.Get("Content-Encoding"), "aws-chunked") && !strings.HasPrefix(q.Header.Get("X-Amz-Content-Sha256"), "STREAMING-") {
		return q.body, nil
	}
	var out []byte
	rest := string(q.body)
	for {
		line, after, ok := strings.Cut(rest, "\r\n")
		var n int
		if _, err := fmt.Sscanf(line, "%x", &n); !ok || err != nil || n > len(after) {
			return nil, fmt.Errorf("chunk %q is not one", line)
		}
		if n == 0 {
			return out, nil
		}
		out, rest = append(out, after[:n]...), strings.TrimPrefix(after[n:], "\r\n")
	}
}
