package log

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"understudy/messages"
	"understudy/persistence/segment"
)

// Report tells what Open had to do.
type Report struct {
	Clean     bool   // opened by a clean checkpoint: nothing was read
	Scanned   int64  // bytes that were read and checked
	Cut       int64  // bytes that were cut off or removed behind the log's end
	File      string // where the log ends, if anything was cut
	Position  int64
	Reason    string // what was wrong there
	Rewritten int64  // bytes written anew because a sync of them may have failed
	Lost      error  // damage below what was durable, accepted
}

// Open opens the log in a directory. c is what the broker's checkpoint file has
// of it, nil if nothing. By a clean checkpoint the log is open without a look at
// the disk; that its files are as they were is checked when they are first used.
// Otherwise what lies above the recovery point is read and checked, or everything
// without a checkpoint.
//
// The error is of kind CorruptMessage if a batch that was durable is damaged, and
// StorageError if one is missing or the disk fails; it names the file. The log
// cannot be opened then but with Options.AcceptLoss.
func Open(o Options, c *Checkpoint) (*Log, error) {
	l := newLog(o)
	open := l.recover
	if c != nil && c.Clean {
		open = l.openClean
	}
	if err := open(c); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

// openClean takes a checkpoint at its word.
func (l *Log) openClean(c *Checkpoint) error {
	if err := c.check(); err != nil {
		return messages.E("open log", messages.CorruptMessage, l.o.TP.String(), err)
	}
	for _, info := range c.Segments {
		l.segs = append(l.segs, segment.Restore(l.dir, info))
		l.size += info.Size
		l.endPos = info.Size
	}
	l.start, l.end, l.epochs, l.snapshot, l.cleaned = c.Start, c.End, c.Epochs, c.Snapshot, c.Cleaned
	l.state = state{start: c.Start, gen: c.Generation}
	l.durable = l.endMark()
	l.report.Clean, l.untouched = true, true
	return nil
}

// check makes sure that a checkpoint does not contradict itself.
func (c *Checkpoint) check() error {
	if c.Start < 0 || c.End < c.Start || len(c.Segments) == 0 && c.End != c.Start {
		return fmt.Errorf("checkpoint has log start %d, end %d and %d segments", c.Start, c.End, len(c.Segments))
	}
	next := messages.Offset(0)
	for i, s := range c.Segments {
		if s.Base < next || s.Base > c.End || s.Size < 0 || i == 0 && s.Base > c.Start {
			return fmt.Errorf("checkpoint has a segment at %d of %d bytes after %d", s.Base, s.Size, next)
		}
		next = s.Base + 1
	}
	return nil
}

// endMark says that everything there is, is durable.
func (l *Log) endMark() mark {
	m := mark{generation: l.state.generation(), offset: l.end, base: l.end}
	if s := l.active(); s != nil {
		m.base, m.pos = s.Base(), l.endPos
	}
	return m
}

// touch runs before the log is first changed after an opening by a clean
// checkpoint: only now does it cost nothing to see whether the checkpoint was
// that of these files.
func (l *Log) touch() error {
	if !l.untouched {
		return nil
	}
	m, ok, err := l.readMark()
	if err != nil {
		return l.fail("open log", l.markFile.Path(), err)
	}
	if ok && m.offset > l.end && m.generation >= l.state.generation() {
		return l.fail("open log", l.markFile.Path(),
			fmt.Errorf("checkpoint is older than the log: it ends at %d, and was durable up to %d", l.end, m.offset))
	}
	if s := l.active(); s != nil {
		if err := s.CheckEnd(); err != nil {
			return l.fail("open log", s.Path(), err)
		}
	}
	s, err := l.readState()
	if err == nil && s.gen != l.state.gen {
		err = fmt.Errorf("checkpoint is of another generation than the log: %d, and there were %d truncations", l.state.gen, s.gen)
	}
	if err != nil {
		return l.fail("open log", l.dir.Join(stateName), err)
	}
	l.mu.Lock()
	l.state.cuts = s.cuts // or else what is written next would forget them
	l.mu.Unlock()
	l.untouched = false
	return nil
}

// Close ends the log. With clean, everything is made durable and written down,
// so that the log can be opened again by its Checkpoint alone. Readers at work
// come to their end; whoever begins to read now gets an error.
func (l *Log) Close(clean bool) error {
	l.stopCleaning()
	l.syncing.Lock()
	defer l.syncing.Unlock()
	if l.isClosed() {
		return nil
	}
	err := l.Err()
	if clean && err == nil {
		err = l.finish()
	}
	l.mu.Lock()
	l.closed = true
	l.clean = clean && err == nil
	l.mu.Unlock()
	l.release()
	if !clean {
		return nil
	}
	return err
}

func (l *Log) isClosed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

// release closes the files.
func (l *Log) release() {
	for _, s := range l.segs {
		s.Close()
	}
	l.markFile.Kill()
}

// finish writes down what the next opening would have to find out.
func (l *Log) finish() error {
	if l.untouched || len(l.segs) == 0 && l.pending.empty() {
		return nil
	}
	for _, s := range l.segs {
		if _, err := s.Max(); err != nil {
			return l.fail("close", s.Path(), err)
		}
	}
	if s := l.active(); s != nil {
		if err := s.Seal(); err != nil {
			return l.fail("close", s.Path(), err)
		}
		l.mu.Lock()
		l.pending.sealed = append(l.pending.sealed, s)
		l.mu.Unlock()
	}
	if err := l.lastSnapshot(); err != nil {
		return err
	}
	if err := l.dropDeleted(); err != nil {
		return l.fail("close", l.dir.Path, err)
	}
	if err := l.syncLocked(); err != nil {
		return err
	}
	return l.writeMark(l.durable, true)
}

// lastSnapshot takes a snapshot at the log's end, if anything has changed, in the
// place of those that were taken when the log was closed before.
func (l *Log) lastSnapshot() error {
	if l.producers == nil || l.snapshot == l.end || len(l.segs) == 0 {
		return nil
	}
	if err := l.takeSnapshot(l.end); err != nil {
		return err
	}
	err := l.dropSnapshots(func(at messages.Offset) bool { return at != l.end && !l.hasBase(at) })
	if err != nil {
		return l.fail("close", l.dir.Path, err)
	}
	return nil
}

// dropDeleted removes files of deleted segments that readers have kept: if this process
// ends before they do, the next opening will not look for them.
func (l *Log) dropDeleted() error {
	entries, err := l.dir.FS.ReadDir(l.dir.Path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name, segment.DeletedSuffix) {
			continue
		}
		if err := l.dir.FS.Remove(l.dir.Join(e.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		l.mu.Lock()
		l.pending.names = true
		l.mu.Unlock()
	}
	return nil
}

// hasBase reports whether a segment begins at an offset.
func (l *Log) hasBase(at messages.Offset) bool {
	for _, s := range l.segs {
		if s.Base() == at {
			return true
		}
	}
	return false
}

// deletedDir ends the name of a directory that is being removed.
const deletedDir = "-delete"

// Delete closes the log and removes its directory. The directory is renamed
// first, so that a log that is half removed is never taken for a whole one.
func (l *Log) Delete() error {
	if err := l.Close(false); err != nil {
		return err
	}
	return RemoveDir(l.dir.FS, l.dir.Path)
}
