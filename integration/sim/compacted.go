package sim

import (
	"bytes"
	"fmt"
	"sort"

	"understudy/messages"
	"understudy/messages/batch"
)

// past is what a partition whose logs are compacted held before, by the numbers of
// book.committed, and where each key's last record is. Whatever compaction leaves must
// be as it was, and what is gone must have had a successor.
type past struct {
	batches []batch.Batch
	latest  map[string]messages.Offset
}

// note takes a batch that was committed, as it was before any compaction.
func (h *past) note(one batch.Batch) {
	one = bytes.Clone(one)
	h.batches = append(h.batches, one)
	for r, err := range batch.Records(one, one.Payload()) {
		if err == nil {
			h.latest[string(r.Key)] = r.Offset(one)
		}
	}
}

// replaced reports whether a record may be gone: its key has another since, or it is
// a tombstone, whose time may have come.
func (h *past) replaced(r *batch.Record, was batch.Batch) bool {
	return h.latest[string(r.Key)] > r.Offset(was) || r.Value == nil
}

// differs says what is wrong with what a log has in the place of batches that were
// committed; "": nothing.
func (b *book) differs(one batch.Batch) string {
	left := map[messages.Offset]batch.Record{}
	for r, err := range batch.Records(one, one.Payload()) {
		if err != nil {
			return err.Error()
		}
		left[r.Offset(one)] = r
	}
	for _, was := range b.overlapping(one.BaseOffset(), one.NextOffset()) {
		if was.BaseOffset() < one.BaseOffset() || was.NextOffset() > one.NextOffset() || was.LeaderEpoch() != one.LeaderEpoch() {
			return fmt.Sprintf("epoch %d, %d to %d, was epoch %d, %d to %d", one.LeaderEpoch(), one.BaseOffset(), one.NextOffset(), was.LeaderEpoch(), was.BaseOffset(), was.NextOffset())
		}
		for r := range batch.Records(was, was.Payload()) {
			now, there := left[r.Offset(was)]
			delete(left, r.Offset(was))
			switch {
			case there && (!bytes.Equal(now.Key, r.Key) || !bytes.Equal(now.Value, r.Value) || (now.Value == nil) != (r.Value == nil)):
				return fmt.Sprintf("another record at %d", r.Offset(was))
			case !there && !b.past.replaced(&r, was):
				return fmt.Sprintf("the last record of its key, at %d, is gone", r.Offset(was))
			}
		}
	}
	if len(left) > 0 {
		return fmt.Sprintf("%d records that were not there", len(left))
	}
	return ""
}

// overlapping are the batches that were committed and have any of these offsets.
func (b *book) overlapping(from, to messages.Offset) []batch.Batch {
	first := sort.Search(len(b.committed), func(i int) bool { return b.committed[i].next > from })
	end := sort.Search(len(b.committed), func(i int) bool { return b.committed[i].base >= to })
	return b.past.batches[first:max(first, end)]
}

// mayBeGone reports whether compaction may have left nothing of what was committed at
// some offsets. A reader is not shown where that was.
func (b *book) mayBeGone(from, to messages.Offset) bool {
	if b.past == nil || to > b.end() {
		return false
	}
	for _, was := range b.overlapping(from, to) {
		for r := range batch.Records(was, was.Payload()) {
			if o := r.Offset(was); o >= from && o < to && !b.past.replaced(&r, was) {
				return false
			}
		}
	}
	return true
}

// compacts reports whether any logs are to be compacted.
func (s *Sim) compacts() bool {
	for _, b := range s.model.books {
		if b.past != nil {
			return true
		}
	}
	return false
}
