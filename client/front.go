package client

import (
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
)

// front tracks which records of one partition have been acknowledged, in any
// order. What may be committed is the offset before which all have been:
//
//	offset      4  5  6  7  8  9  10
//	            ✓  ✓  .  ✓  ✓  .  .
//	                  ↑ committed: 6; beyond it: 7–8
//
// Offsets that do not exist (compacted away) are passed over. What has been
// acknowledged behind one record that is not takes no memory for each record: it
// is merged into ranges now and then. It is not safe for concurrent use.
type front struct {
	entries []entry // in the order of their offsets; the first is not acknowledged
	mergeAt int     // with so many entries they are merged
	next    int64   // the offset to commit when entries is empty
	epoch   int32   // leader epoch of the last record before the front
	skip    []span  // acknowledged in an earlier life, not seen again yet
}

// entry is a record that was delivered, or several, one after the other, that have
// been acknowledged.
type entry struct {
	span
	item  *item // nil: acknowledged, all of them. One with no record: it was put aside
	epoch int32 // of the last one's leader
}

// done reports whether all of the entry has been acknowledged.
func (e *entry) done() bool { return e.item == nil || e.item.done.Load() }

// span is a range of offsets, first and last included.
type span struct{ first, last int64 }

// mergeFrom is with how many entries it begins to be worth while to merge them.
const mergeFrom = 1024

// add notes a record that is about to be delivered. It reports false for one that
// was acknowledged in an earlier life.
func (f *front) add(it *item) (fresh bool) {
	offset := it.offset
	for len(f.skip) > 0 && f.skip[0].last < offset {
		f.skip = f.skip[1:]
	}
	fresh = len(f.skip) == 0 || offset < f.skip[0].first
	if !fresh {
		it.done.Store(true)
		if f.skip[0].first = offset + 1; f.skip[0].first > f.skip[0].last { // its entry tells from now on
			f.skip = f.skip[1:]
		}
	}
	f.entries = append(f.entries, entry{span{offset, offset}, it, it.epoch})
	f.advance()
	if len(f.entries) > max(f.mergeAt, mergeFrom) {
		f.merge()
	}
	return fresh
}

// advance passes what has been acknowledged at the front.
func (f *front) advance() {
	n := 0
	for ; n < len(f.entries) && f.entries[n].done(); n++ {
		f.next = f.entries[n].last + 1
		f.epoch = f.entries[n].epoch
		f.entries[n].item = nil
	}
	f.entries = f.entries[n:]
}

// merge makes one entry of those that have been acknowledged and follow each other.
// It leaves at most twice as many as are not acknowledged, and waits until there
// are twice as many again.
func (f *front) merge() {
	merged := make([]entry, 0, len(f.entries)/2)
	for _, e := range f.entries {
		if !e.done() {
			merged = append(merged, e)
			continue
		}
		e.item = nil
		if n := len(merged); n > 0 && merged[n-1].item == nil {
			merged[n-1].last, merged[n-1].epoch = e.last, e.epoch
			continue
		}
		merged = append(merged, e)
	}
	f.entries, f.mergeAt = merged, 2*len(merged)
}

// offset is the offset to commit.
func (f *front) offset() int64 {
	if len(f.entries) > 0 {
		return f.entries[0].first
	}
	return f.next
}

// maxBeyond is how many ranges beyond the front are looked for: more would not fit
// into a commit.
const maxBeyond = maxMetadata / 2

// beyond are the ranges beyond the front that have been acknowledged, the first ones
// if they are many.
func (f *front) beyond() []span {
	var spans []span
	open := false
	for i := range f.entries {
		if !open && len(spans) == maxBeyond {
			return spans
		}
		switch e := &f.entries[i]; {
		case !e.done():
			open = false
		case open:
			spans[len(spans)-1].last = e.last
		default:
			spans = append(spans, e.span)
			open = true
		}
	}
	skip := f.skip
	if open && len(skip) > 0 && skip[0].first == spans[len(spans)-1].last+1 {
		spans[len(spans)-1].last, skip = skip[0].last, skip[1:]
	}
	return append(spans, skip...)
}

// left are the records that have not been acknowledged.
func (f *front) left() (items []*item) {
	for i := range f.entries {
		if e := &f.entries[i]; !e.done() && !e.aside() {
			items = append(items, e.item)
		}
	}
	return items
}

// aside reports whether the record was put aside: it is neither acknowledged nor
// kept, and will be read again.
func (e *entry) aside() bool { return e.item != nil && e.item.stands }

// at is where the first entry is that begins at an offset or behind it.
func (f *front) at(offset int64) int {
	i, _ := slices.BinarySearchFunc(f.entries, offset, func(e entry, offset int64) int { return cmp.Compare(e.first, offset) })
	return i
}

// putAside has the mark of its lane stand for an item.
func (f *front) putAside(it, mark *item) {
	if i := f.at(it.offset); i < len(f.entries) && f.entries[i].item == it {
		f.entries[i].item = mark
	}
}

// takeBack gives the entry of a record that was put aside; nil if it was not.
func (f *front) takeBack(offset int64) *entry {
	if i := f.at(offset); i < len(f.entries) && f.entries[i].first == offset && f.entries[i].aside() {
		return &f.entries[i]
	}
	return nil
}

// lost takes note that records of the offsets from and up to are not there any more,
// and gives the lanes of those that were put aside.
func (f *front) lost(from, to int64) (lanes []*lane) {
	for i := f.at(from); i < len(f.entries) && f.entries[i].first < to; i++ {
		if e := &f.entries[i]; e.aside() {
			lanes = append(lanes, e.item.lane)
			e.item = nil
		}
	}
	if len(lanes) > 0 {
		f.advance()
	}
	return lanes
}

// What lies beyond the front is kept in the commit's metadata, as text:
//
//	understudy/1 BASE64
//
// where BASE64 holds, for each range, two varints: the distance of its first
// offset from the end of the range before it (at first from the committed offset),
// and its number of offsets less one.
const frontVersion = "understudy/1 "

// maxMetadata bounds the text, in bytes. Kafka's own bound is 4,096 by default;
// what does not fit is delivered again after a restart.
const maxMetadata = 4000

// encodeBeyond makes the text.
func encodeBeyond(committed int64, spans []span) string {
	if len(spans) == 0 {
		return ""
	}
	var data []byte
	for _, s := range spans {
		next := binary.AppendUvarint(data, uint64(s.first-committed))
		next = binary.AppendUvarint(next, uint64(s.last-s.first))
		if len(frontVersion)+base64.RawStdEncoding.EncodedLen(len(next)) > maxMetadata {
			break
		}
		data, committed = next, s.last+1
	}
	return frontVersion + base64.RawStdEncoding.EncodeToString(data)
}

var errNotBeyond = errors.New("the metadata of the commit is none of ours")

// decodeBeyond reads the text. Anything else, such as what another program left
// there, gives an error.
func decodeBeyond(committed int64, text string) ([]span, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > maxMetadata || len(text) < len(frontVersion) || text[:len(frontVersion)] != frontVersion {
		return nil, errNotBeyond
	}
	data, err := base64.RawStdEncoding.DecodeString(text[len(frontVersion):])
	if err != nil {
		return nil, errNotBeyond
	}
	var spans []span
	for len(data) > 0 {
		first, n := binary.Uvarint(data)
		more, m := uint64(0), 0
		if n > 0 {
			more, m = binary.Uvarint(data[n:])
		}
		const most = 1 << 62
		if n <= 0 || m <= 0 || first > most || more > most || committed > most {
			return nil, errNotBeyond
		}
		s := span{committed + int64(first), committed + int64(first) + int64(more)}
		if s.last < s.first || s.first < committed {
			return nil, errNotBeyond
		}
		spans, data, committed = append(spans, s), data[n+m:], s.last+1
	}
	return slices.Clip(spans), nil
}
