package link

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"understudy/cluster/replica"
	"understudy/messages"
)

func TestHeartbeatsCarryState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		var beats atomic.Int64
		a := network.node(t, 1, 5, func(o *Options) { o.State = func() []byte { return []byte("i hear consul") } })
		b := network.node(t, 2, 6, func(o *Options) {
			o.OnHeartbeat = func(from replica.Member, state []byte) {
				if from != (replica.Member{ID: 1, Epoch: 5}) || string(state) != "i hear consul" {
					t.Errorf("heartbeat of %v: %q", from, state)
				}
				beats.Add(1)
			}
		})
		meet(a, b)
		time.Sleep(10*time.Second + time.Millisecond)
		if n := beats.Load(); n != 51 {
			t.Errorf("%d heartbeats in 10 s, want one at once and 50 more", n)
		}
		wantKinds(t, a)
		wantKinds(t, b)
	})
}

func TestAFrozenNodeIsSilentAndComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		a, b := network.node(t, 1, 1, nil), network.node(t, 2, 1, nil)
		meet(a, b)
		time.Sleep(time.Second)
		letGo := network.hold(2, 1)
		start := time.Now()
		e := a.want(Silent)
		if d := time.Since(start); d < 1300*time.Millisecond || d > 1700*time.Millisecond || e.Since < 1500*time.Millisecond || e.Cause != nil {
			t.Errorf("told after %v: %v", d, e)
		}
		if s := a.Peers()[0]; s.State != ConnectedSilent {
			t.Errorf("status is %+v", s)
		}
		letGo()
		a.want(Back)
		wantKinds(t, b) // heard everything all the time
		if err := a.Send(2, topic, 1, appendOf(3), nil); err != nil {
			t.Error(err)
		}
		b.expect(1, 3)
	})
}

func TestASilentConnectionIsGivenUpAndDialedAnew(t *testing.T) {
	for _, way := range [][2]messages.BrokerID{{2, 1}, {1, 2}} { // the dialer hears nothing; the other one does not
		synctest.Test(t, func(t *testing.T) {
			network := newPipes()
			nodes := map[messages.BrokerID]*node{1: network.node(t, 1, 1, nil), 2: network.node(t, 2, 1, nil)}
			meet(nodes[1], nodes[2])
			deaf := nodes[way[1]]
			letGo := network.hold(way[0], way[1])
			deaf.want(Silent)
			e := deaf.want(Lost)
			if !errors.Is(e.Cause, ErrSilent) {
				t.Errorf("lost because of %v", e.Cause)
			}
			nodes[way[0]].want(Lost)
			time.Sleep(time.Minute)
			wantKinds(t, deaf) // and is never called gone
			letGo()
			deaf.want(Up)
			nodes[way[0]].until(Up)
		})
	}
}

func TestAKilledProcessIsGoneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		a, b, c := network.node(t, 1, 1, nil), network.node(t, 2, 1, nil), network.node(t, 3, 1, nil)
		meet(a, b, c)
		time.Sleep(time.Minute)
		start := time.Now()
		_ = b.options.Listener.Close() // what a kernel does for a killed process
		b.SetPeers(nil)
		for _, n := range []*node{a, c} { // the one that dials and the one that knocks
			n.want(Lost)
			if e := n.want(Gone); e.Peer != (replica.Member{ID: 2, Epoch: 1}) || time.Since(start) > 50*time.Millisecond {
				t.Errorf("%v: %v", time.Since(start), e)
			}
		}
		time.Sleep(time.Minute)
		wantKinds(t, a)
		wantKinds(t, c)
		if s := a.Peers()[0]; s.State != ProcessGone || s.Cause == nil {
			t.Errorf("status is %+v", s)
		}

		reborn := network.node(t, 2, 2, nil)
		introduce(a, reborn, c)
		for _, n := range []*node{a, c} {
			if e := n.until(Up); e.Peer.Epoch != 2 {
				t.Errorf("%v", e)
			}
		}
	})
}

func TestARefusedDialWithoutAResetIsNoProofOfDeath(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		a := network.node(t, 1, 1, nil)
		a.SetPeers(map[messages.BrokerID]Peer{2: {Addr: "nobody"}})
		e := a.want(Silent)
		if !errors.Is(e.Cause, errRefused) || e.Peer.Epoch != -1 {
			t.Errorf("%v", e)
		}
		time.Sleep(time.Minute)
		wantKinds(t, a)
	})
}

func TestACutConnectionIsDialedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		a, b := network.node(t, 1, 1, nil), network.node(t, 2, 1, nil)
		meet(a, b)
		for range 5 {
			time.Sleep(2 * time.Second)
			start := time.Now()
			network.cut()
			for _, n := range []*node{a, b} {
				n.want(Lost)
				n.want(Up)
			}
			if d := time.Since(start); d != 0 {
				t.Errorf("took %v", d)
			}
		}
	})
}

func TestDialingBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dials []time.Time
		network := newPipes()
		a := network.node(t, 1, 1, func(o *Options) {
			o.Dial = func(context.Context, string) (net.Conn, error) {
				dials = append(dials, time.Now())
				return nil, errRefused
			}
		})
		a.SetPeers(map[messages.BrokerID]Peer{2: {Addr: "nobody"}})
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := len(dials); n < 60 || n > 130 {
			t.Errorf("%d attempts in a minute", n)
		}
		if first := dials[1].Sub(dials[0]); first < 25*time.Millisecond || first > 50*time.Millisecond {
			t.Errorf("the second attempt came after %v", first)
		}
	})
}

func TestConnectionsThatDoNotLastAreNotDialedInALoop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		a, b := network.node(t, 1, 1, nil), network.node(t, 2, 1, nil)
		introduce(a, b)
		for start := time.Now(); time.Since(start) < time.Minute; network.cut() {
			a.until(Up)
		}
		if n := a.Peers()[0].Writes; n > 150 {
			t.Errorf("%d connections in a minute", n)
		}
	})
}

// TestAStartingNodeIsDialedAtOnce: a node that others have long been failing to
// reach knocks at those that are to dial it.
func TestAStartingNodeIsDialedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		a := network.node(t, 1, 1, nil)
		a.SetPeers(map[messages.BrokerID]Peer{2: {Addr: nodeName(2)}})
		time.Sleep(10 * time.Minute)
		b := network.node(t, 2, 1, nil)
		start := time.Now()
		b.SetPeers(map[messages.BrokerID]Peer{1: {Addr: nodeName(1)}})
		b.want(Up)
		if d := time.Since(start); d != 0 {
			t.Errorf("took %v", d)
		}
	})
}

// TestARestartTheOtherSideDidNotSee: the power failed, so nothing was reset.
func TestARestartTheOtherSideDidNotSee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		a, b := network.node(t, 1, 1, nil), network.node(t, 2, 1, nil)
		meet(a, b)
		c := network.node(t, 2, 2, nil) // takes b's address
		c.SetPeers(map[messages.BrokerID]Peer{1: {Addr: nodeName(1)}})
		if e := a.want(Lost); !errors.Is(e.Cause, ErrReplaced) {
			t.Errorf("%v", e)
		}
		if e := a.want(Up); e.Peer.Epoch != 2 {
			t.Errorf("%v", e)
		}
		c.want(Up)
		time.Sleep(time.Minute)
		refused := b.until(Refused) // the old one still runs, and is told
		if no, ok := errors.AsType[*Refusal](refused.Cause); !ok || no.Reason != Fenced || !no.Theirs {
			t.Errorf("%v", refused)
		}
		if kinds := a.kinds(); slices.Contains(kinds, Up) || slices.Contains(kinds, Lost) {
			t.Errorf("the old start disturbs: %v", kinds)
		}
	})
}

func TestAnEpochKnownFromElsewhereEndsOlderConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		a, b := network.node(t, 1, 1, nil), network.node(t, 2, 1, nil)
		meet(a, b)
		a.SetPeers(map[messages.BrokerID]Peer{2: {Addr: nodeName(2), Epoch: 5}})
		if no, ok := errors.AsType[*Refusal](a.want(Lost).Cause); !ok || no.Reason != Fenced {
			t.Error("lost for another reason")
		}
		time.Sleep(time.Minute)
		if slices.Contains(a.kinds(), Up) {
			t.Error("an older start was let in")
		}
	})
}

// TestAConnectionThatWasLetInIsStillAnOlderStarts has a newer start become known after an
// older one was let in, and before its connection is taken over.
func TestAConnectionThatWasLetInIsStillAnOlderStarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		busy, free := make(chan bool), make(chan bool)
		var first sync.Once
		a := network.node(t, 1, 1, nil)
		b := network.node(t, 2, 1, func(o *Options) {
			told := o.OnEvent
			o.OnEvent = func(e Event) {
				told(e)
				if e.Kind == Up {
					first.Do(func() {
						busy <- true
						<-free
					})
				}
			}
		})
		introduce(a, b)
		<-busy // the keeper is in the midst of taking over the first connection
		a.until(Up)
		network.cut()
		a.until(Up) // there is another already
		b.SetPeers(map[messages.BrokerID]Peer{1: {Addr: nodeName(1), Epoch: 5}})
		free <- true
		b.until(Lost)
		time.Sleep(time.Minute)
		if slices.Contains(b.kinds(), Up) {
			t.Error("an older start was let in")
		}
	})
}

func TestMessagesStayBetweenUpAndLost(t *testing.T) {
	network := newPipes()
	var up atomic.Int64 // the epoch of the connection that is up
	a := network.node(t, 1, 1, func(o *Options) {
		told := o.OnEvent
		o.OnEvent = func(e Event) {
			switch e.Kind {
			case Up:
				up.Store(e.Peer.Epoch)
			case Lost:
				up.Store(0)
			}
			told(e)
		}
		o.OnMessage = func(in *Incoming) {
			if up.Load() != in.From.Epoch || in.Message.BrokerEpoch != in.From.Epoch {
				t.Errorf("a message of epoch %d while %d is up", in.From.Epoch, up.Load())
			}
			in.Release()
		}
	})
	batch := records(3000, 0)
	for epoch := range messages.BrokerEpoch(20) {
		b := network.node(t, 2, epoch+1, nil)
		introduce(a, b)
		a.until(Up)
		b.until(Up)
		stop := make(chan struct{})
		go func() {
			defer close(stop)
			for range 50 {
				_ = b.Send(1, topic, 1, appendOf(0, batch), nil)
			}
		}()
		if epoch%2 == 0 {
			<-stop
		}
		b.Close()
		<-stop
		a.until(Lost)
	}
}

func TestAnOrderlyEndSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		a, b := network.node(t, 1, 1, nil), network.node(t, 2, 1, nil)
		meet(a, b)
		for i := range 10 {
			_ = b.Send(1, topic, 0, appendOf(int64(i), records(1000, 0)), nil)
		}
		b.Close()
		if e := a.want(Lost); !errors.Is(e.Cause, ErrBye) {
			t.Errorf("%v", e)
		}
		a.want(Gone)
		for i := range 10 {
			a.expect(0, int64(i)) // what was queued went out before
		}
		if e := b.want(Lost); !errors.Is(e.Cause, ErrClosed) {
			t.Errorf("%v", e)
		}
	})
}

func TestRemovedAndAddedPeers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := newPipes()
		a, b := network.node(t, 1, 1, nil), network.node(t, 2, 1, nil)
		for range 10 {
			introduce(a, b)
			a.until(Up)
			b.until(Up)
			a.SetPeers(nil)
			a.until(Lost)
			e := b.until(Lost)
			if !errors.Is(e.Cause, ErrBye) {
				t.Errorf("%v", e)
			}
		}
		if len(a.Peers()) != 0 {
			t.Error("a removed peer is shown")
		}
	})
}
