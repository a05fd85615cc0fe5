package consul

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"understudy/cluster/consul/fake"
	"understudy/cluster/metadata"
	"understudy/messages"
)

func TestCommitAndLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.controller(1)
		if s := n.load(); s.Revision != 0 || show(s) != lockShown(1) {
			t.Fatalf("empty: %d %s", s.Revision, show(s))
		}
		if r := n.commit(puts("a", "1", "b", "2")); r != 1 {
			t.Errorf("first revision is %d", r)
		}
		txn := puts("a", "3")
		txn.Deletes = []string{"b", "missing"}
		txn.Checks = []metadata.Check{{Key: "a", Revision: 1}, {Key: "b", Revision: 1}, {Key: "c"}}
		if r := n.commit(txn); r != 2 {
			t.Errorf("second revision is %d", r)
		}
		for _, reader := range []*node{n, w.node(2)} {
			if s := reader.load(); s.Revision != 2 || show(s) != "a=3@2 "+lockShown(1) {
				t.Errorf("node %d: %d %s", reader.id, s.Revision, show(s))
			}
		}
		if r := n.commit(metadata.Txn{Deletes: []string{"missing"}}); r != 2 {
			t.Errorf("after a transaction that changes nothing: %d", r)
		}
		if _, err := n.Commit(ctx, txn); err == nil {
			t.Error("the same checks held twice")
		} else {
			want(t, err, metadata.ErrConflict)
		}
	})
}

// TestWrittenByHand wants what an operator writes to be noticed, and not to be
// written over by who has not seen it.
func TestWrittenByHand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.controller(1)
		n.commit(puts("configs/topics/x", "1"))
		w.server.PutKey("understudy/test/configs/topics/x", "2")
		txn := puts("configs/topics/x", "3")
		txn.Checks = []metadata.Check{{Key: "configs/topics/x", Revision: 1}}
		_, err := n.Commit(ctx, txn)
		want(t, err, metadata.ErrConflict)
		s := n.load()
		if got := string(s.Entries["configs/topics/x"].Value); got != "2" {
			t.Fatalf("loaded %q", got)
		}
		txn.Checks[0].Revision = s.Entries["configs/topics/x"].Revision
		if r := n.commit(txn); r != 2 {
			t.Errorf("revision %d", r)
		}
	})
}

// TestOneWriter has two Stores with the same session, as after a bug, write in
// turns: each finds out that the other has.
func TestOneWriter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.controller(1)
		n.load()
		twin := w.node(1, func(o *Options) { o.Session = n.session })
		twin.lock()
		twin.load()
		n.commit(puts("a", "1"))
		// The twin's checks name nothing that has changed, its version has.
		_, err := twin.Commit(ctx, puts("b", "1"))
		want(t, err, metadata.ErrConflict)
		twin.commit(puts("b", "1"))
		if got := show(n.load()); got != "a=1@1 b=1@2 "+lockShown(1) {
			t.Errorf("got %s", got)
		}
	})
}

func TestCommitNeedsTheLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.node(1)
		_, err := n.Commit(ctx, puts("a", "1"))
		want(t, err, ErrNotLocked)
		want(t, err, metadata.ErrConflict)

		h := n.lock()
		n.commit(puts("a", "1"))
		w.server.Expire(h.Session()) // and the broker has not heard of it
		w.server.SetFault(failing("kv/", fake.Hang, 1, forever))
		_, err = n.Commit(ctx, puts("a", "2"))
		want(t, err, ErrNotLocked)
		want(t, err, metadata.ErrConflict)
		<-h.Lost()
		if _, held := n.Locked(); held {
			t.Error("still locked")
		}
		w.server.SetFault(nil)
		if got := n.load().Entries["a"]; string(got.Value) != "1" {
			t.Errorf("a is %s", got.Value)
		}
	})
}

// TestOutcomeFoundOut has the answer to a commit, or the commit, be lost in every
// way, and wants it carried out once.
func TestOutcomeFoundOut(t *testing.T) {
	for _, f := range []fake.Fault{fake.Drop, fake.DropAnswer, fake.Hang, fake.HangAnswer, fake.NoLeader, fake.Overload} {
		for _, times := range []int{1, 3} {
			for first := 1; first <= 3; first++ {
				t.Run(fmt.Sprint(f, times, first), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t)
						n := w.controller(1, func(o *Options) { o.MaxOps = 4 })
						n.commit(puts("a", "0"))
						w.server.SetFault(failing("txn", f, first, times))
						txn := puts("a", "1", "b", "1", "c", "1", "d", "1", "e", "1")
						txn.Checks = []metadata.Check{{Key: "a", Revision: 1}, {Key: "b"}}
						if r := n.commit(txn); r != 4 {
							t.Errorf("revision %d", r)
						}
						w.server.SetFault(nil)
						if got := show(w.node(2).load()); got != "a=1@4 b=1@4 c=1@4 "+lockShown(1)+" d=1@4 e=1@4" {
							t.Errorf("got %s", got)
						}
						if told := w.told(); !strings.Contains(told, "trying again") || !strings.Contains(told, "well again") {
							t.Errorf("told %s", told)
						}
						n.commit(puts("a", "2"))
					})
				})
			}
		}
	}
}

// TestOutcomeUnknown gives up while nothing answers: the error says that nobody
// knows, and what comes after is right either way.
func TestOutcomeUnknown(t *testing.T) {
	for _, f := range []fake.Fault{fake.Hang, fake.HangAnswer} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			n := w.controller(1)
			n.commit(puts("a", "0"))
			w.server.SetFault(failing("txn", f, 1, 1))
			short, cancel := context.WithTimeout(ctx, 3*time.Second)
			defer cancel()
			_, err := n.Commit(short, puts("a", "1"))
			if messages.KindOf(err) != messages.RequestTimedOut || !strings.Contains(err.Error(), "unknown") {
				t.Fatalf("got error %v", err)
			}
			expect := map[fake.Fault]int64{fake.Hang: 1, fake.HangAnswer: 2}[f]
			if s := n.load(); s.Revision != expect {
				t.Errorf("revision %d, want %d", s.Revision, expect)
			}
			if r := n.commit(puts("a", "2")); r != expect+1 {
				t.Errorf("revision %d", r)
			}
		})
	}
}

// TestAnotherWroteMeanwhile loses the answer to a commit, then the lock, and has
// the next controller write before the first finds out.
func TestAnotherWroteMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.controller(1)
		n.commit(puts("a", "0"))
		w.server.SetFault(failing("txn", fake.HangAnswer, 1, 1))
		failed := make(chan error, 1)
		go func() {
			_, err := n.Commit(ctx, puts("a", "1"))
			failed <- err
		}()
		synctest.Wait()
		w.server.Expire(n.name)
		w.controller(2).commit(puts("a", "2"))
		err := <-failed
		if messages.KindOf(err) != messages.RequestTimedOut {
			t.Errorf("got error %v", err)
		}
	})
}

func TestRefusedToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n, other := w.controller(1), w.node(2)
		_, err := other.session(ctx)
		must(t, err)
		w.server.SetToken("another")
		_, loadErr := n.Load(ctx)
		_, commitErr := n.Commit(ctx, puts("a", "1"))
		_, watchErr := n.Watch(ctx, 0)
		_, lockErr := other.Acquire(ctx)
		for _, err := range []error{loadErr, commitErr, watchErr, lockErr} {
			if err == nil || !strings.Contains(err.Error(), "consul refuses the token") {
				t.Errorf("got error %v", err)
			}
		}
	})
}

func TestNoLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.controller(1)
		n.commit(puts("a", "1"))
		w.told()
		w.server.SetFault(failing("", fake.NoLeader, 1, forever))
		time.AfterFunc(100*time.Second, func() { w.server.SetFault(nil) })
		begun := time.Now()
		n.load()
		if took := time.Since(begun); took < 100*time.Second || took > 102*time.Second {
			t.Errorf("loaded after %v", took)
		}
		told := w.told()
		if lines := strings.Count(told, "consul has no leader"); lines < 3 || lines > 8 {
			t.Errorf("told\n%s", told)
		}
		if !strings.Contains(told, "consul is well again") {
			t.Errorf("told\n%s", told)
		}
		if _, held := n.Locked(); !held {
			t.Error("the lock was given up")
		}
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		w.server.SetFault(failing("", fake.NoLeader, 1, forever))
		if _, err := n.Load(short); err == nil || !strings.Contains(err.Error(), "consul has no leader") {
			t.Errorf("got error %v", err)
		}
	})
}

// TestElecting: servers that let calls wait for a leader are asked whether they
// have one.
func TestElecting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.controller(1)
		w.server.SetFault(failing("", fake.Electing, 1, forever))
		time.AfterFunc(time.Minute, func() { w.server.SetFault(nil) })
		n.load()
		if told := w.told(); !strings.Contains(told, "consul has no leader (load metadata)") {
			t.Errorf("told\n%s", told)
		}
	})
}

// TestTransactionTooLarge: a value that Consul never takes is the request's fault.
func TestTransactionTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.controller(1)
		_, err := n.Commit(ctx, puts("a", strings.Repeat("x", 600<<10)))
		if messages.KindOf(err) != messages.InvalidRequest {
			t.Errorf("got error %v", err)
		}
		n.commit(puts("a", "1"))
	})
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n, reader := w.controller(1), w.node(2)
		n.commit(puts("a", "1"))
		if r, err := reader.Watch(ctx, 0); r != 1 || err != nil {
			t.Fatal(r, err)
		}
		got := make(chan int64)
		go func() {
			for after := int64(1); ; {
				r, err := reader.Watch(ctx, after)
				if err != nil {
					close(got)
					return
				}
				got <- r
				after = r
			}
		}()
		for i := range 5 {
			time.Sleep(time.Duration(i) * 20 * time.Second)
			n.commit(puts("a", fmt.Sprint(i)))
			begun := time.Now()
			if r := <-got; r != int64(i)+2 || time.Since(begun) > 0 {
				t.Errorf("watched %d after %v", r, time.Since(begun))
			}
		}
		idle := w.server.Calls("kv")
		time.Sleep(10 * time.Minute)
		if calls := w.server.Calls("kv") - idle; calls > 50 {
			t.Errorf("%d calls in ten idle minutes", calls)
		}
		for _, f := range []fake.Fault{fake.Drop, fake.NoLeader, fake.Hang, fake.Overload} {
			w.server.SetFault(failing("kv/", f, 1, forever))
			w.server.Break()
			time.Sleep(time.Minute)
			w.server.SetFault(nil)
			n.commit(puts("a", "x"))
			<-got
		}
		must(t, reader.Close())
		if _, more := <-got; more {
			t.Error("watched after Close")
		}
	})
}

// TestDataLost wants a Store that has read more than Consul knows to say so once,
// and to go on when Consul knows it again.
func TestDataLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n, reader := w.controller(1), w.node(2)
		n.commit(puts(metadata.ClusterIDKey, `{"id":"C"}`))
		for range 9 {
			n.commit(puts("a", "1"))
		}
		kept := reader.load()
		w.told()
		watched := make(chan error, 1)
		watch := func() {
			_, err := reader.Watch(ctx, kept.Revision)
			watched <- err
		}
		go watch()
		synctest.Wait()
		w.server.LoseData()
		want(t, <-watched, ErrDataLost)
		_, err := reader.Load(ctx)
		want(t, err, ErrDataLost)
		if told := w.told(); strings.Count(told, "lost or old: revision 10 was there, now 0") != 1 {
			t.Errorf("told %s", told)
		}
		go watch() // now it waits
		time.Sleep(10 * time.Minute)
		select {
		case err := <-watched:
			t.Fatalf("told again: %v", err)
		default:
		}
		must(t, w.node(3).Restore(ctx, kept, RestoreOptions{}))
		must(t, <-watched)
		if got := show(reader.load()); got != strings.ReplaceAll(show(kept), " "+lockShown(1), "") {
			t.Errorf("got %s", got)
		}
	})
}

// TestAnotherCluster: whoever knows its cluster's id reads no other's metadata.
func TestAnotherCluster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		knows := func(o *Options) { o.ClusterID = "mine" }
		_, err := w.node(2, knows).Load(ctx)
		want(t, err, ErrDataLost)
		w.controller(1).commit(puts(metadata.ClusterIDKey, `{"id":"another"}`))
		_, err = w.node(3, knows).Load(ctx)
		want(t, err, ErrOtherCluster)
	})
}

func TestClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.node(1)
		h := n.lock()
		n.commit(puts("a", "1"))
		w.server.SetFault(failing("txn", fake.Hang, 1, forever))
		ended := make(chan error, 2)
		go func() { _, err := n.Commit(ctx, puts("a", "2")); ended <- err }()
		synctest.Wait()
		go func() { _, err := n.Load(ctx); ended <- err }() // waits for its turn
		synctest.Wait()
		must(t, n.Close())
		want(t, <-ended, ErrClosed)
		want(t, <-ended, ErrClosed)
		want(t, h.Cause(), ErrClosed)
		_, err := n.Load(ctx)
		want(t, err, ErrClosed)
		want(t, n.Close(), ErrClosed)
	})
}

func TestOpenRefuses(t *testing.T) {
	for _, name := range []string{"", "a/b", "a b", "ä", "a?b"} {
		if _, err := Open(Options{Client: new(Client), Cluster: name}); messages.KindOf(err) != messages.InvalidConfig {
			t.Errorf("%q: got error %v", name, err)
		}
	}
	if _, err := Dial(Config{TLS: TLS{CAFile: "/does/not/exist"}}); messages.KindOf(err) != messages.InvalidConfig {
		t.Errorf("got error %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("CONSUL_HTTP_ADDR", "consul.example:1234")
	c, err := Dial(Config{})
	must(t, err)
	if c.Address() != "consul.example:1234" {
		t.Errorf("address %s", c.Address())
	}
	if c, err = Dial(Config{Address: "other:1"}); err != nil || c.Address() != "other:1" {
		t.Error(c.Address(), err)
	}
}
