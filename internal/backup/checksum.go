package backup

import (
	"bytes"
	"context"
	"crypto/md5"  //nolint:gosec // what S3 keeps
	"crypto/sha1" //nolint:gosec // what S3 keeps
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"github.com/failoverd/failoverd/internal/dump"
)

// This file holds what tells a flipped bit in a file that is not compressed: no trailer does.

// checksum is what S3 keeps of the whole of an object, and the hash that it is held against.
type checksum struct {
	hash.Hash
	name string
	want []byte
}

// nvme is CRC-64/NVME, with which S3 and its tools have covered all uploads since December 2024.
// https://docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html
var nvme = crc64.MakeTable(0x9a6c9329ac4bc9b5)

// simpleETag is one that can be the MD5 of the content: those of uploads in parts end with their number.
var simpleETag = regexp.MustCompile(`^"?([0-9a-f]{32})"?$`)

// checksum asks S3 for what it keeps of a backup; nil where it keeps nothing of it as a whole.
func (p Place) checksum(ctx context.Context, f File) (*checksum, error) {
	out, err := p.Client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &p.Bucket, Key: &f.Key, IfMatch: &f.ETag, ChecksumMode: types.ChecksumModeEnabled}, once)
	if err != nil {
		return nil, err
	}
	if out.ChecksumType != types.ChecksumTypeComposite { // that one is of the parts' checksums, and not of the object
		for _, kept := range []struct {
			value *string
			name  string
			make  func() hash.Hash
		}{
			{out.ChecksumCRC64NVME, "CRC64NVME", func() hash.Hash { return crc64.New(nvme) }},
			{out.ChecksumCRC32C, "CRC32C", func() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }},
			{out.ChecksumCRC32, "CRC32", func() hash.Hash { return crc32.NewIEEE() }},
			{out.ChecksumSHA256, "SHA256", sha256.New},
			{out.ChecksumSHA1, "SHA1", sha1.New},
		} {
			if want, err := base64.StdEncoding.DecodeString(aws.ToString(kept.value)); err == nil && len(want) > 0 {
				return &checksum{kept.make(), kept.name, want}, nil
			}
		}
	}
	// An ETag is the MD5 of what was put in one piece, unless a key of KMS or of the caller's has encrypted it.
	// https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html
	if m := simpleETag.FindStringSubmatch(aws.ToString(out.ETag)); m != nil && out.SSECustomerAlgorithm == nil &&
		(out.ServerSideEncryption == "" || out.ServerSideEncryption == types.ServerSideEncryptionAes256) {
		want, err := hex.DecodeString(m[1])
		return &checksum{md5.New(), "MD5", want}, err //nolint:gosec // what S3 keeps
	}
	return nil, nil //nolint:nilnil // S3 keeps nothing
}

// holds says why what was read is not what was put there; nil where it is, or nobody knows.
func (c *checksum) holds() error {
	if c == nil {
		return nil
	}
	if got := c.Sum(nil); !bytes.Equal(got, c.want) {
		return fmt.Errorf("%w: its %s is %s, and S3 keeps %s of what was put there", dump.ErrDamaged, c.name, word(got), word(c.want))
	}
	return nil
}

func word(sum []byte) string { return strings.ToLower(hex.EncodeToString(sum)) }
