package region

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"os"
	"time"

	"github.com/failoverd/failoverd/lab/awsfake"
)

// BackupsBucket holds a region's copies of the daily backups of MariaDB.
func BackupsBucket(region string) string { return "messaging-backups-" + region }

// Backup is a file that mariadb-dump has written, as it lies in both regions' buckets.
type Backup struct {
	Key  string    `json:"key"`
	File string    `json:"file"`
	At   time.Time `json:"at"` // undivided: backups are made once a day in any world
}

// backups puts the backups of the last days there, as replication has brought them. In a world without MariaDB they are texts in
// the form that mariadb-dump 10.11 writes.
func backups(s3 *awsfake.S3, c Config, now time.Time) error {
	for _, b := range c.Backups {
		data, err := os.ReadFile(b.File)
		if err != nil {
			return fmt.Errorf("a backup of MariaDB: %w", err)
		}
		s3.Store(BackupsBucket(c.Region), b.Key, data, b.At)
	}
	for day := range 4 {
		if len(c.Backups) > 0 {
			break
		}
		at := now.Add(-time.Duration(day)*24*time.Hour - 10*time.Minute)
		s3.Store(BackupsBucket(c.Region), fmt.Sprintf("mariadb/app/%d.sql.gz", 4-day), backup(at, 2000-day), at)
	}
	return nil
}

func backup(at time.Time, rows int) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := func(format string, args ...any) { _, _ = fmt.Fprintf(z, format, args...) } // a buffer takes everything
	w("/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump 10.19  Distrib 10.11.19-MariaDB, for debian-linux-gnu (x86_64)\n--\n-- Host: localhost    Database: app\n")
	w("-- ------------------------------------------------------\n-- Server version\t10.11.19-MariaDB-0+deb12u1-log\n\n--\n-- Current Database: `app`\n--\n\nUSE `app`;\n")
	w("CREATE TABLE `customers` (\n  `id` int(11) NOT NULL,\n  `name` varchar(40),\n  PRIMARY KEY (`id`)\n);\n")
	for i := range rows {
		w("INSERT INTO `customers` VALUES (%d,'customer %d');\n", i, i)
	}
	w("\n-- Dump completed on %s\n", at.Format("2006-01-02 15:04:05"))
	_ = z.Close()
	return b.Bytes()
}
