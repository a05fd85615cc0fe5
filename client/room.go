package client

import (
	"sync"
	"sync/atomic"
	"time"
)

// room bounds what is in flight in a subscription. One goroutine asks; any takes and
// gives back.
type room struct {
	records atomic.Int64
	bytes   atomic.Int64
	max     struct{ records, bytes int64 }
	size    atomic.Int64 // bytes of a record, on the average of the last ones

	waited atomic.Bool // freed is not nil
	mu     sync.Mutex
	freed  chan struct{} // closed when there is room; nil: nobody waits
}

// firstSize is how large records are taken to be before one has been seen, in bytes.
const firstSize = 64 << 10

// take notes what is on its way from now on, at least one record.
func (r *room) take(records int, bytes int64) {
	r.records.Add(int64(records))
	r.bytes.Add(bytes)
	size := bytes / int64(records)
	r.size.Store((orElse(r.size.Load(), size) + size + 1) / 2)
}

// give notes what no longer is.
func (r *room) give(records int, bytes int64) {
	r.records.Add(-int64(records))
	r.bytes.Add(-bytes)
	if !r.waited.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tell()
}

// any reports whether there is room.
func (r *room) any() bool {
	return r.records.Load() < r.max.records && r.bytes.Load() < r.max.bytes
}

// extra reports whether there is room for one more of the records that are read
// again, which have an eighth of their own.
func (r *room) extra() bool {
	return r.records.Load() < r.max.records+(r.max.records+7)/8 && r.bytes.Load() < r.max.bytes+r.max.bytes/8
}

// ask gives for how many records there is room, if they are as large as the last
// ones. If for none, it gives what is closed when there is.
func (r *room) ask() (records int, freed <-chan struct{}) {
	if r.any() {
		size := orElse(r.size.Load(), firstSize)
		return int(min(r.max.records-r.records.Load(), 1+max(r.max.bytes-r.bytes.Load(), 0)/size)), nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	told := make(chan struct{})
	r.freed = told
	r.waited.Store(true)
	r.tell() // it may have been given back before anybody could see that it is waited for
	return 0, told
}

// tell tells who waits if there is room. The lock is held.
func (r *room) tell() {
	if r.freed != nil && r.any() {
		close(r.freed)
		r.freed = nil
		r.waited.Store(false)
	}
}

// gather is for how long more room is waited for, when there is only a little: to
// poll for one record at a time costs more than it brings.
const gather = time.Millisecond

// little reports whether so much room is too little to poll at once.
func (r *room) little(records int) bool {
	return int64(records) < r.max.records/8 && r.records.Load() > r.max.records/2
}
