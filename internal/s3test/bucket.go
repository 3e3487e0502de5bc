package s3test

import (
	"bytes"
	"encoding/xml"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Object is an object of a Bucket.
type Object struct {
	ETag string // with its quotes
	Body []byte
	At   time.Time
	// CRC64 is what is kept of what was put there, as CRC64 gives it; "" keeps nothing.
	CRC64 string
}

// Bucket is one bucket, path-style, whatever its name. Its zero value is empty.
type Bucket struct {
	Uploads Uploads

	mu      sync.Mutex
	objects map[string]Object
	forgets bool
	mood    func(op string, r *http.Request) (status int, code string)
}

// Feel lets f answer for operations, under their names; a status of zero leaves an operation to the bucket. Nil: all are.
func (b *Bucket) Feel(f func(op string, r *http.Request) (status int, code string)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.mood = f
}

// KeepNoChecksums makes the bucket one that keeps no checksums, as those that speak S3 and are none.
func (b *Bucket) KeepNoChecksums() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forgets = true
}

// Put puts an object there.
func (b *Bucket) Put(key string, o Object) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.objects == nil {
		b.objects = map[string]Object{}
	}
	b.objects[key] = o
}

// Objects are all that there are.
func (b *Bucket) Objects() map[string]Object {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.objects)
}

// ServeHTTP implements http.Handler.
func (b *Bucket) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	op := Op(r)
	if op == "" && key == "" {
		op = "ListObjectsV2"
	}
	if op == "" {
		op = map[string]string{http.MethodGet: "GetObject", http.MethodHead: "HeadObject", http.MethodDelete: "DeleteObject"}[r.Method]
	}
	b.mu.Lock()
	mood, forgets := b.mood, b.forgets
	b.mu.Unlock()
	if mood != nil {
		if status, code := mood(op, r); status != 0 {
			Fail(w, r, status, code)
			return
		}
	}
	if Op(r) != "" {
		b.Uploads.Serve(w, r, func(m Made) {
			o := Object{ETag: m.ETag, Body: m.Body, At: time.Now(), CRC64: CRC64(m.Body)}
			if forgets {
				o.CRC64 = ""
			}
			b.Put(m.Key, o)
		})
		return
	}
	objects := b.Objects()
	switch op {
	case "ListObjectsV2":
		List(w, r, objects)
	case "DeleteObject":
		b.mu.Lock()
		delete(b.objects, key)
		b.mu.Unlock()
		w.WriteHeader(http.StatusNoContent)
	default:
		o, ok := objects[key]
		match := r.Header.Get("If-Match")
		switch {
		case !ok:
			Fail(w, r, http.StatusNotFound, "NoSuchKey")
			return
		case match != "" && match != o.ETag:
			Fail(w, r, http.StatusPreconditionFailed, "PreconditionFailed")
			return
		}
		r.Header.Del("If-Match")
		w.Header().Set("ETag", o.ETag)
		if o.CRC64 != "" && r.Header.Get("X-Amz-Checksum-Mode") == "ENABLED" {
			w.Header().Set("X-Amz-Checksum-Crc64nvme", o.CRC64)
			w.Header().Set("X-Amz-Checksum-Type", "FULL_OBJECT")
		}
		http.ServeContent(w, r, "", o.At, bytes.NewReader(o.Body))
	}
}

// List answers a ListObjectsV2 of a bucket with these objects.
func List(w http.ResponseWriter, r *http.Request, objects map[string]Object) {
	type object struct {
		Key, ETag    string
		LastModified time.Time
		Size         int
	}
	out := struct {
		XMLName  xml.Name `xml:"ListBucketResult"`
		Contents []object
	}{}
	for _, k := range slices.Sorted(maps.Keys(objects)) {
		if strings.HasPrefix(k, r.URL.Query().Get("prefix")) {
			out.Contents = append(out.Contents, object{k, objects[k].ETag, objects[k].At.UTC(), len(objects[k].Body)})
		}
	}
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(out) // an error means that the client is gone
}
