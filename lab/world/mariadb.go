package world

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/failoverd/failoverd/lab/region"
)

// A real MariaDB of Debian's in each region, if Options.MariaDB says so. The one of the primary has the application's data; the
// other one is empty, and what there is of the data in its region are the daily backups in S3, made by the real mariadb-dump.

// mariaHost is the last octet of a region's MariaDB.
const mariaHost = 41

// The accounts of both servers: failoverd's, and the application's.
const (
	MariaDBUser, MariaDBPassword   = "failoverd", "lab-restores"
	mariaAppUser, mariaAppPassword = "app", "lab-app"
)

// mariaRights are failoverd's, those that docs/operations.md names, and no SUPER.
const mariaRights = "GRANT ALL ON app.* TO %s; GRANT ALL ON `app\\_\\_re%%`.* TO %[1]s; GRANT ALL ON failoverd.* TO %[1]s; GRANT SELECT ON mysql.proc TO %[1]s; GRANT PROCESS ON *.* TO %[1]s;"

const (
	mariaBackups     = 4    // one a day
	mariaCustomers   = 2000 // in the newest
	mariaSinceBackup = 25   // came after it
	mariaBegins      = 20 * time.Second
	mariaTakes       = 2 * time.Hour // a backup, at most: what it holds is older than the file by that
)

const mariaSchema = `CREATE DATABASE app CHARACTER SET utf8mb4;
USE app;
CREATE TABLE customers (id INT PRIMARY KEY, name VARCHAR(40) NOT NULL, KEY (name));
CREATE TABLE deliveries (id BIGINT AUTO_INCREMENT PRIMARY KEY, message VARCHAR(64) NOT NULL, customer INT NOT NULL, region VARCHAR(20) NOT NULL, at TIMESTAMP(3) DEFAULT CURRENT_TIMESTAMP(3),
  FOREIGN KEY (customer) REFERENCES customers (id));
CREATE TABLE totals (customer INT PRIMARY KEY, deliveries INT NOT NULL);
CREATE VIEW busy AS SELECT c.name, t.deliveries FROM customers c JOIN totals t ON t.customer = c.id WHERE t.deliveries > 1;
DELIMITER ;;
CREATE TRIGGER counts AFTER INSERT ON deliveries FOR EACH ROW INSERT INTO totals VALUES (NEW.customer, 1) ON DUPLICATE KEY UPDATE deliveries = deliveries + 1;;
CREATE PROCEDURE top(IN n INT) BEGIN SELECT * FROM busy ORDER BY deliveries DESC LIMIT n; END;;
CREATE EVENT forget ON SCHEDULE EVERY 1 DAY DO DELETE FROM deliveries WHERE at < NOW() - INTERVAL 90 DAY;;
DELIMITER ;
`

// MariaDBAddress is where a region's MariaDB listens.
func MariaDBAddress(reg string) string {
	return fmt.Sprintf("198.18.%d.%d:3306", octets[SiteOf(reg)], mariaHost)
}

// MariaDBMissing says what a world with MariaDB needs and this machine has not; "" if nothing.
func MariaDBMissing() string {
	for _, p := range []string{"mariadbd", "mariadb-install-db", "mariadb", "mariadb-dump"} {
		if _, err := exec.LookPath(p); err != nil {
			return p + " is not installed: apt-get install --no-install-recommends mariadb-server"
		}
	}
	return ""
}

func (w *World) mariaDir(site string) string { return filepath.Join(w.Dir, "mariadb-"+site) }

// startMariaDB starts the server of a site, at the first time with an empty directory.
func (w *World) startMariaDB(ctx context.Context, site string) error {
	dir := w.mariaDir(site)
	// The tests' machine may lose its power: nothing here outlives it. In a namespace that nobody else reaches it may run as root.
	flags := []string{"--no-defaults", "--user=root", "--datadir=" + dir + "/data", "--tmpdir=" + dir, "--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--innodb-buffer-pool-size=32M", "--innodb-log-file-size=16M"}
	fresh := false
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		fresh = true
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the directory of MariaDB: %w", err)
		}
		install := exec.CommandContext(ctx, "mariadb-install-db", append(flags, "--auth-root-authentication-method=normal", "--skip-test-db")...)
		if out, err := install.CombinedOutput(); err != nil {
			return fmt.Errorf("mariadb-install-db: %w; it said: %s", err, out)
		}
	}
	addr, _, _ := strings.Cut(MariaDBAddress(RegionOf(site)), ":")
	p, err := w.Exec(ctx, site, append([]string{"mariadbd"}, append(flags, "--socket="+w.mariaSocket(site), "--pid-file="+dir+"/pid", "--bind-address="+addr, "--port=3306", "--skip-name-resolve",
		"--log-bin=bin", "--log-bin-trust-function-creators=1", fmt.Sprintf("--server-id=%d", octets[site]))...), ProcOptions{Name: "mariadb-" + site})
	if err != nil {
		return err
	}
	for end := time.Now().Add(mariaBegins); ; {
		if _, err = w.mariaClient(ctx, site, "SELECT 1"); err == nil {
			break
		}
		if p.Exited() || time.Now().After(end) || ctx.Err() != nil {
			return fmt.Errorf("the MariaDB of %s does not answer: %w; it said: %s", site, err, p.tail())
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
	if !fresh {
		return nil
	}
	_, err = w.mariaClient(ctx, site, fmt.Sprintf("CREATE USER %s IDENTIFIED BY '%s'; CREATE USER %s IDENTIFIED BY '%s'; GRANT SELECT, INSERT ON app.* TO %[3]s;",
		MariaDBUser, MariaDBPassword, mariaAppUser, mariaAppPassword)+fmt.Sprintf(mariaRights, MariaDBUser))
	if err == nil && site == E1 {
		err = w.seed(ctx)
	}
	return err
}

func (w *World) mariaSocket(site string) string { return w.mariaDir(site) + "/s" }

// mariaClient feeds statements to MariaDB's own client, as root over the socket, and gives what it prints.
func (w *World) mariaClient(ctx context.Context, site, statements string) (string, error) {
	cmd := exec.CommandContext(ctx, "mariadb", "--no-defaults", "--socket="+w.mariaSocket(site), "--user=root", "--batch", "--skip-column-names")
	var out, said bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(statements), &out, &said
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("mariadb in %s: %w: %s", site, err, strings.TrimSpace(said.String()))
	}
	return out.String(), nil
}

// SQL asks a region's MariaDB, as root, and gives what its client prints, a row a line. It needs no network.
func (w *World) SQL(ctx context.Context, reg, statements string) (string, error) {
	return w.mariaClient(ctx, SiteOf(reg), statements)
}

// seed fills the primary's database day by day, with a backup each night, and goes on after the last one.
func (w *World) seed(ctx context.Context) error {
	if _, err := w.mariaClient(ctx, E1, mariaSchema); err != nil {
		return err
	}
	row := func(from, to int, at time.Time) error {
		var b strings.Builder
		fmt.Fprintf(&b, "USE app; INSERT INTO customers SELECT seq, CONCAT('customer ', seq) FROM seq_%d_to_%d;", from, to-1)
		fmt.Fprintf(&b, "INSERT INTO deliveries (message, customer, region, at) SELECT CONCAT('before-', seq), seq, 'us-east-1', FROM_UNIXTIME(%d) FROM seq_%d_to_%d;", at.Unix(), from, to-1)
		_, err := w.mariaClient(ctx, E1, b.String())
		return err
	}
	begin := 0
	for day := 1; day <= mariaBackups; day++ {
		end := mariaCustomers - 20*(mariaBackups-day)
		if err := row(begin, end, w.mariaFiles()[mariaBackups-day].At.Add(-mariaTakes)); err != nil {
			return err
		}
		if err := w.backUp(ctx, w.mariaBackup(day)); err != nil {
			return err
		}
		begin = end
	}
	return row(begin, begin+mariaSinceBackup, w.begun)
}

// mariaBackup is the file of a day's backup; the last is the newest.
func (w *World) mariaBackup(day int) string { return fmt.Sprintf("%s/%d.sql.gz", w.mariaDir(E1), day) }

// backUp is what the nightly job does.
func (w *World) backUp(ctx context.Context, path string) error {
	cmd := exec.CommandContext(ctx, "mariadb-dump", "--no-defaults", "--socket="+w.mariaSocket(E1), "--user=root", "--single-transaction", "--routines", "--triggers", "--events", "--databases", "app")
	var out, said bytes.Buffer
	z := gzip.NewWriter(&out)
	cmd.Stdout, cmd.Stderr = z, &said
	if err := errors.Join(cmd.Run(), z.Close()); err != nil {
		return fmt.Errorf("mariadb-dump: %w: %s", err, said.String())
	}
	return os.WriteFile(path, out.Bytes(), 0o600)
}

// mariaFiles are the backups that S3 has of the last days, the newest first.
func (w *World) mariaFiles() (out []region.Backup) {
	for age := range mariaBackups {
		out = append(out, region.Backup{Key: fmt.Sprintf("mariadb/app/%d.sql.gz", mariaBackups-age), File: w.mariaBackup(mariaBackups - age), At: w.begun.Add(-time.Duration(age)*24*time.Hour - 10*time.Minute)})
	}
	return out
}

// Restored tells which backup a region's MariaDB has come from, by what is in it: each has customers that those before it lack.
// The zero Backup: none, also where nothing is missing that came after the newest one: a dump has brought that.
func (w *World) Restored(ctx context.Context, reg string) (region.Backup, error) {
	out, err := w.SQL(ctx, reg, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'app' AND table_name = 'customers'")
	if err != nil || strings.TrimSpace(out) == "0" {
		return region.Backup{}, err
	}
	if out, err = w.SQL(ctx, reg, "SELECT COUNT(*) FROM app.customers"); err != nil {
		return region.Backup{}, err
	}
	for age, b := range w.mariaFiles() {
		if strings.TrimSpace(out) == strconv.Itoa(mariaCustomers-20*age) {
			return b, nil
		}
	}
	if strings.TrimSpace(out) == strconv.Itoa(mariaCustomers+mariaSinceBackup) {
		return region.Backup{}, nil
	}
	return region.Backup{}, fmt.Errorf("the MariaDB of %s has %s customers, and no backup has", reg, strings.TrimSpace(out))
}

// OnlyIn counts what was written down in one region and is not in the other: of the deliveries that its workers have made.
func (w *World) OnlyIn(ctx context.Context, reg, other string) (int, error) {
	rows := func(of string) (map[string]bool, error) {
		out, err := w.SQL(ctx, of, "SELECT message FROM app.deliveries")
		all := map[string]bool{}
		for _, id := range strings.Fields(out) {
			all[id] = true
		}
		return all, err
	}
	here, err := rows(reg)
	if err != nil {
		return 0, err
	}
	there, err := rows(other)
	if err != nil {
		return 0, err
	}
	n := 0
	for id := range here {
		if !there[id] {
			n++
		}
	}
	return n, nil
}
