package server

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"
)

var writers = sync.Pool{New: func() any { return new(Writer) }}

// drain writes answers in order until the oldest request is one that waits.
// One goroutine at a time runs it: draining is set by whoever starts it.
func (c *Conn) drain() {
	w := writers.Get().(*Writer)
	w.conn = c
	for {
		batch, dead := c.takeReady(w)
		if batch == nil {
			return
		}
		c.writeAll(w, batch, dead)
		c.settle(batch)
	}
}

// takeReady cuts the answered requests off the head of the queue. When there
// are none the drain is over, and the writer goes back to its pool.
func (c *Conn) takeReady(w *Writer) (batch *Request, dead bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var last *Request
	for r := c.head; r != nil && r.state != pending; r = r.next {
		last = r
	}
	if last == nil {
		w.reset()
		writers.Put(w)
		c.draining = false
		c.room.Broadcast() // finish may wait for it
		return nil, false
	}
	batch, c.head = c.head, last.next
	if last.next == nil {
		c.tail = nil
	}
	last.next = nil
	return batch, c.closed
}

// writeAll writes the answers of a batch; after an error it writes no more and
// the connection is closed.
func (c *Conn) writeAll(w *Writer, batch *Request, dead bool) {
	if dead {
		return
	}
	c.writing.Store(c.server.clock.Load() + 1)
	defer c.writing.Store(0)
	defer func() {
		if cause := recover(); cause != nil {
			c.server.options.Metrics.Panics.Inc()
			c.server.options.Log.Error().Str("panic", fmt.Sprint(cause)).Bytes("stack", debug.Stack()).
				Msg("writing an answer crashed; its connection is closed")
			c.close()
		}
	}()
	var err error
	for r := batch; r != nil && err == nil; r = r.next {
		switch r.state {
		case answered:
			if r.Key != keyApiVersions {
				c.greeted.Store(true)
			}
			w.answer(r)
			err = w.flushIfLarge()
		case aborted:
			_ = w.flush()
			if !c.greeted.Load() {
				c.abrupt.Store(true)
			}
			err = errAborted
		}
	}
	if err == nil {
		err = w.flush()
	}
	if err != nil {
		c.close()
	}
}

const errAborted = refusal("aborted")

// settle lets go of a batch of requests that were answered or never will be.
func (c *Conn) settle(batch *Request) {
	now := time.Now()
	requestsDone, bytesDone := 0, 0
	for r := batch; r != nil; {
		next := r.next
		requestsDone++
		bytesDone += r.charged
		c.server.options.Metrics.api(r.Key).latency.Observe(now.Sub(r.Arrived).Seconds())
		if r.reply != nil {
			r.reply.Release()
		}
		if r.Frame != nil {
			r.Frame.Release()
		}
		if !r.crashed {
			*r = Request{}
			requests.Put(r)
		}
		r = next
	}
	c.mu.Lock()
	c.depth -= requestsDone
	c.inFlight -= bytesDone
	c.room.Signal()
	c.mu.Unlock()
}
