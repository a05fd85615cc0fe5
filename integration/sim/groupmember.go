package sim

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"understudy/actors/group"
	"understudy/messages"
)

// groupMember is one start of a client that consumes as a member of a group.
//
//	         told who is in        told what is whose, and where to begin
//	joining ────────────────▶ syncing ────────────────────────▶ settled
//	   ▲                         │                                 │
//	   └─────────────────────────┴─────────────────────────────────┘
//	    the others join again, or it is out, or its coordinator does not know
//	    of the generation
type groupMember struct {
	*groupClient
	g          *consumerGroup
	reader     *consumer
	instance   string
	id         string
	generation int32
	phase      int // counts those that it has been in: what comes of earlier ones is void
	settled    bool
	mute       int // faults that hold up its heartbeats
	down       bool
	committed  map[messages.TopicPartition]messages.Offset
	shared     map[string]int32 // what it has shared out, as the leader: partitions by topic; nil: it does not lead
}

func (g *consumerGroup) newMember(number int, instance string) *groupMember {
	s := g.s
	c := newClient(s)
	s.starts++
	m := &groupMember{
		groupClient: newGroupClient(c, g.ledger), g: g, instance: instance,
		reader: &consumer{client: c, number: number, label: fmt.Sprint("member ", g.name, ".", number, ".", s.starts)},
	}
	s.after(s.rnd.client.Int64N(second), m.join)
	return m
}

// begin begins a phase. current reports whether the member is still in it.
func (m *groupMember) begin() (current func() bool) {
	m.phase++
	phase := m.phase
	return func() bool { return m.phase == phase && !m.down }
}

// stop ends the member's process.
func (m *groupMember) stop() {
	m.down = true
	m.giveUp()
}

// giveUp stops consuming.
func (m *groupMember) giveUp() {
	m.settled, m.shared = false, nil
	for _, at := range m.reader.places {
		at.ended = true
	}
	m.reader.places = nil
}

// later does something after a moment, unless the phase has ended.
func (m *groupMember) later(current func() bool, wait int64, f func()) {
	m.s.after(wait/2+m.s.rnd.client.Int64N(wait), func() {
		if current() {
			f()
		}
	})
}

// failed goes on after an error: with the same once more if that may help.
func (m *groupMember) failed(current func() bool, err error, again func()) {
	switch messages.KindOf(err) {
	case messages.RebalanceInProgress, messages.IllegalGeneration:
		again = m.join
	case messages.UnknownMemberID:
		m.id = ""
		again = m.join
	case messages.FencedInstanceID:
		m.s.count("group: member whose place is another's")
		m.stop()
		m.s.after(second, func() { m.g.replace(m) }) // unless it is the other that was started in its place
		return
	case messages.NotCoordinator, messages.CoordinatorNotAvailable, messages.CoordinatorLoadInProgress, messages.RequestTimedOut, messages.Unknown:
	default:
		m.s.wrong("refused", "group %s: member %s: %v", m.g.name, m.id, err)
		return
	}
	m.later(current, 100*millisecond, again)
}

// patience is for how long the member waits for the others.
func (m *groupMember) patience() int64 { return (m.g.rebalance + m.g.session + 2000) * millisecond }

// join joins, once more as a rule.
func (m *groupMember) join() {
	if m.down {
		return
	}
	current := m.begin()
	m.giveUp()
	m.whenFree(current, func() { m.sendJoin(current) })
}

// whenFree does something when nothing holds the member up.
func (m *groupMember) whenFree(current func() bool, f func()) {
	if m.mute > 0 {
		m.later(current, 50*millisecond, func() { m.whenFree(current, f) })
		return
	}
	f()
}

func (m *groupMember) sendJoin(current func() bool) {
	join := group.Join{
		Group: m.g.name, MemberID: m.id, InstanceID: m.instance, Client: group.Client{ID: "sim", Host: "/127.0.0.1"},
		SessionTimeout: m.g.session, RebalanceTimeout: m.g.rebalance, ProtocolType: "consumer",
		Protocols: []group.Protocol{{Name: "round", Metadata: subscription(m.g.topics)}}, RequireMemberID: true, CanSkipAssignment: true,
	}
	lowest := m.ledger.settled
	m.call(m.patience(), func(ctx context.Context, co *group.Coordinator) (any, error) {
		j := co.Join(ctx, join)
		return j, j.Err
	}, func(value any, err error) {
		if !current() {
			return
		}
		if m.s.verbose {
			m.s.say("group %s: join of %s: %+v, %v", m.g.name, m.reader.name(), value, err)
		}
		joined, _ := value.(group.Joined)
		switch {
		case messages.KindOf(err) == messages.MemberIDRequired:
			m.id = joined.MemberID
			m.join()
		case err != nil:
			m.failed(current, err, m.join)
		default:
			m.s.count("group: joined")
			m.id, m.generation = joined.MemberID, joined.Generation
			m.sync(joined, lowest)
		}
	})
}

// sync asks for what is the member's; one that leads says what is whose.
func (m *groupMember) sync(joined group.Joined, lowest int32) {
	current := m.begin()
	sync := group.Sync{Member: m.who(), ProtocolType: joined.ProtocolType, Protocol: joined.Protocol}
	send := func() {
		m.call(m.patience(), func(ctx context.Context, co *group.Coordinator) (any, error) {
			synced := co.Sync(ctx, sync)
			return synced, synced.Err
		}, func(value any, err error) {
			switch {
			case !current():
			case err != nil:
				m.failed(current, err, m.join)
			default:
				m.settle(lowest, value.(group.Synced).Assignment)
			}
		})
	}
	if joined.SkipAssignment { // it leads, and does not know what its predecessor has shared out
		m.shared = map[string]int32{}
	}
	if joined.Leader != m.id || joined.SkipAssignment {
		m.whenFree(current, send)
		return
	}
	m.partitions(func(counts map[string]int32) {
		if current() {
			sync.Assignments = m.g.share(joined, counts)
			m.shared = counts
			m.whenFree(current, send)
		}
	})
}

func (m *groupMember) who() group.Member {
	return group.Member{Group: m.g.name, MemberID: m.id, InstanceID: m.instance, Generation: m.generation}
}

// partitions asks some node how many partitions the group's topics have.
func (m *groupMember) partitions(then func(counts map[string]int32)) {
	some := messages.BrokerID(1 + m.s.rnd.client.IntN(len(m.s.machines)))
	m.ask(some, second, func(p *process, reply func(any)) {
		counts := map[string]int32{}
		for _, name := range m.g.topics {
			if t := p.cell.Image().Topic(name); t != nil {
				counts[name] = int32(len(t.Partitions))
			}
		}
		reply(counts)
	}, func(_ error, value any) {
		if counts, ok := value.(map[string]int32); ok && len(counts) == len(m.g.topics) {
			then(counts)
			return
		}
		m.s.after(100*millisecond, func() { m.partitions(then) })
	})
}

// settle takes over what is the member's, and begins where the group has come to.
func (m *groupMember) settle(lowest int32, assignment []byte) {
	s := m.s
	tps := unpackAssignment(assignment)
	s.count("group: settled")
	s.say("group %s: %s is in generation %d and has %v", m.g.name, m.id, m.generation, tps)
	m.ledger.settles(m.who(), lowest, tps)
	current := m.begin()
	m.beat(current)
	var where func()
	where = func() {
		m.fetch(tps, func(offsets map[messages.TopicPartition]messages.Offset, err error) {
			switch {
			case !current():
			case err != nil:
				m.failed(current, err, where)
			default:
				m.consume(current, tps, offsets)
			}
		})
	}
	where()
}

// consume begins to consume, and to commit.
func (m *groupMember) consume(current func() bool, tps []messages.TopicPartition, offsets map[messages.TopicPartition]messages.Offset) {
	m.settled, m.committed = true, offsets
	for _, tp := range tps {
		m.s.notes.moved(m.reader, tp)
		m.reader.followFrom(tp, max(offsets[tp], 0))
	}
	m.commitAll(current)
	if m.shared != nil {
		m.later(current, 2*second, func() { m.lookAround(current) })
	}
}

// lookAround has a leader find out whether there are more partitions.
func (m *groupMember) lookAround(current func() bool) {
	m.partitions(func(counts map[string]int32) {
		for name, n := range counts {
			if current() && n > m.shared[name] {
				m.s.count("group: leader found more partitions")
				m.join()
				return
			}
		}
		m.later(current, 2*second, func() { m.lookAround(current) })
	})
}

// beat tells the coordinator now and then that the member is there.
func (m *groupMember) beat(current func() bool) {
	m.later(current, m.g.session*millisecond/4, func() {
		m.whenFree(current, func() { m.sendBeat(current) })
	})
}

func (m *groupMember) sendBeat(current func() bool) {
	who := m.who()
	m.call(second, func(ctx context.Context, co *group.Coordinator) (any, error) { return nil, co.Heartbeat(ctx, who) }, func(_ any, err error) {
		switch {
		case !current():
		case err == nil:
			m.beat(current)
		case messages.KindOf(err) == messages.RebalanceInProgress:
			m.s.count("group: member joins the others again")
			m.commitNow(current) // which arrives before it joins
			m.join()
		default:
			m.failed(current, err, func() { m.beat(current) })
		}
	})
}

// commitAll commits now and then how far the member has come.
func (m *groupMember) commitAll(current func() bool) {
	m.later(current, m.g.pause, func() {
		m.commitNow(current)
		m.commitAll(current)
	})
}

func (m *groupMember) commitNow(current func() bool) {
	offsets := map[messages.TopicPartition]messages.Offset{}
	for _, at := range m.reader.places {
		if at.next > m.committed[at.tp] {
			offsets[at.tp] = at.next
		}
	}
	m.commit(m.who(), offsets, func(err error) {
		switch {
		case !current():
		case err == nil:
			for tp, offset := range offsets {
				m.committed[tp] = offset
			}
		case refused(err):
			m.s.count("group: commit refused")
			m.failed(current, err, m.join)
		}
	})
}

// leave leaves the group in order.
func (m *groupMember) leave() {
	leaving := []group.Leaving{{MemberID: m.id, InstanceID: m.instance}}
	m.stop()
	m.call(second, func(ctx context.Context, co *group.Coordinator) (any, error) { return co.Leave(ctx, m.g.name, leaving) }, func(any, error) {})
}

// subscription says which topics a member consumes, in Kafka's format.
func subscription(topics []string) []byte {
	b := binary.BigEndian.AppendUint32([]byte{0, 0}, uint32(len(topics)))
	for _, name := range topics {
		b = append(binary.BigEndian.AppendUint16(b, uint16(len(name))), name...)
	}
	return append(b, 0xff, 0xff, 0xff, 0xff)
}

// share shares the partitions out, to others in each generation.
func (g *consumerGroup) share(joined group.Joined, counts map[string]int32) map[string][]byte {
	var members []string
	for _, m := range joined.Members {
		members = append(members, m.MemberID)
	}
	slices.Sort(members)
	shares := map[string][]string{}
	n := int(joined.Generation)
	for _, name := range g.topics {
		for i := range counts[name] {
			member := members[n%len(members)]
			shares[member] = append(shares[member], fmt.Sprint(name, "/", i))
			n++
		}
	}
	packed := map[string][]byte{}
	for member, share := range shares {
		packed[member] = []byte(strings.Join(share, ","))
	}
	return packed
}

func unpackAssignment(b []byte) (tps []messages.TopicPartition) {
	for word := range strings.SplitSeq(string(b), ",") {
		if name, number, ok := strings.Cut(word, "/"); ok {
			n, _ := strconv.Atoi(number)
			tps = append(tps, messages.TopicPartition{Topic: name, Partition: int32(n)})
		}
	}
	return tps
}
