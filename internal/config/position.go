package config

import (
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// positions maps dotted key paths to the lines where they stand.
type positions map[string]int

// index reads the positions of all keys. The data must be valid TOML.
func index(data []byte) positions {
	pos := positions{}
	p := &unstable.Parser{}
	p.Reset(data)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = pos.keys(p, "", e.Key())
		case unstable.KeyValue:
			pos.keyValue(p, table, e)
		}
	}
	return pos
}

func (pos positions) keyValue(p *unstable.Parser, prefix string, e *unstable.Node) {
	path := pos.keys(p, prefix, e.Key())
	if v := e.Value(); v.Kind == unstable.InlineTable {
		for it := v.Children(); it.Next(); {
			if it.Node().Kind == unstable.KeyValue {
				pos.keyValue(p, path, it.Node())
			}
		}
	}
}

// keys records the line of every part of a dotted key and returns its path.
func (pos positions) keys(p *unstable.Parser, prefix string, it unstable.Iterator) string {
	path := prefix
	for it.Next() {
		n := it.Node()
		path = join(path, string(n.Data))
		if _, ok := pos[path]; !ok {
			pos[path] = p.Shape(n.Raw).Start.Line
		}
	}
	return path
}

// line is where path stands, or the closest of its parents; 0 if none does.
func (pos positions) line(path string) int {
	for path != "" {
		if l, ok := pos[path]; ok {
			return l
		}
		i := strings.LastIndexByte(path, '.')
		if i < 0 {
			return 0
		}
		path = path[:i]
	}
	return 0
}

func (pos positions) has(path string) bool {
	_, ok := pos[path]
	return ok
}

func join(prefix, key string) string {
	if prefix == "" {
		return key
	}
	return prefix + "." + key
}
