package link

import (
	"sync"

	"understudy/cluster/replica"
	"understudy/messages"
)

// Payload is memory with a count of its users. The bytes of a message's batches
// stay as they are until every Retain was answered by a Release.
type Payload interface {
	Retain()
	Release()
}

const (
	// frameCost is what a message counts in queues and windows beside its payload:
	// about the memory that holds it on either side.
	frameCost = 256
	// maxRound bounds what goes out in one write: enough for system calls not to
	// matter, and little enough that a heartbeat behind it is not late.
	maxRound       = 1 << 20
	maxRoundFrames = 1024
	maxUrgent      = 16 << 20 // bytes of requests and responses that wait
)

// outgoing is a message that waits to be written.
type outgoing struct {
	head  [messagePrefix]byte
	size  int // of the payload
	parts int // slices of it
	owner Payload
}

func (m *outgoing) cost() int64 { return frameCost + int64(m.size) }

// urgent is a frame that goes before all messages.
type urgent struct {
	frame   []byte
	written func() // called when it was written or given up; may be nil
}

// outbox is what waits to be written to a connection. Any goroutine fills it, the
// connection's writer empties it.
//
//	Send ──▶ queue ──▶ round ──▶ one write ──▶ owner.Release
//	          ≤ limit   ≤ what the other side has room for (window − used)
type outbox struct {
	wake   chan struct{}
	limit  int64
	window int64 // the other side's

	mu          sync.Mutex
	closed      bool // nothing goes in any more
	ending      bool // the writer is to say goodbye
	sleeping    bool // the writer waits for wake
	queue       fifo[outgoing]
	parts       fifo[[]byte]
	bytes       int64 // cost of the queue and of what is being written
	used        int64 // cost of what was sent and is not credited
	urgent      []urgent
	urgentBytes int64
}

// put queues a message with batches of size bytes, or says why it is lost. As long as
// half of the queue is free anything is let in: on a busy node there always is some
// small message, and a large one would never find enough room.
func (o *outbox) put(topic messages.TopicID, partition int32, m *replica.Message, size int, owner Payload) error {
	cost := frameCost + int64(size)
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return ErrNotConnected
	}
	limit := o.limit
	if size == 0 {
		limit += o.limit / 8 // acknowledgements find room when records do not
	}
	if o.bytes+cost > limit && o.bytes > o.limit/2 {
		return ErrQueueFull
	}
	if size == 0 {
		owner = nil
	}
	if owner != nil {
		owner.Retain()
	}
	q := o.queue.push()
	q.size, q.parts, q.owner = size, len(m.Batches), owner
	putMessage(&q.head, topic, partition, m, size)
	for _, b := range m.Batches {
		*o.parts.push() = b
	}
	o.bytes += cost
	o.rouse()
	return nil
}

// putUrgent queues a frame that goes before all messages. On error, written is
// not called.
func (o *outbox) putUrgent(u urgent) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.closed:
		return ErrNotConnected
	case o.urgentBytes+int64(len(u.frame)) > maxUrgent:
		return ErrQueueFull
	}
	o.urgent = append(o.urgent, u)
	o.urgentBytes += int64(len(u.frame))
	o.rouse()
	return nil
}

// rouse wakes the writer. The lock is held.
func (o *outbox) rouse() {
	if o.sleeping {
		o.sleeping = false
		select {
		case o.wake <- struct{}{}:
		default: // one from before has not been seen yet
		}
	}
}

func (o *outbox) rouseNow() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rouse()
}

// credit takes note that the other side has room for n bytes more. It reports
// whether that can be.
func (o *outbox) credit(n int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if n <= 0 || n > o.used {
		return false
	}
	o.used -= n
	o.rouse()
	return true
}

// round is what goes out in one write.
type round struct {
	messages []outgoing
	parts    [][]byte
	urgent   []urgent
	cost     int64
	bye      bool
}

// take moves to r what may go out now, after what r held has been written. If
// that is nothing, the writer is expected to wait for wake.
func (o *outbox) take(r *round) (any bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.settle(r)
	o.urgent, r.urgent = r.urgent, o.urgent
	o.urgentBytes = 0
	for o.queue.len() > 0 && len(r.messages) < maxRoundFrames {
		head := o.queue.front()
		cost := head.cost()
		if o.used > 0 && o.used+cost > o.window || r.cost > 0 && r.cost+cost > maxRound {
			break
		}
		for range head.parts {
			r.parts = append(r.parts, *o.parts.front())
			o.parts.pop()
		}
		r.messages = append(r.messages, *head)
		o.queue.pop()
		o.used += cost
		r.cost += cost
	}
	r.bye = o.ending
	o.sleeping = len(r.messages)+len(r.urgent) == 0
	return !o.sleeping
}

// rest gives up memory that the queues grew in a busier time.
func (o *outbox) rest() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue.rest()
	o.parts.rest()
}

// settle empties a round: the bytes it held are nobody's concern any more. The
// lock is held.
func (o *outbox) settle(r *round) {
	o.bytes -= r.cost
	r.cost = 0
	r.release()
}

// release lets go of the owners of what was written or given up.
func (r *round) release() {
	for i := range r.messages {
		if owner := r.messages[i].owner; owner != nil {
			owner.Release()
		}
	}
	for _, u := range r.urgent {
		if u.written != nil {
			u.written()
		}
	}
	clear(r.messages)
	clear(r.parts)
	clear(r.urgent)
	r.messages, r.parts, r.urgent = r.messages[:0], r.parts[:0], r.urgent[:0]
}

// close lets nothing in any more.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.rouse()
}

// end lets nothing in any more but has the writer send what it can, and goodbye.
func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed, o.ending = true, true
	o.rouse()
}

// drain gives up everything, once the writer has ended.
func (o *outbox) drain(r *round) {
	o.mu.Lock()
	o.settle(r)
	for o.queue.len() > 0 {
		r.messages = append(r.messages, *o.queue.front())
		o.queue.pop()
	}
	r.urgent = append(r.urgent, o.urgent...)
	o.queue, o.parts, o.urgent, o.bytes = fifo[outgoing]{}, fifo[[]byte]{}, nil, 0
	o.mu.Unlock()
	r.release()
}

// fifo is a queue that uses its memory again.
type fifo[T any] struct {
	items []T
	head  int
}

func (q *fifo[T]) len() int  { return len(q.items) - q.head }
func (q *fifo[T]) front() *T { return &q.items[q.head] }

// push adds an item and returns where it is to be written.
func (q *fifo[T]) push() *T {
	if q.head > 0 && len(q.items) == cap(q.items) && q.head >= len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	var zero T
	q.items = append(q.items, zero)
	return &q.items[len(q.items)-1]
}

func (q *fifo[T]) pop() {
	var zero T
	q.items[q.head] = zero
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
}

// rest gives up the memory of an empty queue.
func (q *fifo[T]) rest() {
	if q.len() == 0 {
		*q = fifo[T]{}
	}
}
