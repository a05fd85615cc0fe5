package understudy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"understudy/actors/controller"
	"understudy/cluster/metadata"
	"understudy/messages"
)

// history is a number of commits, one on top of the other, and the images they
// lead to.
func history(t *testing.T) (commits []controller.Commit, images []*metadata.Image) {
	t.Helper()
	im := metadata.Empty()
	images = append(images, im)
	commit := func(edit func(*metadata.Edit), steps int64) {
		e := metadata.NewEdit(im)
		edit(e)
		txn := e.Txn()
		next, _, err := e.Seal(im.Revision + steps)
		if err != nil {
			t.Fatal(err)
		}
		commits = append(commits, controller.Commit{Before: im.Revision, After: next.Revision, Txn: txn})
		images, im = append(images, next), next
	}
	partition := func(leader messages.BrokerID, epoch int) metadata.Partition {
		return metadata.Partition{Replicas: []messages.BrokerID{1, 2}, ISR: []messages.BrokerID{1, 2}, Leader: leader, LeaderEpoch: messages.LeaderEpoch(epoch)}
	}
	commit(func(e *metadata.Edit) { e.SetClusterID("C"); e.SetController(1) }, 1)
	commit(func(e *metadata.Edit) { e.SetBroker(metadata.Broker{ID: 1, Epoch: 1, Host: "a"}) }, 1)
	for i := range 4 {
		topic := &metadata.Topic{Name: fmt.Sprint("t", i), ID: messages.TopicID{byte(i + 1)}, Config: map[string]string{"retention.ms": "1"}}
		topic.Partitions = slices.Repeat([]metadata.Partition{partition(1, 0)}, 3)
		commit(func(e *metadata.Edit) { e.CreateTopic(topic) }, int64(i+1)) // written in several steps
	}
	for epoch := range 5 {
		commit(func(e *metadata.Edit) {
			e.SetPartition(messages.TopicPartition{Topic: "t1", Partition: 2}, partition(2, epoch+1))
		}, 1)
	}
	commit(func(e *metadata.Edit) { e.DeleteTopic("t0") }, 1)
	commit(func(e *metadata.Edit) { e.SetTopicConfig("t1", nil) }, 1)
	return commits, images
}

// lonely is a node that is only told things.
func lonely(im *metadata.Image) *node {
	b := &Broker{cell: metadata.NewCell()}
	b.cell.Publish(metadata.Change{New: im})
	n := &node{b: b, out: newOutboxes(), lore: newLore()}
	b.node = n
	return n
}

// changeOf is a commit as it comes from the wire.
func changeOf(t *testing.T, c controller.Commit) *change {
	t.Helper()
	body, err := newParcel(parcelOf(c)).body()
	if err != nil {
		t.Fatal(err)
	}
	var it item
	if err := json.Unmarshal(body, &it); err != nil {
		t.Fatal(err)
	}
	return it.Change
}

// TestChangesInAnyOrder gives a node changes in random order, some of them
// several times. It never shows what was not the case at that version, and reads
// only when something is missing.
func TestChangesInAnyOrder(t *testing.T) {
	commits, images := history(t)
	at := func(revision int64) *metadata.Image {
		return images[slices.IndexFunc(images, func(im *metadata.Image) bool { return im.Revision == revision })]
	}
	last := images[len(images)-1]
	for seed := range uint64(200) {
		coins := rand.New(rand.NewPCG(seed, 1))
		n := lonely(images[0])
		for _, i := range append(coins.Perm(len(commits)), coins.Perm(len(commits))...) {
			before := n.b.cell.Image().Revision
			n.apply(changeOf(t, commits[i]))
			im := n.b.cell.Image()
			if d := metadata.Diff(im, at(im.Revision)); len(d.Topics) > 0 || d.Brokers || d.Configs {
				t.Fatalf("seed %d: at version %d the image is another: %+v", seed, im.Revision, d)
			}
			if missed := commits[i].Before > before; missed && n.lore.want.Load() < commits[i].After {
				t.Fatalf("seed %d: nothing was read though a change was missed before %d", seed, commits[i].After)
			}
			if coins.IntN(3) == 0 && n.lore.want.Load() > im.Revision { // it is read, in some version that there is by then
				n.b.cell.Publish(metadata.Change{New: at(images[slices.IndexFunc(images, func(im *metadata.Image) bool { return im.Revision >= n.lore.want.Load() })].Revision)})
			}
		}
		if want := n.lore.want.Load(); n.b.cell.Image().Revision < last.Revision && want < last.Revision {
			t.Errorf("seed %d: ends at version %d, and would read %d, of %d", seed, n.b.cell.Image().Revision, want, last.Revision)
		}
	}
}

// TestAChangeReadByHalves applies a transaction that was written in several steps
// to what was read between two of them.
func TestAChangeReadByHalves(t *testing.T) {
	commits, images := history(t)
	for i, c := range commits {
		for half := range len(c.Txn.Puts) {
			if c.After-c.Before < 2 {
				continue
			}
			read, _, err := images[i].Apply(metadata.Txn{Puts: c.Txn.Puts[:half]}, c.Before+1)
			if err != nil {
				continue // no order of steps leads there
			}
			n := lonely(read)
			n.apply(changeOf(t, c))
			if d := metadata.Diff(n.b.cell.Image(), images[i+1]); n.b.cell.Image().Revision != c.After || len(d.Topics) > 0 {
				t.Errorf("after %d of the puts of version %d: %+v", half, c.After, d)
			}
		}
	}
}

// TestAnOutboxIsBounded: a node for which too much waits is left to read.
func TestAnOutboxIsBounded(t *testing.T) {
	o := newOutboxes()
	to := []messages.BrokerID{2}
	big := newParcel(item{}, maxOutbox/4)
	for range 4 {
		o.add(to, big)
	}
	if ids := o.begin(); !slices.Equal(ids, to) || len(o.begin()) != 0 {
		t.Fatalf("begins with %v", ids)
	}
	list, next := o.peek(2)
	if len(list) != 1 || next != 1 {
		t.Errorf("%d parcels at a time, next is %d", len(list), next)
	}
	o.add(to, newParcel(item{}, 1)) // too much: the others are forgotten
	o.sent(2, next)
	list, next = o.peek(2)
	if len(list) != 1 || next != 5 || list[0].size != 1 {
		t.Errorf("afterwards %d parcels, next is %d", len(list), next)
	}
	o.sent(2, next)
	if list, _ := o.peek(2); len(list) != 0 {
		t.Errorf("%d parcels are left", len(list))
	}
	o.add(to, big)
	if !slices.Equal(o.begin(), to) {
		t.Error("nobody would send what came after the end")
	}
}

// TestANodeThatIsBackBeforeItIsGivenUp comes back between the look at its connection and
// the end of the sending: what waits for it is sent all the same.
func TestANodeThatIsBackBeforeItIsGivenUp(t *testing.T) {
	o := newOutboxes()
	to := []messages.BrokerID{2}
	o.add(to, newParcel(item{}, 1))
	<-o.poke
	if !slices.Equal(o.begin(), to) {
		t.Fatal("nobody sends it")
	}
	o.peek(2) // it is sent in vain, and node 2 is not connected
	o.returned(2)
	<-o.poke
	if ids := o.begin(); len(ids) > 0 {
		t.Fatalf("twice at the same time to %v", ids)
	}
	o.rest(2)
	select {
	case <-o.poke:
	default:
		t.Fatal("nobody looks at what waits")
	}
	if !slices.Equal(o.begin(), to) {
		t.Error("what waits is not sent")
	}
	o.peek(2) // in vain again, and nobody has come back since
	o.rest(2)
	if len(o.poke) > 0 {
		t.Error("it would be sent again and again")
	}
}

// TestACommitTooLargeToSend is told of without what it wrote.
func TestACommitTooLargeToSend(t *testing.T) {
	c := controller.Commit{Before: 3, After: 9}
	for i := range 10_000 {
		c.Txn.Puts = append(c.Txn.Puts, metadata.Put{Key: fmt.Sprint("partitions/orders/", i), Value: []byte(`{"replicas":[1,2,3],"isr":[1,2,3],"leader":1,"leaderEpoch":7}`)})
	}
	n := lonely(metadata.Empty())
	n.apply(changeOf(t, c))
	if got := n.lore.want.Load(); got != 9 {
		t.Errorf("it would read version %d, want 9", got)
	}
}
