package log

import (
	"slices"

	"understudy/messages"
	"understudy/messages/batch"
	"understudy/persistence/segment"
)

// Truncate takes off everything from an offset on, durably. If the offset lies
// within a batch, the whole batch goes, so End may be lower afterwards; of a gap
// that compaction has left there, what lies before the offset stays, though not
// durably. Views that show more must not be read any more: the owner publishes
// the next one.
func (l *Log) Truncate(to messages.Offset) error {
	if err := l.ready("truncate"); err != nil {
		return err
	}
	if to >= l.end {
		return nil
	}
	if to < l.start {
		return messages.E("truncate", messages.OffsetOutOfRange, l.at(to), nil)
	}
	if err := l.touch(); err != nil {
		return err
	}
	i := l.segmentAt(to)
	p, rest, err := findCut(l.segs[i], to)
	if err != nil {
		return l.fail("truncate", l.segs[i].Path(), err)
	}
	l.stopCleaning()
	if err := l.truncate(i, p); err != nil || rest == nil {
		return err
	}
	return l.Append([]batch.Batch{rest})
}

// truncate takes off what lies from a place in segment i on.
func (l *Log) truncate(i int, p segment.Place) error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if err := l.writeState(l.state.truncated(p.Base)); err != nil {
		return err
	}
	if err := l.cutFiles(i, p); err != nil {
		return err
	}
	l.cutMemory(i, p)
	return l.writeMark(l.durable, false)
}

// segmentAt is the index of the segment that has an offset, or of the last one.
func (l *Log) segmentAt(offset messages.Offset) int {
	return segmentAt(l.segs, offset)
}

func segmentAt(segs []*segment.Segment, offset messages.Offset) int {
	i, found := slices.BinarySearchFunc(segs, offset, func(s *segment.Segment, offset messages.Offset) int {
		return int(min(max(s.Base()-offset, -1), 1))
	})
	if found {
		return i
	}
	return i - 1
}

// findCut looks up the batch in a segment that has the first offset to be cut
// off. rest is what stays of it if it is a gap, otherwise nil.
func findCut(s *segment.Segment, to messages.Offset) (p segment.Place, rest batch.Batch, err error) {
	f, err := s.Pin()
	if err != nil {
		return segment.Place{}, nil, err
	}
	defer s.Unpin()
	p, err = s.Find(f, s.Peek(), to, s.Size())
	if err != nil || p.Base >= to {
		return p, nil, err
	}
	w := segment.Scan(f, p.Position, p.End)
	defer w.Close()
	if w.Next() && w.Header().IsGap() {
		rest = batch.Gap(nil, p.Base, to-1, w.Header().LeaderEpoch())
	}
	return p, rest, w.Err()
}

// cutFiles takes the end off the files: later segments from the last one down, so
// that what is left is a log at any moment, then the tail of segment i.
func (l *Log) cutFiles(i int, p segment.Place) error {
	for _, s := range slices.Backward(l.segs[i+1:]) {
		if err := s.Delete(); err != nil {
			return l.fail("truncate", s.Path(), err)
		}
	}
	s := l.segs[i]
	if err := s.Truncate(p.Position); err != nil {
		return l.fail("truncate", s.Path(), err)
	}
	if err := s.Settle(); err != nil {
		return l.fail("truncate", s.Path(), err)
	}
	if err := l.dropSnapshots(func(at messages.Offset) bool { return at > p.Base }); err != nil {
		return l.fail("truncate", l.dir.Path, err)
	}
	if epochs := cutEpochs(l.epochs, p.Base); len(epochs) < len(l.epochs) {
		if err := l.writeEpochs(epochs); err != nil {
			return l.fail("truncate", l.dir.Join(epochsName), err)
		}
	}
	if err := l.dir.FS.SyncDir(l.dir.Path); err != nil {
		return l.fail("truncate", l.dir.Path, err)
	}
	return nil
}

// cutMemory makes the log know that it ends in segment i.
func (l *Log) cutMemory(i int, p segment.Place) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segs = slices.Clone(l.segs[:i+1])
	l.size = 0
	for _, s := range l.segs {
		l.size += s.Size()
	}
	l.end, l.endPos = p.Base, p.Position
	l.uncleanFrom(l.end)
	l.epochs = cutEpochs(l.epochs, p.Base)
	l.pending.sealed = slices.DeleteFunc(l.pending.sealed, func(s *segment.Segment) bool { return !slices.Contains(l.segs, s) })
	l.durable.generation = l.state.generation()
	if l.durable.offset > l.end {
		l.durable = l.endMark()
	}
	l.forgetTail()
}

// forgetTail drops what was derived from the log's end.
func (l *Log) forgetTail() {
	l.producers, l.snapshot, l.recent, l.view = nil, messages.NoOffset, nil, nil
}

// TruncateAll takes off all records; the log is empty and begins at start,
// durably. If the power fails meanwhile, the log has some of its old records, from
// its old start on, or none.
func (l *Log) TruncateAll(start messages.Offset) error {
	if err := l.ready("truncate"); err != nil {
		return err
	}
	if err := l.touch(); err != nil {
		return err
	}
	l.stopCleaning()
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if err := l.writeState(l.state.truncated(messages.NoOffset)); err != nil {
		return err
	}
	if err := l.removeFiles(); err != nil {
		return err
	}
	s := l.state
	s.start = start
	if err := l.writeState(s); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segs, l.size, l.endPos = nil, 0, 0
	l.start, l.end, l.epochs = start, start, nil
	l.uncleanFrom(start)
	l.pending.sealed, l.pending.files, l.pending.epochs = nil, nil, false
	l.durable = l.endMark()
	l.forgetTail()
	return nil
}

// removeFiles removes all that the log holds.
func (l *Log) removeFiles() error {
	for _, s := range slices.Backward(l.segs) {
		if err := s.Delete(); err != nil {
			return l.fail("truncate", s.Path(), err)
		}
	}
	// The snapshots stay for as long as there may be batches.
	if err := l.dir.FS.SyncDir(l.dir.Path); err != nil {
		return l.fail("truncate", l.dir.Path, err)
	}
	if err := l.dropSnapshots(func(messages.Offset) bool { return true }); err != nil {
		return l.fail("truncate", l.dir.Path, err)
	}
	if err := l.writeEpochs(nil); err != nil {
		return l.fail("truncate", l.dir.Join(epochsName), err)
	}
	return nil
}
