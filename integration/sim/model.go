package sim

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sort"

	"understudy/actors/partition"
	"understudy/cluster/metadata"
	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/log"
)

// model is what must be so, whatever happens. It knows what was sent, follows
// what any replica shows as committed, and compares.
type model struct {
	s     *Sim
	books map[messages.TopicPartition]*book
	sent  []*parcelOut // by number
	buf   []byte
}

// watched is what was last seen of a process's replica.
type watched struct {
	handle  *partition.Handle
	machine *partition.Machine
	status  replica.Status
	view    *partition.View
	upTo    messages.Offset // compared up to here; NoOffset: nothing yet
	hw      messages.Offset
	epoch   messages.LeaderEpoch
	leads   bool
}

func newModel(s *Sim) *model { return &model{s: s, books: map[messages.TopicPartition]*book{}} }

func (m *model) open(tp messages.TopicPartition, t *topic) *book {
	b := &book{
		tp: tp, lossy: t.lossy, trims: t.trims,
		leaders: map[messages.LeaderEpoch]*process{}, where: map[int64]int{}, last: map[int]int64{}, acked: map[int64]record{},
		began:     map[*disk]messages.Offset{},
		forgotten: map[int]bool{},
	}
	if t.compacts {
		b.past = &past{latest: map[string]messages.Offset{}}
	}
	m.books[tp] = b
	return b
}

// openOffsets opens the books of the topic in which groups are kept.
func (m *model) openOffsets(t *metadata.Topic) {
	for n := range t.Partitions {
		tp := messages.TopicPartition{Topic: t.Name, Partition: int32(n)}
		m.open(tp, &topic{compacts: true}).brokers = true
		m.s.offsets = append(m.s.offsets, tp)
	}
}

// observe looks at what a replica shows after a turn of its actor.
func (m *model) observe(p *process, tp messages.TopicPartition) {
	h := p.replicas.Lookup(tp)
	if h == nil || p.dead {
		return
	}
	w := p.known[tp]
	if w == nil || w.handle != h {
		w = &watched{handle: h, upTo: messages.NoOffset}
		p.known[tp] = w
	}
	v := h.View()
	if v == nil || v == w.view {
		return
	}
	w.view = v
	b := m.books[tp]
	if v.Log == nil || b == nil {
		w.upTo, w.leads = messages.NoOffset, false
		return
	}
	m.s.trace(2, uint64(p.m.id), uint64(tp.Partition), uint64(v.Epoch), uint64(v.Log.HighWatermark), uint64(v.Log.End))
	m.bounds(p, b, w, v)
	m.compare(p, b, w, v.Log)
}

// look looks at what a replica knows after a turn of its actor, be it the leader or not.
func (m *model) look(p *process, tp messages.TopicPartition, machine *partition.Machine) {
	h, b, w := p.replicas.Lookup(tp), m.books[tp], p.known[tp]
	if h == nil || b == nil || p.dead {
		return
	}
	if w == nil || w.handle != h || w.machine != machine {
		w = &watched{handle: h, machine: machine, upTo: messages.NoOffset}
		p.known[tp] = w
	}
	s := machine.Status()
	if s.Role == replica.Broken {
		return
	}
	if s.LogStart > s.HighWatermark || s.HighWatermark > s.End || s.Durable > s.End || !b.lossy && s.HighWatermark > s.Durable {
		m.s.wrong("bad-status", "node %d: %v has %d to %d, durable %d, high watermark %d", p.m.id, tp, s.LogStart, s.End, s.Durable, s.HighWatermark)
	}
	w.status = s
	if s.HighWatermark > w.upTo {
		m.compare(p, b, w, machine.Committed())
	}
}

// bounds checks a view's numbers.
func (m *model) bounds(p *process, b *book, w *watched, v *partition.View) {
	l := v.Log
	if l.LogStart > l.HighWatermark || l.HighWatermark > l.End {
		m.s.wrong("bad-view", "node %d: %v shows %d to %d of a log that ends at %d", p.m.id, b.tp, l.LogStart, l.HighWatermark, l.End)
	}
	leads := v.Err == nil
	if leads && w.leads && w.epoch == v.Epoch && l.HighWatermark < w.hw {
		m.s.wrong("high-watermark-falls", "node %d: of %v, epoch %d, from %d to %d", p.m.id, b.tp, v.Epoch, w.hw, l.HighWatermark)
	}
	w.leads, w.epoch, w.hw = leads, v.Epoch, l.HighWatermark
}

// begins takes note of where a log begins.
func (m *model) begins(p *process, b *book, l *log.View) {
	switch {
	case l.LogStart <= b.start:
		return
	case b.trims:
	case p.m.disk.short:
		m.s.count("log without its beginning on a disk that lied")
		return
	default:
		m.s.wrong("lost-write", "node %d: %v begins at %d, and nobody has deleted anything", p.m.id, b.tp, l.LogStart)
	}
	b.start = l.LogStart
	m.s.notes.starts(b.tp, b.start)
}

// compare compares what a replica holds below its high watermark with what others
// did.
func (m *model) compare(p *process, b *book, w *watched, l *log.View) {
	m.begins(p, b, l)
	from := max(w.upTo, l.LogStart)
	if b.past != nil && from < b.end() { // what compaction left out may have its successor there
		m.compareFrom(p, b, l, b.end())
	}
	if end, ok := m.compareFrom(p, b, l, from); ok {
		w.upTo = max(w.upTo, end)
	}
}

// compareFrom does so from an offset on. It returns how far it came, and whether that
// was to the end.
func (m *model) compareFrom(p *process, b *book, l *log.View, from messages.Offset) (messages.Offset, bool) {
	for from < l.HighWatermark {
		bytes, err := m.read(p, l, from)
		if err != nil {
			m.unreadable(p, b, from, err)
			return from, false
		}
		if len(bytes) == 0 && b.mayBeGone(from, l.HighWatermark) {
			return l.HighWatermark, true
		}
		if len(bytes) == 0 && b.lossy {
			m.s.count("high watermark within a batch that took the place of what was lost")
			return from, false
		}
		if len(bytes) == 0 {
			m.s.wrong("unseen", "node %d: %v has nothing at %d, below its high watermark %d", p.m.id, b.tp, from, l.HighWatermark)
			return from, false
		}
		for len(bytes) > 0 {
			one, rest, err := batch.Next(bytes)
			if err != nil {
				m.s.wrong("corrupt-read", "node %d: %v at %d: %v", p.m.id, b.tp, from, err)
				return from, false
			}
			bytes = rest
			if one.NextOffset() <= from {
				continue
			}
			if one.BaseOffset() > from && b.past != nil && !b.mayBeGone(from, one.BaseOffset()) {
				m.s.wrong("lost-write", "node %d: %v has nothing from %d to %d, and the last of some key was there", p.m.id, b.tp, from, one.BaseOffset())
				return from, false
			}
			m.holds(p, b, one)
			from = one.NextOffset()
		}
	}
	return from, true
}

// read reads what follows an offset, past the disk's troubles.
func (m *model) read(p *process, l *log.View, from messages.Offset) ([]byte, error) {
	p.fs.spare = true
	defer func() { p.fs.spare = false }()
	slice, err := l.Read(from, 1<<20, true)
	if err != nil || slice == nil {
		return nil, err
	}
	defer slice.Release()
	m.buf, err = slice.Bytes(m.buf[:0])
	return m.buf, err
}

func (m *model) unreadable(p *process, b *book, at messages.Offset, err error) {
	if p.m.disk.suspect() {
		m.s.count("records not readable after damage")
		return
	}
	m.s.wrong("unreadable", "node %d: %v at %d: %v", p.m.id, b.tp, at, err)
}

// holds takes a batch that a replica has below its high watermark.
func (m *model) holds(p *process, b *book, one batch.Batch) {
	if err := one.CheckCRC(); err != nil {
		m.s.wrong("corrupt-read", "node %d: %v at %d: %v", p.m.id, b.tp, one.BaseOffset(), err)
		return
	}
	rec := record{number: b.numberOf(one), base: one.BaseOffset(), next: one.NextOffset(), epoch: one.LeaderEpoch()}
	i := sort.Search(len(b.committed), func(i int) bool { return b.committed[i].next > rec.base })
	switch {
	case b.lossy:
	case i < len(b.committed) && rec.turned(b.committed[i]) && p.m.disk.short:
		m.s.count("batch read whose epoch has turned")
	case i < len(b.committed) && b.past != nil:
		if why := b.differs(one); why != "" {
			m.s.wrong("inconsistent-offsets", "node %d: %v below its high watermark: %s", p.m.id, b.tp, why)
		}
	case i < len(b.committed) && b.committed[i] != rec:
		m.s.wrong("inconsistent-offsets", "node %d: %v has %v below its high watermark, where %v was committed", p.m.id, b.tp, rec, b.committed[i])
	case i < len(b.committed):
	default:
		m.commits(p, b, rec, one)
	}
}

// turned reports whether another record is this one but for its epoch, which no checksum
// covers: a bit of it may have turned on a disk that is damaged.
func (r record) turned(other record) bool {
	return r.base == other.base && r.next == other.next && r.epoch != other.epoch
}

// commits takes a batch that nobody has shown as committed before.
func (m *model) commits(p *process, b *book, rec record, one batch.Batch) {
	if n := len(b.committed); n > 0 && b.committed[n-1].next != rec.base && rec.base > b.start {
		m.s.wrong("lost-write", "node %d: %v commits %v after %v", p.m.id, b.tp, rec, b.committed[n-1])
	}
	if b.past != nil {
		b.past.note(one)
	}
	out := m.of(rec.number)
	if !b.brokers && out != nil && out.idempotent && out.order <= b.last[out.producer] && m.unknown(b, out.producer, rec.epoch) {
		m.s.count("batch committed again where the first was deleted before")
		m.forget(b, out.producer)
	}
	switch {
	case b.brokers:
		b.committed = append(b.committed, rec)
		return
	case out == nil || out.tp != b.tp || int64(out.records) != rec.next-rec.base || out.crc != one.CRC() && one.TimestampType() == batch.CreateTime:
		m.s.wrong("corrupt-read", "node %d: %v at %d is not what anybody sent: %v", p.m.id, b.tp, rec.base, rec)
		return
	case out.idempotent && b.where[rec.number] > 0:
		m.s.wrong("duplicate", "node %d: %v commits %v, which is committed already", p.m.id, b.tp, rec)
	case out.idempotent && out.order <= b.last[out.producer]:
		m.s.wrong("nonmonotonic-send", "node %d: %v commits %v, number %d of producer %d, after its number %d", p.m.id, b.tp, rec, out.order, out.producer, b.last[out.producer])
	}
	b.where[rec.number]++
	if b.last[out.producer] < out.order {
		b.last[out.producer] = out.order
	}
	b.committed = append(b.committed, rec)
	m.s.trace(3, uint64(rec.number), uint64(rec.base), uint64(rec.epoch))
}

// of is what was sent under a number.
func (m *model) of(number int64) *parcelOut {
	if number < 0 || number >= int64(len(m.sent)) {
		return nil
	}
	return m.sent[number]
}

// numberOf is the number that a batch was given by its producer; -1: none.
func numberOf(one batch.Batch) int64 {
	for r := range batch.Records(one, one.Payload()) {
		for h := range r.Headers() {
			return int64(binary.BigEndian.Uint64(h.Value))
		}
	}
	return -1
}

// acked takes a success that a producer with acks=all is told of. What a replica
// commits in the turn in which its disk fails it does not show any more; that must
// turn up later.
func (m *model) acked(p *process, out *parcelOut, base messages.Offset) {
	b := m.books[out.tp]
	m.observe(p, out.tp)
	if b.lossy {
		return
	}
	next := base + int64(out.records)
	if w := p.known[out.tp]; w != nil && w.machine != nil && w.machine.Status().HighWatermark < next {
		m.s.wrong("early-acknowledgement", "node %d: %v acknowledges batch %d at %d, and its high watermark is %d", p.m.id, b.tp, out.number, base, w.machine.Status().HighWatermark)
		return
	}
	rec, found := b.at(base)
	if !found && base < b.start {
		m.s.count("deleted when it was acknowledged") // before anybody could see it
		return
	}
	if !found && base >= b.end() {
		m.s.count("acknowledged and not shown")
		b.acked[out.number] = record{number: out.number, base: base, next: next, epoch: messages.NoEpoch}
		return
	}
	if !found || rec.number != out.number || rec.base != base {
		m.s.wrong("lost-write", "node %d: %v acknowledges batch %d at %d, where %v is committed", p.m.id, b.tp, out.number, base, rec)
		return
	}
	b.acked[out.number] = rec
}

// event takes what a replica decided.
func (m *model) event(p *process, tp messages.TopicPartition, e replica.Event) {
	m.s.count(eventName(e))
	m.s.say("node %d: %v %v", p.m.id, tp, e)
	b := m.books[tp]
	if b == nil {
		return
	}
	switch e := e.(type) {
	case replica.BecameLeader:
		m.leads(p, b, e)
	case replica.Truncated:
		if e.Lost && !b.lossy {
			m.s.wrong("truncated-below-high-watermark", "node %d: %v %v", p.m.id, tp, e)
		}
		if e.All {
			b.began[p.fs.d] = e.To
		}
	case replica.Recovered, replica.Regressed:
		if !b.lossy && (m.s.liar == nil || !m.s.liar.disk.short) {
			m.s.wrong("lost-write", "node %d: %v %v", p.m.id, tp, e)
		}
	case replica.Ignored:
		if e.From != p.m.id && !m.s.babbled {
			m.s.wrong("nonsense", "node %d: %v %v", p.m.id, tp, e)
		}
	}
}

// leads checks a new leadership: nobody else has the epoch, and what was committed
// is there.
func (m *model) leads(p *process, b *book, e replica.BecameLeader) {
	now := m.s.store.image.Partition(b.tp)
	if other := b.leaders[e.Epoch]; other != nil && now != nil && (other.m != p.m || len(now.Replicas)-len(now.Adding) > 1) {
		m.s.wrong("two-leaders", "node %d leads %v in epoch %d, which node %d led", p.m.id, b.tp, e.Epoch, other.m.id)
	}
	b.leaders[e.Epoch] = p
	if e.Start < b.end() && p.m.disk.short {
		m.s.ending = "who has lost what its disk lied about is the last that is left"
		m.s.count("ended: " + m.s.ending)
		return
	}
	if !b.lossy && now != nil && now.LeaderEpoch == e.Epoch && e.Start < b.end() {
		m.s.wrong("lost-write", "node %d leads %v in epoch %d from %d, and %d was committed", p.m.id, b.tp, e.Epoch, e.Start, b.end())
	}
}

// decided checks what a controller has committed.
func (m *model) decided(ch metadata.Change) {
	for _, t := range ch.Topics {
		if t.New != nil && t.New.Name == offsetsTopic && t.Old == nil {
			m.openOffsets(t.New)
		}
		if t.New == nil || t.Old == nil {
			continue
		}
		m.s.grown(t.New)
		for n := range min(len(t.Old.Partitions), len(t.New.Partitions)) {
			m.transition(messages.TopicPartition{Topic: t.New.Name, Partition: int32(n)}, &t.Old.Partitions[n], &t.New.Partitions[n])
		}
	}
}

func (m *model) transition(tp messages.TopicPartition, old, now *metadata.Partition) {
	b := m.books[tp]
	switch {
	case b == nil:
	case now.LeaderEpoch < old.LeaderEpoch:
		m.s.wrong("epoch-falls", "%v: leader epoch %d after %d", tp, now.LeaderEpoch, old.LeaderEpoch)
	case now.Leader != old.Leader && now.LeaderEpoch == old.LeaderEpoch:
		m.s.wrong("two-leaders", "%v: leaders %d and %d in epoch %d", tp, old.Leader, now.Leader, now.LeaderEpoch)
	case now.UncleanEpoch != old.UncleanEpoch && !b.lossy:
		m.s.wrong("unclean-election", "%v: %+v, before %+v", tp, *now, *old)
	case len(now.ISR) == 0 || now.Leader != messages.NoBroker && !slices.Contains(now.ISR, now.Leader):
		m.s.wrong("unclean-election", "%v: the leader is not in sync: %+v, before %+v", tp, *now, *old)
	}
}

func eventName(e replica.Event) string {
	name := fmt.Sprintf("%T", e)
	return "replica: " + name[len("replica."):]
}
