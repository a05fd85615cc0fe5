package client

import "sync"

// room bounds what is in flight in a subscription.
type room struct {
	mu      sync.Mutex
	records int
	bytes   int64
	freed   chan struct{} // closed when there is room; nil: nobody waits
	max     struct {
		records int
		bytes   int64
	}
}

// take notes what is on its way from now on.
func (r *room) take(records int, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records += records
	r.bytes += bytes
}

// give notes what no longer is.
func (r *room) give(records int, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records -= records
	r.bytes -= bytes
	if r.freed != nil && r.left() > 0 {
		close(r.freed)
		r.freed = nil
	}
}

// left is for how many records there is room. The lock is held.
func (r *room) left() int {
	if r.bytes >= r.max.bytes {
		return 0
	}
	return r.max.records - r.records
}

// ask gives how many records there is room for or, if for none, what is closed
// when there is.
func (r *room) ask() (records int, freed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := r.left(); n > 0 {
		return n, nil
	}
	if r.freed == nil {
		r.freed = make(chan struct{})
	}
	return 0, r.freed
}
