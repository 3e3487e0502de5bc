package restore

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Triggers, views, routines and events are made after the swap, since RENAME TABLE refuses tables with triggers (1435) and views, and
// carries none of the others. All of it is rehearsed in the shadow schemas before anything live is touched: what the account may not
// make, or the server does not understand, is known then.

// onEvent is where SHOW CREATE EVENT, and so mariadb-dump, says whether an event runs: behind its schedule.
var onEvent = regexp.MustCompile(`ON COMPLETION (?:NOT )?PRESERVE (ENABLE|DISABLE ON SLAVE|DISABLE)\b`)

// disabled makes an event one that does not run, and reports whether it would have. event_scheduler is a setting of the whole server that
// anybody may turn on, or that is on already (an account without SUPER can neither tell the future nor turn it off); an event
// that is disabled stays off whatever it says.
func disabled(text string) (string, error) {
	m := onEvent.FindStringSubmatchIndex(text)
	if m == nil {
		return "", errors.New("it does not say ON COMPLETION ... ENABLE or DISABLE, as mariadb-dump writes it, so that it cannot be left off")
	}
	return text[:m[2]] + "DISABLE" + text[m[3]:], nil
}

// hasDefiner is the account in whose name something runs, at the beginning of its statement.
var hasDefiner = regexp.MustCompile("^[^'\"`(]*?DEFINER=(" + aName + "@" + aName + "|" + aName + ")")

// aName is a quoted name, under ANSI_QUOTES, too.
const aName = "(?:`(?:[^`]|``)*`|\"(?:[^\"]|\"\")*\")"

// prepare turns what was gathered into what is carried out later: events that are off, in the name of accounts that there are.
func (r *run) prepare(ctx context.Context) error {
	if err := r.s.exec(ctx, "USE "+ownSchema); err != nil {
		return err
	}
	var off []string
	mine, err := r.s.value(ctx, "SELECT CURRENT_USER()")
	if err != nil {
		return err
	}
	known := map[string]string{} // definer: why not in its name; "" if it may be
	for i := range r.later {
		l := &r.later[i]
		if l.role != object {
			continue
		}
		p := classify([]byte(l.text))
		if p.what == "EVENT" && p.make {
			text, err := disabled(l.text)
			if err != nil {
				return err
			}
			if onEvent.FindStringSubmatch(l.text)[1] == "ENABLE" {
				off = append(off, r.inLive(l.db)+"."+quote(p.name))
			}
			l.text = text
		}
		m := hasDefiner.FindStringSubmatchIndex(l.text)
		if m == nil || !p.make {
			continue
		}
		definer := strings.ReplaceAll(l.text[m[2]:m[3]], `"`, "`")
		why, ok := known[definer]
		if !ok {
			if why, err = r.mayBe(ctx, definer); err != nil {
				return err
			}
			known[definer] = why
		}
		if why != "" {
			l.text = l.text[:m[2]] + "CURRENT_USER" + l.text[m[3]:]
		}
	}
	var replaced []string
	for definer, why := range known {
		if why != "" {
			replaced = append(replaced, definer+" ("+why+")")
		}
	}
	slices.Sort(replaced)
	if len(replaced) > 0 {
		r.notes = append(r.notes, fmt.Sprintf("what ran in the name of %s runs in that of %s now", strings.Join(replaced, ", "), mine))
	}
	if len(off) > 0 {
		r.notes = append(r.notes, "the events are off until somebody says ALTER EVENT "+strings.Join(off, " ENABLE; ALTER EVENT ")+" ENABLE")
	}
	return nil
}

// mayBe finds out whether something may be made in the name of an account, by trying: an account of this kind may read no list of them.
func (r *run) mayBe(ctx context.Context, definer string) (string, error) {
	name := r.trial()
	err := r.s.exec(ctx, "CREATE OR REPLACE DEFINER="+definer+" PROCEDURE "+name+"() SELECT 1")
	if code(err) == errNoPrivilege {
		return "the account may not make anything for it without SET USER", nil
	}
	if err != nil {
		return "", err
	}
	warned, err := r.s.record(ctx, "SHOW WARNINGS")
	if err != nil {
		return "", err
	}
	if err := r.s.exec(ctx, "DROP PROCEDURE "+name); err != nil {
		return "", err
	}
	if warned["Code"] == fmt.Sprint(errNoDefiner) {
		return "which does not exist here", nil
	}
	return "", nil
}

// inLive is the live database of a statement, as SQL has it.
func (r *run) inLive(db string) string {
	if db == "" {
		db = r.said.Databases[0]
	}
	return quote(db)
}

// alterName is the name in ALTER DATABASE.
var alterName = regexp.MustCompile("(?i)(ALTER (?:DATABASE|SCHEMA) )`(?:[^`]|``)+`")

// rehearse makes all objects in the shadow schemas, and takes the triggers away again, with which nothing could be renamed.
func (r *run) rehearse(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	r.report("rehearsing triggers, views, routines and events")
	db := ""
	for i, l := range r.later {
		if in := r.shadow(strings.ReplaceAll(strings.Trim(r.inLive(l.db), "`"), "``", "`")); i == 0 || in != db {
			db = in
			if err := r.s.exec(ctx, "USE "+quote(db)); err != nil {
				return err
			}
		}
		text := l.text
		if l.role == alterDB {
			text = alterName.ReplaceAllString(text, "${1}"+strings.ReplaceAll(quote(db), "$", "$$"))
		}
		err := r.s.exec(ctx, text)
		switch code(err) {
		case errNoTable, errNoDB, errBadView, errNoFunction: // it looks into a live database, where that may be only after the swap
			if l.role == object {
				err = nil
			}
		case errBinlogOff:
			return refuse("SET GLOBAL log_bin_trust_function_creators=1 there, and in its configuration", "the account %s may make no triggers and functions on %s, whose binary log is on (error %d; BINLOG ADMIN is not enough)", r.o.Server.User, r.o.Server.Addr, errBinlogOff)
		}
		if err != nil {
			return fmt.Errorf("rehearsing what is made after the swap: %w", err)
		}
	}
	if err := r.s.exec(ctx, setup); err != nil {
		return err
	}
	for _, db := range r.live {
		all, err := r.s.column(ctx, "SELECT TRIGGER_NAME FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA=?", r.shadow(db))
		if err != nil {
			return err
		}
		for _, name := range all {
			if err := r.s.exec(ctx, "DROP TRIGGER "+quote(r.shadow(db))+"."+quote(name)); err != nil {
				return err
			}
		}
	}
	return nil
}
