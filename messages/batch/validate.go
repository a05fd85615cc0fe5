package batch

import (
	"fmt"

	"understudy/messages"
)

// minRecord is the size of the smallest record: seven fields of one byte.
const minRecord = 7

// clientAttrs are the attribute bits that a client may set. Log append time is
// refused by its own rule.
const clientAttrs = AttrCodec | AttrLogAppendTime | AttrTransactional

// Limits are the bounds that a topic sets for batches from clients. The zero
// value sets none.
type Limits struct {
	MaxBytes        int   // size of a whole batch (max.message.bytes)
	OldestTimestamp int64 // ms; a base timestamp before it is refused (message.timestamp.before.max.ms)
	NewestTimestamp int64 // ms; a max timestamp after it is refused (message.timestamp.after.max.ms)
}

// CheckCRC compares the batch with its checksum; the error is CorruptMessage.
func (b Batch) CheckCRC() error {
	if have := b.checksum(); have != b.CRC() {
		return corrupt("CRC is %08x, the batch says %08x", have, b.CRC())
	}
	return nil
}

// Validate checks a batch that a client wants appended, as far as that can be
// done without decompressing it. The errors are of kind MessageTooLarge,
// CorruptMessage (length, magic, CRC), UnsupportedCompression, InvalidTimestamp
// and InvalidRecord.
//
// Two things that look wrong are let through because popular clients send them:
// a max timestamp before the base timestamp (Sarama leaves the field at -1; see
// NeedsMaxTimestamp), and an epoch and sequence without a producer id.
func Validate(b Batch, lim Limits) error {
	if size, err := SizeOf(b); err != nil {
		return err
	} else if size != len(b) {
		return corrupt("batch of %d bytes says it has %d", len(b), size)
	}
	if lim.MaxBytes > 0 && len(b) > lim.MaxBytes {
		return messages.E("batch", messages.MessageTooLarge, "",
			fmt.Errorf("%d bytes, the limit is %d", len(b), lim.MaxBytes))
	}
	if err := b.CheckCRC(); err != nil {
		return err
	}
	if err := checkAttributes(b); err != nil {
		return err
	}
	if err := checkCounts(b); err != nil {
		return err
	}
	if err := checkProducer(b); err != nil {
		return err
	}
	return checkTimestamps(b, lim)
}

func checkAttributes(b Batch) error {
	attrs := b.Attributes()
	switch {
	case !b.Codec().Known():
		return messages.E("batch", messages.UnsupportedCompression, "", fmt.Errorf("%v", b.Codec()))
	case attrs&AttrControl != 0:
		return invalid("clients may not write control batches")
	case attrs&^clientAttrs != 0:
		return invalid("reserved attributes are set: %#x", uint16(attrs&^clientAttrs))
	}
	return nil
}

// checkCounts makes sure that the batch takes up one offset per record. How
// many records a compressed payload really holds, only CheckRecords can tell.
func checkCounts(b Batch) error {
	n := b.NumRecords()
	if n <= 0 || b.LastOffsetDelta() != n-1 {
		return invalid("%d records, but the last offset delta is %d", n, b.LastOffsetDelta())
	}
	if b.Codec() == None && int64(n)*minRecord > int64(len(b.Payload())) {
		return invalid("%d records cannot be in %d bytes", n, len(b.Payload()))
	}
	return nil
}

func checkProducer(b Batch) error {
	switch {
	case b.HasProducer() && (b.ProducerEpoch() < 0 || b.BaseSequence() < 0):
		return invalid("producer %d with epoch %d and sequence %d", b.ProducerID(), b.ProducerEpoch(), b.BaseSequence())
	case b.ProducerID() < messages.NoProducerID:
		return invalid("producer id %d", b.ProducerID())
	case b.IsTransactional() && !b.HasProducer():
		return invalid("transactional, but without a producer id")
	}
	return nil
}

func checkTimestamps(b Batch, lim Limits) error {
	wrong := func(format string, args ...any) error {
		return messages.E("batch", messages.InvalidTimestamp, "", fmt.Errorf(format, args...))
	}
	base, newest := b.BaseTimestamp(), b.MaxTimestamp()
	switch {
	case b.TimestampType() == LogAppendTime:
		return wrong("only the broker sets log append time")
	case base < messages.NoTimestamp || newest < messages.NoTimestamp:
		return wrong("base timestamp %d, max timestamp %d", base, newest)
	case lim.NewestTimestamp > 0 && max(base, newest) > lim.NewestTimestamp:
		return wrong("%d is later than %d allowed", max(base, newest), lim.NewestTimestamp)
	case lim.OldestTimestamp > 0 && base != messages.NoTimestamp && base < lim.OldestTimestamp:
		return wrong("%d is earlier than %d allowed", base, lim.OldestTimestamp)
	}
	return nil
}

// CheckMaxTimestamp checks a max timestamp that was corrected after Validate against
// the topic's bound; the error is InvalidTimestamp.
func (b Batch) CheckMaxTimestamp(lim Limits) error { return checkTimestamps(b, lim) }

// NeedsMaxTimestamp reports whether the max timestamp is visibly not the newest
// of the records': then CheckRecords tells the true one for SetMaxTimestamp, so
// that searches by time find the batch.
func (b Batch) NeedsMaxTimestamp() bool { return b.MaxTimestamp() < b.BaseTimestamp() }
