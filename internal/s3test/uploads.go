// Package s3test imitates what S3 does with objects that come in parts, for tests. Nothing of the daemon imports it.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/mpuoverview.html
package s3test

import (
	"bytes"
	"crypto/md5"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"hash/crc64"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Uploads are those that are under way. The zero value has none.
type Uploads struct {
	mu   sync.Mutex
	last int
	open map[string]*upload
}

type upload struct {
	key   string
	parts map[int][]byte
}

// Made is an object that an upload has become.
type Made struct {
	Key, ETag string // the ETag with its quotes
	Body      []byte
}

// Op names the operation of a request on an upload, as AWS calls it; "" if it is none.
func Op(r *http.Request) string {
	q := r.URL.Query()
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case q.Has("uploads") && r.Method == http.MethodPost:
		return "CreateMultipartUpload"
	case q.Has("uploads") && r.Method == http.MethodGet && key == "":
		return "ListMultipartUploads"
	case !q.Has("uploadId"):
		return ""
	}
	return map[string]string{http.MethodPut: "UploadPart", http.MethodPost: "CompleteMultipartUpload", http.MethodDelete: "AbortMultipartUpload"}[r.Method]
}

// CRC64 is a CRC-64/NVME as S3 writes it.
func CRC64(data []byte) string {
	return base64.StdEncoding.EncodeToString(binary.BigEndian.AppendUint64(nil, crc64.Checksum(data, crc64.MakeTable(0x9a6c9329ac4bc9b5))))
}

// Open are the keys of the uploads that nobody has completed or given up, sorted.
func (u *Uploads) Open() []string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var out []string
	for _, up := range u.open {
		out = append(out, up.key)
	}
	slices.Sort(out)
	return out
}

type failure struct {
	XMLName xml.Name `xml:"Error"`
	Code    string   `xml:"Code"`
	Message string   `xml:"Message"`
}

// Fail answers with an error as S3 does, and returns its code.
func Fail(w http.ResponseWriter, r *http.Request, status int, code string) string {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_ = xml.NewEncoder(w).Encode(failure{Code: code, Message: code}) // an error means that the client is gone
	}
	return code
}

// Serve answers a request of which Op says that it is one of these, and returns the error's code, "" for none. done is given what an upload has
// become before that is answered.
func (u *Uploads) Serve(w http.ResponseWriter, r *http.Request, done func(Made)) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	q := r.URL.Query()
	id, op := q.Get("uploadId"), Op(r)
	up := u.open[id]
	answer := func(v any) string {
		w.Header().Set("Content-Type", "application/xml")
		_ = xml.NewEncoder(w).Encode(v) // an error means that the client is gone
		return ""
	}
	switch {
	case op == "ListMultipartUploads":
		type one struct{ Key, UploadId string } //nolint:revive // S3's name
		out := struct {
			XMLName xml.Name `xml:"ListMultipartUploadsResult"`
			Upload  []one
		}{}
		for _, id := range slices.Sorted(maps.Keys(u.open)) {
			if strings.HasPrefix(u.open[id].key, q.Get("prefix")) {
				out.Upload = append(out.Upload, one{u.open[id].key, id})
			}
		}
		return answer(out)
	case op == "CreateMultipartUpload":
		u.last++
		id = "upload-" + strconv.Itoa(u.last)
		if u.open == nil {
			u.open = map[string]*upload{}
		}
		u.open[id] = &upload{key: key, parts: map[int][]byte{}}
		return answer(struct {
			XMLName               xml.Name `xml:"InitiateMultipartUploadResult"`
			Bucket, Key, UploadId string
		}{Bucket: bucket, Key: key, UploadId: id})
	case up == nil || up.key != key:
		return Fail(w, r, http.StatusNotFound, "NoSuchUpload")
	case op == "UploadPart":
		body, err := io.ReadAll(r.Body)
		n, _ := strconv.Atoi(q.Get("partNumber"))
		if err != nil || n < 1 || n > 10000 {
			return Fail(w, r, http.StatusBadRequest, "InvalidArgument")
		}
		if sum := r.Header.Get("X-Amz-Checksum-Crc64nvme"); sum != "" && sum != CRC64(body) {
			return Fail(w, r, http.StatusBadRequest, "BadDigest")
		}
		up.parts[n] = body
		w.Header().Set("ETag", etag(body))
		w.Header().Set("X-Amz-Checksum-Crc64nvme", CRC64(body))
		return ""
	case op == "AbortMultipartUpload":
		delete(u.open, id)
		w.WriteHeader(http.StatusNoContent)
		return ""
	}
	return u.complete(w, r, id, up, done, answer)
}

func (u *Uploads) complete(w http.ResponseWriter, r *http.Request, id string, up *upload, done func(Made), answer func(any) string) string {
	var want struct {
		Part []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.NewDecoder(r.Body).Decode(&want); err != nil || len(want.Part) == 0 {
		return Fail(w, r, http.StatusBadRequest, "MalformedXML")
	}
	var body bytes.Buffer
	each := md5.New() //nolint:gosec // what S3 keeps
	for i, p := range want.Part {
		part, ok := up.parts[p.PartNumber]
		switch {
		case !ok || etag(part) != p.ETag:
			return Fail(w, r, http.StatusBadRequest, "InvalidPart")
		case i > 0 && p.PartNumber <= want.Part[i-1].PartNumber:
			return Fail(w, r, http.StatusBadRequest, "InvalidPartOrder")
		}
		own := md5.Sum(part) //nolint:gosec // what S3 keeps
		_, _ = each.Write(own[:])
		_, _ = body.Write(part)
	}
	if sum := r.Header.Get("X-Amz-Checksum-Crc64nvme"); sum != "" && sum != CRC64(body.Bytes()) {
		return Fail(w, r, http.StatusBadRequest, "BadDigest")
	}
	if size := r.Header.Get("X-Amz-Mp-Object-Size"); size != "" && size != strconv.Itoa(body.Len()) {
		return Fail(w, r, http.StatusBadRequest, "InvalidRequest")
	}
	delete(u.open, id)
	made := Made{Key: up.key, ETag: fmt.Sprintf(`"%x-%d"`, each.Sum(nil), len(want.Part)), Body: body.Bytes()}
	done(made)
	return answer(struct {
		XMLName   xml.Name `xml:"CompleteMultipartUploadResult"`
		Key, ETag string
	}{Key: made.Key, ETag: made.ETag})
}

func etag(body []byte) string {
	sum := md5.Sum(body) //nolint:gosec // what S3 keeps
	return `"` + hex.EncodeToString(sum[:]) + `"`
}
