package partition

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"understudy/actors/mailbox"
	"understudy/messages"
	"understudy/messages/batch"
)

// Append asks a partition to append batches, all or none.
//
// The caller has validated the batches. Their bytes are stamped in place and
// must stay valid, and be nobody else's to write, until Reply is called.
type Append struct {
	Batches []batch.Batch
	Acks    messages.Acks
	Timeout int64 // ms to wait for acks=all; 0 waits for ever
	Reply   Replier
	Slot    int // which of the caller's appends this is; given back with the reply

	// Bound has the append refused, as FencedLeaderEpoch, unless the replica is in
	// this Epoch: what the caller wants written follows from what it has read in it.
	Bound bool
	Epoch messages.LeaderEpoch

	result Result
}

// Replier is told how an Append ended, exactly once, from any goroutine. It must not block.
type Replier interface {
	Appended(slot int, r Result)
}

// Result is how an Append ended.
type Result struct {
	Base          messages.Offset // offset of the first record; of the first time, for a duplicate
	LogAppendTime int64           // milliseconds since the epoch; NoTimestamp when the producer's times were kept
	LogStart      messages.Offset
	Err           error
}

// answer replies. The Append is the caller's again from then on.
func (a *Append) answer() { a.Reply.Appended(a.Slot, a.result) }

// fenced says why an append that belongs to one epoch cannot be made in another, or nil.
func (a *Append) fenced(tp messages.TopicPartition, now messages.LeaderEpoch) error {
	if !a.Bound || a.Epoch == now {
		return nil
	}
	return messages.E("append", messages.FencedLeaderEpoch, tp.String(), fmt.Errorf("epoch %d, now %d", a.Epoch, now))
}

func (a *Append) refuse(err error) {
	a.result = Result{Base: messages.NoOffset, LogAppendTime: messages.NoTimestamp, LogStart: messages.NoOffset, Err: err}
	a.answer()
}

// Handle is how the rest of the broker reaches one local replica. It outlives
// restarts of the replica's actor.
type Handle struct {
	tp      messages.TopicPartition
	topicID messages.TopicID
	log     *zerolog.Logger
	mail    *mailbox.Batching
	view    atomic.Pointer[View]
	pause   func(ready func() bool) // see Stage

	turn turn // the actor's

	compacts    atomic.Bool // the cleaner is to look after it
	uncleanable atomic.Bool // but met damage in it, or failed

	dirty atomic.Bool  // has changed since its last checkpoint was taken
	bytes atomic.Int64 // size of its log

	waiting atomic.Int32 // len(waiters), read without the lock
	mu      sync.Mutex
	waiters []*Waiter
	damage  []error // what readers could not read, one for each place
}

// maxDamage bounds how many places are remembered.
const maxDamage = 16

// ReadFailed takes note of records that a reader could not be given, be it for
// damage or because the disk fails, and tells of each place once. Other kinds of
// error are none of the disk's.
func (h *Handle) ReadFailed(err error) {
	if kind := messages.KindOf(err); kind != messages.CorruptMessage && kind != messages.StorageError {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	known := slices.ContainsFunc(h.damage, func(other error) bool { return other.Error() == err.Error() })
	if known || len(h.damage) == maxDamage {
		return
	}
	h.damage = append(h.damage, err)
	h.log.Error().Err(err).Stringer("partition", h.tp).Msg("records cannot be read and are not served")
}

// Damage is what readers have not been able to read since the broker started.
func (h *Handle) Damage() []error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.damage)
}

func newHandle(tp messages.TopicPartition, id messages.TopicID, log *zerolog.Logger) *Handle {
	return &Handle{tp: tp, topicID: id, log: log, mail: mailbox.NewBatching()}
}

// TopicPartition is which partition this is.
func (h *Handle) TopicPartition() messages.TopicPartition { return h.tp }

// TopicID is which creation of the topic this is a partition of.
func (h *Handle) TopicID() messages.TopicID { return h.topicID }

// Append hands batches to the partition's actor. It never blocks; the answer
// comes through a.Reply.
func (h *Handle) Append(a *Append) { h.mail.PostUserMessage(a) }

// View is what the replica last published; nil until it has opened.
func (h *Handle) View() *View { return h.view.Load() }

// Size is how many bytes the replica's log holds.
func (h *Handle) Size() int64 { return h.bytes.Load() }

// Waiter is somebody who waits for the next publication of any of several
// partitions. Its function is called at most once, from a partition's turn, so
// it must not block.
type Waiter struct {
	wake  func()
	fired atomic.Bool
}

// NewWaiter makes a waiter that calls wake.
func NewWaiter(wake func()) *Waiter { return &Waiter{wake: wake} }

func (w *Waiter) fire() {
	if w.fired.CompareAndSwap(false, true) {
		w.wake()
	}
}

// Wait registers a waiter. What was published before may have been missed: read
// View again after Wait.
func (h *Handle) Wait(w *Waiter) {
	h.mu.Lock()
	h.waiters = append(h.waiters, w)
	h.waiting.Store(int32(len(h.waiters)))
	h.mu.Unlock()
}

// Cancel takes a waiter back.
func (h *Handle) Cancel(w *Waiter) {
	if h.waiting.Load() == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, other := range h.waiters {
		if other == w {
			last := len(h.waiters) - 1
			h.waiters[i], h.waiters[last] = h.waiters[last], nil
			h.waiters = h.waiters[:last]
			break
		}
	}
	h.waiting.Store(int32(len(h.waiters)))
}

// publish makes a view the current one and wakes everyone who waits.
func (h *Handle) publish(v *View) {
	h.view.Store(v)
	if h.waiting.Load() == 0 {
		return
	}
	h.mu.Lock()
	woken := h.waiters
	h.waiters = nil
	h.waiting.Store(0)
	h.mu.Unlock()
	for _, w := range woken {
		w.fire()
	}
}
