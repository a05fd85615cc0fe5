package sim

import (
	"understudy/cluster/election"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
)

// babble has a node say what no correct one says, as one that runs another version
// might, or one with a bug: a leader to its followers, and a follower to its leader.
// Nothing must come of it but a note.
func (s *Sim) babble(f Fault) {
	tp := s.somePartition(f.A)
	topic, at := s.store.image.Topic(tp.Topic), s.store.image.Partition(tp)
	if at == nil || at.Leader == messages.NoBroker || s.machines[at.Leader-1].proc == nil {
		return
	}
	s.babbled = true
	s.nonsenseWish(tp, f.B)
	leader := s.machines[at.Leader-1].proc
	list := nonsense(at.LeaderEpoch)
	for i, id := range at.Replicas {
		p := s.machines[id-1].proc
		if id == at.Leader || p == nil {
			continue
		}
		said := list[mix(f.B, uint64(i))%uint64(len(list))]
		leader.do(func() { _ = s.links.send(leader, id, topic.ID, tp, &said, nil) }) // lost, if they are not connected
		ack := replica.Message{Type: replica.TypeAck, Epoch: at.LeaderEpoch, End: 1 << 40, Durable: 1 << 40}
		if f.B%2 == 0 {
			ack.End, ack.Durable = 0, 5
		}
		p.do(func() { _ = s.links.send(p, at.Leader, topic.ID, tp, &ack, nil) })
	}
}

// nonsense are appends that no leader sends in an epoch.
func nonsense(epoch messages.LeaderEpoch) []replica.Message {
	one := func(base messages.Offset, epoch messages.LeaderEpoch) batch.Batch {
		bu := batch.NewBuilder(batch.NoProducer)
		bu.Add(epoch0, nil, []byte("nonsense"))
		b := bu.Build(nil)
		b.Stamp(base, epoch)
		return b
	}
	list := []replica.Message{
		{Base: -1},
		{LogStart: 7, HighWatermark: 3},
		{LogStart: -1},
		{EpochStart: -1},
		{PrevEpoch: epoch + 1},
		{Base: 3, PrevEpoch: messages.NoEpoch, Batches: []batch.Batch{one(5, epoch)}},
		{PrevEpoch: messages.NoEpoch, Batches: []batch.Batch{one(0, epoch), one(5, epoch)}},
		{PrevEpoch: messages.NoEpoch, Batches: []batch.Batch{one(0, epoch+1)}},
		{PrevEpoch: epoch, Batches: []batch.Batch{one(0, epoch-1)}},
	}
	for i := range list {
		list[i].Type, list[i].Epoch = replica.TypeAppend, epoch
	}
	return list
}

// nonsenseWish asks the controller for in-sync sets that no leader asks for.
func (s *Sim) nonsenseWish(tp messages.TopicPartition, n uint64) {
	s.admin("wish of nonsense", func(q *process) error {
		at := q.cell.Image().Partition(tp)
		if at == nil || at.Leader == messages.NoBroker {
			return nil
		}
		member := func(id messages.BrokerID) election.Member {
			m := election.Member{ID: id}
			if b := q.cell.Image().Broker(id); b != nil {
				m.Epoch = b.Epoch
			}
			return m
		}
		leader, nobody := member(at.Leader), election.Member{ID: 99, Epoch: 1}
		one := []election.Member{leader}
		wrong := []election.Change{
			{From: leader, Epoch: at.LeaderEpoch + 1, Revision: at.Revision, ISR: one},
			{From: leader, Epoch: at.LeaderEpoch - 1, Revision: at.Revision, ISR: one},
			{From: nobody, Epoch: at.LeaderEpoch, Revision: at.Revision, ISR: one},
			{From: leader, Epoch: at.LeaderEpoch, Revision: at.Revision - 1, ISR: one},
			{From: leader, Epoch: at.LeaderEpoch, Revision: at.Revision, ISR: append(one, leader)},
			{From: leader, Epoch: at.LeaderEpoch, Revision: at.Revision, ISR: append(one, nobody)},
			{From: leader, Epoch: at.LeaderEpoch, Revision: at.Revision},
		}
		q.ctl.ChangeISR(tp, wrong[n%uint64(len(wrong))], func(_ metadata.Partition, err error) {
			if err == nil {
				s.wrong("not-refused", "%v: an in-sync set that makes no sense was granted", tp)
				return
			}
			s.count("wish of nonsense: " + messages.KindOf(err).String())
		})
		return nil
	})
}
