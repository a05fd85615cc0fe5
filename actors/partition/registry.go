package partition

import (
	"context"
	"sync"

	"understudy/messages"
)

// Registry is where the rest of the broker finds the local replicas.
type Registry struct {
	mu      sync.RWMutex
	handles map[messages.TopicPartition]*Handle
	byID    map[replicaKey]*Handle
	added   chan struct{} // closed and replaced when handles are added
	around  surroundings  // what is known of other nodes

	awakeMu sync.Mutex
	awake   map[*Handle]struct{} // those that want to be told the time: none at rest
}

// replicaKey is how other nodes name a replica: a topic that was made anew under
// its name is another one.
type replicaKey struct {
	topic     messages.TopicID
	partition int32
}

func (h *Handle) key() replicaKey { return replicaKey{h.topicID, h.tp.Partition} }

// NewRegistry makes an empty registry.
func NewRegistry() *Registry {
	return &Registry{
		handles: map[messages.TopicPartition]*Handle{}, byID: map[replicaKey]*Handle{},
		awake: map[*Handle]struct{}{}, added: make(chan struct{}),
	}
}

// Lookup finds a local replica, or nil.
func (r *Registry) Lookup(tp messages.TopicPartition) *Handle {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.handles[tp]
}

// All lists the local replicas, in no order.
func (r *Registry) All() []*Handle {
	r.mu.RLock()
	defer r.mu.RUnlock()
	all := make([]*Handle, 0, len(r.handles))
	for _, h := range r.handles {
		all = append(all, h)
	}
	return all
}

// tick tells the time to the replicas that wait for something.
func (r *Registry) tick() {
	r.awakeMu.Lock()
	defer r.awakeMu.Unlock()
	for h := range r.awake {
		h.mail.PostUserMessage(tick{})
	}
}

func (r *Registry) setAwake(h *Handle, awake bool) {
	r.awakeMu.Lock()
	defer r.awakeMu.Unlock()
	if awake {
		r.awake[h] = struct{}{}
	} else {
		delete(r.awake, h)
	}
}

func (r *Registry) add(handles []*Handle) {
	if len(handles) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, h := range handles {
		r.handles[h.tp], r.byID[h.key()] = h, h
		if !r.around.empty() {
			h.mail.PostUserMessage(r.around.clone())
		}
	}
	close(r.added)
	r.added = make(chan struct{})
}

func (r *Registry) remove(h *Handle) {
	r.setAwake(h, false)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.handles[h.tp] == h {
		delete(r.handles, h.tp)
	}
	if r.byID[h.key()] == h { // a replica that came back to this node has the same key
		delete(r.byID, h.key())
	}
}

// AwaitReady returns when each of the partitions has published a view, so that
// it either serves or says why not. It gives up with the context.
func (r *Registry) AwaitReady(ctx context.Context, tps []messages.TopicPartition) error {
	for _, tp := range tps {
		if err := r.awaitOne(ctx, tp); err != nil {
			return messages.E("await partition", messages.RequestTimedOut, tp.String(), err)
		}
	}
	return nil
}

func (r *Registry) awaitOne(ctx context.Context, tp messages.TopicPartition) error {
	for {
		r.mu.RLock()
		h, added := r.handles[tp], r.added
		r.mu.RUnlock()
		if h != nil {
			return h.awaitView(ctx)
		}
		select {
		case <-added:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// awaitView returns when the replica has published a view.
func (h *Handle) awaitView(ctx context.Context) error {
	published := make(chan struct{})
	w := NewWaiter(func() { close(published) })
	h.Wait(w)
	if h.View() != nil {
		h.Cancel(w)
		return nil
	}
	select {
	case <-published:
		return nil
	case <-ctx.Done():
		h.Cancel(w)
		return ctx.Err()
	}
}
