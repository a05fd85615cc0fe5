package segment

import (
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"sync"

	"understudy/persistence/vfs"
)

// Entry is one entry of the offset index: the batch whose *last* offset is this
// begins at this position. Both count from the segment's base.
//
//	 0                4                8
//	+----------------+----------------+
//	| relative offset| position       |   big-endian int32s, both rising
//	+----------------+----------------+
type Entry struct{ Offset, Position uint32 }

// TimeEntry is one entry of the time index: no record up to this offset has a
// larger timestamp, and the batch whose last offset it is has this one.
//
//	 0                                8                12
//	+--------------------------------+----------------+
//	| timestamp (ms)                 | relative offset|   big-endian int64, int32; both rising
//	+--------------------------------+----------------+
type TimeEntry struct {
	Timestamp int64
	Offset    uint32
}

// Sizes of the entries on disk, in bytes.
const (
	EntrySize     = 8
	TimeEntrySize = 12
)

// MaxRelative is the largest relative offset and position that an index can say.
const MaxRelative = math.MaxInt32

// AppendTo appends the entry as it is on disk.
func (e Entry) AppendTo(b []byte) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, e.Offset), e.Position)
}

// AppendTo appends the entry as it is on disk.
func (e TimeEntry) AppendTo(b []byte) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64(b, uint64(e.Timestamp)), e.Offset)
}

// DecodeEntry reads an entry from its EntrySize bytes.
func DecodeEntry(b []byte) Entry {
	return Entry{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}
}

// DecodeTimeEntry reads an entry from its TimeEntrySize bytes.
func DecodeTimeEntry(b []byte) TimeEntry {
	return TimeEntry{int64(binary.BigEndian.Uint64(b)), binary.BigEndian.Uint32(b[8:])}
}

// Index is a segment's two indexes at one moment. The entries lie in the files
// up to a number, and behind that in memory until there are enough of them to be
// written. It is immutable: a writer that goes on does not change what a copy sees.
type Index struct {
	entries, times int         // how many lie in the files; -1: not known, see Segment.load
	tail           []Entry     // those that follow in memory
	timeTail       []TimeEntry // likewise
	max            Stamp       // largest timestamp of the segment
}

// Stamp is a timestamp (ms) and the last offset of the first batch that has it.
type Stamp struct {
	Timestamp int64
	Offset    int64
}

// blockSize is how much of an index file a search reads at once: the last steps
// of a binary search are cheaper in memory.
const blockSize = 4096

var blocks = sync.Pool{New: func() any { return new([blockSize]byte) }}

// findLast finds the last of n entries of a size for which keep holds, copies it
// to out and tells its number, or -1. keep must hold for a prefix of them. A file
// that is shorter than it should be is searched as far as it goes.
func findLast(f vfs.File, n, size int, out []byte, keep func([]byte) bool) (int, error) {
	block := blocks.Get().(*[blockSize]byte)
	defer blocks.Put(block)
	low, high := 0, n // entries before low are kept, from high on they are not
	for (high-low+1)*size > blockSize {
		mid := int(uint(low+high) / 2)
		e := block[:size]
		if _, err := f.ReadAt(e, int64(mid)*int64(size)); errors.Is(err, io.EOF) {
			high = mid
			continue
		} else if err != nil {
			return -1, err
		}
		if keep(e) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	first := max(low-1, 0)
	rest := block[:(high-first)*size]
	got, err := f.ReadAt(rest, int64(first)*int64(size))
	if err != nil && !errors.Is(err, io.EOF) {
		return -1, err
	}
	for i := got/size - 1; i >= 0; i-- {
		if e := rest[i*size : (i+1)*size]; keep(e) {
			copy(out, e)
			return first + i, nil
		}
	}
	return -1, nil
}

// lastEntry is the last entry of tail, or else of the file, for which keep holds.
func (s *Segment) lastEntry(x Index, keep func(Entry) bool) (e Entry, found bool, err error) {
	if len(x.tail) > 0 && keep(x.tail[0]) {
		i, _ := slices.BinarySearchFunc(x.tail, true, func(e Entry, _ bool) int { return prefix(keep(e)) })
		return x.tail[i-1], true, nil
	}
	if x.entries == 0 {
		return Entry{}, false, nil
	}
	f, err := s.index.Pin()
	if err != nil {
		return Entry{}, false, err
	}
	defer s.index.Unpin()
	var out [EntrySize]byte
	at, err := findLast(f, x.entries, EntrySize, out[:], func(b []byte) bool { return keep(DecodeEntry(b)) })
	return DecodeEntry(out[:]), at >= 0, err
}

// lastTimeEntry is the same for the time index.
func (s *Segment) lastTimeEntry(x Index, keep func(TimeEntry) bool) (e TimeEntry, found bool, err error) {
	if len(x.timeTail) > 0 && keep(x.timeTail[0]) {
		i, _ := slices.BinarySearchFunc(x.timeTail, true, func(e TimeEntry, _ bool) int { return prefix(keep(e)) })
		return x.timeTail[i-1], true, nil
	}
	if x.times == 0 {
		return TimeEntry{}, false, nil
	}
	f, err := s.times.Pin()
	if err != nil {
		return TimeEntry{}, false, err
	}
	defer s.times.Unpin()
	var out [TimeEntrySize]byte
	at, err := findLast(f, x.times, TimeEntrySize, out[:], func(b []byte) bool { return keep(DecodeTimeEntry(b)) })
	return DecodeTimeEntry(out[:]), at >= 0, err
}

// prefix makes a binary search find the first element that is not kept.
func prefix(kept bool) int {
	if kept {
		return -1
	}
	return 1
}
