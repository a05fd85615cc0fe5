package consul

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"understudy/cluster/consul"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// topic makes a topic of n partitions with three replicas each.
func topic(name string, n int) *metadata.Topic {
	t := &metadata.Topic{Name: name, Config: map[string]string{"retention.ms": "1"}}
	copy(t.ID[:], name)
	for i := range n {
		t.Partitions = append(t.Partitions, partition(i, 1))
	}
	return t
}

func partition(i int, epoch messages.LeaderEpoch) metadata.Partition {
	r := []messages.BrokerID{messages.BrokerID(i%3 + 1), messages.BrokerID((i+1)%3 + 1), messages.BrokerID((i+2)%3 + 1)}
	return metadata.Partition{Replicas: r, ISR: r, Leader: r[0], LeaderEpoch: epoch}
}

func activate(e *metadata.Edit) {
	e.SetClusterID("C")
	e.SetController(1)
	e.DeleteLeftovers()
}

func TestTransactions(t *testing.T) {
	c := newCluster(t, startAgent(t)).steady()
	n, reader := c.node(1), c.node(2)
	n.lock()
	n.save(activate)
	n.save(func(e *metadata.Edit) { e.CreateTopic(topic("t", 3)) })
	stale := metadata.NewEdit(n.image())
	n.save(func(e *metadata.Edit) {
		e.SetPartition(messages.TopicPartition{Topic: "t", Partition: 1}, partition(1, 2))
	})
	stale.SetPartition(messages.TopicPartition{Topic: "t", Partition: 1}, partition(1, 9))
	_, err := n.store.Commit(ctx, stale.Txn())
	want(t, err, metadata.ErrConflict)
	_, err = reader.store.Commit(ctx, stale.Txn())
	want(t, err, consul.ErrNotLocked)

	im := reader.image()
	if p := im.Topic("t").Partitions; p[1].LeaderEpoch != 2 || p[1].Revision != 3 || p[0].Revision != 2 || im.Revision != 3 || im.Controller != 1 {
		t.Errorf("read %+v of %d", p, im.Revision)
	}
	n.save(func(e *metadata.Edit) { e.DeleteTopic("t") })
	if im = reader.image(); im.TopicCount() != 0 || im.Leftovers() != 0 {
		t.Errorf("%d topics, %d leftovers", im.TopicCount(), im.Leftovers())
	}
}

func TestAnswersLost(t *testing.T) {
	c := newCluster(t, startAgent(t)).steady()
	n := c.node(1)
	n.lock()
	n.save(activate)
	for first := 1; first <= 3; first++ {
		name := fmt.Sprint("t", first)
		e := metadata.NewEdit(n.image())
		e.CreateTopic(topic(name, 150))
		n.line.set(nth(first, dropAnswer))
		time.AfterFunc(100*time.Millisecond, func() { n.line.set(nil) })
		_, err := n.store.Commit(ctx, e.Txn())
		must(t, err)
		if got := n.image().Topic(name); len(got.Partitions) != 150 {
			t.Errorf("%s has %d partitions", name, len(got.Partitions))
		}
	}
}

// TestStoppedBetweenPieces ends the controller after each piece of a creation and
// of a deletion, with the piece carried out or not, and has the next one finish.
func TestStoppedBetweenPieces(t *testing.T) {
	steps := map[string]func(*metadata.Edit){
		"create": func(e *metadata.Edit) {
			if e.Image().Topic("big") == nil {
				e.CreateTopic(topic("big", 200))
			}
		},
		"delete": func(e *metadata.Edit) { e.DeleteTopic("big") },
	}
	a := startAgent(t)
	for _, name := range []string{"create", "delete"} {
		for stop := 1; stop <= 4; stop++ {
			for _, f := range []fault{drop, dropAnswer} {
				t.Run(fmt.Sprint(name, stop, f), func(t *testing.T) {
					c := newCluster(t, a).steady()
					one, two := c.node(1), c.node(2)
					h := one.lock()
					one.save(activate)
					if name == "delete" {
						one.save(steps["create"])
					}
					edit := metadata.NewEdit(one.image())
					steps[name](edit)
					one.line.set(nth(stop, f))
					dying, die := context.WithTimeout(ctx, 150*time.Millisecond)
					defer die()
					if _, err := one.store.Commit(dying, edit.Txn()); err == nil {
						t.Fatal("nothing was stopped")
					}
					must(t, two.store.Depose(ctx, h.Session()))
					if im := two.image(); im.Topic("big") != nil && len(im.Topic("big").Partitions) != 200 {
						t.Errorf("%d partitions", len(im.Topic("big").Partitions))
					}
					two.lock()
					two.save(activate)
					two.save(steps[name])
					if im := two.image(); im.Leftovers() != 0 || (im.Topic("big") != nil) != (name == "create") {
						t.Errorf("%d leftovers, topic %v", im.Leftovers(), im.Topic("big") != nil)
					}
				})
			}
		}
	}
}

func TestWatchGoesOn(t *testing.T) {
	a := startAgent(t)
	c := newCluster(t, a)
	n, reader := c.node(1), c.node(2)
	n.lock()
	last := n.save(activate)
	harms := []struct {
		name string
		do   func()
	}{
		{"nothing", func() {}},
		{"restart", func() { a.restart(t) }},
		{"forget", func() { a.forget(t) }},
		{"pause", func() {
			a.pause(t)
			time.AfterFunc(3*time.Second, func() { a.resume(t) })
		}},
	}
	for _, harm := range harms {
		watched := make(chan int64, 1)
		after := last
		go func() {
			r, err := reader.store.Watch(ctx, after)
			if err != nil {
				t.Errorf("%s: %v", harm.name, err)
			}
			watched <- r
		}()
		harm.do()
		wait(t, "the controller to write after "+harm.name, func() bool {
			n.lock()
			e := metadata.NewEdit(n.image())
			e.SetNextProducerID(n.image().NextProducerID + 1)
			limited, cancel := context.WithTimeout(ctx, soon)
			defer cancel()
			r, err := n.store.Commit(limited, e.Txn())
			if err == nil {
				last = r
			}
			return err == nil
		})
		if r := <-watched; r != last {
			t.Errorf("%s: watched %d, want %d", harm.name, r, last)
		}
	}
}

// TestDataLostAndRestored: nobody takes the empty Consul for the cluster's; a
// broker writes its copy back, and everybody goes on from there.
func TestDataLostAndRestored(t *testing.T) {
	c := newCluster(t, startAgent(t))
	n, reader := c.node(1), c.node(2)
	n.lock()
	n.save(activate)
	n.save(func(e *metadata.Edit) { e.CreateTopic(topic("t", 150)) })
	before := reader.image()
	watched := make(chan error, 1)
	watch := func() { _, err := reader.store.Watch(ctx, before.Revision); watched <- err }
	go watch()
	n.session()
	c.agent.wipe(t)
	want(t, <-watched, consul.ErrDataLost)
	_, err := reader.store.Load(ctx)
	want(t, err, consul.ErrDataLost)
	go watch()

	state, err := consul.StateOf(before)
	must(t, err)
	must(t, reader.store.Restore(ctx, state, consul.RestoreOptions{}))
	must(t, <-watched)
	after := reader.image()
	if d := metadata.Diff(before, after); len(d.Topics) > 0 || after.Revision <= before.Revision {
		t.Errorf("%d topics differ, revision %d after %d", len(d.Topics), after.Revision, before.Revision)
	}
	wait(t, "the lock again", func() bool { n.lock(); return true })
	wait(t, "the controller to write", func() bool {
		e := metadata.NewEdit(n.image())
		e.SetController(1)
		_, err := n.store.Commit(ctx, e.Txn())
		return err == nil
	})
	want(t, n.store.Restore(ctx, state, consul.RestoreOptions{}), consul.ErrNotEmpty)
}

func TestRefused(t *testing.T) {
	c := newCluster(t, startAgent(t))
	cfg := c.agent.client(t)
	cfg.Token = c.agent.token(t)
	client, err := consul.Dial(cfg)
	must(t, err)
	s, err := consul.Open(consul.Options{Client: client, Cluster: c.name})
	must(t, err)
	defer s.Close()
	_, err = s.Load(ctx)
	if err == nil || !strings.Contains(err.Error(), "consul refuses the token") {
		t.Errorf("got error %v", err)
	}
}
