package segment

import (
	"fmt"

	"understudy/messages"
	"understudy/persistence/vfs"
)

// Place is where a batch lies in a segment.
type Place struct {
	Position, End int64           // bytes; equal if there is no such batch
	Base          messages.Offset // first offset
}

// Find looks for the batch that has an offset, or the first if the offset lies
// before the segment, among those before a position limit, which must be a
// boundary of batches. f is what Pin gave. The error is a *Damage if the log is
// not readable there.
func (s *Segment) Find(f vfs.File, x Index, offset messages.Offset, limit int64) (Place, error) {
	if x.entries < 0 {
		var err error
		if x, err = s.Index(); err != nil {
			return Place{}, err
		}
	}
	offset = max(offset, s.base)
	e, found, err := s.lastEntry(x, func(e Entry) bool { return s.base+int64(e.Offset) <= offset })
	if err != nil {
		return Place{}, err
	}
	if found {
		p, right, err := s.findFrom(f, e, true, offset, limit)
		if right && err == nil {
			return p, nil
		}
		// The entry led astray, or the log is damaged.
		if err := s.Repair(); err != nil {
			return Place{}, err
		}
	}
	p, _, err := s.findFrom(f, Entry{}, false, offset, limit)
	return p, err
}

// findFrom walks from an index entry on, or from the start. Offsets must follow
// each other: base offsets lie outside of the checksum. right tells that the entry
// named the batch that is there.
func (s *Segment) findFrom(f vfs.File, e Entry, found bool, offset messages.Offset, limit int64) (p Place, right bool, err error) {
	w := smallScanners.Get().(*Scanner)
	defer smallScanners.Put(w)
	w.reset(f, int64(e.Position), limit)
	next, first := s.base, true
	for ; w.Next(); first = false {
		h := w.Header()
		switch {
		case first && found && h.LastOffset() != s.base+int64(e.Offset):
			return Place{}, false, nil
		case !(first && found) && h.BaseOffset() != next:
			w.Fail("base offset is %d and should be %d", h.BaseOffset(), next)
			return Place{}, !first, w.Err()
		case h.LastOffset() >= offset:
			return Place{w.Position(), w.End(), h.BaseOffset()}, true, nil
		}
		next = h.NextOffset()
	}
	return Place{limit, limit, offset}, !first || !found, w.Err()
}

// Boundary is the largest position at or before limit where the index knows that
// a batch begins.
func (s *Segment) Boundary(x Index, limit int64) (int64, error) {
	if x.entries < 0 {
		var err error
		if x, err = s.Index(); err != nil {
			return 0, err
		}
	}
	e, _, err := s.lastEntry(x, func(e Entry) bool { return int64(e.Position) <= limit })
	return int64(e.Position), err
}

// FindTime looks for the first batch at or after an offset that has a timestamp
// (ms) of at least ts, before a position limit. It tells by an empty Place that
// there is none.
func (s *Segment) FindTime(f vfs.File, x Index, ts int64, from messages.Offset, limit int64) (Place, error) {
	if x.entries < 0 {
		var err error
		if x, err = s.Index(); err != nil {
			return Place{}, err
		}
	}
	begin, err := s.beforeTime(f, x, ts, from, limit)
	if err != nil {
		return Place{}, err
	}
	w := smallScanners.Get().(*Scanner)
	defer smallScanners.Put(w)
	for w.reset(f, begin, limit); w.Next(); {
		if h := w.Header(); newestOf(h) >= ts && h.LastOffset() >= from {
			return Place{w.Position(), w.End(), h.BaseOffset()}, nil
		}
	}
	return Place{limit, limit, from}, w.Err()
}

// beforeTime is a position before which no batch at or after from has so late a
// timestamp.
func (s *Segment) beforeTime(f vfs.File, x Index, ts int64, from messages.Offset, limit int64) (int64, error) {
	e, found, err := s.lastTimeEntry(x, func(e TimeEntry) bool { return e.Timestamp <= ts })
	if err != nil {
		return 0, err
	}
	offset := s.base + int64(e.Offset)
	p, err := s.Find(f, x, max(offset, from), limit)
	if err != nil || !found || offset <= from {
		return p.Position, err
	}
	if p.Position == limit {
		// The entry is of a batch behind the limit: all before it may be as late.
		p, err = s.Find(f, x, from, limit)
		return p.Position, err
	}
	if right, err := s.namesTime(f, e, p); err != nil || right {
		return p.Position, err
	}
	if err := s.Repair(); err != nil {
		return 0, err
	}
	p, err = s.Find(f, Index{entries: -1}, from, limit)
	return p.Position, err
}

// namesTime reports whether a time entry tells the truth of the batch at p.
func (s *Segment) namesTime(f vfs.File, e TimeEntry, p Place) (bool, error) {
	w := smallScanners.Get().(*Scanner)
	defer smallScanners.Put(w)
	w.reset(f, p.Position, p.End)
	if !w.Next() {
		return false, w.Err()
	}
	h := w.Header()
	return h.LastOffset() == s.base+int64(e.Offset) && newestOf(h) == e.Timestamp, nil
}

// MaxBetween is the largest timestamp of the batches that have an offset at or
// after from and lie before a position limit.
func (s *Segment) MaxBetween(f vfs.File, x Index, from messages.Offset, limit int64) (Stamp, error) {
	best := Stamp{messages.NoTimestamp, messages.NoOffset}
	if x.entries < 0 {
		var err error
		if x, err = s.Index(); err != nil {
			return best, err
		}
	}
	if x.max.Offset >= from {
		p, err := s.Find(f, x, x.max.Offset, limit)
		if err != nil || p.Position < p.End {
			return x.max, err
		}
	}
	// The newest of all is not among them.
	p, err := s.Find(f, x, from, limit)
	if err != nil {
		return best, err
	}
	w := smallScanners.Get().(*Scanner)
	defer smallScanners.Put(w)
	for w.reset(f, p.Position, limit); w.Next(); {
		if h := w.Header(); newestOf(h) > best.Timestamp {
			best = Stamp{newestOf(h), h.LastOffset()}
		}
	}
	return best, w.Err()
}

// Read reads the batch at a place, checked.
func (s *Segment) Read(f vfs.File, p Place) ([]byte, error) {
	if _, err := s.Verify(f, p, p.End, p.End, nil); err != nil {
		return nil, err
	}
	b := make([]byte, p.End-p.Position)
	if err := readFull(f, b, p.Position); err != nil {
		return nil, fmt.Errorf("reading at %d: %w", p.Position, err)
	}
	return b, nil
}
