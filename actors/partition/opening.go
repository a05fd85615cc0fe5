package partition

import (
	"errors"

	"understudy/cluster/replica"
	"understudy/messages"
	"understudy/persistence/log"
)

// openMachine opens a replica's log from where its last checkpoint says, and
// makes the machine that runs it.
func (s *Shared) openMachine(sl *slot, world World) (*Machine, error) {
	h := sl.handle
	checkpoint, err := s.Checkpoints.take(h.topicID, h.tp)
	if err != nil {
		return nil, err
	}
	l, err := log.Open(log.Options{
		FS: s.FS, Dir: h.tp.String(), TP: h.tp, Settings: s.Tuning.log(sl.settings),
		Flush: s.Flush, Files: s.Files, Log: s.Log, Yield: s.Stage.Yield,
	}, checkpoint)
	if err != nil {
		return nil, err
	}
	// A sync has failed under the last incarnation: the page cache may show what
	// the disk does not have.
	if sl.trusted != messages.NoOffset && l.End() > sl.trusted {
		if err := l.Truncate(max(sl.trusted, l.Start())); err != nil {
			return nil, errors.Join(err, l.Close(false))
		}
	}
	sl.trusted = messages.NoOffset
	state := replica.LogState{Start: l.Start(), End: l.End(), Durable: l.Durable(), LedEpoch: sl.led, Epochs: l.Epochs()}
	if checkpoint != nil {
		state.HighWatermark = l.Committed(checkpoint)
	}
	m := newMachine(h.tp, s.Self, world, l, state, sl.settings, s.Tuning)
	if sl.unmarked {
		m.afterAppend = func() error {
			sl.unmarked = false
			return writeIdentity(s.FS, h.tp.String(), h.topicID)
		}
	}
	return m, nil
}

// closeLog ends a replica's machine, if it has one, and settles what stays of
// it: a checkpoint from which the next start need not recover, or nothing.
func (s *Shared) closeLog(m *Machine, sl *slot, cause error) error {
	h := sl.handle
	if sl.retired.Load() {
		s.Checkpoints.drop(h.topicID, h.tp)
		if m != nil {
			if _, err := m.Close(cause); err != nil {
				return errors.Join(err, removeDirectory(s.FS, h.tp, h.topicID))
			}
		}
		return removeDirectory(s.FS, h.tp, h.topicID)
	}
	checkpoint, err := m.Close(cause)
	if err == nil {
		s.Checkpoints.put(h.topicID, h.tp, checkpoint)
	}
	return err
}
