package sim

import (
	"understudy/cluster/election"
	"understudy/cluster/link"
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
		p.do(func() {
			_ = s.links.send(p, at.Leader, topic.ID, tp, &ack, nil)
			s.usurp(p, at, topic.ID, tp)
		})
	}
	s.lacking(topic.ID, tp, at, f.B)
}

// usurp has a follower speak as the leader that another is.
func (s *Sim) usurp(p *process, at *metadata.Partition, id messages.TopicID, tp messages.TopicPartition) {
	for _, other := range at.Replicas {
		if other != p.m.id && other != at.Leader {
			append := replica.Message{Type: replica.TypeAppend, Epoch: at.LeaderEpoch, PrevEpoch: messages.NoEpoch}
			_ = s.links.send(p, other, id, tp, &append, nil)
		}
	}
}

// lacking has a leader say to a follower that it has something else in the place of
// what was committed, as one does that has lost it: the follower must give up rather
// than drop it. It comes at once, so that the follower is as it was looked at.
func (s *Sim) lacking(id messages.TopicID, tp messages.TopicPartition, at *metadata.Partition, n uint64) {
	b := s.model.books[tp]
	for _, other := range at.Replicas {
		p := s.machines[other-1].proc
		if other == at.Leader || p == nil || p.frozen || p.known[tp] == nil || b.lossy || b.trims || n>>40%2 == 0 {
			continue
		}
		w := p.known[tp].status
		first, found := b.at(0)
		if w.Role != replica.Follower || w.Leader != at.Leader || w.Epoch != at.LeaderEpoch || w.HighWatermark == 0 || !found || first.epoch >= w.Epoch {
			continue
		}
		s.count("told that what is committed is not there")
		bu := batch.NewBuilder(batch.NoProducer)
		bu.Add(epoch0, nil, []byte("something else"))
		other := bu.Build(nil)
		other.Stamp(0, w.Epoch)
		m := replica.Message{Type: replica.TypeAppend, Epoch: w.Epoch, PrevEpoch: messages.NoEpoch, Batches: []batch.Batch{other}}
		from := s.machines[at.Leader-1].proc.member()
		p.replicas.Deliver(link.NewIncoming(from, id, tp.Partition, m, func() {}))
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
		{PrevEpoch: messages.NoEpoch, Batches: []batch.Batch{[]byte("short")}},
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
		other := nobody
		for _, id := range at.Replicas {
			if id != at.Leader {
				other = member(id)
			}
		}
		wrong := []election.Change{
			{From: leader, Epoch: at.LeaderEpoch + 1, Revision: at.Revision, ISR: one},
			{From: leader, Epoch: at.LeaderEpoch - 1, Revision: at.Revision, ISR: one},
			{From: other, Epoch: at.LeaderEpoch, Revision: at.Revision, ISR: one},
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
