package log

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/messages/producer"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// Producer snapshots are named by the offset before which they know everything.
// One is taken at the beginning of each segment and when the log is closed.
const (
	snapshotSuffix = ".snapshot"
	maxSnapshot    = 1 << 30 // bytes that one may have; of producer.Most producers it has 17 MB
)

// Producers is the state of the idempotent producers. It belongs to the log's
// owner, like the log; Append applies what it writes. The state is read from disk
// when it is first asked for; if that fails the log has failed (see Err) and the
// state is empty.
func (l *Log) Producers() *producer.State {
	s, err := l.loadProducers()
	if err != nil {
		return producer.New()
	}
	return s
}

// DropAdmitted forgets batches that producers were promised room for and that were not
// appended.
func (l *Log) DropAdmitted() {
	if l.producers != nil {
		l.producers.DropAdmitted()
	}
}

// ExpireProducers is Expire of the producers' state, unless nobody has asked for
// it yet: then it stays on disk.
func (l *Log) ExpireProducers(clockMs, afterMs int64) int {
	if l.producers == nil {
		return 0
	}
	return l.producers.Expire(clockMs, afterMs)
}

// loadProducers reads the newest snapshot that is valid and applies the batches
// behind it.
func (l *Log) loadProducers() (*producer.State, error) {
	if l.producers != nil {
		return l.producers, nil
	}
	if err := l.ready("load producers"); err != nil {
		return nil, err
	}
	s := producer.New()
	from, path, err := l.readProducers(s, l.end)
	if err != nil {
		return nil, l.fail("load producers", path, err)
	}
	if from == l.end && len(l.segs) > 0 {
		l.snapshot = from // which need not be taken again, and may be all that is left
	}
	l.producers = s
	return s, nil
}

// readProducers reads the state as it is before an offset: where a segment begins, or
// the log ends. It tells where the snapshot is that it began with, and the file that failed.
func (l *Log) readProducers(s *producer.State, to messages.Offset) (from messages.Offset, path string, err error) {
	if from, err = l.readSnapshot(s, to); err != nil {
		return from, l.dir.Path, err
	}
	path, err = l.replay(s, from, to)
	return from, path, err
}

// readSnapshot takes over the newest valid snapshot up to an offset and tells where that
// is, or where the log begins.
func (l *Log) readSnapshot(s *producer.State, to messages.Offset) (messages.Offset, error) {
	if len(l.segs) == 0 {
		return l.end, nil
	}
	if l.snapshot == to {
		if valid, err := l.trySnapshot(s, l.snapshot); valid || err != nil {
			return l.snapshot, err
		}
	}
	offsets, err := l.snapshots()
	if err != nil {
		return 0, err
	}
	first := l.segs[0].Base()
	for _, at := range slices.Backward(offsets) {
		if at < first || at > to {
			continue
		}
		if valid, err := l.trySnapshot(s, at); valid || err != nil {
			return at, err
		}
	}
	return first, nil
}

// trySnapshot takes over a snapshot. One that is missing, damaged or longer than any that
// is written can be done without: the batches themselves are there. That one cannot be
// read now says nothing of that kind, since what was written before it may have been
// deleted.
func (l *Log) trySnapshot(s *producer.State, at messages.Offset) (valid bool, err error) {
	path := l.dir.Join(segment.Name(at, snapshotSuffix))
	content, err := vfs.ReadFile(l.dir.FS, path, maxSnapshot)
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, vfs.ErrTooLong) {
		return false, err
	}
	if err == nil {
		err = s.UnmarshalBinary(content)
	}
	if err != nil {
		l.o.Log.Warn().Err(err).Str("file", path).Msg("producer snapshot cannot be used")
	}
	return err == nil, nil
}

// snapshots lists the offsets of the snapshots that there are.
func (l *Log) snapshots() ([]messages.Offset, error) {
	entries, err := l.dir.FS.ReadDir(l.dir.Path)
	if err != nil {
		return nil, err
	}
	var offsets []messages.Offset
	for _, e := range entries {
		if at, suffix, ok := segment.ParseName(e.Name); ok && suffix == snapshotSuffix {
			offsets = append(offsets, at)
		}
	}
	return offsets, nil
}

// replay applies the batches from one offset to another, at which a segment begins or the
// log ends. It tells the file that failed.
func (l *Log) replay(s *producer.State, from, to messages.Offset) (path string, err error) {
	for i, seg := range l.segs {
		if i+1 < len(l.segs) && l.segs[i+1].Base() <= from {
			continue
		}
		if seg.Base() >= to || from >= to {
			break
		}
		if err := replaySegment(s, seg, from); err != nil {
			return seg.Path(), err
		}
	}
	return "", nil
}

// replaySegment checks what it applies: a sequence that is not what was written would
// have batches refused, or taken twice.
func replaySegment(s *producer.State, seg *segment.Segment, from messages.Offset) error {
	f, err := seg.Pin()
	if err != nil {
		return err
	}
	defer seg.Unpin()
	begin, next := int64(0), seg.Base()
	if from > seg.Base() {
		p, err := seg.Find(f, seg.Peek(), from, seg.Size())
		if err != nil {
			return err
		}
		begin, next = p.Position, p.Base
	}
	w := segment.Scan(f, begin, seg.Size())
	defer w.Close()
	for w.Next() {
		b := w.Header()
		if b.BaseOffset() != next {
			w.Fail("base offset is %d and should be %d", b.BaseOffset(), next)
			break
		}
		if next = b.NextOffset(); !w.CheckCRC() {
			break
		}
		if b.IsControl() {
			if b, err = w.Batch(nil); err != nil {
				return err
			}
		}
		s.Apply(batch.Batch(b))
	}
	return w.Err()
}

// takeSnapshot writes down the producers as they are before an offset, the log's
// end. It is synced by the next flush.
func (l *Log) takeSnapshot(at messages.Offset) error {
	s, err := l.loadProducers()
	if err != nil {
		return err
	}
	name := segment.Name(at, snapshotSuffix)
	content, err := s.MarshalBinary()
	if err == nil {
		err = l.createFile(name, content)
	}
	if err != nil {
		return l.fail("write snapshot", l.dir.Join(name), err)
	}
	l.snapshot = at
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending.files = append(l.pending.files, name)
	l.pending.names = true
	return nil
}

func (l *Log) createFile(name string, content []byte) error {
	f, err := l.dir.FS.Create(l.dir.Join(name))
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	return errors.Join(err, f.Close())
}

// dropSnapshots removes the snapshots for which gone holds. Their names go for
// good with the directory's next sync.
func (l *Log) dropSnapshots(gone func(at messages.Offset) bool) error {
	offsets, err := l.snapshots()
	if err != nil {
		return fmt.Errorf("listing snapshots: %w", err)
	}
	for _, at := range offsets {
		if !gone(at) {
			continue
		}
		name := segment.Name(at, snapshotSuffix)
		if err := l.dir.FS.Remove(l.dir.Join(name)); err != nil {
			return err
		}
		l.forgetPending(name)
	}
	return nil
}

// forgetPending takes a file that was removed off the list of those to be synced.
func (l *Log) forgetPending(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending.files = slices.DeleteFunc(l.pending.files, func(n string) bool { return n == name })
}
