package link

import (
	"bytes"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
)

func TestMessagesArriveInOrderWithTheirBytes(t *testing.T) {
	a, b := newNode(t, 1, 10, nil), newNode(t, 2, 20, nil)
	meet(a, b)
	var want []batch.Batch
	for i := range 100 {
		b1, b2 := records(100+i*997, int64(2*i)), records(70, int64(2*i+1))
		want = append(want, b1, b2)
		if err := a.Send(2, topic, 3, appendOf(int64(2*i), b1, b2), nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		in := b.message()
		m := in.Message
		if m.Base != int64(2*i) || in.From != (replica.Member{ID: 1, Epoch: 10}) || m.BrokerEpoch != 10 || len(m.Batches) != 2 {
			t.Fatalf("message %d is %v", i, in)
		}
		if !bytes.Equal(m.Batches[0], want[2*i]) || !bytes.Equal(m.Batches[1], want[2*i+1]) {
			t.Fatalf("message %d has other bytes", i)
		}
		in.Release()
	}
	if err := b.Send(1, topic, 3, replica.Message{Type: replica.TypeAck, Epoch: 7, End: 200, Durable: 199}, nil); err != nil {
		t.Fatal(err)
	}
	in := a.message()
	defer in.Release()
	if in.From.ID != 2 || in.Message.End != 200 || in.Message.Durable != 199 || len(in.Message.Batches) != 0 {
		t.Fatalf("the acknowledgement is %v", in)
	}
}

// TestEveryFieldOfAMessageIsSent fails when replica.Message gets a field that
// the link does not know. End and Revision share a place.
func TestEveryFieldOfAMessageIsSent(t *testing.T) {
	for kind, not := range map[replica.MessageType]string{replica.TypeReject: "Revision", replica.TypeAppend: "End"} {
		m := replica.Message{Type: kind}
		v := reflect.ValueOf(&m).Elem()
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			switch f := v.Field(i); {
			case name == "Type" || name == "BrokerEpoch" || name == not:
			case f.CanInt():
				f.SetInt(int64(-1000 - i))
			case f.CanUint():
				f.SetUint(uint64(1000 + i))
			case name != "Batches":
				t.Fatalf("field %s cannot be sent", name)
			}
		}
		wantSent(t, m)
	}
}

// wantSent checks that a message arrives as it was.
func wantSent(t *testing.T, m replica.Message) {
	t.Helper()
	var b [messagePrefix]byte
	putMessage(&b, topic, -5, &m, 0)
	f, header, err := parsePrefix(b[:])
	if err != nil || header != messageSize || f.payload != 0 {
		t.Fatalf("%+v, header of %d bytes, %v", f, header, err)
	}
	var back replica.Message
	gotTopic, partition, err := parseMessage(maxVersion, b[prefixSize:], &back)
	if err != nil || gotTopic != topic || partition != -5 || !reflect.DeepEqual(back, m) {
		t.Fatalf("sent %+v, received %+v of %v/%d, %v", m, back, gotTopic, partition, err)
	}
}

func TestThreeNodesConnectEachToEach(t *testing.T) {
	nodes := []*node{newNode(t, 1, 1, nil), newNode(t, 2, 1, nil), newNode(t, 3, 1, nil)}
	meet(nodes...)
	for _, from := range nodes {
		for _, to := range nodes {
			if from == to {
				continue
			}
			if err := from.Send(to.options.Self.ID, topic, from.options.Self.ID, appendOf(9, records(5000, 9)), nil); err != nil {
				t.Fatal(err)
			}
			to.expect(from.options.Self.ID, 9)
		}
		for _, s := range from.Peers() {
			if s.State != Connected || s.Dropped != 0 {
				t.Errorf("node %d shows %+v", from.options.Self.ID, s)
			}
		}
	}
}

func TestSendWithoutConnection(t *testing.T) {
	a := newNode(t, 1, 1, nil)
	if err := a.Send(2, topic, 0, appendOf(0), nil); err != ErrNotConnected {
		t.Errorf("to a stranger: %v", err)
	}
	a.SetPeers(map[messages.BrokerID]Peer{1: {Addr: a.Addr().String()}, 2: {Addr: "127.0.0.1:1"}})
	if err := a.Send(2, topic, 0, appendOf(0), nil); err != ErrNotConnected {
		t.Errorf("to a node that is not there: %v", err)
	}
	if err := a.Send(1, topic, 0, appendOf(0), nil); err != ErrNotConnected {
		t.Errorf("to itself: %v", err)
	}
}

// counted is a payload that can be looked at and is written over when nobody
// holds it any more.
type counted struct {
	batch batch.Batch
	refs  atomic.Int32
	freed chan struct{}
}

func newCounted(n int, base messages.Offset) *counted {
	c := &counted{batch: records(n, base), freed: make(chan struct{})}
	c.refs.Store(1)
	return c
}

func (c *counted) Retain() { c.refs.Add(1) }

func (c *counted) Release() {
	switch n := c.refs.Add(-1); {
	case n < 0:
		panic("released too often")
	case n == 0:
		clear(c.batch)
		close(c.freed)
	}
}

// TestPayloadIsHeldUntilEveryPeerHasIt writes over the payloads as soon as they
// may be: the receivers' checksums and the race detector see if that is too soon.
func TestPayloadIsHeldUntilEveryPeerHasIt(t *testing.T) {
	a, b, c := newNode(t, 1, 1, nil), newNode(t, 2, 1, nil), newNode(t, 3, 1, nil)
	meet(a, b, c)
	var all []*counted
	var wg sync.WaitGroup
	for _, to := range []*node{b, c} {
		wg.Go(func() {
			for i := range 200 {
				to.expect(0, int64(i))
			}
		})
	}
	for i := range 200 {
		p := newCounted(100+i*200, int64(i)) // all of them within a partition's share
		lease := NewLease()
		lease.Add(p)
		for _, to := range []messages.BrokerID{2, 3} {
			if err := a.Send(to, topic, 0, appendOf(int64(i), p.batch), lease); err != nil {
				t.Fatal(err)
			}
		}
		lease.Release()
		p.Release()
		all = append(all, p)
	}
	wg.Wait()
	for _, p := range all {
		<-p.freed
	}
}

func TestPayloadIsReleasedWhenTheConnectionIsLost(t *testing.T) {
	net := newPipes()
	a := net.node(t, 1, 1, nil)
	b := net.node(t, 2, 1, func(o *Options) { o.OnMessage = func(*Incoming) {} }) // never released: the window shuts
	meet(a, b)
	var all []*counted
	for i := range 40 {
		p := newCounted(1<<20, int64(i))
		err := a.Send(2, topic, int32(i), appendOf(int64(i), p.batch), p)
		p.Release()
		if err != nil && err != ErrQueueFull {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	net.cut()
	a.want(Lost)
	for _, p := range all {
		<-p.freed
	}
}

func TestQueueIsBounded(t *testing.T) {
	net := newPipes()
	a := net.node(t, 1, 1, func(o *Options) { o.Queue = 1 << 20 })
	b := net.node(t, 2, 1, func(o *Options) { o.OnMessage = func(*Incoming) {}; o.Window = 1 << 20 })
	meet(a, b)
	batch := records(100<<10, 0)
	sent := 0
	for a.Send(2, topic, int32(sent), appendOf(0, batch), nil) == nil {
		if sent++; sent > 30 {
			t.Fatal("3 MB are queued where 1 may be, and 1 on its way")
		}
	}
	if err := a.Send(2, topic, 0, replica.Message{Type: replica.TypeAck}, nil); err != nil {
		t.Errorf("an acknowledgement has no room: %v", err)
	}
	s := a.Peers()[0]
	if s.Dropped != 1 || s.Queued > 1<<20+frameCost || a.Backlog(2) != s.Queued {
		t.Errorf("status is %+v, backlog %d", s, a.Backlog(2))
	}
	if err := a.Send(2, topic, 0, appendOf(0, records(33<<20, 0)), nil); err != ErrTooLarge {
		t.Errorf("33 MB: %v", err)
	}
}

// TestALargeBatchFindsRoomAmongSmallOnes sends what fills the queue to a node for which
// there always is a little something: when half of the queue is free it is let in, and
// behind it nothing is, until it has gone out.
func TestALargeBatchFindsRoomAmongSmallOnes(t *testing.T) {
	o := outbox{limit: 1 << 20, window: 1 << 30}
	small, large := appendOf(0, records(100<<10, 0)), appendOf(0, records(1<<20, 0))
	put := func(m *replica.Message) error { return o.put(topic, 0, m, len(m.Batches[0]), nil) }
	for i := range 6 {
		if err := put(&small); err != nil {
			t.Fatalf("small batch %d: %v", i, err)
		}
	}
	if err := put(&large); err != ErrQueueFull {
		t.Errorf("with more than half of the queue taken: %v", err)
	}
	var r round
	o.take(&r) // what goes out counts until it has been written
	for range 3 {
		if err := put(&small); err != nil {
			t.Fatal(err)
		}
	}
	o.take(&r)
	if err := put(&large); err != nil {
		t.Errorf("with less than half of it taken: %v", err)
	}
	if err := put(&small); err != ErrQueueFull {
		t.Errorf("behind it: %v", err)
	}
	o.take(&r)
	if len(r.messages) != 1 || r.cost < 1<<20 {
		t.Errorf("%d messages of %d bytes go out", len(r.messages), r.cost)
	}
}

// TestASlowPartitionDoesNotStallOthers lets the replicas of one partition keep
// what they get. It gets no more than its share, and others go on.
func TestASlowPartitionDoesNotStallOthers(t *testing.T) {
	var held atomic.Int64
	a := newNode(t, 1, 1, nil)
	b := newNode(t, 2, 1, func(o *Options) {
		o.Window = 4 << 20
		o.OnMessage = func(in *Incoming) {
			if in.Partition == 0 {
				held.Add(int64(len(in.Message.Batches[0])))
				return
			}
			in.Release()
		}
	})
	meet(a, b)
	batch := records(100<<10, 0)
	for i := range 100 { // ten MB to the slow one
		if err := a.Send(2, topic, 0, appendOf(int64(i), batch), nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 100 {
		if err := a.Send(2, topic, 1, appendOf(int64(i), batch), nil); err != nil {
			t.Fatal(err)
		}
	}
	for b.Peers()[0].MessagesIn < 200 {
		if s := b.Peers()[0]; s.State != Connected {
			t.Fatalf("%+v", s)
		}
		runtime.Gosched()
	}
	if h := held.Load(); h > 1<<20 {
		t.Errorf("the slow partition holds %d bytes", h)
	}
	if s := b.Peers()[0]; s.Overrun != 90 {
		t.Errorf("%d messages were passed over", s.Overrun)
	}
}

// TestABatchLargerThanTheWindow has to wait until nothing else is on its way.
func TestABatchLargerThanTheWindow(t *testing.T) {
	a, b := newNode(t, 1, 1, nil), newNode(t, 2, 1, func(o *Options) { o.Window = 1 << 20 })
	meet(a, b)
	for i, size := range []int{100_000, 3 << 20, 500, 5 << 20, 70} {
		if err := a.Send(2, topic, 0, appendOf(int64(i), records(size, 0)), nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 5 {
		b.expect(0, int64(i))
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	nodes := []*node{newNode(t, 1, 1, serving), newNode(t, 2, 1, serving), newNode(t, 3, 1, serving)}
	introduce(nodes...)
	nodes[0].until(Up)
	for _, n := range nodes {
		peers := map[messages.BrokerID]Peer{8: {Addr: "127.0.0.1:1"}, 9: {Addr: nodes[0].Addr().String()}}
		n.SetPeers(peers)
		n.Close()
		n.Close()
		n.SetPeers(peers)
	}
	for deadline := time.Now().Add(patience); ; runtime.Gosched() { // one that has ended may be seen for a moment
		stacks := make([]byte, 1<<20)
		stacks = stacks[:runtime.Stack(stacks, true)]
		left := slices.ContainsFunc([]string{"link.(*Link)", "link.(*peer)", "link.(*conn)", "link.(*keeper)"}, func(of string) bool {
			return bytes.Contains(stacks, []byte(of))
		})
		if !left {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("goroutines are left:\n%s", stacks)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	ln := newPipes().listen("x")
	good := Options{Self: replica.Member{ID: 1}, ClusterID: "c", Listener: ln, OnMessage: func(*Incoming) {}}
	for why, spoil := range map[string]func(*Options){
		"a node needs an id":   func(o *Options) { o.Self.ID = -1 },
		"the cluster id":       func(o *Options) { o.ClusterID = "" },
		"Listener and":         func(o *Options) { o.OnMessage = nil },
		"three heartbeats":     func(o *Options) { o.Heartbeat = time.Second },
		"before it is silent":  func(o *Options) { o.GiveUpAfter = time.Second },
		"must be positive":     func(o *Options) { o.RetryMin = time.Hour },
		"must be at least 64 ": func(o *Options) { o.Window = 1000 },
	} {
		o := good
		spoil(&o)
		_, err := New(o)
		wantCause(t, err, why)
	}
}
