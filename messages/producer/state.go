// Package producer remembers, for one partition, what its idempotent producers
// wrote last (KIP-98), so that a batch that is sent again is answered again and
// not appended again, and one that comes out of order is refused.
//
// The rules are those of Kafka 4's ProducerStateManager. The package is pure:
// the state changes by the batches of the log alone, so that the leader, its
// followers and a recovery that reads the log arrive at the same state.
package producer

import (
	"iter"
	"maps"
	"math"
	"slices"

	"understudy/messages"
	"understudy/messages/batch"
)

// Remembered is how many batches of a producer can be recognised when they are
// sent again. Clients have at most as many in flight.
const Remembered = 5

// State is what a partition knows of its producers. It belongs to whoever owns
// the partition's log and is not safe for concurrent use.
//
//	             Apply                        Apply, IsTransactional
//	(unknown) ----------> known at an epoch ------------------------> in a transaction
//	    ^                 and a sequence    <------------------------
//	    |  Expire, or Apply    |    ^               Apply of a marker
//	    |  of Most others      |    |
//	    +----------------------+----+ Apply with a newer epoch: sequences begin at 0
//
// A producer that is unknown, because it never wrote here, was idle for too
// long, had to make room, or its records were deleted before this replica came to
// be, may begin with any sequence (KIP-360): the broker cannot tell these cases
// apart, and refusing would stop a producer that did nothing wrong.
//
// Kafka bounds by time alone how many there are, and a client that asks for a new
// producer id for each of its batches makes that millions. Here the producer whose
// last batch is oldest makes room when there are more than Most. So the idle go
// first, and are remembered for longer than clients send a batch again by default,
// which is two minutes, even if 500 new producers come in every second. A producer
// with a transaction open stays, and one with batches admitted and not yet applied.
type State struct {
	entries map[messages.ProducerID]*entry
	order   order // of the entries that may be forgotten
	most    int   // how many entries there may be: Most

	// ahead holds, for the producers that have batches admitted but not yet
	// applied, their entries as they will be. See Admit.
	ahead map[messages.ProducerID]*entry
	spare []*entry // entries that have left ahead, or were forgotten for others

	looked int64 // by the clock of Expire, when that last was called; 0 before
}

// entry is what is known of one producer.
type entry struct {
	id               messages.ProducerID
	older, newer     *entry // its neighbours in the order of the last batches, or nil
	epoch            messages.ProducerEpoch
	coordinatorEpoch int32 // of the last marker's transaction coordinator, or -1
	recent           int   // batches in use, oldest first
	batches          [Remembered]written
	lastOffset       messages.Offset // of the last batch applied, data or marker
	lastTimestamp    int64           // that batch's, ms
	txnStart         messages.Offset // of the open transaction, or messages.NoOffset
	idle             int64           // ms, or active
}

// active is a producer of which there were batches since the last Expire.
const active = -1

// written is one batch that was appended.
type written struct {
	baseSequence, lastSequence int32
	lastOffset                 messages.Offset
	timestamp                  int64 // max timestamp, ms
}

// baseOffset follows from the sequences: a batch has one for every offset.
func (w written) baseOffset() messages.Offset {
	return w.lastOffset - int64((w.lastSequence-w.baseSequence)&math.MaxInt32)
}

// New makes a state that knows no producer.
func New() *State {
	return &State{
		entries: map[messages.ProducerID]*entry{},
		order:   newOrder(),
		most:    Most,
		ahead:   map[messages.ProducerID]*entry{},
	}
}

// Verdict is the answer to a batch that may be appended, or that already was.
type Verdict struct {
	Duplicate  bool            // appended before: answer with the following, append nothing
	Base, Last messages.Offset // where it was appended
	AppendTime int64           // its max timestamp then, ms
}

// Check says whether a batch from a client continues what its producer wrote.
// A duplicate may not be committed yet: it is answered when its Last offset is.
//
// The error is of kind InvalidProducerEpoch if a newer instance of the producer
// has written here, OutOfOrderSequence if batches are missing before this one
// or it is a repetition too old to be recognised, and InvalidTxnState for data
// outside of the transaction that the producer has open. As in Kafka since 2.5,
// UnknownProducerID is never returned (see State) nor is DuplicateSequence:
// that would acknowledge a batch which may not be there.
func (s *State) Check(b batch.Batch) (Verdict, error) {
	if !b.HasProducer() {
		return Verdict{}, nil
	}
	e := s.latest(b.ProducerID())
	if e == nil {
		return Verdict{}, nil
	}
	if w, ok := e.find(b); ok {
		return Verdict{Duplicate: true, Base: w.baseOffset(), Last: w.lastOffset, AppendTime: w.timestamp}, nil
	}
	return Verdict{}, e.check(b)
}

// Admit is Check for a caller that gathers several batches before it appends
// them: a batch that may be appended counts as written for the checks that
// follow, until Apply makes it so. It must be stamped with its offset before.
func (s *State) Admit(b batch.Batch) (Verdict, error) {
	v, err := s.Check(b)
	if err != nil || v.Duplicate || !b.HasProducer() {
		return v, err
	}
	e := s.ahead[b.ProducerID()]
	if e == nil {
		e = s.blank(b.ProducerID())
		if now := s.entries[b.ProducerID()]; now != nil {
			now.leave()
			*e = *now
		}
		s.ahead[b.ProducerID()] = e
	}
	e.apply(b)
	return v, nil
}

// Apply takes up a batch that was appended to the log, on the leader, on a
// follower or during recovery. Batches must come in the log's order; one that
// is part of the state already is ignored. What stands in the log is not
// questioned: its leader has checked it.
func (s *State) Apply(b batch.Batch) {
	if !b.HasProducer() {
		return
	}
	id := b.ProducerID()
	e := s.entries[id]
	if e == nil {
		e = s.blank(id)
		s.entries[id] = e
	}
	e.leave()
	if b.LastOffset() > e.lastOffset {
		e.apply(b)
	}
	next := s.ahead[id]
	if next != nil && next.lastOffset <= e.lastOffset {
		delete(s.ahead, id)
		s.spare = append(s.spare, next)
		next = nil
	}
	if next == nil && e.txnStart == messages.NoOffset {
		s.order.add(e)
	}
	s.spare = s.forget(s.spare)
}

// DropAdmitted forgets what was admitted and has not been applied: it is not going
// to be.
func (s *State) DropAdmitted() {
	if len(s.ahead) == 0 {
		return
	}
	for id, e := range s.ahead {
		delete(s.ahead, id)
		s.spare = append(s.spare, e)
	}
	s.sort()
}

// latest is the producer's entry with all that was admitted, or nil.
func (s *State) latest(id messages.ProducerID) *entry {
	if len(s.ahead) > 0 {
		if e := s.ahead[id]; e != nil {
			return e
		}
	}
	return s.entries[id]
}

// blank is an entry that knows nothing of its producer, a spare one if there is any.
func (s *State) blank(id messages.ProducerID) *entry {
	var e *entry
	if n := len(s.spare); n > 0 {
		e, s.spare = s.spare[n-1], s.spare[:n-1]
	} else {
		e = new(entry)
	}
	*e = unknown
	e.id = id
	return e
}

// Expire forgets the producers that have been idle for afterMs and have no
// transaction open, nor anything admitted, and tells how many. A producer is idle
// from the first Expire that finds nothing new of it, and only while this process
// looks: clockMs is of a clock that never goes back, not of the day's, which may
// step by a day in the middle of a batch's retries. Timestamps of records may be of
// any age.
func (s *State) Expire(clockMs, afterMs int64) int {
	var elapsed int64
	if s.looked > 0 {
		elapsed = clockMs - s.looked
	}
	s.looked = clockMs
	before := len(s.entries)
	for id, e := range s.entries {
		if e.idle == active {
			e.idle = 0
		} else {
			e.idle += elapsed
		}
		if e.ordered() && e.idle >= afterMs {
			e.leave()
			delete(s.entries, id)
		}
	}
	return before - len(s.entries)
}

// TruncateTo forgets the batches at offset and beyond. A producer of which
// nothing remembered is left becomes unknown, even if it had older batches in
// the log, and a transaction whose marker is cut off does not open again. So
// after a truncation the state is to be rebuilt from a snapshot and the batches
// that follow it; this is for where that is not possible.
func (s *State) TruncateTo(offset messages.Offset) {
	s.DropAdmitted()
	for id, e := range s.entries {
		if e.lastOffset >= offset && !e.truncate(offset) {
			delete(s.entries, id)
		}
	}
	s.sort()
}

// Len is the number of producers known.
func (s *State) Len() int { return len(s.entries) }

// Info is what DescribeProducers shows of a producer.
type Info struct {
	ID               messages.ProducerID
	Epoch            messages.ProducerEpoch
	LastSequence     int32           // or messages.NoSequence
	LastTimestamp    int64           // ms, of its last batch
	CoordinatorEpoch int32           // or -1
	TxnStart         messages.Offset // or messages.NoOffset
}

// All lists the producers by id.
func (s *State) All() iter.Seq[Info] {
	return func(yield func(Info) bool) {
		for _, id := range slices.Sorted(maps.Keys(s.entries)) {
			e := s.entries[id]
			if !yield(Info{id, e.epoch, e.lastSequence(), e.lastTimestamp, e.coordinatorEpoch, e.txnStart}) {
				return
			}
		}
	}
}

// Full reports whether a new producer makes the state forget another.
func (s *State) Full() bool { return len(s.entries) >= s.most }

// Has reports whether a producer has written, and has not been away for too long.
func (s *State) Has(id messages.ProducerID) bool { return s.entries[id] != nil }

// LastBatches yields for each producer the last offset of the oldest batch that is
// remembered of it. From there on a log must keep its batches, so that those that the
// producer has under way can be told from a repetition, and from one out of order, when
// the state is read from the log again.
func (s *State) LastBatches() iter.Seq2[messages.ProducerID, messages.Offset] {
	return func(yield func(messages.ProducerID, messages.Offset) bool) {
		for id, e := range s.entries {
			if e.recent > 0 && !yield(id, e.batches[0].lastOffset) {
				return
			}
		}
	}
}
