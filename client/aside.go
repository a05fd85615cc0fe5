package client

import (
	"context"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"github.com/twmb/franz-go/pkg/kgo"
)

// An actor that blocks, or is slow, while its records keep coming would take up all
// the room of its subscription, and hold up everybody. When room runs out, what such
// actors have waiting is put aside: the front keeps the offsets, nothing keeps the
// records, and those that come later for the same actor join them, so that the order
// is kept. When the actor has worked off what it has, they are read once more, by a
// client of the partition's own.
//
//	           room runs out, and the queue is long for its pace
//	queued ───────────────────────────────────────────────────────▶ aside
//	  ▲                                                               │
//	  └───────────────────────────────────────────────────────────────┘
//	           the queue is short, and the record was read again

const (
	// pressEvery is the least time between two looks for slow actors.
	pressEvery = 100 * time.Millisecond
	// lookFor is for how long it is looked at how fast an actor is: a machine that is
	// busy with others makes all slow for a moment.
	lookFor = 500 * time.Millisecond
	// maxAgain is how many records that were read again wait in a queue.
	maxAgain = 8 * maxSent
	// readingBytes bounds what a reading fetches at once.
	readingBytes = 1 << 20
)

// Messages of the actor of a partition about what was put aside.
type (
	press struct{ now time.Time } // there is too little room
	// reread is what a reading has come to.
	reread struct {
		by        *reading
		records   []*kgo.Record
		watermark int64
	}
)

// reading reads a partition once more, from some offset on, while it is asked to.
type reading struct {
	flow *flow
	cl   *kgo.Client
	ctx  context.Context
	end  context.CancelFunc
	more chan struct{} // asks for one poll; its buffer holds one

	// Of the partition's actor:
	next int64 // everything before has come
	busy bool  // it has been asked for more
}

// readingOptions are what the client of a reading is made with, but for where it
// begins.
func (o SubscriptionOptions) readingOptions() []kgo.Opt {
	opts := []kgo.Opt{kgo.SeedBrokers(o.Brokers...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}
	return append(append(opts, o.Client...), kgo.FetchMaxBytes(readingBytes), kgo.FetchMaxPartitionBytes(readingBytes))
}

// press puts aside what slow actors have waiting.
func (f *flow) press(now time.Time) {
	if f.released != nil {
		return
	}
	for _, l := range f.lanes {
		if len(l.queue) > maxSent && l.slow(now) {
			tail := l.queue[maxSent:]
			l.queue = append([]*item(nil), l.queue[:maxSent]...)
			l.got -= len(tail)
			f.putAside(l, tail...)
		}
	}
	f.pauseOrResume()
}

// putAside forgets records of a lane, but for their offsets. None has been sent to an
// actor: those that came back from one are at the head of the queue.
func (f *flow) putAside(l *lane, items ...*item) {
	a, first := &l.aside, items[0].offset
	if a.n == 0 {
		a.mark = &item{flow: f, lane: l, stands: true}
		a.from, a.missed = first, nil
		f.aside[l] = true
		f.s.told(SetAside{f.s.o.Group, f.topic, f.partition, l.name, first})
	}
	if a.from = min(a.from, first); f.reading != nil && a.from < f.reading.next {
		a.missed = f.reading
	}
	a.n += len(items)
	f.s.aside.Add(int64(len(items)))
	f.mu.Lock()
	for _, it := range items {
		f.front.putAside(it, a.mark)
	}
	f.mu.Unlock()
	for _, it := range items {
		it.free()
	}
}

// noLonger takes note that a record is not aside any more.
func (f *flow) noLonger(l *lane) {
	f.s.aside.Add(-1)
	if l.aside.n--; l.aside.n == 0 {
		delete(f.aside, l)
	}
}

// forgetAside ends all reading: the partition is taken away.
func (f *flow) forgetAside() {
	f.endReading()
	for l := range f.aside {
		f.s.aside.Add(-int64(l.aside.n))
		l.aside.n = 0
	}
	clear(f.aside)
}

// pauseOrResume pauses the partition when nothing good comes of polling it: as much is
// aside as may be, or all that comes would be.
func (f *flow) pauseOrResume() {
	here := map[string][]int32{f.topic: {f.partition}}
	switch have, most := f.s.aside.Load(), int64(f.s.o.MaxAside); {
	case f.released != nil:
	case !f.paused && len(f.aside) > 0 && (!f.mixed || have >= most):
		f.paused = true
		f.s.cl.PauseFetchPartitions(here)
	case f.paused && (len(f.aside) == 0 || f.mixed && have < most-most/4):
		f.paused = false
		f.s.cl.ResumeFetchPartitions(here)
	}
}

// readAgain sees to it that lanes get what was put aside, if they have room.
func (f *flow) readAgain() {
	from := int64(-1)
	for l := range f.aside {
		if len(l.queue) <= maxSent/2 && (from < 0 || l.aside.from < from) {
			from = l.aside.from
		}
	}
	if from < 0 || f.released != nil || !f.s.room.extra() {
		return
	}
	if f.reading != nil && f.reading.next > from {
		f.endReading()
	}
	if f.reading == nil {
		f.beginReading(from)
	}
	f.reading.ask()
}

// beginReading begins to read from an offset on.
func (f *flow) beginReading(from int64) {
	r := &reading{flow: f, more: make(chan struct{}, 1), next: from}
	r.ctx, r.end = context.WithCancel(f.ctx)
	var err error
	if r.cl, err = kgo.NewClient(append(f.s.o.readingOptions(),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{f.topic: {f.partition: kgo.NewOffset().At(from)}}))...); err != nil {
		panic(err) // the options have been checked
	}
	for l := range f.aside {
		if l.aside.from < from {
			l.aside.missed = r
		}
	}
	f.reading = r
	go r.run()
}

func (f *flow) endReading() {
	if f.reading != nil {
		f.reading.end()
		f.reading = nil
	}
}

// ask has it read on.
func (r *reading) ask() {
	if !r.busy {
		r.busy = true
		r.more <- struct{}{}
	}
}

// run polls when it is asked to.
func (r *reading) run() {
	defer r.cl.Close()
	for {
		select {
		case <-r.more:
		case <-r.ctx.Done():
			return
		}
		m := reread{by: r}
		for len(m.records) == 0 {
			fetches := r.cl.PollRecords(r.ctx, maxAgain)
			if r.ctx.Err() != nil {
				return
			}
			fetches.EachError(func(topic string, partition int32, err error) {
				r.flow.s.o.Log.Warn().Err(err).Str("topic", topic).Int32("partition", partition).Msg("reading again what was put aside; it is tried again")
			})
			fetches.EachPartition(func(p kgo.FetchTopicPartition) {
				m.records, m.watermark = append(m.records, p.Records...), p.HighWatermark
			})
		}
		r.flow.tell(m)
	}
}

// takeBack gives lanes what was put aside and has been read again.
func (f *flow) takeBack(ctx actor.Context, m reread) {
	r := m.by
	if r != f.reading {
		return
	}
	r.busy = false
	got := map[*lane]bool{}
	f.mu.Lock()
	f.watermark = max(f.watermark, m.watermark)
	for _, record := range m.records {
		for _, l := range f.front.lost(r.next, record.Offset) {
			f.noLonger(l)
			got[l] = true
		}
		r.next = record.Offset + 1
		if l := f.takeBackOne(r, record); l != nil {
			got[l] = true
		}
	}
	f.mu.Unlock()
	for l := range f.aside {
		if l.aside.missed != r {
			l.aside.from = max(l.aside.from, r.next)
		}
	}
	for l := range got {
		f.feed(ctx, l)
	}
	if len(f.aside) == 0 {
		f.endReading()
	} else {
		f.readAgain()
	}
	f.pauseOrResume()
}

// takeBackOne gives a record to its lane, and gives that, if it was put aside and there
// is room. The lock is held.
func (f *flow) takeBackOne(r *reading, record *kgo.Record) *lane {
	e := f.front.takeBack(record.Offset)
	if e == nil {
		return nil
	}
	l := e.item.lane
	if l.aside.missed == r {
		return nil
	}
	if len(l.queue) >= maxAgain || !f.s.room.extra() {
		l.aside.missed, l.aside.from = r, record.Offset
		return nil
	}
	it := newItem(f, record)
	e.item = it
	l.add(it)
	f.s.room.take(1, it.size)
	l.aside.from = record.Offset + 1
	f.noLonger(l)
	return l
}
