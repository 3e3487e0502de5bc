package world

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/failoverd/failoverd/lab/region"
)

// The workers of the primary work with a real MariaDB and write into it; in the secondary there is a server without the data, and
// the backups in S3 are those of the real mariadb-dump.
func TestWorldWithMariaDB(t *testing.T) {
	if why := MariaDBMissing(); why != "" {
		t.Fatal(why)
	}
	w := start(t, Options{MariaDB: true, Desired: map[string]map[string]int{Primary: {"api": 1, "workers": 2}, Secondary: {"api": 1, "workers": 1}}})
	ctx := t.Context()
	until(t, w, 30*time.Second, "messages", func(r Record) bool { return r.Regions[Primary].Processed > 3 })
	sql := func(reg, statement string) string {
		t.Helper()
		out, err := w.SQL(ctx, reg, statement)
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(out)
	}
	if n := sql(Primary, "SELECT COUNT(*) FROM app.deliveries WHERE message NOT LIKE 'before-%'"); n == "0" {
		t.Error("nothing was written down")
	}
	if n := sql(Primary, "SELECT COUNT(*) FROM app.customers"); n != "2025" {
		t.Errorf("%s customers", n)
	}
	if n := sql(Secondary, "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = 'app'"); n != "0" {
		t.Error("the secondary has the data before anybody has restored it")
	}
	if r, err := w.Record(ctx); err != nil || r.Regions[Secondary].Processed != 0 {
		t.Errorf("a worker without its database has worked: %+v, %v", r.Regions[Secondary], err)
	}
	// What is in S3 is what mariadb-dump has written, and MariaDB takes it.
	client := s3.New(s3.Options{Region: Secondary, BaseEndpoint: aws.String(Endpoint(Secondary)), UsePathStyle: true,
		Credentials: creds, HTTPClient: w.from(E2), DisableLogOutputChecksumValidationSkipped: true})
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(region.BackupsBucket(Secondary)), Key: aws.String("mariadb/app/4.sql.gz")})
	if err != nil {
		t.Fatal(err)
	}
	z, err := gzip.NewReader(out.Body)
	if err != nil {
		t.Fatal(err)
	}
	dump, err := io.ReadAll(z)
	if err != nil || !bytes.Contains(dump, []byte("-- Dump completed on")) {
		t.Fatalf("%v; the dump ends with %q", err, dump[max(0, len(dump)-80):])
	}
	// The workers are kept away meanwhile, as whoever restores in place must: one that writes between two tables of the dump writes a
	// row that the dump brings as well.
	sql(Secondary, "ALTER USER "+mariaAppUser+" ACCOUNT LOCK")
	if _, err := w.mariaClient(ctx, E2, string(dump)); err != nil {
		t.Fatal(err)
	}
	if n := sql(Secondary, "SELECT COUNT(*) FROM app.customers"); n != "2000" {
		t.Errorf("%s customers in the newest backup", n)
	}
	sql(Secondary, "ALTER USER "+mariaAppUser+" ACCOUNT UNLOCK")
	until(t, w, 30*time.Second, "messages where the data are now", func(r Record) bool { return r.Regions[Secondary].Processed > 0 })
	// A region that was lost comes back with what it had.
	w.KillSite(ctx, E1)
	if err := w.StartSite(context.WithoutCancel(ctx), E1); err != nil {
		t.Fatal(err)
	}
	if n := sql(Primary, "SELECT COUNT(*) FROM app.customers"); n != "2025" {
		t.Errorf("%s customers after its return", n)
	}
}
