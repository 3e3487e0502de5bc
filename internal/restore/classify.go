package restore

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// role is what a statement of a dump is to a restore.
type role uint8

const (
	other role = iota // none that mariadb-dump writes
	// setting sets something of the connection: it is carried out in its place, and again before what is made later.
	setting
	// table makes, fills or changes a table: carried out in the shadow schema.
	table
	// object is a trigger, a view, a routine or an event: RENAME TABLE does not carry it, so it is made later.
	object
	useDB
	createDB
	// alterDB changes the default character set around a routine that was made under another one: made later.
	alterDB
	// left is left out: locks and transactions, of which a shadow schema needs none, and what is about the
	// whole server, such as its place in a binary log.
	left
)

// part is a statement, classified.
type part struct {
	role role
	// what is the word after CREATE or DROP, such as "TABLE"; else the first word.
	what string
	name string // the database of useDB, createDB and alterDB; what a table or object is called, if it was looked for
	make bool   // of table and object: CREATE
	why  string // of other: what is wrong with it
}

// word is one token of the beginning of a statement.
type word struct {
	raw    string
	text   string // in upper case, unless it was quoted
	quoted bool   // a name in backticks
}

// lookAt is how much of a statement its kind can be told by.
const lookAt = 4 << 10

// words gives the first n words of a statement, what stands in executable comments included.
func words(text []byte, n int) (all []word) {
	text = text[:min(len(text), lookAt)]
	for i := 0; i < len(text) && len(all) < n; {
		rest := text[i:]
		switch c := text[i]; {
		case c <= ' ':
			i++
		case bytes.HasPrefix(rest, []byte("/*!")), bytes.HasPrefix(rest, []byte("/*M!")):
			i += bytes.IndexByte(rest, '!') + 1
			for i < len(text) && text[i] >= '0' && text[i] <= '9' {
				i++
			}
		case bytes.HasPrefix(rest, []byte("*/")):
			i += 2
		case bytes.HasPrefix(rest, []byte("/*")):
			i += end(rest, "*/")
		case c == '#', bytes.HasPrefix(rest, []byte("--")):
			i += end(rest, "\n")
		case c == '`' || c == '\'' || c == '"':
			var name []byte
			for i++; i < len(text); i++ {
				if text[i] == c {
					if i++; i >= len(text) || text[i] != c {
						break
					}
				}
				name = append(name, text[i])
			}
			all = append(all, word{string(name), string(name), c != '\''})
		case wordy(c):
			from := i
			for i < len(text) && wordy(text[i]) {
				i++
			}
			raw := string(text[from:i])
			all = append(all, word{raw, strings.ToUpper(raw), false})
		default:
			all = append(all, word{string(c), string(c), false})
			i++
		}
	}
	return all
}

func end(text []byte, of string) int {
	if i := bytes.Index(text, []byte(of)); i >= 0 {
		return i + len(of)
	}
	return len(text)
}

func wordy(c byte) bool {
	return c == '_' || c == '$' || c == '@' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// objects are what is made later; tables what is made in the shadow schema.
var (
	objects = []string{"TRIGGER", "VIEW", "FUNCTION", "PROCEDURE", "EVENT", "PACKAGE"}
	tables  = []string{"TABLE", "SEQUENCE"}
)

// classify says what a statement is. Whatever mariadb-dump does not write is other: a restore must know what it
// sends to a server.
func classify(text []byte) part {
	w := words(text, 40)
	at := func(i int) string {
		if i < len(w) && !w[i].quoted {
			return w[i].text
		}
		return ""
	}
	switch first := at(0); first {
	case "SET":
		return set(w, text)
	case "USE":
		return named(part{role: useDB, what: first}, w[1:])
	case "INSERT", "REPLACE":
		return named(part{role: table, what: first}, after(w, "INTO"))
	case "ALTER":
		if at(1) == "DATABASE" || at(1) == "SCHEMA" {
			return named(part{role: alterDB, what: at(1)}, w[2:])
		}
		return of(w[1:], "ALTER ", false)
	case "DO", "SELECT":
		if at(1) == "SETVAL" || at(1) == "NEXTVAL" { // of a sequence
			return named(part{role: table, what: "SETVAL"}, after(w, "("))
		}
	case "CREATE", "DROP":
		return of(w[1:], "", first == "CREATE")
	case "LOCK", "UNLOCK", "COMMIT", "BEGIN", "START", "STOP", "CHANGE", "FLUSH":
		return part{role: left, what: first + " " + at(1)}
	}
	return part{what: at(0), why: "mariadb-dump writes no such statement"}
}

// of classifies a statement about something by the first word that says about what.
func of(w []word, verb string, makes bool) part {
	for i, x := range w {
		switch {
		case x.quoted:
		case x.text == "DATABASE" || x.text == "SCHEMA":
			p := part{role: createDB, what: x.text, make: makes}
			if !makes {
				p.role = left // dropping them is the restore's own business
			}
			return named(p, w[i+1:])
		case slices.Contains(objects, x.text):
			p := part{role: object, what: verb + x.text, make: makes}
			if x.text == "PACKAGE" && i+1 < len(w) && w[i+1].text == "BODY" {
				i++
			}
			return named(p, w[i+1:])
		case slices.Contains(tables, x.text):
			return named(part{role: table, what: verb + x.text, make: makes}, w[i+1:])
		}
	}
	return part{what: verb, why: "it is about none of what mariadb-dump writes"}
}

func after(w []word, text string) []word {
	for i, x := range w {
		if x.text == text && !x.quoted {
			return w[i+1:]
		}
	}
	return nil
}

// named finds the name, which mariadb-dump never writes with that of a database before it: with one it
// would go past the shadow schema.
func named(p part, w []word) part {
	for len(w) > 0 && !w[0].quoted && slices.Contains([]string{"IF", "NOT", "EXISTS"}, w[0].text) {
		w = w[1:]
	}
	if len(w) == 0 {
		return part{what: p.what, why: "it names nothing"}
	}
	if len(w) > 2 && w[1].text == "." && !w[1].quoted && p.what == "TRIGGER" { // it is written as it was made
		w = w[2:]
	}
	if len(w) > 1 && w[1].text == "." && !w[1].quoted {
		return part{what: p.what, why: fmt.Sprintf("it names the database %s itself, as mariadb-dump never does", w[0].text)}
	}
	p.name = w[0].raw
	return p
}

// trigger is the head of one that was made with the name of its database.
var trigger = regexp.MustCompile("(?is)^(.*?TRIGGER\\s+(?:IF\\s+NOT\\s+EXISTS\\s+)?)(?:(`(?:[^`]|``)+`|[\\w$]+)\\s*\\.\\s*)?(`(?:[^`]|``)+`|[\\w$]+)(\\s+(?:BEFORE|AFTER)\\s+\\w+\\s+ON\\s+)(?:(`(?:[^`]|``)+`|[\\w$]+)\\s*\\.\\s*)?")

// unqualified is the statement of a trigger without the name of its database, which leads past a shadow schema. An error
// is one of another database.
func unqualified(text, db string) (string, error) {
	m := trigger.FindStringSubmatch(text)
	if m == nil {
		return "", errors.New("its table cannot be told")
	}
	for _, q := range []string{m[2], m[5]} {
		if name := strings.ReplaceAll(strings.Trim(q, "`"), "``", "`"); q != "" && name != db {
			return "", fmt.Errorf("it is of the database %s and not of %s", name, db)
		}
	}
	return m[1] + m[3] + m[4] + text[len(m[0]):], nil
}

// unsafe are character sets in which a byte of a character may be a backslash or a quote.
var unsafe = regexp.MustCompile(`(?i)(?:names|character_set_client)\s*=?\s*'?(sjis|cp932|gbk|gb2312|gb18030|big5|ucs2|utf16|utf16le|utf32|binary)\b`)

// set classifies SET: what is about the whole server is left out.
func set(w []word, text []byte) part {
	p := part{role: setting, what: "SET"}
	for i, x := range w {
		if x.quoted {
			continue
		}
		switch {
		case x.text == "GLOBAL", x.text == "@@GLOBAL", strings.Contains(x.text, "SQL_LOG_BIN") && !strings.HasPrefix(x.text, "@MYSQLDUMP"), strings.Contains(x.text, "GTID_"):
			return part{role: left, what: "SET " + x.text}
		case i == 1 && (x.text == "PASSWORD" || x.text == "STATEMENT" || x.text == "ROLE" || x.text == "DEFAULT"):
			return part{what: "SET " + x.text, why: "mariadb-dump writes no such statement"}
		}
	}
	if m := unsafe.FindSubmatch(text[:min(len(text), lookAt)]); m != nil {
		return part{what: "SET", why: fmt.Sprintf("it is in the character set %s, in which the end of a string cannot be told; make the dump with --default-character-set=utf8mb4", m[1])}
	}
	return p
}
