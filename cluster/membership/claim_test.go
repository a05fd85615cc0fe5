package membership

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"understudy/cluster/consul/fake"
	"understudy/messages"
)

func (w *world) claim(directory string, id messages.BrokerID) (messages.BrokerID, error) {
	n := nodeOf(id)
	return ClaimID(ctx, ClaimOptions{
		Client: w.client(), Cluster: "test", Node: id, Events: w.tell,
		Claim: Claim{Directory: directory, Host: n.Host, Port: n.Port},
	})
}

func TestClaimAnyID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.PutKey("understudy/test/brokers/2", `{}`) // known to the controller, never claimed
		var mu sync.Mutex
		got := map[messages.BrokerID]bool{}
		var all sync.WaitGroup
		for _, d := range []string{"a", "b", "c", "d", "e", "f"} {
			all.Go(func() {
				id, err := w.claim(d, messages.NoBroker)
				mu.Lock()
				defer mu.Unlock()
				if err != nil || got[id] || id == 2 {
					t.Errorf("%s got %d, %v", d, id, err)
				}
				got[id] = true
			})
		}
		all.Wait()
		id, err := w.claim("c", messages.NoBroker)
		must(t, err)
		if again, err := w.claim("c", messages.NoBroker); err != nil || again != id || !got[id] {
			t.Errorf("c got %d, then %d, %v", id, again, err)
		}
		must(t, ReleaseID(ctx, w.client(), "test", 3))
		if id, err := w.claim("g", messages.NoBroker); err != nil || id != 3 {
			t.Errorf("g got %d, %v", id, err)
		}
	})
}

func TestClaimWantedID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		if id, err := w.claim("a", 5); id != 5 || err != nil {
			t.Fatal(id, err)
		}
		m := w.join(5)
		w.session(m)
		_, err := w.claim("b", 5)
		want(t, err, ErrHeld)
		if messages.KindOf(err) != messages.InvalidConfig {
			t.Errorf("got error %v", err)
		}
		// The same directory, at the same address: the node restarts.
		begun := time.Now()
		if id, err := w.claim("a", 5); id != 5 || err != nil || time.Since(begun) > 0 {
			t.Error(id, err, time.Since(begun))
		}
		// One that has just died looks alive for a moment, no longer.
		m.kill()
		if id, err := w.claim("b", 5); id != 5 || err != nil {
			t.Error(id, err)
		}
		if _, err := w.claim("a", 5); err != nil {
			t.Errorf("given over, and nobody lives: %v", err)
		}
	})
}

// TestCopiedDirectory: two nodes with copies of one directory are not let in.
func TestCopiedDirectory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		_, err := w.claim("a", 1)
		must(t, err)
		m := w.join(1)
		w.session(m)
		copied := ClaimOptions{Client: w.client(), Cluster: "test", Node: messages.NoBroker, Claim: Claim{Directory: "a", Host: "elsewhere", Port: 9092}}
		_, err = ClaimID(ctx, copied)
		want(t, err, ErrHeld)
		m.kill() // it has moved to another host
		if id, err := ClaimID(ctx, copied); id != 1 || err != nil {
			t.Error(id, err)
		}
	})
}

func TestClaimWithoutAnswer(t *testing.T) {
	for _, f := range []fake.Fault{fake.Drop, fake.DropAnswer, fake.HangAnswer, fake.NoLeader} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.server.SetFault(failingOnce("kv/understudy/test/ids/nodes/1", f))
			if id, err := w.claim("a", messages.NoBroker); id != 1 || err != nil {
				t.Errorf("fault %d: %d, %v", f, id, err)
			}
		})
	}
}

func TestClaimWaitsForConsul(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.server.SetFault(failing("", fake.NoLeader))
		time.AfterFunc(time.Minute, func() { w.server.SetFault(nil) })
		if id, err := w.claim("a", messages.NoBroker); id != 1 || err != nil {
			t.Error(id, err)
		}
		w.server.SetFault(failing("", fake.NoLeader))
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		_, err := ClaimID(short, ClaimOptions{Client: w.client(), Cluster: "test", Node: 1, Claim: Claim{Directory: "a"}})
		if err == nil {
			t.Error("claimed without Consul")
		}
		if _, err := w.claim("", 1); messages.KindOf(err) != messages.InvalidRequest || errors.Is(err, ErrHeld) {
			t.Errorf("got error %v", err)
		}
	})
}
