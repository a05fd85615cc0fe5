package segment

import (
	"fmt"

	"understudy/messages"
)

// CheckEnd makes sure that the file ends where the log does.
func (s *Segment) CheckEnd() error {
	f, err := s.log.Pin()
	if err != nil {
		return err
	}
	defer s.log.Unpin()
	size, err := f.Size()
	if err == nil && size != s.Size() {
		err = fmt.Errorf("file has %d bytes and should have %d", size, s.Size())
	}
	return err
}

// EndOffset is the offset after the segment's last record. The indexes are loaded
// to that end, so that what lies behind the last entry was walked over.
func (s *Segment) EndOffset() (messages.Offset, error) {
	x, err := s.Index()
	if err != nil {
		return 0, err
	}
	e, _, err := s.lastEntry(x, func(Entry) bool { return true })
	if err != nil {
		return 0, err
	}
	f, err := s.Pin()
	if err != nil {
		return 0, err
	}
	defer s.Unpin()
	w := Scan(f, int64(e.Position), s.Size())
	defer w.Close()
	next := s.base
	for w.Next() {
		next = w.Header().NextOffset()
	}
	return next, w.Err()
}

// Settle syncs the log's file, whoever wrote to it, and gives back blocks that
// were reserved behind its end.
func (s *Segment) Settle() error {
	f, err := s.log.Pin()
	if err != nil {
		return err
	}
	defer s.log.Unpin()
	if s.Size() >= reserveFrom {
		if err := f.Truncate(s.Size()); err != nil {
			return err
		}
	}
	return f.Sync()
}

// Rewrite writes the bytes from a position on anew, as they are. After a sync
// that failed, the system may take pages for clean that are not on disk.
func (s *Segment) Rewrite(from int64) (int64, error) {
	f, err := s.log.Pin()
	if err != nil {
		return 0, err
	}
	defer s.log.Unpin()
	buf := make([]byte, largeAhead)
	for at := from; at < s.Size(); at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), s.Size()-at)]
		if err := readFull(f, buf, at); err != nil {
			return 0, err
		}
		if _, err := f.WriteAt(buf, at); err != nil {
			return 0, err
		}
	}
	return s.Size() - from, nil
}
