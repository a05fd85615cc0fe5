package link

import (
	"cmp"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
)

// node is a link whose events and messages a test looks at.
type node struct {
	*Link
	t      testing.TB
	events chan Event
	got    chan *Incoming
}

// newNode makes a node that listens on loopback, or where adjust says.
func newNode(t testing.TB, id messages.BrokerID, epoch messages.BrokerEpoch, adjust func(*Options)) *node {
	t.Helper()
	n := &node{t: t, events: make(chan Event, 1000), got: make(chan *Incoming, 10000)}
	o := Options{
		Self:      replica.Member{ID: id, Epoch: epoch},
		ClusterID: "test",
		OnEvent:   func(e Event) { n.events <- e },
		OnMessage: func(in *Incoming) { n.got <- in },
	}
	if adjust != nil {
		adjust(&o)
	}
	if o.Listener == nil {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		o.Listener = ln
		o.HandshakeTimeout = cmp.Or(o.HandshakeTimeout, patience) // this clock is the machine's, which may stand still
	}
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	n.Link = l
	t.Cleanup(l.Close)
	return n
}

// meet tells nodes of each other, and waits until they are connected.
func meet(nodes ...*node) {
	introduce(nodes...)
	for _, n := range nodes {
		for range len(nodes) - 1 {
			n.until(Up) // one may call before the other knows it, and be refused once
		}
	}
}

func introduce(nodes ...*node) {
	peers := make(map[messages.BrokerID]Peer)
	for _, n := range nodes {
		peers[n.options.Self.ID] = Peer{Addr: n.Addr().String()}
	}
	for _, n := range nodes {
		n.SetPeers(peers)
	}
}

const patience = time.Minute // before a test gives up; no test passes by waiting for it

// want is the next event, which must be of the kind. Refused may come at any
// time (see EventKind), so it counts only where it is asked for.
func (n *node) want(kind EventKind) Event {
	n.t.Helper()
	e := n.event()
	for e.Kind == Refused && kind != Refused {
		e = n.event()
	}
	if e.Kind != kind {
		n.t.Fatalf("at node %d: %v; want %v", n.options.Self.ID, e, kind)
	}
	return e
}

func (n *node) event() Event {
	n.t.Helper()
	select {
	case e := <-n.events:
		return e
	case <-time.After(patience):
		n.t.Fatalf("node %d: no event", n.options.Self.ID)
		return Event{}
	}
}

// until passes over events until one of the kind comes.
func (n *node) until(kind EventKind) Event {
	n.t.Helper()
	for {
		if e := n.event(); e.Kind == kind {
			return e
		}
	}
}

// message is the next message. The test releases it.
func (n *node) message() *Incoming {
	n.t.Helper()
	select {
	case in := <-n.got:
		return in
	case <-time.After(patience):
		n.t.Fatalf("node %d: no message", n.options.Self.ID)
		return nil
	}
}

func (n *node) expect(partition int32, base messages.Offset) {
	n.t.Helper()
	in := n.message()
	defer in.Release()
	if in.Topic != topic || in.Partition != partition || in.Message.Base != base {
		n.t.Fatalf("have %v; want partition %d, base %d", in, partition, base)
	}
}

var topic = messages.TopicID{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}

// records is a valid batch of about n bytes.
func records(n int, base messages.Offset) batch.Batch {
	f := batch.NoProducer
	f.BaseOffset, f.LeaderEpoch, f.NumRecords = base, 7, 1
	payload := make([]byte, max(n-batch.HeaderSize, 0))
	for i := range payload {
		payload[i] = byte(i * 31)
	}
	return batch.Assemble(nil, f, payload)
}

func appendOf(base messages.Offset, batches ...batch.Batch) replica.Message {
	return replica.Message{Type: replica.TypeAppend, Epoch: 7, Base: base, HighWatermark: base, PrevEpoch: 7, Batches: batches}
}

// kinds are the kinds of events that have come.
func (n *node) kinds() []EventKind {
	var all []EventKind
	for {
		select {
		case e := <-n.events:
			all = append(all, e.Kind)
		default:
			return all
		}
	}
}

func wantKinds(t testing.TB, n *node, want ...EventKind) {
	t.Helper()
	if have := n.kinds(); !slices.Equal(have, want) {
		t.Fatalf("node %d: events %v, want %v", n.options.Self.ID, have, want)
	}
}

func wantCause(t testing.TB, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Fatalf("error is %v; want one with %q", err, words)
	}
}
