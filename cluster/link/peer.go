package link

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"understudy/cluster/replica"
	"understudy/messages"
)

// peer is another node. One goroutine, its keeper, sees to the connection; what
// others tell it waits here.
type peer struct {
	link   *Link
	id     messages.BrokerID
	conn   atomic.Pointer[conn] // nil: none
	stats  counters
	signal chan struct{} // something was told
	ctx    context.Context
	cancel context.CancelFunc
	gone   chan struct{} // closed when the keeper has ended

	mu      sync.Mutex
	addr    string
	known   messages.BrokerEpoch // newest start heard of; -1: none
	moved   bool                 // addr or known have changed
	arrival *conn                // accepted, not taken over yet
	knocked *agreement           // of the newest knock
	lastID  uint64               // of the last connection; 0: none
	ended   bool                 // nothing is taken over any more
	state   PeerState
	since   time.Time
	silence time.Duration
	cause   error
}

func newPeer(l *Link, id messages.BrokerID, where Peer) *peer {
	p := &peer{
		link: l, id: id, signal: make(chan struct{}, 1), gone: make(chan struct{}),
		addr: where.Addr, known: -1, since: time.Now(),
	}
	if where.Epoch > 0 {
		p.known = where.Epoch
	}
	p.ctx, p.cancel = context.WithCancel(l.ctx)
	return p
}

// tell changes what waits for the keeper, and wakes it.
func (p *peer) tell(change func()) {
	p.mu.Lock()
	change()
	p.mu.Unlock()
	select {
	case p.signal <- struct{}{}:
	default:
	}
}

// move takes note of where the node is now.
func (p *peer) move(where Peer) {
	p.mu.Lock()
	same := p.addr == where.Addr && where.Epoch <= p.known
	p.mu.Unlock()
	if same {
		return
	}
	p.tell(func() {
		p.addr, p.known, p.moved = where.Addr, max(p.known, where.Epoch), true
	})
}

// offer gives the keeper a connection that was accepted.
func (p *peer) offer(c *conn) {
	var unwanted *conn
	p.tell(func() {
		if p.ended {
			unwanted = c
			return
		}
		unwanted, p.arrival = p.arrival, c
	})
	if unwanted != nil {
		unwanted.close(ErrReplaced)
	}
}

// knock tells the keeper that the other node waits to be dialed.
func (p *peer) knock(a agreement) { p.tell(func() { p.knocked = &a }) }

// admit judges what the node says of itself, on either side of a handshake.
func (p *peer) admit(h hello) *Refusal { return p.fence(h.epoch) }

// fence refuses a start of the node if a newer one is known.
func (p *peer) fence(epoch messages.BrokerEpoch) *Refusal {
	p.mu.Lock()
	defer p.mu.Unlock()
	if epoch < p.known {
		return refuse(Fenced, "node %d, epoch %d; epoch %d is known", p.id, epoch, p.known)
	}
	return nil
}

func (p *peer) address() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.addr
}

// member is the node as far as it is known. The lock is held.
func (p *peer) member() replica.Member { return replica.Member{ID: p.id, Epoch: p.known} }

func (p *peer) status() PeerStatus {
	s := PeerStatus{
		BytesIn: p.stats.BytesIn.Load(), BytesOut: p.stats.BytesOut.Load(),
		MessagesIn: p.stats.MessagesIn.Load(), MessagesOut: p.stats.MessagesOut.Load(),
		Writes: p.stats.Writes.Load(), Dropped: p.stats.Dropped.Load(), Overrun: p.stats.Overrun.Load(),
	}
	if c := p.conn.Load(); c != nil {
		s.Version = c.version
		c.out.mu.Lock()
		s.Queued, s.Unacked = c.out.bytes, c.out.used
		c.out.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.Peer, s.Addr, s.State, s.Since, s.Silence, s.Cause = p.member(), p.addr, p.state, p.since, p.silence, p.cause
	return s
}
