package server

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"understudy/internal/beat"
	"understudy/kafka/wire"
	"understudy/messages"
)

// Server accepts connections and serves them.
type Server struct {
	options Options
	handler Handler
	pool    *wire.Pool
	clock   atomic.Int64 // milliseconds since start, in steps of tick

	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*Conn]struct{}
	addresses map[netip.Addr]int
	closing   bool // nobody is let in any more
	closed    bool
	refusals  map[string]int64 // when a refusal was last logged, by reason

	done chan struct{}
	wait sync.WaitGroup

	lastAnswers time.Duration // see stopAnswers
}

// tick is how often the server looks for idle and stalled connections, and so
// how exact its time limits are.
const tick = 500 * time.Millisecond

// idle is the reason for closing a connection that did nothing wrong.
const idle = "idle"

// New makes a server. Close ends it.
func New(handler Handler, o Options) *Server {
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	s := &Server{
		options:   o,
		handler:   handler,
		pool:      o.Pool,
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[*Conn]struct{}),
		addresses: make(map[netip.Addr]int),
		refusals:  make(map[string]int64),
		done:      make(chan struct{}),

		lastAnswers: stopAnswers,
	}
	s.wait.Go(s.watch)
	return s
}

// Serve accepts connections until Close, or until the listener fails.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return messages.E("serve", messages.ShuttingDown, ln.Addr().String(), nil)
	}
	s.listeners[ln] = struct{}{}
	s.mu.Unlock()
	for {
		nc, err := ln.Accept()
		if err == nil {
			s.Take(nc)
			continue
		}
		if s.isClosing() || errors.Is(err, net.ErrClosed) {
			return nil
		}
		if temporary(err) {
			s.options.Log.Warn().Err(err).Msg("cannot accept connections for the moment")
			select {
			case <-s.done:
				return nil
			case <-time.After(100 * time.Millisecond):
			}
			continue
		}
		return messages.E("accept", messages.Unknown, ln.Addr().String(), err)
	}
}

// temporary tells errors that pass, such as too many open files, from those
// that do not.
func temporary(err error) bool {
	var ne net.Error
	//lint:ignore SA1019 Temporary is deprecated because it is vague, but it is all that Accept offers
	return errors.As(err, &ne) && ne.Temporary()
}

// Take serves a connection, if the limits allow one more; else it closes it.
func (s *Server) Take(nc net.Conn) {
	addr := addressOf(nc)
	if reason := s.admit(addr); reason != "" {
		s.refuse(nc.RemoteAddr(), reason)
		_ = nc.Close()
		return
	}
	c := newConn(s, nc, addr)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		s.forget(c)
		_ = nc.Close()
		return
	}
	s.conns[c] = struct{}{}
	s.wait.Add(1)
	s.mu.Unlock()
	s.pool.Budget().Register(&c.holder)
	s.options.Metrics.Connections.Inc()
	go c.serve()
}

func addressOf(nc net.Conn) netip.Addr {
	if tcp, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return tcp.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// admit counts one more connection from addr, or says why there may not be one.
func (s *Server) admit(addr netip.Addr) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return "the broker is stopping"
	case len(s.conns) >= s.options.Limits.Connections:
		return "too many connections"
	case s.addresses[addr] >= s.options.Limits.ConnectionsPerAddress:
		return "too many connections from one address"
	}
	s.addresses[addr]++
	return ""
}

// refuse counts and logs a connection that was not served. A reason is logged
// once in ten seconds: whoever opens connections in a loop must not fill the log.
func (s *Server) refuse(from net.Addr, reason string) {
	s.options.Metrics.Refused.WithLabelValues(reason).Inc()
	if reason == idle {
		return
	}
	s.mu.Lock()
	now := s.clock.Load()
	last, seen := s.refusals[reason]
	if quiet := seen && now-last < 10_000; quiet {
		s.mu.Unlock()
		return
	}
	s.refusals[reason] = now
	s.mu.Unlock()
	s.options.Log.Warn().Stringer("from", from).Msg("connection closed: " + reason)
}

func (s *Server) forget(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	if s.addresses[c.addr]--; s.addresses[c.addr] <= 0 {
		delete(s.addresses, c.addr)
	}
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// Connections is how many are open.
func (s *Server) Connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

// watch keeps the coarse clock and closes what has been idle or stuck for too long.
func (s *Server) watch() {
	ticker := beat.NewTicker(tick)
	defer ticker.Stop()
	start := time.Now()
	var conns []*Conn
	for {
		select {
		case <-s.done:
			return
		case t := <-ticker.C:
			now := t.Sub(start).Milliseconds()
			s.clock.Store(now)
			conns = s.snapshot(conns[:0])
			for _, c := range conns {
				if reason := c.overdue(now); reason != "" {
					s.refuse(c.nc.RemoteAddr(), reason)
					c.close()
				}
			}
			clear(conns)
		}
	}
}

func (s *Server) snapshot(into []*Conn) []*Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		into = append(into, c)
	}
	return into
}
