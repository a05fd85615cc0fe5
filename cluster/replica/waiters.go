package replica

import (
	"iter"

	"understudy/messages"
)

// waiter is a request that waits for an offset to be reached.
type waiter struct {
	until    messages.Offset // answered when the high watermark (of deletes: the low watermark; of confirms: the round) is at least this
	base     messages.Offset // for the answer
	deadline int64           // on Tick's clock; 0: none
	token    any
}

// waiters is a queue ordered by until. It reuses its memory: a steady stream of
// requests does not allocate.
//
//	queue   [ ∅ ∅ ∅ w w w w . . . ]
//	              head^       ^len
type waiters struct {
	queue []waiter
	head  int
}

func (q *waiters) len() int { return len(q.queue) - q.head }

// add puts w behind all that wait for no more than it. Requests come in the
// order of their offsets but for producers that repeat themselves, so the search
// ends where it begins.
func (q *waiters) add(w waiter) {
	if q.head > 0 && len(q.queue) == cap(q.queue) {
		n := copy(q.queue, q.queue[q.head:])
		clear(q.queue[n:])
		q.queue, q.head = q.queue[:n], 0
	}
	q.queue = append(q.queue, w)
	for i := len(q.queue) - 1; i > q.head && q.queue[i-1].until > w.until; i-- {
		q.queue[i], q.queue[i-1] = q.queue[i-1], w
	}
}

// reached removes and yields those for whom offset is enough, in order.
func (q *waiters) reached(offset messages.Offset) iter.Seq[waiter] {
	return func(yield func(waiter) bool) {
		for q.len() > 0 && q.queue[q.head].until <= offset && yield(q.pop()) {
		}
	}
}

// drain removes and yields all.
func (q *waiters) drain() iter.Seq[waiter] {
	return func(yield func(waiter) bool) {
		for q.len() > 0 && yield(q.pop()) {
		}
	}
}

// expired removes and yields those whose deadline has come.
func (q *waiters) expired(now int64) iter.Seq[waiter] {
	return func(yield func(waiter) bool) {
		kept := q.queue[:q.head]
		for _, w := range q.queue[q.head:] {
			if w.deadline == 0 || w.deadline > now || !yield(w) {
				kept = append(kept, w)
			}
		}
		clear(q.queue[len(kept):])
		q.queue = kept
	}
}

func (q *waiters) pop() waiter {
	w := q.queue[q.head]
	q.queue[q.head] = waiter{}
	q.head++
	if q.head == len(q.queue) {
		q.queue, q.head = q.queue[:0], 0
	}
	return w
}
