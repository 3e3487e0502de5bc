package mongotest

import (
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// findLocal answers about what the member keeps for itself. That it does in any state, also when no configuration names it.
func (m *Member) findLocal(d bson.D) bson.D {
	name, _ := get(d, "find").(string)
	all := []bson.D{}
	if name == "oplog.rs" {
		for _, e := range m.log {
			all = append(all, e.told())
		}
	}
	sort, _ := get(d, "sort").(bson.D)
	if number(sort, "$natural", 1) < 0 {
		slices.Reverse(all)
	}
	filter, _ := get(d, "filter").(bson.D)
	batch := bson.A{}
	for _, doc := range all {
		if limit := number(d, "limit", 0); limit > 0 && len(batch) >= int(limit) {
			break
		}
		if fits(doc, filter) {
			batch = append(batch, doc)
		}
	}
	return bson.D{{Key: "cursor", Value: bson.D{{Key: "id", Value: int64(0)}, {Key: "ns", Value: "local." + name}, {Key: "firstBatch", Value: batch}}}, {Key: "ok", Value: 1.0}}
}

// told is an operation as the oplog has it.
func (e entry) told() bson.D {
	o := e.Doc
	if e.Op == "n" && len(o) == 0 {
		o = bson.D{{Key: "msg", Value: "periodic noop"}}
	}
	return bson.D{{Key: "op", Value: e.Op}, {Key: "ns", Value: e.NS}, {Key: "o", Value: o}, {Key: "ts", Value: optime{e.Term, e.Index, e.At}.ts()}, {Key: "t", Value: e.Term},
		{Key: "v", Value: int64(2)}, {Key: "wall", Value: bson.NewDateTimeFromTime(e.At)}}
}

// fits evaluates a filter of equalities and of $gte.
func fits(doc, filter bson.D) bool {
	for _, f := range filter {
		head, rest, nested := strings.Cut(f.Key, ".")
		value := get(doc, head)
		if nested {
			inner, _ := value.(bson.D)
			value = get(inner, rest)
		}
		want, ranged := f.Value.(bson.D)
		switch {
		case ranged:
			ts, is := value.(bson.Timestamp)
			from, ok := get(want, "$gte").(bson.Timestamp)
			if !is || !ok || from.After(ts) {
				return false
			}
		case fmt.Sprintf("%v", value) != fmt.Sprintf("%v", f.Value): // numbers come in several widths
			return false
		}
	}
	return true
}
