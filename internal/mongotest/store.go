package mongotest

import (
	"cmp"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// write1 is an insert or an update; for w:"majority" it waits until a majority has it. m.mu is held on entry and exit.
func (m *Member) write1(cmd string, d bson.D) bson.D {
	if m.state != primary {
		return fail(10107, "NotWritablePrimary", "not master")
	}
	ns, n := fmt.Sprint(get(d, "$db"), ".", d[0].Value), 0
	out := bson.D{{Key: "ok", Value: 1.0}}
	refuse := func(i int, code int32, msg string) {
		out = append(out, bson.E{Key: "writeErrors", Value: bson.A{bson.D{{Key: "index", Value: int32(i)}, {Key: "code", Value: code}, {Key: "errmsg", Value: msg}}}})
	}
	docs, _ := get(d, "documents").(bson.A)
	for i, x := range docs {
		doc, _ := x.(bson.D)
		if m.stored(ns, len(m.log), bson.D{{Key: "_id", Value: get(doc, "_id")}}) != nil {
			refuse(i, 11000, fmt.Sprintf("E11000 duplicate key error collection: %s index: _id_ dup key: { _id: %v }", ns, get(doc, "_id")))
			break
		}
		m.write("i", ns, doc)
		n++
	}
	updates, _ := get(d, "updates").(bson.A)
	for _, x := range updates {
		u, _ := x.(bson.D)
		filter, _ := get(u, "q").(bson.D)
		change, _ := get(u, "u").(bson.D)
		set, isSet := get(change, "$set").(bson.D)
		if !isSet { // a replacement
			set = change
		}
		doc := append(bson.D{}, m.stored(ns, len(m.log), filter)...)
		if len(doc) == 0 {
			if number(u, "upsert", 0) != 1 {
				continue
			}
			doc = append(doc, bson.E{Key: "_id", Value: get(filter, "_id")})
			out = append(out, bson.E{Key: "upserted", Value: bson.A{bson.D{{Key: "index", Value: int32(0)}, {Key: "_id", Value: get(filter, "_id")}}}})
		}
		if !isSet {
			doc = bson.D{{Key: "_id", Value: get(doc, "_id")}}
		}
		for _, e := range set {
			doc = put(doc, e.Key, e.Value)
		}
		m.write("u", ns, doc)
		n++
	}
	out = append(out, bson.E{Key: "n", Value: int32(n)})
	if cmd == "update" {
		out = append(out, bson.E{Key: "nModified", Value: int32(n)})
	}
	wc, _ := get(d, "writeConcern").(bson.D)
	if w := get(wc, "w"); w != nil && w != "majority" { // the default write concern is majority since 5.0
		return out
	}
	return m.acknowledge(out, wc)
}

// acknowledge waits until a majority has what was written last. m.mu is held on entry and exit.
func (m *Member) acknowledge(out, wc bson.D) bson.D {
	index, term := int64(len(m.log)), m.term
	deadline := time.Now().Add(time.Duration(cmp.Or(number(wc, "wtimeout", 0), 10000)) * time.Millisecond)
	concern := func(code int32, name, msg string) bson.D {
		return append(out, bson.E{Key: "writeConcernError", Value: bson.D{{Key: "code", Value: code}, {Key: "codeName", Value: name}, {Key: "errmsg", Value: msg}}})
	}
	for m.commit < index {
		if m.state != primary || m.term != term {
			return concern(11602, "InterruptedDueToReplStateChange", "operation was interrupted")
		}
		if time.Now().After(deadline) {
			return concern(64, "WriteConcernFailed", "waiting for replication timed out")
		}
		m.pause()
	}
	return out
}

// stored is the document that the first upTo entries of the log leave under a filter of equalities; nil if there is none.
func (m *Member) stored(ns string, upTo int, filter bson.D) bson.D {
	for _, doc := range m.documents(ns, upTo) {
		if matches(doc, filter) {
			return doc
		}
	}
	return nil
}

func matches(doc, filter bson.D) bool {
	for _, e := range filter {
		if get(doc, e.Key) != e.Value {
			return false
		}
	}
	return true
}

// documents are those of a collection, in the order in which they came, as the first upTo entries of the log leave them.
func (m *Member) documents(ns string, upTo int) []bson.D {
	var out []bson.D
	at := map[any]int{}
	for _, e := range m.log[:upTo] {
		if e.NS != ns || e.Op != "i" && e.Op != "u" {
			continue
		}
		id := get(e.Doc, "_id")
		if i, ok := at[id]; ok {
			out[i] = e.Doc
			continue
		}
		at[id] = len(out)
		out = append(out, e.Doc)
	}
	return out
}

// find answers with all that matches, in one batch. m.mu is held.
func (m *Member) find(d bson.D) bson.D {
	if get(d, "$db") == "local" {
		return m.findLocal(d)
	}
	if m.state != primary && m.state != secondary {
		return fail(13436, "NotPrimaryOrSecondary", "node is not in primary or recovering state")
	}
	upTo := len(m.log)
	if rc, _ := get(d, "readConcern").(bson.D); get(rc, "level") == "majority" {
		upTo = int(min(m.commit, int64(upTo)))
	}
	filter, _ := get(d, "filter").(bson.D)
	ns, batch := fmt.Sprint(get(d, "$db"), ".", d[0].Value), bson.A{}
	for _, doc := range m.documents(ns, upTo) {
		if matches(doc, filter) {
			batch = append(batch, doc)
		}
	}
	return bson.D{{Key: "cursor", Value: bson.D{{Key: "id", Value: int64(0)}, {Key: "ns", Value: ns}, {Key: "firstBatch", Value: batch}}}, {Key: "ok", Value: 1.0}}
}

// Keys are the _ids, as text, of the documents that the member has in a collection: the world's own view.
func (m *Member) Keys(ns string) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := []string{}
	for _, d := range m.documents(ns, len(m.log)) {
		out = append(out, fmt.Sprint(get(d, "_id")))
	}
	return out
}
