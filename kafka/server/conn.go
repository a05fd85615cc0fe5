package server

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"understudy/kafka/wire"
)

// Conn is one client's connection.
type Conn struct {
	server *Server
	nc     net.Conn
	addr   netip.Addr
	holder wire.Holder
	file   fileSender
	drainF func() // the method drain, so that starting a goroutine allocates nothing

	active  atomic.Int64 // server clock when the client last sent something
	partial atomic.Bool  // a request has begun and not ended
	starved atomic.Bool  // and it is we who do not read, for want of memory
	writing atomic.Int64 // server clock when the current write last got on, plus 1; 0: none
	arrived atomic.Int64 // wall clock of the last request, ns; at first, of the connection
	greeted atomic.Bool  // something but ApiVersions has been answered
	leaving atomic.Bool  // the server ends: nothing more is read; see stop.go
	abrupt  atomic.Bool  // it is to end with a reset; see linger

	mu         sync.Mutex
	room       sync.Cond // signalled when there is room for another request, and when a drain ends
	head, tail *Request  // the queue, oldest first
	depth      int       // requests in the queue or being written
	inFlight   int       // bytes of those
	corked     bool      // the reader will see to the writing before it waits
	draining   bool      // somebody runs drain
	gone       bool      // the client has gone; answers are dropped
	closed     bool

	earned     int // the largest request that this client has really sent, up to maxEarned
	start, end int // what is in the buffer, in
	in         [1024]byte
}

const (
	prefixSize = 4 // a frame's length
	headerSize = 8 // key, version, correlation id: the least a request can be
	firstChunk = 64 << 10
	maxEarned  = 8 << 20
)

func newConn(s *Server, nc net.Conn, addr netip.Addr) *Conn {
	c := &Conn{server: s, nc: nc, addr: addr}
	c.room.L = &c.mu
	c.drainF = c.drain
	c.holder.Evict = func() {
		s.refuse(nc.RemoteAddr(), wire.ErrEvicted.Error())
		c.close()
	}
	c.holder.BeforeWait = c.starve
	c.file.init(c)
	c.active.Store(s.clock.Load())
	c.arrived.Store(time.Now().UnixNano())
	c.linger(false)
	return c
}

// RemoteAddr is the client's address.
func (c *Conn) RemoteAddr() net.Addr { return c.nc.RemoteAddr() }

// LocalAddr is the address that the client connected to.
func (c *Conn) LocalAddr() net.Addr { return c.nc.LocalAddr() }

// serve is the reader: it runs until the connection ends.
func (c *Conn) serve() {
	defer c.finish()
	for first := true; ; first = false {
		if !c.waitForRoom() {
			c.conclude()
			return
		}
		frame, err := c.readFrame(first)
		if err != nil {
			var refused refusal
			switch {
			case errors.As(err, &refused) || errors.Is(err, wire.ErrOverBudget):
				c.server.refuse(c.nc.RemoteAddr(), err.Error())
			case c.leaving.Load() && errors.Is(err, os.ErrDeadlineExceeded):
				c.conclude()
			}
			return
		}
		c.server.options.Metrics.BytesIn.Add(float64(len(frame.B) + prefixSize))
		c.dispatch(frame)
	}
}

// waitForRoom returns when the connection may have one more request in flight;
// false if there is to be none.
func (c *Conn) waitForRoom() bool {
	c.mu.Lock()
	if !c.full() {
		defer c.mu.Unlock()
		return c.more()
	}
	c.mu.Unlock()
	c.uncork()
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.full() && c.more() {
		c.room.Wait()
	}
	return c.more()
}

// more reports whether another request may be read. When the server ends, what
// was read in part is still taken. The lock is held.
func (c *Conn) more() bool { return !c.closed && (!c.leaving.Load() || c.start < c.end) }

func (c *Conn) full() bool {
	l := &c.server.options.Limits
	return c.depth >= l.InFlightRequests || c.depth > 0 && c.inFlight >= l.InFlightBytes
}

// refusal is an error that is the client's fault.
type refusal string

func (r refusal) Error() string { return string(r) }

// readFrame reads the next request whole, its length prefix left out.
func (c *Conn) readFrame(first bool) (*wire.Buffer, error) {
	if err := c.fill(prefixSize); err != nil {
		return nil, err
	}
	if first {
		if stranger := sniff(c.in[c.start : c.start+prefixSize]); stranger != "" {
			return nil, refusal(stranger)
		}
	}
	c.partial.Store(true)
	defer c.partial.Store(false)
	size := int(int32(binary.BigEndian.Uint32(c.in[c.start:])))
	if size < headerSize {
		return nil, refusal("a request of impossible size")
	}
	if err := c.fill(prefixSize + 2); err != nil {
		return nil, err
	}
	key := int16(binary.BigEndian.Uint16(c.in[c.start+prefixSize:]))
	if size > c.server.handler.Limit(key) {
		return nil, refusal("a request larger than allowed")
	}
	if err := c.fill(min(prefixSize+size, len(c.in))); err != nil {
		return nil, err
	}
	c.start += prefixSize
	return c.readBody(size)
}

// chunk is the size of the buffer that a request's reading begins with. It is
// small, unless the client has sent as much before: then it is believed, which
// saves the copying from a buffer to a larger one, as long as memory is plenty.
func (c *Conn) chunk(size int) int {
	trusted := firstChunk
	if budget := c.server.pool.Budget(); c.earned > trusted && budget.Used() < budget.Limit()/2 {
		trusted = c.earned
	}
	return min(size, trusted)
}

// readBody moves a request of size bytes, whose beginning is in c.in, to a
// buffer that grows as the rest arrives, so that it is never more than four
// times what has come.
func (c *Conn) readBody(size int) (*wire.Buffer, error) {
	pool := c.server.pool
	defer c.starved.Store(false)
	b, err := pool.Acquire(&c.holder, c.chunk(size))
	if err != nil {
		return nil, err
	}
	n := min(size, c.end-c.start)
	b.B = append(b.B, c.in[c.start:c.start+n]...)
	c.start += n
	for len(b.B) < size {
		if len(b.B) == cap(b.B) {
			b, err = b.Grow(&c.holder, min(size, 4*cap(b.B)))
			c.starved.Store(false)
		}
		if err == nil {
			n, err = c.read(b.B[len(b.B):min(cap(b.B), size)])
			b.B = b.B[:len(b.B)+n]
		}
		if err != nil {
			b.Drop(&c.holder)
			return nil, err
		}
	}
	c.holder.Complete()
	c.earned = max(c.earned, min(size, maxEarned))
	return b, nil
}

// starve is called when the reader is about to wait for memory: answers that
// are ready go out first, since they give some back.
func (c *Conn) starve() {
	c.starved.Store(true)
	c.uncork()
}

// fill reads until at least n bytes, at most len(c.in), are in the buffer.
func (c *Conn) fill(n int) error {
	if c.start == c.end {
		c.start, c.end = 0, 0
	}
	for c.end-c.start < n {
		if c.start+n > len(c.in) {
			c.end = copy(c.in[:], c.in[c.start:c.end])
			c.start = 0
		}
		into := c.in[c.end:]
		if c.leaving.Load() {
			into = into[:n-(c.end-c.start)]
		}
		got, err := c.read(into)
		c.end += got
		if err != nil && c.end-c.start < n {
			return err
		}
	}
	return nil
}

// read reads what there is, after seeing to the answers that are ready.
func (c *Conn) read(into []byte) (int, error) {
	c.uncork()
	for {
		n, err := c.nc.Read(into)
		if n > 0 {
			c.active.Store(c.server.clock.Load())
			return n, nil
		}
		if !c.partial.Load() || !c.leaving.Load() || !errors.Is(err, os.ErrDeadlineExceeded) {
			return 0, err
		}
		// A request that has begun is read to its end.
		if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
			return 0, err
		}
	}
}

// dispatch queues a request and hands it to the handler.
func (c *Conn) dispatch(frame *wire.Buffer) {
	r := requests.Get().(*Request)
	*r = Request{
		Key:         int16(binary.BigEndian.Uint16(frame.B)),
		Version:     int16(binary.BigEndian.Uint16(frame.B[2:])),
		Correlation: int32(binary.BigEndian.Uint32(frame.B[4:])),
		Frame:       frame,
		Body:        frame.B[headerSize:],
		Arrived:     time.Now(),
		conn:        c,
		charged:     len(frame.B),
	}
	c.arrived.Store(r.Arrived.UnixNano())
	c.mu.Lock()
	if c.tail == nil {
		c.head = r
	} else {
		c.tail.next = r
	}
	c.tail = r
	c.depth++
	c.inFlight += r.charged
	c.corked = true
	c.mu.Unlock()
	c.handle(r, r.Key, r.Version)
}

// handle calls the handler; if it panics, only this connection ends.
func (c *Conn) handle(r *Request, key, version int16) {
	defer c.catch(r, key, version)
	c.server.options.Metrics.api(key).requests.Inc()
	c.server.handler.Handle(r)
}

// catch is deferred around what handles a request.
func (c *Conn) catch(r *Request, key, version int16) {
	cause := recover()
	if cause == nil {
		return
	}
	c.server.options.Metrics.Panics.Inc()
	c.server.options.Log.Error().Int16("api", key).Int16("version", version).Stringer("from", c.nc.RemoteAddr()).
		Str("panic", fmt.Sprint(cause)).Bytes("stack", debug.Stack()).
		Msg("a request's handling crashed; its connection is closed")
	c.close()
	c.mu.Lock()
	for q := c.head; q != nil; q = q.next {
		if q == r && r.state == pending {
			r.crashed = true
			r.state = aborted
		}
	}
	c.mu.Unlock()
	c.uncork() // the reader may have ended
}

// complete ends a request's wait, and starts the writing if it is the oldest.
func (c *Conn) complete(r *Request, s state, reply Reply, flexible bool) {
	c.mu.Lock()
	if r.state != pending { // its handler crashed before
		c.mu.Unlock()
		if reply != nil {
			reply.Release()
		}
		return
	}
	r.state, r.reply, r.flexible, r.waiting = s, reply, flexible, nil
	start := c.head == r && !c.draining && !c.corked
	if start {
		c.draining = true
	}
	c.mu.Unlock()
	if start {
		go c.drainF()
	}
}

// uncork writes the answers that are ready, unless somebody already does, and
// lets those that become ready later be written when they do.
func (c *Conn) uncork() {
	c.mu.Lock()
	c.corked = false
	start := c.head != nil && c.head.state != pending && !c.draining
	if start {
		c.draining = true
	}
	c.mu.Unlock()
	if start {
		c.drain()
	}
}

// overdue says why the connection is to be closed now, or "".
func (c *Conn) overdue(now int64) string {
	l := &c.server.options.Limits
	if since := c.writing.Load(); since > 0 && now-since >= l.StallTime.Milliseconds() {
		return "the client takes no answers"
	}
	quiet := now - c.active.Load()
	if c.partial.Load() {
		if !c.starved.Load() && quiet >= l.StallTime.Milliseconds() {
			return "a request stopped halfway"
		}
		return ""
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.depth == 0 && quiet >= l.IdleTime.Milliseconds() {
		return idle
	}
	return ""
}

// close ends the connection; its reader and its writer find out by themselves.
func (c *Conn) close() {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	c.room.Broadcast()
	c.mu.Unlock()
	c.linger(!c.abrupt.Load())
	_ = c.nc.Close()
	c.server.pool.Budget().Unregister(&c.holder)
}

// finish is the reader's end: requests that wait are told, answers to come are dropped.
func (c *Conn) finish() {
	c.close()
	c.mu.Lock()
	c.gone = true
	for r := c.head; r != nil; r = r.next {
		if r.waiting != nil {
			r.waiting.Abandon(true)
		}
	}
	c.mu.Unlock()
	c.uncork()
	c.mu.Lock()
	for c.draining {
		c.room.Wait()
	}
	c.mu.Unlock()
	c.server.options.Metrics.Connections.Dec()
	c.server.forget(c)
	c.server.wait.Done()
}
