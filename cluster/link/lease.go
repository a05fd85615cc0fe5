package link

import (
	"sync"
	"sync/atomic"
)

// Lease joins the owners of several buffers to one Payload, for messages whose
// batches are from more than one producer. Make one for everything that is sent
// in a turn, Add the owners, Send, Release.
type Lease struct {
	refs   atomic.Int32
	owners []Payload
}

var leases = sync.Pool{New: func() any { return new(Lease) }}

// NewLease makes a lease without owners. It has one user: who made it.
func NewLease() *Lease {
	l := leases.Get().(*Lease)
	l.refs.Store(1)
	return l
}

// Add retains an owner until the lease ends. Only before the lease is shared.
func (l *Lease) Add(owner Payload) {
	owner.Retain()
	l.owners = append(l.owners, owner)
}

// Retain counts one more user.
func (l *Lease) Retain() { l.refs.Add(1) }

// Release counts one user less. The last one's releases the owners.
func (l *Lease) Release() {
	switch n := l.refs.Add(-1); {
	case n > 0:
		return
	case n < 0:
		panic("link: a lease was released more often than it was retained")
	}
	for _, owner := range l.owners {
		owner.Release()
	}
	clear(l.owners)
	l.owners = l.owners[:0]
	leases.Put(l)
}
