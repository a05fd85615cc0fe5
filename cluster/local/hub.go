package local

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"understudy/cluster/link"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// Hub is where the brokers of a cluster find each other if all of them live in
// one process: metadata in memory, the controller's lock, and who is where. It
// ends with the process, so it is for tests and for trying things out.
type Hub struct {
	store *Store

	mu      sync.Mutex
	seats   map[messages.BrokerID]*Seat
	holder  *Seat         // of the lock; nil: nobody
	lost    chan struct{} // closed when holder loses it
	changed chan struct{} // closed at any change of what stands above
}

// deadFor is for how long a broker that has died holds the lock, unless somebody
// who knows better deposes it: the check's TTL and what it takes to notice.
const deadFor = 1300 * time.Millisecond

// NewHub makes a Hub that nobody has joined.
func NewHub() *Hub {
	return &Hub{store: NewMemory(), seats: map[messages.BrokerID]*Seat{}, changed: make(chan struct{})}
}

// Seat is one broker's place at a Hub. It is a metadata.Store in which only the
// holder of the lock can write.
//
//	Join ──▶ seated ──Leave──▶ gone
//	           │ ▲ Cut
//	           ▼ │
//	        cut off: calls wait        Die: as Leave, but the lock stays for a while
type Seat struct {
	hub *Hub
	id  messages.BrokerID

	// The hub's lock guards these.
	peer link.Peer
	dead bool
	cut  bool

	stranded bool // cut, and the hub has not noticed
}

var _ metadata.Store = (*Seat)(nil)

// Join gives a broker its seat. One that lives cannot join twice.
func (h *Hub) Join(id messages.BrokerID) (*Seat, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if old := h.seats[id]; old != nil && !old.dead {
		return nil, messages.E("join", messages.InvalidConfig, fmt.Sprint(id), errors.New("a live node has this id"))
	}
	s := &Seat{hub: h, id: id}
	h.seats[id] = s
	return s, nil
}

// change wakes whoever waits for a change. The lock is held.
func (h *Hub) change() {
	close(h.changed)
	h.changed = make(chan struct{})
}

// unlock takes the lock from its holder. The hub's lock is held.
func (h *Hub) unlock(s *Seat) {
	if h.holder == s && s != nil {
		h.holder = nil
		close(h.lost)
		h.change()
	}
}

// await waits, with the hub's lock held on return, until ready; it fails when the
// seat is dead or the context ends, with the lock free.
func (s *Seat) await(ctx context.Context, ready func() bool) error {
	for {
		s.hub.mu.Lock()
		switch {
		case s.dead:
			s.hub.mu.Unlock()
			return ErrClosed
		case !s.cut && ready():
			return nil
		}
		changed := s.hub.changed
		s.hub.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func always() bool { return true }

// Load implements metadata.Store.
func (s *Seat) Load(ctx context.Context) (metadata.State, error) {
	if err := s.await(ctx, always); err != nil {
		return metadata.State{}, err
	}
	s.hub.mu.Unlock()
	return s.hub.store.Load(ctx)
}

// Commit implements metadata.Store. Without the lock it is a conflict.
func (s *Seat) Commit(ctx context.Context, txn metadata.Txn) (int64, error) {
	if err := s.await(ctx, always); err != nil {
		return 0, err
	}
	defer s.hub.mu.Unlock()
	if s.hub.holder != s {
		return 0, metadata.ErrConflict
	}
	return s.hub.store.Commit(ctx, txn)
}

// Watch implements metadata.Store.
func (s *Seat) Watch(ctx context.Context, after int64) (int64, error) {
	revision, err := s.hub.store.Watch(ctx, after)
	if err != nil {
		return 0, err
	}
	if err := s.await(ctx, always); err != nil {
		return 0, err
	}
	s.hub.mu.Unlock()
	return revision, nil
}

// Announce makes known where the broker's link is, and in which start it is.
func (s *Seat) Announce(_ metadata.Broker, peer link.Peer) error {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.peer = peer
	s.hub.change()
	return nil
}

// Follow tells who is where, now and whenever it changes, until the context ends.
func (s *Seat) Follow(ctx context.Context, tell func(map[messages.BrokerID]link.Peer)) {
	var told map[messages.BrokerID]link.Peer
	for {
		s.hub.mu.Lock()
		peers := map[messages.BrokerID]link.Peer{}
		for id, other := range s.hub.seats {
			if other.peer.Addr != "" {
				peers[id] = other.peer
			}
		}
		changed := s.hub.changed
		s.hub.mu.Unlock()
		if told == nil || !maps.Equal(told, peers) {
			told = peers
			tell(peers)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Acquire waits until this broker holds the controller's lock; lost is closed
// when it does no longer.
func (s *Seat) Acquire(ctx context.Context) (lost <-chan struct{}, err error) {
	if err := s.await(ctx, func() bool { return s.hub.holder == nil }); err != nil {
		return nil, err
	}
	defer s.hub.mu.Unlock()
	s.hub.holder, s.hub.lost = s, make(chan struct{})
	return s.hub.lost, nil
}

// Release lets the lock go, if this broker holds it.
func (s *Seat) Release(context.Context) error {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if !s.stranded { // who is, cannot tell
		s.hub.unlock(s)
	}
	return nil
}

// Depose takes the lock from a broker that is known to be gone.
func (s *Seat) Depose(_ context.Context, id messages.BrokerID) error {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if h := s.hub.holder; h != nil && h.id == id && !s.cut && !s.dead {
		s.hub.unlock(h)
	}
	return nil
}

// Alive reports whether the hub hears of a broker.
func (s *Seat) Alive(id messages.BrokerID) bool {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	other := s.hub.seats[id]
	return other != nil && !other.dead && (!other.cut || other.stranded)
}

// Reachable reports whether the hub can be reached.
func (s *Seat) Reachable() bool {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	return !s.cut && !s.dead
}

// ErrCut is what is wrong for a broker that is cut off from the hub.
var ErrCut = errors.New("the hub cannot be reached")

// Trouble is ErrCut, or nil while the hub can be reached.
func (s *Seat) Trouble() error {
	if !s.Reachable() {
		return ErrCut
	}
	return nil
}

// Restore has nothing to do: a hub's metadata is lost with the process, and so are
// the brokers.
func (s *Seat) Restore(context.Context, metadata.State, bool) error {
	return messages.E("restore metadata", messages.InvalidRequest, "", errors.New("a hub loses nothing"))
}

// Forget forgets a broker that has left or died.
func (s *Seat) Forget(_ context.Context, id messages.BrokerID) error {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	if other := s.hub.seats[id]; other != nil && other.dead {
		delete(s.hub.seats, id)
		s.hub.change()
	}
	return nil
}

// Leave gives up the lock and the seat.
func (s *Seat) Leave(context.Context) error {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.dead = true
	s.hub.unlock(s)
	s.hub.change()
	return nil
}

// Die is what becomes of the seat when its broker has died: the lock is free
// after a while, or when somebody deposes the broker.
func (s *Seat) Die() {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.dead = true
	s.hub.change()
	time.AfterFunc(deadFor, func() {
		s.hub.mu.Lock()
		defer s.hub.mu.Unlock()
		s.hub.unlock(s)
	})
}

// Strand cuts the node off without the hub noticing: it keeps the lock if it has
// it, as a node does that is cut off together with its agent.
func (s *Seat) Strand() {
	s.hub.mu.Lock()
	s.stranded = true
	s.hub.mu.Unlock()
	s.Cut(true)
}

// Cut cuts the broker off from the hub, or ends that. A lock that it holds is
// free after a while.
func (s *Seat) Cut(on bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.cut = on
	s.hub.change()
	if s.stranded = s.stranded && on; s.stranded {
		return
	}
	time.AfterFunc(deadFor, func() {
		s.hub.mu.Lock()
		defer s.hub.mu.Unlock()
		if s.cut {
			s.hub.unlock(s)
		}
	})
}
