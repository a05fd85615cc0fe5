package wire

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
)

// Errors of Budget.Acquire.
var (
	// ErrEvicted says that the memory a half-read request held was needed by others.
	ErrEvicted = errors.New("the broker's memory is short and this connection's unfinished request held the most of it")
	// ErrOverBudget says that the request can never fit.
	ErrOverBudget = errors.New("larger than the broker's whole memory budget")
)

// Budget bounds the bytes that the broker holds on behalf of the network. A
// connection that wants to read more waits until there is room, which is how
// memory pressure reaches clients: their sockets fill up.
//
// Waiting alone could last for ever: when all memory is held by requests that
// have come only in part, no request can be finished and none let go. So the
// budget knows who holds memory for unfinished requests (Holder), and when
// nothing else can make room it evicts the one that holds the most, the longest
// such if several do.
type Budget struct {
	limit   int64
	used    atomic.Int64
	waiting atomic.Int32

	mu      sync.Mutex
	holders []*Holder
	queue   []*waiter // first come, first served
}

// Holder is one connection's share of the budget for a request that has not
// wholly arrived. Its fields are for the connection's reader.
type Holder struct {
	Evict      func() // ends the connection; must not block
	BeforeWait func() // called when an Acquire has to wait; may be nil

	held    atomic.Int64
	since   atomic.Int64 // rank by age: the budget's clock when holding began
	evicted atomic.Bool
}

type waiter struct {
	need   int64
	holder *Holder
	answer chan error
}

// NewBudget makes a budget of limit bytes.
func NewBudget(limit int64) *Budget { return &Budget{limit: limit} }

// Limit is the whole budget in bytes.
func (b *Budget) Limit() int64 { return b.limit }

// Used is what is taken from the budget now, in bytes.
func (b *Budget) Used() int64 { return b.used.Load() }

// Register makes h known as one who may hold memory for unfinished requests.
func (b *Budget) Register(h *Holder) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holders = append(b.holders, h)
}

// Unregister forgets h and fails its waiting Acquire, if any.
func (b *Budget) Unregister(h *Holder) {
	b.mu.Lock()
	defer b.mu.Unlock()
	h.evicted.Store(true)
	if i := slices.Index(b.holders, h); i >= 0 {
		last := len(b.holders) - 1
		b.holders[i] = b.holders[last]
		b.holders[last] = nil
		b.holders = b.holders[:last]
	}
	b.serve()
}

// Held is what h holds for a request that has not wholly arrived.
func (h *Holder) Held() int64 { return h.held.Load() }

// Complete says that the request h held memory for has arrived: from now on the
// memory is in use, and will be released by whoever handles the request.
func (h *Holder) Complete() { h.held.Store(0) }

// Try takes n bytes if there is room for them now.
func (b *Budget) Try(n int64) bool {
	for {
		used := b.used.Load()
		if used+n > b.limit {
			return false
		}
		if b.used.CompareAndSwap(used, used+n) {
			return true
		}
	}
}

// Force takes n bytes even if there is no room. It is for answers to requests
// that were let in: readers wait the longer for it.
func (b *Budget) Force(n int64) { b.used.Add(n) }

// Acquire takes n bytes for an unfinished request of h, waiting until there is
// room. It fails with ErrEvicted or ErrOverBudget.
func (b *Budget) Acquire(h *Holder, n int64) error {
	if n > b.limit {
		return ErrOverBudget
	}
	if b.waiting.Load() == 0 && !h.evicted.Load() && b.Try(n) {
		b.grant(h, n)
		return nil
	}
	if h.BeforeWait != nil {
		h.BeforeWait()
	}
	w := &waiter{need: n, holder: h, answer: make(chan error, 1)}
	b.mu.Lock()
	b.waiting.Add(1)
	b.queue = append(b.queue, w)
	b.serve()
	b.mu.Unlock()
	return <-w.answer
}

// Release gives n bytes back.
func (b *Budget) Release(n int64) {
	b.used.Add(-n)
	if b.waiting.Load() == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.serve()
}

// ReleaseHeld gives back n bytes that h held for an unfinished request.
func (b *Budget) ReleaseHeld(h *Holder, n int64) {
	if h.held.Add(-n) < 0 {
		h.held.Store(0)
	}
	b.Release(n)
}

var ages atomic.Int64 // orders the beginnings of holdings; a count, not a time

func (b *Budget) grant(h *Holder, n int64) {
	if h.held.Add(n) == n {
		h.since.Store(ages.Add(1))
	}
}

// serve answers as many waiters as it can, in order, and evicts when no room
// can come from elsewhere. The lock is held.
func (b *Budget) serve() {
	for len(b.queue) > 0 {
		b.queue = slices.DeleteFunc(b.queue, func(w *waiter) bool {
			if !w.holder.evicted.Load() {
				return false
			}
			b.waiting.Add(-1)
			w.answer <- ErrEvicted
			return true
		})
		if len(b.queue) == 0 {
			return
		}
		head := b.queue[0]
		if b.Try(head.need) {
			b.grant(head.holder, head.need)
			b.queue = b.queue[1:]
			b.waiting.Add(-1)
			head.answer <- nil
			continue
		}
		if b.roomIsComing(head.need) || !b.evictLargest() {
			return
		}
	}
}

// roomIsComing reports whether need bytes will be there once every request in
// progress is answered and every evicted connection has gone.
func (b *Budget) roomIsComing(need int64) bool {
	var unfinished int64
	for _, h := range b.holders {
		if !h.evicted.Load() {
			unfinished += h.held.Load()
		}
	}
	return unfinished+need <= b.limit
}

func (b *Budget) evictLargest() bool {
	var victim *Holder
	for _, h := range b.holders {
		held := h.held.Load()
		if held == 0 || h.evicted.Load() {
			continue
		}
		if victim == nil || held > victim.held.Load() ||
			held == victim.held.Load() && h.since.Load() < victim.since.Load() {
			victim = h
		}
	}
	if victim == nil {
		return false
	}
	victim.evicted.Store(true)
	go victim.Evict()
	return true
}
