package log

import (
	"errors"
	"path"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/persistence/segment"
	"understudy/persistence/vfs"
)

// Flush asks for everything appended so far to be made durable, and returns at
// once. done is called from a goroutine of the scheduler with the offset below
// which everything is durable then: at least the end at the time of the call,
// unless the log was truncated meanwhile. Calls share syncs. After an error the
// log has failed.
func (l *Log) Flush(done func(end messages.Offset, err error)) {
	if l.o.Flush == nil {
		err := l.sync()
		done(l.Durable(), err)
		return
	}
	l.o.Flush.Flush((*syncer)(l), func(err error) { done(l.Durable(), err) })
}

// syncer is a log as the flush scheduler sees it: one file.
type syncer Log

// Sync makes durable all that was appended before.
func (s *syncer) Sync() error { return (*Log)(s).sync() }

// StartWriteback begins the writeback of what is not durable in the active segment.
func (s *syncer) StartWriteback(_, _ int64) {
	l := (*Log)(s)
	l.mu.Lock()
	active := l.active()
	from := int64(0)
	if active != nil && active.Base() == l.durable.base {
		from = l.durable.pos
	}
	l.mu.Unlock()
	if active != nil {
		active.StartWriteback(from)
	}
}

// work is what one sync makes durable.
type work struct {
	pending
	active *segment.Segment
	target mark
	epochs []replica.EpochStart
}

// sync makes durable what there is. The owner calls it too, where it must wait.
func (l *Log) sync() error {
	l.syncing.Lock()
	defer l.syncing.Unlock()
	return l.syncLocked()
}

// syncLocked is sync for who holds l.syncing.
func (l *Log) syncLocked() error {
	w, some, err := l.takeWork()
	if err != nil || !some {
		return err
	}
	if path, err := l.carryOut(w); err != nil {
		return l.fail("sync", path, err)
	}
	l.mu.Lock()
	l.durable = w.target
	l.mu.Unlock()
	return l.writeMark(w.target, len(w.sealed) > 0)
}

// takeWork takes what is to be done; some is false if that is nothing.
func (l *Log) takeWork() (w work, some bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.readyLocked("sync"); err != nil {
		return w, false, err
	}
	w = work{pending: l.pending, active: l.active(), epochs: l.epochs}
	w.target = mark{generation: l.state.generation(), offset: l.end, pos: l.endPos}
	if w.active != nil {
		w.target.base = w.active.Base()
	}
	l.pending = pending{}
	some = l.end != l.durable.offset || !w.pending.empty()
	return w, some, nil
}

// carryOut does the syncs: files that are complete, then the names, then the
// file that is written to. It tells which failed.
func (l *Log) carryOut(w work) (failed string, err error) {
	for _, s := range w.sealed {
		if err := s.Sync(); err != nil {
			return s.Path(), err
		}
	}
	for _, name := range w.files {
		if err := l.syncFile(name); err != nil {
			return l.dir.Join(name), err
		}
	}
	if w.pending.epochs {
		if err := vfs.ReplaceUnsynced(l.dir.FS, l.dir.Join(epochsName), encodeEpochs(w.epochs)); err != nil {
			return l.dir.Join(epochsName), err
		}
		w.names = true
	}
	if w.active != nil {
		if err := w.active.Sync(); err != nil {
			return w.active.Path(), err
		}
	}
	if w.names {
		if err := l.prepareMark(); err != nil {
			return l.markFile.Path(), err
		}
		if err := l.dir.FS.SyncDir(l.dir.Path); err != nil {
			return l.dir.Path, err
		}
	}
	if w.parent {
		return l.dir.Path, l.dir.FS.SyncDir(path.Dir(l.dir.Path))
	}
	return "", nil
}

func (l *Log) syncFile(name string) error {
	f, err := l.dir.FS.Open(l.dir.Join(name))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
