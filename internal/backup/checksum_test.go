package backup

import (
	"bytes"
	"crypto/md5"  //nolint:gosec // what S3 keeps
	"crypto/sha1" //nolint:gosec // what S3 keeps
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"hash/crc64"
	"io"
	"testing"

	"github.com/failoverd/failoverd/internal/dump"
)

// The check value of the catalogue of CRCs, which AWS's own tools give as well.
// https://reveng.sourceforge.io/crc-catalogue/17plus.htm#crc.cat.crc-64-nvme
func TestNVMe(t *testing.T) {
	if got := crc64.Checksum([]byte("123456789"), nvme); got != 0xae8b14860a799888 {
		t.Errorf("%x", got)
	}
}

// What is read is held against what S3 keeps of the whole object, in whichever way it keeps it, and against nothing where it keeps nothing.
func TestAFlippedBitIsSeen(t *testing.T) {
	put := bytes.Repeat([]byte("a row of plain text\n"), 200)
	read := bytes.Clone(put)
	read[len(read)/2] ^= 1
	b64 := base64.StdEncoding.EncodeToString
	md := md5.Sum(put) //nolint:gosec // what S3 keeps
	sha := sha256.Sum256(put)
	old := sha1.Sum(put) //nolint:gosec // what S3 keeps
	simple := `"` + hex.EncodeToString(md[:]) + `"`
	for name, tt := range map[string]struct {
		etag string
		kept map[string]string
		seen bool
	}{
		"CRC64NVME":                   {`"x-2"`, map[string]string{"X-Amz-Checksum-Crc64nvme": b64(binary.BigEndian.AppendUint64(nil, crc64.Checksum(put, nvme)))}, true},
		"CRC32C":                      {`"x"`, map[string]string{"X-Amz-Checksum-Crc32c": b64(binary.BigEndian.AppendUint32(nil, crc32.Checksum(put, crc32.MakeTable(crc32.Castagnoli))))}, true},
		"CRC32":                       {`"x"`, map[string]string{"X-Amz-Checksum-Crc32": b64(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE(put)))}, true},
		"SHA256":                      {`"x"`, map[string]string{"X-Amz-Checksum-Sha256": b64(sha[:])}, true},
		"SHA1":                        {`"x"`, map[string]string{"X-Amz-Checksum-Sha1": b64(old[:])}, true},
		"an ETag of one piece":        {simple, map[string]string{"X-Amz-Server-Side-Encryption": "AES256"}, true},
		"an ETag under a key of KMS":  {simple, map[string]string{"X-Amz-Server-Side-Encryption": "aws:kms"}, false},
		"an ETag under one's own key": {simple, map[string]string{"X-Amz-Server-Side-Encryption-Customer-Algorithm": "AES256"}, false},
		"a checksum of parts":         {`"x-2"`, map[string]string{"X-Amz-Checksum-Sha256": b64(sha[:]) + "-2", "X-Amz-Checksum-Type": "COMPOSITE"}, false},
		"an ETag of parts":            {`"` + hex.EncodeToString(md[:]) + `-2"`, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, whole := range []bool{true, false} {
				b := &bucket{content: read, etag: tt.etag, kept: tt.kept}
				if whole {
					b.content = put
				}
				got, err := io.ReadAll(place(t, b).Open(t.Context(), File{Key: "app/1.sql", ETag: tt.etag, Size: int64(len(put))}))
				if seen := errors.Is(err, dump.ErrDamaged); seen != (tt.seen && !whole) || err != nil && !seen || !bytes.Equal(got, b.content) {
					t.Errorf("whole %t: %v after %d bytes", whole, err, len(got))
				}
			}
		})
	}
}
