package log

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/codec"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// View is the log as readers see it: immutable, and valid for as long as anyone
// keeps it. Segments that are deleted later are read to the end by those who have
// begun; whoever begins after that is told that the offset is out of range.
type View struct {
	LogStart      messages.Offset // the first offset that may be read
	HighWatermark messages.Offset // the first that may not
	End           messages.Offset // of the log

	o      *Options
	epochs []replica.EpochStart
	segs   []*segment.Segment // up to the one that the high watermark lies in
	tail   segment.Index      // of the last of them
	limit  atomic.Int64       // position of the high watermark in it; negative: not looked up yet
}

// Publish makes a view with a high watermark. The position of that is known if it
// is the log's end or one of the last batches'; otherwise the first reader looks
// it up.
func (l *Log) Publish(hw messages.Offset) *View {
	hw = min(max(hw, l.start), l.end)
	if v := l.view; v != nil && v.HighWatermark == hw && v.End == l.end && v.LogStart == l.start {
		return v
	}
	v := &View{LogStart: l.start, HighWatermark: hw, End: l.end, o: &l.o, epochs: l.epochs}
	l.view = v
	if hw == l.start {
		return v // there is nothing to read
	}
	n := segmentAt(l.segs, hw) + 1
	if l.segs[n-1].Base() == hw {
		n-- // all that may be read lies before
	}
	v.segs = l.segs[:n:n]
	last := v.segs[n-1]
	v.tail = last.Peek()
	switch pos, found := l.recent.find(last, hw); {
	case n < len(l.segs) && l.segs[n].Base() == hw:
		v.limit.Store(last.Size())
	case hw == l.end:
		v.limit.Store(l.endPos)
	case found:
		v.limit.Store(pos)
	default:
		v.limit.Store(-1)
	}
	return v
}

// bounds are the indexes of the view's segment i, and the position that it may be
// read up to.
func (v *View) bounds(i int) (segment.Index, int64, error) {
	s := v.segs[i]
	if i+1 < len(v.segs) {
		return s.Peek(), s.Size(), nil
	}
	if limit := v.limit.Load(); limit >= 0 {
		return v.tail, limit, nil
	}
	f, err := s.Pin()
	if err != nil {
		return v.tail, 0, err
	}
	defer s.Unpin()
	p, err := s.Find(f, v.tail, v.HighWatermark, s.Size())
	if err == nil {
		v.limit.Store(p.Position)
	}
	return v.tail, p.Position, err
}

// Read gives a range of bytes that begins with the batch that has an offset, and
// goes on to the high watermark or for maxBytes, or less. The last batch may be
// cut off; the first is whole with wholeFirst, be it larger than maxBytes. The
// slice is nil when there is nothing to read.
//
// The error is of kind OffsetOutOfRange outside of LogStart to HighWatermark, and
// CorruptMessage, naming file and position, if the batch is damaged: every byte
// is checked once per process before it is first given out.
func (v *View) Read(from messages.Offset, maxBytes int, wholeFirst bool) (*Slice, error) {
	if from < v.LogStart || from > v.HighWatermark {
		return nil, v.outOfRange("read", from)
	}
	if maxBytes <= 0 && !wholeFirst || from == v.HighWatermark {
		return nil, nil
	}
	for i := max(segmentAt(v.segs, from), 0); i < len(v.segs); i++ {
		slice, err := v.readFrom(i, from, maxBytes, wholeFirst)
		if slice != nil || err != nil {
			return slice, v.explain("read", i, from, err)
		}
	}
	return nil, nil
}

// epochOf is the leader epoch of the record at an offset.
func (v *View) epochOf(offset messages.Offset) messages.LeaderEpoch {
	for _, e := range slices.Backward(v.epochs) {
		if e.Start <= offset {
			return e.Epoch
		}
	}
	return messages.NoEpoch
}

func (v *View) outOfRange(op string, offset messages.Offset) error {
	return messages.E(op, messages.OffsetOutOfRange, v.o.TP.String(),
		fmt.Errorf("offset %d is outside of %d to %d", offset, v.LogStart, v.HighWatermark))
}

// explain makes an error of what happened in segment i.
func (v *View) explain(op string, i int, offset messages.Offset, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, segment.ErrGone):
		return v.outOfRange(op, offset)
	}
	return segment.Explain(op, v.segs[i].Path(), err)
}

// readFrom reads from segment i; the slice is nil if it has nothing at or after from.
func (v *View) readFrom(i int, from messages.Offset, maxBytes int, wholeFirst bool) (*Slice, error) {
	s := v.segs[i]
	f, err := s.Pin()
	if err != nil {
		return nil, err
	}
	first, end, err := v.verified(s, f, i, from, maxBytes)
	if err != nil || first.Position == first.End {
		s.Unpin()
		return nil, err
	}
	if !wholeFirst {
		end = min(end, first.Position+int64(maxBytes))
	}
	slice := spareSlices.Get().(*Slice)
	*slice = Slice{seg: s, file: f, pos: first.Position, end: end, whole: end >= first.End}
	return slice, nil
}

// verified finds the first batch, and where the range that begins with it ends: at
// the boundary of a batch, as far as the index knows them. The range was checked.
func (v *View) verified(s *segment.Segment, f vfs.File, i int, from messages.Offset, maxBytes int) (first segment.Place, end int64, err error) {
	x, limit, err := v.bounds(i)
	if err != nil {
		return first, 0, err
	}
	first, err = s.Find(f, x, from, limit)
	if err != nil || first.Position == first.End {
		return first, 0, err
	}
	end = max(first.Position+int64(maxBytes), first.End)
	if end >= limit {
		end = limit
	} else if at, err := s.Boundary(x, end); err != nil {
		return first, 0, err
	} else if at >= first.End {
		end = at
	}
	end, err = s.Verify(f, first, end, limit, v.epochOf)
	return first, end, err
}

// record is what a search by time finds.
type record struct {
	offset    messages.Offset
	timestamp int64
	epoch     messages.LeaderEpoch
}

var noRecord = record{messages.NoOffset, messages.NoTimestamp, messages.NoEpoch}

// OffsetForTime finds the first record whose timestamp is at least ts (ms). All
// results are -1 if there is none.
func (v *View) OffsetForTime(ts int64) (offset messages.Offset, timestamp int64, epoch messages.LeaderEpoch, err error) {
	r := noRecord
	for i := range v.segs {
		newest, err := v.segs[i].Max()
		if err == nil && newest.Timestamp >= ts {
			r, err = v.timeIn(i, ts)
		}
		if err != nil {
			return messages.NoOffset, messages.NoTimestamp, messages.NoEpoch, v.explain("search by time", i, v.LogStart, err)
		}
		if r != noRecord {
			break
		}
	}
	return r.offset, r.timestamp, r.epoch, nil
}

// timeIn searches segment i.
func (v *View) timeIn(i int, ts int64) (record, error) {
	s := v.segs[i]
	f, err := s.Pin()
	if err != nil {
		return noRecord, err
	}
	defer s.Unpin()
	x, limit, err := v.bounds(i)
	if err != nil {
		return noRecord, err
	}
	for from := v.LogStart; ; {
		p, err := s.FindTime(f, x, ts, from, limit)
		if err != nil || p.Position == p.End {
			return noRecord, err
		}
		b, err := s.Read(f, p)
		if err != nil {
			return noRecord, err
		}
		if r := v.search(b, from, func(t int64) bool { return t >= ts }); r != noRecord {
			return r, nil
		}
		from = batch.Batch(b).NextOffset() // its max timestamp was another record's
	}
}

// search finds the first record at or after an offset whose timestamp is wanted.
// A batch that cannot be unpacked within bounds is taken as one record: then the
// offset is before the one wanted and not after.
func (v *View) search(raw []byte, from messages.Offset, wanted func(int64) bool) record {
	b := batch.Batch(raw)
	whole := record{max(b.BaseOffset(), from), b.MaxTimestamp(), b.LeaderEpoch()}
	if b.TimestampType() == batch.LogAppendTime {
		if wanted(b.MaxTimestamp()) {
			return whole
		}
		return noRecord
	}
	for r, err := range codec.Records(b, v.o.MaxUnpacked) {
		if err != nil {
			return whole
		}
		offset := b.BaseOffset() + int64(r.OffsetDelta)
		if t := r.Timestamp(b); offset >= from && wanted(t) {
			return record{offset, t, b.LeaderEpoch()}
		}
	}
	return noRecord
}

// MaxTimestamp finds the first of the records with the largest timestamp. All
// results are -1 if there are no records.
func (v *View) MaxTimestamp() (offset messages.Offset, timestamp int64, epoch messages.LeaderEpoch, err error) {
	best := segment.Stamp{Timestamp: messages.NoTimestamp, Offset: messages.NoOffset}
	in := -1
	for i := range v.segs {
		newest, err := v.newest(i)
		if err != nil {
			return messages.NoOffset, messages.NoTimestamp, messages.NoEpoch, v.explain("search by time", i, v.LogStart, err)
		}
		if newest.Timestamp > best.Timestamp {
			best, in = newest, i
		}
	}
	if in < 0 {
		return messages.NoOffset, messages.NoTimestamp, messages.NoEpoch, nil
	}
	return v.OffsetForTime(best.Timestamp)
}

// newest is the largest timestamp in what may be read of segment i.
func (v *View) newest(i int) (segment.Stamp, error) {
	s := v.segs[i]
	if 0 < i && i+1 < len(v.segs) {
		return s.Max() // all of it may be read
	}
	f, err := s.Pin()
	if err != nil {
		return segment.Stamp{}, err
	}
	defer s.Unpin()
	x, limit, err := v.bounds(i)
	if err != nil {
		return segment.Stamp{}, err
	}
	return s.MaxBetween(f, x, v.LogStart, limit)
}
