package sim

import (
	"encoding/binary"
	"slices"

	"understudy/actors/partition"
	"understudy/messages"
	"understudy/messages/batch"
)

// producer sends batches to partitions, in order, and sends again what it does
// not know the end of.
type producer struct {
	*client
	number     int
	acks       messages.Acks
	idempotent bool
	id         messages.ProducerID
	flights    int // requests without an answer for a partition, at most
	pause      int64
	lines      []*line
	stopped    bool
	naming     bool
}

// line is what a producer has for one partition, oldest first.
type line struct {
	tp       messages.TopicPartition
	queue    []*parcelOut
	sequence int32
	order    int64
	flying   int
	waiting  bool // a pause, or news of the leader, comes first
	failed   bool // nothing more is sent until what flies has come down
	written  int
	ended    bool
	plain    bool // not idempotent: a sequence would not survive a loss
}

// parcelOut is one batch of a producer.
type parcelOut struct {
	number     int64
	producer   int
	order      int64 // among those of the producer for the partition, from 1
	tp         messages.TopicPartition
	sequence   int32
	records    int
	crc        uint32
	raw        []byte
	idempotent bool
	id         messages.ProducerID
	flying     bool
	tries      int
	sentAt     int64
	done       bool
}

func (s *Sim) newProducer(number int) *producer {
	rnd := s.rnd.client
	p := &producer{client: newClient(s), number: number, id: messages.NoProducerID, flights: 1 + rnd.IntN(5), acks: messages.AcksAll}
	switch n := rnd.IntN(10); {
	case n < 7:
		p.idempotent = true
	case n < 8:
		p.acks = messages.AcksLeader
	case n < 9:
		p.acks = messages.AcksNone
	}
	p.pause = s.cfg.producePause/2 + rnd.Int64N(s.cfg.producePause)
	for _, tp := range s.partitions {
		p.lines = append(p.lines, p.lineOf(tp))
	}
	s.after(rnd.Int64N(p.pause), p.work)
	return p
}

func (p *producer) lineOf(tp messages.TopicPartition) *line {
	return &line{tp: tp, plain: !p.idempotent || p.s.model.books[tp].lossy}
}

// work makes another batch now and then.
func (p *producer) work() {
	if p.stopped {
		return
	}
	s := p.s
	if p.idempotent && p.id == messages.NoProducerID {
		p.name()
	} else if l := p.lines[s.rnd.client.IntN(len(p.lines))]; len(l.queue) < 2*p.flights && !l.ended {
		p.make(l)
		p.pump(l)
	}
	s.after(p.pause/2+s.rnd.client.Int64N(p.pause), p.work)
}

// name gets the producer an id from the cluster.
func (p *producer) name() {
	if p.naming {
		return
	}
	p.naming = true
	to := messages.BrokerID(1 + p.s.rnd.client.IntN(len(p.s.machines)))
	p.ask(to, 2*second, func(n *process, reply func(any)) {
		n.begin(func(r *routine) {
			id, err := n.ask(r, second, func(q *process, _ *routine) (any, error) { return q.ctl.AllocateProducerIDs(q.ctx, 3) })
			if err == nil {
				reply(id)
			}
		})
	}, func(_ error, value any) {
		p.naming = false
		if id, ok := value.(messages.ProducerID); ok {
			if slices.Contains(p.s.ids, id) {
				p.s.wrong("producer-id-twice", "%d", id)
			}
			p.s.ids = append(p.s.ids, id)
			p.id = id
			p.s.say("producer %d has id %d", p.number, id)
		}
	})
}

// make makes a batch.
func (p *producer) make(l *line) {
	s := p.s
	l.order++
	out := &parcelOut{
		number: int64(len(s.model.sent)), producer: p.number, order: l.order, tp: l.tp, records: 1 + s.rnd.client.IntN(maxRecords),
		idempotent: !l.plain, id: p.id,
	}
	f := batch.NoProducer
	if !l.plain {
		out.sequence = l.sequence
		l.sequence = batch.AddSequence(l.sequence, int32(out.records))
		f.ProducerID, f.ProducerEpoch, f.BaseSequence = p.id, 0, out.sequence
	}
	value := make([]byte, s.cfg.valueSize/2+s.rnd.client.IntN(s.cfg.valueSize))
	for i := range value {
		value[i] = byte(out.number) + byte(i)
	}
	now := epoch0 + s.now/millisecond
	bu := batch.NewBuilder(f)
	var number [8]byte
	binary.BigEndian.PutUint64(number[:], uint64(out.number))
	for i := range out.records {
		key, kept := number[:], value
		if s.model.books[l.tp].past != nil {
			key = []byte{'k', byte(s.rnd.client.IntN(8))}
			if s.rnd.client.IntN(6) == 0 {
				kept = nil // a tombstone
			}
		}
		bu.Add(now+int64(i), key, kept, batch.Header{Key: []byte("n"), Value: number[:]})
	}
	b := bu.Build(nil)
	out.raw, out.crc = b, b.CRC()
	s.model.sent = append(s.model.sent, out)
	l.queue = append(l.queue, out)
	l.written++
}

// pump sends what may be sent.
func (p *producer) pump(l *line) {
	if l.ended || l.waiting || l.failed && l.flying > 0 {
		return
	}
	l.failed = false
	to := p.known(l.tp)
	if to.id == messages.NoBroker {
		if slices.ContainsFunc(l.queue, func(o *parcelOut) bool { return !o.done }) {
			l.waiting = true
			p.refresh(l.tp, func() {
				l.waiting = false
				p.pump(l)
			})
		}
		return
	}
	for _, out := range l.queue[:min(len(l.queue), p.flights)] {
		if !out.flying && !out.done {
			p.send(l, out, to.id)
		}
	}
}

// produced is the answer to a produce request.
type produced struct{ partition.Result }

func (p *producer) send(l *line, out *parcelOut, to messages.BrokerID) {
	s := p.s
	out.flying, out.sentAt = true, s.now
	out.tries++
	l.flying++
	if out.tries == 1 {
		s.notes.sends(p, out)
	}
	if out.tries > 1 {
		s.count("batch sent again")
	}
	s.trace(4, uint64(out.number), uint64(to), uint64(out.tries))
	if s.verbose {
		s.say("producer %d → node %d: %v batch %d of id %d (order %d, sequence %d, %d records), try %d", p.number, to, l.tp, out.number, out.id, out.order, out.sequence, out.records, out.tries)
	}
	acks := p.acks
	finish := func(err error, value any) { p.answered(l, out, err, value) }
	p.ask(to, s.cfg.requestTimeout, func(n *process, reply func(any)) {
		if acks == messages.AcksNone {
			n.append(out, acks, func(partition.Result) {})
			reply(produced{})
			return
		}
		n.append(out, acks, func(r partition.Result) { reply(produced{r}) })
	}, finish)
}

// append has a node's replica append a batch.
func (n *process) append(out *parcelOut, acks messages.Acks, reply func(partition.Result)) {
	h, err := n.serves(out.tp)
	if err != nil {
		reply(partition.Result{Base: messages.NoOffset, Err: err})
		return
	}
	memory := slices.Clone(out.raw)
	h.Append(&partition.Append{
		Batches: []batch.Batch{memory}, Acks: acks, Timeout: 1500,
		Reply: &replier{n: n, out: out, acks: acks, memory: memory, reply: reply},
	})
}

// replier is told how an append ended. The request's memory is used for something
// else then.
type replier struct {
	n      *process
	out    *parcelOut
	acks   messages.Acks
	memory []byte
	reply  func(partition.Result)
	told   bool
}

// Appended implements partition.Replier.
func (r *replier) Appended(_ int, result partition.Result) {
	s := r.n.s
	if r.told {
		s.wrong("answered-twice", "node %d: batch %d of %v", r.n.m.id, r.out.number, r.out.tp)
		return
	}
	r.told = true
	spoil(r.memory)
	if result.Err != nil {
		s.count("produce: " + messages.KindOf(result.Err).String())
	} else if r.acks == messages.AcksAll {
		s.count("acknowledged")
		s.model.acked(r.n, r.out, result.Base)
	}
	if s.verbose {
		s.say("node %d answers batch %d: offset %d, %v", r.n.m.id, r.out.number, result.Base, result.Err)
	}
	r.reply(result)
}

// answered takes the end of a request.
func (p *producer) answered(l *line, out *parcelOut, err error, value any) {
	s := p.s
	out.flying = false
	l.flying--
	if l.ended {
		return
	}
	if result, ok := value.(produced); ok {
		err = result.Err
		if err == nil && p.acks == messages.AcksAll {
			s.notes.acknowledged(out, result.Base)
		}
	}
	switch {
	case err == nil:
		out.done = true
		s.lastAck[l.tp] = s.now
	case messages.KindOf(err) == messages.OutOfOrderSequence && p.outOfOrder(l, out, err):
		return
	case value != nil && !retriable(err) && messages.KindOf(err) != messages.OutOfOrderSequence:
		s.wrong("refused", "batch %d of %v: %v", out.number, l.tp, err)
		return
	case l.plain && s.rnd.client.IntN(4) == 0:
		out.done = true // whoever sends it may give up
		s.count("batch given up")
	default:
		l.failed = true
		p.forget(l.tp)
	}
	for len(l.queue) > 0 && l.queue[0].done {
		l.queue = l.queue[1:]
	}
	if !l.failed {
		p.pump(l)
		return
	}
	if l.flying == 0 && !l.waiting {
		l.waiting = true
		s.after(10*millisecond+s.rnd.client.Int64N(100*millisecond), func() {
			l.waiting = false
			p.pump(l)
		})
	}
}

// outOfOrder takes a refusal of a sequence. That of a batch is in order when one
// before it is to be sent again; otherwise the partition has forgotten what it had
// acknowledged. It reports whether there is nothing more to be done.
func (p *producer) outOfOrder(l *line, out *parcelOut, err error) bool {
	if l.queue[0] != out {
		return false
	}
	b := p.s.model.books[l.tp]
	if out.order == 1 {
		// It is the first for the partition, and a later batch has come first to a
		// partition that did not know it: KIP-360 has it begin with any sequence.
		p.s.count("producer unknown, and its batches overtaken")
		l.queue, l.ended = nil, true
		return true
	}
	if b.deleted(out.number) {
		p.s.count("batch sent again after it was deleted")
		l.queue, l.ended = nil, true
		return true
	}
	if b.forgotten[out.producer] {
		// What it had written was deleted, and the next leader knew it by one batch
		// that was sent again.
		p.s.count("batch behind one that was sent again after it was deleted")
		l.queue, l.ended = nil, true
		return true
	}
	if !b.lossy && p.acks == messages.AcksAll {
		p.s.wrong("forgot-producer", "batch %d of %v, before which all were acknowledged: %v", out.number, l.tp, err)
	}
	return false
}
