package producer

import (
	"fmt"

	"understudy/messages"
	"understudy/messages/batch"
)

// unknown is the entry of a producer before its first batch.
var unknown = entry{
	epoch:            messages.NoProducerEpoch,
	coordinatorEpoch: -1,
	lastOffset:       messages.NoOffset,
	lastTimestamp:    messages.NoTimestamp,
	txnStart:         messages.NoOffset,
}

// lastSequence is the sequence that was written last in the epoch, or
// messages.NoSequence.
func (e *entry) lastSequence() int32 {
	if e.recent == 0 {
		return messages.NoSequence
	}
	return e.batches[e.recent-1].lastSequence
}

// unsequenced reports whether b takes no part in the producer's sequence:
// markers do not, nor what a group coordinator writes for a transaction.
func unsequenced(b batch.Batch) bool {
	return b.IsControl() || b.BaseSequence() == messages.NoSequence
}

// find looks for a remembered batch with b's epoch and sequences.
func (e *entry) find(b batch.Batch) (written, bool) {
	if b.ProducerEpoch() != e.epoch || unsequenced(b) {
		return written{}, false
	}
	first, last := b.BaseSequence(), b.LastSequence()
	for i := e.recent - 1; i >= 0; i-- {
		if w := e.batches[i]; w.baseSequence == first && w.lastSequence == last {
			return w, true
		}
	}
	return written{}, false
}

// check says why b cannot follow what the producer wrote, or nil.
func (e *entry) check(b batch.Batch) error {
	epoch, sequence := b.ProducerEpoch(), b.BaseSequence()
	want := e.nextSequence(epoch)
	switch {
	case epoch < e.epoch:
		return refuse(b, messages.InvalidProducerEpoch, "epoch %d, but %d has been seen", epoch, e.epoch)
	case sequence != want && !unsequenced(b):
		return refuse(b, messages.OutOfOrderSequence, "sequence %d in epoch %d, expected %d", sequence, epoch, want)
	case e.txnStart != messages.NoOffset && !b.IsTransactional():
		return refuse(b, messages.InvalidTxnState, "not transactional, but its transaction at %d is open", e.txnStart)
	}
	return nil
}

// nextSequence is the sequence that has to come next in an epoch: 0 in a new one.
func (e *entry) nextSequence(epoch messages.ProducerEpoch) int32 {
	if epoch != e.epoch || e.recent == 0 {
		return 0
	}
	return batch.AddSequence(e.lastSequence(), 1)
}

func refuse(b batch.Batch, kind messages.Kind, format string, args ...any) error {
	return messages.E("produce", kind, fmt.Sprintf("producer %d", b.ProducerID()), fmt.Errorf(format, args...))
}

// apply takes b up as the producer's last batch.
func (e *entry) apply(b batch.Batch) {
	if e.epoch != b.ProducerEpoch() {
		e.epoch, e.recent = b.ProducerEpoch(), 0
	}
	e.lastOffset, e.lastTimestamp, e.idle = b.LastOffset(), b.MaxTimestamp(), active
	if m, ok := b.Marker(); ok {
		e.coordinatorEpoch, e.txnStart = m.CoordinatorEpoch, messages.NoOffset
	} else if b.IsTransactional() && !b.IsControl() && e.txnStart == messages.NoOffset {
		e.txnStart = b.BaseOffset()
	}
	if !unsequenced(b) {
		e.remember(written{b.BaseSequence(), b.LastSequence(), b.LastOffset(), b.MaxTimestamp()})
	}
}

// remember adds a batch and forgets the oldest if there are too many.
func (e *entry) remember(w written) {
	if e.recent == Remembered {
		copy(e.batches[:], e.batches[1:])
		e.recent--
	}
	e.batches[e.recent] = w
	e.recent++
}

// truncate forgets the batches at offset and beyond; false if none is left.
func (e *entry) truncate(offset messages.Offset) bool {
	for e.recent > 0 && e.batches[e.recent-1].lastOffset >= offset {
		e.recent--
	}
	if e.recent == 0 {
		return false
	}
	last := e.batches[e.recent-1]
	e.lastOffset, e.lastTimestamp = last.lastOffset, last.timestamp
	if e.txnStart >= offset {
		e.txnStart = messages.NoOffset
	}
	return true
}
