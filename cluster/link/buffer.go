package link

import (
	"math/bits"
	"sync"
)

// Size classes of received payloads: the powers of two from 1 KiB to 16 MiB.
// Larger ones are made to measure and left to the garbage collector.
const (
	minClassBits = 10
	maxClassBits = 24
	classCount   = maxClassBits - minClassBits + 1
)

// pool hands out memory for payloads. What bounds it are the credits of the
// connections: memory is taken only for bytes within a credit.
type pool struct {
	classes [classCount]sync.Pool
}

// buffer is memory of a pool, with one owner.
type buffer struct {
	b     []byte // len is what is in use
	class int    // -1: not pooled
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

// get is a buffer of n bytes, with anything in them.
func (p *pool) get(n int) *buffer {
	class := classOf(n)
	if class < 0 {
		return &buffer{b: make([]byte, n), class: class}
	}
	if b, ok := p.classes[class].Get().(*buffer); ok {
		b.b = b.b[:n]
		return b
	}
	return &buffer{b: make([]byte, n, 1<<(class+minClassBits)), class: class}
}

// put ends a buffer's use.
func (p *pool) put(b *buffer) {
	if poison {
		all := b.b[:cap(b.b)]
		for i := range all {
			all[i] = 0xDB
		}
	}
	if b.class >= 0 {
		p.classes[b.class].Put(b)
	}
}
