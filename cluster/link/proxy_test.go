package link

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"understudy/internal/proxy"
	"understudy/messages"
)

// damaged stands between two nodes and damages what they say to each other.
type damaged struct {
	*proxy.Proxy
	mu     sync.Mutex
	fault  fault
	random *rand.Rand
}

// fault is what becomes of a piece of the stream: see proxy.Treat. It may be called
// from several goroutines, one at a time.
type fault func(r *rand.Rand, piece []byte, forth bool) ([]byte, bool)

func damage(t *testing.T, target string, f fault) *damaged {
	t.Helper()
	d := &damaged{fault: f, random: rand.New(rand.NewPCG(1, 2))}
	var err error
	d.Proxy, err = proxy.Listen("127.0.0.1:0", target, func(net.Conn) ([]byte, proxy.Treat, error) { return nil, d.treat, nil })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d
}

func (d *damaged) treat(piece []byte, forth bool) ([]byte, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fault == nil {
		return piece, true
	}
	return d.fault(d.random, piece, forth)
}

// mend ends the damage, and the connections that have had some.
func (d *damaged) mend() {
	d.mu.Lock()
	d.fault = nil
	d.mu.Unlock()
	d.Reset()
}

// stream sends numbered messages of several partitions from a to b until a number
// of connections have been lost, and checks that none arrives damaged or out of
// order.
func stream(t *testing.T, a, b *node, connections int) {
	t.Helper()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		batches := records(20_000, 0)
		for i := int64(0); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if a.Send(2, topic, int32(i%7), appendOf(i, batches[:len(batches):len(batches)]), nil) != nil {
				time.Sleep(time.Millisecond) // no connection, or no room: the senders would wait for Up
			}
		}
	})
	wg.Go(func() {
		last := make(map[int32]messages.Offset)
		for {
			select {
			case <-stop:
				return
			case in := <-b.got:
				if before, ok := last[in.Partition]; ok && in.Message.Base <= before {
					t.Errorf("%v came after %d", in, before)
				}
				last[in.Partition] = in.Message.Base
				if err := in.Message.Batches[0].CheckCRC(); err != nil {
					t.Errorf("%v: %v", in, err)
				}
				in.Release()
			}
		}
	})
	for range connections {
		b.until(Lost)
	}
	close(stop)
	wg.Wait()
}

// TestFaultyNetworks lets a stream run over networks that damage it. Whatever
// they do, the nodes find each other again and nothing damaged is delivered.
func TestFaultyNetworks(t *testing.T) {
	for name, f := range map[string]fault{
		"flipped bits": func(r *rand.Rand, piece []byte, forth bool) ([]byte, bool) {
			if forth && r.IntN(100) == 0 {
				piece[r.IntN(len(piece))] ^= 1 << r.IntN(8)
			}
			return piece, true
		},
		"lost pieces": func(r *rand.Rand, piece []byte, _ bool) ([]byte, bool) {
			if r.IntN(200) == 0 {
				return piece[:r.IntN(len(piece))], true
			}
			return piece, true
		},
		"half frames, then the end": func(r *rand.Rand, piece []byte, _ bool) ([]byte, bool) {
			if r.IntN(200) == 0 {
				return piece[:r.IntN(len(piece))], false
			}
			return piece, true
		},
		"ends at random": func(r *rand.Rand, piece []byte, _ bool) ([]byte, bool) {
			return piece, r.IntN(300) != 0
		},
		"garbage": func(r *rand.Rand, piece []byte, forth bool) ([]byte, bool) {
			if forth && r.IntN(300) == 0 {
				for i := range piece {
					piece[i] = byte(r.Uint32())
				}
			}
			return piece, true
		},
	} {
		t.Run(name, func(t *testing.T) {
			quick := func(o *Options) {
				o.Heartbeat, o.SilentAfter, o.GiveUpAfter = 20*time.Millisecond, 100*time.Millisecond, 200*time.Millisecond
				o.RetryMin, o.HandshakeTimeout = time.Millisecond, 200*time.Millisecond
				told := o.OnEvent
				o.OnEvent = func(e Event) {
					if e.Kind == Up || e.Kind == Lost { // room for these only
						told(e)
					}
				}
			}
			a, b := newNode(t, 1, 1, quick), newNode(t, 2, 1, quick)
			p := damage(t, b.Addr().String(), f)
			a.SetPeers(map[messages.BrokerID]Peer{2: {Addr: p.Addr()}})
			b.SetPeers(map[messages.BrokerID]Peer{1: {Addr: a.Addr().String()}})
			stream(t, a, b, 8)
			p.mend()
			stop := make(chan struct{})
			defer close(stop)
			go func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(time.Millisecond):
						_ = a.Send(2, topic, 99, appendOf(0), nil)
					}
				}
			}()
			for healed := false; !healed; {
				in := b.message()
				healed = in.Partition == 99
				in.Release()
			}
		})
	}
}

// TestSmallMessagesOfManyPartitionsLeaveTogether holds the way to the follower
// until all have been sent, and counts writes.
func TestSmallMessagesOfManyPartitionsLeaveTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		a, b := network.node(t, 1, 1, nil), network.node(t, 2, 1, nil)
		meet(a, b)
		const partitions = 500
		letGo := network.hold(1, 2)
		before := a.Peers()[0].Writes
		for i := range int32(partitions) {
			if err := a.Send(2, topic, i, appendOf(9, records(200, 9)), nil); err != nil {
				t.Fatal(err)
			}
		}
		letGo()
		for i := range int32(partitions) {
			b.expect(i, 9)
		}
		if writes := a.Peers()[0].Writes - before; writes > 5 {
			t.Errorf("%d messages in %d writes", partitions, writes)
		}
	})
}
