package restore

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/failoverd/failoverd/internal/backup"
	"github.com/failoverd/failoverd/internal/mariadbtest"
)

var mebibytes = flag.Int("mb", 200, "size of the dump of BenchmarkRestore in MiB")

// The same dump by mariadb's own client and by restores over one, two and four connections, each of which reads it once more before; on
// a server that flushes each commit.
func BenchmarkRestore(b *testing.B) {
	s := mariadbtest.Shared(b, "bench", "--log-bin-trust-function-creators=1", "--innodb-buffer-pool-size=256M", "--innodb-flush-log-at-trx-commit=1", "--innodb-flush-method=fsync")
	s.Feed(b, grants)
	s.Feed(b, "CREATE DATABASE app; USE app; CREATE TABLE a (id INT AUTO_INCREMENT PRIMARY KEY, k INT, t VARCHAR(200), p BLOB, KEY (k)); INSERT INTO a (k, t, p) SELECT seq * 7919 % 100000, REPEAT(MD5(seq), 6), UNHEX(REPEAT(MD5(seq), 5)) FROM seq_1_to_"+
		"100000; CREATE TABLE b LIKE a; CREATE TABLE c LIKE a; CREATE TABLE d LIKE a;")
	rows := 3000 * *mebibytes / 4
	for _, t := range []string{"a", "b", "c", "d"} {
		s.Feed(b, "USE app; TRUNCATE "+t+"; INSERT INTO "+t+" (k, t, p) SELECT seq * 7919 % 100000, REPEAT(MD5(seq), 6), UNHEX(REPEAT(MD5(seq), 4)) FROM seq_1_to_"+strconv.Itoa(rows))
	}
	file := filepath.Join(b.TempDir(), "dump.sql")
	if err := os.WriteFile(file, s.Dumped(b, "--databases", "app", "--single-transaction"), 0o600); err != nil {
		b.Fatal(err)
	}
	info, err := os.Stat(file)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s.Feed(b, "DROP DATABASE app")
		text, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		begun := time.Now()
		if _, err := s.Client(text); err != nil {
			b.Fatal(err)
		}
		client := time.Since(begun)
		text = nil
		ratios := ""
		for _, n := range []int{1, 2, 4} {
			s.Feed(b, "DROP DATABASE IF EXISTS app")
			o := options(s, nil, "app")
			o.File.Size, o.Connections, o.Epoch = info.Size(), n, o.Token
			o.Open = func(context.Context, backup.File) (io.ReadCloser, error) { return os.Open(file) }
			begun = time.Now()
			var read time.Duration
			o.Report = func(line string) {
				if read == 0 && strings.HasPrefix(line, "loading") {
					read = time.Since(begun)
				}
			}
			if res, err := Run(b.Context(), o); err != nil || res.Already {
				b.Fatal(res, err)
			}
			ours := time.Since(begun)
			ratios += fmt.Sprintf(" ours_%d_s=%.2f ratio_%d=%.2f verified_by_s=%.2f", n, ours.Seconds(), n, ours.Seconds()/client.Seconds(), read.Seconds())
			b.ReportMetric(ours.Seconds()/client.Seconds(), fmt.Sprintf("×client/%d", n))
		}
		b.Logf("bench: restore mb=%d client_s=%.2f%s", info.Size()>>20, client.Seconds(), ratios)
	}
}
