package metadata

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Cell is where a broker keeps the latest image. Readers take it without a
// lock; subscribers are told of every change, in order.
type Cell struct {
	image atomic.Pointer[Image]

	mu   sync.Mutex // serialises publications, so that subscribers see them in order
	subs []*subscriber

	waitMu  sync.Mutex
	changed chan struct{} // closed at the next publication; nil: nobody waits
}

type subscriber struct{ tell func(Change) }

// NewCell makes a cell that holds the empty image.
func NewCell() *Cell {
	c := &Cell{}
	c.image.Store(Empty())
	return c
}

// Image is the latest image; never nil.
func (c *Cell) Image() *Image { return c.image.Load() }

// Publish makes ch.New the latest image and tells the subscribers. If ch.Old is
// not the image published last, what they are told is worked out afresh, so that
// the changes they see are without gaps. An image older than the one published
// is ignored.
func (c *Cell) Publish(ch Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	latest := c.image.Load()
	if ch.New.Revision < latest.Revision {
		return
	}
	if ch.Old != latest {
		ch = Diff(latest, ch.New)
	}
	c.image.Store(ch.New)
	for _, s := range c.subs {
		s.tell(ch)
	}
	c.waitMu.Lock()
	defer c.waitMu.Unlock()
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// Next is the latest image, and a channel that is closed when there is another
// and the subscribers have been told.
func (c *Cell) Next() (*Image, <-chan struct{}) {
	c.waitMu.Lock()
	defer c.waitMu.Unlock()
	if c.changed == nil {
		c.changed = make(chan struct{})
	}
	return c.image.Load(), c.changed
}

// Subscribe calls tell once for everything there is now, and then for every
// publication, in order and one at a time, after Image has begun to return the
// new one. tell runs in the publisher's goroutine: it must not block, nor call
// the Cell except for Image. After cancel returns it is not called again.
func (c *Cell) Subscribe(tell func(Change)) (cancel func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &subscriber{tell: tell}
	c.subs = append(c.subs, s)
	tell(Diff(Empty(), c.image.Load()))
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.subs = slices.DeleteFunc(slices.Clone(c.subs), func(x *subscriber) bool { return x == s })
	}
}
