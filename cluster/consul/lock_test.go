package consul

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"understudy/cluster/consul/fake"
	"understudy/messages"
)

// contender waits for the lock in the background.
func (n *node) contender() <-chan *Hold {
	got := make(chan *Hold, 1)
	go func() {
		if h, err := n.Acquire(ctx); err == nil {
			got <- h
		}
	}()
	return got
}

func TestOneHoldsTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one, two := w.node(1), w.node(2)
		h := one.lock()
		if session, held := one.Locked(); !held || session != h.Session() {
			t.Error("node 1 does not know that it has the lock")
		}
		got := two.contender()
		time.Sleep(10 * time.Minute)
		if _, held := two.Locked(); held {
			t.Fatal("two have the lock")
		}
		if who, err := two.Holder(ctx); err != nil || who.Broker != 1 || who.Session != h.Session() {
			t.Errorf("holder %+v, %v", who, err)
		}
		begun := time.Now()
		must(t, h.Release(ctx))
		next := <-got
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("released, and taken only after %v", took)
		}
		want(t, h.Cause(), ErrReleased)
		if next.Cause() != nil {
			t.Error("lost at once")
		}
		must(t, next.Release(ctx))
		if who, err := two.Holder(ctx); err != nil || who != (Holder{Broker: messages.NoBroker}) {
			t.Errorf("holder %+v, %v", who, err)
		}
	})
}

// TestLockIsLost in every way: the holder hears of it, and the next has it soon.
func TestLockIsLost(t *testing.T) {
	ways := map[string]func(w *world, one *node, h *Hold){
		"session expires":           func(w *world, _ *node, h *Hold) { w.server.Expire(h.Session()) },
		"member says it is gone":    func(w *world, one *node, h *Hold) { close(one.gone); w.server.Expire(h.Session()) },
		"another deposes it":        func(w *world, _ *node, h *Hold) { must(w.t, w.node(3).Depose(ctx, h.Session())) },
		"an operator deletes it":    func(w *world, one *node, _ *Hold) { deleteLock(one) },
		"agent forgets the service": func(w *world, _ *node, _ *Hold) { w.server.RestartAgent() },
		"all data is lost":          func(w *world, one *node, _ *Hold) { w.server.LoseData(); one.name = "" },
	}
	for name, lose := range ways {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				one, two := w.node(1), w.node(2)
				h := one.lock()
				got := two.contender()
				synctest.Wait()
				two.name = "" // a new session if the old one is gone too
				begun := time.Now()
				lose(w, one, h)
				<-h.Lost()
				<-got
				if took := time.Since(begun); took > 100*time.Millisecond {
					t.Errorf("took %v", took)
				}
				if told := w.told(); !strings.Contains(told, "has lost the controller's lock; cause:") || !strings.Contains(told, "node 2 holds the controller's lock") {
					t.Errorf("told %s", told)
				}
				if _, err := one.Commit(ctx, puts("a", "1")); err == nil {
					t.Error("wrote without the lock")
				}
			})
		})
	}
}

func deleteLock(n *node) {
	_, err := n.o.Client.API().KV().Delete(n.lockKey(), nil)
	must(n.w.t, err)
}

// TestCutOffKeepsTheLock: being cut off from Consul loses nothing by itself.
func TestCutOffKeepsTheLock(t *testing.T) {
	for _, f := range []fake.Fault{fake.Drop, fake.Hang, fake.NoLeader} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			n := w.node(1)
			h := n.lock()
			w.server.SetFault(failing("", f, 1, forever))
			w.server.Break()
			time.Sleep(time.Hour)
			w.server.SetFault(nil)
			time.Sleep(time.Minute)
			if h.Cause() != nil {
				t.Errorf("lost: %v", h.Cause())
			}
			n.commit(puts("a", "1"))
		})
	}
}

// TestLockWithoutAnswer loses the answers of the calls that take the lock.
func TestLockWithoutAnswer(t *testing.T) {
	for _, f := range []fake.Fault{fake.DropAnswer, fake.HangAnswer, fake.Drop, fake.NoLeader} {
		for first := 1; first <= 2; first++ {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				n := w.node(1)
				w.server.SetFault(failing("kv/", f, first, 3))
				n.lock()
				n.commit(puts("a", "1"))
			})
		}
	}
}

// TestSessionEndsWhileWaiting: the next attempt uses the next session.
func TestSessionEndsWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		one, two := w.node(1), w.node(2)
		h := one.lock()
		got := two.contender()
		synctest.Wait()
		w.server.Expire(two.name)
		old := two.gone
		two.name, two.gone = "", make(chan struct{})
		close(old)
		time.Sleep(time.Minute)
		must(t, h.Release(ctx))
		if next := <-got; next.Session() != two.name {
			t.Errorf("has it with %s, not %s", next.Session(), two.name)
		}
	})
}

func TestAcquireGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.node(1).lock()
		short, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		_, err := w.node(2).Acquire(short)
		want(t, err, context.DeadlineExceeded)
		if _, err := w.node(3, func(o *Options) { o.Session = nil }).Acquire(ctx); messages.KindOf(err) != messages.InvalidConfig {
			t.Errorf("got error %v", err)
		}
	})
}

// TestAnEarlierCommitCostsNoLaterLock has a commit wait for Consul from one session to
// the next, with which the lock is taken again: that the session which it names has
// ended says nothing about the lock.
func TestAnEarlierCommitCostsNoLaterLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.node(1)
		first := n.lock()
		n.commit(puts("a", "1"))
		w.server.SetFault(failing("txn", fake.Drop, 1, forever))
		committed := make(chan error)
		go func() {
			_, err := n.Commit(ctx, puts("a", "2"))
			committed <- err
		}()
		synctest.Wait()
		w.server.Expire(first.Session())
		<-first.Lost()
		n.name = ""
		second := n.lock()
		w.server.SetFault(nil)
		want(t, <-committed, ErrNotLocked)
		if second.Cause() != nil {
			t.Errorf("the lock that was taken again is lost: %v", second.Cause())
		}
		n.commit(puts("a", "3"))
	})
}
