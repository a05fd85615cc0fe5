package understudy

import (
	"context"
	"sync"
	"time"

	"understudy/cluster/link"
	"understudy/cluster/metadata"
	"understudy/messages"
)

const (
	// settleTime is how long after this node has lost sight of another it may take
	// until the controller, a new one perhaps, has decided what that means. From
	// then on the metadata says it all: this node may be the only one that does not
	// see it.
	settleTime = 2 * time.Second
	// confirmTime bounds how long a node may take to show that it is there. If it
	// takes longer, clients are told what the metadata says.
	confirmTime = 50 * time.Millisecond
	// findTime is how long it may take until a client finds a broker again that was
	// away: librdkafka tries no more often than every ten seconds, from the second
	// failure within a short time on (reconnect.backoff.max.ms).
	findTime = 10 * time.Second
	// arriveTime is within what time a node that starts has found the others.
	arriveTime = time.Second
	// leaveTime is for how long clients are told of a broker whose process has
	// ended: most are back by then.
	leaveTime = 10 * time.Second
)

// sight is what a node sees of others that lead, before the metadata shows it.
type sight struct {
	n *node

	mu    sync.Mutex
	next  map[messages.BrokerID]chan struct{} // closed when a ping has ended that was not sent yet
	asked map[messages.BrokerID]bool          // a ping is under way, or about to be
}

func newSight(n *node) *sight {
	return &sight{n: n, next: map[messages.BrokerID]chan struct{}{}, asked: map[messages.BrokerID]bool{}}
}

// Confirm implements kafka.Elections. However many clients ask at a time, a node
// is sent one ping after the other, each for all who have come since the last.
func (s *sight) Confirm(ctx context.Context, ids []messages.BrokerID) {
	var pings []<-chan struct{}
	for _, id := range ids {
		pings = append(pings, s.ping(id))
	}
	for _, ended := range pings {
		select {
		case <-ended:
		case <-ctx.Done():
			return
		}
	}
}

func (s *sight) ping(id messages.BrokerID) (ended <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next[id] == nil {
		s.next[id] = make(chan struct{})
	}
	if !s.asked[id] {
		s.asked[id] = true
		s.n.work.Go(func() { s.pingAll(id) })
	}
	return s.next[id]
}

// pingAll pings a node as long as somebody wants to know.
func (s *sight) pingAll(id messages.BrokerID) {
	for {
		s.mu.Lock()
		ended := s.next[id]
		delete(s.next, id)
		if ended == nil {
			delete(s.asked, id)
			s.mu.Unlock()
			return
		}
		s.mu.Unlock()
		ctx, cancel := context.WithTimeout(s.n.ctx, confirmTime)
		s.n.link.Ping(ctx, id)
		cancel()
		close(ended)
	}
}

// Pending implements kafka.Elections. A broker that stops in order is about to be
// replaced, too, though it is there still: its clients may be told by it who leads
// before that one is.
func (s *sight) Pending(id messages.BrokerID) bool {
	state, since := s.n.link.State(id)
	return state != link.Connected && since < settleTime || s.n.eye.stopping(id, settleTime)
}

// Leaving implements kafka.Elections.
func (s *sight) Leaving(id messages.BrokerID) bool {
	state, since := s.n.link.State(id)
	return state == link.ProcessGone && since < leaveTime
}

// returned reports whether a broker has been there again for so short a time that
// clients may not have found it yet, as this node sees it. Its port is open before
// its connections to other nodes are.
func (n *node) returned(id messages.BrokerID) bool {
	age := time.Since(n.began)
	if id == n.self.ID {
		return age < findTime
	}
	state, since := n.link.State(id)
	return state == link.Connected && cameBack(since, age)
}

// cameBack reports whether a node that has been connected for so long came back a
// moment ago. Who was there when this node started, age ago, may have been for long.
func cameBack(since, age time.Duration) bool { return since < findTime && age-since > arriveTime }

// Next implements kafka.Elections.
func (s *sight) Next() (*metadata.Image, <-chan struct{}) { return s.n.b.cell.Next() }
