package segment

import (
	"slices"

	"understudy/messages"
	"understudy/persistence/vfs"
)

// span is a range of positions, of whole batches.
type span struct{ from, to int64 }

// addSpan puts a range into a sorted set of disjoint ones.
func addSpan(set []span, from, to int64) []span {
	if from >= to {
		return set
	}
	i := len(set) // the first that ends at or behind from
	for i > 0 && set[i-1].to >= from {
		i--
	}
	j := i // the first that begins behind to
	for j < len(set) && set[j].from <= to {
		from, to = min(from, set[j].from), max(to, set[j].to)
		j++
	}
	return slices.Replace(set, i, j, span{from, to})
}

// cutSpans takes out everything from a position on.
func cutSpans(set []span, at int64) []span {
	for i, r := range set {
		if r.to <= at {
			continue
		}
		if r.from >= at {
			return set[:i]
		}
		set[i].to = at
		return set[:i+1]
	}
	return set
}

// coverEnd is the end of the range that holds a position, or the position.
func coverEnd(set []span, at int64) int64 {
	for _, r := range slices.Backward(set) {
		if r.from <= at {
			return max(at, r.to)
		}
	}
	return at
}

// addChecked remembers that a range of whole batches is right. With s.mu held.
func (s *Segment) addChecked(from, to int64) { s.checked = addSpan(s.checked, from, to) }

// SetChecked remembers that a range of whole batches was read and found right,
// and whether any of them had no records.
func (s *Segment) SetChecked(from, to int64, hollow bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addChecked(from, to)
	if hollow {
		s.hollow.Store(true)
	}
}

func (s *Segment) checkedFrom(at int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return coverEnd(s.checked, at)
}

// Verify makes sure that the batches from first on are what was once appended,
// so that a range of them can go to a reader unseen. It returns the end of the
// range that may: end, if all of it has been checked in this process before;
// otherwise the end of the last whole batch before that, but at least that of
// first. Nothing is looked at beyond limit.
//
// The header's first fields lie outside of the checksum: offsets must follow each
// other, and epochs must be what epochOf says, unless that is nil.
//
// If a batch is bad, what is before it is returned; if it is the first, the error
// is a *Damage.
func (s *Segment) Verify(f vfs.File, first Place, end, limit int64, epochOf func(messages.Offset) messages.LeaderEpoch) (int64, error) {
	end = max(end, first.End)
	known := s.checkedFrom(first.Position)
	if known >= end {
		return end, nil
	}
	// What was checked before is walked over all the same, for the offset that the
	// first batch behind it must have.
	w := Scan(f, first.Position, limit)
	defer w.Close()
	next, checkedTo, hollow := first.Base, first.Position, false
	for checkedTo < end && w.Next() {
		h := w.Header()
		if h.BaseOffset() != next {
			w.Fail("base offset is %d and should be %d", h.BaseOffset(), next)
			break
		}
		if w.End() <= known {
			next, checkedTo = h.NextOffset(), w.End()
			continue
		}
		if epochOf != nil && h.LeaderEpoch() != epochOf(h.BaseOffset()) {
			w.Fail("leader epoch is %d and should be %d", h.LeaderEpoch(), epochOf(h.BaseOffset()))
			break
		}
		if w.End() > end && checkedTo > first.Position || !w.CheckCRC() {
			break
		}
		next, checkedTo = h.NextOffset(), w.End()
		hollow = hollow || h.IsEmpty()
	}
	s.SetChecked(first.Position, checkedTo, hollow)
	if err := w.Err(); err != nil && checkedTo == first.Position {
		return 0, err
	}
	return checkedTo, nil
}
