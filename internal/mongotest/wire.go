package mongotest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// Opcodes of https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/ that drivers still send. OP_QUERY comes
// only as the very first handshake.
const (
	opReply = 1
	opQuery = 2004
	opMsg   = 2013
)

type message struct {
	id   uint32
	op   uint32
	body bson.Raw // the command; document sequences are folded in
}

// readMessage reads one message. Compression, checksums and exhaust are not spoken; nobody offers them.
func readMessage(r io.Reader) (message, error) {
	var h [16]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return message{}, err
	}
	size := binary.LittleEndian.Uint32(h[:])
	if size < 16 || size > 48<<20 {
		return message{}, fmt.Errorf("message of %d bytes", size)
	}
	b := make([]byte, size-16)
	if _, err := io.ReadFull(r, b); err != nil {
		return message{}, err
	}
	m := message{id: binary.LittleEndian.Uint32(h[4:]), op: binary.LittleEndian.Uint32(h[12:])}
	switch m.op {
	case opQuery: // flags, full collection name (cstring), skip, return, document
		k := 4
		for k < len(b) && b[k] != 0 {
			k++
		}
		if k+9 > len(b) {
			return message{}, io.ErrUnexpectedEOF
		}
		m.body = b[k+9:]
	case opMsg:
		return sections(m, b)
	default:
		return message{}, fmt.Errorf("opcode %d", m.op)
	}
	return m, nil
}

// sections reads the body of OP_MSG: kind 0 is the command, kind 1 a sequence of documents that belongs into it as an array.
func sections(m message, b []byte) (message, error) {
	var extra []bson.E
	for k := 4; k+5 <= len(b); {
		size := int(binary.LittleEndian.Uint32(b[k+1:]))
		if size < 5 || k+1+size > len(b) {
			return message{}, io.ErrUnexpectedEOF
		}
		part := b[k+1 : k+1+size]
		if b[k] == 0 {
			m.body = part
		} else {
			j := 4
			for j < len(part) && part[j] != 0 {
				j++
			}
			name, docs := string(part[4:j]), bson.A{}
			for j++; j+4 <= len(part); {
				n := int(binary.LittleEndian.Uint32(part[j:]))
				if n < 5 || j+n > len(part) {
					return message{}, io.ErrUnexpectedEOF
				}
				docs = append(docs, bson.Raw(part[j:j+n]))
				j += n
			}
			extra = append(extra, bson.E{Key: name, Value: docs})
		}
		k += 1 + size
	}
	if len(extra) > 0 {
		var d bson.D
		if err := bson.Unmarshal(m.body, &d); err != nil {
			return message{}, err
		}
		body, err := bson.Marshal(append(d, extra...))
		if err != nil {
			return message{}, err
		}
		m.body = body
	}
	return m, nil
}

// encode frames a document as an answer (or, with opMsg, a request).
func encode(op, to uint32, doc []byte) []byte {
	var out []byte
	if op == opReply {
		out = append(make([]byte, 16+4+8+4), 1, 0, 0, 0) // flags, cursor, start, number returned
		out[16] = 8                                      // AwaitCapable
	} else {
		out = make([]byte, 16+4+1)
	}
	out = append(out, doc...)
	binary.LittleEndian.PutUint32(out, uint32(len(out)))
	binary.LittleEndian.PutUint32(out[8:], to)
	binary.LittleEndian.PutUint32(out[12:], op)
	return out
}

func (m *Member) accept(ln net.Listener) {
	for {
		c, err := ln.Accept()
		if err != nil {
			return
		}
		m.mu.Lock()
		if m.down { // it was killed meanwhile
			c.Close()
		} else {
			m.conns[c] = true
			go m.serve(c)
		}
		m.mu.Unlock()
	}
}

func (m *Member) serve(c net.Conn) {
	defer func() {
		c.Close()
		m.mu.Lock()
		delete(m.conns, c)
		m.mu.Unlock()
	}()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var l login
	for {
		msg, err := readMessage(c)
		if err != nil {
			return
		}
		el, err := msg.body.IndexErr(0)
		if err != nil {
			return
		}
		cmd := el.Key()
		var reply any
		w := m.opt.Mood(cmd)
		switch {
		case w.Refuse:
			if t, ok := c.(*net.TCPConn); ok {
				_ = t.SetLinger(0)
			}
			return
		case w.Hang != nil && !w.Hang(ctx):
			return
		case w.Lose:
			m.command(cmd, msg.body)
			return
		case w.Reply != nil:
			reply = w.Reply
		}
		if w.Delay > 0 {
			time.Sleep(w.Delay)
		}
		if reply == nil {
			done := false
			if reply, done = m.authenticate(&l, cmd, msg.body); !done {
				reply = m.command(cmd, msg.body)
			}
		}
		doc, err := bson.Marshal(reply)
		if err != nil {
			m.opt.Log.Error("mongo: encode answer", "cmd", cmd, "err", err)
			return
		}
		op := uint32(opMsg)
		if msg.op == opQuery {
			op = opReply
		}
		if _, err := c.Write(encode(op, msg.id, doc)); err != nil {
			return
		}
	}
}
