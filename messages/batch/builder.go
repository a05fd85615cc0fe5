package batch

import (
	"encoding/binary"
	"math/bits"

	"understudy/messages"
)

// Fields are the header's fields, save those that follow from the bytes:
// length, magic and CRC.
type Fields struct {
	BaseOffset      messages.Offset
	LeaderEpoch     messages.LeaderEpoch
	Attributes      int16
	LastOffsetDelta int32
	BaseTimestamp   int64 // ms
	MaxTimestamp    int64 // ms
	ProducerID      messages.ProducerID
	ProducerEpoch   messages.ProducerEpoch
	BaseSequence    int32
	NumRecords      int32
}

// NoProducer are the fields of a batch that no idempotent producer sends and no
// leader has appended yet.
var NoProducer = Fields{
	LeaderEpoch:   messages.NoEpoch,
	ProducerID:    messages.NoProducerID,
	ProducerEpoch: messages.NoProducerEpoch,
	BaseSequence:  messages.NoSequence,
}

// Fields copies the header's fields out, for a batch much like this one.
func (b Batch) Fields() Fields {
	return Fields{
		BaseOffset:      b.BaseOffset(),
		LeaderEpoch:     b.LeaderEpoch(),
		Attributes:      b.Attributes(),
		LastOffsetDelta: b.LastOffsetDelta(),
		BaseTimestamp:   b.BaseTimestamp(),
		MaxTimestamp:    b.MaxTimestamp(),
		ProducerID:      b.ProducerID(),
		ProducerEpoch:   b.ProducerEpoch(),
		BaseSequence:    b.BaseSequence(),
		NumRecords:      b.NumRecords(),
	}
}

// WithCodec is f with another codec in its attributes.
func (f Fields) WithCodec(c Codec) Fields {
	f.Attributes = f.Attributes&^AttrCodec | int16(c)
	return f
}

// Assemble makes a batch of its fields and its records section, which must
// already be compressed as the attributes say, and at most MaxSize with the
// header. It appends to dst and returns the batch, which is the end of that.
func Assemble(dst []byte, f Fields, payload []byte) Batch {
	start := len(dst)
	be := binary.BigEndian
	dst = be.AppendUint64(dst, uint64(f.BaseOffset))
	dst = be.AppendUint32(dst, uint32(HeaderSize-LengthPrefix+len(payload)))
	dst = be.AppendUint32(dst, uint32(f.LeaderEpoch))
	dst = append(dst, Magic, 0, 0, 0, 0)
	dst = be.AppendUint16(dst, uint16(f.Attributes))
	dst = be.AppendUint32(dst, uint32(f.LastOffsetDelta))
	dst = be.AppendUint64(dst, uint64(f.BaseTimestamp))
	dst = be.AppendUint64(dst, uint64(f.MaxTimestamp))
	dst = be.AppendUint64(dst, uint64(f.ProducerID))
	dst = be.AppendUint16(dst, uint16(f.ProducerEpoch))
	dst = be.AppendUint32(dst, uint32(f.BaseSequence))
	dst = be.AppendUint32(dst, uint32(f.NumRecords))
	dst = append(dst, payload...)
	b := Batch(dst[start:])
	b.sign()
	return b
}

// Builder makes batches out of records. The zero value is not ready: call
// Reset. A builder keeps its buffer from one batch to the next.
type Builder struct {
	fields  Fields
	payload []byte
}

// NewBuilder makes a builder that begins with a batch of these fields.
func NewBuilder(f Fields) *Builder {
	bu := &Builder{}
	bu.Reset(f)
	return bu
}

// Reset begins a new batch. Counts and timestamps of f are overwritten by what
// is added.
func (bu *Builder) Reset(f Fields) {
	f.NumRecords, f.LastOffsetDelta = 0, 0
	bu.fields, bu.payload = f, bu.payload[:0]
}

// Len is the number of records added since Reset.
func (bu *Builder) Len() int { return int(bu.fields.NumRecords) }

// Size is the size in bytes that the batch has by now, uncompressed.
func (bu *Builder) Size() int { return HeaderSize + len(bu.payload) }

// Payload is the records section by now, uncompressed; the next Add or Reset
// may overwrite it.
func (bu *Builder) Payload() []byte { return bu.payload }

// Fields are the fields of the batch by now.
func (bu *Builder) Fields() Fields { return bu.fields }

// Add appends a record with the next offset. timestamp is in ms; a nil key,
// value or header value is null; a header's key cannot be.
func (bu *Builder) Add(timestamp int64, key, value []byte, headers ...Header) {
	f := &bu.fields
	if f.NumRecords == 0 {
		f.BaseTimestamp, f.MaxTimestamp = timestamp, timestamp
	}
	f.MaxTimestamp = max(f.MaxTimestamp, timestamp)
	f.LastOffsetDelta = f.NumRecords
	f.NumRecords++
	bu.payload = appendRecord(bu.payload, f.LastOffsetDelta, timestamp-f.BaseTimestamp, key, value, headers)
}

// Build appends the finished, uncompressed batch to dst and returns it. For a
// compressed one see codec.Build.
func (bu *Builder) Build(dst []byte) Batch {
	return Assemble(dst, bu.fields.WithCodec(None), bu.payload)
}

func appendRecord(dst []byte, offset int32, timestamp int64, key, value []byte, headers []Header) []byte {
	size := 1 + varintSize(timestamp) + varintSize(int64(offset)) + bytesSize(key) + bytesSize(value) + varintSize(int64(len(headers)))
	for _, h := range headers {
		size += bytesSize(h.Key) + bytesSize(h.Value)
	}
	dst = binary.AppendVarint(dst, int64(size))
	dst = append(dst, 0) // no attributes are defined
	dst = binary.AppendVarint(dst, timestamp)
	dst = binary.AppendVarint(dst, int64(offset))
	dst = appendBytes(dst, key)
	dst = appendBytes(dst, value)
	dst = binary.AppendVarint(dst, int64(len(headers)))
	for _, h := range headers {
		dst = append(binary.AppendVarint(dst, int64(len(h.Key))), h.Key...)
		dst = appendBytes(dst, h.Value)
	}
	return dst
}

// appendBytes appends a length and as many bytes, or the length -1 for nil.
func appendBytes(dst, field []byte) []byte {
	if field == nil {
		return binary.AppendVarint(dst, -1)
	}
	return append(binary.AppendVarint(dst, int64(len(field))), field...)
}

func bytesSize(field []byte) int {
	if field == nil {
		return 1
	}
	return varintSize(int64(len(field))) + len(field)
}

func varintSize(v int64) int {
	zigzag := uint64(v<<1) ^ uint64(v>>63)
	return (bits.Len64(zigzag|1) + 6) / 7
}
