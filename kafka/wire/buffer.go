package wire

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// Size classes of pooled buffers: the powers of two from 1 KiB to 16 MiB.
// Larger ones are made to measure and left to the garbage collector.
const (
	minClassBits = 10
	maxClassBits = 24
	classCount   = maxClassBits - minClassBits + 1
)

// Pool hands out buffers by size class, all charged to one Budget.
type Pool struct {
	budget  *Budget
	classes [classCount]sync.Pool
}

// Buffer is a piece of memory with a count of those who use it. It returns to
// its pool when the last of them has called Release, and not before: a buffer
// that came back too soon would send one topic's bytes to another.
type Buffer struct {
	B []byte // len is what is in use; cap is the size class

	pool  *Pool
	class int // -1: not pooled
	refs  atomic.Int32
}

// NewPool makes a pool whose buffers are charged to budget.
func NewPool(budget *Budget) *Pool { return &Pool{budget: budget} }

// Budget is what the pool's buffers are charged to.
func (p *Pool) Budget() *Budget { return p.budget }

// ClassSize is the capacity that a buffer of n bytes will have.
func ClassSize(n int) int {
	class := classOf(n)
	if class < 0 {
		return n
	}
	return 1 << (class + minClassBits)
}

func classOf(n int) int {
	if n <= 1<<minClassBits {
		return 0
	}
	class := bits.Len(uint(n-1)) - minClassBits
	if class >= classCount {
		return -1
	}
	return class
}

// Acquire gets a buffer of at least n bytes for an unfinished request of h,
// waiting for room. Len is 0.
func (p *Pool) Acquire(h *Holder, n int) (*Buffer, error) {
	if err := p.budget.Acquire(h, int64(ClassSize(n))); err != nil {
		return nil, err
	}
	return p.take(n), nil
}

// Try gets a buffer of at least n bytes, or nil when the budget has no room now.
func (p *Pool) Try(n int) *Buffer {
	if !p.budget.Try(int64(ClassSize(n))) {
		return nil
	}
	return p.take(n)
}

// Force gets a buffer of at least n bytes even over budget: see Budget.Force.
func (p *Pool) Force(n int) *Buffer {
	p.budget.Force(int64(ClassSize(n)))
	return p.take(n)
}

func (p *Pool) take(n int) *Buffer {
	class := classOf(n)
	if class >= 0 {
		if b, ok := p.classes[class].Get().(*Buffer); ok {
			b.refs.Store(1)
			return b
		}
	}
	b := &Buffer{B: make([]byte, 0, ClassSize(n)), pool: p, class: class}
	b.refs.Store(1)
	return b
}

// Retain counts one more user.
func (b *Buffer) Retain() { b.refs.Add(1) }

// Release counts one user less; the last one's call ends the buffer's use.
func (b *Buffer) Release() {
	switch n := b.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("wire: a buffer was released more often than it was retained")
	}
	size := int64(cap(b.B))
	b.recycle()
	b.pool.budget.Release(size)
}

// Drop is Release for a buffer that h still holds for an unfinished request.
func (b *Buffer) Drop(h *Holder) {
	b.refs.Add(-1)
	size := int64(cap(b.B))
	b.recycle()
	b.pool.budget.ReleaseHeld(h, size)
}

func (b *Buffer) recycle() {
	if poison {
		all := b.B[:cap(b.B)]
		for i := range all {
			all[i] = 0xDB
		}
	}
	b.B = b.B[:0]
	if b.class >= 0 {
		b.pool.classes[b.class].Put(b)
	}
}

// Grow moves the contents of b, which h holds for an unfinished request, to a
// buffer of at least n bytes. On error b is unchanged.
func (b *Buffer) Grow(h *Holder, n int) (*Buffer, error) {
	bigger, err := b.pool.Acquire(h, n)
	if err != nil {
		return b, err
	}
	bigger.B = append(bigger.B, b.B...)
	b.Drop(h)
	return bigger, nil
}

// Reserve makes sure that b, which has one user, can take n more bytes without
// moving, and charges what it grew by. It is for answers being encoded.
func (b *Buffer) Reserve(n int) *Buffer {
	if cap(b.B)-len(b.B) >= n {
		return b
	}
	bigger := b.pool.Force(max(2*cap(b.B), len(b.B)+n))
	bigger.B = append(bigger.B, b.B...)
	b.Release()
	return bigger
}
