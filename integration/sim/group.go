package sim

import (
	"fmt"
	"slices"

	"understudy/actors/group"
	"understudy/messages"
)

// consumerGroup is a group of members that come and go.
type consumerGroup struct {
	gathering
	s       *Sim
	ledger  *ledger
	members []*groupMember // one for each place
}

// beginGroups begins what depends on coordinators: groups, and consumers that commit
// by themselves.
func (s *Sim) beginGroups() {
	for _, c := range s.cfg.gatherings {
		g := &consumerGroup{gathering: c, s: s, ledger: newLedger(s, c.name)}
		s.groups = append(s.groups, g)
		s.ledgers = append(s.ledgers, g.ledger)
		g.found(newGroupClient(newClient(s), g.ledger))
	}
	if len(s.cfg.gatherings) > 0 {
		for _, c := range s.consumers {
			s.newCommitter(c)
		}
	}
}

// found commits something before the group has members: of a group that has offsets
// it is never forgotten how many generations it had.
func (g *consumerGroup) found(c *groupClient) {
	mark := messages.TopicPartition{Topic: g.topics[0], Partition: 1000}
	who := group.Member{Group: g.name, Generation: -1}
	c.commit(who, map[messages.TopicPartition]messages.Offset{mark: 0}, func(err error) {
		if err != nil {
			g.s.after(2*second, func() { g.found(c) })
			return
		}
		for n := range g.gathering.members {
			g.members = append(g.members, g.newMember(n, g.instance(n)))
		}
	})
}

func (g *consumerGroup) instance(n int) string {
	if g.static {
		return fmt.Sprint(g.name, "-", n)
	}
	return ""
}

// memberFault has something happen to a member of a group: its process is killed, or
// told to leave, and another started after a while; it is held up, perhaps for longer
// than its session, and goes on with what it had; or another is started in its place while it
// still runs.
func (s *Sim) memberFault(f Fault) {
	if len(s.groups) == 0 {
		return
	}
	g := s.groups[f.A%uint64(len(s.groups))]
	if len(g.members) == 0 {
		return
	}
	n := int(f.A >> 8 % uint64(len(g.members)))
	m := g.members[n]
	if m.down {
		return
	}
	again := func() { g.replace(m) }
	switch f.B % 5 {
	case 0:
		s.count("group: member killed")
		m.stop()
		s.over(f, again)
	case 1:
		s.count("group: member leaves")
		m.leave()
		s.over(f, again)
	case 2, 3:
		s.count("group: member held up")
		m.mute++
		s.over(f, func() { m.mute-- })
		if other := g.members[(n+1)%len(g.members)]; f.B%5 == 3 && other != m && !other.down { // so that it misses something
			other.leave()
			s.after(f.Length/4, func() { g.replace(other) })
		}
	default:
		s.count("group: member started twice")
		again()
		s.over(f, m.stop)
	}
}

// replace starts a member in the place of another, unless that has been done.
func (g *consumerGroup) replace(m *groupMember) {
	if n := slices.Index(g.members, m); n >= 0 {
		g.members[n] = g.newMember(n, g.instance(n))
	}
}

// restless says what is still going on in the group; "": nothing.
func (g *consumerGroup) restless() string {
	if len(g.members) == 0 {
		return fmt.Sprintf("group %s is not founded", g.name)
	}
	owned := map[messages.TopicPartition]bool{}
	for _, m := range g.members {
		if m.down {
			return fmt.Sprintf("a member of group %s is down", g.name)
		}
		if !m.settled || m.generation != g.ledger.settled {
			return fmt.Sprintf("group %s: %s is not settled: generation %d of %d, coordinator %d", g.name, m.reader.name(), m.generation, g.ledger.settled, m.to)
		}
		for _, at := range m.reader.places {
			owned[at.tp] = true
		}
	}
	for _, tp := range g.s.partitions {
		if !slices.Contains(g.topics, tp.Topic) {
			continue
		}
		if !owned[tp] {
			return fmt.Sprintf("group %s: %v is nobody's", g.name, tp)
		}
		if g.ledger.behind(tp, g.s.model.books[tp].end()) {
			return fmt.Sprintf("group %s is behind in %v", g.name, tp)
		}
	}
	return ""
}

// restlessGroups says what is still going on in groups, and has what they have
// committed read once more when nothing is.
func (s *Sim) restlessGroups() string {
	for _, g := range s.groups {
		if why := g.restless(); why != "" {
			return why
		}
	}
	for _, l := range s.ledgers {
		if !l.audited {
			l.audit()
			return "what group " + l.name + " has committed is being read"
		}
	}
	return ""
}

// audit reads once more what was committed.
func (l *ledger) audit() {
	if l.auditing {
		return
	}
	l.auditing = true
	offsets := map[messages.TopicPartition]messages.Offset{}
	for tp := range l.entries {
		offsets[tp] = 0
	}
	newGroupClient(newClient(l.s), l).fetch(sorted(offsets), func(_ map[messages.TopicPartition]messages.Offset, err error) {
		l.audited, l.auditing = err == nil, false
	})
}
