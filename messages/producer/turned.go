package producer

import (
	"understudy/messages"
	"understudy/messages/batch"
)

// TurnedAway remembers batches of idempotent producers that a partition has
// refused for a reason that passes, such as that it does not lead yet.
//
// A producer has several batches under way. If the reason passes between two of
// them, the second must not be taken, nor be called out of order, only because the
// first was turned away: a client that hears of a gap takes it for a loss, begins
// anew in another epoch, and sends again what may have been written in the old
// one. It is to be turned away like the first, and comes again behind it.
//
//	under way:  5  6  7         5 refused: not leader yet
//	            │  └──┴──▶      6, 7: the partition leads by now; turned away too
//	            └─▶ comes again, and is taken; then 6 and 7
//
// The zero value remembers nothing.
type TurnedAway struct {
	by map[messages.ProducerID]turned
}

// turned is the first of a producer's batches to have been refused.
type turned struct {
	epoch    messages.ProducerEpoch
	sequence int32
	left     int // how many batches behind it may have been under way
	moves    int // how often another has taken the first one's place

	// Of those that were turned away for its sake, since the producer began anew
	// with the oldest that it has:
	head, last int32
	any        bool // there are some
}

// maxMoves bounds for how long a producer is held that sends nothing again.
const maxMoves = 3

// maxTurned bounds how many producers are remembered. Forgetting one costs it
// what it would always have cost without a memory.
const maxTurned = 1024

// Note takes note of a batch that was refused.
func (t *TurnedAway) Note(b batch.Batch) {
	if !b.HasProducer() || unsequenced(b) {
		return
	}
	before, known := t.by[b.ProducerID()]
	if known && before.epoch == b.ProducerEpoch() && follows(b.BaseSequence(), before.sequence) {
		return
	}
	if t.by == nil || !known && len(t.by) == maxTurned {
		t.by = map[messages.ProducerID]turned{}
	}
	t.by[b.ProducerID()] = turned{epoch: b.ProducerEpoch(), sequence: b.BaseSequence(), left: Remembered - 1}
}

// Any reports whether anything is remembered.
func (t *TurnedAway) Any() bool { return len(t.by) > 0 }

// Holds reports whether b was sent behind a batch that was refused and has not
// come again, so that b has to be refused as well. It is so of no more batches
// than a client has under way: a gap that stays is one. Then those that were
// turned away for its sake are what must come first: the batch itself may have
// been taken long ago, by another leader.
func (t *TurnedAway) Holds(b batch.Batch) bool {
	if !b.HasProducer() || unsequenced(b) {
		return false
	}
	first, known := t.by[b.ProducerID()]
	switch {
	case !known:
		return false
	case first.epoch != b.ProducerEpoch() || first.sequence == b.BaseSequence():
		delete(t.by, b.ProducerID())
		return false
	case !follows(b.BaseSequence(), first.sequence):
		return false
	}
	if !first.any || follows(first.last, b.BaseSequence()) {
		first.head, first.any = b.BaseSequence(), true
	}
	first.last = b.BaseSequence()
	switch first.left--; {
	case first.left > 0:
		t.by[b.ProducerID()] = first
	case first.moves == maxMoves:
		delete(t.by, b.ProducerID())
	default:
		t.by[b.ProducerID()] = turned{epoch: first.epoch, sequence: first.head, left: Remembered - 1, moves: first.moves + 1}
	}
	return true
}

// Knows reports whether anything is known of the producer that sent b.
func (s *State) Knows(b batch.Batch) bool { return s.latest(b.ProducerID()) != nil }

// follows reports whether one sequence number comes behind another, or is it.
// They continue at 0 after 2^31-1, so that half of them are before any other.
func follows(sequence, other int32) bool { return batch.AddSequence(sequence-other, 0) < 1<<30 }
