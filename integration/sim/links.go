package sim

import (
	"bytes"

	"understudy/actors/partition"
	"understudy/cluster/link"
	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
)

// links are the connections between nodes. Two nodes have one, on which messages
// keep their order. A way that is blocked keeps messages, as TCP does, until it is
// free again or the connection is given up; with a connection all that is on its
// way over it is lost.
//
//	none ──both run, and reach each other──▶ up ──reset, a process ends, given up──▶ none
type links struct {
	s       *Sim
	pairs   []*conn        // by pair; nil: none
	blocked map[[2]int]int // ways, from and to: how many faults block them. 0 is the store
}

// conn is a connection of a pair, and both its ends.
type conn struct {
	ends    [2]*process
	version uint8 // of the protocol that is spoken
	down    bool
	arrive  [2]int64 // when the last message sent from an end arrives
	bytes   [2]int64 // on their way from an end
	held    [2][]*parcel
}

// parcel is something on its way.
type parcel struct {
	c       *conn
	from    int // the end that sent it
	size    int64
	frail   bool // it may be lost by itself, doubled and overtaken
	deliver func(to *process)
	drop    func()
}

func newLinks(s *Sim) *links {
	n := len(s.machines)
	l := &links{s: s, pairs: make([]*conn, (n+1)*(n+1)), blocked: map[[2]int]int{}}
	l.dial()
	return l
}

func (l *links) slot(a, b messages.BrokerID) *(*conn) {
	return &l.pairs[int(min(a, b))*(len(l.s.machines)+1)+int(max(a, b))]
}

// passes reports whether what is sent from a place arrives at another. Places are
// broker ids, 0 for the store, and numbers above those of all brokers for clients.
func (l *links) passes(from, to int) bool { return l.blocked[[2]int{from, to}] == 0 }

// block blocks a way, or takes that back.
func (l *links) block(from, to int, by int) {
	way := [2]int{from, to}
	l.blocked[way] += by
	if l.blocked[way] > 0 || from == 0 || to == 0 || from > len(l.s.machines) || to > len(l.s.machines) {
		return
	}
	c := *l.slot(messages.BrokerID(from), messages.BrokerID(to))
	if c == nil {
		return
	}
	end := c.end(messages.BrokerID(from))
	held := c.held[end]
	c.held[end] = nil
	for _, parcel := range held {
		l.carry(parcel)
	}
}

func (c *conn) end(id messages.BrokerID) int {
	if c.ends[0].m.id == id {
		return 0
	}
	return 1
}

// dial connects, now and then, those who are not and can be.
func (l *links) dial() {
	for i, a := range l.s.machines {
		for _, b := range l.s.machines[i+1:] {
			l.connect(a.proc, b.proc)
		}
	}
	l.s.after(20*millisecond+l.s.rnd.net.Int64N(40*millisecond), l.dial)
}

func (l *links) connect(a, b *process) {
	if a == nil || b == nil || a.frozen || b.frozen || a.self.Epoch == 0 || b.self.Epoch == 0 || !a.linked || !b.linked {
		return
	}
	slot := l.slot(a.m.id, b.m.id)
	if c := *slot; c != nil && (c.ends[0].dead || c.ends[1].dead) { // of an earlier start
		l.drop(c)
	}
	if *slot != nil || !l.passes(int(a.m.id), int(b.m.id)) || !l.passes(int(b.m.id), int(a.m.id)) {
		return
	}
	c := &conn{ends: [2]*process{a, b}}
	c.agree(l.s)
	*slot = c
	l.s.count("connected")
	for i, p := range c.ends {
		other := c.ends[1-i]
		delay := l.delay()
		c.arrive[1-i] = l.s.now + delay // nothing arrives before
		p.later(delay, func() {
			if !c.down {
				p.up(other.member())
			}
		})
	}
}

// joined lets a node be connected to.
func (l *links) joined(p *process) {
	p.linked = true
	for i := range p.eyes {
		p.eyes[i].heard = l.s.now
	}
}

// drop ends a connection.
func (l *links) drop(c *conn) {
	if c.down {
		return
	}
	c.down = true
	*l.slot(c.ends[0].m.id, c.ends[1].m.id) = nil
	for _, held := range c.held {
		for _, parcel := range held {
			parcel.drop()
		}
	}
}

// reset ends the connection between two nodes, if there is one.
func (l *links) reset(a, b messages.BrokerID) {
	if c := *l.slot(a, b); c != nil {
		l.s.count("connection reset")
		l.drop(c)
	}
}

// dropped ends the connections of a process that is no more. Who can be reached
// from its machine sees that it is gone: its redial is refused.
func (l *links) dropped(p *process) {
	for _, m := range l.s.machines {
		if m == p.m {
			continue
		}
		c := *l.slot(p.m.id, m.id)
		if c == nil {
			continue
		}
		if p.m.off { // the other end will see in time
			continue
		}
		l.drop(c)
		q := c.ends[1-c.end(p.m.id)]
		q.later(l.delay()+l.s.rnd.net.Int64N(3*millisecond), func() {
			if l.passes(int(p.m.id), int(q.m.id)) && l.passes(int(q.m.id), int(p.m.id)) && p.m.proc == nil {
				q.peerGone(p.m.id)
			}
		})
	}
}

// giveUp ends a connection over which nothing has been heard for long.
func (l *links) giveUp(p *process, id messages.BrokerID) {
	if c := *l.slot(p.m.id, id); c != nil {
		l.s.count("connection given up")
		l.drop(c)
	}
}

// peer is the other end of a node's connection.
func (l *links) peer(p *process, id messages.BrokerID) (m replica.Member, open bool) {
	c := *l.slot(p.m.id, id)
	if c == nil {
		return m, false
	}
	return c.ends[1-c.end(p.m.id)].member(), true
}

// hears reports whether a sign of life comes over a node's connection.
func (l *links) hears(p *process, id messages.BrokerID) (m replica.Member, heard bool) {
	c := *l.slot(p.m.id, id)
	if c == nil {
		return m, false
	}
	q := c.ends[1-c.end(p.m.id)]
	return q.member(), !q.dead && !q.frozen && l.passes(int(id), int(p.m.id))
}

// refuses reports whether a machine can be seen to run no process: it answers,
// and refuses the connection.
func (l *links) refuses(p *process, id messages.BrokerID) bool {
	m := l.s.machines[id-1]
	return *l.slot(p.m.id, id) == nil && m.proc == nil && !m.off &&
		l.passes(int(p.m.id), int(id)) && l.passes(int(id), int(p.m.id))
}

// any reports whether a node is connected to any other.
func (l *links) any(p *process) (some bool) {
	l.each(p, func(messages.BrokerID) { some = true })
	return some
}

// each calls f for the nodes that one is connected to.
func (l *links) each(p *process, f func(messages.BrokerID)) {
	for _, m := range l.s.machines {
		if m != p.m && *l.slot(p.m.id, m.id) != nil {
			f(m.id)
		}
	}
}

// call has something done at another node; it reports whether it was sent.
func (l *links) call(p *process, to messages.BrokerID, f func(q *process)) bool {
	c := *l.slot(p.m.id, to)
	if c == nil {
		return false
	}
	l.carry(&parcel{c: c, from: c.end(p.m.id), deliver: f, drop: func() {}})
	return true
}

// maxQueue is how many bytes may wait to be sent to a node; what a replica's window
// lets go at once has room.
const maxQueue = 8 << 20

func (l *links) crowded(p *process, to messages.BrokerID) bool {
	c := *l.slot(p.m.id, to)
	return c != nil && c.bytes[c.end(p.m.id)] > l.s.cfg.crowd
}

// send passes a replica's message on. Its batches are taken from their owner's
// memory a little later, as a connection's writer does.
func (l *links) send(p *process, to messages.BrokerID, id messages.TopicID, tp messages.TopicPartition, m *replica.Message, owner partition.Payload) error {
	c := *l.slot(p.m.id, to)
	if c == nil {
		return link.ErrNotConnected
	}
	from := c.end(p.m.id)
	arrives, err := c.translate(l.s, id, tp.Partition, m)
	if err != nil {
		return err
	}
	cargo := &cargo{message: arrives, owner: owner}
	cargo.message.Batches = append([]batch.Batch(nil), m.Batches...)
	size := int64(0)
	for _, b := range m.Batches {
		size += int64(len(b))
	}
	if size > 0 && (c.bytes[from]+size > maxQueue || l.s.rough > 0 && l.s.rnd.net.IntN(2000) < l.s.rough) {
		l.s.count("queue full")
		return link.ErrQueueFull
	}
	if owner != nil {
		owner.Retain()
		l.s.after(l.s.rnd.net.Int64N(300), cargo.copy)
	}
	l.s.trace(1, uint64(p.m.id), uint64(to), uint64(m.Type), uint64(m.Base), uint64(m.End))
	if l.s.verbose {
		l.s.say("%d→%d %v: %v", p.m.id, to, tp, m)
	}
	sender := p.member()
	l.carry(&parcel{c: c, from: from, size: size, frail: true, drop: cargo.copy, deliver: func(q *process) {
		cargo.copy()
		q.replicas.Deliver(cargo.unpack(sender, id, tp.Partition))
	}})
	return nil
}

// cargo is a message whose batches are somebody else's until they are copied.
type cargo struct {
	message replica.Message
	owner   partition.Payload
	copied  bool
}

// copy takes the batches from their owner's memory, as writing them to a socket does.
func (c *cargo) copy() {
	if c.copied {
		return
	}
	c.copied = true
	for i, b := range c.message.Batches {
		c.message.Batches[i] = batch.Batch(bytes.Clone(b))
	}
	if c.owner != nil {
		c.owner.Release()
	}
}

// unpack makes the message that the receiver gets. Its memory is spoiled when it
// is released: whoever still uses it is found out.
func (c *cargo) unpack(from replica.Member, id messages.TopicID, partition int32) *link.Incoming {
	m := c.message
	m.Batches = make([]batch.Batch, len(c.message.Batches))
	for i, b := range c.message.Batches {
		m.Batches[i] = batch.Batch(bytes.Clone(b))
	}
	memory := append([]batch.Batch(nil), m.Batches...)
	return link.NewIncoming(from, id, partition, m, func() {
		for _, b := range memory {
			spoil(b)
		}
	})
}

// spoil overwrites memory that nobody may use any more.
func spoil(b []byte) {
	for i := range b {
		b[i] = 0xdd
	}
}

// delay is how long something is on its way.
func (l *links) delay() int64 {
	d := l.s.cfg.netDelay/2 + l.s.rnd.net.Int64N(l.s.cfg.netDelay)
	if l.s.rnd.net.IntN(200) == 0 {
		d += l.s.rnd.net.Int64N(30 * l.s.cfg.netDelay)
	}
	return d + l.s.slowness
}

// carry brings a parcel to the other end, in order, unless something happens to it.
func (l *links) carry(x *parcel) {
	c := x.c
	to := c.ends[1-x.from]
	if c.down {
		x.drop()
		return
	}
	if !l.passes(int(c.ends[x.from].m.id), int(to.m.id)) {
		c.held[x.from] = append(c.held[x.from], x)
		return
	}
	at := max(l.s.now+l.delay(), c.arrive[x.from])
	times := 1
	if x.frail && l.s.rough > 0 && l.s.rnd.net.IntN(1000) < l.s.rough {
		switch l.s.rnd.net.IntN(3) {
		case 0:
			l.s.count("message lost")
			x.drop()
			return
		case 1:
			l.s.count("message doubled")
			times = 2
		default:
			l.s.count("message overtaken")
			at = l.s.now + l.delay()*5
		}
	} else {
		c.arrive[x.from] = at
	}
	c.bytes[x.from] += x.size
	for i := range times {
		l.s.plan(at+int64(i)*l.s.cfg.netDelay, 0, func() { l.arrived(x, i) })
	}
}

func (l *links) arrived(x *parcel, again int) {
	if again == 0 {
		x.c.bytes[x.from] -= x.size
	}
	q := x.c.ends[1-x.from]
	if x.c.down || q.dead {
		x.drop()
		return
	}
	q.do(func() {
		if x.c.down {
			x.drop()
			return
		}
		x.deliver(q)
	})
}
