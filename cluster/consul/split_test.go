package consul

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"

	"understudy/cluster/consul/fake"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// topic makes a topic of n partitions, its id drawn from a number.
func topic(name string, id byte, n int) *metadata.Topic {
	t := &metadata.Topic{Name: name, ID: messages.TopicID{id, 1}, Config: map[string]string{"retention.ms": fmt.Sprint(id)}}
	for i := range n {
		t.Partitions = append(t.Partitions, partition(i, 1))
	}
	return t
}

func partition(i int, epoch messages.LeaderEpoch) metadata.Partition {
	replicas := []messages.BrokerID{messages.BrokerID(i%3 + 1), messages.BrokerID((i+1)%3 + 1)}
	return metadata.Partition{Replicas: replicas, ISR: replicas, Leader: replicas[0], LeaderEpoch: epoch}
}

// image is what is in the Store.
func (n *node) image() *metadata.Image {
	n.w.t.Helper()
	im, err := metadata.Build(n.load())
	must(n.w.t, err)
	return im
}

// save commits an edit of what is in the Store.
func (n *node) save(change func(*metadata.Edit)) {
	n.w.t.Helper()
	e := metadata.NewEdit(n.image())
	change(e)
	n.commit(e.Txn())
}

// before is the state that the big transaction changes.
func before(e *metadata.Edit) {
	e.SetClusterID("C")
	e.SetController(1)
	for id := range messages.BrokerID(3) {
		e.SetBroker(metadata.Broker{ID: id + 1, Epoch: 1, Host: "h", Port: 1})
	}
	e.CreateTopic(topic("doomed", 1, 7))
	e.CreateTopic(topic("anew", 2, 6))
	e.CreateTopic(topic("grows", 3, 2))
	e.CreateTopic(topic("stays", 4, 8))
}

// change is everything that can be done at once.
func change(e *metadata.Edit) {
	e.Require(metadata.ControllerKey)
	e.DeleteLeftovers()
	have := e.Image()
	if have.Topic("doomed") != nil {
		e.DeleteTopic("doomed")
	}
	if t := have.Topic("anew"); t == nil || len(t.Partitions) != 9 {
		e.DeleteTopic("anew")
		e.CreateTopic(topic("anew", 5, 9))
	}
	if len(have.Topic("grows").Partitions) == 2 {
		e.AddPartitions("grows", []metadata.Partition{partition(2, 1), partition(3, 1), partition(4, 1)})
	}
	if have.Topic("new") == nil {
		e.CreateTopic(topic("new", 6, 5))
	}
	for i := range 8 {
		if have.Topic("stays").Partitions[i].LeaderEpoch == 1 {
			e.SetPartition(messages.TopicPartition{Topic: "stays", Partition: int32(i)}, partition(i, 2))
		}
	}
	e.SetNextProducerID(1000)
	e.SetBroker(metadata.Broker{ID: 2, Epoch: 2, Host: "h", Port: 1})
}

// content is a state without the revisions.
func content(s metadata.State) map[string]string {
	m := map[string]string{}
	for key, e := range s.Entries {
		m[key] = string(e.Value)
	}
	return m
}

// wholeSteps checks that each step of the big change is there whole or not at all,
// and that what says that the others are done comes after them.
func wholeSteps(t *testing.T, im *metadata.Image) {
	t.Helper()
	for name, sizes := range map[string][]int{"doomed": {0, 7}, "anew": {0, 6, 9}, "grows": {2, 5}, "new": {0, 5}, "stays": {8}} {
		size := 0
		if x := im.Topic(name); x != nil {
			size = len(x.Partitions)
			if want := map[messages.TopicID]string{{1, 1}: "1", {2, 1}: "2", {3, 1}: "3", {4, 1}: "4", {5, 1}: "5", {6, 1}: "6"}[x.ID]; x.Config["retention.ms"] != want {
				t.Errorf("%s with id %v has settings %v", name, x.ID, x.Config)
			}
		}
		if !contains(sizes, size) {
			t.Errorf("%s has %d partitions", name, size)
		}
	}
	done := im.Topic("doomed") == nil && im.Topic("new") != nil && len(im.Topic("grows").Partitions) == 5
	if im.Broker(2).Epoch == 2 && !done {
		t.Error("the broker is registered before all else is done")
	}
}

func contains(list []int, n int) bool {
	for _, x := range list {
		if x == n {
			return true
		}
	}
	return false
}

// TestStopAfterEachPiece ends a controller after each piece of a transaction. What
// it leaves is consistent; the next controller reads that, does what is missing,
// and arrives where the first would have.
func TestStopAfterEachPiece(t *testing.T) {
	small := func(o *Options) { o.MaxOps = 8 }
	var goal map[string]string
	var pieces int
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.controller(1, small)
		n.save(before)
		w.told()
		n.save(change)
		goal = content(n.load())
		wholeSteps(t, n.image())
		for _, e := range w.events {
			if s, ok := e.(Split); ok {
				pieces = s.Pieces
			}
		}
	})
	if pieces < 8 {
		t.Fatalf("only %d pieces", pieces)
	}
	for stop := range pieces {
		for _, f := range []fake.Fault{fake.Hang, fake.HangAnswer} {
			t.Run(fmt.Sprint(stop, f), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					n := w.controller(1, small)
					n.save(before)
					edit := metadata.NewEdit(n.image())
					change(edit)
					w.server.SetFault(failing("txn", f, stop+1, 1))
					dying, die := context.WithCancel(ctx)
					ended := make(chan error, 1)
					go func() { _, err := n.Commit(dying, edit.Txn()); ended <- err }()
					synctest.Wait()
					die()
					if err := <-ended; messages.KindOf(err) != messages.RequestTimedOut {
						t.Fatalf("ended with %v", err)
					}
					w.server.Expire(n.name)
					w.server.SetFault(nil)

					reader := w.node(3)
					partial := reader.image()
					wholeSteps(t, partial)
					next := w.controller(2, small)
					next.save(change)
					final := next.load()
					if got := content(final); !equalBut(got, goal, metadata.ControllerKey) {
						t.Errorf("arrived at %v\nwant %v", got, goal)
					}
					sawEverything(t, reader, partial, final)
				})
			})
		}
	}
}

func equalBut(a, b map[string]string, key string) bool {
	a, b = maps.Clone(a), maps.Clone(b)
	delete(a, key)
	delete(b, key)
	return maps.Equal(a, b)
}

// sawEverything wants a broker that has read an unfinished transaction to notice
// every key that is different afterwards: none has other content at the same
// revision.
func sawEverything(t *testing.T, n *node, partial *metadata.Image, final metadata.State) {
	t.Helper()
	if r, err := n.Watch(ctx, partial.Revision); err != nil || r != final.Revision {
		t.Errorf("watched %d, %v", r, err)
	}
	now := n.image()
	for _, c := range metadata.Diff(partial, now).Topics {
		_ = c.Name()
	}
	for x := range now.Topics() {
		old := partial.Topic(x.Name)
		if old == nil || old.ID != x.ID {
			continue
		}
		for i := range min(len(old.Partitions), len(x.Partitions)) {
			p, q := old.Partitions[i], x.Partitions[i]
			if p.Revision == q.Revision && p.LeaderEpoch != q.LeaderEpoch {
				t.Errorf("%s-%d changed and kept revision %d", x.Name, i, p.Revision)
			}
		}
	}
}

// TestReadBetweenPieces reads after each piece of a transaction that goes on: all
// is consistent, and the reader is told of every next piece.
func TestReadBetweenPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n, reader := w.controller(1, func(o *Options) { o.MaxOps = 8 }), w.node(2)
		n.save(before)
		edit := metadata.NewEdit(n.image())
		change(edit)
		seen, reads := n.load().Revision, 0
		done := make(chan int64, 1)
		w.server.SetFault(failing("txn", fake.NoLeader, 1, forever))
		go func() { done <- n.commit(edit.Txn()) }()
		for finished := int64(0); finished == 0 || seen < finished; {
			select {
			case finished = <-done:
				continue
			default:
			}
			let := rand.IntN(2) + 1 // pieces pass, then none
			w.server.SetFault(failing("txn", fake.NoLeader, let+1, forever))
			r, err := reader.Watch(ctx, seen)
			must(t, err)
			im := reader.image()
			wholeSteps(t, im)
			if im.Revision < r || r <= seen {
				t.Fatalf("watched %d after %d, read %d", r, seen, im.Revision)
			}
			seen, reads = im.Revision, reads+1
			synctest.Wait()
		}
		if reads < 5 {
			t.Errorf("read only %d times", reads)
		}
	})
}

// TestConflictBetweenPieces: somebody writes by hand between two pieces.
func TestConflictBetweenPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.controller(1, func(o *Options) { o.MaxOps = 8 })
		n.save(before)
		edit := metadata.NewEdit(n.image())
		change(edit)
		w.server.SetFault(failing("txn", fake.NoLeader, 4, forever))
		ended := make(chan error, 1)
		go func() { _, err := n.Commit(ctx, edit.Txn()); ended <- err }()
		synctest.Wait()
		w.server.PutKey("understudy/test/brokers/2", `{"epoch":1,"host":"by hand","port":1}`)
		w.server.SetFault(nil)
		want(t, <-ended, metadata.ErrConflict)
		wholeSteps(t, n.image())
		n.save(change)
		if b := n.image().Broker(2); b.Epoch != 2 || b.Host != "h" {
			t.Errorf("broker %+v", b)
		}
	})
}

// TestTenThousandPartitions creates, moves and deletes ten topics of 1,000.
func TestTenThousandPartitions(t *testing.T) {
	w := newWorld(t)
	n := w.controller(1)
	n.save(func(e *metadata.Edit) {
		for i := range 10 {
			e.CreateTopic(topic(fmt.Sprint("t", i), byte(i+1), 1000))
		}
	})
	im := w.node(2).image()
	if im.PartitionCount() != 10_000 {
		t.Fatalf("%d partitions", im.PartitionCount())
	}
	n.save(func(e *metadata.Edit) {
		for i := range 1000 {
			e.SetPartition(messages.TopicPartition{Topic: "t3", Partition: int32(i)}, partition(i, 2))
		}
	})
	n.save(func(e *metadata.Edit) {
		for i := range 10 {
			e.DeleteTopic(fmt.Sprint("t", i))
		}
	})
	if im := n.image(); im.PartitionCount() != 0 || im.Leftovers() != 0 {
		t.Errorf("%d partitions, %d leftovers", im.PartitionCount(), im.Leftovers())
	}
	if told := w.told(); strings.Count(told, "pieces") != 3 {
		t.Errorf("told %s", told)
	}
}

// TestWhatIsTakenBackBeforeItIsWrittenTakesNoRoom has a topic be made and deleted in
// one transaction, which writes something else.
func TestWhatIsTakenBackBeforeItIsWrittenTakesNoRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		n := w.controller(1)
		n.save(func(e *metadata.Edit) { e.SetClusterID("C") })
		n.save(func(e *metadata.Edit) {
			e.CreateTopic(topic("short", 1, 200))
			e.SetNextProducerID(7)
			e.DeleteTopic("short")
		})
		if im := n.image(); im.NextProducerID != 7 || im.TopicCount() != 0 {
			t.Errorf("next producer id %d, %d topics", im.NextProducerID, im.TopicCount())
		}
	})
}
