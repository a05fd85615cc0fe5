package server

import (
	"context"
	"io"
	"net"
	"time"
)

// The end of a server, in order:
//
//	serving ──quiet, or time is up──▶ leaving ──answered now──▶ half closed ──the client's end──▶ closed
//	                                     └─────idle, or new─────▶ reset
//
// Until it is quiet clients are served and let in as ever, so that they learn from
// this broker where to go on: some open another connection for that. Connections
// that are leaving take no request that has not begun, and those that wait are
// answered with what there is.

const (
	// stopLook is how often a server that ends looks whether it is quiet.
	stopLook = 5 * time.Millisecond
	// stopAnswers bounds how long the last answers may take once nothing more is read.
	stopAnswers = 250 * time.Millisecond
	// stopLinger bounds how long a client may take to see that its connection is
	// closed. What it sends meanwhile is dropped: closing a connection with unread
	// bytes would have the kernel drop answers that are on their way.
	stopLinger = 100 * time.Millisecond
	// ShutdownTime is how long Shutdown may take once its context has ended.
	ShutdownTime = stopAnswers + stopLinger
)

// Shutdown ends the server in order and returns when all connections have ended:
// once all requests have been answered and none has come for as long as quiet
// says, or when ctx ends and what was asked until then has been answered. Answers
// that take longer than 250 ms after that are dropped.
func (s *Server) Shutdown(ctx context.Context, quiet time.Duration) {
	look := time.NewTicker(stopLook)
	defer look.Stop()
	for !s.quiet(quiet) && ctx.Err() == nil {
		select {
		case <-look.C:
		case <-ctx.Done():
		}
	}
	s.stopAccepting()
	late := time.NewTimer(s.lastAnswers)
	defer late.Stop()
	for conns := s.snapshot(nil); len(conns) > 0; conns = s.snapshot(conns[:0]) {
		for _, c := range conns {
			c.leave(quiet)
		}
		select {
		case <-look.C:
		case <-late.C:
			s.Close()
			return
		}
	}
	s.Close()
}

// quiet reports whether all requests have been answered and none has come for so long.
func (s *Server) quiet(d time.Duration) bool {
	for _, c := range s.snapshot(nil) {
		if !c.quiet(d) {
			return false
		}
	}
	return true
}

// stopAccepting lets nobody in any more.
func (s *Server) stopAccepting() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	for ln := range s.listeners {
		_ = ln.Close()
	}
}

// Close stops accepting, closes all connections and returns when their readers
// have ended. Answers that come later are dropped.
func (s *Server) Close() {
	s.stopAccepting()
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
		for c := range s.conns {
			c.abrupt.Store(!c.greeted.Load())
			c.close()
		}
	}
	s.mu.Unlock()
	s.wait.Wait()
}

// quiet reports whether all requests have been answered and none has come for
// so long.
func (c *Conn) quiet(d time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.depth == 0 && !c.partial.Load() && time.Since(time.Unix(0, c.arrived.Load())) >= d
}

// keyApiVersions is the key of the request with which clients introduce themselves.
const keyApiVersions = 18

// linger says whether the end of a connection, whoever causes it, is one in order
// or a reset, which is what it begins with, so that it is a reset if this process
// is killed. To franz-go a reset is better in two cases. It does not look at a
// connection that it does not use: when it does again, it finds out about a reset
// before it has sent a request, which then goes to the broker's next process at
// once, and otherwise only when there is no answer, upon which it waits. And of a
// new connection, on which it was told no more than what it may ask, it takes an
// end in order for a broker that does not want it, and fails.
func (c *Conn) linger(inOrder bool) {
	seconds := 0
	if inOrder {
		seconds = -1 // as is usual
	}
	if tcp, ok := c.nc.(*net.TCPConn); ok {
		_ = tcp.SetLinger(seconds) // it fails only when the connection has ended
	}
}

// leave has the reader end where the next request would begin.
func (c *Conn) leave(quiet time.Duration) {
	if c.leaving.Swap(true) {
		return
	}
	if c.quiet(quiet) {
		c.abrupt.Store(true)
	}
	c.mu.Lock()
	for r := c.head; r != nil; r = r.next {
		if r.waiting != nil {
			r.waiting.Abandon(false)
		}
	}
	c.room.Broadcast()
	c.mu.Unlock()
	_ = c.nc.SetReadDeadline(time.Now()) // it fails only when the connection has ended
}

// conclude waits until all requests have been answered and lets the client see
// the end. It runs in the reader.
func (c *Conn) conclude() {
	c.uncork()
	c.mu.Lock()
	for c.depth > 0 && !c.closed {
		c.room.Wait()
	}
	closed := c.closed
	c.mu.Unlock()
	if !c.greeted.Load() {
		c.abrupt.Store(true)
	}
	half, ok := c.nc.(interface{ CloseWrite() error })
	if closed || !ok || c.abrupt.Load() || half.CloseWrite() != nil {
		return
	}
	if c.nc.SetReadDeadline(time.Now().Add(stopLinger)) == nil {
		_, _ = io.Copy(io.Discard, c.nc) // what comes now is nobody's any more
	}
}
