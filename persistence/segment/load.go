package segment

import (
	"errors"
	"io/fs"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/vfs"
)

// defaultInterval is the index interval of what is indexed again.
const defaultInterval = 4096

// Index gives the indexes as they are now, loading or rebuilding them if need be.
func (s *Segment) Index() (Index, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.x.entries < 0 {
		if err := s.load(); err != nil {
			return Index{}, err
		}
	}
	return s.x, nil
}

// Peek gives the indexes as they are now without touching the disk. A lookup by
// indexes that were not loaded loads them.
func (s *Segment) Peek() Index {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.x
}

// Max is the largest timestamp in the segment. It loads the indexes if need be.
func (s *Segment) Max() (Stamp, error) {
	if x := s.Peek(); x.max.Timestamp != messages.NoTimestamp {
		return x.max, nil // also if only a checkpoint knows it
	}
	x, err := s.Index()
	return x.max, err
}

// Repair builds both indexes again from the log alone.
func (s *Segment) Repair() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.log.Pin()
	if err != nil {
		return err
	}
	defer s.log.Unpin()
	return s.rebuild(f)
}

func (s *Segment) rebuild(f vfs.File) error {
	s.forget()
	s.x.entries = 0
	if err := s.walk(f, 0, -1); err != nil {
		return err
	}
	return s.spill()
}

// errIncomplete says that the index files lack what they should have.
var errIncomplete = errors.New("index is incomplete")

// load finds out what the index files hold. They are believed as far as the last
// entry of each can be checked against the log; what they do not cover yet is
// taken from the log's headers, and all of it if they are wrong. With s.mu held.
func (s *Segment) load() error {
	f, err := s.log.Pin()
	if err != nil {
		return err
	}
	defer s.log.Unpin()
	s.forget()
	err = s.resume(f)
	var damage *Damage
	if errors.Is(err, errIncomplete) || errors.Is(err, fs.ErrNotExist) || errors.As(err, &damage) {
		err = s.rebuild(f)
	}
	if err != nil {
		s.forget()
	}
	return err
}

// resume takes over the index files and completes them. The error is
// errIncomplete if they must be built anew.
func (s *Segment) resume(f vfs.File) error {
	x, err := s.index.Pin()
	if err != nil {
		return err
	}
	defer s.index.Unpin()
	t, err := s.times.Pin()
	if err != nil {
		return err
	}
	defer s.times.Unpin()

	last, err := s.resumeOffsets(x)
	if err != nil {
		return err
	}
	from, err := s.resumeTimes(x, t, last)
	if err != nil {
		return err
	}
	if err := s.walk(f, from, int64(last.Position)); err != nil {
		return err
	}
	if err := s.readFirst(f); err != nil {
		return err
	}
	if err := s.resumeFinal(t); err != nil {
		return err
	}
	return errors.Join(trim(x, s.x.entries*EntrySize), trim(t, s.x.times*TimeEntrySize))
}

// resumeOffsets takes over the offset index: the entries with positions inside
// the log.
func (s *Segment) resumeOffsets(x vfs.File) (last Entry, err error) {
	size, err := x.Size()
	if err != nil {
		return Entry{}, err
	}
	var out [EntrySize]byte
	limit := s.Size()
	at, err := findLast(x, int(size/EntrySize), EntrySize, out[:],
		func(e []byte) bool { return int64(DecodeEntry(e).Position) < limit })
	if err == nil && at < 0 && s.Size() > 0 {
		err = errIncomplete // a small segment has none, and is soon read
	}
	s.x.entries = at + 1
	return DecodeEntry(out[:]), err
}

// resumeTimes takes over the time index: the entries that are not newer than the
// last of the offset index. It tells where to walk from, so that the walk sees
// whether the largest timestamp is known.
func (s *Segment) resumeTimes(x, t vfs.File, last Entry) (from int64, err error) {
	if s.x.entries == 0 {
		return 0, nil
	}
	size, err := t.Size()
	if err != nil {
		return 0, err
	}
	var out [TimeEntrySize]byte
	at, err := findLast(t, int(size/TimeEntrySize), TimeEntrySize, out[:],
		func(e []byte) bool { return DecodeTimeEntry(e).Offset <= last.Offset })
	if err != nil {
		return 0, err
	}
	if at < 0 {
		return 0, errIncomplete
	}
	newest := DecodeTimeEntry(out[:])
	s.x.times, s.lastTime = at+1, newest.Timestamp
	s.x.max = Stamp{newest.Timestamp, s.base + int64(newest.Offset)}
	var begin [EntrySize]byte
	at, err = findLast(x, s.x.entries, EntrySize, begin[:],
		func(e []byte) bool { return DecodeEntry(e).Offset <= newest.Offset })
	if err != nil || at < 0 {
		return 0, err
	}
	return int64(DecodeEntry(begin[:]).Position), nil
}

// resumeFinal keeps the time entry that Seal puts behind the others.
func (s *Segment) resumeFinal(t vfs.File) error {
	if len(s.x.timeTail) > 0 || s.x.max.Timestamp <= s.lastTime {
		return nil
	}
	var out [TimeEntrySize]byte
	at, err := findLast(t, s.x.times+1, TimeEntrySize, out[:], func([]byte) bool { return true })
	if err != nil || at != s.x.times {
		return err
	}
	if e := DecodeTimeEntry(out[:]); e.Timestamp == s.x.max.Timestamp && s.base+int64(e.Offset) == s.x.max.Offset {
		s.x.times, s.lastTime = s.x.times+1, e.Timestamp
	}
	return nil
}

// walk goes over the log's headers from a position on. Up to the batch that the
// last index entry is of, at indexed, it only checks that the indexes are right;
// behind it the batches are taken in. indexed is -1 when there is no entry.
func (s *Segment) walk(f vfs.File, from, indexed int64) error {
	w := smallScanners.Get().(*Scanner)
	defer smallScanners.Put(w)
	entries := s.x.entries
	met := entries == 0
	next := s.base // of the batches that are counted, whatever offset they claim
	for w.reset(f, from, s.Size()); w.Next(); {
		h := w.Header()
		if from > 0 && w.Position() == from {
			next = h.BaseOffset()
		}
		wrong := h.BaseOffset() != next
		next += int64(h.LastOffsetDelta()) + 1
		if wrong {
			continue // damage, which an entry would make findable
		}
		if entries == 0 || w.Position() > indexed {
			s.note(h, w.Position(), w.Size(), defaultInterval)
			continue
		}
		if newestOf(h) > s.lastTime {
			return errIncomplete
		}
		met = met || w.Position() == indexed
		s.since = w.Size()
	}
	if err := w.Err(); err != nil {
		return err
	}
	if !met {
		return errIncomplete
	}
	return nil
}

// readFirst reads the timestamp of the first batch.
func (s *Segment) readFirst(f vfs.File) error {
	if s.Size() == 0 {
		return nil
	}
	var head [batch.HeaderSize]byte
	if err := readFull(f, head[:], 0); err != nil {
		return err
	}
	s.first = newestOf(head[:])
	return nil
}

// trim cuts off what an index file holds behind the entries that are believed.
func trim(f vfs.File, size int) error {
	have, err := f.Size()
	if err == nil && have > int64(size) {
		err = f.Truncate(int64(size))
	}
	return err
}

// forget drops all that is known of the indexes, so that load looks again.
func (s *Segment) forget() {
	s.x = Index{entries: -1, max: Stamp{messages.NoTimestamp, messages.NoOffset}}
	s.since, s.lastTime, s.first = 0, messages.NoTimestamp, messages.NoTimestamp
}
