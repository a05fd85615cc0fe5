package partition

import (
	"bytes"
	"sync/atomic"
	"testing"
	"time"

	"understudy/cluster/link"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/vfs"
)

// lead makes the rig's machine the leader of followers that agree up to end.
func (r *rig) lead(end messages.Offset, followers ...messages.BrokerID) {
	r.t.Helper()
	r.leadWith(append([]messages.BrokerID{1}, followers...), end, followers...)
}

// leadWith is lead with another in-sync set.
func (r *rig) leadWith(isr []messages.BrokerID, end messages.Offset, followers ...messages.BrokerID) {
	r.t.Helper()
	all := append([]messages.BrokerID{1}, followers...)
	r.machine.Assign(metadata.Partition{Replicas: all, ISR: isr, Leader: 1, LeaderEpoch: 4, Revision: 8})
	r.settle()
	for _, id := range followers {
		r.machine.Receive(id, &replica.Message{Type: replica.TypeAck, Epoch: 4, BrokerEpoch: 1, Probe: r.probe(id), End: end, Durable: end})
	}
	r.settle()
	r.stage.sent = nil
}

// probe is the number of the question that a follower was asked last.
func (r *rig) probe(id messages.BrokerID) (number uint32) {
	for _, s := range r.stage.sent {
		if s.to == id {
			number = s.probe
		}
	}
	return number
}

// TestBatchesOutliveTheirProducersRequest takes the request's memory back as
// soon as the producer is answered, as a connection does.
func TestBatchesOutliveTheirProducersRequest(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), nil)
	r.lead(0, 2, 3)
	request := records(2, messages.NoSequence)
	slot := r.append(messages.AcksLeader, request)
	r.settle()
	r.wantAnswer(slot, 0)
	want := bytes.Clone(request)
	clear(request)
	if len(r.stage.sent) != 2 {
		t.Fatalf("%d messages were sent, want one to each follower", len(r.stage.sent))
	}
	to2, to3 := r.stage.sent[0], r.stage.sent[1]
	if !bytes.Equal(to2.batches[0], want) || &to2.batches[0][0] != &to3.batches[0][0] {
		t.Error("the followers do not get one copy of what was appended")
	}
	p := to2.owner.(*parcel)
	p.Release()
	if p.first == nil {
		t.Error("the copy was given up while it is being sent to the other follower")
	}
	p.Release()
	if p.first != nil {
		t.Error("the copy is kept when nobody needs it")
	}
}

func TestReadsForFollowersWaitWhileTheirNodeIsCrowded(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), nil)
	for range 3 {
		r.append(messages.AcksAll, records(2, messages.NoSequence))
	}
	r.settle()
	r.flushed()
	r.stage.crowded = true
	r.lead(0, 2)
	if got := r.sentBatches(); got != 0 || r.machine.Idle() {
		t.Errorf("%d batches were sent to a crowded node; idle: %v", got, r.machine.Idle())
	}
	r.stage.crowded = false
	r.settle()
	if got := r.sentBatches(); got != 3 {
		t.Errorf("%d batches were sent, want 3", got)
	}
}

// TestWhatProducersAreRefusedForIsUrgent: with too few in sync, no producer is heard until
// the follower has caught up, and its node may be crowded for good with what others write.
func TestWhatProducersAreRefusedForIsUrgent(t *testing.T) {
	for minimum, urgent := range map[string]bool{"1": false, "2": true} {
		r := newRig(t, vfs.NewMem(vfs.MemOptions{}), map[string]string{"min.insync.replicas": minimum})
		r.append(messages.AcksAll, records(2, messages.NoSequence))
		r.settle()
		r.flushed()
		r.stage.crowded = true
		r.leadWith([]messages.BrokerID{1}, 0, 2)
		if c := r.stage.asked[0]; c.Urgent != urgent {
			t.Errorf("min.insync.replicas=%s: asked for room for %+v", minimum, c)
		}
	}
}

// TestDamageIsNotSentToFollowers has a bit turn on the leader's disk, in what was read and
// found right before. The follower's node would end the connection over it, which is that
// of all partitions.
func TestDamageIsNotSentToFollowers(t *testing.T) {
	disk := vfs.NewMem(vfs.MemOptions{})
	r := newRig(t, disk, nil)
	size := int64(0)
	for range 3 {
		b := records(2, messages.NoSequence)
		size = int64(len(b))
		r.append(messages.AcksAll, b)
	}
	r.settle()
	r.flushed()
	f, err := disk.Open("orders-0/00000000000000000000.log")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, 2*size-1); err != nil {
		t.Fatal(err)
	}
	r.stage.crowded = true
	r.lead(0, 2)
	r.stage.crowded = false
	r.settle()
	if got := r.sentBatches(); got != 1 {
		t.Errorf("%d batches were sent, want the one before the damage", got)
	}
	if len(r.stage.damage) == 0 || messages.KindOf(r.stage.damage[0]) != messages.CorruptMessage {
		t.Errorf("the damage was told as %v", r.stage.damage)
	}
}

// TestCatchingUpGoesInPiecesThatThereIsRoomFor has little room: a batch is read as a
// whole all the same.
func TestCatchingUpGoesInPiecesThatThereIsRoomFor(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), nil)
	size := int64(0)
	for range 3 {
		b := records(2, messages.NoSequence)
		size = int64(len(b))
		r.append(messages.AcksAll, b)
	}
	r.settle()
	r.flushed()
	s := r.machine.settings
	s.LeaderThrottled, s.FollowerThrottled = "0:1", "0:3"
	r.machine.Configure(s)
	r.stage.room, r.stage.crowded = 2*size-1, true
	r.lead(0, 2)
	if c := r.stage.asked[0]; c.Follower != 2 || !c.LeaderThrottled || c.FollowerThrottled {
		t.Errorf("asked for room for %+v", c)
	}
	r.stage.crowded = false
	held := r.machine.reads
	r.machine.reads = held[:1]
	r.machine.serveReads()
	if got := r.stage.spent; got != size {
		t.Errorf("%d bytes were read with room for less than two batches of %d", got, size)
	}
}

// TestALeaderThatHearsNobodySaysSo, so that those who wait for records look elsewhere.
func TestALeaderThatHearsNobodySaysSo(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), nil)
	tellOne(r.machine, isolate{true})
	r.settle()
	if r.stage.view.Isolated {
		t.Error("the only replica takes itself for replaced")
	}
	tellOne(r.machine, isolate{false})
	r.lead(0, 2, 3)
	for _, on := range []bool{true, false} {
		tellOne(r.machine, isolate{on})
		r.settle()
		if r.stage.view.Isolated != on {
			t.Errorf("isolated is %v, and readers see %v", on, r.stage.view.Isolated)
		}
	}
}

func (r *rig) sentBatches() (n int) {
	for _, s := range r.stage.sent {
		n += len(s.batches)
	}
	return n
}

func BenchmarkParcel(b *testing.B) {
	builder := batch.NewBuilder(batch.NoProducer)
	builder.Add(500, nil, make([]byte, 64<<10))
	batches := []batch.Batch{builder.Build(nil)}
	b.SetBytes(int64(len(batches[0])))
	for b.Loop() {
		newParcel(batches).Release()
	}
}

// TestARepetitionIsKnownInTheTurnInWhichItsFirstTimeCame has a follower get a
// batch, become the leader, and get the batch again from its producer, all before
// anything was carried out.
func TestARepetitionIsKnownInTheTurnInWhichItsFirstTimeCame(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), nil)
	both := []messages.BrokerID{1, 2}
	r.machine.Assign(metadata.Partition{Replicas: both, ISR: both, Leader: 2, LeaderEpoch: 4, Revision: 8})
	r.settle()
	came := batch.Batch(bytes.Clone(records(2, 0)))
	came.Stamp(0, 4)
	r.machine.Receive(2, &replica.Message{Type: replica.TypeAppend, Epoch: 4, BrokerEpoch: 1, PrevEpoch: messages.NoEpoch, Batches: []batch.Batch{came}})
	r.machine.Assign(metadata.Partition{Replicas: both, ISR: both[:1], Leader: 1, LeaderEpoch: 5, Revision: 9})
	again := r.append(messages.AcksAll, records(2, 0))
	r.settle()
	r.flushed()
	r.wantAnswer(again, 0)
	if end := r.stage.view.Log.End; end != 2 {
		t.Errorf("the log ends at %d: a repetition was appended", end)
	}
}

// TestABatchThatWasGivenUpInTheTurnInWhichItCameIsNoRepetition has a leader take a
// batch, and hear in the same turn of a new leader that lacks it. When it leads again
// the batch comes again.
func TestABatchThatWasGivenUpInTheTurnInWhichItCameIsNoRepetition(t *testing.T) {
	r := newRig(t, vfs.NewMem(vfs.MemOptions{}), nil)
	both := []messages.BrokerID{1, 2}
	r.append(messages.AcksAll, records(2, 0))
	r.settle()
	r.flushed()
	first := r.append(messages.AcksAll, records(3, 2))
	r.machine.Receive(2, &replica.Message{Type: replica.TypeAppend, Epoch: 4, BrokerEpoch: 1, Base: 2, PrevEpoch: 3, EpochStart: 2})
	r.settle()
	r.wantRefused(first, messages.NotLeader)
	r.machine.Assign(metadata.Partition{Replicas: both, ISR: both[:1], Leader: 1, LeaderEpoch: 5, Revision: 9})
	again, next := r.append(messages.AcksAll, records(3, 2)), r.append(messages.AcksAll, records(4, 5))
	r.settle()
	r.flushed()
	r.wantAnswer(again, 2)
	r.wantAnswer(next, 5)
	if end := r.stage.view.Log.End; end != 9 {
		t.Errorf("the log ends at %d, want 9", end)
	}
}

// forgetful is a cluster in which the next message for another node may be lost.
type forgetful struct {
	solitude
	sent chan replica.Message
	lose *atomic.Bool
}

func (f forgetful) Send(_ messages.BrokerID, _ messages.TopicID, _ messages.TopicPartition, m *replica.Message, _ Payload) error {
	if f.lose.Swap(false) {
		return link.ErrQueueFull
	}
	f.sent <- *m
	return nil
}

func (forgetful) Room(CatchUp) int64 { return 1 << 30 }

func (forgetful) Spend(CatchUp, int64) {}

// TestNewsThatFindNoRoomAreSentAgain has the last word on an idle partition, that its
// records are committed, find the way to the follower's node full.
func TestNewsThatFindNoRoomAreSentAgain(t *testing.T) {
	cluster := forgetful{sent: make(chan replica.Message, 100), lose: new(atomic.Bool)}
	var keeper Keeper
	tr := plantAs(t, vfs.NewMem(vfs.MemOptions{}), func(s *Shared) {
		s.Cluster = cluster
		keeper = Keeper{Shared: s}
	})
	tr.registry.PeerUp(replica.Member{ID: 2, Epoch: 1})
	tr.edit(func(e *metadata.Edit) {
		both := []messages.BrokerID{1, 2}
		e.CreateTopic(&metadata.Topic{Name: "orders", ID: someTopic, Partitions: []metadata.Partition{
			{Replicas: both, ISR: both, Leader: 1, UncleanEpoch: messages.NoEpoch}}})
	})
	h := tr.await(someTopic, orders0)
	acknowledge := func(m replica.Message, end messages.Offset) {
		ack := replica.Message{Type: replica.TypeAck, Probe: m.Probe, End: end, Durable: end}
		tr.registry.Deliver(link.NewIncoming(replica.Member{ID: 2, Epoch: 1}, someTopic, 0, ack, func() {}))
	}
	reply := make(result, 1)
	h.Append(&Append{Batches: []batch.Batch{records(2, messages.NoSequence)}, Acks: messages.AcksAll, Reply: reply})
	for m := range cluster.sent {
		if len(m.Batches) > 0 {
			break
		}
		acknowledge(m, 0)
	}
	cluster.lose.Store(true)
	acknowledge(replica.Message{}, 2)
	<-reply
	for deadline := time.Now().Add(patience); ; {
		keeper.Tick()
		select {
		case m := <-cluster.sent:
			if m.HighWatermark == 2 {
				return
			}
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			t.Fatal("the follower was never told what is committed")
		}
	}
}
