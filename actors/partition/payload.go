package partition

import (
	"math/bits"
	"slices"
	"sync"
	"sync/atomic"

	"understudy/cluster/replica"
	"understudy/messages/batch"
)

// Payload is memory with a count of its users: the bytes of batches that are
// being sent stay as they are until every Retain was answered by a Release.
type Payload interface {
	Retain()
	Release()
}

// parcel is a copy of batches for the followers of one turn. What a producer
// sent lies in its request, which is its connection's again as soon as the
// producer was answered, and a link may still be sending then.
type parcel struct {
	users   atomic.Int32
	buf     []byte
	batches []batch.Batch
	first   *byte // of what was copied
}

// Parcels are kept for reuse by the size of their memory, a power of two.
const (
	smallestParcel = 12 // 4 KiB
	largestParcel  = 21 // 2 MiB; a message holds 1 MiB, or one batch
)

var parcels [largestParcel + 1]sync.Pool

// newParcel copies batches. It has one user: who made it.
func newParcel(batches []batch.Batch) *parcel {
	size := 0
	for _, b := range batches {
		size += len(b)
	}
	p := parcelOf(size)
	p.users.Store(1)
	p.first = &batches[0][0]
	for _, b := range batches {
		at := len(p.buf)
		p.buf = append(p.buf, b...)
		p.batches = append(p.batches, p.buf[at:len(p.buf):len(p.buf)])
	}
	return p
}

func parcelOf(size int) *parcel {
	class := max(bits.Len(uint(size-1)), smallestParcel)
	if class > largestParcel {
		return &parcel{buf: make([]byte, 0, size)}
	}
	if p, ok := parcels[class].Get().(*parcel); ok {
		return p
	}
	return &parcel{buf: make([]byte, 0, 1<<class)}
}

// Retain counts one more user.
func (p *parcel) Retain() { p.users.Add(1) }

// Release counts one user less; the last one's makes the memory free.
func (p *parcel) Release() {
	switch n := p.users.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("partition: batches were released more often than they were retained")
	}
	class := bits.Len(uint(cap(p.buf) - 1))
	if class > largestParcel {
		return
	}
	clear(p.batches)
	p.buf, p.batches, p.first = p.buf[:0], p.batches[:0], nil
	parcels[class].Put(p)
}

// sendAll passes messages to other nodes. Batches that producers sent are copied
// once for all followers that get the same; what was read from the log is
// nobody else's and goes as it is.
func (m *Machine) sendAll(e *replica.Effects) {
	for i := range e.Send {
		out := &e.Send[i]
		var owner Payload
		if sent := out.Message.Batches; len(sent) > 0 && borrowed(e.Append, sent[0]) {
			p := m.parcel(sent)
			out.Message.Batches, owner = p.batches, p
		}
		m.world.Send(out.To, &out.Message, owner)
	}
	for i, p := range m.parcels {
		p.Release()
		m.parcels[i] = nil
	}
	m.parcels = m.parcels[:0]
}

// borrowed reports whether a batch is one of those that are being appended.
func borrowed(appended []batch.Batch, b batch.Batch) bool {
	i, found := slices.BinarySearchFunc(appended, b.BaseOffset(), func(x batch.Batch, base int64) int { return int(x.BaseOffset() - base) })
	return found && &appended[i][0] == &b[0]
}

// parcel finds this turn's copy of the batches, or makes it.
func (m *Machine) parcel(batches []batch.Batch) *parcel {
	for _, p := range m.parcels {
		if p.first == &batches[0][0] && len(p.batches) == len(batches) {
			return p
		}
	}
	p := newParcel(batches)
	m.parcels = append(m.parcels, p)
	return p
}
