package sim

import (
	"fmt"

	"understudy/actors/controller"
	"understudy/messages"
)

// retire has a node leave the cluster for good, as an operator does it: the node is
// drained, stopped when it holds nothing, and forgotten. Another with an empty disk
// comes in its place after a while, under the same id.
func (s *Sim) retire(f Fault) {
	m := s.pick(f.A)
	if m.proc == nil || m.gone || len(s.machines) < 3 {
		return
	}
	s.admin("retire: drain", func(q *process) error { return q.ctl.SetDraining(q.ctx, m.id, true) })
	back := func() {
		m.gone = false
		m.start()
		s.undrain(m.id)
	}
	s.over(Fault{Length: f.Length + 8*second}, back)
	s.waitUntilEmpty(m, s.now+f.Length+6*second)
}

// waitUntilEmpty stops a node that is being drained when it holds nothing, and has it
// forgotten. An operator in a hurry is refused.
func (s *Sim) waitUntilEmpty(m *machine, deadline int64) {
	switch {
	case s.healing || s.now > deadline || m.gone:
	case s.holds(m.id):
		s.admin("retire: too early", func(q *process) error { return q.ctl.RemoveBroker(q.ctx, m.id) })
		s.after(second, func() { s.waitUntilEmpty(m, deadline) })
	case m.proc != nil && m.proc.serving && !m.proc.leaving:
		m.gone = true
		m.proc.begin(m.proc.leave)
		s.after(2*second, func() { s.forget(m) })
	}
}

// forget has a node that was stopped forgotten; its disk is gone with it.
func (s *Sim) forget(m *machine) {
	if s.healing || !m.gone || m.proc != nil || s.holds(m.id) {
		return
	}
	s.admin("retire: remove", func(q *process) error {
		err := q.ctl.RemoveBroker(q.ctx, m.id)
		if err == nil {
			s.count("node removed")
			m.replaceDisk()
		}
		return err
	})
}

// holds reports whether any partition has a replica on a node.
func (s *Sim) holds(id messages.BrokerID) bool {
	for t := range s.store.image.Topics() {
		for i := range t.Partitions {
			for _, r := range t.Partitions[i].Replicas {
				if r == id {
					return true
				}
			}
		}
	}
	return false
}

// crowd is a topic of many partitions with one replica each, on one node.
const crowd = "crowd"

// crowdIn makes the topic of many partitions, or lets its node go down, come back,
// and be drained.
func (s *Sim) crowdIn(f Fault) {
	m := s.pick(f.A)
	s.admin("crowd", func(q *process) error {
		var at [][]messages.BrokerID
		for range 65 + f.B%10 {
			at = append(at, []messages.BrokerID{m.id})
		}
		return q.newTopic(controller.NewTopic{Name: crowd, Partitions: -1, ReplicationFactor: -1, Assignments: at}, false)
	})
	s.after(3*second, func() {
		switch {
		case s.healing:
		case f.B>>8%2 == 0:
			s.crashOne(m, f)
		default:
			s.drain(f)
		}
	})
	s.over(Fault{Length: 8 * second}, func() {
		s.admin("crowd goes", func(q *process) error {
			return q.ctl.DeleteTopics(q.ctx, []controller.TopicRef{{Name: crowd}})[0].Err
		})
	})
}

// insist has an operator who would rather lose records than wait elect whoever is up,
// where nobody leads.
func (s *Sim) insist() {
	if s.impatient() {
		var offline []messages.TopicPartition
		for t := range s.store.image.Topics() {
			for n := range t.Partitions {
				tp := messages.TopicPartition{Topic: t.Name, Partition: int32(n)}
				b := s.model.books[tp]
				if t.Partitions[n].Leader == messages.NoBroker && (b == nil || b.lossy) {
					offline = append(offline, tp)
				}
			}
		}
		if len(offline) > 0 {
			s.admin("unclean election", func(q *process) error { return q.elect(offline) })
		}
	}
	s.after(second, s.insist)
}

// impatient reports whether there is anything that an operator would rather lose than
// wait for.
func (s *Sim) impatient() bool {
	for _, t := range s.cfg.topics {
		if t.lossy {
			return true
		}
	}
	return false
}

// elect has the controller elect leaders, who may lack what was committed, after
// asking the nodes that are up what they hold.
func (q *process) elect(tps []messages.TopicPartition) error {
	var known []controller.Holding
	q.s.eachProcess(func(p *process) {
		for _, tp := range tps {
			if w := p.known[tp]; w != nil && w.machine != nil && q.s.rnd.client.IntN(4) > 0 {
				known = append(known, controller.Holding{
					Topic: tp.Topic, Partition: tp.Partition, Broker: p.m.id, Epoch: w.status.Epoch, End: w.status.End, Committed: w.status.Heard,
				})
			}
		}
	})
	results, err := q.ctl.ElectLeaders(q.ctx, controller.UncleanElection, tps, known)
	for _, r := range results {
		if r.Err == nil {
			q.s.count("unclean election")
			q.s.say("%s-%d: unclean election: %s", r.Topic, r.Partition, r.Losses)
		}
		err = r.Err
	}
	return err
}

// hasty is a request whose sender does not wait for long.
func (q *process) hasty(n uint64) error {
	ctx, cancel := q.timeout(q.ctx, 0)
	if n%2 == 0 {
		cancel()
	}
	_, err := q.ctl.AllocateProducerIDs(ctx, 1)
	if err == nil {
		return nil
	}
	return fmt.Errorf("in haste: %w", err)
}
