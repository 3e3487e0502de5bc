package actions

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"github.com/failoverd/failoverd/failover"
	"github.com/failoverd/failoverd/internal/cloud"
)

// S3ObjectConfig moves clients by an object in the standby region that a Route 53
// health check reads (a string match, inverted): as long as it does not name the
// standby region, or cannot be read, clients stay. It needs S3's data plane in
// that region and nothing else, and it is latched: it goes on saying so when
// every node is gone.
//
// There is one object (rule T2). It is never deleted, and each write names the
// ETag of what it replaces, so that a stale writer is refused.
type S3ObjectConfig struct {
	Bucket string `toml:"bucket" json:"bucket"`
	Key    string `toml:"key" json:"key"`
	// Region is where the bucket is: the standby region, whichever is active.
	Region failover.Region `toml:"region" json:"region"`
	Names  []string        `toml:"names" json:"names"`
	SameAs string          `toml:"same_as" json:"same_as"`
}

// Inherit takes what [traffic] says for all switches, where the kind says nothing.
func (c *S3ObjectConfig) Inherit(t Shared) {
	c.Names, c.SameAs = inherited(c.Names, t.Names), cmp.Or(c.SameAs, t.SameAs)
}

// Validate implements Config.
func (c *S3ObjectConfig) Validate(role Role) error {
	switch {
	case role == RoleStop || role == RoleStart:
		return badParam("bucket", "moves clients and can only stand under traffic.switch")
	case c.Bucket == "":
		return badParam("bucket", "is missing; name a bucket in the standby region, whose object the health check may read")
	case strings.Contains(c.Bucket, "{region}"), strings.Contains(c.Key, "{region}"):
		return badParam("bucket", "there is one object for both directions: {region} has no place in its name")
	case c.Key == "" || strings.HasPrefix(c.Key, "/"):
		return badParam("key", "%q is not an object's key, such as \"failoverd/messaging\"", c.Key)
	case c.Region == "":
		return badParam("region", "is missing; name the standby region, where the bucket is")
	}
	return validPlaces(c.Names, c.SameAs)
}

// Version implements Config.
func (c *S3ObjectConfig) Version() int { return 1 }

// HoldsToken says that the object holds the token.
func (c *S3ObjectConfig) HoldsToken() {}

// Latches says that what it has moved stays moved without any node.
func (c *S3ObjectConfig) Latches() {}

// Timeout implements Config.
func (c *S3ObjectConfig) Timeout() time.Duration { return 5 * time.Minute }

// New implements Config.
func (c *S3ObjectConfig) New(d Deps) (Action, error) {
	if d.Cloud == nil {
		return nil, errors.New("there are no AWS clients")
	}
	i := slices.IndexFunc(d.Regions, func(r failover.Region) bool { return r != d.Region })
	if i < 0 || len(d.Regions) != 2 {
		return nil, fmt.Errorf("clients cannot be sent to %q: the service has the regions %v", d.Region, d.Regions)
	}
	if !slices.Contains(d.Regions, c.Region) {
		return nil, fmt.Errorf("the bucket's region %s is none of the service's regions %v", c.Region, d.Regions)
	}
	return &s3Object{
		cfg: c, service: d.Service, to: d.Region, left: d.Regions[i],
		client: d.Cloud.S3(string(c.Region)), places: places{c.Names, c.SameAs, d.dns()},
	}, nil
}

type s3Object struct {
	cfg      *S3ObjectConfig
	service  string
	to, left failover.Region
	client   *s3.Client
	places   places
}

// ChecksToken implements TokenChecker.
func (o *s3Object) ChecksToken() {}

// object is what the object says, and its ETag; the zero value is no object.
type object struct {
	ETag   string          `json:"etag,omitempty"`
	Token  uint64          `json:"token,omitempty"`
	Epoch  uint64          `json:"epoch,omitempty"`
	Region failover.Region `json:"region,omitempty"`
}

// maxObject bounds what is read: a health checker looks at the first 5,120 bytes.
const maxObject = 5120

// MatchRegion is the text by which a health check knows that an object, or any
// text of ours, names a region.
func MatchRegion(r failover.Region) string { return "region=" + string(r) + " " }

func (o *s3Object) text(b object) string {
	return fmt.Sprintf("failoverd service=%s %stoken=%d epoch=%d\n", o.service, MatchRegion(b.Region), b.Token, b.Epoch)
}

func (o *s3Object) name() string { return "s3://" + o.cfg.Bucket + "/" + o.cfg.Key }

// read gets the object; the zero value if there is none.
func (o *s3Object) read(ctx context.Context) (object, error) {
	out, err := o.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &o.cfg.Bucket, Key: &o.cfg.Key})
	if _, none := errors.AsType[*types.NoSuchKey](err); none {
		return object{}, nil
	}
	if err != nil {
		return object{}, fmt.Errorf("reading %s in %s: %w", o.name(), o.cfg.Region, err)
	}
	defer out.Body.Close()
	data, err := io.ReadAll(io.LimitReader(out.Body, maxObject+1))
	if err != nil {
		return object{}, fmt.Errorf("reading %s in %s: %w", o.name(), o.cfg.Region, err)
	}
	b := object{ETag: aws.ToString(out.ETag)}
	fields := strings.Fields(string(data))
	var errs []error
	service := ""
	for _, f := range fields {
		key, value, _ := strings.Cut(f, "=")
		var err error
		switch key {
		case "service":
			service = value
		case "region":
			b.Region = failover.Region(value)
		case "token":
			b.Token, err = strconv.ParseUint(value, 10, 64)
		case "epoch":
			b.Epoch, err = strconv.ParseUint(value, 10, 64)
		}
		errs = append(errs, err)
	}
	if len(data) > maxObject || len(fields) == 0 || fields[0] != "failoverd" || service != o.service || b.Token == 0 || b.Region == "" || errors.Join(errs...) != nil {
		return object{}, fmt.Errorf("%s in %s holds %.80q, which failoverd did not write for the service %s: give the switch a key of its own", o.name(), o.cfg.Region, data, o.service)
	}
	return b, nil
}

// Inspect implements Action.
func (o *s3Object) Inspect(ctx context.Context) (Effect, error) {
	b, err := o.read(ctx)
	if err != nil {
		return Effect{}, err
	}
	previous, err := json.Marshal(b)
	if err != nil {
		return Effect{}, err
	}
	e := Effect{State: Absent, Detail: o.name() + " does not exist: clients stay in " + string(o.left)}
	switch {
	case b.Region == o.to:
		e = o.places.moved(ctx, fmt.Sprintf("%s names %s", o.name(), o.to))
	case b.ETag != "":
		e.Detail = fmt.Sprintf("%s names %s", o.name(), b.Region)
	}
	e.Previous, e.Token = previous, b.Token
	return e, nil
}

// Do implements Action: one conditional write.
func (o *s3Object) Do(ctx context.Context, a Attempt) error {
	was, err := parseObject(a.Previous)
	if err != nil {
		return err
	}
	a.Report("writing %s: clients go to %s, token %d", o.name(), o.to, a.Token)
	return o.write(ctx, a, was, o.to)
}

func parseObject(previous json.RawMessage) (object, error) {
	var b object
	if err := json.Unmarshal(previous, &b); err != nil {
		return b, fmt.Errorf("reading what the object said before: %w", err)
	}
	return b, nil
}

// Undo implements Action. It names the region that stood there; where no object
// was, the region that was being left: a deleted object could be written anew by
// a writer that saw none.
func (o *s3Object) Undo(ctx context.Context, a Attempt) error {
	was, err := parseObject(a.Previous)
	if err != nil {
		return err
	}
	now, err := o.read(ctx)
	if err != nil {
		return err
	}
	a.Report("writing %s: clients go back to %s, token %d", o.name(), o.before(was), a.Token)
	return o.write(ctx, a, now, o.before(was))
}

// before is the region that an object sent clients to.
func (o *s3Object) before(b object) failover.Region {
	if b.Region == "" {
		return o.left
	}
	return b.Region
}

// Restored implements Restorer: the object sends clients where it did.
func (o *s3Object) Restored(now Effect, previous json.RawMessage) bool {
	was, err1 := parseObject(previous)
	is, err2 := parseObject(now.Previous)
	return err1 == nil && err2 == nil && o.before(was) == o.before(is)
}

// Burn implements Burner.
func (o *s3Object) Burn(ctx context.Context, a Attempt) error {
	now, err := o.read(ctx)
	if err != nil {
		return err
	}
	a.Report("replacing the token alone by %d, so that no earlier write can take effect", a.Token)
	return o.write(ctx, a, now, o.before(now))
}

// write replaces exactly what was read.
func (o *s3Object) write(ctx context.Context, a Attempt, was object, to failover.Region) error {
	if was.Token >= a.Token {
		return fmt.Errorf("token %d stands in %s, ours is %d: %w", was.Token, o.name(), a.Token, ErrStaleToken)
	}
	text := o.text(object{Token: a.Token, Epoch: a.Epoch, Region: to})
	in := &s3.PutObjectInput{
		Bucket: &o.cfg.Bucket, Key: &o.cfg.Key, Body: bytes.NewReader([]byte(text)),
		ContentType: aws.String("text/plain"), CacheControl: aws.String("no-store"),
	}
	if was.ETag == "" {
		in.IfNoneMatch = aws.String("*")
	} else {
		in.IfMatch = aws.String(was.ETag)
	}
	_, err := o.client.PutObject(cloud.WithEffectDeadline(ctx, a.Deadline), in)
	if err == nil {
		return nil
	}
	if api, ok := errors.AsType[smithy.APIError](err); ok && api.ErrorCode() == "PreconditionFailed" {
		return fmt.Errorf("writing %s in %s: %w (%w)", o.name(), o.cfg.Region, ErrStaleToken, err)
	}
	return fmt.Errorf("writing %s in %s: %w", o.name(), o.cfg.Region, err)
}
