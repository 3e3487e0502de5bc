package app

import (
	"bytes"
	"errors"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/failoverd/failoverd/lab/faults"
)

// FilesBucket is the bucket in which the application of a region keeps its files. All its tasks share it, so that a file that was
// uploaded through one of them is downloaded through another.
func FilesBucket(region string) string { return "messaging-files-" + region }

// serveFiles is PUT, GET and DELETE /files/{name}.
func serveFiles(world, region string, store *s3.Client) http.HandlerFunc {
	bucket := aws.String(FilesBucket(region))
	return func(w http.ResponseWriter, r *http.Request) {
		f, hit := broken(r.Context(), world, "files")
		if hit && f.Mode == faults.Error {
			http.Error(w, "no files today", http.StatusServiceUnavailable)
			return
		}
		key := aws.String("files/" + r.PathValue("name"))
		status, err := http.StatusNoContent, error(nil)
		var out []byte
		switch r.Method {
		case http.MethodPut:
			var body []byte
			if body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20)); err == nil {
				_, err = store.PutObject(r.Context(), &s3.PutObjectInput{Bucket: bucket, Key: key, Body: bytes.NewReader(body)})
			}
			status = http.StatusCreated
		case http.MethodGet:
			var o *s3.GetObjectOutput
			if o, err = store.GetObject(r.Context(), &s3.GetObjectInput{Bucket: bucket, Key: key}); err == nil {
				out, err = io.ReadAll(o.Body)
				o.Body.Close()
			}
			if status = http.StatusOK; hit && f.Mode == faults.Garble && len(out) > 0 {
				out[len(out)/2] ^= 0xff
			}
		case http.MethodDelete:
			_, err = store.DeleteObject(r.Context(), &s3.DeleteObjectInput{Bucket: bucket, Key: key})
		default:
			status = http.StatusMethodNotAllowed
		}
		var none *types.NoSuchKey
		switch {
		case errors.As(err, &none):
			http.Error(w, "no such file", http.StatusNotFound)
		case err != nil:
			http.Error(w, "files: "+err.Error(), http.StatusServiceUnavailable)
		default:
			w.WriteHeader(status)
			_, _ = w.Write(out)
		}
	}
}
