package probes

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"github.com/failoverd/failoverd/failover"
)

// DuplicatesConfig asserts that nothing was processed twice. It asks either a
// URL or a MariaDB/MySQL database.
type DuplicatesConfig struct {
	// URL answers GET with JSON: {"duplicates": 3}.
	URL string `toml:"url" json:"url,omitempty"`
	// DSNFile holds the data source name of the database ("user:pass@tcp(host:3306)/db").
	// It is a file because parameters are replicated and shown.
	DSNFile string `toml:"dsn_file" json:"dsn_file,omitempty"`
	// Query returns one row with one number.
	Query string `toml:"query" json:"query,omitempty"`
	// Max is the largest number that passes.
	Max int `toml:"max" json:"max"`
	// For is how long it is asked again before it has failed. Zero: 2 minutes.
	For failover.Duration `toml:"within" json:"within,omitempty"`
}

// Validate reports the first wrong parameter.
func (c *DuplicatesConfig) Validate() error {
	switch {
	case c.URL != "" && (c.DSNFile != "" || c.Query != ""):
		return badParam("url", "cannot be given together with dsn_file and query; keep one way")
	case c.URL != "":
		if err := validURL("url", c.URL); err != nil {
			return err
		}
	case c.DSNFile == "" || c.Query == "":
		return badParam("url", "is missing; give url, or dsn_file and query")
	}
	if c.Max < 0 {
		return badParam("max", "%d is negative", c.Max)
	}
	return notNegative("within", c.For)
}

// Within implements CheckConfig.
func (c *DuplicatesConfig) Within() time.Duration { return within(c.For) }

type duplicates struct {
	cfg  *DuplicatesConfig
	deps Deps
	http *http.Client
}

// NewCheck implements CheckConfig.
func (c *DuplicatesConfig) NewCheck(d Deps) (Check, error) {
	t := &http.Transport{DialContext: d.dns().DialContext, DisableKeepAlives: true}
	return &duplicates{cfg: c, deps: d, http: &http.Client{Transport: t}}, nil
}

// Check implements Check.
func (c *duplicates) Check(ctx context.Context) Finding {
	ctx, cancel := c.deps.within(ctx)
	defer cancel()
	count := c.fromDatabase
	if c.cfg.URL != "" {
		count = c.fromURL
	}
	n, err := count(ctx)
	if err != nil {
		return Finding{Unknown, err.Error()}
	}
	detail := fmt.Sprintf("%d duplicates, %d may be", n, c.cfg.Max)
	if n > c.cfg.Max {
		return Finding{Fail, detail}
	}
	return Finding{Pass, detail}
}

func (c *duplicates) fromURL(ctx context.Context) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.cfg.URL, http.NoBody)
	if err != nil {
		return 0, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, fmt.Errorf("asking for the number of duplicates: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil || resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("asking %s for the number of duplicates: answered %d (%v)", c.cfg.URL, resp.StatusCode, err)
	}
	var answer struct {
		Duplicates *int `json:"duplicates"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Duplicates == nil {
		return 0, fmt.Errorf("%s does not answer like {\"duplicates\": 0}", c.cfg.URL)
	}
	return *answer.Duplicates, nil
}

// fromDatabase opens the database anew: a check is asked a few times, minutes
// apart, and a pool would outlive it.
func (c *duplicates) fromDatabase(ctx context.Context) (int, error) {
	b, err := os.ReadFile(c.cfg.DSNFile)
	if err != nil {
		return 0, fmt.Errorf("reading the data source name: %w", err)
	}
	dsn, err := mysql.ParseDSN(strings.TrimSpace(string(b)))
	if err != nil {
		// The parser's error could repeat a part of the password.
		return 0, fmt.Errorf("%s does not hold a data source name like user:password@tcp(host:3306)/database", c.cfg.DSNFile)
	}
	dsn.DialFunc = c.deps.dns().DialContext
	connector, err := mysql.NewConnector(dsn)
	if err != nil {
		return 0, errors.New("the data source name cannot be used")
	}
	db := sql.OpenDB(connector)
	defer func() { _ = db.Close() }()
	var n int
	if err := db.QueryRowContext(ctx, c.cfg.Query).Scan(&n); err != nil {
		return 0, fmt.Errorf("counting duplicates at %s: %w", dsn.Addr, err)
	}
	return n, nil
}
