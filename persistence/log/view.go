package log

import (
	"errors"
	"fmt"
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
// begun; whoever begins after that is told that the offset is out of range. When the log
// is closed, that the replica is not available: the next one has the records.
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

// edge is up to where a segment may be read: the batches before a position. They have
// all of its offsets before another.
type edge struct {
	pos    int64
	offset messages.Offset
}

// lacks says that the segment has no batch with an offset, if it should.
func (e edge) lacks(offset messages.Offset) error {
	if offset >= e.offset {
		return nil
	}
	return &segment.Damage{Position: e.pos, Reason: fmt.Sprintf("no batch before it has offset %d", offset)}
}

// within pins segment i, or the one that compaction has put in its place, and
// calls do with its indexes and its edge. It stays pinned if do says so.
func (v *View) within(i int, do func(s *segment.Segment, f vfs.File, x segment.Index, to edge) (keep bool, err error)) error {
	for {
		s := v.segs[i].Current()
		err := v.pinned(s, i, do)
		if !errors.Is(err, segment.ErrGone) || s.Current() == s {
			return err
		}
	}
}

func (v *View) pinned(s *segment.Segment, i int, do func(*segment.Segment, vfs.File, segment.Index, edge) (bool, error)) error {
	f, err := s.Pin()
	if err != nil {
		return err
	}
	keep := false
	x, to, err := v.bounds(s, f, i)
	if err == nil {
		keep, err = do(s, f, x, to)
	}
	if !keep {
		s.Unpin()
	}
	return err
}

// bounds are the indexes and the edge of s, in the place of segment i.
func (v *View) bounds(s *segment.Segment, f vfs.File, i int) (segment.Index, edge, error) {
	next := v.HighWatermark
	if i+1 < len(v.segs) {
		next = v.segs[i+1].Base()
	}
	switch limit := v.limit.Load(); {
	case s != v.segs[i]:
		x := s.Peek()
		to, err := v.findEdge(s, f, x)
		to.offset = min(to.offset, next)
		return x, to, err
	case i+1 < len(v.segs):
		return s.Peek(), edge{s.Size(), next}, nil
	case limit >= 0:
		return v.tail, edge{limit, next}, nil
	}
	to, err := v.findEdge(s, f, v.tail)
	if err == nil && to.offset == next {
		v.limit.Store(to.pos)
	}
	return v.tail, to, err
}

// findEdge looks for the high watermark in a segment. A batch in the midst of which it
// lies can only be a gap that compaction has made longer, and is not read; or else it
// is damaged.
func (v *View) findEdge(s *segment.Segment, f vfs.File, x segment.Index) (edge, error) {
	p, err := s.Find(f, x, v.HighWatermark, s.Size())
	if err == nil && p.Base < v.HighWatermark {
		_, err = s.Verify(f, p, p.End, p.End, v.epochOf)
	}
	return edge{p.Position, p.Base}, err
}

// Read gives a range of bytes that begins with the first batch that has records
// at or after an offset, and goes on to the high watermark or for maxBytes, or
// less. The last batch may be cut off; the first is whole with wholeFirst, be it
// larger than maxBytes. Batches without records are left out: clients exist that
// stumble over them. The slice is nil when there is nothing to read.
//
// The error is of kind OffsetOutOfRange outside of LogStart to HighWatermark, and
// CorruptMessage, naming file and position, if the batch is damaged: every byte
// is checked once per process before it is first given out.
func (v *View) Read(from messages.Offset, maxBytes int, wholeFirst bool) (*Slice, error) {
	return v.read(from, reading{max: maxBytes, whole: wholeFirst})
}

// ReadAll is Read for who copies the log: batches without records are there too,
// so that the first batch has the offset. The first is whole.
func (v *View) ReadAll(from messages.Offset, maxBytes int) (*Slice, error) {
	return v.read(from, reading{max: maxBytes, whole: true, hollow: true})
}

// reading is what is wanted of a read.
type reading struct {
	max    int  // bytes
	whole  bool // the first batch is not cut off
	hollow bool // batches without records are wanted too
}

func (v *View) read(from messages.Offset, want reading) (*Slice, error) {
	if from < v.LogStart || from > v.HighWatermark {
		return nil, v.outOfRange("read", from)
	}
	if want.max <= 0 && !want.whole || from == v.HighWatermark {
		return nil, nil
	}
	for i := max(segmentAt(v.segs, from), 0); i < len(v.segs); i++ {
		slice, err := v.readFrom(i, from, want)
		if slice != nil {
			slice.more = slice.more || i+1 < len(v.segs)
		}
		if slice != nil || err != nil {
			return slice, v.explain("read", i, from, err)
		}
	}
	return nil, nil
}

// epochOf is the leader epoch of the record at an offset.
func (v *View) epochOf(offset messages.Offset) messages.LeaderEpoch { return epochOf(v.epochs, offset) }

func (v *View) outOfRange(op string, offset messages.Offset) error {
	return messages.E(op, messages.OffsetOutOfRange, v.o.TP.String(),
		fmt.Errorf("offset %d is outside of %d to %d", offset, v.LogStart, v.HighWatermark))
}

// explain makes an error of what happened in segment i.
func (v *View) explain(op string, i int, offset messages.Offset, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, segment.ErrGone) && v.segs[i].Current().Deleted():
		return v.outOfRange(op, offset)
	case errors.Is(err, segment.ErrGone): // a client that hears of no such offset goes on elsewhere
		return messages.E(op, messages.ReplicaNotAvailable, v.o.TP.String(), errClosed)
	}
	return segment.Explain(op, v.segs[i].Path(), err)
}

// Bounds of what is looked at and given out at a time of a log with batches that
// have no records, in bytes. It is put together in memory.
const (
	hollowAhead = 64 << 10
	hollowMost  = 1 << 20
)

// readFrom reads from segment i; the slice is nil if it has nothing at or after from.
func (v *View) readFrom(i int, from messages.Offset, want reading) (slice *Slice, err error) {
	err = v.within(i, func(s *segment.Segment, f vfs.File, x segment.Index, to edge) (bool, error) {
		slice = spareSlices.Get().(*Slice)
		found, err := v.choose(slice, s, f, x, from, to, want)
		if !found || err != nil {
			slice.free()
			slice = nil
			return false, err
		}
		slice.seg, slice.file = s, f
		return true, nil
	})
	return slice, err
}

// choose finds the ranges of a segment that are to be given out, and reports
// whether there are any.
func (v *View) choose(slice *Slice, s *segment.Segment, f vfs.File, x segment.Index, from messages.Offset, to edge, want reading) (bool, error) {
	for {
		first, err := s.Find(f, x, from, to.pos)
		if err != nil {
			return false, err
		}
		if first.Position == first.End {
			return false, to.lacks(max(from, s.Base()))
		}
		most := want.max
		if !want.hollow && s.Hollow() {
			most = max(most, hollowAhead)
		}
		end, err := v.verified(s, f, x, first, most, to.pos)
		if err != nil {
			return false, err
		}
		if want.hollow || !s.Hollow() {
			slice.add(segment.Span{From: first.Position, To: end})
			slice.whole = true
			if !want.whole {
				slice.cut(want.max)
				slice.whole = first.Position+int64(slice.Len()) >= first.End
			}
			slice.more = first.Position+int64(slice.Len()) < to.pos
			return true, nil
		}
		if from, err = slice.addFilled(f, first.Position, end, want); slice.Len() > 0 || err != nil {
			slice.more = from < to.offset
			return true, err
		}
	}
}

// verified tells where the range that begins with a batch ends: at the boundary of
// a batch, as far as the index knows them. The range was checked.
func (v *View) verified(s *segment.Segment, f vfs.File, x segment.Index, first segment.Place, maxBytes int, limit int64) (end int64, err error) {
	end = max(first.Position+int64(maxBytes), first.End)
	if end >= limit {
		end = limit
	} else if at, err := s.Boundary(x, end); err != nil {
		return 0, err
	} else if at >= first.End {
		end = at
	}
	return s.Verify(f, first, end, limit, v.epochOf)
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
		newest, err := v.max(i)
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

// max is the largest timestamp in segment i, or more.
func (v *View) max(i int) (segment.Stamp, error) {
	for {
		s := v.segs[i].Current()
		newest, err := s.Max()
		if !errors.Is(err, segment.ErrGone) || s.Current() == s {
			return newest, err
		}
	}
}

// timeIn searches segment i.
func (v *View) timeIn(i int, ts int64) (r record, err error) {
	r = noRecord
	err = v.within(i, func(s *segment.Segment, f vfs.File, x segment.Index, to edge) (bool, error) {
		for from := v.LogStart; r == noRecord; {
			p, err := s.FindTime(f, x, ts, from, to.pos)
			if err != nil || p.Position == p.End {
				return false, err
			}
			b, err := s.Read(f, p)
			if err != nil {
				return false, err
			}
			r = v.search(b, from, func(t int64) bool { return t >= ts })
			from = batch.Batch(b).NextOffset() // its max timestamp was another record's
		}
		return false, nil
	})
	return r, err
}

// search finds the first record at or after an offset whose timestamp is wanted.
// A batch that cannot be unpacked within bounds is taken as one record: then the
// offset is before the one wanted and not after.
func (v *View) search(raw []byte, from messages.Offset, wanted func(int64) bool) record {
	b := batch.Batch(raw)
	if b.IsEmpty() {
		return noRecord
	}
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
func (v *View) newest(i int) (newest segment.Stamp, err error) {
	if s := v.segs[i]; 0 < i && i+1 < len(v.segs) && s.Current() == s {
		return v.max(i) // all of it may be read
	}
	err = v.within(i, func(s *segment.Segment, f vfs.File, x segment.Index, to edge) (bool, error) {
		newest, err = s.MaxBetween(f, x, v.LogStart, to.pos)
		return false, err
	})
	return newest, err
}
