package client

import "sync"

// room bounds what is in flight in a subscription.
type room struct {
	mu      sync.Mutex
	records int
	bytes   int64
	size    int64         // bytes of a record, on the average of the last ones
	freed   chan struct{} // closed when there is room; nil: nobody waits
	max     struct {
		records int
		bytes   int64
	}
}

// take notes what is on its way from now on, at least one record.
func (r *room) take(records int, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records += records
	r.bytes += bytes
	if r.size == 0 {
		r.size = bytes / int64(records)
	}
	r.size = (r.size + bytes/int64(records) + 1) / 2
}

// firstSize is how large records are taken to be before one has been seen, in bytes.
const firstSize = 64 << 10

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

// left is for how many records there is room, if they are as large as the last
// ones. The lock is held.
func (r *room) left() int {
	if r.bytes >= r.max.bytes {
		return 0
	}
	size := r.size
	if size == 0 {
		size = firstSize
	}
	return int(min(int64(r.max.records-r.records), 1+(r.max.bytes-r.bytes)/size))
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
