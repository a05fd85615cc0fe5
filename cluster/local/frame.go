package local

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"maps"
	"math"
	"slices"

	"understudy/cluster/metadata"
)

// The file is a header and frames. Numbers are big-endian; lengths and counts
// are unsigned varints (encoding/binary).
//
//	file    │ "usmeta" │ version: 2 bytes │ snapshot │ transaction │ transaction │ …
//
//	frame   │ "frm" 0x1e │ length: 4 │ CRC: 4 │ payload: length bytes │
//
//	payload │ kind: 1 │ revision: 8 │ puts │ put … │ deletes │ key … │
//	put     │ key length │ key │ revision │ value length │ value │
//	key     │ key length │ key │
//
// The CRC (CRC-32C) covers the length and the payload. A snapshot holds every
// entry as of its revision and replaces what was before. A transaction's revision
// is one more than that of the frame before it. The mark at the beginning of each
// frame finds frames behind a damaged one: a damaged frame with nothing whole
// behind it is the end of an unfinished write, any other is corruption.
const (
	fileHeader  = "usmeta\x00\x01"
	frameMark   = "frm\x1e"
	frameHeader = 12 // bytes before the payload
)

// Kinds of frame.
const (
	snapshotKind    = 'S'
	transactionKind = 'T'
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Reasons why bytes are no frame.
var (
	errNoFrame  = errors.New("no whole frame begins here")
	errChecksum = errors.New("frame does not match its checksum")
	errPayload  = errors.New("frame holds nonsense though its checksum is right")
	errTooBig   = errors.New("transaction is larger than a frame can be")
)

// change is the content of a frame.
type change struct {
	snapshot bool
	revision int64
	puts     []put
	deletes  []string
}

type put struct {
	key   string
	entry metadata.Entry
}

// apply makes the change in a state.
func (c change) apply(state *metadata.State) {
	if c.snapshot {
		state.Entries = make(map[string]metadata.Entry, len(c.puts))
	}
	for _, p := range c.puts {
		state.Entries[p.key] = p.entry
	}
	for _, key := range c.deletes {
		delete(state.Entries, key)
	}
	state.Revision = c.revision
}

// snapshotOf is a change that makes a state from nothing.
func snapshotOf(state metadata.State) change {
	c := change{snapshot: true, revision: state.Revision, puts: make([]put, 0, len(state.Entries))}
	for _, key := range slices.Sorted(maps.Keys(state.Entries)) {
		c.puts = append(c.puts, put{key, state.Entries[key]})
	}
	return c
}

// appendFrame writes a change as a frame behind b.
func appendFrame(b []byte, c change) ([]byte, error) {
	start := len(b)
	b = append(b, frameMark...)
	b = append(b, make([]byte, frameHeader-len(frameMark))...)
	kind := byte(transactionKind)
	if c.snapshot {
		kind = snapshotKind
	}
	b = append(b, kind)
	b = binary.BigEndian.AppendUint64(b, uint64(c.revision))
	b = binary.AppendUvarint(b, uint64(len(c.puts)))
	for _, p := range c.puts {
		b = appendBytes(b, p.key)
		b = binary.AppendUvarint(b, uint64(p.entry.Revision))
		b = appendBytes(b, p.entry.Value)
	}
	b = binary.AppendUvarint(b, uint64(len(c.deletes)))
	for _, key := range c.deletes {
		b = appendBytes(b, key)
	}
	frame := b[start:]
	length := len(frame) - frameHeader
	if length > math.MaxInt32 {
		return nil, errTooBig
	}
	binary.BigEndian.PutUint32(frame[4:], uint32(length))
	binary.BigEndian.PutUint32(frame[8:], frameSum(frame))
	return b, nil
}

func appendBytes[B string | []byte](b []byte, s B) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// frameSum is the checksum of a frame: of its length and its payload.
func frameSum(frame []byte) uint32 {
	sum := crc32.Update(0, castagnoli, frame[4:8])
	return crc32.Update(sum, castagnoli, frame[frameHeader:])
}

// splitFrame gives the frame that b begins with, checked, and what is behind it.
func splitFrame(b []byte) (frame, rest []byte, err error) {
	if len(b) < frameHeader || string(b[:len(frameMark)]) != frameMark {
		return nil, nil, errNoFrame
	}
	length := int64(binary.BigEndian.Uint32(b[4:]))
	if length > int64(len(b)-frameHeader) {
		return nil, nil, errNoFrame
	}
	frame, rest = b[:frameHeader+length], b[frameHeader+length:]
	if binary.BigEndian.Uint32(frame[8:]) != frameSum(frame) {
		return nil, nil, errChecksum
	}
	return frame, rest, nil
}

// decode reads the payload of a checked frame. Values point into it.
func decode(frame []byte) (change, error) {
	r := reader{b: frame[frameHeader:]}
	kind := r.take(1)
	revision := r.take(8)
	if r.bad || kind[0] != snapshotKind && kind[0] != transactionKind {
		return change{}, errPayload
	}
	c := change{snapshot: kind[0] == snapshotKind, revision: int64(binary.BigEndian.Uint64(revision))}
	n := r.count(3) // a put takes at least three bytes
	c.puts = make([]put, 0, n)
	for range n {
		p := put{key: string(r.bytes())}
		p.entry.Revision = int64(r.uvarint())
		p.entry.Value = r.bytes()
		c.puts = append(c.puts, p)
	}
	n = r.count(1)
	for range n {
		c.deletes = append(c.deletes, string(r.bytes()))
	}
	if r.bad || len(r.b) > 0 {
		return change{}, errPayload
	}
	return c, nil
}

// reader takes a payload apart. Once something is missing all is bad and empty.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	taken := r.b[:n:n]
	r.b = r.b[n:]
	return taken
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte { return r.take(r.uvarint()) }

// count reads a number of things of at least size bytes each: as many as can follow.
func (r *reader) count(size int) int {
	n := r.uvarint()
	if n > uint64(len(r.b)/size) {
		r.b, r.bad = nil, true
		return 0
	}
	return int(n)
}
