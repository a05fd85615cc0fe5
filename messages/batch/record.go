package batch

import (
	"encoding/binary"
	"iter"
	"math"

	"understudy/messages"
)

// Record is one record of a batch, a view over the batch's decompressed
// records section. It costs no allocation; its slices live as long as the
// section does.
//
//	+--------+------+-------------+----------+---------+---------+---------+-------
//	| length | attr | timestamp ^ | offset ^ | key     | value   | header  | headers
//	| varint | 1    | varlong     | varint   | varint, | varint, | count   |
//	|        |      |             |          | bytes   | bytes   | varint  |
//	+--------+------+-------------+----------+---------+---------+---------+-------
//
//	header: | key length varint, key bytes | value length varint, value bytes |
//
// Variable integers are zigzag-encoded; a length of -1 stands for null. The
// length counts what follows it.
type Record struct {
	Attributes     int8   // none are defined
	OffsetDelta    int32  // from the batch's base offset
	TimestampDelta int64  // from the batch's base timestamp, ms
	Key, Value     []byte // nil is null, which is not the same as empty

	body      []byte // all that the length counts
	headers   int    // where in body the headers begin
	headCount int32
}

// Header is one header of a record.
type Header struct {
	Key   []byte
	Value []byte // nil is null
}

// Offset is the record's offset in its partition.
func (r *Record) Offset(b Batch) messages.Offset { return b.BaseOffset() + int64(r.OffsetDelta) }

// Timestamp is the record's timestamp in ms.
func (r *Record) Timestamp(b Batch) int64 {
	if b.TimestampType() == LogAppendTime {
		return b.MaxTimestamp()
	}
	return b.BaseTimestamp() + r.TimestampDelta
}

// NumHeaders is the number of headers that the record claims to have.
func (r *Record) NumHeaders() int { return int(r.headCount) }

// Headers decodes the record's headers one after the other. An error, of kind
// InvalidRecord, comes last.
func (r *Record) Headers() iter.Seq2[Header, error] {
	return func(yield func(Header, error) bool) {
		c := cursor{buf: r.body, at: r.headers}
		for range r.headCount {
			h := Header{Key: c.bytes(), Value: c.bytes()}
			if c.bad || h.Key == nil {
				yield(Header{}, invalid("bad header"))
				return
			}
			if !yield(h, nil) {
				return
			}
		}
		if c.left() > 0 {
			yield(Header{}, invalid("%d bytes after the last header", c.left()))
		}
	}
}

// Records decodes the records of b one after the other. payload is b's records
// section, decompressed. An error, of kind InvalidRecord, comes last: a record
// that does not fit, too few records, or bytes after the last one. That offsets
// and timestamps make sense is CheckRecords' business.
func Records(b Batch, payload []byte) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		c := cursor{buf: payload}
		for i := range b.NumRecords() {
			size := c.varint()
			if c.bad || size < minRecord-1 || size > int64(c.left()) {
				yield(Record{}, invalid("record %d of %d does not fit in %d bytes", i, b.NumRecords(), len(payload)))
				return
			}
			body := c.buf[c.at : c.at+int(size)]
			c.at += int(size)
			r, ok := parseRecord(body)
			if !ok {
				yield(Record{}, invalid("record %d of %d is malformed", i, b.NumRecords()))
				return
			}
			if !yield(r, nil) {
				return
			}
		}
		if c.left() > 0 {
			yield(Record{}, invalid("%d bytes after the last record", c.left()))
		}
	}
}

// AppendTo appends the record as it is encoded, its length in front, with shift
// (ms) added to the timestamp delta: for a batch whose base timestamp is another.
func (r *Record) AppendTo(dst []byte, shift int64) []byte {
	if shift == 0 {
		dst = binary.AppendVarint(dst, int64(len(r.body)))
		return append(dst, r.body...)
	}
	_, n := binary.Varint(r.body[1:])
	rest, delta := r.body[1+n:], r.TimestampDelta+shift
	dst = binary.AppendVarint(dst, int64(1+varintSize(delta)+len(rest)))
	dst = binary.AppendVarint(append(dst, r.body[0]), delta)
	return append(dst, rest...)
}

// parseRecord reads what follows a record's length. Headers are only counted.
func parseRecord(body []byte) (r Record, ok bool) {
	c := cursor{buf: body, at: 1}
	r.body, r.Attributes = body, int8(body[0])
	r.TimestampDelta = c.varint()
	offset := c.varint()
	r.Key = c.bytes()
	r.Value = c.bytes()
	count := c.varint()
	r.OffsetDelta, r.headCount, r.headers = int32(offset), int32(count), c.at
	switch {
	case c.bad, offset < 0, offset > math.MaxInt32, count < 0:
		return r, false
	case count == 0:
		return r, c.left() == 0
	default: // a header has at least two bytes
		return r, count <= int64(c.left()/2)
	}
}

// CheckRecords reads every record of a batch that a client wants appended and
// checks what Validate cannot see: that there are as many as the header says,
// with offset deltas 0, 1, 2..., well-formed headers, and nothing after them.
// payload is b's records section, decompressed. newest is the true maximum of
// the timestamps (ms), which may differ from what the header claims. The error
// is of kind InvalidRecord.
func CheckRecords(b Batch, payload []byte) (newest int64, err error) {
	newest = messages.NoTimestamp
	next := int32(0)
	for r, err := range Records(b, payload) {
		if err != nil {
			return newest, err
		}
		if r.OffsetDelta != next {
			return newest, invalid("record %d has offset delta %d", next, r.OffsetDelta)
		}
		for _, err := range r.Headers() {
			if err != nil {
				return newest, err
			}
		}
		newest = max(newest, r.Timestamp(b))
		next++
	}
	return newest, nil
}

// cursor reads fields one after the other. After the first that does not fit,
// bad is set and what it returns means nothing.
type cursor struct {
	buf []byte
	at  int
	bad bool
}

// left is the number of bytes that have not been read.
func (c *cursor) left() int { return len(c.buf) - c.at }

func (c *cursor) fail() { c.bad, c.at = true, len(c.buf) }

// varint reads a zigzag-encoded integer, nearly always of one byte.
func (c *cursor) varint() int64 {
	if at := c.at; at < len(c.buf) && c.buf[at] < 0x80 {
		c.at = at + 1
		return int64(c.buf[at]>>1) ^ -int64(c.buf[at]&1)
	}
	v, n := binary.Varint(c.buf[c.at:])
	if n <= 0 {
		c.fail()
		return 0
	}
	c.at += n
	return v
}

// bytes reads a length and as many bytes; nil for a length of -1.
func (c *cursor) bytes() []byte {
	size := c.varint()
	if size < 0 || size > int64(c.left()) {
		if size != -1 {
			c.fail()
		}
		return nil
	}
	start := c.at
	c.at += int(size)
	return c.buf[start:c.at:c.at]
}
