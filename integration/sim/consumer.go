package sim

import (
	"bytes"
	"fmt"
	"math"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/log"
)

// consumer reads partitions from their start on, and compares what it gets.
type consumer struct {
	*client
	number int
	label  string
	places []*position
}

// position is how far a consumer has come in a partition.
type position struct {
	tp    messages.TopicPartition
	next  messages.Offset
	read  int64
	ended bool // it is not read on
}

func (s *Sim) newConsumer(number int) *consumer {
	c := &consumer{client: newClient(s), number: number, label: fmt.Sprint("consumer ", number)}
	for i, tp := range s.partitions {
		if i == number%len(s.partitions) || s.rnd.client.IntN(2) == 0 {
			c.follow(tp)
		}
	}
	return c
}

func (c *consumer) name() string { return c.label }

// follow has the consumer read a partition, from its start.
func (c *consumer) follow(tp messages.TopicPartition) { c.followFrom(tp, 0) }

func (c *consumer) followFrom(tp messages.TopicPartition, from messages.Offset) {
	at := &position{tp: tp, next: from}
	c.places = append(c.places, at)
	c.s.after(c.s.rnd.client.Int64N(second), func() { c.poll(at) })
}

// fetched is the answer to a fetch.
type fetched struct {
	err       error
	bytes     []byte
	start, hw messages.Offset
	suspect   bool // the disk it was read from
}

// poll fetches what follows.
func (c *consumer) poll(at *position) {
	s := c.s
	if at.ended {
		return
	}
	to := c.known(at.tp)
	if to.id == messages.NoBroker {
		c.refresh(at.tp, func() { c.poll(at) })
		return
	}
	from := at.next
	c.ask(to.id, s.cfg.requestTimeout, func(p *process, reply func(any)) {
		got := p.fetch(at.tp, from, to.epoch)
		got.suspect = p.m.disk.suspect()
		reply(got)
	}, func(err error, value any) {
		wait := s.cfg.pollPause/2 + s.rnd.client.Int64N(s.cfg.pollPause)
		got, ok := value.(fetched)
		if ok {
			err = got.err
		}
		if s.verbose {
			s.say("%s gets %d bytes of %v from %d, of node %d, epoch %d: %v", c.label, len(got.bytes), at.tp, from, to.id, to.epoch, err)
		}
		if err != nil {
			c.forget(at.tp)
		}
		if ok && !at.ended {
			c.take(at, got)
		}
		if len(got.bytes) > 0 {
			wait = 5 * millisecond
		}
		s.after(wait, func() { c.poll(at) })
	})
}

// maxFetch is how many bytes a fetch brings at most, but for the first batch.
const maxFetch = 32 << 10

// fetch is what a node answers a consumer, by the rules of the kafka package.
func (p *process) fetch(tp messages.TopicPartition, from messages.Offset, epoch messages.LeaderEpoch) fetched {
	h, err := p.serves(tp)
	if err != nil {
		return fetched{err: err}
	}
	v := h.View()
	switch {
	case v == nil:
		return fetched{err: errElsewhere}
	case v.Err != nil:
		return fetched{err: v.Err}
	case epoch < v.Epoch:
		return fetched{err: messages.E("fetch", messages.FencedLeaderEpoch, tp.String(), nil)}
	case epoch > v.Epoch:
		return fetched{err: messages.E("fetch", messages.UnknownLeaderEpoch, tp.String(), nil)}
	case from < v.Log.LogStart || from > v.Log.End:
		return fetched{err: messages.E("fetch", messages.OffsetOutOfRange, tp.String(), nil), start: v.Log.LogStart, hw: v.Log.End}
	case from >= v.Log.HighWatermark:
		return fetched{start: v.Log.LogStart, hw: v.Log.HighWatermark}
	}
	got := fetched{start: v.Log.LogStart, hw: v.Log.HighWatermark}
	for len(got.bytes) < maxFetch && from < v.Log.HighWatermark && got.err == nil { // a slice is of one segment
		var slice *log.Slice
		slice, got.err = v.Log.Read(from, maxFetch-len(got.bytes), len(got.bytes) == 0)
		if got.err != nil || slice == nil {
			break
		}
		at := len(got.bytes)
		got.bytes, got.err = slice.Bytes(got.bytes)
		slice.Release()
		from = endOf(got.bytes[at:], from)
	}
	return got
}

// endOf is where the whole batches among bytes end; past everything if there are none.
func endOf(raw []byte, from messages.Offset) messages.Offset {
	end := messages.Offset(math.MaxInt64)
	for len(raw) > 0 {
		one, rest, err := batch.Next(raw)
		if err != nil {
			return math.MaxInt64 // cut off: nothing may follow
		}
		end, raw = max(one.NextOffset(), from), rest
	}
	return end
}

// take compares what has come with what was committed.
func (c *consumer) take(at *position, got fetched) {
	s := c.s
	b := s.model.books[at.tp]
	if got.err != nil {
		c.refused(b, at, got)
		return
	}
	rest := got.bytes
	for len(rest) > 0 {
		one, after, err := batch.Next(rest)
		if err != nil {
			break // cut off
		}
		rest = after
		if one.NextOffset() <= at.next {
			continue
		}
		if err := one.CheckCRC(); err != nil {
			s.wrong("corrupt-read", "%s: %v at %d: %v", c.label, at.tp, one.BaseOffset(), err)
			return
		}
		if one.BaseOffset() > at.next && !b.lossy && one.BaseOffset() > b.start && !b.mayBeGone(at.next, one.BaseOffset()) {
			s.wrong("int-poll-skip", "%s: %v at %d, after %d", c.label, at.tp, one.BaseOffset(), at.next)
			return
		}
		if !c.compare(b, at, one, got.suspect) {
			return
		}
		s.notes.read(c.name(), at.tp, one, at.next)
		at.next = one.NextOffset()
		at.read++
		s.count("consumed")
	}
}

// compare compares a batch that has come, from a disk that is suspect or not.
func (c *consumer) compare(b *book, at *position, one batch.Batch, suspect bool) bool {
	s := c.s
	if b.lossy {
		return true
	}
	rec, found := b.at(one.BaseOffset())
	number := numberOf(one)
	switch {
	case !found && one.BaseOffset() >= b.end() && suspect:
		s.count("read before the model could") // who commits it has something before that cannot be read
		b.early = append(b.early, record{number: number, base: one.BaseOffset(), next: one.NextOffset(), epoch: one.LeaderEpoch()})
		return true
	case !found:
		s.wrong("read-uncommitted", "%s: %v at %d is batch %d, and nothing is committed there", c.label, at.tp, one.BaseOffset(), number)
	case b.past != nil:
		why := b.differs(one)
		if why != "" {
			s.wrong("inconsistent-offsets", "%s: %v: %s", c.label, at.tp, why)
		}
		return why == ""
	case rec.number != number:
		s.wrong("inconsistent-offsets", "%s: %v at %d is batch %d, and %v was committed", c.label, at.tp, one.BaseOffset(), number, rec)
	case s.model.sent[number].crc == one.CRC() && !bytes.Equal(one[batch.HeaderSize:], s.model.sent[number].raw[batch.HeaderSize:]):
		s.wrong("corrupt-read", "%s: %v at %d: other bytes than were sent", c.label, at.tp, one.BaseOffset())
	default:
		return true
	}
	return false
}

// refused takes an error. Of an offset that is out of range there must be nothing
// any more.
func (c *consumer) refused(b *book, at *position, got fetched) {
	s := c.s
	s.count("fetch: " + messages.KindOf(got.err).String())
	switch {
	case messages.KindOf(got.err) != messages.OffsetOutOfRange:
		if !retriable(got.err) {
			s.wrong("refused", "%s: %v at %d: %v", c.label, at.tp, at.next, got.err)
		}
	case at.next < got.start || b.lossy:
		at.next = got.start
		s.notes.moved(c, at.tp)
	default:
		s.wrong("lost-write", "%s: %v at %d is out of range %d to %d", c.label, at.tp, at.next, got.start, got.hw)
	}
}
