package segment

import (
	"errors"
	"io/fs"
	"math"
	"sync"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/vfs"
)

// Writing says how a segment is to be written.
type Writing struct {
	IndexInterval int64 // bytes of log between two index entries (index.interval.bytes)
	Preallocate   int64 // largest number of bytes to reserve ahead at a time; 0: none
	Limit         int64 // size that the segment will have at most: nothing is reserved beyond
}

// Sizes, in bytes.
const (
	// pieceSize is what one system call writes. Larger ones cost more per byte:
	// the kernel falls behind in giving back the pages.
	pieceSize = 256 << 10
	// maxVec is how many buffers one system call takes at most.
	maxVec = 512
	// reserveFrom is the size from which on blocks are reserved ahead: most
	// topics are small.
	reserveFrom = 1 << 20
	// tailEntries is how many index entries gather in memory before they are
	// written: a page of them.
	tailEntries = blockSize / EntrySize
)

var vectors = sync.Pool{New: func() any { return new([maxVec][]byte) }}

// Fits reports whether a batch can be appended: positions and relative offsets
// must stay within what the indexes can say.
func (s *Segment) Fits(b batch.Batch) bool {
	return s.Size()+int64(len(b)) <= MaxRelative && b.LastOffset()-s.base <= MaxRelative
}

// Append writes batches at the end and indexes them. After an error the file may
// hold any part of them behind Size, and the segment must not be appended to again.
func (s *Segment) Append(batches []batch.Batch, w Writing) error {
	f, err := s.hold()
	if err != nil {
		return err
	}
	defer s.rest()
	at := s.Size()
	total := int64(0)
	for _, b := range batches {
		total += int64(len(b))
	}
	s.reserve(f, at+total, w)
	if err := writePieces(f, batches, at); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range batches {
		s.note(b, at, int64(len(b)), w.IndexInterval)
		at += int64(len(b))
	}
	s.addChecked(at-total, at)
	s.size.Store(at)
	if len(s.x.tail) >= tailEntries {
		return s.spill()
	}
	return nil
}

// hold gives the log's file for an append, and keeps it open until it is synced.
func (s *Segment) hold() (vfs.File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.x.entries < 0 {
		if err := s.load(); err != nil {
			return nil, err
		}
	}
	if s.file == nil {
		f, err := s.log.Pin()
		if err != nil {
			return nil, err
		}
		s.file = f
	}
	s.writing = true
	return s.file, nil
}

// rest ends what hold began.
func (s *Segment) rest() {
	s.mu.Lock()
	s.writing = false
	s.mu.Unlock()
}

// reserve gets disk blocks ahead of the writes: as many again as the log has, up
// to a bound. That it fails means nothing: the write will tell.
func (s *Segment) reserve(f vfs.File, end int64, w Writing) {
	if w.Preallocate <= 0 || end <= s.allocated || end < reserveFrom {
		return
	}
	target := min(end+min(end, w.Preallocate), max(w.Limit, end))
	from := max(s.allocated, s.Size())
	s.allocated = target
	if err := f.Allocate(from, target-from); err != nil {
		s.allocated = math.MaxInt64 // not again in this segment
	}
}

// writePieces writes batches back to back, many small ones in one call and a
// large one in several.
func writePieces(f vfs.File, batches []batch.Batch, at int64) error {
	vec := vectors.Get().(*[maxVec][]byte)
	defer func() {
		clear(vec[:])
		vectors.Put(vec)
	}()
	n, size := 0, 0
	flush := func() error {
		if _, err := f.WriteVAt(vec[:n], at); err != nil {
			return err
		}
		at += int64(size)
		n, size = 0, 0
		return nil
	}
	for _, b := range batches {
		for rest := []byte(b); len(rest) > 0; {
			part := rest[:min(len(rest), pieceSize-size)]
			rest = rest[len(part):]
			vec[n] = part
			n, size = n+1, size+len(part)
			if n == maxVec || size == pieceSize {
				if err := flush(); err != nil {
					return err
				}
			}
		}
	}
	if n == 0 {
		return nil
	}
	return flush()
}

// note takes a batch that begins at a position into the indexes, by Kafka's
// rules: an entry once more than the interval lies between it and the last one,
// with the batch's last offset; a time entry with it if the time has risen.
func (s *Segment) note(b batch.Batch, at, size, interval int64) {
	newest := newestOf(b)
	if at == 0 {
		s.first = newest
	}
	if newest > s.x.max.Timestamp {
		s.x.max = Stamp{newest, b.LastOffset()}
	}
	if b.IsEmpty() {
		s.hollow.Store(true)
	}
	if s.since > interval {
		s.x.tail = append(s.x.tail, Entry{uint32(b.LastOffset() - s.base), uint32(at)})
		s.noteTime()
		s.since = 0
	}
	s.since += size
}

// newestOf is the newest timestamp among a batch's records. What an empty one says
// of those that it had once is for its producer alone.
func newestOf(b batch.Batch) int64 {
	if b.IsEmpty() {
		return messages.NoTimestamp
	}
	return b.MaxTimestamp()
}

func (s *Segment) noteTime() {
	if s.x.max.Timestamp > s.lastTime {
		s.x.timeTail = append(s.x.timeTail, TimeEntry{s.x.max.Timestamp, uint32(s.x.max.Offset - s.base)})
		s.lastTime = s.x.max.Timestamp
	}
}

// spill writes the entries that gathered in memory to the index files. Copies of
// the index go on seeing them where they were.
func (s *Segment) spill() error {
	if err := writeEntries(&s.index, s.x.entries, EntrySize, s.x.tail, Entry.AppendTo); err != nil {
		return err
	}
	if err := writeEntries(&s.times, s.x.times, TimeEntrySize, s.x.timeTail, TimeEntry.AppendTo); err != nil {
		return err
	}
	s.x.entries += len(s.x.tail)
	s.x.times += len(s.x.timeTail)
	s.x.tail, s.x.timeTail = nil, nil
	s.indexDirty = true
	return nil
}

// writeEntries appends entries to an index file that holds n of them. With none
// it makes a file that may be missing.
func writeEntries[E any](h *Handle, n, size int, entries []E, appendTo func(E, []byte) []byte) error {
	f, err := h.Pin()
	if n == 0 && errors.Is(err, fs.ErrNotExist) {
		f, err = h.Create()
	}
	if err != nil {
		return err
	}
	defer h.Unpin()
	if n == 0 {
		if err := f.Truncate(0); err != nil {
			return err
		}
	}
	out := make([]byte, 0, len(entries)*size)
	for _, e := range entries {
		out = appendTo(e, out)
	}
	if len(out) == 0 {
		return nil
	}
	_, err = f.WriteAt(out, int64(n)*int64(size))
	return err
}

// Rest writes the index entries that are in memory, for a segment to which
// nothing will be appended for a while.
func (s *Segment) Rest() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.x.tail) == 0 && len(s.x.timeTail) == 0 {
		return nil
	}
	return s.spill()
}

// Seal completes the index files and gives back what was reserved ahead. The
// segment holds no memory for writing afterwards.
func (s *Segment) Seal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.x.entries < 0 {
		if err := s.load(); err != nil {
			return err
		}
	}
	s.noteTime()
	if err := s.spill(); err != nil {
		return err
	}
	if s.allocated <= s.Size() {
		return nil
	}
	s.allocated = s.Size()
	f, err := s.log.Pin()
	if err != nil {
		return err
	}
	defer s.log.Unpin()
	return f.Truncate(s.Size())
}

// Dirty reports whether there may be bytes that are not synced.
func (s *Segment) Dirty() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file != nil || s.indexDirty
}

// Sync makes everything durable that was appended before, and the index entries
// that were written. After a failure no later sync says anything of those bytes: they
// must be written anew (Rewrite).
func (s *Segment) Sync() error {
	s.mu.Lock()
	f, size, index := s.file, s.Size(), s.indexDirty
	s.indexDirty = false
	s.mu.Unlock()
	if f != nil {
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if index {
		if err := errors.Join(syncHandle(&s.index), syncHandle(&s.times)); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file != nil && !s.writing && s.Size() == size {
		s.file = nil
		s.log.Unpin()
	}
	return nil
}

func syncHandle(h *Handle) error {
	f, err := h.Pin()
	if err != nil {
		return err
	}
	defer h.Unpin()
	return f.Sync()
}

// StartWriteback hints that the bytes from a position on will be synced soon.
func (s *Segment) StartWriteback(from int64) {
	s.mu.Lock()
	f, size := s.file, s.Size()
	s.mu.Unlock()
	if f != nil && size > from {
		f.StartWriteback(from, size-from)
	}
}

// Truncate cuts the log off at a position that is the boundary of a batch. What
// lies behind need not be valid. It is not durable before Settle.
func (s *Segment) Truncate(size int64) error {
	f, err := s.log.Pin()
	if err != nil {
		return err
	}
	defer s.log.Unpin()
	if err := f.Truncate(size); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.size.Store(size)
	s.allocated = size
	s.checked = cutSpans(s.checked, size)
	return s.load()
}
