package link

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"understudy/messages"
)

// proxy stands between two nodes and does to their connections what networks do.
type proxy struct {
	ln     net.Listener
	target string

	mu     sync.Mutex
	fault  fault
	conns  []net.Conn
	random *rand.Rand
	wait   sync.WaitGroup
}

// fault is what the proxy does with a piece of the stream: it returns what is
// passed on and whether the connection goes on. It may be called from several
// goroutines, one at a time.
type fault func(r *rand.Rand, piece []byte, forth bool) ([]byte, bool)

func newProxy(t *testing.T, target string) *proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{ln: ln, target: target, random: rand.New(rand.NewPCG(1, 2))}
	p.wait.Go(p.serve)
	t.Cleanup(func() {
		_ = ln.Close()
		p.cut()
		p.wait.Wait()
	})
	return p
}

func (p *proxy) serve() {
	for {
		near, err := p.ln.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", p.target)
		if err != nil {
			_ = near.Close()
			continue
		}
		p.mu.Lock()
		p.conns = append(p.conns, near, far)
		p.mu.Unlock()
		p.wait.Go(func() { p.pass(near, far, true) })
		p.wait.Go(func() { p.pass(far, near, false) })
	}
}

func (p *proxy) pass(from, to net.Conn, forth bool) {
	defer from.Close()
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		piece, on := buf[:n], true
		p.mu.Lock()
		if p.fault != nil {
			piece, on = p.fault(p.random, piece, forth)
		}
		p.mu.Unlock()
		if _, err := to.Write(piece); err != nil || !on {
			return
		}
	}
}

func (p *proxy) set(f fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.conns = nil
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
			p := newProxy(t, b.Addr().String())
			p.set(f)
			a.SetPeers(map[messages.BrokerID]Peer{2: {Addr: p.ln.Addr().String()}})
			b.SetPeers(map[messages.BrokerID]Peer{1: {Addr: a.Addr().String()}})
			stream(t, a, b, 8)
			p.set(nil)
			p.cut()
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
}
