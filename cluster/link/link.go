package link

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"understudy/cluster/replica"
	"understudy/messages"
)

// Link is a node's connections to the other nodes.
type Link struct {
	options Options
	pool    pool
	ctx     context.Context
	cancel  context.CancelFunc
	wait    sync.WaitGroup
	severed atomic.Bool // nobody is told of the end

	peers atomic.Pointer[map[messages.BrokerID]*peer] // replaced, never changed

	mu        sync.Mutex
	leaving   map[messages.BrokerID]*peer // removed; a new one of the same id begins when it has ended
	refusedAt time.Time                   // when the last refusal of a caller was told

	welcomes chan struct{} // has room for as many handshakes as may be accepted at a time
}

// maxWelcomes bounds the handshakes of those who have called and not yet shown
// who they are.
const maxWelcomes = 64

// Peer is where another node is found.
type Peer struct {
	Addr string
	// Epoch is the newest start of the node that is known from elsewhere; 0: not
	// known. Connections of earlier starts are refused and closed.
	Epoch messages.BrokerEpoch
}

// New begins to listen. Close ends it.
func New(o Options) (*Link, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	l := &Link{options: o, leaving: make(map[messages.BrokerID]*peer), welcomes: make(chan struct{}, maxWelcomes)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.peers.Store(&map[messages.BrokerID]*peer{})
	l.wait.Go(l.accept)
	return l, nil
}

// Addr is where the link listens.
func (l *Link) Addr() net.Addr { return l.options.Listener.Addr() }

// SetPeers says which other nodes there are; this node itself is passed over.
// Connections to those that are no longer there end. It does not wait.
func (l *Link) SetPeers(peers map[messages.BrokerID]Peer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ctx.Err() != nil {
		return
	}
	old := *l.peers.Load()
	next := make(map[messages.BrokerID]*peer, len(peers))
	for id, where := range peers {
		if id == l.options.Self.ID {
			continue
		}
		if p := old[id]; p != nil {
			p.move(where)
			next[id] = p
			continue
		}
		p := newPeer(l, id, where)
		before := l.leaving[id]
		delete(l.leaving, id)
		l.wait.Go(func() { p.keep(before) })
		next[id] = p
	}
	for id, p := range old {
		if next[id] == nil {
			p.cancel()
			l.leaving[id] = p
		}
	}
	l.peers.Store(&next)
}

func (l *Link) peer(id messages.BrokerID) *peer { return (*l.peers.Load())[id] }

func (l *Link) connTo(id messages.BrokerID) *conn {
	if p := l.peer(id); p != nil {
		return p.conn.Load()
	}
	return nil
}

// Send passes a message to the replica of a partition on another node. It does
// not wait, and promises nothing: what is queued is lost with the connection, of
// which Lost and Up tell. On an error the message is lost already:
//
//   - ErrNotConnected: nothing is to be done, Up will come.
//   - ErrQueueFull: what follows for the partition will not fit at the follower.
//     If the message had batches, give the leader's core PeerUp with its next
//     input, so that it asks where to go on rather than waiting for its timer; also
//     if it was of TypeAppend and asked nothing, since nobody would miss it.
//   - ErrTooLarge: the other node's MaxPayload is too small.
//   - ErrTooNew: the other node's version does not know such a message.
//
// Message.BrokerEpoch is not sent: the receiver has it from the handshake. The
// slice of batches may be used again at once. Their bytes must stay as they are
// while owner is retained; a nil owner says that they always will.
func (l *Link) Send(to messages.BrokerID, topic messages.TopicID, partition int32, m replica.Message, owner Payload) error {
	c := l.connTo(to)
	if c == nil {
		return ErrNotConnected
	}
	var err error
	size := 0
	for _, b := range m.Batches {
		size += len(b)
	}
	switch {
	case m.Type > newestType(c.version):
		return ErrTooNew
	case size > c.maxSend:
		err = ErrTooLarge
	default:
		err = c.out.put(topic, partition, &m, size, owner)
	}
	if err != nil {
		c.stats.Dropped.Add(1)
	}
	return err
}

// Backlog is how many bytes wait to be sent to a node: hold reads for followers
// that catch up back while it is large.
func (l *Link) Backlog(to messages.BrokerID) int64 {
	c := l.connTo(to)
	if c == nil {
		return 0
	}
	c.out.mu.Lock()
	defer c.out.mu.Unlock()
	return c.out.bytes
}

// Close says goodbye to the other nodes, ends all connections and waits until
// none of the link's goroutines is left, handlers of requests included.
func (l *Link) Close() {
	l.mu.Lock()
	l.cancel()
	l.mu.Unlock()
	_ = l.options.Listener.Close() // nothing depends on it
	l.wait.Wait()
}

// Sever is Close as the end of the process would be: connections are reset, and
// the other nodes are told nothing.
func (l *Link) Sever() {
	l.severed.Store(true)
	l.Close()
}

// state is what goes out with a heartbeat.
func (l *Link) state() []byte {
	if l.options.State == nil {
		return nil
	}
	s := l.options.State()
	return s[:min(len(s), maxState)]
}

// accept takes connections until the link is closed.
func (l *Link) accept() {
	for {
		nc, err := l.options.Listener.Accept()
		switch {
		case l.ctx.Err() != nil:
			if err == nil {
				_ = nc.Close() // nobody has spoken yet
			}
			return
		case errors.Is(err, net.ErrClosed):
			return
		case err != nil: // too many open files, perhaps: it may pass
			select {
			case <-l.ctx.Done():
			case <-time.After(l.options.RetryMin):
			}
			continue
		}
		select {
		case l.welcomes <- struct{}{}:
			l.wait.Go(func() {
				defer func() { <-l.welcomes }()
				l.welcome(nc)
			})
		default:
			_ = nc.Close() // too many strangers at the door
		}
	}
}

// welcome runs the handshake with a caller.
func (l *Link) welcome(nc net.Conn) {
	o := &l.options
	addr := nc.RemoteAddr().String()
	nc = o.secure(nc, addr, false)
	stop := closeAtEnd(l.ctx, nc)
	h := handshake{options: o, nc: nc}
	h.theirs.from = messages.NoBroker
	err := limit(nc, o.HandshakeTimeout)
	var a agreement
	if err == nil {
		a, err = h.accept(l.admit)
	}
	if err == nil {
		err = h.confirm()
	}
	err = cmp.Or(err, stop())
	if err != nil {
		_ = nc.Close() // the error is what counts
		l.tellRefused(h.theirs, addr, err)
		return
	}
	p := l.peer(a.peer.ID)
	switch {
	case p == nil: // removed meanwhile
		_ = nc.Close()
	case a.purpose == toKnock:
		_ = nc.Close() // it has served its purpose
		p.knock(a)
	case limit(nc, 0) != nil:
		_ = nc.Close()
	default:
		p.offer(l.newConn(nc, a, &p.stats))
	}
}

// closeAtEnd closes a connection when ctx ends, until stop is called. Its error says that
// it has been closed; nothing of it is left then.
func closeAtEnd(ctx context.Context, nc net.Conn) (stop func() error) {
	closed := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		_ = nc.Close()
		close(closed)
	})
	return func() error {
		if cancel() {
			return nil
		}
		<-closed
		return ErrClosed
	}
}

// admit judges a caller whose secret, if there is one, was right.
func (l *Link) admit(h hello) *Refusal {
	self := l.options.Self.ID
	p := l.peer(h.from)
	switch {
	case l.ctx.Err() != nil:
		return refuse(Stopping, "node %d", self)
	case p == nil:
		return refuse(UnknownNode, "node %d does not know node %d", self, h.from)
	case (h.purpose == toLink) != dials(h.from, self):
		return refuse(Malformed, "node %d is not the one to dial", h.from)
	}
	return p.admit(h)
}

// dials reports whether of two nodes the first is the one to dial.
func dials(a, b messages.BrokerID) bool { return a < b }

// tellRefused tells of callers that were refused, of one in a second: any
// number may call.
func (l *Link) tellRefused(h hello, addr string, err error) {
	no, ok := errors.AsType[*Refusal](asRefusal(err))
	if !ok {
		return
	}
	l.mu.Lock()
	now := time.Now()
	tell := now.Sub(l.refusedAt) >= time.Second
	if tell {
		l.refusedAt = now
	}
	l.mu.Unlock()
	if !tell {
		return
	}
	peer := replica.Member{ID: h.from, Epoch: h.epoch}
	if peer.ID == messages.NoBroker {
		peer.Epoch = -1
	}
	l.options.OnEvent(Event{Kind: Refused, Peer: peer, Addr: addr, Cause: no})
}

// asRefusal makes refusals of those errors of TLS that say that the other side
// is not what it should be.
func asRefusal(err error) error {
	if record, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return refuse(NotALink, "%v", record)
	}
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return refuse(NotALink, "%v", bad)
	}
	if unknown, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return refuse(NotALink, "%v", unknown)
	}
	return err
}

// PeerState says how it stands with a peer.
type PeerState uint8

// The states: those of Event's diagram.
const (
	Connecting PeerState = iota // not seen yet
	Connected
	ConnectedSilent
	Disconnected
	DisconnectedSilent
	ProcessGone
)

// String is the state in words.
func (s PeerState) String() string {
	names := [...]string{"connecting", "connected", "connected, silent", "disconnected", "disconnected, silent", "gone"}
	return names[min(int(s), len(names)-1)]
}

// PeerStatus is what there is to know of a peer.
type PeerStatus struct {
	Peer    replica.Member // Epoch -1: never met
	Addr    string
	Version uint8 // of the protocol, while there is a connection
	State   PeerState
	Since   time.Time // of State
	Silence time.Duration
	Cause   error // why there is no connection, if there is none
	Queued  int64 // bytes that wait to be sent
	Unacked int64 // bytes sent that the node's replicas have not released

	BytesIn, BytesOut, MessagesIn, MessagesOut, Writes uint64
	Dropped                                            uint64 // messages that Send lost
	Overrun                                            uint64 // messages received and lost, because their partition held its share
}

// State is how it stands with a node, and for how long that has been so. It is
// ahead of the events: a connection that has just ended is none. A node that is
// not among the peers counts as connected.
func (l *Link) State(id messages.BrokerID) (PeerState, time.Duration) {
	p := l.peer(id)
	if p == nil {
		return Connected, 0
	}
	c := p.conn.Load()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == Connected && (c == nil || c.ended()) {
		return Disconnected, 0
	}
	return p.state, time.Since(p.since)
}

// Peers is the status of all peers, by id.
func (l *Link) Peers() []PeerStatus {
	peers := *l.peers.Load()
	var all []PeerStatus
	for _, id := range slices.Sorted(maps.Keys(peers)) {
		all = append(all, peers[id].status())
	}
	return all
}
