package consul

import (
	"testing"
	"time"

	"understudy/cluster/consul"
	"understudy/cluster/membership"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// list is who is registered and passes.
func (n *node) list() (ids []messages.BrokerID) {
	n.c.t.Helper()
	entries, err := membership.List(ctx, n.client, n.c.name)
	must(n.c.t, err)
	for _, e := range entries {
		if e.Passing {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

// TestHealing: whatever Consul forgets, both nodes are registered again, have
// sessions, and the controller writes.
func TestHealing(t *testing.T) {
	c := newCluster(t, startAgent(t))
	one, two := c.node(1), c.node(2)
	one.session()
	two.session()
	works := func() bool {
		return len(one.list()) == 2 && one.session().ID != "" && two.session().ID != ""
	}
	wait(t, "both nodes", works)
	harms := []struct {
		name string
		do   func()
	}{
		{"restart", func() { c.agent.restart(t) }},
		{"forget", func() { c.agent.forget(t) }},
		{"pause", func() {
			c.agent.pause(t)
			<-time.After(4 * time.Second)
			c.agent.resume(t)
		}},
		{"session destroyed", func() { must(t, two.client.DestroySession(ctx, one.session().ID)) }},
		{"wipe", func() { c.agent.wipe(t) }},
	}
	for _, harm := range harms {
		harm.do()
		begun := time.Now()
		wait(t, "both nodes after "+harm.name, works)
		h := one.lock()
		t.Logf("%s: healed and locked %v after it was over", harm.name, time.Since(begun).Round(time.Millisecond))
		must(t, h.Release(ctx))
	}
}

// TestLockMoves in every way in which a controller can go.
func TestLockMoves(t *testing.T) {
	ways := []struct {
		name string
		go_  func(one, two *node, h *consul.Hold)
	}{
		{"released", func(_, _ *node, h *consul.Hold) { must(t, h.Release(ctx)) }},
		{"killed", func(one, _ *node, _ *consul.Hold) { one.line.cut() }},
		{"killed and deposed", func(one, two *node, h *consul.Hold) {
			one.line.cut()
			must(t, two.store.Depose(ctx, h.Session()))
		}},
		{"key deleted", func(_, two *node, _ *consul.Hold) {
			_, err := two.client.API().KV().Delete("understudy/"+two.c.name+"/controller", nil)
			must(t, err)
		}},
	}
	a := startAgent(t)
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			c := newCluster(t, a)
			one, two := c.node(1), c.node(2)
			h := one.lock()
			one.save(activate)
			two.session()
			got := make(chan *consul.Hold, 1)
			go func() {
				if h, err := two.store.Acquire(ctx); err == nil {
					got <- h
				}
			}()
			begun := time.Now()
			way.go_(one, two, h)
			next := <-got
			t.Logf("%s: the next has the lock after %v", way.name, time.Since(begun).Round(time.Millisecond))
			edit := metadata.NewEdit(two.image())
			one.line.set(nil)
			stale := metadata.NewEdit(one.image())
			stale.SetNextProducerID(7)
			if _, err := one.store.Commit(ctx, stale.Txn()); err == nil {
				t.Error("the deposed controller has written")
			} else {
				want(t, err, metadata.ErrConflict)
			}
			edit.SetController(2)
			_, err := two.store.Commit(ctx, edit.Txn())
			must(t, err)
			if next.Cause() != nil {
				t.Errorf("lost again: %v", next.Cause())
			}
			if way.name != "released" {
				<-h.Lost()
			}
		})
	}
}

func TestClaims(t *testing.T) {
	c := newCluster(t, startAgent(t)).steady()
	one := c.node(1)
	one.session()
	claim := func(directory string, id messages.BrokerID, port int32) (messages.BrokerID, error) {
		return membership.ClaimID(ctx, membership.ClaimOptions{
			Client: one.client, Cluster: c.name, Node: id,
			Claim: membership.Claim{Directory: directory, Host: "127.0.0.1", Port: port},
		})
	}
	if id, err := claim("a", messages.NoBroker, 9001); id != 1 || err != nil {
		t.Fatal(id, err)
	}
	_, err := claim("b", 1, 9002)
	want(t, err, membership.ErrHeld)
	if id, err := claim("b", messages.NoBroker, 9002); id != 2 || err != nil {
		t.Fatal(id, err)
	}
	if id, err := claim("a", messages.NoBroker, 9001); id != 1 || err != nil {
		t.Fatal(id, err)
	}
}
