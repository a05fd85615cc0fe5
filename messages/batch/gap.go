package batch

import (
	"math"

	"understudy/messages"
)

// A gap is a batch without records. It holds the place of the offsets whose
// records compaction has removed, so that the batches of a log follow each other
// without a hole, whatever was removed: a hole is always damage. Its leader epoch
// is that of the records that were there, and it is no producer's.
//
// Batches that have lost all records but are the last of their producer stay as
// they are, empty; they are no gaps.

// MaxGap is how many offsets one gap can stand for.
const MaxGap = math.MaxInt32

// Gap appends the gap for the offsets from base to last, both inclusive and at
// most MaxGap of them, to dst and returns it.
func Gap(dst []byte, base, last messages.Offset, epoch messages.LeaderEpoch) Batch {
	f := NoProducer
	f.BaseOffset, f.LeaderEpoch, f.LastOffsetDelta = base, epoch, int32(last-base)
	f.BaseTimestamp, f.MaxTimestamp = messages.NoTimestamp, messages.NoTimestamp
	return Assemble(dst, f, nil)
}

// IsEmpty reports whether compaction has removed all records of the batch.
func (b Batch) IsEmpty() bool { return b.NumRecords() == 0 }

// IsGap reports whether the batch stands for removed records and nothing else.
func (b Batch) IsGap() bool { return b.IsEmpty() && !b.HasProducer() && !b.IsControl() }

// DeleteHorizon is the time (ms) from which on compaction may remove the batch's
// tombstones; ok is false if none was set yet. It stands in the place of the
// base timestamp, and the records' deltas count from it (KIP-534).
func (b Batch) DeleteHorizon() (ms int64, ok bool) {
	return b.BaseTimestamp(), b.Attributes()&AttrDeleteHorizon != 0
}
