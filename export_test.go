package understudy

import (
	"context"
	"net"
	"sync"

	"understudy/cluster/consul"
	"understudy/cluster/local"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// WithNetwork puts something between a node's link and the network.
func WithNetwork(listen func(context.Context, string) (net.Listener, error), dial func(context.Context, string) (net.Conn, error)) Option {
	return func(b *Broker) { b.network.listen, b.network.dial = listen, dial }
}

// WithConsul says how Consul is reached.
func WithConsul(c consul.Config) Option { return func(b *Broker) { b.consul = c } }

// WithBoot says which run of its machine's system the broker is in.
func WithBoot(id string) Option { return func(b *Broker) { b.boot = id } }

// WithReturned says which brokers came back a moment ago.
func WithReturned(returned func(messages.BrokerID) bool) Option {
	return func(b *Broker) { b.returned = returned }
}

// Seat is the broker's place at its hub.
func (b *Broker) Seat() *local.Seat { return b.node.r.(*local.Seat) }

// Image is the metadata that the broker has.
func (b *Broker) Image() *metadata.Image { return b.cell.Image() }

// IsController reports whether this broker's controller decides.
func (b *Broker) IsController() bool { return b.node.active.Load() }

// Depart has the broker tell the others that it stops, which is how a stop begins.
func (b *Broker) Depart(ctx context.Context) { b.node.depart(ctx) }

// Pending reports whether the broker expects that another will lead in a broker's place.
func (b *Broker) Pending(id messages.BrokerID) bool { return newSight(b.node).Pending(id) }

// Abandon makes the stop that follows one without any orderly step.
func (b *Broker) Abandon() {
	b.node.dead.Store(true)
	b.Seat().Die()
	b.listener.Close()
	b.server.Close()
}

// Wire is the network of one node: it can be cut, and it can swallow everything.
type Wire struct {
	mu    sync.Mutex
	cut   bool
	muted chan struct{}            // not nil: nothing passes until it is closed
	apart map[string]chan struct{} // the same, for what was dialed to an address
	conns map[net.Conn]struct{}
	ears  []net.Listener
}

// NewWire makes a network that works.
func NewWire() *Wire {
	return &Wire{conns: map[net.Conn]struct{}{}, apart: map[string]chan struct{}{}}
}

// Part lets nothing pass between two nodes.
func Part(a, b *Wire) {
	a.avoid(b.addr())
	b.avoid(a.addr())
}

func (w *Wire) avoid(addr string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.apart[addr] = make(chan struct{})
}

func (w *Wire) addr() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ears[len(w.ears)-1].Addr().String()
}

// Join ends what Part has done.
func (w *Wire) Join() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.apart {
		close(c)
	}
	clear(w.apart)
}

// Listen listens.
func (w *Wire) Listen(ctx context.Context, addr string) (net.Listener, error) {
	l, err := listenTCP(ctx, addr)
	if err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ears = append(w.ears, l)
	return ear{l, w}, nil
}

// Mute lets nothing pass any more, in either direction, and nobody is told; or
// ends that.
func (w *Wire) Mute(on bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if on {
		w.muted = make(chan struct{})
	} else if w.muted != nil {
		close(w.muted)
		w.muted = nil
	}
}

// wait waits as long as nothing passes on a connection that was dialed to an
// address, or was not dialed here.
func (w *Wire) wait(ctx context.Context, addr string) error {
	w.mu.Lock()
	stops := []chan struct{}{w.muted, w.apart[addr]}
	w.mu.Unlock()
	for _, stop := range stops {
		if stop == nil {
			continue
		}
		select {
		case <-stop:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// quiet is a connection over a Wire.
type quiet struct {
	net.Conn
	w      *Wire
	addr   string          // that was dialed; empty: it was accepted
	ctx    context.Context // ends with Close
	cancel func()
}

func (q quiet) Read(b []byte) (int, error) {
	n, err := q.Conn.Read(b)
	if waited := q.w.wait(q.ctx, q.addr); waited != nil {
		return 0, net.ErrClosed
	}
	return n, err
}

func (q quiet) Write(b []byte) (int, error) {
	if q.w.wait(q.ctx, q.addr) != nil {
		return 0, net.ErrClosed
	}
	return q.Conn.Write(b)
}

func (q quiet) Close() error {
	q.cancel()
	return q.Conn.Close()
}

// Dial dials.
func (w *Wire) Dial(ctx context.Context, addr string) (net.Conn, error) {
	if err := w.wait(ctx, addr); err != nil {
		return nil, err
	}
	c, err := dialTCP(ctx, addr)
	if err != nil {
		return nil, err
	}
	return w.keep(c, addr)
}

func (w *Wire) keep(c net.Conn, addr string) (net.Conn, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		c.Close()
		return nil, net.ErrClosed
	}
	w.conns[c] = struct{}{}
	ctx, cancel := context.WithCancel(context.Background())
	return quiet{c, w, addr, ctx, cancel}, nil
}

// Cut ends all connections at once, as the end of a process does.
func (w *Wire) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	for _, l := range w.ears {
		l.Close()
	}
	for c := range w.conns {
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

type ear struct {
	net.Listener
	w *Wire
}

func (e ear) Accept() (net.Conn, error) {
	c, err := e.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return e.w.keep(c, "")
}

// CameBack reports whether a node that has been connected for so long came back a
// moment ago, as one sees it that started so long ago.
var CameBack = cameBack

// SaveCopy and LoadCopy are of a node's copy of the metadata.
var SaveCopy, LoadCopy = saveCopy, loadCopy

// Differ reports whether two images differ.
func Differ(a, b *metadata.Image) bool {
	ch := metadata.Diff(a, b)
	return len(ch.Topics) > 0 || ch.Brokers || ch.Configs
}

// LeavingTime bounds a step of a stop.
var LeavingTime = leavingTime

// How long a node expects that another is replaced, and how long one that only has to hear
// of a new topic is waited for.
const (
	SettleTime  = settleTime
	HeardWithin = heardWithin
)
