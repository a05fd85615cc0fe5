package partition

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"

	"understudy/actors/supervision"
	"understudy/cluster/link"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/cluster/topicconfig"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/flush"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

const patience = time.Minute // before a test gives up; no test passes by waiting for it

// solitude is the cluster of a broker that is alone.
type solitude struct{ Cluster }

func (solitude) Event(messages.TopicPartition, replica.Event) {}

func (solitude) Resign(messages.TopicPartition, replica.Resignation) {}

// tree is a broker's partitions with nothing around them but metadata.
type tree struct {
	t        *testing.T
	stop     func(context.Context) error
	entered  chan struct{} // receives when a change is about to be followed, if anybody waits
	cell     *metadata.Cell
	registry *Registry
	failures chan supervision.Failure
}

func plant(t *testing.T, disk vfs.FS) *tree { return plantAs(t, disk, func(*Shared) {}) }

func plantAs(t *testing.T, disk vfs.FS, change func(*Shared)) *tree {
	t.Helper()
	checkpoints, _, err := LoadCheckpoints(disk, 1)
	if err != nil {
		t.Fatal(err)
	}
	flusher := flush.New(flush.Options{})
	tr := &tree{t: t, entered: make(chan struct{}), cell: metadata.NewCell(), registry: NewRegistry(), failures: make(chan supervision.Failure, 16)}
	restarts := &supervision.Backoff{Initial: time.Millisecond, Max: 10 * time.Millisecond, Healthy: time.Minute,
		OnFailure: func(f supervision.Failure) { tr.failures <- f }}
	root, err := supervision.NewRoot(restarts)
	if err != nil {
		t.Fatal(err)
	}
	shared := &Shared{
		Self: replica.Member{ID: 1, Epoch: 1}, FS: disk, Flush: flusher, Files: segment.NewFiles(100),
		Checkpoints: checkpoints, Registry: tr.registry, Log: zerolog.Nop(), Opening: make(chan struct{}, 2),
		Defaults: func(*metadata.Image) topicconfig.Defaults {
			select {
			case tr.entered <- struct{}{}:
				<-tr.entered
			default:
			}
			return topicconfig.Defaults{}
		},
		Cluster: solitude{},
	}
	change(shared)
	pid, err := root.Spawn("partitions", Props(shared, tr.cell, restarts))
	if err != nil {
		t.Fatal(err)
	}
	tr.stop = func(ctx context.Context) error { return root.Stop(ctx, pid) }
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := tr.stop(ctx); err != nil {
			t.Error(err)
		}
		root.Shutdown()
		flusher.Close()
	})
	return tr
}

// edit changes the metadata.
func (tr *tree) edit(how func(*metadata.Edit)) {
	tr.t.Helper()
	e := metadata.NewEdit(tr.cell.Image())
	how(e)
	_, change, err := e.Seal(tr.cell.Image().Revision + 1)
	if err != nil {
		tr.t.Fatal(err)
	}
	tr.cell.Publish(change)
}

func (tr *tree) createTopic(name string, id messages.TopicID, partitions int) {
	tr.t.Helper()
	tr.edit(func(e *metadata.Edit) {
		topic := &metadata.Topic{Name: name, ID: id}
		for range partitions {
			topic.Partitions = append(topic.Partitions, metadata.Partition{
				Replicas: []messages.BrokerID{1}, ISR: []messages.BrokerID{1}, Leader: 1, UncleanEpoch: messages.NoEpoch})
		}
		e.CreateTopic(topic)
	})
}

// await gives the handle of a partition of a certain topic once it serves.
func (tr *tree) await(id messages.TopicID, tp messages.TopicPartition) *Handle {
	tr.t.Helper()
	return tr.awaitView(id, tp, func(v *View) bool { return v.Err == nil })
}

// awaitView gives the handle of a partition of a certain topic once it shows what is
// waited for.
func (tr *tree) awaitView(id messages.TopicID, tp messages.TopicPartition, wanted func(*View) bool) *Handle {
	tr.t.Helper()
	timeout := time.After(patience)
	for {
		tr.registry.mu.RLock()
		h, added := tr.registry.handles[tp], tr.registry.added
		tr.registry.mu.RUnlock()
		changed := make(chan struct{})
		if h != nil && h.TopicID() == id {
			h.Wait(NewWaiter(func() { close(changed) }))
			if v := h.View(); v != nil && wanted(v) {
				return h
			}
		}
		select {
		case <-changed:
		case <-added:
		case <-timeout:
			tr.t.Fatalf("%v does not show what is waited for", tp)
		}
	}
}

type result chan Result

func (r result) Appended(_ int, got Result) { r <- got }

// append appends batches and waits for the answer.
func (tr *tree) append(h *Handle, batches ...batch.Batch) Result {
	tr.t.Helper()
	reply := make(result, 1)
	h.Append(&Append{Batches: batches, Acks: messages.AcksAll, Reply: reply})
	select {
	case got := <-reply:
		return got
	case <-time.After(patience):
		tr.t.Fatal("an append was never answered")
		return Result{}
	}
}

// TestAPanicFailsOnePartitionAlone gives a partition what no caller may: its code
// panics. Whoever waits is answered, the sibling goes on, and so does the
// partition, from what is on its disk.
func TestAPanicFailsOnePartitionAlone(t *testing.T) {
	tr := plant(t, vfs.NewMem(vfs.MemOptions{}))
	tr.createTopic("orders", someTopic, 2)
	h, sibling := tr.await(someTopic, orders0), tr.await(someTopic, messages.TopicPartition{Topic: "orders", Partition: 1})
	if got := tr.append(h, records(2, messages.NoSequence)); got.Err != nil || got.Base != 0 {
		t.Fatalf("append: %+v", got)
	}
	if got := tr.append(h, batch.Batch{}); messages.KindOf(got.Err) != messages.StorageError {
		t.Errorf("an append that makes the code panic was answered with %+v", got)
	}
	if f := <-tr.failures; !strings.Contains(f.Cause.Error(), "machine.go") || !strings.HasSuffix(f.Actor, "orders-0") {
		t.Errorf("the failure was told as %v: no stack, or of another actor", f)
	}
	if got := tr.append(sibling, records(1, messages.NoSequence)); got.Err != nil {
		t.Errorf("the sibling answered %+v", got)
	}
	if got := tr.append(tr.await(someTopic, orders0), records(1, messages.NoSequence)); got.Err != nil || got.Base != 2 {
		t.Errorf("after the restart: %+v, want offset 2", got)
	}
}

// TestAnAppendOfAnotherEpochIsRefused has appends that belong to one epoch come in
// the next.
func TestAnAppendOfAnotherEpochIsRefused(t *testing.T) {
	tr := plant(t, vfs.NewMem(vfs.MemOptions{}))
	tr.createTopic("orders", someTopic, 1)
	h := tr.await(someTopic, orders0)
	bound := func(epoch messages.LeaderEpoch) error {
		reply := make(result, 1)
		h.Append(&Append{Batches: []batch.Batch{records(1, messages.NoSequence)}, Acks: messages.AcksAll, Reply: reply, Bound: true, Epoch: epoch})
		return (<-reply).Err
	}
	if err := bound(0); err != nil {
		t.Error(err)
	}
	tr.edit(func(e *metadata.Edit) {
		e.SetPartition(orders0, metadata.Partition{
			Replicas: []messages.BrokerID{1}, ISR: []messages.BrokerID{1}, Leader: 1, LeaderEpoch: 1, UncleanEpoch: messages.NoEpoch})
	})
	for h.View().Epoch != 1 {
		changed := make(chan struct{})
		w := NewWaiter(func() { close(changed) })
		if h.Wait(w); h.View().Epoch != 1 {
			<-changed
		}
		h.Cancel(w)
	}
	if err := bound(0); messages.KindOf(err) != messages.FencedLeaderEpoch {
		t.Errorf("an append of the epoch before was answered with %v", err)
	}
	if err := bound(1); err != nil {
		t.Error(err)
	}
}

func TestADeletedTopicsPartitionsRefuseAndLeaveNothing(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{})
	tr := plant(t, disk)
	tr.createTopic("orders", someTopic, 1)
	old := tr.await(someTopic, orders0)
	tr.append(old, records(3, messages.NoSequence))
	tr.edit(func(e *metadata.Edit) { e.DeleteTopic("orders") })
	tr.createTopic("orders", messages.TopicID{9}, 1)
	fresh := tr.await(messages.TopicID{9}, orders0)
	if got := tr.append(old, records(1, messages.NoSequence)); messages.KindOf(got.Err) != messages.UnknownTopicOrPartition {
		t.Errorf("the deleted partition answered %+v", got)
	}
	if got := tr.append(fresh, records(1, messages.NoSequence)); got.Err != nil || got.Base != 0 {
		t.Errorf("the new topic's partition answered %+v, want offset 0", got)
	}
}

// TestAReplicaThatComesBackIsHeard has a partition move away and back before its replica
// here has ended. The next one is of the same topic, and what other nodes say to it must
// find it.
func TestAReplicaThatComesBackIsHeard(t *testing.T) {
	tr := plant(t, vfs.NewMem(vfs.MemOptions{}))
	tr.createTopic("orders", someTopic, 1)
	old := tr.await(someTopic, orders0)
	move := func(to messages.BrokerID, epoch messages.LeaderEpoch) {
		tr.edit(func(e *metadata.Edit) {
			e.SetPartition(orders0, metadata.Partition{
				Replicas: []messages.BrokerID{to}, ISR: []messages.BrokerID{to}, Leader: to, LeaderEpoch: epoch, UncleanEpoch: messages.NoEpoch})
		})
	}
	move(1, 1)
	<-tr.entered // the supervisor is in its turn
	move(2, 2)
	move(1, 3)
	tr.entered <- struct{}{}
	var fresh *Handle
	for deadline := time.Now().Add(patience); fresh == nil || fresh == old; fresh = tr.await(someTopic, orders0) {
		if time.Now().After(deadline) {
			t.Fatal("there is no other replica")
		}
	}
	tr.registry.mu.RLock()
	defer tr.registry.mu.RUnlock()
	if tr.registry.byID[fresh.key()] != fresh {
		t.Error("other nodes' messages do not find it")
	}
}

// TestAReplicaThatLeavesTakesItsCheckpointAlong has a replica answer the keeper, and move
// away before that looks at the answer. When it moves here again it has nothing, and is
// to miss nothing.
func TestAReplicaThatLeavesTakesItsCheckpointAlong(t *testing.T) {
	var keeper Keeper
	var meanwhile func()
	tr := plantAs(t, vfs.NewMem(vfs.MemOptions{}), func(s *Shared) {
		s.Stage.Pause = func(ready func() bool) {
			for !ready() {
				runtime.Gosched()
			}
			meanwhile()
		}
		keeper = Keeper{Shared: s, CheckpointInterval: time.Minute}
	})
	tr.createTopic("orders", someTopic, 1)
	move := func(to messages.BrokerID, epoch messages.LeaderEpoch) {
		tr.edit(func(e *metadata.Edit) {
			e.SetPartition(orders0, metadata.Partition{
				Replicas: []messages.BrokerID{to}, ISR: []messages.BrokerID{to}, Leader: to, LeaderEpoch: epoch, UncleanEpoch: messages.NoEpoch})
		})
	}
	if got := tr.append(tr.await(someTopic, orders0), records(3, messages.NoSequence)); got.Err != nil {
		t.Fatal(got.Err)
	}
	meanwhile = func() {
		move(2, 1)
		for keeper.Shared.Checkpoints.exists(orders0) {
			runtime.Gosched()
		}
	}
	if err := keeper.Checkpoint(t.Context()); err != nil {
		t.Fatal(err)
	}
	move(1, 2)
	if got := tr.append(tr.await(someTopic, orders0), records(1, messages.NoSequence)); got.Err != nil || got.Base != 0 {
		t.Errorf("a replica that is here again answered %+v, want offset 0", got)
	}
}

// TestWhatComesBeforeALogIsOpenIsNotKept has other nodes speak to a replica that waits to
// be opened. What they may send to this node is bounded, for all replicas together.
func TestWhatComesBeforeALogIsOpenIsNotKept(t *testing.T) {
	var opening chan struct{}
	tr := plantAs(t, vfs.NewMem(vfs.MemOptions{}), func(s *Shared) { opening = s.Opening })
	for range cap(opening) {
		opening <- struct{}{} // others are being opened
	}
	tr.createTopic("orders", someTopic, 1)
	for tr.registry.Lookup(orders0) == nil {
		runtime.Gosched()
	}
	released := make(chan struct{})
	m := replica.Message{Type: replica.TypeAppend, Epoch: 1, PrevEpoch: messages.NoEpoch, Probe: 1}
	tr.registry.Deliver(link.NewIncoming(replica.Member{ID: 2, Epoch: 1}, someTopic, 0, m, func() { close(released) }))
	select {
	case <-released:
	case <-time.After(patience):
		t.Error("a message is kept until the log is open")
	}
	for range cap(opening) {
		<-opening
	}
	if got := tr.append(tr.await(someTopic, orders0), records(1, messages.NoSequence)); got.Err != nil {
		t.Error(got.Err)
	}
}

func TestAWaiterIsWokenOnceHoweverManyPartitionsItWaitsFor(t *testing.T) {
	tr := plant(t, vfs.NewMem(vfs.MemOptions{}))
	tr.createTopic("orders", someTopic, 2)
	a, b := tr.await(someTopic, orders0), tr.await(someTopic, messages.TopicPartition{Topic: "orders", Partition: 1})
	woken := make(chan struct{}, 2)
	w := NewWaiter(func() { woken <- struct{}{} })
	a.Wait(w)
	b.Wait(w)
	tr.append(a, records(1, messages.NoSequence))
	tr.append(b, records(1, messages.NoSequence))
	<-woken
	if len(woken) != 0 {
		t.Error("woken twice")
	}
	b.Cancel(w)
}

// TestAStopIsNotUndoneByAChangeThatWaits has metadata change while the supervisor
// is busy, and then stops it: the change, which is handled after the stop has
// begun, must not start anew what has just ended.
func TestAStopIsNotUndoneByAChangeThatWaits(t *testing.T) {
	tr := plant(t, vfs.NewMem(vfs.MemOptions{}))
	tr.createTopic("orders", someTopic, 4)
	tr.await(someTopic, orders0)
	moved := func(epoch messages.LeaderEpoch) {
		tr.edit(func(e *metadata.Edit) {
			for n := range int32(4) {
				e.SetPartition(messages.TopicPartition{Topic: "orders", Partition: n}, metadata.Partition{
					Replicas: []messages.BrokerID{1}, ISR: []messages.BrokerID{1}, Leader: 1, LeaderEpoch: epoch, UncleanEpoch: messages.NoEpoch})
			}
		})
	}
	moved(1)
	<-tr.entered // the supervisor is in its turn
	for epoch := range messages.LeaderEpoch(50) {
		moved(2 + epoch)
	}
	stopped := make(chan error)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		stopped <- tr.stop(ctx)
	}()
	tr.entered <- struct{}{}
	if err := <-stopped; err != nil {
		t.Errorf("the partitions did not end: %v", err)
	}
}

// TestAChangeReachesWhomItConcerns changes one partition of a topic, then
// another's: the second one hears of nothing but its own.
func TestAChangeReachesWhomItConcerns(t *testing.T) {
	tr := plant(t, vfs.NewMem(vfs.MemOptions{}))
	tr.createTopic("orders", someTopic, 2)
	one := messages.TopicPartition{Topic: "orders", Partition: 1}
	tr.await(someTopic, orders0)
	heard := make(chan messages.LeaderEpoch, 16)
	tr.await(someTopic, one).mail.Divert(func(message any) bool {
		if u, ok := message.(update); ok {
			heard <- u.assignment.LeaderEpoch
		}
		return false
	})
	for _, change := range []struct {
		tp    messages.TopicPartition
		epoch messages.LeaderEpoch
	}{{orders0, 5}, {one, 6}} {
		tr.edit(func(e *metadata.Edit) {
			e.SetPartition(change.tp, metadata.Partition{
				Replicas: []messages.BrokerID{1}, ISR: []messages.BrokerID{1}, Leader: 1, LeaderEpoch: change.epoch, UncleanEpoch: messages.NoEpoch})
		})
	}
	if epoch := <-heard; epoch != 6 {
		t.Errorf("it was told of epoch %d of another", epoch)
	}
	tr.edit(func(e *metadata.Edit) { e.SetTopicConfig("orders", map[string]string{"retention.ms": "1"}) })
	if epoch := <-heard; epoch != 6 {
		t.Errorf("with other settings of the topic it was told of epoch %d", epoch)
	}
}
