package sim

import (
	"fmt"
	"slices"

	"understudy/actors/controller"
	"understudy/cluster/metadata"
	"understudy/cluster/topicconfig"
	"understudy/messages"
)

// admin has the controller asked something, by way of some node.
func (s *Sim) admin(what string, f func(q *process) error) {
	var up []*process
	s.eachProcess(func(p *process) {
		if p.serving && !p.frozen && !p.leaving {
			up = append(up, p)
		}
	})
	if len(up) == 0 {
		return
	}
	p := up[s.rnd.client.IntN(len(up))]
	p.begin(func(r *routine) {
		_, err := p.ask(r, 3*second, func(q *process, _ *routine) (any, error) { return nil, f(q) })
		switch {
		case !r.alive():
		case err != nil:
			s.count("admin: " + what + ": " + messages.KindOf(err).String())
			s.say("admin: %s: %v", what, err)
		default:
			s.count("admin: " + what)
		}
	})
}

// somePartition is a partition that a fault chooses.
func (s *Sim) somePartition(n uint64) messages.TopicPartition {
	return s.partitions[n%uint64(len(s.partitions))]
}

// move has a partition's replicas move to other nodes, or takes that back.
func (s *Sim) move(f Fault) {
	all := s.everything()
	tp := all[f.A%uint64(len(all))]
	at := s.store.image.Partition(tp)
	var target []messages.BrokerID
	if f.B%5 > 0 || !at.Moving() {
		factor := len(at.Replicas) - len(at.Adding)
		target = s.shuffled(f.B)[:factor]
	}
	ask := func(what string, target []messages.BrokerID) {
		s.admin(what, func(q *process) error {
			return q.ctl.Reassign(q.ctx, []controller.Reassignment{{Topic: tp.Topic, Partition: tp.Partition, Target: target}}, true)[0].Err
		})
	}
	ask("move", target)
	if f.B>>32%3 == 0 { // and is sorry
		s.after(int64(f.B>>16%uint64(second)), func() { ask("move cancelled", nil) })
	}
}

// shuffled is the nodes in an order that a number chooses.
func (s *Sim) shuffled(n uint64) []messages.BrokerID {
	ids := make([]messages.BrokerID, 0, len(s.machines))
	for _, m := range s.machines {
		if !m.gone {
			ids = append(ids, m.id)
		}
	}
	slices.SortFunc(ids, func(a, b messages.BrokerID) int {
		x, y := mix(n, uint64(a)), mix(n, uint64(b))
		if x < y {
			return -1
		}
		return 1
	})
	return ids
}

// drain has a node hold nothing for a while.
func (s *Sim) drain(f Fault) {
	id := s.pick(f.A).id
	s.admin("drain", func(q *process) error { return q.ctl.SetDraining(q.ctx, id, true) })
	s.over(f, func() { s.undrain(id) })
}

func (s *Sim) undrain(id messages.BrokerID) {
	s.admin("undrain", func(q *process) error { return q.ctl.SetDraining(q.ctx, id, false) })
}

// preferred has leaders return to the preferred nodes.
func (s *Sim) preferred(Fault) {
	s.admin("elect preferred", func(q *process) error {
		_, err := q.ctl.ElectLeaders(q.ctx, controller.PreferredElection, nil, nil)
		return err
	})
}

// alter changes how many replicas must be in sync, within what the topic was
// created with.
func (s *Sim) alter(f Fault) {
	t := s.cfg.topics[f.A%uint64(len(s.cfg.topics))]
	value := fmt.Sprint(1 + f.B%uint64(t.factor))
	s.admin("alter", func(q *process) error { return q.setConfig(t.name, "min.insync.replicas", value) })
	s.over(f, func() {
		s.admin("alter", func(q *process) error {
			return q.setConfig(t.name, "min.insync.replicas", t.settings["min.insync.replicas"])
		})
	})
}

func (p *process) setConfig(topic, name, value string) error {
	return p.ctl.AlterConfigs(p.ctx, []controller.ConfigChange{{
		Resource: controller.Resource{Type: controller.TopicResource, Name: topic},
		Ops:      []topicconfig.Op{{Name: name, Kind: topicconfig.Set, Value: value}},
	}}, false)[0].Err
}

// trim deletes records from a partition's start.
func (s *Sim) trim(f Fault) {
	tp := s.somePartition(f.A)
	b := s.model.books[tp]
	at := s.store.image.Partition(tp)
	if at.Leader == messages.NoBroker || s.machines[at.Leader-1].proc == nil {
		return
	}
	p := s.machines[at.Leader-1].proc
	p.do(func() {
		h, err := p.serves(tp)
		if err != nil {
			return
		}
		before := b.start + int64(f.B%200)
		if f.A>>32%4 == 0 {
			before = messages.NoOffset // all that is committed
		}
		b.trims = true
		p.begin(func(r *routine) {
			low, err := h.DeleteRecords(p.ctx, before)
			if r.alive() {
				s.say("node %d deletes records of %v before %d: %d, %v", p.m.id, tp, before, low, err)
				s.count("admin: delete records")
			}
		})
	})
}

// swap gives a machine an empty disk in the place of its own, if others have what
// was on it.
func (s *Sim) swap(f Fault) {
	m := s.pick(f.A)
	if m.off || m.proc == nil || !s.mayLose(m) || len(s.machines) < 2 {
		return
	}
	m.replaceDisk()
	s.over(f, m.start)
}

// grow gives a topic another partition.
func (s *Sim) grow(f Fault) {
	n := f.A % uint64(len(s.cfg.topics))
	t := &s.cfg.topics[n]
	have := t.partitions
	if have > 4 {
		return
	}
	tp := messages.TopicPartition{Topic: t.name, Partition: int32(have)}
	if s.model.books[tp] == nil {
		s.model.open(tp, t)
	}
	s.admin("add partitions", func(q *process) error {
		return q.ctl.CreatePartitions(q.ctx, []controller.NewPartitions{{Topic: t.name, Count: int32(have + 1)}}, false)[0].Err
	})
}

// grown takes note of partitions that were added.
func (s *Sim) grown(topic *metadata.Topic) {
	for i := range s.cfg.topics {
		t := &s.cfg.topics[i]
		for t.name == topic.Name && t.partitions < len(topic.Partitions) {
			tp := messages.TopicPartition{Topic: t.name, Partition: int32(t.partitions)}
			t.partitions++
			s.partitions = append(s.partitions, tp)
			for _, p := range s.producers {
				p.lines = append(p.lines, p.lineOf(tp))
			}
			for _, c := range s.consumers {
				c.follow(tp)
			}
		}
	}
}
