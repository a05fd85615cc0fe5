package link

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"

	"understudy/messages"
)

var errRefused = fmt.Errorf("dial: %w", syscall.ECONNREFUSED)

// pipes is a network of net.Pipe: everything in it works within a synctest bubble.
type pipes struct {
	mu        sync.Mutex
	listeners map[string]*pipeListener
	held      map[[2]string]chan struct{} // from, to: what is sent waits until it is closed
	conns     []net.Conn
}

func newPipes() *pipes {
	return &pipes{listeners: map[string]*pipeListener{}, held: map[[2]string]chan struct{}{}}
}

type pipeListener struct {
	net    *pipes
	addr   pipeAddr
	queue  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

type pipeAddr string

func (a pipeAddr) Network() string { return "pipe" }
func (a pipeAddr) String() string  { return string(a) }

func (p *pipes) listen(addr string) net.Listener {
	l := &pipeListener{net: p, addr: pipeAddr(addr), queue: make(chan net.Conn), closed: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners[addr] = l
	return l
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case nc := <-l.queue:
		return nc, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.net.mu.Lock()
		defer l.net.mu.Unlock()
		if l.net.listeners[string(l.addr)] == l {
			delete(l.net.listeners, string(l.addr))
		}
	})
	return nil
}

func (l *pipeListener) Addr() net.Addr { return l.addr }

// pipeConn is one end of a connection. What it sends waits while the way is held.
type pipeConn struct {
	net.Conn
	net    *pipes
	way    [2]string
	closed chan struct{}
	once   sync.Once
}

func (c *pipeConn) Write(b []byte) (int, error) {
	select {
	case <-c.net.gate(c.way):
	case <-c.closed:
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

func (c *pipeConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

var open = func() chan struct{} { c := make(chan struct{}); close(c); return c }()

func (p *pipes) gate(way [2]string) chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if gate := p.held[way]; gate != nil {
		return gate
	}
	return open
}

// hold keeps what is sent from one node to another, until the function is called.
func (p *pipes) hold(from, to messages.BrokerID) (letGo func()) {
	way, gate := [2]string{nodeName(from), nodeName(to)}, make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[way] = gate
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.held, way)
		close(gate)
	}
}

// dialer dials as the node of the name.
func (p *pipes) dialer(name string) func(context.Context, string) (net.Conn, error) {
	return func(ctx context.Context, addr string) (net.Conn, error) {
		for _, way := range [][2]string{{name, addr}, {addr, name}} {
			select {
			case <-p.gate(way):
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		p.mu.Lock()
		l := p.listeners[addr]
		p.mu.Unlock()
		if l == nil {
			return nil, errRefused
		}
		a, b := net.Pipe()
		near := &pipeConn{Conn: a, net: p, way: [2]string{name, addr}, closed: make(chan struct{})}
		far := &pipeConn{Conn: b, net: p, way: [2]string{addr, name}, closed: make(chan struct{})}
		select {
		case l.queue <- far:
		case <-l.closed:
			return nil, errRefused
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		p.conns = append(p.conns, near, far)
		return near, nil
	}
}

// cut ends all connections there are.
func (p *pipes) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
}

// node makes a node on the network, at an address that is its name.
func (p *pipes) node(t testing.TB, id messages.BrokerID, epoch messages.BrokerEpoch, adjust func(*Options)) *node {
	return newNode(t, id, epoch, func(o *Options) {
		o.Listener, o.Dial = p.listen(nodeName(id)), p.dialer(nodeName(id))
		if adjust != nil {
			adjust(o)
		}
	})
}

func nodeName(id messages.BrokerID) string { return "node-" + string(rune('0'+id)) }
