// Package batch is the record batch of Kafka's message format v2, seen in place.
//
// The batch is the only format there is: on the wire, in memory, on disk and
// between replicas. A Batch is therefore a view over bytes that somebody else
// owns; reading a field costs a load, stamping an offset a store, and nothing
// is decoded until somebody asks for records.
//
// Bytes from outside go through three gates, each dearer than the one before:
// Next (lengths and magic, a few loads), Validate (everything the header can
// tell, and the CRC: one pass at memory speed) and CheckRecords (every record,
// which must have been decompressed first).
//
// The package is pure: no I/O, no clock, no goroutines. Compression lives in
// messages/codec.
package batch

import (
	"encoding/binary"
	"hash/crc32"
	"math"

	"understudy/messages"
)

// Batch is a view over exactly one whole v2 record batch. Its methods may be
// called on what Next, Builder or Assemble returned; on anything shorter than
// HeaderSize they panic.
//
//	 0               8           12          16  17          21
//	+---------------+-----------+-----------+---+-----------+
//	| base offset   | batch     | leader    |ma-| CRC32C    |
//	|               | length    | epoch     |gic|           |
//	+---------------+-----------+-----------+---+-----------+
//	 21    23          27              35              43
//	+-----+-----------+---------------+---------------+
//	|attr-| last      | base          | max           |
//	|ibut.| offset ^  | timestamp     | timestamp     |
//	+-----+-----------+---------------+---------------+
//	 43              51    53          57          61
//	+---------------+-----+-----------+-----------+----------
//	| producer id   |epoch| base      | number of | records,
//	|               |     | sequence  | records   | compressed as one
//	+---------------+-----+-----------+-----------+----------
//
//	attributes, from bit 0:  c c c l t x h - - - - - - - - -
//	                         codec | | | delete horizon: the base timestamp is one
//	                             | | control batch
//	                             | transactional
//	                             timestamps are log append time
//
// All integers are big-endian. The batch length counts what follows it, so the
// whole batch is 12 bytes longer. The CRC covers everything from the attributes
// on: base offset and leader epoch lie before it, so that the broker can stamp
// them without touching it. A "^" marks a delta to the base.
type Batch []byte

// Sizes, in bytes.
const (
	HeaderSize   = 61            // all that precedes the records
	LengthPrefix = 12            // base offset and batch length: what the batch length does not count
	MaxSize      = math.MaxInt32 // of a batch that this package will build
)

// Magic is the number of the only message format that is stored.
const Magic = 2

// Positions of the header's fields.
const (
	atBaseOffset      = 0
	atLength          = 8
	atLeaderEpoch     = 12
	atMagic           = 16
	atCRC             = 17
	atAttributes      = 21
	atLastOffsetDelta = 23
	atBaseTimestamp   = 27
	atMaxTimestamp    = 35
	atProducerID      = 43
	atProducerEpoch   = 51
	atBaseSequence    = 53
	atNumRecords      = 57
)

// The bits of a batch's attributes.
const (
	AttrCodec         int16 = 0b111  // the Codec of the records section
	AttrLogAppendTime int16 = 1 << 3 // the max timestamp is the broker's, and every record's
	AttrTransactional int16 = 1 << 4
	AttrControl       int16 = 1 << 5 // holds markers for the broker and not data
	AttrDeleteHorizon int16 = 1 << 6 // set by compaction only (KIP-534)
)

// castagnoli makes crc32 use the processor's CRC32C instruction.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (b Batch) int16At(at int) int16 { return int16(binary.BigEndian.Uint16(b[at:])) }
func (b Batch) int32At(at int) int32 { return int32(binary.BigEndian.Uint32(b[at:])) }
func (b Batch) int64At(at int) int64 { return int64(binary.BigEndian.Uint64(b[at:])) }

// BaseOffset is the offset of the batch's first record. In a produce request it
// means nothing until it is stamped.
func (b Batch) BaseOffset() messages.Offset { return b.int64At(atBaseOffset) }

// LastOffset is the offset of the last record that was ever in the batch;
// compaction may have removed the record but keeps the offset.
func (b Batch) LastOffset() messages.Offset { return b.BaseOffset() + int64(b.LastOffsetDelta()) }

// NextOffset is the offset at which the next batch begins.
func (b Batch) NextOffset() messages.Offset { return b.LastOffset() + 1 }

// Size is the size of the whole batch in bytes.
func (b Batch) Size() int { return len(b) }

// LeaderEpoch is the epoch of the leader that appended the batch, -1 before that.
func (b Batch) LeaderEpoch() messages.LeaderEpoch { return b.int32At(atLeaderEpoch) }

// Magic is the number of the batch's format.
func (b Batch) Magic() int8 { return int8(b[atMagic]) }

// CRC is the checksum that the batch claims to have.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[atCRC:]) }

// Attributes are the batch's flags: see the Attr constants.
func (b Batch) Attributes() int16 { return b.int16At(atAttributes) }

// Codec says how the records section is compressed.
func (b Batch) Codec() Codec { return Codec(b.Attributes() & AttrCodec) }

// TimestampType says whose clock the timestamps are from.
func (b Batch) TimestampType() TimestampType {
	if b.Attributes()&AttrLogAppendTime != 0 {
		return LogAppendTime
	}
	return CreateTime
}

// IsTransactional reports whether the records become visible to read_committed
// consumers only by a commit marker.
func (b Batch) IsTransactional() bool { return b.Attributes()&AttrTransactional != 0 }

// IsControl reports whether the batch holds a marker and not data.
func (b Batch) IsControl() bool { return b.Attributes()&AttrControl != 0 }

// LastOffsetDelta is the distance from the base to the last offset.
func (b Batch) LastOffsetDelta() int32 { return b.int32At(atLastOffsetDelta) }

// BaseTimestamp is what the records' timestamp deltas add to: the first
// record's timestamp, in ms.
func (b Batch) BaseTimestamp() int64 { return b.int64At(atBaseTimestamp) }

// MaxTimestamp is the newest timestamp of the batch in ms; with LogAppendTime,
// that of every record.
func (b Batch) MaxTimestamp() int64 { return b.int64At(atMaxTimestamp) }

// ProducerID is the idempotent producer's id, or messages.NoProducerID.
func (b Batch) ProducerID() messages.ProducerID { return b.int64At(atProducerID) }

// HasProducer reports whether an idempotent producer sent the batch. If not,
// its epoch and sequence mean nothing: clients exist that leave zeros there.
func (b Batch) HasProducer() bool { return b.ProducerID() >= 0 }

// ProducerEpoch is the epoch of the producer id.
func (b Batch) ProducerEpoch() messages.ProducerEpoch { return b.int16At(atProducerEpoch) }

// BaseSequence is the sequence number of the first record, per producer id,
// epoch and partition.
func (b Batch) BaseSequence() int32 { return b.int32At(atBaseSequence) }

// LastSequence is the sequence number of the last record. Sequence numbers
// continue at 0 after 2^31-1.
func (b Batch) LastSequence() int32 {
	if b.BaseSequence() == messages.NoSequence {
		return messages.NoSequence
	}
	return AddSequence(b.BaseSequence(), b.LastOffsetDelta())
}

// AddSequence is the sequence number n after seq, both at least 0.
func AddSequence(seq, n int32) int32 {
	return int32((int64(seq) + int64(n)) & math.MaxInt32)
}

// NumRecords is the number of records that the batch claims to hold.
func (b Batch) NumRecords() int32 { return b.int32At(atNumRecords) }

// Payload is the records section as it is stored: compressed if Codec says so.
func (b Batch) Payload() []byte { return b[HeaderSize:] }

// Stamp writes where in which leader's log the batch stands. Both fields lie
// outside the CRC. The caller must own the bytes.
func (b Batch) Stamp(base messages.Offset, epoch messages.LeaderEpoch) {
	binary.BigEndian.PutUint64(b[atBaseOffset:], uint64(base))
	binary.BigEndian.PutUint32(b[atLeaderEpoch:], uint32(epoch))
}

// SetLogAppendTime gives every record the broker's timestamp (ms), as topics
// with message.timestamp.type=LogAppendTime want it, and recomputes the CRC.
func (b Batch) SetLogAppendTime(ms int64) {
	binary.BigEndian.PutUint16(b[atAttributes:], uint16(b.Attributes()|AttrLogAppendTime))
	b.SetMaxTimestamp(ms)
}

// SetMaxTimestamp corrects the max timestamp (ms) and recomputes the CRC. Some
// clients leave the field empty or write the last record's timestamp there.
func (b Batch) SetMaxTimestamp(ms int64) {
	binary.BigEndian.PutUint64(b[atMaxTimestamp:], uint64(ms))
	b.sign()
}

// checksum computes what the CRC field should hold.
func (b Batch) checksum() uint32 { return crc32.Checksum(b[atAttributes:], castagnoli) }

// sign makes the CRC field true.
func (b Batch) sign() { binary.BigEndian.PutUint32(b[atCRC:], b.checksum()) }
