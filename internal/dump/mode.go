package dump

import (
	"bytes"
	"regexp"
	"strings"
)

// sqlMode is what of sql_mode changes where a string ends.
type sqlMode struct{ noEscapes, ansiQuotes bool }

// setMode is an assignment to sql_mode, or of it to a user variable, as mariadb-dump writes them:
// SET @saved_sql_mode = @@sql_mode, SET sql_mode = '...', SET sql_mode = @saved_sql_mode.
var setMode = regexp.MustCompile(`(?i)(@[a-z0-9_$.]+)?\s*:?=\s*@@(?:session\.)?sql_mode\b|(?:^|[\s,.])(?:@@(?:session\.)?)?sql_mode\s*:?=\s*(?:'([^']*)'|(@[a-z0-9_$.]+))`)

// setHead is how much of a statement is looked at: those that mariadb-dump writes are shorter.
const setHead = 1 << 10

// follow keeps up with sql_mode after a statement.
func (s *Splitter) follow(text []byte) {
	text = text[:min(len(text), setHead)]
	head := bytes.TrimLeft(text[:min(len(text), 24)], "/*!M0123456789 \t\r\n")
	if len(head) < 4 || !bytes.EqualFold(head[:3], []byte("set")) || !isSpace(head[3]) {
		return
	}
	for _, m := range setMode.FindAllSubmatch(text, -1) {
		switch to, from := strings.ToLower(string(m[1])), strings.ToLower(string(m[3])); {
		case to != "":
			s.saved[to] = s.mode
		case from != "":
			s.mode = s.saved[from]
		default:
			modes := strings.Split(strings.ToUpper(string(m[2])), ",")
			s.mode = sqlMode{}
			for _, mode := range modes {
				s.mode.noEscapes = s.mode.noEscapes || mode == "NO_BACKSLASH_ESCAPES"
				// Combinations as MariaDB keeps them beside their parts, and as a person writes them alone.
				switch mode {
				case "ANSI_QUOTES", "ANSI", "DB2", "MAXDB", "MSSQL", "ORACLE", "POSTGRESQL":
					s.mode.ansiQuotes = true
				}
			}
		}
	}
}
