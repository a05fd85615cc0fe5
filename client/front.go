package client

import (
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
// Offsets that do not exist (compacted away) are passed over. It is not safe for
// concurrent use.
type front struct {
	items []*item // delivered, in the order of their offsets; the first is not acknowledged
	next  int64   // the offset to commit when items is empty
	epoch int32   // leader epoch of the last record before the front
	skip  []span  // acknowledged in an earlier life, not seen again yet
}

// span is a range of offsets, first and last included.
type span struct{ first, last int64 }

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
	}
	f.items = append(f.items, it)
	f.advance()
	return fresh
}

// advance passes what has been acknowledged at the front.
func (f *front) advance() {
	n := 0
	for ; n < len(f.items) && f.items[n].done.Load(); n++ {
		f.next = f.items[n].offset + 1
		f.epoch = f.items[n].epoch
		f.items[n] = nil
	}
	f.items = f.items[n:]
}

// offset is the offset to commit.
func (f *front) offset() int64 {
	if len(f.items) > 0 {
		return f.items[0].offset
	}
	return f.next
}

// beyond are the ranges beyond the front that have been acknowledged.
func (f *front) beyond() []span {
	var spans []span
	open := false
	for _, it := range f.items {
		switch offset := it.offset; {
		case !it.done.Load():
			open = false
		case open:
			spans[len(spans)-1].last = offset
		default:
			spans = append(spans, span{offset, offset})
			open = true
		}
	}
	return append(spans, f.skip...)
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
