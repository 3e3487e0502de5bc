package config

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
)

// PPM is a rate in parts per million, written "1%" or "200ppm".
type PPM int

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *PPM) UnmarshalText(b []byte) error {
	s := string(b)
	number, unit := strings.TrimSuffix(s, "%"), 10_000.0
	if n, ok := strings.CutSuffix(s, "ppm"); ok {
		number, unit = n, 1
	} else if number == s {
		return fmt.Errorf("%q is not a rate; write it like \"1%%\" or \"200ppm\"", s)
	}
	f, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || f < 0 || f > 1e6 {
		return fmt.Errorf("%q is not a rate; write it like \"1%%\" or \"200ppm\"", s)
	}
	*p = PPM(f*unit + 0.5)
	return nil
}

// Secret is a text that never appears in logs, errors or JSON.
type Secret string

const hidden = "***"

func (Secret) String() string { return hidden }

// GoString implements fmt.GoStringer.
func (Secret) GoString() string { return hidden }

// MarshalText implements encoding.TextMarshaler.
func (Secret) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// LogValue implements slog.LogValuer.
func (Secret) LogValue() slog.Value { return slog.StringValue(hidden) }

// Reveal returns the text, for the one call that needs it.
func (s Secret) Reveal() string { return string(s) }

// Slack is [slack].
type Slack struct {
	Channel      string   `toml:"channel"` // the channel's ID
	Team         string   `toml:"team"`    // the workspace's ID; clicks from elsewhere are refused
	Approvers    []string `toml:"approvers"`
	BotTokenFile string   `toml:"bot_token_file"`
	AppTokenFile string   `toml:"app_token_file"`
	APIURL       string   `toml:"api_url"` // "" for Slack's own
}

// Tokens reads the bot's and the app's token: from the environment if it has
// them, else from their files.
func (s *Slack) Tokens() (bot, app Secret, err error) {
	if bot, err = readSecret("FAILOVERD_SLACK_BOT_TOKEN", "slack.bot_token_file", s.BotTokenFile); err != nil {
		return "", "", err
	}
	app, err = readSecret("FAILOVERD_SLACK_APP_TOKEN", "slack.app_token_file", s.AppTokenFile)
	return bot, app, err
}

func readSecret(env, key, path string) (Secret, error) {
	if v := os.Getenv(env); v != "" {
		return Secret(v), nil
	}
	if path == "" {
		return "", fmt.Errorf("no Slack token: %s is not set and %s names no file", env, key)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", key, err)
	}
	v := strings.TrimSpace(string(b))
	if v == "" {
		return "", fmt.Errorf("reading %s: %s is empty", key, path)
	}
	return Secret(v), nil
}
