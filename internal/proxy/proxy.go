// Package proxy stands between two ends of TCP connections, in tests, and does to
// them what networks do: it holds, delays, damages and ends them.
package proxy

import (
	"errors"
	"net"
	"sync"
	"syscall"
)

// Treat says what becomes of a piece of a stream: what of it is passed on, and whether
// the connection goes on. forth are the pieces of who dialed. It may take its time, and
// is called from two goroutines for each connection, one for each way.
type Treat func(piece []byte, forth bool) ([]byte, bool)

// Meet looks at a caller. It returns what it has read, which is passed on first, and
// how the connection is treated; nil: it is passed on as it comes. An error ends the
// connection.
type Meet func(near net.Conn) (said []byte, treat Treat, err error)

// Proxy passes connections on to one address.
type Proxy struct {
	listener net.Listener
	target   string
	meet     Meet
	wait     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	ended bool
}

// Listen begins to take connections at an address.
func Listen(addr, target string, meet Meet) (*Proxy, error) {
	listener, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: listener, target: target, meet: meet, conns: map[net.Conn]bool{}}
	p.wait.Go(p.serve)
	return p, nil
}

// Addr is where it listens.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Reset ends all connections that there are, as a firewall does that forgets them.
func (p *Proxy) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns { // first: the end of one ends its other half
		harden(c)
	}
	for c := range p.conns {
		_ = c.Close() // there is nobody to tell
	}
}

// harden has the end of a connection be a reset, where the system can.
func harden(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it may have ended
	}
}

// Close ends everything. What a Treat waits for must have ended.
func (p *Proxy) Close() {
	_ = p.listener.Close() // nothing depends on it
	p.mu.Lock()
	p.ended = true
	p.mu.Unlock()
	p.Reset()
	p.wait.Wait()
}

func (p *Proxy) serve() {
	for {
		near, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.wait.Go(func() { p.connect(near) })
	}
}

// hold keeps a connection among those that Reset ends, unless all has ended.
func (p *Proxy) hold(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		_ = c.Close() // there is nobody to tell
		return false
	}
	p.conns[c] = true
	return true
}

func (p *Proxy) letGo(c net.Conn) {
	_ = c.Close() // there is nobody to tell
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// connect passes one connection on, both ways, until either has ended.
func (p *Proxy) connect(near net.Conn) {
	if !p.hold(near) {
		return
	}
	defer p.letGo(near)
	var said []byte
	var treat Treat
	if p.meet != nil {
		var err error
		if said, treat, err = p.meet(near); err != nil {
			return
		}
	}
	far, err := net.Dial("tcp", p.target)
	if err != nil {
		harden(near) // it was taken before it could be refused
		return
	}
	if !p.hold(far) {
		return
	}
	defer p.letGo(far)
	var back sync.WaitGroup
	back.Go(func() { pass(far, near, nil, treat, false) })
	pass(near, far, said, treat, true)
	back.Wait()
}

// pass passes on what one end says to the other, and how it ends.
func pass(from, to net.Conn, said []byte, treat Treat, forth bool) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	n := copy(buf, said)
	for {
		if n == 0 {
			var err error
			if n, err = from.Read(buf); err != nil {
				if errors.Is(err, syscall.ECONNRESET) {
					harden(to)
				}
				return
			}
		}
		piece, on := buf[:n], true
		n = 0
		if treat != nil {
			piece, on = treat(piece, forth)
		}
		if _, err := to.Write(piece); err != nil || !on {
			return
		}
	}
}
